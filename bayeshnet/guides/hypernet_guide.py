"""Guides for Bayesian networks: a weight posterior and an estimator of its KL as an ordinary Pyro guide."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..checks import check_generator, check_text
from ..distributions.base import draw_from
from ..distributions.posteriors.base import WeightPosterior
from ..errors import check_size, type_error, value_error
from ..estimators import Auto, Diagnosis, KLEstimator, diagnose
from ..estimators.base import as_distribution
from ..representation import ModuleSettings
from ..weights import WeightSpec
from ._parameter_statements import declare_parameters
from .bayesian_model import BayesianModel
from .checking.guide import CheckedGuide, WeightedDraws
from .checking.importance import density_at_draws
from .implicit_site import ImplicitSite

__all__ = ["HypernetGuide"]


class HypernetGuide(CheckedGuide, ModuleSettings, nn.Module):
    r"""A posterior over flat weights as a Pyro guide with one site.

    The site draws :math:`w \sim q(\cdot \mid \mathrm{condition})`, anew for each particle, and takes its log-density
    from the estimator. It works with ``Trace_ELBO`` and ``TraceGraph_ELBO``, looped or vectorized, and with
    :class:`~bayeshnet.inference.ImplicitELBO`, which has less variance; losses that would be wrong are refused.

    Args:
        posterior: module that returns a weight distribution when called with a condition, such as
            :class:`~bayeshnet.distributions.HypernetPosterior`; one of your own has an attribute ``weight_spec`` and
            returns a ``WeightDistribution``, or any distribution over ``(P,)`` with ``rsample``. One without conditions
            may be called without arguments.
        estimator: of the KL; None for :class:`~bayeshnet.estimators.Auto`: exact where there is a closed form, else
            LIVI; from draws alone for few weights without a density.
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
            expected = "a posterior module with an attribute weight_spec, such as WeightSpec.of(net)"
            raise type_error("posterior", expected=expected, got=posterior, hint=advice)
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

    def distribution(self, cond_id: Any = None, cond_input: Tensor | None = None) -> Distribution:
        """Return the weight distribution at a condition, or at the guide's own."""
        if cond_id is None and cond_input is None:
            cond_id, cond_input = self._condition
        if _takes_condition(self.posterior):
            return self._checked(self.posterior(cond_id, cond_input))
        if cond_id is not None or cond_input is not None:
            got = f"one whose forward is {inspect.signature(self.posterior.forward)}"
            expected = "a posterior called as posterior(cond_id, cond_input), for a condition"
            raise value_error("posterior", expected=expected, found=got)
        return self._checked(self.posterior())

    def audit(
        self,
        prior: Distribution | nn.Module,
        cond_id: Any = None,
        cond_input: Tensor | None = None,
        *,
        num_samples: int = 1024,
        generator: torch.Generator | None = None,
    ) -> Diagnosis:
        """Audit the posterior at a condition: :func:`~bayeshnet.estimators.diagnose` of its KL from ``prior``.

        Args:
            prior: over as many weights, a module that returns one, or a
                :class:`~bayeshnet.guides.BayesianModel`, whose prior is taken.
            cond_id: condition; the guide's own if neither this nor ``cond_input`` is given.
            cond_input: the same as a vector.
            num_samples: largest number of weight vectors to draw.
            generator: of all noise.

        Returns:
            The KL with its 95 % interval, verdict, alarms and advice.

        Example:
            >>> from bayeshnet.distributions import FanInGaussian, MeanFieldPosterior
            >>> guide = HypernetGuide(MeanFieldPosterior(WeightSpec.of(nn.Linear(3, 2)), scale="fan_in"))
            >>> report = guide.audit(FanInGaussian(guide.weight_spec))
            >>> report.verdict, report.lower == report.value == report.upper
            ('trusted', True)
        """
        p = as_distribution(prior.prior if isinstance(prior, BayesianModel) else prior, "prior")
        num = self.weight_spec.numel
        if p.event_shape[0] != num:
            raise value_error("prior", expected=f"a distribution over the {num} weights", found=f"{p.event_shape[0]}")
        return diagnose(self.distribution(cond_id, cond_input), p, num_samples, generator)

    def _missed(self, model: Any, args: Any, kwargs: Any, num: int, generator: torch.Generator | None) -> None:
        """Return None: weights of networks have too many modes, by their hidden units alone, for a search to tell."""
        return None

    @torch.no_grad()
    def draws_with_density(
        self,
        num_samples: int,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        generator: torch.Generator | None = None,
    ) -> WeightedDraws:
        """Draw weights with both sides of their log-densities; a condition is taken from ``kwargs``, as in a call."""
        given = kwargs or {}
        q = self.distribution(given.get("cond_id"), given.get("cond_input"))
        draw = draw_from(q, check_size("num_samples", num_samples), check_generator(generator))
        return WeightedDraws({self.name: draw.w}, *density_at_draws(q, draw, generator))

    def _checked(self, q: Any) -> Distribution:
        """Return a distribution over as many weights as there are; refuse others, unless they draw by themselves."""
        if not isinstance(q, Distribution) and callable(getattr(q, "draw", None)):
            value: Distribution = q
            return value
        q, num = as_distribution(q, "posterior"), self.weight_spec.numel
        if q.event_shape[0] != num:
            found = f"{type(q).__name__} over {q.event_shape[0]}"
            raise value_error("posterior", expected=f"a distribution over its {num} weights", found=found)
        value = q
        return value

    def forward(self, *args: Any, cond_id: Any = None, cond_input: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Sample the weights ``(*B, P)``; other arguments are the model's and have no effect."""
        names = declare_parameters("guide" if self.name == "weights" else f"guide_{self.name}", self)
        base = self.distribution(cond_id, cond_input)
        return pyro.sample(self.name, ImplicitSite(base, self.estimator, depends_on=names))


def _takes_condition(posterior: nn.Module) -> bool:
    """Return whether a posterior can be called with a condition ``(cond_id, cond_input)``."""
    if isinstance(posterior, WeightPosterior):
        return True
    try:
        inspect.signature(posterior.forward).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # a function without a signature
        return True
    return True
