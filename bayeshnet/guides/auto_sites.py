"""From the flat vector of an automatic guide to the values of a model's sites, and the densities of the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.util import sum_rightmost
from torch import Tensor
from torch.distributions import biject_to, register_kl

from ..errors import value_error
from .centring import Placing, constrain
from .checking.rows import by_rows, try_rows
from .symmetries import Group

__all__ = ["FlatSites", "Placed", "UnpackedSite", "refuse_subsampled"]


class UnpackedSite(dist.Delta):
    """The value of one site with the density of its transform; a KL in closed form, which would drop it, is refused."""


@register_kl(UnpackedSite, dist.Distribution)  # type: ignore[untyped-decorator]
def _kl_unpacked(q: UnpackedSite, p: Any) -> Tensor:
    raise ValueError(
        "loss: expected one that evaluates log-densities, got one that asks for closed forms (TraceMeanField_ELBO), "
        "which would drop those of the guide's transforms. Use Trace_ELBO, TraceGraph_ELBO or ImplicitELBO."
    )


def refuse_subsampled(stacks: Mapping[str, Sequence[Any]]) -> None:
    """Refuse unknowns of which a run of the model sees a part: one vector cannot hold those of other parts."""
    for name, frames in stacks.items():
        for frame in frames:
            if frame.full_size not in (None, frame.size):
                raise value_error(
                    "model",
                    expected="one whose unknowns are all there in each run",
                    found=f"site {name!r} in plate {frame.name!r}, which sees {frame.size} of {frame.full_size} data",
                    hint="Run it on all data, or integrate them out; subsample plates of observed sites only.",
                )


@dataclass(frozen=True)
class Placed:
    """Values, log-densities of the way from the flat vector, and unconstrained unknowns of sites, by name."""

    values: dict[str, Tensor]
    log_densities: dict[str, Any]
    unconstrained: dict[str, Tensor]


class FlatSites:
    """The way from flat vectors of unknowns ``u`` to a model's unconstrained unknowns ``x`` and to values of its sites.

    Without degrees of centring ``x`` is ``u``. With some, the model is run to know locations and scales.

    Args:
        trace: of a run of the model, with all sites.
        unpack: splits flat vectors ``(*B, D)`` into pairs of a site and its unknowns.
        degrees: degrees of centring by site.
        model: the model as a function without arguments.
        bijections: what ``u`` goes through first, one after the other, such as tails.
    """

    def __init__(
        self,
        trace: Any,
        unpack: Callable[[Tensor], Iterator[tuple[Any, Tensor]]],
        degrees: Mapping[str, Tensor],
        model: Callable[[], Any],
        bijections: Sequence[Any] = (),
    ) -> None:
        self.trace, self.unpack, self.degrees, self.model = trace, unpack, degrees, model
        self.bijections = tuple(bijections)
        self.nodes = dict(trace.iter_stochastic_nodes())
        self.plates = max(len(site["fn"].batch_shape) for site in self.nodes.values())

    def place(self, latent: Tensor, *, undo: bool = False) -> Placed:
        """Return what is known of all sites at ``u`` ``(*B, D)``, or at ``x`` if ``undo`` is True.

        ``unconstrained`` of the result is ``x``, or ``u`` if ``undo`` is True. Log-densities are zero under Pyro's
        handler that masks all of them.
        """
        if not self.bijections:
            return self._centred(latent, undo)
        way: Any = 0.0
        if not undo:
            for each in self.bijections:
                latent, density = each.place(latent)
                way = way + density
            return self._with(self._centred(latent, undo), way)
        found = self._centred(latent, undo)
        parts = [found.unconstrained[name].reshape(*latent.shape[:-1], -1) for name in self.nodes]
        u = torch.cat(parts, -1)
        for each in reversed(self.bijections):
            u = each.undo(u)
            way = way + each.place(u)[1]
        unconstrained = {site["name"]: part for site, part in self.unpack(u)}
        return self._with(replace(found, unconstrained=unconstrained), way)

    def _with(self, placed: Placed, way: Tensor) -> Placed:
        """Return the same with log-densities ``(*B, D)`` of entries added to those of sites."""
        if poutine.get_mask() is False:
            return placed
        densities = dict(placed.log_densities)
        for site, part in self.unpack(way):
            event = part.dim() - placed.values[site["name"]].dim() + site["fn"].event_dim
            densities[site["name"]] = densities[site["name"]] + sum_rightmost(part, event)
        return replace(placed, log_densities=densities)

    def _centred(self, latent: Tensor, undo: bool) -> Placed:
        """Return what is known of all sites, without bijections."""
        parts = {site["name"]: part for site, part in self.unpack(latent)}
        if self.degrees:
            run = Placing(parts, self.degrees, undo=undo).run(self.model)
            return Placed(run.values, run.log_densities, run.unconstrained)
        values, densities = {}, {}
        masked = poutine.get_mask() is False
        for name, part in parts.items():
            values[name], density = constrain(self.nodes[name]["fn"], part)
            densities[name] = 0.0 if masked else density
        return Placed(values, densities, parts)

    def moved(self, placed: Placed, batch: torch.Size, group: Group) -> Placed:
        """Return the same with a random element of a group applied to each vector of ``(*B, D)``.

        The sum of the log-densities is as before: elements change no volume, and take supports to supports.
        """
        x = torch.cat([placed.unconstrained[name].reshape(*batch, -1) for name in self.nodes], -1)
        parts = {site["name"]: part for site, part in self.unpack(group.apply(x))}
        values = {name: constrain(self.nodes[name]["fn"], part)[0] for name, part in parts.items()}
        return Placed(values, placed.log_densities, parts)

    def rows(self, latents: Tensor, *, undo: bool = False, at_once: bool = False) -> tuple[Tensor, Tensor]:
        """Return ``x`` ``(S, D)`` and the log-densities ``(S,)`` of the way for ``u`` ``(S, D)``; or the reverse.

        With ``at_once`` rows are not compared with runs of the model for each, see :meth:`can_be_batched`.
        """
        num = len(latents)
        if at_once or not self.degrees:
            found = self._flat(self._packed(latents), (num,), undo)
        else:
            together = partial(self._flat, self._packed(latents), (num,), undo)
            found = by_rows(together, lambda i: self._flat(latents[i], (), undo), num)
        return found["x"], found["density"]

    def can_be_batched(self, latents: Tensor) -> bool:
        """Return whether one run of the model gives all rows of ``u`` ``(S, D)``."""
        if not self.degrees:
            return True
        together = partial(self._flat, self._packed(latents), (len(latents),), False)
        first = self._flat(latents[0], (), False)
        return try_rows(together, lambda i: self._flat(latents[i], (), False), len(latents), first) is not None

    def _packed(self, latents: Tensor) -> Tensor:
        """Return rows ``(S, 1, ..., 1, D)`` with a one for each plate."""
        return latents.reshape(len(latents), *[1] * self.plates, latents.shape[-1])

    def _flat(self, latent: Tensor, batch: tuple[int, ...], undo: bool) -> dict[str, Tensor]:
        """Return ``x`` ``(*batch, D)`` and the log-densities of the way ``batch``."""
        placed = self.place(latent, undo=undo)
        x, density = [], latent.new_zeros(batch)
        for name, site in self.nodes.items():
            x.append(placed.unconstrained[name].reshape(*batch, -1))
            ones = [1] * (self.plates - len(site["fn"].batch_shape)) if batch else []
            each = placed.log_densities[name].expand((*batch, *ones, *site["fn"].batch_shape))
            density = density + each.reshape(*batch, -1).sum(-1)
        return {"x": torch.cat(x, -1), "density": density}

    def flat(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return ``x`` ``(S, D)`` from values ``(S, *shape)`` of all sites."""
        parts = [biject_to(site["fn"].support).inv(values[name]) for name, site in self.nodes.items()]
        return torch.cat([part.reshape(len(part), -1) for part in parts], -1)

    def values(self) -> dict[str, Tensor]:
        """Return the values of all sites in the run of the model."""
        return {name: site["value"] for name, site in self.nodes.items()}

    def of_trace(self, trace: Any) -> Tensor:
        """Return ``x`` ``(D,)`` of a run of the model."""
        return self.flat({name: trace.nodes[name]["value"].unsqueeze(0) for name in self.nodes})[0]

    def by_name(self, x: Tensor) -> dict[str, Tensor]:
        """Return values ``(S, *shape)`` of all sites from ``x`` ``(S, D)``."""
        packed = x.reshape(len(x), *[1] * self.plates, x.shape[-1])
        return {
            site["name"]: biject_to(site["fn"].support)(part).reshape(len(x), *site["value"].shape)
            for site, part in self.unpack(packed)
        }
