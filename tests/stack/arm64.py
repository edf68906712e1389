"""Starts the functions that `cargo lambda build --arm64` made, under qemu: each asks for its first call.

usage: arm64.py FOLDER [COMMAND ...]; COMMAND is what runs a binary, such as qemu-aarch64 -L SYSROOT.
"""

import contextlib
import http.server
import json
import pathlib
import subprocess
import sys
import threading

from outcomes import ROOT

PATIENCE = 60  # seconds
FUNCTIONS = {
    "request": "RequestFunction",
    "validate": "ValidateFunction",
    "template": "TemplateFunction",
    "rotation": "RotationFunction",
    "pre-traffic": "PreTrafficFunction",
}


class Runtime(http.server.BaseHTTPRequestHandler):
    """Lambda's runtime API, which has no call for anybody."""

    def do_GET(self):
        if self.path.endswith("/runtime/invocation/next"):
            self.server.asked.set()
        self.server.over.wait(PATIENCE)

    def log_message(self, *_):
        pass


def starts(command, variables):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Runtime) as runtime:
        runtime.daemon_threads = True
        runtime.asked, runtime.over = threading.Event(), threading.Event()
        threading.Thread(target=runtime.serve_forever, daemon=True).start()
        environment = {
            **{
                name: "http://127.0.0.1:1" if name.startswith("AWS_ENDPOINT_URL") else value
                for name, value in variables.items()
            },
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_address[1]}",
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_LOG_GROUP_NAME": "g",
            "AWS_LAMBDA_LOG_STREAM_NAME": "s",
        }
        process = subprocess.Popen(command, env=environment)
        try:
            for _ in range(PATIENCE * 10):
                if runtime.asked.wait(0.1):
                    return True
                if process.poll() is not None:
                    return False
            return False
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
            runtime.over.set()
            runtime.shutdown()


def main():
    folder, command = pathlib.Path(sys.argv[1]), sys.argv[2:]
    declared = json.loads((ROOT / "env.json").read_text())
    failed = []
    for name, function in FUNCTIONS.items():
        binary = folder / name / "bootstrap"
        if starts([*command, str(binary)], declared[function]):
            print(f"started {name}")
        else:
            failed.append(name)
    if failed:
        sys.exit(f"did not start: {', '.join(failed)}")


if __name__ == "__main__":
    main()
