"""The page of a comparison names the command that made it; runs that fail say why."""

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from streams import SEEDS, command_line, run


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
