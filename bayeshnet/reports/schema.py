"""The types of the entries of ``metrics.json``, checked by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any

from ..errors import type_error, value_error
from ..files import check_file_name, check_line

__all__ = ["check_record"]

_Check = Callable[[str, Any], Any]
_LARGEST = 1e100
_BY_CRITERION = ("accuracy_task_inferred", "mse_task_inferred", "task_inference", "task_inference_batch")
_PLAIN = (
    *("accuracy_task_given", "accuracy_during", "mse_task_given", "mse_during", "forgetting", "drift"),
    *("forgetting_during", "last_accuracy", "average_incremental_accuracy", "examples_stored", "bytes_stored"),
    *("nll_all_classes", "brier_all_classes", "ece_all_classes", "gradient_steps", "passes", "beta"),
    *("nll", "joint_nll", "ece", "brier", "log_likelihood", "coverage", "negative_elbo", "negative_elbo_prior"),
)
_LONGEST = 500


def check_record(record: Mapping[str, Any]) -> None:
    """Check the types of the entries of a run's results; entries of other names are ignored.

    Raises:
        TypeError: if an entry is of another type; the message names it.
        ValueError: if a required entry is missing, or a number is larger than any result.

    Example:
        >>> check_record({"data": "a", "method": "b", "seed": 0, "tasks": ["one"], "final": {"nll": "low"}})
        Traceback (most recent call last):
        TypeError: record, final['nll']: expected a number, null, or a mapping of such, got 'low'.
    """
    if not isinstance(record, Mapping):
        raise type_error("record", expected="a mapping", got=record)
    missing = [name for name in ("data", "method", "seed", "tasks", "final") if name not in record]
    if missing:
        raise value_error("record", expected="the results of a run", found=f"no {', '.join(missing)} in it")
    for name, check in _ENTRIES.items():
        if name in record:
            check(f"record, {name}", record[name])


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise type_error(name, expected="text", got=value)


def _line(name: str, value: Any) -> None:
    if len(check_line(name, value)) > _LONGEST:
        raise value_error(name, expected=f"at most {_LONGEST} characters", got=value)


def _integer(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise type_error(name, expected="an integer", got=value)
    _size(name, value)


def _number(name: str, value: Any, expected: str = "a number or null") -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise type_error(name, expected=expected, got=value)
    _size(name, value)


def _size(name: str, value: float) -> None:
    if not (isinstance(value, float) and not math.isfinite(value)) and abs(value) > _LARGEST:
        raise value_error(name, expected=f"a number of at most {_LARGEST:g}", got=value)


def _numbers(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        _mapping(_numbers)(name, value)
    else:
        _number(name, value, "a number, null, or a mapping of such")


def _final(name: str, value: Any) -> None:
    _mapping(_anything)(name, value)
    if value.get("scenario") is not None:
        _line(f"{name}['scenario']", value["scenario"])
    _mapping(_numbers)(name, {key: entry for key, entry in value.items() if key != "scenario"})
    for key in _BY_CRITERION:
        if value.get(key) is not None:
            _mapping(_number)(f"{name}[{key!r}]", value[key])
    for key in _PLAIN:
        _number(f"{name}[{key!r}]", value.get(key))


def _facts(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        _mapping(_facts)(name, value)
    elif not isinstance(value, str):
        _number(name, value, "a number, text, null, or a mapping of such")


def _abstention(name: str, value: Any) -> None:
    _mapping(_facts)(name, value)
    combined = value.get("combined")
    if combined:
        _entries({"refused": _mapping(_number), "false_alarm": _finite})(f"{name}['combined']", combined)
        _entries({"asked": _finite, "calibrated_on": _text})(name, value)


def _times(name: str, value: Any) -> None:
    _mapping(_anything)(name, value)
    for key, entry in value.items():
        (_list(_finite) if key == "per_task" else _number)(f"{name}[{key[:60]!r}]", entry)


def _finite(name: str, value: Any) -> None:
    if value is None:
        raise type_error(name, expected="a number", got=value)
    _number(name, value, "a number")


def _entries(checks: Mapping[str, _Check]) -> _Check:
    """Make the check of a mapping that must have the given entries."""

    def inner(name: str, value: Any) -> None:
        _mapping(_anything)(name, value)
        for key, check in checks.items():
            check(f"{name}[{key!r}]", value.get(key))

    return inner


def _anything(name: str, value: Any) -> None:
    """Accept any entry."""


def _list(check: _Check) -> _Check:
    def inner(name: str, value: Any) -> None:
        if not isinstance(value, (list, tuple)):
            raise type_error(name, expected="a list", got=value)
        for index, entry in enumerate(value):
            check(f"{name}[{index}]", entry)

    return inner


def _mapping(check: _Check) -> _Check:
    def inner(name: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise type_error(name, expected="a mapping", got=value)
        for key, entry in value.items():
            if not isinstance(key, str):
                raise type_error(f"key in {name}", expected="text", got=key)
            check(f"{name}[{key[:60]!r}]", entry)

    return inner


def _divergence(name: str, value: Any) -> None:
    if is_dataclass(value):
        return
    _mapping(_anything)(name, value)
    for key, entry in value.items():
        if key == "verdict" and entry is not None:
            _line(f"{name}['verdict']", entry)
        elif key != "mutual_information":
            _number(f"{name}[{key[:60]!r}]", entry)
        elif entry is not None:
            _mapping(_number)(f"{name}[{key!r}]", entry)


_ENTRIES: dict[str, _Check] = {
    "data": check_file_name,
    "method": _line,
    "seed": _integer,
    "tasks": _list(_line),
    "final": _final,
    "per_task": _list(_final),
    "matrix": _mapping(_list(_list(_number))),
    "kl": _list(_divergence),
    "drift": _list(_divergence),
    "alarms": _mapping(_line),
    "kind": _text,
    "ood": _mapping(_mapping(_number)),
    "ood_fpr95": _mapping(_mapping(_number)),
    "abstention": _abstention,
    "seconds": _times,
    "versions": _mapping(_text),
    "judged_on": _text,
    "settings": _mapping(_text),
}
