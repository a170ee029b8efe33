"""One self-contained page for a run or a comparison, and the folder of figures beside it."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ..checks import check_items, check_path, check_text
from ..deprecation import moved_names, renamed_argument
from ..errors import type_error
from ..files import write_bytes, write_text
from .figure_data import FigureData
from .figures import ReportFigure, run_figures
from .records import RunResult, check_result
from .table import Table
from .tables import alarm_table, run_tables

__all__ = ["report_html", "write_report"]

__getattr__ = moved_names(
    __name__,
    {
        "Picture": "reports.ReportFigure",
        "run_pictures": "reports.run_figures",
    },
)

_OWN = ("data.module", "data.function", "examples")
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; margin: 2rem auto; max-width: 70rem;
padding: 0 1rem; }} h1 {{ font-size: 1.5rem; margin-bottom: .2rem; }} h2 {{ font-size: 1.1rem; margin: 2.2rem 0 .6rem;
border-bottom: 1px solid #ddd; padding-bottom: .2rem; }} p.about {{ color: #555; margin-top: 0; }} table {{
border-collapse: collapse; font-variant-numeric: tabular-nums; }} .scroll {{ overflow-x: auto; }} th, td {{ padding:
.25rem .7rem; text-align: left; border-bottom: 1px solid #eee; white-space: nowrap; }} th {{ border-bottom: 2px solid
#999; vertical-align: bottom; font-weight: 600; }} th small {{ display: block; font-weight: normal; color: #666; }}
caption, .note {{ text-align: left; color: #555; font-size: .9rem; padding: .3rem 0; }} figure {{ margin: 1.2rem 0
2rem; }} figure img {{ max-width: 100%; height: auto; }} figcaption {{ color: #555; font-size: .9rem; }} pre {{
background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: .85rem; }} </style>
</head> <body> <h1>{title}</h1> <p class="about">{about}</p> {body} </body> </html>
"""


def report_html(
    title: str,
    tables: Sequence[Table],
    figures: Sequence[tuple[str, str, bytes]] | None = None,
    *,
    about: str = "",
    config: str = "",
    pictures: Sequence[tuple[str, str, bytes]] | None = None,
) -> str:
    """Build a page that refers to no other file.

    Args:
        title: heading of the page.
        tables: the tables in order.
        figures: name, caption and PNG bytes of each figure, see :class:`~bayeshnet.reports.ReportFigure`.
        about: one line under the heading.
        config: text of the configuration, shown at the end.
        pictures: old name of ``figures``.
    """
    for argument, text in (("title", title), ("about", about), ("config", config)):
        check_text(argument, text)
    tables = check_items("tables", tables, "a list of Table", Table)
    figures = renamed_argument("pictures", "figures", pictures, figures)
    if figures is not None:
        expected = "(name, caption, PNG bytes) of each figure"
        figures = [check_items("figures", f, expected) for f in check_items("figures", figures, expected)]
        if any([*map(type, figure)] != [str, str, bytes] for figure in figures):
            raise type_error("figures", expected=expected, found="others")
    parts = [_table(table) for table in tables[:1]]
    if figures:
        parts += ["<h2>Figures</h2>", *(_figure(ReportFigure(*figure)) for figure in figures)]
    parts += [_table(table) for table in tables[1:]]
    if config:
        parts.append(f"<h2>Configuration</h2>\n<pre>{escape(config)}</pre>")
    return _PAGE.format(title=escape(title), about=escape(about), body="\n".join(parts))


def _table(table: Table) -> str:
    note = f'<div class="note">{escape(table.note)}</div>' if table.note else ""
    return f'<h2>{escape(table.title)}</h2>\n<div class="scroll">{table.html()}</div>\n{note}'


def _figure(figure: ReportFigure) -> str:
    data = base64.b64encode(figure.png).decode("ascii")
    caption = escape(figure.caption)
    image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
    return f'<figure id="{escape(figure.name)}">{image}<figcaption>{caption}</figcaption></figure>'


def write_report(
    folder: str | Path,
    result: RunResult,
    data: FigureData | None = None,
    *,
    config: str = "",
    noise_std: float = 0.0,
    arrays: FigureData | None = None,
) -> Path:
    """Write ``figures/*.png`` and ``report.html`` into the folder of a run.

    Args:
        folder: folder of the run.
        result: numbers of the run.
        data: data of the figures.
        config: text of the configuration.
        noise_std: standard deviation of the noise of regression targets.
        arrays: old name of ``data``.

    Returns:
        Path of the page.
    """
    check_text("config", config)
    check_result(result)
    folder = check_path("folder", folder, "the folder of a run")
    data = renamed_argument("arrays", "data", arrays, data)
    figures = run_figures(result, data, noise_std=noise_std)
    for figure in figures:
        write_bytes(folder / "figures" / f"{figure.name}.png", figure.png)
    title = f"{result.method} on {result.data}"
    alarms = [alarm_table(result)] if result.alarms else []
    tables = [*alarms, *run_tables(result)]
    page = report_html(title, tables, figures, about=_about(result), config=config)
    return write_text(folder / "report.html", page)


def _about(result: RunResult) -> str:
    seconds = [v for k, v in result.seconds.items() if k in ("train", "assess") and isinstance(v, (int, float))]
    parts = [f"seed {result.seed}", f"{len(result.tasks)} tasks"]
    if seconds and math.isfinite(sum(seconds)):
        parts.append(f"{sum(seconds):.1f} s")
    if "data.function" in result.settings:
        module, function, digest = (result.settings.get(name, "?") for name in _OWN)
        parts.append(f"data of one's own: {module}:{function}, digest {digest}")
    shown = [name for name in ("bayeshnet", "torch", "python") if name in result.versions]
    return " · ".join([*parts, *(f"{name} {result.versions[name]}" for name in shown)])
