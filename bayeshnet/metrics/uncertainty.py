"""Uncertainty of predictions, from mean probabilities ``(..., C)`` or their ``S`` weight samples ``(S, ..., C)``."""

from __future__ import annotations

import torch
from torch import Tensor

from ._checks import check_probs, check_samples

__all__ = ["agreement", "confidence", "entropy", "expected_entropy", "mutual_information"]


def entropy(probs: Tensor) -> Tensor:
    r"""Compute the entropy :math:`-\sum_c p_c \log p_c` in nats, from 0 to :math:`\log C`; :math:`0 \log 0 = 0`.

    Args:
        probs: class probabilities ``(..., C)``, usually the mean over weight samples (total uncertainty).

    Returns:
        Of shape ``(...)``.

    Example:
        >>> entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
        tensor([0.6931, 0.0000])
    """
    return _entropy(check_probs(probs))


def expected_entropy(samples: Tensor) -> Tensor:
    r"""Compute the mean entropy of the weight samples, :math:`\frac1S \sum_s H[p_s]`, in nats: aleatoric uncertainty.

    Args:
        samples: class probabilities under ``S`` weight vectors ``(S, ..., C)``.

    Returns:
        Of shape ``(...)``.

    Example:
        >>> expected_entropy(torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]]))
        tensor([0.3466])
    """
    return _entropy(check_samples(samples)).mean(0)


def mutual_information(samples: Tensor) -> Tensor:
    r"""Compute the mutual information of label and weights, :math:`H[\bar p] - \frac1S \sum_s H[p_s]`, in nats (BALD).

    It is the epistemic uncertainty: 0 if all weight samples agree. It is computed as the mean divergence
    :math:`\frac1S \sum_s \mathrm{KL}(p_s \,\|\, \bar p)`, which is equal and not made negative by rounding.

    Args:
        samples: class probabilities under ``S`` weight vectors ``(S, ..., C)``.

    Returns:
        Of shape ``(...)``.

    References:
        Bayesian Active Learning for Classification and Preference Learning (Houlsby, Huszár, Ghahramani, Lengyel;
        2011).

    Example:
        >>> mutual_information(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
        tensor([0.6931])
    """
    samples = check_samples(samples)
    mean = samples.mean(0)
    # 0 log 0 - 0 log mean = 0, also where the mean is 0.
    divergence = torch.xlogy(samples, samples) - torch.xlogy(samples, mean)
    return divergence.sum(-1).mean(0).clamp(min=0)


def confidence(probs: Tensor) -> Tensor:
    """Return the largest class probability, from ``1 / C`` to 1.

    Args:
        probs: class probabilities ``(..., C)``.

    Returns:
        Of shape ``(...)``.

    Example:
        >>> confidence(torch.tensor([0.3, 0.7]))
        tensor(0.7000)
    """
    return check_probs(probs).amax(-1)


def agreement(samples: Tensor) -> Tensor:
    r"""Compute the agreement of the weight samples: 1 minus the standard deviation over samples, averaged over classes.

    .. math:: 1 - \frac1C \sum_c \sqrt{\frac1S \sum_s (p_{sc} - \bar p_c)^2}

    It lies in [1/2, 1], and is 1 if all samples are equal, however uncertain each is.

    Args:
        samples: class probabilities under ``S`` weight vectors ``(S, ..., C)``.

    Returns:
        Of shape ``(...)``.

    References:
        Posterior Meta-Replay for Continual Learning (Henning, Cervera, D'Angelo, von Oswald, Traber, Ehret, Kobayashi,
        Grewe, Sacramento; 2021).

    Example:
        >>> agreement(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
        tensor([0.5000])
    """
    return 1 - check_samples(samples).std(0, correction=0).mean(-1)


def _entropy(probs: Tensor) -> Tensor:
    found: Tensor = torch.special.entr(probs).sum(-1)
    return found
