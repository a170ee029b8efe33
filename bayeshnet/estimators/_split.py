"""The two parts of the KL of a semi-implicit distribution, and the small helpers that all estimators share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions.base import WeightDistribution, WeightDraw
from ..distributions.gaussian_forms import as_gaussian, as_low_rank
from ..distributions.priors import FanInGaussian
from ..distributions.semi_implicit import GeneratedWeights, SemiImplicit, SharedNoise, total
from ..errors import check_int, type_error, value_error
from ..geometry.linalg import identity_plus_cholesky, precise
from .base import as_distribution

__all__ = [
    "ConditionalKL",
    "as_semi_implicit",
    "check_value",
    "conditional_kl",
    "draw_from",
    "latent_and_noise",
    "noise_entropy",
    "number_of_samples",
    "pair",
    "prior_of",
    "same_size",
    "sample_from",
    "spread_of",
    "whiten_like",
]


@dataclass(frozen=True)
class ConditionalKL:
    r"""The analytic part, :math:`\mathrm{KL}(N(h(z), \sigma^2) \| p)` for each latent.

    Attributes:
        make_constant: makes :attr:`constant`, which not all estimators need.
        at: maps latents ``(M, n)`` to the rest of it, ``(M,)``.
        of: maps generated weights ``h(z)`` ``(M, P)`` to the mean of that, for who has them already; or None.
    """

    make_constant: Callable[[], Tensor]
    at: Callable[[Tensor], Tensor]
    of: Callable[[Tensor], Tensor] | None = None

    @property
    def constant(self) -> Tensor:
        r"""What does not depend on the latent, mostly :math:`\sum_i \log(s_i / \sigma_i)` with the prior's ``s``."""
        return self.make_constant()


def conditional_kl(q: SemiImplicit, p: Distribution) -> ConditionalKL | None:
    """The analytic part of ``KL(q || p)`` for a Gaussian ``p``, else None."""
    num, geometry = q.geometry.num_weights, q.geometry
    if isinstance(p, FanInGaussian) and p.whitened_by(q.whitening):
        return ConditionalKL(
            lambda: _noise_terms(q.sigma**2, num),
            lambda z: 0.5 * geometry.sqdist(z),
            _half_mean_square,
        )
    form = as_gaussian(p)
    if form is None:
        return _low_rank_conditional(q, p)
    loc, scale = (t.to(q.scale) for t in form)
    if q.whitening is not None:
        loc, scale = (loc - q.loc) / q.scale, scale / q.scale
    precision = scale**-2
    center = loc.expand(num)
    return ConditionalKL(
        lambda: _noise_terms(q.sigma**2 * precision, num),
        lambda z: 0.5 * geometry.sqdist(z, center, precision),
        lambda h: _half_mean_square((h - center) / scale),
    )


def _half_mean_square(x: Tensor) -> Tensor:
    """Half the mean squared norm ``()`` of rows ``(M, P)``, as products: a power's gradient takes longer."""
    return 0.5 * (x * x).sum(-1).mean()


def _noise_terms(ratio: Tensor, num: int) -> Tensor:
    """Half the sum of ``ratio - 1 - log(ratio)`` over the ratios of noise to prior variance."""
    return 0.5 * total(ratio - 1 - ratio.log(), num)


def _low_rank_conditional(q: SemiImplicit, p: Distribution) -> ConditionalKL | None:
    """The same for a prior of low rank plus diagonal, such as a linear hypernetwork, by Woodbury's identity."""
    form = as_low_rank(p)
    if form is None or form[2] is None:
        return None
    num, geometry = q.geometry.num_weights, q.geometry
    loc = (form[0].to(q.scale) - q.loc) / q.scale
    diag = form[1].to(q.scale) / q.scale**2
    factor = form[2].to(q.scale) / (q.scale.unsqueeze(-1) if q.scale.ndim else q.scale)
    scaled = factor / diag.unsqueeze(-1)
    root = identity_plus_cholesky(factor.T @ scaled)
    variance = (q.sigma**2).expand(num)
    seen = precise(scaled.T @ (variance.unsqueeze(-1) * scaled))
    trace = torch.cholesky_solve(seen, root).diagonal().sum().to(loc)
    log_det = root.diagonal().log().sum().to(loc)
    offset = scaled.T @ loc

    def at(z: Tensor) -> Tensor:
        along = precise(geometry.inner(z.unsqueeze(-2), scaled.T) - offset)
        solved = torch.linalg.solve_triangular(root, along.unsqueeze(-1), upper=False).squeeze(-1)
        return 0.5 * (geometry.sqdist(z, loc, 1 / diag) - (solved**2).sum(-1).to(z))

    return ConditionalKL(lambda: _noise_terms(variance / diag, num) - 0.5 * trace + log_det, at)


