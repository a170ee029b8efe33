"""Repetitions among runs: those that are equal in all but the seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .records import RunResult

__all__ = ["DRAWN", "Repetitions", "find_repetitions"]

DRAWN = "drawn by seed"
"""Mark of options that the seed draws, in records of runs."""
_NO_SETTINGS = "settings not recorded"
_MOST_SHOWN, _WIDTH = 4, 40


@dataclass(frozen=True)
class Repetitions:
    """Runs grouped into rows of a comparison.

    Args:
        rows: by name, runs that differ in the seed alone, each seed once.
        repeated: descriptions of the runs that were left out, since their seed is in the row already.
        unrecorded: names of the rows of runs without recorded settings, grouped by method and tasks.
    """

    rows: Mapping[str, tuple[RunResult, ...]]
    repeated: tuple[str, ...] = ()
    unrecorded: tuple[str, ...] = ()

    def note(self) -> str:
        """Say what was left out and what is not known, in sentences."""
        text = ""
        if self.repeated:
            text += f" Counted once, since the seed is no other: {', '.join(self.repeated)}."
        if self.unrecorded:
            names = ", ".join(self.unrecorded)
            text += f" Without recorded settings, grouped by method and tasks: {names}."
        return text


def find_repetitions(results: Sequence[RunResult], label: Callable[[RunResult], str] | None = None) -> Repetitions:
    """Group runs that are equal in all but the seed; others are rows of their own, named by what differs.

    Where the seed draws the order of the classes as well, runs with other classes in a task are repetitions too.

    Args:
        results: results of runs.
        label: returns the name of a run; by default its method. Runs of different names are in different rows.
    """
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[RunResult]] = {}
    for result in results:
        name = label(result) if label else result.method
        groups.setdefault((name, tuple(sorted(_identity(result).items()))), []).append(result)
    rows: dict[str, tuple[RunResult, ...]] = {}
    repeated, unrecorded = [], []
    for (name, identity), runs in groups.items():
        others = [dict(other) for other_name, other in groups if other_name == name]
        row = _unique(_row_name(name, dict(identity), others), rows)
        first = {run.seed: number for number, run in reversed(list(enumerate(runs)))}
        rows[row] = tuple(run for number, run in enumerate(runs) if first[run.seed] == number)
        repeated += [f"{row}, seed {run.seed}" for number, run in enumerate(runs) if first[run.seed] != number]
        if not runs[0].settings:
            unrecorded.append(row)
    return Repetitions(rows, tuple(repeated), tuple(unrecorded))


def _identity(result: RunResult) -> dict[str, str]:
    """Return all that two runs must share to be repetitions of each other, by name."""
    known = {"data": result.data, "method": result.method, "kind": result.kind, "judged_on": result.judged_on}
    recorded = {_NO_SETTINGS: ""} if not result.settings else {k: str(v) for k, v in result.settings.items()}
    drawn = result.settings.get("data_options.order") == DRAWN  # The names of the tasks then differ by seed as well.
    return {**known, "tasks": str(len(result.tasks)) if drawn else " | ".join(result.tasks), **recorded}


def _row_name(name: str, identity: Mapping[str, str], others: Sequence[Mapping[str, str]]) -> str:
    """Return the name with the settings in which these runs differ from others of the same name."""
    recorded = _NO_SETTINGS not in identity
    alike = [other for other in others if (_NO_SETTINGS not in other) == recorded]
    keys = dict.fromkeys(key for other in alike for key in other)
    parts = [_shown(k, identity.get(k)) for k in keys if len({other.get(k) for other in alike}) > 1]
    if not recorded and len(alike) < len(others):
        parts.append(_NO_SETTINGS)
    if len(parts) > _MOST_SHOWN:
        parts = [*parts[:_MOST_SHOWN], f"{len(parts) - _MOST_SHOWN} more"]
    return f"{name} ({', '.join(parts)})" if parts else name


def _shown(key: str, value: str | None) -> str:
    text = "-" if value is None else value if len(value) <= _WIDTH else f"{value[: _WIDTH - 3]}..."
    return f"{key.removeprefix('learner.').removeprefix('data_options.')}={text}"


def _unique(name: str, taken: Mapping[str, object]) -> str:
    """Return the name, with a number if there is a row of that name already."""
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name} #{number}"
    return unique
