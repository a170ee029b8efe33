"""The page "Bayesian regression" and its figure from what was measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from bayeshnet.reports.style import new_figure, save_figure, styled

__all__ = ["draw_bands", "write_page"]

TOP = """\
.. This page is written by benchmarks/bayesian_regression.py. Do not edit it: run the script.

Bayesian regression
===================

Any module becomes a Bayesian network: a prior over its weights, a likelihood of its outputs, and a guide, whose family
is one argument.

.. code-block:: python

   import torch
   from torch import nn
   from bayeshnet.distributions import FanInGaussian
   from bayeshnet.guides import BayesianModel, Gaussian, LowRankGuide
   from bayeshnet.inference import Predictive, fit

   x = torch.linspace(-1, 1, 40).unsqueeze(1)
   net = nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 1))
   guide = LowRankGuide(net, scale="fan_in")  # or MeanFieldGuide, RadialGuide, HypernetGuide(HypernetPosterior(...))
   model = BayesianModel(net, FanInGaussian(guide.weight_spec), Gaussian(noise=0.1, learn=True))
   fit(model, guide, (x, (3 * x).sin()), num_steps=100, lr=0.01, num_particles=4)  # 2,000 in earnest
   prediction = Predictive(guide, net, model.likelihood)(2 * x, quantiles=[0.05, 0.95])

``prediction`` has the mean, the quantiles, and the uncertainty in its two parts: noise, and not knowing the weights.

"""

GAP = """\
A gap in the data
-----------------

Forty points on both sides of a gap. Lines are predictive means, dark bands two standard deviations of the function,
light ones those of a new value; the dotted line is the true function.

.. image:: bayesian-regression.png
   :alt: Predictive bands of six methods on data with a gap: those of the hypernetwork and of the sampler widen in it.

All methods have the same network of 20 tanh units, the same Gaussian prior and the true noise; for the ensemble and
dropout the prior is weight decay. The log-likelihood is that of the mixture over draws, in nats per test point; an
interval is calibrated if it covers as much as it says; the spread is the standard deviation of the function over draws.
The sampler is the reference: far from the data all other methods are overconfident.

"""

REAL = """\
Diabetes
--------

Progression of the disease from ten measurements (scikit-learn), standardized, 353 patients to learn from and 89 to test
on; splits: {splits}. The noise is what linear regression leaves on the training data. The relation is nearly linear,
and there is little to tell the methods apart.

"""


@styled
def draw_bands(
    path: Path, bands: dict[str, Any], x: Tensor, y: Tensor, grid: Tensor, curve: Callable[[Tensor], Tensor]
) -> None:
    """Draw one panel for each method."""
    figure, axes = new_figure(2, 3, size=(3.0, 2.3), sharex=True, sharey=True)
    at = grid.flatten().numpy()
    for axis, (name, prediction) in zip(axes.flat, bands.items(), strict=True):
        mean = prediction.mean.flatten().numpy()
        function, total = prediction.epistemic.sqrt().numpy(), prediction.std.numpy()
        axis.fill_between(at, mean - 2 * total, mean + 2 * total, color="#56B4E9", alpha=0.25, linewidth=0)
        axis.fill_between(at, mean - 2 * function, mean + 2 * function, color="#0072B2", alpha=0.35, linewidth=0)
        axis.plot(at, mean, color="#0072B2")
        axis.plot(at, curve(grid).flatten().numpy(), color="black", linestyle=":", linewidth=1)
        axis.plot(x.flatten().numpy(), y.flatten().numpy(), ".", color="#D55E00", markersize=4)
        axis.set_title(name)
        axis.set_ylim(-2.5, 2.5)
    save_figure(figure, path)


def write_page(
    path: Path, gap: dict[str, dict[str, dict[str, float]]], real: dict[str, dict[str, float]], splits: int
) -> None:
    """Write the page to ``path``."""
    parts = [TOP, GAP]
    for region, found in gap.items():
        parts += [_table(region, found), "\n"]
    parts += [REAL.format(splits=splits), _table("test patients", real)]
    path.write_text("".join(parts), encoding="utf-8")


def _table(caption: str, found: dict[str, dict[str, float]]) -> str:
    keys = list(next(iter(found.values())))
    rows = [["", *keys]]
    for name, values in found.items():
        rows.append([name, *(f"{values[k]:.0%}".replace("%", " %") if "%" in k else f"{values[k]:.3f}" for k in keys)])
    out = [f".. list-table:: {caption}\n   :header-rows: 1\n\n"]
    for row in rows:
        out += [f"   {'*' if i == 0 else ' '} - {cell}".rstrip() + "\n" for i, cell in enumerate(row)]
    return "".join(out)
