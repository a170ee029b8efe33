"""Doors of :mod:`bayeshnet.guides`, likelihoods included."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import init_to_median
from torch import nn

from bayeshnet.distributions import FanInGaussian, HypernetPosterior, MeanFieldPosterior
from bayeshnet.estimators import LIVI
from bayeshnet.guides import (
    AutoHypernet,
    BayesianModel,
    Bernoulli,
    Calibration,
    Categorical,
    Flip,
    Gaussian,
    HeteroscedasticGaussian,
    HypernetGuide,
    Poisson,
)
from bayeshnet.hnets import HMLP
from bayeshnet.weights import WeightSpec
from tests.support.doors import Door

_NET = nn.Linear(3, 2)
_SPEC = WeightSpec.of(_NET)
_GUIDE: dict[str, Any] = {"net": _NET, "estimator": LIVI(), "name": "weights"}
_X, _LABELS = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
_OUTPUTS = torch.randn(5, 4, 2)


def _program() -> torch.Tensor:
    return pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def _observing() -> None:
    x = pyro.sample("x", dist.Normal(torch.zeros(()), 1.0))
    pyro.sample("y", dist.Normal(x, 1.0), obs=torch.zeros(()))


def _generated() -> HypernetPosterior:
    hnet = HMLP([[3]], uncond_in_size=2, cond_in_size=0, num_cond_embs=0, layers=[4], verbose=False)
    return HypernetPosterior(hnet, weight_spec=WeightSpec.of_shapes([[3]]))


def _fitted(model: Any) -> AutoHypernet:
    return AutoHypernet(model, layers=())


def _calibration() -> Calibration:
    return Calibration({"x": torch.arange(10)}, 9)


def _model() -> BayesianModel:
    return BayesianModel(_NET, FanInGaussian(_SPEC), Categorical(), 10)


def _guide() -> HypernetGuide:
    return HypernetGuide(MeanFieldPosterior(_SPEC))


def _density(likelihood: type, y: torch.Tensor) -> Door:
    return Door({"outputs": _OUTPUTS, "y": y}, of=likelihood, hot=True)


def _run_guide() -> AutoHypernet:
    guide = AutoHypernet(_program, layers=())
    guide()
    return guide


DOORS: dict[str, Door] = {
    "AutoHypernet": Door(
        {
            "model": _program,
            "estimator": LIVI(),
            "latent_size": 2,
            "layers": (4,),
            "num_samples": 4,
            "sigma": 0.1,
            "init_scale": 0.1,
            "activation_fn": nn.Tanh(),
            "init_loc_fn": init_to_median,
            "stretch": False,
            "centring": "learn",
            "components": 2,
            "symmetries": (Flip(["x"]),),
            "tails": 1.5,
            "num_latents": ...,
        }
    ),
    "AutoHypernet.check": Door(
        {"model": _program, "num_samples": 100, "num_particles": 50, "generator": None},
        of=lambda: AutoHypernet(_program),
        random=True,
    ),
    "AutoHypernet.resample": Door(
        {"num_samples": 5, "model": _program, "num_draws": 100, "generator": None},
        of=lambda: AutoHypernet(_program),
        random=True,
    ),
    "AutoHypernet.audit": Door(
        {"num_samples": 8, "generator": None, "quick": True, "num_draws": None}, of=_run_guide, random=True
    ),
    "AutoHypernet.sample_posterior": Door(
        {"num_samples": 3, "generator": None}, of=lambda: AutoHypernet(_program), random=True
    ),
    "AutoHypernet.reweigh": Door(
        {"model": _program, "num_samples": 25, "generator": None},
        of=lambda: AutoHypernet(_program, components=2, layers=()),
        random=True,
    ),
    "AutoHypernet.median": Door({"num_samples": 3}, of=lambda: AutoHypernet(_program), random=True),
    "BayesianModel": Door(
        {
            "net": _NET,
            "prior": FanInGaussian(_SPEC),
            "likelihood": Categorical(),
            "num_data": 10,
            "strategy": "auto",
            "chunk_size": None,
        }
    ),
    "BayesianModel.forward": Door({"x": _X, "y": _LABELS, "cond_id": None, "cond_input": None}, of=_model, random=True),
    "BayesianModel.log_likelihood": Door({"weights": torch.randn(5, 8), "x": _X, "y": _LABELS}, of=_model, hot=True),
    "BayesianModel.outputs": Door({"weights": torch.randn(5, 8), "x": _X}, of=_model, hot=True),
    "BayesianModel.with_data": Door({"num_data": 7}, of=_model, read=lambda model: ()),
    "Bernoulli": Door({}),
    "Bernoulli.check_targets": Door({"y": torch.ones(4, 2)}, of=Bernoulli),
    "Bernoulli.log_prob": _density(Bernoulli, torch.ones(4, 2)),
    "Calibration": Door({"ranks": {"x": torch.arange(10)}, "num_draws": 9}, read=lambda found: ()),
    "Calibration.coverage": Door({"level": 0.8}, of=_calibration),
    "Calibration.histogram": Door({"name": "x", "bins": 2}, of=_calibration),
    "Calibration.p_values": Door({"bins": 2}, of=_calibration),
    "Categorical": Door({"ignore_index": -100}),
    "Categorical.check_targets": Door({"y": _LABELS}, of=Categorical),
    "Categorical.log_prob": _density(Categorical, _LABELS),
    "Flip": Door({"names": ["x"]}),
    "Gaussian": Door({"noise": torch.ones(2), "learn": True}),
    "Gaussian.check_targets": Door({"y": torch.randn(4, 2)}, of=Gaussian),
    "Gaussian.log_prob": _density(Gaussian, torch.randn(4, 2)),
    "Gaussian.num_outputs": Door({"num_targets": 2}, of=Gaussian),
    "HeteroscedasticGaussian": Door({"min_scale": 1e-3}),
    "HeteroscedasticGaussian.log_prob": _density(HeteroscedasticGaussian, torch.randn(4, 1)),
    "HeteroscedasticGaussian.num_outputs": Door({"num_targets": 2}, of=HeteroscedasticGaussian),
    "GuideCheck": Door(closed="a record that check makes"),
    "HypernetGuide": Door({"posterior": MeanFieldPosterior(_SPEC), "estimator": LIVI(), "name": "weights"}),
    "HypernetGuide.audit": Door(
        {"prior": MeanFieldPosterior(_SPEC), "cond_id": None, "cond_input": None, "num_samples": 8, "generator": None},
        of=_guide,
        random=True,
    ),
    "HypernetGuide.forward": Door({"cond_id": None, "cond_input": None}, of=_guide, random=True),
    "Likelihood": Door(closed="abstract"),
    "LowRankGuide": Door({**_GUIDE, "rank": 2, "sigma": 0.1}),
    "MeanFieldGuide": Door({**_GUIDE, "sigma": 0.1}),
    "MixtureKL": Door({"inner": LIVI(), "num_samples": 8}),
    "MixturePosterior": Door({"components": [_generated(), _generated()]}),
    "Poisson": Door({}),
    "Poisson.check_targets": Door({"y": torch.ones(4, 2)}, of=Poisson),
    "Poisson.log_prob": _density(Poisson, torch.ones(4, 2)),
    "RadialGuide": Door({**_GUIDE, "sigma": 0.1}),
    "Swap": Door({"names": ["x"]}),
    "Symmetry": Door(closed="abstract"),
    "calibrate": Door(
        {"model": _observing, "guide_factory": _fitted, "num_simulations": 10, "num_draws": 9, "generator": None},
        random=True,
        read=lambda found: list(found.ranks.values()),
    ),
    "to_arviz": Door(closed="ArviZ is missing")
    if find_spec("arviz") is None
    else Door(
        {"guide": _fitted(_observing), "model": _observing, "num_samples": 100, "generator": None},
        random=True,
        read=lambda found: (),
    ),
}
