"""The page of exact streams, from the files of three other scripts.

Usage: ``python benchmarks/exact_stream_page.py RESULTS.jsonl BATCHES.json BOTH.jsonl docs/results/exact-stream.rst
[RUN/metrics.json]``. They are those of ``exact_stream.py``, ``exact_batches.py`` and ``exact_and_variational.py``, and
of a run of the default.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

NAMES = {
    "patches": "150 patch filters, linear head",
    "compact": "20 patch filters, linear head",
    "compact-gaussian": "20 patch filters, Gaussian classes",
    "fourier": "2,000 Fourier features, linear head",
    "pixels": "pixels, linear head",
    "pixels-gaussian": "pixels, Gaussian classes (LDA)",
    "digits": "digits: 120 patch filters, linear head",
}
COLUMNS = {
    "accuracy": ("all classes [%]", 2),
    "incremental": ("average incremental [%]", 2),
    "task_given": ("task given [%]", 2),
    "task_accuracy": ("task [%]", 2),
    "nll": ("NLL [nats]", 3),
    "brier": ("Brier", 3),
    "ece": ("ECE [%]", 2),
}
COSTS = ("class", "0", "{megabytes}", "0", "1", r"\-", "0", "{cpu_seconds}")
COST_HEADER = (
    "scenario",
    "examples stored",
    "stored [MB]",
    "gradient steps",
    "passes",
    "beta",
    "joint minus continual [points]",
    "CPU time [s]",
)
TOP = """.. This page is written by benchmarks/exact_stream_page.py. Do not edit it: run the script.

Exact streams
=============

:class:`~bayeshnet.continual.ExactStream` learns sums over examples, in closed form. Made by

.. code-block:: console

   $ python benchmarks/exact_stream.py DATA_DIR results.jsonl
   $ python benchmarks/exact_stream.py DATA_DIR results.jsonl --orders 1 --seeds 5 --settings patches
   $ python benchmarks/exact_batches.py batches.json
   $ python benchmarks/exact_and_variational.py DATA_DIR both.jsonl
   $ bayeshnet run --data split-fashion-mnist --data-dir DATA_DIR --output run
   $ python benchmarks/exact_stream_page.py results.jsonl batches.json both.jsonl docs/results/exact-stream.rst \\
   >     run/metrics.json

"""
FASHION = """Split Fashion-MNIST
-------------------

Five tasks of two classes with all 12,000 training images each; the task of a test image is unknown. One pass, no
gradient step, no example stored. Filters and the scale of features are those of the first task. Prior and noise are
chosen by evidence, the temperature of probabilities by training examples that are left out of the fit. The default of
``bayeshnet run --data split-fashion-mnist`` has 150 filters.

The features were chosen on training images of all classes, held out of others, in an order of the classes that is not
among those below: on more than the examples of the first task, but on no test image. Among sixteen variants, judged on
6,000 images by a head that had learned 24,000, averages over mirror images were worth 0.3 points of accuracy and 0.009
nats, patches of three sizes in place of one 0.4 points and 0.006 nats, half as many filters again 0.5 points and 0.014
nats. No gain was in a higher threshold, in cube roots, and in a random rectified layer on top of as many features.
Later, with 99 filters, 16,000 images learned and 10,000 to judge by, patches divided by their contrast were worth 0.6
points and 0.015 nats. No gain was in features of length one (0.003 nats worse), in logarithms for roots (0.003 worse),
and beside the contrast in centers of clusters for patches (none), a higher threshold (0.004 worse), more of the
contrast's constant (0.5 for 0.2: 0.005 worse) or five sizes for three (none). The form of the probabilities
(deviations from one half) was chosen among some fifteen, on 5,000 held-out training images.

"""
NOTES = """
Mean and standard deviation over class orders, where there is more than one. Probabilities, and their scores, are those
over all ten classes, after the last task; the average incremental accuracy is the mean over tasks of that over the
classes so far. The sums do not depend on the order of the examples, so that the head after all tasks is that of one
fit to the data of all: what joint training would add is 0, but for rounding. There is no temperature of a divergence.
What is stored is the features and the sums of the head, without the densities of the inputs. The processor time is
that of learning and of one prediction of all test images, on a machine that others used as well. The accuracy with the
task given depends on which classes share one: with 150 filters it is {least:.1f} % in the order where shirt and T-shirt
do, and pullover and coat, and at least {others:.1f} % in the others.

"""
SEEDS = """In the usual order of the classes, over {count} seeds of the filters: {accuracy} % of all classes,
{task_given} % with the task given, NLL {nll} nats, Brier {brier}, ECE {ece} %.

