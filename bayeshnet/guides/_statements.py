"""Parameter statements for Pyro without its global parameter store."""

from __future__ import annotations

import weakref

from pyro.poutine.runtime import am_i_wrapped, effectful
from torch import Tensor, nn

from ._losses import refuse_compiled

__all__ = ["declare_parameters"]


def declare_parameters(name: str, module: nn.Module) -> None:
    """Tell the handlers around us, such as ``pyro.infer.SVI``, which parameters ``module`` has.

    Pyro's optimizers step what they see in such statements. The parameters stay those of the module: nothing is written
    to the global store, whether ``module_local_params`` is set or not. Without a handler this does nothing.
    """
    learned = [(key, p) for key, p in module.named_parameters() if p.requires_grad] if am_i_wrapped() else []
    if learned:
        refuse_compiled()
    for key, parameter in learned:
        _state(parameter, name=f"{name}$$${key}")


@effectful(type="param")
def _state(parameter: nn.Parameter) -> Tensor:
    """What Pyro expects of a statement: a tensor that says of which parameter it was made."""
    value = parameter.detach()  # an alias, so that nothing is attached to the parameter itself, which may be pickled
    value.unconstrained = weakref.ref(parameter)  # type: ignore[attr-defined]
    return value
