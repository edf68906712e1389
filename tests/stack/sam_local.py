"""Runs the functions that `sam build` made under `sam local`, and the sample events against them.

Each event of events/ goes through `sam local invoke`, and over HTTP through `sam local start-api`
under both prefixes; so does a code, from request to inbox to validation. The answers expected are
those of outcomes.py; tables, secret and inbox are those of target/debug/twofa-local.

Uses the Docker engine that runs here and Lambda's base image. Where no engine runs, root starts one
for the time of the run, if `dockerd` is installed; where that one cannot pull the image,
`debootstrap` makes a stand-in for it.

Exit codes: 0 passed, 1 failed, 75 not run, for want of an engine or of an image; the reason is then
in target/stack/not-run, too.
"""

import base64
import contextlib
import ipaddress
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from outcomes import (
    FUNCTIONS,
    ROOT,
    TIMEOUT,
    Failed,
    Function,
    Report,
    check_flow,
    check_samples,
    end,
    free_port,
    http_response,
)

# `.ci/run` reads it.
WHY_NOT_RUN = ROOT / "target" / "stack" / "not-run"
BUILT = ROOT / ".aws-sam" / "build"
LAPTOP = ROOT / "target" / "debug" / "twofa-local"
NOT_RUN = 75  # EX_TEMPFAIL of sysexits.h
PATIENCE = 300  # seconds that a download may take

# The processor as SAM calls it, and its e_machine in the header of an ELF file.
ARCHITECTURE, MACHINE = ("x86_64", 62) if platform.machine() == "x86_64" else ("arm64", 183)
IMAGE = f"public.ecr.aws/lambda/provided:al2023-{ARCHITECTURE}"


class Unavailable(Exception):
    """Why nothing can be run on this machine."""


def say(text):
    print(f"[{time.monotonic() - STARTED:3.0f} s] {text}", flush=True)


def run(*command, timeout=TIMEOUT):
    """Answers standard output; a failure tells the last line of standard error."""
    try:
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=timeout
        ).stdout.strip()
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} took more than {timeout} s") from None
    except subprocess.CalledProcessError as error:
        lines = (error.stderr.strip() or error.stdout.strip() or str(error)).splitlines()
        raise Unavailable(lines[-1]) from None


def stop(process, patience=TIMEOUT):
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def unmount(folder):
    """What a stopped engine or debootstrap left mounted is not to be removed with the folder."""
    mounts = pathlib.Path("/proc/self/mounts")
    for line in mounts.read_text().splitlines() if mounts.exists() else []:
        path = line.split()[1]
        if path.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", path], check=True)


# ---------------------------------------------------------------- what was built


def functions_of(template):
    """Logical ids of the template's functions, and whether HTTP reaches them.

    SAM writes the built template in block style, indented by two: no YAML parser is needed.
    """
    resources = re.split(r"^Resources:\n", template, flags=re.MULTILINE)[1]
    resources = re.split(r"^\S", resources, maxsplit=1, flags=re.MULTILINE)[0]
    blocks = re.split(r"^  (\w+):\n", resources, flags=re.MULTILINE)[1:]
    return {
        name: bool(re.search(r"^ {10}Type: HttpApi$", block, re.MULTILINE))
        for name, block in zip(blocks[::2], blocks[1::2], strict=True)
        if re.search(r"^    Type: AWS::Serverless::Function$", block, re.MULTILINE)
    }


def check_build(report):
    functions = functions_of((BUILT / "template.yaml").read_text())
    for name in functions:
        bootstrap = BUILT / name / "bootstrap"
        size = bootstrap.stat().st_size if bootstrap.exists() else 0
        with report.check(f"{name} was built: {size / 1e6:.1f} MB"):
            if not os.access(bootstrap, os.X_OK):
                raise Failed(f"{bootstrap} is not executable")
            with bootstrap.open("rb") as file:
                header = file.read(20)
            if header[:4] != b"\x7fELF" or struct.unpack("<H", header[18:])[0] != MACHINE:
                raise Failed(
                    f"not for {ARCHITECTURE}: build with "
                    f"--parameter-overrides Architecture={ARCHITECTURE}"
                )
    with report.check("every function that HTTP reaches has samples"):
        reached = {name for name, http in functions.items() if http}
        if reached != set(FUNCTIONS.values()):
            raise Failed(f"HTTP reaches {sorted(reached)}")


# ---------------------------------------------------------------- the engine


def gateway():
    """The address that containers of the default network reach this machine on."""
    # A daemon that chose it tells the network alone, of which it takes the first address.
    form = "{{with index .IPAM.Config 0}}{{or .Gateway .Subnet}}{{end}}"
    told = run("docker", "network", "inspect", "bridge", "--format", form)
    return str(ipaddress.ip_network(told)[1]) if "/" in told else told


