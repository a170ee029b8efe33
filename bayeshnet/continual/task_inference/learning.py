"""Settings of the evidence of tasks, and its learning after the weights: sums, then the weights of the combination."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import check_instance, check_size
from ...features import Features
from ...mnets.inputs import floating_like
from ...rng import derive_seed
from ...tasks import Split, Task
from .density import DensitySettings
from .evidence import TaskEvidence
from .last_layers import LastLayers
from .prediction import StreamPrediction
from .task_density import TaskDensity, log_densities

__all__ = ["Aside", "EvidenceSettings", "build_evidence", "divide_task"]

_MOST_READ, _FEW, _SHARE = 10_000, 200, 5


@dataclass(frozen=True)
class EvidenceSettings:
    r"""Settings of what is kept of all tasks for criteria such as ``evidence``, ``mahalanobis`` and ``combined``.

    Args:
        features: features that are fitted to the first task; None for those of the densities of inputs (see
            :class:`DensitySettings`): flattened inputs, or brightness and edges of images.
        num_directions: number of principal directions of each task, for ``vim`` and ``logit_variance``; the latter
            stands on the features of the densities of inputs, whatever ``features`` are.
        set_aside: number of examples of each task that its weights do not learn, by which the criterion ``combined``
            is calibrated. Of a task of fewer than four times as many a fifth, at most 200, is taken, which the weights
            see and the densities do not; then the weight of the entropy stays as it is.
        most_features: nothing is kept where there are more features than this; 0 keeps nothing at all.

    Example:
        >>> from bayeshnet.features import PatchFilters
        >>> EvidenceSettings(features=PatchFilters(20, grid=4)).set_aside
        500
    """

    features: Features | None = None
    num_directions: int = 64
    set_aside: int = 500
    most_features: int = 2048

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.features is not None:
            check_instance("features", self.features, Features, "Features, or None")
        check_size("num_directions", self.num_directions, 0)
        check_size("set_aside", self.set_aside, 0)
        check_size("most_features", self.most_features, 0)


@dataclass(frozen=True)
class Aside:
    """A task's training examples, divided into those that the weights learn and those that are set aside.

    Args:
        evidence: what is kept of the tasks, or None if nothing is.
        task: the task.
        train: examples for the weights.
        known: in memory, examples of which sums are taken, but for those set aside.
        aside: examples that were set aside, in memory; None for none.
        hidden: True if the weights do not see those set aside.
        density: settings of the densities of inputs.
    """

    evidence: TaskEvidence | None
    task: Task
    train: Split
    known: Split
    aside: Split | None
    hidden: bool
    density: DensitySettings

    @torch.no_grad()
    def finish(self, densities: Sequence[TaskDensity], predict: Callable[[Tensor], StreamPrediction]) -> None:
        """Add the task, once its weights are learned, and learn the combination from the examples set aside.

        Args:
            densities: those of all tasks, this one's last, fitted to all of its examples.
            predict: predicts inputs under all tasks.
        """
        if self.evidence is None:
            return
        number, classes = len(densities) - 1, self.task.kind == "classification"
        parts = [self.known] if self.aside is None else [self.known, self.aside]
        targets = [part.y if classes else part.y.new_zeros(len(part), dtype=torch.long) for part in parts]
        judged = parts[-1].select(slice(0, max(_FEW, 0 if self.aside is None else len(self.aside))))
        prediction = predict(judged.x)
        logits = prediction.predictions[number].logits
        scale = 0.0 if logits is None else float(logits.amax(1).mean())
        x = torch.cat([part.x for part in parts])
        self.evidence.learn(self.evidence.of(x), torch.cat(targets), scale)
        if self.evidence.layers is not None:
            self.evidence.layers.learn(x)
        if number == 0 or self.aside is None:
            return
        features, among = self.evidence.of(judged.x), range(number + 1)
        tied = self.evidence.without(features, targets[-1], number).scores(features, among).log_density
        held_out = self.density.fit(self.known.x, self.known.y if classes else None, self.task.layout)
        own = log_densities([*densities[:-1], held_out], judged.x) / prediction.temperature
        doubt = -prediction.scores("entropy")
        layers = self.evidence.layers
        variance = None if layers is None else layers.variances(judged.x, among)
        self.evidence.weights.learn(tied, own, doubt, number, variance=variance, weigh_entropy=self.hidden)


def build_evidence(
    settings: EvidenceSettings, task: Task, density: DensitySettings, entropy_weight: float
) -> TaskEvidence | None:
    """Build what is kept before the first task, with features that are not fitted.

    Args:
        settings: what to keep.
        task: any task of the stream.
        density: settings of the densities of inputs, whose features are taken if there are no others.
        entropy_weight: see :class:`~bayeshnet.continual.task_inference.combination.CombinationMemory`.

    Returns:
        None for inputs that have no features: integers, several inputs, and wider ones than ``most_features``.
    """
    like, several = floating_like(task.train.x), isinstance(task.train.x[:1], tuple)
    if settings.most_features == 0 or several or not task.train.x[:1].is_floating_point():
        return None
    fixed = density.empty(task.input_shape, task.layout)
    made: nn.Module = fixed.features
    width = fixed.num_features
    if settings.features is not None:
        made = chosen = settings.features.build(task.input_shape, task.layout)
        width = chosen.num_features
    if width > settings.most_features:
        return None
    built = TaskEvidence(made, width, settings.num_directions, entropy_weight)
    if fixed.num_features <= settings.most_features:
        built.layers = LastLayers(fixed.features, fixed.num_features, settings.num_directions)
    return built.to(device=like.device, dtype=like.dtype)


def divide_task(
    settings: EvidenceSettings,
    evidence: TaskEvidence | None,
    task: Task,
    num_tasks: int,
    density: DensitySettings,
    seed: int,
) -> Aside:
    """Fit the features if the task is the first one, and set some of its examples aside.

    Args:
        settings: of features and of how many.
        evidence: what is kept of the tasks before, or None if nothing is; its features may be fitted in place.
        task: the task.
        num_tasks: number of tasks before.
        density: settings of the densities of inputs.
        seed: of the features and the choice.
    """
    if evidence is None or evidence.num_tasks != num_tasks:
        return Aside(None, task, task.train, task.train, None, False, density)
    if num_tasks == 0 and settings.features is not None:
        part = task.train.sample(_MOST_READ, seed)
        evidence.features = settings.features.fit(part.x, layout=task.layout, seed=derive_seed(seed, 0))
    size, train, aside = len(task.train), task.train, None
    hidden = size >= 4 * settings.set_aside > 0
    count = settings.set_aside if hidden else min(_FEW, size // _SHARE, settings.set_aside)
    rest = train
    if count:
        order = torch.randperm(size, generator=torch.Generator().manual_seed(derive_seed(seed, 1))).to(train.y.device)
        rest, aside = train.select(order[count:].sort().values), train.select(order[:count].sort().values).load()
    return Aside(evidence, task, rest if hidden else train, rest.sample(_MOST_READ, seed), aside, hidden, density)
