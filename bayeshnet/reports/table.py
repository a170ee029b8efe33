"""A table, and the five ways to write it: text for a terminal, Markdown, reStructuredText, LaTeX, JSON."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import MissingExtraError, value_error

__all__ = ["Cell", "Column", "Table"]


@dataclass(frozen=True)
class Column:
    """Heading of a column, unit (shown under it) and number of decimals."""

    name: str
    unit: str = ""
    decimals: int = 1


@dataclass(frozen=True)
class Cell:
    """A number, with its standard deviation over seeds if there are several; ``best`` is set bold.

    ``decimals`` goes before those of the column.
    """

    value: float | None
    std: float | None = None
    best: bool = False
    decimals: int | None = None

    def text(self, decimals: int, plus_minus: str = "±") -> str:
        """The number as text; ``-`` if there is none."""
        if self.value is None or math.isnan(self.value):
            return "-"
        decimals = decimals if self.decimals is None else self.decimals
        text = _number(self.value, decimals)
        if self.std is None:
            return text
        return f"{text} {plus_minus} {_number(self.std, decimals) if 'e' in text else f'{self.std:.{decimals}f}'}"


def _number(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    if float(text) == 0 and value != 0:  # too small for the decimals: mean squared errors of a good fit
        text = f"{value:.1e}"
    return text.removeprefix("-") if float(text) == 0 else text


@dataclass(frozen=True)
class Table:
    """Columns and rows of :class:`Cell` or text.

    Args:
        title: above the table.
        columns: headings.
        rows: one entry per column each.
        note: below the table.

    Example:
        >>> table = Table("runs", (Column("method"), Column("accuracy", "%")), (("a", Cell(99.5, 0.1)),))
        >>> print(table.markdown())
        **runs**
        <BLANKLINE>
        | method | accuracy [%] |
        | :-- | --: |
        | a | 99.5 ± 0.1 |
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse ragged rows."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise value_error("rows", expected=f"{len(self.columns)} entries each", got=row)

    def cells(self, plus_minus: str = "±") -> list[list[tuple[str, bool]]]:
        """Text of all entries, and whether it is bold."""
        return [
            [
                (entry, False) if isinstance(entry, str) else (entry.text(column.decimals, plus_minus), entry.best)
                for entry, column in zip(row, self.columns, strict=True)
            ]
            for row in self.rows
        ]

    def transposed(self, corner: str = "measure") -> Table:
        """Columns as rows: easier to read when there are many measures of a few methods.

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
        """Whether each column holds numbers, to be aligned to the right."""
        return [any(isinstance(row[i], Cell) for row in self.rows) for i in range(len(self.columns))]

    def headings(self) -> list[str]:
        """Names with units."""
        return [f"{c.name} [{c.unit}]" if c.unit else c.name for c in self.columns]

    def rich(self) -> Any:
        """A ``rich.table.Table``.

        Raises:
            MissingExtraError: if rich is not installed.
        """
        try:
            from rich import box
            from rich.table import Table as RichTable
            from rich.text import Text
        except ImportError as error:
            raise MissingExtraError("rich", "app", "A table for the terminal") from error
        table = RichTable(title=self.title, caption=self.note or None, box=box.SIMPLE_HEAD, title_justify="left")
        for column, right in zip(self.columns, self.numeric(), strict=True):
            heading = f"{column.name}\n{column.unit}" if column.unit else column.name
            table.add_column(heading, justify="right" if right else "left", no_wrap=True)
        for row in self.cells():
            table.add_row(*[Text(text, style="bold" if bold else "") for text, bold in row])
        return table

    def text(self, width: int = 120) -> str:
        """Plain text, as the terminal shows it without colors."""
        table, buffer = self.rich(), io.StringIO()
        from rich.console import Console

        Console(file=buffer, width=width, color_system=None).print(table)
        return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).strip("\n")

    def markdown(self) -> str:
        """Markdown."""

        def line(entries: Sequence[str]) -> str:
            return "| " + " | ".join(entry.replace("|", r"\|") for entry in entries) + " |"

        rules = ["--:" if right else ":--" for right in self.numeric()]
        rows = [line([f"**{text}**" if bold else text for text, bold in row]) for row in self.cells()]
        parts = [f"**{self.title}**", "", line(self.headings()), "| " + " | ".join(rules) + " |", *rows]
        return "\n".join(parts + (["", self.note] if self.note else []))

    def rst(self) -> str:
        """As a ``csv-table`` of reStructuredText; the best entries are bold."""

        def line(entries: Iterable[str]) -> str:
            return "   " + ", ".join('"' + entry.replace('"', '""') + '"' for entry in entries)

        rows = [line(f"**{text}**" if best else text for text, best in row) for row in self.cells()]
        head = [f".. csv-table:: {self.title}", f"   :header: {line(self.headings()).strip()}", ""]
        return "\n".join([*head, *rows, *(["", self.note] if self.note else [])])

    def latex(self) -> str:
        """LaTeX with the rules of the package ``booktabs``."""

        def line(entries: Sequence[str]) -> str:
            return " & ".join(entries) + r" \\"

        rows = [
            line([rf"\textbf{{{_escape(text)}}}" if bold else _escape(text) for text, bold in row])
            for row in self.cells()
        ]
        form = "".join("r" if right else "l" for right in self.numeric())
        note = [rf"\par\smallskip {_escape(self.note)}"] if self.note else []
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_escape(self.title)}}}",
                rf"\begin{{tabular}}{{{form}}}",
                r"\toprule",
                line([_escape(h) for h in self.headings()]),
                r"\midrule",
                *rows,
                r"\bottomrule",
                r"\end{tabular}",
                *note,
                r"\end{table}",
            ]
        )

    def json(self) -> str:
        """JSON: title, note and one record per row, numbers at full precision."""
        names = self.headings()
        records = [dict(zip(names, map(_entry, row), strict=True)) for row in self.rows]
        return json.dumps({"title": self.title, "note": self.note, "rows": records}, indent=2, ensure_ascii=False)


def _entry(entry: Cell | str) -> Any:
    if isinstance(entry, str):
        return entry
    value = None if entry.value is None or not math.isfinite(entry.value) else entry.value
    return value if entry.std is None else {"mean": value, "std": entry.std}


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "·": r"$\cdot$",
}


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
