r"""
Write your own parts
====================

A hypernetwork, an estimator, a learner and an assignment of outputs to tasks, each in a
few lines. A part of your own works wherever one of the library's does: with the
training loop, with audits, and with learners.
"""

# %%
# A hypernetwork
# --------------
# A hypernetwork declares its tensors and turns a latent into weights. Here
# :math:`h(z) = A \sin(B z) + c`. The Jacobians that estimators need are computed from
# ``forward``.

import math

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from bayeshnet import FanInGaussian, HypernetPosterior, WeightSpec, diagnose
from bayeshnet.builders import MeanFieldWeights, MLPNetwork
from bayeshnet.continual import (
    Heads,
    SharedHead,
    SharedLearner,
    Split,
    Task,
    Training,
)
from bayeshnet.distributions import MeanFieldGaussian, embed
from bayeshnet.estimators import ClosedForm, KLEstimate, KLEstimator
from bayeshnet.hnets import HyperNetInterface

torch.manual_seed(0)


class Waves(HyperNetInterface):
    """Weights as sums of sines of the latent."""

    def __init__(self, target_shapes: list[list[int]], latent_size: int, width: int):
        super().__init__(
            target_shapes,
            latent_size,
            has_bias=True,
            has_fc_out=True,
            mask_fc_out=True,
            has_linear_out=True,
        )
        shapes = ((width, latent_size), (self.num_outputs, width), (self.num_outputs,))
        scales = (1.0, 0.5 / math.sqrt(width), 0.0)
        for layer, (shape, scale) in enumerate(zip(shapes, scales, strict=True)):
            name = "weight" if len(shape) == 2 else "bias"
            tensor = self._declare(shape, name, layer, group="uncond")
            nn.init.normal_(tensor, std=scale)

    def forward(
        self,
        uncond_input: Tensor | None = None,
        cond_input: Tensor | None = None,
        cond_id: int | None = None,
        weights: list[Tensor] | None = None,
        distilled_params: None = None,
        condition: int | None = None,
        ret_format: str = "squeezed",
    ) -> Tensor | list[Tensor]:
        self._check_call(ret_format, distilled_params)
        inner, outer, bias = self._resolve_weights(weights).uncond
        flat = (uncond_input @ inner.T).sin() @ outer.T + bias
        return self._formatted(flat, ret_format)


spec = WeightSpec.of(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)))
hnet = Waves([list(shape) for shape in spec.shapes], latent_size=2, width=10)
posterior = HypernetPosterior(hnet, scale="fan_in", weight_spec=spec)
prior = FanInGaussian(spec)
print(diagnose(posterior, prior, quick=True))

# %%
# It bends: two of its weights under 2000 latents.

w = posterior.rsample((2000,)).detach()
figure, ax = plt.subplots(figsize=(4, 3), layout="constrained")
ax.plot(w[:, 0], w[:, 1], ".", markersize=2)
ax.set_xlabel("first weight")
ax.set_ylabel("second weight")

# %%
# An estimator
# ------------
# An estimator returns a value in nats and a surrogate whose gradient is that of the
# divergence. This one works for posteriors with a density, by antithetic pairs of
# draws. The base class checks arguments and results.


class Antithetic(KLEstimator):
    """KL of a mean-field Gaussian, by draws and their mirror images."""

    min_samples = 2

    def __init__(self, num_samples: int = 16) -> None:
        self.num_samples = self._check_count(num_samples)

    def _estimate(self, q, p, num_samples, generator):
        half = torch.randn(num_samples // 2, q.mean.numel(), generator=generator)
        eps = torch.cat([half, -half])
        w = q.mean + q.variance.sqrt() * eps
        kl = (q.log_prob(w) - p.log_prob(w)).mean()
        return KLEstimate(kl.detach(), kl)


q = MeanFieldGaussian(torch.full((5,), 0.5), torch.full((5,), 0.3))
p = MeanFieldGaussian(torch.zeros(5), torch.ones(5))
exact = ClosedForm().estimate(q, p).value
found = [Antithetic(16).estimate(q, p).value for _ in range(200)]
print(f"mean of 200 estimates {torch.stack(found).mean():.3f}, exact {exact:.3f}")

# %%
# ``fit(..., estimator=Antithetic())`` trains with it, and so does any learner.
#
# A learner
# ---------
# :class:`~bayeshnet.continual.SharedLearner` has one posterior for all tasks. This one
# centers the prior of each task at what was learned before, and does not narrow it.


class Anchored(SharedLearner):
    """The prior of a task has the mean of the previous posterior."""

    def prior(self, state, previous, task):
        first = state.posterior.prior(task.train.x)
        if previous is None:
            return first
        old = previous.net.weight_spec
        places = old.places_in(state.net.weight_spec)  # the network may have grown
        mean = previous.posterior(0).mean.detach()
        return embed(MeanFieldGaussian(mean, first.scale[places], old), places, first)


def make_task(number: int) -> Task:
    """Two classes, divided by a line that turns from task to task."""
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(160, 2, generator=generator)
    angle = torch.tensor(0.6 * number)
    y = (x[:, 0] * angle.cos() + x[:, 1] * angle.sin() > 0).long()
    return Task(f"task {number}", Split(x[:120], y[:120]), Split(x[120:], y[120:]), 2)


def accuracies(heads: Heads) -> list[float]:
    """Learn three tasks and return the accuracy on each of them."""
    learner = Anchored(
        MLPNetwork((16,)),
        MeanFieldWeights(sigma=0.05),
        heads=heads,
        training=Training(steps=150, lr=1e-2),
    )
    tasks, state = [make_task(number) for number in range(3)], None
    for number, task in enumerate(tasks):
        state = learner.learn(state, task, seed=number)
    return [
        (learner.predict(state, t.test.x, task_id=n).label == t.test.y).float().mean()
        for n, t in enumerate(tasks)
    ]


print("one head:", [f"{share:.2f}" for share in accuracies(SharedHead())])

# %%
# Heads
# -----
# Heads say which outputs of the network belong to which task. Here tasks take turns
# with two blocks of outputs.


class TwoBlocks(Heads):
    """Even tasks have one block of outputs, odd ones another."""

    def width(self, num_tasks: int, size: int) -> int:
        return min(num_tasks, 2) * size

    def block(self, task_id: int, size: int) -> tuple[int, int]:
        start = (task_id % 2) * size
        return start, start + size


print("two blocks:", [f"{share:.2f}" for share in accuracies(TwoBlocks())])

# %%
# A head that learns in closed form on fixed features is another thing:
# :class:`~bayeshnet.exact.ExactHead`. ``CONTRIBUTING.md`` has a recipe for each kind of
# part, with the contract tests that it can join, and :doc:`/continual-learning` has
# posteriors, criteria and losses of your own.
