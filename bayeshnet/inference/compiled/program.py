"""The bound of a Bayesian network and its gradient as a function of tensors alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from ...errors import type_error, value_error
from ...layers import BatchNormLayer
from ...memo import traced
from ..bound import DirectEvaluation, is_direct, join
from ..elbo import ImplicitELBO

__all__ = ["BoundProgram"]


@final
class BoundProgram:
    """A function from parameters, temperature and batch to the parts of the loss and the gradient.

    It looks at no value, and draws from torch's global generators.

    Args:
        elbo: the bound.
        model: a Bayesian network, with the size of its data.
        guide: a guide over its weights.
        arguments: condition of the guide.

    Attributes:
        parameters: parameters of guide and model that require a gradient.
    """

    def __init__(self, elbo: Any, model: Any, guide: Any, arguments: Mapping[str, Any]) -> None:
        if not isinstance(elbo, ImplicitELBO) or not is_direct(model, guide):
            expected = "a BayesianModel and a HypernetGuide without handlers around them, and no loss of Pyro"
            got = model if isinstance(elbo, ImplicitELBO) else elbo
            raise type_error("compile, capture", expected=expected, got=got)
        if elbo.generator is not None:
            raise value_error("elbo", expected="one without a generator, with compile or capture", found="one with it")
        _refuse_statistics(model)
        self.elbo, self.model, self.guide, self.arguments = elbo, model, guide, dict(arguments)
        found = {id(p): p for module in (guide, model) for p in module.parameters() if p.requires_grad}
        self.parameters = list(found.values())

    def __call__(self, parameters: Sequence[Tensor], beta: Tensor, *batch: Any) -> tuple[Tensor, ...]:
        """Return loss, negative log-likelihood, KL and its two parts, ``()`` each, and the gradients.

        Parts that are unknown are NaN; the gradient of a parameter that the loss does not depend on is empty.

        Args:
            parameters: the tensors :attr:`parameters` themselves.
            beta: temperature of the KL, ``()``.
            batch: arguments of model and guide.
        """
        with traced():
            evaluation = self.elbo.evaluation(self.model, self.guide, batch, self.arguments, with_weights=False)
            if not isinstance(evaluation, DirectEvaluation):
                expected = "the direct evaluation of the bound"
                raise value_error("compile, capture", expected=expected, found="another one")
            terms = join(evaluation.parts(), beta)
            gradients = torch.autograd.grad(terms.loss, list(parameters), allow_unused=True)
        unknown = terms.loss.new_full((), math.nan)
        values = (terms.loss, terms.nll, terms.kl, terms.analytic, terms.mutual_information)
        known = [unknown if value is None else value.detach().to(unknown) for value in values]
        return (*known, *(beta.new_empty(0) if g is None else g for g in gradients))


def _refuse_statistics(model: nn.Module) -> None:
    """Refuse networks that change buffers while they run."""
    kinds = (BatchNormLayer, nn.modules.batchnorm._NormBase)
    if any(isinstance(part, kinds) and part.training for part in model.modules()):
        expected = "a network without batch norm in training mode, whose statistics change as it runs"
        raise value_error("compile, capture", expected=expected, found="one with it")
