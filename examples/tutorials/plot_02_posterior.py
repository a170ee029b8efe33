r"""
From noise to posterior
=======================

Fed with noise :math:`z`, a hypernetwork makes random weights,
:math:`w = h(z) + \sigma \varepsilon`. Trained by the evidence lower bound, they become
a sample of an approximate posterior: networks that agree on the data and differ where
there are none. This page fits one, and holds it against the true posterior.
"""

# %%
# Data with a gap
# ---------------

import matplotlib.pyplot as plt
import torch
from torch import nn

from bayeshnet import BayesianModel, HypernetGuide, ModuleMainNet, Predictive, fit
from bayeshnet.builders import ImplicitGenerator
from bayeshnet.guides import Gaussian
from bayeshnet.inference import BatchedHMC, LinearWarmup, reference_posterior

torch.manual_seed(0)
x = torch.cat([torch.linspace(-2, -0.7, 20), torch.linspace(0.7, 2, 20)]).unsqueeze(1)
y = (2 * x).sin() + 0.2 * torch.randn_like(x)

# %%
# Prior, posterior, likelihood
# ----------------------------
# :class:`~bayeshnet.builders.ImplicitGenerator` builds a hypernetwork of the latent and
# the prior to which its initialization belongs. Its noise has a standard deviation for
# each weight, which is learned: a fixed one is a poor posterior
# (:doc:`/results/near-exact`). The model is a Pyro model of the data, the guide a Pyro
# guide of the weights.

net = ModuleMainNet(nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 1)))
builder = ImplicitGenerator(
    latent_size=16,
    hidden_layers=(64,),
    sigma="generated",
    sigma_init=0.05,
    gain=2.0,
    last_gain=1.5,
    bias_scale=1.0,
)
posterior = builder.build(net.weight_spec)
model = BayesianModel(net, builder.prior(net.weight_spec), Gaussian(noise=0.2))
guide = HypernetGuide(posterior)
grid = torch.linspace(-3, 3, 121).unsqueeze(1)
before = Predictive(guide, net, model.likelihood)(grid, keep_samples=True)

# %%
# Fitting
# -------
# :func:`~bayeshnet.inference.fit` maximizes the bound,
# :math:`\mathbb{E}_q \log p(y | x, w) - \mathrm{KL}(q \| p)`, in nats. The weight of
# the divergence grows from almost nothing to one in the first steps.

result = fit(
    model,
    guide,
    (x, y),
    num_steps=1000,
    lr=1e-2,
    scheduler="cosine",
    num_particles=4,
    beta=LinearWarmup(200, 0.01, 1.0),
)
after = Predictive(guide, net, model.likelihood)(grid, keep_samples=True)
result.plot().set_title("the bound, per example")

# %%
# The true posterior
# ------------------
# The network is small enough for Hamiltonian Monte Carlo: 32 chains side by side.

exact = reference_posterior(
    model,
    x,
    y,
    sampler=BatchedHMC(max_steps=64),
    num_samples=100,
    generator=torch.Generator().manual_seed(0),
)
truth = Predictive(exact, net, model.likelihood)(grid, keep_samples=True)
print(f"R-hat of the function: {exact.convergence(net, grid).worst_r_hat:.2f}")

# %%
# Draws before and after, and the truth
# -------------------------------------
# Each line is a network.

figure, axes = plt.subplots(1, 3, figsize=(10, 3), sharey=True, layout="constrained")
titles = ("before training", "after training", "the truth, by the sampler")
for ax, prediction, title in zip(axes, (before, after, truth), titles, strict=True):
    ax.plot(grid, prediction.samples[:40, :, 0].T, color="C0", alpha=0.3, lw=0.7)
    ax.plot(x, y, ".", color="k", markersize=4)
    ax.set_title(title)
axes[0].set_ylim(-4, 4)

# %%
# How good is it?
# ---------------
# The standard deviation over networks, region by region. In the gap and beyond the data
# the posterior is narrower than the truth, on the data it is wider. For so small a
# network take the sampler; where it is too slow, these are the errors to expect.
# :doc:`/results/near-exact` has the comparison at equal time, for more families and for
# larger networks.

regions = {
    "in the gap": grid[:, 0].abs() < 0.5,
    "on the data": (grid[:, 0].abs() > 0.7) & (grid[:, 0].abs() < 2),
    "beyond": grid[:, 0].abs() > 2.3,
}
print(f"{'':12} posterior  truth")
for name, mask in regions.items():
    stds = [p.epistemic[mask].sqrt().mean().item() for p in (after, truth)]
    print(f"{name:12} {stds[0]:9.3f} {stds[1]:6.3f}")

# %%
# Uncertainty by its source
# -------------------------
# The variance of a prediction is that of the noise (aleatoric) and that of the networks
# (epistemic). ``plot`` draws both.

ax = after.plot(grid)
ax.plot(x, y, ".", color="k", markersize=4)
ax.set_ylim(-4, 4)
