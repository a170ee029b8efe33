"""
Is my KL right?
===============

The KL divergence of an implicit posterior has no closed form, and an estimate that is
wrong looks like any other number. :func:`~bayeshnet.estimators.diagnose` gives an
interval, a verdict, and alarms.
"""

# %%
# What is estimated
# -----------------
# For :math:`w = h(z) + \sigma\varepsilon`,
#
# .. math::
#
#    \mathrm{KL}(q \| p) = \mathbb{E}_z \mathrm{KL}(N(h(z), \sigma^2) \| p) - I(w; z).
#
# The first term is analytic for each latent. The second is the information that a
# weight vector has about its latent; it is where estimators differ.

import matplotlib.pyplot as plt
import torch
from torch import nn

from bayeshnet import HMLP, FanInGaussian, HypernetPosterior, WeightSpec, diagnose
from bayeshnet.distributions import SemiImplicit
from bayeshnet.geometry import JacobianGeometry

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(2, 10), nn.Tanh(), nn.Linear(10, 1))
spec = WeightSpec.of(net)
hnet = HMLP(
    spec.shapes,
    uncond_in_size=4,
    cond_in_size=0,
    layers=(20,),
    activation_fn=nn.Tanh(),
    verbose=False,
)
q, p = HypernetPosterior(hnet, scale="fan_in", weight_spec=spec), FanInGaussian(spec)

# %%
# An interval
# -----------
report = diagnose(q, p)
print(report)

# %%
# A map that folds
# ----------------
# LIVI takes the map to be linear around each latent. That is right for small noise and
# a map that is one to one. The map :math:`h(z) = (|z|, \ldots, |z|)` makes each weight
# vector from two latents, so that a weight vector says less about its latent:
# :math:`\log 2 = 0.69` nats less, and LIVI does not see it. The diagnosis does.

direction = torch.linspace(0.5, 1.5, spec.numel)


def fold(z: torch.Tensor) -> torch.Tensor:
    return z.abs() * direction


folded = SemiImplicit(
    JacobianGeometry(fold, 1, spec.numel, like=direction), torch.tensor(0.1)
)
found = diagnose(folded, p)
print(str(found).splitlines()[2])
print(f"KL in [{found.lower:.2f}, {found.upper:.2f}], {found.verdict}")
print("alarms:", list(found.alarms))

# %%
# Which latents make this weight vector?
# --------------------------------------
# The density of the latent, given a weight vector, has two modes (drawn for noise of
# 0.5, to be seen).

z = torch.linspace(-3, 3, 601).unsqueeze(1)
w = fold(torch.tensor([[1.2]]))
log_density = -0.5 * ((w - fold(z)) / 0.5).square().sum(1) - 0.5 * z[:, 0].square()
figure, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
ax.fill_between(z[:, 0], (log_density - log_density.max()).exp(), alpha=0.5)
ax.axvline(1.2, color="k", linestyle="--", label="the latent that made it")
ax.set_xlabel("z")
ax.set_yticks([])
ax.set_title("density of the latent, given the weights")
ax.legend()
