"""``bayeshnet sweep``: try settings of a learner, judged on validation examples, and write the best configuration."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import check_int
from .display import make_console
from .parser import parse_run
from .signals import Terminated, stopped_by_signals
from .sweeping.records import best_first, rows_of, write_records
from .sweeping.space import Setting, read_space, words_of
from .sweeping.trials import import_optuna, judged_words, open_study, run_trials

__all__ = ["main", "make_parser"]


def main(words: Sequence[str]) -> int:
    """Run the command and return its exit code: 0, 2 if no trial was complete, 130 or 143 when stopped."""
    from rich.markup import escape

    options, rest = _options(words)
    import_optuna()
    space = read_space(options.space)
    judged, request = judged_words(rest)
    kind = parse_run(judged).stream().kind
    _try_edges(judged, space)
    experiment = request.experiment
    name = options.name or f"{experiment.data.replace(':', '.')}-{experiment.method}"
    folder = options.output or Path("sweeps") / name
    folder.mkdir(parents=True, exist_ok=True)
    storage = options.storage or f"sqlite:///{folder / 'study.db'}"
    study = open_study(name, storage, kind, judged, space, experiment.seed)
    console = make_console()
    console.print(f"sweep [bold]{escape(name)}[/bold], judged on validation examples -> {escape(str(folder))}")
    code = 0
    try:
        with stopped_by_signals():
            run_trials(study, judged, space, options.trials, lambda _, trial: console.print(_line(study, trial)))
    except KeyboardInterrupt as stop:
        code = 143 if isinstance(stop, Terminated) else 130
    best = _best(study, rest)
    write_records(folder, study, space, best)
    console.print(_table(study, space))
    if code:
        sys.stderr.write("bayeshnet sweep: interrupted; the same command goes on\n")
        return code
    if best is None:
        sys.stderr.write("bayeshnet sweep: no trial is complete: try settings nearer to those of the configuration\n")
        return 2
    where = escape(str(folder))
    console.print(f"table, figure and best.yaml in {where}; bayeshnet run --config {where}/best.yaml")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the sweep's own options."""
    text = f"{__doc__} All other options are those of bayeshnet run."
    parser = argparse.ArgumentParser("bayeshnet sweep", description=text, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--space", type=Path, help="YAML file: setting -> {low, high, log} or {choices: [...]}")
    parser.add_argument("--trials", type=int, help="trials in all, those of earlier commands included")
    parser.add_argument(
        "--storage", help="URL of a data base, sqlite:///FILE; processes that share it share the trials"
    )
    parser.add_argument("--name", help="name of the sweep in its storage (by default DATA-METHOD)")
    parser.add_argument("--output", type=Path, help="folder of table, figure and best.yaml (by default sweeps/NAME)")
    return parser


def _options(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse the sweep's own options; the others are those of ``bayeshnet run``."""
    try:
        options, rest = make_parser().parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from None
    for name in ("space", "trials"):
        if getattr(options, name) is None:
            raise ValueError(f"--{name}: expected a value, got none. bayeshnet sweep --help says more.")
    check_int("trials", options.trials, 1)
    return options, rest


def _try_edges(words: Sequence[str], space: Sequence[Setting]) -> None:
    """Refuse settings that the learner does not have, or whose extremes it does not take, before the first trial."""
    for setting in space:
        for value in setting.edges:
            parse_run([*words, *words_of({setting.name: value})])


def _best(study: Any, words: Sequence[str]) -> str | None:
    """Return the configuration of the best complete trial, without its judging; None if there is none."""
    states = import_optuna().trial.TrialState
    if not study.get_trials(deepcopy=False, states=(states.COMPLETE,)):
        return None
    return parse_run([*words, *words_of(study.best_params)]).config


def _line(study: Any, trial: Any) -> str:
    """Describe a trial that has ended."""
    values = ", ".join(f"{name.rpartition('.')[2]} {_short(value)}" for name, value in trial.params.items())
    found = _short(trial.value) if trial.value is not None else trial.state.name.lower()
    return f"trial {trial.number}: {found}  ({values})"


def _table(study: Any, space: Sequence[Setting]) -> Any:
    """Make the table of the best ten trials."""
    from rich.table import Table

    largest = study.direction.name == "MAXIMIZE"
    rows = best_first(rows_of(study, space), largest=largest)
    title = f"{'accuracy' if largest else 'MSE'} on validation examples, mean over tasks; {len(rows)} trials"
    table = Table(title=title, title_justify="left")
    for name in ("trial", "state", "tasks", "value", *(setting.name.removeprefix("learner.") for setting in space)):
        table.add_column(name, overflow="fold")
    for row in rows[:10]:
        table.add_row(*(_short(value) for value in row.values()))
    return table


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
