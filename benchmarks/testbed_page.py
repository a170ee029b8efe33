"""The page "Joint predictions and decisions" and its figure, from what was measured."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from testbed_families import WIDE

from bayeshnet.reports.style import new_figure, save_figure, styled

__all__ = ["write_page"]

Records = Sequence[dict[str, Any]]

TOP = """\
.. This page is written by benchmarks/testbed.py. Do not edit it: run the script.

Joint predictions and decisions
===============================

What a posterior over weights is for: predictions of several labels together, and decisions that depend on them.
Single labels hardly tell families apart; labels together do, since they show whether draws of the weights agree with
each other across inputs.

**Testbed.** Two standard normal inputs, two classes, and labels from a network of two hidden layers of 50 rectified
units that is drawn from the prior; the outputs are divided by a temperature. There are {sizes} examples,
temperatures {temperatures}, and {seeds}. Every family has the true network's prior, the same likelihood and,
on one thread, {seconds:g} seconds of CPU time as far as a short trial can foresee it. The table has the KL
divergence, in nats, from the true probabilities of ten labels to the predicted ones; each of the ten inputs is
one of two test inputs at random (dyadic sampling), and labels are drawn anew for each. *Single* is that of one
label. The settings were not tuned for these problems.

*Implicit* begins with a sigma of 0.05 in units of the prior's, *implicit, wide at first* with {sigma:g}, which was
chosen on another true network. Where there are few data sigma has to grow to about 1; Adam moves its logarithm by
at most the learning rate a step, and there are fewer steps than for mean field, since each takes longer. So at
temperatures 0.1 and 0.5 the first is too sure of itself. One true network for each size is few: with one example
at temperature 0.01 the second family was at 4.1 nats in this run and at 11.1 in another, of 2.5 seconds.

**Bandit.** Fifty arms with two features each; a pull gives 1 or 0 with the probability that a true network of
temperature 0.1 has. Thompson sampling pulls, in each of 1,000 steps, the arm that a network drawn from the
posterior likes most. The posterior is trained anew after {refits} steps. Regret is the sum over steps of the
best arm's probability minus the pulled one's, in the mean of {games} games, the same for all families. *At
random* is what pulls at random would lose.

In the game that decides, the implicit family still loses 12 in the last hundred steps, where ensembles lose
nothing: its draws have not come together in the time. With 15 seconds for each training (this game, once) it loses
0.1 there, but 215 in all, since for three hundred steps its draws agree on an arm that is not the best. Families
that begin from several points keep others in play.

References: The Neural Testbed: Evaluating Joint Predictions (Osband, Wen, Asghari, Dwaracherla, Hao, Ibrahimi, Lawson,
Lu, O'Donoghue, Van Roy; 2022). Randomized Prior Functions for Deep Reinforcement Learning (Osband, Aslanides, Cassirer;
2018).

"""

FIGURE = """\
.. image:: joint-predictions.png
   :alt: Divergence of ten labels over the number of examples, and regret over steps.

