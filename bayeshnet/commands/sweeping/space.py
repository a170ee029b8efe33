"""The space of a sweep: settings of the learner, each with a range or choices, in a YAML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import check_flags, check_number, value_error
from ...files import parse_yaml, read_text

__all__ = ["Plain", "Setting", "read_space", "words_of"]

Plain = bool | int | float | str | None
"""A value that a trial may try."""

_MOST_SETTINGS, _MOST_CHOICES, _LONGEST = 50, 100, 200


@dataclass(frozen=True)
class Setting:
    """A setting of the learner and the values that a sweep may try.

    Args:
        name: option of ``bayeshnet run`` without dashes, ``learner.training.lr``.
        low: smallest value, with ``high``; None if there are choices.
        high: largest value. A range of two integers is one of integers.
        log: draw the logarithm uniformly.
        choices: the values, if there is no range.
    """

    name: str
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[Plain, ...] = ()

    @property
    def edges(self) -> tuple[Plain, ...]:
        """Values with which the setting is tried before the sweep: the ends of its range, or all choices."""
        return self.choices or (self.low, self.high)

    def suggest(self, trial: Any) -> Plain:
        """Let an Optuna trial choose a value."""
        if self.choices:
            found: Plain = trial.suggest_categorical(self.name, list(self.choices))
            return found
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        suggest = trial.suggest_int if whole else trial.suggest_float
        found = suggest(self.name, self.low, self.high, log=self.log)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the values that may be tried, as JSON holds them."""
        return (
            {"choices": list(self.choices)} if self.choices else {"low": self.low, "high": self.high, "log": self.log}
        )


def read_space(path: str | Path) -> tuple[Setting, ...]:
    """Read a space: a YAML mapping from settings to ``{low, high, log}`` or ``{choices: [...]}``.

    Nothing is built from it: whether the learner has these settings, and may have such values, is judged by the parser
    of ``bayeshnet run``, with its list of classes that may be named.

    Raises:
        ValueError: if the file is not such a mapping; the message names the setting.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "space.yaml"
        ...     _ = file.write_text("learner.training.lr: {low: 1.0e-4, high: 1.0e-2, log: true}")
        ...     read_space(file)
        (Setting(name='learner.training.lr', low=0.0001, high=0.01, log=True, choices=()),)
    """
    what = f"file {str(path)!r}"
    found = parse_yaml(read_text(path), what)
    if not isinstance(found, dict) or not 0 < len(found) <= _MOST_SETTINGS:
        raise value_error(
            what, expected=f"1 to {_MOST_SETTINGS} settings by name, each with low and high or choices", got=found
        )
    settings = tuple(_setting(key, entry, what) for key, entry in found.items())
    names = [setting.name for setting in settings]
    if len(set(names)) != len(names):
        raise value_error(what, expected="each setting once", found=", ".join(sorted(names)))
    return settings


def words_of(values: Mapping[str, Plain]) -> list[str]:
    """Return settings as words of the command line.

    Example:
        >>> words_of({"learner.training.lr": 0.01, "learner.outliers": None})
        ['--learner.training.lr=0.01', '--learner.outliers=null']
    """
    return [f"--{name}={_text(value)}" for name, value in values.items()]


def _text(value: Plain) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _setting(key: Any, entry: Any, what: str) -> Setting:
    name = ".".join(part for part in str(key).replace("-", "_").split(".") if part != "init_args")
    if not name.startswith("learner.") and name not in ("learner", "estimator"):
        expected = "a setting of the learner, such as learner.training.lr"
        raise value_error(f"key in {what}", expected=expected, got=key)
    where = f"{name} in {what}"
    if isinstance(entry, Mapping) and set(entry) == {"choices"}:
        return Setting(name, choices=_choices(where, entry["choices"]))
    if not isinstance(entry, Mapping) or not {"low", "high"} <= set(entry) <= {"low", "high", "log"}:
        raise value_error(
            where, expected="{low: ..., high: ...}, with log: true or not, or {choices: [...]}", got=entry
        )
    low, high, log = entry["low"], entry["high"], entry.get("log", False)
    check_flags(log=log)
    for value in (low, high):
        check_number(where, value)
    if low >= high or (log and low <= 0):
        raise value_error(where, expected="low < high" + ", above 0" * bool(log), got=entry)
    return Setting(name, low, high, bool(log))


def _choices(where: str, choices: Any) -> tuple[Plain, ...]:
    if not isinstance(choices, Sequence) or isinstance(choices, str) or not 0 < len(choices) <= _MOST_CHOICES:
        raise value_error(where, expected=f"a list of 1 to {_MOST_CHOICES} choices", got=choices)
    for choice in choices:
        if not isinstance(choice, (bool, int, float, str, type(None))) or len(str(choice)) > _LONGEST:
            raise value_error(where, expected="choices that are numbers, words, true, false or null", got=choice)
    return tuple(choices)
