"""The page "Posteriors with known answers" from what was measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["write_page"]

TOP = """\
.. This page is written by benchmarks/posteriors.py. Do not edit it: run the script.

Posteriors with known answers
=============================

"""
SETTINGS = """\
{seconds:g} s of processor time for each guide and posterior, one thread, one seed, {particles} draws a step; {machine}.
Known are exact draws of a funnel (:math:`v \\sim N(0, 1),\\ x \\sim N(0, e^v)`), a banana and two modes as on the page
:doc:`auto-hypernet`; of eight schools (Rubin, 1981) by a grid for mean and spread; and of two moons and SLCP by the
reference draws that the package sbibm ships. Guides are in their default settings. Pyro's guides get Pyro's learned
centring on the centered schools and on the funnel, where ``AutoHypernet`` learns its own. On posteriors of several
modes every guide begins hot, at thirty times the temperature; *components* is ``AutoHypernet`` with four components, on
SLCP eight. *resampled* draws are those of ``guide.resample``.

"""
TABLES: tuple[tuple[str, str, Callable[[dict[str, Any]], str]], ...] = (
    (
        "Sliced Wasserstein distance to exact draws; the floor is that between two exact sets.",
        "wasserstein",
        lambda found: f"{found['wasserstein']:.3f}",
    ),
    (
        "Accuracy of a small network that tells draws from exact ones (C2ST): 0.5 is perfect, 1 a miss.",
        "c2st",
        lambda found: f"{found['c2st']:.2f}",
    ),
    (
        "Largest error of a mean in standard deviations of the reference, and smallest and largest ratio of standard "
        "deviations, over all unknowns, log-scales included.",
        "moments",
        lambda found: f"{found['mean']:.2f}; {found['std'][0]:.2f}-{found['std'][1]:.2f}",
    ),
    (
        "Largest error of the share of a mode.",
        "modes",
        lambda found: f"{found['modes']:.3f}" if "modes" in found else "",
    ),
    (
        "k-hat of the guide's importance weights and, in brackets, the effective share of its draws.",
        "k-hat",
        lambda found: f"{found['k_hat']:.2f} ({100 * found['effective']:.0f} %)" if "k_hat" in found else "",
    ),
)


def _rows(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Results by row of a table and by posterior."""
    rows: dict[str, dict[str, Any]] = {}
    for target, found in results.items():
        for name, values in found.items():
            rows.setdefault(name, {})[target] = values
            if "resampled" in values:
                rows.setdefault(f"{name}, resampled", {})[target] = values["resampled"]
    order = [
        "AutoHypernet",
        "AutoHypernet, resampled",
        "AutoHypernet, components",
        "AutoHypernet, components, resampled",
    ]
    return {name: rows[name] for name in [*order, *(n for n in rows if n not in order)] if name in rows}


def _table(results: dict[str, Any], show: Callable[[dict[str, Any]], str]) -> list[str]:
    """One table, without rows and columns that are empty."""
    cells = {
        name: {target: show(found[target]) if target in found else "" for target in results}
        for name, found in _rows(results).items()
    }
    columns = [target for target in results if any(row[target] for row in cells.values())]
    lines = [".. list-table::", "   :header-rows: 1", "", "   * -", *(f"     - {target}" for target in columns)]
    for name, row in cells.items():
        if any(row[target] for target in columns):
            lines += [f"   * - {name}", *(f"     - {row[target]}".rstrip() for target in columns)]
    return lines


def write_page(path: Path, results: dict[str, Any], seconds: float, particles: int, machine: str) -> None:
    """Write the page."""
    text = TOP + SETTINGS.format(seconds=seconds, particles=particles, machine=machine)
    for caption, _, show in TABLES:
        text += caption + "\n\n" + "\n".join(_table(results, show)) + "\n\n"
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
