"""Streams of Avalanche benchmarks, read through their documented attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...checks import check_items, check_text
from ...errors import check_choice, type_error, value_error
from ...tasks import SCENARIOS, Split, Task, TaskStream
from ..by_class import check_known
from ..selection import as_labels
from .rows import as_tensor

__all__ = ["from_avalanche"]


@final
class _Pairs(Dataset[tuple[Any, Any]]):
    """Inputs and labels of a data set whose examples are followed by a task label."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        x, y, *_ = self.dataset[number]
        return as_tensor(x), y

    @property
    def targets(self) -> Any:
        """Labels that the data set knows, as numbers; None if it knows none."""
        known = getattr(self.dataset, "targets", None)
        return None if known is None else [int(label) for label in known]


def from_avalanche(benchmark: Any, scenario: str | None = None, name: str = "avalanche") -> TaskStream:
    """Build a stream of the experiences of an Avalanche benchmark; examples stay in its data sets.

    Of the benchmark are used ``train_stream`` and ``test_stream``, and of each experience ``dataset`` (examples
    ``(x, y, task label)``, labels ``targets`` if it has them) and ``task_label`` if it has one. Avalanche itself is not
    imported. The classes of a task are those of its training examples; they may come back in later tasks, whose labels
    are then the same. If there is one test experience for several tasks, each task is tested on its own classes.

    Args:
        benchmark: made by ``avalanche.benchmarks``, or anything with these attributes.
        scenario: see :class:`~bayeshnet.tasks.TaskStream`; None for ``"domain"`` if all experiences have the same
            classes, ``"task"`` if they have different task labels, and else ``"class"``.
        name: name of the stream.

    Raises:
        TypeError: if the benchmark lacks one of the attributes.
        ValueError: if there is no experience, or a test set has classes that its task does not have.

    References:
        Lomonaco et al., "Avalanche: an end-to-end library for continual learning", 2021.
    """
    check_text("name", name, "the name of the stream")
    if scenario is not None:
        check_choice("scenario", scenario, SCENARIOS)
    train, test = (_experiences(benchmark, stream) for stream in ("train_stream", "test_stream"))
    if len(test) not in (1, len(train)):
        expected = f"one test experience, or one for each of {len(train)} tasks"
        raise value_error("benchmark, test_stream", expected=expected, found=f"{len(test)}")
    splits = [_split(experience, f"train_stream[{i}]") for i, experience in enumerate(train)]
    tests = [_split(experience, f"test_stream[{i}]") for i, experience in enumerate(test)]
    classes = [torch.unique(split.y) for split in splits]
    same = all(torch.equal(own, classes[0]) for own in classes)
    labels = {getattr(experience, "task_label", 0) for experience in train}
    found = scenario or ("domain" if same and len(train) > 1 else "task" if len(labels) == len(train) > 1 else "class")
    tasks = []
    for i, (split, own) in enumerate(zip(splits, classes, strict=True)):
        judged = tests[i] if len(tests) == len(splits) else _of_classes(tests[0], own, i)
        check_known(f"benchmark, labels in test_stream[{i}]", judged.y, own.tolist())
        given, asked = (part.with_targets(torch.searchsorted(own, part.y)) for part in (split, judged))
        tasks.append(Task(f"experience {i + 1}", given, asked, len(own), labels=tuple(own.tolist())))
    return TaskStream(tasks, name, found)


def _experiences(benchmark: Any, stream: str) -> Sequence[Any]:
    found = getattr(benchmark, stream, None)
    if found is None:
        raise type_error("benchmark", expected=f"an Avalanche benchmark, with {stream}", got=benchmark)
    return check_items(f"benchmark, {stream}", found, "a stream of experiences", least=1)


def _split(experience: Any, where: str) -> Split:
    dataset = getattr(experience, "dataset", None)
    if dataset is None:
        raise type_error(f"benchmark, {where}", expected="an experience with a dataset", got=experience)
    split = Split(_Pairs(dataset))
    return split.with_targets(as_labels(split.y, f"benchmark, labels in {where}"))


def _of_classes(split: Split, classes: Tensor, number: int) -> Split:
    chosen = torch.isin(split.y, classes)
    if not bool(chosen.any()):
        found = "none of its classes"
        raise value_error(f"benchmark, test_stream for task {number}", expected="examples of the task", found=found)
    return split.select(chosen)
