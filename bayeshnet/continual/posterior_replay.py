"""Posterior replay: one posterior per task, all kept in one generator that is held where it was for old tasks."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..builders.base import PosteriorFamily
from ..builders.networks import NetworkBuilder
from ..errors import value_error
from ..estimators import KLEstimator
from ..guides import BayesianModel, Likelihood
from ..inference import AddedLoss, Term
from ..rng import derive_seed
from ..tasks import Task
from ..weights import WeightSpec
from .losses.coreset import Coreset, OtherTasksExposure
from .losses.outlier_exposure import PseudoOutliers
from .losses.output_regularizer import OutputRegularizer
from .memory import ExampleMemory
from .state import LearnerState
from .task_inference.density import DensitySettings
from .task_posterior import GeneratedTasks, TaskPosterior
from .training import Training
from .variational import VariationalLearner

__all__ = ["PosteriorReplay"]


class PosteriorReplay(VariationalLearner):
    r"""A posterior over the weights for each task, generated from the task's embedding by one hypernetwork.

    Task :math:`t` minimizes, per example,

    .. math:: -\mathbb{E}_{q_t} \log p(y|x, w) + \frac{\beta}{N_t} \mathrm{KL}(q_t \| p)
        + \frac{\lambda}{t} \sum_{s<t} \mathbb{E}_z \| u(z, s) - u_{\text{old}}(z, s) \|^2

    so that the posteriors of old tasks stay what they were, without their data and without knowing how many tasks will
    come. With the family :class:`~bayeshnet.continual.ImplicitGenerator` the hypernetwork maps latent and task to
    weights (architecture A); with :class:`~bayeshnet.continual.HyperHypernetwork` it maps the task to the parameters
    of a second hypernetwork (architecture B).

    Args:
        network: see :class:`~bayeshnet.continual.VariationalLearner`, as all arguments but the next three.
        posterior: builder of the conditional posterior.
        regularizer: holds the outputs for old tasks; a default one when None.
        coreset: stored examples of classifiers' tasks and their use; None stores nothing.
        estimator: of the KL.
        training: of each task.
        outliers: pseudo-outliers for classifiers.
        likelihood: of the targets.
        density: of each task's inputs.
        num_samples: weight samples per task for predictions.
        entropy_weight: of the entropy in the combined evidence for a task.

    References:
        Henning, Cervera, D'Angelo, von Oswald, Traber, Ehret, Kobayashi, Grewe, Sacramento, "Posterior meta-replay for
        continual learning", 2021.
    """

    def __init__(
        self,
        network: NetworkBuilder | nn.Module,
        posterior: PosteriorFamily,
        *,
        regularizer: OutputRegularizer | None = None,
        coreset: Coreset | None = None,
        estimator: KLEstimator | None = None,
        training: Training | None = None,
        outliers: PseudoOutliers | None = None,
        likelihood: Likelihood | None = None,
        density: DensitySettings | None = None,
        num_samples: int = 100,
        entropy_weight: float = 0.5,
    ) -> None:
        super().__init__(
            network,
            posterior,
            estimator=estimator,
            training=training,
            outliers=outliers,
            likelihood=likelihood,
            density=density,
            num_samples=num_samples,
            entropy_weight=entropy_weight,
        )
        self.regularizer = regularizer if regularizer is not None else OutputRegularizer()
        self.coreset = coreset

    def task_posterior(self, spec: WeightSpec) -> TaskPosterior:
        """One generator for all tasks."""
        return GeneratedTasks(self.posterior, spec)

    def penalties(
        self, state: LearnerState, previous: LearnerState | None, generator: torch.Generator
    ) -> list[Callable[[], Tensor]]:
        """The output regularizer over all tasks before this one."""
        if previous is None or self.regularizer.strength == 0:
            return []
        return [self.regularizer.penalty(state.posterior, previous.posterior, previous.num_tasks, generator)]

    def begin(self, task: Task) -> LearnerState:
        """A state without tasks, with an empty memory for the coreset."""
        state = super().begin(task)
        if self.coreset is not None:
            if task.kind != "classification":
                raise value_error("coreset", expected="None for tasks of values", got=self.coreset)
            state.memory = ExampleMemory()
        return state

    def remember(self, state: LearnerState, task: Task, generator: torch.Generator) -> None:
        """Store examples of the task in the coreset."""
        if self.coreset is not None and isinstance(state.memory, ExampleMemory):
            state.memory.store(task.train.x, task.train.y, self.coreset.size, generator)

    def terms(
        self, state: LearnerState, previous: LearnerState | None, model: BayesianModel, generator: torch.Generator
    ) -> list[AddedLoss | Term]:
        """Those of any classifier, and doubt about the stored examples of old tasks."""
        terms = super().terms(state, previous, model, generator)
        memory, coreset = None if previous is None else previous.memory, self.coreset
        if coreset is None or not coreset.doubt or not isinstance(memory, ExampleMemory):
            return terms
        return [*terms, OtherTasksExposure(memory, range(memory.num_tasks), coreset.doubt, generator)]

    def finish(self, state: LearnerState, *, seed: int = 0) -> LearnerState:
        """Fine-tune each task's posterior on its coreset, with doubt about the others', holding what all emit."""
        settings, memory = None if self.coreset is None else self.coreset.finish, state.memory
        if self.coreset is None or settings is None or not isinstance(memory, ExampleMemory) or state.num_tasks < 2:
            return state
        new = copy.deepcopy(state)
        for number in range(state.num_tasks):
            x, y = memory.of(number)
            generator = torch.Generator(device=x.device).manual_seed(derive_seed(seed, number))
            model = BayesianModel(new.net, new.posterior.prior(x), new.likelihood, num_data=len(x))
            others = [t for t in range(state.num_tasks) if t != number]
            before = copy.deepcopy(new.posterior)
            held = self.regularizer.penalty(new.posterior, before, state.num_tasks, generator, task=number)
            doubt = OtherTasksExposure(memory, others, self.coreset.finish_doubt, generator)
            self.fit(
                new, number, model, (x, y), penalties=[held], terms=[doubt], generator=generator, settings=settings
            )
        return new
