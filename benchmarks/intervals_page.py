"""The page "Intervals of the KL" from what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from intervals_cases import LATENTS

from bayeshnet.reports import Column, Table, write_text

__all__ = ["write_page"]

_UNCERTAIN = 0.1

PAGE = """.. This page is written by benchmarks/intervals.py. Do not edit it: run the script.

Intervals of the KL
===================

.. code-block:: console

   $ python benchmarks/intervals.py --cases {asked} --itself{itself} --sizes{sizes} --cosines {cosines} \\
      {left} --rst docs/results/intervals.rst

What :func:`~bayeshnet.estimators.kl_interval`, on which ``diagnose`` is built, says about posteriors whose KL is
known from elsewhere. *Trusted* counts the verdicts; *inside*, *width*, and *worst* (the largest distance of the value
from the truth beyond the error of the truth, in nats) are over trusted ones. The interval counts as containing a truth
if it contains a value within the truth's own error: its standard error, and half of what is between its two sides.

Random hypernetworks
--------------------

Seeds 0 to {last}: one to three hidden layers, gains 0.3 to 4, 1 to 16 latents, 2 to 1,000 weights, noise 1e-3 to 1,
given in single precision, prior standard normal. Truths by plain torch: integrals on grids, or importance sampling
around modes from both sides. {unjudged} of {asked} are not judged, as their truth is uncertain by more than 0.1 nats:
these have many modes, or modes far from Gaussian, so the rest is easier than all. The median error of the truths of
the others is {error:.3f}.

{random}

Trusted intervals that miss the truth: {misses}.

Truth uncertain
---------------

What is said of {looked} of the {unjudged} that are not judged, chosen by their truths alone: ten of an error of up to
0.4 nats, the first by seed, and four with few coordinates. Where the verdict is "not certified" nothing can be
missed. Where the weights have at most nine coordinates (as many as weights, or units of the last hidden layer), the
truth is by distances between 65,536 draws if that is more certain, and the interval is *inside* if it contains a value
within the error of the truth. The four have as many latents as coordinates or more: whole surfaces of latents give
nearly the same weights, which no list of modes covers.

{uncertain}

Folds
-----

Independent weights ``abs(z)`` and ``cos(z)`` at noise 0.05, with two or more latents for each weight, so 2^n modes and
more (truth: n times an integral over one weight), and random networks of twelve cosines of two latents at noise 0.1
(truth: an integral on a grid).

{folds}

Other maps
----------

Linear maps that the library does not know to be linear. {itself_text}

Where a KL is between two hypernetworks that end in one linear head each, ``at_least`` of
:class:`~bayeshnet.estimators.KLInterval` bounds it even where it is not certified. It sees what has moved across the
span of the prior's head, and nothing within.

{others}

Single precision
----------------

``diagnose`` of linear maps in single precision that the library does not know to be linear, from {latents} latents, at
singular values of the Jacobian of up to so many sigma, and conditions of the Jacobian; truth: the closed form of the
same rounded matrix in double precision. Of a *module* there is a copy in double precision, of a *function* there is
none. *Off* is the distance of the value from the truth in nats, over KLs of up to {largest_kl:.1e} nats. The least
information is {least:.2f} nats. {refused} of {singles} are refused, and {wrong} are off by more than half a nat.

{single}

