#!/usr/bin/env python3
"""Whether the time that an answer takes tells what the answer does not.

Starts a laptop server of its own and asks it, over one connection and in random order, what a
stranger or another client would ask. Of each pair of calls that are answered alike it compares the
times: Mann-Whitney's rank test (two-sided, normal approximation with correction for ties), how often
a call of the second kind takes longer than one of the first (0.5: a coin), and the difference of the
medians with a bootstrap interval. Python 3.11, nothing else.
"""

import argparse
import hashlib
import http.client
import json
import math
import pathlib
import random
import re
import statistics
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
VALIDATE = "/v1.0/2fa/validate"
REQUEST = "/v1.0/2fa/request"
TEMPLATE = "/v1.0/2fa/template"
LOGIN = "11111111-1111-4111-8111-111111111111"
TTL = 30  # seconds; the shortest that a template may have
GUESSES = 4  # at each code; the client's fifth would use it up
BLOCK = 50  # rounds between two that are sent and not measured
RESAMPLES = 500


def key(client, secret="k" * 43):
    return f"2fa_{client}_{secret}"


class Laptop:
    """A laptop server with the clients `one` and `other`, and one connection to it."""

    def __init__(self, binary):
        self.log = tempfile.NamedTemporaryFile("r")  # noqa: SIM115 (open as long as the server)
        ports = ["--port", "0", "--dynamodb-port", "0", "--sns-port", "0"]
        with open(self.log.name, "w") as log:
            self.process = subprocess.Popen([binary, "--ephemeral", *ports], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not (found := re.search(r"SNS +http", pathlib.Path(self.log.name).read_text())):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit("the laptop server does not start")
            time.sleep(0.1)
        assert found
        self.api, self.dynamodb = (self.listens(name) for name in ("API", "DynamoDB"))
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.api).netloc)
        self.people = 1_000_000
        for client in ("one", "other"):
            self.add(client)

    def listens(self, name):
        log = pathlib.Path(self.log.name).read_text()
        return re.search(rf"^  {name} +(http://[^ /\n]+)", log, re.MULTILINE)[1]

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def put(self, item):
        body = json.dumps({"TableName": "DirectoryTable", "Item": item}).encode()
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": "DynamoDB_20120810.PutItem",
            "X-Amz-Date": "20260101T000000Z",
            "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/dynamodb/aws4_request,"
            " SignedHeaders=host, Signature=x",
        }
        urllib.request.urlopen(urllib.request.Request(self.dynamodb, body, headers)).close()

    def add(self, client):
        digest = hashlib.sha256(key(client).encode()).hexdigest()
        stored = {"M": {"digest": {"S": digest}, "created_at": {"N": "0"}}}
        owner = {"pk": {"S": f"CLIENT#{client}"}}
        everywhere = {"countries": {"L": [{"S": "*"}]}, "name": {"S": client}}
        self.put({**owner, **everywhere, "sk": {"S": "PROFILE"}, "api_keys": {"L": [stored]}})
        texts = {"id": LOGIN, "name": "Login", "from": "Twofa", "text": "${code}"}
        fields = {name: {"S": text} for name, text in texts.items()}
        self.put({**owner, **fields, "sk": {"S": f"TEMPLATE#{LOGIN}"}, "ttl": {"N": str(TTL)}})

    def call(self, method, path, api_key, body=None):
        """How many nanoseconds an answer takes, its status and its body."""
        headers = {"X-API-KEY": api_key, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        start = time.perf_counter_ns()
        self.connection.request(method, path, data, headers)
        response = self.connection.getresponse()
        text = response.read()
        return time.perf_counter_ns() - start, response.status, text

    def send(self, client="one"):
        """A request id and its code."""
        self.people += 1
        to = f"+44740{self.people:07}"
        order = {"to": to, "template_id": LOGIN}
        _, status, text = self.call("POST", REQUEST, key(client), order)
        answer = json.loads(text)
        if status != 200 or answer["status"] != "ACCEPTED":
            raise SystemExit(f"no code is sent: {status} {answer}")
        inbox = f"{self.api}/inbox?to={urllib.parse.quote(to)}"
        with urllib.request.urlopen(inbox) as response:
            return answer["request_id"], json.load(response)[0]["text"]

    def guess(self, request_id, code, client="one"):
        question = {"code": code, "request_id": request_id}
        return self.call("POST", VALIDATE, key(client), question)


def other_digits(code, kept):
    """A wrong code that has the first digits of the right one."""
    return code[:kept] + "".join(str((int(digit) + 5) % 10) for digit in code[kept:])


def keys(laptop):
    """Pairs of callers who are not let in."""

    def denied(make):
        return lambda: laptop.call("GET", TEMPLATE, make())

    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

    def secret():
        return "".join(random.choices(alphabet, k=43))

    wrong = denied(lambda: key("one", secret()))
    return {
        "wrong secret / the same again (control)": (wrong, wrong),
        "wrong secret / unknown client": (wrong, denied(lambda: key("nobody", secret()))),
        "wrong secret / unknown client, never asked for": (
            wrong,
            denied(lambda: key(f"n{uuid.uuid4().hex[:20]}", secret())),
        ),
        "no key at all / unknown client": (
            denied(lambda: "x"),
            denied(lambda: key("nobody", secret())),
        ),
        "wrong in the first character / in the last": (
            denied(lambda: key("one", "x" + "k" * 42)),
            denied(lambda: key("one", "k" * 42 + "x")),
        ),
    }


def ids(laptop):
    """Pairs of guesses at codes that are `not_found`."""
    expired = [laptop.send()[0] for _ in range(20)]
    used, exhausted = [], []
    for _ in range(20):
        request_id, code = laptop.send()
        laptop.guess(request_id, code)
        used.append(request_id)
        request_id, code = laptop.send()
        for _ in range(5):
            laptop.guess(request_id, other_digits(code, 0))
        exhausted.append(request_id)
    time.sleep(TTL + 1)
    theirs = []

    def guess(make):
        return lambda: laptop.guess(make(), "000000")

    def another():
        # Theirs must be alive: those that are used up or expired are compared by themselves.
        if not theirs or time.monotonic() > theirs[0] + TTL - 5:
            theirs[:] = [time.monotonic(), *(laptop.send("other")[0] for _ in range(20))]
        return random.choice(theirs[1:])

    unknown = guess(lambda: str(uuid.uuid4()))
    return {
        "unknown id / the same again (control)": (unknown, unknown),
        "unknown id / another client's": (unknown, guess(another)),
        "unknown id / expired": (unknown, guess(lambda: random.choice(expired))),
        "unknown id / used": (unknown, guess(lambda: random.choice(used))),
        "unknown id / exhausted": (unknown, guess(lambda: random.choice(exhausted))),
        "unknown id / no UUID": (unknown, guess(lambda: "no-uuid-" + uuid.uuid4().hex[:28])),
    }


def codes(laptop):
    """Pairs of guesses at codes that are alive; of the last pair one succeeds."""
    live = {}

    def code_for(kind, guesses):
        request_id, code, left, sent = live.get(kind) or (None, None, 0, 0)
        if left == 0 or time.monotonic() > sent + TTL - 5:
            (request_id, code), left, sent = laptop.send(), guesses, time.monotonic()
        live[kind] = (request_id, code, left - 1, sent)
        return request_id, code

    def wrong(kind, kept):
        def call():
            request_id, code = code_for(kind, GUESSES)
            return laptop.guess(request_id, other_digits(code, kept))

        return call

    def right():
        request_id, code = code_for("right", 1)
        return laptop.guess(request_id, code)

    return {
        "wrong code / the same again (control)": (wrong("a", 0), wrong("b", 0)),
        "wrong from the first digit / in the last alone": (wrong("a", 0), wrong("b", 5)),
        "right code / wrong code (the answer tells)": (right, wrong("b", 0)),
    }


def compare(pair, samples):
    """The times of both kinds of call, in turn and each turn in random order."""
    times = ([], [])
    answers = (set(), set())
    for round_ in range(samples + samples // BLOCK):
        for kind in random.sample((0, 1), 2):
            taken, status, text = pair[kind]()
            answers[kind].add((status, text))
            if round_ % BLOCK:
                times[kind].append(taken / 1000)
    return times, answers[0] == answers[1]


def rank_test(one, other):
    """Mann-Whitney: the two-sided p, and how often `other` is longer than `one`."""
    both = sorted([(value, 0) for value in one] + [(value, 1) for value in other])
    ranks, ties, start = 0.0, 0, 0
    while start < len(both):
        end = start
        while end < len(both) and both[end][0] == both[start][0]:
            end += 1
        ranks += (start + end + 1) / 2 * sum(kind for _, kind in both[start:end])
        ties += (end - start) ** 3 - (end - start)
        start = end
    n, m, total = len(one), len(other), len(both)
    u = ranks - m * (m + 1) / 2
    spread = math.sqrt(n * m / 12 * (total + 1 - ties / (total * (total - 1))))
    z = (abs(u - n * m / 2) - 0.5) / spread
    return min(1.0, math.erfc(z / math.sqrt(2))), u / (n * m)


def median_interval(one, other):
    """The difference of the medians, and where 95 of 100 resamples have it."""

    def resampled(times):
        return statistics.median(random.choices(times, k=len(times)))

    differences = sorted(resampled(other) - resampled(one) for _ in range(RESAMPLES))
    low, high = (differences[int(RESAMPLES * part)] for part in (0.025, 0.975))
    return statistics.median(other) - statistics.median(one), low, high


def self_check():
    """Figures worked out by hand (U = 20, z = 1.471), so that the test itself is tested."""
    p, longer = rank_test([1.1, 2.2, 3.3, 4.4, 5.5], [2.2, 4.4, 6.6, 8.8, 9.9])
    assert round(p, 4) == 0.1412 and longer == 0.8, (p, longer)
    assert rank_test([1.0, 2.0], [1.0, 2.0])[1] == 0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default=ROOT / "target/release/twofa-local", help="its binary")
    parser.add_argument("--samples", type=int, default=3000, help="of each kind of call")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    self_check()
    random.seed(options.seed)
    laptop = Laptop(options.server)
    try:
        print("| calls | median µs | difference µs (95 %) | longer | p |")
        print("|---|---|---|---|---|")
        for pairs in (keys, ids, codes):
            for title, pair in pairs(laptop).items():
                times, alike = compare(pair, options.samples)
                if not alike and "tells" not in title:
                    raise SystemExit(f"not answered alike: {title}")
                p, longer = rank_test(*times)
                medians = " / ".join(f"{statistics.median(kind):.0f}" for kind in times)
                difference, low, high = median_interval(*times)
                interval = f"{difference:+.1f} ({low:+.1f} to {high:+.1f})"
                print(f"| {title} | {medians} | {interval} | {longer:.3f} | {p:.2g} |", flush=True)
    finally:
        laptop.stop()


if __name__ == "__main__":
    main()
