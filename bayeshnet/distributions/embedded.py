"""Extension of weight distributions to a wider network, whose additional weights follow the prior."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..errors import check_instance, check_shape, type_error, value_error
from ..geometry import EmbeddedGeometry
from ..weights import Whitening
from .gaussian import LowRankGaussian, MeanFieldGaussian
from .gaussian_forms import as_low_rank
from .priors import FanInGaussian
from .semi_implicit import SemiImplicit

__all__ = ["embed"]


def embed(q: Distribution, places: Tensor, prior: FanInGaussian) -> Distribution:
    r"""Return the distribution of a wider network's weights, some of which follow ``q`` and the others the prior.

    .. math:: p(w) = q(w_{\text{places}}) \, \prod_{i \notin \text{places}} N(w_i; loc_i, scale_i^2)

    Args:
        q: a distribution of ``K`` weights, Gaussian or :class:`SemiImplicit`.
        places: positions ``(K,)`` of these weights in the wider network, as
            :meth:`~bayeshnet.weights.WeightSpec.places_in` returns them.
        prior: prior of all ``P`` weights.

    Raises:
        TypeError: for other kinds of distribution.
    """
    check_instance("prior", prior, FanInGaussian, "a FanInGaussian, the prior of all weights")
    check_instance("q", q, Distribution, "a distribution of weights")
    _check_places(places, q, len(prior.loc))
    places = places.to(prior.loc.device)
    if isinstance(q, SemiImplicit):
        geometry = EmbeddedGeometry(q.geometry, places, prior.event_shape[0])
        whitening = Whitening(_put(q.loc, places, prior.loc), _put(q.scale, places, prior.scale))
        sigma = _put(q.sigma, places, torch.ones_like(prior.scale))
        return SemiImplicit(geometry, sigma, whitening, prior.weight_spec, block_size=q.block_size, validate_args=False)
    form = as_low_rank(q)
    if form is None:
        raise type_error(
            "q",
            expected="a Gaussian or a hypernetwork posterior with independent noise",
            found=type(q).__name__,
            hint="Use outputs whose number does not grow.",
        )
    loc, diag = _put(form[0], places, prior.loc), _put(form[1], places, prior.scale**2)
    if form[2] is None:
        return MeanFieldGaussian(loc, diag.sqrt(), prior.weight_spec, validate_args=False)
    factor = loc.new_zeros(len(loc), form[2].shape[1]).index_copy(0, places, form[2].to(loc))
    return LowRankGaussian(loc, factor, diag, prior.weight_spec, validate_args=False)


def _put(values: Any, places: Tensor, around: Tensor) -> Tensor:
    """Put ``values`` ``()`` or ``(K,)`` at their places in ``around`` ``(P,)``, in the higher precision of both."""
    dtype = torch.promote_types(values.dtype, around.dtype)
    put: Tensor = around.to(dtype).index_copy(0, places, values.expand(len(places)).to(around.device, dtype))
    return put


def _check_places(places: Any, q: Distribution, num: int) -> None:
    """Refuse positions that are not distinct, or not among ``num`` weights."""
    check_shape("places", places, tuple(q.event_shape))
    if places.dtype != torch.int64 or places.is_meta:
        raise type_error("places", expected="positions, known int64 numbers (K,)", got=places)
    distinct = places.unique()
    if len(distinct) < len(places) or int(distinct[0]) < 0 or int(distinct[-1]) >= num:
        raise value_error("places", expected=f"distinct positions among {num} weights", got=places)
