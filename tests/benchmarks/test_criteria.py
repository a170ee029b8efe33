"""The page of criteria: means over runs in the columns of the criteria, chance beside them, what was chosen below."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from criteria import page

from bayeshnet.reports import RunResult


def result(data, seed, entropy, combination=None):
    final = {
        "accuracy_task_given": 98.0,
        "accuracy_task_inferred": {"entropy": entropy, "combined": 90.0},
        "task_inference": {"entropy": entropy + 1, "combined": 91.0},
        **({} if combination is None else {"combination": combination}),
    }
    return RunResult(data, "posterior-replay", seed, ("a", "b"), final)


def test_runs_of_a_stream_are_averaged_and_choices_are_told():
    chosen = {"tied": 1, "evidence_weight": 0.25, "entropy_weight": 0.5, "log_tied": -3.0, "log_per_task": -8.5}
    text = page([result("digits", 0, 60.0), result("digits", 1, 64.0), result("fashion", 0, 70.0, chosen)])
    text = text.replace('","', '", "')
    assert '"digits", "2", "98.0", "49.0", "62.0 ± 2.8", "90.0 ± 0.0"' in text
    assert '"digits", "2", "98.0", "50.0", "63.0 ± 2.8", "91.0 ± 0.0"' in text
    assert '"fashion", "1", "98.0", "49.0", "70.0", "90.0"' in text
    assert r'"fashion", "0", "one covariance", "0.250", "0.500", "-3.0", "-8.5", "\-", "\-"' in text
