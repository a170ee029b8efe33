"""Learned degrees of centring: unknowns in units of what other unknowns say about their location and scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.util import sum_rightmost
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import Independent, biject_to, constraints

from .checking.joint import other_shape

__all__ = ["Degrees", "LocScale", "Placing", "constrain", "dependent_sites"]

_REAL = (constraints.real, constraints.real_vector)
_SCALED = (dist.HalfNormal, dist.HalfCauchy)
_RATED = (dist.Exponential, dist.Gamma)
_STEEP, _SLOW, _FIRST = 5.0, 1.0, -0.4


class LocScale:
    r"""Location and scale of a site in unconstrained coordinates, and the change of variables by a degree of centring.

    .. math:: x = m + s^{1 - c} (u - c \, m), \qquad u = c \, m + s^{c - 1} (x - m).

    With ``c = 1`` the unknown ``u`` is the model's, ``x``; with ``c = 0`` it is in units of the scale. Densities change
    by :math:`\log |du / dx| = -(1 - c) \log s`.

    Args:
        loc: location ``m``.
        scale: scale ``s``, or None for one.

    References:
        Gorinova, Moore, Hoffman, "Automatic reparameterisation of probabilistic programs", 2020.

    Example:
        >>> site = LocScale(torch.tensor(3.0), torch.tensor(0.5))
        >>> x, log_density = site.place(torch.tensor(1.0), torch.tensor(0.0))
        >>> float(x), round(float(log_density.exp()), 3), float(site.undo(x, torch.tensor(0.0)))
        (3.5, 2.0, 1.0)
    """

    def __init__(self, loc: Tensor, scale: Tensor | None = None) -> None:
        self.loc, self.scale = loc, scale

    @classmethod
    def of(cls, fn: Any) -> LocScale | None:
        """Find location and scale of the distribution of a site; None if it has none, or if they are not elementwise.

        Known are distributions on the reals with ``loc`` and ``scale``, ``LogNormal``, and ``HalfNormal``,
        ``HalfCauchy``, ``Exponential`` and ``Gamma``, whose logarithms have a location.
        """
        while isinstance(fn, (Independent, dist.ExpandedDistribution, dist.MaskedDistribution)):
            fn = fn.base_dist
        if isinstance(fn, _SCALED):
            return cls(fn.scale.log())
        if isinstance(fn, _RATED):
            return cls(-fn.rate.log())
        loc, scale = getattr(fn, "loc", None), getattr(fn, "scale", None)
        if not isinstance(loc, Tensor) or not isinstance(scale, Tensor) or fn.event_dim:
            return None
        return cls(loc, scale) if isinstance(fn, dist.LogNormal) or fn.support in _REAL else None

    def place(self, u: Tensor, degree: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``x`` and the log-density of the change for each entry."""
        moved = u - degree * self.loc
        if self.scale is None:
            return self.loc + moved, torch.zeros_like(self.loc + moved)
        log_scale = (1 - degree) * self.scale.log()
        x = self.loc + log_scale.exp() * moved
        return x, (-log_scale).expand_as(x)

    def undo(self, x: Tensor, degree: Tensor) -> Tensor:
        """Return ``u``."""
        away = x - self.loc
        return degree * self.loc + (away if self.scale is None else away * ((degree - 1) * self.scale.log()).exp())


def constrain(fn: Any, unconstrained: Tensor) -> tuple[Tensor, Tensor]:
    """Return the value of a site with distribution ``fn`` and the log-density of the change of variables."""
    transform = biject_to(fn.support)
    value = transform(unconstrained)
    log_density = transform.inv.log_abs_det_jacobian(value, unconstrained)
    return value, sum_rightmost(log_density, log_density.dim() - value.dim() + fn.event_dim)


