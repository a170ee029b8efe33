"""Weight distributions of a network seen as distributions of a wider one, whose further weights follow a prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..errors import check_shape, type_error
from ..hnets._head_functions import transforms_active
from ..hnets._linear_head import version
from ..hnets.geometry import Geometry, Precision
from ..weights import Whitening
from .forms import as_low_rank
from .gaussian import LowRankGaussian, MeanFieldGaussian
from .priors import FanInGaussian
from .semi_implicit import SemiImplicit

__all__ = ["EmbeddedGeometry", "embed"]


class EmbeddedGeometry(Geometry):
    r"""The map :math:`z \mapsto h(z)` at some of the weights and zero at all others.

    Args:
        inner: the map :math:`h` to ``K`` weights.
        places: distinct positions ``(K,)`` of its outputs among all weights.
        num_weights: number ``P`` of all weights.
    """

    def __init__(self, inner: Geometry, places: Tensor, num_weights: int) -> None:
        """Keep the map and the positions."""
        self.inner_map = inner
        self.places = check_shape("places", places, (inner.num_weights,))
        self.latent_size, self.num_weights, self.is_affine = inner.latent_size, num_weights, inner.is_affine
        self._kept: tuple[Tensor, int, Tensor] | None = None

    def __call__(self, z: Tensor) -> Tensor:
        """Evaluate the map: ``(*B, P)``."""
        return self._spread(self.inner_map(z))

    def gram(self, z: Tensor, precision: Precision = 1.0) -> Tensor:
        """Gram matrix: ``(*B, n, n)``."""
        return self.inner_map.gram(z, self._at(precision))

    def sqdist(self, z: Tensor, centre: Tensor | None = None, precision: Precision = 1.0) -> Tensor:
        """Squared distance to ``centre``: ``(*B,)``."""
        if centre is None:
            return self.inner_map.sqdist(z, None, self._at(precision))
        near = self.inner_map.sqdist(z, centre[..., self.places], self._at(precision))
        far = (centre**2 * precision).index_fill(-1, self.places, 0).sum(-1)
        return near + far

    def sqdist_between(self, z: Tensor, other: Tensor, precision: Precision = 1.0) -> Tensor:
        """Squared distance between two outputs: ``(*B,)``."""
        return self.inner_map.sqdist_between(z, other, self._at(precision))

    def inner(self, z: Tensor, v: Tensor) -> Tensor:
        """Inner product with ``v``: ``(*B,)``."""
        return self.inner_map.inner(z, v[..., self.places])

    def inner_between(self, z: Tensor, other: Tensor, v: Tensor) -> Tensor:
        """Inner product of ``v`` with a difference of outputs: ``(*B,)``."""
        return self.inner_map.inner_between(z, other, v[..., self.places])

    def against(self, v: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """The same as a function of both latents."""
        return self.inner_map.against(v[..., self.places])

    def vjp(self, z: Tensor, v: Tensor) -> Tensor:
        """Vector-Jacobian product: ``(*B, n)``."""
        return self.inner_map.vjp(z, v[..., self.places])

    def jvp(self, z: Tensor, t: Tensor) -> Tensor:
        """Jacobian-vector product: ``(*B, P)``."""
        return self._spread(self.inner_map.jvp(z, t))

    def rows(self, z: Tensor, index: Tensor | None = None) -> Tensor:
        """Rows of the Jacobian: ``(*B, R, n)``."""
        full = self._spread(self.inner_map.rows(z).mT).mT
        return full if index is None else full[..., index, :]

    def zero_latent(self) -> Tensor:
        """A zero latent ``(n,)``."""
        return self.inner_map.zero_latent()

    def _at(self, precision: Precision) -> Precision:
        """The precision at the places: the same tensor each time, by which ``h`` keeps matrices, if it is fixed."""
        if not isinstance(precision, Tensor) or not precision.ndim:
            return precision
        if precision.requires_grad or torch.is_inference_mode_enabled() or transforms_active():
            return precision[self.places]
        if self._kept is None or self._kept[0] is not precision or self._kept[1] != version(precision):
            self._kept = (precision, version(precision), precision[self.places])
        return self._kept[2]

    def _spread(self, values: Tensor) -> Tensor:
        """Values ``(*B, K)`` at their places among zeros: ``(*B, P)``."""
        return values.new_zeros(*values.shape[:-1], self.num_weights).index_copy(-1, self.places, values)


def embed(q: Distribution, places: Tensor, prior: FanInGaussian) -> Distribution:
    r"""The distribution of a wider network of which ``q`` has some of the weights, the others following the prior.

    .. math:: p(w) = q(w_{\text{places}}) \, \prod_{i \notin \text{places}} N(w_i; loc_i, scale_i^2)

    Args:
        q: a Gaussian of any form or a hypernetwork posterior, of ``K`` weights.
        places: positions ``(K,)`` of them in the wider network; see :meth:`~bayeshnet.weights.WeightSpec.places_in`.
        prior: of all ``P`` weights.

    Raises:
        TypeError: for other kinds of distribution.
    """
    places = places.to(prior.loc.device)
    if isinstance(q, SemiImplicit):
        geometry = EmbeddedGeometry(q.geometry, places, prior.event_shape[0])
        whitening = Whitening(_put(q.loc, places, prior.loc), _put(q.scale, places, prior.scale))
        sigma = _put(q.sigma, places, torch.ones_like(prior.scale))
        return SemiImplicit(geometry, sigma, whitening, prior.weight_spec, validate_args=False)
    form = as_low_rank(q)
    if form is None:
        raise type_error(
            "q", "a Gaussian or a hypernetwork posterior with independent noise", type(q).__name__,
            "Use outputs whose number does not grow.", said=True,
        )  # fmt: skip
    loc, diag = _put(form[0], places, prior.loc), _put(form[1], places, prior.scale**2)
    if form[2] is None:
        return MeanFieldGaussian(loc, diag.sqrt(), prior.weight_spec, validate_args=False)
    factor = form[2].new_zeros(len(loc), form[2].shape[1]).index_copy(0, places, form[2])
    return LowRankGaussian(loc, factor, diag, prior.weight_spec, validate_args=False)


def _put(values: Any, places: Tensor, around: Tensor) -> Tensor:
    """``values`` ``()`` or ``(K,)`` at their places in ``around`` ``(P,)``."""
    return around.index_copy(0, places, values.expand(len(places)).to(around))
