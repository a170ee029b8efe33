"""Predictive: predictions with uncertainty, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_generator, check_items
from ..distributions.base import draw_from
from ..errors import (
    check_flags,
    check_instance,
    check_int,
    check_number,
    check_size,
    type_error,
    value_error,
)
from ..guides import HypernetGuide, Likelihood
from ..guides.likelihoods.contract import as_outputs, network_outputs
from ..mnets import MainNetInterface, ModuleMainNet
from ..mnets.inputs import Inputs, num_examples, split_inputs
from ..representation import Settings
from ..weights import WeightSpec
from .predicting.chunks import check_batch, draws_at_a_time, inputs_at_a_time
from .predicting.modes import predicting
from .prediction import Moments, Prediction, predictive_quantiles

__all__ = ["Predictive"]


class Predictive(Settings):
    r"""A main network averaged over draws of its weights: :math:`p(y|x) \approx \frac1S \sum_s p(y | f_{w_s}(x))`.

    All inputs of a call share the same draws, which are not stored: memory is needed for one chunk of draws, one chunk
    of inputs and the results. Only ``keep_samples`` and ``quantiles`` need more. The sizes of chunks follow from those
    of the weights and of what the network computes for an example, unless they are given.

    The network predicts in evaluation mode, whatever its mode is before and afterwards: batch norm uses its running
    statistics, so that no prediction depends on its neighbors, and dropout is off. The guide keeps its own mode.

    Outputs per pixel or step, ``(N, C, ...)``, are predicted at each of these places; their log-likelihoods are summed.

    Args:
        guide: a guide over the network's weights, or a posterior module.
        net: the main network, or the ``torch.nn.Module`` of the model.
        likelihood: distribution of targets given outputs; None takes outputs as predictions, without noise.
        num_samples: number of draws ``S``.
        sample_chunk: draws at a time; None takes as many as have about half a gibibyte of weights.
        input_chunk: inputs at a time; None takes as many as have about 16 MiB of activations under all draws of a chunk
            on a CPU, 1 GiB elsewhere, but 128 where memory allows. A network with statistics of the batch takes all
            inputs at once.
        mc_dropout: True to leave dropout on, whose masks then count as epistemic uncertainty beside the weights.

    References:
        Gal, Ghahramani, "Dropout as a Bayesian approximation: representing model uncertainty in deep learning", 2016.

    Example:
        >>> from bayeshnet.guides import Categorical, MeanFieldGuide
        >>> net = nn.Linear(4, 3)
        >>> prediction = Predictive(MeanFieldGuide(net), net, Categorical(), num_samples=10)(torch.randn(7, 4))
        >>> prediction.mean.shape, prediction.epistemic.shape
        (torch.Size([7, 3]), torch.Size([7]))
    """

    def __init__(
        self,
        guide: nn.Module,
        net: nn.Module,
        likelihood: Likelihood | None = None,
        num_samples: int = 100,
        *,
        sample_chunk: int | None = None,
        input_chunk: int | None = None,
        mc_dropout: bool = False,
    ) -> None:
        if not isinstance(guide, nn.Module) or not isinstance(getattr(guide, "weight_spec", None), WeightSpec):
            raise type_error("guide", expected="a guide over weights or a posterior module", got=guide)
        check_instance("net", net, nn.Module, "a main network or a torch.nn.Module")
        if likelihood is not None:
            check_instance("likelihood", likelihood, Likelihood, "a Likelihood or None")
        self.guide = guide if isinstance(guide, HypernetGuide) else HypernetGuide(guide)
        self.net = net if isinstance(net, MainNetInterface) else ModuleMainNet(net)
        self.likelihood = likelihood
        self.num_samples = check_size("num_samples", num_samples)
        self.sample_chunk = None if sample_chunk is None else check_int("sample_chunk", sample_chunk, 1)
        self.input_chunk = None if input_chunk is None else check_int("input_chunk", input_chunk, 1)
        check_flags(mc_dropout=mc_dropout)
        self.mc_dropout = mc_dropout

    def __call__(
        self,
        x: Inputs,
        cond_id: Any = None,
        cond_input: Tensor | None = None,
        *,
        keep_samples: bool = False,
        quantiles: Sequence[float] = (),
        generator: torch.Generator | None = None,
    ) -> Prediction:
        """Predict for inputs ``x`` ``(N, ...)``.

        Args:
            x: inputs, or a tuple of several with one row per example each.
            cond_id: condition of the guide, such as the task.
            cond_input: the same as a vector.
            keep_samples: True to keep the mean under each draw, ``(S, N, C)``.
            quantiles: levels in (0, 1); memory for the outputs of a chunk of inputs under all draws is needed.
            generator: of the draws.
        """
        check_flags(keep_samples=keep_samples)
        levels = [_level(q) for q in check_items("quantiles", quantiles, "levels between 0 and 1")]
        check_generator(generator)
        return self._predict(x, self._draws(cond_id, cond_input, generator), keep_samples, levels)

    def batches(
        self,
        batches: Iterable[Inputs],
        cond_id: Any = None,
        cond_input: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Iterator[Prediction]:
        """Predict for one batch of inputs after the other, all of them under the same draws.

        Draws are made once if one chunk holds them all. If not, they are made again for each batch from the same random
        numbers, so that memory stays that of a chunk.

        Args:
            batches: inputs, each as for a call; of a loader of pairs ``(x for x, _ in loader)``.
            cond_id: condition of the guide.
            cond_input: the same as a vector.
            generator: of the draws.

        Returns:
            An iterator over a prediction per batch.

        Example:
            >>> from bayeshnet.guides import Categorical, MeanFieldGuide
            >>> net = nn.Linear(4, 3)
            >>> predictive = Predictive(MeanFieldGuide(net), net, Categorical(), num_samples=10)
            >>> [len(part.mean) for part in predictive.batches(torch.randn(7, 4).split(4))]
            [4, 3]
        """
        if isinstance(batches, Tensor) or not isinstance(batches, Iterable):
            expected = "an iterable of batches of inputs"
            raise type_error("batches", expected=expected, got=batches, hint="x.split(size) makes one of inputs.")
        check_generator(generator)
        return self._in_batches(batches, self._same_draws(cond_id, cond_input, generator))

    def _in_batches(self, batches: Iterable[Inputs], draws: Callable[[], Iterable[Tensor]]) -> Iterator[Prediction]:
        for number, x in enumerate(batches):
            check_batch(x)
            try:
                prediction = self._predict(x, draws(), False, [])
            except (TypeError, ValueError) as error:
                raise type(error)(f"batches: number {number}: {error}") from error
            yield prediction

    def _same_draws(
        self, cond_id: Any, cond_input: Tensor | None, generator: torch.Generator | None
    ) -> Callable[[], Iterable[Tensor]]:
        """Return a function whose calls iterate over the same draws."""
        if self._sample_chunk() >= self.num_samples:
            kept = list(self._draws(cond_id, cond_input, generator))
            return lambda: kept
        parameter = next(chain(self.guide.parameters(), self.guide.buffers()), torch.empty(0))
        device = parameter.device if generator is None else generator.device
        seed = int(torch.randint(2**62, (), generator=generator, device=None if generator is None else device))
        return lambda: self._draws(cond_id, cond_input, torch.Generator(device=device).manual_seed(seed))

    @torch.no_grad()
    def _predict(self, x: Inputs, draws: Iterable[Tensor], keep_samples: bool, levels: list[float]) -> Prediction:
        """Predict for inputs under chunks of draws ``(at most sample_chunk, P)``."""
        chunks: tuple[Any, ...] = ()
        moments: list[Moments] = []
        kept: list[list[Tensor]] = []
        for weights in draws:
            if not chunks:
                chunks = self._chunks(x, self._input_chunk(weights, x))
                moments, kept = [Moments(self.likelihood) for _ in chunks], [[] for _ in chunks]
            for i, inputs in enumerate(chunks):
                outputs = self._outputs(weights, inputs)
                moments[i].add(outputs)
                if keep_samples or levels:
                    kept[i].append(outputs)
        results = [m.result() for m in moments]
        mean, variance, aleatoric, total = (torch.cat(parts) for parts in zip(*results, strict=True))
        _refuse_nan(mean)
        joined = [torch.cat(parts) for parts in kept if parts]
        found = [predictive_quantiles(self.likelihood, outputs, levels) for outputs in joined] if levels else []
        return Prediction(
            mean,
            total,
            aleatoric,
            (total - aleatoric).clamp_min(0),
            variance,
            self.likelihood.kind if self.likelihood is not None else "regression",
            self.num_samples,
            torch.cat([self._mean(outputs) for outputs in joined], dim=1) if keep_samples else None,
            {level: torch.cat([part[level] for part in found]) for level in levels},
            self.likelihood is None or self.likelihood.exclusive,
            _joined([m.logits for m in moments]),
        )

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Inputs,
        y: Tensor,
        cond_id: Any = None,
        cond_input: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Compute the log-density of each target, :math:`\log \frac1S \sum_s p(y | f_{w_s}(x))`: ``(N,)``, in nats."""
        if self.likelihood is None:
            raise value_error(
                "likelihood", expected="a likelihood, for log_likelihood", got=None, hint="Give one to Predictive."
            )
        if not isinstance(y, Tensor) or not y.ndim or len(y) != num_examples(x):
            raise value_error("y", expected=f"as many targets as inputs ({num_examples(x)}), in a tensor", got=y)
        self.likelihood.check_targets(y)
        check_generator(generator)
        chunks: list[tuple[Any, Any]] = []
        sums: list[Tensor | None] = []
        for weights in self._draws(cond_id, cond_input, generator):
            if not chunks:
                size = self._input_chunk(weights, x)
                chunks = list(zip(self._chunks(x, size), self._chunks(y, size), strict=True))
                sums = [None] * len(chunks)
            for i, (inputs, targets) in enumerate(chunks):
                outputs = self._outputs(weights, inputs)
                log_prob = self.likelihood.on(outputs).log_prob(outputs, targets).logsumexp(0)
                old = sums[i]
                sums[i] = log_prob if old is None else torch.logaddexp(old, log_prob)
        return _refuse_nan(torch.cat([s for s in sums if s is not None]) - math.log(self.num_samples))

    def _chunks(self, x: Inputs, size: int) -> tuple[Any, ...]:
        return (x,) if num_examples(x) <= size else split_inputs(x, size)

    def _input_chunk(self, weights: Tensor, x: Inputs) -> int:
        """Return the number of inputs at a time under the draws ``weights`` ``(S, P)``."""
        if self.input_chunk is not None:
            return self.input_chunk
        with predicting(self.net):
            return inputs_at_a_time(self.net, weights, x)

    def _sample_chunk(self) -> int:
        return self.sample_chunk or draws_at_a_time(self.guide.weight_spec.numel)

    @torch.no_grad()
    def _draws(self, cond_id: Any, cond_input: Tensor | None, generator: torch.Generator | None) -> Iterator[Tensor]:
        """Iterate over chunks ``(at most sample_chunk, P)`` of ``num_samples`` weight draws in all."""
        q = self.guide.distribution(cond_id, cond_input)
        left = self.num_samples
        while left:
            size = min(left, self._sample_chunk())
            left -= size
            yield draw_from(q, size, generator).w

    def _outputs(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Compute outputs ``(S, N, C)``, or ``(S, N, C, ...)`` per pixel or step."""
        with predicting(self.net, self.mc_dropout):
            outputs = network_outputs(self.net, weights, inputs)
        checked = as_outputs if self.likelihood is None else self.likelihood.outputs
        return checked(outputs, num_examples(inputs))

    def _mean(self, outputs: Tensor) -> Tensor:
        return outputs if self.likelihood is None else self.likelihood.on(outputs).mean(outputs)


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    """Return the parts as one tensor, or None if there is one that is None."""
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None


def _refuse_nan(values: Tensor) -> Tensor:
    """Return predictions if none of them is NaN, which a network makes of NaN or of numbers that are too large."""
    if not values.is_meta and bool(values.isnan().any()):
        advice = "Look for NaN, infinity and huge numbers in the inputs, then in the posterior."
        found = f"NaN for {int(values.isnan().flatten(1 if values.ndim > 1 else 0).sum())} of them"
        raise value_error(
            "x or net", expected="inputs and weights at which predictions are numbers", found=found, hint=advice
        )
    return values


def _level(quantile: Any) -> float:
    level = check_number("quantiles", quantile)
    if not 0 < level < 1:
        raise value_error("quantiles", expected="levels between 0 and 1", got=quantile)
    return level
