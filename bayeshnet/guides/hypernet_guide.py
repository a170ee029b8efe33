"""Guides for Bayesian networks: a weight posterior and an estimator of its KL as an ordinary Pyro guide."""

from __future__ import annotations

import copy
from typing import Any

import pyro
from torch import Tensor, nn

from ..checks import check_text
from ..distributions.base import WeightDistribution
from ..errors import type_error
from ..estimators import Auto, KLEstimator
from ..representation import ModuleSettings
from ..weights import WeightSpec
from ._parameter_statements import declare_parameters
from .implicit_site import ImplicitSite

__all__ = ["HypernetGuide"]


class HypernetGuide(ModuleSettings, nn.Module):
    r"""A posterior over flat weights as a Pyro guide with one site.

    The site draws :math:`w \sim q(\cdot \mid \mathrm{condition})`, anew for each particle, and takes its log-density
    from the estimator. It works with ``Trace_ELBO`` and ``TraceGraph_ELBO``, looped or vectorized, and with
    :class:`~bayeshnet.inference.ImplicitELBO`, which has less variance; losses that would be wrong are refused.

    Args:
        posterior: module that returns a weight distribution when called with a condition, such as
            :class:`~bayeshnet.distributions.HypernetPosterior`.
        estimator: of the KL; None for :class:`~bayeshnet.estimators.Auto`: exact where there is a closed form, else
            LIVI.
        name: of the site.

    Example:
        >>> from bayeshnet.distributions import HypernetPosterior
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[2, 3], [2]], uncond_in_size=2, cond_in_size=4, num_cond_embs=3, layers=[8], verbose=False)
        >>> guide = HypernetGuide(HypernetPosterior(hnet))
        >>> guide(cond_id=1).shape, guide.condition(2)().shape
        (torch.Size([8]), torch.Size([8]))
    """

    def __init__(self, posterior: nn.Module, estimator: KLEstimator | None = None, name: str = "weights") -> None:
        super().__init__()
        if not isinstance(posterior, nn.Module) or not isinstance(getattr(posterior, "weight_spec", None), WeightSpec):
            advice = "For example HypernetPosterior(hnet) or MeanFieldPosterior(net.weight_spec)."
            raise type_error("posterior", expected="a posterior module", got=posterior, hint=advice)
        if estimator is not None and not isinstance(estimator, KLEstimator):
            raise type_error("estimator", expected="a KLEstimator or None", got=estimator, hint="For example LIVI().")
        self.posterior = posterior
        self.estimator = Auto() if estimator is None else estimator
        self.name = check_text("name", name, "the name of a site")
        self._condition: tuple[Any, Tensor | None] = (None, None)

    @property
    def weight_spec(self) -> WeightSpec:
        """Names and shapes of the weights."""
        spec: WeightSpec = self.posterior.weight_spec  # type: ignore[assignment]
        return spec

    def condition(self, cond_id: Any = None, cond_input: Tensor | None = None) -> HypernetGuide:
        """Return the same guide, sharing all parameters, with this condition for calls that give none."""
        other = copy.copy(self)
        other._condition = (cond_id, cond_input)
        return other

    def distribution(self, cond_id: Any = None, cond_input: Tensor | None = None) -> WeightDistribution:
        """Return the weight distribution at a condition, or at the guide's own."""
        if cond_id is None and cond_input is None:
            cond_id, cond_input = self._condition
        return self.posterior(cond_id, cond_input)

    def forward(self, *args: Any, cond_id: Any = None, cond_input: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Sample the weights ``(*B, P)``; other arguments are the model's and have no effect."""
        declare_parameters("guide", self)
        base = self.distribution(cond_id, cond_input)
        return pyro.sample(self.name, ImplicitSite(base, self.estimator))
