"""Guides, models and likelihoods show the settings of their constructors."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from bayeshnet import guides
from bayeshnet.distributions import FanInGaussian, HypernetPosterior, MeanFieldPosterior
from bayeshnet.estimators import LIVI
from bayeshnet.guides import (
    AutoHypernet,
    BayesianModel,
    Bernoulli,
    Categorical,
    Gaussian,
    HeteroscedasticGaussian,
    HypernetGuide,
    LowRankGuide,
    MeanFieldGuide,
    Poisson,
    RadialGuide,
)
from bayeshnet.hnets import HMLP
from bayeshnet.weights import WeightSpec


def program():
    return pyro.sample("x", dist.Normal(0.0, 1.0))


NET = nn.Linear(3, 2)
SPEC = WeightSpec.of(NET)
ESTIMATOR = LIVI(7)
HNET = HMLP([[3]], uncond_in_size=2, cond_in_size=0, num_cond_embs=0, verbose=False)
SHOWN = [
    (HypernetGuide(MeanFieldPosterior(SPEC), ESTIMATOR, "w"), f"estimator={ESTIMATOR!r}, name='w'"),
    (MeanFieldGuide(NET, ESTIMATOR), f"estimator={ESTIMATOR!r}, name='weights'"),
    (LowRankGuide(NET, 3, ESTIMATOR), f"rank=3, estimator={ESTIMATOR!r}, name='weights'"),
    (RadialGuide(NET, ESTIMATOR), f"estimator={ESTIMATOR!r}, name='weights'"),
    (AutoHypernet(program, layers=(4,), sigma=0.2), "AutoHypernet(model=program, layers=(4,), sigma=0.2)"),
    (
        BayesianModel(NET, FanInGaussian(SPEC), Categorical(), 60, strategy="loop", chunk_size=4),
        "num_data=60, strategy='loop', chunk_size=4",
    ),
    (Bernoulli(), "Bernoulli()"),
    (Categorical(), "Categorical()"),
    (Poisson(), "Poisson()"),
    (Gaussian(0.25, learn=True), "Gaussian(noise=0.25, learn=True)"),
    (Gaussian(torch.ones(4)), "Gaussian(noise=tensor(4,), learn=False)"),
    (
        guides.GuideCheck(0.3, 90.00004, 100, -1.0, 0.0, "use it"),
        "k_hat=0.3, effective=90.0, num_samples=100, log_evidence=-1.0, gap=0.0, advice='use it'",
    ),
    (guides.MixtureKL(ESTIMATOR, 9), f"inner={ESTIMATOR!r}, num_samples=9"),
    (guides.MixturePosterior([HypernetPosterior(HNET)]), "(components): ModuleList("),
    (guides.Flip(["a", "b"]), "Flip(names=('a', 'b'))"),
    (guides.Swap(["a"]), "Swap(names=('a',))"),
    (guides.Calibration({"x": torch.zeros(2)}, 9), "num_draws=9"),
    (HeteroscedasticGaussian(0.1), "HeteroscedasticGaussian(min_scale=0.1)"),
]


@pytest.mark.parametrize(("thing", "text"), SHOWN, ids=lambda value: type(value).__name__)
def test_settings_are_shown(thing, text):
    assert text in repr(thing)
    assert repr(thing).startswith(type(thing).__name__)


def test_all_public_classes_are_shown():
    shown = {type(thing).__name__ for thing, _ in SHOWN}
    assert shown == set(guides.__all__) - {"Likelihood", "Symmetry", "calibrate", "to_arviz"}
