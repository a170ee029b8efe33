"""Doors of :mod:`bayeshnet.exact`."""

from __future__ import annotations

from typing import Any

import torch

from bayeshnet.exact import BayesianLinearHead, ExactHead, GaussianClassesHead
from tests.support.doors import Door

_GENERATOR = torch.Generator().manual_seed(0)
_X = torch.randn(9, 3, generator=_GENERATOR)
_Y = torch.arange(9) % 3
_NEW = torch.randn(4, 3, generator=_GENERATOR)
_WEIGHT = 0.9 ** torch.arange(8, -1, -1)


def _linear() -> BayesianLinearHead:
    return BayesianLinearHead(3).update(_X, _Y)


def _gaussian() -> GaussianClassesHead:
    return GaussianClassesHead(3).update(_X, _Y)


def _gram(head: ExactHead) -> Any:
    return head.gram


DOORS: dict[str, Door] = {
    "BayesianLinearHead": Door({"num_features": 3, "num_outputs": 2, "forgetting": 0.9}),
    "BayesianLinearHead.add_classes": Door({"labels": _Y}, of=_linear, read=_gram),
    "BayesianLinearHead.calibrate": Door(
        {"features": _X, "y": _Y, "learned": True, "weight": _WEIGHT}, of=_linear, read=lambda head: head.tally
    ),
    "BayesianLinearHead.forget": Door({"factor": 0.5}, of=_linear, read=_gram),
    "BayesianLinearHead.leave_one_out": Door(
        {"features": _X, "y": _Y, "weight": _WEIGHT}, of=_linear, read=lambda result: ()
    ),
    "BayesianLinearHead.left_out_logits": Door(
        {"features": _X, "y": _Y, "weight": _WEIGHT}, of=_linear, read=lambda result: ()
    ),
    "BayesianLinearHead.log_probs": Door({"features": _NEW}, of=_linear),
    "BayesianLinearHead.merge": Door({"other": _linear()}, of=_linear, read=_gram),
    "BayesianLinearHead.predict": Door({"features": _NEW}, of=_linear),
    "BayesianLinearHead.update": Door({"features": _X, "y": _Y}, of=_linear, read=_gram),
    "ExactHead": Door(closed="abstract"),
    "GaussianClassesHead": Door({"num_features": 3, "forgetting": 0.9, "prior_count": 0.01}),
    "GaussianClassesHead.distances": Door({"features": _NEW}, of=_gaussian),
    "GaussianClassesHead.left_out_logits": Door(
        {"features": _X, "y": _Y, "weight": _WEIGHT}, of=_gaussian, read=lambda result: ()
    ),
    "GaussianClassesHead.left_out_scores": Door(
        {"features": _X, "y": _Y, "weight": _WEIGHT}, of=_gaussian, read=lambda result: ()
    ),
    "GaussianClassesHead.log_density": Door({"features": _NEW}, of=_gaussian),
    "GaussianClassesHead.log_probs": Door({"features": _NEW}, of=_gaussian),
    "GaussianClassesHead.update": Door({"features": _X, "y": _Y}, of=_gaussian, read=_gram),
    "LinearPrediction": Door(closed="a record that heads make"),
}
