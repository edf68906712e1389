"""The stack as CloudFormation would make it, worked out without AWS.

template.yaml goes through the SAM transform, its parameters take their defaults, conditions are
decided, and every reference becomes a value that is made from a logical id: the name of a resource
is its logical id, its ARN is one of account 123456789012 in us-east-1.
"""

import copy
import dataclasses
import json
import logging
import pathlib
import re

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
MADE = ROOT / "target" / "stack"
# What functions.py saw the functions ask for, and the template as it is transformed.
RECORD = MADE / "record.json"
TRANSFORMED = MADE / "template.json"
REGION = "us-east-1"
ACCOUNT = "123456789012"
PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/twofa-prod/1",
    "AWS::StackName": "twofa-prod",
    "AWS::URLSuffix": "amazonaws.com",
}
# Parameters with which every optional resource is made.
EVERYTHING = {
    "AlarmEmail": "on-call@example.com",
    "CertificateArn": f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/1",
    "DailyPartCap": 1000,
    "DefaultSenderId": "Other",
    "DomainName": "2fa.example.com",
    "HostedZoneId": "Z0123456789",
    "KmsKeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1",
    "PermissionsBoundaryArn": f"arn:aws:iam::{ACCOUNT}:policy/Boundary",
    "ProvisionedConcurrency": 1,
    "ReservedConcurrency": 1,
    "RolePath": "/service/",
    "SilenceMinutes": 30,
}
VERSION = "1"  # of every published function
NO_VALUE = object()

# The ARN of a resource, with its logical id for `{}`.
ARNS = {
    "AWS::CloudWatch::Alarm": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{{}}",
    "AWS::CloudWatch::CompositeAlarm": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{{}}",
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{{}}",
    "AWS::IAM::ManagedPolicy": f"arn:aws:iam::{ACCOUNT}:policy/{{}}",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{{}}",
    "AWS::KMS::Key": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{{}}",
    "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{{}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{}}:*",
    "AWS::SNS::Topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:{{}}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{{}}",
    "AWS::SecretsManager::Secret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{{}}",
}
# Of these, `Ref` gives the ARN and not the name.
REF_IS_ARN = {"AWS::IAM::ManagedPolicy", "AWS::SNS::Topic", "AWS::SecretsManager::Secret"}
# What `GetAtt` calls the ARN, beside `Arn`.
ARN_ATTRIBUTES = {"Arn", "TopicArn", "PolicyArn", "Id"}


class StackError(Exception):
    """The template says something that this module does not understand."""


def arn(kind, name):
    return ARNS[kind].format(name)


def in_path(role, properties):
    """The ARN of a role or a policy that has a path."""
    return role.replace("/", properties.get("Path", "/"), 1)


def listed(value):
    """A value that may stand alone where a list is meant."""
    return value if isinstance(value, list) else [value]


@dataclasses.dataclass(frozen=True)
class Statement:
    """A statement of an IAM policy, and where it stands among the resources."""

    path: tuple
    body: dict

    @property
    def name(self):
        return self.body.get("Sid") or "/".join(map(str, self.path))


