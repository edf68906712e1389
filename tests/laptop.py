#!/usr/bin/env python3
"""Runs a command beside a laptop server of its own, on free ports and in memory.

In the command {api}, {dynamodb} and {sns} stand for the addresses that the server listens on:

    tests/laptop.py curl {api}/openapi.json

Exits with the command's status. When that is not 0, the end of the server's log is shown.
"""

import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

SERVER = pathlib.Path(__file__).resolve().parents[1] / "target" / "debug" / "twofa-local"
START = 30  # seconds that the server may take to listen
LISTENS = re.compile(r"^  (API|DynamoDB|SNS) +(http://[^ /]+)", re.MULTILINE)


def addresses(server, log):
    """Where the server says that it listens, by the names of the command's placeholders."""
    deadline = time.monotonic() + START
    while server.poll() is None and time.monotonic() < deadline:
        found = {name.lower(): url for name, url in LISTENS.findall(log.read_text())}
        if len(found) == 3:
            return found
        time.sleep(0.05)
    sys.exit(f"the laptop server does not start:\n{log.read_text()}")


def end(*_):
    """Unwinds once, so that whoever ends this, even twice, ends what it started."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def stop(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if not SERVER.exists():
        sys.exit(f"missing: {SERVER}, which `cargo test --no-run` builds")
    signal.signal(signal.SIGTERM, end)
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "laptop.log"
        ports = ("--port", "0", "--dynamodb-port", "0", "--sns-port", "0")
        with log.open("wb") as output:
            server = subprocess.Popen(
                [SERVER, "--ephemeral", *ports], stdout=output, stderr=subprocess.STDOUT
            )
        try:
            found = addresses(server, log)
            words = [
                re.sub(r"\{(api|dynamodb|sns)\}", lambda name: found[name[1]], word)
                for word in sys.argv[1:]
            ]
            command = subprocess.Popen(words)
            try:
                status = command.wait()
            finally:
                stop(command)
        finally:
            stop(server)
        if status:
            print(
                "--- end of the laptop server's log", *log.read_text().splitlines()[-50:], sep="\n"
            )
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