"""
RUN = """A run of that default, with its assessments after each task, checks and figures, took 178 s on two cores with
nothing else to do, and 333 s of processor time. In it the entropy alone, without the
probability of a task, finds {entropy:.1f} % of the classes. Of the test images {false_alarm:.1f} % are refused where
{asked:.0f} % were asked for, and of each kind of foreign images {least:.1f} to {most:.1f} %.

"""
DIGITS = """Split digits
------------

Scikit-learn's digits as five tasks of two classes, {examples} training images in all. A seed draws the order of the
classes and the division into training and test images. The setting is that of ``bayeshnet run --data split-digits
--method exact-stream``. It was chosen among nineteen by training images of one division that are left out of the fit,
in three orders that are not among those below; other divisions have some of these images in their test sets. Cells of a
grid of 2 in place of 3 were worth 0.007 nats and 0.3 points, a threshold of 0.1 with the contrast 0.0016 nats.

"""
BOTH = """Weights that are unknown
------------------------

Does a posterior of weights add anything to the exact head? {examples:,} training images of each task, few, so that
weights are unknown; on the 640 features of 20 patch filters, without contrast, each task has a linear layer with a
posterior at temperature 1, by itself (a point, mean field) or generated for all tasks (hypernetwork). The exact head
says which task it is, :math:`p(t \\mid x)`, the layer which of its classes. *Alone* is the accuracy where the entropy
of the layers says the task. Joint predictions are of ten labels together, under {draws} draws of the weights, and
under their mean, for :func:`~bayeshnet.metrics.joint_nll`. Foreign inputs are those of the stream: detection by the
entropy of all ten classes, and by what comes from unknown weights (of the exact head the leverage, of the others the
mutual information).

"""
BOTH_NAMES = {
    "exact": "the exact head alone",
    "point": "exact task, point",
    "mean-field": "exact task, mean field",
    "hypernetwork": "exact task, hypernetwork",
}
BOTH_COLUMNS = {
    "accuracy": ("all classes [%]", 2),
    "task_given": ("task given [%]", 2),
    "accuracy_alone": ("alone [%]", 1),
    "nll": ("NLL [nats]", 3),
    "ece": ("ECE [%]", 2),
    "joint_nll": ("joint NLL [nats]", 2),
    "joint_nll_of_means": ("of means [nats]", 2),
    "foreign_entropy": ("AUROC, entropy [%]", 1),
    "foreign_epistemic": ("AUROC, weights [%]", 1),
}
VERDICT = """
The best layer of each column differs from the exact head by {accuracy:+.2f} points of accuracy, {task_given:+.2f} with
the task given, {nll:+.3f} nats of NLL, {ece:+.2f} points of ECE, {joint_nll:+.2f} nats of joint NLL, and in detection
by {foreign_entropy:+.1f} points of AUROC by entropy and {foreign_epistemic:+.1f} by unknown weights: one order of the
classes, so that small differences may be chance. Over all classes, where the task decides, a posterior of weights has
nothing to add to the exact head; the point and mean field are behind it everywhere but in detection by entropy. The
hypernetwork's posterior is a little better within tasks, in their probabilities, and in what entropy tells of foreign
inputs. The exact head has a posterior of weights itself, in closed form: its draws predict jointly best, and its
leverage detects foreign inputs best. So the recommendation on frozen features is the exact head alone, at a small part
of the cost; a hypernetwork beside it where the probabilities within tasks matter.

"""
NO_DRAWS = ("point", "foreign_epistemic")
LOWER = ("nll", "ece", "joint_nll")
BATCHES = """Batches without tasks
---------------------

100,000 examples of twenty classes, which come one class after the other, in batches of 10 after a first one of 1,000:
processor time and memory for each tenth of the stream.

"""


def cell(values, digits):
    """Return mean and deviation as text."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def table(title, header, rows):
    """Return a table as the pages have them."""
    lines = [f".. csv-table:: {title}", "   :header: " + ", ".join(f'"{name}"' for name in header), ""]
    return "\n".join([*lines, *("   " + ", ".join(f'"{value}"' for value in row) for row in rows), ""])


