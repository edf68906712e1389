"""Measures cold starts: hello world, our functions, and `validate` written for Node.js and Python.

Each runs under AWS's runtime interface emulator against a laptop server that this script starts.
The starts take turns, so that whatever else the machine does hits all alike; figures are medians.
`init` and the calls are what the emulator logs, memory is the kernel's high-water mark.
"""

import argparse
import asyncio
import base64
import contextlib
import dataclasses
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
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TIMEOUT = 60  # seconds that anything may take
OURS = ("validate", "request", "template")

# What a function of 256 MB gets: 1,769 MB are one core, which the kernel deals out every 20 ms.
PERIOD_US = 20_000
QUOTA_US = PERIOD_US // 7

BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")

INIT = re.compile(r"INIT REPORT\(durationMs: ([\d.]+)")
CALL = re.compile(r"INVOKE RTDONE\(status: success, .*?duration: ([\d.]+)ms")

FULL = "full CPU, plain HTTP"
CONSTRAINED = "a seventh of a core, TLS"


@dataclasses.dataclass
class Function:
    """Something that is started, with what it is to be told and what it is to answer."""

    name: str
    command: list
    file: pathlib.Path
    events: Iterator
    status: int
    folder: pathlib.Path = HERE
    variables: dict = dataclasses.field(default_factory=dict)
    throttled: bool = False
    init: list = dataclasses.field(default_factory=list)
    first: list = dataclasses.field(default_factory=list)
    warm: list = dataclasses.field(default_factory=list)
    peak: list = dataclasses.field(default_factory=list)
    pauses: list = dataclasses.field(default_factory=list)

    def figures(self):
        return {
            "name": self.name,
            "init_ms": round(statistics.median(self.init), 2),
            "first_ms": round(statistics.median(self.first), 2),
            "init_and_first_ms": round(
                statistics.median(map(sum, zip(self.init, self.first))), 2
            ),
            "warm_p50_ms": round(statistics.median(self.warm), 2),
            "peak_rss_mib": round(statistics.median(self.peak), 1),
            "code_bytes": self.file.stat().st_size,
        }


class Failed(Exception):
    """What keeps the figures from being taken, as the user is told."""


def sample(name):
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


def always(name):
    return itertools.repeat(sample(name))


def to_ever_other_numbers():
    """A number gets ten messages in ten minutes and no more."""
    for index in itertools.count():
        event = sample("request")
        event["body"] = json.dumps({**json.loads(event["body"]), "to": f"+447400{index:06}"})
        yield event


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
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, **options
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT)


@contextlib.contextmanager
def laptop(binary, scratch):
    """Answers the ports of DynamoDB and of SNS and Secrets Manager."""
    api, dynamodb, sns = free_port(), free_port(), free_port()
    ports = ["--port", api, "--dynamodb-port", dynamodb, "--sns-port", sns]
    command = [binary, "--ephemeral", "--log-level", "error", *map(str, ports)]
    with running(command, scratch / "laptop.log") as process:
        wait_for(api, process, "the laptop server")
        # Its ports are open before its tables are filled; this is answered afterwards.
        urllib.request.urlopen(f"http://127.0.0.1:{api}/openapi.json", timeout=TIMEOUT).close()
        yield dynamodb, sns


@contextlib.contextmanager
def throttle():
    """A control group with a seventh of a core; answers its folder.

    Each start gets a fresh one, which owes nothing for the one before.
    """
    name = f"twofa-bench-{os.getpid()}"
    root = pathlib.Path("/sys/fs/cgroup")
    unified = (root / "cgroup.controllers").exists()
    folder = root / name if unified else root / "cpu" / name
    try:
        if unified:
            (root / "cgroup.subtree_control").write_text("+cpu")
        folder.mkdir()
        if unified:
            (folder / "cpu.max").write_text(f"{QUOTA_US} {PERIOD_US}")
        else:
            (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(QUOTA_US))
    except OSError as error:
        raise Failed(
            "--constrained needs root and the cpu controller of cgroups, version 1 at "
            f"/sys/fs/cgroup/cpu or version 2 at /sys/fs/cgroup: {error}"
        ) from error
    try:
        yield folder
    finally:
        deadline = time.monotonic() + TIMEOUT
        while folder.exists() and time.monotonic() < deadline:
            # Not before the last of the killed is gone.
            with contextlib.suppress(OSError):
                folder.rmdir()
            time.sleep(0.01)


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


