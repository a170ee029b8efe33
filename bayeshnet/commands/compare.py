"""``bayeshnet compare RUN RUN ...``: tables of finished runs, with mean and standard deviation over seeds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..reports import (
    RunResult,
    Table,
    comparison_figures,
    comparison_page,
    comparison_tables,
    load_results,
    write_bytes,
    write_text,
)
from .display import make_console

__all__ = ["FORMATS", "main", "make_parser"]

FORMATS: dict[str, Callable[[Sequence[RunResult]], str]] = {
    "text": lambda results: "\n\n".join(table.text() for table in comparison_tables(results)),
    "markdown": lambda results: "\n\n".join(table.markdown() for table in comparison_tables(results)),
    "rst": lambda results: "\n\n".join(table.rst() for table in comparison_tables(results)),
    "latex": lambda results: "\n\n".join(table.latex() for table in comparison_tables(results)),
    "json": lambda results: json.dumps([json.loads(table.json()) for table in comparison_tables(results)], indent=2),
    "html": comparison_page,
}
"""The formats of a comparison, by name."""


def main(words: Sequence[str]) -> int:
    """Print the tables, one for each data set, or write them to a file; return the exit code."""
    options = _options(words)
    for argument in ("output", "figures"):
        path = getattr(options, argument)
        if path is not None and path.exists():
            raise ValueError(f"--{argument}: expected a path that does not exist yet, got {path}. Choose another name.")
    results = load_results(options.runs)
    if options.output is not None:
        write_text(options.output, FORMATS[options.format](results).rstrip("\n") + "\n")
    elif options.format == "text":
        console = make_console()
        for table in comparison_tables(results):
            console.print(_layout_for(table, console))
    else:
        make_console().print(FORMATS[options.format](results), markup=False, soft_wrap=True, highlight=False)
    if options.figures is not None:
        for figure in comparison_figures(results):
            write_bytes(options.figures / f"{figure.name}.png", figure.png)
    return 0


def _layout_for(table: Table, console: Any) -> Any:
    """Return the table with a row per method, or a row per measure if the first does not fit and this is narrower."""
    candidates = [table.rich(), table.transposed().rich()]
    unlimited = console.options.update(width=10_000)
    widths = [console.measure(candidate, options=unlimited).maximum for candidate in candidates]
    return candidates[0] if widths[0] <= max(console.width, widths[1]) else candidates[1]


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the options."""
    parser = argparse.ArgumentParser("bayeshnet compare", description=__doc__, exit_on_error=False)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished run, or its metrics.json"
    )
    parser.add_argument("--format", choices=list(FORMATS), default="text")
    parser.add_argument("--output", type=Path, help="file to write instead of printing; must not exist")
    parser.add_argument("--figures", type=Path, help="folder for a chart and curves of each data set; must not exist")
    return parser


def _options(words: Sequence[str]) -> argparse.Namespace:
    try:
        return make_parser().parse_args(list(words))
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from None
