"""The bound of a Bayesian network and a guide over its weights, without Pyro's traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro.poutine.runtime import am_i_wrapped
from torch import Tensor, nn

from ...distributions import WeightDraw
from ...distributions.base import draw_from
from ...errors import type_error
from ...estimators import KLEstimate
from ...guides import BayesianModel, HypernetGuide
from ...layers import BatchNormLayer
from ...mnets import ModuleMainNet
from ...mnets.inputs import Inputs, num_examples
from ...mnets.running_statistics import holding
from .evaluation import Evaluation, EvaluationSettings
from .local_noise import independent_outputs, local_outputs
from .terms import BoundParts

__all__ = ["DirectEvaluation", "check_batch", "is_direct", "treats_examples_independently"]


class DirectEvaluation(Evaluation):
    """An evaluation by one network pass under all weight draws and one call of the estimator.

    Args:
        settings: see :class:`~bayeshnet.inference.bound.EvaluationSettings`.
        model: the Bayesian network.
        guide: the guide.
        args: arguments of model and guide: inputs ``x`` ``(N, ...)`` and targets ``y``.
        kwargs: keyword arguments of model and guide: ``cond_id`` and ``cond_input``.
    """

    def __init__(
        self,
        settings: EvaluationSettings,
        model: BayesianModel,
        guide: HypernetGuide,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> None:
        self.settings, self.model = settings, model
        self.x, self.y, condition = _arguments(args, **kwargs)
        self.q = guide.distribution(*condition)
        self.estimator = guide.estimator if settings.estimator is None else settings.estimator
        self._draw: WeightDraw | None = None
        self._estimate: KLEstimate | None = None
        self._batch_outputs: Tensor | None = None

    @property
    def weights(self) -> Tensor:
        """Weight draws ``(S, P)``, with their gradient."""
        self._run_batch()
        return self._sampled().w

    @property
    def joins_inputs(self) -> bool:
        """True if the network treats each example independently and its noise is that of weights."""
        single = isinstance(self.x, Tensor) and not self.settings.local_noise
        return single and treats_examples_independently(self.model.net)

    def outputs(self, inputs: Tensor) -> Tensor:
        """Compute outputs ``(S, K, C)`` at inputs ``(K, ...)``, in the network pass of the batch if possible.

        A pass of their own leaves running statistics as they are, and uses them.
        """
        if self._batch_outputs is None and self.joins_inputs and isinstance(self.x, Tensor):
            both = self._forward(self._sampled().w, torch.cat([self.x, inputs]))
            self._batch_outputs, further = both.split([len(self.x), len(inputs)], dim=1)
            found: Tensor = further
            return found
        weights = self.weights
        with holding(self.model.net):
            return self._forward(weights, inputs)

    def parts(self) -> BoundParts:
        """Compute the negative log-likelihood and the KL."""
        outputs = self._run_batch()
        estimate = self._estimate
        if estimate is None:
            settings = self.settings
            estimate = self.estimator.estimate(
                self.q, self.model.prior, num_samples=settings.num_samples, generator=settings.generator
            )
        nll = self.model.negative_log_likelihood(outputs, self.y)
        return BoundParts(nll, [estimate], weights=None if self._draw is None else self._draw.w)

    def _run_batch(self) -> Tensor:
        """Run the network on the batch, unless that has been done: outputs ``(S, N, C)``."""
        if self._batch_outputs is None:
            if self.settings.local_noise:
                self._batch_outputs = self.model.likelihood.outputs(self._local_outputs(), num_examples(self.x))
            else:
                self._batch_outputs = self._weight_outputs()
        return self._batch_outputs

    def _weight_outputs(self) -> Tensor:
        return self._forward(self._sampled().w, self.x)

    def _forward(self, weights: Tensor, x: Inputs) -> Tensor:
        """Run the network under all weight draws, in bfloat16 if that is set; outputs have the dtype of the weights."""
        if self.settings.amp is None:
            return self.model.outputs(weights, x)
        with torch.autocast(weights.device.type, dtype=torch.bfloat16, cache_enabled=False):
            outputs = self.model.outputs(weights, x)
        return outputs.to(weights.dtype)

    def _local_outputs(self) -> Tensor:
        """Run the network with noise in pre-activations, if possible without drawing any weights."""
        net, settings = self.model.net, self.settings
        outputs = independent_outputs(net, self.q, settings.num_particles, self.x, settings.generator)
        if outputs is None or settings.with_weights or self.estimator.uses_draws:
            draw = self._sampled()
            if outputs is None:
                return local_outputs(net, self.q, draw, self.x, settings.generator)
        return outputs

    def _sampled(self) -> WeightDraw:
        """Draw weights, once, and estimate the KL from them if the estimator works on draws and these are enough."""
        if self._draw is None:
            num, generator = self.settings.num_particles, self.settings.generator
            self._draw = draw_from(self.q, num, generator)
            self._estimate = self.estimator.estimate_at(
                self.q, self.model.prior, self._draw, self.settings.num_samples, generator
            )
        return self._draw


def is_direct(model: Any, guide: Any) -> bool:
    """Return whether model and guide are a Bayesian network and a guide without any change by subclasses or Pyro.

    Handlers around the call, hooks of the modules and overridden programs may change what a run of the two means.
    """
    known = type(model) is BayesianModel and getattr(type(guide), "forward", None) is HypernetGuide.forward
    hooked = known and (model._forward_hooks or guide._forward_hooks)
    return known and guide.name == "weights" and not hooked and not am_i_wrapped()


def treats_examples_independently(net: nn.Module) -> bool:
    """Return whether the network is known to treat each example independently of the others in its batch."""
    unknown = (ModuleMainNet, BatchNormLayer, nn.modules.batchnorm._NormBase)
    return not any(isinstance(part, unknown) for part in net.modules())


def check_batch(batch: Sequence[Any], argument: str = "data") -> tuple[Inputs, Tensor]:
    """Return inputs and targets, the arguments of a Bayesian network; refuse any others in one sentence."""
    if len(batch) != 2 or not isinstance(batch[1], Tensor):
        expected = "inputs and targets (x, y), with a tuple x of several inputs"
        advice = 'Write ((x, z), y), or give fit transform=lambda batch, generator: (batch["x"], batch["y"]).'
        got = batch[0] if len(batch) == 1 else tuple(batch)
        raise type_error(argument, expected=expected, got=got, hint=advice)
    num_examples(batch[0])
    return batch[0], batch[1]


def _arguments(
    args: Sequence[Any],
    *,
    x: Any = None,
    y: Any = None,
    cond_id: Any = None,
    cond_input: Tensor | None = None,
) -> tuple[Inputs, Tensor, tuple[Any, Tensor | None]]:
    """Return inputs, targets and condition among the arguments of model and guide."""
    named = [value for value in (x, y) if value is not None]
    return *check_batch([*args, *named], "x and y of the data"), (cond_id, cond_input)
