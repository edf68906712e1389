"""Every path on which a function talks to AWS, walked from outside.

The clients, and states that take days to come about, are put straight into the tables.
"""

import contextlib
import hashlib
import itertools
import json
import pathlib
import time
import urllib.error
import urllib.request

import stack
from recorder import DENIED, DROPPED, INVALID, OPTED_OUT

EVENTS = pathlib.Path(__file__).resolve().parents[2] / "events"
TIMEOUT = 20  # seconds
DIRECTORY, VERIFICATIONS = "DirectoryTable", "VerificationsTable"
TEMPLATE = "6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a01"
ROOMY = {"windows": [{"sends": 10, "seconds": 600}]}
CLIENTS = {
    "roomy": {},
    "narrow": {"limits": {"windows": [{"sends": 1, "seconds": 600}]}},
    "daily": {"limits": {**ROOMY, "per_second": 9, "per_day": 1}},
    "prepaid": {"prepaid": True},
    "old": {"limits": {**ROOMY, "per_day": 1000}},
    "abroad": {"countries": ["US"]},
}
# Another instance of a function: its binary and the variables that differ.
VARIANTS = {
    "request-capped": ("request", {"DAILY_PART_CAP": "2"}),
    "request-testing": ("request", {"ALLOW_TEST_NUMBERS": "true"}),
}


class Unexpected(Exception):
    """An answer that was not to come."""


def key(client):
    return f"2fa_{client}_{'k' * 43}"


class Typed(dict):
    """A value as DynamoDB has written it."""


def attribute(value):
    """A value as DynamoDB writes it."""
    if isinstance(value, Typed):
        return value
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, list):
        return {"L": [attribute(item) for item in value]}
    return {"M": {name: attribute(item) for name, item in value.items()}}


def wrong(code, nth=1):
    return str((int(code) + nth) % 10 ** len(code)).zfill(len(code))


