"""Questions that Pyro programs are asked before training: whether plates may be around them, and what they learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pyro import poutine
from torch import nn

from ...errors import value_error
from ...guides import AutoHypernet
from ...guides.checking.joint import JointDensity
from ...rng import seeded

__all__ = ["without_loose_parameters", "written_for_plates"]

_OF_MODELS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)


@torch.no_grad()
def written_for_plates(model: Any, guide: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a run of a model under a plate gives the densities of two draws of an automatic guide.

    It is False for a model that mixes the draws, or raises under a plate, and True where there is nothing to compare:
    for another guide, or a model that draws by itself. The state of torch's generators is not changed.

    Args:
        model: a Pyro model.
        guide: a guide that has been run.
        args: arguments of both.
        kwargs: keyword arguments of both.
    """
    if not isinstance(guide, AutoHypernet):
        return True
    with seeded(0), poutine.block():
        runs = [guide(*args, **kwargs) for _ in range(2)]
        values = {name: torch.stack([run[name] for run in runs]) for name in runs[0]}
        try:
            density, state = JointDensity(model, values, args, kwargs), torch.get_rng_state()
            again = bool(density.single(values, 0) == density.single(values, 0))
        except _OF_MODELS:
            return True
        draws = not again or not torch.equal(state, torch.get_rng_state())
        return draws or density.can_be_batched(values)


@contextmanager
def without_loose_parameters(optimizer: torch.optim.Optimizer, *programs: Any) -> Iterator[None]:
    """Refuse parameters that programs state within and that nothing would train, as those of Pyro's global store.

    Args:
        optimizer: of the parameters that are trained.
        programs: those that are run; parameters of modules among them are known, whether they are trained or not.
    """
    with poutine.trace(param_only=True) as capture:
        yield
    known = {id(p) for program in programs if isinstance(program, nn.Module) for p in program.parameters()}
    known |= {id(p) for group in optimizer.param_groups for p in group["params"]}
    for name, site in capture.trace.nodes.items():
        value: Any = site["value"]
        if site["type"] == "param" and value.unconstrained().requires_grad and id(value.unconstrained()) not in known:
            raise value_error(
                "model",
                expected="learned parts as parameters of a module",
                found=f"pyro.param {name!r}, which fit would not train",
                hint="Write the model as a PyroModule with a PyroParam, or use SVI.",
            )
