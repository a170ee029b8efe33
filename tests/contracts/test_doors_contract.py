"""Contract of the doors: whatever is given to a public function, it works right or is refused by name.

Each argument of each function takes every hostile value in turn, the others being valid. The call returns what double
precision gives, without NaN, or raises ``ValueError`` or ``TypeError`` whose message begins with an argument's name.
A new public name joins by a line in the table of its package; a package joins by a line in ``PACKAGES``.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
import torch

from bayeshnet import metrics
from tests.support.hostile import hostile_values

SECONDS = 10.0
BYTES = 2**30


def _draws(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def _probs(*shape: int) -> torch.Tensor:
    return _draws(*shape).softmax(-1)


@dataclass(frozen=True)
class Door:
    """Valid arguments of a function.

    Args:
        arguments: by name; tensors are small.
        random: True if the result depends on draws that differ between precisions.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    random: bool = False


_PAIR = {"probs": _probs(4, 3), "y": torch.tensor([0, 2, 1, 1])}
_VALUES = {"mean": _draws(4, 2), "y": _draws(4, 2) + 1}
_GAUSSIAN = {"mean": _draws(4, 1), "std": _draws(4).exp(), "y": _draws(4, 1) + 1}
_DRAWN = {"samples": _draws(5, 4, 1), "y": _draws(4, 1) + 1}
_SCORES = {"known": _draws(5), "foreign": _draws(4) + 1}
_MATRIX = {"matrix": torch.tensor([[0.9, 0.5, 0.4], [0.8, 0.7, 0.6], [0.6, 0.5, 0.9]])}
_SETS = {"x": _draws(5, 2), "y": _draws(4, 2) + 1}

METRICS: dict[str, Door] = {
    "accuracy": Door(_PAIR),
    "agreement": Door({"samples": _probs(5, 4, 3)}),
    "auroc": Door(_SCORES),
    "average_accuracy": Door(_MATRIX),
    "backward_transfer": Door(_MATRIX),
    "brier": Door(_PAIR),
    "compare_samples": Door({"samples": _draws(5, 2), "reference": _draws(6, 2), "generator": None}, random=True),
    "confidence": Door({"probs": _probs(4, 3)}),
    "coverage": Door({**_DRAWN, "level": 0.9}),
    "crps": Door(_DRAWN),
    "during_accuracy": Door(_MATRIX),
    "ece": Door({**_PAIR, "num_bins": 10}),
    "entropy": Door({"probs": _probs(4, 3)}),
    "expected_entropy": Door({"samples": _probs(5, 4, 3)}),
    "final_accuracy": Door(_MATRIX),
    "forgetting": Door({**_MATRIX, "reference": "best"}),
    "forward_transfer": Door({**_MATRIX, "baseline": torch.tensor([0.3, 0.2, 0.1])}),
    "fpr95": Door(_SCORES),
    "fpr_at": Door({**_SCORES, "recall": 0.8}),
    "gaussian_coverage": Door({**_GAUSSIAN, "level": 0.9}),
    "gaussian_crps": Door(_GAUSSIAN),
    "gaussian_log_likelihood": Door(_GAUSSIAN),
    "median_distance": Door(_SETS),
    "mmd": Door({**_SETS, "width": torch.tensor(1.3), "unbiased": True}),
    "mse": Door(_VALUES),
    "mutual_information": Door({"samples": _probs(5, 4, 3)}),
    "nll": Door({**_PAIR, "smallest": 1e-12}),
    "predictive_total_variation": Door({"probs": _probs(4, 3), "reference": _probs(4, 3).flip(0)}),
    "reliability_bins": Door({**_PAIR, "num_bins": 10}),
    "rmse": Door(_VALUES),
    "sample_log_likelihood": Door({**_DRAWN, "noise_std": _draws(4).exp()}),
    "sliced_wasserstein": Door({**_SETS, "num_projections": 20, "order": 2.0, "generator": None}, random=True),
    "summarize": Door(_MATRIX),
    "task_inference_accuracy": Door({"scores": _draws(4, 3), "task": torch.tensor([0, 1, 2, 1]), "batch_size": 1}),
}
PACKAGES: dict[ModuleType, dict[str, Door]] = {metrics: METRICS}
ENTRIES = [(package, name) for package, doors in PACKAGES.items() for name in doors]
ARGUMENTS = [(package, name, argument) for package, name in ENTRIES for argument in PACKAGES[package][name].arguments]


def _short(value: Any) -> str:
    return value.__name__.rpartition(".")[2] if isinstance(value, ModuleType) else str(value)


def _numbers(result: Any) -> Iterator[torch.Tensor]:
    if dataclasses.is_dataclass(result):
        for entry in dataclasses.fields(result):
            yield from _numbers(getattr(result, entry.name))
    elif isinstance(result, (tuple, list)):
        for entry in result:
            yield from _numbers(entry)
    elif isinstance(result, (torch.Tensor, float)):
        yield torch.as_tensor(result).detach().double()


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _fault(call: Callable[..., Any], door: Door, arguments: dict[str, Any]) -> str | None:
    """Return what is wrong with a call, or None."""
    names = "|".join(inspect.signature(call).parameters)
    begin = time.perf_counter()
    try:
        result = list(_numbers(call(**arguments)))
    except (ValueError, TypeError) as error:
        named = re.match(rf"({names})\b.*: expected", str(error))
        return None if named else f"a message without the argument: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if time.perf_counter() - begin > SECONDS:
        return "takes too long"
    if not result or any(bool(value.isnan().any()) for value in result):
        return f"returns {result}"
    if door.random:
        return None
    exact = _numbers(call(**{name: _double(value) for name, value in arguments.items()}))
    for value, right in zip(result, exact, strict=True):
        if value.shape != right.shape or not torch.allclose(value, right, rtol=1e-4, atol=1e-5):
            return f"returns {value}, in double precision {right}"
    return None


@pytest.mark.parametrize("package", PACKAGES, ids=_short)
def test_every_public_function_has_its_line(package):
    public = {name for name in package.__all__ if inspect.isfunction(getattr(package, name))}
    assert public == set(PACKAGES[package])


@pytest.mark.parametrize(("package", "name"), ENTRIES, ids=_short)
def test_every_argument_has_a_valid_value_that_works(package, name):
    call, door = getattr(package, name), PACKAGES[package][name]
    assert set(inspect.signature(call).parameters) == set(door.arguments)
    assert _fault(call, door, dict(door.arguments)) is None
    assert all(math.isfinite(float(value.sum())) for value in _numbers(call(**door.arguments)))


@pytest.mark.parametrize(("package", "name", "argument"), ARGUMENTS, ids=_short)
def test_hostile_values_work_right_or_are_refused_by_name(package, name, argument):
    call, door = getattr(package, name), PACKAGES[package][name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    faults = {}
    for what, value in hostile_values(door.arguments[argument]):
        fault = _fault(call, door, {**door.arguments, argument: value})
        if fault is not None:
            faults[what] = fault
    assert not faults
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < BYTES
