"""How many requests a second one prepaid client can begin.

Each begin is a transaction on the client's one balance item, and DynamoDB cancels a transaction that
meets another on one of its items. This simulates begins that arrive at random, the product's pauses
between attempts, and nothing else: the time that a transaction holds its items is an assumption.
"""

import argparse
import heapq
import random

ATTEMPTS = 10  # PATIENT_ATTEMPTS of src/aws.rs
BEGIN = 6.5  # seconds: BEGIN_TIMEOUT
FIRST_PAUSE, LONGEST_PAUSE = 0.025, 0.4  # seconds: pause() of src/aws.rs
REFUSAL = 0.005  # seconds until a cancelled transaction is answered


def share_begun(rate, held, seconds, seed):
    """The share of begins that are done in time, and the median of their attempts."""
    chance = random.Random(seed)
    events, at, number = [], 0.0, 0
    while at < seconds:
        at += chance.expovariate(rate)
        heapq.heappush(events, (at, number, at, 1))
        number += 1
    free_at, done, attempts = 0.0, 0, []
    while events:
        at, begin, began, attempt = heapq.heappop(events)
        if at >= free_at:
            free_at = at + held
            done += 1
            attempts.append(attempt)
            continue
        longest = min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE)
        again = at + REFUSAL + chance.random() * longest
        if attempt < ATTEMPTS and again - began < BEGIN:
            heapq.heappush(events, (again, begin, began, attempt + 1))
    return done / number, sorted(attempts)[len(attempts) // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(
        "rate/s   " + "".join(f"held {held * 1000:2.0f} ms      " for held in (0.005, 0.01, 0.02))
    )
    for rate in (10, 20, 30, 40, 50, 60, 80, 100, 150):
        row = [
            share_begun(rate, held, options.seconds, options.seed) for held in (0.005, 0.01, 0.02)
        ]
        shares = "".join(f"{share:9.4%} ({tries}) " for share, tries in row)
        print(f"{rate:6d} {shares}")


if __name__ == "__main__":
    main()
