"""Which posteriors an estimator accepts: checks that return the distribution to work on, or raise with advice."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.distributions import Distribution

from ..distributions.base import has_log_prob
from ..distributions.dirac import Dirac
from ..distributions.semi_implicit import GeneratedWeights, SemiImplicit, SharedNoise
from ..errors import type_error, value_error

WRITE_LOG_PROB = (
    "Write its method log_prob(w), from weights (*B, P) to (*B,) nats; without one SSGE gives a gradient from samples, "
    "AVB and NearestNeighbor a rough value."
)
"""Advice about posteriors without a density."""

__all__ = [
    "WRITE_LOG_PROB",
    "Accepts",
    "any_posterior",
    "drawn_whole",
    "semi_implicit",
    "shared_noise",
    "with_density",
    "with_score",
]


@dataclass(frozen=True)
class Accepts:
    """The posteriors that an estimator accepts, declared by its attribute ``accepts``; decorates the check.

    Attributes:
        check: maps a posterior and the name of the estimator to the distribution to work on, or raises with advice.
    """

    check: Callable[[Distribution, str], Any]

    def __call__(self, q: Distribution, method: str) -> Any:
        """Return the distribution to work on; raise if the estimator ``method`` cannot handle ``q``."""
        return self.check(q, method)


def drawn_whole(q: Distribution) -> Distribution:
    """Return the distribution, whose draws have their noise: one that is drawn in blocks as a copy that is not."""
    if not isinstance(q, SemiImplicit) or q.block_size is None:
        return q
    whole = copy.copy(q)
    whole.block_size = None
    return whole


@Accepts
def any_posterior(q: Distribution, method: str) -> Distribution:
    """Accept every posterior."""
    return q


@Accepts
def semi_implicit(q: Distribution, method: str) -> SemiImplicit:
    """Accept hypernetwork posteriors with independent noise."""
    if isinstance(q, SharedNoise):
        raise value_error(
            "q",
            expected="a posterior with independent noise",
            found='one with noise="shared"',
            hint=f"{method} needs the density of the weights given their latent, which shared noise does not have: use "
            'ChangeOfVariables, or noise="independent".',
        )
    if not isinstance(q, SemiImplicit):
        raise type_error(
            "q",
            expected="a SemiImplicit distribution (a hypernetwork posterior)",
            found=type(q).__name__,
            hint=f"{method} works on the latent of a hypernetwork: use ClosedForm, MonteCarlo or Auto."
            if has_log_prob(q)
            else f"{method} works on the latent of a hypernetwork: use Auto.",
        )
    return q


@Accepts
def shared_noise(q: Distribution, method: str) -> SharedNoise:
    """Accept hypernetwork posteriors whose noise begins with their latent."""
    if not isinstance(q, SharedNoise):
        raise type_error(
            "q",
            expected='a posterior with noise="shared"',
            found=type(q).__name__,
            hint="With independent noise use LIVI and ImportanceSandwich.",
        )
    return q


@Accepts
def with_density(q: Distribution, method: str) -> Distribution:
    """Accept distributions with a density; a linear hypernetwork posterior is converted to the Gaussian that it is."""
    if isinstance(q, SemiImplicit) and q.geometry.is_affine:
        return q.to_gaussian()
    if isinstance(q, (GeneratedWeights, Dirac)):
        raise type_error(
            "q",
            expected="a distribution with a density",
            found=type(q).__name__,
            hint="Use LIVI or ImportanceSandwich for a hypernetwork posterior, ClosedForm for a Dirac.",
        )
    if not has_log_prob(q):
        raise type_error(
            "q",
            expected="a distribution with a density",
            found=f"{type(q).__name__} without log_prob",
            hint=WRITE_LOG_PROB,
        )
    return q


@Accepts
def with_score(q: Distribution, method: str) -> Distribution:
    """Accept distributions whose score a kernel can estimate: no point masses, no learned sigma."""
    if isinstance(q, Dirac):
        raise type_error(
            "q",
            expected="a distribution with a density",
            found="Dirac",
            hint="A point mass has no score: use ClosedForm.",
        )
    if isinstance(q, GeneratedWeights) and q.sigma.requires_grad:
        raise value_error(
            "q",
            expected="a fixed sigma",
            found="one that requires grad",
            hint=f"{method} is blind to scales far below the kernel's width and would shrink it: "
            "learn sigma with LIVI, or detach it.",
        )
    return q
