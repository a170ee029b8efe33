"""The generative program of a Bayesian network: weights from the prior, targets from the likelihood of the outputs."""

from __future__ import annotations

import copy
from typing import Any

import pyro
import torch
from pyro import settings
from pyro.ops.provenance import track_provenance
from pyro.poutine.runtime import get_plates
from torch import Tensor, nn
from torch.distributions import Distribution

from ..errors import check_choice, check_instance, check_int, value_error
from ..functional import STRATEGIES
from ..memo import Memo, transforms_active
from ..mnets import MainNetInterface, ModuleMainNet
from ..mnets.inputs import Inputs, num_examples
from ..representation import ModuleSettings
from ..weights import WeightSpec
from ._parameter_statements import declare_parameters
from .likelihoods import Likelihood
from .likelihoods.contract import network_outputs
from .likelihoods.places import AtPlaces
from .sites import as_pyro

__all__ = ["BayesianModel"]


class BayesianModel(ModuleSettings, nn.Module):
    r"""A Bayesian neural network as a Pyro program.

    .. math:: w \sim p(w), \qquad y_i \sim p(y \mid f_w(x_i)), \quad i = 1, \dots, N.

    The weights are one flat site ``"weights"``, targets are the site ``"y"`` in the plate ``"data"``. A batch stands
    for the whole data set: its log-likelihood is scaled by ``num_data / len(x)``, here and nowhere else. Plates to the
    left of ``"data"``, such as the one of vectorized particles, run the network under all their weights at once.

    Args:
        net: main network, or any ``torch.nn.Module``, all of whose parameters are then random.
        prior: distribution over the ``P`` weights, or a module that returns one.
        likelihood: from :mod:`bayeshnet.guides.likelihoods`.
        num_data: size of the data set; None if each call sees all of it.
        strategy: way to run the network under many weights, see :func:`bayeshnet.functional.batched_forward`.
        chunk_size: weight vectors at a time, to bound memory; all of them if None.

    Example:
        >>> from bayeshnet.distributions import FanInGaussian
        >>> from bayeshnet.guides import Gaussian
        >>> net = ModuleMainNet(nn.Linear(3, 1))
        >>> model = BayesianModel(net, FanInGaussian(net.weight_spec), Gaussian(0.1), num_data=100)
        >>> x, y = torch.randn(10, 3), torch.randn(10, 1)
        >>> model.log_likelihood(torch.randn(5, 4), x, y).shape
        torch.Size([5])
    """

    def __init__(
        self,
        net: nn.Module,
        prior: Distribution | nn.Module,
        likelihood: Likelihood,
        num_data: int | None = None,
        *,
        strategy: str = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        check_instance("net", net, nn.Module, "a main network or a torch.nn.Module")
        advice = "For example Categorical() or Gaussian(0.1)."
        check_instance("likelihood", likelihood, Likelihood, "a Likelihood", advice)
        self.net = net if isinstance(net, MainNetInterface) else ModuleMainNet(net)
        self.prior = prior
        self.likelihood = likelihood
        self.num_data = None if num_data is None else check_int("num_data", num_data, 1)
        self.strategy = check_choice("strategy", strategy, STRATEGIES)
        self.chunk_size = None if chunk_size is None else check_int("chunk_size", chunk_size, 1)
        self._checked: Memo[bool] = Memo()
        as_pyro(prior, self.weight_spec.numel)

    @property
    def weight_spec(self) -> WeightSpec:
        """Names and shapes of the weights."""
        return self.net.weight_spec

    def with_data(self, num_data: int) -> BayesianModel:
        """Return the same model, sharing all parts, for a data set of another size."""
        other = copy.copy(self)
        other.num_data = check_int("num_data", num_data, 1)
        return other

    def outputs(self, weights: Tensor, x: Inputs) -> Tensor:
        """Compute outputs ``(S, N, C)`` at inputs ``(N, ...)``, or a tuple of such, under weights ``(S, P)``.

        Of networks with answers per pixel or step they are ``(S, N, C, ...)``.
        """
        size = num_examples(x)
        outputs = network_outputs(self.net, weights, x, strategy=self.strategy, chunk_size=self.chunk_size)
        return self.likelihood.outputs(outputs, size)

    def log_likelihood(self, weights: Tensor, x: Inputs, y: Tensor) -> Tensor:
        """Estimate the log-likelihood ``(S,)`` of the whole data set, in nats, from the batch ``x``, ``y``."""
        return self.log_likelihood_of(self.outputs(weights, x), y)

    def log_likelihood_of(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Estimate the log-likelihood ``(S,)`` of the whole data set, in nats, from outputs ``(S, N, C)``."""
        rows = self._rows(outputs)
        return self.likelihood.on(rows).log_prob(rows, y).sum(-1) * self.scale(len(y))

    def negative_log_likelihood(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute minus the mean of :meth:`log_likelihood_of` over the ``S`` weight draws: ``()``, in nats."""
        rows = self._rows(outputs)
        return self.likelihood.on(rows).log_prob_sum(rows, y) * (-self.scale(len(y)) / len(outputs))

    def scale(self, batch_size: int) -> float:
        """Return the number of data per example of a batch, ``num_data / batch_size``."""
        if batch_size == 0:
            raise value_error("x", expected="at least one example", found="none")
        if self.num_data is None:
            return 1.0
        if batch_size > self.num_data:
            raise value_error("x", expected=f"at most num_data = {self.num_data} examples", found=str(batch_size))
        return self.num_data / batch_size

    def forward(self, x: Inputs, y: Tensor | None = None, *, cond_id: Any = None, cond_input: Any = None) -> Tensor:
        """Run the program on inputs ``x`` ``(N, ...)``, or a tuple of several; observe ``y`` if given, else draw it.

        ``cond_id`` and ``cond_input`` are for guides, which Pyro calls with the same arguments.
        """
        size = num_examples(x)
        names = declare_parameters("model", self)
        weights = pyro.sample("weights", as_pyro(self.prior, self.weight_spec.numel))
        outputs, likelihood = self._batched_outputs(weights, x)
        # Empty, unless Pyro draws the program and asks on what the targets depend.
        outputs = track_provenance(outputs, frozenset(n for n in names if n.startswith("model$$$likelihood.")))
        if y is not None:
            self.scale(size)
        distribution, targets = _observed(likelihood, outputs, y)
        if y is not None:
            self._check_values(distribution, targets, y)
        if y is None:
            with pyro.plate("data", size, dim=-1):
                return pyro.sample("y", distribution)
        total = size if self.num_data is None else self.num_data
        with pyro.plate("data", total, subsample=torch.arange(size, device=outputs.device), dim=-1):
            return pyro.sample("y", distribution, obs=targets)

    def _check_values(self, distribution: Any, targets: Any, y: Tensor) -> None:
        """Refuse targets without a density where torch's distributions check theirs, once for each tensor of them."""
        recorded = transforms_active() or torch._C._get_tracing_state() is not None
        if settings.get("validate_distributions_torch") and not recorded:
            self._checked.get((y,), lambda: self._checked_values(distribution, targets, y))

    def _checked_values(self, distribution: Any, targets: Tensor, y: Tensor) -> bool:
        self.likelihood.check_targets(y)
        try:
            support = distribution.support
        except NotImplementedError:  # of a user's distribution
            return True
        if not targets.is_meta and not bool(support.check(targets).all()):
            advice = "Class indices run from 0 to the number of outputs less one."
            raise value_error("y", expected="targets that the likelihood can have", found="others", hint=advice)
        return True

    def _rows(self, outputs: Tensor) -> Tensor:
        return self.likelihood.outputs(outputs, outputs.shape[1] if outputs.ndim > 1 else 0)

    def _batched_outputs(self, weights: Tensor, x: Inputs) -> tuple[Tensor, Likelihood | AtPlaces]:
        """Compute outputs ``(*B, N, C)`` under weights ``(*B, 1, P)`` (1 for the data plate) or ``(P,)``.

        Returns them with the likelihood that takes them, which sums over places in ``(*B, N, C, ...)``.
        """
        batch = weights.shape[:-1]
        if len(batch) == 1 and _plates() == [(-2, batch[0])]:
            # Predictive(parallel=True) of Pyro takes the dimension of an event for that of the plate of the data.
            batch = torch.Size([*batch, 1])
        if batch and batch[-1] != 1:
            expected = "plates around the model at dim=-2 or further left, since dim=-1 is the plate of the data"
            raise value_error("weights", expected=expected, got=weights)
        outputs = self.outputs(weights.reshape(-1, weights.shape[-1]), x)
        return outputs.reshape(*batch[:-1], *outputs.shape[1:]), self.likelihood.on(outputs)


def _plates() -> list[tuple[int, int]]:
    """Return dimension and size of the vectorized plates around the call."""
    return [(frame.dim or 0, frame.size) for frame in get_plates() if frame.vectorized]


def _observed(likelihood: Any, outputs: Tensor, y: Tensor | None) -> tuple[Any, Tensor | None]:
    """Return distribution and targets; refuse outputs that torch does not take as parameters, such as NaN."""
    try:
        return (likelihood.distribution(outputs), None) if y is None else likelihood.observed(outputs, y)
    except ValueError as error:
        if ": expected " in str(error):  # a message of this library says it better
            raise
        expected = "inputs and weights at which the outputs of the network are parameters of the likelihood"
        raise value_error("x, weights or net", expected=expected, found=f"others ({error})") from error
