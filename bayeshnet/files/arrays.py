"""Arrays that are larger than memory: written part by part to .npy files, which appear under their names when whole."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import TEMPORARY

__all__ = ["read_arrays", "writing_arrays"]


@contextmanager
def writing_arrays(
    folder: str | Path, shapes: Mapping[str, tuple[int, ...]], dtype: Any
) -> Iterator[dict[str, np.memmap]]:
    """Yield empty arrays by name, which are mapped into memory, for the ``with`` block to fill.

    At its end the files ``NAME.npy`` of the folder are replaced; if the block fails they stay as they were, and no
    temporary file remains.

    Args:
        folder: created if necessary.
        shapes: by name.
        dtype: of all of them, for NumPy.

    Raises:
        OSError: if the files cannot be written; the error names the folder.
    """
    folder = Path(folder)
    temporary = {name: folder / f"{TEMPORARY}{secrets.token_hex(8)}" for name in shapes}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = np.lib.format.open_memmap
        yield (arrays := {name: made(temporary[name], "w+", dtype, shapes[name]) for name in shapes})
        for array in arrays.values():
            array.flush()
        for name, path in temporary.items():
            path.replace(folder / f"{name}.npy")
    except OSError as error:
        raise OSError(error.errno or 0, error.strerror or str(error), str(folder)) from error
    finally:
        for path in temporary.values():
            with suppress(OSError):
                path.unlink()


def read_arrays(folder: str | Path, names: tuple[str, ...]) -> dict[str, np.memmap]:
    """Map the arrays ``NAME.npy`` of a folder into memory, for reading; no pickle is read."""
    return {name: np.lib.format.open_memmap(Path(folder) / f"{name}.npy", "r") for name in names}
