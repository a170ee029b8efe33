"""Doors of :mod:`bayeshnet.distributions`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bayeshnet.distributions import (
    FanInGaussian,
    GeneratedPosterior,
    HypernetPosterior,
    LowRankGaussian,
    MeanFieldGaussian,
    MeanFieldPosterior,
    Mixture,
    Radial,
    ScaleMixturePrior,
)
from bayeshnet.hnets import HMLP
from bayeshnet.mnets import MLP
from bayeshnet.weights import WeightSpec, Whitening
from tests.support.doors import Door

_SPEC = WeightSpec.of_shapes([[2, 3], [2]])
_LOC = torch.linspace(-1, 1, 8)
_SCALE = torch.linspace(0.5, 1.5, 8)
_FACTOR = torch.linspace(-1, 1, 16).reshape(8, 2)
_VALUE = torch.linspace(-1, 2, 16).reshape(2, 8)
_WHITENING = Whitening(torch.zeros(8), torch.ones(8))
_GAUSSIAN: dict[str, Any] = {"loc": _LOC, "scale": _SCALE, "weight_spec": _SPEC, "validate_args": True}
_SIGMA: dict[str, Any] = {"weight_spec": _SPEC, "sigma": 0.1, "scale": "fan_in", "init": _LOC}
_PRIOR: dict[str, Any] = {"weight_spec": _SPEC, "dtype": torch.float32, "device": None}


def _gaussian() -> MeanFieldGaussian:
    return MeanFieldGaussian(_LOC, _SCALE)


def _latent() -> HMLP:
    return HMLP([[2, 3], [2]], 2, 3, [4], num_cond_embs=2, verbose=False)


def _condition(shapes: list[list[int]]) -> HMLP:
    return HMLP(shapes, 0, 3, [4], num_cond_embs=2, verbose=False)


def _hypernet() -> dict[str, Any]:
    return {
        "hnet": _latent(),
        "sigma": 0.1,
        "noise": "independent",
        "cond_id": 1,
        "weights": None,
        "scale": "fan_in",
        "weight_spec": _SPEC,
        "sigma_floor": 1e-4,
        "init": None,
        "block_size": 4,
    }


def _generated() -> dict[str, Any]:
    return {
        "hnet": _condition(GeneratedPosterior.target_shapes([[2, 3], [2]])),
        "family": "mean_field",
        "sigma": 0.1,
        "scale": "fan_in",
        "cond_id": 1,
        "weight_spec": _SPEC,
        "sigma_floor": 1e-4,
    }


def _implicit() -> dict[str, Any]:
    return {
        "geometry": _latent().geometry(cond_id=0),
        "sigma": torch.tensor(0.1),
        "whitening": _WHITENING,
        "weight_spec": _SPEC,
        "validate_args": True,
    }


def _network() -> dict[str, Any]:
    net = MLP(3, 2, [], no_weights=True, verbose=False)
    return {"net": net, "weight_spec": net.weight_spec, "flat": torch.randn(8)}


def _module_sigma() -> dict[str, Any]:
    return {"module": nn.Linear(3, 1), "weight_spec": _SPEC, "floor": 1e-4}


DOORS: dict[str, Door] = {
    "ConditionalPosterior": Door(closed="abstract"),
    "Dirac": Door({"loc": _LOC, "weight_spec": _SPEC}),
    "DiracPosterior": Door({"weight_spec": _SPEC, "scale": "fan_in", "init": _LOC}),
    "FanInGaussian": Door({**_PRIOR, "gain": 1.4, "last_gain": 1.0, "bias": 0.1}),
    "FanInGaussian.log_prob": Door({"value": _VALUE}, of=lambda: FanInGaussian(_SPEC), hot=True),
    "FixedSigma": Door({"value": torch.tensor(0.1)}),
    "GeneratedPosterior": Door(_generated),
    "GeneratedSigma": Door(lambda: {"hnet": _condition([[8]]), "init": 0.1, "floor": 1e-4}),
    "HypernetPosterior": Door(_hypernet),
    "HypernetPosterior.save": Door({"path": "posterior"}, of=lambda: HypernetPosterior(**_hypernet())),
    "HypernetPosterior.start_at": Door(
        {"init": _LOC, "cond_id": 1}, of=lambda: HypernetPosterior(**_hypernet()), random=True
    ),
    "HypernetPosterior.state_dicts": Door(
        {"module": nn.Linear(3, 2), "num": 2, "generator": None, "cond_id": 1, "cond_input": None},
        of=lambda: HypernetPosterior(**_hypernet()),
        random=True,
    ),
    "LearnedSigma": Door({"weight_spec": _SPEC, "init": 0.1, "size": "tensor", "floor": 1e-4, "dtype": torch.float32}),
    "LowRankGaussian": Door(
        {"loc": _LOC, "factor": _FACTOR, "diag": _SCALE, "weight_spec": _SPEC, "validate_args": True}
    ),
    "LowRankGaussian.log_prob": Door({"value": _VALUE}, of=lambda: LowRankGaussian(_LOC, _FACTOR, _SCALE), hot=True),
    "LowRankPosterior": Door({**_SIGMA, "rank": 2, "init_std": 0.01}),
    "MeanFieldGaussian": Door(_GAUSSIAN),
    "MeanFieldGaussian.log_prob": Door({"value": _VALUE}, of=_gaussian, hot=True),
    "MeanFieldPosterior": Door(_SIGMA),
    "MeanFieldPosterior.start_at": Door({"init": _LOC}, of=lambda: MeanFieldPosterior(_SPEC)),
    "Mixture": Door({"logits": torch.zeros(2), "components": [_gaussian(), _gaussian()]}),
    "Mixture.log_prob": Door({"value": _VALUE}, of=lambda: Mixture(torch.zeros(2), [_gaussian()] * 2), hot=True),
    "ModuleSigma": Door(_module_sigma),
    "ParameterSigma": Door({"parameter": nn.Parameter(torch.ones(())), "weight_spec": _SPEC, "floor": 1e-4}),
    "Radial": Door(_GAUSSIAN),
    "Radial.log_prob": Door({"value": _VALUE}, of=lambda: Radial(_LOC, _SCALE), hot=True),
    "RadialPosterior": Door(_SIGMA),
    "SampledNetwork": Door(_network),
    "ScaleMixturePrior": Door({**_PRIOR, "pi": 0.5, "scale1": 1.0, "scale2": 0.1}),
    "ScaleMixturePrior.log_prob": Door({"value": _VALUE}, of=lambda: ScaleMixturePrior(_SPEC), hot=True),
    "SemiImplicit": Door(lambda: {**_implicit(), "block_size": 4}),
    "SharedNoise": Door(_implicit),
    "WeightDistribution": Door(closed="abstract"),
    "WeightDraw": Door({"w": _VALUE, "z": torch.ones(2, 2), "eps": _VALUE, "u": _VALUE}),
    "WeightPosterior": Door(closed="abstract"),
    "as_gaussian": Door({"p": _gaussian()}),
    "as_low_rank": Door({"p": _gaussian()}),
    "embed": Door(
        {
            "q": _gaussian(),
            "places": torch.tensor([0, 1, 2, 3, 4, 6, 9, 8]),
            "prior": FanInGaussian(WeightSpec.of_shapes([[2, 4], [2]])),
        }
    ),
}