def start_cold(function, emulator, scratch, warm_calls):
    if not function.throttled:
        serve_calls(function, function.command, emulator, scratch, warm_calls)
        return
    with throttle() as group:
        # Enters the group, then becomes the function. The emulator itself stays outside.
        enter = ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', group / "cgroup.procs"]
        serve_calls(function, [*enter, *function.command], emulator, scratch, warm_calls)
        pauses = re.search(r"nr_throttled (\d+)", (group / "cpu.stat").read_text())[1]
        function.pauses.append(int(pauses))


def serve_calls(function, bootstrap, emulator, scratch, warm_calls):
    port = free_port()
    log = scratch / "function.log"
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_SESSION_TOKEN": "bench",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "30",
        **function.variables,
    }
    command = [
        emulator,
        "--runtime-interface-emulator-address",
        f"127.0.0.1:{port}",
        "--runtime-api-address",
        f"127.0.0.1:{free_port()}",
        *map(str, bootstrap),
    ]
    with running(command, log, env=environment, cwd=function.folder) as process:
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


def functions(binaries, services, trust, throttled=False):
    """All that is measured; `trust` has the variables by which each language finds its roots."""
    tables = {
        "DIRECTORY_TABLE": "DirectoryTable",
        "VERIFICATIONS_TABLE": "VerificationsTable",
        "SECRET_ARN": "Secret",
        **services,
    }
    peppers = [base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=") for _ in range(3)]
    theirs = {**tables, "CLIENT": "demo", "PEPPERS": ",".join(peppers)}
    events = {
        "validate": (always("validate-not-found"), 404),
        "request": (to_ever_other_numbers(), 200),
        "template": (always("template"), 200),
    }

    def rust(name, binary, variables, events, status):
        return Function(
            name, [binary], binary, events, status, variables=variables, throttled=throttled
        )

    hello = HERE / "hello" / "target" / "release" / "hello"
    yield rust("hello", hello, {}, always("template"), 200)
    for name in OURS:
        binary = (binaries / name).resolve()
        yield rust(name, binary, {**tables, **trust["rust"]}, *events[name])
        if name == "validate" and "rust, system" in trust:
            variables = {**tables, **trust["rust, system"]}
            yield rust("validate, trusting the system's roots", binary, variables, *events[name])
    yield Function(
        "Node.js",
        ["node", HERE / "node/node_modules/aws-lambda-ric/bin/index.mjs", "index.handler"],
        HERE / "node" / "dist" / "index.js",
        *events["validate"],
        folder=HERE / "node" / "dist",
        variables={
            **theirs,
            **trust["node"],
            # A warning at each start is not of its making.
            "AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED": "true",
        },
        throttled=throttled,
    )
    yield Function(
        "Python",
        [HERE / "python/venv/bin/python", "-m", "awslambdaric", "app.handler"],
        HERE / "python" / "app.py",  # alone: AWS's runtime has the SDK
        *events["validate"],
        folder=HERE / "python",
        variables={**theirs, **trust["python"]},
        throttled=throttled,
    )


def endpoints(scheme, dynamodb, sns):
    return {
        "AWS_ENDPOINT_URL_DYNAMODB": f"{scheme}://127.0.0.1:{dynamodb}",
        "AWS_ENDPOINT_URL_SNS": f"{scheme}://127.0.0.1:{sns}",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"{scheme}://127.0.0.1:{sns}",
    }


def make_certificates(scratch):
    """A root for this run, and a certificate of 127.0.0.1 under it; RSA, as AWS's are."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=scratch, check=True, capture_output=True)

    key = ["-newkey", "rsa:2048", "-nodes"]
    openssl(
        *["req", "-x509", *key, "-keyout", "root.key", "-out", "root.pem"],
        *["-days", "2", "-subj", "/CN=bench root"],
    )
    openssl(*["req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=bench"])
    (scratch / "server.ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    openssl(
        *["x509", "-req", "-in", "server.csr", "-CA", "root.pem", "-CAkey", "root.key"],
        *["-CAcreateserial", "-days", "2", "-extfile", "server.ext", "-out", "server.pem"],
    )
    bundle = next((path for path in map(pathlib.Path, BUNDLES) if path.exists()), None)
    if bundle is None:
        raise Failed(f"the system's root certificates are in none of {BUNDLES}")
    root = (scratch / "root.pem").read_text()
    (scratch / "bundle.pem").write_text(bundle.read_text() + root)
    (scratch / "amazon.pem").write_text((ROOT / "src" / "amazon-roots.pem").read_text() + root)


def serve_tls(scratch, backends):
    """Puts TLS before the ports of `backends` until this process ends; answers the new ports."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(scratch / "server.pem", scratch / "server.key")

    async def relay(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def proxy(backend):
        async def serve(reader, writer):
            there = await asyncio.open_connection("127.0.0.1", backend)
            await asyncio.gather(relay(reader, there[1]), relay(there[0], writer))

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        return server.sockets[0].getsockname()[1]

    async def proxies():
        return [await proxy(backend) for backend in backends]

    loop = asyncio.new_event_loop()
    # A function that is killed takes its connections with it.
    loop.set_exception_handler(lambda *_: None)
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return asyncio.run_coroutine_threadsafe(proxies(), loop).result(TIMEOUT)


def check_that_tls_is_verified(candidates, emulator, scratch):
    """Nobody may have won by trusting everybody."""
    for function in candidates:
        if function.name == "hello":
            continue
        try:
            start_cold(function, emulator, scratch, 0)
        except Failed:
            continue
        raise Failed(f"{function.name} trusts a certificate of an unknown root")


def find_emulator():
    architecture = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
    package = importlib.util.find_spec("samcli")
    if package is None:
        raise Failed("aws-sam-cli is missing: run this by `make bench-cold`, or give --emulator")
    folder = pathlib.Path(package.origin).parent / "local" / "rapid"
    return folder / f"aws-lambda-rie-{architecture}"


def ratio(figures, name, against="validate"):
    figure = {row["name"]: row["init_and_first_ms"] for row in figures}
    return figure[name] / figure[against]


def table(title, figures):
    header = ("", "init", "first call", "both", "to validate", "warm p50", "peak RSS", "code")
    rows = [
        (
            row["name"],
            f"{row['init_ms']:.1f} ms",
            f"{row['first_ms']:.1f} ms",
            f"{row['init_and_first_ms']:.1f} ms",
            f"{ratio(figures, row['name']):.1f} ×",
            f"{row['warm_p50_ms']:.2f} ms",
            f"{row['peak_rss_mib']:.1f} MiB",
            f"{row['code_bytes'] / 1e6:.3f} MB",
        )
        for row in figures
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    lines = [title]
    for cells in (header, *rows):
        aligned = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:]))
        lines.append("  ".join((cells[0].ljust(widths[0]), *aligned)))
    return "\n".join(lines)


