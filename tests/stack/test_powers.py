"""The comparison of powers.py must be able to fail: each statement and each use is put to the test."""

import copy
import http.client
import json
import unittest
import urllib.parse

import powers
import stack
from recorder import PHONE_NUMBER, Record, Recorder, understand

TABLE = stack.arn("AWS::DynamoDB::Table", "T")
TOPIC = stack.arn("AWS::SNS::Topic", "topic")


def statement(action, resource, effect="Allow", **more):
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


class Evaluator(unittest.TestCase):
    def assertAllowed(self, statements, *used):
        self.assertTrue(powers.allowed(statements, powers.use(*used)), statements)

    def assertNotAllowed(self, statements, *used):
        self.assertFalse(powers.allowed(statements, powers.use(*used)), statements)

    def test_nothing_is_allowed_unless_a_statement_says_so(self):
        self.assertNotAllowed([], "a:B", TABLE)
        self.assertAllowed([statement("a:B", TABLE)], "a:B", TABLE)
        self.assertNotAllowed([statement("a:B", TABLE)], "a:C", TABLE)
        self.assertNotAllowed([statement("a:B", TABLE)], "a:B", TABLE + "2")

    def test_actions_and_resources_may_be_lists(self):
        several = [statement(["a:B", "a:C"], [TABLE, TOPIC])]
        for action in ("a:B", "a:C"):
            for resource in (TABLE, TOPIC):
                self.assertAllowed(several, action, resource)

    def test_a_star_matches_any_text_and_a_question_mark_one_character(self):
        self.assertAllowed([statement("a:*", "*")], "a:B", TABLE)
        self.assertAllowed([statement("a:Get?", TABLE[:-1] + "?")], "a:Get1", TABLE)
        self.assertNotAllowed([statement("a:Get?", TABLE)], "a:Get", TABLE)
        self.assertNotAllowed([statement("a.B", TABLE)], "a:B", TABLE)

    def test_the_case_of_an_action_does_not_matter_that_of_a_resource_does(self):
        self.assertAllowed([statement("A:b", TABLE)], "a:B", TABLE)
        self.assertNotAllowed([statement("a:B", TABLE.upper())], "a:B", TABLE)

    def test_a_denial_wins(self):
        both = [statement("a:*", "*"), statement("a:B", TABLE, "Deny")]
        for order in (both, both[::-1]):
            self.assertNotAllowed(order, "a:B", TABLE)
            self.assertAllowed(order, "a:C", TABLE)

    def test_a_phone_number_is_matched_by_a_star_and_by_no_arn(self):
        publish = "sns:Publish"
        everything = statement(publish, "*")
        no_arn = statement(publish, "arn:aws:sns:*:*:*", "Deny")
        self.assertAllowed([everything, no_arn], publish, PHONE_NUMBER)
        self.assertNotAllowed([everything, no_arn], publish, TOPIC)
        self.assertNotAllowed([statement(publish, "arn:*")], publish, PHONE_NUMBER)

    def test_a_condition_on_partition_keys_must_hold(self):
        for operator, pattern in [("StringLike", "CLIENT#a-*"), ("StringEquals", "CLIENT#a-1")]:
            condition = {f"ForAllValues:{operator}": {"dynamodb:LeadingKeys": pattern}}
            allow = statement("a:B", TABLE, Condition=condition)
            deny = statement("a:B", TABLE, "Deny", Condition=condition)
            everything = statement("a:B", TABLE)
            self.assertTrue(powers.is_understood(allow))
            self.assertAllowed([allow], "a:B", TABLE, "CLIENT#a-1")
            self.assertNotAllowed([allow], "a:B", TABLE, "CLIENT#b-1")
            self.assertNotAllowed([allow], "a:B", TABLE, "CLIENT#a-1", "CLIENT#b-1")
            self.assertNotAllowed([everything, deny], "a:B", TABLE, "CLIENT#a-1")
            self.assertAllowed([everything, deny], "a:B", TABLE, "CLIENT#b-1")
            for key, is_used in [("CLIENT#a-1", True), ("CLIENT#b-1", False)]:
                uses = {powers.use("a:B", TABLE, key)}
                self.assertEqual(powers.is_used(allow, "a:B", TABLE, uses), is_used)

    def test_what_is_not_understood_is_known(self):
        for more in [
            {"Condition": {"Bool": {"aws:SecureTransport": "true"}}},
            {"Condition": {"StringLike": {"dynamodb:LeadingKeys": "a"}}},
            {"Condition": {"ForAnyValue:StringEquals": {"kms:ViaService": "a"}}},
            {"Condition": {"ForAllValues:StringLike": {"dynamodb:Attributes": "a"}}},
            {"NotAction": "a:B"},
            {"Principal": "*"},
        ]:
            self.assertFalse(powers.is_understood(statement("a:B", TABLE, **more)), more)

    def test_a_grant_is_used_only_by_what_needs_just_that(self):
        uses = {powers.use("a:B", TABLE), powers.use("sns:Publish", PHONE_NUMBER)}
        self.assertTrue(powers.is_used({}, "a:B", TABLE, uses))
        self.assertTrue(powers.is_used({}, "sns:Publish", "*", uses))
        for action, resource in [
            ("a:C", TABLE),
            ("a:*", TABLE),
            ("a:B", "*"),
            ("a:B", TABLE[:-1] + "*"),
            ("a:B", TABLE[:-1] + "?"),
            ("a:B", TABLE + "*"),
            ("sns:Publish", TOPIC),
        ]:
            self.assertFalse(powers.is_used({}, action, resource, uses), (action, resource))

    def test_a_grant_may_leave_open_what_no_policy_can_know(self):
        group = f"arn:aws:codedeploy:{stack.REGION}:{stack.ACCOUNT}:deploymentgroup:App"
        uses = {powers.use("codedeploy:Put", f"{group}/any")}
        self.assertTrue(powers.is_used({}, "codedeploy:Put", f"{group}/*", uses))
        self.assertFalse(powers.is_used({}, "codedeploy:Put", "*", uses))
        function = stack.arn("AWS::Lambda::Function", "F")
        uses = {powers.use("lambda:InvokeFunction", f"{function}:7")}
        self.assertTrue(powers.is_used({}, "lambda:InvokeFunction", f"{function}:*", uses))
        self.assertFalse(powers.is_used({}, "lambda:InvokeFunction", f"{function}*", uses))


