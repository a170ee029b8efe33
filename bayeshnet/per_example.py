"""Gradients of each example, and the networks that have them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .errors import value_error
from .functional import vectorized_or_not

__all__ = ["check_examples_apart", "examples_apart", "per_example_gradients"]


def per_example_gradients(log_prob: Callable[..., Tensor], weights: Tensor, *data: Tensor) -> Tensor:
    """Compute the gradients ``(N, P)`` of ``log_prob(weights, *example)`` for each example, a row of ``data``.

    Args:
        log_prob: function of flat weights ``(P,)`` and of one row of each tensor of the data, with a scalar result.
        weights: ``(P,)``.
        data: tensors of one length ``N``.
    """

    def looped() -> Tensor:
        flat = weights.detach().requires_grad_()
        with torch.enable_grad():
            return torch.stack([torch.autograd.grad(log_prob(flat, *e), flat)[0] for e in zip(*data, strict=True)])

    gradients = torch.func.grad(log_prob)
    mapped = torch.func.vmap(gradients, in_dims=(None, *[0] * len(data)), randomness="different")
    found: Tensor = vectorized_or_not(lambda: mapped(weights.detach(), *data), looped)
    return found


def examples_apart(net: nn.Module) -> bool:
    """Return whether no batch norm, in its present mode, makes an output depend on the rest of the batch.

    Example:
        >>> examples_apart(nn.BatchNorm1d(3)), examples_apart(nn.BatchNorm1d(3).eval())
        (False, True)
    """
    return not any(_uses_batch(module) for module in net.modules())


def check_examples_apart(net: nn.Module) -> None:
    """Refuse a network in which batch norm, in its present mode, makes an output depend on the rest of the batch."""
    if not examples_apart(net):
        expected = "a network that treats each example independently of the others in its batch"
        advice = "Let batch norm use running statistics: batch_norm='track' or 'eval', and evaluation mode."
        raise value_error("net", expected=expected, found="one with the statistics of the batch", hint=advice)


def _uses_batch(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return module.training or module.running_mean is None
    return bool(getattr(module, "uses_batch", False))
