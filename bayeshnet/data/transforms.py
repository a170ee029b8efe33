"""Streams made from one task by transforming its inputs: permuted pixels, rotated images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import check_items
from ..errors import check_choice, check_flags, check_instance, check_number, check_size, check_sizes, value_error
from ..tasks import SCENARIOS, Split, Task, TaskStream
from .reading import check_common

__all__ = ["check_degrees", "permuted", "rotated"]


def permuted(
    task: Task,
    num_tasks: int = 10,
    *,
    scenario: str = "domain",
    keep_first: bool = True,
    order: Sequence[int] | None = None,
    name: str = "permuted",
    outliers: dict[str, Tensor] | None = None,
    data_seed: int = 0,
) -> TaskStream:
    """Make several tasks from one by permuting the entries of all inputs, with one fixed permutation per task.

    Args:
        task: original task.
        num_tasks: number of tasks.
        scenario: with ``"class"`` each task has global labels of its own, otherwise all have those of ``task``.
        keep_first: True to leave the first task unchanged, as is usual in the literature.
        order: numbers of the tasks in the order in which they are learned; some may be left out.
        name: name of the stream.
        outliers: inputs that belong to none of the tasks.
        data_seed: seed of the permutations; that of task ``t`` does not depend on ``num_tasks``.

    Example:
        >>> data = Split(torch.rand(4, 5), torch.arange(4) % 2)
        >>> base = Task("a", data, data, 2)
        >>> [t.name for t in permuted(base, 3)]
        ['as is', 'permuted 1', 'permuted 2']
    """
    check_size("num_tasks", num_tasks)
    check_flags(keep_first=keep_first)
    check_instance("task", task, Task, "a Task")
    data_seed = check_common(name, None, outliers, data_seed)
    generator = torch.Generator().manual_seed(data_seed)
    size = math.prod(task.input_shape)
    tasks = []
    for t in range(num_tasks):
        places = torch.arange(size) if keep_first and t == 0 else torch.randperm(size, generator=generator)
        title = "as is" if keep_first and t == 0 else f"permuted {t if keep_first else t + 1}"
        made = _mapped(task, title, t, scenario, _permutation(places.to(task.train.x.device)))
        tasks.append(made)
    return TaskStream(tasks, name, scenario, outliers).reordered(order)


def _permutation(places: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: x.flatten(1)[:, places].reshape(x.shape)


def rotated(
    task: Task,
    angles: Sequence[float] = (0, 45, 90, 135),
    *,
    image_shape: Sequence[int] | None = None,
    scenario: str = "domain",
    name: str = "rotated",
    outliers: dict[str, Tensor] | None = None,
) -> TaskStream:
    """Make several tasks from one by rotating its images counter-clockwise about their center.

    Pixels are interpolated bilinearly; those from outside the image are 0.

    Args:
        task: original task.
        angles: one angle per task, in degrees.
        image_shape: ``(channels, height, width)`` of flattened inputs; by default taken from
            ``task.info["image_shape"]`` or from the inputs' own shape.
        scenario: see :func:`permuted`.
        name: name of the stream.
        outliers: inputs that belong to none of the tasks.

    Example:
        >>> data = Split(torch.rand(4, 1, 8, 8), torch.arange(4) % 2)
        >>> base = Task("a", data, data, 2)
        >>> [t.name for t in rotated(base, (0, 90))]
        ['0 degrees', '90 degrees']
    """
    check_instance("task", task, Task, "a Task")
    check_common(name, None, outliers)
    if image_shape is not None:
        image_shape = check_sizes("image_shape", image_shape)
    if task.layout == "HWC":
        advice = "Move the channels to the front: x.permute(0, 3, 1, 2)."
        raise value_error("task", expected="images (C, H, W)", found="the layout 'HWC'", hint=advice)
    shape = tuple(image_shape or task.info.get("image_shape", task.input_shape))
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) != 3 or math.prod(shape) != math.prod(task.input_shape):
        expected = f"(channels, height, width) that hold {math.prod(task.input_shape)} values"
        raise value_error("image_shape", expected=expected, got=shape)
    turns = [(f"{angle:g} degrees", _rotation(angle, shape)) for angle in check_degrees(angles)]
    tasks = [_mapped(task, title, t, scenario, turn) for t, (title, turn) in enumerate(turns)]
    return TaskStream(tasks, name, scenario, outliers)


def check_degrees(angles: Any) -> list[float]:
    """Return angles, at least one, as numbers."""
    return [check_number("angles", angle) for angle in check_items("angles", angles, "a list of degrees", least=1)]


def _rotation(degrees: float, shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def turn(x: Tensor) -> Tensor:
        images = x.reshape(-1, *shape)
        # The rotation is in pixels and grid_sample in units of the image, so images that are not square need the ratio.
        ratio = shape[1] / shape[2]
        theta = torch.tensor([[cos, -sin * ratio, 0.0], [sin / ratio, cos, 0.0]], dtype=x.dtype, device=x.device)
        grid = torch.nn.functional.affine_grid(theta.expand(len(x), 2, 3), list(images.shape), align_corners=False)
        return torch.nn.functional.grid_sample(images, grid, align_corners=False).reshape(x.shape)

    return turn


def _mapped(task: Task, name: str, index: int, scenario: str, change: Callable[[Tensor], Tensor]) -> Task:
    check_choice("scenario", scenario, SCENARIOS)
    if not all(split.in_memory and isinstance(split.x, Tensor) for split in task.splits().values()):
        advice = "Read it into memory, or change the inputs in the data set."
        raise value_error("task", expected="inputs in one tensor", got=task.train.x, hint=advice)
    parts = {key: Split(change(split.x), split.y) for key, split in task.splits().items()}
    labels = task.labels
    if scenario == "class" and labels is not None:
        labels = tuple(label + index * (max(labels) + 1) for label in labels)
    train, test, validation = parts["train"], parts["test"], parts.get("validation")
    return Task(name, train, test, task.num_outputs, task.kind, labels, validation, task.info)
