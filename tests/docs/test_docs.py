"""The tests that docs/security.md names are there, and doc comments begin as they should."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "security.md"

# The crates that readers of the product read.
PRODUCT = ("src", "admin/src", "local/src", "ops/src")

# `file: function`, and whatever begins like it.
NAMED = re.compile(r"`([\w./-]+\.(?:rs|py)):([^`]*)`")

# What makes a function of that name a test, by the ending of its file.
TESTS = {
    ".rs": r"#\[(?:tokio::)?test\b[^\n]*\]\s*(?:#\[[^\n]*\]\s*)*(?:async )?fn {name}\(",
    ".py": r"^    def (?=test_){name}\(self",
}


def named(text):
    """The tests that a document names: file and function."""
    return [(file, function.removeprefix(" ")) for file, function in NAMED.findall(text)]


def missing(text, root=ROOT):
    """What a document names and is not there, a line each."""
    for file, function in named(text):
        path = root / file
        if not path.is_file():
            yield f"{file} is not there"
        elif not re.fullmatch(r"\w+", function):
            yield f"{file}: {function!r} is no name of a function"
        else:
            test = TESTS[path.suffix].replace("{name}", function)
            if not re.search(test, path.read_text(), re.MULTILINE):
                yield f"{file} has no test {function}"


class Security(unittest.TestCase):
    def test_tests_that_are_named_are_there(self):
        text = DOCUMENT.read_text()
        self.assertEqual(list(missing(text)), [])
        # Else a change of how they are written would leave nothing to look for.
        self.assertGreater(len(named(text)), 50)

    def test_whatever_looks_like_the_name_of_a_test_is_looked_at(self):
        text = re.sub(NAMED, "", DOCUMENT.read_text())
        self.assertEqual(re.findall(r"\w+\.(?:rs|py)`?: *`?\w+", text), [])


class Missing(unittest.TestCase):
    """The check must be able to fail."""

    def check(self, name, *faults):
        self.assertEqual(list(missing(f"| met | `{name}` |")), list(faults))

    def test_tests_of_every_kind_are_found(self):
        self.check("src/domain/code.rs: neither_prints_its_digits")
        self.check("tests/api/validations.rs: the_right_code_succeeds_once")
        self.check("tests/api/races.rs: of_fifty_right_guesses_at_once_one_succeeds")
        self.check("tests/api/protocol.rs: the_promises_hold_whatever_happens")
        self.check("tests/docs/test_docs.py: test_tests_of_every_kind_are_found")

    def test_a_file_that_is_not_there_is_told(self):
        self.check("tests/api/gone.rs: a_test", "tests/api/gone.rs is not there")

    def test_a_function_that_is_not_there_is_told(self):
        self.check(
            "src/domain/code.rs: neither_prints", "src/domain/code.rs has no test neither_prints"
        )
        self.check("src/domain/code.rs: its_digits", "src/domain/code.rs has no test its_digits")
        self.check(
            "tests/docs/test_docs.py: test_gone", "tests/docs/test_docs.py has no test test_gone"
        )

    def test_a_function_that_is_no_test_is_told(self):
        self.check("tests/api/races.rs: at_once", "tests/api/races.rs has no test at_once")
        self.check("src/domain/code.rs: random", "src/domain/code.rs has no test random")
        self.check("tests/docs/test_docs.py: check", "tests/docs/test_docs.py has no test check")

    def test_what_is_no_name_is_told(self):
        self.check(
            "src/domain/code.rs: a test", "src/domain/code.rs: 'a test' is no name of a function"
        )
        self.check("src/domain/code.rs:", "src/domain/code.rs: '' is no name of a function")


class Comments(unittest.TestCase):
    def test_a_doc_comment_begins_with_a_noun_or_a_verb(self):
        question = re.compile(r"^\s*//[/!] (What|Whose?|How|Where|Why|Which) .*", re.MULTILINE)
        files = [file for crate in PRODUCT for file in (ROOT / crate).rglob("*.rs")]
        found = [line[0] for file in files for line in question.finditer(file.read_text())]
        self.assertEqual(found, [])
        self.assertGreater(len(files), 50)


if __name__ == "__main__":
    unittest.main()
