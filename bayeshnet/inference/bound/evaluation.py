"""The contract of an evaluation of the bound; there are two implementations, direct and traced."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ...estimators import KLEstimator
from .terms import BoundParts

__all__ = ["Evaluation", "EvaluationSettings"]


@dataclass(frozen=True)
class EvaluationSettings:
    """Settings of an evaluation of the bound.

    Attributes:
        estimator: of the KL; None for the guide's.
        num_particles: weight draws ``S`` for the likelihood.
        num_samples: draws or latents for the KL; None for the estimator's default.
        generator: of the draws; None for torch's global generator.
        local_noise: True if the output noise of linear layers is drawn in their pre-activations.
        with_weights: True if weights are drawn even where only losses beside the bound need them.
        amp: ``"bf16"`` if the main network is run in bfloat16.
    """

    estimator: KLEstimator | None
    num_particles: int
    num_samples: int | None
    generator: torch.Generator | None
    local_noise: bool = False
    with_weights: bool = True
    amp: str | None = None


class Evaluation(ABC):
    """One evaluation of the bound on one batch: weights are drawn and the network is run once, at first use."""

    @property
    @abstractmethod
    def weights(self) -> Tensor:
        """Weight draws ``(S, P)``, with their gradient."""

    @property
    @abstractmethod
    def joins_inputs(self) -> bool:
        """True if :meth:`outputs`, called first, evaluates its inputs in the network pass of the batch."""

    @abstractmethod
    def outputs(self, inputs: Tensor) -> Tensor:
        """Compute outputs ``(S, K, C)`` at further inputs ``(K, ...)`` under :attr:`weights`."""

    @abstractmethod
    def parts(self) -> BoundParts:
        """Compute the parts of the bound."""
