"""Metrics of predictive class probabilities: accuracy, NLL, Brier score, calibration.

Probabilities ``(N, C, *P)`` and classes ``(N, *P)`` per pixel or step are scored with each of these as an example.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MissingExtraError, check_number, check_positive
from ._checks import check_bins, check_pair, check_scores

__all__ = ["ReliabilityBins", "accuracy", "brier", "ece", "nll", "reliability_bins"]


def accuracy(probs: Tensor, y: Tensor) -> Tensor:
    """Compute the fraction of examples whose most probable class is the true one.

    Args:
        probs: class probabilities, logits or any scores ``(N, C)``, of which only the order matters.
        y: true classes ``(N,)``, from 0 to ``C - 1``.

    Returns:
        Fraction in [0, 1], of shape ``()``.

    Example:
        >>> accuracy(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 0]))
        tensor(0.5000)
    """
    scores, y = check_scores(probs, y)
    return (scores.argmax(-1) == y).to(scores.dtype).mean()


def nll(probs: Tensor, y: Tensor, smallest: float = 1e-12) -> Tensor:
    r"""Compute the mean negative log-probability of the true class, :math:`-\frac1N \sum_i \log p_i(y_i)`, in nats.

    Args:
        probs: class probabilities ``(N, C)``; logits are refused.
        y: true classes ``(N,)``.
        smallest: lower bound for probabilities, so that a confident mistake does not make the mean infinite.

    Example:
        >>> nll(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))
        tensor(0.6931)
    """
    probs, y = check_pair(probs, y)
    check_number("smallest", check_positive("smallest", smallest), torch.finfo(probs.dtype).tiny, 1)
    return -probs.gather(1, y[:, None]).clamp(min=smallest).log().mean()


def brier(probs: Tensor, y: Tensor) -> Tensor:
    r"""Compute the Brier score :math:`\frac1N \sum_i \sum_c (p_{ic} - [y_i = c])^2`: 0 is best, 2 is worst.

    References:
        Verification of Forecasts Expressed in Terms of Probability (Brier, 1950).

    Example:
        >>> brier(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))
        tensor(0.5000)
    """
    probs, y = check_pair(probs, y)
    return (probs - torch.nn.functional.one_hot(y, probs.shape[1]).to(probs.dtype)).square().sum(1).mean()


def ece(probs: Tensor, y: Tensor, num_bins: int = 15) -> Tensor:
    r"""Compute the expected calibration error :math:`\sum_b \frac{n_b}{N} |\mathrm{acc}_b - \mathrm{conf}_b|`.

    Predictions are put into bins of equal width by their confidence (largest probability), and in each bin the mean
    confidence is compared with the accuracy. Computed by torchmetrics.

    Args:
        probs: class probabilities ``(N, C)``; logits are refused.
        y: true classes ``(N,)``.
        num_bins: number of bins on [0, 1].

    Returns:
        Fraction of shape ``()``.

    Raises:
        MissingExtraError: if torchmetrics is not installed.

    References:
        Obtaining Well Calibrated Probabilities Using Bayesian Binning (Naeini, Cooper, Hauskrecht; 2015).
        On Calibration of Modern Neural Networks (Guo, Pleiss, Sun, Weinberger; 2017).

    Example:
        >>> ece(torch.tensor([[0.9, 0.1], [0.9, 0.1]]), torch.tensor([0, 1]))
        tensor(0.4000)
    """
    probs, y = check_pair(probs, y)
    num_bins = check_bins(num_bins)
    try:
        from torchmetrics.functional.classification import multiclass_calibration_error as error_of
    except ImportError as error:
        raise MissingExtraError("torchmetrics", "app", "The expected calibration error") from error
    # A confidence of exactly 1 belongs to the last bin; torchmetrics would put it into a bin of its own.
    below_one = probs.clamp(max=1 - torch.finfo(probs.dtype).eps)
    return error_of(below_one, y, max(2, probs.shape[1]), n_bins=num_bins, norm="l1", validate_args=False)


@dataclass(frozen=True)
class ReliabilityBins:
    """Data of a reliability diagram: tensors ``(num_bins,)`` that are zero for empty bins.

    Args:
        edges: edges of the bins, ``(num_bins + 1,)``.
        confidence: mean confidence of the predictions in each bin.
        accuracy: accuracy of the predictions in each bin.
        counts: number of predictions in each bin.
    """

    edges: Tensor
    confidence: Tensor
    accuracy: Tensor
    counts: Tensor


def reliability_bins(probs: Tensor, y: Tensor, num_bins: int = 15) -> ReliabilityBins:
    """Compute mean confidence and accuracy in bins of confidence of equal width, the last one closed.

    Args:
        probs: class probabilities ``(N, C)``; logits are refused.
        y: true classes ``(N,)``.
        num_bins: number of bins on [0, 1].

    Example:
        >>> reliability_bins(torch.tensor([[0.9, 0.1], [0.9, 0.1]]), torch.tensor([0, 1]), 2).accuracy
        tensor([0.0000, 0.5000])
    """
    probs, y = check_pair(probs, y)
    num_bins = check_bins(num_bins)
    edges = torch.linspace(0, 1, num_bins + 1, dtype=probs.dtype, device=probs.device)
    confidence, predicted = probs.max(1)
    bins = (torch.bucketize(confidence, edges, right=True) - 1).clamp(0, num_bins - 1)

    def total(values: Tensor) -> Tensor:
        return torch.zeros(num_bins, dtype=probs.dtype, device=probs.device).index_add(0, bins, values)

    counts = total(torch.ones_like(confidence))
    right = total((predicted == y).to(probs.dtype))
    return ReliabilityBins(edges, total(confidence) / counts.clamp(min=1), right / counts.clamp(min=1), counts)
