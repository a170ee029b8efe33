"""The record of one evaluation of the evidence lower bound."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["ELBOTerms"]


@dataclass(frozen=True)
class ELBOTerms:
    r"""Negative evidence lower bound :math:`NLL + \beta\, \mathrm{KL}` and what it is made of, all in nats.

    Attributes:
        loss: what to differentiate. Its value is the bound, without the KL where the estimator has no value.
        nll: expected negative log-likelihood of the whole data set, without gradient.
        kl: KL to the prior, without gradient; None where the estimator has no value.
        analytic: the part of the KL with a closed form; None where the KL does not split.
        mutual_information: what is subtracted from it.
        weights: the draws ``(S, P)`` under which the likelihood was evaluated, with their gradient; with local noise,
            draws of the same distribution or None.
        beside: outputs ``(S, K, C)`` under these draws at further inputs, where they were asked for.
    """

    loss: Tensor
    nll: Tensor
    kl: Tensor | None = None
    analytic: Tensor | None = None
    mutual_information: Tensor | None = None
    weights: Tensor | None = None
    beside: Tensor | None = None
