"""The page of a comparison names the command that made it; runs that fail say why."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from bayeshnet.commands.parser import parse_run
from bayeshnet.runs import run_experiment

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from streams import SEEDS, command_line, run
from streams_numbers import numbers


def test_the_command_is_told_with_what_was_chosen():
    options = argparse.Namespace(data="modes2d", methods=None, seeds=SEEDS)
    assert command_line(options, []) == "python benchmarks/streams.py modes2d"
    options = argparse.Namespace(data="modes2d", methods=["ewc", "joint"], seeds=[0, 4])
    told = "python benchmarks/streams.py modes2d --methods ewc joint --seeds 0 4 -- --data-options '{a: 1}'"
    assert command_line(options, ["--data-options", "{a: 1}"]) == told


def test_a_run_that_was_killed_is_told(monkeypatch, tmp_path):
    for stderr, told in (("", "x: ended with code -9"), ("one\ntwo\n", "x: two")):
        ended = subprocess.CompletedProcess([], -9, "", stderr)
        monkeypatch.setattr(subprocess, "run", lambda *_, done=ended, **__: done)
        assert run(tmp_path / "x", []) == told


@pytest.mark.slow
def test_numbers_alone_are_those_of_a_run():
    words = ["--data", "split-digits", "--method", "exact-stream", "--seed", "3", "--quick"]
    alone, whole = numbers(words), run_experiment(parse_run(words).experiment).result
    assert set(alone.final) <= set(whole.final)
    assert {key: whole.final[key] for key in alone.final if key != "combination"} == {
        key: value for key, value in alone.final.items() if key != "combination"
    }
    assert (alone.matrix, alone.settings) == (whole.matrix, whole.settings)


def test_numbers_alone_are_made_by_their_program(monkeypatch, tmp_path):
    made = []
    ended = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: made.append(command) or ended)
    assert run(tmp_path / "x", ["--seed", "1"], numbers=True) is None
    program = Path(run.__code__.co_filename).with_name("streams_numbers.py")
    assert made[0][1:] == [str(program), str(tmp_path / "x"), "--seed", "1"]
