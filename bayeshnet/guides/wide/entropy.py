"""A bound of the information between few latents and many unknowns, by a linear model of the latents."""

from __future__ import annotations

import torch
from torch.distributions import Distribution

from ...distributions.semi_implicit import SemiImplicit
from ...estimators import KLEstimate, KLEstimator
from ...estimators.accepted import semi_implicit
from ...estimators.analytic import analytic_part, kl_of_parts
from ...estimators.latent.livi import even_latents
from ...geometry.linalg import identity_plus_cholesky, precise

__all__ = ["LinearReverse"]

_JUDGED, _EXPANDED = 64, 8


class LinearReverse(KLEstimator):
    r"""KL with a lower bound of the information that no map can cheat, exact for a linear one.

    For any density :math:`\tau(z | w)`,

    .. math:: I(w; z) \ge E \log \frac{\tau(z | w)}{p(z)} .

    Here it is that of the map's linear part, :math:`\tau = N(P^{-1} B^\top \sigma^{-2} (w - c), P^{-1})` with
    :math:`P = I + B^\top \sigma^{-2} B`, mean Jacobian ``B`` and mean ``c`` over latents of their own. With the noise
    integrated out, and with what is left of the map, :math:`r = B^\top \sigma^{-2} (h(z) - c - B z)`, it is

    .. math:: I \ge \tfrac12 \log\det P + E \big[ z^\top P^{-1} r - \tfrac12 r^\top P^{-1} r \big].

    Learned noise would grow until :class:`~bayeshnet.estimators.LIVI`, which linearizes the map within it, is far too
    high; this bound is loose there instead.

    Args:
        num_samples: latents at which Jacobians are averaged, at most 8; the bound is a mean over 64.

    Diagnostics:
        As for :class:`~bayeshnet.estimators.LIVI`; ``upper`` is the value.

    References:
        Ranganath, Tran, Blei, "Hierarchical variational models", 2016.

    Example:
        >>> from bayeshnet.distributions import FanInGaussian, HypernetPosterior
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[3, 2], [3]], uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
        >>> q = HypernetPosterior(hnet, scale="fan_in", sigma=1.0)
        >>> estimate = LinearReverse().estimate(q, FanInGaussian(q.weight_spec))
        >>> bool(estimate.upper == estimate.value)
        True
    """

    accepts = semi_implicit

    def __init__(self, num_samples: int = _EXPANDED) -> None:
        self.num_samples = self._check_count(num_samples)

    def _estimate(
        self, q: SemiImplicit, p: Distribution, num_samples: int, generator: torch.Generator | None
    ) -> KLEstimate:
        zero, geometry = q.geometry.zero_latent(), q.geometry
        other = even_latents(zero, min(num_samples, _EXPANDED), generator)
        half = even_latents(zero, _JUDGED // 2, generator)
        z = torch.cat([half, -half])
        slope = geometry.rows(other).mean(0)
        center = geometry(torch.cat([other, -other])).mean(0)
        scaled = slope / (q.sigma**2).unsqueeze(-1)
        root = identity_plus_cholesky(precise(scaled.mT @ slope))
        rest = precise((geometry(z) - center - z @ slope.mT) @ scaled)
        both = torch.linalg.solve_triangular(root, torch.stack([precise(z), rest], -1), upper=False)
        terms = (both[..., 0] * both[..., 1] - 0.5 * both[..., 1].square()).sum(-1)
        information = (root.diagonal().log().sum() + terms.mean()).to(zero)
        return kl_of_parts(analytic_part(q, p, z, generator=generator), information, (information.detach(), None))
