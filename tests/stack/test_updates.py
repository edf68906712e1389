"""What an update of the stack replaces, worked out for each parameter that is changed alone."""

import unittest

import stack

# Properties of a function that are no part of what Lambda publishes as a version.
UNVERSIONED = {"ReservedConcurrentExecutions", "Tags"}


def declared(template):
    """Each parameter and another value for it."""
    for name, body in template["Parameters"].items():
        if "AllowedValues" in body:
            yield name, next(v for v in body["AllowedValues"] if str(v) != str(body["Default"]))
        elif body["Type"] == "Number":
            yield name, body["Default"] + 1
        else:
            yield name, stack.EVERYTHING[name]


def versions(resources):
    """The logical id and the properties of each function's version, by function."""
    return {
        body["Properties"]["FunctionName"]: (name, body["Properties"])
        for name, body in resources.items()
        if body["Type"] == "AWS::Lambda::Version"
    }


def published(properties):
    return {name: value for name, value in properties.items() if name not in UNVERSIONED}


def misfits(before, after):
    """Functions whose version is replaced though Lambda sees no change, or the other way round."""
    old, new = versions(before.resources), versions(after.resources)
    for function, version in old.items():
        told = [published(each.functions()[function]) for each in (before, after)]
        if (new[function] != version) != (told[0] != told[1]):
            yield function


class Options(unittest.TestCase):
    def test_every_optional_resource_is_made_when_everything_is_asked_for(self):
        template = stack.transform((stack.ROOT / "template.yaml").read_text(), stack.EVERYTHING)
        for part, made in [
            ("Resources", stack.Stack(template, stack.EVERYTHING).resources),
            ("Outputs", stack.Stack(template, stack.EVERYTHING).outputs),
        ]:
            self.assertEqual(template[part].keys() - made.keys(), set())
            self.assertNotEqual(
                template[part].keys() - stack.Stack(template).resources.keys(), set()
            )

    def test_the_document_counts_all_that_is_made(self):
        template = stack.transform((stack.ROOT / "template.yaml").read_text())
        alarms = [body for body in template["Resources"].values() if "Alarm" in body["Type"]]
        document = (stack.ROOT / "docs" / "deploy.md").read_text()
        self.assertIn(f"\n{len(template['Resources'])} resources,", document)
        self.assertIn(f" {len(alarms)} alarms,", document)


class Published(unittest.TestCase):
    def test_the_serverless_application_repository_would_take_it(self):
        """By the patterns of https://docs.aws.amazon.com/serverlessrepo/latest/devguide/applications.html."""
        template = stack.transform((stack.ROOT / "template.yaml").read_text())
        told = template["Metadata"]["AWS::ServerlessRepo::Application"]
        for field, pattern, longest in [
            ("Author", r"[a-z0-9](([a-z0-9]|-(?!-))*[a-z0-9])?", 127),
            ("Name", r"[a-zA-Z0-9-]+", 140),
            ("Description", r".+", 256),
            ("SemanticVersion", r"\d+\.\d+\.\d+", 20),
            ("SpdxLicenseId", r"Apache-2\.0", 20),
        ]:
            with self.subTest(field=field):
                self.assertRegex(told[field], rf"^{pattern}$")
                self.assertLessEqual(len(told[field]), longest)
        self.assertLessEqual(len(told["Labels"]), 10)
        for label in told["Labels"]:
            self.assertRegex(label, r"^[a-zA-Z0-9+_:/@-]{1,127}$")
        for file in ("LicenseUrl", "ReadmeUrl"):
            self.assertTrue((stack.ROOT / told[file]).is_file())


class Tables(unittest.TestCase):
    def test_what_holds_money_or_clients_can_be_had_again(self):
        tables = {
            name: body
            for name, body in stack.load().resources.items()
            if body["Type"] == "AWS::DynamoDB::Table"
        }
        self.assertEqual(len(tables), 2)
        for name, body in tables.items():
            with self.subTest(table=name):
                properties = body["Properties"]
                recovery = properties["PointInTimeRecoverySpecification"]
                self.assertTrue(recovery["PointInTimeRecoveryEnabled"])
                self.assertEqual(properties["DeletionProtectionEnabled"], "true")
                self.assertEqual(body["UpdateReplacePolicy"], "Retain")

    def test_what_is_kept_or_not_is_so_in_an_update_and_at_the_end(self):
        for name, body in stack.load().resources.items():
            if not body["Type"].startswith("AWS::Lambda::"):
                with self.subTest(resource=name):
                    self.assertEqual("DeletionPolicy" in body, "UpdateReplacePolicy" in body)


class Versions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = (stack.ROOT / "template.yaml").read_text()
        cls.template = stack.transform(cls.text)
        cls.before = stack.Stack(cls.template)

    def test_a_version_is_replaced_exactly_when_its_function_changes(self):
        reached = set()
        for parameter, value in declared(self.template):
            changed = {parameter: value}
            after = stack.Stack(stack.transform(self.text, changed), changed)
            with self.subTest(parameter=parameter):
                self.assertEqual(list(misfits(self.before, after)), [])
            if versions(after.resources) != versions(self.before.resources):
                reached.add(parameter)
        # Else a change of how versions are made would leave nothing to compare.
        self.assertLessEqual({"MemorySize", "DailyPartCap", "AllowTestNumbers"}, reached)

    def test_a_description_that_says_too_much_or_too_little_is_found(self):
        for old, new in [
            ("${Architecture} ${MemorySize} ${LogLevel}", "${Architecture} ${MemorySize}"),
            ("${DailyPartCap}", "${DailyPartCap} ${ThrottleRate}"),
        ]:
            worse = self.text.replace(old, new)
            self.assertNotEqual(worse, self.text)
            before = stack.Stack(stack.transform(worse))
            changed = {"LogLevel": "warn", "ThrottleRate": 7}
            found = [
                function
                for name, value in changed.items()
                for function in misfits(
                    before, stack.Stack(stack.transform(worse, {name: value}), {name: value})
                )
            ]
            self.assertIn("RequestFunction", found)

    def test_no_version_is_deleted_by_an_update(self):
        kept = {
            name: (body.get("DeletionPolicy"), body.get("UpdateReplacePolicy"))
            for name, body in self.before.resources.items()
            if body["Type"] == "AWS::Lambda::Version"
        }
        self.assertEqual(len(kept), 3)
        self.assertEqual(set(kept.values()), {("Retain", "Retain")})


if __name__ == "__main__":
    unittest.main()
