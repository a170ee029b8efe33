"""Joint predictions: how well the labels of several inputs are predicted together."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import check_int, check_number, check_positive, value_error
from ._checks import check_generator, check_labels, check_samples

__all__ = ["joint_nll"]

_AT_ONCE = 2**22  # values held at a time
_LARGEST, _MOST_PAIRS = 10_000, 10_000_000


def joint_nll(
    samples: Tensor,
    y: Tensor,
    size: int = 10,
    *,
    num_pairs: int = 1000,
    smallest: float = 1e-12,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Compute the negative log-probability of ``size`` labels together, in nats, by dyadic sampling.

    The labels of a group are independent given the weights, and only then:
    :math:`-\log \frac1S \sum_s \prod_{t=1}^\tau p_s(y_t \mid x_t)`. So the metric sees whether draws of the weights
    agree with each other across inputs, which the NLL of single labels cannot see. Groups of inputs drawn at random
    would hardly share anything. Therefore each group stands on a pair of examples, and each of its ``size``
    members is one of the two with probability 1/2, with the same label each time. The mean over these choices is worked
    out exactly, that over pairs of different examples is an average over ``num_pairs`` of them.

    Args:
        samples: class probabilities under ``S`` weight vectors ``(S, N, C)``; logits are refused.
        y: true classes ``(N,)``.
        size: number :math:`\tau` of labels in a group, at most 10,000. With 1 it is the NLL of single labels.
        num_pairs: number of pairs; all pairs are taken if there are no more.
        smallest: lower bound for each probability of a label.
        generator: random generator of the pairs.

    Returns:
        Of shape ``()``, for a group. Divide by ``size`` to compare with the NLL of a label.

    Raises:
        ValueError: if probabilities and labels do not fit together.

    References:
        Evaluating High-Order Predictive Distributions in Deep Learning (Osband, Wen, Asghari, Dwaracherla, Lu, Van Roy;
        2022).

    Example:
        >>> agree = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])  # two draws, each sure of another class
        >>> doubt = torch.tensor([[[0.5, 0.5]], [[0.5, 0.5]]])
        >>> y = torch.tensor([0])
        >>> joint_nll(agree, y), joint_nll(doubt, y)
        (tensor(0.6931), tensor(6.9315))
    """
    samples = check_samples(samples)
    if samples.ndim != 3:
        raise value_error("samples", expected="class probabilities under S weight vectors (S, N, C)", got=samples)
    y = check_labels(y, samples[0])
    tau = _checked("size", size, _LARGEST)
    most = _checked("num_pairs", num_pairs, _MOST_PAIRS)
    check_number("smallest", check_positive("smallest", smallest), torch.finfo(samples.dtype).tiny, 1)
    log_p = samples.gather(2, y.expand(len(samples), -1).unsqueeze(2)).squeeze(2).clamp(min=smallest).log()
    first, second = _pairs(len(y), most, check_generator(generator))
    chance = _binomial(tau, log_p)
    count = torch.arange(tau + 1, dtype=log_p.dtype, device=log_p.device).view(-1, 1, 1)
    step = max(1, _AT_ONCE // (len(log_p) * (tau + 1)))
    total = log_p.new_zeros(())
    for i, j in zip(first.to(y.device).split(step), second.to(y.device).split(step), strict=True):
        together = count * log_p[:, i] + (tau - count) * log_p[:, j]
        total = total - (chance @ (together.logsumexp(1) - math.log(len(log_p)))).sum()
    return total / len(first)


def _checked(argument: str, value: int, most: int) -> int:
    if check_int(argument, value, 1) > most:
        raise value_error(argument, expected=f"an integer from 1 to {most}", got=value)
    return int(value)


def _pairs(number: int, num_pairs: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Return pairs of different examples, in any order: all, or as many as are asked for, drawn with repetition."""
    if number == 1:
        return torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    if number * (number - 1) // 2 <= num_pairs:
        first, second = torch.triu_indices(number, number, 1)
        return first, second
    device = None if generator is None else generator.device
    first = torch.randint(number, (num_pairs,), generator=generator, device=device)
    second = torch.randint(number - 1, (num_pairs,), generator=generator, device=device)
    return first, second + (second >= first)


def _binomial(tau: int, like: Tensor) -> Tensor:
    """Return the probabilities of 0 to ``tau`` heads of a fair coin."""
    heads = torch.arange(tau + 1, dtype=torch.float64)
    log_chance = math.lgamma(tau + 1) - torch.lgamma(heads + 1) - torch.lgamma(tau - heads + 1) - tau * math.log(2)
    return log_chance.exp().to(like)
