"""The exact density of a posterior with shared noise, by change of variables."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions.base import WeightDraw
from ..distributions.semi_implicit import SharedNoise
from ..geometry.linalg import precise
from .accepted import shared_noise
from .analytic import log_prob_of
from .base import DensityEstimator, KLEstimate
from .draws import latent_and_noise, standard_error
from .noise import log_normal

__all__ = ["ChangeOfVariables"]


class ChangeOfVariables(DensityEstimator):
    r"""KL of a posterior with shared noise (the perturbation wrapper), exact per draw where its map is injective.

    For :math:`u = h(z_{1:n}) + \sigma \odot z` with one noise vector ``z`` of ``P`` entries, the Jacobian is block
    triangular, and

    .. math:: \log q(w) = \log N(z; 0, I) - \sum_{i>n} \log \sigma_i
        - \log |\det(\mathrm{diag}(\sigma_{1:n}) + J_{1:n})| - \sum_i \log scale_i .

    Where the determinant changes its sign, the map is not injective, and the density is too low where several noise
    vectors give the same weights.

    Args:
        num_samples: weight vectors per estimate.
        num_draws: old name of ``num_samples``.

    Diagnostics:
        ``standard_error``; ``folded``, the share of draws whose determinant has the rarer sign (zero for an injective
        map).

    Example:
        >>> from bayeshnet.distributions import FanInGaussian, HypernetPosterior
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[3, 2], [3]], uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
        >>> q = HypernetPosterior(hnet, scale="fan_in", noise="shared")
        >>> ChangeOfVariables().estimate(q, FanInGaussian(q.weight_spec)).value.shape
        torch.Size([])
    """

    accepts = shared_noise
    density_per_draw = False

    def __init__(self, num_samples: int = 16, *, num_draws: int | None = None) -> None:
        self.num_samples = self._check_count(num_samples, num_draws=num_draws)

    def _estimate(
        self, q: SharedNoise, p: Distribution, num_samples: int, generator: torch.Generator | None
    ) -> KLEstimate:
        draw = q.draw(num_samples, generator)
        log_q, sign = _density(q, draw)
        terms = log_q - log_prob_of(p, draw.w, generator)
        surrogate = terms.mean()
        positive = (sign > 0).to(terms).mean()
        diagnostics = {"standard_error": standard_error(terms), "folded": torch.minimum(positive, 1 - positive)}
        return KLEstimate(surrogate.detach(), surrogate, diagnostics=diagnostics)

    def _log_density(self, q: SharedNoise, draw: WeightDraw) -> Tensor:
        """Evaluate the density, differentiable along the draw's noise."""
        return _density(q, draw)[0]


def _density(q: SharedNoise, draw: WeightDraw) -> tuple[Tensor, Tensor]:
    """Return log-densities and the signs of the determinants, ``(S,)`` each."""
    z, noise = latent_and_noise(draw)
    n, num = q.latent_size, q.geometry.num_weights
    sigma = q.sigma.expand(num)
    block = precise(q.geometry.rows(z, torch.arange(n, device=z.device))) + torch.diag(precise(sigma[:n]))
    sign, log_det = torch.linalg.slogdet(block)
    return (log_normal(precise(noise)) - log_det - sigma[n:].log().sum() - q.log_volume).to(draw.w), sign
