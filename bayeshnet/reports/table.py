"""Tables of numbers, and their forms: text for a terminal, Markdown, reStructuredText, LaTeX, HTML and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass, replace
from typing import Any

from ..checks import check_all, check_items, check_text
from ..errors import MissingExtraError, check_flags, check_int, type_error, value_error
from .markup import HTML, LATEX, MARKDOWN, Markup, escape_latex

__all__ = ["Cell", "Column", "Table"]


def _check_decimals(decimals: Any) -> None:
    if check_int("decimals", decimals, 0) > _MOST_DECIMALS:
        raise value_error("decimals", expected=f"an integer from 0 to {_MOST_DECIMALS}", got=decimals)


_MOST_DECIMALS = 100


@dataclass(frozen=True)
class Column:
    """Heading of a column, the unit of its entries and their number of decimals."""

    name: str
    unit: str = ""
    decimals: int = 1

    def __post_init__(self) -> None:
        """Check texts and decimals."""
        check_text("name", self.name)
        check_text("unit", self.unit)
        _check_decimals(self.decimals)


@dataclass(frozen=True)
class Cell:
    """A number in a table.

    Args:
        value: the number; None is shown as ``-``.
        std: standard deviation over seeds, if there are several.
        best: True if the number is shown in bold.
        decimals: number of decimals; None takes those of the column.
    """

    value: float | None
    std: float | None = None
    best: bool = False
    decimals: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers; NaN is shown like None."""
        for name in ("value", "std"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise type_error(name, expected="a number, or None", got=value)
        check_flags(best=self.best)
        if self.decimals is not None:
            _check_decimals(self.decimals)

    def text(self, decimals: int, plus_minus: str = "±") -> str:
        """Return the number as text; ``-`` if there is none."""
        if self.value is None or math.isnan(self.value):
            return "-"
        decimals = decimals if self.decimals is None else self.decimals
        text = _number(self.value, decimals)
        if self.std is None:
            return text
        return f"{text} {plus_minus} {_number(self.std, decimals) if 'e' in text else f'{self.std:.{decimals}f}'}"


def _number(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    if float(text) == 0 and value != 0:  # Too small for the decimals, like the mean squared error of a good fit.
        text = f"{value:.1e}"
    return text.removeprefix("-") if float(text) == 0 else text


@dataclass(frozen=True)
class Table:
    """Columns, and rows of numbers and text.

    Args:
        title: text above the table.
        columns: headings.
        rows: one :class:`Cell` or text per column each.
        note: text below the table.

    Example:
        >>> table = Table("runs", (Column("method"), Column("accuracy", "%")), (("a", Cell(99.5, 0.1)),))
        >>> print(table.markdown())
        **runs**
        <BLANKLINE>
        | method   |   accuracy [%] |
        |:---------|---------------:|
        | a        |     99.5 ± 0.1 |
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse ragged rows, and entries that are neither cells nor texts."""
        check_text("title", self.title)
        check_text("note", self.note)
        check_all("columns", self.columns, Column, "a tuple of Column")
        for entries in check_all("rows", self.rows, (list, tuple), "rows of cells and texts"):
            row = check_items("rows", entries, "rows of cells and texts", (Cell, str))
            if len(row) != len(self.columns):
                raise value_error("rows", expected=f"{len(self.columns)} entries each", got=row)

    def cells(self, plus_minus: str = "±") -> list[list[tuple[str, bool]]]:
        """Return the text of all entries, each with True if it is bold."""
        return [
            [
                (entry, False) if isinstance(entry, str) else (entry.text(column.decimals, plus_minus), entry.best)
                for entry, column in zip(row, self.columns, strict=True)
            ]
            for row in self.rows
        ]

    def transposed(self, corner: str = "measure") -> Table:
        """Return the table with columns as rows, which is easier to read for many measures of a few methods.

        Args:
            corner: heading of the new first column; the old first column gives the other headings.
        """
        heads = (Column(corner), Column("unit"), *(Column(str(row[0])) for row in self.rows))
        rows: list[tuple[Cell | str, ...]] = []
        for i, column in enumerate(self.columns[1:], 1):
            entries = [row[i] for row in self.rows]
            kept = [
                e if isinstance(e, str) else replace(e, decimals=column.decimals if e.decimals is None else e.decimals)
                for e in entries
            ]
            rows.append((column.name, column.unit, *kept))
        return Table(self.title, heads, tuple(rows), self.note)

    def numeric(self) -> list[bool]:
        """Return True for each column that holds numbers, which are aligned to the right."""
        return [any(isinstance(row[i], Cell) for row in self.rows) for i in range(len(self.columns))]

    def headings(self) -> list[str]:
        """Return the names of the columns with their units."""
        return [f"{c.name} [{c.unit}]" if c.unit else c.name for c in self.columns]

    def rich(self) -> Any:
        """Return the table as a ``rich.table.Table``.

        Raises:
            MissingExtraError: if rich is not installed.
        """
        try:
            from rich import box
            from rich.table import Table as RichTable
            from rich.text import Text
        except ImportError as error:
            raise MissingExtraError("rich", "app", "A table for the terminal") from error
        table = RichTable(
            title=Text(self.title),
            caption=Text(self.note) if self.note else None,
            box=box.SIMPLE_HEAD,
            title_justify="left",
        )
        for column, right in zip(self.columns, self.numeric(), strict=True):
            heading = f"{column.name}\n{column.unit}" if column.unit else column.name
            table.add_column(Text(heading), justify="right" if right else "left", no_wrap=True)
        for row in self.cells():
            table.add_row(*[Text(text, style="bold" if bold else "") for text, bold in row])
        return table

    def text(self, width: int = 120) -> str:
        """Return the table as the terminal shows it, without colors."""
        table, buffer = self.rich(), io.StringIO()
        from rich.console import Console

        Console(file=buffer, width=width, color_system=None).print(table)
        return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).strip("\n")

    def markdown(self) -> str:
        """Return the table in Markdown."""
        return _lines(f"**{self.title}**", "", self._body(MARKDOWN), *(["", self.note] if self.note else []))

    def rst(self) -> str:
        """Return the table as a ``csv-table`` of reStructuredText."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(self.headings())
        writer.writerows([[_marked(text, bold) for text, bold in row] for row in self.cells()])
        head, *rows = buffer.getvalue().splitlines()
        lines = [f".. csv-table:: {self.title}", f"   :header: {head}", "", *(f"   {row}" for row in rows)]
        return _lines(*lines, *(["", self.note] if self.note else []))

    def latex(self) -> str:
        """Return the table in LaTeX, with the rules of the package ``booktabs``."""
        begin = [r"\begin{table}", r"\centering", rf"\caption{{{escape_latex(self.title)}}}"]
        note = [rf"\par\smallskip {escape_latex(self.note)}"] if self.note else []
        return _lines(*begin, self._body(LATEX), *note, r"\end{table}")

    def html(self) -> str:
        """Return the HTML element ``<table>``, without title and note."""
        return self._body(HTML)

    def json(self) -> str:
        """Return the table in JSON: title, note and one record per row, numbers at full precision."""
        names = self.headings()
        records = [dict(zip(names, map(_json_value, row), strict=True)) for row in self.rows]
        return json.dumps({"title": self.title, "note": self.note, "rows": records}, indent=2, ensure_ascii=False)

    def _body(self, markup: Markup) -> str:
        return markup.table([(c.name, c.unit) for c in self.columns], self.cells(), self.numeric())


def _marked(text: str, bold: bool) -> str:
    """Return the text of a cell in reStructuredText; a dash alone would begin a list."""
    return f"**{text}**" if bold else "\\-" if text == "-" else text


def _lines(*lines: str) -> str:
    return "\n".join(lines)


def _json_value(entry: Cell | str) -> Any:
    if isinstance(entry, str):
        return entry
    value = None if entry.value is None or not math.isfinite(entry.value) else entry.value
    return value if entry.std is None else {"mean": value, "std": entry.std}
