"""Every link of a document to a file of this repository, or to a heading of one, leads somewhere."""

import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

LINK = re.compile(r"(?<!\!)\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(text):
    """The anchors of a document's headings, as GitHub makes them."""
    titles = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in HEADING.findall(text)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def broken(file, text):
    """The links of a document that lead nowhere."""
    text = CODE.sub("", text)
    for link in LINK.findall(text) + IMAGE.findall(text):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        if not target.exists() or ROOT not in [target, *target.parents]:
            yield f"{link}: no such file"
        elif anchor and anchor not in anchors(CODE.sub("", target.read_text())):
            yield f"{link}: no such heading"


def documents():
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [ROOT / line for line in listed.stdout.splitlines()]


class Links(unittest.TestCase):
    def test_links_lead_somewhere(self):
        for file in documents():
            with self.subTest(str(file.relative_to(ROOT))):
                self.assertEqual(list(broken(file, file.read_text())), [])

    def test_documents_are_found(self):
        self.assertGreater(len(documents()), 15)


class Broken(unittest.TestCase):
    """The check must be able to fail."""

    def check(self, text, *expected):
        self.assertEqual(list(broken(ROOT / "docs" / "api.md", text)), list(expected))

    def test_links_that_lead_nowhere_are_told(self):
        self.check("[a](nowhere.md)", "nowhere.md: no such file")
        self.check("[a](../../outside)", "../../outside: no such file")
        self.check("[a](cli.md#nothing)", "cli.md#nothing: no such heading")
        self.check("![a](nowhere.png)", "nowhere.png: no such file")
        self.check("[two\nlines](nowhere.md)", "nowhere.md: no such file")

    def test_links_that_lead_somewhere_are_not(self):
        self.check("[a](../README.md#the-contract-in-short), [b](https://example.com/nowhere)")
        self.check("```\n[a](nowhere.md)\n```\n")


if __name__ == "__main__":
    unittest.main()
