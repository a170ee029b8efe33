"""Selection of parameters of a module, and their replacement by buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from ...checks import refusing
from ...errors import type_error, value_error
from ..mnet_interface import MainNetInterface

__all__ = ["Selection", "aliases", "check_module", "owner_of", "select_names", "to_buffer"]

Selection = str | Sequence[str] | Callable[[str, nn.Parameter], bool] | None


def check_module(module: nn.Module) -> None:
    """Refuse modules that cannot be called with other parameters."""
    if not isinstance(module, nn.Module):
        raise type_error("module", expected="a torch.nn.Module", got=module)
    if isinstance(module, (MainNetInterface, torch.jit.ScriptModule)):
        advice = "It takes weights itself." if isinstance(module, MainNetInterface) else "Wrap it before scripting."
        raise type_error("module", expected="an ordinary module", found=type(module).__name__, hint=advice)
    for name, parameter in module.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise value_error(
                "module",
                expected="a module whose shapes are known",
                found=f"the lazy parameter {name!r}",
                hint="Call the module on one batch before wrapping it.",
            )
    for path, part in module.named_modules():
        for hook in part._forward_pre_hooks.values():
            if type(hook).__module__.startswith("torch.nn.utils."):
                raise value_error(
                    "module",
                    expected="parameters that no hook recomputes",
                    found=f"{type(hook).__name__} on {path or 'the module itself'!r}",
                    hint="Use torch.nn.utils.parametrizations, or remove the hook.",
                )


def aliases(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return all names of each parameter, by its first name."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {found[0]: tuple(found) for found in names.values()}


def select_names(
    select: Selection, names: dict[str, tuple[str, ...]], parameters: dict[str, nn.Parameter]
) -> list[str]:
    """Return the first names of the selected parameters, in order."""
    if select is None:
        return list(names)
    if callable(select):
        holds = refusing("select", select, "a predicate of the name and the parameter")
        chosen = [name for name, all_names in names.items() if any(holds(n, parameters[name]) for n in all_names)]
        if not chosen:
            raise value_error("select", expected="a predicate that holds for some parameter", got=select)
        return chosen
    if not isinstance(select, (str, list, tuple)):
        raise type_error("select", expected="a pattern, several patterns or a predicate", got=select)
    patterns = [select] if isinstance(select, str) else list(select)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise type_error("select", expected="a pattern, several patterns or a predicate", got=pattern)
        if not any(fnmatchcase(n, pattern) for all_names in names.values() for n in all_names):
            raise value_error("select", expected="patterns of " + ", ".join(names), got=pattern)
    if not patterns:
        raise value_error("select", expected="at least one pattern", got=select)
    return [name for name, all_names in names.items() if any(fnmatchcase(n, p) for p in patterns for n in all_names)]


def owner_of(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Return the submodule that holds the tensor ``name``, and its key there."""
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


def to_buffer(module: nn.Module, names: Sequence[str]) -> None:
    """Replace a parameter by buffers with its value, under all its names."""
    for name in names:
        owner, leaf = owner_of(module, name)
        if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)) and owner.max_norm is not None:
            raise value_error(
                "select", expected="no embeddings with max_norm, which changes weights in place", got=name
            )
        owner.register_buffer(leaf, owner._parameters.pop(leaf).detach())  # type: ignore[union-attr]
