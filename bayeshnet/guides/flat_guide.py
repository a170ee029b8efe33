"""The contract of automatic guides whose unknowns are one flat vector, drawn from a weight distribution."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from pyro import poutine
from pyro.infer.autoguide import AutoContinuous, init_to_median
from pyro.infer.autoguide.initialization import InitMessenger
from torch import Tensor

from ..checks import check_callable, check_generator
from ..deprecation import renamed_argument
from ..distributions.flat import Flat
from ..errors import check_size, value_error
from ..estimators import Diagnosis, diagnose
from ..rng import seeded
from ._parameter_statements import part_of
from .auto_sites import FlatSites
from .centring import Degrees, dependent_sites
from .checking.guide import CheckedGuide, WeightedDraws
from .checking.importance import judge
from .checking.joint import log_joint
from .checking.outside import Outside, Searched, find_outside
from .checking.search import search
from .checking.starts import Start, clusters
from .components import (
    GeneratedMixture,
    component_densities,
    draws_and_densities,
    log_prob_anywhere,
    population_weights,
)
from .posterior_prior import GuidePrior
from .symmetries import Group

__all__ = ["FlatGuide"]

_PARTICLES, _OWN, _MOVED, _TOO_HEAVY, _SEARCHED = 4000, 100, 200, 0.7, 100


class FlatGuide(CheckedGuide, AutoContinuous):
    """An automatic guide that draws a flat vector of unknowns and places it at the sites of the model.

    A subclass writes :meth:`distribution`. Attributes are those of Pyro's ``AutoContinuous``.
    """

    _program: tuple[Any, ...]
    centring: str | None
    _centred: list[str]
    _group: Group | None

    @abstractmethod
    def _is_wide(self) -> bool:
        """Return whether there are too many unknowns for a latent of each."""

    @abstractmethod
    def distribution(self) -> Any:
        """Return the distribution over the flat, unconstrained unknowns ``(D,)``."""

    def _sites(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, centred: bool = True) -> FlatSites:
        """Return the way from flat unknowns to sites; without arguments, at those of the first run."""
        trace: Any = self.prototype_trace
        if not args and not kwargs:
            args, kwargs = trace.nodes["_INPUT"]["args"], trace.nodes["_INPUT"]["kwargs"]
        degrees = part_of(self, "degrees") if centred else None
        found = {} if degrees is None else degrees.by_site({n: self._unconstrained_shapes[n] for n in self._centred})
        modules = [part_of(self, name) for name in ("tails", "frame")] if centred else []
        bijections = [module for module in modules if module is not None]
        return FlatSites(trace, self._unpack_latent, found, partial(self._program[0], *args, **kwargs), bijections)

    def _set_centred(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Find the sites to be centred, and make their degrees unless they have been loaded."""
        if self.centring is None:
            return
        known = set(self._unconstrained_shapes)
        with seeded(0):  # The guide of a model in which nothing depends is the one without centring, number for number.
            found = dependent_sites(self._program[0], args, kwargs, self._sites(args, kwargs, centred=False).values())
        self._centred = [name for name in found if name in known]
        count = sum(self._unconstrained_shapes[name].numel() for name in self._centred)
        made = part_of(self, "degrees")
        if made is None and count:
            self.degrees = Degrees(count, self._init_loc(), slow=self._is_wide())  # type: ignore[no-untyped-call]
        elif made is not None and made.logits.numel() != count:
            got = f"one of {count} unknowns that depend on others"
            raise value_error("model", expected=f"a model of {made.logits.numel()} such unknowns", found=got)

    @torch.no_grad()
    def quantiles(
        self, quantiles: Sequence[float], *args: Any, num_samples: int = 4000, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Compute posterior quantiles of each unknown from draws: ``(len(quantiles), *shape)`` by site."""
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)  # type: ignore[no-untyped-call]
        sites = self._sites(args, kwargs)
        draws = self._mixed(sites.rows(self.distribution().draw(check_size("num_samples", num_samples)).w)[0])
        return sites.by_name(torch.quantile(draws, torch.as_tensor(quantiles).to(draws), dim=0))

    def get_base_dist(self) -> Any:
        """Raise, as :meth:`get_transform`."""
        self.get_transform()

    def get_transform(self, *args: Any, **kwargs: Any) -> Any:
        """Raise: a hypernetwork with noise is no bijection, so that it cannot reparameterize a model (NeuTra)."""
        raise ValueError(
            f"{type(self).__name__}: expected a guide that is a bijection of simple noise, got one that is not. For "
            "NeuTra use AutoIAFNormal or AutoMultivariateNormal."
        )

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
            self._setup_prototype(*args, **kwargs)  # type: ignore[no-untyped-call]
        sites = self._sites(args, kwargs)
        draw = self.distribution().draw(check_size("num_samples", num_samples), check_generator(generator))
        return sites.by_name(self._mixed(sites.rows(draw.w)[0], generator))

    def _mixed(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return vectors ``(S, D)`` with random elements of the symmetries applied, if there are any."""
        return x if self._group is None else self._group.apply(x, generator)

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

    def as_prior(self) -> GuidePrior:
        r"""Return the fitted guide as a prior for the next data set, as it is now.

        It is called with a model of the same sites, and returns one in which the guide takes the place of the prior,
        :math:`q(\theta) \, p(D' \mid \theta)`.

        Example:
            >>> import pyro
            >>> import pyro.distributions as dist
            >>> from bayeshnet.guides import AutoHypernet
            >>> def model(y):
            ...     mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
            ...     pyro.sample("y", dist.Normal(mean, 1.0), obs=y)
            >>> first = AutoHypernet(model, layers=())
            >>> _ = first(torch.tensor(1.0))  # and a fit
            >>> second = first.as_prior()(model)
            >>> AutoHypernet(second, layers=())(torch.tensor(0.5))["mean"].shape
            torch.Size([])
        """
        self.distribution()  # refuses a guide that has not been run
        kept = copy.deepcopy(part_of(self, "posterior")).requires_grad_(False)
        with torch.no_grad():
            sites = self._sites((), {})
            sites.bijections = copy.deepcopy(sites.bijections)
            return GuidePrior(kept(), sites, group=self._group)

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
            self._setup_prototype(*args, **(kwargs or {}))  # type: ignore[no-untyped-call]
        q, sites = self.distribution(), self._sites(args, kwargs or {})
        num = check_size("num_samples", num_samples)
        w, lower, upper = draws_and_densities(q, num, check_generator(generator))
        x, way = sites.rows(w)
        lower, upper = lower + way, upper + way
        if self._group is not None:
            lower, upper = self._group.log_densities(partial(_density, q, sites), x, lower, upper)
        return WeightedDraws(sites.by_name(self._mixed(x, generator)), lower, upper)

    @torch.no_grad()
    def _missed(
        self, model: Any, args: Any, kwargs: Any, num: int, generator: torch.Generator | None
    ) -> Outside | None:
        """Search what the guide lacks; None of more than a hundred unknowns, or if the search did not arrive."""
        q, sites, plain = self.distribution(), self._sites(args, kwargs), self._sites(args, kwargs, centred=False)
        with seeded(generator):
            found = search(model, plain, args, kwargs, num, most=_SEARCHED)
            if found is None:
                return None
            own = self.draws_with_density(_OWN, args, kwargs)
            given = Searched(model, args, kwargs, sites, plain, partial(_invariant_density, q, sites, self._group))
            return find_outside(given, found.x, own, self._mixed(sites.rows(q.draw(_MOVED).w)[0]))

    def _clustered(self, count: int, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Start] | None:
        """Return starts of components in clusters of annealed particles; None if the search did not arrive."""
        sites, plain = self._sites(args, kwargs), self._sites(args, kwargs, centred=False)
        particles = search(self._program[0], plain, args, kwargs, _PARTICLES, keep=0.8, again=2)
        if particles is None:
            return None
        x = particles.x
        if self._group is not None:
            x = self._group.gathered(x, x[particles.log_density.argmax()])
        return clusters(sites.rows(x, undo=True)[0].detach(), count)

    def _coordinates(self, x: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """Return the unknowns that the hypernetwork generates ``(D,)``, of unconstrained ones ``x``."""
        sites = self._sites(args, kwargs)
        with poutine.block(), torch.no_grad():  # a handler around may mask log-densities, as Predictive's does
            return sites.rows(x.unsqueeze(0), undo=True)[0][0] if sites.degrees or sites.bijections else x

    def _near_prior(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """Return unconstrained unknowns ``(D,)`` near the middle of the prior: medians of few draws."""
        sites = self._sites(args, kwargs, centred=False)
        # An improper prior has no draws.
        near = init_to_median(num_samples=3, fallback=lambda site: sites.nodes[site["name"]]["value"])
        with poutine.block(), torch.no_grad():
            trace: Any = poutine.trace(InitMessenger(near)(self._program[0])).get_trace(*args, **kwargs)
        return sites.of_trace(trace)

    @torch.no_grad()
    def reweigh(
        self,
        model: Callable[..., Any],
        *args: Any,
        num_samples: int = 300,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> None:
        r"""Set the weights of a guide's components to the closest to the posterior, by importance sampling.

        They are :math:`\arg\max_\pi E_p \log \sum_k \pi_k q_k`, estimated from draws of all components with
        Pareto-smoothed weights. A guide without components stays as it is, and so does one whose draws have weights
        that tell nothing, with k-hat above 0.7: its components keep the shares of the particles where they began.

        Args:
            model: the model; its arguments follow, all data among them.
            args: arguments of the model.
            num_samples: draws of each component, at least 25.
            generator: of all noise.
            kwargs: keyword arguments of the model.

        References:
            Cappé, Douc, Guillin, Marin, Robert, "Adaptive importance sampling in general mixture classes", 2008.
        """
        check_callable("model", model, "a Pyro model, a function")
        num = check_size("num_samples", num_samples, 25)
        check_generator(generator)
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)  # type: ignore[no-untyped-call]
        q, sites = self.distribution(), self._sites(args, kwargs)
        if not isinstance(q, GeneratedMixture):
            return
        count = len(q.components)
        w, _, densities = component_densities(q, [num] * count, generator)
        x, way = sites.rows(w)
        mixed = densities.logsumexp(-1) - math.log(count) + way
        _, smooth = judge(log_joint(model, sites.by_name(x), args, kwargs), mixed, mixed)
        if smooth.k_hat > _TOO_HEAVY:
            return
        start = torch.full_like(q.log_weights, -math.log(count))
        q.log_weights.copy_(population_weights(smooth.log_weights, densities, start))


def _invariant_density(q: Any, sites: FlatSites, group: Group | None, x: Tensor) -> Tensor:
    """Return log-densities ``(S,)`` at unconstrained unknowns ``x`` ``(S, D)``, with symmetries."""
    density = partial(_density, q, sites)
    return density(x) if group is None else group.log_densities(density, x, density(x))[0]


def _density(q: Any, sites: FlatSites, x: Tensor) -> Tensor:
    """Return log-densities ``(S,)`` of the values at unconstrained unknowns ``x`` ``(S, D)``, without symmetries."""
    u, way = sites.rows(x, undo=True)
    return log_prob_anywhere(q, u) + way
