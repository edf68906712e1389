"""The sample events of events/ and how each must be answered, whatever runs the functions."""

import base64
import contextlib
import json
import pathlib
import re
import signal
import socket
import sys
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIMEOUT = 20  # seconds that anything may take; a function has 15
FUNCTIONS = {
    "request": "RequestFunction",
    "validate": "ValidateFunction",
    "template": "TemplateFunction",
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

ACCEPTED = {"status": "ACCEPTED", "request_id": UUID, "error_message": "OK"}
SUCCESS = {"verified": True, "status": "success"}
NOT_MATCHED = {"verified": False, "status": "not_matched"}
NOT_FOUND = {"verified": False, "status": "not_found"}


def rejected(code, **more):
    return {"status": "REJECTED", **more, "error_message": code}


def malformed(*properties):
    """Matches the body of a 400 that complains about exactly these properties."""

    def matches(body):
        errors = body["errors"]
        return sorted(error["property"] for error in errors) == sorted(properties) and all(
            error["error"] for error in errors
        )

    return matches


def both_templates(body):
    return [template["name"] for template in body["data"]] == ["Login", "Payment"] and all(
        template["text"].count("${code}") == 1 for template in body["data"]
    )


# event, function, status, body, headers
OUTCOMES = [
    ("request-with-parameters", "request", 200, ACCEPTED, {}),
    ("request-base64", "request", 200, ACCEPTED, {}),
    (
        "request-rejected-address",
        "request",
        200,
        rejected("DESTINATION_ADDRESS_INVALID", request_id=UUID),
        {},
    ),
    (
        "request-rejected-template",
        "request",
        200,
        rejected("TEMPLATE_NOT_FOUND", request_id=UUID),
        {},
    ),
    ("request-malformed", "request", 400, malformed("to", "template_id", "parameters"), {}),
    ("request-unauthorized", "request", 401, rejected("UNAUTHORIZED"), {}),
    ("validate-not-found", "validate", 404, NOT_FOUND, {}),
    ("validate-malformed", "validate", 400, malformed("code", "request_id"), {}),
    ("template", "template", 200, both_templates, {}),
    ("unknown-path", "template", 404, rejected("NOT_FOUND"), {}),
    ("wrong-method", "template", 405, rejected("METHOD_NOT_ALLOWED"), {"allow": "POST"}),
]


class Failed(Exception):
    """A check that did not hold; the message says which and what came instead."""


def end(*_):
    """Handles SIGTERM: unwinds once, so that a run that is stopped, even twice, stops what it started."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def fetch(url, data=None):
    with urllib.request.urlopen(url, data, TIMEOUT) as response:
        return json.load(response)


def free_port(host="127.0.0.1"):
    with socket.socket() as listener:
        listener.bind((host, 0))
        return listener.getsockname()[1]


def event(name):
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


def matches(value, expected):
    if callable(expected):
        return expected(value)
    if isinstance(expected, re.Pattern):
        return isinstance(value, str) and bool(expected.fullmatch(value))
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(matches(value[key], expected[key]) for key in expected)
        )
    return value == expected


class Function:
    """A function, however it is run: the rest of the class says how to `call` it."""

    def __init__(self, name, log):
        self.name = name
        self.log = log

    def call(self, payload):
        """Sends an event; answers status, headers and parsed body."""
        raise NotImplementedError

    def expect(self, payload, status, body, headers=None):
        """Calls, compares, and answers the body."""
        got_status, got_headers, got_body = self.call(payload)
        expected_headers = {
            "content-type": "application/json",
            "cache-control": "no-store",
            "x-request-id": re.compile(".+"),
            **(headers or {}),
        }
        if got_status != status or not matches(got_body, body):
            raise Failed(f"expected {status}, got {got_status} {got_body}")
        for name, value in expected_headers.items():
            if not matches(got_headers.get(name), value):
                raise Failed(f"header {name}: {got_headers.get(name)!r}")
        return got_body


def http_response(answer):
    """Status, headers and parsed body of what a function answers to the gateway."""
    if "statusCode" not in answer:
        raise Failed(f"no HTTP response but {answer}")
    headers = {
        name: ",".join(values) for name, values in (answer.get("multiValueHeaders") or {}).items()
    }
    headers.update(answer.get("headers") or {})
    body = answer.get("body") or ""
    if answer.get("isBase64Encoded"):
        body = base64.b64decode(body)
    return (
        answer["statusCode"],
        {name.lower(): value for name, value in headers.items()},
        json.loads(body),
    )


class Report:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    @contextlib.contextmanager
    def check(self, title, *functions):
        try:
            yield
        # Whatever goes wrong is one failed check; the others still run.
        except Exception as error:  # noqa: BLE001
            self.failed += 1
            print(f"FAILED  {title}: {type(error).__name__}: {error}")
            for function in functions:
                print(f"--- log of {function.name}")
                print(function.log.read_text(errors="replace")[-4000:].rstrip())
                print("---")
        else:
            self.passed += 1
            print(f"passed  {title}")


def newest_sms(laptop, to):
    number = "+" + re.sub(r"\D", "", to)
    inbox = fetch(f"{laptop}/inbox?to={urllib.parse.quote(number, safe='')}")
    if not inbox:
        raise Failed(f"no SMS to {number}")
    return inbox[0]["text"]


def code_in(text):
    codes = re.findall(r"(?<!\d)\d{4,10}(?!\d)", text)
    if len(codes) != 1:
        raise Failed(f"expected one code in the SMS, found {len(codes)}")
    return codes[0]


def validation(request_id, code):
    payload = event("validate-not-found")
    payload["body"] = json.dumps({"code": code, "request_id": request_id})
    return payload


def check_samples(functions, report):
    for name, function, status, body, headers in OUTCOMES:
        with report.check(f"{name}.json is answered {status}", functions[function]):
            functions[function].expect(event(name), status, body, headers)
    samples = {path.stem for path in (ROOT / "events").glob("*.json")}
    with report.check("every sample event was sent"):
        missed = samples - {outcome[0] for outcome in OUTCOMES} - {"request"}
        if missed:
            raise Failed(f"no outcome for {sorted(missed)}")


def check_flow(functions, laptop, report):
    request, validate = functions["request"], functions["validate"]
    with report.check("an SMS carries its parameters"):
        sent = json.loads(event("request-with-parameters")["body"])
        if sent["parameters"]["amount"] not in newest_sms(laptop, sent["to"]):
            raise Failed("the amount is not in the SMS")
    with report.check(
        "request.json, then its code: matched once, then never again", request, validate
    ):
        request_id = request.expect(event("request"), 200, ACCEPTED)["request_id"]
        code = code_in(newest_sms(laptop, json.loads(event("request")["body"])["to"]))
        wrong = str((int(code) + 1) % 10 ** len(code)).zfill(len(code))
        validate.expect(validation(request_id, wrong), 200, NOT_MATCHED)
        validate.expect(validation(request_id, code), 200, SUCCESS)
        validate.expect(validation(request_id, code), 404, NOT_FOUND)
