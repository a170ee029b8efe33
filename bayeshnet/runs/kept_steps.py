"""The step of the task that is being learned, in the folder of a run: kept when the process is asked to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import check_int, check_number, value_error
from ..files import listing
from ..inference.resuming import StepKeeper, keeping
from ..saving.trees import TensorTree
from .folder import RunFolder

__all__ = ["KeptStep", "drop_step", "keeping_steps", "kept_step"]

_STEM = "step"


@dataclass(frozen=True)
class KeptStep:
    """A step at which a task was stopped.

    Attributes:
        task: number of the task, from 1; one more than there are tasks for the work after the last one.
        step: steps that were made.
        steps: steps that were planned.
    """

    task: int
    step: int
    steps: int


def kept_step(folder: RunFolder) -> KeptStep | None:
    """Return the step of the task that is learned next, if one was kept."""
    number = folder.last_task() + 1
    record = folder.load_learned(number, stem=_STEM)
    if record is None:
        return None
    with _readable(folder):
        return KeptStep(number, check_int("step", record["step"], 0), check_int("steps", record["steps"], 1))


@contextmanager
def keeping_steps(folder: RunFolder | None, number: int) -> Iterator[Callable[[], float]]:
    """Keep the step of the training of task ``number`` (from 1), and go on from the one that was kept.

    Args:
        folder: the run's folder; None to keep nothing.
        number: of the task; one more than there are for the work after the last task.

    Yields:
        A function that returns the seconds of the training so far, with those of processes that were stopped.
    """
    begin = time.perf_counter()
    if folder is None:
        yield lambda: time.perf_counter() - begin
        return
    spent, known = _load(folder, number)

    def seconds() -> float:
        return spent + time.perf_counter() - begin

    def save(state: Mapping[str, Any]) -> None:
        tree = TensorTree()
        numbers = {name: state[name] for name in ("step", "steps")}
        folder.save_learned(number, tree, {**numbers, "seconds": seconds(), "state": tree.pack(state)}, stem=_STEM)

    with keeping(StepKeeper(save, known)):
        yield seconds


def drop_step(folder: RunFolder) -> None:
    """Remove the step of a task that has been learned and saved."""
    paths = list(folder.path.glob(f"checkpoints/{_STEM}.*"))
    if paths:
        with listing(folder.path, [f"checkpoints/{_STEM}.*"]):
            for path in paths:
                path.unlink()


def _load(folder: RunFolder, number: int) -> tuple[float, Any]:
    """Return the seconds and the state that were kept; none of both if there is nothing of that task."""
    tree = TensorTree()
    record = folder.load_learned(number, tree, stem=_STEM)
    if record is None:
        return 0.0, None
    with _readable(folder):
        return check_number("seconds", record["seconds"], 0.0), tree.unpack(record["state"])


@contextmanager
def _readable(folder: RunFolder) -> Iterator[None]:
    """Name the file where a record is not as it was written."""
    try:
        yield
    except (AttributeError, LookupError, RuntimeError, StopIteration, TypeError, ValueError) as error:
        name = folder.path / "checkpoints" / f"{_STEM}.json"
        hint = f"Remove checkpoints/{_STEM}.*; the task then begins anew."
        found = f"{type(error).__name__}: {error}"
        raise value_error(str(name), expected="a step as a run keeps it", found=repr(found), hint=hint) from error
