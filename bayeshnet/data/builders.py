"""Builders of streams from arrays, from torch datasets, and from one data set split by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import check_items, check_seed
from ..errors import check_choice, check_flags, check_int, check_number, type_error, value_error
from ..tasks import KINDS, SCENARIOS, Split, Task, TaskStream
from .reading import check_common, named_data, names_of, pair, read_dataset
from .selection import as_inputs, as_labels, as_stored, as_tokens, as_values, groups_of, held_out, limited

__all__ = ["class_order", "from_arrays", "from_datasets", "split_by_class", "split_dataset"]


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


def split_by_class(
    x: Any,
    y: Any,
    x_test: Any = None,
    y_test: Any = None,
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
    tokens: bool = False,
) -> TaskStream:
    """Split one labeled data set into tasks of a few classes each.

    Args:
        x: inputs ``(N, ...)``: array or tensor; ``uint8`` is divided by 255.
        y: labels ``(N,)``: any integers.
        x_test: test inputs; without them a stratified fraction of the data is held out.
        y_test: test labels.
        num_tasks: number of tasks; by default all that the classes make up, which must leave none over. Classes that a
            given number leaves over belong to no task.
        classes_per_task: number of outputs of each task.
        order: the classes in the order in which they are learned (see :func:`class_order`).
        scenario: ``"class"`` and ``"task"`` keep the labels of the data set as the global ones; ``"domain"`` gives
            every task the labels ``0..classes_per_task-1``.
        test_fraction: fraction of the whole data set held out when no test set is given.
        validation_fraction: fraction of each task's training set held out for choosing settings.
        max_train: largest number of training examples per task, including validation; a stratified random choice is
            taken.
        max_test: largest number of test examples per task.
        flatten: True to turn every input into a vector.
        class_names: one name per label of the data set, in ascending order of the labels.
        name: name of the stream.
        info: attribute ``info`` of every task, such as ``{"layout": "HWC"}`` for images whose channels come last.
        outliers: inputs that belong to none of the tasks.
        data_seed: seed of all random choices above.
        tokens: True for inputs that are integers and stay so, see :func:`from_arrays`.

    Raises:
        ValueError: if the names are not one per label, or classes are left over of which no task would be made.

    Example:
        >>> stream = split_by_class(torch.rand(40, 3), torch.arange(40) % 4, name="toy")
        >>> len(stream), stream.num_outputs, stream[1].labels
        (2, 2, (2, 3))
    """
    check_choice("scenario", scenario, SCENARIOS)
    check_flags(tokens=tokens, flatten=flatten)
    data_seed = check_common(name, info, outliers, data_seed)
    inputs = as_tokens if tokens else as_stored
    train = pair(inputs(x, "x"), as_labels(y), "x and y")
    if (x_test is None) != (y_test is None):
        raise value_error("x_test and y_test", expected="both or neither", found="one of them")
    if x_test is None:
        train, test = held_out(train, test_fraction, data_seed, "test_fraction")
    else:
        test = pair(inputs(x_test, "x_test"), as_labels(y_test, "y_test"), "x_test and y_test")
    if test.x.shape[1:] != train.x.shape[1:]:
        expected = f"inputs of shape {tuple(train.x.shape[1:])} as in x"
        raise value_error("x_test", expected=expected, got=test.x)
    available = torch.unique(train.y).tolist()
    _check_known("y_test, labels in test", test.y, available)
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
        tasks.append(_with_validation(title, parts, len(classes), labels, validation_fraction, data_seed, info))
    return TaskStream(tasks, name, scenario, outliers)


def _check_known(where: str, y: Tensor, available: Sequence[int]) -> None:
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
    x = split.x[rows]
    x = x if x.dtype == torch.int64 else as_inputs(x)
    return Split(x.flatten(1) if flatten else x, hits[rows].int().argmax(1))


def _title(names: Sequence[str], index: int) -> str:
    return " / ".join(names) if len(names) <= 3 else f"task {index + 1}"


def _with_validation(
    name: str,
    parts: Sequence[Split],
    num_outputs: int,
    labels: tuple[int, ...] | None,
    fraction: float,
    seed: int,
    info: Mapping[str, Any] | None,
    kind: str = "classification",
) -> Task:
    train, test = parts
    validation = None
    if check_number("validation_fraction", fraction, 0.0, 1.0):
        train, validation = held_out(train, fraction, seed, "validation_fraction")
    return Task(name, train, test, num_outputs, kind, labels, validation, dict(info or {}))


def from_arrays(
    tasks: Sequence[Sequence[Any]],
    *,
    kind: str = "classification",
    scenario: str = "class",
    names: Sequence[str] | None = None,
    test_fraction: float = 0.25,
    validation_fraction: float = 0.0,
    name: str = "arrays",
    info: Mapping[str, Any] | None = None,
    outliers: Mapping[str, Tensor] | None = None,
    data_seed: int = 0,
    tokens: bool = False,
) -> TaskStream:
    """Build a stream of one ``(x, y)`` or ``(x, y, x_test, y_test)`` per task.

    Class labels may be any integers. Each task numbers its classes from 0 in ascending order, and the given labels
    become its global labels (``"domain"``: every task has the classes of all tasks).

    Args:
        tasks: tuples of arrays or tensors.
        kind: ``"classification"`` or ``"regression"``.
        scenario: see :class:`~bayeshnet.tasks.TaskStream`.
        names: one name per task.
        test_fraction: fraction of the examples held out in tasks without a test set.
        validation_fraction: fraction of each training set held out.
        name: name of the stream.
        info: attribute ``info`` of every task, such as ``{"layout": "HWC"}`` for images whose channels come last.
        outliers: inputs that belong to none of the tasks.
        data_seed: seed of the random choices.
        tokens: True for inputs that are integers and stay so, for networks with embeddings; else inputs become floating
            tensors. Integers have no density by which a task could be inferred.

    Example:
        >>> stream = from_arrays([(torch.rand(8, 3), [5, 7] * 4), (torch.rand(8, 3), [1, 2] * 4)])
        >>> stream[0].labels, stream[0].train.y.unique()
        ((5, 7), tensor([0, 1]))
    """
    check_choice("kind", kind, KINDS)
    check_choice("scenario", scenario, SCENARIOS)
    check_flags(tokens=tokens)
    tasks = check_items("tasks", tasks, "a list of (x, y) or (x, y, x_test, y_test), one per task")
    if names is not None and len(names := check_items("names", names, "a list of texts", str)) != len(tasks):
        raise value_error("names", expected=f"one name for each of the {len(tasks)} tasks", got=names)
    data_seed = check_common(name, info, outliers, data_seed)
    inputs = as_tokens if tokens else as_inputs
    read = [_readpair(arrays, inputs, kind, i) for i, arrays in enumerate(tasks)]
    read = [p if len(p) == 2 else [*held_out(p[0], test_fraction, data_seed, "test_fraction")] for p in read]
    everything = [parts[0] for parts in read]
    built = []
    for i, parts in enumerate(read):
        title = names[i] if names is not None else f"task {i + 1}"
        num_outputs, labels = parts[0].y.shape[-1], None
        if kind == "classification":
            classes = torch.unique(torch.cat([p.y for p in (everything if scenario == "domain" else parts[:1])]))
            _check_known(f"tasks, labels in test of tasks[{i}]", parts[1].y, classes.tolist())
            parts = [Split(p.x, torch.searchsorted(classes, p.y)) for p in parts]
            num_outputs, labels = len(classes), tuple(classes.tolist())
        built.append(_with_validation(title, parts, num_outputs, labels, validation_fraction, data_seed, info, kind))
    return TaskStream(built, name, scenario, outliers)


def _readpair(arrays: Any, inputs: Callable[[Any, str], Tensor], kind: str, index: int) -> list[Split]:
    if not isinstance(arrays, (tuple, list)) or len(arrays) not in (2, 4):
        raise type_error(f"tasks[{index}]", expected="(x, y) or (x, y, x_test, y_test)", got=arrays)
    targets = as_labels if kind == "classification" else as_values
    pairs = [
        (inputs(arrays[j], f"tasks, x of tasks[{index}]"), targets(arrays[j + 1], f"tasks, y of tasks[{index}]"))
        for j in range(0, len(arrays), 2)
    ]
    if not all(len(part) for pair in pairs for part in pair):
        raise value_error(
            f"tasks[{index}]", expected="at least one example", found="none", hint="Leave empty tasks out."
        )
    return [pair(x, y, f"tasks[{index}], x and y") for x, y in pairs]


def from_datasets(datasets: Sequence[Any], test_datasets: Sequence[Any] | None = None, **options: Any) -> TaskStream:
    """Build a stream of map-style ``torch.utils.data.Dataset`` objects of ``(x, y)`` pairs, one per task.

    Args:
        datasets: training sets, which are read into memory.
        test_datasets: one test set per task; without them a fraction of each training set is held out.
        options: options of :func:`from_arrays`.

    Example:
        >>> sets = [torch.utils.data.TensorDataset(torch.rand(8, 3), torch.arange(8) % 2 + 2 * t) for t in range(3)]
        >>> len(from_datasets(sets))
        3
    """
    datasets = check_items("datasets", datasets, "a list of datasets, one per task")
    if test_datasets is not None:
        test_datasets = check_items("test_datasets", test_datasets, "a list of datasets, or None")
    if test_datasets is not None and len(test_datasets) != len(datasets):
        raise value_error(
            "test_datasets", expected=f"one for each of {len(datasets)} tasks", found=f"{len(test_datasets)}"
        )
    tests = test_datasets if test_datasets is not None else [None] * len(datasets)
    arrays = []
    for i, (train, test) in enumerate(zip(datasets, tests, strict=True)):
        rest = read_dataset(test, f"test_datasets[{i}]") if test is not None else ()
        arrays.append((*read_dataset(train, f"datasets[{i}]"), *rest))
    with named_data("datasets"):
        return from_arrays(arrays, **options)


def split_dataset(dataset: Any, test_dataset: Any = None, **options: Any) -> TaskStream:
    """Split one map-style ``torch.utils.data.Dataset`` of ``(x, label)`` pairs into tasks of a few classes each.

    Args:
        dataset: training set, which is read into memory.
        test_dataset: test set; without it a fraction of the training set is held out.
        options: options of :func:`split_by_class`.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.rand(40, 3), torch.arange(40) % 4)
        >>> [task.labels for task in split_dataset(data)]
        [(0, 1), (2, 3)]
    """
    test = read_dataset(test_dataset, "test_dataset") if test_dataset is not None else (None, None)
    with named_data("dataset"):
        return split_by_class(*read_dataset(dataset, "dataset"), *test, **options)
