"""The page of a comparison names the command that made it; runs that fail say why."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from bayeshnet.commands.parser import parse_run
from bayeshnet.reports import Cell, RunResult
from bayeshnet.runs import run_experiment

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from streams import SEEDS, command_line, run
from streams_numbers import numbers
from streams_page import EARLIER, page, tables


def test_the_command_is_told_with_what_was_chosen():
    options = argparse.Namespace(data="modes2d", methods=None, seeds=SEEDS, numbers=False)
    assert command_line(options, []) == "python benchmarks/streams.py modes2d"
    options = argparse.Namespace(data="modes2d", methods=["ewc", "joint"], seeds=[0, 4], numbers=True)
    told = "python benchmarks/streams.py modes2d --methods ewc joint --seeds 0 4 --numbers -- --data-options '{a: 1}'"
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


def result(method, seed, last, **final):
    known = {
        "scenario": "class",
        "accuracy_task_given": last + 2.0,
        "accuracy_task_inferred": {"entropy": 60.0, "combined": last},
        "task_inference": {"entropy": 70.0, "combined": last + 1.0},
        "last_accuracy": last,
        "average_incremental_accuracy": last + 3.0,
        "nll": 0.125,
        "nll_all_classes": 0.5,
        "bytes_stored": 2.5e6,
        "gradient_steps": 500,
    }
    return RunResult("split-digits", method, seed, ("a", "b"), known | final)


def test_the_page_has_three_tables_of_all_methods_and_keeps_earlier_runs():
    runs = [result("ewc", 0, 90.0), result("ewc", 1, 94.0, combination={"own": {"1": {"evidence_weight": 1.0}}})]
    runs += [result("joint", seed, 97.0, combination={"own": 0}) for seed in (0, 1)]
    accuracy, probabilities, costs = tables(runs)
    heads = ["all classes", "average incremental", "joint minus this", "task given", "task"]
    assert [c.name for c in accuracy.columns] == ["method", "scenario", "runs", *heads, "by entropy alone"]
    row = dict(zip((column.name for column in accuracy.columns), accuracy.rows[0], strict=True))
    assert (row["method"], row["scenario"], row["runs"]) == ("ewc", "class", "2")
    means = {name: row[name].value for name in heads}
    assert means == pytest.approx(dict(zip(heads, [92.0, 95.0, 5.0, 94.0, 93.0], strict=True)))
    assert row["task"].std == pytest.approx(8**0.5)
    assert "seeds 0, 1. Tasks have weights of evidence and entropy of their own in 1 of 3 runs" in accuracy.note
    assert [column.name for column in probabilities.columns] == ["method", "NLL", "NLL, task given"]
    assert [cell.value for cell in probabilities.rows[1][1:]] == [0.5, 0.125]
    assert dict(zip([c.name for c in costs.columns], costs.rows[1], strict=True))["stored"] == Cell(2.5)
    text = page("split-digits", runs, "COMMAND", "A note.", f"Old\n===\n\n{EARLIER}\nKept.\n")
    assert text.startswith("Split digits\n============\n")
    assert "   $ COMMAND\n\nA note.\n" in text
    assert text.endswith(f"{EARLIER}\nKept.\n")
    assert "Old" not in text
    assert EARLIER not in page("split-digits", runs, "COMMAND", "", "Old")