class Recording(unittest.TestCase):
    def understood(self, path="/", target=None, body=b"{}"):
        service, _, [(action, resource, _)] = understand(path, {"x-amz-target": target or ""}, body)
        return service, action, resource

    def test_a_transaction_is_authorised_by_the_actions_of_its_parts(self):
        kinds = ["Put", "Update", "ConditionCheck", "Delete"]
        parts = [{kind: {"TableName": "T", "Key": {"id": {"S": kind}}}} for kind in kinds]
        target = {"x-amz-target": "DynamoDB_20120810.TransactWriteItems"}
        body = json.dumps({"TransactItems": parts}).encode()
        _, action, calls = understand("/", target, body)
        self.assertEqual(action, "dynamodb:TransactWriteItems", "as which it may fail")
        actions = ["PutItem", "UpdateItem", "ConditionCheckItem", "DeleteItem"]
        self.assertEqual(
            [(action, resource) for action, resource, _ in calls],
            [(f"dynamodb:{action}", TABLE) for action in actions],
        )

    def test_a_call_is_known_by_its_action_and_resource(self):
        for target, body, action, resource in [
            ("DynamoDB_20120810.Scan", {"TableName": "T"}, "dynamodb:Scan", TABLE),
            ("DynamoDB_20120810.Query", {"TableName": TABLE}, "dynamodb:Query", TABLE),
            (
                "DynamoDB_20120810.Query",
                {"TableName": "T", "IndexName": "I"},
                "dynamodb:Query",
                f"{TABLE}/index/I",
            ),
            (
                "secretsmanager.PutSecretValue",
                {"SecretId": "S"},
                "secretsmanager:PutSecretValue",
                stack.arn("AWS::SecretsManager::Secret", "S"),
            ),
        ]:
            with self.subTest(target=target, body=body):
                understood = self.understood(target=target, body=json.dumps(body).encode())
                self.assertEqual(understood[1:], (action, resource))

    def test_a_message_goes_to_a_number_or_to_a_topic(self):
        for name, value, resource in [
            ("PhoneNumber", "+447400123456", PHONE_NUMBER),
            ("TopicArn", TOPIC, TOPIC),
        ]:
            body = urllib.parse.urlencode({"Action": "Publish", name: value}).encode()
            self.assertEqual(self.understood(body=body), ("sns", "sns:Publish", resource))

    def test_an_invocation_names_function_and_version(self):
        version = stack.arn("AWS::Lambda::Function", "F") + ":7"
        whole = urllib.parse.quote(version, safe="")
        for name, query in [("F:7", ""), ("F", "?Qualifier=7"), (whole, "")]:
            path = f"/2015-03-31/functions/{name}/invocations{query}"
            self.assertEqual(
                self.understood(path), ("lambda", "lambda:InvokeFunction", version), path
            )

    def test_of_values_only_partition_keys_are_kept(self):
        for operation, body, kept in [
            (
                "PutItem",
                {
                    "TableName": "VerificationsTable",
                    "Item": {"id": {"S": "1"}, "code#DIGEST": {"S": "verified"}, "ttl": {"N": "2"}},
                },
                {
                    "keys": [],
                    "leading": ["1"],
                    "written": {"id": "S", "code#": "S", "ttl": "N"},
                },
            ),
            (
                "DeleteItem",
                {"TableName": "DirectoryTable", "Key": {"pk": {"S": "1"}, "sk": {"S": "2"}}},
                {"keys": ["pk", "sk"], "leading": ["1"], "written": {"pk": "S", "sk": "S"}},
            ),
            (
                "Query",
                {
                    "TableName": "DirectoryTable",
                    "KeyConditionExpression": "#p = :one AND begins_with(sk, :two)",
                    "ExpressionAttributeNames": {"#p": "pk"},
                    "ExpressionAttributeValues": {":one": {"S": "1"}, ":two": {"S": "2"}},
                },
                {"keys": ["pk", "sk"], "leading": ["1"], "written": {}},
            ),
        ]:
            target = {"x-amz-target": f"DynamoDB_20120810.{operation}"}
            _, _, [(*_, seen)] = understand("/", target, json.dumps(body).encode())
            self.assertEqual(seen, kept, operation)

    def test_what_a_function_measured_is_kept(self):
        record = Record()
        directive = {
            "Namespace": "Twofa",
            "Dimensions": [["Endpoint"], ["Endpoint", "Outcome"]],
            "Metrics": [{"Name": "Calls", "Unit": "Count"}, {"Name": "Absent"}],
        }
        line = {"_aws": {"CloudWatchMetrics": [directive]}, "Calls": 1, "Endpoint": "a"}
        log = "\n".join(["START", '{"level": "INFO"}', json.dumps({**line, "Outcome": "b"})])
        record.add_metrics(log)
        endpoint, outcome = ("Endpoint", "a"), ("Outcome", "b")
        expected = {("Calls", (endpoint,)), ("Calls", (endpoint, outcome))}
        self.assertEqual(record.metrics, expected)

    def test_a_service_that_is_a_value_answers_with_it(self):
        record = Record()
        recorder = Recorder("F", {"codedeploy": {"done": True}}, record)
        self.addCleanup(recorder.stop)
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(recorder.url).netloc)
        self.addCleanup(connection.close)
        operation = "PutLifecycleEventHookExecutionStatus"
        target = {"X-Amz-Target": f"CodeDeploy_20141006.{operation}"}
        connection.request("POST", "/", b"{}", target)
        self.assertEqual(json.load(connection.getresponse()), {"done": True})
        ((function, action, resource),) = record.calls
        self.assertEqual((function, action), ("F", f"codedeploy:{operation}"))
        self.assertIn(":deploymentgroup:", resource)


