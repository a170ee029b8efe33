"""``bayeshnet compare RUN RUN ...``: finished runs side by side, mean and standard deviation over seeds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..reports import comparison_table, load_results, write_text
from .display import make_console

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """Print the table, or write it to a file; returns the exit code."""
    parser = argparse.ArgumentParser("bayeshnet compare", description=__doc__, exit_on_error=False)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished run, or its metrics.json"
    )
    parser.add_argument("--format", choices=("text", "markdown", "latex", "json"), default="text")
    parser.add_argument("--output", type=Path, help="file to write instead of printing; must not exist")
    try:
        options = parser.parse_args(list(words))
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from None
    table = comparison_table(load_results(options.runs))
    if options.output is not None:
        if options.output.exists():
            raise ValueError(f"--output: expected a file that does not exist yet, got {options.output}.")
        write_text(options.output, getattr(table, options.format)())
    elif options.format == "text":
        make_console().print(table.rich())
    else:
        make_console().print(getattr(table, options.format)(), markup=False, soft_wrap=True)
    return 0
