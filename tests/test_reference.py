"""Each public name has an entry in the reference, and what a user calls is seen in an example."""

import ast
import importlib
import inspect
import pkgutil
import re
from itertools import pairwise
from pathlib import Path

import pytest

import bayeshnet

ROOT = Path(__file__).parent.parent
HIDDEN = {"cli", "commands"}
MODULES = sorted(module.name for module in pkgutil.iter_modules(bayeshnet.__path__))
PACKAGES = [name for name in MODULES if name not in HIDDEN and not name.startswith("_")]


def documented(package, name):
    """A class or function with a docstring of its own, a module, or a constant with text below its assignment."""
    value = getattr(importlib.import_module(f"bayeshnet.{package}"), name)
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        return bool((value.__doc__ or "").strip())
    folder = ROOT / "bayeshnet" / package
    files = folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]
    return any(name in constants_with_text(file.read_text(encoding="utf-8")) for file in files)


def constants_with_text(source):
    """Names that are assigned at the top of a module with a string after them."""
    body = ast.parse(source).body
    found = set()
    for node, after in pairwise(body):
        text = (
            isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
        )
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if text and isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_have_an_entry(package):
    names = importlib.import_module(f"bayeshnet.{package}").__all__
    assert [name for name in names if not documented(package, name)] == []


def shown():
    """All words of code that is shown: on pages, in README, in examples and docstrings."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.rst")]
    text = [page.read_text(encoding="utf-8") for page in pages if page.parent.name != "api"]
    code = [match for page in text for match in re.findall(r"^\s*(?:>>>|\.\.\.) (.*)$", page, flags=re.M)]
    code += [match for page in text for match in re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S)]
    code += [
        m for page in text for m in re.findall(r"^\.\. code-block:: python\n\n((?:(?:[ ]{3}.*)?\n)+)", page, flags=re.M)
    ]
    code += [file.read_text(encoding="utf-8") for file in (ROOT / "examples").rglob("*.py")]
    for file in (ROOT / "bayeshnet").rglob("*.py"):
        code += re.findall(r"^\s*(?:>>>|\.\.\.) (.*)$", file.read_text(encoding="utf-8"), flags=re.M)
    return set(re.findall(r"\w+", "\n".join(code)))


def test_headline_names_are_shown_in_examples():
    """Names that are imported from ``bayeshnet`` itself, which new users meet first."""
    assert set(bayeshnet.__all__) - {"__version__"} <= shown()


def test_an_undocumented_constant_is_seen():
    assert constants_with_text('A = 1\n"""Text."""\nB: int = 2\nC = 3\n') == {"A"}
