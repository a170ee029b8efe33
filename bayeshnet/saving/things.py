"""Posteriors, networks and settings in folders: saved as tensors and JSON, and loaded in another process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import __version__
from ..checks import check_device, check_path
from ..errors import type_error, value_error
from ..rng import seeded
from .checkpoint import load_checkpoint
from .describing import describe, warn_of_parts
from .pairs import newest_pair, write_pair
from .rebuilding import rebuild

__all__ = ["load", "save"]

_HOLDS = "described object"
_FORMAT = 1
_STEM = "object"

Parts = nn.Module | Mapping[str, nn.Module]


def save(thing: Any, folder: str | Path) -> Path:
    """Save a posterior, a hypernetwork, a network or settings, or several of them in a dict, for :func:`load`.

    A description in JSON says of which classes and arguments the thing is made; the values of all parameters and
    buffers are beside it in safetensors. Nothing is pickled. What was saved in the folder before is replaced.

    Modules of one's own are described if their constructors keep all arguments, which are plain values, as attributes
    of the same names, or if they return them by a method ``constructor_arguments()``; other modules have to be given
    again to :func:`load`, which fills in the values; a warning of the logger ``bayeshnet`` then names them.

    Args:
        thing: a module, an estimator or other settings, or a dict or list of such things. Plain values are numbers,
            text, and finite tensors of at most 4,096 entries; larger ones belong into buffers of a module.
        folder: the folder, which is created if necessary. Other files in it are left alone.

    Returns:
        The folder.

    Raises:
        ValueError: if ``thing`` has a part that is neither a module nor describable, such as a function of one's own;
            if two modules in it share tensors; if ``folder`` is a file.
        OSError: if a file cannot be written.

    Example:
        >>> import tempfile
        >>> from bayeshnet.builders import ImplicitGenerator
        >>> from bayeshnet.weights import WeightSpec
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        >>> posterior = ImplicitGenerator().build(WeightSpec.of(net))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save({"posterior": posterior, "net": net}, folder)
        ...     again = load(folder)
        >>> again["net"]
        Sequential(
          (0): Linear(in_features=3, out_features=8, bias=True)
          (1): Tanh()
          (2): Linear(in_features=8, out_features=1, bias=True)
        )
        >>> draws = [p.rsample((2,), torch.Generator().manual_seed(0)) for p in (posterior, again["posterior"])]
        >>> torch.equal(*draws)
        True
    """
    path = check_path("folder", folder, "a folder to save in")
    found = describe(thing, _name(thing), parts=True)
    if found.own:
        listed = ", ".join(f"{place} ({name})" for place, name in found.own.items())
        expected = "modules, settings of the library and plain values"
        raise value_error("thing", expected=expected, found=f"what files cannot describe: {listed}")
    tensors = [id(t) for module in found.modules for t in set(module.state_dict(keep_vars=True).values())]
    if len(set(tensors)) < len(tensors):
        hint = "Save each module once."
        raise value_error("thing", expected="modules that share no tensors", found="some that do", hint=hint)
    record = {
        "holds": _HOLDS,
        "object_format": _FORMAT,
        "versions": {"bayeshnet": __version__, "torch": torch.__version__},
        "description": found.value,
    }
    written = write_pair(path, _STEM, nn.ModuleList(found.modules), record)
    warn_of_parts(written, "load(folder, module=...)", found.parts)
    return written


def load(
    folder: str | Path,
    *,
    module: Parts | None = None,
    allow: Sequence[str] = (),
    device: torch.device | str = "cpu",
) -> Any:
    """Load what :func:`save` wrote, or the method ``save`` of a posterior.

    Classes of the library and layers of torch are built from the description. Nothing is unpickled, and no other class
    is imported unless it is allowed.

    Args:
        folder: the folder.
        module: the part of a class of your own, built as it was before: its values are set, and it is used itself, not
            a copy. Of several such parts a dict by place; the error for a missing one names the places.
        allow: packages of your own whose classes may be imported.
        device: device of all modules.

    Returns:
        The thing, with the values that were saved.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds nothing that was saved so, a damaged file, or one of a later version; if a class is not
            allowed, or a part has to be given. The error names the file, and the files are left as they are.
        TypeError: if ``module`` is neither a module nor a dict of modules.
    """
    check_device("device", device)
    path = check_path("folder", folder, "a folder that something was saved in")
    if not path.is_dir():
        raise FileNotFoundError(f"folder: expected a folder that something was saved in, got {str(path)!r}.")
    stem, _ = newest_pair(path, _STEM)
    if stem is None:
        advice = "The state of a learner is loaded by bayeshnet.continual.load_state, that of a run by load_run."
        raise value_error("folder", expected=f"one with {_STEM}-1.json", got=str(path), hint=advice)
    value = _description(load_checkpoint(stem), stem)
    with seeded(0):
        thing, modules = rebuild(value, allow, _parts(value, module))
        load_checkpoint(stem, nn.ModuleList(modules))
    for part in modules:
        part.to(device)
    return thing


def _name(thing: Any) -> str:
    return type(thing).__name__ if isinstance(thing, nn.Module) else "thing"


def _description(record: Mapping[str, Any], stem: Path) -> Any:
    if record.get("holds") != _HOLDS or record.get("object_format") != _FORMAT:
        found = f"{record.get('holds')!r} {record.get('object_format')!r} in {stem}.json"
        advice = f"It was written by the versions {record.get('versions')}."
        raise value_error("folder", expected=f"a {_HOLDS} in format {_FORMAT}", found=found, hint=advice)
    return record.get("description")


def _parts(value: Any, module: Parts | None) -> dict[str, nn.Module]:
    """Return the given parts by their places, after comparing these with the places of the description."""
    places = dict(_places(value))
    lacking = {place: name for place, (name, needed) in places.items() if needed}
    listed = ", ".join(f"{place!r} ({name})" for place, name in lacking.items()) or "none"
    if module is None:
        given: dict[str, nn.Module] = {}
    elif isinstance(module, nn.Module):
        wanted = list(lacking or places)
        if len(wanted) != 1:
            raise value_error("module", expected=f"a dict of the parts {listed}", found="one module")
        given = {wanted[0]: module}
    elif isinstance(module, Mapping) and all(isinstance(part, nn.Module) for part in module.values()):
        given = dict(module)
    else:
        raise type_error("module", expected="a module, a dict of modules by place, or None", got=module)
    missing, unknown = sorted(set(lacking) - set(given)), sorted(set(given) - set(places))
    if missing or unknown:
        got = f"none for {missing}" if missing else f"others: {unknown}"
        advice = "Pass load(folder, module=...), of several parts a dict by place."
        raise value_error("module", expected=f"the parts that files cannot describe: {listed}", found=got, hint=advice)
    return given


def _places(value: Any) -> Iterator[tuple[str, tuple[str, bool]]]:
    """Yield the places of parts of one's own, with the names of their classes; True where they have to be given."""
    if isinstance(value, dict):
        if isinstance(value.get("at"), str):
            yield value["at"], (str(value.get("own", value.get("class"))), "own" in value)
        for entry in value.values():
            yield from _places(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _places(entry)
