"""Repetitions among runs: those that differ in the seed alone."""

from __future__ import annotations

import statistics

import pytest

from bayeshnet.commands.parser import parse_run
from bayeshnet.reports import RunResult, comparison_table
from bayeshnet.reports.repetitions import DRAWN, find_repetitions
from bayeshnet.runs.experiment_config import recorded_settings
from tests.reports.test_records import record

ORDER = ["--data-options.order", "random"]
SETTINGS = {"learner": "PosteriorReplay", "learner.training.beta": "1.0", "data_options.data_seed": "0"}


def run(seed=0, accuracy=90.0, settings=SETTINGS, **changes):
    final = {"accuracy_task_given": accuracy}
    return RunResult.of(record(seed=seed, method="a", final=final, settings=settings, **changes))


def rows(*runs):
    table = comparison_table(runs)
    return {row[0]: (row[1], row[2].value, row[2].std) for row in table.rows}, table.note


def test_seeds_are_repetitions():
    found, note = rows(run(0, 90.0), run(1, 94.0), run(2, 95.0))
    assert found == {"a": ("3", pytest.approx(93.0), pytest.approx(statistics.stdev([90.0, 94.0, 95.0])))}
    assert note.startswith("Mean ± standard deviation over seeds 0, 1, 2.")


def test_the_same_seed_twice_is_one_run():
    found, note = rows(run(0, 90.0), run(0, 90.0))
    assert found == {"a": ("1", 90.0, None)}
    assert "Counted once, since the seed is no other: a, seed 0." in note
    found, _ = rows(run(0, 90.0), run(1, 94.0), run(0, 70.0))
    assert found["a"][:2] == ("2", pytest.approx(92.0))


@pytest.mark.parametrize(
    ("change", "first", "second"),
    [
        ({"learner.training.beta": "0.5"}, "a (training.beta=1.0)", "a (training.beta=0.5)"),
        ({"data_options.data_seed": "7"}, "a (data_seed=0)", "a (data_seed=7)"),
        ({"learner.prior": "None"}, "a (prior=-)", "a (prior=None)"),
    ],
)
def test_other_settings_are_rows_of_their_own(change, first, second):
    found, note = rows(run(0, 90.0), run(1, 80.0, {**SETTINGS, **change}), run(1, 94.0))
    assert found == {first: ("2", 92.0, pytest.approx(statistics.stdev([90.0, 94.0]))), second: ("1", 80.0, None)}
    assert "Counted once" not in note


def test_other_tasks_are_no_repetition():
    found, _ = rows(run(0, 90.0), run(1, 80.0, tasks=["0 / 1"], matrix={}))
    assert list(found) == ["a (tasks=0 / 1 | 2 / 3)", "a (tasks=0 / 1)"]
    table = comparison_table([run(0), run(1, tasks=["0 / 1"], matrix={})])
    assert table.title == "split-digits, 1 or 2 tasks"


def test_orders_of_classes_that_the_seed_draws_are_repetitions():
    """Where the seed draws the order, other classes in a task are no other row; another number of tasks is."""
    drawn = {**SETTINGS, "data_options.order": "drawn by seed", "data_options.data_seed": "drawn by seed"}
    found, _ = rows(run(0, 90.0, drawn), run(1, 94.0, drawn, tasks=["4 / 1", "3 / 0"]))
    assert found == {"a": ("2", 92.0, pytest.approx(statistics.stdev([90.0, 94.0])))}
    found, _ = rows(run(0, 90.0, drawn), run(1, 94.0, drawn, tasks=["4 / 1"], matrix={}))
    assert list(found) == ["a (tasks=2)", "a (tasks=1)"]
    given = {**SETTINGS, "data_options.order": "'random'"}
    assert len(rows(run(0, 90.0, given), run(1, 94.0, given, tasks=["4 / 1", "3 / 0"]))[0]) == 2
    settings = [recorded_settings(parse_run(["--data", "split-digits", *more]).experiment) for more in ([], ORDER)]
    assert [each["data_options.order"] for each in settings] == [DRAWN, "'random'"]


def test_names_of_rows_stay_apart_however_much_differs():
    found, _ = rows(*(run(i, 90.0, {f"learner.x{k}": str(i) for k in range(5)}) for i in range(3)))
    assert next(iter(found)) == "a (x0=0, x1=0, x2=0, x3=0, 1 more)"
    found, _ = rows(run(0, 1.0, {"learner.text": "x" * 99}), run(0, 2.0, {"learner.text": "x" * 98}))
    assert len(found) == 2


def test_records_without_settings_are_grouped_by_what_they_hold():
    found, note = rows(run(0, 90.0, {}), run(1, 94.0, {}))
    assert found["a"][:2] == ("2", 92.0)
    assert note.endswith("Without recorded settings, grouped by method and tasks: a.")
    found, note = rows(run(0, 90.0, {}), run(1, 94.0))
    assert list(found) == ["a (settings not recorded)", "a"]
    assert note.endswith("grouped by method and tasks: a (settings not recorded).")


def test_runs_of_one_label_are_not_pooled_over_settings():
    other = {**SETTINGS, "learner.training.beta": "0.5"}
    found = find_repetitions([run(0), run(1), run(0, settings=other)], lambda r: "mine").rows
    assert {name: len(runs) for name, runs in found.items()} == {
        "mine (training.beta=1.0)": 2,
        "mine (training.beta=0.5)": 1,
    }
