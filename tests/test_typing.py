"""Programs of users pass the type checkers at their strictest, and do what they say."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docstrings import python_blocks

ROOT = Path(__file__).parent.parent
PROGRAMS = sorted((ROOT / "tests" / "programs").glob("*.py"))


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder with the programs, and those of README: making a module Bayesian, and tasks in sequence."""
    folder = tmp_path_factory.mktemp("programs")
    for program in PROGRAMS:
        shutil.copy(program, folder)
    module, learning, saving, *others = python_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    for number, block in enumerate((module, f"{learning}\n{saving}", *others)):
        (folder / f"readme_{number}.py").write_text(block, encoding="utf-8")
    assert "HypernetGuide" in module
    assert "load_state" in saving
    assert [name in block for name, block in zip(("adapt", "AutoHypernet"), others, strict=True)] == [True, True]
    return folder


def run(command, folder):
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_mypy_at_its_strictest(programs, tmp_path):
    files = sorted(path.name for path in programs.glob("*.py"))
    assert len(files) == 7
    options = ["--strict", "--config-file=", "--follow-imports=silent", "--cache-dir", str(tmp_path)]
    run([sys.executable, "-m", "mypy", *options, *files], programs)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pyright") is None, reason="pyright is not installed")
def test_pyright(programs):
    (programs / "pyrightconfig.json").write_text(f'{{"include": ["."], "extraPaths": ["{ROOT.as_posix()}"]}}')
    run([sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "-p", "."], programs)


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_programs_run(program, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location(f"program_{program.stem}", program)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(tmp_path, steps=5).isfinite().all()
    assert capsys.readouterr().out
