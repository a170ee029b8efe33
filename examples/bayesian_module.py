"""A Bayesian module
====================

A Bayesian neural network on your own module in fifteen lines: regression with doubt where there are no data.

Run it with ``python examples/bayesian_module.py``.
"""

import torch
from torch import nn

from bayeshnet.distributions import FanInGaussian, HypernetPosterior
from bayeshnet.guides import BayesianModel, Gaussian, HypernetGuide
from bayeshnet.hnets import HMLP
from bayeshnet.inference import Predictive, fit
from bayeshnet.mnets import ModuleMainNet


def main(steps: int = 2000) -> None:
    """Fit a posterior over the weights of a module and print predictions inside and outside of the data."""
    torch.manual_seed(0)
    x = torch.cat([torch.linspace(-1.1, -0.5, 20), torch.linspace(0.5, 1.1, 20)]).unsqueeze(1)
    y = (3 * x).sin() + 0.1 * torch.randn(40, 1)

    net = ModuleMainNet(nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 1)))  # your module
    prior = FanInGaussian(net.weight_spec, gain=3.0, bias=2.0)
    model = BayesianModel(net, prior, Gaussian(noise=0.1))
    hnet = HMLP(
        net.hyper_shapes_learned,
        uncond_in_size=16,
        cond_in_size=0,
        num_cond_embs=0,
        layers=(64,),
        activation_fn=nn.Tanh(),
        linear_skip=True,
        verbose=False,
    )
    sigma = nn.Parameter(torch.full((net.weight_spec.numel,), 0.1))
    posterior = HypernetPosterior(hnet, sigma=sigma, scale=prior.whitening, weight_spec=net.weight_spec)
    guide = HypernetGuide(posterior)
    result = fit(model, guide, (x, y), num_steps=steps, lr=1e-2, scheduler="cosine", num_particles=8)
    print(f"loss {result.history['loss'][-100:].mean():.2f} nats per example in {result.seconds:.0f} s")

    at = torch.tensor([[-0.8], [0.0], [0.8], [2.0]])
    prediction = Predictive(guide, net, model.likelihood, num_samples=500)(at, quantiles=[0.05, 0.95])
    for i, point in enumerate(at.flatten()):
        low, high = (float(q[i]) for q in prediction.quantiles.values())
        doubt = prediction.epistemic[i].sqrt()
        print(f"x = {point:4.1f}: {float(prediction.mean[i]):5.2f}, 90 % in [{low:.2f}, {high:.2f}], doubt {doubt:.2f}")


if __name__ == "__main__":
    main()
