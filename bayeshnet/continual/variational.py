"""The learner that the others are made from: a posterior per task, fitted by the one training loop."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..errors import check_int, check_number
from ..estimators import KLEstimator
from ..guides import BayesianModel, Categorical, Gaussian, HypernetGuide, Likelihood
from ..inference import Callback, Predictive, fit
from ..mnets import MainNetInterface, ModuleMainNet
from ..tasks import Task
from ..weights import WeightSpec
from .density import DensitySettings, log_densities
from .evidence import StreamPrediction
from .families import PosteriorFamily
from .learner import Learner, check_inputs
from .networks import NetworkBuilder
from .outliers import PseudoOutliers
from .seeds import derive_seed, seeded
from .sharing import TaskPosterior
from .state import LearnerState
from .terms import OutlierTerm
from .training import Training

__all__ = ["VariationalLearner"]


class VariationalLearner(Learner):
    """Fits a weight posterior per task by maximising the evidence lower bound; subclasses say what tasks share.

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
        """Keep the parts."""
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

    def prior(self, state: LearnerState, task: Task) -> Distribution:
        """The prior of the weights of ``task``: standard normal in the units in which the posterior is whitened."""
        return state.posterior.prior(task.train.x)

    def penalties(
        self, state: LearnerState, previous: LearnerState | None, generator: torch.Generator
    ) -> list[Callable[[], Tensor]]:
        """Terms that keep old tasks, in per-example units; none by default."""
        return []

    def restore(self, task: Task, num_tasks: int) -> LearnerState:
        """A state of the right structure for ``num_tasks`` tasks, whose tensors are to be loaded."""
        state = self._begin(task)
        for _ in range(num_tasks):
            state.posterior.grow()
            state.close_task(task, self.density.empty(task.input_shape))
        return state

    def learn(
        self, state: LearnerState | None, task: Task, *, seed: int = 0, callbacks: Sequence[Callback] = ()
    ) -> LearnerState:
        """Learn one more task; see :meth:`Learner.learn`."""
        example = task.train.x
        with seeded(derive_seed(seed, 0)):
            new = self._begin(task) if state is None else copy.deepcopy(state)
            new.check(task)
            new.posterior.grow()
        new.to(device=example.device, dtype=example.dtype)
        generator = torch.Generator(device=example.device).manual_seed(derive_seed(seed, 1))
        self._fit(new, state, task, generator, callbacks)
        new.close_task(task, self.density.fit(task.train.x, task.train.y if task.kind == "classification" else None))
        return new

    def predict_each(
        self, state: LearnerState, x: Tensor, tasks: Sequence[int] | None = None, *, seed: int = 0
    ) -> StreamPrediction:
        """Predictions of each task; all tasks see the same noise."""
        check_inputs(state, x)
        numbers = list(range(state.num_tasks)) if tasks is None else list(tasks)
        predictions = []
        for number in numbers:
            guide = HypernetGuide(state.posterior, self.estimator).condition(number)
            predictive = Predictive(guide, state.net, state.likelihood, num_samples=self.num_samples)
            generator = torch.Generator(device=x.device).manual_seed(seed)
            predictions.append(predictive(x, generator=generator))
        densities = [state.densities[number] for number in numbers]
        return StreamPrediction(
            tuple(predictions),
            log_densities(densities, x),
            torch.stack([density.spread for density in densities]).mean(),
            self.entropy_weight,
            tuple(state.labels[number] for number in numbers) if state.kind == "classification" else None,
        )

    def _begin(self, task: Task) -> LearnerState:
        likelihood = copy.deepcopy(self.likelihood) if self.likelihood is not None else default_likelihood(task)
        net = self._build_network(task, likelihood.num_outputs(task.num_outputs))
        return LearnerState(net, likelihood, self.task_posterior(net.weight_spec), task)

    def _build_network(self, task: Task, num_outputs: int) -> MainNetInterface:
        if isinstance(self.network, NetworkBuilder):
            return self.network.build(task.input_shape, num_outputs)
        net = copy.deepcopy(self.network)
        return net if isinstance(net, MainNetInterface) else ModuleMainNet(net)

    def _fit(
        self,
        state: LearnerState,
        previous: LearnerState | None,
        task: Task,
        generator: torch.Generator,
        callbacks: Sequence[Callback],
    ) -> None:
        settings, number = self.training, state.num_tasks
        model = BayesianModel(state.net, self.prior(state, task), state.likelihood, num_data=len(task.train))
        guide = HypernetGuide(state.posterior, self.estimator).condition(number)
        terms = []
        if self.outliers is not None and task.kind == "classification":
            terms.append(OutlierTerm(model, self.outliers, generator))
        fit(
            model,
            guide,
            (task.train.x, task.train.y),
            num_steps=settings.steps,
            batch_size=min(settings.batch_size, len(task.train)),
            lr=settings.lr,
            scheduler="cosine",
            beta=settings.beta,
            num_particles=settings.num_particles,
            num_latents=settings.num_latents,
            penalties=self.penalties(state, previous, generator),
            extra_terms=terms,
            grad_clip=settings.max_norm,
            callbacks=callbacks,
            generator=generator,
        )


def default_likelihood(task: Task) -> Likelihood:
    """Categorical for classes; Gaussian for values, with the task's noise where it is known and a learned one else."""
    if task.kind == "classification":
        return Categorical()
    noise = task.info.get("noise_std")
    return Gaussian(noise) if noise else Gaussian(learn=True)
