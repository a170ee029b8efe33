"""Checkpoints: the tensors of a module in a safetensors file and a record in JSON beside it, written atomically."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .. import __version__
from ..checks import check_mapping, check_path
from ..deprecation import RenamedState
from ..errors import check_instance, type_error, value_error
from ..files import check_format, fingerprint, parse_json, read_json, write_bytes, write_text

__all__ = ["load_checkpoint", "save_checkpoint"]

_FORMAT = 2
"""Format 1 had no checksum of the record."""


def save_checkpoint(path: str | Path, module: nn.Module, record: Mapping[str, Any] | None = None) -> None:
    """Save the state of ``module`` as ``path.safetensors`` and ``record`` as ``path.json``.

    Each file is written under another name, flushed to the disk and renamed: after a crash it is either the old file or
    the new one. The record is written last and contains a fingerprint of the tensors, by which :func:`load_checkpoint`
    recognizes two files of different checkpoints, and a checksum of its own.

    Args:
        path: without a suffix; one of the two suffixes is removed.
        module: its ``state_dict`` must consist of tensors.
        record: values that JSON can represent.

    Raises:
        TypeError: if the state has values other than tensors, or the record values that JSON cannot represent.
        OSError: if a file cannot be written; the error names it.
    """
    tensors_path, record_path = _paths(path)
    values = {} if record is None else check_mapping("record", record, "a mapping, or None", keys=object)
    state = _tensors(check_instance("module", module, nn.Module, "a torch.nn.Module"))
    digest = _digest(state)
    try:
        body = {"format": _FORMAT, "bayeshnet": __version__, "tensors": digest, "record": values}
        body["checksum"] = _checksum(parse_json(json.dumps(body, allow_nan=False)))  # as it will be read
        text = json.dumps(body, indent=1)
    except (TypeError, ValueError) as error:
        raise type_error("record", expected="values that JSON can represent, without NaN", found=str(error)) from error
    write_bytes(tensors_path, save(state, {"digest": digest}))
    write_text(record_path, text)


def load_checkpoint(path: str | Path, module: nn.Module | None = None) -> dict[str, Any]:
    """Load a checkpoint into ``module`` and return its record.

    Args:
        path: as for :func:`save_checkpoint`.
        module: of the same structure as the one saved, or one that ``load_state_dict`` gives it: a guide that
            has not run yet, a hypernetwork to which fewer conditions were added. Submodules with a method
            ``resize_like(state)`` are resized to the shapes of the saved tensors. None to read the record alone.

    Raises:
        FileNotFoundError: if one of the two files is missing.
        ValueError: if a file is damaged or was written by a newer version, the two do not belong together, or the
            tensors do not fit ``module``. Files and module are left unchanged.
    """
    tensors_path, record_path = _paths(path)
    if module is not None:
        check_instance("module", module, nn.Module, "a torch.nn.Module, or None")
    for file in (tensors_path, record_path):
        if not file.is_file():
            raise FileNotFoundError(
                f"path: expected a checkpoint, got no file {str(file)!r}. Its two files belong together."
            )
    digest, record = _read_record(record_path)
    if module is not None:
        try:
            state = load_file(tensors_path)
        except (SafetensorError, ValueError, OSError) as error:
            raise _damaged(tensors_path, error) from error
        if _digest(state) != digest:
            advice = "One of the two files belongs to another checkpoint, or was changed. Use the checkpoint before it."
            raise value_error(
                "path",
                expected=f"tensors that belong to {str(record_path)!r}",
                found=repr(str(tensors_path)),
                hint=advice,
            )
        _fill(module, state, tensors_path)
    return record


def _read_record(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the fingerprint of the tensors and the record, if the file is as it was saved."""
    try:
        body = read_json(path)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(body, dict):
        raise _damaged(path, f"it holds a {type(body).__name__}")
    known = check_format(path, body.get("format"), _FORMAT)
    if (known > 1 or "checksum" in body) and body.pop("checksum", None) != _checksum(body):
        raise _damaged(path, "its checksum differs")
    digest, record = body.get("tensors"), body.get("record")
    if not isinstance(digest, str) or not isinstance(record, dict):
        raise _damaged(path, "it lacks the fingerprint of the tensors or the record")
    return digest, record


def _checksum(body: Mapping[str, Any]) -> str:
    """Return the checksum of the content of a record."""
    return fingerprint(json.dumps(body, sort_keys=True))


def _paths(path: str | Path) -> tuple[Path, Path]:
    """Return the paths of the tensors and of the record."""
    base = check_path("path", path, "the path of a checkpoint, without a suffix")
    if not base.name:
        raise value_error("path", expected="the path of a checkpoint, without a suffix", got=path)
    if base.suffix in (".safetensors", ".json"):
        base = base.with_suffix("")
    return base.with_name(base.name + ".safetensors"), base.with_name(base.name + ".json")


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the state as tensors that share no memory, on the CPU."""
    state = {}
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            advice = "Keep other values in the record."
            raise type_error(f"state_dict entry {name!r}", expected="a tensor", got=value, hint=advice)
        state[name] = value.detach().cpu().contiguous().clone()
    return state


def _digest(state: Mapping[str, Tensor]) -> str:
    """Return a short fingerprint of names, shapes and contents."""
    import hashlib

    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        value = state[name].contiguous()
        digest.update(f"{name}:{tuple(value.shape)}:{value.dtype};".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()


def _fill(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Load ``state`` into ``module`` if names and shapes fit; parts with ``resize_like`` are resized first."""
    for name, part in module.named_modules():
        if isinstance(part, RenamedState):
            part.rename_state(state, f"{name}." if name else "")
    problems = _misfits(module, state)
    if problems and not _takes(module, state):
        got = "; ".join(f"{key}: {', '.join(names[:5])}" for key, names in problems.items())
        advice = f"{str(path)!r} was saved from a module of another structure."
        raise value_error("module", expected="the structure of the module that was saved", found=got, hint=advice)
    _load(module, state)


def _load(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load ``state``, after the parts with ``resize_like`` have been resized."""
    for start, part in _resizable(module).items():
        part.resize_like({key.removeprefix(start): v for key, v in state.items() if key.startswith(start)})
    module.load_state_dict(dict(state))


def _resizable(module: nn.Module) -> dict[str, Any]:
    """Return the parts with ``resize_like`` by the beginnings of the names of their tensors."""
    return {f"{name}." if name else "": part for name, part in module.named_modules() if hasattr(part, "resize_like")}


def _misfits(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return the names that are missing, unknown, or of another shape in a part that is not resized."""
    own, free = module.state_dict(), tuple(_resizable(module))
    wrong = [
        name
        for name, value in own.items()
        if name in state and not name.startswith(free) and (is_lazy(value) or value.shape != state[name].shape)
    ]
    missing, unknown = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    parts = {"missing": missing, "unknown": unknown, "of another shape": wrong}
    return {key: names for key, names in parts.items() if names}


def _takes(module: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Return whether ``load_state_dict`` makes the module fit, which it is asked of a copy.

    Guides that are built by their first run, conditions that were added and lazy layers are made by the state.
    """
    try:
        _load(copy.deepcopy(module), state)
    except Exception:  # of a module that cannot be copied, or whatever its own loading raises
        return False
    return True


def _damaged(path: Path, error: Exception | str) -> ValueError:
    advice = "The file was left as it is; use the checkpoint before it, or remove it and run again."
    return value_error(
        "path",
        expected="an undamaged checkpoint",
        found=f"{str(path)!r}, which cannot be read ({' '.join(str(error).split()).rstrip('.')})",
        hint=advice,
    )