def goals(modes):
    """What `validate` is held against, and the size of all three: text, figure, whether reached."""
    full = modes[FULL]
    ours = next(row for row in full if row["name"] == "validate")
    largest = max(row["code_bytes"] for row in full if row["name"] in OURS) / 1e6
    ahead = min(ratio(full, "Node.js"), ratio(full, "Python"))
    first, peak = ours["init_and_first_ms"], ours["peak_rss_mib"]
    yield "validate: init + first call at most 12 ms", f"{first:.1f} ms", first <= 12
    yield "validate: at least 20 × ahead of Node.js and Python", f"{ahead:.1f} ×", ahead >= 20
    yield "validate: peak RSS at most 10 MiB", f"{peak:.1f} MiB", peak <= 10
    yield "each bootstrap at most 6 MB", f"{largest:.2f} MB", largest <= 6
    text = "validate: over TLS at a seventh of a core at least 12 × ahead of both"
    if CONSTRAINED in modes:
        slow = modes[CONSTRAINED]
        ahead = min(ratio(slow, "Node.js"), ratio(slow, "Python"))
        yield text, f"{ahead:.1f} ×", ahead >= 12
    else:
        yield text, "--constrained measures it", None


def report(modes, method):
    for mode, figures in modes.items():
        print(table(mode, figures), end="\n\n")
    for text, figure, reached in goals(modes):
        verdict = {True: "reached", False: "missed", None: "open"}[reached]
        print(f"{verdict:8} {text}: {figure}")
    print(f"\n{method}")


