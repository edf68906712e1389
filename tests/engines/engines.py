"""Runs the API's tests against services by other hands than those of `local/`.

DynamoDB is AWS's own DynamoDB Local of 2020, so AWS's parser reads every expression and AWS's code
evaluates it. SNS is moto's, for the one test that asks for it. What this DynamoDB cannot show:

- the item that the condition of a single write failed on (ALL_OLD; DynamoDB has given it since 2023).
  tests/api/second_engine.rs takes it from a transaction that checks the same condition;
- the tests of SKIPPED, for the reason that is told there.

DynamoDB Local comes under AWS's own licence (LICENSE.txt beside its jar), which asks for an AWS account
and forbids to pass it on; its native library is for x86-64. `make engines` installs both services.
"""

import collections
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
JAR = ROOT / ".tools" / "dynamodb" / "DynamoDBLocal.jar"
MOTO = ROOT / ".tools" / "engines" / "bin" / "moto_server"
START = 60  # seconds that a service may take to listen

# Many callers at once. This engine does one thing at a time and takes 3 ms for it: those at the end of
# the queue run into time-outs that are right for the service itself. Nor do thousands of faults end in time.
SKIPPED = [
    "chaos::in_a_long_storm_with_many_callers_the_promises_hold",
    "chaos::in_a_storm_the_promises_hold",
    "idempotency::of_a_hundred_identical_requests_at_once_one_is_sent",
    "limits::a_hundred_requests_at_once_never_overdraw",
    "limits::of_a_hundred_requests_at_once_a_recipient_gets_one_message",
    "matrix::whatever_becomes_of_a_call_the_promises_hold",
    "matrix::whatever_becomes_of_any_call_the_promises_hold",
    "races::of_two_hundred_wrong_guesses_at_once_five_are_compared",
    # It charges a transaction of three items for two.
    "requests::a_balance_is_two_units_more_and_a_cap_one_in_a_trip_of_its_own",
]

HELD = "met"
FAILED = "ConditionalCheckFailedException"
# One test drops the table.
UNDERSTOOD = {HELD, FAILED, "ResourceNotFoundException"}


def end(*_):
    """Unwinds once, so that whoever ends this, even twice, ends what it started."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def service(name, command, port, log, **environment):
    """Runs a service while the context lasts, and ends it even when this script is killed."""
    command = ["setpriv", "--pdeathsig", "KILL", *map(str, command)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=log.parent,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"{name} did not start:\n{log.read_text(errors='replace')}")
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def dynamodb_local(folder):
    loopback = folder / "loopback.so"
    source = HERE / "loopback.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", loopback, source], check=True)
    port = free_port()
    command = [
        "java",
        "-Xmx512m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Djava.net.preferIPv4Stack=true",
        f"-Djava.library.path={JAR.parent / 'DynamoDBLocal_lib'}",
        "-jar",
        JAR,
        "-inMemory",
        "-port",
        port,
    ]
    log = folder / "dynamodb.log"
    return service("DynamoDB Local", command, port, log, LD_PRELOAD=str(loopback))


def moto(folder):
    port = free_port()
    command = [MOTO, "--host", "127.0.0.1", "--port", port]
    return service("moto", command, port, folder / "moto.log")


def run_tests(**environment):
    """Runs all tests but SKIPPED, those that are ignored elsewhere too, and shows what they say."""
    command = ["cargo", "test", "--locked", "--test", "api", "--", "--include-ignored", "--exact"]
    for name in SKIPPED:
        command += ["--skip", name]
    tests = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    output = []
    try:
        for line in tests.stdout:
            print(line, end="", flush=True)
            output.append(line)
        tests.wait()
    finally:
        # Cargo's child, the tests themselves, would outlive it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(tests.pid, signal.SIGKILL)
    if tests.returncode:
        sys.exit("the tests do not pass on DynamoDB Local and moto")
    left_out = re.search(r"(\d+) filtered out", "".join(output))
    if not left_out or int(left_out[1]) != len(SKIPPED):
        sys.exit(f"SKIPPED names tests that are not there: {SKIPPED}")


def check_expressions(record):
    """Asserts that the engine took every expression that it was sent, and counts them."""
    outcomes = collections.defaultdict(set)
    for line in record.read_text().splitlines():
        call = json.loads(line)
        expression = (call["operation"], *sorted(call["expressions"].items()))
        outcomes[expression].add(call["outcome"])
    for expression, met in outcomes.items():
        if not met <= UNDERSTOOD:
            sys.exit(f"{sorted(met - UNDERSTOOD)}: {expression}")
    conditions = [
        met for (_, *parts), met in outcomes.items() if "ConditionExpression" in dict(parts)
    ]
    both = sum({HELD, FAILED} <= met for met in conditions)
    print(
        f"{len(outcomes)} expressions: all understood; "
        f"of {len(conditions)} conditions {both} were seen to hold and to fail"
    )


def main():
    signal.signal(signal.SIGTERM, end)
    for tool in ["java", "cc", "setpriv"]:
        if not shutil.which(tool):
            sys.exit(f"missing: {tool}")
    for path in [JAR, MOTO]:
        if not path.exists():
            sys.exit(f"missing: {path}, which `make engines` installs")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        record = folder / "expressions"
        with dynamodb_local(folder) as dynamodb, moto(folder) as sns:
            run_tests(
                TWOFA_TEST_DYNAMODB=dynamodb,
                TWOFA_TEST_EXPRESSIONS=str(record),
                TWOFA_TEST_SNS=sns,
            )
        check_expressions(record)
    for name in SKIPPED:
        print(f"not shown: {name}")


if __name__ == "__main__":
    main()
