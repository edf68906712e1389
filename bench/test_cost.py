"""The table of costs adds up: by hand on round figures, and on those that are committed."""

import importlib.util
import pathlib
import unittest

BENCH = pathlib.Path(__file__).resolve().parent
SPEC = importlib.util.spec_from_file_location("cost", BENCH / "cost.py")
cost = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(cost)

TERMS = {
    "prices": {
        "api_gateway_million_calls": 1.0,
        "lambda_million_calls": 0.2,
        "lambda_gb_second": {"arm64": 0.00001, "x86_64": 0.00002},
        "dynamodb_million_write_units": 0.5,
        "dynamodb_million_read_units": 0.25,
        "logs_gb": 0.5,
    },
    "function": {"memory_mb": 256, "mb_per_vcpu": 1792},
    "log": {"access_bytes": 500, "event_bytes": 50, "events": 2},
    "assumed": {"dynamodb_ms": 5, "transaction_ms": 10, "sns_ms": 60, "runtime_ms": 2},
}
MEASURED = {
    "shares": {"request": {"cpu_us": 1000}, "validate": {"cpu_us": 500}},
    "units": {
        "request": {"write_units": 4, "read_units": 0.5, "log_bytes": 1400},
        "validate": {"write_units": 1, "read_units": 0, "log_bytes": 400},
    },
}


class Cost(unittest.TestCase):
    def test_the_processor_is_stretched_and_the_network_is_not(self):
        # 2 + 10 + 5 + 60 + 1 × 7
        self.assertEqual(cost.duration_ms(1000, 1, 1, 1, TERMS), 84)

    def test_a_begun_millisecond_is_charged(self):
        # 2 + 5 + 0.5 × 7 = 10.5
        self.assertEqual(cost.duration_ms(500, 0, 1, 0, TERMS), 11)

    def test_a_path_is_the_sum_of_its_calls(self):
        path = [("request", 1, 1, 1), ("validate", 0, 1, 0)]
        by_item = cost.cost_of_path(path, MEASURED, TERMS, "arm64")
        expected = {
            "API Gateway": 2.0,
            "Lambda, calls": 0.4,
            "Lambda, time": (0.084 + 0.011) * 0.25 * 10,
            "DynamoDB, writes": 2.5,
            "DynamoDB, reads": 0.125,
            "logs": (2.0 + 1.0) * 0.5,
        }
        self.assertEqual(by_item.keys(), expected.keys())
        for item, dollars in expected.items():
            self.assertAlmostEqual(by_item[item], dollars, msg=item)

    def test_what_is_committed_makes_a_table(self):
        measured, terms = cost.read(BENCH / "measured.json", BENCH / "prices.toml")
        lines = [*cost.table(measured, terms)]
        columns = {line.count("|") for line in lines}
        self.assertEqual(columns, {2 * len(cost.PATHS) + 2})
        rows = [[cell.strip(" *") for cell in line.split("|")[2:-1]] for line in lines[2:]]
        for *items, total in zip(*rows, strict=True):
            self.assertAlmostEqual(sum(map(float, items)), float(total), delta=0.04)


if __name__ == "__main__":
    unittest.main()
