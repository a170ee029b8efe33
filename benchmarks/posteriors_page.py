"""The page "Posteriors with known answers" from what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from posteriors_records import SECONDS, SIMULATIONS

__all__ = ["NOT_CENTRED", "write_page"]

NOT_CENTRED = ", not centred"
_FLOOR, _WRONG, _ALARM, _LEVEL = "floor", 0.25, 0.7, 0.05

TOP = """\
.. This page is written by benchmarks/posteriors.py. Do not edit it: run the script.

Posteriors with known answers
=============================

"""
SETTINGS = """\
{seconds:g} s of processor time for each guide and posterior, more where it is said below; one thread, seed 0,
{particles} draws a step; {machine}, on a machine that was busy with other work. ``pip install 'bayeshnet[bench]'``
brings data and reference answers, nothing is downloaded. The posteriors:

{known}
``AutoHypernet`` is in its default settings. *Chosen* is what a user would ask for who knows what kind of posterior it
is: heavy tails on hierarchies (``tails=1.5``), ``components`` where there are modes or bends, and on SLCP also its two
symmetries of sign; *eight components* has ``components=8`` and knows nothing of them. *Resampled* draws are those of
``guide.resample``. Pyro's guides get Pyro's learned centring on hierarchies, and are there without it too (*not
centred*); NUTS gets the non-centred form. On posteriors of several modes guides without components begin hot, at
thirty times the temperature. With more time all of them come nearer; equal time is what is compared. The weights of
components and the checks come after the clock, the search for the places where components begin before its end. NUTS
warms up for 150 steps; where these were not over in the time, its last state is all that there is, with standard
deviations of zero or nearly so. Empty cells were not run, or not measured: where only moments are known there are no
draws to compare with, and couplings of splines are too wide for hundreds of unknowns. Checks do not search for modes
on posteriors of more than a hundred unknowns, nor, for the sake of time, on some others of this page.

The tails and where degrees of centring begin were chosen on the centered schools, how components begin, their number
and their learning rate on two moons and SLCP, that checks look at how far weights move means and spreads on two
modes, and that they want 5 % of the draws to count on sparse German credit. Of more than 30 unknowns our guide begins
at a Gaussian that Newton's method finds, in coordinates that bend with scales, which is part of its time. How these
bend was chosen on Brownian motion, with radon and volatility in sight. The sizes of its parameters were chosen on
radon, that Newton's steps leave saddles and how many there are at most on stochastic volatility, and how soon they end
on item response, for its time; Brownian motion and the networks were looked at while it was written. The other
posteriors had no part in it.

"""
CALIBRATION = f"""\
Calibration over the prior
--------------------------

Simulation-based calibration asks another question: whether a guide is right on average over data that the model itself
makes. There are {SIMULATIONS} data sets for each posterior and {SECONDS:g} s of processor time for each guide. Shown is
the smallest of the chi-square p-values of all unknowns, times their number; below {_LEVEL:g} it is an alarm. So few
data sets show what is grossly wrong. The data of a posterior above are one of many here: a guide that is wrong on these
may be right on most. Models that are written by factors cannot make data, and the funnel, the banana and the cross have
none; those of many unknowns would take too long.

"""
KNOWN = {
    "schools": "eight schools (Rubin, 1981), of which a grid for mean and spread gives exact draws; the effects "
    "centered, in units of their spread, and under a wide log-normal spread",
    "funnel": "a funnel, :math:`v \\sim N(0, 1),\\ x \\sim N(0, e^v)`, with exact draws",
    "banana": "a banana, :math:`x \\sim N(0, 1),\\ y \\sim N(x^2, 0.3^2)`, with exact draws",
    "X": "two long normals that cross, with exact draws",
    "two modes": "data around the modulus of a mean, with draws from a grid",
    "two moons": "two moons, with the reference draws that the package sbibm ships",
    "SLCP": "SLCP (simple likelihood, complex posterior), with those that sbibm ships",
    "Gaussian mixture": "the mean of a wide and of a narrow normal, with those that sbibm ships",
    "Bernoulli GLM": "a logistic regression of spikes, with those that sbibm ships",
    "Brownian motion": "a Brownian motion of unknown scales, with exact draws: log-scales from a grid, motion given "
    "these (inference-gym ships moments, whose means are off by up to 0.3 standard deviations, and standard deviations "
    "of scales by 18 %)",
    "German credit": "a logistic regression on German credit, numeric, with the moments that inference-gym ships",
    "sparse German credit": "the same with weights that are products of scales and normals, likewise",
    "radon": "radon in Minnesota by county (Gelman, Hill, 2007), likewise",
    "item response": "abilities of 400 students and difficulties of 100 questions, likewise",
    "stochastic volatility": "the volatility of a hundred daily returns, likewise",
    "diabetes network": "networks of 50 tanh units with standard normal weights on 200 examples, their values at 100 "
    "others; the reference are 32 chains of the library's sampler: diabetes",
    "Boston network": "the same for houses in Boston",
    "concrete network": "the same for strengths of concrete",
}
TABLES: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    (
        "Largest error of a mean in standard deviations of the reference; smallest and largest ratio of standard "
        "deviations, over all unknowns, log-scales included; and the share of unknowns whose mean is within 0.1 and "
        "whose standard deviation is within 10 %.",
        lambda found: (
            f"{found['mean']:.2f}; {found['std'][0]:.2f}-{found['std'][1]:.2f}; {100 * found['good']:.0f} %"
            if "mean" in found
            else "failed"
        ),
    ),
    (
        "Sliced Wasserstein distance to exact draws; the floor is that between two exact sets.",
        lambda found: f"{found['wasserstein']:.3f}" if "wasserstein" in found else "",
    ),
    (
        "Accuracy of a small network that tells draws from exact ones (C2ST): 0.5 is perfect, 1 a miss.",
        lambda found: f"{found['c2st']:.2f}" if "c2st" in found else "",
    ),
    (
        "Largest error of the share of a mode.",
        lambda found: f"{found['modes']:.3f}" if "modes" in found else "",
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
    order = [_FLOOR, *sorted(name for name in rows if name.startswith("AutoHypernet"))]
    return {name: rows[name] for name in [*order, *(n for n in rows if n not in order)] if name in rows}


def _list_table(rows: list[list[str]]) -> str:
    """Text of a table, whose first row is its header."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        first, *others = row
        lines += [f"   * - {first}".rstrip(), *(f"     - {cell}".rstrip() for cell in others)]
    return "\n".join(lines) + "\n\n"


