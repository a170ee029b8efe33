"""One self-contained page for a run or a comparison, and the folder of figures beside it."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..files import write_bytes, write_text
from .learning import accuracy_matrices, learning_curves, training_curves
from .maps import regression_bands, uncertainty_maps, weight_images
from .records import RunArrays, RunResult
from .style import png
from .table import Table
from .tables import run_tables
from .uncertainty import entropy_histograms, reliability_diagram

__all__ = ["Picture", "report_html", "run_pictures", "write_report"]

Picture = tuple[str, str, bytes]
"""File name without suffix, caption, and the bytes of a PNG."""

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
.25rem .7rem; text-align: right; border-bottom: 1px solid #eee; white-space: nowrap; }} th {{ border-bottom: 2px solid
#999; vertical-align: bottom; font-weight: 600; }} th small {{ display: block; font-weight: normal; color: #666; }}
td.text, th.text {{ text-align: left; }} caption, .note {{ text-align: left; color: #555; font-size: .9rem; padding:
.3rem 0; }} figure {{ margin: 1.2rem 0 2rem; }} figure img {{ max-width: 100%; height: auto; }} figcaption {{ color:
#555; font-size: .9rem; }} pre {{ background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: .85rem; }} </style>
</head> <body> <h1>{title}</h1> <p class="about">{about}</p> {body} </body> </html>
"""


def _table(table: Table) -> str:
    classes = ["" if right else ' class="text"' for right in table.numeric()]
    heads = "".join(
        f"<th{c}>{escape(column.name)}{f'<small>{escape(column.unit)}</small>' if column.unit else ''}</th>"
        for column, c in zip(table.columns, classes, strict=True)
    )
    rows = []
    for row in table.cells():
        entries = [f"<b>{escape(text)}</b>" if bold else escape(text) for text, bold in row]
        rows.append("<tr>" + "".join(f"<td{c}>{e}</td>" for c, e in zip(classes, entries, strict=True)) + "</tr>")
    note = f'<div class="note">{escape(table.note)}</div>' if table.note else ""
    body = "\n".join(rows)
    inner = f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    return f'<h2>{escape(table.title)}</h2>\n<div class="scroll">{inner}</div>\n{note}'


def _figure(picture: Picture) -> str:
    name, caption, content = picture
    data = base64.b64encode(content).decode("ascii")
    source = f"data:image/png;base64,{data}"
    caption = escape(caption)
    image = f'<img alt="{caption}" src="{source}">'
    return f'<figure id="{escape(name)}">{image}<figcaption>{caption}</figcaption></figure>'


def report_html(
    title: str, tables: Sequence[Table], pictures: Sequence[Picture] = (), *, about: str = "", config: str = ""
) -> str:
    """Make a page that needs nothing but itself.

    Args:
        title: heading.
        tables: in order.
        pictures: name, caption and PNG bytes of each.
        about: one line under the heading.
        config: text of the configuration, shown at the end.
    """
    parts = [_table(table) for table in tables[:1]]
    if pictures:
        parts += ["<h2>Figures</h2>", *map(_figure, pictures)]
    parts += [_table(table) for table in tables[1:]]
    if config:
        parts.append(f"<h2>Configuration</h2>\n<pre>{escape(config)}</pre>")
    return _PAGE.format(title=escape(title), about=escape(about), body="\n".join(parts))


def run_pictures(result: RunResult, arrays: RunArrays | None = None, *, noise_std: float = 0.0) -> list[Picture]:
    """Draw all figures for which there are numbers.

    Args:
        result: of a run.
        arrays: what else there is to draw.
        noise_std: of regression targets.
    """
    arrays = arrays or RunArrays()
    draw: list[tuple[str, str, Callable[[], Any]]] = []
    if result.matrix:
        what = "Accuracy" if result.kind == "classification" else "Mean squared error"
        draw.append(
            (
                "matrix",
                f"{what} on each task (columns) after learning each task (rows).",
                lambda: accuracy_matrices(result),
            )
        )
        draw.append(
            ("forgetting", f"{what} on each task while more tasks are learnt.", lambda: learning_curves(result))
        )
    if any(curve.get("nll") for curve in arrays.training):
        caption = "Parts of the loss while each task was learnt, means over blocks of steps."
        draw.append(("training", caption, lambda: training_curves(arrays.training, result.tasks)))
    draw += _uncertainty_pictures(arrays)
    if arrays.weights:
        caption = "Weights from the pixels to hidden units, from one network drawn from each task's posterior."
        draw.append(("weights", caption, lambda: weight_images(arrays.weights)))
    if arrays.planes is not None:
        planes = arrays.planes
        caption = "Task inferred, and predictive entropy over the plane; white: training data, grey: of other tasks."
        draw.append(("plane", caption, lambda: uncertainty_maps(planes, result.tasks)))
    if arrays.bands is not None:
        bands = arrays.bands
        caption = "Predictive mean and bands under each task, its training points and the true functions."
        draw.append(("bands", caption, lambda: regression_bands(bands, result.tasks, noise_std)))
    return [(name, caption, png(make())) for name, caption, make in draw]


def _uncertainty_pictures(arrays: RunArrays) -> list[tuple[str, str, Callable[[], Any]]]:
    draw: list[tuple[str, str, Callable[[], Any]]] = []
    probs, targets, own = arrays.probs, arrays.targets, arrays.entropy_own
    if own is not None:
        classes = None if probs is None else probs.shape[1]
        caption = "Predictive entropy of test inputs under their own and under other tasks, and of foreign inputs."
        other, foreign = arrays.entropy_other, arrays.entropy_foreign
        draw.append(("entropy", caption, lambda: entropy_histograms(own, other, foreign, num_classes=classes)))
    if probs is not None and targets is not None:
        caption = "Accuracy of the predictions in bins of their confidence, with the task given."
        draw.append(("reliability", caption, lambda: reliability_diagram(probs, targets)))
    return draw


def write_report(
    folder: str | Path,
    result: RunResult,
    arrays: RunArrays | None = None,
    *,
    config: str = "",
    noise_std: float = 0.0,
) -> Path:
    """Write ``figures/*.png`` and ``report.html`` into the folder of a run.

    Args:
        folder: of the run.
        result: its numbers.
        arrays: what else there is to draw.
        config: text of its configuration.
        noise_std: of regression targets.

    Returns:
        Path of the page.
    """
    folder = Path(folder)
    pictures = run_pictures(result, arrays, noise_std=noise_std)
    for name, _, content in pictures:
        write_bytes(folder / "figures" / f"{name}.png", content)
    page = report_html(
        f"{result.method} on {result.data}", run_tables(result), pictures, about=_about(result), config=config
    )
    return write_text(folder / "report.html", page)


def _about(result: RunResult) -> str:
    seconds = [v for k, v in result.seconds.items() if k in ("train", "assess") and isinstance(v, (int, float))]
    parts = [f"seed {result.seed}", f"{len(result.tasks)} tasks"]
    if seconds and math.isfinite(sum(seconds)):
        parts.append(f"{sum(seconds):.1f} s")
    parts += [f"{name} {version}" for name, version in _versions(result.versions).items()]
    return " · ".join(parts)


def _versions(versions: Mapping[str, str]) -> Mapping[str, str]:
    return {name: versions[name] for name in ("bayeshnet", "torch", "python") if name in versions}
