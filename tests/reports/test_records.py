from __future__ import annotations

import json
import math
import os

import pytest

from bayeshnet.reports import (
    DriftRecord,
    InformationRecord,
    KLRecord,
    RunResult,
    alarm_table,
    drift_table,
    load_results,
    write_text,
)


def record(**changes):
    base = {
        "data": "split-digits",
        "method": "posterior-replay",
        "seed": 3,
        "kind": "classification",
        "tasks": ["0 / 1", "2 / 3"],
        "final": {
            "accuracy_task_given": 99.5,
            "accuracy_task_inferred": {"entropy": 85.0, "combined": 98.0},
            "nll": 0.03,
        },
        "per_task": [{"accuracy_task_given": 99.0, "nll": 0.02}, {"accuracy_task_given": 100.0, "nll": 0.04}],
        "matrix": {"given": [[99.9], [99.0, 100.0]], "combined": [[99.9], [97.0, 99.0]]},
        "kl": [
            {
                "value": 3500.0,
                "lower": 3499.0,
                "upper": 3501.0,
                "analytic": 3517.0,
                "mutual_information": {"livi": 17.0, "lower": 16.0, "upper": 18.0, "ess": 40.0},
            },
            {"value": None, "lower": None, "upper": None, "mutual_information": None},
        ],
        "ood": {"noise": {"entropy": 90.0}},
        "seconds": {"train": 10.0, "assess": 1.0, "per_task": [4.0, 6.0]},
        "versions": {"bayeshnet": "0.1.0"},
        "something_new": 1,
    }
    return {**base, **changes}


def test_a_result_survives_json(tmp_path):
    result = RunResult.of(record())
    path = result.save(tmp_path / "run" / "metrics.json")
    assert RunResult.load(path) == result
    assert RunResult.load(tmp_path / "run") == result
    assert load_results([path, path]) == [result, result]
    assert result.kl[0].mutual_information.livi == 17.0
    assert result.kl[1] == KLRecord()
    assert json.loads(path.read_text())["matrix"]["given"] == [[99.9], [99.0, 100.0]]


def test_numbers_that_json_lacks_become_null(tmp_path):
    result = RunResult.of(record(final={"nll": math.nan, "ece": math.inf, "accuracy_task_given": 1.0}))
    content = json.loads(result.save(tmp_path / "a.json").read_text())
    assert content["final"] == {"nll": None, "ece": None, "accuracy_task_given": 1.0}


def test_results_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no data, final in it"):
        RunResult.of({"method": "a", "seed": 0, "tasks": []})
    with pytest.raises(ValueError, match="kind"):
        RunResult.of(record(kind="ranking"))
    with pytest.raises(ValueError, match="rows of 1, 2"):
        RunResult.of(record(matrix={"given": [[1.0, 2.0], [1.0, 2.0]]}))
    with pytest.raises(FileNotFoundError, match="finished run"):
        RunResult.load(tmp_path)
    for content in ("{", "[]", "{}"):
        (tmp_path / "metrics.json").write_text(content)
        with pytest.raises(ValueError, match=r"metrics\.json.*results of a run"):
            RunResult.load(tmp_path)


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_text(tmp_path / "new" / "a.txt", "old")
    assert path.read_text() == "old"

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "half of the n")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_drift_verdicts_and_alarms_are_read_back_and_old_records_have_none(tmp_path):
    moved = DriftRecord(0.2, 3.0, 2.5, 3.5, "trusted", 0.9, 1e-20, 0.1, 2.4)
    kl = KLRecord(5.0, 4.9, 5.1, 6.0, InformationRecord(1.0, 0.9, 1.1), "not certified")
    alarms = {"drift": "task 1: moved."}
    result = RunResult("a", "b", 0, ("x", "y"), {}, kl=(kl, KLRecord()), drift=(moved,), alarms=alarms)
    loaded = RunResult.load(result.save(tmp_path / "metrics.json"))
    assert loaded.drift == (moved,)
    assert loaded.kl == result.kl
    assert loaded.alarms == alarms
    old = {key: value for key, value in result.to_dict().items() if key not in ("drift", "alarms")}
    assert RunResult.of(old).drift == ()
    assert RunResult.of(old).alarms == {}
    table = drift_table(result)
    assert [cell.value for cell in table.rows[0][1:-1]] == [3.0, 2.5, 3.5, 2.4, 90.0, 1e-20, 0.1, 0.2]
    assert table.rows[0][-1] == "trusted"
    assert alarm_table(result).rows == (("drift", "task 1: moved."),)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"drift": [{"kl": "much"}]}, "drift"),
        ({"drift": [{"verdict": 3}]}, "verdict"),
        ({"alarms": {"drift": 3}}, "alarms"),
        ({"kl": [{"verdict": 3}]}, "verdict"),
    ],
)
def test_damaged_drifts_verdicts_and_alarms_are_named(entry, message):
    with pytest.raises((TypeError, ValueError), match=message):
        RunResult.of({"data": "a", "method": "b", "seed": 0, "tasks": ["x"], "final": {}, **entry})
