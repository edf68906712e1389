"""The alarms of a stack as CloudWatch evaluates them, on metrics that are made up.

A point of an alarm is a window of its period; CloudWatch looks at the newest points every minute, so
the windows slide. What the functions of metric math do, and what becomes of missing points, is from
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html and
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html.
"""

import ast
import collections
import functools
import math
import operator
import re

MINUTE = 60  # seconds
DAY = 1440  # minutes
OK, ALARM = "OK", "ALARM"

COMPARISONS = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
}
QUERY = re.compile(
    r'SELECT AVG\((\w+)\) FROM SCHEMA\("([\w/]+)", [\w, ]+\)(?: WHERE (\w+) = \'(\w+)\')?'
)


class AlarmError(Exception):
    """An alarm says something that this module does not understand."""


class Metrics:
    """What was written: of each metric and minute, how often each value."""

    def __init__(self):
        self.written = {}

    def write(self, minute, namespace, name, value=1, times=1, **dimensions):
        if times:
            key = (namespace, name, frozenset(dimensions.items()))
            minutes = self.written.setdefault(key, {})
            minutes.setdefault(minute, collections.Counter())[value] += times

    def within(self, key, start, end):
        """All values of a metric from one minute to another, which is not in it."""
        minutes = self.written.get(key, {})
        found = collections.Counter()
        for minute in range(start, end) if end - start < len(minutes) else list(minutes):
            if start <= minute < end and minute in minutes:
                found.update(minutes[minute])
        return found


def statistic(name, values):
    """A statistic of values and how often each is there; None where there is none."""
    count = values.total()
    if not count:
        return None
    total = sum(value * times for value, times in values.items())
    if name in ("Sum", "SampleCount", "Average", "Maximum"):
        known = {"Sum": total, "SampleCount": count, "Average": total / count}
        return known[name] if name in known else max(values)
    if not re.fullmatch(r"p\d+", name):
        raise AlarmError(f"unknown statistic: {name}")
    rank = math.ceil(int(name[1:]) / 100 * count)
    for value in sorted(values):
        rank -= values[value]
        if rank <= 0:
            return value
    raise AssertionError(values)


def calculate(expression, look_up, metrics):
    """The value of an expression in one window; None is a missing point.

    `look_up` gives the value of an id, `metrics` the values of all ids that are metrics.
    """

    def value_of(node):
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return look_up(node.id)
        if isinstance(node, ast.BinOp):
            return combined(node.op, node.left, node.right)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return combined(node.ops[0], node.left, node.comparators[0])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return called(node.func.id, node.args)
        raise AlarmError(f"unknown syntax: {ast.dump(node)}")

    def combined(operation, *operands):
        left, right = map(value_of, operands)
        if left is None or right is None or (isinstance(operation, ast.Div) and right == 0):
            return None
        return float(OPERATORS[type(operation)](left, right))

    def called(function, operands):
        if function == "IF":
            condition, then, otherwise = operands
            decided = value_of(condition)
            return None if decided is None else value_of(then if decided else otherwise)
        operands = [value_of(operand) for operand in operands]
        if function == "METRICS":
            return [value for name, value in metrics.items() if (operands or [""])[0] in name]
        if function == "FILL":
            filled, with_what = operands
            if isinstance(filled, list):
                return [with_what if value is None else value for value in filled]
            return with_what if filled is None else filled
        if function == "SUM" and isinstance(operands[0], list):
            present = [value for value in operands[0] if value is not None]
            return sum(present) if present else None
        raise AlarmError(f"unknown function: {function}")

    return value_of(parsed(expression))


@functools.cache
def parsed(expression):
    return ast.parse(expression, mode="eval").body


