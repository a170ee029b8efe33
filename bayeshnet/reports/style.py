"""The style of all figures, which are drawn without any global state of matplotlib."""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..checks import check_path
from ..deprecation import moved_names
from ..errors import MissingExtraError, check_number, type_error
from ..files import write_bytes

__all__ = ["TASK_COLORS", "new_figure", "panels", "png", "save_figure", "shown", "styled", "task_colors"]

__getattr__ = moved_names(
    __name__,
    {
        "TASK_COLOURS": "reports.style.TASK_COLORS",
        "task_colours": "reports.style.task_colors",
    },
)

# The palette of Okabe and Ito, suitable for color-blind readers; yellow, too pale for lines, comes last.
TASK_COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
_FORMULA = re.compile(r"[A-Za-z0-9 +\-*/=().,]*(?:\^\d+(?!\^)[A-Za-z0-9 +\-*/=().,]*)+")
NEUTRAL = "#7F7F7F"
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("matplotlib", "app", "Drawing figures") from error
    return matplotlib


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function such that it draws in the project's style; matplotlib's own settings are not changed."""

    @functools.wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with _matplotlib().rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapped


def new_figure(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (4.2, 3.2), **options: Any
) -> tuple[Any, Any]:
    """Make a figure with an array ``(rows, columns)`` of axes; ``size`` is that of one panel, in inches."""
    _matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * size[0], rows * size[1]), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def panels(count: int, size: tuple[float, float], **options: Any) -> tuple[Any, list[Any]]:
    """Make a figure of ``count`` panels in rows that fit a page: up to three side by side, four as two by two."""
    columns = count if count <= 3 else 2 if count == 4 else 3
    figure, axes = new_figure(-(-count // columns), columns, size, **options)
    flat = list(axes.flat)
    for axis in flat[count:]:
        axis.set_visible(False)
    return figure, flat[:count]


def task_colors(count: int) -> Sequence[Any]:
    """Return one color per task, from a color map if there are more tasks than colors in the palette."""
    if count <= len(TASK_COLORS) - 1:
        return TASK_COLORS[:count]
    return [_matplotlib().colormaps["turbo"](0.05 + 0.9 * i / (count - 1)) for i in range(count)]


def shown(name: str) -> str:
    r"""Return a name as text for matplotlib: a formula such as ``2 x^2 - 1`` as mathematics, all others as they are.

    Example:
        >>> shown("2 x^2 - 1"), shown(r"$\frac$")
        ('$2 x^2 - 1$', '\\$\\frac\\$')
    """
    return f"${name}$" if _FORMULA.fullmatch(name) and len(name) <= 60 else name.replace("$", r"\$")


def png(figure: Any, dpi: int = 130) -> bytes:
    """Return the figure as the bytes of a PNG file."""
    if not callable(getattr(figure, "savefig", None)) or isinstance(figure, type):
        raise type_error("figure", expected="a matplotlib figure", got=figure)
    check_number("dpi", dpi, 10, 1200)
    buffer = io.BytesIO()
    with _matplotlib().rc_context(STYLE), warnings.catch_warnings():
        # Names may be longer than a figure is wide; they are then cut off.
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def save_figure(figure: Any, path: str | Path, dpi: int = 130) -> Path:
    """Write the figure as a PNG file, atomically."""
    return write_bytes(check_path("path", path, "the path of a PNG file"), png(figure, dpi))
