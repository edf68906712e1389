#!/usr/bin/env python3
"""Puts the API under load, and finds out whose the time is.

`wrk` calls an API that runs alone in its process; DynamoDB and SNS are another. Three tables:

- load: `request` and `validate` at 1, 32 and 256 connections. Each validation is the right code of an
  id that was never asked for before, each request a number that was never sent to.
- shares: CPU of one call after the other, without a server between caller and handlers, beside the
  same writes by the SDK alone.
- growth: the same with 10³, 10⁵ and 10⁶ rows in the table.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys

import programs

HERE = pathlib.Path(__file__).resolve().parent
MEASURED = HERE / "measured.json"
CONNECTIONS = (1, 32, 256)
ROWS = (1_000, 100_000, 1_000_000)
CLIENTS = 300
WARM_UP_CODES = 10_000
MOST_PER_SECOND = 6_000  # codes that are made for each second of load
SHARE_ROUNDS = 5
GROWTH_ROUNDS = 5
KINDS = (
    "validate validate-wrong validate-unknown request request-refused bare-update bare-request"
).split()
UNITS = ("writes", "write_units", "reads", "read_units", "log_bytes")


def under_load(call, connections, seconds):
    rows = WARM_UP_CODES + MOST_PER_SECOND * seconds if call == "validate" else 0
    with programs.backends(rows=rows, clients=CLIENTS) as (engine, services, codes):
        lines = codes.read_text().splitlines(keepends=True)
        with programs.server("api", *services) as (api, said):
            address = said["api"]
            wrk(call, address, 1, 1, codes, lines[:WARM_UP_CODES], first=0)
            before = [programs.used(process.pid) for process in (api, engine)]
            codes_left = lines[WARM_UP_CODES:]
            result = wrk(call, address, connections, seconds, codes, codes_left, first=10_000_000)
            after = [programs.used(process.pid) for process in (api, engine)]
    calls = result["calls"]
    cpu = [1e6 * (sum(b[:2]) - sum(a[:2])) / calls for a, b in zip(before, after, strict=True)]
    return {
        "call": call,
        "connections": connections,
        "per_second": calls / result["seconds"],
        "p50_ms": result["p50_ms"],
        "p99_ms": result["p99_ms"],
        "api_cpu_us": cpu[0],
        "engine_cpu_us": cpu[1],
        "api_mib_before": before[0][2],
        "api_mib_after": after[0][2],
    }


def wrk(call, address, connections, seconds, codes, lines, *, first):
    codes.write_text("".join(lines))
    variables = {"CALL": call, "CODES": codes, "CLIENTS": CLIENTS, "FIRST": first}
    environment = os.environ | {f"WRK_{name}": str(value) for name, value in variables.items()}
    command = ["wrk", "--threads", 1, "--connections", connections, "--timeout", "30s"]
    command += ["--duration", f"{seconds}s", "--script", HERE / "load.lua", f"http://{address}"]
    ran = subprocess.run(
        [*map(str, command)], check=False, env=environment, capture_output=True, text=True
    )
    found = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
    if ran.returncode or not found:
        raise programs.Failed(f"wrk: {ran.stdout}{ran.stderr}")
    result = json.loads(found[0].removeprefix("RESULT "))
    if result["failed"]:
        raise programs.Failed(f"{result['failed']} calls failed: {ran.stderr}")
    return result


def alone(kind, engine, services, codes, calls, **options):
    """What one run uses, with the engine's share beside the caller's."""
    before = programs.used(engine.pid)
    run = programs.calls(kind, services, codes, calls=calls, **options)
    after = programs.used(engine.pid)
    made = calls + options.get("warm_up", 0)
    run["engine_cpu_us"] = 1e6 * (sum(after[:2]) - sum(before[:2])) / made
    return run


def medians(runs):
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def shares(calls):
    """The medians of rounds in which all kinds take turns, so that none has the busier machine."""
    rounds = {kind: [] for kind in KINDS}
    for _ in range(SHARE_ROUNDS):
        for kind, figures in rounds.items():
            # A refusal must come before the shortest window, of 30 seconds, is past.
            clients = 20 if kind == "request-refused" else CLIENTS
            warm_up = clients if kind.startswith("request") else 100
            with programs.backends(rows=calls + warm_up, clients=CLIENTS) as backends:
                figures.append(alone(kind, *backends, calls, warm_up=warm_up, clients=clients))
    return {kind: medians(figures) for kind, figures in rounds.items()}


def units():
    """The writes of each kind of call, as the engine charges them."""
    figures = {}
    for kind in KINDS[:5]:
        with programs.backends(rows=400, clients=10) as (_, services, codes):
            figures[kind] = programs.calls(
                kind, services, codes, calls=200, warm_up=20, clients=10, units=True
            )
    return {kind: {name: run[name] for name in UNITS} for kind, run in figures.items()}


def growth(all_rows):
    """The medians of rounds in which tables of all sizes take turns."""
    rounds = {rows: {"validate": [], "request": [], "engine": []} for rows in all_rows}
    for _ in range(GROWTH_ROUNDS):
        for rows, runs in rounds.items():
            # Anew each time: the engine looks through a whole table every minute.
            with programs.backends(rows=rows, clients=CLIENTS) as (engine, services, codes):
                lines = codes.read_text().splitlines(keepends=True)
                # From everywhere in the table.
                random.Random(rows).shuffle(lines)
                codes.write_text("".join(lines))
                backends = engine, services, codes
                calls = min(2_000, rows - 20)
                runs["validate"].append(alone("validate", *backends, calls, warm_up=20))
                runs["request"].append(
                    alone("request", *backends, 1_000, warm_up=CLIENTS, clients=CLIENTS)
                )
                runs["engine"].append({"mib": programs.used(engine.pid)[2]})
    return [
        {"rows": rows, **{name: medians(figures) for name, figures in runs.items()}}
        for rows, runs in rounds.items()
    ]


def rounded(value):
    """The same, with figures to four digits: they are not known any better."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def show(title, header, rows):
    """Prints a table in Markdown."""
    print(f"{title}\n")
    print("| " + " | ".join(header) + " |")
    print("|---" + "|---:" * (len(header) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


def show_load(figures):
    header = ("", "connections", "per second", "p50 ms", "p99 ms", "API µs", "engine µs", "MiB")
    rows = [
        (
            row["call"],
            row["connections"],
            f"{row['per_second']:,.0f}",
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            f"{row['api_cpu_us']:.0f}",
            f"{row['engine_cpu_us']:.0f}",
            f"{row['api_mib_before']:.1f} → {row['api_mib_after']:.1f}",
        )
        for row in figures
    ]
    show("Under load: CPU of the API and of the engine per call", header, rows)


def show_shares(figures):
    header = ("", "CPU µs", "user", "system", "wall", "engine µs", "× bare", "peak MiB")
    rows = []
    for kind, run in figures.items():
        bare = figures["bare-update" if "validate" in kind or "update" in kind else "bare-request"]
        rows.append(
            (
                kind,
                *(f"{run[name]:.0f}" for name in ("cpu_us", "user_us", "system_us", "wall_us")),
                f"{run['engine_cpu_us']:.0f}",
                f"{run['cpu_us'] / bare['cpu_us']:.2f}",
                f"{run['peak_kib'] / 1024:.1f}",
            )
        )
    show("One call after the other: the caller's CPU per call", header, rows)


def show_units(figures):
    header = ("", "writes", "write units", "reads", "read units", "log bytes")
    rows = [
        (kind, *(f"{run[name]:.4g}" for name in UNITS[:4]), f"{run['log_bytes']:.0f}")
        for kind, run in figures.items()
    ]
    show("What DynamoDB charges per call, and what is logged", header, rows)


def show_growth(table):
    header = ("rows", "validate µs", "engine µs", "request µs", "engine µs", "engine MiB")
    rows = [
        (
            f"{row['rows']:,}",
            f"{row['validate']['cpu_us']:.0f}",
            f"{row['validate']['engine_cpu_us']:.0f}",
            f"{row['request']['cpu_us']:.0f}",
            f"{row['request']['engine_cpu_us']:.0f}",
            f"{row['engine']['mib']:.0f}",
        )
        for row in table
    ]
    show("Growth: the caller's and the engine's CPU per call", header, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tables = ("load", "shares", "units", "growth")
    parser.add_argument("tables", nargs="*", help=f"of {', '.join(tables)}; default: all")
    parser.add_argument("--seconds", type=int, default=10, help="of each load")
    parser.add_argument("--calls", type=int, default=3_000, help="of each share")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--update", action="store_true", help="write the figures to measured.json")
    parser.add_argument("--no-build", action="store_true", help="the programs are built already")
    arguments = parser.parse_args()
    if unknown := set(arguments.tables) - set(tables):
        parser.error(f"no such table: {', '.join(sorted(unknown))}")
    if not arguments.no_build:
        programs.build()
    chosen = arguments.tables or tables
    measured = {"date": programs.today(), "machine": programs.machine()}
    if "shares" in chosen:
        measured["shares"] = shares(arguments.calls)
        show_shares(measured["shares"])
    if "units" in chosen:
        measured["units"] = units()
        show_units(measured["units"])
    if "load" in chosen:
        measured["load"] = [
            under_load(call, connections, arguments.seconds)
            for call in ("validate", "request")
            for connections in CONNECTIONS
        ]
        show_load(measured["load"])
    if "growth" in chosen:
        measured["growth"] = growth(arguments.rows)
        show_growth(measured["growth"])
    if arguments.update:
        before = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
        text = json.dumps(rounded({**before, **measured}), indent=2, ensure_ascii=False)
        MEASURED.write_text(text + "\n")


if __name__ == "__main__":
    try:
        main()
    except programs.Failed as error:
        sys.exit(f"failed: {error}")
