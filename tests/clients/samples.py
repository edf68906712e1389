"""Runs the samples of docs/integrate.md as they stand, and signs in with each.

samples.py http://127.0.0.1:PORT
"""

import http.cookiejar
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
MADE = HERE / "generated"
DOCUMENT = HERE.parents[1] / "docs" / "integrate.md"
SAMPLES = {
    "js": ("sample.js", ["node", "sample.js"]),
    "python": ("sample.py", [sys.executable, "sample.py"]),
    "rust": (
        "sample.rs",
        (
            "cargo run --quiet --locked --bin sample --manifest-path ../Cargo.toml"
            " --target-dir ../../../target/clients"
        ).split(),
    ),
}
START = 300  # seconds until a sample listens; that of Rust is compiled first


class Browser:
    """A person's browser: it keeps cookies, and follows what it is answered."""

    def __init__(self, address):
        self.address = address
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.cookies)
        )

    def post(self, path, **fields):
        body = urllib.parse.urlencode(fields).encode()
        try:
            with self.opener.open(self.address + path, body, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()

    def session(self):
        return [cookie.value for cookie in self.cookies]


def newest(api, number):
    """The code of the newest SMS."""
    query = urllib.parse.urlencode({"to": number, "wait": 10})
    with urllib.request.urlopen(f"{api}/inbox?{query}") as answer:
        return re.search(r"\d{6}", json.load(answer)[0]["text"])[0]


def expect(got, status, text):
    assert got[0] == status and text in got[1], f"{got} is not {status} with {text!r}"


def sign_in(api, address, number):
    """What a person, and somebody who is none, meet."""
    person = Browser(address)
    expect(person.post("/check", code="123456"), 400, "Ask for a code first.")
    expect(person.post("/code"), 400, "Type your number first.")
    expect(person.post("/code", to="1"), 400, "We cannot send to this number.")
    expect(person.post("/code", to=number), 200, "Type the code")
    first = newest(api, number)
    expect(person.post("/check", code="12"), 401, "Wrong code.")
    expect(person.post("/check", code=""), 401, "Wrong code.")
    expect(person.post("/code"), 200, "Type the code")
    code = newest(api, number)
    if first != code:
        expect(person.post("/check", code=first), 401, "Wrong code.")

    stranger = Browser(address)
    expect(stranger.post("/check", code=code), 400, "Ask for a code first.")
    other = number[:-1] + "9"
    expect(stranger.post("/code", to=other), 200, "Type the code")
    expect(stranger.post("/check", code=newest(api, other), to=number), 200, other)

    before = person.session()
    expect(person.post("/check", code=code), 200, f"Signed in with {number}.")
    assert before != person.session(), "the session kept its id"
    expect(person.post("/check", code=code), 400, "Ask for a code first.")

    late = Browser(address)
    while (answer := late.post("/code", to=number))[0] == 200:
        pass
    assert re.fullmatch(r"Wait \d+ seconds\.", answer[1]), answer
    expect(answer, 429, "Wait")
    for last, status, text in [(1, 400, "We cannot send"), (4, 503, "later"), (5, 200, "Type")]:
        expect(late.post("/code", to=f"+44740099990{last}"), status, text)


def main():
    api = sys.argv[1]
    document = DOCUMENT.read_text()
    for turn, (language, (file, command)) in enumerate(SAMPLES.items()):
        blocks = re.findall(rf"^```{language}\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
        assert len(blocks) == 1, f"{len(blocks)} samples in {language}"
        (MADE / file).write_text(blocks[0])
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environment = os.environ | {
            "TWOFA_URL": f"{api}/api",
            "TWOFA_API_KEY": "2fa_demo_LaptopOnlyLaptopOnlyLaptopOnlyLaptopOnly123",
            "TWOFA_TEMPLATE": "6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a01",
            "SESSION_SECRET": "a secret of this test",
            "PORT": str(port),
        }
        log = MADE / "sample.log"
        with log.open("wb") as output:
            sample = subprocess.Popen(
                command,
                cwd=MADE,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + START
            while sample.poll() is None and time.monotonic() < deadline:
                with socket.socket() as probe:
                    if not probe.connect_ex(("127.0.0.1", port)):
                        break
                time.sleep(0.1)
            sign_in(api, f"http://127.0.0.1:{port}", f"+44740000{turn + 2}110")
        except BaseException:
            print(log.read_text())
            raise
        finally:
            os.killpg(sample.pid, 15)
            sample.wait()
        print(f"--- docs/integrate.md, {language}: passed")


if __name__ == "__main__":
    main()
