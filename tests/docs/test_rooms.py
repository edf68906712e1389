"""No module of the product imports from above itself, and no two import each other."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A `use` line, with all that it names; comments and texts have none of this form.
USE = re.compile(r"^\s*(?:pub(?:\([\w: ]+\))? )?use ([^;]+);", re.MULTILINE)
# A path within code.
PATH = re.compile(r"\b((?:crate|super)(?:::super)*(?:::\w+)+)")
TESTS = re.compile(
    r"^#\[cfg\(test\)\]\n(?:pub(?:\([\w: ]+\))? )?mod tests \{.*?^\}\n", re.MULTILINE | re.DOTALL
)


def leaves(tree):
    """The paths of a `use` tree, one for each leaf."""
    tree = " ".join(tree.split())
    if "{" not in tree:
        return [tree]
    head, inner = tree[: tree.index("{")], tree[tree.index("{") + 1 : tree.rindex("}")]
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(inner + ","):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            parts.append(inner[start:place].strip())
            start = place + 1
    return [head + leaf for part in parts if part for leaf in leaves(part)]


def modules(crate):
    """The modules of a crate: their names, as (part, …), and their files."""
    files = {}
    for file in crate.rglob("*.rs"):
        parts = file.relative_to(crate).with_suffix("").parts
        if parts not in {("lib",), ("main",)} and parts[0] != "bin":
            files[parts] = file
    return files


def imports(name, source, known):
    """The modules that a module imports from, itself and its own children left out."""
    source = TESTS.sub("", source)
    source = re.sub(r"//.*", "", source)
    paths = [leaf for tree in USE.findall(source) for leaf in leaves(tree)] + PATH.findall(source)
    found = set()
    for path in paths:
        parts = path.split(" ")[0].split("::")
        if parts[0] == "crate":
            target = tuple(parts[1:])
        elif parts[0] == "super":
            up = sum(1 for part in parts if part == "super")
            target = name[:-up] + tuple(parts[up:])
        else:
            continue
        while target and target not in known:
            target = target[:-1]
        if target and target[: len(name)] != name:
            found.add(target)
    return found


def graph(crate):
    files = modules(crate)
    return {name: imports(name, file.read_text(), set(files)) for name, file in files.items()}


def circle(imported):
    """The names on a circle of imports, or nothing."""
    done, path = set(), []

    def walk(name):
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return None
        path.append(name)
        for other in sorted(imported[name]):
            # A child may use what its parent declares: together they are one module.
            if other != name[: len(other)] and (found := walk(other)):
                return found
        path.pop()
        done.add(name)
        return None

    for name in sorted(imported):
        if found := walk(name):
            return ["::".join(part) for part in found]
    return None


def layers():
    """The rows of the map in lib.rs, from the top: the modules of each."""
    table = re.findall(r"^//! \| (\[.*?) \|", (ROOT / "src" / "lib.rs").read_text(), re.MULTILINE)
    return [re.findall(r"\[`(\w+)`\]", row) for row in table]


class Rooms(unittest.TestCase):
    def test_nothing_runs_in_circles(self):
        for crate in ("src", "admin/src", "local/src", "ops/src"):
            with self.subTest(crate):
                self.assertIsNone(circle(graph(ROOT / crate)))

    def test_nothing_imports_from_above(self):
        height = {name: -row for row, names in enumerate(layers()) for name in names}
        imported = graph(ROOT / "src")
        self.assertEqual({name[0] for name in imported}, set(height))
        upward = [
            f"{'::'.join(name)} imports {'::'.join(other)}"
            for name, others in imported.items()
            for other in others
            if height[other[0]] > height[name[0]]
        ]
        self.assertEqual(upward, [])


class Checks(unittest.TestCase):
    """The checks must be able to fail."""

    def test_imports_of_every_form_are_found(self):
        known = {("a",), ("b",), ("b", "c"), ("b", "d"), ("b", "c", "e")}
        source = """
use crate::a::{self, One};
pub(crate) use super::d::Two;
// use crate::nothing;
fn f() { crate::b::d::g() }
#[cfg(test)]
mod tests {
    use crate::b::Three;
}
"""
        self.assertEqual(imports(("b", "c"), source, known), {("a",), ("b", "d")})
        nested = "use crate::{a::One, b::{c::e::Two, d}};"
        self.assertEqual(imports(("a",), nested, known), {("b", "c", "e"), ("b", "d")})
        self.assertEqual(imports(("b", "c", "e"), "use super::super::d::X;", known), {("b", "d")})

    def test_a_circle_is_found(self):
        imported = {("a",): {("b",)}, ("b",): {("c",)}, ("c",): {("a",)}, ("d",): {("a",)}}
        self.assertEqual(circle(imported), ["a", "b", "c"])
        imported["c",] = set()
        self.assertIsNone(circle(imported))


if __name__ == "__main__":
    unittest.main()