class Alarm:
    """A metric alarm, and the state that it is in."""

    def __init__(self, properties):
        self.properties = properties
        self.state = OK
        self.known = {}  # of windows that are over, by their end
        self.queries = properties.get("Metrics") or [
            {
                "Id": "only",
                "MetricStat": {
                    "Metric": properties,
                    "Period": properties["Period"],
                    "Stat": properties.get("Statistic") or properties["ExtendedStatistic"],
                },
            }
        ]
        periods = {
            part.get("MetricStat", part)["Period"]
            for part in self.queries
            if "Period" in part.get("MetricStat", part)
        }
        if len(periods) != 1:
            raise AlarmError(f"one period is needed, not {sorted(periods)}")
        self.period = int(periods.pop()) // MINUTE
        self.points = int(properties["EvaluationPeriods"])
        self.enough = int(properties.get("DatapointsToAlarm", self.points))
        self.is_breaching = COMPARISONS[properties["ComparisonOperator"]]
        self.missing = properties.get("TreatMissingData", "missing")
        watched = [part["MetricStat"]["Metric"] for part in self.queries if "MetricStat" in part]
        if any(metric["Namespace"] == "AWS/DynamoDB" for metric in watched):
            self.missing = "ignore"  # whatever the alarm says

    def value(self, metrics, end):
        """What is compared with the threshold, of the window that ends there."""
        start = end - self.period
        parts = {part["Id"]: part for part in self.queries}

        def look_up(name):
            part = parts[name]
            if "MetricStat" in part:
                metric = part["MetricStat"]["Metric"]
                dimensions = {one["Name"]: one["Value"] for one in metric.get("Dimensions", [])}
                key = (metric["Namespace"], metric["MetricName"], frozenset(dimensions.items()))
                return statistic(part["MetricStat"]["Stat"], metrics.within(key, start, end))
            if query := QUERY.fullmatch(part["Expression"]):
                return average(metrics, query, start, end)
            return calculate(part["Expression"], look_up, of_metrics())

        def of_metrics():
            return {name: look_up(name) for name, part in parts.items() if "MetricStat" in part}

        (returned,) = (part for part in self.queries if part.get("ReturnData", True))
        return look_up(returned["Id"])

    def evaluate(self, metrics, now):
        """Looks at the newest points, as CloudWatch does every minute, and gives the state.

        `metrics` are always the same, and nothing is written to them before `now` any more.
        """
        points = []
        for end in range(now, now - self.points * self.period, -self.period):
            if end not in self.known:
                self.known[end] = self.value(metrics, end)
            points.append(self.known[end])
        present = [point for point in points if point is not None]
        if not present and self.missing in ("ignore", "missing"):
            return self.state
        threshold = float(self.properties["Threshold"])
        breaching = sum(self.is_breaching(point, threshold) for point in present)
        if self.missing == "breaching":
            breaching += len(points) - len(present)
        self.state = ALARM if breaching >= self.enough else OK
        return self.state


def average(metrics, query, start, end):
    """The average of all metrics of a name that a query of Metrics Insights selects."""
    name, namespace, *where = query.groups()
    found = collections.Counter()
    for key in metrics.written:
        if key[:2] == (namespace, name) and (where[0] is None or tuple(where) in key[2]):
            found.update(metrics.within(key, start, end))
    return statistic("Average", found)


class Watch:
    """All alarms of a stack."""

    def __init__(self, the_stack):
        alarms = the_stack.of_type("AWS::CloudWatch::Alarm")
        self.alarms = {name: Alarm(properties) for name, properties in alarms.items()}
        self.composites = {
            name: properties["AlarmRule"]
            for name, properties in the_stack.of_type("AWS::CloudWatch::CompositeAlarm").items()
        }
        self.acting = {
            name
            for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
            for name, properties in the_stack.of_type(kind).items()
            if properties.get("AlarmActions")
        }

    def ringing(self, metrics, now):
        """The alarms that tell somebody, and are in alarm at the end of that minute."""
        states = {name: alarm.evaluate(metrics, now) for name, alarm in self.alarms.items()}
        for name, rule in self.composites.items():
            terms = [re.fullmatch(r'ALARM\("(\w+)"\)', term) for term in rule.split(" AND ")]
            if None in terms:
                raise AlarmError(f"unknown rule: {rule}")
            rings = all(states[term[1]] == ALARM for term in terms)
            states[name] = ALARM if rings else OK
        return {name for name in self.acting if states[name] == ALARM}
