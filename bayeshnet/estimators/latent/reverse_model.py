"""A learned model of the latent given the weights: a full Gaussian under affine coupling layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...deprecation import RenamedState
from ...rng import normal_like
from ..perceptron import make_mlp

__all__ = ["ReverseModel", "ReverseView"]


class ReverseModel(RenamedState, nn.Module):
    r"""The density :math:`\tau(z | w)`.

    Weights are standardized by the samples given at creation. A perceptron maps them to features, from which mean and
    Cholesky factor of a Gaussian and the conditions of the coupling layers follow; a linear map adds to the mean. The
    initial model is the standard normal.

    Args:
        samples: weights ``(S, P)`` whose means and standard deviations standardize all weights.
        latent_size: number ``n`` of latents.
        hidden: sizes of the hidden layers.
        num_flows: number of coupling layers.
        generator: of the initial weights.
    """

    renamed_state: ClassVar[Mapping[str, str]] = {"spread": "scale"}

    def __init__(
        self,
        samples: Tensor,
        latent_size: int,
        hidden: Sequence[int],
        num_flows: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.num_weights, self.latent_size = samples.shape[1], latent_size
        self.loc: Tensor
        self.scale: Tensor
        self.register_buffer("loc", samples.mean(0))
        self.register_buffer("scale", samples.std(0).clamp_min(torch.finfo(samples.dtype).eps))
        width = (*hidden, max(16, 2 * latent_size))
        self.features = make_mlp([self.num_weights, *width], samples, generator)
        self.direct = make_mlp([self.num_weights, latent_size], samples, generator, 0.0)
        count = latent_size * (latent_size + 3) // 2
        self.head = make_mlp([width[-1], count], samples, generator, 0.0)
        sizes = [latent_size + width[-1], *hidden, 2 * latent_size]
        self.flows = nn.ModuleList(make_mlp(sizes, samples, generator, 0.0) for _ in range(num_flows))

    def suits(self, w: Tensor, z: Tensor) -> bool:
        """Return whether sizes, dtype and device are those of weights ``(S, P)`` and latents ``(S, n)``."""
        sizes = (self.num_weights, self.latent_size) == (w.shape[-1], z.shape[-1])
        return sizes and self.loc.dtype == w.dtype and self.loc.device == w.device

    def view(self, w: Tensor) -> ReverseView:
        """Return the density given weights ``(S, P)``."""
        x = (w - self.loc) / self.scale
        features = self.features(x).tanh()
        n = self.latent_size
        mean, log_diag, lower = self.head(features).split([n, n, n * (n - 1) // 2], dim=-1)
        root = torch.diag_embed(log_diag.exp())
        rows, columns = torch.tril_indices(n, n, -1, device=w.device)
        root = root.index_put((torch.arange(len(w), device=w.device)[:, None], rows[None], columns[None]), lower)
        return ReverseView(mean + self.direct(x), root, log_diag.sum(-1), features, self.flows)


@dataclass(frozen=True)
class ReverseView:
    r"""The density at given weights: :math:`z = f(x)`, with :math:`L^\top (x - m)` standard normal.

    Attributes:
        mean: ``(S, n)``.
        root: lower triangular factors ``L`` of the precisions ``(S, n, n)``.
        log_det: their log-determinants ``(S,)``.
        features: conditions of the coupling layers ``(S, F)``.
        flows: the coupling layers, from the Gaussian upward.
    """

    mean: Tensor
    root: Tensor
    log_det: Tensor
    features: Tensor
    flows: nn.ModuleList

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-densities ``(S, K)`` at latents ``(S, K, n)``."""
        volume = z.new_zeros(())
        for i in reversed(range(len(self.flows))):
            shift, log_scale = self._couple(i, z)
            z = (z - shift) * (-log_scale).exp()
            volume = volume - log_scale.sum(-1)
        standard = (z - self.mean.unsqueeze(1)) @ self.root
        constant = 0.5 * z.shape[-1] * math.log(2 * math.pi)
        return self.log_det.unsqueeze(1) - 0.5 * standard.square().sum(-1) - constant + volume

    def rsample(self, num: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw reparameterized latents ``(S, num, n)``; return them and their log-densities ``(S, num)``."""
        noise = normal_like(self.mean, (self.mean.shape[0], num, self.mean.shape[1]), generator)
        step = torch.linalg.solve_triangular(self.root, noise, upper=False, left=False)
        z = self.mean.unsqueeze(1) + step
        constant = 0.5 * z.shape[-1] * math.log(2 * math.pi)
        log_prob = self.log_det.unsqueeze(1) - 0.5 * noise.square().sum(-1) - constant
        for i in range(len(self.flows)):
            shift, log_scale = self._couple(i, z)
            z = z * log_scale.exp() + shift
            log_prob = log_prob - log_scale.sum(-1)
        return z, log_prob

    def _couple(self, i: int, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return shift and log-scale of layer ``i``, zero at the entries on which they depend."""
        n = z.shape[-1]
        kept = (torch.arange(n, device=z.device) % 2 == i % 2).to(z)
        features = self.features.unsqueeze(1).expand(*z.shape[:-1], -1)
        shift, log_scale = self.flows[i](torch.cat([z * kept, features], dim=-1)).chunk(2, dim=-1)
        return shift * (1 - kept), log_scale.tanh() * (1 - kept)
