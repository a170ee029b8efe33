"""Sums over the features of all tasks, kept without examples: the evidence, distances and residuals of inputs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import check_int, check_size, value_error
from ...exact import GaussianClassesHead
from .combination import CombinationMemory
from .last_layers import LastLayers

__all__ = ["EvidenceScores", "TaskEvidence"]

_CHUNK, _CLASSES = 1000, 2**20


@dataclass(frozen=True)
class EvidenceScores:
    """Scores of inputs under each of some tasks, ``(N, T)`` each.

    Args:
        log_density: log-density of the features under the task's classes, in nats.
        distance: squared Mahalanobis distance from the nearest of the task's classes.
        virtual_logit: norm of what the task's principal subspace leaves of the features, times the task's scale.
    """

    log_density: Tensor
    distance: Tensor
    virtual_logit: Tensor


class TaskEvidence(nn.Module):
    r"""Gaussian classes of all tasks with one covariance, and the principal subspace of each task.

    Of features :math:`\varphi(x)` it keeps the sums of a :class:`~bayeshnet.exact.GaussianClassesHead`, whose classes
    are those of all tasks, each task's anew even where labels return. They do not depend on the order of examples or
    tasks. No example is stored.

    Args:
        features: fixed map from inputs to ``(N, D)``.
        num_features: number :math:`D`.
        num_directions: number :math:`q` of directions of the principal subspaces; at most :math:`D / 2` are used.
        entropy_weight: see :class:`CombinationMemory`.

    Attributes:
        head: the Gaussian classes.
        weights: what is known of the weights of a combination.
        center: mean of the features of each task, ``(T, D)``.
        directions: orthonormal principal directions of each task, ``(T, D, q)``; those that are missing are 0.
        scale: the number :math:`\alpha_t` of each task, ``(T,)``.
        layers: last layers of the tasks over fixed features, by the variance of their logits; or None.
    """

    center: Tensor
    directions: Tensor
    scale: Tensor

    def __init__(
        self, features: nn.Module, num_features: int, num_directions: int = 64, entropy_weight: float = 0.5
    ) -> None:
        super().__init__()
        self.features = features
        self.num_features = check_size("num_features", num_features)
        self.num_directions = min(check_size("num_directions", num_directions, 0), num_features // 2)
        self.head = GaussianClassesHead(num_features)
        self.weights = CombinationMemory(entropy_weight)
        self.layers: LastLayers | None = None
        self.register_buffer("center", torch.zeros(0, num_features))
        self.register_buffer("directions", torch.zeros(0, num_features, self.num_directions))
        self.register_buffer("scale", torch.zeros(0))

    @property
    def num_tasks(self) -> int:
        """Number of tasks learned."""
        return len(self.scale)

    @torch.no_grad()
    def of(self, x: Tensor) -> Tensor:
        """Compute the features ``(N, D)`` of inputs, in the dtype of the other buffers."""
        parts = (
            [self.features(part) for part in x.split(_CHUNK)]
            if len(x)
            else [self.center.new_zeros(0, self.num_features)]
        )
        return torch.cat(parts).to(self.center)

    @torch.no_grad()
    def learn(self, features: Tensor, y: Tensor, virtual_scale: float = 0.0) -> None:
        r"""Add a task.

        Args:
            features: of its training examples, ``(N, D)``.
            y: their classes, from 0, ``(N,)``.
            virtual_scale: mean of the largest logit over the task's examples; :math:`\alpha_t` is its ratio to the mean
                norm of the residuals. Negative ones count as 0.
        """
        self.head.update(features, self._keys(y, self.num_tasks))
        center = features.mean(0)
        directions = principal_directions(features - center, self.num_directions)
        norm = residual_norm(features, center, directions).mean()
        scale = torch.where(norm > 0, max(virtual_scale, 0.0) / norm, torch.zeros_like(norm))
        self.center = torch.cat([self.center, center[None]])
        self.directions = torch.cat([self.directions, directions[None]])
        self.scale = torch.cat([self.scale, scale[None]])

    @torch.no_grad()
    def without(self, features: Tensor, y: Tensor, task: int) -> TaskEvidence:
        """Return the same as if some examples of a task had not been learned: their sums are subtracted.

        Args:
            features: of the examples, ``(N, D)``.
            y: their classes.
            task: number of the task.
        """
        other = copy.copy(self)
        other._modules = dict(self._modules)
        head, part = copy.deepcopy(self.head), GaussianClassesHead(self.num_features).to(self.center.device)
        part.update(features, self._keys(y, task))
        head.gram.sub_(part.gram)
        place = torch.searchsorted(head.labels, part.labels)
        head.cross.index_add_(1, place, -part.cross)
        head.square.index_add_(0, place, -part.square)
        other.head = head
        return other

    @torch.no_grad()
    def scores(self, features: Tensor, tasks: Sequence[int]) -> EvidenceScores:
        r"""Compute the scores of inputs under tasks.

        The log-density is :math:`\log \sum_c \frac{n_c}{n_t} p(\varphi | c)` over the classes :math:`c` of task
        :math:`t`, of which :math:`n_c` of :math:`n_t` examples are. The distance is
        :math:`\min_c (\varphi - \mu_c)^\top \Lambda (\varphi - \mu_c)` with the posterior mean :math:`\Lambda` of the
        shared precision. The virtual logit is :math:`\alpha_t \lVert (I - U_t U_t^\top)(\varphi - m_t) \rVert`.

        Args:
            features: ``(N, D)``.
            tasks: numbers of the tasks.
        """
        if not tasks or min(tasks) < 0 or max(tasks) >= self.num_tasks:
            raise value_error("tasks", expected=f"numbers below the {self.num_tasks} tasks learned", got=tasks)
        owner = self.head.labels // _CLASSES
        each, far = self.head.log_density(features), self.head.distances(features) * self.head.fit().degrees
        density, distance, residual = [], [], []
        for t in tasks:
            own = owner == check_int("tasks", t, 0)
            counts = self.head.counts[own]
            counts = counts if bool(counts.sum() > 0) else torch.ones_like(counts)  # all were taken out
            density.append((each[:, own] + (counts / counts.sum()).log()).logsumexp(1))
            distance.append(far[:, own].amin(1))
            residual.append(self.scale[t] * residual_norm(features, self.center[t], self.directions[t]))
        log_density, nearest = torch.stack(density, 1).to(self.center), torch.stack(distance, 1).to(self.center)
        return EvidenceScores(log_density, nearest, torch.stack(residual, 1))

    def resize_like(self, state: Mapping[str, Tensor]) -> None:
        """Give the buffers of tasks the shapes of a state dict that is about to be loaded."""
        for name in ("center", "directions", "scale"):
            if name in state:
                setattr(self, name, getattr(self, name).new_zeros(state[name].shape))

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *args: Any) -> None:
        """Give all buffers of tasks and classes the shapes of those that are loaded, which a new state cannot know."""
        for name, part in (("", self), ("head.", self.head), ("layers.", self.layers)):
            start = prefix + name
            if part is not None:
                part.resize_like({k.removeprefix(start): v for k, v in state_dict.items() if k.startswith(start)})
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"num_tasks={self.num_tasks}, num_features={self.num_features}, num_directions={self.num_directions}"

    def _keys(self, y: Tensor, task: int) -> Tensor:
        return y.long() + task * _CLASSES


def principal_directions(centered: Tensor, num_directions: int) -> Tensor:
    """Compute the first principal directions of centered features ``(N, D)``: ``(D, q)``, with zeros where too few."""
    directions = centered.new_zeros(centered.shape[1], num_directions)
    if num_directions == 0:
        return directions
    values, vectors = torch.linalg.eigh((centered.T @ centered).double())
    count = min(num_directions, max(len(centered) - 1, 0))
    kept = vectors.flip(1)[:, :count] * (values.flip(0)[:count] > values[-1] * 1e-12)
    directions[:, :count] = kept.to(centered)
    return directions


def residual_norm(features: Tensor, center: Tensor, directions: Tensor) -> Tensor:
    r"""Compute :math:`\lVert (I - U U^\top)(\varphi - m) \rVert` of each row, ``(N,)``."""
    centered = features - center
    found: Tensor = (centered - (centered @ directions) @ directions.T).norm(dim=1)
    return found
