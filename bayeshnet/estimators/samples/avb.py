"""AVB: the KL from a classifier that tells posterior from prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

from ...distributions.base import WeightDraw
from ...distributions.gaussian import MeanFieldGaussian
from ...distributions.gaussian_forms import as_gaussian
from ...distributions.priors import FanInGaussian
from ...distributions.semi_implicit import GeneratedWeights, total
from ...errors import check_int, check_positive
from ...optim import make_adam
from .._cross_entropy import log_prob_of
from .._split import check_value, draw_from, number_of_samples, prior_of, sample_from, spread_of
from ..base import KLEstimate, KLEstimator, as_distribution
from ..lazy_diagnostics import Findings
from .networks import make_mlp

__all__ = ["AVB"]


class AVB(nn.Module, KLEstimator):
    r"""Adversarial variational Bayes with adaptive contrast.

    A discriminator ``T`` learns to tell weights of ``q`` from those of a contrast ``r``, a Gaussian with their means
    and standard deviations; at its optimum :math:`T = \log q - \log r`, and

    .. math:: \mathrm{KL}(q \| p) = E_q[T(w)] + E_q[\log r(w) - \log p(w)].

    An imperfect discriminator only loses: the value is too small. Once it separates both sides perfectly its gradient
    fades. Measured, ``T`` found 14 to 54 nats at 100 and more dimensions where hundreds were due. ``saturated`` says
    so.

    The discriminator is part of this object (created at the first estimate, or by :meth:`build`), trained by its own
    Adam for ``steps`` steps before each estimate.

    Args:
        hidden: sizes of the discriminator's hidden layers.
        num_draws: weight vectors of an estimate.
        batch_size: weight vectors of each side in a training step.
        steps: training steps per estimate.
        lr: learning rate.
        contrast_draws: weight vectors for the moments of ``r``; 0 contrasts with the prior itself, which then needs no
            density.

    References:
        Mescheder, Nowozin, Geiger, "Adversarial variational Bayes: unifying variational autoencoders and generative
        adversarial networks", 2017.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (128, 128),
        num_draws: int = 32,
        *,
        batch_size: int = 128,
        steps: int = 5,
        lr: float = 1e-3,
        contrast_draws: int = 100,
    ) -> None:
        super().__init__()
        self.hidden = tuple(check_int("hidden", size, 1) for size in hidden)
        self.num_draws = check_int("num_draws", num_draws, 1)
        self.batch_size = check_int("batch_size", batch_size, 1)
        self.steps = check_int("steps", steps, 0)
        self.lr = check_positive("lr", lr)
        self.contrast_draws = check_int("contrast_draws", contrast_draws, 0)
        if self.contrast_draws == 1:
            self.contrast_draws = check_int("contrast_draws", contrast_draws, 2, "A standard deviation needs two.")
        self.discriminator: nn.Sequential | None = None
        self._optimizer: torch.optim.Optimizer | None = None

    def build(self, num_weights: int, like: Tensor, generator: torch.Generator | None = None) -> None:
        """Create the discriminator for ``num_weights`` weights in the dtype and on the device of ``like``."""
        self.discriminator = make_mlp([num_weights, *self.hidden, 1], like, generator)
        self._optimizer = make_adam(self.discriminator.parameters(), self.lr)

    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """Train the discriminator, then estimate the KL from ``num_samples`` weight vectors (``num_draws`` if None).

        Returns:
            Diagnostics ``discriminated`` (the part from ``T``), ``accuracy`` of the discriminator on the training
            batches and ``saturated`` (accuracy above 0.95: more is hidden from it than it can say).
        """
        posterior = as_distribution(q)
        return self._estimate(
            posterior,
            p,
            lambda: draw_from(posterior, number_of_samples(num_samples, self.num_draws), generator),
            generator,
        )

    def estimate_at(
        self,
        q: Distribution,
        p: Distribution | nn.Module,
        draw: WeightDraw,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate | None:
        """The same from draws that are there already; those of the discriminator's training are others."""
        num = number_of_samples(num_samples, self.num_draws)
        return self._estimate(q, p, lambda: draw.first(num), generator) if num <= draw.w.shape[0] else None

    def _estimate(
        self,
        posterior: Distribution,
        p: Distribution | nn.Module,
        make_draw: Callable[[], WeightDraw],
        generator: torch.Generator | None,
    ) -> KLEstimate:
        prior = prior_of(posterior, p)
        contrast = self._contrast(posterior, prior, generator)
        made = self._train(posterior, contrast, self.steps, generator)
        draw = make_draw()
        x = _standardize(draw.w, contrast)
        logits = _frozen(self._net(draw.w, generator), x).squeeze(-1)
        surrogate, terms = logits.mean(), logits.detach()
        if contrast is not prior:
            ratio, constant = _log_ratio(contrast, x, prior, posterior, draw, generator)
            surrogate, terms = surrogate + (ratio.mean() + constant), terms + ratio.detach()
        value = check_value(surrogate.detach(), "AVB")
        logits = logits.detach()
        later: dict[str, Callable[[], Any]] = {
            "discriminated": logits.mean,
            "accuracy": lambda: _accuracy(made),
            "saturated": lambda: None if (share := _accuracy(made)) is None else share > 0.95,
            "standard_error": lambda: spread_of(terms),
        }
        return KLEstimate(value, surrogate, None, None, Findings({}, later))

    def train_discriminator(
        self, q: Distribution | nn.Module, contrast: Distribution, steps: int, generator: torch.Generator | None = None
    ) -> Tensor | None:
        """Train ``T`` to tell draws of ``q`` from draws of ``contrast``; its accuracy in the last steps."""
        return _accuracy(self._train(as_distribution(q), contrast, steps, generator))

    def _train(
        self, q: Distribution, contrast: Distribution, steps: int, generator: torch.Generator | None
    ) -> list[Tensor]:
        """Train ``T``; what it said in the last steps of draws of ``q``, then of as many of ``contrast``."""
        made = []
        for step in range(steps):
            real = sample_from(q, self.batch_size, generator)
            other = sample_from(contrast, self.batch_size, generator)
            net = self._net(real, generator)
            optimizer = self._optimizer
            with torch.enable_grad():
                logits = net(_standardize(torch.cat([real, other]), contrast))
                ours, theirs = logits.split(self.batch_size)
                loss = F.softplus(-ours).mean() + F.softplus(theirs).mean()
                if optimizer is not None:
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            if step >= steps - max(1, steps // 4):
                made.append(logits.detach())
        return made

    def _contrast(self, q: Distribution, p: Distribution, generator: torch.Generator | None) -> Distribution:
        """A Gaussian with the moments of ``q``, or the prior itself."""
        if not self.contrast_draws:
            return p
        w = sample_from(q, self.contrast_draws, generator)
        tiny = torch.finfo(w.dtype).tiny
        return MeanFieldGaussian(w.mean(0), w.std(0).clamp_min(tiny), validate_args=False)

    def _net(self, w: Tensor, generator: torch.Generator | None) -> nn.Sequential:
        if self.discriminator is None or self.discriminator[0].in_features != w.shape[1]:
            self.build(w.shape[1], w.detach(), generator)
        net = self.discriminator
        if net is None:
            raise ValueError("discriminator: expected one after build(), got None.")
        return net


def _accuracy(made: list[Tensor]) -> Tensor | None:
    """How often the sign of a discriminator's logits, of draws and then of as many others, was right."""
    if not made:
        return None
    ours, theirs = torch.stack(made).chunk(2, dim=1)
    return 0.5 * ((ours > 0).to(ours).mean() + (theirs < 0).to(theirs).mean())


def _frozen(net: nn.Sequential, x: Tensor) -> Tensor:
    """What ``net``, a perceptron of :func:`make_mlp`, makes of ``x``, with gradients of ``x`` alone."""
    for layer in net:
        if isinstance(layer, nn.Linear):
            x = F.linear(x, layer.weight.detach(), layer.bias.detach())
        else:
            x = layer(x)
    return x


def _log_ratio(
    contrast: Distribution,
    x: Tensor,
    prior: Distribution,
    q: Distribution,
    draw: WeightDraw,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor | float]:
    """Log-density ``(S,)`` of draws, in units of the contrast ``x``, under it minus under the prior; a constant."""
    form = as_gaussian(prior)
    if form is None or not isinstance(contrast, MeanFieldGaussian):
        return contrast.log_prob(draw.w) - log_prob_of(prior, draw.w, generator), 0.0
    if isinstance(q, GeneratedWeights) and isinstance(prior, FanInGaussian) and prior.whitened_by(q.whitening):
        y = q.whitened(draw)
    else:
        y = (draw.w - form[0]) / form[1]
    constant = total(form[1].log(), x.shape[1]) - contrast.scale.log().sum()
    return 0.5 * ((y * y).sum(-1) - (x * x).sum(-1)), constant


def _standardize(w: Tensor, contrast: Distribution) -> Tensor:
    """Weights in units of the contrast's standard deviations, where it is our Gaussian."""
    return (w - contrast.loc) / contrast.scale if isinstance(contrast, MeanFieldGaussian) else w
