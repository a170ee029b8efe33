"""The page "Any Pyro model" from what was measured."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

__all__ = ["write_page"]

TOP = """\
.. This page is written by benchmarks/auto_hypernet.py. Do not edit it: run the script.

Any Pyro model
==============

:class:`~bayeshnet.guides.AutoHypernet` is a guide for any Pyro model with continuous unknowns, in the family of Pyro's
``AutoNormal`` and ``AutoMultivariateNormal``: it works where they do, with ``SVI`` or with
:func:`~bayeshnet.inference.fit`. Its joint posterior over all unknowns may be curved and may have several modes.

.. code-block:: python

   import pyro
   import pyro.distributions as dist
   import torch
   from bayeshnet.guides import AutoHypernet
   from bayeshnet.inference import Annealing, fit

   def model(y):
       mean = pyro.sample("mean", dist.Normal(0.0, 3.0))
       with pyro.plate("data", len(y)):
           pyro.sample("y", dist.Normal(mean.abs(), 0.5), obs=y)

   y = torch.tensor([1.9, 2.6, 2.2, 1.4])
   guide = AutoHypernet(model)
   steps = 100  # a thousand in earnest
   fit(model, guide, (y,), num_steps=steps, lr=0.02, num_particles=64, beta=Annealing(steps // 2, start=30.0))
   draws = guide.sample_posterior(1000, y)["mean"]  # both signs

``beta=Annealing(...)`` begins hot, near the prior, which is what finds several modes; leave it out where there is
one. Where a posterior of few unknowns is Gaussian, ``AutoMultivariateNormal`` needs less time for the same answer. Of
more than thirty unknowns the first call, which ``fit`` makes, finds a Gaussian near the posterior by Newton's method:
run the guide first on all data that it is to be fitted to. For each step of the search the model is differentiated
twice for each unknown, in blocks of 256 where it is written for plates around it: a logistic regression of 100, 300,
600 and 1000 unknowns took 0.4, 0.8, 3 and 13 s of one core, and, with a run for each gradient, one of 100 and 200
unknowns 2.4 and 3.8 s; a model whose run takes longer takes as much longer. Where a model that is written for plates
has scales, or other unknowns of bounded support, mean and covariance of all others follow some of these into their
funnels (32 of them where there are 62 unknowns, 10 of 100, 2 of 1000), from Gaussians that are found at four values of
each, and these unknowns get margins that may be skew. The first call of a regression with a scale for each weight took
3.8, 1.9, 3.5 and 12 s for 61, 125, 301 and 601 unknowns. On hierarchies little is left to learn then, which small
learning rates (0.005) keep. There is no search of more than a thousand unknowns, or of more than two hundred of a model
that is not written for plates. Heat leads little away from the mode that this finds: in 400 hot steps the guide came to
another one at 13 of its standard deviations, and not at 40; ``latent_size`` leaves the search out. ``guide.audit()``
tells whether the entropy that training saw was the true one.

Beside Pyro's guides, at equal time
-----------------------------------

"""

MEANING = """\
*funnel* is :math:`v \\sim N(0, 1)`, :math:`x \\sim N(0, e^{v})`, *banana* is
:math:`x \\sim N(0, 1)`, :math:`y \\sim N(x^2, 0.3^2)`, and *two modes* is the posterior of mean and scale given eight
values around the mean's modulus. Exact draws of all three are known. On the last, AutoHypernet begins hot; the last
line offers the same to the autoregressive flow. Numbers are means over the runs, with the largest in brackets; less is
better.

"""

SAMPLER = """\
Beside the sampler
------------------

``tests/guides/test_published_models.py`` holds the guide against the no-U-turn sampler on published models, in its
default settings but for the length of training: eight schools, centered and non-centered (Rubin, 1981), a logistic
regression on tumours, a hierarchical Poisson regression of colonies on doses (Breslow, 1984), and a mixture whose
clusters are interchangeable; and against exact draws on a banana. The tolerances of means and standard deviations are
there. The guide is overconfident about the scale of a hierarchy: the standard deviation of its logarithm is 0.92 on the
centered schools, where a grid gives 1.17, and 0.52 with ``centring=None``; it is three quarters of the true one on the
colonies. With ``AutoHypernet(model, stretch=True)``, where earlier unknowns stretch later ones, it is 0.95 on the
schools, and within the tolerances on the colonies, as the tests check; the mixture is approximated less well.
:func:`~bayeshnet.inference.reference_posterior` runs the sampler on any model, and
:func:`~bayeshnet.metrics.compare_samples` compares.
"""


def write_page(path: Path, results: dict[str, Any], seconds: float, seeds: int, machine: str) -> None:
    """Write the page to ``path``."""
    guides = list(dict.fromkeys(name for found in results.values() for name in found["distances"]))
    rows = [["sliced Wasserstein distance", *results]]
    for guide in guides:
        rows.append([guide, *(_cell(found["distances"].get(guide)) for found in results.values())])
    rows.append(["floor", *(f"{found['floor']:.3f}" for found in results.values())])
    steps = [["steps", *results]]
    steps += [[g, *(_count(found["steps"].get(g)) for found in results.values())] for g in guides]
    audits = [["negative entropy (nats)", "claimed", "audited, low", "audited, high"]]
    for name, found in results.items():
        audits.append([name, *(f"{statistics.mean(column):.3f}" for column in zip(*found["audit"], strict=True))])
    given = f"{seconds:g} s of processor time for each guide, one thread, {seeds} runs, 256 draws a step; {machine}.\n"
    audit_text = (
        "The entropy as training estimated it, and the two-sided audit of the same guides. A map that folds would show "
        "as an\nestimate below the audit; an estimate above it underestimates the entropy of the guide.\n\n"
    )
    parts = [TOP, given, MEANING, _table(rows), "\nHow many steps the time was good for:\n\n", _table(steps), "\n"]
    path.write_text("".join([*parts, audit_text, _table(audits), "\n", SAMPLER]), encoding="utf-8")


def _count(steps: float | None) -> str:
    return "" if steps is None else f"{steps:,.0f}"


def _cell(distances: list[float] | None) -> str:
    if distances is None:
        return ""
    return f"{statistics.mean(distances):.3f} ({max(distances):.3f})"


def _table(rows: list[list[str]]) -> str:
    out = [".. list-table::\n   :header-rows: 1\n\n"]
    for row in rows:
        out += [f"   {'*' if i == 0 else ' '} - {cell}".rstrip() + "\n" for i, cell in enumerate(row)]
    return "".join(out)
