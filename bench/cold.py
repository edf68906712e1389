"""Measures cold starts of the API's functions as `sam build` made them, against their goals.

Each runs under AWS's runtime interface emulator against a laptop server that this script starts,
over plain HTTP and with all of the CPU. The starts take turns, so that whatever else the machine
does hits all alike; figures are medians. `init` and the calls are what the emulator logs, memory is
the kernel's high-water mark.
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
TIMEOUT = 60  # seconds that anything may take
LAPTOP = ROOT / "target" / "release" / "twofa-local"

INIT = re.compile(r"INIT REPORT\(durationMs: ([\d.]+)")
CALL = re.compile(r"INVOKE RTDONE\(status: success, .*?duration: ([\d.]+)ms")

MOST_INIT_AND_FIRST = 15  # ms, of validate and of request
MOST_MEMORY = 10  # MiB, of validate
MOST_CODE = 6  # MB, of each


class Failed(Exception):
    """What keeps the figures from being taken, as the user is told."""


def sample(name):
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


def to_ever_other_numbers():
    """A number gets ten messages in ten minutes and no more."""
    for index in itertools.count():
        event = sample("request")
        event["body"] = json.dumps({**json.loads(event["body"]), "to": f"+447400{index:06}"})
        yield event


class Function:
    """A built function, the events that it is called with, and the figures of its starts."""

    def __init__(self, name, logical_id, events, status):
        self.name = name
        self.binary = ROOT / ".aws-sam" / "build" / logical_id / "bootstrap"
        self.events = events
        self.status = status
        self.clear()

    def clear(self):
        self.init, self.first, self.warm, self.peak = [], [], [], []

    def figures(self):
        both = map(sum, zip(self.init, self.first, strict=True))
        return {
            "name": self.name,
            "init_ms": round(statistics.median(self.init), 2),
            "first_ms": round(statistics.median(self.first), 2),
            "init_and_first_ms": round(statistics.median(both), 2),
            "warm_p50_ms": round(statistics.median(self.warm), 2),
            "peak_rss_mib": round(statistics.median(self.peak), 1),
            "code_mb": round(self.binary.stat().st_size / 1e6, 2),
        }


def functions():
    missing = itertools.repeat(sample("validate-not-found"))
    listing = itertools.repeat(sample("template"))
    return [
        Function("validate", "ValidateFunction", missing, 404),
        Function("request", "RequestFunction", to_ever_other_numbers(), 200),
        Function("template", "TemplateFunction", listing, 200),
    ]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port, process, what):
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{what} did not start") from None
            time.sleep(0.01)


@contextlib.contextmanager
def running(command, log, **options):
    """A process and its children, in a session of their own and stopped with it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*map(str, command)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT)


@contextlib.contextmanager
def laptop(scratch):
    """Answers the variables by which functions find its services."""
    api, dynamodb, sns = free_port(), free_port(), free_port()
    command = [LAPTOP, "--ephemeral", "--log-level", "error", "--port", api]
    command += ["--dynamodb-port", dynamodb, "--sns-port", sns]
    with running(command, scratch / "laptop.log") as process:
        wait_for(api, process, "the laptop server")
        # Its ports are open before its tables are filled; this is answered afterwards.
        urllib.request.urlopen(f"http://127.0.0.1:{api}/openapi.json", timeout=TIMEOUT).close()
        yield {
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{dynamodb}",
            "AWS_ENDPOINT_URL_SNS": f"http://127.0.0.1:{sns}",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"http://127.0.0.1:{sns}",
        }


def descendants(pid):
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from descendants(int(child))


def peak_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def call(port, event):
    url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
    with urllib.request.urlopen(url, json.dumps(event).encode(), TIMEOUT) as response:
        return json.load(response)


def start_cold(function, services, emulator, scratch, warm_calls):
    port = free_port()
    log = scratch / "function.log"
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "30",
        "DIRECTORY_TABLE": "DirectoryTable",
        "VERIFICATIONS_TABLE": "VerificationsTable",
        "SECRET_ARN": "Secret",
        **services,
    }
    command = [emulator, "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
    command += ["--runtime-api-address", f"127.0.0.1:{free_port()}", function.binary]
    with running(command, log, env=environment) as process:
        wait_for(port, process, "the emulator")
        for event in itertools.islice(function.events, warm_calls + 1):
            answer = call(port, event)
            if answer.get("statusCode") != function.status:
                tail = log.read_text(errors="replace")[-2000:]
                raise Failed(f"{function.name}: {json.dumps(answer)}\n{tail}")
        peak = max(map(peak_mib, descendants(process.pid)))
    text = log.read_text(errors="replace")
    calls = [float(duration) for duration in CALL.findall(text)]
    if len(calls) != warm_calls + 1:
        raise Failed(f"the emulator logged {len(calls)} calls of {warm_calls + 1}:\n{text}")
    function.init.append(float(INIT.search(text)[1]))
    function.first.append(calls[0])
    function.warm.extend(calls[1:])
    function.peak.append(peak)


def copy_emulator(folder):
    architecture = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
    package = importlib.util.find_spec("samcli")
    if package is None:
        raise Failed("aws-sam-cli is missing: run this by `make bench-cold`")
    programs = pathlib.Path(package.origin).parent / "local" / "rapid"
    emulator = pathlib.Path(
        shutil.copy(programs / f"aws-lambda-rie-{architecture}", folder / "emulator")
    )
    emulator.chmod(0o755)
    return emulator


def measure(starts, warm_calls):
    measured = functions()
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        emulator = copy_emulator(scratch)
        with laptop(scratch) as services:
            # The first round fills the page cache and is not counted.
            for index in range(starts + 1):
                for function in measured:
                    start_cold(function, services, emulator, scratch, warm_calls)
                    if index == 0:
                        function.clear()
    return [function.figures() for function in measured]


def goals(figures):
    """What is asked of the functions: text, figure, whether it is reached."""
    by_name = {row["name"]: row for row in figures}
    peak = by_name["validate"]["peak_rss_mib"]
    largest = max(row["code_mb"] for row in figures)
    for name in ("validate", "request"):
        both = by_name[name]["init_and_first_ms"]
        yield (
            f"{name}: init + first call at most {MOST_INIT_AND_FIRST} ms",
            f"{both:.1f} ms",
            both <= MOST_INIT_AND_FIRST,
        )
    yield (
        f"validate: peak RSS at most {MOST_MEMORY} MiB",
        f"{peak:.1f} MiB",
        peak <= MOST_MEMORY,
    )
    yield f"each at most {MOST_CODE} MB", f"{largest:.2f} MB", largest <= MOST_CODE


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=20, help="cold starts of each")
    parser.add_argument("--calls", type=int, default=20, help="warm calls after each")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments.starts, arguments.calls)
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{'':10}{'init':>8}{'first':>8}{'both':>8}{'warm p50':>10}{'peak RSS':>10}{'code':>8}")
    print(f"{'':10}{'ms':>8}{'ms':>8}{'ms':>8}{'ms':>10}{'MiB':>10}{'MB':>8}")
    for row in figures:
        print(
            f"{row['name']:10}{row['init_ms']:8.1f}{row['first_ms']:8.1f}"
            f"{row['init_and_first_ms']:8.1f}{row['warm_p50_ms']:10.2f}"
            f"{row['peak_rss_mib']:10.1f}{row['code_mb']:8.2f}"
        )
    for text, figure, reached in goals(figures):
        print(f"{'reached' if reached else 'missed':8} {text}: {figure}")


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"failed: {error}")
