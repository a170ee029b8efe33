"""Tasks of a few classes each, made of labeled examples in memory or in a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import check_items, check_seed
from ..errors import check_choice, check_int, check_number, value_error
from ..tasks import Split, Task, TaskStream
from .reading import names_of
from .selection import as_inputs, groups_of, held_out, limited

__all__ = ["check_known", "class_order", "tasks_by_class", "with_validation"]


def class_order(available: Sequence[int], order: Sequence[int] | str | None, seed: int = 0) -> list[int]:
    """Return the classes in the order in which they are learned.

    Args:
        available: labels of the data set.
        order: ``None`` (ascending), ``"random"`` (shuffled by ``seed``) or some or all of the labels, each once.
        seed: seed of the shuffle.

    Example:
        >>> class_order(range(4), [3, 1])
        [3, 1]
    """
    available = [check_int("available", label) for label in check_items("available", available, "a list of labels")]
    if order is None:
        return sorted(available)
    if isinstance(order, str):
        check_choice("order", order, ("random",), "Or give the labels in the order wanted.")
        shuffle = torch.randperm(len(available), generator=torch.Generator().manual_seed(check_seed("seed", seed)))
        return [sorted(available)[i] for i in shuffle.tolist()]
    chosen = [check_int("order", label) for label in check_items("order", order, "a list of labels, or 'random'")]
    if len(set(chosen)) != len(chosen) or not set(chosen) <= set(available):
        raise value_error("order", expected=f"distinct labels among {sorted(available)}", got=order)
    return chosen


def tasks_by_class(
    train: Split,
    test: Split | None = None,
    *,
    num_tasks: int | None = None,
    classes_per_task: int = 2,
    order: Sequence[int] | str | None = None,
    scenario: str = "class",
    test_fraction: float = 0.25,
    validation_fraction: float = 0.0,
    max_train: int | None = None,
    max_test: int | None = None,
    flatten: bool = False,
    class_names: Sequence[str] | None = None,
    name: str = "split",
    info: Mapping[str, Any] | None = None,
    outliers: Mapping[str, Tensor] | None = None,
    data_seed: int = 0,
) -> TaskStream:
    """Split labeled examples, in memory or in a data set, into tasks of a few classes each.

    Args:
        train: training examples, whose targets are the labels of the whole data set.
        test: test examples; without them some are held out.
        num_tasks: see :func:`~bayeshnet.data.split_by_class`, as for all that follow.
        classes_per_task: number of outputs of each task.
        order: the classes in the order in which they are learned.
        scenario: of the stream.
        test_fraction: fraction held out when no test set is given.
        validation_fraction: fraction of each task's training set held out.
        max_train: largest number of training examples per task.
        max_test: largest number of test examples per task.
        flatten: True to turn every input into a vector.
        class_names: one name per label.
        name: name of the stream.
        info: attribute ``info`` of every task.
        outliers: inputs that belong to none of the tasks.
        data_seed: seed of all random choices.
    """
    if test is None:
        train, test = held_out(train, test_fraction, data_seed, "test_fraction")
    if test.input_shape != train.input_shape:
        raise value_error("x_test", expected=f"inputs of shape {train.input_shape} as in x", got=test.x)
    available = torch.unique(train.y).tolist()
    check_known("y_test, labels in test", test.y, available)
    names = dict(zip(available, names_of(class_names, available), strict=True))
    tasks: list[Task] = []
    parts_of = ((train, "train", max_train, "max_train"), (test, "test", max_test, "max_test"))
    for classes in groups_of(class_order(available, order, data_seed), num_tasks, classes_per_task):
        parts = [
            limited(_of_classes(split, classes, flatten, where), most, data_seed, argument)
            for split, where, most, argument in parts_of
        ]
        labels = None if scenario == "domain" else tuple(classes)
        title = _title([names[c] for c in classes], len(tasks))
        tasks.append(
            with_validation(title, parts, len(classes), labels, fraction=validation_fraction, seed=data_seed, info=info)
        )
    return TaskStream(tasks, name, scenario, outliers)


def check_known(where: str, y: Tensor, available: Sequence[int]) -> None:
    """Refuse labels that do not occur in training."""
    unknown = sorted(set(torch.unique(y).tolist()) - set(available))
    if unknown:
        expected = f"labels that occur in training ({', '.join(map(str, available))})"
        raise value_error(where, expected=expected, found=", ".join(map(str, unknown)))


def _of_classes(split: Split, classes: Sequence[int], flatten: bool, where: str) -> Split:
    wanted = torch.tensor(classes, device=split.y.device)
    hits = split.y[:, None] == wanted
    for label, present in zip(classes, hits.any(0).tolist(), strict=True):
        if not present:
            raise value_error(f"y, labels in {where}", expected=f"examples of class {label}", found="none")
    rows = hits.any(1).nonzero()[:, 0]
    chosen, y = split.select(rows), hits[rows].int().argmax(1)
    if not split.in_memory:
        if flatten:
            advice = "Flatten them in the data set, or read it into memory."
            raise value_error("flatten", expected="False for inputs that stay in a data set", got=True, hint=advice)
        return chosen.with_targets(y)
    x = chosen.x if chosen.x.dtype == torch.int64 else as_inputs(chosen.x)
    return Split(x.flatten(1) if flatten else x, y)


def _title(names: Sequence[str], index: int) -> str:
    return " / ".join(names) if len(names) <= 3 else f"task {index + 1}"


def with_validation(
    name: str,
    parts: Sequence[Split],
    num_outputs: int,
    labels: tuple[int, ...] | None,
    *,
    fraction: float,
    seed: int,
    info: Mapping[str, Any] | None,
    kind: str = "classification",
) -> Task:
    """Return a task of training and test examples, with a fraction of the former as validation examples."""
    train, test = parts
    validation = None
    if check_number("validation_fraction", fraction, 0.0, 1.0):
        train, validation = held_out(train, fraction, seed, "validation_fraction")
    return Task(name, train, test, num_outputs, kind, labels, validation, dict(info or {}))
