"""A module of one's own made Bayesian, checked, saved, and loaded again."""

from pathlib import Path

import torch
from torch import Tensor, nn

import bayeshnet
from bayeshnet import BayesianModel, HypernetGuide, ModuleMainNet, Predictive, diagnose, fit
from bayeshnet.builders import ImplicitGenerator
from bayeshnet.distributions import FanInGaussian, HypernetPosterior
from bayeshnet.guides import Gaussian
from bayeshnet.inference import EarlyStopping, FitResult, Prediction


def main(folder: Path, steps: int = 500) -> Tensor:
    """Fit a sine and return the standard deviation of predictions."""
    x = torch.linspace(-1, 1, 40).unsqueeze(1)
    y = (3 * x).sin() + 0.1 * torch.randn(40, 1)
    module = nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 1))
    net, builder = ModuleMainNet(module), ImplicitGenerator(latent_size=4)
    prior: FanInGaussian = builder.prior(net.weight_spec)
    posterior: HypernetPosterior = builder.build(net.weight_spec)
    model = BayesianModel(net, prior, Gaussian(noise=0.1))
    result: FitResult = fit(
        model, HypernetGuide(posterior), (x, y), num_steps=steps, lr=1e-2, callbacks=[EarlyStopping()]
    )
    losses: Tensor = result.history["loss"]
    print(losses[-1].item(), diagnose(posterior, prior, quick=True))
    posterior.save(folder / "posterior")
    again = bayeshnet.load(folder / "posterior")
    states: list[dict[str, Tensor]] = posterior.state_dicts(module, 3)
    module.load_state_dict(states[0])
    prediction: Prediction = Predictive(again, net, model.likelihood, num_samples=20)(x)
    return prediction.std
