"""Builders of streams from arrays, from torch datasets, and from one data set split by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import check_items, check_seed
from ..errors import check_choice, check_flags, type_error, value_error
from ..tasks import KINDS, SCENARIOS, Split, TaskStream
from ..tasks.reading import is_map_style
from .by_class import check_known, class_order, tasks_by_class, with_validation
from .reading import check_common, named_data, pair, read_dataset
from .selection import as_inputs, as_labels, as_stored, as_tokens, as_values, held_out

__all__ = ["class_order", "from_arrays", "from_datasets", "split_by_class", "split_dataset"]


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
    test = None
    if x_test is not None:
        test = pair(inputs(x_test, "x_test"), as_labels(y_test, "y_test"), "x_test and y_test")
    return tasks_by_class(
        train,
        test,
        num_tasks=num_tasks,
        classes_per_task=classes_per_task,
        order=order,
        scenario=scenario,
        test_fraction=test_fraction,
        validation_fraction=validation_fraction,
        max_train=max_train,
        max_test=max_test,
        flatten=flatten,
        class_names=class_names,
        name=name,
        info=info,
        outliers=outliers,
        data_seed=data_seed,
    )


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
    inputs = as_tokens if tokens else as_inputs
    return _from_splits(
        [_readpair(arrays, inputs, kind, i) for i, arrays in enumerate(tasks)],
        kind=kind,
        scenario=scenario,
        names=names,
        test_fraction=test_fraction,
        validation_fraction=validation_fraction,
        name=name,
        info=info,
        outliers=outliers,
        data_seed=data_seed,
    )


def _from_splits(
    tasks: Sequence[Sequence[Split]],
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
) -> TaskStream:
    """Build a stream of one training split, or a training and a test split, per task."""
    if names is not None and len(names := check_items("names", names, "a list of texts", str)) != len(tasks):
        raise value_error("names", expected=f"one name for each of the {len(tasks)} tasks", got=names)
    data_seed = check_common(name, info, outliers, data_seed)
    read = [p if len(p) == 2 else [*held_out(p[0], test_fraction, data_seed, "test_fraction")] for p in tasks]
    everything = [parts[0] for parts in read]
    built = []
    for i, parts in enumerate(read):
        title = names[i] if names is not None else f"task {i + 1}"
        num_outputs, labels = parts[0].y.shape[-1], None
        if kind == "classification":
            classes = torch.unique(torch.cat([p.y for p in (everything if scenario == "domain" else parts[:1])]))
            check_known(f"tasks, labels in test of tasks[{i}]", parts[1].y, classes.tolist())
            parts = [p.with_targets(torch.searchsorted(classes, p.y)) for p in parts]
            num_outputs, labels = len(classes), tuple(classes.tolist())
        held: dict[str, Any] = {"fraction": validation_fraction, "seed": data_seed, "info": info, "kind": kind}
        built.append(with_validation(title, parts, num_outputs, labels, **held))
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


def from_datasets(
    datasets: Sequence[Any], test_datasets: Sequence[Any] | None = None, *, in_memory: bool = True, **options: Any
) -> TaskStream:
    """Build a stream of map-style ``torch.utils.data.Dataset`` objects of ``(x, y)`` pairs, one per task.

    Args:
        datasets: training sets.
        test_datasets: one test set per task; without them a fraction of each training set is held out.
        in_memory: True to read them into memory; False to leave examples where they are and read them when they are
            needed, see :class:`~bayeshnet.tasks.Split`. Inputs are then taken as they are; they may be several.
        options: options of :func:`from_arrays`.

    Example:
        >>> sets = [torch.utils.data.TensorDataset(torch.rand(8, 3), torch.arange(8) % 2 + 2 * t) for t in range(3)]
        >>> len(from_datasets(sets)), from_datasets(sets, in_memory=False)[1].train.in_memory
        (3, False)
    """
    datasets = check_items("datasets", datasets, "a list of datasets, one per task")
    if test_datasets is not None:
        test_datasets = check_items("test_datasets", test_datasets, "a list of datasets, or None")
    if test_datasets is not None and len(test_datasets) != len(datasets):
        raise value_error(
            "test_datasets", expected=f"one for each of {len(datasets)} tasks", found=f"{len(test_datasets)}"
        )
    tests = test_datasets if test_datasets is not None else [None] * len(datasets)
    check_flags(in_memory=in_memory)
    if not in_memory:
        check_choice("scenario", options.get("scenario", "class"), SCENARIOS)
        kind = check_choice("kind", options.get("kind", "classification"), KINDS)
        given = [[train] if test is None else [train, test] for train, test in zip(datasets, tests, strict=True)]
        return _from_splits([[_stored(part, "datasets", kind) for part in parts] for parts in given], **options)
    arrays = []
    for i, (train, test) in enumerate(zip(datasets, tests, strict=True)):
        rest = read_dataset(test, f"test_datasets[{i}]") if test is not None else ()
        arrays.append((*read_dataset(train, f"datasets[{i}]"), *rest))
    with named_data("datasets"):
        return from_arrays(arrays, **options)


def _stored(dataset: Any, argument: str, kind: str = "classification") -> Split:
    """Return the examples of a data set, which stay there, with labels or values as targets."""
    if not is_map_style(dataset):
        raise type_error(argument, expected="a map-style dataset (with __len__ and __getitem__)", got=dataset)
    split = Split(dataset)
    return split.with_targets((as_labels if kind == "classification" else as_values)(split.y, f"{argument}, targets"))


def split_dataset(dataset: Any, test_dataset: Any = None, *, in_memory: bool = True, **options: Any) -> TaskStream:
    """Split one map-style ``torch.utils.data.Dataset`` of ``(x, label)`` pairs into tasks of a few classes each.

    Args:
        dataset: training set.
        test_dataset: test set; without it a fraction of the training set is held out.
        in_memory: True to read it into memory; False to leave examples where they are and read them when they are
            needed, see :class:`~bayeshnet.tasks.Split`. Labels are known then, or read in one pass.
        options: options of :func:`split_by_class`.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.rand(40, 3), torch.arange(40) % 4)
        >>> [task.labels for task in split_dataset(data)]
        [(0, 1), (2, 3)]
        >>> split_dataset(data, in_memory=False)[0].train.in_memory
        False
    """
    check_flags(in_memory=in_memory)
    if not in_memory:
        check_choice("scenario", options.get("scenario", "class"), SCENARIOS)
        check_common(options.get("name", "split"), options.get("info"), options.get("outliers"))
        check_seed("data_seed", options.get("data_seed", 0))
        test_split = None if test_dataset is None else _stored(test_dataset, "test_dataset")
        return tasks_by_class(_stored(dataset, "dataset"), test_split, **options)
    test = read_dataset(test_dataset, "test_dataset") if test_dataset is not None else (None, None)
    with named_data("dataset"):
        return split_by_class(*read_dataset(dataset, "dataset"), *test, **options)
