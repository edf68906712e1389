"""A proxy between one Lambda function and AWS that notes what the function asks for.

Of each call it keeps the action and the resource as IAM names them; for DynamoDB also the names and
types of the attributes, and the partition key, which a policy may have a condition about. It can
also fail a call instead of passing it on.
"""

import contextlib
import functools
import http.client
import http.server
import itertools
import json
import re
import socket
import threading
import urllib.parse
import uuid

import stack
from stack import ACCOUNT, REGION, arn

TIMEOUT = 20  # seconds
# What a policy can only name by `*`, because it has no ARN.
PHONE_NUMBER = "a phone number"
UNKNOWN = "an unknown resource"
SERVICES = {
    "DynamoDB_20120810": "dynamodb",
    "secretsmanager": "secretsmanager",
    "CodeDeploy_20141006": "codedeploy",
}
PARTS = {
    "ConditionCheck": "ConditionCheckItem",
    "Delete": "DeleteItem",
    "Put": "PutItem",
    "Update": "UpdateItem",
}
INVOCATION = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")

# How a call fails: without an answer, with one of DynamoDB, or with one of SNS.
DROPPED = "dropped"
INVALID = (400, "application/x-amz-json-1.0", b'{"__type": "ValidationException"}')
DENIED = (
    403,
    "text/xml",
    (
        b"<ErrorResponse><Error><Type>Sender</Type><Code>AuthorizationError</Code>"
        b"<Message>not authorized to perform: SNS:Publish</Message></Error></ErrorResponse>"
    ),
)
OPTED_OUT = (
    400,
    "text/xml",
    (
        b"<ErrorResponse><Error><Type>Sender</Type><Code>OptedOut</Code>"
        b"<Message>the phone number is opted out</Message></Error></ErrorResponse>"
    ),
)


@functools.cache
def partition_keys():
    """The name of the partition key of each table of the stack, by its ARN."""
    return {
        arn("AWS::DynamoDB::Table", table): key["AttributeName"]
        for table, properties in stack.load().of_type("AWS::DynamoDB::Table").items()
        for key in properties["KeySchema"]
        if key["KeyType"] == "HASH"
    }


def dynamodb_calls(operation, body):
    """What IAM authorises: a transaction by the actions of its parts."""
    if operation != "TransactWriteItems":
        return [dynamodb_call(operation, body)]
    parts = [part for item in body["TransactItems"] for part in item.items()]
    return [dynamodb_call(PARTS[kind], part) for kind, part in parts]


def dynamodb_call(operation, body):
    if "TableName" not in body:
        return f"dynamodb:{operation}", UNKNOWN, {}
    table = body["TableName"]
    table = table if table.startswith("arn:") else arn("AWS::DynamoDB::Table", table)
    resource = table + (f"/index/{body['IndexName']}" if "IndexName" in body else "")
    names = body.get("ExpressionAttributeNames", {})
    values = body.get("ExpressionAttributeValues", {})
    condition = body.get("KeyConditionExpression", "")
    asked = [names.get(name, name) for name in re.findall(r"([#\w]+) *[=<>,]", condition)]
    equal = {
        names.get(name, name): values[value]
        for name, value in re.findall(r"([#\w]+) *= *(:\w+)", condition)
    }
    written = {**body.get("Key", {}), **body.get("Item", {})}
    leading = {**written, **equal}.get(partition_keys().get(table), {})
    seen = {
        "keys": asked or sorted(body.get("Key", {})),
        "leading": list(leading.values()),
        # A name may end with a digest; what stands before its `#` tells what it is.
        "written": {re.sub("#.*", "#", name): "/".join(kind) for name, kind in written.items()},
    }
    return f"dynamodb:{operation}", resource, seen


def secret_call(operation, body):
    name = body.get("SecretId", UNKNOWN)
    resource = name if name.startswith("arn:") else arn("AWS::SecretsManager::Secret", name)
    return f"secretsmanager:{operation}", resource, {}


def publish_call(body):
    fields = {name: value for name, (value, *_) in urllib.parse.parse_qs(body.decode()).items()}
    resource = PHONE_NUMBER if "PhoneNumber" in fields else fields.get("TopicArn", UNKNOWN)
    return f"sns:{fields.get('Action')}", resource, {}


def invocation_call(name, query):
    """`name` may be an ARN, and hold the version or alias."""
    function = urllib.parse.unquote(name).rpartition(":function:")[2]
    qualifier = urllib.parse.parse_qs(query).get("Qualifier")
    if qualifier:
        function += f":{qualifier[0]}"
    return "lambda:InvokeFunction", arn("AWS::Lambda::Function", function), {}


