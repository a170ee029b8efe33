"""Alarms of a run: what is wrong with its posteriors, each thing in one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ...estimators import Diagnosis
from ...reports import DriftRecord
from ...tasks import Task, TaskStream
from .drift import has_moved
from .records import Assessment

__all__ = ["find_alarms", "is_at_chance"]

_AT_PRIOR, _LISTED = 1e-3, 8
_CHOSEN = {"point"}
"""Alarms of an audit that say of a method what it is."""


def find_alarms(
    stream: TaskStream,
    assessments: Sequence[Assessment],
    audits: Sequence[Diagnosis],
    bounds: Sequence[Mapping[str, Any]] = (),
    drift: Sequence[DriftRecord] = (),
) -> dict[str, str]:
    """Return a sentence for each alarm, with the numbers of its tasks, which start at 1.

    Besides the alarms of :func:`~bayeshnet.estimators.diagnose`, which include a latent that is ignored (``collapse``)
    and folds, but not that a point has no KL, there are

    - ``chance``: just after learning, a task's accuracy on the assessed inputs is within two standard errors of that of
      its most frequent class, or below, and not perfect; or its squared error is not below the variance of the targets,
      if these vary;
    - ``elbo``: the negative evidence lower bound is not below that of the prior;
    - ``prior``: the KL from the prior is below 0.001 nats a weight: nothing was learned, and sigma is the prior's;
    - ``drift``: a task's posterior has moved since it was learned, see
      :func:`~bayeshnet.runs.results.drift.has_moved`.

    Args:
        stream: the tasks.
        assessments: one after each task.
        audits: of the posterior of each task.
        bounds: see :func:`~bayeshnet.runs.results.bounds.negative_elbos`.
        drift: of each task but the last.
    """
    chance = [t for t, a in enumerate(assessments) if is_at_chance(stream[t], a.given[t])]
    prior = [t for t, audit in enumerate(audits) if audit.upper is not None and audit.upper < _AT_PRIOR * _size(audit)]
    elbo = [t for t, bound in enumerate(bounds) if _is_above_prior(bound)]
    moved = [t for t, record in enumerate(drift) if has_moved(record, stream.kind)]
    return _sentences(
        {
            "chance": (
                chance,
                lambda t: "the task was not learned: a constant answer is as good.",
            ),
            "elbo": (elbo, lambda t: _describe_bound(bounds[t])),
            "prior": (prior, lambda t: "the posterior is the prior: sigma and mean have stayed at it, or gone back."),
            "drift": (moved, lambda t: _describe_drift(drift[t], stream.kind)),
        }
    ) | _of_audits(audits)


def is_at_chance(task: Task, given: float) -> bool:
    """Return whether an accuracy, or mean squared error, on the test inputs of a task is that of a constant answer."""
    y = task.test.y
    if task.kind != "classification":
        variance = float(y.double().var(0, correction=0).mean())
        return not given < (variance if variance > 0 else math.inf)
    most = float(torch.bincount(y.flatten().long()).max()) / len(y)
    return given < 1 and given <= most + 2 * math.sqrt(most * (1 - most) / len(y))


def _size(audit: Diagnosis) -> int:
    return int(audit.measurements.get("num_weights", 0))


def _is_above_prior(bound: Mapping[str, Any]) -> bool:
    value, of_prior = bound.get("negative_elbo"), bound.get("negative_elbo_prior")
    return value is not None and of_prior is not None and not value < of_prior


def _describe_bound(bound: Mapping[str, Any]) -> str:
    value, of_prior = bound["negative_elbo"], bound["negative_elbo_prior"]
    return f"the negative ELBO, {value:.0f} nats, is above that of the untrained prior, {of_prior:.0f} nats."


def _describe_drift(record: DriftRecord, kind: str) -> str:
    """Say how far a posterior has moved."""
    found = []
    if record.accuracy is not None and record.p_value is not None:
        found.append(f"a classifier tells {100 * record.accuracy:.0f} % of its draws from those of then")
    if record.kl is not None:
        found.append(f"KL(then, now) is {record.kl:.3g} nats ({_certainty(record)})")
    if record.predictions is not None:
        unit = "total variation" if kind == "classification" else "standard deviations"
        found.append(f"predictions changed by {record.predictions:.3f} ({unit})")
    return f"the posterior has moved since the task was learned: {', '.join(found)}."


def _certainty(record: DriftRecord) -> str:
    """Return the verdict of a KL, with what it is at least where that is something."""
    known = record.verdict != "trusted" and record.at_least is not None and record.at_least > 0
    return f"{record.verdict}, but at least {record.at_least:.3g}" if known else f"{record.verdict}"


def _of_audits(audits: Sequence[Diagnosis]) -> dict[str, str]:
    names = dict.fromkeys(name for audit in audits for name in audit.alarms if name not in _CHOSEN)
    tasks = {name: [t for t, audit in enumerate(audits) if name in audit.alarms] for name in names}
    return {name: f"{_numbers(found)}: {audits[found[0]].alarms[name]}" for name, found in tasks.items()}


def _sentences(found: Mapping[str, tuple[Sequence[int], Callable[[int], str]]]) -> dict[str, str]:
    """Return one sentence for each alarm: its tasks, and what it says of the first of them."""
    return {name: f"{_numbers(tasks)}: {say(tasks[0])}" for name, (tasks, say) in found.items() if tasks}


def _numbers(tasks: Sequence[int]) -> str:
    listed = ", ".join(str(t + 1) for t in tasks[:_LISTED])
    more = f" and {len(tasks) - _LISTED} more" if len(tasks) > _LISTED else ""
    return f"task{'s' if len(tasks) > 1 else ''} {listed}{more}"
