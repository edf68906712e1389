"""Compares what each function may do with what it does: powers granted are powers used.

Granted is what the policies of its role say in the transformed template; used is what recorder.py
saw it ask for. An action that is used but not granted is a fault in production, one that is granted
but never used is a power that only an intruder would use. Both fail.
"""

import dataclasses
import functools
import json
import re
import sys

import stack
from recorder import PHONE_NUMBER

# What an Allow of `*` reaches beside the resource that has no ARN: another statement must deny it.
BEYOND = {PHONE_NUMBER: stack.arn("AWS::SNS::Topic", "any-topic")}
TRACE = "a trace"
KEPT_INSTANCES = "lambda:GetProvisionedConcurrencyConfig"
# What the simulator cannot be asked for: by its data the first has no resources, though AWS's own
# policies name a deployment group, and an alias could as well be a version.
NOT_SIMULATED = {"codedeploy:PutLifecycleEventHookExecutionStatus", KEPT_INSTANCES}
SIMULATIONS = stack.MADE / "simulations.json"

# What the conditions of statements may ask of a use, and how.
CONDITION_KEYS = {
    "dynamodb:LeadingKeys": lambda used: used.leading,
    "kms:ViaService": lambda used: [used.via],
}
# A condition without a quantifier is about a key of one value.
QUANTIFIERS = {"ForAllValues": all, "ForAnyValue": any, "": any}
OF_MANY_VALUES = {"dynamodb:LeadingKeys"}
# What each service does with the key on behalf of whoever asks it for something.
KEY_USES = {
    "dynamodb": {"kms:Decrypt"},
    "secretsmanager:GetSecretValue": {"kms:Decrypt"},
    "secretsmanager:PutSecretValue": {"kms:GenerateDataKey"},
}
COMPARISONS = {
    "StringEquals": lambda pattern, text: pattern == text,
    "StringLike": lambda pattern, text: covers(pattern, text),  # noqa: PLW0108 (it is defined below)
}


@dataclasses.dataclass(frozen=True, order=True)
class Use:
    """An action on a resource; `reach` is the narrowest that a policy can say of the resource."""

    action: str
    resource: str
    reach: str
    leading: tuple = ()  # partition keys
    via: str = ""  # the service that acts on behalf of the function


def use(action, resource, *leading, reach=None):
    reach = reach or resource
    if resource == PHONE_NUMBER:
        reach = "*"
    # Which deployment group is at work no policy can know: they get their names when they are made.
    reach = re.sub(r"(:deploymentgroup:[^/]+)/.*", r"\1/*", reach)
    # Nor which version: a role that is written seconds before its use would not be everywhere yet.
    reach = re.sub(r"(:function:[^:]+):\d+$", r"\1:*", reach)
    return Use(action, resource, reach, leading)


def uses_of_lambda(function, properties):
    """What Lambda itself does with the role of a function: it writes its log and its traces."""
    group = properties.get("LoggingConfig", {}).get("LogGroup", f"/aws/lambda/{function}")
    streams = stack.arn("AWS::Logs::LogGroup", group)
    stream = streams.removesuffix("*") + "log-stream:any"
    uses = {Use(f"logs:{name}", stream, streams) for name in ("CreateLogStream", "PutLogEvents")}
    if properties.get("TracingConfig", {}).get("Mode") == "Active":
        actions = ("PutTraceSegments", "PutTelemetryRecords")
        uses |= {Use(f"xray:{name}", TRACE, "*") for name in actions}
    return uses


def uses_of_key(key, uses):
    """What DynamoDB and Secrets Manager do with a key of one's own, by what they are asked for."""
    return {
        Use(action, key, key, via=f"{service}.{stack.REGION}.amazonaws.com")
        for service, asked in ((used.action.partition(":")[0], used.action) for used in uses)
        for action in KEY_USES.get(asked, KEY_USES.get(service, ()))
    }


def uses_of_codedeploy(the_stack):
    """What CodeDeploy does with the role of its deployments.

    By https://docs.aws.amazon.com/codedeploy/latest/userguide/getting-started-create-service-role.html,
    less what these deployments have no use for: buckets, topics, hooks of any name.
    """
    uses = {use("cloudwatch:DescribeAlarms", "any alarms", reach="*")}
    (hook,) = (name for name in the_stack.functions() if name == "PreTrafficFunction")
    uses.add(use("lambda:InvokeFunction", stack.arn("AWS::Lambda::Function", hook)))
    for alias in the_stack.of_type("AWS::Lambda::Alias").values():
        function = stack.arn("AWS::Lambda::Function", alias["FunctionName"])
        qualified = {"lambda:GetAlias", "lambda:UpdateAlias"}
        uses |= {use(action, function) for action in qualified}
        if "ProvisionedConcurrencyConfig" in alias:
            qualified.add(KEPT_INSTANCES)
        uses |= {use(action, f"{function}:live", reach=f"{function}:*") for action in qualified}
    return uses


