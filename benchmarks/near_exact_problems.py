"""Problems of the study of exactness: data, network, prior and likelihood that all posteriors share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from bayesian_regression import diabetes, gap
from torch import Tensor, nn

from bayeshnet.data import load_digits
from bayeshnet.distributions import FanInGaussian
from bayeshnet.guides import BayesianModel, Categorical, Gaussian, Likelihood
from bayeshnet.mnets import MLP

__all__ = ["PROBLEMS", "Problem"]

PRIOR = {"gain": 3.0, "last_gain": 10.0, "bias": 1.0}


@dataclass(frozen=True)
class Problem:
    """Data of a problem, its network of one hidden layer of tanh units, and how long it may take.

    Attributes:
        name: of the problem.
        title: of its section.
        x: inputs to learn from ``(N, d)``.
        y: their targets.
        test_x: inputs to test on.
        test_y: their targets.
        likelihood: distribution of the targets.
        hidden: number of hidden units.
        outputs: number of outputs.
        regions: masks of the test inputs by name.
        seconds: CPU seconds of each family.
        truth_seconds: CPU seconds of the long run of the sampler.
        chains: chains of the sampler.
    """

    name: str
    title: str
    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
    likelihood: Likelihood
    hidden: int
    outputs: int
    regions: dict[str, Tensor]
    seconds: float
    truth_seconds: float
    chains: int

    def model(self) -> BayesianModel:
        """Make the network with its prior and its likelihood."""
        net = MLP(self.x.shape[1], self.outputs, (self.hidden,), nn.Tanh(), no_weights=True, verbose=False)
        return BayesianModel(net, FanInGaussian(net.weight_spec, **PRIOR), self.likelihood)


def one_dimension() -> Problem:
    """Forty points on both sides of a gap."""
    data = gap()
    inside = data.test_x.abs().flatten() < 0.5
    regions = {"in the gap": inside, "on the data": ~inside}
    parts = (data.x, data.y, data.test_x, data.test_y, Gaussian(data.noise))
    return Problem("gap", "One dimension, with a gap", *parts, 20, 1, regions, 20.0, 90.0, 32)


def patients() -> Problem:
    """Progression of diabetes, standardized, with the noise that linear regression leaves."""
    data = diabetes(0)
    parts = (data.x, data.y, data.test_x, data.test_y, Gaussian(data.noise))
    return Problem("diabetes", "Diabetes", *parts, 20, 1, _everywhere(data.test_y), 6.0, 25.0, 16)


def digits(name: str, title: str, classes: int, train: int, hidden: int, seconds: tuple[float, float, int]) -> Problem:
    """Handwritten digits of the first classes, 8 x 8 pixels between -1 and 1."""
    x, y = load_digits()
    x, y = 2 * x.flatten(1)[y < classes] - 1, y[y < classes]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    known, new = order[:train], order[-min(450, len(x) - train) :]
    parts = (x[known], y[known], x[new], y[new], Categorical())
    return Problem(name, title, *parts, hidden, classes, _everywhere(y[new]), *seconds)


def _everywhere(y: Tensor) -> dict[str, Tensor]:
    return {"test": torch.ones(len(y), dtype=torch.bool)}


PROBLEMS = {
    "gap": one_dimension,
    "diabetes": patients,
    "zeros-ones": lambda: digits("zeros-ones", "Digits 0 and 1", 2, 240, 10, (6.0, 30.0, 16)),
    "ten-digits": lambda: digits("ten-digits", "Ten digits", 10, 600, 32, (12.0, 80.0, 8)),
}
