"""Mixtures of generated distributions: posteriors of several modes, one hypernetwork for each component."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal, constraints

from ..checks import check_all
from ..distributions.base import WeightDistribution, WeightDraw
from ..distributions.posteriors.base import WeightPosterior
from ..distributions.semi_implicit import SemiImplicit
from ..errors import check_instance, type_error, value_error
from ..estimators import ImportanceSandwich, KLEstimate, KLEstimator, UnfoldedLIVI
from ..estimators.accepted import Accepts
from ..estimators.latent_posterior import implicit_log_prob
from ..rng import uniform_like
from .checking.importance import density_at_draws
from .implicit_site import has_exact_density

__all__ = [
    "GeneratedMixture",
    "MixtureKL",
    "MixturePosterior",
    "component_densities",
    "draws_and_densities",
    "log_prob_anywhere",
    "population_weights",
]

_FEWEST, _MOMENTS, _WIDER, _BEYOND = 8, 200, 2.0, 30.0


class GeneratedMixture(WeightDistribution):
    r"""Mixture :math:`\sum_k \pi_k q_k` of distributions of generated weights, whose densities may be integrals.

    Draws are reparameterized within their component; the numbers of draws of the components are their shares, to less
    than one, and on average exactly.

    Args:
        components: ``K`` distributions of one event shape ``(P,)``.
        log_weights: normalized logarithms of the weights ``(K,)``, without a gradient.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (the name and kind are torch's)
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, components: Sequence[SemiImplicit], log_weights: Tensor) -> None:
        self.components, self.log_weights = list(components), log_weights
        self.weight_spec = components[0].weight_spec
        super().__init__(torch.Size(), components[0].event_shape, validate_args=False)

    def counts(self, num: int, generator: torch.Generator | None = None) -> list[int]:
        """Draw the numbers of draws of the components, ``num`` in all."""
        edges = self.log_weights.exp().cumsum(0)
        start = uniform_like(self.log_weights, (), generator)
        points = (torch.arange(num, dtype=edges.dtype, device=edges.device) + start) / num * edges[-1]
        index = torch.searchsorted(edges, points).clamp_max(len(edges) - 1)
        found: list[int] = torch.bincount(index, minlength=len(edges)).tolist()
        return found

    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` weight vectors, in random order."""
        parts = [
            component.draw(count, generator).w
            for component, count in zip(self.components, self.counts(num, generator), strict=True)
            if count
        ]
        order = uniform_like(self.log_weights, (num,), generator).argsort()
        return WeightDraw(torch.cat(parts)[order])


class MixturePosterior(WeightPosterior):
    """A mixture of weight posteriors with fixed weights, equal ones at first.

    Components are trained side by side, each by its own draws; :class:`MixtureKL` keeps them apart. Their weights are
    found after training by importance, see :meth:`AutoHypernet.reweigh`, or set by :attr:`log_weights`.

    Args:
        components: ``K`` posteriors of hypernetworks with independent noise over the same weights.

    Example:
        >>> from bayeshnet.distributions import HypernetPosterior
        >>> from bayeshnet.hnets import HMLP
        >>> hnets = [HMLP([[3]], uncond_in_size=2, cond_in_size=0, num_cond_embs=0, verbose=False) for _ in range(2)]
        >>> posterior = MixturePosterior([HypernetPosterior(hnet) for hnet in hnets])
        >>> posterior.draw(5).w.shape
        torch.Size([5, 3])
    """

    def __init__(self, components: Sequence[WeightPosterior]) -> None:
        super().__init__()
        given = check_all("components", components, WeightPosterior, "a list of posteriors")
        if not given or len({part.weight_spec.numel for part in given}) > 1:
            raise value_error("components", expected="posteriors over the same weights, at least one", got=components)
        self.components = nn.ModuleList(given)
        self.weight_spec = given[0].weight_spec
        self.log_weights: Tensor
        like = next(given[0].parameters())
        self.register_buffer("log_weights", like.new_full((len(given),), -math.log(len(given))))

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> GeneratedMixture:
        """Return the mixture at a condition."""
        parts = [part(cond_id, cond_input) for part in self.components]
        for part in parts:
            check_instance("components", part, SemiImplicit, "posteriors of hypernetworks with independent noise")
        return GeneratedMixture(parts, self.log_weights)


@Accepts
def _mixtures(q: Distribution, method: str) -> GeneratedMixture:
    """Accept mixtures of generated weights."""
    if not isinstance(q, GeneratedMixture):
        raise type_error("q", expected=f"a GeneratedMixture, for {method}", got=q, hint="See MixturePosterior.")
    return q


class MixtureKL(KLEstimator):
    r"""KL of a mixture of generated distributions, with a lower bound of what its discrete latent tells.

    .. math:: \mathrm{KL}(q \| p) &= \sum_k \pi_k \mathrm{KL}(q_k \| p) - I(k; w), \\
        I(k; w) &= \sum_k \pi_k E_{q_k} \log \frac{q_k(w)}{q(w)}
        \ge \sum_k \pi_k E_{q_k} \log \frac{g_k(w)}{\sum_j \pi_j g_j(w)} .

    The bound holds for any densities ``g``, and the KL is never underestimated by it. Where all components have a
    density, as those of linear hypernetworks, ``g`` are these and the information is exact; otherwise they are
    Gaussians of the components' moments. For modes that do not overlap the information is the entropy of the weights.

    Args:
        inner: estimator of the KL of each component; :class:`~bayeshnet.estimators.UnfoldedLIVI` if None.
        num_samples: latents per estimate, of all components together.

    Diagnostics:
        ``component_information``, the bound of ``I(k; w)`` in nats.
    """

    accepts = _mixtures

    def __init__(self, inner: KLEstimator | None = None, num_samples: int = 32) -> None:
        if inner is not None:
            check_instance("inner", inner, KLEstimator, "a KLEstimator or None", "For example LIVI().")
        self.inner = UnfoldedLIVI() if inner is None else inner
        self.num_samples = self._check_count(num_samples)

    def _estimate(
        self, q: GeneratedMixture, p: Distribution, num_samples: int, generator: torch.Generator | None
    ) -> KLEstimate:
        each = max(self.inner.min_samples or 1, math.ceil(num_samples / len(q.components)))
        parts = [self.inner.estimate(component, p, each, generator) for component in q.components]
        weights = q.log_weights.exp()
        information = _information(q, max(each, _FEWEST), generator)
        surrogate = (weights * torch.stack([part.surrogate for part in parts])).sum() - information
        known = [part.value for part in parts if part.value is not None]
        value = (weights * torch.stack(known)).sum() - information.detach() if len(known) == len(parts) else None
        return KLEstimate(value, surrogate, diagnostics={"component_information": information.detach()})


def _information(q: GeneratedMixture, each: int, generator: torch.Generator | None) -> Tensor:
    """Return the bound of the information between component and weights from ``each`` draws of every component."""
    draws = [component.draw(each, generator).w for component in q.components]
    if all(has_exact_density(component) for component in q.components):
        models: list[Any] = q.components
    else:
        models = [_gaussian(w.detach()) for w in draws]
    total = q.log_weights.new_zeros(())
    for index, (w, log_weight) in enumerate(zip(draws, q.log_weights, strict=True)):
        joint = torch.stack([model.log_prob(w) for model in models]) + q.log_weights.unsqueeze(-1)
        own = joint[index] - log_weight
        total = total + log_weight.exp() * (own - joint.logsumexp(0)).mean()
    return total


def _within_reach(q: Any, w: Tensor, around: MultivariateNormal, own: Tensor) -> Tensor:
    """Return log-densities ``(S,)`` of a component at draws of another one, whose log-densities ``own`` are.

    Where a wide Gaussian around the component has less than ``exp(-30)`` of ``own``, it is returned: there is no need
    to search for a latent of what adds nothing to the mixture.
    """
    found = around.log_prob(w).to(own)
    near = found > own - _BEYOND
    if bool(near.any()):
        found[near] = log_prob_anywhere(q, w[near]).to(found)
    value: Tensor = found
    return value


def _gaussian(w: Tensor, wider: float = 1.0) -> MultivariateNormal:
    """Return the Gaussian of the moments of draws ``(M, P)``, its correlations shrunk where there are few draws.

    Standard deviations are ``wider`` times as large.
    """
    num, size = w.shape
    away = w - w.mean(0)
    covariance = away.T @ away / num
    variances = covariance.diagonal().clamp_min(torch.finfo(w.dtype).tiny ** 0.5)
    shrunk = covariance * (num / (num + 2.0 * size))
    shrunk.diagonal().copy_(variances * (1 + 1e-4))
    return MultivariateNormal(w.mean(0), shrunk * wider**2, validate_args=False)


def log_prob_anywhere(q: Any, w: Tensor, num_proposals: int = 16, num_starts: int = 4) -> Tensor:
    """Compute the log-density ``(S,)`` of a generated distribution or a mixture of such at any weights ``(S, P)``.

    It is exact for linear hypernetworks, otherwise a lower bound in expectation by importance sampling, with a
    gradient.
    """
    if isinstance(q, GeneratedMixture):
        each = [log_prob_anywhere(component, w, num_proposals, num_starts) for component in q.components]
        return (torch.stack(each, -1) + q.log_weights).logsumexp(-1)
    if has_exact_density(q):
        exact: Tensor = q.log_prob(w)
        return exact
    return implicit_log_prob(q, w, num_proposals, num_starts)


@torch.no_grad()
def component_densities(
    q: GeneratedMixture, counts: Sequence[int], generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw so many weights of each component, and return them with the log-densities of all components.

    Returns:
        Weights ``(S, P)`` and a lower and an upper estimate of log-densities ``(S, K)``; of foreign components both are
        the same.
    """
    draws, lower, upper = [], [], []
    around = [_gaussian(component.draw(_MOMENTS, generator).w, _WIDER) for component in q.components]
    for index, (component, count) in enumerate(zip(q.components, counts, strict=True)):
        if not count:
            continue
        draw = component.draw(count, generator)
        if has_exact_density(component):
            low = high = component.log_prob(draw.w)
        else:
            low, high = ImportanceSandwich(num_starts=4).log_density_bounds(component, draw, generator)
        others = [
            low if j == index else _within_reach(other, draw.w, around[j], low) for j, other in enumerate(q.components)
        ]
        draws.append(draw.w)
        lower.append(torch.stack([other.to(low) for other in others], -1))
        upper.append(torch.stack([high if j == index else o.to(high) for j, o in enumerate(others)], -1))
    return torch.cat(draws), torch.cat(lower), torch.cat(upper)


def draws_and_densities(q: Any, num: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Draw ``num`` weights of a distribution, with a lower and an upper estimate of their log-densities ``(S,)``."""
    if isinstance(q, GeneratedMixture):
        w, lower, upper = component_densities(q, q.counts(num, generator), generator)
        return w, (lower + q.log_weights).logsumexp(-1), (upper + q.log_weights).logsumexp(-1)
    draw = q.draw(num, generator)
    return draw.w, *density_at_draws(q, draw, generator)


@torch.no_grad()
def population_weights(log_ratios: Tensor, log_densities: Tensor, log_weights: Tensor, rounds: int = 200) -> Tensor:
    r"""Return log-weights ``(K,)`` of the mixture closest to a target, :math:`\max_\pi E_p \log \sum_k \pi_k q_k`.

    Args:
        log_ratios: normalized log-weights ``(S,)`` of draws for the target, from a mixture of all components.
        log_densities: of all components at these draws, ``(S, K)``.
        log_weights: to begin with, ``(K,)``.
        rounds: of expectation and maximization.

    References:
        Cappé, Douc, Guillin, Marin, Robert, "Adaptive importance sampling in general mixture classes", 2008.
    """
    current = log_weights.to(log_densities)
    for _ in range(rounds):
        shares = (log_densities + current).log_softmax(-1)
        current = (shares + log_ratios.unsqueeze(-1)).logsumexp(0).clamp_min(-30.0)
    return current.log_softmax(-1)
