"""The page "Near the exact posterior" and its figure from what was measured."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bayeshnet.reports.style import new_figure, save_figure, styled

__all__ = ["TRUTH", "draw_gap", "recommended", "write_page"]

TRUTH = "long sampler"
SAMPLED = ("one network", "ensemble of 5", "last layer only", "short sampler")
BEHIND, NARROW = 0.10, 0.85

TOP = """\
.. This page is written by benchmarks/near_exact.py. Do not edit it: run the script.

Near the exact posterior
========================

How near posteriors of a small network come to the exact one. The truth is a long run of the batched sampler,

.. code-block:: python

   posterior = reference_posterior(model, x, y, sampler="batched")  # a SampledPosterior
   Predictive(posterior, net, model.likelihood)(test_x)
   posterior.convergence(net, test_x).worst_r_hat
   prior_of_the_next_task = posterior.fitted()

and every family has the same network (one hidden layer of tanh units), the same prior (``FanInGaussian(gain=3,
last_gain=10, bias=1)``), the same likelihood, temperature 1, and the same CPU time on one thread, as far as a
short trial can foresee it. The settings are the same for all problems and were not tuned, and the family that is
recommended is the one with the lowest negative ELBO. One choice was made with test figures in sight: that the
Gaussian families and single networks begin at draws of the prior was decided after trials of a second on the
problem with a gap. There is one seed of each: differences like those between the two halves of the truth mean
nothing.

*Negative ELBO* is in nats for all training data, where the family has one; *log-likelihood* is that of the mixture
over draws, in nats per test example; *distance* is the mean total variation between the predictive distribution
and that of the truth, 0 to 1; *spread* is the standard deviation of the function (of the probabilities, for
classes) over draws, divided by that of the truth; *same label* is the share of test images to which truth and
family give the same label.

One network and the ensemble are at the highest posterior density. *Last layer only* keeps the hidden layer of one
network and samples the rest. Mean field and low rank (16) are Gaussian; so is the linear hypernetwork, of 16
latents with a sigma for each weight. The implicit ones have 64 hidden units: of tanh with 16 latents and sigma
0.1, and of tanh or cosines with 32 latents and sigma learned for each weight. *5 mean fields* and *5 of low rank*
are even mixtures, whose parts begin at draws of the prior and have a fifth of the time each.

"""

CHAINS = """\
The truth: {chains} chains of {draws} draws after as many for the warm-up, {seconds:.0f} s. Acceptance
{acceptance:.0%}; divergent trajectories: {divergences}. Split R-hat of the {what} at the test inputs is
{median_r_hat:.3f} in the median and {r_hat:.3f} at most (of single weights, which are not identified,
{weights_r_hat:.2f}); at least {effective:.0f} draws are effective. The two halves of the chains, as if they
were families: {halves}.

"""


FIGURE = """\
.. image:: near-exact.png
   :alt: Bands of the function by family, beside those of the sampler.

"""
CHOICES = """\
.. list-table::
   :header-rows: 1

   * - problem
     - weights
     - lowest negative ELBO
     - use
