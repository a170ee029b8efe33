"""A logger of tables: a CSV file for each group of numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from ...checks import check_path
from ...errors import value_error
from ...files import append_text, check_file_name, read_text, write_text
from ...representation import Settings

__all__ = ["CSVLogger"]

_LIMIT = 2**30
_STEP = "step"


@final
class CSVLogger(Settings):
    """Tables of the numbers of a run: ``train.csv`` for names that begin with ``train/``, and so on.

    The first column is the step. A name that appears later becomes a new column, empty in the rows before. Numbers are
    written with all their digits. A file is whole at any time but for its last line, which goes if a process was killed
    while it wrote that.

    Args:
        folder: folder of the files, which is made with the first row.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     logger = CSVLogger(folder)
        ...     logger.begin(0, {})
        ...     logger.log({"train/loss": 0.5}, 9)
        ...     print((Path(folder) / "train.csv").read_text(), end="")
        step,loss
        9,0.5
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = check_path("folder", folder, "a folder for files of numbers")
        self._columns: dict[str, list[str]] = {}

    def begin(self, step: int, settings: Mapping[str, str]) -> None:
        """Read the columns of files that are there, and remove their rows from ``step`` on."""
        for path in sorted(self.folder.glob("*.csv")):
            columns, rows, whole = _read(path)
            self._columns[path.stem] = columns
            kept = [row for row in rows if int(row[0]) < step]
            if len(kept) < len(rows) or not whole:
                write_text(path, _text([columns, *kept]))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Append a row to the file of each group that has numbers among ``values``."""
        groups: dict[str, dict[str, float]] = {}
        for name, value in values.items():
            group, _, rest = name.rpartition("/")
            groups.setdefault(check_file_name("values", group.replace("/", "-") or "run"), {})[rest] = value
        for group, row in groups.items():
            self._append(group, row, step)

    def close(self) -> None:
        """Do nothing: each row has been written."""

    def _append(self, group: str, row: Mapping[str, float], step: int) -> None:
        path, known = self.folder / f"{group}.csv", self._columns.get(group, [_STEP])
        columns = [*known, *(name for name in row if name not in known)]
        cells = [str(step), *(_number(row.get(name)) for name in columns[1:])]
        if columns == known:
            append_text(path, _text([cells]))
            return
        before = _read(path)[1] if group in self._columns else []
        wider = [[*old, *[""] * (len(columns) - len(old))] for old in before]
        write_text(path, _text([columns, *wider, cells]))
        self._columns[group] = columns


def _read(path: Path) -> tuple[list[str], list[list[str]], bool]:
    """Return columns and rows of a file, and whether its last line is whole."""
    text = read_text(path, _LIMIT)
    whole = text.endswith("\n")
    lines = list(csv.reader(io.StringIO(text if whole else text[: text.rfind("\n") + 1])))
    columns, rows = (lines[0], lines[1:]) if lines else ([_STEP], [])
    good = columns[:1] == [_STEP] and all(len(row) == len(columns) and row[0].isdecimal() for row in rows)
    if not good:
        advice = "Remove it, or log to another folder."
        raise value_error(
            f"file {str(path)!r}", expected="a table of numbers by step", found="another text", hint=advice
        )
    return columns, rows, whole


def _text(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))
