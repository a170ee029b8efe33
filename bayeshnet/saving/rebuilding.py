"""Things rebuilt from descriptions, with no other classes than those that are allowed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ..allowed import find_class
from ..errors import value_error
from ..representation import Settings
from .describing import describe

__all__ = ["differences", "rebuild"]

_DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


def rebuild(
    value: Any, allow: Sequence[str] = (), parts: Mapping[str, nn.Module] | None = None
) -> tuple[Any, list[nn.Module]]:
    """Rebuild a thing, such as a learner or a posterior, from the value of its :class:`Description`.

    All classes are looked up before the first object is built.

    Args:
        value: the description, as JSON holds it.
        allow: packages whose classes may be used besides those of the library and the layers of ``torch.nn``.
        parts: modules that take the places of what is not described, or of a class that is not allowed, by place.

    Returns:
        The thing, and the modules in it whose tensors are to be loaded, in the order of their numbers.

    Raises:
        ValueError: if a class is not allowed, or the description is not valid.

    Example:
        >>> from bayeshnet.builders import MLPNetwork
        >>> from bayeshnet.saving import describe
        >>> rebuild(describe(MLPNetwork((8,))).value)[0]
        MLPNetwork(hidden_layers=(8,), activation='relu')
    """
    classes: dict[str, type] = {}
    given = dict(parts or {})
    _find_classes(value, allow, given, classes)
    builder = _Builder(classes, given)
    thing = builder.value(value)
    numbers = sorted(builder.modules)
    if numbers != list(range(len(numbers))):
        _refuse("modules numbered from 0", f"the numbers {numbers}")
    return thing, [builder.modules[number] for number in numbers]


def differences(saved: Any, given: Any, where: str = "learner") -> list[str]:
    """Return the places at which two descriptions differ.

    An argument that ``saved`` lacks, since its class has it only since then, is no difference at its default.

    Example:
        >>> differences({"class": "A", "arguments": {"size": 1}}, {"class": "A", "arguments": {"size": 2}})
        ['learner.size']
    """
    given = _as_then(saved, given)
    if isinstance(saved, dict) and isinstance(given, dict) and saved.keys() == given.keys():
        skipped = ("arguments", "dict", "tuple", "children")
        parts = [differences(saved[k], given[k], where if k in skipped else f"{where}.{k}") for k in saved]
        return [place for part in parts for place in part]
    if isinstance(saved, list) and isinstance(given, list) and len(saved) == len(given):
        return [
            p for i, (a, b) in enumerate(zip(saved, given, strict=True)) for p in differences(a, b, f"{where}[{i}]")
        ]
    return [] if type(saved) is type(given) and saved == given else [where]


def _as_then(saved: Any, given: Any) -> Any:
    """Return the description ``given`` without arguments at their defaults that ``saved``, of the same class, lacks."""
    same = isinstance(saved, dict) and isinstance(given, dict) and saved.get("class", ...) == given.get("class")
    if not same or not isinstance(saved.get("arguments"), dict) or not isinstance(given.get("arguments"), dict):
        return given
    kept = {k: v for k, v in given["arguments"].items() if k in saved["arguments"] or not _is_default(given, k, v)}
    return {**given, "arguments": kept}


def _is_default(given: dict[str, Any], argument: str, value: Any) -> bool:
    """Return whether an argument is at its default; None often stands for settings that are built without arguments."""
    found = _class_of(given["class"])
    parameter = inspect.signature(found).parameters.get(argument)
    if parameter is None or parameter.default is parameter.empty:
        return False
    default = parameter.default
    if default is None and isinstance(value, dict) and "class" in value:
        try:
            default = _class_of(value["class"])()
        except TypeError:
            return False
    made: bool = describe(default).value == value
    return made


def _class_of(name: str) -> type:
    return find_class(name, [name.partition(".")[0]])


def _refuse(expected: str, found: str, cause: Exception | None = None) -> NoReturn:
    advice = "The files are damaged, or of a later version; they were left as they are."
    raise value_error("folder", expected=f"a description with {expected}", found=found, hint=advice) from cause


def _find_classes(value: Any, allow: Sequence[str], parts: Mapping[str, Any], classes: dict[str, type]) -> None:
    """Look up all classes of a description, but those in parts that are given."""
    if isinstance(value, list):
        for entry in value:
            _find_classes(entry, allow, parts, classes)
    elif isinstance(value, dict) and not _is_given(value, parts):
        for key in ("class", "enum"):
            name = value.get(key)
            if isinstance(name, str) and name not in classes:
                classes[name] = _suitable(name, _found(name, allow))
        for entry in value.values():
            _find_classes(entry, allow, parts, classes)


def _is_given(entry: dict[str, Any], parts: Mapping[str, Any]) -> bool:
    place = entry.get("at")
    return isinstance(place, str) and place in parts


def _found(name: str, allow: Sequence[str]) -> type:
    try:
        return find_class(name, allow)
    except ValueError as error:
        package = name.partition(".")[0]
        hint = f"{error} If you trust {package!r}, load it with allow=[{package!r}], or give the object itself."
        expected = "files of things that are made of classes that may be imported"
        raise value_error("allow", expected=expected, found=f"the class {name!r}", hint=hint) from error


def _suitable(name: str, cls: type) -> type:
    if not issubclass(cls, (Settings, nn.Module, Enum)) and not is_dataclass(cls):
        _refuse("settings, records and modules", f"the class {name}")
    return cls


class _Builder:
    """Builds values from their descriptions, and collects the modules by number."""

    def __init__(self, classes: Mapping[str, type], parts: Mapping[str, nn.Module]) -> None:
        self.classes, self.parts = classes, parts
        self.modules: dict[int, nn.Module] = {}
        self._special: dict[str, Callable[[dict[str, Any]], Any]] = {
            "tuple": lambda entry: tuple(self.value(v) for v in entry["tuple"]),
            "dict": lambda entry: {self.value(k): self.value(v) for k, v in entry["dict"]},
            "float": lambda entry: float(entry["float"]),
            "dtype": lambda entry: _dtype(entry["dtype"]),
            "device": lambda entry: torch.device(entry["device"]),
            "tensor": _tensor,
            "blank": _blank,
            "enum": lambda entry: self.classes[entry["enum"]][entry["name"]],  # type: ignore[index]
            "class": self._object,
        }

    def value(self, entry: Any) -> Any:
        """Build one value."""
        if entry is None or isinstance(entry, (bool, int, float, str)):
            return entry
        if isinstance(entry, list):
            return [self.value(v) for v in entry]
        if not isinstance(entry, dict):
            _refuse("values of JSON", type(entry).__name__)
        if _is_given(entry, self.parts):
            self._finish(self.parts[entry["at"]], {k: v for k, v in entry.items() if k != "training"})
            return self.parts[entry["at"]]
        for key in ("class", "tuple", "dict", "float", "tensor", "blank", "dtype", "device", "enum"):
            if key in entry:
                try:
                    return self._special[key](entry)
                except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, MemoryError) as error:
                    if str(error).startswith("folder: "):
                        raise
                    name = entry[key] if key in ("class", "enum") else key
                    _refuse(f"a valid {name}", f"one that fails ({error})", error)
        _refuse("entries of a known kind", f"one with the keys {sorted(entry)[:5]}")

    def _object(self, entry: dict[str, Any]) -> Any:
        cls = self.classes[entry["class"]]
        children = entry.get("children")
        if children is None:
            thing = cls(**{name: self.value(v) for name, v in entry["arguments"].items()})
        elif issubclass(cls, nn.Module):
            thing = cls()
            for name, child in children.items():
                thing.add_module(name, self.value(child))
        if isinstance(thing, nn.Module):
            self._finish(thing, entry)
        return thing

    def _finish(self, module: nn.Module, entry: dict[str, Any]) -> None:
        """Set the mode, the dtype and the frozen parameters of a module, and give it its number."""
        if entry.get("training") is False:
            module.training = False
        if "tensors" not in entry:
            return
        if entry["dtype"] is not None:
            module.to(_dtype(entry["dtype"]))
        for name, parameter in module.named_parameters():
            if name in entry["frozen"]:
                parameter.requires_grad_(False)
        self.modules[entry["tensors"]] = module


def _dtype(name: str) -> torch.dtype:
    if name not in _DTYPES:
        _refuse("a dtype of torch", repr(name))
    found: torch.dtype = getattr(torch, name)
    return found


def _tensor(entry: dict[str, Any]) -> Tensor:
    tensor = torch.tensor(entry["tensor"], dtype=_dtype(entry["dtype"]))
    return tensor.reshape(entry.get("shape", tensor.shape))


def _blank(entry: dict[str, Any]) -> Tensor:
    """Return a tensor whose values are loaded later: ones, which are sizes and scales as well."""
    tensor = torch.ones(entry["blank"], dtype=_dtype(entry["dtype"]))
    return nn.Parameter(tensor) if entry["parameter"] else tensor
