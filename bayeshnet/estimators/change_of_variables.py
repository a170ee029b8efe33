"""The exact density of a posterior with shared noise, by change of variables."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions.base import WeightDraw
from ..distributions.semi_implicit import SharedNoise
from ..errors import check_int, type_error, value_error
from ..geometry.linalg import precise
from ._cross_entropy import log_prob_of
from ._split import check_value, number_of_samples, prior_of, spread_of
from .base import KLEstimate, KLEstimator, as_distribution

__all__ = ["ChangeOfVariables"]


class ChangeOfVariables(KLEstimator):
    r"""KL of the perturbation wrapper's documented equation, exact per draw where the map is injective.

    For :math:`u = h(z_{1:n}) + \sigma \odot z` with one noise vector ``z`` of ``P`` entries, the Jacobian is block
    triangular, and

    .. math:: \log q(w) = \log N(z; 0, I) - \sum_{i>n} \log \sigma_i
        - \log |\det(\mathrm{diag}(\sigma_{1:n}) + J_{1:n})| - \sum_i \log scale_i .

    The map is injective if that determinant never changes its sign. Among the draws it may be seen to: their minority
    share is the diagnostic ``folded``, which is then above zero, and the density is too low where several noises make
    the same weights.

    Args:
        num_draws: weight vectors per estimate.

    Example:
        >>> from bayeshnet.distributions import FanInGaussian, HypernetPosterior
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[3, 2], [3]], uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
        >>> q = HypernetPosterior(hnet, scale="fan_in", noise="shared")
        >>> ChangeOfVariables().estimate(q, FanInGaussian(q.weight_spec)).value.shape
        torch.Size([])
    """

    def __init__(self, num_draws: int = 16) -> None:
        self.num_draws = check_int("num_draws", num_draws, 1)

    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """Estimate the KL from ``num_samples`` draws (``num_draws`` if None)."""
        posterior = _shared(q)
        prior = prior_of(posterior, p)
        draw = posterior.draw(number_of_samples(num_samples, self.num_draws), generator)
        log_q, sign = self._density(posterior, draw)
        terms = log_q - log_prob_of(prior, draw.w, generator)
        surrogate = terms.mean()
        value = check_value(surrogate.detach(), "ChangeOfVariables")
        positive = (sign > 0).to(terms).mean()
        folded = torch.minimum(positive, 1 - positive)
        return KLEstimate(value, surrogate, None, None, {"standard_error": spread_of(terms), "folded": folded})

    def log_density(self, q: Distribution | nn.Module, draw: WeightDraw) -> Tensor:
        """Log-density at the draw's own weights, ``(S,)``, differentiable along the draw's noise."""
        return self._density(_shared(q), draw)[0]

    def _density(self, q: SharedNoise, draw: WeightDraw) -> tuple[Tensor, Tensor]:
        """Log-densities and the signs of the determinants."""
        if draw.z is None or draw.eps is None:
            raise value_error("draw", expected="a draw with its noise", found="one without", hint="Use q.draw(S).")
        n, num = q.latent_size, q.geometry.num_weights
        sigma = q.sigma.expand(num)
        index = torch.arange(n, device=draw.z.device)
        block = precise(q.geometry.rows(draw.z, index)) + torch.diag(precise(sigma[:n]))
        sign, log_det = torch.linalg.slogdet(block)
        base = -0.5 * precise(draw.eps).square().sum(-1) - 0.5 * num * math.log(2 * math.pi)
        return (base - log_det - sigma[n:].log().sum() - q.log_volume).to(draw.w), sign


def _shared(q: Distribution | nn.Module) -> SharedNoise:
    dist = as_distribution(q)
    if not isinstance(dist, SharedNoise):
        raise type_error(
            "q",
            expected='a posterior with noise="shared"',
            found=type(dist).__name__,
            hint="With independent noise use LIVI and ImportanceSandwich.",
        )
    return dist
