"""An estimator and a posterior of one's own network, an own Pyro model, and a stream of tasks in a run."""

from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from bayeshnet import HMLP, AutoHypernet, HypernetPosterior, WeightSpec, batched_forward, fit
from bayeshnet.distributions import FanInGaussian, WeightDistribution, WeightDraw
from bayeshnet.estimators import LIVI, KLEstimate, KLEstimator


class Doubled(KLEstimator):
    """The mean of two estimates, which is less noisy."""

    def __init__(self, num_samples: int = 4) -> None:
        self.num_samples = num_samples

    def _estimate(
        self, q: WeightDistribution, p: Distribution, num_samples: int, generator: torch.Generator | None
    ) -> KLEstimate:
        """Average the surrogates and the values."""
        first, second = (LIVI().estimate(q, p, num_samples, generator) for _ in range(2))
        surrogate = (first.surrogate + second.surrogate) / 2
        return KLEstimate(surrogate.detach(), surrogate)


def program(x: Tensor, y: Tensor | None = None) -> None:
    """A line with unknown slope, offset and noise."""
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    offset = pyro.sample("offset", dist.Normal(0.0, 1.0))
    noise = pyro.sample("noise", dist.HalfNormal(1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(slope * x + offset, noise), obs=y)


def main(folder: Path, steps: int = 100) -> Tensor:
    """Return the outputs of networks that a posterior draws, and fit the line."""
    net = nn.Linear(3, 2)
    spec = WeightSpec.of(net)
    hnet = HMLP(spec.shapes, uncond_in_size=2, cond_in_size=0, layers=(8,), verbose=False)
    posterior = HypernetPosterior(hnet, scale="fan_in", weight_spec=spec, init=net)
    law = posterior()
    draw: WeightDraw = posterior.draw(5, torch.Generator().manual_seed(0))
    estimate: KLEstimate = Doubled().estimate(law, FanInGaussian(spec))
    value: Tensor | None = estimate.value
    print(value, spec.unflatten(draw.w)["weight"].shape)
    x = torch.linspace(-1, 1, 20)
    guide = AutoHypernet(program)
    result = fit(program, guide, (x, 2 * x), num_steps=steps)
    print(folder, result)
    outputs: Tensor = batched_forward(net, draw.w, torch.zeros(4, 3))
    return outputs