def scores(title, settings, rows):
    """Return tables of the scores and of the costs of some settings."""
    body, costs = [], []
    for setting in settings:
        own = [row for row in rows if row["setting"] == setting]
        if own:
            found = [cell([row[key] for row in own], digits) for key, (_, digits) in COLUMNS.items()]
            body.append([NAMES[setting], len(own), *found])
            known = {"megabytes": f"{own[0]['megabytes']:.2f}", "cpu_seconds": cell([r["cpu_seconds"] for r in own], 0)}
            costs.append([NAMES[setting], *(value.format(**known) for value in COSTS)])
    if not body:
        return ""
    header = ["features", "orders", *(t for t, _ in COLUMNS.values())]
    return table(title, header, body) + "\n" + table(f"costs, {title}", ["features", *COST_HEADER], costs)


def seeds(rows):
    """Return what several seeds of the features give in the usual order of the classes."""
    own = [row for row in rows if row["setting"] == "patches" and row["order"] == 0]
    found = {key: cell([row[key] for row in own], digits) for key, (_, digits) in COLUMNS.items()}
    return SEEDS.format(count=len(own), **found) if len(own) > 1 else ""


def run(path):
    """Return what a run says beside the tables, from its ``metrics.json``."""
    known = json.loads(Path(path).read_text())
    combined, entropy = known["abstention"]["combined"], known["final"]["accuracy_task_inferred"]["entropy"]
    refused, asked = combined["refused"].values(), known["abstention"]["asked"]
    rates = {"false_alarm": combined["false_alarm"], "asked": asked, "least": min(refused), "most": max(refused)}
    return RUN.format(entropy=entropy, **rates)


def weights(both):
    """Return the section of posteriors of weights beside the exact head, for the fewest examples."""
    fewest = min((row["examples"] for row in both), default=0)
    body = []
    for name, title in BOTH_NAMES.items():
        own = [row for row in both if row["row"] == name and row["examples"] == fewest]
        if own:
            found = ([row[key] for row in own if key in row and (name, key) != NO_DRAWS] for key in BOTH_COLUMNS)
            digits = (digits for _, digits in BOTH_COLUMNS.values())
            body.append([title, *(cell(v, d) if v else r"\-" for v, d in zip(found, digits, strict=True))])
    header = ["posterior", *(title for title, _ in BOTH_COLUMNS.values())]
    exact = [row for row in both if row["row"] == "exact" and row["examples"] == fewest]
    others = [row for row in both if row["row"] != "exact" and row["examples"] == fewest]
    if not exact or not others:
        return ""
    best = {
        key: (min if key in LOWER else max)(row[key] for row in others) - exact[0][key]
        for key in exact[0]
        if key in BOTH_COLUMNS
    }
    text = BOTH.format(examples=fewest, draws=100) + table("split-fashion-mnist", header, body)
    return text + VERDICT.format(**best)


def main():
    """Write the page."""
    lines = Path(sys.argv[1]).read_text().splitlines() if Path(sys.argv[1]).exists() else []
    known = {(row["setting"], row["order"], row.get("seed", 0)): row for row in map(json.loads, lines)}
    rows = [row for (_, _, seed), row in known.items() if seed == 0]
    batches = json.loads(Path(sys.argv[2]).read_text())
    both = [json.loads(line) for line in Path(sys.argv[3]).read_text().splitlines()]
    first = scores("split-fashion-mnist, 5 tasks", [name for name in NAMES if name != "digits"], rows)
    small = scores("split-digits, 5 tasks", ["digits"], rows)
    tenths = zip(batches["milliseconds"], batches["mean_milliseconds"], batches["megabytes"], strict=True)
    second = table(
        "a stream in batches of 10",
        ["tenth", "median [ms]", "mean [ms]", "stored [MB]"],
        [[i, f"{median:.2f}", f"{mean:.2f}", f"{size:.3f}"] for i, (median, mean, size) in enumerate(tenths, 1)],
    )
    end = f"""
The mean holds the fits by which the temperature is looked at whenever the examples are a quarter more. Predictive means
differ from those after one batch of all by at most {batches["difference"]:.1e}, and {batches["agreement"]:.2f} % of the
classes agree. The inverse temperatures, which depend on the examples that are left out, are {batches["beta"][0]:.2f}
and {batches["beta"][1]:.2f}.
"""
    given = sorted(row["task_given"] for row in rows if row["setting"] == "patches")
    notes = NOTES.format(least=given[0], others=given[min(1, len(given) - 1)]) if given else ""
    notes += seeds(list(known.values()))
    fashion = FASHION + first + notes + (run(sys.argv[5]) if len(sys.argv) > 5 else "") if first else ""
    digits = DIGITS.format(examples="1,347") + small + "\n" if small else ""
    Path(sys.argv[4]).write_text(TOP + fashion + digits + weights(both) + BATCHES + second + end, encoding="utf-8")


if __name__ == "__main__":
    main()
