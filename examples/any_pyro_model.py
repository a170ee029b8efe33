"""A guide for any Pyro model
=============================

A flexible guide for your Pyro model in five lines: both signs of a mean of which only the modulus is seen.

Run it with ``python examples/any_pyro_model.py``.
"""

import pyro
import pyro.distributions as dist
import torch

from bayeshnet.guides import AutoHypernet
from bayeshnet.inference import Annealing, fit


def model(y: torch.Tensor) -> None:
    """Any Pyro model with continuous unknowns."""
    mean = pyro.sample("mean", dist.Normal(0.0, 3.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mean.abs(), scale), obs=y)


def main(steps: int = 600) -> None:
    """Fit the guide and print what it found."""
    torch.manual_seed(0)
    y = torch.tensor([1.9, 2.6, 2.2, 1.4, 2.4, 1.7, 2.9, 2.1])

    guide = AutoHypernet(model)
    beta = Annealing(steps // 2, start=30.0)  # begin hot, to find both modes; leave it out where there is one
    fit(model, guide, (y,), num_steps=steps, lr=0.02, num_particles=64, beta=beta)
    draws = guide.sample_posterior(2000, y)
    audit = guide.audit()

    mean, scale = draws["mean"], draws["scale"]
    print(f"mean: {(mean > 0).float().mean():.0%} positive, modulus {mean.abs().mean():.2f} ± {mean.abs().std():.2f}")
    print(f"scale: {scale.mean():.2f} ± {scale.std():.2f}")
    print(f"negative entropy, audited: {audit.lower:.2f} to {audit.upper:.2f} nats")


if __name__ == "__main__":
    main()