@functools.cache
def covers(pattern, text):
    """Whether an IAM pattern matches a text, which may be a narrower pattern."""
    parts = (".*" if part == "*" else "." if part == "?" else re.escape(part) for part in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def action_is(pattern, action):
    return covers(pattern.lower(), action.lower())  # IAM does not tell the case of actions apart


def holds(condition, used):
    for operator, keys in condition.items():
        quantifier, comparison = split(operator)
        for key, patterns in keys.items():
            matched = (
                any(COMPARISONS[comparison](pattern, value) for pattern in stack.listed(patterns))
                for value in CONDITION_KEYS[key](used)
            )
            if not QUANTIFIERS[quantifier](matched):
                return False
    return True


def says(body, used):
    """Whether a statement is about the use."""
    return (
        any(action_is(pattern, used.action) for pattern in stack.listed(body["Action"]))
        and any(covers(pattern, used.resource) for pattern in stack.listed(body["Resource"]))
        and holds(body.get("Condition", {}), used)
    )


def allowed(statements, used):
    """Whether the statements together allow it: one does, and none denies it."""
    return {body["Effect"] for body in statements if says(body, used)} == {"Allow"}


def is_used(body, action, resource, uses):
    """Whether something was done that needs just this part of a statement, and no less would do."""
    return any(
        action.lower() == used.action.lower()
        and covers(resource, used.resource)
        and covers(used.reach, resource)
        and holds(body.get("Condition", {}), used)
        for used in uses
    )


def is_understood(body):
    condition = body.get("Condition", {})
    return body.keys() - {"Sid", "Condition"} == {"Effect", "Action", "Resource"} and all(
        quantifier in QUANTIFIERS
        and comparison in COMPARISONS
        and keys.keys() <= CONDITION_KEYS.keys()
        and {key in OF_MANY_VALUES for key in keys} == {quantifier != ""}
        for (quantifier, comparison), keys in (
            (split(operator), keys) for operator, keys in condition.items()
        )
    )


def split(operator):
    """The quantifier of a condition's operator, if it has one, and the comparison."""
    quantifier, _, comparison = operator.rpartition(":")
    return quantifier, comparison


def compare(the_stack, recorded):
    """What does not fit, a line each."""
    functions = the_stack.functions()
    findings = [
        f"{function}: was called but is no function of the stack"
        for function in sorted(recorded.keys() - functions.keys())
    ]
    owners = {the_stack.role(function): function for function in functions}
    for role, uses in uses_by_role(the_stack, recorded).items():
        owner = owners.get(role, role)
        findings += [f"{owner}: {line}" for line in compare_one(the_stack, role, uses)]
    return findings


def compare_one(the_stack, role, uses):
    statements = the_stack.statements_of_role(role)
    for statement in statements:
        if not is_understood(statement.body):
            yield f"cannot be judged: statement {statement.name}: {statement.body}"
            return
    bodies = [statement.body for statement in statements]
    for policy in the_stack.foreign_policies(role):
        yield f"cannot be judged: policy {policy}"
        return
    refused = {}
    for used in sorted(uses):
        if not allowed(bodies, used):
            refused.setdefault((used.action, used.resource), used.leading)
        beyond = BEYOND.get(used.resource)
        if beyond and allowed(bodies, use(used.action, beyond)):
            yield f"granted but never used: {used.action} on {beyond}"
    for (action, resource), leading in refused.items():
        example = ", e.g. at " + ", ".join(leading) if leading else ""
        yield f"used but not granted: {action} on {resource}{example}"
    for statement in statements:
        if statement.body["Effect"] != "Allow":
            continue
        for action in stack.listed(statement.body["Action"]):
            for resource in stack.listed(statement.body["Resource"]):
                if not is_used(statement.body, action, resource, uses):
                    yield f"granted but never used: {action} on {resource} ({statement.name})"


def uses_by_role(the_stack, recorded):
    """What is done with each role of the stack."""
    uses = {"DeploymentRole": uses_of_codedeploy(the_stack)}
    for function, properties in the_stack.functions().items():
        asked = recorded.get(function, set())
        of_key = uses_of_key(the_stack.key, asked) if the_stack.key else set()
        uses[the_stack.role(function)] = asked | uses_of_lambda(function, properties) | of_key
    return uses


def simulations(the_stack, recorded):
    """Each role and each use of any: what an IAM simulator is to be asked, and to answer."""
    uses = uses_by_role(the_stack, recorded)
    for role in uses:
        bodies = [statement.body for statement in the_stack.statements_of_role(role)]
        for used in sorted(set().union(*uses.values())):
            if used.action in NOT_SIMULATED:
                continue
            context = {"kms:ViaService": used.via} if used.via else {}
            if used.leading:
                context["dynamodb:LeadingKeys"] = list(used.leading)
            yield {
                "role": role,
                "statements": bodies,
                "action": used.action,
                # What has no ARN is asked for as any.
                "resource": used.resource if used.resource.startswith("arn:") else "*",
                "context": context,
                "allowed": allowed(bodies, used),
            }


def read(path):
    """What each function did, from the file that functions.py writes."""
    recorded = {}
    for call in json.loads(path.read_text())["calls"]:
        each = [[key] for key in call["leading"]] or [[]]
        uses = {use(call["action"], call["resource"], *leading) for leading in each}
        recorded.setdefault(call["function"], set()).update(uses)
    return recorded


def main():
    recorded = read(stack.RECORD)
    for function, uses in sorted(recorded.items()):
        for resource in sorted({used.resource for used in uses}):
            actions = sorted({used.action for used in uses if used.resource == resource})
            print(f"{function:18} {resource.split(':', 5)[-1]:28} {', '.join(actions)}")
    asked = list(simulations(stack.load(stack.EVERYTHING), recorded))
    SIMULATIONS.write_text(json.dumps(asked))
    findings = [
        line
        for parameters in (None, stack.EVERYTHING)
        for line in compare(stack.load(parameters), recorded)
    ]
    print("\n".join(findings) or "powers granted are powers used")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