"""


def write_page(path: Path, measured: list[dict[str, Any]], others: list[str]) -> None:
    """Write the page.

    Args:
        path: of the page.
        measured: one dictionary for each problem, with its name, title, number of weights, truth, rows and families
            that are missing.
        others: titles of problems that the script knows and that were not measured.
    """
    parts = [TOP]
    for found in measured:
        title = found["title"]
        parts.append(f"{title}\n{'-' * len(title)}\n\n")
        if found["name"] == "gap":
            parts.append(FIGURE)
        truth = dict(found["truth"])
        halves = "; ".join(_half(half) for half in truth.pop("halves"))
        what = "probabilities" if "agreement" in next(iter(found["rows"][TRUTH]["regions"].values())) else "function"
        text = CHAINS.format(**truth, halves=halves, what=what).replace("%", " %").strip()
        if found["missing"]:
            text += f" Not measured on this problem: {', '.join(found['missing'])}."
        said = textwrap.fill(recommended(found["rows"]), 115, break_on_hyphens=False)
        parts += [textwrap.fill(text, 115, break_on_hyphens=False), "\n\n", _table(found["rows"]), "\n", said, "\n\n"]
    parts += ["Which family\n------------\n\n", _choices(measured)]
    if others:
        parts.append(f"\nNot measured for this page, though the script can: {', '.join(others)}.\n")
    path.write_text("".join(parts), encoding="utf-8")


def recommended(rows: dict[str, Any]) -> str:
    """Say which variational family has the lowest negative ELBO, and how far it is from the truth."""
    name = best_family(rows)
    if name is None:
        return "No variational family was measured."
    reached = [n for n in rows if n not in SAMPLED and n != TRUTH and near(rows, n)]
    parts = []
    for region, row in rows[name]["regions"].items():
        gap = row["log_likelihood"] - rows[TRUTH]["regions"][region]["log_likelihood"]
        side = "ahead of" if gap > 0 else "behind"
        parts.append(f"{abs(gap):.3f} nats {side} the truth and {row['spread']:.2f} of its spread ({region})")
    text = f"Best of the variational families by its ELBO: {name}, {'; '.join(parts)}."
    if near(rows, name):
        return text + " That is near the exact posterior."
    others = f"; of the others {' and '.join(reached)} would be" if reached else ", nor is any other"
    return text + f" That is not within {BEHIND:.2f} nats and {NARROW:.2f} of the spread{others}: use the sampler."


def best_family(rows: dict[str, Any]) -> str | None:
    """Return the variational family with the lowest negative ELBO."""
    known = {name: row["negative_elbo"] for name, row in rows.items() if row.get("negative_elbo") is not None}
    return min(known, key=lambda name: known[name]) if known else None


def near(rows: dict[str, Any], name: str) -> bool:
    """Return whether a family is near the truth in the first region, by log-likelihood and spread."""
    region, truth = next(iter(rows[TRUTH]["regions"].items()))
    row = rows[name]["regions"][region]
    return bool(row["log_likelihood"] >= truth["log_likelihood"] - BEHIND and row["spread"] >= NARROW)


def _half(half: dict[str, dict[str, float]]) -> str:
    return ", ".join(
        f"{row['log_likelihood']:.3f} nats, distance {row['variation']:.3f}, spread {row['spread']:.2f} ({region})"
        for region, row in half.items()
    )


def _table(rows: dict[str, Any]) -> str:
    regions = list(rows[TRUTH]["regions"])
    columns: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("CPU seconds", lambda row: f"{row['seconds']:.0f}"),
        ("negative ELBO", lambda row: "" if row.get("negative_elbo") is None else f"{row['negative_elbo']:,.0f}"),
    ]
    for region in regions:
        place = "" if len(regions) == 1 else f", {region}"
        for key, title in MEASURES.items():
            if key in rows[TRUTH]["regions"][region]:
                columns.append((title + place, _cell(region, key)))
    out = [".. list-table::\n   :header-rows: 1\n\n"]
    for cells in ([t for t, _ in columns], *([cell(row) for _, cell in columns] for row in rows.values())):
        first = "" if len(out) == 1 else list(rows)[len(out) - 2]
        out.append("   * - " + "\n     - ".join([first, *cells]) + "\n")
    return "".join(out)


MEASURES = {
    "log_likelihood": "log-likelihood",
    "accuracy": "accuracy",
    "agreement": "same label",
    "variation": "distance",
    "spread": "spread",
}


def _cell(region: str, key: str) -> Callable[[dict[str, Any]], str]:
    digits = 2 if key == "spread" else 3
    return lambda row: f"{row['regions'][region][key]:.{digits}f}"


def _choices(measured: list[dict[str, Any]]) -> str:
    out = [CHOICES]
    for found in measured:
        name = best_family(found["rows"])
        use = name if name is not None and near(found["rows"], name) else 'the sampler, ``sampler="batched"``'
        out.append(f"   * - {found['title']}\n     - {found['weights']:,}\n     - {name or ''}\n     - {use}\n")
    return "".join(out)


@styled
def draw_gap(path: Path, found: dict[str, dict[str, torch.Tensor]], x: torch.Tensor, y: torch.Tensor) -> None:
    """Draw medians and 90 % bands of the function, one panel for each family, beside those of the truth."""
    truth, families = found[TRUTH], [name for name in found if name != TRUTH]
    rows = -(-len(families) // 4)
    figure, axes = new_figure(rows, 4, size=(2.4, 1.9), sharex=True, sharey=True)
    for axis, name in zip(axes.flat, families, strict=False):
        for bands, color in ((truth, "#7F7F7F"), (found[name], "#0072B2")):
            grid = bands["grid"].numpy()
            axis.fill_between(grid, bands["low"].numpy(), bands["high"].numpy(), color=color, alpha=0.35, linewidth=0)
            axis.plot(grid, bands["middle"].numpy(), color=color, linewidth=1)
        axis.plot(x.flatten().numpy(), y.flatten().numpy(), ".", color="#D55E00", markersize=3)
        axis.set_title(name)
        axis.set_ylim(-4, 4)
    for axis in axes.flat[len(families) :]:
        axis.set_axis_off()
    save_figure(figure, path)
