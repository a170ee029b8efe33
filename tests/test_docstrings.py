"""The examples in docstrings, in the documentation and in the README run, and give what they show."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
import torch

import bayeshnet

ROOT = Path(__file__).parent.parent
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
MODULES = ["bayeshnet", *sorted(module.name for module in pkgutil.walk_packages(bayeshnet.__path__, "bayeshnet."))]
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.rst"))]


def run(test):
    """Run one docstring's examples, stopping at the first that fails."""
    torch.manual_seed(0)
    report = []
    runner = doctest.DocTestRunner(optionflags=FLAGS | doctest.REPORT_ONLY_FIRST_FAILURE)
    runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    """All examples of a module."""
    module = importlib.import_module(name)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        run(test)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages(page):
    """All ``>>>`` examples of a page, as one session."""
    text = page.read_text(encoding="utf-8")
    run(doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks(page, tmp_path, monkeypatch):
    """All Python blocks of a page run one after the other, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    names = {"__name__": "__page__"}
    for block in python_blocks(text):
        exec(compile(block, str(page), "exec"), names)


def python_blocks(text):
    """Fenced blocks (Markdown) and ``code-block`` directives (reStructuredText) of Python without prompts."""
    fenced = re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)
    indented = re.findall(r"^\.\. code-block:: python\n\n((?:(?:[ ]{3}.*)?\n)+)", text, flags=re.M)
    blocks = fenced + [re.sub(r"^ {3}", "", block, flags=re.M) for block in indented]
    return [block for block in blocks if ">>>" not in block]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.rst")), ids=lambda page: page.stem)
def test_headings_stand_alone(page):
    """A title that follows a text without an empty line is shown as a part of the text."""
    lines = page.read_text(encoding="utf-8").splitlines()
    under = [i for i in range(2, len(lines)) if re.fullmatch(r"([-=~^])\1{3,}", lines[i]) and lines[i - 1].strip()]
    assert [lines[i - 1] for i in under if lines[i - 2].strip()] == []


def test_a_wrong_example_is_seen():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    with pytest.raises(AssertionError, match="Expected"):
        run(test)


def test_python_blocks_are_found():
    markdown = "text\n```python\nx = 1\n```\n```\nno\n```\n"
    page = "Title\n\n.. code-block:: python\n\n   x = 1\n\n   y = 2\n\nafter\n"
    assert python_blocks(markdown) == ["x = 1\n"]
    assert [block.split() for block in python_blocks(page)] == [["x", "=", "1", "y", "=", "2"]]
