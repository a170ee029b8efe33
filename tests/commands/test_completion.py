"""Completion: the script is asked by bash as the shell asks it at the tabulator key."""

import shutil
import subprocess

import pytest

from bayeshnet.cli import _COMMANDS, main
from bayeshnet.commands.completion import COMMANDS, completion_script
from bayeshnet.data import STREAMS

BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def script():
    return completion_script("bash")


def complete(script, *words, cwd=None):
    """Return what bash offers for the last word."""
    listed = " ".join(f"'{word}'" for word in words)
    ask = f"COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _bayeshnet; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    found = subprocess.run([BASH, "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True, cwd=cwd)
    assert found.stderr == ""
    return found.stdout.split("\n")[:-1]


def test_all_commands_are_known():
    assert tuple(_COMMANDS) == COMMANDS


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_commands_options_settings_and_names_are_completed(script, tmp_path):
    assert complete(script, "bayeshnet", "co") == ["compare", "completion"]
    assert complete(script, "bayeshnet", "run", "--da") == ["--data", "--data-dir", "--data-options"]
    assert "--learner.training.steps" in complete(script, "bayeshnet", "run", "--learner.training.")
    assert complete(script, "bayeshnet", "run", "--data", "split-d") == ["split-digits"]
    assert complete(script, "bayeshnet", "run", "--data", "") == list(STREAMS)
    assert complete(script, "bayeshnet", "run", "--method", "=", "ewc-") == ["ewc-growing"]
    assert "LIVI" in complete(script, "bayeshnet", "run", "--estimator", "=")
    assert complete(script, "bayeshnet", "sweep", "--tr") == ["--trials"]
    assert complete(script, "bayeshnet", "compare", "--format", "mark") == ["markdown"]
    assert complete(script, "bayeshnet", "completion", "") == ["bash", "zsh"]
    (tmp_path / "a folder").mkdir()
    (tmp_path / "b").touch()
    assert complete(script, "bayeshnet", "compare", "a", cwd=tmp_path) == ["a folder"]
    assert sorted(complete(script, "bayeshnet", "run", "--resume", "", cwd=tmp_path)) == ["a folder", "b"]


def test_the_command_prints_the_script_and_how_to_use_it(script, capsys):
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out == completion_script("zsh")
    assert completion_script("zsh").endswith(script)
    assert "bashcompinit" in completion_script("zsh")
    assert main(["completion", "--help"]) == 0
    assert "bayeshnet completion bash >" in capsys.readouterr().out
    assert main(["completion", "fish"]) == 2
    assert capsys.readouterr().err.startswith("bayeshnet completion: expected bash or zsh, got fish.")
