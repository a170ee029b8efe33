"""``bayeshnet list``: streams, methods and classes that can be named on the command line."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from .. import estimators
from ..builders import NetworkBuilder, PosteriorBuilder
from ..continual import CRITERIA, Learner, PseudoOutliers
from ..data.registry import STREAMS
from ..estimators import KLEstimator
from ..runs.configuration import available
from .display import make_console

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """Print the tables and return the exit code."""
    if words:
        raise ValueError(f"expected no further arguments, got {' '.join(words)}.")
    console = make_console()
    configured = available()
    rows = [(name, entry.description, ", ".join(configured.get(name, []))) for name, entry in STREAMS.items()]
    console.print(_table("streams (--data)", ("name", "description", "configured methods (--method)"), rows))
    for title, base in (
        ("estimators of the KL (--estimator)", KLEstimator),
        ("learners (--learner)", Learner),
        ("posteriors (--learner.posterior)", PosteriorBuilder),
        ("networks (--learner.network)", NetworkBuilder),
        ("pseudo-outliers (--learner.outliers)", PseudoOutliers),
    ):
        found = [(cls.__name__, _summary(cls)) for cls in _concrete(base)]
        console.print(_table(title, ("name", "description"), found))
    scores = [(name, _summary(criterion.score), " and ".join(criterion.kinds)) for name, criterion in CRITERIA.items()]
    console.print(_table("criteria of task inference", ("name", "description", "tasks of"), scores))
    return 0


def _concrete(base: type) -> list[type]:
    """Return the public concrete subclasses of ``base``, in alphabetical order."""
    public = set(estimators.__all__)
    found: dict[str, type] = {}
    todo: list[type] = list(base.__subclasses__())
    while todo:
        cls = todo.pop()
        todo += cls.__subclasses__()
        hidden = base is KLEstimator and cls.__module__.startswith("bayeshnet.") and cls.__name__ not in public
        if not inspect.isabstract(cls) and not cls.__name__.startswith("_") and not hidden:
            found[cls.__name__] = cls
    return [found[name] for name in sorted(found)]


def _summary(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ").replace(":math:", "").replace("`", "")


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", expand=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
