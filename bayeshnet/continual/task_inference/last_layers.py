"""The last layer of each task over frozen features: the variance of its logits, from products of features alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import check_positive, check_size
from ...representation import ModuleSettings

__all__ = ["LastLayers"]


class LastLayers(ModuleSettings, nn.Module):
    r"""The posterior variance of the logits of linear last layers over frozen features, one layer for each task.

    With :math:`\tilde\varphi = (\varphi, 1)` and :math:`G_t = \sum_i \tilde\varphi_i \tilde\varphi_i^\top` over the
    task's examples, Gaussian weights of precision :math:`\lambda_t` have the posterior covariance :math:`(\lambda_t I +
    G_t)^{-1}`, in units of the noise, whatever the targets. A logit then has the variance

    .. math:: v_t(x) = \tilde\varphi(x)^\top (\lambda_t I + G_t)^{-1} \tilde\varphi(x) .

    It is small where the task has seen such features. Of :math:`G_t` the largest :math:`q` eigenvalues are kept, with
    their eigenvectors.

    Args:
        features: fixed map from inputs to ``(N, D)``, the trunk of the network.
        num_features: number :math:`D` of features.
        num_directions: number :math:`q`.
        prior_share: :math:`\lambda_t` as a share of the mean eigenvalue of :math:`G_t`.

    Attributes:
        vectors: eigenvectors of each task, ``(T, D + 1, q)``; those that are missing are 0.
        values: eigenvalues, ``(T, q)``.
        precision: the numbers :math:`\lambda_t`, ``(T,)``.

    References:
        Bayesian Learning for Neural Networks (Neal; 1996); Being Bayesian, Even Just a Bit, Fixes Overconfidence in
        ReLU Networks (Kristiadi, Hein, Hennig; 2020).

    Example:
        >>> layers = LastLayers(nn.ReLU(), 3, 2)
        >>> layers.learn(torch.randn(50, 3))
        >>> layers.variances(torch.randn(4, 3), [0]).shape
        torch.Size([4, 1])
    """

    vectors: Tensor
    values: Tensor
    precision: Tensor

    def __init__(self, features: nn.Module, num_features: int, num_directions: int, prior_share: float = 0.03) -> None:
        super().__init__()
        self.features = features
        self.num_features = check_size("num_features", num_features)
        self.num_directions = min(check_size("num_directions", num_directions, 0), num_features + 1)
        self.prior_share = check_positive("prior_share", prior_share)
        self.register_buffer("vectors", torch.zeros(0, num_features + 1, self.num_directions))
        self.register_buffer("values", torch.zeros(0, self.num_directions))
        self.register_buffer("precision", torch.zeros(0))

    @torch.no_grad()
    def learn(self, x: Tensor) -> None:
        """Add a task with the inputs of its examples."""
        wide = self._wide(x).double()
        values, vectors = torch.linalg.eigh(wide.T @ wide)
        precision = self.prior_share * values.clamp_min(0).mean()
        keep = self.num_directions
        self.vectors = torch.cat([self.vectors, vectors.flip(1)[None, :, :keep].to(self.vectors)])
        self.values = torch.cat([self.values, values.clamp_min(0).flip(0)[None, :keep].to(self.values)])
        self.precision = torch.cat([self.precision, precision[None].to(self.precision)])

    @torch.no_grad()
    def variances(self, x: Tensor, tasks: Sequence[int]) -> Tensor:
        r"""Compute :math:`v_t(x)` for inputs under tasks, ``(N, T)``."""
        wide = self._wide(x)
        found = []
        for t in tasks:
            share = self.values[t] / (self.values[t] + self.precision[t])
            known = ((wide @ self.vectors[t]).square() * share).sum(1)
            rest = (wide.square().sum(1) - known).clamp_min(torch.finfo(wide.dtype).tiny)
            found.append(rest / self.precision[t])
        return torch.stack(found, 1)

    def _wide(self, x: Tensor) -> Tensor:
        return F.pad(self.features(x).to(self.vectors), (0, 1), value=1.0)

    def resize_like(self, state: Mapping[str, Tensor]) -> None:
        """Give the buffers the shapes of a state dict that is about to be loaded."""
        for name in ("vectors", "values", "precision"):
            if name in state:
                setattr(self, name, getattr(self, name).new_zeros(state[name].shape))
