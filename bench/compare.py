#!/usr/bin/env python3
"""Counts the instructions of the product's calls and parts, and compares them with baseline.json.

Each program runs twice under valgrind's callgrind, with few repetitions and with more: the difference
is what one repetition costs, without the start. It counts user space of the caller's process alone;
DynamoDB and SNS are another process. Fails when anything needs over 2 % (a call 4 %) more than before.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

import programs

BASELINE = pathlib.Path(__file__).with_name("baseline.json")
COLLECTED = re.compile(r"Collected : (\d+)")
PARTS = (
    "key number text-parse text-render sms-gsm7 sms-ucs2 code id-random id-parse code-digest "
    "guess-digests recipient-digest digest-encode"
).split()
CALLS = (
    "validate validate-wrong validate-unknown validate-no-id request request-refused "
    "request-rejected bare-update bare-request"
).split()
# More than what the same program differs by from run to run, in hundredths: a call waits for another
# process, and wakes up now once and now twice.
TOLERATED = {"parts": 2.0, "calls": 4.0}
CLIENTS = 10


def collected(arguments):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *arguments]
    ran = subprocess.run(
        [*map(str, command)],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    found = COLLECTED.search(ran.stderr)
    if ran.returncode or not found:
        raise programs.Failed(f"{command}:\n{ran.stderr}")
    return int(found[1])


def count_part(part):
    def run(times):
        return collected([programs.PROGRAM, "part", part, "--times", times])

    few, more = 10, 210
    return round((run(more) - run(few)) / (more - few))


def count_call(kind):
    def run(calls):
        # Services of its own each time: a code is right once, a number new once.
        rows = calls + 2 * CLIENTS
        with programs.backends(rows=rows, clients=CLIENTS) as (_, services, codes):
            command = [programs.PROGRAM, "calls", kind, *services, "--codes", codes]
            command += ["--clients", CLIENTS, "--warm-up", 2 * CLIENTS, "--calls", calls]
            return collected(command)

    few, more = 10, 110
    return round((run(more) - run(few)) / (more - few))


def count(only):
    def chosen(names):
        return [name for name in names if not only or name in only]

    return {
        "parts": {part: count_part(part) for part in chosen(PARTS)},
        "calls": {kind: count_call(kind) for kind in chosen(CALLS)},
    }


def report(figures, baseline):
    """Prints the figures beside those of before, and answers the names of those that grew."""
    grown = []
    for group, counts in figures.items():
        for name, now in counts.items():
            before = baseline.get(group, {}).get(name)
            change = f"{100 * (now / before - 1):+7.2f} %" if before else "    new"
            over = bool(before) and 100 * (now / before - 1) > TOLERATED[group]
            grown += [name] if over else []
            print(f"{group:6} {name:18} {now:>12,} {change}{'  GREW' if over else ''}")
    return grown


def shares(counts):
    """A call of the product in calls of the SDK."""
    pairs = [("validate", "bare-update"), ("request", "bare-request")]
    for ours, bare in pairs:
        if ours in counts and bare in counts:
            print(f"{ours} is {counts[ours] / counts[bare]:.2f} × {bare}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="calls and parts; default: all")
    parser.add_argument("--update", action="store_true", help="make these figures the baseline")
    parser.add_argument("--no-build", action="store_true", help="the programs are built already")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {*PARTS, *CALLS}:
        parser.error(f"no such call or part: {', '.join(sorted(unknown))}")
    if not arguments.no_build:
        programs.build()
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    figures = count(arguments.names)
    grown = report(figures, baseline)
    shares(figures["calls"])
    if arguments.update:
        for group, counts in figures.items():
            baseline.setdefault(group, {}).update(counts)
        BASELINE.write_text(json.dumps(baseline, indent=2) + "\n")
    elif grown:
        raise programs.Failed(f"needs more instructions than before: {', '.join(grown)}")


if __name__ == "__main__":
    try:
        main()
    except programs.Failed as error:
        sys.exit(f"failed: {error}")
