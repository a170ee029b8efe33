"""Criteria of task inference side by side: one trained run per seed, judged by each criterion, as a page.

``python benchmarks/criteria.py RUNS PAGE`` reads the folders of runs in ``RUNS`` and writes the page. The runs are
those of the commands on the page.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from bayeshnet.continual import CRITERIA
from bayeshnet.reports import Cell, Column, RunResult, Table, load_results, write_text

TOP = """.. This page is written by benchmarks/criteria.py. Do not edit it: run the script.

Criteria of task inference
==========================

Each row is one set of trained runs, whose predictions are judged by every criterion; nothing was trained anew for one
of them, and no example is stored. Made by

.. code-block:: console

   $ bayeshnet run --data split-digits --data-options.data_seed 0
   $ bayeshnet run --data split-fashion-mnist --data-dir FOLDER --data-options.data_seed 0
   $ python benchmarks/criteria.py RUNS docs/results/criteria.rst

"""
NOTES = """
*chance* is the accuracy with the task given, with a task drawn at random. ``entropy`` to ``superposition``,
``max_logit`` and ``energy`` are uncertainty and logits of the weight posteriors alone. ``logit_variance`` is the
uncertainty of a Bayesian last layer of each task over a frozen trunk, whatever the targets: pixels of the digits,
brightness and edges of Fashion-MNIST. ``uncertainty`` is this and the entropy: no density enters it. ``evidence``,
``mahalanobis`` and ``vim`` stand on pixels of the digits, and of Fashion-MNIST on 20 patch filters with a grid of 4,
fitted to the images of the first task.

These features, and the prior of the last layer, were chosen on training images that were held out, of Split
Fashion-MNIST with another order of classes, so that its tasks were other pairs: 1,500 images of each class to learn and
200 to judge. That ``uncertainty`` is worth having, and the narrow prior of the entropy's weight beside a density, were
seen on images of the reported tasks that were set aside in training, when the test figures of the other criteria were
known.
"""


def criteria_table(results: Sequence[RunResult], key: str, title: str) -> Table:
    """Return a table with a row for each stream and a column for each criterion.

    Args:
        results: results of runs.
        key: a number by criterion in their final section.
        title: of the table.
    """
    names = [name for name in CRITERIA if any(name in r.final[key] for r in results)]
    rows = []
    for data in dict.fromkeys(result.data for result in results):
        runs = [result for result in results if result.data == data]
        given = mean(r.final["accuracy_task_given"] for r in runs)
        values = [[r.final[key][name] for r in runs if name in r.final[key]] for name in names]
        chance = (given if key == "accuracy_task_inferred" else 100) / len(runs[0].tasks)
        rows.append((data, str(len(runs)), Cell(given), Cell(chance), *map(_cell, values)))
    columns = [Column(name.replace("_", " "), "%") for name in ("task given", "chance", *names)]
    return Table(title, (Column("stream"), Column("runs"), *columns), tuple(rows))


def combination_table(results: Sequence[RunResult]) -> Table:
    """Return a table of what the combined score is made of in each run."""
    rows = []
    for result in results:
        found = result.final.get("combination")
        if found:
            kind = "one covariance" if found["tied"] else "per task"
            keys = ("evidence_weight", "entropy_weight", "log_tied", "log_per_task")
            probs = [result.final.get(name) for name in ("nll_all_classes", "ece_all_classes")]
            rows.append((result.data, str(result.seed), kind, *(Cell(found[key]) for key in keys), *map(Cell, probs)))
    heads = (Column("weight of evidence", "", 3), Column("weight of entropy", "", 3))
    evidence = (Column("log evidence, one covariance", "nats", 1), Column("log evidence, per task", "nats", 1))
    probs = (Column("NLL, all classes", "nats", 3), Column("ECE, all classes", "%"))
    first = (Column("stream"), Column("seed"), Column("densities"))
    return Table("Densities that were chosen", (*first, *heads, *evidence, *probs), tuple(rows))


def page(results: Sequence[RunResult], extra: str = "") -> str:
    """Return the page in reStructuredText."""
    tables = [
        criteria_table(results, "accuracy_task_inferred", "Accuracy, task inferred by"),
        criteria_table(results, "task_inference", "Tasks inferred by"),
        combination_table(results),
    ]
    return TOP + "\n\n".join(table.rst() for table in tables) + "\n" + NOTES + extra


def _cell(values: Sequence[float]) -> Cell:
    if not values:
        return Cell(None)
    return Cell(mean(values), stdev(values) if len(values) > 1 else None)


def main() -> None:
    """Read the runs and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder with folders of runs")
    parser.add_argument("page", type=Path, help="page to write")
    options = parser.parse_args()
    folders = sorted(path.parent for path in options.runs.glob("*/metrics.json"))
    if not folders:
        parser.error(f"no finished run in {shlex.quote(str(options.runs))}")
    write_text(options.page, page(load_results(folders)))


if __name__ == "__main__":
    main()
