"""Simulation-based calibration: ranks of true values among posterior draws, over data that the model itself makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from scipy.stats import chi2
from torch import Tensor

from ...checks import check_callable, check_generator, refusing
from ...errors import check_choice, check_instance, check_number, check_size, type_error, value_error
from ...rng import seeded

__all__ = ["Calibration", "calibrate"]


@dataclass(frozen=True)
class Calibration:
    r"""Ranks of true values among draws of guides that were fitted to data made from them.

    If the guides are the posteriors, ranks are uniform on :math:`0, \dots, L`. Ranks at the ends show a guide that is
    too narrow, in the middle one that is too wide, on one side a bias.

    Attributes:
        ranks: by site, ``(N, *shape)`` integers: how many of the draws are smaller than the true value.
        num_draws: draws ``L`` of each guide.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> even = Calibration({"x": torch.randint(0, 100, (2000,), generator=generator)}, 99)
        >>> int(even.histogram("x").sum()), float(even.p_values()["x"]) > 0.01
        (2000, True)
        >>> abs(float(even.coverage(0.5)["x"]) - 0.5) < 0.05
        True
    """

    ranks: Mapping[str, Tensor]
    num_draws: int

    @property
    def num_simulations(self) -> int:
        """Number ``N`` of data sets."""
        return len(next(iter(self.ranks.values())))

    def histogram(self, name: str, bins: int | None = None) -> Tensor:
        """Count the ranks of a site in equal bins: ``(bins, *shape)``.

        Args:
            name: of the site.
            bins: a divisor of ``num_draws + 1``; None for the largest that expects five ranks a bin, at most 20.
        """
        check_choice("name", name, list(self.ranks))
        levels = self.num_draws + 1
        count = self._bins() if bins is None else check_size("bins", bins)
        if levels % count:
            raise value_error("bins", expected=f"a divisor of {levels}", got=bins)
        place = self.ranks[name] // (levels // count)
        return torch.stack([(place == i).sum(0) for i in range(count)])

    def p_values(self, bins: int | None = None) -> dict[str, Tensor]:
        """Compute chi-square p-values ``(*shape)`` of the hypothesis that ranks are uniform, by site.

        Of many unknowns some are small by chance: compare the smallest with the level divided by their number.
        """
        found = {}
        for name, ranks in self.ranks.items():
            counts = self.histogram(name, bins).double()
            expected = self.num_simulations / len(counts)
            if len(counts) < 2 or expected < 1:
                raise value_error("bins", expected="two bins at least, of one rank at least", got=len(counts))
            statistic = ((counts - expected) ** 2 / expected).sum(0)
            found[name] = torch.as_tensor(chi2.sf(statistic.cpu().numpy(), len(counts) - 1)).to(ranks.device)
        return found

    def coverage(self, level: float = 0.9) -> dict[str, Tensor]:
        r"""Compute the share ``(*shape)`` of true values within central intervals of a probability, by site.

        The interval lies between the order statistics of the draws that hold ``level`` of the ``num_draws + 1`` gaps,
        to rounding.
        """
        outside = (1 - check_number("level", level, 0.0, 1.0)) / 2 * (self.num_draws + 1)
        low, high = round(outside), self.num_draws - round(outside)
        return {name: ((r >= low) & (r <= high)).double().mean(0) for name, r in self.ranks.items()}

    def _bins(self) -> int:
        """Return the default number of bins."""
        levels, most = self.num_draws + 1, max(2, min(20, self.num_simulations // 5))
        return max(count for count in range(1, most + 1) if levels % count == 0)


def calibrate(
    model: Callable[..., Any],
    guide_factory: Callable[[Callable[..., Any]], Any],
    *args: Any,
    num_simulations: int = 100,
    num_draws: int = 99,
    generator: torch.Generator | None = None,
    **kwargs: Any,
) -> Calibration:
    r"""Check a way of fitting guides by simulation-based calibration.

    For each of ``N`` simulations the model draws its unknowns from their prior and data from these, a guide is fitted
    to the data, and the true unknowns are ranked among draws of the guide. It says whether inference is right on
    average over data sets like these; :meth:`AutoHypernet.check` judges one guide on one data set.

    Args:
        model: a Pyro model with observed sites. Its observations, given by ``obs``, are replaced.
        guide_factory: called with the model on simulated data, returns a fitted guide: an object with
            ``sample_posterior(num, *args)``, or any Pyro guide whose sites are those of the model.
        args: arguments of the model, such as inputs, and observations of the right shapes.
        num_simulations: number ``N`` of data sets.
        num_draws: draws ``L`` of each guide; ``L + 1`` with many divisors gives a choice of bins.
        generator: of all randomness, that of the fits included.
        kwargs: keyword arguments of the model.

    References:
        Talts, Betancourt, Simpson, Vehtari, Gelman, "Validating Bayesian inference algorithms with simulation-based
        calibration", 2018.

    Example:
        >>> import pyro
        >>> import pyro.distributions as dist
        >>> from pyro.infer.autoguide import AutoNormal
        >>> def model():
        ...     x = pyro.sample("x", dist.Normal(0.0, 1.0))
        ...     pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(0.0))
        >>> calibrate(model, lambda fixed: AutoNormal(fixed), num_simulations=20, num_draws=9).ranks["x"].shape
        torch.Size([20])
    """
    check_callable("model", model, "a Pyro program")
    check_callable("guide_factory", guide_factory, "a function from a model to a fitted guide")
    num = check_size("num_simulations", num_simulations, 10)
    draws = check_size("num_draws", num_draws, 1)
    ranks: dict[str, list[Tensor]] = {}
    with seeded(check_generator(generator)):
        for _ in range(num):
            truth, data = _simulated(model, args, kwargs)
            fixed = poutine.condition(poutine.uncondition(model), data)
            guide = refusing("guide_factory", guide_factory, "a function from a model to a fitted guide")(fixed)
            for name, value in _posterior_draws(guide, truth, draws, args, kwargs).items():
                ranks.setdefault(name, []).append((value < truth[name]).sum(0))
    return Calibration({name: torch.stack(found) for name, found in ranks.items()}, draws)


@torch.no_grad()
def _simulated(model: Any, args: Any, kwargs: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return unknowns and data of one run of a model without its observations."""
    program = refusing("model", poutine.uncondition(model), "a program that takes these arguments")
    with poutine.block():
        try:
            trace = poutine.trace(program).get_trace(*args, **kwargs)
        except NotImplementedError as error:
            found = f"one without draws ({error})"
            raise value_error(
                "model", expected="one with proper priors, of which data are made", found=found
            ) from error
    truth: dict[str, Tensor] = {}
    data: dict[str, Tensor] = {}
    nodes: dict[str, Any] = dict(trace.nodes)
    for name, site in nodes.items():
        if site["type"] == "sample" and type(site["fn"]).__name__ != "_Subsample":
            observed = site["infer"].get("was_observed", False)
            (data if observed else truth)[name] = site["value"]
    if not data or not truth:
        lacks = "observed sites" if not data else "unknowns"
        raise value_error("model", expected="one with unknowns and observed sites", found=f"one without {lacks}")
    discrete = [name for name in truth if nodes[name]["fn"].support.is_discrete]
    if discrete:
        found = f"one with the discrete site {discrete[0]!r}"
        advice = "Sum discrete unknowns out in the model."
        raise value_error("model", expected="one with continuous unknowns", found=found, hint=advice)
    return truth, data


@torch.no_grad()
def _posterior_draws(guide: Any, truth: Any, num: int, args: Any, kwargs: Any) -> dict[str, Tensor]:
    """Return draws ``(num, *shape)`` of each unknown from a fitted guide."""
    if callable(getattr(guide, "sample_posterior", None)):
        found = guide.sample_posterior(num, *args, **kwargs)
    elif callable(guide):
        with poutine.block():
            runs = [poutine.trace(guide).get_trace(*args, **kwargs) for _ in range(num)]
        found = {name: torch.stack([run.nodes[name]["value"] for run in runs]) for name in truth if name in runs[0]}
    else:
        raise type_error("guide_factory", expected="a function that returns a fitted guide", got=guide)
    check_instance("guide_factory", found, dict, "a function that returns a guide with draws by site")
    wrong = [n for n, v in truth.items() if n not in found or found[n].shape[1:] != v.shape]
    if wrong:
        expected = "a guide for all unknowns of the model, of their shapes"
        raise value_error("guide_factory", expected=expected, found=f"one without {wrong[0]!r}")
    return {name: found[name] for name in truth}