def _table(results: dict[str, Any], show: Callable[[dict[str, Any]], str]) -> str:
    """One table, without rows and columns that are empty."""
    cells = {
        name: {target: show(found[target]) if target in found else "" for target in results}
        for name, found in _rows(results).items()
    }
    columns = [target for target in results if any(row[target] for row in cells.values())]
    rows = [[name, *(row[target] for target in columns)] for name, row in cells.items()]
    return _list_table([["", *columns], *(row for row in rows if any(row[1:]))])


def error(found: dict[str, Any]) -> float:
    """The true error: of a mean in standard deviations, of a standard deviation in parts, or of a mode's share."""
    if "failed" in found:
        return math.inf
    low, high = found["std"]
    return float(max(found["mean"], abs(low - 1), abs(high - 1), found.get("modes", 0.0)))


def winners(results: dict[str, Any]) -> str:
    """Table of the nearest of all methods for each posterior, and of ours, by the largest true error."""
    rows = [["posterior", "nearest", "error", "nearest of ours", "error"]]
    for target, found in results.items():
        errors = {n: error(v) for n, v in found.items() if n != _FLOOR}
        errors |= {f"{n}, resampled": error(v["resampled"]) for n, v in found.items() if "resampled" in v}
        ours = {n: e for n, e in errors.items() if n.startswith("AutoHypernet")}
        if len(ours) == len(errors):
            continue
        best, own = min(errors, key=errors.__getitem__), min(ours, key=ours.__getitem__)
        rows.append([target, best, f"{errors[best]:.2f}", own, f"{ours[own]:.2f}"])
    return _list_table(rows)


def alarms(results: dict[str, Any]) -> tuple[str, list[str]]:
    """Table of what the checks say of our guides beside their true errors, and the silences that are false."""
    rows = [["posterior", "guide", "k-hat", "effective", "missed", "reliable", "true error", "resampled"]]
    false = []
    for target, found in results.items():
        for name, values in found.items():
            if "reliable" not in values:
                continue
            missed = "not searched" if values["missed"] is None else f"{100 * values['missed']:.0f} %"
            own, again = error(values), error(values["resampled"])
            told = values["reliable"] and values["effective"] > 0.5 and values["k_hat"] < 0.5
            told = told and values.get("shift", 0.0) <= _WRONG
            says = "yes" if told else "after resampling" if values["reliable"] else "**no**"
            numbers = [f"{values['k_hat']:.2f}", f"{100 * values['effective']:.0f} %", missed, says]
            rows.append([target, name, *numbers, f"{own:.2f}", f"{again:.2f}"])
            if (told and own > _WRONG) or (values["reliable"] and again > _WRONG):
                false.append(f"{target}, {name}")
    return _list_table(rows), false


def silences(results: dict[str, Any]) -> str:
    """Table of how often k-hat alone warns of Pyro's guides: of those that are wrong and of those that are not."""
    rows = [["guide", "wrong, alarm", "wrong, silent", "right, alarm", "right, silent"]]
    counts: dict[str, list[int]] = {}
    for found in results.values():
        for name, values in found.items():
            if "k_hat" in values and "reliable" not in values and not name.startswith("AutoHypernet"):
                place = 2 * (error(values) <= _WRONG) + (values["k_hat"] <= _ALARM)
                counts.setdefault(name.removesuffix(NOT_CENTRED), [0] * 4)[place] += 1
    rows += [[name, *map(str, count)] for name, count in counts.items()]
    return _list_table(rows) if counts else ""


