"""A fitted guide as the prior of the next data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import biject_to

from ..checks import check_callable
from ..errors import value_error
from .auto_sites import FlatSites
from .components import log_prob_anywhere
from .symmetries import Group

__all__ = ["GuidePrior"]


class GuidePrior:
    r"""A fitted guide in the place of a prior: Bayesian learning from one data set to the next.

    Called with a model it returns a model of the same sites, whose unknowns have the joint density of the guide,

    .. math:: p'(\theta, D') = q(\theta) \, p(D' \mid \theta),

    instead of their own: one guide after the other sees each data set once. Unknowns that are not given are drawn from
    the guide. The density of a hypernetwork with noise is estimated by importance sampling of its latent, anew in each
    run, a lower bound in expectation with a gradient.

    Args:
        q: distribution over the flat unknowns of the guide, which is kept as it is.
        sites: the way from these to the sites of the model that the guide was fitted to.
        name: of the factor that holds the density.
        group: symmetries of the guide, or None.

    Attributes:
        num_proposals: latents for each estimate of the density.
        num_starts: searches for the latent of each value.
    """

    def __init__(self, q: Any, sites: FlatSites, name: str = "posterior_before", group: Group | None = None) -> None:
        self.q, self.sites, self.name, self.group = q, sites, name, group
        self.num_proposals, self.num_starts = 16, 8

    def __call__(self, model: Callable[..., Any]) -> Callable[..., Any]:
        """Return the model with this prior."""
        check_callable("model", model, "a Pyro model, a function")

        def program(*args: Any, **kwargs: Any) -> Any:
            handler = _Replaced(self)
            with handler:
                result = model(*args, **kwargs)
            missing = [name for name in self.sites.nodes if name not in handler.values]
            if missing:
                found = f"one without the site {missing[0]!r}"
                raise value_error("model", expected="one with the unknowns of the guide", found=found)
            pyro.factor(self.name, self.log_density(handler.values))
            return result

        return program

    def draw(self) -> dict[str, Tensor]:
        """Draw values of all sites from the guide."""
        with torch.no_grad():
            latent = self.q.draw(1).w
            x, _ = self.sites.rows(latent)
            x = x if self.group is None else self.group.apply(x)
            return {name: value[0] for name, value in self.sites.by_name(x).items()}

    def log_density(self, values: dict[str, Tensor]) -> Tensor:
        """Compute the log-density of values of all sites, ``(*B, 1, ..., 1)`` with a one for each plate."""
        x, lead = [], torch.Size()
        for name, site in self.sites.nodes.items():
            fn, value = site["fn"], values[name]
            if value.ndim > site["value"].ndim:  # particles
                lead = value.shape[: value.ndim - self.sites.plates - fn.event_dim]
            x.append(biject_to(fn.support).inv(value).reshape(*lead, -1))
        flat = torch.cat(x, -1)
        rows = flat.reshape(-1, flat.shape[-1])
        total = self._density(rows)
        if self.group is not None:
            (total,) = self.group.log_densities(self._density, rows, total)
        total = total.reshape(lead)
        return total.reshape(*lead, *[1] * self.sites.plates) if lead else total

    def _density(self, x: Tensor) -> Tensor:
        """Compute the log-density of values at unconstrained unknowns ``(S, D)``, without symmetries."""
        u, way = self.sites.rows(x, undo=True)
        return log_prob_anywhere(self.q, u, self.num_proposals, self.num_starts) + way


class _Replaced(Messenger):
    """A handler that takes the densities of a guide's sites away, and draws those without values from the guide."""

    def __init__(self, prior: GuidePrior) -> None:
        super().__init__()
        self.prior = prior
        self.values: dict[str, Tensor] = {}
        self._drawn: dict[str, Tensor] | None = None

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] not in self.prior.sites.nodes:
            return
        if msg["value"] is None and not msg["is_observed"]:
            if self._drawn is None:
                self._drawn = self.prior.draw()
            msg["value"], msg["done"] = self._drawn[msg["name"]].expand(msg["fn"].shape()), False
        msg["mask"] = False

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.prior.sites.nodes:
            self.values[msg["name"]] = msg["value"]
