"""The page "Which estimator?", written from the measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = ["write_page"]

TOP = """\
.. This page is written by benchmarks/estimators.py. Do not edit it: run the script.

Which estimator?
================

.. math::

   \\mathrm{KL}(q \\,\\|\\, p)
   = \\mathbb{E}_z \\mathrm{KL}\\big(\\mathcal{N}(h(z), \\sigma^2 I) \\,\\|\\, p\\big) - I(w; z)

:class:`~bayeshnet.estimators.Auto` chooses by this table, but for audits and comparisons, and reports its choice with
the reason. Where it knows only draws, of up to 50 weights, it takes SSGE, which has a gradient and no value.

.. list-table::
   :header-rows: 1
   :widths: 40 60

   * - posterior
     - estimator
   * - Gaussian of any structure, radial, or linear hypernetwork; Gaussian prior
     - :class:`~bayeshnet.estimators.ClosedForm`
   * - Gaussian or radial; another prior
     - :class:`~bayeshnet.estimators.MonteCarlo`
   * - hypernetwork with independent noise
     - :class:`~bayeshnet.estimators.LIVI`, for training and for values
   * - the same, as an audit
     - :class:`~bayeshnet.estimators.ImportanceSandwich`, or ``diagnose(q, p)``
   * - hypernetwork with shared noise
     - :class:`~bayeshnet.estimators.ChangeOfVariables`
   * - hundreds of latents, no linear head, Jacobians too large for memory
     - :class:`~bayeshnet.estimators.StochasticLIVI`
   * - comparison with published work
     - :class:`~bayeshnet.estimators.SSGE` (median width), :class:`~bayeshnet.estimators.AVB`,
       :class:`~bayeshnet.estimators.SIVI`
   * - only samples of both sides
     - :class:`~bayeshnet.estimators.AVB` without contrast, :class:`~bayeshnet.estimators.KernelRatio`,
       :class:`~bayeshnet.estimators.NearestNeighbor`: a few dimensions

"""


def write_page(
    path: Path,
    header: Sequence[str],
    tables: Sequence[tuple[str, list[list[str]]]],
    guarantees: Sequence[tuple[str, str, str]],
    failures: Sequence[tuple[str, str, str]],
    settings: dict[str, Any],
) -> None:
    """Write the page to ``path``."""
    parts = [TOP, _title("Cost and accuracy"), _settings(settings)]
    for name, lines in tables:
        parts += [f".. list-table:: {name}\n   :header-rows: 1\n\n", _rows([list(header), *lines]), "\n"]
    if guarantees:
        parts += [_title("Guarantees"), ".. list-table::\n   :header-rows: 1\n\n"]
        parts += [_rows([["guarantee", "measured", "met"], *[list(row) for row in guarantees]]), "\n"]
    parts += [_title("Known failures")]
    parts += [".. list-table::\n   :header-rows: 1\n\n"]
    parts += [_rows([["case", "observation", "remedy"], *[list(row) for row in failures]])]
    path.write_text("".join(parts))


def _title(text: str) -> str:
    return f"{text}\n{'-' * len(text)}\n\n"


def _rows(rows: list[list[str]]) -> str:
    out = []
    for row in rows:
        out += [f"   {'*' if i == 0 else ' '} - {cell}".rstrip() + "\n" for i, cell in enumerate(row)]
    return "".join(out)


def _settings(given: dict[str, Any]) -> str:
    version = torch.__version__.split("+")[0]
    return (
        f"Hypernetworks of n = {given['n']} latents, linear or with tanh layers of 32 and H = {given['H']} units, "
        f"sigma = {given['sigma']}, prior N(0, I), float32, CPU time of one thread, torch {version}. A line is one KL "
        f"gradient with respect to all parameters of the hypernetwork, M = {given['M']} latents for LIVI and as many "
        "samples for the kernel methods. *In draws* is the time over that of one weight vector, forward and backward; "
        "*faster than full Jacobians* compares LIVI through the head with the same estimate through Jacobians of the "
        "whole map, in the same run. *Peak* is memory beyond parameters and their gradients, in units of a vector of "
        "weights, where there are enough weights to measure it. *Cosine* is to the exact gradient (linear), or to that "
        "of 10,000 latents (tanh). The *error* of one estimate includes the sampling error of its draws. Times differ "
        "between machines and hours; compare within a table.\n\n"
    )