def calibrations(p_values: dict[str, dict[str, float]]) -> str:
    """Table of the smallest p-values of ranks, by posterior and guide."""
    guides = list(dict.fromkeys(name for found in p_values.values() for name in found))

    def shown(found: dict[str, float], name: str) -> str:
        value = found.get(name)
        return "" if value is None else f"{value:.3f}" + (", alarm" if value < _LEVEL else "")

    rows = [[posterior, *(shown(found, name) for name in guides)] for posterior, found in p_values.items() if found]
    rest = ", ".join(posterior for posterior, found in p_values.items() if not found)
    table = _list_table([["posterior", *guides], *rows])
    return table + (f"The script also has these, which were not run for this page: {rest}.\n\n" if rest else "")


def counted(results: dict[str, Any]) -> str:
    """Table of the shares of unknowns that are near enough, and far off, of the best of ours and of all others."""
    rows = [["posterior", "unknowns", "ours", "near", "far", "another", "near", "far"]]
    for target, found in results.items():
        sets = {n: v for n, v in found.items() if n != _FLOOR and "good" in v}
        sets |= {f"{n}, resampled": v["resampled"] for n, v in found.items() if "resampled" in v}
        row, known = [target, ""], True
        for ours in (True, False):
            side = {n: v for n, v in sets.items() if n.startswith("AutoHypernet") == ours}
            known = known and bool(side)
            if side:
                best = max(side, key=lambda n: (side[n]["good"], -error(side[n])))
                row[1] = str(side[best].get("unknowns", ""))
                row += [best, f"{100 * side[best]['good']:.0f} %", f"{100 * side[best].get('far', 0.0):.0f} %"]
        if known:
            rows.append(row)
    return _list_table(rows)


def misses(results: dict[str, Any]) -> str:
    """Sentences on where our guides are not near enough."""
    text = ""
    for target, found in results.items():
        ours = {n: v for n, v in found.items() if n.startswith("AutoHypernet") and "good" in v}
        sets = ours | {f"{n}, resampled": v["resampled"] for n, v in ours.items() if "resampled" in v}
        if not sets:
            continue
        good = max(sets.values(), key=lambda v: v["good"])["good"]
        share = min((v["modes"] for v in sets.values() if "modes" in v), default=0.0)
        told = []
        if good < 0.9:
            told.append(f"at best {100 * good:.0f} % of the unknowns are within the bounds of the first table")
        if share > 0.05:
            told.append(f"shares of modes are off by {share:.2f} at best")
        near = min((v["c2st"] for v in sets.values() if "c2st" in v), default=0.5)
        if near > 0.65:
            told.append(f"a network tells draws from exact ones with an accuracy of {near:.2f} at best")
        if told:
            text += f"- {target}: " + ", and ".join(told) + ".\n"
    return text or "- None by these measures.\n"


def _told(name: str, results: dict[str, Any], usual: float) -> str:
    """Words about a posterior, with the time for each guide where it is longer; empty if it was not run."""
    of = [found for target, found in results.items() if target.startswith(name)]
    longest = max((values.get("seconds", usual) for found in of for values in found.values()), default=usual)
    return KNOWN[name] + (f"; {longest:g} s" if longest > usual else "") if of else ""


def write_page(
    path: Path,
    results: dict[str, Any],
    seconds: float,
    particles: int,
    machine: str,
    rest: Sequence[str] = (),
    p_values: dict[str, dict[str, float]] | None = None,
) -> None:
    """Write the page; ``rest`` are posteriors that were not run, ``p_values`` those of calibration."""
    known = "".join(f"- {told};\n" for name in KNOWN if (told := _told(name, results, seconds)))
    known = known[: known.rfind(";")] + ".\n" if known else ""
    text = TOP + SETTINGS.format(seconds=seconds, particles=particles, machine=machine, known=known)
    if rest:
        text += f"The script also has these, which were not run for this page: {', '.join(rest)}.\n\n"
    text += (
        "Who is nearest\n--------------\n\nBy the largest error over all unknowns: of a mean in standard deviations, "
    )
    text += "of a standard deviation in parts of it, or of the share of a mode.\n\n" + winners(results)
    text += "Where ours are not near enough, resampled or not:\n\n" + misses(results) + "\n"
    text += (
        "How many unknowns have their mean within 0.1 standard deviations and their standard deviation within 10 %, "
        "and how many have either off by more than 25 %, of the nearest of ours and of all others:\n\n"
        + counted(results)
    )
    table, false = alarms(results)
    text += "Alarm and true error\n--------------------\n\nWhat ``guide.check`` says, beside the true error as above. "
    text += "*After resampling* says that draws can be corrected by their weights.\n\n" + table
    said = "; ".join(false) if false else "none"
    text += f"Silences that are false, with an error above {_WRONG:g} of what was called right: {said}.\n\n"
    text += (
        f"Of Pyro's guides k-hat alone, with an alarm above {_ALARM:g}, says this, with and without centring; it "
        f"cannot see modes that a guide has missed. Wrong is a true error above {_WRONG:g}.\n\n" + silences(results)
    )
    if p_values:
        text += CALIBRATION + calibrations(p_values)
    text += "All measures\n------------\n\n"
    for caption, show in TABLES:
        text += caption + "\n\n" + _table(results, show)
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
