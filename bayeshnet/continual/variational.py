"""Variational learners: the weight posterior of each task maximizes the evidence lower bound."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..builders.base import PosteriorBuilder
from ..builders.networks import NetworkBuilder
from ..errors import check_int, check_number, value_error
from ..estimators import KLEstimator
from ..functional import check_examples_apart
from ..guides import BayesianModel, Categorical, Gaussian, HypernetGuide, Likelihood
from ..inference import AddedLoss, Callback, Prediction, Predictive, Term, fit
from ..mnets import MainNetInterface, ModuleMainNet
from ..mnets.inputs import check_network, floating_like
from ..rng import derive_seed, seeded
from ..tasks import Task
from ..weights import WeightSpec
from .learner import Learner, check_inputs
from .losses.outlier_exposure import OutlierExposure, PseudoOutliers
from .memory import ExampleMemory
from .state import LearnerState
from .task_inference.density import DensitySettings, log_densities
from .task_inference.prediction import StreamPrediction
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
        num_samples: weight samples per task for predictions.
        entropy_weight: weight of the entropy in the combined score of a task, see :class:`StreamPrediction`.

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
        num_samples: int = 100,
        entropy_weight: float = 0.5,
    ) -> None:
        self.network = network
        self.posterior = posterior
        self.estimator = estimator
        self.training = training if training is not None else Training()
        self.outliers = outliers
        self.likelihood = likelihood
        self.density = density if density is not None else DensitySettings()
        self.num_samples = check_int("num_samples", num_samples, 1)
        self.entropy_weight = check_number("entropy_weight", entropy_weight, minimum=0.0)

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
        return [OutlierExposure(self.outliers, generator)]

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
        net = self.build_network(task.input_shape, likelihood.num_outputs(task.num_outputs))
        state = LearnerState(net, likelihood, self.task_posterior(net.weight_spec), task)
        state.memory = self.new_memory(task)
        return state

    def restore(self, task: Task, num_tasks: int) -> LearnerState:
        """Build a state for a checkpoint to be loaded into; see :meth:`Learner.restore`."""
        state = self.initial_state(task)
        for _ in range(num_tasks):
            self.extend(state)
            if isinstance(state.memory, ExampleMemory):
                state.memory.make_room()
            state.record_task(task, self.density.empty(task.input_shape))
        state.net.eval()
        like = floating_like(task.train.x)
        return state.to(device=like.device, dtype=like.dtype)

    def learn(
        self, state: LearnerState | None, task: Task, *, seed: int = 0, callbacks: Sequence[Callback] = ()
    ) -> LearnerState:
        """Learn one more task; see :meth:`Learner.learn`."""
        example = task.train.x
        like = floating_like(example)
        with seeded(derive_seed(seed, 0)):
            new = self.initial_state(task) if state is None else copy.deepcopy(state)
            new.check(task)
            new.to(device=like.device, dtype=like.dtype)
            self.extend(new)
        new.to(device=like.device, dtype=like.dtype)
        generator = torch.Generator(device=example.device).manual_seed(derive_seed(seed, 1))
        task_id = new.num_tasks
        net, targets = self.training_problem(new, task, task_id)
        model = BayesianModel(net, self.prior(new, state, task), new.likelihood, num_data=len(task.train))
        self._check_beforehand(new, net, example)
        density = self.density.fit(example, task.train.y if task.kind == "classification" else None)
        penalties, terms = self.penalties(new, state, generator), self.terms(new, state, model, generator)
        self.fit(
            new,
            task_id,
            model,
            (example, targets),
            penalties=penalties,
            terms=terms,
            generator=generator,
            callbacks=callbacks,
        )
        self.remember(new, task, generator)
        new.record_task(task, density)
        return new

    def _check_beforehand(self, state: LearnerState, net: MainNetInterface, x: Tensor) -> None:
        """Refuse networks that would fail in training or after it; the network is put into evaluation mode."""
        state.net.eval()
        check_network(net, x)
        if self.needs_example_gradients:
            check_examples_apart(net)

    def fit(
        self,
        state: LearnerState,
        task_id: int,
        model: BayesianModel,
        data: tuple[Tensor, Tensor],
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
        in evaluation mode, and in evaluation mode afterwards.
        """
        settings = self.training if settings is None else settings
        state.net.train(self.network.training if isinstance(self.network, nn.Module) else True)
        fit(
            model,
            HypernetGuide(state.posterior, copy.deepcopy(self.estimator)).condition(task_id),
            data,
            num_steps=settings.steps,
            batch_size=min(settings.batch_size, len(data[0])),
            lr=settings.lr,
            scheduler="cosine",
            beta=settings.beta,
            num_particles=settings.num_particles,
            num_samples=settings.num_samples,
            penalties=penalties,
            extra_terms=terms,
            grad_clip=settings.max_norm,
            local_noise=settings.local_noise,
            callbacks=callbacks,
            generator=generator,
        )
        state.net.eval()

    def predict_each(
        self, state: LearnerState, x: Tensor, tasks: Sequence[int] | None = None, *, seed: int = 0
    ) -> StreamPrediction:
        """Predict under each task with the same noise; see :meth:`Learner.predict_each`."""
        check_inputs(state, x)
        numbers = list(range(state.num_tasks)) if tasks is None else list(tasks)
        densities = [state.densities[t] for t in numbers]
        return StreamPrediction(
            tuple(self.predict_with(state, self.task_network(state, t), t, x, seed) for t in numbers),
            log_densities(densities, x) if x.is_floating_point() else None,
            torch.stack([density.log_density_std for density in densities]).mean(),
            self.entropy_weight,
            tuple(state.labels[t] for t in numbers) if state.kind == "classification" else None,
            self.task_log_prob(state, x, numbers, seed),
        )

    def predict_with(
        self, state: LearnerState, net: MainNetInterface, task_id: int, x: Tensor, seed: int = 0
    ) -> Prediction:
        """Predict ``x`` with ``net`` under the posterior of task ``task_id``."""
        guide = HypernetGuide(self.predictive_posterior(state), self.estimator).condition(task_id)
        predictive = Predictive(guide, net, state.likelihood, num_samples=self.num_samples)
        return predictive(x, generator=torch.Generator(device=x.device).manual_seed(seed))

    def build_network(self, input_shape: Sequence[int], num_outputs: int) -> MainNetInterface:
        """Build the main network, or copy the one that was given."""
        if isinstance(self.network, NetworkBuilder):
            return self.network.build(input_shape, num_outputs)
        net = copy.deepcopy(self.network)
        return net if isinstance(net, MainNetInterface) else ModuleMainNet(net)


def check_likelihood(likelihood: Likelihood, task: Task) -> None:
    """Refuse likelihoods of values, or of several answers of yes or no, for tasks with classes."""
    if task.kind == "classification" and not (likelihood.kind == "classification" and likelihood.exclusive):
        expected = f"one of classes, such as Categorical(), for task {task.name!r}"
        advice = 'For Bernoulli() state the answers as values 0 and 1, in a task of kind="regression".'
        raise value_error("likelihood", expected=expected, got=likelihood, hint=advice)


def default_likelihood(task: Task) -> Likelihood:
    """Return a categorical likelihood for classes, and a Gaussian one for values.

    The Gaussian has the noise of the task where that is known, and learned noise otherwise.
    """
    if task.kind == "classification":
        return Categorical()
    noise = task.info.get("noise_std")
    return Gaussian(noise) if noise else Gaussian(learn=True)
