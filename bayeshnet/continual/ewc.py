"""Elastic weight consolidation: a point estimate, with a Laplace approximation around it as the next prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..builders.explicit import PointWeights
from ..builders.networks import NetworkBuilder
from ..checks import check_data
from ..distributions import MeanFieldGaussian, WeightDistribution, embed
from ..errors import (
    check_finite,
    check_flags,
    check_floating,
    check_instance,
    check_int,
    check_number,
    check_positive,
    check_shape,
    check_size,
    describe,
    type_error,
    value_error,
)
from ..guides import Likelihood
from ..mnets import MainNetInterface
from ..mnets.inputs import take
from ..per_example import check_examples_apart, per_example_gradients
from ..representation import ModuleSettings
from ..tasks import Task
from .heads import Heads
from .shared_learner import SharedLearner
from .state import LearnerState

__all__ = ["EWC", "Laplace", "diagonal_fisher"]


class EWC(SharedLearner):
    r"""One weight vector for all tasks, held where previous tasks are sensitive to it (online EWC).

    After each task the posterior is the Laplace approximation :math:`N(w^*, (\lambda F)^{-1})` with the diagonal

    .. math:: F \leftarrow \gamma F + \sum_n \nabla \log p(y_n | x_n, w^*)^2,

    which starts at the precision of the prior. It is the prior of the next task, whose weights are the maximum a
    posteriori; outputs that are added for the task have the prior of the first task.

    Args:
        network: see :class:`~bayeshnet.continual.SharedLearner`.
        posterior: scales of the weights.
        heads: assignment of the network's outputs to tasks.
        strength: factor :math:`\lambda` of the precision; 1 gives the Laplace approximation.
        decay: factor :math:`\gamma` of the precision of earlier tasks.
        num_fisher: largest number of examples of a task, chosen at random, for its Fisher matrix, which is scaled up to
            all examples; None for all.
        sample: if True, predict with samples from the Laplace approximation rather than with the point estimate.
        settings: see :class:`~bayeshnet.continual.VariationalLearner`.

    References:
        Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", 2017.
        Schwarz et al., "Progress and compress: a scalable framework for continual learning", 2018.
    """

    needs_example_gradients: ClassVar[bool] = True

    def __init__(
        self,
        network: NetworkBuilder | nn.Module,
        posterior: PointWeights | None = None,
        *,
        heads: Heads | None = None,
        strength: float = 1.0,
        decay: float = 1.0,
        num_fisher: int | None = None,
        sample: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(network, PointWeights() if posterior is None else posterior, heads=heads, **settings)
        self.strength = check_positive("strength", strength)
        self.decay = check_number("decay", decay, 0.0, 1.0)
        self.num_fisher = None if num_fisher is None else check_int("num_fisher", num_fisher, 1)
        check_flags(sample=sample)
        self.sample = bool(sample)

    def extend(self, state: LearnerState) -> None:
        """Extend the network, the posterior and the precision; new weights have the precision of the prior."""
        old = state.net.weight_spec
        super().extend(state)
        prior = state.posterior.prior(next(state.posterior.parameters()))
        precision = prior.scale**-2
        if isinstance(state.memory, Laplace):
            places = old.places_in(state.net.weight_spec).to(precision.device)
            precision = precision.index_copy(0, places, state.memory.precision)
        state.memory = Laplace(precision)

    def prior(self, state: LearnerState, previous: LearnerState | None, task: Task) -> Distribution:
        """Return the Laplace approximation after the previous tasks, extended to the weights of new outputs."""
        prior = state.posterior.prior(task.train.x)
        if previous is None:
            return prior
        return embed(self._laplace(previous), previous.net.weight_spec.places_in(state.net.weight_spec), prior)

    def remember(self, state: LearnerState, task: Task, generator: torch.Generator) -> None:
        """Add the Fisher matrix of the task to the precision."""
        if not isinstance(state.memory, Laplace):
            return
        net, y = self.training_problem(state, task, state.num_tasks)
        chosen = torch.randperm(len(y), generator=generator, device=generator.device)[: self.num_fisher].to(y.device)
        with torch.no_grad():
            loc = state.posterior(0).mean
        fisher = diagonal_fisher(net, state.likelihood, loc, take(task.train.x, chosen), y[chosen])
        state.memory.precision.mul_(self.decay).add_(fisher * (len(y) / len(chosen)))

    def predictive_posterior(self, state: LearnerState) -> nn.Module:
        """Return the Laplace approximation if ``sample`` is set, else the point estimate."""
        return _Constant(self._laplace(state), state) if self.sample else state.posterior

    def _laplace(self, state: LearnerState) -> MeanFieldGaussian:
        if not isinstance(state.memory, Laplace):
            raise type_error("state", expected="one that EWC has learned", found="that of another learner")
        scale = (self.strength * state.memory.precision) ** -0.5
        return MeanFieldGaussian(state.posterior(0).mean.detach(), scale, state.net.weight_spec, validate_args=False)


class Laplace(ModuleSettings, nn.Module):
    """Diagonal precision of the Laplace approximation, of the prior and all tasks so far.

    Args:
        precision: ``(P,)``.
    """

    precision: Tensor

    def __init__(self, precision: Tensor) -> None:
        super().__init__()
        self.register_buffer("precision", precision.clone())


class _Constant(nn.Module):
    """A posterior module that returns the same distribution for every condition."""

    def __init__(self, distribution: WeightDistribution, state: LearnerState) -> None:
        super().__init__()
        self.distribution, self.weight_spec = distribution, state.net.weight_spec

    def forward(self, cond_id: Any = None, cond_input: Any = None) -> WeightDistribution:
        return self.distribution


@torch.no_grad()
def diagonal_fisher(
    net: MainNetInterface, likelihood: Likelihood, weights: Tensor, x: Tensor, y: Tensor, batch_size: int = 256
) -> Tensor:
    r"""Compute the diagonal of the empirical Fisher matrix, summed over the examples.

    .. math:: F_i = \sum_n \Big( \frac{\partial \log p(y_n | x_n, w)}{\partial w_i} \Big)^2

    Args:
        net: the network.
        likelihood: likelihood of the targets given its outputs.
        weights: weight vector ``(P,)`` at which the matrix is evaluated.
        x: inputs ``(N, *input_shape)``.
        y: targets, one per input.
        batch_size: examples at a time; the memory needed is that of so many weight vectors.

    Returns:
        Of shape ``(P,)``.

    Raises:
        ValueError: if batch norm uses the statistics of the batch: gradients per example then mean nothing; if the
            square of a weight overflows, since units that overflow may look like units that are off.

    References:
        Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", 2017.

    Example:
        >>> from bayeshnet.guides import Categorical
        >>> from bayeshnet.mnets import MLP
        >>> net = MLP(n_in=3, n_out=2, hidden_layers=[4], no_weights=True, verbose=False)
        >>> diagonal_fisher(net, Categorical(), torch.zeros(26), torch.randn(5, 3), torch.zeros(5).long()).shape
        torch.Size([26])
    """
    size = check_size("batch_size", batch_size)
    check_instance("net", net, MainNetInterface, "a main network", "Wrap a module in ModuleMainNet.")
    check_instance("likelihood", likelihood, Likelihood, "a Likelihood")
    check_shape("weights", check_floating("weights", weights), (net.weight_spec.numel,))
    check_data("weights", check_finite("weights", weights))
    if not bool(weights.square().isfinite().all()):  # units that overflow may look like units that are off
        raise value_error("weights", expected="values whose squares are finite", found=f"{describe(weights)}")
    if not check_data("x", x).ndim or not len(x) or not check_data("y", y).ndim or len(y) != len(x):
        raise value_error("x or y", expected="inputs and as many targets, at least one", found=f"{describe((x, y))}")
    likelihood.check_targets(y)
    check_examples_apart(net)
    spec = net.weight_spec

    def log_prob(flat: Tensor, one_x: Tensor, one_y: Tensor) -> Tensor:
        outputs = likelihood.outputs(net(one_x.unsqueeze(0), weights=spec.split(flat)).unsqueeze(0), 1)
        return likelihood.on(outputs).log_prob(outputs, one_y.unsqueeze(0)).sum()

    total = torch.zeros_like(weights)
    for some_x, some_y in zip(x.split(size), y.split(size), strict=True):
        total += _gradients(net, log_prob, weights, some_x, some_y).square().sum(0)
    if not bool(total.isfinite().all()):
        raise value_error("x or weights", expected="those at which gradients are finite", found="others")
    return total


def _gradients(net: nn.Module, log_prob: Callable[..., Tensor], weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Compute gradients per example; refuse inputs that the network does not take, with its error as the cause."""
    try:
        return per_example_gradients(log_prob, weights, x, y)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if ": expected " in str(error):  # a message of this library says it better
            raise
        found = f"{describe(x)} ({type(error).__name__}: {error})"
        raise value_error("x or weights", expected=f"those that {type(net).__name__} takes", found=found) from error
