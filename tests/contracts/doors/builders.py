"""Doors of :mod:`bayeshnet.builders`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bayeshnet.builders import (
    ConvNetwork,
    DiracGenerator,
    HyperHypernetwork,
    ImplicitGenerator,
    LowRankWeights,
    MeanFieldGenerator,
    MeanFieldWeights,
    MLPNetwork,
    PointWeights,
    RadialGenerator,
    RadialWeights,
)
from bayeshnet.weights import WeightSpec
from tests.support.doors import Door

_SCALES: dict[str, Any] = {"gain": None, "last_gain": 1.0, "bias_scale": 0.1}
_WEIGHTS: dict[str, Any] = {**_SCALES, "sigma": 0.1}
_GENERATOR: dict[str, Any] = {
    **_WEIGHTS,
    "embedding_size": 4,
    "hidden_layers": (4,),
    "activation": "tanh",
    "init_std": 0.1,
    "layers": None,
    "spread": None,
}
_LATENT: dict[str, Any] = {**_GENERATOR, "sigma_init": 0.1, "latent_size": 2}
_IMPLICIT: dict[str, Any] = {**_LATENT, "chunk_size": None, "chunk_embedding_size": 4, "block_size": None}
_HYPER: dict[str, Any] = {**_LATENT, "outer_hidden_layers": (4,), "outer_layers": None}
_SPEC: dict[str, Any] = {"weight_spec": WeightSpec.of(nn.Linear(3, 2))}

DOORS: dict[str, Door] = {
    "ConditionedPosterior": Door(closed="a protocol"),
    "ConvNetwork": Door(
        {
            "channels": (2, 3),
            "hidden_layers": (4,),
            "activation": "relu",
            "image_shape": (1, 8, 8),
            "layout": None,
            "hidden": None,
        }
    ),
    "ConvNetwork.build": Door(
        {"input_shape": (1, 8, 8), "num_outputs": 2, "layout": "CHW"},
        of=lambda: ConvNetwork((2,), (4,)),
        read=lambda net: (),
    ),
    "DiracGenerator": Door(_GENERATOR),
    "DiracGenerator.build": Door(_SPEC, of=DiracGenerator),
    "HyperHypernetwork": Door(_HYPER),
    "HyperHypernetwork.build": Door(_SPEC, of=HyperHypernetwork),
    "ImplicitGenerator": Door(_IMPLICIT),
    "ImplicitGenerator.build": Door(_SPEC, of=ImplicitGenerator),
    "LowRankWeights": Door({**_WEIGHTS, "rank": 2}),
    "LowRankWeights.build": Door(_SPEC, of=LowRankWeights),
    "MLPNetwork": Door({"hidden_layers": (4,), "activation": "relu", "hidden": None}),
    "MLPNetwork.build": Door({"input_shape": (3,), "num_outputs": 2, "layout": None}, of=lambda: MLPNetwork((4,))),
    "MeanFieldGenerator": Door(_GENERATOR),
    "MeanFieldGenerator.build": Door(_SPEC, of=MeanFieldGenerator),
    "MeanFieldWeights": Door(_WEIGHTS),
    "MeanFieldWeights.build": Door(_SPEC, of=MeanFieldWeights),
    "MeanFieldWeights.prior": Door({**_SPEC, "like": torch.zeros(1)}, of=MeanFieldWeights),
    "MeanFieldWeights.whitening": Door(_SPEC, of=MeanFieldWeights),
    "NetworkBuilder": Door(closed="abstract"),
    "PointWeights": Door(_SCALES),
    "PointWeights.build": Door(_SPEC, of=PointWeights),
    "PosteriorBuilder": Door(closed="abstract"),
    "RadialGenerator": Door(_GENERATOR),
    "RadialGenerator.build": Door(_SPEC, of=RadialGenerator),
    "RadialWeights": Door(_WEIGHTS),
    "RadialWeights.build": Door(_SPEC, of=RadialWeights),
}
