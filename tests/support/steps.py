"""A training step with given weights, for tests of losses beside the bound."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bayeshnet.guides import BayesianModel
from bayeshnet.inference import StepContext
from bayeshnet.inference.bound import BoundParts, Evaluation


class GivenWeights(Evaluation):
    """An evaluation with ``weights`` ``(S, P)``, without a bound."""

    def __init__(self, model: BayesianModel, weights: Tensor) -> None:
        self.model, self._weights = model, weights

    @property
    def weights(self) -> Tensor:
        return self._weights

    @property
    def joins_inputs(self) -> bool:
        return False

    def outputs(self, inputs: Tensor) -> Tensor:
        return self.model.outputs(self.weights, inputs)

    def parts(self) -> BoundParts:
        raise ValueError("There is no bound.")


def step_with(model: BayesianModel, weights: Tensor, *batch: Tensor, step: int = 0) -> StepContext:
    """A step of ``model`` on ``batch`` with weight draws ``weights``."""
    parts: Sequence[Tensor] = batch
    return StepContext(step, parts, GivenWeights(model, weights))
