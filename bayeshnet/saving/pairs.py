"""Pairs of files in a folder, of which the newest counts: a new one is complete before the one before it is removed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import value_error
from .checkpoint import save_checkpoint

__all__ = ["newest_pair", "write_pair"]


def newest_pair(folder: Path, stem: str) -> tuple[Path | None, int]:
    """Return the pair ``STEM-NUMBER`` that was completed last, without suffix, and its number; None and 0 without one.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = write_pair(Path(folder), "state", nn.Linear(1, 1), {})
        ...     newest_pair(Path(folder), "state")[1]
        1
    """
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    found = (re.fullmatch(rf"{re.escape(stem)}-(\d{{1,9}})\.json", name) for name in names)
    number = max((int(match.group(1)) for match in found if match), default=0)
    return (folder / f"{stem}-{number}", number) if number else (None, 0)


def write_pair(folder: str | Path, stem: str, module: nn.Module, record: Mapping[str, Any]) -> Path:
    """Write the tensors of a module and a record as the pair of files with the next number.

    The record is written last, so that a save which is interrupted leaves the pair before it as it was; that is removed
    when the new one is complete. Other files of the folder are left alone.

    Args:
        folder: the folder, which is created if necessary.
        stem: beginning of the names of the files.
        module: whose tensors are saved.
        record: values that JSON can represent.

    Returns:
        The folder.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise value_error("folder", expected="a folder, or a path where there is nothing yet", got=str(folder))
    old, number = newest_pair(folder, stem)
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder / f"{stem}-{number + 1}", module, record)
    if old is not None:
        for suffix in (".json", ".safetensors"):
            old.with_name(old.name + suffix).unlink(missing_ok=True)
    return folder
