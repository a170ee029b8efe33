"""KL from a kernel estimate of the density ratio (KIVI, uLSIF)."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Distribution

from ...errors import check_choice, check_int, check_positive
from ...geometry.linalg import precise
from .._split import check_value, number_of_samples, prior_of, sample_from, spread_of, whiten_like
from ..base import KLEstimate, KLEstimator
from .kernels import KernelSamples, check_width, cross_distances, kernel_width

__all__ = ["KernelRatio"]


class KernelRatio(KLEstimator):
    r"""KL from samples of both sides, by least squares for their density ratio in a kernel space.

    In the reverse form :math:`r = p / q` minimizes :math:`\tfrac12 E_q r^2 - E_p r`; with kernels at the samples of
    ``q``

    .. math:: \hat r = k(\cdot, X_q)\, \alpha, \quad \alpha = (\hat H + \lambda I)^{-1} \hat h, \quad
        \hat H = \tfrac1M K_{qq} K_{qq}, \quad \hat h = \tfrac1{M_p} K_{qp} 1, \qquad
        \mathrm{KL} \approx -\tfrac1M \sum_i \log \hat r(x_i) .

    The forward form regresses :math:`q / p` under ``p``. Ratios below ``1 / M``, which samples cannot show, are set to
    it, so that the reverse form saturates at ``log M`` nats. Use it in one or two dimensions, or where only samples of
    both sides exist and a direction is enough. The share of clipped ratios is the diagnostic ``clipped``.

    Args:
        num_draws: samples ``M`` of each side, at least 2.
        width: kernel width, ``"median"`` (of the distances within ``q``) or a number.
        ridge: the regularization :math:`\lambda`.
        direction: ``"reverse"`` or ``"forward"``.

    References:
        Shi, Sun, Zhu, "Kernel implicit variational inference", 2018.
        Kanamori, Hido, Sugiyama, "A least-squares approach to direct importance estimation", 2009.
    """

    def __init__(
        self,
        num_draws: int = 200,
        width: float | str = "median",
        ridge: float = 1e-2,
        direction: str = "reverse",
    ) -> None:
        self.num_draws = check_int("num_draws", num_draws, 2)
        self.width = check_width(width)
        self.ridge = check_positive("ridge", ridge)
        self.direction = check_choice("direction", direction, ("reverse", "forward"))

    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """Estimate the KL from ``num_samples`` draws of each side (``num_draws`` if None)."""
        num = number_of_samples(num_samples, self.num_draws, 2)
        samples = KernelSamples.take(q, num, "KernelRatio", generator)
        prior = prior_of(samples.q, p)
        x, y = samples.x, whiten_like(samples.q, sample_from(prior, num, generator))
        fixed = x.detach()
        with torch.no_grad():
            within = cross_distances(fixed, fixed).fill_diagonal_(0)
            width = kernel_width(within, self.width)
            centers, other = (fixed, y) if self.direction == "reverse" else (y, fixed)
            own = (-0.5 * cross_distances(centers, centers) / width**2).exp()
            cross = (-0.5 * cross_distances(centers, other) / width**2).exp()
            eye = torch.eye(num, dtype=own.dtype, device=own.device)
            weights = torch.linalg.solve(own @ own / num + self.ridge * eye, cross.mean(1))
        kernel = (-0.5 * cross_distances(x, centers) / width**2).exp()
        ratio = kernel @ precise(weights)
        log_ratio = ratio.clamp_min(1 / num).log() * (-1 if self.direction == "reverse" else 1)
        surrogate = log_ratio.mean().to(x)
        value = check_value(surrogate.detach(), "KernelRatio")
        clipped = (ratio < 1 / num).to(ratio).mean()
        diagnostics = {"width": width, "clipped": clipped, "standard_error": spread_of(log_ratio)}
        return KLEstimate(value, surrogate, None, None, diagnostics)
