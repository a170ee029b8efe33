"""Mutants of a made-up package: each is one change, tests catch what they should, and a stopped run goes on."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from mutant_sites import mutants

ROOT = Path(__file__).parents[2]

MODULE = '''"""Areas."""

from __future__ import annotations

NAME = "x" + "y"


def area(width: float, height: float = 2.0) -> float:
    """Return the area of a rectangle, ``1 + 1``."""
    if width < 0:
        raise ValueError("width" + f"{width - 1}")
    return width * height


def unseen(x):
    return -x
'''
TESTS = '''"""Tests of areas."""

import pytest
from shapes.area import area


@pytest.fixture(scope="module")
def square():
    return area(3.0, 3.0)


def test_area(square):
    assert square == 9.0
    assert area(0.0) == 0.0


def test_no_negative_width():
    with pytest.raises(ValueError, match="width"):
        area(-1.0)
'''


@pytest.fixture
def tree(tmp_path):
    for path, text in {
        "shapes/__init__.py": '"""Shapes."""\n',
        "shapes/area.py": MODULE,
        "tests/test_area.py": TESTS,
        "setup.cfg": "[tool:pytest]\naddopts = --import-mode=importlib\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def run(tree, *arguments):
    command = [sys.executable, str(ROOT / "benchmarks/mutants.py"), ".", "--root", str(tree), "--package", "shapes"]
    options = [
        "--tests",
        "tests",
        "--output",
        str(tree / "out.jsonl"),
        "--equivalent",
        str(tree / "same.toml"),
        "--preload",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    ended = subprocess.run([*command, *options, *arguments], capture_output=True, text=True, env=environment, cwd=tree)
    assert ended.returncode == 0, ended.stderr
    records = [json.loads(line) for line in (tree / "out.jsonl").read_text().splitlines()]
    return ended.stdout, {record["diff"].split("\n+ ")[1].strip(): record for record in records}, records


@pytest.mark.slow
def test_mutants_of_a_package_are_caught_by_the_tests_that_run_them(tree):
    told, found, records = run(tree, "--number", "100", "--page", str(tree / "page.rst"))
    status = {change: record["status"] for change, record in found.items()}
    assert status == {
        "if (width <= 0):": "killed",  # area(0.0) raises
        "if (width > 0):": "killed",
        "if width < 1:": "killed",
        "if width < (-1):": "killed",
        "if (not width < 0):": "killed",
        "return (width / height)": "killed",
        "return height": "killed",
        "return width": "killed",
        "return x": "survived",
    }
    assert found["return x"]["tests"] == 0  # no test runs the line
    assert "8 killed, 0 timeout, 1 survived, 0 equivalent; 88.9 % of 9 caught" in told
    page = (tree / "page.rst").read_text()
    assert "8 are caught, 88.9 %" in page
    assert "- \n" not in page
    assert "+     return x" in page

    key = found["return x"]["key"]
    (tree / "same.toml").write_text(f'[[mutant]]\nkey = "{key}"\nreason = "Nobody looks."\n')
    told, _, again = run(tree, "--number", "100")
    assert again == records  # all results are there already
    assert "0 survived, 1 equivalent; 100.0 % of 8 caught" in told

    _, _, again = run(tree, "--number", "100", "--again")
    assert again == records  # nor do equivalent ones run again

    (tree / "same.toml").unlink()
    test = tree / "tests/test_area.py"
    more = "def test_unseen():\n    from shapes.area import unseen\n\n    assert unseen(2) == -2\n"
    test.write_text(f"{test.read_text()}\n\n{more}")
    options = ["--number", "100", "--again", "--page", str(tree / "page.rst"), "--fresh", str(tree / "out.jsonl")]
    _, found, again = run(tree, *options)
    assert found["return x"]["status"] == "killed"
    page, fresh = (tree / "page.rst").read_text().split("A fresh draw\n")
    assert "9 are caught, 100.0 %" in page
    assert "8 are caught, 88.9 %" in fresh  # what came first counts
    assert "+     return x" in fresh
    assert "they catch 1 of the survivors" in fresh
    assert "+     return x" not in page
    assert found["return x"]["by"] == "tests/test_area.py::test_unseen"
    assert len(again) == len(records) + 1


def test_a_mutant_is_one_change_outside_messages_and_annotations():
    found = mutants(MODULE, "area.py")
    assert len({mutant.key for mutant in found}) == len(found) == 9
    for mutant in found:
        changed = mutant.apply(MODULE)
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(MODULE))
        assert sum(a != b for a, b in zip(MODULE.splitlines(), changed.splitlines(), strict=True)) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a + b - c", {"((a + b) + c)", "(a - b) - c", "b - c", "a - c", "(a + b)"}),
        ("x.detach()", {"x"}),
        ("x.sum(0)", {"x.mean(0)", "x.sum(1)", "x.sum(-1)"}),
        ("torch.exp(x.mT)", {"torch.log(x.mT)", "torch.expm1(x.mT)", "x.mT", "torch.exp(x)"}),
        ("a if b else c", {"(c if b else a)"}),
        ("x[:n]", {"x[:(n + 1)]"}),
        ("not a", {"a"}),
        ("2.5", {"5.0", "(-2.5)"}),
        ("a is not None and b", {"(a is None) and b", "(a is not None or b)"}),
        ("f'{a + b}' 'min'", set()),
    ],
)
def test_changes(before, after):
    assert {ast.unparse(ast.parse(m.apply(before))) for m in mutants(before, "x.py")} == {
        ast.unparse(ast.parse(text)) for text in after
    }


def test_equivalent_mutants_exist_and_have_a_reason():
    """An entry whose line was changed since is stale."""
    path = ROOT / "benchmarks/mutants_equivalent.toml"
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    for entry in entries:
        source = (ROOT / entry["file"]).read_text(encoding="utf-8")
        assert entry["key"] in {mutant.key for mutant in mutants(source, entry["file"])}, entry
        assert len(entry["reason"]) > 20
    assert len({entry["key"] for entry in entries}) == len(entries)
