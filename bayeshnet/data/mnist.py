"""Split and permuted MNIST and Fashion-MNIST, read from IDX files on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checks import check_seed
from ..errors import MissingExtraError
from ..tasks import TaskStream
from .builders import split_by_class
from .digits import IMAGE_SHAPE as DIGIT_SHAPE
from .digits import load_digits
from .idx import read_folder
from .outliers import image_outliers, resized
from .reading import check_options
from .transforms import permuted

__all__ = ["FASHION_CLASSES", "permuted_fashion_mnist", "permuted_mnist", "split_fashion_mnist", "split_mnist"]

FASHION_CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "boot",
)


def split_fashion_mnist(
    data_dir: str | Path | None = None,
    num_tasks: int = 5,
    classes_per_task: int = 2,
    *,
    order: Sequence[int] | str | None = None,
    scenario: str = "class",
    validation_fraction: float = 0.0,
    max_train: int | None = None,
    max_test: int | None = None,
    flatten: bool = True,
    data_seed: int = 0,
) -> TaskStream:
    """Split Fashion-MNIST into tasks of a few classes each.

    By default five tasks of two classes, each with 12,000 training and 2,000 test images. Inputs are in [0, 1], of
    shape ``(784,)``, or ``(1, 28, 28)`` with ``flatten=False``. OOD inputs: ``noise``, ``inverted``, ``shuffled``
    and, if scikit-learn is installed, its ``digits``, enlarged. Other arguments are those of
    :func:`~bayeshnet.data.split_by_class`.

    Args:
        data_dir: folder with the four IDX files under MNIST's names, with or without ``.gz``. Debian's package
            ``dataset-fashion-mnist`` installs them in ``/usr/share/datasets/fashion-mnist``.

    References:
        Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms (Xiao, Rasul, Vollgraf; 2017).
    """
    return _split(
        data_dir,
        "split-fashion-mnist",
        ood_digits=True,
        num_tasks=num_tasks,
        classes_per_task=classes_per_task,
        order=order,
        scenario=scenario,
        validation_fraction=validation_fraction,
        max_train=max_train,
        max_test=max_test,
        flatten=flatten,
        data_seed=data_seed,
        class_names=FASHION_CLASSES,
    )


def split_mnist(
    data_dir: str | Path | None = None,
    num_tasks: int = 5,
    classes_per_task: int = 2,
    *,
    order: Sequence[int] | str | None = None,
    scenario: str = "class",
    validation_fraction: float = 0.0,
    max_train: int | None = None,
    max_test: int | None = None,
    flatten: bool = True,
    data_seed: int = 0,
) -> TaskStream:
    """Split MNIST into tasks of a few digits each; arguments as in :func:`split_fashion_mnist`.

    References:
        Gradient-Based Learning Applied to Document Recognition (LeCun, Bottou, Bengio, Haffner; 1998).
    """
    return _split(
        data_dir,
        "split-mnist",
        ood_digits=False,
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


def permuted_fashion_mnist(
    data_dir: str | Path | None = None,
    num_tasks: int = 10,
    *,
    scenario: str = "domain",
    validation_fraction: float = 0.0,
    max_train: int | None = 10_000,
    max_test: int | None = None,
    keep_first: bool = True,
    order: Sequence[int] | None = None,
    data_seed: int = 0,
) -> TaskStream:
    """Build tasks of all ten classes of Fashion-MNIST, each with its own fixed permutation of the 784 pixels.

    Args:
        data_dir: see :func:`split_fashion_mnist`.
        num_tasks: number of permutations.
        scenario: see :func:`~bayeshnet.data.permuted`.
        validation_fraction: fraction of the training images held out.
        max_train: number of training images per task, the same ones in each. All 60,000 (``None``) take 190 MB per
            task.
        max_test: number of test images per task.
        keep_first: True to leave the first task unchanged.
        order: see :func:`~bayeshnet.data.permuted`.
        data_seed: seed of permutations and random choices.
    """
    check_options(scenario=scenario, num_tasks=num_tasks, order=order, keep_first=keep_first)
    base = split_fashion_mnist(
        data_dir,
        1,
        10,
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
        name="permuted-fashion-mnist",
        outliers=base.outliers,
        data_seed=data_seed,
    )


def permuted_mnist(
    data_dir: str | Path | None = None,
    num_tasks: int = 10,
    *,
    scenario: str = "domain",
    validation_fraction: float = 0.0,
    max_train: int | None = 10_000,
    max_test: int | None = None,
    keep_first: bool = True,
    order: Sequence[int] | None = None,
    data_seed: int = 0,
) -> TaskStream:
    """Build tasks of all ten digits of MNIST with permuted pixels; arguments as in :func:`permuted_fashion_mnist`."""
    check_options(scenario=scenario, num_tasks=num_tasks, order=order, keep_first=keep_first)
    base = split_mnist(
        data_dir,
        1,
        10,
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
        name="permuted-mnist",
        outliers=base.outliers,
        data_seed=data_seed,
    )


def _split(
    data_dir: str | Path | None, name: str, *, ood_digits: bool, flatten: bool, data_seed: int, **options: Any
) -> TaskStream:
    limits = {name: options[name] for name in ("max_train", "max_test")}
    known = {name: options[name] for name in ("scenario", "num_tasks", "classes_per_task", "order")}
    fractions = {"validation_fraction": options["validation_fraction"]}
    check_options(**known, fractions=fractions, limits=limits, flatten=flatten)
    data_seed = check_seed("data_seed", data_seed)
    data = read_folder(data_dir, "data_dir")
    shape = tuple(data["x"].shape[1:])
    ood = image_outliers(data["x_test"][:1000].float() / 255, 1000, data_seed)
    if ood_digits:
        ood.update(_digits(shape))
    if flatten:
        ood = {key: x.flatten(1) for key, x in ood.items()}
    return split_by_class(
        data["x"],
        data["y"],
        data["x_test"],
        data["y_test"],
        flatten=flatten,
        name=name,
        outliers=ood,
        data_seed=data_seed,
        info={"image_shape": shape, "layout": "CHW"},
        **options,
    )


def _digits(shape: tuple[int, ...]) -> dict[str, Tensor]:
    try:
        images, _ = load_digits()
    except MissingExtraError:
        return {}
    inner = resized(images[:1000], DIGIT_SHAPE, (shape[1] - 4, shape[2] - 4))
    return {"digits": torch.nn.functional.pad(inner, (2, 2, 2, 2))}