class Stack:
    """The resources that are made, resolved."""

    def __init__(self, template, parameters=None):
        resolver = Resolver(template, parameters or {})
        self.key = resolver.parameters.get("KmsKeyArn")
        self.resources = {
            name: resolver.resolve(body)
            for name, body in template["Resources"].items()
            if resolver.is_made(body)
        }
        self.outputs = {
            name: resolver.resolve(body)
            for name, body in template.get("Outputs", {}).items()
            if resolver.is_made(body)
        }

    def of_type(self, kind):
        """Logical ids and properties of the resources of a type."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def functions(self):
        return self.of_type("AWS::Lambda::Function")

    def role(self, function):
        """The logical id of a function's role."""
        given = self.functions()[function]["Role"]
        for name, properties in self.of_type("AWS::IAM::Role").items():
            if given == in_path(arn("AWS::IAM::Role", name), properties):
                return name
        raise StackError(f"the role of {function} is not of this stack: {given}")

    def foreign_policies(self, role):
        """The ARNs of the policies of a role that are not of this stack, such as AWS's own."""
        kind = "AWS::IAM::ManagedPolicy"
        own = {in_path(arn(kind, name), body) for name, body in self.of_type(kind).items()}
        properties = self.resources[role].get("Properties", {})
        return [policy for policy in properties.get("ManagedPolicyArns", []) if policy not in own]

    def statements(self, function):
        """Every statement of this stack that says what the function may do."""
        return self.statements_of_role(self.role(function))

    def statements_of_role(self, role):
        properties = self.resources[role].get("Properties", {})
        found = []
        for number in range(len(properties.get("Policies", []))):
            found += self.statements_at(role, "Properties", "Policies", number, "PolicyDocument")
        attached = properties.get("ManagedPolicyArns", [])
        for name, policy in self.of_type("AWS::IAM::ManagedPolicy").items():
            own = in_path(arn("AWS::IAM::ManagedPolicy", name), policy)
            if own in attached or role in policy.get("Roles", []):
                found += self.statements_at(name, "Properties", "PolicyDocument")
        for name, policy in self.of_type("AWS::IAM::Policy").items():
            if role in policy.get("Roles", []):
                found += self.statements_at(name, "Properties", "PolicyDocument")
        for name, policy in self.of_type("AWS::IAM::RolePolicy").items():
            if policy["RoleName"] == role:
                found += self.statements_at(name, "Properties", "PolicyDocument")
        return found

    def statements_at(self, *path):
        document = self.resources
        for key in path:
            document = document[key]
        document["Statement"] = listed(document["Statement"])
        return [
            Statement((*path, "Statement", number), body)
            for number, body in enumerate(document["Statement"])
        ]

    def changed(self, path, change):
        """A copy of the stack after `change`, which gets the list at `path` and the index in it."""
        other = copy.deepcopy(self)
        *path, index = path
        place = other.resources
        for key in path:
            place = place[key]
        change(place, index)
        return other

    def routes(self):
        """Which function each method and path of the HTTP APIs leads to."""
        routes = {}
        for api in self.of_type("AWS::ApiGatewayV2::Api").values():
            for path, methods in api["Body"]["paths"].items():
                for method, operation in methods.items():
                    uri = operation["x-amazon-apigateway-integration"]["uri"]
                    target = re.search(r":function:([^:/]+)", uri)
                    if target is None:
                        raise StackError(f"{method} {path} leads to no function: {uri}")
                    routes[method, path] = target[1]
        return routes


