"""The page of exact streams, from the files of ``exact_stream.py`` and ``exact_batches.py``.

Usage: ``python benchmarks/exact_stream_page.py RESULTS.jsonl BATCHES.json docs/results/exact-stream.rst``.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

NAMES = {
    "patches": "100 patch filters, linear head",
    "compact": "20 patch filters, linear head",
    "compact-gaussian": "20 patch filters, Gaussian classes",
    "fourier": "2,000 Fourier features, linear head",
    "pixels": "pixels, linear head",
    "pixels-gaussian": "pixels, Gaussian classes (LDA)",
}
COLUMNS = {
    "accuracy": ("all classes [%]", 2),
    "task_given": ("task given [%]", 2),
    "task_accuracy": ("task [%]", 2),
    "nll": ("NLL [nats]", 3),
    "brier": ("Brier", 3),
    "ece": ("ECE [%]", 2),
    "megabytes": ("stored [MB]", 2),
    "cpu_seconds": ("CPU time [s]", 0),
}
TOP = """.. This page is written by benchmarks/exact_stream_page.py. Do not edit it: run the script.

Exact streams
=============

:class:`~bayeshnet.continual.ExactStream` learns sums over examples, in closed form. Made by

.. code-block:: console

   $ python benchmarks/exact_stream.py DATA_DIR results.jsonl
   $ python benchmarks/exact_batches.py batches.json
   $ python benchmarks/exact_stream_page.py results.jsonl batches.json docs/results/exact-stream.rst

"""
FASHION = """Split Fashion-MNIST
-------------------

Five tasks of two classes with all 12,000 training images each; the task of a test image is unknown. One pass, no
gradient step, no example stored. Filters and the scale of features are those of the first task. Prior and noise are
chosen by evidence, the temperature of probabilities by training examples that are left out of the fit.

The features (grid of cells, root of averages) were chosen among nine variants, and the form of the probabilities
(deviations from one half) among some fifteen, on 5,000 training images of all classes, held out of 25,000: on more than
the examples of the first task. Test images chose nothing.

"""
NOTES = """
Mean and standard deviation over class orders, where there is more than one. Probabilities, and their scores, are those
over all ten classes. What is stored is the features and the sums of the head, without the densities of the inputs.

"""
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


def main():
    """Write the page."""
    lines = Path(sys.argv[1]).read_text().splitlines() if Path(sys.argv[1]).exists() else []
    rows = list({(row["setting"], row["order"]): row for row in map(json.loads, lines)}.values())
    batches = json.loads(Path(sys.argv[2]).read_text())
    body = []
    for setting, name in NAMES.items():
        own = [row for row in rows if row["setting"] == setting]
        if own:
            found = [cell([row[key] for row in own], digits) for key, (_, digits) in COLUMNS.items()]
            body.append([name, len(own), *found])
    first = table("split-fashion-mnist, 5 tasks", ["features", "orders", *(t for t, _ in COLUMNS.values())], body)
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
    fashion = FASHION + first + NOTES if body else ""
    Path(sys.argv[3]).write_text(TOP + fashion + BATCHES + second + end, encoding="utf-8")


if __name__ == "__main__":
    main()
