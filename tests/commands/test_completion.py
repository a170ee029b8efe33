"""Completion: bash is asked as it asks the script at the tabulator key, and zsh at a terminal, by that key."""

import os
import select
import shutil
import subprocess
import time

import pytest

from bayeshnet.cli import _COMMANDS, main
from bayeshnet.commands.completion import COMMANDS, completion_script
from bayeshnet.data import STREAMS

BASH, ZSH = shutil.which("bash"), shutil.which("zsh")


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


def typed_in_zsh(folder, script, lines):
    """Type lines at a terminal, each followed by the tabulator key, and return what zsh made of them."""
    import pty

    (folder / "script").write_text(script)
    note = 'note() { print -r -- "$BUFFER" >> noted; BUFFER=; }; zle -N note; bindkey "^X" note'
    begin = f"source ./script; {note}; : > noted\n"
    terminal, other = pty.openpty()
    known = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb", "LC_ALL": "C"}
    shell = subprocess.Popen([ZSH, "-f", "-i"], stdin=other, stdout=other, stderr=other, env=known, cwd=folder)
    os.close(other)
    try:
        for number, line in enumerate([begin, *(f"{line}\t\x18" for line in lines)]):
            os.write(terminal, line.encode())
            limit = time.monotonic() + 60
            while not ((folder / "noted").exists() and (folder / "noted").read_text().count("\n") == number):
                assert time.monotonic() < limit, line
                if select.select([terminal], [], [], 0.01)[0]:
                    os.read(terminal, 65536)  # the echo, for which the shell would wait
        return (folder / "noted").read_text().splitlines()
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)


@pytest.mark.skipif(ZSH is None, reason="needs zsh")
def test_zsh_completes_what_is_typed(tmp_path):
    (tmp_path / "a folder").mkdir()
    wanted = {
        "bayeshnet comple": "bayeshnet completion",
        "bayeshnet run --data-d": "bayeshnet run --data-dir",
        "bayeshnet run --data split-d": "bayeshnet run --data split-digits",
        "bayeshnet run --data=split-d": "bayeshnet run --data=split-digits",
        "bayeshnet run --learner.training.ste": "bayeshnet run --learner.training.steps",
        "bayeshnet completion z": "bayeshnet completion zsh",
        "bayeshnet compare a": "bayeshnet compare a\\ folder/",
    }
    found = typed_in_zsh(tmp_path, completion_script("zsh"), wanted)
    assert dict(zip(wanted, map(str.rstrip, found), strict=True)) == wanted


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
    assert complete(script, "bayeshnet", "run", "--method=ewc-") == ["--method=ewc-growing"]
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
