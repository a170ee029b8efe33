"""Descriptions of things as JSON: classes by their addresses, and the arguments of their constructors."""

from __future__ import annotations

import inspect
import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_text
from ..errors import check_flags
from ..representation import Settings, settings_of
from .modules import NotDescribedError, frozen_parameters, module_arguments, tensor_type

__all__ = ["Description", "address", "describe", "warn_of_parts"]

_log = logging.getLogger(__name__)
_MAX_ENTRIES = 4096


@dataclass(frozen=True)
class Description:
    """A thing described as JSON.

    Args:
        value: numbers, text, lists and dicts. Other values are dicts of one key that says what they are, such as
            ``{"tuple": [1, 2]}``; objects are ``{"class": address, "arguments": {...}}``.
        modules: modules in the thing whose tensors are to be saved beside it, in the order of their numbers.
        own: what cannot be described, by the place in the thing: the names of classes and functions.
        parts: modules that have to be given when the thing is rebuilt, by place: the names of their classes.
    """

    value: Any
    modules: list[nn.Module] = field(default_factory=list)
    own: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)


def describe(thing: Any, name: str = "learner", *, parts: bool = False) -> Description:
    """Describe a learner, or settings of one; with ``parts`` a posterior, a network or several things in a dict.

    Settings and dataclasses are described by the arguments of their constructors, which are attributes of the same
    names; networks of ``torch.nn`` layers and the library's networks, likelihoods and estimators as well. Networks,
    functions and other objects of one's own are listed in ``own``.

    Args:
        thing: the learner, or another thing.
        name: what it is called in ``own``.
        parts: True to describe a module around parts that cannot be described, which then have to be given when it is
            rebuilt. Modules of one's own whose constructors keep all arguments, plain values, as attributes of the same
            names (or return them by a method ``constructor_arguments()``) are described as well.

    Example:
        >>> from bayeshnet.builders import MLPNetwork
        >>> found = describe(MLPNetwork((8, 8)), "network")
        >>> found.value["class"], found.value["arguments"]["hidden_layers"]
        ('bayeshnet.builders.networks.MLPNetwork', {'tuple': [8, 8]})
        >>> describe({"activation": torch.tanh}, "settings").own
        {'settings.activation': 'tanh'}
    """
    check_text("name", name)
    check_flags(parts=parts)
    describer = _Describer(parts)
    return Description(describer.value(thing, name), describer.modules, describer.own, describer.parts)


def address(cls: type) -> str | None:
    """Return module and name of a class, or None for one that another process would not find under them."""
    module = sys.modules.get(cls.__module__)
    if cls.__module__ == "__main__" or "." in cls.__qualname__ or getattr(module, cls.__qualname__, None) is not cls:
        return None
    return f"{cls.__module__}.{cls.__qualname__}"


def warn_of_parts(folder: Path, call: str, parts: Mapping[str, str]) -> None:
    """Warn that loading a folder will take parts that its files cannot describe.

    Args:
        folder: where the thing was saved.
        call: how it is loaded with these parts.
        parts: names of classes and functions by place; none if nothing has to be given.
    """
    if parts:
        listed = ", ".join(f"{place} ({name})" for place, name in parts.items())
        _log.warning("%s: loading will take %s, since files cannot describe %s", folder, call, listed)


