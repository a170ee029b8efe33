"""
A guide for your Pyro model
===========================

:class:`~bayeshnet.guides.AutoHypernet` is a guide in the family of Pyro's AutoGuides,
for any model with continuous unknowns. Its joint posterior may be curved and may have
several modes. This page fits it beside a Gaussian guide, and checks both.
"""

# %%
# A model
# -------
# Eight values around the modulus of a mean: its sign cannot be known, so that the
# posterior has two modes.

import importlib.util

import matplotlib.pyplot as plt
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal

from bayeshnet.guides import AutoHypernet, to_arviz
from bayeshnet.inference import Annealing, fit

torch.manual_seed(0)
y = torch.tensor([0.9, 1.6, 1.2, 0.4, 1.4, 0.7, 1.9, 1.1])


def model(y: torch.Tensor) -> None:
    """A mean of which only the modulus is seen, and the scale around it."""
    mean = pyro.sample("mean", dist.Normal(0.0, 3.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mean.abs(), scale), obs=y)


# %%
# Fitting
# -------
# It works wherever Pyro's guides do, with ``SVI`` or with
# :func:`~bayeshnet.inference.fit`. A hot beginning, near the prior, finds both modes;
# leave it out where there is one.

guide = AutoHypernet(model)
hot = Annealing(200, start=30.0)
fit(model, guide, (y,), num_steps=400, lr=0.02, num_particles=32, beta=hot)

gaussian = AutoMultivariateNormal(model)
elbo = Trace_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=1)
fit(model, gaussian, (y,), num_steps=400, lr=0.02, elbo=elbo)

# %%
# Beside the truth
# ----------------
# Two unknowns are few enough for a grid.

means, scales = torch.linspace(-2.5, 2.5, 201), torch.linspace(0.15, 1.6, 201)
mean, scale = torch.meshgrid(means, scales, indexing="ij")
log_density = (
    dist.Normal(mean.abs().unsqueeze(-1), scale.unsqueeze(-1)).log_prob(y).sum(-1)
    + dist.Normal(0.0, 3.0).log_prob(mean)
    + dist.LogNormal(0.0, 1.0).log_prob(scale)
)
density = (log_density - log_density.max()).exp()

levels = [0.02, 0.1, 0.3, 0.6, 0.9]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
for ax, name, fitted in zip(
    axes, ("AutoHypernet", "AutoMultivariateNormal"), (guide, gaussian), strict=True
):
    with torch.no_grad():
        draws = (
            fitted.sample_posterior(1000, y)
            if fitted is guide
            else pyro.infer.Predictive(model, guide=fitted, num_samples=1000)(y)
        )
    ax.contour(means, scales, density.T, levels=levels, colors="0.5", linewidths=0.8)
    ax.plot(draws["mean"].flatten(), draws["scale"].flatten(), ".", markersize=2)
    ax.set_title(f"{name} (dots), truth (lines)")
    ax.set_xlabel("mean")
    ax.set_xlim(-2.5, 2.5)
    ax.set_ylim(0.15, 1.6)
axes[0].set_ylabel("scale")

# %%
# Is the guide right?
# -------------------
# The importance weights of its draws tell. The shape of their tail, :math:`\hat k`,
# should be below 0.7. Weights know nothing of what no draw has seen, so the check also
# searches for modes without draws. :doc:`/checking-guides` has the other checks, the
# simulation of data sets among them.

check = guide.check(model, y)
print(f"k-hat {check.k_hat:.2f}, {check.effective:.0f} of {check.num_samples} count")
print(check.advice)

# %%
# The weights also give the evidence, here compared with the sum over the grid, and they
# correct what is left: ``guide.resample(1000, model, y)``.

cell = (means[1] - means[0]) * (scales[1] - scales[0])
exact = (log_density.logsumexp((0, 1)) + cell.log()).item()
print(f"log evidence {check.log_evidence:.2f}, by the grid {exact:.2f}")

# %%
# Hierarchies
# -----------
# Where the prior of an unknown has a scale that is unknown itself, the posterior is a
# funnel. AutoHypernet generates such unknowns in units of their scales, to a degree
# that is learned (``centring="learn"``, the default). That helps, and the neck of the
# funnel is still entered too little: :doc:`/auto-hypernet` has numbers for published
# models. ``stretch=True`` goes further, and a model in non-centered form furthest.
#
# On to ArviZ
# -----------
# With ``pip install 'bayeshnet[arviz]'`` draws, predictions, log-likelihoods and
# log-weights become ArviZ's inference data, for its plots and summaries.

if importlib.util.find_spec("arviz"):
    import arviz

    print(arviz.summary(to_arviz(guide, model, y)))
