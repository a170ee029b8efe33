"""The diagonal of the Fisher information of a network's weights, in batches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad, vmap

from ..errors import check_int
from ..guides import Likelihood
from ..mnets import MainNetInterface

__all__ = ["diagonal_fisher"]


@torch.no_grad()
def diagonal_fisher(
    net: MainNetInterface, likelihood: Likelihood, weights: Tensor, x: Tensor, y: Tensor, batch_size: int = 256
) -> Tensor:
    r"""Diagonal of the empirical Fisher matrix, summed over the examples.

    .. math:: F_i = \sum_n \Big( \frac{\partial \log p(y_n | x_n, w)}{\partial w_i} \Big)^2

    Args:
        net: the network.
        likelihood: of its outputs.
        weights: ``(P,)``.
        x: inputs ``(N, *input_shape)``.
        y: targets of the examples.
        batch_size: examples at a time; memory is that many weight vectors.

    Returns:
        Of shape ``(P,)``.

    References:
        Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", 2017.

    Example:
        >>> from bayeshnet.guides import Categorical
        >>> from bayeshnet.mnets import MLP
        >>> net = MLP(n_in=3, n_out=2, hidden_layers=[4], no_weights=True, verbose=False)
        >>> diagonal_fisher(net, Categorical(), torch.zeros(26), torch.randn(5, 3), torch.zeros(5).long()).shape
        torch.Size([26])
    """
    check_int("batch_size", batch_size, 1)
    spec = net.weight_spec

    def log_prob(flat: Tensor, one_x: Tensor, one_y: Tensor) -> Tensor:
        outputs = net(one_x.unsqueeze(0), weights=spec.split(flat))
        return likelihood.log_prob(outputs, one_y.unsqueeze(0)).sum()

    slopes = vmap(grad(log_prob), in_dims=(None, 0, 0))
    flat = weights.detach()
    total = torch.zeros_like(flat)
    for some_x, some_y in zip(x.split(batch_size), y.split(batch_size), strict=True):
        total += slopes(flat, some_x, some_y).square().sum(0)
    return total
