"""The contract of guides whose draws have importance weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...checks import check_callable, check_generator
from ...errors import check_size, value_error
from ...metrics import ParetoSmoothing
from .importance import LEAST_DRAWS, GuideCheck, judge, resampled, with_missed, with_shift
from .joint import log_joint
from .outside import Outside

__all__ = ["CheckedGuide", "WeightedDraws"]

_LEAST_PARTICLES = 50


class WeightedDraws(NamedTuple):
    """Draws of a guide, ``(S, *shape)`` by site, with a lower and an upper estimate of their log-densities ``(S,)``."""

    values: dict[str, Tensor]
    lower: Tensor
    upper: Tensor


class CheckedGuide:
    """A guide that tells by the importance weights of its draws whether it is right, and corrects them.

    A subclass writes :meth:`draws_with_density` and :meth:`_missed`.
    """

    @abstractmethod
    def draws_with_density(
        self,
        num_samples: int,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        generator: torch.Generator | None = None,
    ) -> WeightedDraws:
        """Draw values of all sites with their log-densities, given the model's arguments."""

    def check(
        self,
        model: Callable[..., Any],
        *args: Any,
        num_samples: int = 1000,
        num_particles: int = 500,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> GuideCheck:
        """Judge the guide by the importance weights of its draws, and by what a search finds outside of it.

        The search carries particles from the prior to the posterior by annealing. Where the guide lacks density at more
        than 5 % of them, they and draws of the guide are moved on, side by side: the guide has missed modes, which its
        own draws cannot show, if these do not come there, and is too narrow if they do.

        Args:
            model: the model; its arguments follow, all data among them.
            args: arguments of the model.
            num_samples: draws, at least 100.
            num_particles: particles of the search, at least 50; 0 for no search. A model that is not written for plates
                around it, of improper priors, or of more than a hundred unknowns is not searched.
            generator: of all noise.
            kwargs: keyword arguments of the model.

        References:
            Vehtari, Simpson, Gelman, Yao, Gabry, "Pareto smoothed importance sampling", 2024.
            Del Moral, Doucet, Jasra, "Sequential Monte Carlo samplers", 2006.
        """
        num = check_size("num_particles", num_particles, 0)
        if 0 < num < _LEAST_PARTICLES:
            raise value_error("num_particles", expected=f"0, or at least {_LEAST_PARTICLES}", got=num_particles)
        found = with_shift(*self._judged(model, args, kwargs, num_samples, generator))
        return with_missed(found, self._missed(model, args, kwargs, num, generator)) if num else found

    @abstractmethod
    def _missed(
        self, model: Any, args: Any, kwargs: Any, num: int, generator: torch.Generator | None
    ) -> Outside | None:
        """Search for what is outside the guide with ``num`` particles; None if there has been no search."""

    def resample(
        self,
        num_samples: int,
        model: Callable[..., Any],
        *args: Any,
        num_draws: int | None = None,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """Draw values of all sites ``(num_samples, *shape)``, corrected by Pareto-smoothed importance resampling.

        Args:
            num_samples: draws to return, some of them several times.
            model: the model; its arguments follow, all data among them.
            args: arguments of the model.
            num_draws: draws among which to choose; twice ``num_samples``, and at least 1000, if None.
            generator: of all noise.
            kwargs: keyword arguments of the model.

        References:
            Vehtari, Simpson, Gelman, Yao, Gabry, "Pareto smoothed importance sampling", 2024.
        """
        num = max(1000, 2 * check_size("num_samples", num_samples)) if num_draws is None else num_draws
        _, weights, values = self._judged(model, args, kwargs, num, generator, "num_draws")
        index = resampled(weights, num_samples, generator)
        return {name: value[index.to(value.device)] for name, value in values.items()}

    @torch.no_grad()
    def _judged(
        self, model: Any, args: Any, kwargs: Any, num: Any, generator: Any, argument: str = "num_samples"
    ) -> tuple[GuideCheck, ParetoSmoothing, dict[str, Tensor]]:
        """Return the judgment, the smoothed weights and the values of draws."""
        expected = "a BayesianModel or another Pyro program, followed by its own arguments"
        check_callable("model", model, expected)
        num = check_size(argument, num, LEAST_DRAWS)
        draws = self.draws_with_density(num, args, kwargs, check_generator(generator))
        return *judge(log_joint(model, draws.values, args, kwargs), draws.lower, draws.upper), draws.values