def noise_entropy(q: SemiImplicit) -> Tensor:
    r"""Entropy :math:`\tfrac12 \sum_i \log(2 \pi e\, scale_i^2 \sigma_i^2)` of the weights given their latent."""
    num = q.geometry.num_weights
    return total(q.sigma.log(), num) + q.log_volume + 0.5 * num * (1 + math.log(2 * math.pi))


def as_semi_implicit(q: Any, method: str) -> SemiImplicit:
    """``q`` as a :class:`SemiImplicit`, or an error that says what to use instead."""
    dist = as_distribution(q)
    if isinstance(dist, SharedNoise):
        raise value_error(
            "q",
            expected="a posterior with independent noise",
            found='one with noise="shared"',
            hint=f"{method} needs the density of the weights given their latent, which shared noise does not have: use "
            'ChangeOfVariables, or noise="independent".',
        )
    if not isinstance(dist, SemiImplicit):
        raise type_error(
            "q",
            expected="a SemiImplicit distribution (a hypernetwork posterior)",
            found=type(dist).__name__,
            hint=f"{method} works on the latent of a hypernetwork: use ClosedForm, MonteCarlo or Auto.",
        )
    return dist


def pair(q: Any, p: Any) -> tuple[Distribution, Distribution]:
    """Both arguments as distributions of the same number of weights."""
    posterior, prior = as_distribution(q), as_distribution(p, "p")
    same_size(posterior, prior)
    return posterior, prior


def prior_of(q: Distribution, p: Distribution | nn.Module) -> Distribution:
    """The prior as a distribution of the size of ``q``."""
    prior = as_distribution(p, "p")
    same_size(q, prior)
    return prior


def same_size(q: Distribution, p: Distribution) -> None:
    """Refuse a prior over another number of weights."""
    if q.event_shape != p.event_shape:
        raise value_error(
            "p",
            expected=f"a prior over {q.event_shape[0]} weights",
            found=f"one over {p.event_shape[0]}",
            hint="Both live in weight space (not in u-space).",
        )


def draw_from(q: Distribution, num: int, generator: torch.Generator | None = None) -> WeightDraw:
    """Draw ``num`` reparameterized weight vectors from any distribution, with the noise of ``generator``."""
    if isinstance(q, WeightDistribution):
        return q.draw(num, generator)
    if not q.has_rsample:
        raise value_error("q", expected="a distribution with rsample", found=type(q).__name__)
    return WeightDraw(_foreign_samples(q, num, generator))


def _foreign_samples(q: Distribution, num: int, generator: torch.Generator | None) -> Tensor:
    """Samples of a distribution that knows no generators: the global one is seeded from ours and restored."""
    method = q.rsample if q.has_rsample else q.sample
    if generator is None:
        return method(torch.Size((num,)))
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return method(torch.Size((num,)))


def sample_from(p: Distribution, num: int, generator: torch.Generator | None = None) -> Tensor:
    """Samples ``(num, P)`` without gradient of any distribution."""
    with torch.no_grad():
        return p.draw(num, generator).w if isinstance(p, WeightDistribution) else _foreign_samples(p, num, generator)


def number_of_samples(given: int | None, default: int, minimum: int = 1, advice: str = "") -> int:
    """The number of draws to use."""
    return default if given is None else check_int("num_samples", given, minimum, advice)


def latent_and_noise(draw: WeightDraw) -> tuple[Tensor, Tensor]:
    """Latent ``(S, n)`` and noise ``(S, P)`` of a draw that has both."""
    if draw.z is None or draw.eps is None:
        raise value_error(
            "draw", expected="a draw with its latent and noise", found="one without", hint="Use q.draw(S)."
        )
    return draw.z, draw.eps


def spread_of(values: Tensor) -> Tensor | None:
    """Standard error of the mean of ``values`` ``(S,)``, or None for a single one."""
    values = values.detach()
    return values.std() / math.sqrt(values.numel()) if values.numel() > 1 else None


def check_value(value: Tensor, method: str) -> Tensor:
    """``value`` if it is finite; looked at where that costs nothing, on the CPU."""
    if value.device.type == "cpu" and not math.isfinite(value):
        raise ValueError(
            f"{method}: expected a finite KL, got {float(value)}. Look for NaN or infinity among the weights of the "
            "hypernetwork, its inputs, sigma and the prior."
        )
    return value


def whiten_like(q: Distribution, w: Tensor) -> Tensor:
    """Weights ``(S, P)`` in the u-space of ``q``, or as they are; a KL does not see the difference."""
    return q.whiten(w) if isinstance(q, GeneratedWeights) else w
