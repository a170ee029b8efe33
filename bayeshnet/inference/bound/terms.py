"""Parts of the evidence lower bound, and how they are joined to the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...estimators import KLEstimate
from ...memo import host_may_look

__all__ = ["BoundParts", "ELBOTerms", "join"]


@dataclass(frozen=True)
class ELBOTerms:
    r"""Negative evidence lower bound :math:`NLL + \beta\, \mathrm{KL}` and its parts, all in nats.

    Attributes:
        loss: the scalar to differentiate. Its value is the bound, without the KL where the estimator has no value.
        nll: expected negative log-likelihood of the whole data set, without gradient.
        kl: KL to the prior, without gradient; None where the estimator has no value.
        analytic: the part of the KL with a closed form; None where the KL does not split.
        mutual_information: the part that is subtracted from it.
        weights: the draws ``(S, P)`` under which the likelihood was evaluated, with their gradient; with local noise,
            draws of the same distribution or None.
    """

    loss: Tensor
    nll: Tensor
    kl: Tensor | None = None
    analytic: Tensor | None = None
    mutual_information: Tensor | None = None
    weights: Tensor | None = None


@dataclass(frozen=True)
class BoundParts:
    r"""Parts of the bound before they are weighted by the temperature.

    Attributes:
        nll: mean over particles of the negative log-likelihood, ``()``.
        estimates: the KL of each weight site.
        other: mean of :math:`\log q - \log p` of all other latent sites, or None.
        weights: draws ``(S, P)`` of the first weight site, or None.
    """

    nll: Tensor
    estimates: Sequence[KLEstimate] = field(default_factory=list)
    other: Tensor | None = None
    weights: Tensor | None = None


def join(parts: BoundParts, beta: float | Tensor) -> ELBOTerms:
    r"""Return the loss :math:`NLL + \beta\, \mathrm{KL}` with its parts.

    Args:
        parts: parts of the bound.
        beta: temperature of the KL, a number or ``()``.
    """
    loss = parts.nll
    kl: Tensor | None = None if parts.other is None else parts.other.detach()
    if parts.other is not None:
        loss = _plus(loss, parts.other, beta)
    for estimate in parts.estimates:
        loss = _plus(loss, _with_value(estimate), beta)
        if estimate.value is not None:
            kl = estimate.value if kl is None else kl + estimate.value
    known = all(estimate.value is not None for estimate in parts.estimates)
    split = parts.estimates[0].diagnostics if len(parts.estimates) == 1 else {}
    return ELBOTerms(
        loss,
        parts.nll.detach(),
        kl if known else None,
        split.get("analytic"),
        split.get("mutual_information"),
        parts.weights,
    )


def _plus(loss: Tensor, term: Tensor, beta: float | Tensor) -> Tensor:
    return loss + beta * term if isinstance(beta, Tensor) else torch.add(loss, term, alpha=beta)


def _with_value(estimate: KLEstimate) -> Tensor:
    """Return a scalar with the value of an estimate (zero if there is none) and the gradient of its surrogate."""
    surrogate, value = estimate.surrogate, estimate.value
    if value is not None and host_may_look(value) and value.item() == surrogate.item():
        return surrogate
    zero = surrogate - surrogate.detach()
    return zero if value is None else value + zero
