"""KL from a kernel estimate of the density ratio (KIVI, uLSIF)."""

from __future__ import annotations

import torch
from torch.distributions import Distribution

from ...errors import check_choice, check_positive
from ...geometry.linalg import precise
from ..accepted import with_score
from ..base import KLEstimate, KLEstimator
from ..draws import sample_beside, standard_error
from .kernels import check_width, cross_distances, gaussian_kernel, kernel_width
from .scores import KernelSamples

__all__ = ["KernelRatio"]


class KernelRatio(KLEstimator):
    r"""KL from samples of both sides, by least squares for their density ratio in a kernel space.

    In the reverse form :math:`r = p / q` minimizes :math:`\tfrac12 E_q r^2 - E_p r`; with kernels at the samples of
    ``q``

    .. math:: \hat r &= k(\cdot, X_q)\, \alpha, \quad \alpha = (\hat H + \lambda I)^{-1} \hat h, \\
        \hat H &= \tfrac1M K_{qq} K_{qq}, \quad \hat h = \tfrac1{M_p} K_{qp} 1, \\
        \mathrm{KL} &\approx -\tfrac1M \sum_i \log \hat r(x_i) .

    The forward form regresses :math:`q / p` under ``p``. Ratios below ``1 / M``, which ``M`` samples cannot resolve,
    are clipped to it, so the reverse form saturates at ``log M`` nats. Use it in one or two dimensions, or where only
    samples of both sides exist and a direction is enough.

    Args:
        num_samples: samples ``M`` of each side, at least 2.
        width: kernel width, ``"median"`` (of the distances within ``q``) or a number.
        ridge: the regularization :math:`\lambda`.
        direction: ``"reverse"`` or ``"forward"``.
        num_draws: old name of ``num_samples``.

    Diagnostics:
        ``width``; ``clipped``, the share of clipped ratios; ``standard_error``.

    References:
        Shi, Sun, Zhu, "Kernel implicit variational inference", 2018.
        Kanamori, Hido, Sugiyama, "A least-squares approach to direct importance estimation", 2009.
    """

    accepts = with_score
    min_samples = 3

    def __init__(
        self,
        num_samples: int = 200,
        width: float | str = "median",
        ridge: float = 1e-2,
        direction: str = "reverse",
        *,
        num_draws: int | None = None,
    ) -> None:
        self.num_samples = self._check_count(num_samples, num_draws=num_draws)
        self.width = check_width(width)
        self.ridge = check_positive("ridge", ridge)
        self.direction = check_choice("direction", direction, ("reverse", "forward"))

    def _estimate(
        self, q: Distribution, p: Distribution, num_samples: int, generator: torch.Generator | None
    ) -> KLEstimate:
        x = KernelSamples.take(q, num_samples, generator).x
        y = sample_beside(x, q, p, num_samples, generator)
        fixed = x.detach()
        with torch.no_grad():
            width = kernel_width(cross_distances(fixed, fixed).fill_diagonal_(0), self.width)
            centers, other = (fixed, y) if self.direction == "reverse" else (y, fixed)
            own = gaussian_kernel(cross_distances(centers, centers), width)
            cross = gaussian_kernel(cross_distances(centers, other), width)
            eye = torch.eye(num_samples, dtype=own.dtype, device=own.device)
            weights, _ = torch.linalg.solve_ex(own @ own / num_samples + self.ridge * eye, cross.mean(1))
        ratio = gaussian_kernel(cross_distances(x, centers), width) @ precise(weights)
        log_ratio = ratio.clamp_min(1 / num_samples).log() * (-1 if self.direction == "reverse" else 1)
        surrogate = log_ratio.mean().to(x)
        diagnostics = {
            "width": width,
            "clipped": (ratio < 1 / num_samples).to(ratio).mean(),
            "standard_error": standard_error(log_ratio),
        }
        return KLEstimate(surrogate.detach(), surrogate, diagnostics=diagnostics)
