"""Parameter statements for Pyro without its global parameter store."""

from __future__ import annotations

import weakref

from pyro.poutine.runtime import am_i_wrapped, effectful
from torch import Tensor, nn
from torch.distributions import constraints

from ._calling_loss import refuse_compiled

__all__ = ["declare_parameters"]


def declare_parameters(name: str, module: nn.Module) -> None:
    """Declare the parameters of ``module`` to active handlers, such as those of ``pyro.infer.SVI``.

    Pyro's optimizers train the parameters that they see in such statements. The parameters stay those of the module:
    nothing is written to the global store, whether ``module_local_params`` is set or not. Without a handler this does
    nothing.
    """
    learned = [(key, p) for key, p in module.named_parameters() if p.requires_grad] if am_i_wrapped() else []
    if learned:
        refuse_compiled()
    for key, parameter in learned:
        _state(parameter, constraint=constraints.real, name=f"{name}$$${key}")


@effectful(type="param")
def _state(parameter: nn.Parameter, constraint: constraints.Constraint) -> Tensor:
    """Return the value of a parameter statement: a tensor that refers to the parameter, as Pyro expects.

    Pyro reads the constraint, which is none, from the statement when it draws a model.
    """
    value = parameter.detach()  # an alias: an attribute of the parameter itself would be pickled with it
    value.unconstrained = weakref.ref(parameter)  # type: ignore[attr-defined]
    return value