def codedeploy_call(operation):
    # The call names the deployment alone; IAM goes by its group, one of the stack's application.
    group = f"arn:aws:codedeploy:{REGION}:{ACCOUNT}:deploymentgroup:ServerlessDeploymentApplication"
    return f"codedeploy:{operation}", f"{group}/any", {}


def understand(path, headers, body):
    """The service of a call, its action, and what IAM authorises: actions, resources, attributes."""
    url = urllib.parse.urlsplit(path)
    invocation = INVOCATION.fullmatch(url.path)
    prefix, _, operation = headers.get("x-amz-target", "").partition(".")
    service = "lambda" if invocation else SERVICES.get(prefix, "sns")
    if service == "lambda":
        calls = [invocation_call(invocation[1], url.query)]
    elif service == "dynamodb":
        calls = dynamodb_calls(operation, json.loads(body))
        return service, f"dynamodb:{operation}", calls
    elif service == "secretsmanager":
        calls = [secret_call(operation, json.loads(body))]
    elif service == "codedeploy":
        calls = [codedeploy_call(operation)]
    else:
        calls = [publish_call(body)]
    return service, calls[0][0], calls


class Record:
    """What all functions asked for and what they measured; it can be kept as JSON."""

    def __init__(self):
        self.lock = threading.Lock()
        self.calls = {}
        self.metrics = set()

    def add(self, function, action, resource, seen):
        with self.lock:
            call = self.calls.setdefault(
                (function, action, resource), {"keys": set(), "leading": set(), "written": {}}
            )
            if seen.get("keys"):
                call["keys"].add(tuple(seen["keys"]))
            call["leading"].update(seen.get("leading", ()))
            for name, kind in seen.get("written", {}).items():
                call["written"].setdefault(name, set()).add(kind)

    def add_metrics(self, log):
        """Finds the lines in CloudWatch's embedded metric format."""
        for line in log.splitlines():
            if not line.startswith("{") or '"_aws"' not in line:
                continue
            entry = json.loads(line)
            for directive in entry["_aws"]["CloudWatchMetrics"]:
                for names in directive["Dimensions"]:
                    dimensions = tuple(sorted((name, entry[name]) for name in names))
                    self.metrics |= {
                        (metric["Name"], dimensions)
                        for metric in directive["Metrics"]
                        if metric["Name"] in entry
                    }

    def write(self, path):
        calls = [
            {
                "function": function,
                "action": action,
                "resource": resource,
                "keys": sorted(call["keys"]),
                "leading": sorted(call["leading"]),
                "written": {name: sorted(kinds) for name, kinds in sorted(call["written"].items())},
            }
            for (function, action, resource), call in sorted(self.calls.items())
        ]
        metrics = [
            {"name": name, "dimensions": dict(dimensions)}
            for name, dimensions in sorted(self.metrics)
        ]
        path.write_text(json.dumps({"calls": calls, "metrics": metrics}, indent=1) + "\n")


class Recorder:
    """The endpoint that one function takes for all of AWS.

    `upstreams` has a URL for each service. For `lambda` it is a function that gives the URL of the
    function of a name; a service may also be a value, which then is the answer to every call.
    """

    def __init__(self, function, upstreams, record):
        self.function = function
        self.upstreams = upstreams
        self.record = record
        self.faults = {}
        self.asked = {}  # the newest body of each action
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                recorder.take(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    @contextlib.contextmanager
    def failing(self, action, fault, times=1000):
        """Meanwhile that many calls of `action` fail."""
        self.faults[action] = itertools.repeat(fault, times)
        try:
            yield
        finally:
            del self.faults[action]

    def take(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        service, action, calls = understand(handler.path, handler.headers, body)
        for call in calls:
            self.record.add(self.function, *call)
        resource = calls[0][1]
        self.asked[action] = body
        fault = next(self.faults.get(action, iter(())), None)
        if fault == DROPPED:
            handler.close_connection = True
            with contextlib.suppress(OSError):
                handler.connection.shutdown(socket.SHUT_RDWR)
            return
        status, kind, answer = fault or self.answer(service, handler, body, resource)
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(answer)))
        handler.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        with contextlib.suppress(OSError):  # the function may have given up
            handler.end_headers()
            handler.wfile.write(answer)

    def answer(self, service, handler, body, resource):
        upstream = self.upstreams[service]
        if isinstance(upstream, dict):
            return 200, "application/x-amz-json-1.1", json.dumps(upstream).encode()
        url = upstream(resource) if callable(upstream) else upstream + handler.path
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT)
        with contextlib.closing(connection):
            own = {"connection", "content-length", "host"}
            headers = {
                name: value for name, value in handler.headers.items() if name.lower() not in own
            }
            connection.request("POST", parts.path, body, headers)
            response = connection.getresponse()
            kind = response.getheader("Content-Type", "application/octet-stream")
            return response.status, kind, response.read()
