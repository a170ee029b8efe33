"""Split CIFAR-10 and CIFAR-100, read from the files that torchvision downloads; torchvision itself is not needed."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_path, check_seed
from ..errors import check_choice, check_int, value_error
from ..tasks import TaskStream
from .builders import split_by_class
from .outliers import image_outliers
from .reading import check_options

__all__ = ["load_cifar", "split_cifar10", "split_cifar100"]

_LAYOUT = {
    10: ("cifar-10-batches-py", [f"data_batch_{i}" for i in range(1, 6)], ["test_batch"], "labels"),
    100: ("cifar-100-python", ["train"], ["test"], "fine_labels"),
}
_MAX_BYTES = 2**30
CIFAR10_CLASSES = ("airplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that accepts arrays and built-in containers only, so that no file can run code."""

    _ACCEPTED = frozenset({"_reconstruct", "ndarray", "dtype", "_frombuffer", "scalar"})

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in self._ACCEPTED:
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is not an array")


def _read_batch(path: Path, label_key: str) -> tuple[Tensor, Tensor]:
    if not path.is_file():
        advice = "The folder must hold what torchvision's CIFAR10 or CIFAR100 unpacks."
        where = f"the file {path.name!r} in {str(path.parent)!r}"
        raise FileNotFoundError(f"data_dir: expected {where}, found none. {advice}")
    if path.stat().st_size > _MAX_BYTES:
        found = f"{path.stat().st_size:,} bytes"
        raise value_error(f"file {str(path)!r}", expected=f"at most {_MAX_BYTES:,} bytes", found=found)
    try:
        content = _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        images = _integers("data", content["data"], 255).astype(np.uint8)
        labels = _integers(label_key, content[label_key], 99).astype(np.int64)
        return torch.from_numpy(images.reshape(-1, 3, 32, 32).copy()), torch.from_numpy(labels)
    except Exception as error:  # a damaged pickle may raise anything
        expected = f"a pickled CIFAR batch with 'data' and {label_key!r}"
        got = f"a torn or damaged file ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        raise value_error(f"file {str(path)!r}", expected=expected, found=got, hint="Fetch the file again.") from error


def _integers(name: str, values: Any, most: int) -> np.ndarray:
    """Return an array of integers, if they are between 0 and ``most``."""
    found = np.asarray(values)
    if found.dtype.kind not in "iu":
        raise ValueError(f"{name!r} holds {found.dtype}, no integers")
    if found.size and (found.min() < 0 or found.max() > most):
        raise ValueError(f"{name!r} holds values from {found.min()} to {found.max()}, not from 0 to {most}")
    return found


def load_cifar(data_dir: str | Path | None, classes: int = 10) -> dict[str, Tensor]:
    """Read CIFAR-10 or CIFAR-100 from the files in torchvision's layout.

    Args:
        data_dir: the folder given to torchvision as ``root``, or the unpacked folder itself.
        classes: 10 or 100.

    Returns:
        ``x`` and ``x_test`` ``(N, 3, 32, 32)`` of bytes, ``y`` and ``y_test`` ``(N,)``.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged.
    """
    if data_dir is None:
        advice = "Give the folder in which torchvision keeps CIFAR (--data-dir DIR on the command line)."
        raise value_error("data_dir", expected="a folder with the CIFAR batches", got=None, hint=advice)
    name, train, test, key = _LAYOUT[check_choice("classes", check_int("classes", classes), _LAYOUT)]
    folder = check_path("data_dir", data_dir, "a folder with the CIFAR batches").expanduser()
    folder = folder / name if (folder / name).is_dir() else folder
    data = {}
    for suffix, files in (("", train), ("_test", test)):
        batches = [_read_batch(folder / file, key) for file in files]
        data["x" + suffix] = torch.cat([x for x, _ in batches])
        data["y" + suffix] = torch.cat([y for _, y in batches])
    return data


def split_cifar10(
    data_dir: str | Path | None = None,
    num_tasks: int = 5,
    classes_per_task: int = 2,
    *,
    order: Sequence[int] | str | None = None,
    scenario: str = "class",
    validation_fraction: float = 0.0,
    max_train: int | None = None,
    max_test: int | None = None,
    flatten: bool = False,
    data_seed: int = 0,
) -> TaskStream:
    """Split CIFAR-10 into tasks of a few classes each.

    Inputs are in [0, 1], of shape ``(3, 32, 32)``, or ``(3072,)`` with ``flatten=True``. Arguments are those of
    :func:`load_cifar` and :func:`~bayeshnet.data.split_by_class`.

    References:
        Learning Multiple Layers of Features from Tiny Images (Krizhevsky; 2009).
    """
    return _split(
        data_dir,
        10,
        num_tasks=num_tasks,
        classes_per_task=classes_per_task,
        order=order,
        scenario=scenario,
        validation_fraction=validation_fraction,
        max_train=max_train,
        max_test=max_test,
        flatten=flatten,
        data_seed=data_seed,
        class_names=CIFAR10_CLASSES,
    )


def split_cifar100(
    data_dir: str | Path | None = None,
    num_tasks: int = 10,
    classes_per_task: int = 10,
    *,
    order: Sequence[int] | str | None = None,
    scenario: str = "class",
    validation_fraction: float = 0.0,
    max_train: int | None = None,
    max_test: int | None = None,
    flatten: bool = False,
    data_seed: int = 0,
) -> TaskStream:
    """Split CIFAR-100 (fine labels) into tasks of a few classes each; arguments as in :func:`split_cifar10`."""
    return _split(
        data_dir,
        100,
        num_tasks=num_tasks,
        classes_per_task=classes_per_task,
        order=order,
        scenario=scenario,
        validation_fraction=validation_fraction,
        max_train=max_train,
        max_test=max_test,
        flatten=flatten,
        data_seed=data_seed,
    )


def _split(data_dir: str | Path | None, classes: int, *, flatten: bool, data_seed: int, **options: Any) -> TaskStream:
    limits = {name: options[name] for name in ("max_train", "max_test")}
    known = {name: options[name] for name in ("scenario", "num_tasks", "classes_per_task", "order")}
    fractions = {"validation_fraction": options["validation_fraction"]}
    check_options(**known, fractions=fractions, limits=limits, flatten=flatten)
    data_seed = check_seed("data_seed", data_seed)
    data = load_cifar(data_dir, classes)
    ood = image_outliers(data["x_test"][:1000].float() / 255, 1000, data_seed)
    if flatten:
        ood = {key: x.flatten(1) for key, x in ood.items()}
    return split_by_class(
        data["x"],
        data["y"],
        data["x_test"],
        data["y_test"],
        flatten=flatten,
        name=f"split-cifar{classes}",
        outliers=ood,
        info={"image_shape": (3, 32, 32), "layout": "CHW"},
        data_seed=data_seed,
        **options,
    )
