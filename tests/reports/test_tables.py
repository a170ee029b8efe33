from __future__ import annotations

import csv
import html
import json
import re
import statistics
import sys

import pytest

from bayeshnet.errors import MissingExtraError
from bayeshnet.reports import (
    Cell,
    Column,
    RunResult,
    Table,
    account_table,
    comparison_table,
    comparison_tables,
    criterion_table,
    kl_table,
    matrix_table,
    ood_table,
    run_tables,
    summary_table,
    task_table,
)
from bayeshnet.reports.markup import escape_latex
from tests.reports.test_records import record


@pytest.fixture
def table():
    columns = (Column("method"), Column("error_rate", "%"), Column("NLL", "nats", 3))
    rows = (("a & b", Cell(1.25, 0.5), Cell(0.0123, best=True)), ("c|d", Cell(None), Cell(-0.0001)))
    return Table("Results_1", columns, rows, "Note ± 1")


def test_text(table):
    lines = table.text().splitlines()
    assert lines[0] == "Results_1"
    assert "error_rate" in lines[2]
    assert lines[3].split() == ["method", "%", "nats"]
    assert [word for word in lines[5].split() if word != "±"] == ["a", "&", "b", "1.2", "0.5", "0.012"]
    assert lines[6].split() == ["c|d", "-", "-1.0e-04"]
    assert lines[-1].strip() == "Note ± 1"


def words(line):
    """The words of a line, whatever the white space between them."""
    return " ".join(line.split())


@pytest.mark.parametrize(("own", "said"), [({}, "All tasks share"), ({"1": {"evidence_weight": 0.2}}, "Each task has")])
def test_the_weights_of_the_combined_score_are_told(own, said):
    weights = {"tied": 1, "evidence_weight": 0.25, "entropy_weight": 0.5, "log_tied": -3.0, "log_per_task": -8.5}
    asked = {"log_left_out_shared": -7.25, "log_left_out_own": -6.0, "own": own}
    known = {"task_inference": {"combined": 91.0}, "task_inference_batch": {"combined": 99.0}}
    notes = [
        criterion_table(RunResult("digits", "separate", 0, ("a", "b"), {**known, "combination": found})).note
        for found in (weights, weights | {"log_left_out_shared": 0.0, "log_left_out_own": 0.0}, weights | asked)
    ]
    assert notes[0] == notes[1]
    assert notes[0].endswith(" set aside -3 nats with one covariance, -8.5 with a density per task.")
    assert notes[2].startswith(notes[0])
    assert f" {said}" in notes[2]
    assert "left out -7.25 nats with shared weights, -6 with each task's own." in notes[2]


def test_markdown(table):
    lines = [words(line) for line in table.markdown().splitlines()]
    rule = lines.pop(3)
    assert re.fullmatch(r"\|:-+\|-+:\|-+:\|", rule)
    assert lines == [
        "**Results_1**",
        "",
        "| method | error_rate [%] | NLL [nats] |",
        "| a & b | 1.2 ± 0.5 | **0.012** |",
        r"| c\|d | - | -1.0e-04 |",
        "",
        "Note ± 1",
    ]


def test_restructured_text(table):
    assert table.rst().splitlines() == [
        ".. csv-table:: Results_1",
        '   :header: "method","error_rate [%]","NLL [nats]"',
        "",
        '   "a & b","1.2 ± 0.5","**0.012**"',
        '   "c|d","\\-","-1.0e-04"',
        "",
        "Note ± 1",
    ]


def test_latex(table):
    text = "\n".join(map(words, table.latex().splitlines()))
    assert r"\caption{Results\_1}" in text
    assert r"\begin{tabular}{lrr}" in text
    assert r"method & error\_rate [\%] & NLL [nats] \\" in text
    assert r"a \& b & 1.2 $\pm$ 0.5 & \textbf{0.012} \\" in text
    assert text.count(r"\\") == 3
    rules = [line for line in text.splitlines() if line.endswith("rule")]
    assert rules == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert text.endswith("\\end{tabular}\n\\par\\smallskip Note $\\pm$ 1\n\\end{table}")


@pytest.mark.parametrize("character", "\\&%$#_{}~^±·|<>\"'*")
def test_no_character_breaks_a_table(character):
    """Each character is escaped where it has a meaning, in headings, text and titles."""
    table = Table(f"t{character}", (Column(f"h{character}", character), Column("x")), ((f"e{character}", Cell(1.0)),))
    latex = table.latex()
    if character in "\\&%$#_{}~^±·":
        assert f"e{escape_latex(character)} " in latex
        assert f"e{character} " not in latex
    assert latex.count(" & ") == 2
    assert html.escape(f"e{character}") in table.html()
    assert len(re.findall(r"(?<!\\)\|", table.markdown().splitlines()[-1])) == 3
    (head,) = csv.reader([table.rst().splitlines()[1].removeprefix("   :header: ")])
    (row,) = csv.reader([table.rst().splitlines()[3].strip()])
    assert (head[0], row) == (f"h{character} [{character}]", [f"e{character}", "1.0"])


