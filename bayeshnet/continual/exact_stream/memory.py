"""The parts of a state that an exact learner fills: features, the head, and the head seen as a network of weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...builders.explicit import PointWeights
from ...distributions import Dirac, WeightDistribution
from ...errors import value_error
from ...exact import ExactHead
from ...features import FeatureMap
from ...weights import WeightSpec
from ..task_posterior import TaskPosterior

__all__ = ["ExactMemory", "HeadNetwork", "HeadPosterior", "linear_spec"]


class ExactMemory(nn.Module):
    """Features and the exact head over them: all that is learned.

    Args:
        features: the frozen map.
        head: the head, whose sums are saved and loaded.

    Attributes:
        unit: a number 1 that has the dtype and the device of the features.
        order: the classes in the order in which they appeared, ``(C,)``.
        calibrated: number of examples that had been learned when the temperature was last looked at, ``()``.
    """

    order: Tensor
    calibrated: Tensor

    def __init__(self, features: FeatureMap, head: ExactHead) -> None:
        super().__init__()
        self.features, self.head = features, head
        self.unit = nn.Parameter(torch.ones(()), requires_grad=False)
        self.register_buffer("order", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("calibrated", torch.zeros((), dtype=torch.int64))

    @property
    def num_bytes(self) -> int:
        """Memory of the features and the head, in bytes."""
        return self.features.num_bytes + self.head.num_bytes

    def features_of(self, x: Tensor) -> Tensor:
        """Compute the features of inputs, refused by name if they are not finite."""
        features: Tensor = self.features(x)
        if not bool(features.isfinite().all()):
            raise value_error("x", expected="inputs with finite features", found="NaN or infinity among these")
        return features

    def note(self, y: Tensor) -> None:
        """Append classes that have not appeared before."""
        new = y.unique().to(self.order)
        self.order = torch.cat([self.order, new[~torch.isin(new, self.order)]])

    def weights(self) -> Tensor:
        """Return the weights of the classes, in order of appearance, and then the offsets, ``(P,)``."""
        columns = torch.searchsorted(self.head.labels, self.order)
        weight = self.head.linear_map()[:, columns].to(self.unit)
        return torch.cat([weight[:-1].T.flatten(), weight[-1]])

    def resize_like(self, state: Mapping[str, Tensor]) -> None:
        """Give the list of classes the length of that in a state dict that is about to be loaded."""
        if "order" in state:
            self.order = self.order.new_zeros(state["order"].shape)


def linear_spec(num_features: int, num_classes: int) -> WeightSpec:
    """Return the names and shapes of the weights of a linear layer."""
    return WeightSpec.of_shapes([[max(num_classes, 1), num_features], [max(num_classes, 1)]])


class HeadNetwork(nn.Module):
    """The linear layer over the features as a main network, whose weights are those of the head.

    Args:
        memory: features and head, which the posterior holds; they are not saved a second time.
    """

    def __init__(self, memory: ExactMemory) -> None:
        super().__init__()
        self._memory = (memory,)

    @property
    def weight_spec(self) -> WeightSpec:
        """Names and shapes of the weights of the classes so far."""
        memory = self._memory[0]
        return linear_spec(memory.features.num_features, len(memory.order))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs of the classes, in order of appearance, ``(N, C)``."""
        memory = self._memory[0]
        weight, offset = self.weight_spec.unflatten(memory.weights()).values()
        found: Tensor = memory.features(x) @ weight.T + offset
        return found


class HeadPosterior(TaskPosterior):
    """The weights of the head as one point for all tasks.

    Their uncertainty is integrated in closed form where the head predicts, so they are never drawn.

    Args:
        memory: features and head.
    """

    def __init__(self, memory: ExactMemory) -> None:
        super().__init__(PointWeights(), linear_spec(memory.features.num_features, 0))
        self.memory = memory

    def grow(self) -> None:
        """Count the task, and the classes that have appeared."""
        self.num_tasks += 1
        self.weight_spec = linear_spec(self.memory.features.num_features, len(self.memory.order))

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> WeightDistribution:
        """Return the point, the same for every task."""
        return Dirac(self.memory.weights())

    def resize_like(self, state: Mapping[str, Tensor]) -> None:
        """Take the number of classes from a state dict that is about to be loaded."""
        if "memory.order" in state:
            self.weight_spec = linear_spec(self.memory.features.num_features, len(state["memory.order"]))
