"""Log-density of a model at given values of its unknowns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _DIM_ALLOCATOR
from torch import Tensor

from ...checks import refusing
from ...errors import value_error
from .rows import by_rows, try_rows

__all__ = ["JointDensity", "log_joint", "other_shape"]


class JointDensity:
    """Log-joint density of a model at rows of values of all its unknowns, in nats and with gradients.

    Args:
        model: a Pyro model.
        values: ``(S, *shape)`` by the names of the sites; the first row is tried.
        args: arguments of the model.
        kwargs: keyword arguments of the model.

    Raises:
        ValueError: if the model has other unknowns.
    """

    def __init__(
        self, model: Callable[..., Any], values: Mapping[str, Tensor], args: Sequence[Any] = (), kwargs: Any = None
    ) -> None:
        self._program = refusing("model", model, "a program that takes the arguments of model and guide")
        self._args, self._kwargs = args, kwargs or {}
        with torch.no_grad():
            first = self._trace({name: value[0] for name, value in values.items()}, _Fitting(values))
        _check_unknowns(first, values)
        self._sizes = {name: len(first.nodes[name]["fn"].batch_shape) for name in _samples(first)}

    def single(self, values: Mapping[str, Tensor], index: int) -> Tensor:
        """Compute the density ``()`` at one row, by a run of the model for it alone."""
        total: Tensor = self._trace({name: value[index] for name, value in values.items()}).log_prob_sum()
        return total

    def batched(self, values: Mapping[str, Tensor]) -> Tensor:
        """Compute the densities ``(S,)`` at all rows by one run of the model under a plate, if it may be under one."""
        num, plates = len(next(iter(values.values()))), max(self._sizes.values(), default=0)
        plates = max(plates, len(_DIM_ALLOCATOR._stack))  # of plates around the caller, such as those of particles
        shaped = {
            name: value.reshape(num, *[1] * (plates - self._sizes[name]), *value.shape[1:])
            for name, value in values.items()
        }
        with poutine.block():  # a plate is a statement, also to handlers around the caller
            plate = pyro.plate("_rows_of_values", num, dim=-1 - plates)
        trace = self._trace(shaped, plate)
        total: Any = 0.0
        for name in _samples(trace):
            if name != "_rows_of_values":
                log_prob = trace.nodes[name]["log_prob"]
                total = total + log_prob.expand(num, *log_prob.shape[1:]).reshape(num, -1).sum(-1)
        return torch.as_tensor(total)

    @torch.no_grad()
    def can_be_batched(self, values: Mapping[str, Tensor]) -> bool:
        """Return whether one run of the model under a plate gives the densities of the first and the last row."""
        num = len(next(iter(values.values())))
        single = self.single(values, 0)
        return try_rows(lambda: self.batched(values), lambda i: self.single(values, i), num, single) is not None

    def _trace(self, given: Mapping[str, Tensor], around: Any = None) -> Any:
        conditioned = poutine.condition(self._program, dict(given))
        with poutine.block():
            run = conditioned if around is None else around(conditioned)
            trace = poutine.trace(run).get_trace(*self._args, **self._kwargs)
        trace.compute_log_prob()
        return trace


class _Fitting(Messenger):
    """A handler that refuses unknowns of other shapes than those of their values, and unknowns without a density.

    Args:
        values: ``(S, *shape)`` by the names of the sites.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.shapes = {name: value.shape[1:] for name, value in values.items()}

    def _pyro_post_sample(self, msg: Any) -> None:
        name, fn = msg["name"], msg["fn"]
        if name not in self.shapes or (msg["is_observed"] and not isinstance(msg["value"], Tensor)):
            return
        if fn.shape() != self.shapes[name]:
            raise other_shape(name, tuple(fn.shape()), tuple(self.shapes[name]))
        masks = [msg["mask"], getattr(fn, "_mask", None)]
        if any(isinstance(mask, Tensor) and not bool(mask.all()) for mask in masks):
            raise value_error(
                "model",
                expected="unknowns with a density",
                found=f"site {name!r}, which is masked in places",
                hint="Mask observed sites, or observe what is known, y[known], instead of obs_mask.",
            )


def other_shape(name: str, shape: tuple[int, ...], own: tuple[int, ...]) -> ValueError:
    """Return the error of an unknown that has another shape with these arguments than it had in the guide's first run.

    Args:
        name: of the site.
        shape: with these arguments.
        own: in the guide.
    """
    found = f"data with which site {name!r} has shape {shape}, where that of the guide has {own}"
    advice = "A guide has the unknowns of its first call: make a new one for data with others."
    return value_error("arguments of the model", expected="data of the same unknowns", found=found, hint=advice)


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
    density = JointDensity(model, values, args, kwargs)
    num = len(next(iter(values.values())))
    found: Tensor = by_rows(lambda: density.batched(values), lambda i: density.single(values, i), num)
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