class Placing(Messenger):
    """A handler that runs a model at the unknowns ``u`` of a guide, and collects the values of the sites.

    Args:
        unknowns: unconstrained unknowns of all sites, by name.
        degrees: degrees of centring of some of them, of the shape of the unknowns within plates.
        undo: True if ``unknowns`` are ``x``, of which ``u`` is to be found.

    Attributes:
        values: by name, the value of each site.
        log_densities: by name, the log-density of the way from ``u`` to the value, summed over events.
        unconstrained: by name, ``x``, or ``u`` if ``undo`` is True.
    """

    def __init__(self, unknowns: Mapping[str, Tensor], degrees: Mapping[str, Tensor], *, undo: bool = False) -> None:
        super().__init__()
        self.unknowns, self.degrees, self.undo = unknowns, degrees, undo
        self.values: dict[str, Tensor] = {}
        self.log_densities: dict[str, Tensor] = {}
        self.unconstrained: dict[str, Tensor] = {}

    def run(self, model: Callable[[], Any]) -> Placing:
        """Run the model, hidden from all handlers around it, and return this handler."""
        with poutine.block(), self:
            model()
        return self

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if name not in self.unknowns:
            return
        given, moved = self.unknowns[name], None
        _check_plates(msg, given)
        x, other = given, given
        if name in self.degrees and (site := LocScale.of(msg["fn"])) is not None:
            if self.undo:
                other = site.undo(given, self.degrees[name])
                _, moved = site.place(other, self.degrees[name])
            else:
                x, moved = site.place(given, self.degrees[name])
                other = x
        value, log_density = constrain(msg["fn"], x)
        if moved is not None:
            log_density = log_density + sum_rightmost(moved, msg["fn"].event_dim)
        self.values[name], self.log_densities[name], self.unconstrained[name] = value, log_density, other
        if not msg["is_observed"]:
            msg["value"], msg["done"] = value, True


def _check_plates(msg: Any, unconstrained: Tensor) -> None:
    """Refuse unknowns of a site whose plates have other sizes than theirs."""
    fn = msg["fn"]
    shape = biject_to(fn.support).forward_shape(unconstrained.shape)
    for frame in msg["cond_indep_stack"]:
        place = (frame.dim or 0) - fn.event_dim
        if frame.vectorized and -place <= len(shape) and shape[place] != frame.size:
            count = len(fn.shape())
            raise other_shape(msg["name"], tuple(fn.shape()), tuple(shape[len(shape) - count :]))


class _Leaves(Messenger):
    """A handler that gives unknowns values to differentiate by, and collects locations and scales of sites.

    Args:
        values: of sites whose priors need not be drawn from, as improper ones cannot.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values
        self.leaves: list[Tensor] = []
        self.found: dict[str, LocScale | None] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"], msg["done"] = self.values[msg["name"]], True

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["is_observed"] or not isinstance(msg["value"], Tensor) or not msg["value"].is_floating_point():
            return
        self.found[msg["name"]] = LocScale.of(msg["fn"])
        msg["value"] = msg["value"].detach().clone().requires_grad_()
        self.leaves.append(msg["value"])


@torch.enable_grad()
def dependent_sites(
    model: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    values: Mapping[str, Tensor] | None = None,
) -> list[str]:
    """Return the names of the sites of a model whose location or scale depends on another unknown, in their order.

    Sites of which ``values`` are given are not drawn.
    """
    leaves = _Leaves(values or {})
    with poutine.block(), leaves:
        model(*args, **kwargs)
    found = []
    for name, site in leaves.found.items():
        parts = [] if site is None else [part for part in (site.loc, site.scale) if part is not None]
        parts = [part for part in parts if part.requires_grad]
        if parts and any(
            gradient is not None
            for part in parts
            for gradient in torch.autograd.grad(part.sum(), leaves.leaves, allow_unused=True, retain_graph=True)
        ):
            found.append(name)
    return found


class Degrees(nn.Module):
    r"""Learned degrees of centring :math:`c = \mathrm{sigmoid}(5 a) \in (0, 1)` of all entries of some sites.

    They begin near the non-centred end, at 0.12, where guides of scales do best when data say little; the factor lets
    them cross over within some hundred steps at the rates of guides.

    Args:
        count: number ``N`` of entries of all sites.
        like: a tensor of the dtype and device of the degrees.
        slow: True for a factor of one, in guides that begin near the posterior: degrees move it as they change.
    """

    def __init__(self, count: int, like: Tensor, *, slow: bool = False) -> None:
        super().__init__()
        self.steep = _SLOW if slow else _STEEP
        self.logits = nn.Parameter(like.new_full((count,), _FIRST * _STEEP / self.steep))

    def by_site(self, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        """Return the degrees of each site, given the shapes of their unconstrained values in order."""
        parts = (self.steep * self.logits).sigmoid().split([shape.numel() for shape in shapes.values()])
        return {name: part.reshape(shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}
