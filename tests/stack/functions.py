"""Runs the functions that `sam build` made as Lambda would, and the sample events against them.

Each binary runs under AWS's runtime interface emulator, which comes with aws-sam-cli; its tables,
secret and SMS are a laptop server's. The variables are those of env.json, so that file is tested too.
Each function talks to AWS through a proxy, which notes what it asks for: when all passed, the record
is kept for powers.py.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from flows import FLOWS, VARIANTS, Flows
from outcomes import FUNCTIONS as ENDPOINTS
from outcomes import (
    ROOT,
    TIMEOUT,
    Failed,
    Function,
    Report,
    check_flow,
    check_samples,
    code_in,
    end,
    fetch,
    free_port,
    http_response,
    newest_sms,
)
from recorder import Record, Recorder
from stack import RECORD

BUILT = ROOT / ".aws-sam" / "build"
# The functions of the API, and those that keep the stack.
FUNCTIONS = {
    **ENDPOINTS,
    "rotation": "RotationFunction",
    "pre-traffic": "PreTrafficFunction",
}
AWS_ENDPOINTS = [
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_SNS",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_ENDPOINT_URL_LAMBDA",
    "AWS_ENDPOINT_URL_CODEDEPLOY",
]


class Emulated(Function):
    """One binary under the emulator."""

    def __init__(self, name, emulator, binary, variables, log, recorder):
        super().__init__(name, log)
        self.recorder = recorder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/2015-03-31/functions/function/invocations"
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "laptop",
            "AWS_SECRET_ACCESS_KEY": "laptop",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": "15",
            **variables,
        }
        command = [
            emulator,
            "--log-level",
            "warn",
            "--runtime-interface-emulator-address",
            f"127.0.0.1:{self.port}",
            "--runtime-api-address",
            f"127.0.0.1:{free_port()}",
            binary,
        ]
        with log.open("wb") as output:
            # A session of its own: the emulator's children are stopped with it.
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self):
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise Failed(f"the emulator of {self.name} did not start") from None
                time.sleep(0.05)

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(TIMEOUT)

    def invoke(self, payload):
        return fetch(self.url, json.dumps(payload).encode())

    def call(self, payload):
        return http_response(self.invoke(payload))


def check_paths(functions, arguments, report):
    flows = Flows(
        functions, arguments.dynamodb, lambda to: code_in(newest_sms(arguments.laptop, to))
    )
    flows.add_clients()
    for flow in FLOWS:
        with report.check(flow.__name__.replace("_", " "), *functions.values()):
            flow(flows)


def find_emulator():
    architecture = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
    package = importlib.util.find_spec("samcli")
    if package is None:
        sys.exit("aws-sam-cli is missing: run this by `make functions`")
    return (
        pathlib.Path(package.origin).parent / "local" / "rapid" / f"aws-lambda-rie-{architecture}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--laptop", default="http://127.0.0.1:3000", help="the laptop server")
    parser.add_argument("--dynamodb", default="http://127.0.0.1:8000", help="its DynamoDB")
    parser.add_argument(
        "--sns", default="http://127.0.0.1:4566", help="its SNS and Secrets Manager"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, end)
    declared = json.loads((ROOT / "env.json").read_text())
    report = Report()
    record = Record()
    functions = {}
    upstreams = {
        "dynamodb": arguments.dynamodb,
        "sns": arguments.sns,
        "secretsmanager": arguments.sns,
        "lambda": lambda arn: next(
            function.url
            for name, function in functions.items()
            if FUNCTIONS.get(name) == arn.split(":")[6]
        ),
        "codedeploy": {},
    }
    instances = {**{name: (name, {}) for name in FUNCTIONS}, **VARIANTS}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        emulator = shutil.copy(find_emulator(), folder)
        os.chmod(emulator, 0o755)
        # All listen before any function is given a port: none takes that of another.
        recorders = {
            name: Recorder(FUNCTIONS[function], upstreams, record)
            for name, (function, _) in instances.items()
        }
        for name, (function, more) in instances.items():
            logical_id, recorder = FUNCTIONS[function], recorders[name]
            running.callback(recorder.stop)
            endpoints = dict.fromkeys(AWS_ENDPOINTS, recorder.url)
            variables = {
                key: endpoints.get(key, value) for key, value in declared[logical_id].items()
            }
            variables.update(more)
            binary = (BUILT / logical_id / "bootstrap").resolve(strict=True)
            log = pathlib.Path(folder) / f"{name}.log"
            functions[name] = Emulated(name, emulator, binary, variables, log, recorder)
            running.callback(functions[name].stop)
        for function in functions.values():
            function.wait()
        check_samples(functions, report)
        check_flow(functions, arguments.laptop, report)
        check_paths(functions, arguments, report)
        for function in functions.values():
            record.add_metrics(function.log.read_text(errors="replace"))
    if not report.failed:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        record.write(RECORD)
    print(f"{report.passed} passed, {report.failed} failed")
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
