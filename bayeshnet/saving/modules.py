"""Arguments with which modules can be constructed again: layers of torch, and modules of the library."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..hnets import HyperNetInterface
from ..mnets import ModuleMainNet
from ..mnets.adapters import merge_adapters
from ..representation import ModuleSettings, settings_of

__all__ = ["NotDescribedError", "frozen_parameters", "module_arguments", "tensor_type"]

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_PLACEMENT = {"device", "dtype"}


class NotDescribedError(Exception):
    """A module has a part that cannot be described.

    Args:
        name: name of the part's class.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def module_arguments(
    module: nn.Module, *, foreign: bool = False
) -> tuple[dict[str, Any], Mapping[str, nn.Module] | None]:
    """Return the arguments that construct a module of the same structure, and the children of a container.

    Args:
        module: the module.
        foreign: True to take modules that are neither the library's nor torch's as well, if their arguments are known.

    Raises:
        NotDescribedError: if these are not known, or build something else.
    """
    cls = type(module)
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
        raise NotDescribedError(f"a hook of {cls.__name__}")
    if cls in _CONTAINERS:
        return {}, dict(module.named_children())
    if isinstance(module, ModuleMainNet) and cls is ModuleMainNet:
        return _wrapped(module), None
    if cls.__module__.startswith("torch.nn.modules."):
        return _checked(module, _layer_arguments(module)), None
    own = getattr(module, "constructor_arguments", None)
    if cls.__module__.partition(".")[0] != "bayeshnet":
        if not foreign:
            raise NotDescribedError(cls.__name__)
        return _checked(module, own() if callable(own) else _foreign_arguments(module)), None
    if callable(own):
        return own(), None
    given = getattr(module, "_given", None)
    if given is not None:
        arguments = _recorded(module, given, foreign)
        return _checked(module, arguments, by_print=arguments == given), None
    if isinstance(module, ModuleSettings):
        return _complete(module, settings_of(module)), None
    raise NotDescribedError(cls.__name__)


def _recorded(module: nn.Module, given: Mapping[str, Any], foreign: bool) -> dict[str, Any]:
    """Return recorded arguments, with the conditions added since; those that hold tensors are attributes."""
    known = settings_of(module) if foreign and ... in given.values() else {}
    arguments = {name: known.get(name, ...) if value is ... else value for name, value in given.items()}
    if ... in arguments.values():
        raise NotDescribedError(type(module).__name__)
    known_conds = module.num_known_conds if foreign and isinstance(module, HyperNetInterface) else 0
    if known_conds and "num_cond_embs" in inspect.signature(type(module).__init__).parameters:
        arguments["num_cond_embs"] = known_conds
    return arguments


def _complete(module: nn.Module, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments if none that the constructor needs is missing."""
    for name, parameter in list(inspect.signature(type(module).__init__).parameters.items())[1:]:
        needed = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if needed and name not in arguments:
            raise NotDescribedError(type(module).__name__)
    return arguments


def _foreign_arguments(module: nn.Module) -> dict[str, Any]:
    """Return the arguments of a constructor that keeps all of them, plain values, as attributes of the same names."""
    init = type(module).__init__
    arguments: dict[str, Any] = {}
    if init is nn.Module.__init__:
        return arguments
    for name, parameter in list(inspect.signature(init).parameters.items())[1:]:
        value = getattr(module, name, getattr(module, f"_{name}", ...))
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or not _is_plain(value):
            raise NotDescribedError(type(module).__name__)
        arguments[name] = value
    return arguments


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple, torch.Size):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _wrapped(net: ModuleMainNet) -> dict[str, Any]:
    """Return the arguments of a wrapped module, with the names of the selected parameters in place of a predicate."""
    shown: dict[str, Any] = vars(net)["_given"]
    given = {name: value for name, value in shown.items() if value is not ...}
    module = net.module
    if given.get("adapter") is not None:
        module = copy.deepcopy(module)
        merge_adapters(module, keep=False)
    names = dict(module.state_dict())
    selected = {"select": [n for n in net._selected if n in names]} if callable(given.get("select")) else {}
    return {**given, **selected, "module": module}


def _layer_arguments(layer: nn.Module) -> dict[str, Any]:
    """Return the arguments of a layer of torch, which are attributes; of an optional tensor, whether there is one."""
    arguments: dict[str, Any] = {}
    if type(layer).__init__ is nn.Module.__init__:  # which takes anything
        return arguments
    for name, parameter in list(inspect.signature(type(layer).__init__).parameters.items())[1:]:
        if name in _PLACEMENT or name.startswith("_"):
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and isinstance(layer, nn.Identity):
            continue
        if not hasattr(layer, name):
            raise NotDescribedError(type(layer).__name__)
        value = getattr(layer, name)
        optional = isinstance(value, torch.Tensor) or (
            value is None and name in {**layer._parameters, **layer._buffers}
        )
        arguments[name] = value is not None if optional else value
    return arguments


def _checked(module: nn.Module, arguments: dict[str, Any], by_print: bool = True) -> dict[str, Any]:
    """Return the arguments if they build a module that prints the same and has tensors of the same names and shapes.

    Without ``by_print`` the module itself may print something else than its parts do.
    """
    try:
        with torch.device("meta"):
            again = type(module)(**arguments)
    except Exception as error:  # whatever a constructor raises: its arguments are not what the attributes say
        raise NotDescribedError(type(module).__name__) from error
    first = 0 if by_print else 1
    if _settings(again)[first:] != _settings(module)[first:] or _shapes(again) != _shapes(module):
        raise NotDescribedError(type(module).__name__)
    return arguments


def _settings(module: nn.Module) -> list[tuple[str, type, str]]:
    """Return what the parts of a module print of their settings; lists of parameters print where these are."""
    lists = (nn.ParameterList, nn.ParameterDict)
    parts = [(name, part) for name, part in module.named_modules() if not isinstance(part, lists)]
    return [(name, type(part), part.extra_repr()) for name, part in parts]


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in module.state_dict().items()}


def tensor_type(module: nn.Module) -> str | None:
    """Return the dtype of the floating tensors of a module; None if it has none.

    Raises:
        NotDescribedError: if they are of several types, one stands under several names, or shapes are not yet known.
    """
    tensors = module.state_dict(keep_vars=True)
    if any(nn.parameter.is_lazy(t) for t in tensors.values()) or len({id(t) for t in tensors.values()}) < len(tensors):
        raise NotDescribedError(type(module).__name__)
    types = {str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.is_floating_point()}
    if len(types) > 1:
        raise NotDescribedError(type(module).__name__)
    return next(iter(types), None)


def frozen_parameters(module: nn.Module) -> list[str]:
    """Return the names of the parameters that are not trained."""
    return [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