class _Describer:
    """Describes values one inside the other, and collects the modules and what cannot be described.

    Args:
        with_parts: True if parts of modules may be missing from the description.
        saved: addresses of tensors that are saved with the module of which the values are arguments; they stand for
            their shapes. None for values that are no arguments of a module.
    """

    def __init__(self, with_parts: bool = False, saved: frozenset[int] | None = None) -> None:
        self.modules: list[nn.Module] = []
        self.own: dict[str, str] = {}
        self.parts: dict[str, str] = {}
        self._with_parts, self._saved = with_parts, saved

    def value(self, thing: Any, where: str) -> Any:
        """Describe one value, which stands at ``where``."""
        if self._saved is not None and isinstance(thing, Tensor) and id(thing) in self._saved:
            return _blank(thing)
        plain = _plain(thing)
        if plain is not NotImplemented:
            return plain
        if type(thing) in (list, tuple, torch.Size):
            entries = [self.value(entry, f"{where}[{i}]") for i, entry in enumerate(thing)]
            return entries if type(thing) is list else {"tuple": entries}
        if type(thing) is dict:
            pairs = [[self.value(k, where), self.value(v, f"{where}.{k}")] for k, v in thing.items()]
            return {"dict": pairs}
        if isinstance(thing, nn.Module):
            return self._module(thing, where) if self._saved is None else self._part(thing, where)
        if not isinstance(thing, type) and (isinstance(thing, Settings) or is_dataclass(thing)):
            return self._settings(thing, where)
        return self._own(thing, where)

    def _own(self, thing: Any, where: str, name: str | None = None) -> dict[str, str]:
        known = thing if isinstance(thing, type) or inspect.isroutine(thing) else type(thing)
        self.own[where] = str(name or known.__name__)
        return {"own": self.own[where]}

    def _settings(self, thing: Any, where: str) -> dict[str, Any]:
        """Describe an object by its settings; one of a foreign class only if these build the same again."""
        cls = type(thing)
        found, arguments = address(cls), arguments_of(thing)
        if found is None or arguments is None or (not _of_library(cls) and not _rebuilds(thing, arguments)):
            return self._own(thing, where)
        return {
            "class": found,
            "arguments": {name: self.value(v, f"{where}.{name}") for name, v in arguments.items()},
        }

    def _module(self, module: nn.Module, where: str) -> dict[str, Any]:
        """Describe a module with all in it, or say which part prevents it."""
        tensors = None
        try:
            entry = self._part(module, where)
            tensors = None if "own" in entry else tensor_type(module)
        except NotDescribedError as error:
            inside = type(module).__name__
            if not self._with_parts:
                return self._own(module, where, inside if error.name == inside else f"{error.name} in {inside}")
            self.parts = {place: name for place, name in self.parts.items() if not place.startswith(f"{where}.")}
            entry = self._missing(module, where)
        if module.state_dict():
            entry.update(tensors=len(self.modules), dtype=tensors, frozen=frozen_parameters(module))
            self.modules.append(module)
        return entry

    def _missing(self, module: nn.Module, where: str) -> dict[str, Any]:
        self.parts[where] = type(module).__name__
        return {"own": self.parts[where], "at": where}

    def _part(self, module: nn.Module, where: str) -> dict[str, Any]:
        if not self._with_parts:
            return self._described(module, where)
        try:
            return self._described(module, where)
        except NotDescribedError:
            return self._missing(module, where)

    def _described(self, module: nn.Module, where: str) -> dict[str, Any]:
        found = address(type(module))
        if found is None:
            raise NotDescribedError(type(module).__name__)
        arguments, children = module_arguments(module, foreign=self._with_parts)
        saved = frozenset(map(id, module.state_dict(keep_vars=True).values())) if self._with_parts else None
        described = {name: self._argument(v, f"{where}.{name}", saved) for name, v in arguments.items()}
        entry = {"class": found, "arguments": described}
        if children is not None:
            entry["children"] = {name: self._part(child, f"{where}.{name}") for name, child in children.items()}
        if not _of_library(type(module)) and not type(module).__module__.startswith("torch.nn."):
            entry["at"] = where
        return entry if module.training else {**entry, "training": False}

    def _argument(self, thing: Any, where: str, saved: frozenset[int] | None) -> Any:
        """Describe an argument of a module, which is described as a whole but for parts, or not at all."""
        if isinstance(thing, nn.Module):
            return self._part(thing, where)
        inner = _Describer(self._with_parts, saved)
        value = inner.value(thing, where)
        if inner.own or inner.modules:
            raise NotDescribedError(next(iter(inner.own.values()), type(thing).__name__))
        self.parts.update(inner.parts)
        return value


def _blank(tensor: Tensor) -> dict[str, Any]:
    """Describe a tensor whose values are saved elsewhere."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    return {"blank": list(tensor.shape), "dtype": dtype, "parameter": isinstance(tensor, nn.Parameter)}


def _plain(thing: Any) -> Any:
    """Describe what has no parts; ``NotImplemented`` for other things."""
    if thing is None or type(thing) in (bool, int, str):
        return thing
    if isinstance(thing, Enum):
        found = address(type(thing))
        return NotImplemented if found is None else {"enum": found, "name": thing.name}
    if isinstance(thing, float):
        return float(thing) if math.isfinite(thing) else {"float": repr(float(thing))}
    if isinstance(thing, (torch.dtype, torch.device)):
        return {type(thing).__name__: str(thing).removeprefix("torch.")}
    if type(thing) is Tensor and thing.layout is torch.strided and thing.numel() <= _MAX_ENTRIES:
        if thing.is_complex() or thing.is_meta:
            return NotImplemented
        values = thing.detach().cpu()
        if not bool(values.isfinite().all()):
            return NotImplemented
        entry = {"tensor": values.tolist(), "dtype": str(thing.dtype).removeprefix("torch.")}
        return entry if values.numel() else {**entry, "shape": list(values.shape)}
    return NotImplemented


def arguments_of(thing: Any) -> dict[str, Any] | None:
    """Return the arguments with which ``thing`` can be constructed again; None if they are not all known."""
    if is_dataclass(thing) and not isinstance(thing, type):
        return {f.name: getattr(thing, f.name) for f in fields(thing) if f.init}
    found = settings_of(thing)
    for cls in type(thing).__mro__:
        if "__init__" not in vars(cls) or _of_library(cls) or cls is object:
            continue
        for name, parameter in list(inspect.signature(vars(cls)["__init__"]).parameters.items())[1:]:
            if parameter.kind is parameter.VAR_POSITIONAL:
                return None
            if parameter.kind is not parameter.VAR_KEYWORD and name not in found:
                return None
    return found


def _of_library(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "bayeshnet"


def _rebuilds(thing: Any, arguments: Mapping[str, Any]) -> bool:
    """Return whether the arguments build an object of the same settings: attributes may hold something else."""
    try:
        with torch.random.fork_rng(devices=[]):
            again = arguments_of(type(thing)(**arguments))
    except Exception:  # of a constructor that is not the library's, whatever it raises
        return False
    return again is not None and describe(again).value == describe(dict(arguments)).value
