"""The template as CloudFormation would read it fits the contract, the code and itself."""

import copy
import json
import re
import textwrap
import unittest

import stack

# What a dimension of AWS's metrics names.
DIMENSIONS = {
    "AlarmName": ["AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"],
    "ApiId": ["AWS::ApiGatewayV2::Api"],
    "FunctionName": ["AWS::Lambda::Function"],
    "LogGroupName": ["AWS::Logs::LogGroup"],
    "QueueName": ["AWS::SQS::Queue"],
    "Stage": ["AWS::ApiGatewayV2::Stage"],
    "TableName": ["AWS::DynamoDB::Table"],
    "TopicName": ["AWS::SNS::Topic"],
}


def names(the_stack, kinds):
    """The names that resources of these kinds have in the metrics."""
    found = {name for kind in kinds for name in the_stack.of_type(kind)}
    stages = the_stack.of_type("AWS::ApiGatewayV2::Stage")
    return found | {stages[name]["StageName"] for name in found & stages.keys()}


def widget_metrics(rows):
    """The rows of a dashboard's widget, with `.` and `...` written out."""
    previous = []
    for row in rows:
        fields = [field for field in row if isinstance(field, str)]
        if not fields:
            continue  # an expression over other rows
        if "..." in fields:
            at = fields.index("...")
            rest = fields[at + 1 :]
            fields = previous[: len(previous) - len(rest)] + rest
        fields = [previous[nth] if field == "." else field for nth, field in enumerate(fields)]
        previous = fields
        namespace, metric, *dimensions = fields
        yield namespace, metric, dict(zip(dimensions[::2], dimensions[1::2], strict=True))


def metrics(the_stack):
    """Each metric that is looked at: where, its namespace, name and dimensions."""
    for name, alarm in the_stack.of_type("AWS::CloudWatch::Alarm").items():
        own = [alarm] if "MetricName" in alarm else []
        for part in alarm.get("Metrics", []):
            own += [part["MetricStat"]["Metric"]] if "MetricStat" in part else []
        for metric in own:
            dimensions = {one["Name"]: one["Value"] for one in metric.get("Dimensions", [])}
            yield name, metric["Namespace"], metric["MetricName"], dimensions
    for name, dashboard in the_stack.of_type("AWS::CloudWatch::Dashboard").items():
        for widget in json.loads(dashboard["DashboardBody"])["widgets"]:
            rows = widget.get("properties", {}).get("metrics", [])
            for metric in widget_metrics(rows):
                yield name, *metric


def dangling(the_stack, measured):
    """What is watched but is not there, a line each; `measured` are the functions' own metrics."""
    filtered = [
        {"name": made["MetricName"], "dimensions": {}}
        for metric in the_stack.of_type("AWS::Logs::MetricFilter").values()
        for made in metric["MetricTransformations"]
    ]
    for where, namespace, metric, dimensions in metrics(the_stack):
        for dimension, value in dimensions.items():
            kinds = DIMENSIONS.get(dimension)
            if kinds and value not in names(the_stack, kinds):
                yield f"{where}: {metric} of {dimension} {value}"
        # A function's metric may be that of one of its versions or aliases.
        function = dimensions.get("Resource", "").partition(":")[0]
        if function and function not in the_stack.functions():
            yield f"{where}: {metric} of Resource {dimensions['Resource']}"
        own = {"name": metric, "dimensions": dimensions}
        if not namespace.startswith("AWS/") and own not in [*measured, *filtered]:
            yield f"{where}: {metric} of {dimensions}, which no function measured"
    for name, alarm in the_stack.of_type("AWS::CloudWatch::CompositeAlarm").items():
        alarms = names(the_stack, DIMENSIONS["AlarmName"])
        for other in re.findall(r"\(\"?([^()\"]+)\"?\)", alarm["AlarmRule"]):
            if other.rpartition(":")[2] not in alarms:
                yield f"{name}: alarm {other}"
    for name, dashboard in the_stack.of_type("AWS::CloudWatch::Dashboard").items():
        for widget in json.loads(dashboard["DashboardBody"])["widgets"]:
            properties = widget.get("properties", {})
            for other in properties.get("alarms", []):
                if other.rpartition(":")[2] not in names(the_stack, DIMENSIONS["AlarmName"]):
                    yield f"{name}: alarm {other}"
            if widget["type"] == "log":
                for group in re.findall(r"SOURCE '([^']+)'", properties["query"]):
                    if group not in names(the_stack, DIMENSIONS["LogGroupName"]):
                        yield f"{name}: log group {group}"


