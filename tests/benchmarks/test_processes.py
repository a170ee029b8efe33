"""The comparison of a run in one process and in two, from results worked out by hand."""

import copy
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import processes

FINAL = {"accuracy_task_given": 98.0, "accuracy_task_inferred": {"combined": 90.0}, "gradient_steps": 1000.0}
FINAL |= {"nll": 0.5, "ece": 3.0, "ood_auroc": 80.0, "negative_elbo": 640.0}
RESULT = {
    "data": "split-digits",
    "final": FINAL,
    "matrix": {"given": [[100.0], [99.0, 98.0]]},
    "seconds": {"train": 3.0},
    "settings": {"learner.training.steps": 200},
    "flags": [True, None, math.nan],
}


def test_differences_are_relative_where_numbers_are_large():
    other = copy.deepcopy(RESULT)
    other["seconds"]["train"] = 9.0
    assert processes.differences(RESULT, other) == (0.0, 0.0)
    other["final"]["negative_elbo"] = 641.28
    other["matrix"]["given"][1][0] = 99.5
    away, accuracies = processes.differences(RESULT, other)
    assert accuracies == 0.5
    assert away == pytest.approx(0.5 / 99)  # above 1.28 / 640
    other["final"]["nll"] = 0.52
    assert processes.differences(RESULT, other)[0] == pytest.approx(0.02)
    del other["final"]["nll"]
    with pytest.raises(ValueError, match="expected the same numbers, got others: \\['/final/nll'\\]"):
        processes.differences(RESULT, other)


def test_the_page_says_whether_the_resumed_run_is_the_same():
    names = ("one process", "two processes", "two, killed and resumed")
    found = {name: copy.deepcopy(RESULT) for name in names}
    found["two processes"]["final"]["nll"] = found["two, killed and resumed"]["final"]["nll"] = 0.51
    text = " ".join(processes.page(found, "another process has ended").split())
    assert "* - two processes - 98.000 - 90.000 - 0.510 - 3.000 - 80.000 - 640.000 - 1.0e-02 - 0.0e+00" in text
    assert "the first one said ``another process has ended``" in text
    assert "it has the numbers of the run that was not killed, all of them equal" in text
    found["two, killed and resumed"]["final"]["nll"] = 0.61
    assert "differs from the run that was not killed by 1.0e-01 at most" in processes.page(found, "x")
