"""Extra terms of the training loss that look at the step's own weight draws and batch."""

from __future__ import annotations

import torch
from torch import Tensor

from ..guides import BayesianModel
from ..inference.objective import OutputTerm
from .outliers import PseudoOutliers

__all__ = ["OutlierTerm"]


class OutlierTerm(OutputTerm):
    """Cross-entropy to the uniform distribution on pseudo-outliers made from the batch, under the step's weights.

    Args:
        model: runs the network.
        outliers: makes the inputs and says what the term weighs.
        generator: of the making.
    """

    def __init__(
        self, model: BayesianModel, outliers: PseudoOutliers, generator: torch.Generator | None = None
    ) -> None:
        """Keep the parts."""
        self.model = model
        self.outliers = outliers
        self.generator = generator

    def inputs(self, x: Tensor) -> Tensor:
        """As many pseudo-outliers as there are inputs ``x``."""
        return self.outliers.make(x, self.generator)

    def value(self, outputs: Tensor) -> Tensor:
        """The term, a scalar in per-example units, from outputs ``(S, K, C)`` at the pseudo-outliers."""
        return -self.outliers.weight * outputs.log_softmax(dim=-1).mean()

    def __call__(self, weights: Tensor, x: Tensor, y: Tensor, step: int) -> Tensor:
        """The term for weights ``(S, P)`` and the batch ``x``."""
        return self.value(self.model.outputs(weights, self.inputs(x)))
