"""Log-density of a model at given values of its unknowns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from ...checks import refusing
from ...errors import value_error
from .rows import by_rows

__all__ = ["log_joint"]


@torch.no_grad()
def log_joint(
    model: Callable[..., Any], values: Mapping[str, Tensor], args: Sequence[Any] = (), kwargs: Any = None
) -> Tensor:
    """Compute the log-joint density ``(S,)`` of a model, in nats, at values ``(S, *shape)`` of all its unknowns.

    All values are put under one plate; a model that is not written for plates around it is run once for each of them.

    Args:
        model: a Pyro model.
        values: by the names of the sites.
        args: arguments of the model.
        kwargs: keyword arguments of the model.

    Raises:
        ValueError: if the model has other unknowns.

    Example:
        >>> import pyro.distributions as dist
        >>> def model():
        ...     x = pyro.sample("x", dist.Normal(0.0, 1.0))
        ...     pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(0.0))
        >>> log_joint(model, {"x": torch.zeros(3)}).shape
        torch.Size([3])
    """
    num = len(next(iter(values.values())))
    program = refusing("model", model, "a program that takes the arguments of model and guide")

    def trace_of(given: Mapping[str, Tensor], plate: Any = None) -> Any:
        conditioned = poutine.condition(program, dict(given))
        with poutine.block():
            trace = poutine.trace(conditioned if plate is None else plate(conditioned)).get_trace(*args, **kwargs or {})
        trace.compute_log_prob()
        return trace

    def single(index: int) -> Tensor:
        total: Tensor = trace_of({name: value[index] for name, value in values.items()}).log_prob_sum()
        return total

    first = trace_of({name: value[0] for name, value in values.items()})
    _check_unknowns(first, values)
    plates = max((len(first.nodes[name]["fn"].batch_shape) for name in _samples(first)), default=0)

    def batched() -> Tensor:
        shaped = {}
        for name, value in values.items():
            ones = [1] * (plates - len(first.nodes[name]["fn"].batch_shape))
            shaped[name] = value.reshape(num, *ones, *value.shape[1:])
        trace = trace_of(shaped, pyro.plate("_rows_of_values", num, dim=-1 - plates))
        total: Any = 0.0
        for name in _samples(trace):
            if name != "_rows_of_values":
                log_prob = trace.nodes[name]["log_prob"]
                total = total + log_prob.expand(num, *log_prob.shape[1:]).reshape(num, -1).sum(-1)
        return torch.as_tensor(total)

    found: Tensor = by_rows(batched, single, num)
    return found


def _samples(trace: Any) -> list[str]:
    """Return the names of the sample sites of a trace that are not subsamples of plates."""
    return [
        name
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and type(site["fn"]).__name__ != "_Subsample"
    ]


def _check_unknowns(trace: Any, values: Mapping[str, Tensor]) -> None:
    """Refuse a model that has unknowns without values, or no unknowns for some values."""
    missing = [name for name in _samples(trace) if not trace.nodes[name]["is_observed"]]
    if missing:
        raise value_error(
            "model",
            expected="one whose unknowns are those of the guide",
            found=f"one that also draws {', '.join(map(repr, missing))}",
            hint="Give it all data, which are observed then.",
        )
    unknown = sorted(set(values) - set(trace.nodes))
    if unknown:
        raise value_error(
            "model",
            expected="one whose unknowns are those of the guide",
            found=f"one without {', '.join(map(repr, unknown))}",
        )
