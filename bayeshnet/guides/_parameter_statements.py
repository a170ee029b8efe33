"""Parameter statements for Pyro without its global parameter store."""

from __future__ import annotations

import weakref
from typing import Any

import pyro
from pyro.ops.provenance import get_provenance
from pyro.poutine.runtime import am_i_wrapped, effectful
from torch import Tensor, nn
from torch.distributions import constraints

from ._calling_loss import refuse_compiled

__all__ = ["declare_parameters", "part_of"]


def declare_parameters(name: str, module: nn.Module) -> frozenset[str]:
    """Declare the parameters of ``module`` to active handlers, such as those of ``pyro.infer.SVI``.

    Pyro's optimizers train the parameters that they see in such statements. The parameters stay those of the module:
    no value is written to the global store, whether ``module_local_params`` is set or not. Without a handler this does
    nothing.

    Pyro's store is told their names, ``name.path.of.parameter``, for learning rates per parameter and for the saved
    state of optimizers.

    Returns:
        The names, if Pyro draws the program and asks what depends on them; else none.
    """
    learned = [(key, p) for key, p in module.named_parameters() if p.requires_grad] if am_i_wrapped() else []
    if learned:
        refuse_compiled()
    found: frozenset[str] = frozenset()
    for key, parameter in learned:
        full = f"{name}$$${key}"
        _name(parameter, full)
        found |= get_provenance(_state(parameter, constraint=constraints.real, name=full))
    return found


def part_of(module: nn.Module, name: str) -> Any:
    """Return a part of a module, None if there is none; access by attribute would be a statement of its parameters."""
    return module.__dict__["_modules"].get(name)


@effectful(type="param")
def _state(parameter: nn.Parameter, constraint: constraints.Constraint) -> Tensor:
    """Return the value of a parameter statement: a tensor that refers to the parameter, as Pyro expects.

    Pyro reads the constraint, which is none, from the statement when it draws a model.
    """
    value = parameter.detach()  # an alias: an attribute of the parameter itself would be pickled with it
    value.unconstrained = weakref.ref(parameter)  # type: ignore[attr-defined]
    return value


class _Key:
    """A key that is found by a parameter and does not keep it alive: it has the parameter's hash and equals it.

    Args:
        parameter: the parameter.
        names: dictionary in which the key is, which it leaves when the parameter is gone.
    """

    def __init__(self, parameter: nn.Parameter, names: dict[Any, str]) -> None:
        self._hash = hash(parameter)
        self._parameter = weakref.ref(parameter, lambda _: names.pop(self, None))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or self._parameter() is other


def _name(parameter: nn.Parameter, name: str) -> None:
    """Tell Pyro's store the name of a parameter, and nothing else: its optimizers ask there, and only there."""
    names = pyro.get_param_store()._param_to_name
    if parameter not in names:
        names[_Key(parameter, names)] = name  # type: ignore[index]