class Resolver:
    """Intrinsic functions, as far as the template uses them; any other is an error."""

    def __init__(self, template, parameters):
        declared = template.get("Parameters", {})
        unknown = parameters.keys() - declared.keys()
        if unknown:
            raise StackError(f"no such parameters: {sorted(unknown)}")
        self.parameters = {
            name: str(parameters.get(name, body.get("Default", "")))
            for name, body in declared.items()
        }
        self.conditions = template.get("Conditions", {})
        self.mappings = template.get("Mappings", {})
        self.kinds = {name: body["Type"] for name, body in template["Resources"].items()}
        self.raw = template["Resources"]

    def is_made(self, resource):
        return "Condition" not in resource or self.holds(resource["Condition"])

    def holds(self, condition):
        return self.decide(self.conditions[condition])

    def decide(self, test):
        ((name, operands),) = test.items()
        if name == "Condition":
            return self.holds(operands)
        if name == "Fn::Equals":
            left, right = map(self.resolve, operands)
            return str(left) == str(right)
        if name == "Fn::Not":
            return not self.decide(operands[0])
        if name == "Fn::And":
            return all(map(self.decide, operands))
        if name == "Fn::Or":
            return any(map(self.decide, operands))
        raise StackError(f"unknown condition: {name}")

    def resolve(self, value):
        if isinstance(value, list):
            items = (self.resolve(item) for item in value)
            return [item for item in items if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, operand),) = value.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self.call(name, operand)
        pairs = ((key, self.resolve(item)) for key, item in value.items())
        return {key: item for key, item in pairs if item is not NO_VALUE}

    def call(self, name, operand):
        if name == "Ref":
            return self.reference(operand)
        if name == "Fn::GetAtt":
            target, attribute = operand if isinstance(operand, list) else operand.split(".", 1)
            return self.attribute(target, attribute)
        if name == "Fn::Sub":
            return self.substitute(operand)
        if name == "Fn::If":
            condition, then, otherwise = operand
            return self.resolve(then if self.holds(condition) else otherwise)
        if name == "Fn::Join":
            separator, items = operand
            return separator.join(map(str, self.resolve(items)))
        if name == "Fn::Select":
            index, items = operand
            return self.resolve(items)[int(index)]
        if name == "Fn::Split":
            separator, text = operand
            return self.resolve(text).split(separator)
        if name == "Fn::FindInMap":
            place = self.mappings
            for key in operand:
                place = place[self.resolve(key)]
            return place
        raise StackError(f"unknown function: {name}")

    def substitute(self, operand):
        text, values = operand if isinstance(operand, list) else (operand, {})

        def replace(match):
            name = match[1]
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in values:
                return str(self.resolve(values[name]))
            target, _, attribute = name.partition(".")
            value = self.attribute(target, attribute) if attribute else self.reference(name)
            return str(value)

        return re.sub(r"\$\{([^}]*)\}", replace, text)

    def reference(self, name):
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in PSEUDO_PARAMETERS:
            return PSEUDO_PARAMETERS[name]
        if name in self.parameters:
            return self.parameters[name]
        kind = self.kind(name)
        if kind in REF_IS_ARN:
            return self.arn(name)
        if kind in ("AWS::Lambda::Version", "AWS::Lambda::Alias"):
            return self.published(name)
        return name

    def attribute(self, name, attribute):
        kind = self.kind(name)
        if kind == "AWS::Lambda::Version" and attribute == "Version":
            return VERSION
        if kind == "AWS::Lambda::Version" and attribute == "FunctionArn":
            return self.published(name)
        if kind in ARNS and attribute in ARN_ATTRIBUTES:
            return self.arn(name)
        return f"{name}.{attribute}"

    def arn(self, name):
        kind = self.kinds[name]
        if not kind.startswith("AWS::IAM::"):
            return arn(kind, name)
        return in_path(arn(kind, name), self.resolve(self.raw[name].get("Properties", {})))

    def published(self, name):
        """The ARN of a version or an alias: its function's, and the version or the alias's name."""
        properties = self.raw[name]["Properties"]
        function = self.resolve(properties["FunctionName"]).rpartition(":")[2]
        qualifier = self.resolve(properties.get("Name", VERSION))
        return f"{arn('AWS::Lambda::Function', function)}:{qualifier}"

    def kind(self, name):
        if name not in self.kinds:
            raise StackError(f"a reference to nothing: {name}")
        return self.kinds[name]


class NoManagedPolicies:
    """Stands in for the list that SAM asks AWS for; AWS's own policies are given by ARN."""

    def __call__(self):
        raise StackError("a policy is given by its name: SAM would have to ask AWS for its ARN")


def transform(text, parameters=None):
    """The CloudFormation template that the SAM transform makes of `text`."""
    template = yaml_parse(text)
    # Where the code would have been uploaded to.
    template.setdefault("Globals", {}).setdefault("Function", {})["CodeUri"] = "s3://bucket/key"
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource.setdefault("Properties", {}).pop("CodeUri", None)
    logging.getLogger("samtranslator").setLevel(logging.ERROR)  # it reports metrics to nobody
    translator = Translator(None, Parser(), boto_session=boto3.session.Session(region_name=REGION))
    return translator.translate(
        template,
        parameter_values=dict(parameters or {}),
        get_managed_policy_map=NoManagedPolicies(),
    )


def load(parameters=None):
    """The stack of template.yaml; parameters that are not given take their defaults."""
    text = (ROOT / "template.yaml").read_text()
    return Stack(transform(text, parameters), parameters)


if __name__ == "__main__":
    template = transform((ROOT / "template.yaml").read_text(), None)
    MADE.mkdir(parents=True, exist_ok=True)
    TRANSFORMED.write_text(json.dumps(template, indent=1))
