"""Makes, updates and deletes the stack on an emulator that runs CloudFormation.

MiniStack (PyPI) takes the template as the SAM transform leaves it, less what it does not know. Shown is
that the stack comes about, that each parameter can be changed alone, and that nothing stays that is not
to stay. Not shown is what AWS alone decides: IAM, versions that Lambda refuses, CodeDeploy, alarms.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import boto3
import stack
from botocore.exceptions import ClientError
from outcomes import free_port
from test_updates import declared

NAME = stack.PSEUDO_PARAMETERS["AWS::StackName"]
# What MiniStack 1.5.33 does not know.
UNKNOWN = {
    "AWS::CloudWatch::CompositeAlarm",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::SecretsManager::RotationSchedule",
}
# What a parameter cannot be without.
NEEDED = {"DomainName": {"CertificateArn": stack.EVERYTHING["CertificateArn"]}}
PATIENCE = 60  # seconds


def is_known(body):
    """Whether the emulator can make the resource; alarms of metric math it cannot."""
    return body["Type"] not in UNKNOWN and "Metrics" not in body.get("Properties", {})


class Failed(Exception):
    """The emulator did something else than what is expected of AWS."""


def emulated(template):
    """The template without what the emulator does not know."""
    template = json.loads(json.dumps(template))
    resources = template["Resources"]
    gone = {name for name, body in resources.items() if not is_known(body)}
    for name in gone:
        del resources[name]
    for body in resources.values():
        body.pop("UpdatePolicy", None)
        body.pop("DependsOn", None)
    text = json.dumps(template)
    for name in gone:
        text = text.replace(f"${{{name}}}", name)
    return text


@contextlib.contextmanager
def running(emulator):
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "GATEWAY_PORT": str(port),
        "HOME": os.environ["HOME"],
    }
    process = subprocess.Popen(
        [emulator], env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(url + "/_ministack/health", timeout=1).close()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed("the emulator did not start")
            time.sleep(0.1)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Emulator:
    def __init__(self, url):
        self.session = boto3.session.Session("laptop", "laptop", region_name=stack.REGION)
        self.url = url
        self.cloudformation = self.client("cloudformation")

    def client(self, service):
        return self.session.client(service, endpoint_url=self.url)

    def settle(self, expected):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                (made,) = self.cloudformation.describe_stacks(StackName=NAME)["Stacks"]
                status = made["StackStatus"]
            except ClientError:
                status = "DELETE_COMPLETE"
            if status == expected:
                return
            if not status.endswith("_IN_PROGRESS") or time.monotonic() > deadline:
                raise Failed(f"{status}, not {expected}: {self.reasons()}")
            time.sleep(0.1)

    def reasons(self):
        events = self.cloudformation.describe_stack_events(StackName=NAME)["StackEvents"]
        return [
            (event["LogicalResourceId"], event.get("ResourceStatusReason"))
            for event in events
            if "FAILED" in event["ResourceStatus"]
        ]

    def upload(self, text):
        """Puts template and code where CloudFormation reads them: as a body the template is too long."""
        s3 = self.client("s3")
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="key", Body=b"PK\x05\x06" + bytes(18))
        s3.put_object(Bucket="bucket", Key="template", Body=text.encode())
        return f"{self.url}/bucket/template"

    def create(self, where):
        self.cloudformation.create_stack(
            StackName=NAME, TemplateURL=where, Capabilities=["CAPABILITY_IAM"]
        )
        self.settle("CREATE_COMPLETE")

    def update(self, where, values):
        parameters = [
            {"ParameterKey": name, "ParameterValue": str(value)} for name, value in values.items()
        ]
        self.cloudformation.update_stack(
            StackName=NAME,
            TemplateURL=where,
            Parameters=parameters,
            Capabilities=["CAPABILITY_IAM"],
        )
        self.settle("UPDATE_COMPLETE")

    def delete(self):
        self.cloudformation.delete_stack(StackName=NAME)
        self.settle("DELETE_COMPLETE")

    def made(self):
        """The logical ids of all resources."""
        pages = self.cloudformation.get_paginator("list_stack_resources").paginate(StackName=NAME)
        return {
            one["LogicalResourceId"] for page in pages for one in page["StackResourceSummaries"]
        }


def main():
    template = stack.transform((stack.ROOT / "template.yaml").read_text())
    with running(sys.argv[1]) as url:
        emulator = Emulator(url)
        where = emulator.upload(emulated(template))
        emulator.create(where)
        expected = {
            name for name, body in stack.Stack(template).resources.items() if is_known(body)
        }
        if emulator.made() != expected:
            raise Failed(f"made otherwise: {emulator.made() ^ expected}")
        unknown = sorted(name for name, body in template["Resources"].items() if not is_known(body))
        print(f"made: {len(expected)} resources, without {', '.join(unknown)}")
        for name, value in declared(template):
            emulator.update(where, {name: value, **NEEDED.get(name, {})})
            print(f"updated: {name}={value}")
        emulator.update(where, {"DeletionProtection": "false"})
        emulator.delete()
        tables = emulator.client("dynamodb").list_tables()["TableNames"]
        functions = emulator.client("lambda").list_functions()["Functions"]
        if len(tables) != 1 or functions:
            raise Failed(f"left behind: {tables}, {functions}")
        print(f"deleted, but for the directory, {tables[0]}")


if __name__ == "__main__":
    main()
