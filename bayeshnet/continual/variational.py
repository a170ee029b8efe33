"""Variational learners: the weight posterior of each task maximizes the evidence lower bound."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..builders.base import PosteriorBuilder
from ..builders.networks import NetworkBuilder
from ..checks import check_seed
from ..errors import check_choice, check_instance, check_int, check_number, check_size
from ..estimators import KLEstimator
from ..guides import BayesianModel, HypernetGuide, Likelihood
from ..guides.likelihoods.for_tasks import check_likelihood, default_likelihood
from ..inference import AddedLoss, Callback, Prediction, Predictive, Term, fit
from ..mnets import MainNetInterface
from ..mnets.inputs import device_of, floating_like
from ..mnets.running_statistics import BATCH_NORM_USES, ConditionStatistics, hold_norms
from ..rng import derive_seed, seeded
from ..tasks import Split, Task
from ..weights import WeightSpec
from .learner import Learner, check_before_training, check_inputs, check_num_tasks, check_tasks, width_of
from .losses.outlier_exposure import OutlierExposure, PseudoOutliers
from .memory import ExampleMemory
from .parts import check_optional, make_network
from .state import LearnerState
from .task_inference import DensitySettings, EvidenceSettings, StreamPrediction
from .task_inference.assembling import assemble
from .task_inference.density import fit_density
from .task_inference.learning import build_evidence, divide_task
from .task_posterior import TaskPosterior
from .training import Training

__all__ = ["VariationalLearner"]


class VariationalLearner(Learner):
    """A learner that fits the weight posterior of each task by maximizing the evidence lower bound.

    :meth:`learn` is the same for all variational learners. They differ in the methods that it calls, in this order:

    1. :meth:`task_posterior` and :meth:`new_memory` build the posterior and the memory of an empty state; for the
       first task only.
    2. :meth:`extend` adds one task to the structure of the state.
    3. :meth:`training_problem` gives the network and the targets of the likelihood, and :meth:`prior` the prior.
    4. :meth:`penalties` and :meth:`terms` give the losses that are added to the bound.
    5. The posterior is fitted by :func:`bayeshnet.inference.fit`.
    6. :meth:`remember` stores what later tasks will need.

    :meth:`predict_each` calls :meth:`task_network`, :meth:`predictive_posterior` and :meth:`task_log_prob`.

    The abstract methods are written in :class:`~bayeshnet.continual.PerTaskLearner` for learners with a posterior for
    each task, and in :class:`~bayeshnet.continual.SharedLearner` for learners with one posterior for all tasks.
    Subclass one of these. The other methods listed here do nothing, or the usual, by default.

    Args:
        network: builder of the main network, or a network (any ``torch.nn.Module``), which is copied.
        posterior: builder of the weight posterior.
        estimator: estimator of the KL; None for a closed form where there is one, else LIVI.
        training: settings of the training loop.
        outliers: pseudo-outliers for outlier exposure of classifiers, or None.
        likelihood: likelihood of the targets; if None, categorical for classes and Gaussian with learned noise for
            values.
        density: settings of the density of each task's inputs, for task inference.
        evidence: settings of what is kept of all tasks' features, for task inference; None for the usual ones.
        num_samples: weight samples per task for predictions.
        entropy_weight: weight of the entropy in the combined score of a task, see :class:`StreamPrediction`.
        batch_norm: use of batch norm with running statistics: ``"task"`` keeps statistics for each task, which are used
            where that task is given or assumed; ``"track"`` keeps one set for all tasks, which follows the last one;
            ``"batch"`` has none, so that predictions depend on the batch; ``"eval"`` keeps those of ``network``.
        num_outputs: number of classes of the widest task, for streams whose tasks have different numbers of classes;
            None for that of the first task. A task of fewer classes has the first of its outputs, and its softmax is
            over these alone.

    Attributes:
        needs_example_gradients: True for learners that use gradients per example, which there are only if the network
            treats each example independently; this is checked before training.
    """

    needs_example_gradients: ClassVar[bool] = False

    def __init__(
        self,
        network: NetworkBuilder | nn.Module,
        posterior: PosteriorBuilder,
        *,
        estimator: KLEstimator | None = None,
        training: Training | None = None,
        outliers: PseudoOutliers | None = None,
        likelihood: Likelihood | None = None,
        density: DensitySettings | None = None,
        evidence: EvidenceSettings | None = None,
        num_samples: int = 100,
        entropy_weight: float = 0.5,
        batch_norm: str = "task",
        num_outputs: int | None = None,
    ) -> None:
        kinds, advice = (NetworkBuilder, nn.Module), "For example MLPNetwork((32,))."
        self.network = check_instance("network", network, kinds, "a NetworkBuilder or a torch.nn.Module", advice)
        self.posterior = check_instance("posterior", posterior, PosteriorBuilder, "a PosteriorBuilder")
        self.estimator = check_optional("estimator", estimator, KLEstimator, "a KLEstimator, or None")
        self.training = check_optional("training", training, Training, "a Training, or None") or Training()
        self.outliers = check_optional("outliers", outliers, PseudoOutliers, "PseudoOutliers, or None")
        self.likelihood = check_optional("likelihood", likelihood, Likelihood, "a Likelihood, or None")
        self.density = (
            check_optional("density", density, DensitySettings, "DensitySettings, or None") or DensitySettings()
        )
        known = check_optional("evidence", evidence, EvidenceSettings, "EvidenceSettings, or None")
        self.evidence = known or EvidenceSettings()
        self.num_samples = check_size("num_samples", num_samples)
        self.entropy_weight = check_number("entropy_weight", entropy_weight, minimum=0.0)
        self.batch_norm = check_choice("batch_norm", batch_norm, BATCH_NORM_USES)
        self.num_outputs = None if num_outputs is None else check_int("num_outputs", num_outputs, 1)

    @abstractmethod
    def task_posterior(self, spec: WeightSpec) -> TaskPosterior:
        """Build the posterior over the weights ``spec``, without tasks."""

    def new_memory(self, task: Task) -> nn.Module | None:
        """Build the memory of an empty state for tasks like ``task``; None, the default, for no memory."""
        return None

    @abstractmethod
    def extend(self, state: LearnerState) -> None:
        """Add one task to the structure of ``state``, in place."""

    @abstractmethod
    def task_network(self, state: LearnerState, task_id: int) -> MainNetInterface:
        """Return the network restricted to the outputs of task ``task_id``, for predictions with the task given."""

    @abstractmethod
    def training_problem(self, state: LearnerState, task: Task, task_id: int) -> tuple[MainNetInterface, Tensor]:
        """Return the network restricted to the outputs that task ``task_id`` trains, and the targets among these."""

    @abstractmethod
    def prior(self, state: LearnerState, previous: LearnerState | None, task: Task) -> Distribution:
        """Return the prior of the weights for ``task``, given the state ``previous`` before it (None: first task)."""

    @abstractmethod
    def task_log_prob(self, state: LearnerState, x: Tensor, tasks: Sequence[int], seed: int) -> Tensor | None:
        """Return the log-probability ``(N, T)`` of ``tasks`` under one softmax over the classes of all, or None."""

    def terms(
        self, state: LearnerState, previous: LearnerState | None, model: BayesianModel, generator: torch.Generator
    ) -> list[AddedLoss | Term]:
        """Return losses that use the weight samples of the step; by default outlier exposure, if it is set."""
        if self.outliers is None or state.kind != "classification":
            return []
        return [OutlierExposure(self.outliers, generator, state.layout)]

    def penalties(
        self, state: LearnerState, previous: LearnerState | None, generator: torch.Generator
    ) -> list[Callable[[], Tensor]]:
        """Return losses that do not use the weight samples, in nats per example; none by default."""
        return []

    def remember(self, state: LearnerState, task: Task, generator: torch.Generator) -> None:
        """Store in ``state`` what later tasks need of ``task``, which has just been learned; nothing by default."""

    def predictive_posterior(self, state: LearnerState) -> nn.Module:
        """Return the posterior for predictions; by default the one that was fitted."""
        return state.posterior

    def initial_state(self, task: Task) -> LearnerState:
        """Build an empty state for tasks like ``task``."""
        likelihood = copy.deepcopy(self.likelihood) if self.likelihood is not None else default_likelihood(task)
        check_likelihood(likelihood, task)
        width = width_of(task, self.num_outputs)
        net = self.build_network(task.input_shape, likelihood.num_outputs(width), task.layout)
        state = LearnerState(net, likelihood, self.task_posterior(net.weight_spec), task, width)
        state.memory, state.learner = self.new_memory(task), self
        state.evidence = build_evidence(self.evidence, task, self.density, self.entropy_weight)
        state.statistics = ConditionStatistics.of_network(net) if self.batch_norm == "task" else None
        return state

    def restore(self, task: Task, num_tasks: int) -> LearnerState:
        """Build a state for a checkpoint to be loaded into; see :meth:`Learner.restore`."""
        number = check_num_tasks(num_tasks)
        state = self.initial_state(check_instance("task", task, Task, "a Task"))
        for _ in range(number):
            self.extend(state)
            if isinstance(state.memory, ExampleMemory):
                state.memory.make_room()
            state.record_task(task, self.density.empty(task.input_shape, task.layout))
        state.net.eval()
        like = floating_like(task.train.x)
        return state.to(device=like.device, dtype=like.dtype)

    def learn(
        self, state: LearnerState | None, task: Task, *, seed: int = 0, callbacks: Sequence[Callback] = ()
    ) -> LearnerState:
        """Learn one more task; see :meth:`Learner.learn`."""
        seed = check_seed("seed", seed, 0)
        check_optional("state", state, LearnerState, "the LearnerState after the tasks before, or None")
        check_instance("task", task, Task, "a Task")
        example, like = task.train.x, floating_like(task.train.x)
        with seeded(derive_seed(seed, 0)):
            new = self.initial_state(task) if state is None else copy.deepcopy(state)
            new.learner = self
            new.check(task)
            new.begin_task(task)
            new.to(device=like.device, dtype=like.dtype)
            self.extend(new)
        new.to(device=like.device, dtype=like.dtype)
        generator = torch.Generator(device=like.device).manual_seed(derive_seed(seed, 1))
        task_id = new.num_tasks
        divided = divide_task(self.evidence, new.evidence, task, task_id, self.density, derive_seed(seed, 2))
        net, targets = self.training_problem(new, replace(task, train=divided.train), task_id)
        model = BayesianModel(net, self.prior(new, state, task), new.likelihood, num_data=len(divided.train))
        check_before_training(new, net, example, self.needs_example_gradients)
        density = fit_density(self.density, task)
        penalties, terms = self.penalties(new, state, generator), self.terms(new, state, model, generator)
        self.fit(
            new,
            task_id,
            model,
            divided.train.with_targets(targets),
            penalties=penalties,
            terms=terms,
            generator=generator,
            callbacks=callbacks,
        )
        with new.statistics_of(task_id):
            self.remember(new, task, generator)
        new.record_task(task, density)
        divided.finish(new.densities, partial(self.predict_each, new, seed=derive_seed(seed, 3)))
        return new

    def fit(
        self,
        state: LearnerState,
        task_id: int,
        model: BayesianModel,
        data: Split,
        *,
        penalties: Sequence[Callable[[], Tensor]],
        terms: Sequence[AddedLoss | Term],
        generator: torch.Generator,
        settings: Training | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """Fit the posterior of task ``task_id`` to ``data`` with :func:`bayeshnet.inference.fit`.

        An estimator with parameters of its own (those of a discriminator, say) starts anew for each task: these are not
        part of the state. The network is in training mode during the fit, unless the one that the learner was given is
        in evaluation mode, and in evaluation mode afterwards. Statistics of batch norm are those of the task; a task
        that has been learned before keeps them.
        """
        settings = self.training if settings is None else settings
        state.net.train(self.network.training if isinstance(self.network, nn.Module) else True)
        if self.batch_norm == "eval" or (state.statistics is not None and task_id < state.num_tasks):
            hold_norms(state.net)
        with state.statistics_of(task_id, new=True):
            fit(
                model,
                HypernetGuide(state.posterior, copy.deepcopy(self.estimator)).condition(task_id),
                data,
                **settings.fit_options(len(data)),
                penalties=penalties,
                extra_terms=terms,
                callbacks=callbacks,
                generator=generator,
            )
        state.net.eval()

    def predict_each(
        self, state: LearnerState, x: Tensor, tasks: Sequence[int] | None = None, *, seed: int = 0
    ) -> StreamPrediction:
        """Predict under each task with the same noise; see :meth:`Learner.predict_each`."""
        check_inputs(state, x)
        seed = check_seed("seed", seed)
        numbers = check_tasks(state, tasks)
        each = [self.predict_with(state, self.task_network(state, t), t, x, seed) for t in numbers]
        joint = self.task_log_prob(state, x, numbers, seed)
        return assemble(state, each, x, numbers, entropy_weight=self.entropy_weight, task_log_prob=joint)

    def predict_with(
        self, state: LearnerState, net: MainNetInterface, task_id: int, x: Tensor, seed: int = 0
    ) -> Prediction:
        """Predict ``x`` with ``net`` under the posterior, and the statistics, of task ``task_id``."""
        guide = HypernetGuide(self.predictive_posterior(state), self.estimator).condition(task_id)
        predictive = Predictive(guide, net, state.likelihood, num_samples=self.num_samples)
        with state.statistics_of(task_id):
            return predictive(x, generator=torch.Generator(device=device_of(x)).manual_seed(seed))

    def build_network(
        self, input_shape: Sequence[int], num_outputs: int, layout: str | None = None
    ) -> MainNetInterface:
        """Build the main network, or copy the one that was given, for inputs of a layout (None: not images)."""
        return make_network(self.network, (*input_shape,), num_outputs, layout, self.batch_norm)
