"""The page "Intervals of the KL" from what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from bayeshnet.reports import Column, Table, write_text

__all__ = ["write_page"]

PAGE = """.. This page is written by benchmarks/intervals.py. Do not edit it: run the script.

Intervals of the KL
===================

.. code-block:: console

   $ python benchmarks/intervals.py --cases {asked} --itself {itself} --sizes{sizes} --rst docs/results/intervals.rst

What :func:`~bayeshnet.estimators.kl_interval`, on which ``diagnose`` is built, says about posteriors whose KL is
known from elsewhere. *Trusted* counts the verdicts; *inside*, *width*, and *worst* (the largest distance of the value
from the truth beyond the error of the truth, in nats) are over trusted ones. The interval counts as containing a truth
if it contains a value within the truth's own error: its standard error, and half of what is between its two sides.

Random hypernetworks
--------------------

Seeds 0 to {last}: one to three hidden layers, gains 0.3 to 4, 1 to 16 latents, 2 to 1,000 weights, noise 1e-3 to 1,
given in single precision, prior standard normal. Truths by plain torch: integrals on grids, or importance sampling
around modes from both sides. {left_out} of {asked} were left out, as their truth is uncertain by more than 0.1 nats:
these have many modes, or modes far from Gaussian, so the rest is easier than all. The median error of the truths of
the others is {error:.3f}.

{random}

Left out above, few coordinates
-------------------------------

Some of those left out, whose weights have at most nine coordinates (as many as weights, or units of the last hidden
layer), and whose entropy by distances between 65,536 draws is certain to 0.1 nats. They have as many latents as
coordinates or more: whole surfaces of latents give nearly the same weights, which no list of modes covers.

{neighbors}

Other maps
----------

Linear maps that the library does not know to be linear; independent weights ``abs(z)`` and ``cos(z)`` at noise 0.05,
with two or more latents for each weight, so 2^n modes and more; and hypernetwork posteriors of the random ones above
as priors of themselves, where the KL is 0.

{others}

The longest took {longest:.0f} s, the median {median:.1f} s, on one thread of a shared processor.
"""


class Judged(Protocol):
    """An interval beside the truth."""

    group: str
    latents: int
    error: float
    lower: float
    upper: float
    trusted: bool
    inside: bool
    miss: float
    seconds: float


def _row(name: str, cases: Sequence[Judged]) -> tuple[str, ...]:
    good = [case for case in cases if case.trusted]
    if not good:
        return name, str(len(cases)), "0", "-", "-", "-"
    return (
        name,
        str(len(cases)),
        str(len(good)),
        f"{sum(case.inside for case in good)} ({sum(case.inside for case in good) / len(good):.0%})",
        f"{statistics.median(case.upper - case.lower for case in good):.2f}",
        f"{max(case.miss for case in good):.2f}",
    )


def _table(title: str, groups: Mapping[str, Sequence[Judged]]) -> str:
    names = ("posteriors", "number", "trusted", "inside", "median width", "worst")
    rows = tuple(_row(name, cases) for name, cases in groups.items() if cases)
    return Table(title, tuple(Column(name) for name in names), rows).rst().strip()


def write_page(path: Path, cases: Mapping[str, Sequence[Judged]], left_out: int) -> None:
    """Write the page to ``path`` from cases by study."""
    random = cases["random"]
    groups = {"all": random}
    for name in dict.fromkeys(case.group for case in random):
        groups[name] = [case for case in random if case.group == name]
    for low, high in ((1, 2), (3, 6), (7, 11), (12, 16)):
        groups[f"{low} to {high} latents"] = [case for case in random if low <= case.latents <= high]
    few = cases["neighbors"]
    hard = {"all": few} | {
        f"{name}, n = {latents}": [c for c in few if (c.group, c.latents) == (name, latents)]
        for name, latents in dict.fromkeys((c.group, c.latents) for c in few)
    }
    others = {"linear": cases["linear"]}
    for case in cases["folds"]:
        others[f"{case.group}, n = {case.latents}"] = [case]
    others["KL to itself"] = cases["itself"]
    everything = [case for part in cases.values() for case in part]
    asked = len(random) + left_out
    page = PAGE.format(
        asked=asked,
        itself=len(cases["itself"]),
        sizes="".join(f" {n}" for n in sorted({case.latents for case in cases["folds"]})),
        last=asked - 1,
        left_out=left_out,
        error=statistics.median(case.error for case in random),
        random=_table("Random hypernetworks", groups),
        neighbors=_table("Few coordinates", hard),
        others=_table("Other maps", others),
        longest=max(case.seconds for case in everything),
        median=statistics.median(case.seconds for case in everything),
    )
    write_text(path, page)
