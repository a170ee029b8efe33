"""IDX files, the format of MNIST and similar data sets."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_path
from ..errors import value_error

__all__ = ["FILES", "find_idx", "load_idx_folder", "read_folder", "read_idx"]

FILES = {
    "x": "train-images-idx3-ubyte",
    "y": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
_SUBFOLDERS = ("", "raw", "MNIST/raw", "FashionMNIST/raw")
_MAX_DIMENSIONS, _MAX_BYTES = 8, 2**36
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | Path) -> Tensor:
    """Read an IDX file, plain or compressed with gzip.

    The format: two zero bytes, a type code, the number of dimensions, then each size as a big-endian 32-bit integer,
    then the values, big-endian and row-major.

    Args:
        path: path of the file.

    Returns:
        Tensor of the sizes and type given in the file.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is truncated, damaged, or not an IDX file.
    """
    path = check_path("path", path, "the path of an IDX file")
    if not path.is_file():
        raise FileNotFoundError(f"path: expected an IDX file, found none at {str(path)!r}.")
    with path.open("rb") as raw:
        is_packed = raw.read(2) == b"\x1f\x8b"
        if path.suffix == ".gz" and not is_packed:
            raise _bad(path, "gzip data", "something else" if path.stat().st_size else "an empty file")
        raw.seek(0)
        try:
            with gzip.GzipFile(fileobj=raw) if is_packed else raw as file:
                return _read(file, path, None if is_packed else path.stat().st_size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _bad(path, "complete gzip data", f"a torn or damaged file ({error})") from error


def _read(file: Any, path: Path, size: int | None) -> Tensor:
    """Read the header, and then no more than it announces; ``size`` is that of the file, where it is known."""
    head = file.read(4)
    sizes_text = file.read(4 * head[3]) if len(head) == 4 else b""
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or len(sizes_text) < 4 * head[3]:
        expected = "an IDX header (two zero bytes, a type code, the number of dimensions, the sizes)"
        raise _bad(path, expected, "something else")
    sizes = struct.unpack(f">{head[3]}I", sizes_text)
    dtype = np.dtype(_TYPES[head[2]])
    start, wanted = 4 + len(sizes_text), math.prod(sizes) * dtype.itemsize
    if head[3] > _MAX_DIMENSIONS or wanted > _MAX_BYTES:
        raise _bad(path, f"at most {_MAX_DIMENSIONS} dimensions and {_MAX_BYTES:,} bytes", f"sizes {sizes[:8]}")
    content = _read_up_to(file, wanted + 1) if size is None or size == start + wanted else b""
    found = len(content) if size is None else size - start
    if found != wanted:
        got = f"{found:,}" if found < wanted or size is not None else "more"
        raise _bad(path, f"{wanted:,} bytes after the header, for sizes {sizes}", got)
    values = np.frombuffer(content, dtype).reshape(sizes)
    return torch.from_numpy(values.astype(dtype.newbyteorder("=")))


def _read_up_to(file: Any, count: int) -> bytes:
    """Read up to ``count`` bytes; memory is taken as they come."""
    parts = []
    while count > 0 and (part := file.read(min(count, 2**24))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _bad(path: Path, expected: str, got: str) -> ValueError:
    return value_error(f"file {str(path)!r}", expected=expected, found=got, hint="Fetch the file again.")


def find_idx(folder: str | Path | None, name: str, argument: str = "data_dir") -> Path:
    """Find an IDX file by its MNIST name, plain or ``.gz``, in ``folder`` or in torchvision's ``raw`` folder below it.

    Raises:
        ValueError: if no folder is given.
        FileNotFoundError: if the folder or the file does not exist; the message gives the names that were tried.
    """
    if folder is None:
        advice = "Give the folder that holds the four MNIST files (--data-dir DIR on the command line)."
        raise value_error(argument, expected="a folder with IDX files", got=None, hint=advice)
    folder = check_path(argument, folder, "a folder with IDX files").expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{argument}: expected a folder with IDX files, found no folder at {str(folder)!r}.")
    for subfolder in _SUBFOLDERS:
        for stem in (name, name.replace("-idx", ".idx")):
            for candidate in (folder / subfolder / stem, folder / subfolder / f"{stem}.gz"):
                if candidate.is_file():
                    return candidate
    raise FileNotFoundError(
        f"{argument}: expected the file {name!r} (or with .gz) in {str(folder)!r}, found none. "
        f"The folder must hold {', '.join(FILES.values())}."
    )


def load_idx_folder(folder: str | Path | None) -> dict[str, Tensor]:
    """Read the four files of an MNIST-like data set.

    Args:
        folder: folder of the files.

    Returns:
        ``x`` and ``x_test`` ``(N, 1, H, W)`` of bytes, ``y`` and ``y_test`` ``(N,)``.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or images and labels differ in number.
    """
    return read_folder(folder, "folder")


def read_folder(folder: str | Path | None, argument: str) -> dict[str, Tensor]:
    """Do the same for a folder that is the argument of another name."""
    paths = {key: find_idx(folder, name, argument) for key, name in FILES.items()}
    data = {key: read_idx(path) for key, path in paths.items()}
    for images, labels in (("x", "y"), ("x_test", "y_test")):
        if data[images].ndim != 3 or data[images].dtype != torch.uint8:
            raise _bad(paths[images], "images of bytes (N, height, width)", f"shape {tuple(data[images].shape)}")
        if data[labels].shape != data[images].shape[:1]:
            raise _bad(paths[labels], f"{len(data[images])} labels", f"shape {tuple(data[labels].shape)}")
        data[images] = data[images][:, None]
    return data