def measure(arguments, emulator, scratch):
    with contextlib.ExitStack() as stack:
        ports = stack.enter_context(laptop(arguments.laptop.resolve(), scratch))
        untold = {"rust": {}, "node": {}, "python": {}}
        modes = {FULL: [*functions(arguments.binaries, endpoints("http", *ports), untold)]}
        if arguments.constrained:
            make_certificates(scratch)
            over_tls = endpoints("https", *serve_tls(scratch, ports))
            check_that_tls_is_verified(
                functions(arguments.binaries, over_tls, untold), emulator, scratch
            )
            root, bundle = str(scratch / "root.pem"), str(scratch / "bundle.pem")
            trust = {
                # Beside that of the bench, each has what it has on AWS: ours the five of Amazon,
                # boto3 a bundle of about 140; Node.js has those built in, and would pay twice.
                "rust": {"SSL_CERT_FILE": str(scratch / "amazon.pem")},
                "rust, system": {"SSL_CERT_FILE": bundle},
                "node": {"NODE_EXTRA_CA_CERTS": root},
                "python": {"AWS_CA_BUNDLE": bundle},
            }
            modes[CONSTRAINED] = [*functions(arguments.binaries, over_tls, trust, throttled=True)]
        # The first round fills the page cache and is not counted.
        for index in range(arguments.starts + 1):
            for function in itertools.chain(*modes.values()):
                start_cold(function, emulator, scratch, arguments.calls)
                if index == 0:
                    for samples in (function.init, function.first, function.warm, function.peak):
                        samples.clear()
        if arguments.constrained and not any(map(sum, (f.pauses for f in modes[CONSTRAINED]))):
            raise Failed("the control group throttled nothing")
        return {mode: [f.figures() for f in measured] for mode, measured in modes.items()}


def version(program):
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return told.stdout.split()[-1].removeprefix("v")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / "target" / "release")
    parser.add_argument(
        "--laptop", type=pathlib.Path, default=ROOT / "target" / "debug" / "twofa-local"
    )
    parser.add_argument("--emulator", type=pathlib.Path, help="default: that of aws-sam-cli")
    parser.add_argument("--starts", type=int, default=20, help="cold starts of each")
    parser.add_argument("--calls", type=int, default=20, help="warm calls after each")
    parser.add_argument(
        "--constrained", action="store_true", help=f"measure {CONSTRAINED}, too; needs root"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        emulator = shutil.copy(arguments.emulator or find_emulator(), scratch / "emulator")
        os.chmod(emulator, 0o755)
        modes = measure(arguments, emulator, scratch)
    method = (
        f"medians of {arguments.starts} cold starts with {arguments.calls} warm calls each; "
        f"Node.js {version('node')}, Python {version(HERE / 'python/venv/bin/python')}"
    )
    if arguments.json:
        reached = [
            {"goal": text, "figure": figure, "reached": reached}
            for text, figure, reached in goals(modes)
        ]
        figures = {"modes": modes, "goals": reached, "method": method}
        print(json.dumps(figures, indent=2, ensure_ascii=False))
    else:
        report(modes, method)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"failed: {error}")
