"""Doors of :mod:`bayeshnet.estimators`."""

from __future__ import annotations

from typing import Any

import torch

from bayeshnet.distributions import FanInGaussian, HypernetPosterior, MeanFieldPosterior
from bayeshnet.estimators import (
    AVB,
    IWHVI,
    LIVI,
    SIVI,
    SSGE,
    Auto,
    ClosedForm,
    ImportanceSandwich,
    KernelRatio,
    MonteCarlo,
    NearestNeighbor,
    NuMethod,
    Stein,
    StochasticLIVI,
)
from bayeshnet.hnets import HMLP
from bayeshnet.weights import WeightSpec
from tests.support.doors import Door

_SPEC = WeightSpec.of_shapes([[2, 1], [2]])
_HNET = HMLP([[2, 1], [2]], uncond_in_size=2, cond_in_size=0, num_cond_embs=0, layers=[4], verbose=False)
_IMPLICIT = HypernetPosterior(_HNET, scale="fan_in")
_AFFINE = HypernetPosterior(
    HMLP([[2, 1], [2]], uncond_in_size=2, cond_in_size=0, num_cond_embs=0, layers=[], verbose=False), scale="fan_in"
)
_EXPLICIT = MeanFieldPosterior(_SPEC, scale="fan_in")
_PRIOR = FanInGaussian(_SPEC)

_SAMPLES: dict[str, Any] = {"num_samples": 4, "num_draws": None}
_LATENTS: dict[str, Any] = {"num_samples": 4, "num_latents": None}
_LIVI: dict[str, Any] = {**_LATENTS, "orthogonal": True, "antithetic": False}


def _implicit() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {"q": _IMPLICIT(), "p": _PRIOR, "num_samples": 4, "generator": generator}


def _explicit() -> dict[str, Any]:
    return {**_implicit(), "q": _EXPLICIT()}


def _draw() -> dict[str, Any]:
    return {"q": _IMPLICIT(), "draw": _IMPLICIT().draw(4)}


DOORS: dict[str, Door] = {
    "AVB": Door({**_SAMPLES, "hidden": (4,), "batch_size": 4, "steps": 1, "lr": 1e-3, "contrast_draws": 4}),
    "AVB.estimate": Door(_implicit, of=lambda: AVB((4,), 4, steps=1, contrast_draws=4), random=True),
    "Auto": Door(_LATENTS),
    "Auto.estimate": Door(_implicit, of=Auto, random=True),
    "ChangeOfVariables": Door(_SAMPLES),
    "ClosedForm": Door({}),
    "ClosedForm.estimate": Door(_explicit, of=ClosedForm, random=True),
    "DensityEstimator": Door(closed="abstract"),
    "Diagnosis": Door(closed="a record that diagnose makes"),
    "DrawEstimator": Door(closed="abstract"),
    "IWHVI": Door({**_SAMPLES, "num_proposals": 2, "hidden": (4,), "num_flows": 1, "steps": 1, "lr": 1e-3}),
    "IWHVI.estimate": Door(_implicit, of=lambda: IWHVI(4, 2, hidden=(4,), steps=1), random=True),
    "ImportanceSandwich": Door(
        {
            **_SAMPLES,
            "num_proposals": 4,
            "num_starts": 1,
            "inflation": 1.2,
            "dof": 8,
            "steps": 2,
            "control_variate": True,
        }
    ),
    "ImportanceSandwich.estimate": Door(_implicit, of=lambda: ImportanceSandwich(4, 4), random=True),
    "KLEstimate": Door(closed="a record that estimators make"),
    "KLEstimator": Door(closed="abstract"),
    "KLInterval": Door(closed="a record that kl_interval makes"),
    "KernelRatio": Door({**_SAMPLES, "width": "median", "ridge": 0.1, "direction": "reverse"}),
    "KernelRatio.estimate": Door(_explicit, of=KernelRatio, random=True),
    "LIVI": Door(_LIVI),
    "LIVI.estimate": Door(_implicit, of=LIVI, random=True),
    "LIVI.log_density": Door(_draw, of=LIVI, random=True),
    "MonteCarlo": Door({**_SAMPLES, "stick_the_landing": True}),
    "MonteCarlo.estimate": Door(_explicit, of=MonteCarlo, random=True),
    "MutualInformation": Door(closed="a record that estimators make"),
    "NearestNeighbor": Door({**_SAMPLES, "k": 1}),
    "NearestNeighbor.estimate": Door(_explicit, of=NearestNeighbor, random=True),
    "NuMethod": Door({**_SAMPLES, "width": "median", "regularization": 1e-5, "nu": 1.0, "dimension": "effective"}),
    "NuMethod.estimate": Door(_explicit, of=NuMethod, random=True),
    "SIVI": Door({**_SAMPLES, "num_latents": 8}),
    "SIVI.estimate": Door(_implicit, of=SIVI, random=True),
    "SSGE": Door({**_SAMPLES, "width": "median", "threshold": 0.99, "ridge": 0.0}),
    "SSGE.estimate": Door(_explicit, of=SSGE, random=True),
    "Stein": Door({**_SAMPLES, "width": "median", "ridge": 0.1}),
    "Stein.estimate": Door(_explicit, of=Stein, random=True),
    "StochasticLIVI": Door({**_LATENTS, "num_probes": 4, "num_steps": 3}),
    "StochasticLIVI.estimate": Door(_implicit, of=StochasticLIVI, random=True),
    "UnfoldedLIVI": Door(_LIVI),
    "diagnose": Door(lambda: {**_implicit(), "quick": True, "num_draws": None}, random=True),
    "kl_interval": Door(
        lambda: {**_implicit(), "q": _AFFINE, "level": 0.95, "target": 0.5, "quick": True},
        random=True,
        read=lambda found: found.value,
    ),
}
