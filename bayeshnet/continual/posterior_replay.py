"""Posterior replay: one posterior per task, all kept in one generator that is held where it was for old tasks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..estimators import KLEstimator
from ..guides import Likelihood
from ..weights import WeightSpec
from .density import DensitySettings
from .families import PosteriorFamily
from .networks import NetworkBuilder
from .outliers import PseudoOutliers
from .regularizers import OutputRegularizer
from .sharing import GeneratedTasks, TaskPosterior
from .state import LearnerState
from .training import Training
from .variational import VariationalLearner

__all__ = ["PosteriorReplay"]


class PosteriorReplay(VariationalLearner):
    r"""A posterior over the weights for each task, generated from the task's embedding by one hypernetwork.

    Task :math:`t` minimises, per example,

    .. math:: -\mathbb{E}_{q_t} \log p(y|x, w) + \frac{\beta}{N_t} \mathrm{KL}(q_t \| p)
        + \frac{\lambda}{t} \sum_{s<t} \mathbb{E}_z \| u(z, s) - u_{\text{old}}(z, s) \|^2

    so that the posteriors of old tasks stay what they were, without their data and without knowing how many tasks will
    come. With the family :class:`~bayeshnet.continual.ImplicitGenerator` the hypernetwork maps latent and task to
    weights (architecture A); with :class:`~bayeshnet.continual.HyperHypernetwork` it maps the task to the parameters
    of a second hypernetwork (architecture B).

    Args:
        network: see :class:`~bayeshnet.continual.VariationalLearner`, as all arguments but the next.
        posterior: builder of the conditional posterior.
        regularizer: holds the outputs for old tasks; a default one when None.
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
        estimator: KLEstimator | None = None,
        training: Training | None = None,
        outliers: PseudoOutliers | None = None,
        likelihood: Likelihood | None = None,
        density: DensitySettings | None = None,
        num_samples: int = 100,
        entropy_weight: float = 0.5,
    ) -> None:
        """Keep the parts."""
        super().__init__(
            network, posterior, estimator=estimator, training=training, outliers=outliers, likelihood=likelihood,
            density=density, num_samples=num_samples, entropy_weight=entropy_weight,
        )  # fmt: skip
        self.regularizer = regularizer if regularizer is not None else OutputRegularizer()

    def task_posterior(self, spec: WeightSpec) -> TaskPosterior:
        """One generator for all tasks."""
        return GeneratedTasks(self.posterior, spec)

    def penalties(
        self, state: LearnerState, previous: LearnerState | None, generator: torch.Generator
    ) -> list[Callable[[], Tensor]]:
        """The output regulariser over all tasks before this one."""
        if previous is None or self.regularizer.strength == 0:
            return []
        return [self.regularizer.penalty(state.posterior, previous.posterior, previous.num_tasks, generator)]
