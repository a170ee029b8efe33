"""The contract of all KL estimators."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..checks import check_generator
from ..deprecation import renamed_argument
from ..distributions.base import WeightDraw
from ..errors import check_instance, check_size, type_error, value_error
from ..memo import host_may_look
from ..representation import Settings
from .accepted import Accepts, any_posterior
from .draws import device_of
from .records import KLEstimate, MutualInformation

__all__ = [
    "DensityEstimator",
    "DrawEstimator",
    "KLEstimate",
    "KLEstimator",
    "MutualInformation",
    "as_distribution",
    "as_pair",
]


class KLEstimator(Settings, ABC):
    r"""Estimator of :math:`\mathrm{KL}(q \| p)` between a weight distribution and a prior, in value and gradient.

    A subclass implements :meth:`_estimate` and declares its requirements. It derives from :class:`DensityEstimator` if
    it has a log-density per draw, and from :class:`DrawEstimator` if it can use weights that have been drawn already.

    Attributes:
        accepts: check of the posterior, one of those in ``bayeshnet.estimators.accepted``.
        min_samples: the smallest number of samples; None for an estimator that draws none itself, whose
            :meth:`_estimate` gets ``num_samples`` as it was passed to :meth:`estimate`.
        num_samples: samples per estimate (latents or weight vectors) unless the caller passes another number.
    """

    accepts: ClassVar[Accepts] = any_posterior
    min_samples: ClassVar[int | None] = 1
    num_samples: int = 1

    @abstractmethod
    def _estimate(self, q: Any, p: Distribution, num_samples: Any, generator: torch.Generator | None) -> KLEstimate:
        """Estimate ``KL(q || p)`` of an accepted posterior to a prior of its size from ``num_samples`` samples."""

    @final
    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """Estimate ``KL(q || p)``.

        Args:
            q: posterior, or a module that returns one when it is called without a condition.
            p: prior over as many weights, or such a module.
            num_samples: latents or weight vectors to draw; the constructor's ``num_samples`` if None.
            generator: of all noise.
        """
        check_generator(generator)
        posterior = self._accept(q)
        prior = _same_size(posterior, as_distribution(p, "p"))
        with _devices_named(posterior, prior):
            return self._checked(self._estimate(posterior, prior, self._count(num_samples), generator))

    @property
    @final
    def uses_draws(self) -> bool:
        """True if :meth:`estimate_at` can use weights that have been drawn already."""
        return isinstance(self, DrawEstimator)

    @final
    def estimate_at(
        self,
        q: Distribution,
        p: Distribution | nn.Module,
        draw: WeightDraw,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate | None:
        """Estimate ``KL(q || p)`` from given draws; None if there are too few, or if :attr:`uses_draws` is False."""
        if not isinstance(self, DrawEstimator):
            return None
        num = self._count(num_samples)
        if num > draw.w.shape[0]:
            return None
        posterior = self._accept(q)
        prior = _same_size(posterior, as_distribution(p, "p"))
        with _devices_named(posterior, prior):
            return self._checked(self._estimate_at(posterior, prior, draw.first(num), generator))

    @final
    def log_density(self, q: Distribution | nn.Module, draw: WeightDraw) -> Tensor:
        """Return the log-density ``(S,)`` of ``q`` at its own draws, whose gradient gives that of the KL.

        Raises:
            ValueError: if the method has no log-density per draw.
        """
        if not isinstance(self, DensityEstimator):
            raise value_error(
                "estimator",
                expected="one with a log-density per draw",
                found=type(self).__name__,
                hint="Use it through ImplicitELBO, or take LIVI, ImportanceSandwich, MonteCarlo or ClosedForm.",
            )
        check_instance("draw", draw, WeightDraw, "a draw of the posterior, such as q.draw(S)")
        return self._log_density(self._accept(q), draw)

    @final
    def _accept(self, q: Distribution | nn.Module) -> Any:
        """Return the distribution to work on, or raise if this estimator does not accept it."""
        return self.accepts(as_distribution(q), type(self).__name__)

    @final
    def _count(self, num_samples: int | None) -> Any:
        """Return the number of samples to use."""
        if self.min_samples is None:
            return None if num_samples is None else self._check_count(num_samples)
        return self.num_samples if num_samples is None else self._check_count(num_samples)

    @final
    def _check_count(self, num_samples: int, **old_names: int | None) -> int:
        """Check a number of samples, which a constructor may have been given under an old name of the argument."""
        for name, given in old_names.items():
            if given is not None:
                num_samples = renamed_argument(name, "num_samples", given, None, stacklevel=5)
        compares = self.min_samples is not None and self.min_samples > 1
        hint = f"{type(self).__name__} compares samples with each other." if compares else ""
        return check_size("num_samples", num_samples, self.min_samples or 1, hint)

    @final
    def _checked(self, estimate: KLEstimate) -> KLEstimate:
        """Return the estimate if it is finite. It is read on the CPU only: elsewhere the host would have to wait."""
        number = estimate.surrogate.detach() if estimate.value is None else estimate.value
        if host_may_look(number) and not math.isfinite(number):
            raise value_error(
                "q or p",
                expected=f"distributions between which {type(self).__name__} finds a finite KL",
                found=str(float(number)),
                hint="Look for NaN or infinity among the weights of the hypernetwork, its inputs, sigma and the prior.",
            )
        return estimate


class DensityEstimator(KLEstimator):
    """A KL estimator with a log-density per draw, which losses that evaluate densities can use."""

    @property
    @abstractmethod
    def density_per_draw(self) -> bool:
        """True if log-density and gradient are right for each draw, False if only on average over draws."""

    @abstractmethod
    def _log_density(self, q: Any, draw: WeightDraw) -> Tensor:
        """Return the log-density ``(S,)`` of an accepted posterior at its own draws."""


class DrawEstimator(KLEstimator):
    """A KL estimator that can use weights drawn for another purpose, such as the likelihood."""

    @abstractmethod
    def _estimate_at(self, q: Any, p: Distribution, draw: WeightDraw, generator: torch.Generator | None) -> KLEstimate:
        """Estimate ``KL(q || p)`` of an accepted posterior to a prior of its size from given draws."""


def as_distribution(q: Distribution | nn.Module, argument: str = "q") -> Distribution:
    """Return ``q`` itself, or the distribution that a posterior module returns without a condition."""
    expected = "a distribution of event shape (P,) without a batch shape, or a module that returns one"
    try:
        dist = q() if isinstance(q, nn.Module) else q
    except TypeError as error:
        raise type_error(argument, expected=expected, found=f"{type(q).__name__} ({error})") from error
    if not isinstance(dist, Distribution) or len(dist.event_shape) != 1 or len(dist.batch_shape) != 0:
        raise type_error(argument, expected=expected, got=dist)
    return dist


def as_pair(q: Distribution | nn.Module, p: Distribution | nn.Module) -> tuple[Distribution, Distribution]:
    """Return posterior and prior as distributions over the same number of weights."""
    posterior = as_distribution(q)
    return posterior, _same_size(posterior, as_distribution(p, "p"))


def _same_size(q: Distribution, p: Distribution) -> Distribution:
    """Return the prior if it is over as many weights as ``q``."""
    if q.event_shape != p.event_shape:
        raise value_error(
            "p",
            expected=f"a prior over {q.event_shape[0]} weights",
            found=f"one over {p.event_shape[0]}",
            hint="Both live in weight space (not in u-space).",
        )
    return p


@contextmanager
def _devices_named(q: Distribution, p: Distribution) -> Iterator[None]:
    """Name the prior where torch finds its tensors on another device than those of the posterior."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        here, there = device_of(q), device_of(p)
        if here is None or there is None or here == there:
            raise
        advice = "Build it there, as FanInGaussian(spec, device=...)."
        raise value_error("p", expected=f"a prior on {here}", found=f"one on {there}", hint=advice) from error
