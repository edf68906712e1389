"""Starts the programs of `twofa-bench` and reads what they say and what they use."""

import contextlib
import json
import os
import pathlib
import select
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target" / "release" / "twofa-bench"
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A bench could not be run as it is meant to be."""


def build():
    """Compiles the programs like the functions that are deployed."""
    command = ["cargo", "build", "--release", "--locked", "--package", "twofa-bench"]
    subprocess.run(command, cwd=ROOT, check=True)


def ready(process, seconds):
    """The line of JSON by which a program says that it can be called."""
    readable, _, _ = select.select([process.stderr], [], [], seconds)
    line = process.stderr.readline() if readable else ""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        raise Failed(f"{process.args} did not start: {line}") from None


@contextlib.contextmanager
def server(*arguments, seconds=300):
    """A program that runs until the block ends; answers its process and what it said."""
    process = subprocess.Popen(
        [PROGRAM, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, ready(process, seconds)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def backends(rows=0, clients=1):
    """The services alone; answers their process, their options for others, and the codes' file."""
    with tempfile.TemporaryDirectory() as folder:
        codes = pathlib.Path(folder) / "codes"
        arguments = ("--rows", rows, "--clients", clients, "--codes", codes)
        with server("backends", *arguments) as (process, said):
            services = ["--dynamodb", said["dynamodb"], "--sns", said["sns"]]
            yield process, services, codes


def calls(kind, services, codes, *, calls, warm_up=0, clients=1, units=False):
    """What so many calls, one after the other, have used of the caller's process."""
    command = [PROGRAM, "calls", kind, *services, "--codes", codes, "--calls", calls]
    command += ["--warm-up", warm_up, "--clients", clients]
    command += ["--units"] if units else []
    with tempfile.TemporaryFile() if units else open(os.devnull, "wb") as log:
        ran = subprocess.run(
            [*map(str, command)], check=False, stdout=log, stderr=subprocess.PIPE, text=True
        )
        log_bytes = os.fstat(log.fileno()).st_size
    if ran.returncode:
        raise Failed(f"{kind}: {ran.stderr}")
    figures = json.loads(ran.stderr.splitlines()[-1])
    if units:
        figures["log_bytes"] = log_bytes / (calls + warm_up)
    return figures


def used(pid):
    """Seconds of user and system time that a process has used, and its memory in MiB."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    user, system = (int(fields[index]) / TICKS for index in (11, 12))
    return user, system, int(resident.split()[1]) / 1024


def machine():
    """The machine, in as many words as a figure needs."""
    return f"{os.cpu_count()} vCPU {os.uname().machine} VM"


def today():
    return time.strftime("%Y-%m-%d", time.gmtime())