"""
BAYESIAN = (
    *("mean field", "low rank", "linear hypernetwork", "implicit", "implicit, wide at first", "5 mean fields"),
    "short sampler",
)
ENSEMBLES = ("ensemble of 10", "ensemble of 10, prior functions")


def write_page(path: Path, records: Records, sizes: Sequence[int], refits: Sequence[int], seconds: float) -> None:
    """Write the page and the figure beside it.

    Args:
        path: of the page.
        records: what was measured, testbed and bandit.
        sizes: numbers of examples.
        refits: steps of the bandit after which the posterior is trained anew.
        seconds: CPU seconds of each family.
    """
    testbed = [r for r in records if r["kind"] == "testbed"]
    bandit = [r for r in records if r["kind"] == "bandit"]
    temperatures = sorted({r["temperature"] for r in testbed})
    seeds, games = len({_seed(r) for r in testbed}), len({_seed(r) for r in bandit})
    text = TOP.format(
        sizes=_listed([f"{size:,}" for size in sizes]),
        temperatures=_listed([f"{t:g}" for t in temperatures]),
        seeds="one true network of each" if seeds == 1 else f"{seeds} true networks of each",
        seconds=seconds,
        sigma=WIDE,
        refits=_listed([str(step) for step in refits]),
        games=games,
    )
    joint, regret = means(testbed, "joint"), means(bandit, "regret")
    parts = [_wrapped(text), FIGURE, _table(testbed, bandit, temperatures), "\n"]
    parts += [textwrap.fill(said(joint, regret) + hardest(bandit), 115, break_on_hyphens=False), "\n"]
    path.write_text("".join(parts), encoding="utf-8")
    draw(path.with_suffix(".png"), testbed, bandit)


def means(records: Records, key: str, keep: Callable[[dict[str, Any]], bool] = lambda record: True) -> dict[str, float]:
    """Return the mean of a measure by family, lowest first."""
    found: dict[str, list[float]] = {}
    for record in records:
        if keep(record):
            found.setdefault(record["family"], []).append(record[key])
    values = {family: statistics.fmean(numbers) for family, numbers in found.items()}
    return dict(sorted(values.items(), key=lambda item: item[1]))


def said(joint: dict[str, float], regret: dict[str, float]) -> str:
    """Say which families are best, and whether the best Bayesian one is ahead of the best ensemble."""
    parts = []
    for values, what, unit in ((joint, "Ten labels together", "nats"), (regret, "Decisions", "of regret")):
        if not values:
            continue
        best = next(iter(values))
        bayesian = next((name for name in values if name in BAYESIAN), None)
        plain, prior = (values.get(name) for name in ENSEMBLES)
        text = f"{what}: {best} is best ({values[best]:.2f} {unit})."
        if bayesian is not None and bayesian != best:
            text += f" The best Bayesian family is {bayesian} ({values[bayesian]:.2f})."
        for value, name in ((plain, "ten networks"), (prior, "ten networks with prior functions")):
            if bayesian is not None and value is not None:
                side = "ahead of" if values[bayesian] < value else "behind"
                text += f" {'It' if bayesian == best else 'That'} is {side} {name} ({value:.2f})."
        parts.append(text)
        place = list(values).index("implicit") + 1 if "implicit" in values else None
        if place is not None:
            parts.append(f"The implicit family is number {place} of {len(values)} ({values['implicit']:.2f}).")
    return " ".join(parts)


def hardest(bandit: Records) -> str:
    """Say what part of all regret is that of one game, from which alone no order of families is certain."""
    games: dict[str, float] = {}
    for record in bandit:
        games[_seed(record)] = games.get(_seed(record), 0.0) + record["regret"]
    if len(games) < 2:
        return ""
    share = max(games.values()) / sum(games.values())
    return f" One of the {len(games)} games has {100 * share:.0f} % of the regret of all families."


def _wrapped(text: str) -> str:
    """Break the lines of paragraphs that have numbers put in."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        p if "==" in p or p.startswith("..") else textwrap.fill(p, 115, break_on_hyphens=False) for p in paragraphs
    )


def _seed(record: dict[str, Any]) -> str:
    return record["key"].rsplit("/", 1)[1]


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _table(testbed: Records, bandit: Records, temperatures: Sequence[float]) -> str:
    columns = [("ten labels", means(testbed, "joint"), 3)]
    for temperature in temperatures:
        of_it = means(testbed, "joint", lambda record, t=temperature: record["temperature"] == t)
        columns.append((f"at {temperature:g}", of_it, 3))
    columns.append(("single", means(testbed, "single"), 4))
    columns.append(("CPU s", means(testbed, "seconds"), 1))
    columns.append(("regret", means(bandit, "regret"), 1))
    rows = [["family", *(title for title, _, _ in columns)]]
    for family in means(testbed, "joint"):
        rows.append(
            [family, *(f"{values[family]:.{digits}f}" if family in values else "" for _, values, digits in columns)]
        )
    if bandit:
        rows.append(["at random", *[""] * (len(columns) - 1), f"{statistics.fmean(_at_random(bandit)):.1f}"])
    body = "".join("   * - " + "\n     - ".join(row) + "\n" for row in rows)
    return ".. list-table::\n   :header-rows: 1\n\n" + body


def _at_random(bandit: Records) -> list[float]:
    """Regrets of pulls at random, one for each game."""
    return list({_seed(record): record["random"] for record in bandit}.values())


@styled
def draw(path: Path, testbed: Records, bandit: Records) -> None:
    """Draw the divergence over the number of examples, and the regret over steps."""
    figure, axes = new_figure(1, 2, size=(4.2, 3.2))
    for family in means(testbed, "joint"):
        sizes = sorted({record["size"] for record in testbed})
        values = [means(testbed, "joint", lambda r, n=size: r["size"] == n).get(family) for size in sizes]
        dashes = "--" if family not in BAYESIAN else "-"
        axes.flat[0].plot(sizes, values, dashes, label=family, linewidth=1.2)
        curves = [record["curve"] for record in bandit if record["family"] == family]
        if curves:
            mean = [statistics.fmean(at) for at in zip(*curves, strict=True)]
            axes.flat[1].plot([20 * i for i in range(len(mean))], mean, dashes, linewidth=1.2)
    axes.flat[0].set(xscale="log", xlabel="examples", ylabel="KL of ten labels (nats)")
    axes.flat[1].set(xlabel="steps", ylabel="regret")
    axes.flat[0].legend(fontsize=6)
    save_figure(figure, path)
