"""The contract of automatic guides whose unknowns are one flat vector, drawn from a weight distribution."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from pyro.infer.autoguide import AutoContinuous
from torch import Tensor

from ..checks import check_generator
from ..deprecation import renamed_argument
from ..distributions.flat import Flat
from ..errors import check_size
from ..estimators import Diagnosis, diagnose
from .auto_sites import FlatSites
from .checking.guide import CheckedGuide, WeightedDraws
from .checking.importance import density_at_draws

__all__ = ["FlatGuide"]


class FlatGuide(CheckedGuide, AutoContinuous):
    """An automatic guide that draws a flat vector of unknowns and places it at the sites of the model.

    A subclass writes :meth:`distribution`. Attributes are those of Pyro's ``AutoContinuous``.
    """

    _program: tuple[Any, ...]
    _centred: list[str]

    @abstractmethod
    def distribution(self) -> Any:
        """Return the distribution over the flat, unconstrained unknowns ``(D,)``."""

    def _sites(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> FlatSites:
        """Return the way from flat unknowns to sites; without arguments, at those of the first run."""
        trace: Any = self.prototype_trace
        if not args and not kwargs:
            args, kwargs = trace.nodes["_INPUT"]["args"], trace.nodes["_INPUT"]["kwargs"]
        degrees = self.__dict__["_modules"].get("degrees")
        found = {} if degrees is None else degrees.by_site({n: self._unconstrained_shapes[n] for n in self._centred})
        return FlatSites(trace, self._unpack_latent, found, partial(self._program[0], *args, **kwargs))

    @torch.no_grad()
    def quantiles(
        self, quantiles: Sequence[float], *args: Any, num_samples: int = 4000, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Compute posterior quantiles of each unknown from draws: ``(len(quantiles), *shape)`` by site."""
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)
        sites = self._sites(args, kwargs)
        draws, _ = sites.rows(self.distribution().draw(check_size("num_samples", num_samples)).w)
        return sites.by_name(torch.quantile(draws, torch.as_tensor(quantiles).to(draws), dim=0))

    def median(self, *args: Any, num_samples: int = 4000, **kwargs: Any) -> dict[str, Tensor]:
        """Compute the posterior median of each unknown, by site, from ``num_samples`` draws."""
        found = self.quantiles([0.5], *args, num_samples=num_samples, **kwargs)
        return {name: value[0] for name, value in found.items()}

    @torch.no_grad()
    def sample_posterior(
        self, num_samples: int, *args: Any, generator: torch.Generator | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Draw all unknowns, ``(num_samples, *shape)`` by site; other arguments are the model's."""
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)
        sites = self._sites(args, kwargs)
        draw = self.distribution().draw(check_size("num_samples", num_samples), check_generator(generator))
        return sites.by_name(sites.rows(draw.w)[0])

    def audit(
        self,
        num_samples: int = 1024,
        generator: torch.Generator | None = None,
        *,
        quick: bool = False,
        num_draws: int | None = None,
    ) -> Diagnosis:
        """Audit the negative entropy, to check the estimator that was used in training.

        It is the KL to a density of one, so that :func:`~bayeshnet.estimators.diagnose` finds it.

        Args:
            num_samples: largest number of vectors to draw.
            generator: of all noise.
            quick: as for :func:`~bayeshnet.estimators.kl_interval`.
            num_draws: old name of ``num_samples``.

        Returns:
            The negative entropy in nats with its 95 % interval, verdict, alarms and advice.
        """
        if num_draws is not None:
            num_samples = renamed_argument("num_draws", "num_samples", num_draws, None)
        return diagnose(self.distribution(), Flat(self.latent_dim), num_samples, generator, quick=quick)

    @torch.no_grad()
    def draws_with_density(
        self,
        num_samples: int,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        generator: torch.Generator | None = None,
    ) -> WeightedDraws:
        """Draw values of all sites with both sides of their log-densities in unconstrained space."""
        if self.prototype_trace is None:
            self._setup_prototype(*args, **(kwargs or {}))
        q, sites = self.distribution(), self._sites(args, kwargs or {})
        draw = q.draw(check_size("num_samples", num_samples), check_generator(generator))
        lower, upper = density_at_draws(q, draw, generator)
        x, way = sites.rows(draw.w)
        return WeightedDraws(sites.by_name(x), lower + way, upper + way)