def test_html(table):
    text = words(table.html().replace("\n", ""))
    assert "<th>method </th>" in text
    assert re.search(r"<th style=\"text-align: right;\"> *error_rate<small>%</small></th>", text)
    assert re.search(r"<td>a &amp; b *</td>", text)
    assert re.search(r"<td style=\"text-align: right;\"> *<b>0.012</b></td>", text)


@pytest.mark.parametrize("form", ["markdown", "latex", "html"])
def test_without_tabulate_the_extra_is_named(table, form, monkeypatch):
    monkeypatch.setitem(sys.modules, "tabulate", None)
    with pytest.raises(MissingExtraError, match=r"bayeshnet\[app\]"):
        getattr(table, form)()


@pytest.mark.parametrize("form", ["text", "markdown", "rst", "latex", "html"])
def test_a_table_without_rows(form):
    assert "head" in getattr(Table("t", (Column("head"), Column("x")), ()), form)()


def test_json(table):
    content = json.loads(table.json())
    assert content["rows"][0] == {"method": "a & b", "error_rate [%]": {"mean": 1.25, "std": 0.5}, "NLL [nats]": 0.0123}
    assert content["rows"][1]["error_rate [%]"] is None


def test_transposed_keeps_decimals_and_bold(table):
    turned = table.transposed()
    assert [c.name for c in turned.columns] == ["measure", "unit", "a & b", "c|d"]
    assert [words(line) for line in turned.markdown().splitlines()[4:6]] == [
        "| error_rate | % | 1.2 ± 0.5 | - |",
        "| NLL | nats | **0.012** | -1.0e-04 |",
    ]


def test_ragged_rows_are_refused():
    with pytest.raises(ValueError, match="2 entries each"):
        Table("t", (Column("a"), Column("b")), (("x",),))


def test_tables_of_a_run_hold_its_numbers():
    result = RunResult.of(record())
    summary = {row[0]: row[1] for row in summary_table(result).rows}
    assert summary["task given"] == "99.5"
    assert summary["combined"] == "98.0"
    assert summary["NLL"] == "0.030"
    assert summary["time per task"] == "5.0"
    assert "ECE" not in summary
    assert [row[0] for row in criterion_table(result).rows] == ["entropy", "combined"]
    assert task_table(result).rows[1][2] == Cell(100.0)
    assert matrix_table(result).rows[0][1:] == (Cell(99.9), Cell(None))
    assert matrix_table(result, "combined").rows[1][1:] == (Cell(97.0), Cell(99.0))
    *numbers, verdict = kl_table(result).rows[0][1:]
    assert [cell.value for cell in numbers] == [3500.0, 3499.0, 3501.0, 3517.0, 17.0, 16.0, 18.0]
    assert verdict == "-"
    assert [cell.value for cell in kl_table(result).rows[1][1:-1]] == [None] * 7
    assert len(run_tables(result)) == 7
    assert len(run_tables(RunResult.of(record(kl=[], matrix={}, per_task=[], ood={})))) == 2
    with pytest.raises(ValueError, match="criterion"):
        matrix_table(result, "agreement")


def test_tables_of_regression():
    final = {"mse_task_given": 0.0042, "mse_task_inferred": {"entropy": 0.5}, "task_inference": {"entropy": 98.0}}
    per_task = [{"mse_task_given": 0.003, "mse_during": 0.002, "task_inference": {"entropy": 97.0}}]
    result = RunResult.of(record(kind="regression", final=final, per_task=per_task, matrix={"given": [[0.002]]}, kl=[]))
    summary = {row[0]: row[1] for row in summary_table(result).rows}
    assert summary["MSE, task given"] == "0.0042"
    assert summary["task, by entropy"] == "98.0"
    assert criterion_table(result).rows == (("entropy", Cell(98.0), Cell(0.5)),)
    assert "0.0020" in matrix_table(result).markdown()
    assert all(table.markdown() for table in run_tables(result))


def test_ood_inputs_in_a_table():
    refused = {"false_alarm": 4.2, "refused": {"noise": 97.0}}
    changes = {
        "ood": {"noise": {"entropy": 90.0, "density": 99.0}},
        "ood_fpr95": {"noise": {"entropy": 12.0}},
        "abstention": {"asked": 5.0, "calibrated_on": "training", "combined": refused},
    }
    table = ood_table(RunResult.of(record(**changes)))
    assert [c.name for c in table.columns] == ["measure", "noise"]
    expected = {"AUROC by entropy": 90.0, "AUROC by density": 99.0, "FPR95 by entropy": 12.0, "refused": 97.0}
    assert {row[0]: row[1].value for row in table.rows} == expected
    assert "95 % of each task's training inputs" in table.note
    assert "4.2 %" in table.note