class ThisStack(unittest.TestCase):
    """The template as it is, and each way to make it worse."""

    parameters = None

    @classmethod
    def setUpClass(cls):
        cls.stack = stack.load(cls.parameters)
        cls.recorded = powers.read(stack.RECORD)

    def each_statement(self, effect):
        roles = {function: self.stack.role(function) for function in self.stack.functions()}
        return [
            (owner, one)
            for owner, role in {**roles, "DeploymentRole": "DeploymentRole"}.items()
            for one in self.stack.statements_of_role(role)
            if one.body["Effect"] == effect
        ]

    def findings(self, one=None, change=None, recorded=None):
        changed = self.stack.changed(one.path, change) if one else self.stack
        return powers.compare(changed, recorded or self.recorded)

    def edited(self, one, **more):
        return self.findings(one, lambda statements, index: statements[index].update(more))

    def removed(self, one):
        return self.findings(one, lambda statements, index: statements.pop(index))

    def assertFound(self, beginning, findings):
        self.assertTrue(
            any(finding.startswith(beginning) for finding in findings),
            f"not found: {beginning}\nbut: {findings}",
        )

    def test_powers_granted_are_powers_used(self):
        self.assertEqual(self.findings(), [])

    def test_a_grant_that_is_taken_away_is_missed(self):
        for function, one in self.each_statement("Allow"):
            for action in stack.listed(one.body["Action"]):
                found = self.removed(one)
                self.assertFound(f"{function}: used but not granted: {action} on", found)

    def test_a_denial_that_is_taken_away_is_missed(self):
        for function, one in self.each_statement("Deny"):
            action = stack.listed(one.body["Action"])[0]
            self.assertFound(f"{function}: granted but never used: {action} on", self.removed(one))

    def test_a_denial_of_what_is_used_is_found(self):
        for function, one in self.each_statement("Allow"):
            action = stack.listed(one.body["Action"])[0]
            found = self.edited(one, Effect="Deny")
            self.assertFound(f"{function}: used but not granted: {action} on", found)

    def test_an_action_too_many_is_found(self):
        for function, one in self.each_statement("Allow"):
            actions = stack.listed(one.body["Action"])
            service = actions[0].partition(":")[0]
            for more in ("dynamodb:Scan", f"{service}:*", "*"):
                found = self.edited(one, Action=[*actions, more])
                self.assertFound(f"{function}: granted but never used: {more} on", found)

    def test_a_resource_too_many_is_found(self):
        other = stack.arn("AWS::DynamoDB::Table", "OtherTable")
        for function, one in self.each_statement("Allow"):
            found = self.edited(one, Resource=[*stack.listed(one.body["Resource"]), other])
            action = stack.listed(one.body["Action"])[0]
            self.assertFound(f"{function}: granted but never used: {action} on {other}", found)

    def test_a_wider_resource_is_found(self):
        for function, one in self.each_statement("Allow"):
            action = stack.listed(one.body["Action"])[0]
            for resource in stack.listed(one.body["Resource"]):
                for wider in {"*", resource[:-1] + "*", resource + "*"}:
                    if not powers.covers(resource, wider):
                        found = self.edited(one, Resource=wider)
                        line = f"{function}: granted but never used: {action} on {wider} "
                        self.assertFound(line, found)

    def test_a_use_that_ends_leaves_a_grant_behind(self):
        for function, uses in self.recorded.items():
            for ended in {(used.action, used.resource) for used in uses}:
                others = {used for used in uses if (used.action, used.resource) != ended}
                found = self.findings(recorded={**self.recorded, function: others})
                self.assertFound(f"{function}: granted but never used: {ended[0]} on", found)

    def test_a_condition_that_does_not_fit_is_found(self):
        condition = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": "nobody"}}
        for function, one in self.each_statement("Allow"):
            action = stack.listed(one.body["Action"])[0]
            if action.startswith("dynamodb:"):
                found = self.edited(one, Condition=condition)
                self.assertFound(f"{function}: used but not granted: {action} on", found)
                self.assertFound(f"{function}: granted but never used: {action} on", found)

    def test_a_function_that_was_never_called_is_found(self):
        for function in self.recorded:
            with self.subTest(function=function):
                recorded = copy.copy(self.recorded)
                del recorded[function]
                found = self.findings(recorded=recorded)
                self.assertFound(f"{function}: granted but never used", found)

    def test_a_function_that_is_not_of_the_stack_is_found(self):
        found = self.findings(recorded={**self.recorded, "Other": set()})
        self.assertFound("Other: ", found)

    def test_what_cannot_be_judged_is_found(self):
        for function, one in self.each_statement("Allow"):
            found = self.edited(one, Condition={"Bool": {"aws:SecureTransport": "true"}})
            self.assertFound(f"{function}: cannot be judged", found)
        for function in self.stack.functions():
            worse = copy.deepcopy(self.stack)
            role = worse.resources[worse.role(function)]["Properties"]
            foreign = "arn:aws:iam::aws:policy/PowerUserAccess"
            role["ManagedPolicyArns"] = [*role.get("ManagedPolicyArns", []), foreign]
            with self.subTest(function=function):
                found = powers.compare(worse, self.recorded)
                self.assertFound(f"{function}: cannot be judged", found)

    def test_a_log_that_may_not_be_written_is_found(self):
        for function in self.stack.functions():
            worse = copy.deepcopy(self.stack)
            role = worse.resources[worse.role(function)]["Properties"]
            role["ManagedPolicyArns"] = []
            role["Policies"] = []
            with self.subTest(function=function):
                found = powers.compare(worse, self.recorded)
                self.assertFound(f"{function}: used but not granted: logs:PutLogEvents on", found)


class WithEverything(ThisStack):
    """The same where every optional resource is made: a key of one's own, kept instances, a cap."""

    parameters = stack.EVERYTHING

    def test_the_key_serves_no_other_service(self):
        for owner, one in self.each_statement("Allow"):
            if stack.listed(one.body["Action"])[0].startswith("kms:"):
                found = self.edited(one, Condition={"StringEquals": {"kms:ViaService": "s3"}})
                self.assertFound(f"{owner}: used but not granted: kms:", found)
                self.assertFound(f"{owner}: granted but never used: kms:", found)
                self.assertFound(
                    f"{owner}: cannot be judged",
                    self.edited(one, Condition={"Null": {"kms:ViaService": "false"}}),
                )


if __name__ == "__main__":
    unittest.main()
