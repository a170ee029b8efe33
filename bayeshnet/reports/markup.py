"""Markup of tables in Markdown, LaTeX and HTML: escaping, bold entries and headings; ``tabulate`` lays them out."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from ..errors import MissingExtraError

__all__ = ["HTML", "LATEX", "MARKDOWN", "Markup", "escape_latex"]


@final
@dataclass(frozen=True)
class Markup:
    """A way to write tables.

    Args:
        escape: replaces all characters that would be taken for markup.
        bold: template of a bold entry, such as ``**{}**``.
        unit: template of a unit after the name of a column.
        layout: name of a format of ``tabulate``, or ``"booktabs"``.
    """

    escape: Callable[[str], str]
    bold: str
    unit: str
    layout: str

    def table(
        self, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[tuple[str, bool]]], right: Sequence[bool]
    ) -> str:
        """Write a table without title.

        Args:
            columns: name and unit of each column.
            rows: text of each entry, and True if it is bold.
            right: True for each column that is aligned to the right.

        Raises:
            MissingExtraError: if tabulate is not installed.
        """
        package = _tabulate()
        text = package.tabulate(
            [[self._entry(*entry) for entry in row] for row in rows],
            [self._heading(*column) for column in columns],
            tablefmt=_booktabs(package) if self.layout == "booktabs" else self.layout,
            colalign=["right" if r else "left" for r in right] if rows else None,
            disable_numparse=True,
        )
        return str(text)

    def _entry(self, text: str, bold: bool) -> str:
        return self.bold.format(self.escape(text)) if bold else self.escape(text)

    def _heading(self, name: str, unit: str) -> str:
        return self.escape(name) + (self.unit.format(self.escape(unit)) if unit else "")


_LATEX_CHARACTERS = {
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


def escape_latex(text: str) -> str:
    r"""Replace the characters that have a meaning in LaTeX.

    Example:
        >>> print(escape_latex("5 % & x_1"))
        5 \% \& x\_1
    """
    return "".join(_LATEX_CHARACTERS.get(character, character) for character in text)


def _escape_markdown(text: str) -> str:
    return text.replace("|", r"\|")


def _tabulate() -> Any:
    try:
        import tabulate
    except ImportError as error:
        raise MissingExtraError("tabulate", "app", "writing a table") from error
    return tabulate


def _booktabs(package: Any) -> Any:
    """Return the rules of the LaTeX package ``booktabs``; unlike tabulate's own, they leave entries as they are."""

    def begin(widths: Sequence[int], alignments: Sequence[str]) -> str:
        return rf"\begin{{tabular}}{{{''.join(a[0] for a in alignments)}}}" + "\n\\toprule"

    row, middle = package.DataRow("", "&", r"\\"), package.Line(r"\midrule", "", "", "")
    end = package.Line("\\bottomrule\n\\end{tabular}", "", "", "")
    return package.TableFormat(begin, middle, None, end, row, row, 1, None)


MARKDOWN = Markup(_escape_markdown, "**{}**", " [{}]", "pipe")
LATEX = Markup(escape_latex, r"\textbf{{{}}}", " [{}]", "booktabs")
HTML = Markup(html.escape, "<b>{}</b>", "<small>{}</small>", "unsafehtml")
