"""The 8x8 handwritten digits of scikit-learn: a small real data set that is installed with scikit-learn."""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checks import check_seed
from ..errors import MissingExtraError, value_error
from ..tasks import TaskStream
from .builders import split_by_class
from .outliers import image_outliers
from .reading import check_options
from .transforms import check_degrees, permuted, rotated

__all__ = ["load_digits", "permuted_digits", "rotated_digits", "split_digits"]

IMAGE_SHAPE = (1, 8, 8)


def load_digits() -> tuple[Tensor, Tensor]:
    """Return the 1,797 images ``(N, 1, 8, 8)`` in [0, 1] and their labels ``(N,)``.

    Raises:
        MissingExtraError: if scikit-learn is not installed.
    """
    table = _table()
    images = torch.as_tensor(table[:, :-1], dtype=torch.float32).reshape(-1, *IMAGE_SHAPE) / 16
    return images, torch.as_tensor(table[:, -1], dtype=torch.int64)


def _table() -> np.ndarray:
    """Return 64 pixels and a label per row.

    The file is read directly if possible, since importing scikit-learn takes a second.
    """
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return _read_table(file)
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "app", "The digits data set") from error
    data = load()
    return np.column_stack([data.data, data.target])


def _read_table(file: Path) -> np.ndarray:
    expected = "the table of digits as scikit-learn installs it"
    try:
        with gzip.open(file, "rt") as lines:
            table = np.array([line.split(",") for line in lines], dtype=float)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        advice = "Install scikit-learn again."
        found = " ".join(str(error).split())
        raise value_error(f"file {str(file)!r}", expected=expected, found=found, hint=advice) from error
    if table.ndim != 2 or table.shape[1] != 65 or not ((table >= 0) & (table <= 16)).all():
        raise value_error(f"file {str(file)!r}", expected=expected, found=f"a table of shape {table.shape}")
    return table


def split_digits(
    num_tasks: int = 5,
    classes_per_task: int = 2,
    *,
    order: Sequence[int] | str | None = None,
    scenario: str = "class",
    test_fraction: float = 0.25,
    validation_fraction: float = 0.0,
    max_train: int | None = None,
    max_test: int | None = None,
    flatten: bool = True,
    data_seed: int = 0,
) -> TaskStream:
    """Split scikit-learn's digits into tasks of a few classes; by default five tasks of two, 450 test images in total.

    Inputs are in [0, 1], of shape ``(64,)``, or ``(1, 8, 8)`` with ``flatten=False``. OOD inputs: ``noise``,
    ``inverted`` and ``shuffled``. Arguments are those of :func:`~bayeshnet.data.split_by_class`.

    References:
        Cascading Classifiers (Alpaydin, Kaynak; 1998), for the data.

    Example:
        >>> stream = split_digits()
        >>> len(stream), stream.input_shape, sum(len(task.test) for task in stream)
        (5, (64,), 450)
    """
    check_options(
        scenario=scenario,
        num_tasks=num_tasks,
        classes_per_task=classes_per_task,
        order=order,
        fractions={"test_fraction": test_fraction, "validation_fraction": validation_fraction},
        limits={"max_train": max_train, "max_test": max_test},
        flatten=flatten,
    )
    data_seed = check_seed("data_seed", data_seed)
    x, y = load_digits()
    ood = image_outliers(x.flatten(1) if flatten else x, 450, data_seed)
    return split_by_class(
        x,
        y,
        num_tasks=num_tasks,
        classes_per_task=classes_per_task,
        order=order,
        scenario=scenario,
        test_fraction=test_fraction,
        validation_fraction=validation_fraction,
        max_train=max_train,
        max_test=max_test,
        flatten=flatten,
        name="split-digits",
        info={"image_shape": IMAGE_SHAPE, "layout": "CHW"},
        outliers=ood,
        data_seed=data_seed,
    )


def permuted_digits(
    num_tasks: int = 5,
    *,
    scenario: str = "domain",
    test_fraction: float = 0.25,
    validation_fraction: float = 0.0,
    max_train: int | None = None,
    max_test: int | None = None,
    keep_first: bool = True,
    order: Sequence[int] | None = None,
    data_seed: int = 0,
) -> TaskStream:
    """Build tasks of all ten digits, each with its own fixed permutation of the 64 pixels.

    Arguments are those of :func:`~bayeshnet.data.permuted`, including ``order``, and of
    :func:`~bayeshnet.data.split_by_class`.

    Example:
        >>> stream = permuted_digits(3)
        >>> len(stream), stream.num_outputs, stream.scenario
        (3, 10, 'domain')
    """
    check_options(scenario=scenario, num_tasks=num_tasks, order=order, keep_first=keep_first)
    base = split_digits(
        1,
        10,
        test_fraction=test_fraction,
        validation_fraction=validation_fraction,
        max_train=max_train,
        max_test=max_test,
        data_seed=data_seed,
    )
    return permuted(
        base[0],
        num_tasks,
        scenario=scenario,
        keep_first=keep_first,
        order=order,
        name="permuted-digits",
        outliers=base.outliers,
        data_seed=data_seed,
    )


def rotated_digits(
    angles: Sequence[float] = (0, 45, 90, 135),
    *,
    scenario: str = "domain",
    test_fraction: float = 0.25,
    validation_fraction: float = 0.0,
    max_train: int | None = None,
    max_test: int | None = None,
    data_seed: int = 0,
) -> TaskStream:
    """Build tasks of all ten digits, each with its images rotated by one of the angles, in degrees.

    Arguments are those of :func:`~bayeshnet.data.split_by_class` and :func:`~bayeshnet.data.rotated`; the order of the
    tasks is that of the angles.

    Example:
        >>> [task.name for task in rotated_digits((0, 90))]
        ['0 degrees', '90 degrees']
    """
    check_options(scenario=scenario)
    degrees = check_degrees(angles)
    base = split_digits(
        1,
        10,
        test_fraction=test_fraction,
        validation_fraction=validation_fraction,
        max_train=max_train,
        max_test=max_test,
        data_seed=data_seed,
    )
    return rotated(base[0], degrees, scenario=scenario, name="rotated-digits", outliers=base.outliers)
