"""Cost of a step and memory over fifty tasks: python benchmarks/many_tasks.py [--tasks 50] [--docs docs].

Digits with permuted pixels, the default posterior replay: one hypernetwork with an embedding for each task, and two old
tasks regularized in each step. Times are of the process, on one thread, in the median over the steps of a task. With
--docs the page docs/results/many-tasks.rst and its figure are written.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from bayeshnet.builders import ImplicitGenerator, MLPNetwork
from bayeshnet.continual import LearnerState, OutputRegularizer, PatchOutliers, PosteriorReplay, Training
from bayeshnet.data import permuted_digits
from bayeshnet.estimators import LIVI
from bayeshnet.inference import Callback
from bayeshnet.reports.style import new_figure, save_figure, styled
from bayeshnet.tasks import TaskStream

PAGE = """\
.. This page is written by benchmarks/many_tasks.py. Do not edit it: run the script.

Many tasks
==========

Cost of a training step and memory while the number of tasks grows: the ten digits with another order of the pixels
in each of {tasks} tasks, {steps} steps for each, one hypernetwork for all. Old tasks are regularized two at a time
(``OutputRegularizer(max_tasks=2)``), so that a step does not depend on how many there are; with ``max_tasks=None``
all of them take part. Times are CPU time of the process on one thread, medians over the steps of a task. *State*
counts the parameters and buffers that a checkpoint holds; each task adds an embedding and the density of its inputs.

.. image:: many-tasks.png
   :alt: Milliseconds per step and memory over the number of tasks.

{table}
In the median of the last five tasks a step takes {ratio:.2f} times as long as in that of tasks 2 to 6 (with all old
tasks {all_ratio:.2f} times). From task 2 to task {tasks} the process grows by {growth:.0f} MB.
"""


class Clock(Callback):
    """CPU time after each step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step(self, run: Any) -> None:
        """Note the time."""
        self.times.append(time.process_time())


def learner_of(steps: int, max_tasks: int | None) -> PosteriorReplay:
    """Build the learner that ``bayeshnet run --data permuted-digits`` has."""
    return PosteriorReplay(
        MLPNetwork((32,), "gaussian"),
        ImplicitGenerator(latent_size=8, embedding_size=16, hidden_layers=(32,), activation="tanh", gain=3.0),
        regularizer=OutputRegularizer(8e-3, num_latents=2, max_tasks=max_tasks),
        estimator=LIVI(),
        outliers=PatchOutliers(0.1),
        training=Training(steps, batch_size=64, lr=2e-3, num_particles=8, num_samples=10, beta=0.1),
    )


def measure(stream: TaskStream, steps: int, max_tasks: int | None) -> list[dict[str, float]]:
    """Learn the tasks; return milliseconds per step, and megabytes of the state and of the process, after each."""
    learner, rows = learner_of(steps, max_tasks), []
    state: LearnerState | None = None
    for task in stream:
        clock = Clock()
        state = learner.learn(state, task, callbacks=[clock])
        each = [b - a for a, b in zip(clock.times, clock.times[1:], strict=False)]
        kept = [*state.parameters(), *state.buffers()]
        held = sum(tensor.numel() * tensor.element_size() for tensor in kept)
        rows.append({"ms": 1e3 * statistics.median(each), "state": held / 1e6, "process": resident()})
    return rows


def resident() -> float:
    """Megabytes of memory that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def ratio(rows: list[dict[str, float]]) -> float:
    """Milliseconds per step in the last five tasks over those in tasks 2 to 6, medians."""
    first, last = (statistics.median(row["ms"] for row in part) for part in (rows[1:6], rows[-5:]))
    return last / first


def write_page(docs: Path, rows: list[dict[str, float]], all_rows: list[dict[str, float]], steps: int) -> None:
    """Write the page and its figure."""
    shown = [t for t in (2, 5, 10, 20, 30, 40, 50) if t <= len(rows)]
    cells = [["task", "ms per step", "ms per step, all old tasks", "state (MB)", "process (MB)"]]
    for t in shown:
        row, other = rows[t - 1], all_rows[t - 1]
        cells.append([str(t), *(f"{v:.1f}" for v in (row["ms"], other["ms"])), f"{row['state']:.2f}"])
        cells[-1].append(f"{row['process']:.0f}")
    table = ".. list-table::\n   :header-rows: 1\n\n"
    table += "".join("   * - " + "\n     - ".join(row) + "\n" for row in cells)
    text = PAGE.format(
        tasks=len(rows),
        steps=steps,
        table=table,
        ratio=ratio(rows),
        all_ratio=ratio(all_rows),
        growth=rows[-1]["process"] - rows[1]["process"],
    )
    (docs / "results" / "many-tasks.rst").write_text(text, encoding="utf-8")
    draw(docs / "results" / "many-tasks.png", rows, all_rows)


@styled
def draw(path: Path, rows: list[dict[str, float]], all_rows: list[dict[str, float]]) -> None:
    """Draw milliseconds per step and memory over tasks."""
    figure, axes = new_figure(1, 2, size=(3.6, 2.6))
    numbers = range(2, len(rows) + 1)
    for part, label, dashes in ((rows, "two old tasks per step", "-"), (all_rows, "all old tasks", "--")):
        axes.flat[0].plot(numbers, [row["ms"] for row in part[1:]], dashes, label=label)
    axes.flat[0].set(xlabel="task", ylabel="ms per step", ylim=(0, None))
    axes.flat[0].legend()
    axes.flat[1].plot(numbers, [row["state"] for row in rows[1:]], label="state")
    axes.flat[1].plot(numbers, [row["process"] - rows[1]["process"] for row in rows[1:]], "--", label="process, growth")
    axes.flat[1].set(xlabel="task", ylabel="MB")
    axes.flat[1].legend()
    save_figure(figure, path)


def main() -> None:
    """Measure both settings, one after the other, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--steps", type=int, default=40, help="steps of each task")
    parser.add_argument("--docs", type=Path, help="folder of the documentation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    stream = permuted_digits(options.tasks)
    rows, all_rows = (measure(stream, options.steps, most) for most in (2, None))
    print(json.dumps({"two": rows, "all": all_rows}))
    if options.docs is not None:
        write_page(options.docs, rows, all_rows, options.steps)


if __name__ == "__main__":
    main()
