"""What the posteriors of several tasks share: a generator, everything, or nothing."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from ..builders.base import ConditionedPosterior, PosteriorFamily
from ..distributions import FanInGaussian, WeightDistribution, WeightPosterior
from ..errors import type_error, value_error
from ..weights import WeightSpec

__all__ = ["GeneratedTasks", "OneForAll", "OnePerTask", "TaskPosterior"]


class TaskPosterior(WeightPosterior):
    """A weight posterior for each task of a stream; called with the task's number, it grows by one task at a time.

    Args:
        family: builds a posterior over the weights of ``spec``.
        spec: names and shapes of the main network's weights.
    """

    def __init__(self, family: PosteriorFamily, spec: WeightSpec) -> None:
        super().__init__()
        self._family = family
        self.weight_spec = spec
        self.num_tasks = 0

    def prior(self, like: Tensor) -> FanInGaussian:
        """Return the prior of all tasks, ``N(0, I)`` over whitened weights, with dtype and device of ``like``."""
        return self._family.prior(self.weight_spec, like)

    @abstractmethod
    def grow(self) -> None:
        """Make room for one more task."""


class GeneratedTasks(TaskPosterior):
    """One generator of all posteriors, with an embedding per task."""

    def __init__(self, family: PosteriorFamily, spec: WeightSpec) -> None:
        super().__init__(family, spec)
        self.generator = family.build(spec)
        if not isinstance(self.generator, ConditionedPosterior):
            raise type_error(
                "posterior",
                expected="a family whose posteriors are generated from the task",
                found=type(family).__name__,
                hint="ImplicitGenerator, HyperHypernetwork or MeanFieldGenerator, for example.",
            )

    def grow(self) -> None:
        """Add an embedding; the first task uses the one that the generator came with."""
        self.num_tasks += 1
        generator = self.generator
        if isinstance(generator, ConditionedPosterior) and self.num_tasks > generator.num_conditions:
            generator.add_conditions(self.num_tasks - generator.num_conditions)

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> WeightDistribution:
        """The distribution of task ``cond_id``."""
        return self.generator(cond_id, cond_input)


class OneForAll(TaskPosterior):
    """One posterior, whatever the task."""

    def __init__(self, family: PosteriorFamily, spec: WeightSpec) -> None:
        super().__init__(family, spec)
        self.posterior = family.build(spec)

    def grow(self) -> None:
        """Count the task."""
        self.num_tasks += 1

    def widen(self, spec: WeightSpec) -> None:
        """Go over to a network of more outputs: weights that were there stay as they are, new ones are drawn.

        Raises:
            ValueError: if what the posterior keeps is not told apart by weights.
        """
        if spec == self.weight_spec:
            return
        like = next(self.parameters())
        wider = self._family.build(spec).to(like)
        _transfer(self.posterior, wider, self.weight_spec.places_in(spec).to(like.device), spec.numel)
        self.posterior, self.weight_spec = wider, spec

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> WeightDistribution:
        """The distribution, the same for every ``cond_id``."""
        return self.posterior(0)


class OnePerTask(TaskPosterior):
    """A posterior of its own for each task."""

    def __init__(self, family: PosteriorFamily, spec: WeightSpec) -> None:
        super().__init__(family, spec)
        self.posteriors = nn.ModuleList()

    def grow(self) -> None:
        """Build one more."""
        self.num_tasks += 1
        like = next(self.parameters(), None)
        posterior = self._family.build(self.weight_spec)
        self.posteriors.append(posterior if like is None else posterior.to(like))

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> WeightDistribution:
        """The distribution of task ``cond_id``."""
        return self.posteriors[0 if cond_id is None else cond_id](0)


@torch.no_grad()
def _transfer(old: nn.Module, new: nn.Module, places: Tensor, num: int) -> None:
    """Copy parameters; those with a row per weight (or several sets of rows) go to the rows of the same weights."""
    parameters = dict(new.named_parameters())
    for name, parameter in old.named_parameters():
        target, sets = parameters[name], len(parameters[name]) // num if parameters[name].ndim else 0
        if target.shape == parameter.shape:
            target.copy_(parameter)
        elif len(target) == sets * num and len(parameter) == sets * len(places):
            for i in range(sets):
                target[i * num + places] = parameter[i * len(places) : (i + 1) * len(places)]
        else:
            raise value_error(
                "heads",
                expected=f"outputs of a fixed number, since {name!r} has no row for each weight",
                found="growing ones",
                hint="Use FixedSoftmax or SharedHead, or a posterior with a full linear head.",
            )
