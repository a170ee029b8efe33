"""The page "Time of a training step" from what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from bayeshnet.reports import Column, Table, write_text

__all__ = ["write_page"]

PAGE = """.. This page is written by benchmarks/training_step.py. Do not edit it: run the script.

Time of a training step
=======================

.. code-block:: console

   $ pip install '.[parity]' -c constraints.txt
   $ python benchmarks/training_step.py --rst docs/results/training-step.rst

A complete step of posterior meta-replay (likelihood under all weight samples, KL, regularizer over old tasks,
optimizer) in eight published configurations, at task 2 and at the last one: CPU milliseconds on one thread, torch
{torch}, medians, all columns taking turns in one process; in brackets how many times the published step takes as
long. *Published* is a plain loop in the published manner (samples one by one, gradients of kernels as
three-dimensional arrays, gradients parameter by parameter) on networks of hypnettorch. *Library* is
:func:`~bayeshnet.inference.fit` with the estimator of the same name and all old tasks in the regularizer; *one old
task* draws one of them per step; *LIVI* takes the library's default estimator in place of SSGE and AVB; *local noise*
draws the noise of mean-field posteriors in pre-activations, as the published loop does for the regression and the
modes, but not for the split images. *Floor* is what the matrix products, the random numbers and the optimizer of the
library's step take alone: these operations, recorded in a step, are run again in turn with the rest; in brackets how
many times as long the step takes. Ratios change by a tenth from run to
run, and with what else the machine does, since small steps lose more than large ones: the geometric mean of the line
that chooses local noise was 4.2 in a run on a quiet machine, and 3.7 in another on a busy one.

Small steps are bound by calls, not by arithmetic: that of ``reg_bbb`` makes 244 of them, of 5 to 6 microseconds each.
Tried and left out, since neither takes a tenth off a whole step: a gradient of its own for the KL between independent
Gaussians (30 calls fewer, 36 microseconds of 1.4 milliseconds), and a list of the recorded calls of bound and gradient,
run again without autograd and the library's code (the bound alone is 0.9 to 1.3 times as fast, the whole step with its
regularizer is not). ``compile=True`` (:doc:`/devices`) shortens small steps, and has no column here. Wide steps are
bound by memory: where the allocator keeps what is freed (``MALLOC_TRIM_THRESHOLD_=4000000000
MALLOC_MMAP_THRESHOLD_=4000000000`` in the environment) those of ``split_bbb`` and ``gmm_avb`` are 0 to 14 % shorter.

{table}

{summary}
"""


def write_page(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], summary: Sequence[str]) -> None:
    """Write the page to ``path``."""
    units = {"published": "ms"}
    columns = tuple(Column(name, units.get(name, "" if i < 2 else "ms, ratio")) for i, name in enumerate(header))
    table = Table("CPU time per step", columns, tuple(tuple(cell or "-" for cell in row) for row in rows))
    lines = "\n".join(f"- {line}" for line in summary)
    write_text(path, PAGE.format(torch=torch.__version__.partition("+")[0], table=table.rst().strip(), summary=lines))
