"""LIVI for maps that must not fold: what a fold would gain is taken away where the map turns over."""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ...distributions import SemiImplicit, WeightDraw
from ..base import KLEstimate, as_distribution
from .livi import LIVI

__all__ = ["UnfoldedLIVI"]


class UnfoldedLIVI(LIVI):
    r"""LIVI with a barrier against folds, for hypernetworks with as many latents as outputs.

    Where several latents make the same output, LIVI overrates the entropy, and training finds such folds. A map from
    :math:`\mathbb{R}^D` to itself that keeps its orientation, :math:`\det J > 0`, does not fold. So where a latent has
    :math:`\det J < 0`, the term of the smallest singular value :math:`s` of :math:`\sigma^{-1} J` counts negatively:

    .. math:: I' = E_z \Big[ \tfrac12 \log\det(I + J^\top \sigma^{-2} J) - 1_{\det J < 0} \log(1 + s^2) \Big].

    This is continuous, equals LIVI for a map without folds, and its gradient unfolds the others. With another number of
    latents, it is LIVI.

    Args:
        num_latents: latents per estimate.
        antithetic: draw latents in pairs ``(z, -z)``.
    """

    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """LIVI's estimate plus the barrier, which is the diagnostic ``folded``; other latents are drawn for it."""
        posterior = as_distribution(q)
        found = super().estimate(posterior, p, num_samples, generator)
        if not _is_square(posterior) or found.value is None:
            return found
        count = self.num_latents if num_samples is None else num_samples
        folded = self._folded(posterior, posterior.geometry.draw_latent(count, generator)).mean()
        lost = folded.detach()
        information = found.diagnostics["mutual_information"] - lost
        diagnostics = {**found.diagnostics, "mutual_information": information, "folded": lost}
        return KLEstimate(found.value + lost, found.surrogate + folded, diagnostics=diagnostics)

    def log_density(self, q: Distribution | nn.Module, draw: WeightDraw) -> Tensor:
        """LIVI's log-density of each draw plus the barrier at its latent, ``(S,)``."""
        posterior = as_distribution(q)
        log_density = super().log_density(posterior, draw)
        if not _is_square(posterior) or draw.z is None:
            return log_density
        return log_density + self._folded(posterior, draw.z)

    def _folded(self, q: SemiImplicit, z: Tensor) -> Tensor:
        """The barrier at latents ``(M, D)``: ``(M,)``."""
        jacobian = q.geometry.rows(z) / (q.sigma.unsqueeze(-1) if q.sigma.ndim else q.sigma)
        turned = torch.linalg.slogdet(jacobian.detach())[0] < 0
        if not turned.any():
            return jacobian.new_zeros(z.shape[0])
        smallest = torch.linalg.eigvalsh(jacobian.mT @ jacobian)[..., 0].clamp_min(0)
        return torch.where(turned, torch.log1p(smallest), torch.zeros_like(smallest))


def _is_square(q: Distribution) -> TypeGuard[SemiImplicit]:
    return isinstance(q, SemiImplicit) and q.latent_size == q.geometry.num_weights