def test_a_new_criterion_appears_by_itself():
    final = {"accuracy_task_inferred": {"my_own": 77.0}, "task_inference": {"my_own": 78.0}}
    result = RunResult.of(record(final=final))
    assert ("by my own", "77.0", "%") in summary_table(result).rows
    assert criterion_table(result).rows == (("my own", Cell(78.0), Cell(77.0)),)


def runs():
    made = []
    for method, values in (("a", (99.0, 98.0, 98.5)), ("b", (97.0, 99.5, 95.0))):
        for seed, value in enumerate(values):
            final = {"accuracy_task_given": value, "nll": 1 - value / 100, "ood_auroc": 90.0}
            made.append(RunResult.of(record(method=method, seed=seed, final=final)))
    return made


def test_comparison_is_mean_and_deviation_over_seeds():
    table = comparison_table(runs())
    assert [c.name for c in table.columns] == ["method", "runs", "task given", "NLL", "OOD AUROC", "time per task"]
    first, second = table.rows
    assert first[:2] == ("a", "3")
    assert first[2].value == pytest.approx(98.5)
    assert first[2].std == pytest.approx(statistics.stdev([99.0, 98.0, 98.5]))
    assert (first[2].best, second[2].best) == (True, False)
    assert (first[3].best, second[3].best) == (True, False)
    assert (first[4].best, second[4].best) == (False, False)
    assert (first[5].best, second[5].best) == (False, False)
    assert "seeds 0, 1, 2" in table.note
    assert comparison_table(runs()[:1]).rows[0][2] == Cell(99.0)
    by_seed = comparison_table(runs(), lambda r: f"{r.method}{r.seed}")
    assert [row[0] for row in by_seed.rows] == ["a0", "a1", "a2", "b0", "b1", "b2"]


def test_comparison_refuses_what_cannot_be_compared():
    with pytest.raises(ValueError, match="at least one run"):
        comparison_table([])
    with pytest.raises(ValueError, match=r"modes2d, split-digits.*one data set at a time"):
        comparison_table([*runs(), RunResult.of(record(data="modes2d"))])
    first, second = comparison_tables([*runs(), RunResult.of(record(data="modes2d"))])
    assert (len(first.rows), second.title) == (2, "modes2d, 2 tasks")
    chosen = RunResult.of(record(judged_on="validation"))
    with pytest.raises(ValueError, match=r"runs judged alike.*one split at a time"):
        comparison_table([*runs(), chosen])
    titles = [table.title for table in comparison_tables([*runs(), chosen])]
    assert titles == [first.title, f"{first.title}, judged on validation examples"]


def test_accounts_compare_with_joint_runs_of_the_same_seed():
    made = []
    for method, values in (("joint", (90.0, 94.0)), ("ours", (80.0, 87.0))):
        for seed, value in enumerate(values):
            final = {
                "scenario": "class",
                "last_accuracy": value,
                "examples_stored": 5 * seed,
                "bytes_stored": 2_500_000,
            }
            made.append(RunResult.of(record(method=method, seed=seed, final={**final, "beta": None})))
    table = account_table(made)
    names = ["method", "scenario", "last, all classes", "joint minus this", "examples stored", "stored"]
    assert [c.name for c in table.columns] == names
    joint, ours = table.rows
    assert joint[:2] == ("joint", "class")
    assert (joint[3].value, ours[3].value) == (0.0, pytest.approx(8.5))
    assert ours[3].std == pytest.approx(statistics.stdev([10.0, 7.0]))
    assert (joint[2].best, ours[2].best, ours[5].value) == (True, False, 2.5)
    other = RunResult.of(record(method="ours", seed=0, settings={"data_options.num_tasks": "3"}, final=made[2].final))
    assert [row[3].value for row in account_table([*made, other]).rows] == [0.0, pytest.approx(8.5), None]
    assert [c.name for c in account_table(made[2:]).columns] == [n for n in names if n != "joint minus this"]
    assert [t.title for t in comparison_tables(made)][1] == table.title


def test_comparison_leaves_out_what_clutters_it():
    final = {
        "accuracy_task_given": 99.0,
        "accuracy_task_inferred": dict.fromkeys(("entropy", "agreement", "combined"), 90.0),
    }
    result = RunResult.of(record(final={**final, "brier": 0.1, "drift": 0.0}))
    names = [c.name for c in comparison_table([result]).columns]
    assert names == ["method", "runs", "task given", "by entropy", "combined", "time per task"]