class Flows:
    """`functions` are the running instances; `code_for` reads the newest code sent to a number."""

    def __init__(self, functions, dynamodb, code_for):
        self.functions = functions
        self.dynamodb = dynamodb
        self.code_for = code_for
        self.numbers = (f"+4474001{number:05}" for number in itertools.count(50000))
        self.now = int(time.time() * 1000)

    # ---------------------------------------------------------------- the tables

    def ask(self, operation, **body):
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
            # Looked for, but not verified.
            "Authorization": "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=x, Signature=x",
            "X-Amz-Date": "20260101T000000Z",
        }
        request = urllib.request.Request(self.dynamodb, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise Unexpected(f"{operation} failed: {error.read().decode()}") from None

    def put(self, table, item):
        self.ask("PutItem", TableName=table, Item=attribute(item)["M"])

    def verification(self, request_id):
        answer = self.ask("GetItem", TableName=VERIFICATIONS, Key={"id": {"S": request_id}})
        return answer["Item"]

    def change(self, request_id, **values):
        """Sets attributes of a stored item."""
        self.ask(
            "UpdateItem",
            TableName=VERIFICATIONS,
            Key={"id": {"S": request_id}},
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in values),
            ExpressionAttributeNames={f"#{name}": name for name in values},
            ExpressionAttributeValues={f":{name}": attribute(v) for name, v in values.items()},
        )

    def add_clients(self):
        for client, more in CLIENTS.items():
            self.put(DIRECTORY, self.profile(client, **more))
            template = {
                "id": TEMPLATE,
                "name": "Login",
                "from": "Twofa",
                "text": "${code} is your code",
            }
            self.put(
                DIRECTORY,
                {"pk": f"CLIENT#{client}", "sk": f"TEMPLATE#{TEMPLATE}", **template},
            )

    def profile(self, client, **more):
        digest = hashlib.sha256(key(client).encode()).hexdigest()
        return {
            "pk": f"CLIENT#{client}",
            "sk": "PROFILE",
            "name": client,
            "api_keys": [{"digest": digest, "created_at": 0}],
            "countries": ["*"],
            "limits": ROOMY,
            **more,
        }

    # ---------------------------------------------------------------- calls and their answers

    def call(self, instance, sample, client, body=None, repeat=None):
        payload = json.loads((EVENTS / f"{sample}.json").read_text())
        payload["headers"]["x-api-key"] = key(client)
        if repeat:
            payload["headers"]["idempotency-key"] = repeat
        if body:
            payload["body"] = json.dumps(body)
        status, _, answer = self.functions[instance].call(payload)
        return status, answer

    def request(self, expected, to, client="roomy", repeat=None, instance="request", **more):
        """Asks for a code; `expected` is the status and the error message. Answers the id."""
        body = {"to": to, "template_id": TEMPLATE, **more}
        status, answer = self.call(instance, "request", client, body, repeat)
        got = (status, answer.get("error_message"))
        if got != expected:
            raise Unexpected(f"a request was answered {got}, not {expected}")
        return answer.get("request_id")

    def validate(self, expected, request_id, code, client="roomy", repeat=None):
        body = {"code": code, "request_id": request_id}
        status, answer = self.call("validate", "validate-not-found", client, body, repeat)
        got = (status, answer.get("status"))
        if got != expected:
            raise Unexpected(f"a validation was answered {got}, not {expected}")

    def accepted(self, **more):
        """A number, and the id and code of a request for it."""
        to = next(self.numbers)
        request_id = self.request(OK, to, **more)
        return to, request_id, self.code_for(to)

    # ---------------------------------------------------------------- the flows

    def a_right_guess(self):
        _, request_id, code = self.accepted()
        self.validate(SUCCESS, request_id, code, repeat="right")
        self.validate(SUCCESS, request_id, code, repeat="right")
        self.validate(NOT_FOUND, request_id, code)

    def a_right_guess_after_wrong_ones(self):
        _, request_id, code = self.accepted()
        self.validate(NOT_MATCHED, request_id, wrong(code), repeat="wrong")
        self.validate(NOT_MATCHED, request_id, wrong(code), repeat="wrong")
        self.validate(SUCCESS, request_id, code)

    def a_guess_that_gets_lost(self):
        _, request_id, code = self.accepted()
        with self.functions["validate"].recorder.failing("dynamodb:UpdateItem", DROPPED, times=1):
            self.validate(SUCCESS, request_id, code)

    def exhausted_guesses(self):
        _, request_id, code = self.accepted()
        for nth in range(1, 6):
            self.validate(NOT_MATCHED, request_id, wrong(code, nth))
        self.validate(NOT_FOUND, request_id, code)

    def guesses_at_nothing(self):
        _, request_id, code = self.accepted()
        self.validate(NOT_FOUND, request_id, code, client="old")
        self.validate(NOT_FOUND, "no-uuid", code)
        self.validate(NOT_MATCHED, request_id, "no code")

    def a_repeated_request(self):
        to = next(self.numbers)
        first = self.request(OK, to, repeat="same")
        if self.request(OK, to, repeat="same") != first:
            raise Unexpected("a repeated request got another id")
        self.request((422, None), next(self.numbers), repeat="same")

    def a_repeated_rejection(self):
        to = next(self.numbers)
        for repeat in (None, "reject", "reject"):
            self.request((200, "CLIENT_COUNTRY_FORBIDDEN"), to, client="abroad", repeat=repeat)
        self.request((200, "TEMPLATE_NOT_FOUND"), to, repeat="none", template_id="none")

    def a_call_that_died_is_taken_over(self):
        to = next(self.numbers)
        request_id = self.request(OK, to, repeat="died")
        self.dies(request_id, lease_until=self.now + 3_600_000)
        self.request((409, "REQUEST_IN_PROGRESS"), to, repeat="died")
        self.dies(request_id, lease_until=0)
        self.request(OK, to, repeat="died")
        self.dies(request_id, lease_until=0)
        self.change(request_id, began_at=0, expires_at=0)
        self.request(OK, to, repeat="died")

    def dies(self, request_id, lease_until):
        """As if the function had been killed before it marked the send."""
        sends = self.verification(request_id)["sends"]
        sends["M"]["first"]["M"]["state"] = {"S": "stored"}
        sends["M"]["first"]["M"]["lease_until"] = {"N": str(lease_until)}
        self.change(request_id, sends=Typed(sends))

    def the_message_service_refuses(self):
        with self.functions["request"].recorder.failing("sns:Publish", OPTED_OUT):
            self.request((200, "GENERAL_ERROR"), next(self.numbers))
            self.request((200, "GENERAL_ERROR"), next(self.numbers), repeat="refused")
            self.put(VERIFICATIONS, {"id": "BALANCE#prepaid", "parts": 1})
            self.request((200, "GENERAL_ERROR"), next(self.numbers), "prepaid")

    def the_message_service_is_out_of_reach(self):
        with self.functions["request"].recorder.failing("sns:Publish", DROPPED):
            self.request((503, "GENERAL_ERROR"), next(self.numbers))
            self.request((503, "GENERAL_ERROR"), next(self.numbers), repeat="unreached")

    def a_code_cannot_be_stored(self):
        with self.functions["request"].recorder.failing("dynamodb:TransactWriteItems", DROPPED):
            self.request((503, "GENERAL_ERROR"), next(self.numbers))
            self.request((503, "GENERAL_ERROR"), next(self.numbers), repeat="unstored")

    def the_tables_refuse(self):
        to, request_id, code = self.accepted()
        with self.functions["request"].recorder.failing("dynamodb:TransactWriteItems", INVALID):
            self.request((500, "GENERAL_ERROR"), to)
        with self.functions["validate"].recorder.failing("dynamodb:UpdateItem", INVALID):
            self.validate((500, "REJECTED"), request_id, code)
        with self.functions["template"].recorder.failing("dynamodb:Query", INVALID):
            status, _ = self.call("template", "template", "roomy")
        if status != 500:
            raise Unexpected(f"a list of templates was answered {status}")

    def limits_are_hit(self):
        to = next(self.numbers)
        self.request(OK, to, client="narrow")
        self.request(LIMITED, to, client="narrow")
        self.request(LIMITED, to, client="narrow", repeat="limited")
        self.request(OK, next(self.numbers), client="daily")
        self.request(LIMITED, next(self.numbers), client="daily")
        self.request(OK, next(self.numbers), instance="request-capped")
        self.request(OK, next(self.numbers), instance="request-capped")
        self.request(LIMITED, next(self.numbers), instance="request-capped")

    def a_balance_is_spent(self):
        self.put(VERIFICATIONS, {"id": "BALANCE#prepaid", "parts": 1})
        self.request(OK, next(self.numbers), client="prepaid")
        self.request((200, "OUT_OF_BALANCE"), next(self.numbers), client="prepaid")

    def an_old_recipient_is_tidied(self):
        """A lock that has run out, and a long list of sends."""
        to = next(self.numbers)
        request_id = self.request(OK, to, client="old")
        recipient = "RECIPIENT#" + self.verification(request_id)["recipient"]["S"]
        failed = Typed(SS=[f"guess-{number}" for number in range(100)])
        self.change(recipient, sends=list(range(90)), failed=failed, failed_at=1)
        self.request(OK, to, client="old")
        left = self.verification(recipient)
        if "failed" in left or len(left["sends"]["L"]) > 40:
            raise Unexpected("the recipient was not tidied")

    def a_test_number(self):
        to, request_id, _ = self.accepted(client="old")
        digest = self.verification(request_id)["recipient"]["S"]
        self.put(DIRECTORY, self.profile("old", test_recipients=[digest]))
        self.request(OK, to, client="old", instance="request-testing")
        request_id = self.request(OK, to, client="old", instance="request-testing", repeat="test")
        self.validate(NOT_MATCHED, request_id, "0000000", client="old")

    def the_peppers_are_rotated(self):
        """While a code is on its way: functions that have read the secret before accept it after."""
        _, request_id, code = self.accepted()
        rotation = self.functions["rotation"]
        for step in ("createSecret", "setSecret", "testSecret", "finishSecret"):
            event = {"Step": step, "SecretId": "Secret", "ClientRequestToken": "first-rotation"}
            answer = rotation.invoke(event)
            if answer is not None:
                raise Unexpected(f"{step} was answered {answer}")
        self.validate(SUCCESS, request_id, code)
        event = {"Step": "createSecret", "SecretId": "Secret", "ClientRequestToken": "second"}
        answer = rotation.invoke(event)
        if "less than a day" not in answer["errorMessage"]:
            raise Unexpected(f"a second rotation was answered {answer}")
        (rule,) = stack.load().of_type("AWS::Events::Rule").values()
        answer = rotation.invoke(json.loads(rule["Targets"][0]["Input"]))
        if answer is not None:
            raise Unexpected(f"a rotation in time was answered {answer}")

    def new_versions_are_checked(self):
        check, reports = self.functions["pre-traffic"], []
        for fault in (contextlib.nullcontext, self.validate_refuses, self.nothing_may_be_sent):
            with fault():
                check.invoke({"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "hook-1"})
            report = "codedeploy:PutLifecycleEventHookExecutionStatus"
            reports.append(json.loads(check.recorder.asked[report])["status"])
        if reports != ["Succeeded", "Failed", "Failed"]:
            raise Unexpected(f"CodeDeploy was told {reports}")

    def validate_refuses(self):
        return self.functions["validate"].recorder.failing("dynamodb:UpdateItem", INVALID)

    def nothing_may_be_sent(self):
        return self.functions["request"].recorder.failing("sns:Publish", DENIED)


OK = (200, "OK")
LIMITED = (429, "TOO_MANY_REQUESTS")
SUCCESS = (200, "success")
NOT_MATCHED = (200, "not_matched")
NOT_FOUND = (404, "not_found")
FLOWS = [
    Flows.a_right_guess,
    Flows.a_right_guess_after_wrong_ones,
    Flows.a_guess_that_gets_lost,
    Flows.exhausted_guesses,
    Flows.guesses_at_nothing,
    Flows.a_repeated_request,
    Flows.a_repeated_rejection,
    Flows.a_call_that_died_is_taken_over,
    Flows.the_message_service_refuses,
    Flows.the_message_service_is_out_of_reach,
    Flows.a_code_cannot_be_stored,
    Flows.the_tables_refuse,
    Flows.a_test_number,
    Flows.limits_are_hit,
    Flows.a_balance_is_spent,
    Flows.an_old_recipient_is_tidied,
    Flows.the_peppers_are_rotated,
    Flows.new_versions_are_checked,
]
