"""The learner that the others are made from: a posterior per task, fitted by the one training loop."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..builders.base import PosteriorFamily
from ..builders.networks import NetworkBuilder
from ..errors import check_int, check_number
from ..estimators import KLEstimator
from ..guides import BayesianModel, Categorical, Gaussian, HypernetGuide, Likelihood
from ..inference import AddedLoss, Callback, Prediction, Predictive, Term, fit
from ..mnets import MainNetInterface, ModuleMainNet
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
    """Fits a weight posterior per task by maximizing the evidence lower bound; subclasses say what tasks share.

    Args:
        network: a builder of the main network, or a network (any ``torch.nn.Module``) of which a copy is taken.
        posterior: a builder of the weight posterior.
        estimator: of the KL; None chooses by the distribution: a closed form where there is one, else LIVI.
        training: settings of the training loop.
        outliers: pseudo-outliers for classifiers, or None.
        likelihood: categorical for classes and Gaussian with learned noise for values when None.
        density: settings of the density of each task's inputs.
        num_samples: weight samples per task for predictions.
        entropy_weight: weight of the entropy in the combined evidence for a task, see :class:`StreamPrediction`.
    """

    def __init__(
        self,
        network: NetworkBuilder | nn.Module,
        posterior: PosteriorFamily,
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
        """Posteriors of the tasks over the weights of ``spec``, none yet."""

    def begin(self, task: Task) -> LearnerState:
        """A state without tasks, for tasks like ``task``."""
        likelihood = copy.deepcopy(self.likelihood) if self.likelihood is not None else default_likelihood(task)
        net = self.build_network(task.input_shape, likelihood.num_outputs(task.num_outputs))
        return LearnerState(net, likelihood, self.task_posterior(net.weight_spec), task)

    def extend(self, state: LearnerState) -> None:
        """Make room in ``state`` for one more task."""
        state.posterior.grow()

    def remember(self, state: LearnerState, task: Task, generator: torch.Generator) -> None:
        """Keep what is needed of ``task``, just learnt, when others are learnt; nothing by default."""

    def view(self, state: LearnerState, number: int) -> MainNetInterface:
        """The network as task ``number`` sees it when it is given."""
        return state.net

    def problem(self, state: LearnerState, task: Task, number: int) -> tuple[MainNetInterface, Tensor]:
        """The network whose outputs compete in training of task ``number``, and the targets of its examples."""
        return self.view(state, number), task.train.y

    def prior(self, state: LearnerState, previous: LearnerState | None, task: Task) -> Distribution:
        """The prior of the weights of ``task``: standard normal in the units in which the posterior is whitened."""
        return state.posterior.prior(task.train.x)

    def terms(
        self, state: LearnerState, previous: LearnerState | None, model: BayesianModel, generator: torch.Generator
    ) -> list[AddedLoss | Term]:
        """Terms of the loss that look at the step's weight draws: pseudo-outliers of classifiers, if there are any."""
        if self.outliers is None or state.kind != "classification":
            return []
        return [OutlierExposure(self.outliers, generator)]

    def penalties(
        self, state: LearnerState, previous: LearnerState | None, generator: torch.Generator
    ) -> list[Callable[[], Tensor]]:
        """Terms that keep old tasks, in per-example units; none by default."""
        return []

    def restore(self, task: Task, num_tasks: int) -> LearnerState:
        """A state of the right structure for ``num_tasks`` tasks, whose tensors are to be loaded."""
        state = self.begin(task)
        for _ in range(num_tasks):
            self.extend(state)
            self.make_slot(state, task)
        state.net.eval()
        return state.to(device=task.train.x.device, dtype=task.train.x.dtype)

    def make_slot(self, state: LearnerState, task: Task) -> None:
        """Make room for what is kept of a task that was learnt, stored examples among it, to be loaded."""
        if isinstance(state.memory, ExampleMemory):
            state.memory.make_room()
        state.close_task(task, self.density.empty(task.input_shape))

    def learn(
        self, state: LearnerState | None, task: Task, *, seed: int = 0, callbacks: Sequence[Callback] = ()
    ) -> LearnerState:
        """Learn one more task; see :meth:`Learner.learn`."""
        example = task.train.x
        with seeded(derive_seed(seed, 0)):
            new = self.begin(task) if state is None else copy.deepcopy(state)
            new.check(task)
            new.to(device=example.device, dtype=example.dtype)
            self.extend(new)
        new.to(device=example.device, dtype=example.dtype)
        generator = torch.Generator(device=example.device).manual_seed(derive_seed(seed, 1))
        number = new.num_tasks
        net, targets = self.problem(new, task, number)
        model = BayesianModel(net, self.prior(new, state, task), new.likelihood, num_data=len(task.train))
        penalties, terms = self.penalties(new, state, generator), self.terms(new, state, model, generator)
        self.fit(
            new,
            number,
            model,
            (example, targets),
            penalties=penalties,
            terms=terms,
            generator=generator,
            callbacks=callbacks,
        )
        self.remember(new, task, generator)
        new.close_task(task, self.density.fit(example, task.train.y if task.kind == "classification" else None))
        return new

    def fit(
        self,
        state: LearnerState,
        number: int,
        model: BayesianModel,
        data: tuple[Tensor, Tensor],
        *,
        penalties: Sequence[Callable[[], Tensor]],
        terms: Sequence[AddedLoss | Term],
        generator: torch.Generator,
        settings: Training | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """Fit the posterior of task ``number`` to ``data``, by the library's one training loop.

        What an estimator learns (a discriminator, say) begins anew: it is no part of the state. The network is in
        training mode meanwhile (unless the one that the learner was given is not), and in evaluation mode after it.
        """
        settings = self.training if settings is None else settings
        state.net.train(self.network.training if isinstance(self.network, nn.Module) else True)
        fit(
            model,
            HypernetGuide(state.posterior, copy.deepcopy(self.estimator)).condition(number),
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
        """Predictions of each task; all tasks see the same noise."""
        check_inputs(state, x)
        numbers = list(range(state.num_tasks)) if tasks is None else list(tasks)
        densities = [state.densities[number] for number in numbers]
        return StreamPrediction(
            tuple(self.predict_with(state, self.view(state, number), number, x, seed) for number in numbers),
            log_densities(densities, x),
            torch.stack([density.spread for density in densities]).mean(),
            self.entropy_weight,
            tuple(state.labels[number] for number in numbers) if state.kind == "classification" else None,
        )

    def predict_with(
        self, state: LearnerState, net: MainNetInterface, number: int, x: Tensor, seed: int = 0
    ) -> Prediction:
        """The prediction of a network for ``x`` under the posterior of task ``number``."""
        guide = HypernetGuide(self.predictive_posterior(state, number), self.estimator).condition(number)
        predictive = Predictive(guide, net, state.likelihood, num_samples=self.num_samples)
        return predictive(x, generator=torch.Generator(device=x.device).manual_seed(seed))

    def predictive_posterior(self, state: LearnerState, number: int) -> nn.Module:
        """The posterior that predicts for task ``number``."""
        return state.posterior

    def build_network(self, input_shape: Sequence[int], num_outputs: int) -> MainNetInterface:
        """The network, built or copied."""
        if isinstance(self.network, NetworkBuilder):
            return self.network.build(input_shape, num_outputs)
        net = copy.deepcopy(self.network)
        return net if isinstance(net, MainNetInterface) else ModuleMainNet(net)


def default_likelihood(task: Task) -> Likelihood:
    """Categorical for classes; Gaussian for values, with the task's noise where it is known and a learned one else."""
    if task.kind == "classification":
        return Categorical()
    noise = task.info.get("noise_std")
    return Gaussian(noise) if noise else Gaussian(learn=True)