Of all intervals the longest took {longest:.0f} s, the median {median:.1f} s, on one thread of a shared processor.
"""


class Judged(Protocol):
    """An interval beside the truth."""

    group: str
    latents: int
    truth: float
    error: float
    lower: float
    value: float
    upper: float
    trusted: bool
    inside: bool
    miss: float
    seconds: float


class Diagnosed(Protocol):
    """A diagnosis of a map in single precision, beside the truth."""

    kind: str
    num_weights: int
    largest: float
    condition: float
    truth: float
    value: float | None
    information: float | None


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


def _folds(cases: Sequence[Judged]) -> str:
    """Return the table of folds, one line for each case."""
    names = ("weights", "latents", "truth", "value", "interval", "verdict", "off")
    rows = [
        (
            case.group,
            str(case.latents),
            f"{case.truth:.3f}",
            f"{case.value:.3f}",
            f"{case.lower:.3f} to {case.upper:.3f}",
            "trusted" if case.trusted else "not certified",
            f"{abs(case.value - case.truth):.3f}",
        )
        for case in cases
    ]
    return Table("Folds", tuple(Column(name) for name in names), tuple(rows)).rst().strip()


def _single(cases: Sequence[Diagnosed]) -> str:
    """Return the table of maps in single precision, a column for each condition."""
    conditions = sorted({case.condition for case in cases})
    names = ("map", "weights", "singular values", *(f"off, condition {c:.0e}" for c in conditions))
    lines: dict[tuple[str, int, float], dict[float, str]] = {}
    for case in cases:
        off = "refused" if case.value is None else f"{abs(case.value - case.truth):.3f}"
        lines.setdefault((case.kind, case.num_weights, case.largest), {})[case.condition] = off
    rows = [
        (kind, f"{num:,}", f"{largest:.0e}", *(found[c] for c in conditions))
        for (kind, num, largest), found in lines.items()
    ]
    return Table("Single precision", tuple(Column(name) for name in names), tuple(rows)).rst().strip()


def _misses(cases: Sequence[Judged]) -> str:
    """Say which trusted intervals do not contain the truth."""
    found = [
        f"{case.group} with {case.latents} latents, {case.lower:.2f} to {case.upper:.2f}, truth {case.truth:.2f} +- "
        f"{case.error:.2f}"
        for case in cases
        if case.trusted and not case.inside
    ]
    return "; ".join(found) if found else "none"


def _itself(cases: Sequence[Judged]) -> str:
    """Say what was found of posteriors as priors of themselves."""
    if not cases:
        return "Posteriors as priors of themselves, where the KL is 0, are on the page of alarms of drift."
    trusted = [abs(case.value) for case in cases if case.trusted]
    within = f", each within {max(trusted):.2f} nats of 0" if trusted else ""
    return (
        "Then hypernetwork posteriors of the random ones above as priors of\n"
        f"themselves, where the KL is 0: {len(trusted)} of {len(cases)} are trusted{within}. Their seeds\n"
        "are those whose search ends within minutes, so that hard ones are missing."
    )


def write_page(
    path: Path,
    cases: Mapping[str, Sequence[Judged]],
    singles: Sequence[Diagnosed],
    asked: int,
    chosen: Sequence[int] | None,
    themselves: Sequence[int],
) -> None:
    """Write the page to ``path`` from cases by study, of ``asked`` random networks and chosen ones of them."""
    random, uncertain, itself = cases["random"], cases["left out"], cases["itself"]
    groups = {"all": random}
    for name in dict.fromkeys(case.group for case in random):
        groups[name] = [case for case in random if case.group == name]
    for low, high in ((1, 2), (3, 6), (7, 11), (12, 16)):
        groups[f"{low} to {high} latents"] = [case for case in random if low <= case.latents <= high]
    hard = {
        "all": uncertain,
        "truth by neighbors": [case for case in uncertain if case.error <= _UNCERTAIN],
        "truth within 0.5 nats": [case for case in uncertain if _UNCERTAIN < case.error <= 0.5],
        "truth less certain": [case for case in uncertain if case.error > 0.5],
    }
    others = {"linear": cases["linear"], "KL to itself": itself}
    intervals = [case for part in cases.values() for case in part]
    unjudged = asked - len(random)
    page = PAGE.format(
        asked=asked,
        itself="".join(f" {seed}" for seed in themselves),
        sizes="".join(f" {n}" for n in sorted({case.latents for case in cases["products"]})),
        cosines=len(cases["cosines"]),
        left="" if chosen is None else "".join([" --left-out", *(f" {seed}" for seed in chosen)]),
        last=asked - 1,
        unjudged=unjudged,
        looked=len(uncertain),
        error=statistics.median(case.error for case in random),
        random=_table("Random hypernetworks", groups),
        misses=_misses(random),
        uncertain=_table("Truth uncertain", hard),
        folds=_folds([*cases["products"], *cases["cosines"]]),
        itself_text=_itself(itself),
        others=_table("Other maps", others),
        latents=LATENTS,
        largest_kl=max(case.truth for case in singles),
        least=min(case.information for case in singles if case.information is not None),
        refused=sum(case.value is None for case in singles),
        singles=len(singles),
        wrong=sum(case.value is not None and abs(case.value - case.truth) > 0.5 for case in singles),
        single=_single(singles),
        longest=max(case.seconds for case in intervals),
        median=statistics.median(case.seconds for case in intervals),
    )
    write_text(path, page)
