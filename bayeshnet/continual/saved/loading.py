"""Loading a learner and its state from a folder, in a new process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...checks import check_device, check_path
from ...errors import check_int, type_error, value_error
from ...rng import seeded
from ...saving import describe, load_checkpoint
from ...saving.pairs import newest_pair
from ...saving.rebuilding import differences, rebuild
from ..learner import Learner
from ..state import LearnerState
from .shape import TaskShape
from .writing import FORMAT, STEM, Holder

__all__ = ["load_state"]


def load_state(
    folder: str | Path,
    *,
    learner: Learner | None = None,
    allow: Sequence[str] = (),
    device: torch.device | str = "cpu",
) -> LearnerState:
    """Load a state that :meth:`LearnerState.save` wrote, with its learner: ``state.learner`` goes on from there.

    The learner is rebuilt from its settings, with the library's classes and the layers of ``torch.nn``. Nothing is
    unpickled, and no other class is imported unless it is allowed.

    Args:
        folder: the folder.
        learner: the learner that the state was saved with, where it has a part that the files cannot describe, such as
            a network of a class of your own. Its settings must be those that were saved; networks among these whose
            values were saved take them.
        allow: packages of your own whose learners, builders and other settings may be imported.
        device: device of the state.

    Returns:
        The state, which predicts and learns as the one that was saved: ``state.learner.predict(state, x)``.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no state, a damaged one or one of a later version; if a class is not allowed; if
            ``learner`` has to be given, or is another one. The files are left as they are.

    Example:
        >>> import tempfile
        >>> from bayeshnet.builders import MeanFieldWeights, MLPNetwork
        >>> from bayeshnet.continual import PriorFocused, Split, Task, Training
        >>> x = torch.randn(20, 3)
        >>> data = Split(x, (x[:, 0] > 0).long())
        >>> learner = PriorFocused(MLPNetwork((4,)), MeanFieldWeights(), training=Training(steps=5), num_samples=5)
        >>> state = learner.learn(None, Task("signs", data, data, 2, labels=(7, 9)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = state.save(folder)
        ...     again = load_state(folder)
        >>> again.labels, torch.equal(again.learner.predict(again, x, 0).mean, learner.predict(state, x, 0).mean)
        ([(7, 9)], True)
    """
    check_device("device", device)
    folder = check_path("folder", folder, "a folder that a state was saved in")
    if not folder.is_dir():
        raise FileNotFoundError(f"folder: expected a folder that a state was saved in, got {str(folder)!r}.")
    stem, _ = newest_pair(folder, STEM)
    if stem is None:
        raise value_error("folder", expected="one that a state was saved in, with state-1.json", got=str(folder))
    record = load_checkpoint(stem)
    shape, num_tasks = _checked(record, stem)
    with seeded(0):
        if learner is None:
            learner, modules = _rebuilt(record, allow)
        else:
            modules = _agreeing(learner, record)
        state = learner.restore(shape.placeholder(), num_tasks)
        load_checkpoint(stem, Holder(state, modules))
    state.learner = learner
    return state.to(device)


def _checked(record: dict[str, Any], stem: Path) -> tuple[TaskShape, int]:
    """Return the shape of the tasks and their number; refuse files of something else."""
    if record.get("holds") != "state of a learner":
        advice = "That of a run is loaded by load_run."
        raise value_error(
            "folder", expected="the state of a learner", found=f"{stem}.json of another kind", hint=advice
        )
    if record.get("state_format") != FORMAT:
        found = f"number {record.get('state_format')!r} in {stem}.json, of the versions {record.get('versions')}"
        raise value_error(
            "folder", expected=f"a state in format {FORMAT}", found=found, hint="Update bayeshnet to load it."
        )
    try:
        return TaskShape(**record["shape"]), check_int("num_tasks", record["num_tasks"], 0)
    except (KeyError, TypeError, ValueError) as error:
        raise value_error("folder", expected="an undamaged state", found=f"{stem}.json ({error})") from error


def _rebuilt(record: dict[str, Any], allow: Sequence[str]) -> tuple[Learner, list[Any]]:
    own = record.get("own")
    if own:
        parts = ", ".join(f"{place} ({name})" for place, name in own.items())
        advice = f"The files cannot describe {parts}; pass load_state(folder, learner=...)."
        raise value_error("learner", expected="the learner that the state was saved with", got=None, hint=advice)
    learner, modules = rebuild(record.get("learner"), allow)
    if not isinstance(learner, Learner):
        raise value_error("folder", expected="the state of a learner", found=f"that of a {type(learner).__name__}")
    return learner, modules


def _agreeing(learner: Learner, record: dict[str, Any]) -> list[Any]:
    """Return the modules among the settings of a given learner; refuse one whose settings are not the saved ones."""
    if not isinstance(learner, Learner):
        raise type_error("learner", expected="a Learner, or None", got=learner)
    given = describe(learner)
    places = differences(record.get("learner"), given.value)
    if places:
        expected = "the learner that the state was saved with"
        advice = "Load with the saved settings; the state can then be given to another learner."
        raise value_error("learner", expected=expected, found=f"another {', '.join(places[:5])}", hint=advice)
    return given.modules
