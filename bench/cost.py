#!/usr/bin/env python3
"""Prints what a million verifications cost without the SMS: what was measured times prices.toml.

A call's duration is its round trips, as prices.toml assumes them, and the CPU time that bench/load.py
has measured, stretched to the share of a processor that the function's memory buys. The writes and
their units are those that the engine charged, the log is what the functions have written.
"""

import argparse
import json
import math
import pathlib
import tomllib

HERE = pathlib.Path(__file__).resolve().parent

# What a verification consists of: calls as bench/load.py names them, with their round trips: those of
# transactions, those of other writes, of which writes side by side are one, and those to SNS.
REQUEST = ("request", 1, 1, 1)
PATHS = {
    "success": [REQUEST, ("validate", 0, 1, 0)],
    # The right guess after a wrong one is two writes like the wrong one.
    "one wrong guess": [REQUEST, ("validate-wrong", 0, 2, 0), ("validate-wrong", 0, 2, 0)],
    "refused by a limit": [("request-refused", 1, 0, 0)],
}
MILLION = 1_000_000


def duration_ms(cpu_us, transactions, writes, publishes, terms):
    """How long Lambda charges for, whole milliseconds."""
    assumed, function = terms["assumed"], terms["function"]
    waiting = transactions * assumed["transaction_ms"] + writes * assumed["dynamodb_ms"]
    waiting += publishes * assumed["sns_ms"]
    stretch = max(1, function["mb_per_vcpu"] / function["memory_mb"])
    return math.ceil(assumed["runtime_ms"] + waiting + cpu_us / 1000 * stretch)


def cost_of_call(call, measured, terms, architecture):
    """Dollars of a million such calls, by what they are paid for."""
    kind, *trips = call
    prices, log = terms["prices"], terms["log"]
    units = measured["units"][kind]
    seconds = duration_ms(measured["shares"][kind]["cpu_us"], *trips, terms) / 1000
    log_bytes = units["log_bytes"] + log["access_bytes"]
    log_bytes += log["events"] * log["event_bytes"]
    gigabytes = terms["function"]["memory_mb"] / 1024
    return {
        "API Gateway": prices["api_gateway_million_calls"],
        "Lambda, calls": prices["lambda_million_calls"],
        "Lambda, time": MILLION * seconds * gigabytes * prices["lambda_gb_second"][architecture],
        "DynamoDB, writes": units["write_units"] * prices["dynamodb_million_write_units"],
        "DynamoDB, reads": units["read_units"] * prices["dynamodb_million_read_units"],
        "logs": log_bytes * MILLION / 1e9 * prices["logs_gb"],
    }


def cost_of_path(calls, measured, terms, architecture):
    """Dollars of a million verifications, by what they are paid for."""
    costs = [cost_of_call(call, measured, terms, architecture) for call in calls]
    return {item: sum(cost[item] for cost in costs) for item in costs[0]}


def table(measured, terms):
    """The lines of the table, in Markdown."""
    columns = [(path, architecture) for path in PATHS for architecture in ("arm64", "x86_64")]
    costs = [cost_of_path(PATHS[path], measured, terms, where) for path, where in columns]
    yield "| US dollars per million | " + " | ".join(f"{p}, {a}" for p, a in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for item in costs[0]:
        yield f"| {item} | " + " | ".join(f"{cost[item]:.2f}" for cost in costs) + " |"
    yield "| **in all** | " + " | ".join(f"**{sum(c.values()):.2f}**" for c in costs) + " |"


def read(measured, prices):
    return json.loads(measured.read_text()), tomllib.loads(prices.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measured", type=pathlib.Path, default=HERE / "measured.json")
    parser.add_argument("--prices", type=pathlib.Path, default=HERE / "prices.toml")
    arguments = parser.parse_args()
    measured, terms = read(arguments.measured, arguments.prices)
    print(
        f"Measured {measured['date']} on a {measured['machine']}; prices of {terms['region']} as of"
    )
    print(f"{terms['date']}; SMS not included.\n")
    print("\n".join(table(measured, terms)))
    print()
    for path, calls in PATHS.items():
        for kind, *trips in calls:
            milliseconds = duration_ms(measured["shares"][kind]["cpu_us"], *trips, terms)
            print(f"{path}: {kind} is charged {milliseconds} ms, of which assumed but for the CPU")


if __name__ == "__main__":
    main()
