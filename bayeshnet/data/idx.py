"""IDX files, the format of MNIST and similar data sets."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

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
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or len(content) < 4 + 4 * content[3]:
        expected = "an IDX header (two zero bytes, a type code, the number of dimensions, the sizes)"
        raise _bad(path, expected, "something else")
    sizes = struct.unpack_from(f">{content[3]}I", content, 4)
    dtype = np.dtype(_TYPES[content[2]])
    start, wanted = 4 + 4 * len(sizes), math.prod(sizes) * dtype.itemsize
    if len(content) - start != wanted:
        raise _bad(path, f"{wanted:,} bytes after the header, for sizes {sizes}", f"{len(content) - start:,}")
    values = np.frombuffer(content, dtype, offset=start).reshape(sizes)
    return torch.from_numpy(values.astype(dtype.newbyteorder("=")))


def _content(path: Path) -> bytes:
    raw = path.read_bytes()
    if raw[:2] != b"\x1f\x8b":
        if path.suffix == ".gz":
            raise _bad(path, "gzip data", "something else" if raw else "an empty file")
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _bad(path, "complete gzip data", f"a torn or damaged file ({error})") from error


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