def unquoted(the_stack):
    """Names in the searches of dashboards that CloudWatch would not read as one, a line each."""
    for name, dashboard in the_stack.of_type("AWS::CloudWatch::Dashboard").items():
        widgets = json.loads(dashboard["DashboardBody"])["widgets"]
        rows = [row for widget in widgets for row in widget["properties"]["metrics"]]
        for expression in (
            cell["expression"] for row in rows for cell in row if "expression" in cell
        ):
            for schema in re.findall(r"SEARCH\('\{([^}]*)\}", expression):
                for field in schema.split(","):
                    if not re.fullmatch(r'[\w/]+|"[^"]+"', field):
                        yield f"{name}: {field}"


class Dashboards(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = stack.load()

    def test_each_search_finds_a_stack_whose_name_has_a_hyphen(self):
        self.assertEqual(list(unquoted(self.stack)), [])

    def test_a_name_that_needs_quotes_is_found(self):
        worse = copy.deepcopy(self.stack)
        (board,) = worse.of_type("AWS::CloudWatch::Dashboard").values()
        board["DashboardBody"] = board["DashboardBody"].replace('\\"', "")
        self.assertIn("Dashboard: Twofa/twofa-prod", list(unquoted(worse)))

    def test_each_widget_is_a_line(self):
        (board,) = self.stack.of_type("AWS::CloudWatch::Dashboard").values()
        lines = [line.strip().rstrip(",") for line in board["DashboardBody"].splitlines()]
        widgets = [json.loads(line) for line in lines if line.startswith('{"')]
        self.assertEqual(widgets, json.loads(board["DashboardBody"])["widgets"])


class ThisStack(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = stack.load(stack.EVERYTHING)
        record = json.loads(stack.RECORD.read_text())
        cls.calls, cls.measured = record["calls"], record["metrics"]

    def calls_of_table(self, table):
        resource = stack.arn("AWS::DynamoDB::Table", table)
        return [call for call in self.calls if call["resource"] == resource]

    def test_routes_are_those_of_the_contract(self):
        contract = json.loads((stack.ROOT / "openapi.json").read_text())
        promised = {
            (method, server["url"].rstrip("/") + path): path.rpartition("/")[2]
            for server in contract["servers"]
            for path, methods in contract["paths"].items()
            for method in methods
        }
        routes = self.stack.routes()
        unmatched = routes.pop(("x-amazon-apigateway-any-method", "$default"))
        self.assertIn(unmatched, self.stack.functions())
        binaries = {
            route: self.stack.resources[function]["Metadata"]["BuildProperties"]["Binary"]
            for route, function in routes.items()
        }
        self.assertEqual(binaries, promised)

    def test_the_gateway_may_call_each_function_that_a_route_leads_to(self):
        permitted = {
            permission["FunctionName"].rpartition("function:")[2].partition(":")[0]
            for permission in self.stack.of_type("AWS::Lambda::Permission").values()
            if permission["Principal"] == "apigateway.amazonaws.com"
        }
        self.assertEqual(set(self.stack.routes().values()) - permitted, set())

    def test_keys_of_tables_are_those_that_are_used(self):
        for table, properties in self.stack.of_type("AWS::DynamoDB::Table").items():
            keys = {key["AttributeName"]: key["KeyType"] for key in properties["KeySchema"]}
            types = {
                one["AttributeName"]: [one["AttributeType"]]
                for one in properties["AttributeDefinitions"]
            }
            (partition,) = (key for key, kind in keys.items() if kind == "HASH")
            calls = self.calls_of_table(table)
            self.assertTrue(calls, f"nothing was asked of {table}")
            for call in calls:
                with self.subTest(table=table, call=call["action"]):
                    for used in call["keys"]:
                        self.assertIn(partition, used)
                        self.assertEqual(set(used) - keys.keys(), set())
                        if call["action"] != "dynamodb:Query":
                            self.assertEqual(set(used), keys.keys())
                    if call["written"]:
                        written = {key: call["written"].get(key) for key in keys}
                        self.assertEqual(written, {key: types[key] for key in keys})

    def test_times_to_live_are_written_as_numbers(self):
        for table, properties in self.stack.of_type("AWS::DynamoDB::Table").items():
            if "TimeToLiveSpecification" in properties:
                name = properties["TimeToLiveSpecification"]["AttributeName"]
                written = [
                    call["written"].get(name)
                    for call in self.calls_of_table(table)
                    if call["action"] == "dynamodb:PutItem"
                ]
                with self.subTest(table=table):
                    self.assertTrue(written)
                    self.assertEqual(written, [["N"]] * len(written))

    def test_what_is_watched_is_there(self):
        self.assertEqual(list(dangling(self.stack, self.measured)), [])


class Resolution(unittest.TestCase):
    """The stand-in for CloudFormation, on templates made for it."""

    def made(self, body, parameters=None):
        head = "Transform: AWS::Serverless-2016-10-31\n"
        return stack.Stack(stack.transform(head + textwrap.dedent(body), parameters), parameters)

    def test_what_a_condition_excludes_is_not_made(self):
        body = """
            Parameters: {Colour: {Type: String, Default: ''}}
            Conditions:
              Any: !Not [!Equals [!Ref Colour, '']]
              Red: !And [!Condition Any, !Equals [!Ref Colour, red]]
            Resources:
              Always:
                Type: AWS::SNS::Topic
                Properties: {DisplayName: !If [Any, !Ref Colour, !Ref AWS::NoValue]}
              Sometimes: {Type: AWS::SNS::Topic, Condition: Red}
        """
        self.assertEqual(self.made(body).of_type("AWS::SNS::Topic"), {"Always": {}})
        red = self.made(body, {"Colour": "red"}).of_type("AWS::SNS::Topic")
        self.assertEqual(red, {"Always": {"DisplayName": "red"}, "Sometimes": {}})

    def test_references_become_values(self):
        body = """
            Resources:
              T: {Type: AWS::DynamoDB::Table}
              S: {Type: AWS::SecretsManager::Secret}
              V:
                Type: Any
                Properties:
                  Name: !Ref T
                  Arn: !GetAtt T.Arn
                  Secret: !Ref S
                  Text: !Sub ['${T} in ${AWS::Region}, ${Given}, ${!Kept}', {Given: !GetAtt T.Arn}]
                  Joined: !Join ['/', [a, !Ref T]]
        """
        table = "arn:aws:dynamodb:us-east-1:123456789012:table/T"
        self.assertEqual(
            self.made(body).resources["V"]["Properties"],
            {
                "Name": "T",
                "Arn": table,
                "Secret": "arn:aws:secretsmanager:us-east-1:123456789012:secret:S",
                "Text": f"T in us-east-1, {table}, ${{Kept}}",
                "Joined": "a/T",
            },
        )
        for nothing in ("!Ref Nothing", "!Sub '${Nothing.Arn}'", "!GetAtt Nothing.Arn"):
            with self.subTest(nothing), self.assertRaises(stack.StackError):
                self.made(f"Resources: {{V: {{Type: Any, Properties: {{P: {nothing}}}}}}}")

    def test_statements_are_found_wherever_they_stand(self):
        allow = "{Effect: Allow, Action: 'a:%s', Resource: '*'}"
        body = f"""
            Resources:
              Explicit:
                Type: AWS::Serverless::Function
                Properties:
                  Runtime: provided.al2023
                  Handler: bootstrap
                  CodeUri: .
                  Role: !GetAtt Role.Arn
                  AutoPublishAlias: live
              Generated:
                Type: AWS::Serverless::Function
                Properties:
                  Runtime: provided.al2023
                  Handler: bootstrap
                  CodeUri: .
                  Environment: {{Variables: {{VERSION: !Ref Explicit.Version}}}}
                  Policies:
                    - !Ref Shared
                    - Statement: {allow % "Own"}
              Role:
                Type: AWS::IAM::Role
                Properties:
                  ManagedPolicyArns: [!Ref Shared]
                  Policies: [{{PolicyName: p, PolicyDocument: {{Statement: [{allow % "Inline"}]}}}}]
              Shared:
                Type: AWS::IAM::ManagedPolicy
                Properties: {{PolicyDocument: {{Statement: [{allow % "Shared"}]}}}}
              Attached:
                Type: AWS::IAM::ManagedPolicy
                Properties:
                  Roles: [!Ref Role]
                  PolicyDocument: {{Statement: [{allow % "Attached"}]}}
              Policy:
                Type: AWS::IAM::Policy
                Properties:
                  PolicyName: p
                  Roles: [!Ref Role]
                  PolicyDocument: {{Statement: [{allow % "Policy"}]}}
        """
        made = self.made(body)

        def actions(function):
            return {one.body["Action"] for one in made.statements(function)}

        self.assertEqual(actions("Explicit"), {"a:Inline", "a:Shared", "a:Attached", "a:Policy"})
        self.assertEqual(actions("Generated"), {"a:Own", "a:Shared"})
        self.assertEqual(made.foreign_policies(made.role("Explicit")), [])
        (basic,) = made.foreign_policies(made.role("Generated"))
        self.assertTrue(basic.endswith("/AWSLambdaBasicExecutionRole"))
        self.assertEqual(
            made.functions()["Generated"]["Environment"]["Variables"]["VERSION"],
            stack.arn("AWS::Lambda::Function", "Explicit") + ":1",
        )

    def test_what_is_watched_but_is_not_there_is_found(self):
        body = """
            Resources:
              T: {Type: AWS::DynamoDB::Table}
              Good:
                Type: AWS::CloudWatch::Alarm
                Properties:
                  Namespace: AWS/DynamoDB
                  MetricName: SystemErrors
                  Dimensions: [{Name: TableName, Value: !Ref T}]
              Bad:
                Type: AWS::CloudWatch::Alarm
                Properties:
                  Metrics:
                    - Id: errors
                      MetricStat:
                        Metric:
                          Namespace: AWS/Lambda
                          MetricName: Errors
                          Dimensions: [{Name: FunctionName, Value: Gone}]
              Both:
                Type: AWS::CloudWatch::CompositeAlarm
                Properties: {AlarmRule: 'ALARM("Good") OR ALARM(Lost)'}
              Filtered:
                Type: AWS::Logs::MetricFilter
                Properties: {MetricTransformations: [{MetricName: Seen, MetricNamespace: Own}]}
              Board:
                Type: AWS::CloudWatch::Dashboard
                Properties:
                  DashboardBody: !Sub |
                    {"widgets": [
                      {"type": "metric", "properties": {"metrics": [
                        ["AWS/DynamoDB", "Reads", "TableName", "${T}", {"stat": "Sum"}],
                        [".", "Writes", ".", "."],
                        ["...", "Absent"],
                        [{"expression": "m1 + m2"}],
                        ["Own", "Sent", "To", "a"],
                        ["Own", "Sent", "To", "b"],
                        ["Own", "Seen"],
                        ["Own", "Unseen"],
                        ["AWS/Lambda", "Errors", "Resource", "Missing:live"]
                      ]}},
                      {"type": "alarm", "properties": {"alarms": ["${Good.Arn}", "a:b:NoAlarm"]}},
                      {"type": "log", "properties": {"query": "SOURCE 'NoLog' | limit 1"}}
                    ]}
        """
        self.assertEqual(
            sorted(dangling(self.made(body), [{"name": "Sent", "dimensions": {"To": "a"}}])),
            [
                "Bad: Errors of FunctionName Gone",
                "Board: Errors of Resource Missing:live",
                "Board: Sent of {'To': 'b'}, which no function measured",
                "Board: Unseen of {}, which no function measured",
                "Board: Writes of TableName Absent",
                "Board: alarm a:b:NoAlarm",
                "Board: log group NoLog",
                "Both: alarm Lost",
            ],
        )


if __name__ == "__main__":
    unittest.main()
