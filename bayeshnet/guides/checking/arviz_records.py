"""Posteriors as records for ArviZ: draws, predictions, likelihoods and diagnostics."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from ...checks import check_callable, check_generator
from ...errors import check_instance, check_size
from ...rng import seeded
from .guide import CheckedGuide
from .importance import LEAST_DRAWS, judge
from .joint import log_joint

__all__ = ["arviz_groups", "to_arviz"]


def to_arviz(
    guide: CheckedGuide,
    model: Callable[..., Any],
    *args: Any,
    num_samples: int = 1000,
    generator: torch.Generator | None = None,
    **kwargs: Any,
) -> Any:
    """Return draws of a guide as ArviZ's inference data, with one chain.

    Groups are those of :func:`arviz_groups`. ArviZ comes with the extra ``bayeshnet[arviz]``.

    Args:
        guide: a fitted guide, such as :class:`~bayeshnet.guides.AutoHypernet`.
        model: the model; its arguments follow, all data among them.
        args: arguments of the model.
        num_samples: draws, at least 100.
        generator: of all noise.
        kwargs: keyword arguments of the model.

    Raises:
        ImportError: without ArviZ.
    """
    groups = arviz_groups(guide, model, *args, num_samples=num_samples, generator=generator, **kwargs)
    try:
        import arviz
    except ImportError as error:
        raise ImportError("to_arviz: expected the package arviz, got none. pip install 'bayeshnet[arviz]'") from error
    from_dict: Callable[..., Any] = arviz.from_dict  # of which releases before 1.0 take a keyword per group
    one_mapping = next(iter(inspect.signature(from_dict).parameters)) == "data"
    return from_dict(groups) if one_mapping else from_dict(**groups)


@torch.no_grad()
def arviz_groups(
    guide: CheckedGuide,
    model: Callable[..., Any],
    *args: Any,
    num_samples: int = 1000,
    generator: torch.Generator | None = None,
    **kwargs: Any,
) -> dict[str, dict[str, np.ndarray]]:
    """Return the groups that ArviZ knows, each a dictionary of arrays: of one chain, ``(1, S, *shape)``, or of data.

    - ``posterior``: all unknowns;
    - ``posterior_predictive``: new data for each draw;
    - ``log_likelihood``: in nats, of each datum;
    - ``sample_stats``: ``lp``, the log-joint density, and ``log_weight``, the normalized, Pareto-smoothed importance
      weights of the draws;
    - ``observed_data``.

    Arguments as for :func:`to_arviz`.
    """
    check_instance("guide", guide, CheckedGuide, "an AutoHypernet or a HypernetGuide")
    check_callable("model", model, "a BayesianModel or another Pyro program")
    num = check_size("num_samples", num_samples, LEAST_DRAWS)
    draws = guide.draws_with_density(num, args, kwargs, check_generator(generator))
    joint = log_joint(model, draws.values, args, kwargs)
    _, weights = judge(joint, draws.lower, draws.upper)
    predictive: dict[str, list[Tensor]] = {}
    likelihood: dict[str, list[Tensor]] = {}
    observed: dict[str, Tensor] = {}
    with seeded(generator), poutine.block():
        for index in range(num):
            values = {name: value[index] for name, value in draws.values.items()}
            trace = poutine.trace(poutine.condition(model, values)).get_trace(*args, **kwargs)
            trace.compute_log_prob()
            nodes: dict[str, Any] = dict(trace.nodes)
            for name, site in nodes.items():
                if site["type"] == "sample" and name not in values and type(site["fn"]).__name__ != "_Subsample":
                    observed[name] = site["value"]
                    predictive.setdefault(name, []).append(site["fn"].sample())
                    likelihood.setdefault(name, []).append(site["unscaled_log_prob"])
    return {
        "posterior": {name: _chain(value) for name, value in draws.values.items()},
        "posterior_predictive": {name: _chain(torch.stack(value)) for name, value in predictive.items()},
        "log_likelihood": {name: _chain(torch.stack(value)) for name, value in likelihood.items()},
        "sample_stats": {"lp": _chain(joint), "log_weight": _chain(weights.log_weights)},
        "observed_data": {name: value.detach().cpu().numpy() for name, value in observed.items()},
    }


def _chain(value: Tensor) -> np.ndarray:
    """Return values ``(S, *shape)`` as those of one chain ``(1, S, *shape)``."""
    array: np.ndarray = value.detach().unsqueeze(0).cpu().numpy()
    return array