def start_engine(folder, running):
    """Starts an engine whose images and containers go with `folder`."""
    if os.geteuid():
        raise Unavailable("no Docker engine runs, and only root can start one")
    if not shutil.which("dockerd"):
        raise Unavailable("no Docker engine runs, and dockerd is not installed")
    nothing = folder / "daemon.json"  # instead of what /etc/docker may say
    nothing.write_text("{}")
    host = f"unix://{folder}/docker.sock"
    log = folder / "dockerd.log"
    # Containers are to reach this machine and nothing else: its firewall and forwarding stay as they
    # are. A session of its own, for a Ctrl-C to end it after its containers.
    command = ["dockerd", "--config-file", nothing, "--host", host, "--iptables=false"]
    command += [
        "--ip-forward=false",
        "--data-root",
        folder / "data",
        "--exec-root",
        folder / "exec",
    ]
    command += ["--pidfile", folder / "dockerd.pid"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    running.callback(stop, process, 60)
    os.environ["DOCKER_HOST"] = host
    os.environ.pop("DOCKER_CONTEXT", None)
    deadline = time.monotonic() + 60
    while True:
        try:
            return run("docker", "info")
        except Unavailable as error:
            if process.poll() is not None or time.monotonic() > deadline:
                lines = log.read_text(errors="replace").strip().splitlines() or [str(error)]
                raise Unavailable(f"dockerd did not start: {lines[-1]}") from None
            time.sleep(0.2)


def make_stand_in(folder):
    """Makes an image of the distribution that runs here, from the mirror that apt uses."""
    release = platform.freedesktop_os_release()
    suite = release.get("VERSION_CODENAME", "")
    form = "$(RELEASE) $(COMPONENT) $(SITE)"
    sources = run("apt-get", "indextargets", "--format", form, "Identifier: Packages")
    mirrors = re.findall(rf"^{re.escape(suite)} main (http\S+)$", sources, re.MULTILINE)
    if not mirrors:
        raise Unavailable(f"apt knows no http mirror of {suite or 'this system'}")
    rootfs, archive = folder / "rootfs", folder / "rootfs.tar"
    options = ["--variant=minbase", "--include=ca-certificates"]
    run("debootstrap", *options, suite, rootfs, mirrors[0], timeout=PATIENCE)
    run("tar", "--create", "--file", archive, "--directory", rootfs, ".", timeout=PATIENCE)
    variables = "LAMBDA_TASK_ROOT=/var/task LAMBDA_RUNTIME_DIR=/var/runtime"
    changes = ["--change", "WORKDIR /var/task", "--change", f"ENV {variables}"]
    run("docker", "import", *changes, archive, IMAGE, timeout=PATIENCE)
    say(f"base image: stand-in made of {release['PRETTY_NAME']}: proves wiring, not Amazon Linux")


def prepare_engine(folder, running):
    """Sees to an engine and the base image; answers the address of this machine for containers."""
    try:
        run("docker", "info")
        say("engine: the one that runs")
        own = False
    except Unavailable:
        start_engine(folder, running)
        say("engine: started for this run")
        own = True
    if not run("docker", "image", "ls", "--quiet", IMAGE):
        try:
            run("docker", "pull", "--quiet", IMAGE, timeout=PATIENCE)
        except Unavailable as error:
            # In an engine that others use, nothing may pass for Lambda's image.
            if not own:
                raise
            say(f"base image: cannot be pulled: {error}")
            make_stand_in(folder)
    running.callback(remove_containers)
    return gateway()


def remove_containers():
    """Those that SAM forgot, or did not get to remove."""
    for name in FUNCTIONS.values():
        source = BUILT / name
        containers = run("docker", "ps", "--all", "--quiet", "--filter", f"volume={source}")
        if containers:
            run("docker", "rm", "--force", *containers.split())


# ---------------------------------------------------------------- the runs


@contextlib.contextmanager
def laptop(folder, address):
    """A laptop server that containers reach; answers its URL and the functions' variables."""
    port, dynamodb, sns = (free_port(address) for _ in range(3))
    log = folder / "laptop.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                LAPTOP, "--ephemeral", "--host", address, "--port", str(port),
                "--dynamodb-port", str(dynamodb), "--sns-port", str(sns),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_for(process, address, port, "the laptop server", log)
        variables = (ROOT / "env.json").read_text()
        variables = variables.replace(":8000", f":{dynamodb}").replace(":4566", f":{sns}")
        path = folder / "env.json"
        path.write_text(variables)
        yield f"http://{address}:{port}", path
    finally:
        stop(process)


def wait_for(process, host, port, name, log):
    deadline = time.monotonic() + 120
    while True:
        try:
            socket.create_connection((host, port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                print(log.read_text(errors="replace")[-4000:])
                sys.exit(f"{name} does not answer")
            time.sleep(0.1)


def sam_local(variables):
    # As in README.md; the image is there.
    return [
        "--env-vars", str(variables),
        "--parameter-overrides", f"Architecture={ARCHITECTURE}",
        "--add-host", "host.docker.internal:host-gateway",
        "--skip-pull-image",
    ]  # fmt: skip


class Invoked(Function):
    """A function in a container for each event."""

    def __init__(self, name, log, variables):
        super().__init__(name, log)
        self.variables = variables

    def call(self, payload):
        command = ["sam", "local", "invoke", FUNCTIONS[self.name], "--event", "-"]
        with self.log.open("wb") as output:
            answer = subprocess.run(
                command + sam_local(self.variables),
                cwd=ROOT,
                input=json.dumps(payload).encode(),
                stdout=subprocess.PIPE,
                stderr=output,
                timeout=120,
                check=True,
            )
        return http_response(json.loads(answer.stdout))


class Served(Function):
    """A function behind the HTTP API, which finds it by method and path."""

    def __init__(self, name, log, base, prefix):
        super().__init__(name, log)
        self.base = base
        self.prefix = prefix

    def call(self, payload):
        body = payload.get("body", "").encode()
        if payload.get("isBase64Encoded"):
            body = base64.b64decode(body)
        request = urllib.request.Request(
            self.base + re.sub("^/api(?=/)", self.prefix, payload["rawPath"]),
            body or None,
            payload["headers"],
            method=payload["requestContext"]["http"]["method"],
        )
        try:
            response = urllib.request.urlopen(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return response.status, headers, json.load(response)


def check_invoke(folder, address, report):
    with laptop(folder, address) as (url, variables):
        functions = {name: Invoked(name, folder / f"{name}.log", variables) for name in FUNCTIONS}
        check_samples(functions, report)
        check_flow(functions, url, report)


def check_start_api(folder, address, prefix, report):
    log = folder / "start-api.log"
    port = free_port()
    with laptop(folder, address) as (url, variables), log.open("wb") as output:
        # Started one by one, on demand: of containers that it starts at once SAM may forget one.
        command = ["sam", "local", "start-api", "--port", str(port), "--warm-containers", "LAZY"]
        process = subprocess.Popen(
            command + sam_local(variables), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            wait_for(process, "127.0.0.1", port, "sam local start-api", log)
            base = f"http://127.0.0.1:{port}"
            functions = {name: Served(name, log, base, prefix) for name in FUNCTIONS}
            check_samples(functions, report)
            check_flow(functions, url, report)
        finally:
            stop(process, 60)


def main():
    for path, maker in (BUILT / "template.yaml", "sam build"), (LAPTOP, "cargo build"):
        if not path.exists():
            sys.exit(f"{path} is missing: `{maker}` makes it")
    if not shutil.which("sam"):
        sys.exit("sam is not on the PATH")
    signal.signal(signal.SIGTERM, end)
    report = Report()
    check_build(report)
    with tempfile.TemporaryDirectory(prefix="twofa-") as path, contextlib.ExitStack() as running:
        folder = pathlib.Path(path)
        running.callback(unmount, folder)
        # SAM leaves lock files. It hands its credentials to the containers and, where it has any,
        # asks AWS whose they are, which takes long without a network: it is to find none.
        for variable in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[variable]
        os.environ.update(
            TMPDIR=path,
            SAM_CLI_TELEMETRY="0",
            AWS_DEFAULT_REGION="us-east-1",
            AWS_CONFIG_FILE=os.devnull,
            AWS_SHARED_CREDENTIALS_FILE=os.devnull,
            AWS_EC2_METADATA_DISABLED="true",
        )
        try:
            address = prepare_engine(folder, running)
        except Unavailable as error:
            say(f"NOT RUN: {error}")
            if report.failed:
                sys.exit(1)
            WHY_NOT_RUN.parent.mkdir(parents=True, exist_ok=True)
            WHY_NOT_RUN.write_text(f"{error}\n")
            sys.exit(NOT_RUN)
        say("each event through `sam local invoke`")
        check_invoke(folder, address, report)
        for prefix in "/api", "":
            say(f"each event through `sam local start-api`, under {prefix}/v1.0")
            check_start_api(folder, address, prefix, report)
    say(f"{report.passed} passed, {report.failed} failed")
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    STARTED = time.monotonic()
    main()
