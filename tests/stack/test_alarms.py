"""A total outage of any kind rings at any traffic, and nothing rings without one."""

import collections
import re
import unittest

import alarms
import stack
from alarms import DAY, Alarm, Metrics, Watch

API = {"ApiId": "HttpApi"}
NAMESPACE = "Twofa/twofa-prod"
RATES = (1, 10, 1000)  # requests a minute, and as many validations
FUNCTIONS = {"request": "RequestFunction", "validate": "ValidateFunction"}


class World:
    """A stack with so many calls a minute, and what is written of them."""

    def __init__(self, rate):
        self.rate = rate
        self.metrics = Metrics()

    def own(self, now, name, *, value=1, times=None, **dimensions):
        times = self.rate if times is None else times
        self.metrics.write(now, NAMESPACE, name, value, times, **dimensions)

    def calls(self, now, endpoint, outcome, *, ms=50, times=None, faults=0):
        """Calls that a function answers, as API Gateway, Lambda and the function write it."""
        times = self.rate if times is None else times
        self.metrics.write(now, "AWS/ApiGateway", "Count", 1, times, **API)
        self.metrics.write(now, "AWS/ApiGateway", "Latency", ms, times, **API)
        self.metrics.write(now, "AWS/ApiGateway", "5xx", 1, faults, **API)
        function = FUNCTIONS[endpoint]
        self.metrics.write(now, "AWS/Lambda", "Invocations", 1, times, FunctionName=function)
        self.own(now, "Latency", value=ms, times=times, Endpoint=endpoint)
        self.own(now, "Calls", times=times, Endpoint=endpoint, Outcome=outcome)
        self.own(now, "ServerErrors", times=faults, Endpoint=endpoint)

    def unserved(self, now, answered):
        """Calls that API Gateway answers itself."""
        times = 2 * self.rate
        self.metrics.write(now, "AWS/ApiGateway", "Count", 1, times, **API)
        self.metrics.write(now, "AWS/ApiGateway", answered, 1, times, **API)

    def sends(self, now, *, delivered=True):
        self.own(now, "Parts", Endpoint="request")
        dimensions = {"Country": "GB", "SMSType": "Transactional"}
        self.metrics.write(
            now, "AWS/SNS", "SMSSuccessRate", int(delivered), self.rate, **dimensions
        )

    # ------------------------------------------------------------ minutes of one kind

    def healthy(self, now):
        """Nine of ten requests are accepted, eight of ten codes typed in; a few calls fail."""
        some, faults = (1, self.rate // 500) if now % 10 == 0 else (0, 0)
        few = max(self.rate // 10, some)
        self.calls(now, "request", "ACCEPTED", times=self.rate - few, faults=faults)
        self.calls(now, "request", "TOO_MANY_REQUESTS", times=few, ms=2500 if few == some else 50)
        self.sends(now)
        self.typed_in(now)

    def typed_in(self, now):
        wrong = self.rate // 5 or (now % 5 == 0)
        self.calls(now, "validate", "success", times=self.rate - wrong)
        self.calls(now, "validate", "not_matched", times=int(wrong))

    def every_call_fails(self, now):
        self.calls(now, "request", "GENERAL_ERROR", faults=self.rate)
        self.calls(now, "validate", "GENERAL_ERROR", faults=self.rate)

    def every_validation_fails(self, now):
        self.calls(now, "request", "ACCEPTED")
        self.sends(now)
        self.calls(now, "validate", "GENERAL_ERROR", faults=self.rate)

    def every_function_crashes(self, now):
        self.unserved(now, "5xx")
        for function in FUNCTIONS.values():
            for name in ("Invocations", "Errors"):
                self.metrics.write(now, "AWS/Lambda", name, 1, self.rate, FunctionName=function)

    def lambda_throttles(self, now):
        self.unserved(now, "5xx")
        for function in FUNCTIONS.values():
            self.metrics.write(now, "AWS/Lambda", "Throttles", 1, self.rate, FunctionName=function)

    def a_table_throttles(self, now):
        self.every_call_fails(now)
        name = "WriteThrottleEvents"
        self.metrics.write(now, "AWS/DynamoDB", name, 1, self.rate, TableName="VerificationsTable")

    def the_gateway_throttles(self, now):
        self.unserved(now, "4xx")
        self.own(now, "GatewayThrottles", times=2 * self.rate)

    def the_gateway_fails(self, now):
        self.unserved(now, "5xx")

    def sns_refuses_every_message(self, now):
        self.calls(now, "request", "GENERAL_ERROR")

    def the_cap_is_reached(self, now):
        self.calls(now, "request", "TOO_MANY_REQUESTS")
        self.own(now, "Refused", Limit="stack")

    def no_key_is_known(self, now):
        self.calls(now, "request", "UNAUTHORIZED")
        self.calls(now, "validate", "UNAUTHORIZED")

    def every_call_is_slow(self, now):
        self.calls(now, "request", "ACCEPTED", ms=5000)
        self.sends(now)
        self.calls(now, "validate", "success", ms=5000)

    def no_code_is_typed_in(self, now):
        self.calls(now, "request", "ACCEPTED")
        self.sends(now)

    def no_code_is_right(self, now):
        self.no_code_is_typed_in(now)
        self.calls(now, "validate", "not_found")

    def no_message_is_delivered(self, now):
        self.calls(now, "request", "ACCEPTED")
        self.sends(now, delivered=False)
        self.calls(now, "validate", "success")

    def nobody_calls(self, now):
        pass


# What must ring at the latest after so many minutes; more may.
OUTAGES = [
    (World.every_call_fails, 15, {"FunctionErrors", "ServerErrors", "FewAccepted"}),
    (World.every_validation_fails, 15, {"FunctionErrors", "ServerErrors"}),
    (World.every_function_crashes, 15, {"FunctionErrors", "ServerErrors"}),
    (World.lambda_throttles, 15, {"Throttles", "ServerErrors"}),
    (World.a_table_throttles, 15, {"Throttles"}),
    (World.the_gateway_throttles, 15, {"Throttles"}),
    (World.the_gateway_fails, 15, {"ServerErrors"}),
    (World.sns_refuses_every_message, 15, {"FewAccepted"}),
    (World.the_cap_is_reached, 15, {"CapReached", "FewAccepted"}),
    (World.no_key_is_known, 15, {"FewAccepted"}),
    (World.every_call_is_slow, 20, {"SlowCalls"}),
    (World.no_code_is_typed_in, 65, {"ConversionFell"}),
    (World.no_code_is_right, 65, {"ConversionFell"}),
    (World.no_message_is_delivered, 125, {"DeliveryFails"}),
    (World.nobody_calls, 31, {"Silence"}),
]
PARAMETERS = {"DailyPartCap": 20_000_000, "HourlyPartAlarm": 100_000, "SilenceMinutes": 30}


class ThisStack(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        text = (stack.ROOT / "template.yaml").read_text()
        cls.template = stack.transform(text)
        cls.stack = cls.made()

    @classmethod
    def made(cls, **parameters):
        return stack.Stack(cls.template, {**PARAMETERS, **parameters})

    def watch(self, world, *phases, of=None):
        """The alarms that ring at the end of each minute; a phase is a kind and its minutes."""
        watch, now, rang = Watch(of or self.stack), 0, []
        for kind, minutes in phases:
            for _ in range(minutes):
                kind(world, now)
                now += 1
                rang.append(watch.ringing(world.metrics, now))
        return rang

    def test_nothing_rings_while_all_is_well(self):
        for rate in RATES:
            with self.subTest(rate=rate):
                rang = self.watch(World(rate), (World.healthy, 200))
                # Nobody has called for as long as the alarm waits when all begins.
                self.assertEqual(set().union(*rang[1:]), set())

    def test_a_total_outage_rings_at_any_traffic_and_ends(self):
        rung = set()
        for rate in RATES:
            for kind, minutes, expected in OUTAGES:
                with self.subTest(kind=kind.__name__, rate=rate):
                    phases = [(World.healthy, 40), (kind, minutes), (World.healthy, 150)]
                    rang = self.watch(World(rate), *phases)
                    self.assertLessEqual(expected, rang[40 + minutes - 1])
                    self.assertEqual(rang[-1], set())
                    rung |= expected
        others = {"CapNear", "MonthlySpend", "PartsOverBudget", "RotationFails"}
        self.assertEqual(rung, Watch(self.stack).acting - others, "alarms that nothing rang")

    def test_nothing_rings_when_nobody_calls_unless_that_is_asked_for(self):
        quiet = self.made(SilenceMinutes=0)
        rang = self.watch(World(1), (World.healthy, 60), (World.nobody_calls, 200), of=quiet)
        self.assertEqual(set().union(*rang), set())

    def test_one_failure_at_little_traffic_is_no_outage(self):
        def now_and_then(world, now):
            if now % 20 == 0:
                world.healthy(now + 1)
                world.calls(now, "request", "GENERAL_ERROR", times=1, faults=1, ms=9000)
                world.sends(now, delivered=False)

        quiet = self.made(SilenceMinutes=0)
        rang = self.watch(World(1), (now_and_then, 300), of=quiet)
        self.assertEqual(set().union(*rang), set())

    def test_a_spike_of_a_table_does_not_ring_for_ever(self):
        phases = [(World.healthy, 10), (World.a_table_throttles, 10), (World.healthy, 30)]
        rang = self.watch(World(1), *phases)
        self.assertIn("Throttles", rang[19])
        self.assertNotIn("Throttles", rang[-1])

    def test_no_point_is_missing_but_where_that_is_meant(self):
        sparse = {"MonthlySpend", "DeliveryShare"}
        for name, alarm in Watch(self.stack).alarms.items():
            if name not in sparse:
                with self.subTest(alarm=name):
                    self.assertIsNotNone(alarm.value(Metrics(), DAY))
        self.assertEqual(Watch(self.stack).alarms["MonthlySpend"].missing, "ignore")

    def test_what_was_spent_stays_spent_while_nobody_sends(self):
        alarm, metrics = Watch(self.stack).alarms["MonthlySpend"], Metrics()
        metrics.write(0, "AWS/SNS", "SMSMonthToDateSpentUSD", 51.0)
        states = [alarm.evaluate(metrics, now) for now in range(1, 300)]
        self.assertEqual(set(states), {alarms.ALARM})
        metrics.write(300, "AWS/SNS", "SMSMonthToDateSpentUSD", 0.04)
        self.assertEqual(alarm.evaluate(metrics, 301), alarms.OK, "a new month")

    def test_an_overdue_rotation_rings_day_and_night(self):
        alarm, metrics = Watch(self.stack).alarms["RotationFails"], Metrics()
        for day in range(3):
            errors = {"FunctionName": "RotationFunction"}
            metrics.write(day * DAY, "AWS/Lambda", "Errors", 1, **errors)
        states = [alarm.evaluate(metrics, now) for now in range(1, 3 * DAY, 30)]
        self.assertEqual(set(states), {alarms.ALARM})
        self.assertEqual(alarm.evaluate(metrics, 4 * DAY), alarms.OK)

    def test_the_cap_is_told_before_it_is_reached(self):
        for rate, sent, rings in [(1, 0.85, True), (10, 0.85, True), (10, 0.75, False)]:
            cap = int(rate * DAY / sent)
            alarm, metrics = Watch(self.made(DailyPartCap=cap)).alarms["CapNear"], Metrics()
            states = []
            for now in range(DAY):
                metrics.write(now, NAMESPACE, "Parts", 1, rate, Endpoint="request")
                if now % 60 == 59:
                    states.append(alarm.evaluate(metrics, now + 1))
            self.assertEqual(alarms.ALARM in states, rings, (rate, sent))

    def test_more_parts_than_meant_ring(self):
        alarm = Watch(self.made(HourlyPartAlarm=50)).alarms["PartsOverBudget"]
        world = World(1)
        for now in range(60):
            world.sends(now)
        self.assertEqual(alarm.evaluate(world.metrics, 60), alarms.ALARM)
        self.assertEqual(alarm.evaluate(world.metrics, 75), alarms.OK)

    def test_without_a_cap_none_can_be_reached(self):
        without = Watch(self.made(DailyPartCap=0)).acting
        self.assertEqual(Watch(self.stack).acting - without, {"CapNear", "CapReached"})

    def test_each_alarm_has_its_section_of_the_runbook(self):
        runbook = (stack.ROOT / "docs" / "runbook.md").read_text()
        sections = {line.lower() for line in re.findall(r"^## (\w+)$", runbook, re.MULTILINE)}
        for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"):
            for name, properties in self.stack.of_type(kind).items():
                with self.subTest(alarm=name):
                    section = re.search(r"docs/runbook\.md#(\w+)$", properties["AlarmDescription"])
                    self.assertIn(section[1], sections)
                    if name in Watch(self.stack).acting:
                        self.assertEqual(section[1], name.lower())

    def test_the_costs_count_the_metrics_that_are_looked_at(self):
        alarms_of = self.made(SilenceMinutes=0).of_type("AWS::CloudWatch::Alarm")
        looked_at = sum(
            "MetricStat" in part
            for properties in alarms_of.values()
            for part in properties.get("Metrics", [{"MetricStat": properties}])
        )
        costs = (stack.ROOT / "docs" / "deploy.md").read_text()
        self.assertIn(f"| {looked_at} × 0.10 |", costs)

    def test_the_filter_reads_fields_that_the_access_log_has(self):
        (stage,) = self.stack.of_type("AWS::ApiGatewayV2::Stage").values()
        (metric,) = self.stack.of_type("AWS::Logs::MetricFilter").values()
        logged = stage["AccessLogSettings"]["Format"]
        read = re.findall(r"\$\.(\w+)", metric["FilterPattern"])
        self.assertEqual(sorted(read), ["integration_status", "status"])
        for field in read:
            self.assertIn(f'"{field}":', logged)


class Evaluation(unittest.TestCase):
    """The stand-in for CloudWatch."""

    def calculated(self, expression, **values):
        return alarms.calculate(expression, values.__getitem__, values)

    def test_metric_math(self):
        for expression, expected in [
            ("a + b * 2", 5),
            ("a / none", None),
            ("a / 0", None),
            ("FILL(none, 0) + a", 1),
            ("IF(a >= 1, b, none)", 2),
            ("IF(a < 1, b, none)", None),
            ("IF(none > 0, 1, 0)", None),
            ("SUM(METRICS())", 3),
            ("SUM(FILL(METRICS('n'), 7))", 7),
        ]:
            with self.subTest(expression):
                self.assertEqual(self.calculated(expression, a=1, b=2, none=None), expected)
        for unknown in ("MAX(a)", "a and b", "a < b < c", "RATE(METRICS())", "'a'.b"):
            with self.subTest(unknown), self.assertRaises(alarms.AlarmError):
                self.calculated(unknown, a=1, b=2, c=3)

    def test_statistics(self):
        values = collections.Counter({10: 98, 90: 2})
        for name, expected in [
            ("Sum", 1160),
            ("SampleCount", 100),
            ("Average", 11.6),
            ("Maximum", 90),
            ("p50", 10),
            ("p98", 10),
            ("p99", 90),
        ]:
            self.assertEqual(alarms.statistic(name, values), expected, name)
            self.assertIsNone(alarms.statistic(name, collections.Counter()))

    def alarm(self, **more):
        return Alarm(
            {
                "Namespace": "N",
                "MetricName": "M",
                "Statistic": "Sum",
                "Period": 120,
                "Threshold": 5,
                "ComparisonOperator": "GreaterThanThreshold",
                "EvaluationPeriods": 3,
                "DatapointsToAlarm": 2,
                **more,
            }
        )

    def states(self, alarm, minutes, namespace="N"):
        metrics = Metrics()
        for minute, value in minutes.items():
            metrics.write(minute, namespace, "M", value)
        return "".join(alarm.evaluate(metrics, now)[0] for now in range(1, 13))

    def test_windows_slide_and_enough_points_make_an_alarm(self):
        written = dict.fromkeys(range(12), 0) | {2: 3, 3: 3, 4: 3, 5: 3}
        self.assertEqual(self.states(self.alarm(), written), "OOOOOAOAOOOO")
        self.assertEqual(self.states(self.alarm(DatapointsToAlarm=1), written), "OOOAAAAAAAOO")

    def test_missing_points_are_what_the_alarm_says(self):
        written = {2: 6, 4: 6}
        for missing, expected in [
            ("notBreaching", "OOOOAAAAOOOO"),
            ("breaching", "AAAAAAAAAAAA"),
            ("ignore", "OOOOAAAAOOOO"),
        ]:
            alarm = self.alarm(TreatMissingData=missing)
            self.assertEqual(self.states(alarm, written), expected, missing)

    def test_of_dynamodb_missing_points_leave_the_state_as_it_is(self):
        alarm = self.alarm(
            Namespace="AWS/DynamoDB",
            TreatMissingData="notBreaching",
            EvaluationPeriods=1,
            DatapointsToAlarm=1,
        )
        self.assertEqual(self.states(alarm, {2: 6}, "AWS/DynamoDB"), "OOAAAAAAAAAA")


if __name__ == "__main__":
    unittest.main()
