"""Axes, colours and files. The one file that knows matplotlib."""

import io
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from funcnet import _check

# Okabe, Ito, "Color universal design", 2008, without its black and with a deeper yellow, and two more:
# nearly everybody tells neighbours apart, and markers and line styles tell them apart without colour.
BLUE, VERMILLION, GREEN, GREY, BLACK = "#0072B2", "#D55E00", "#009E73", "#666666", "#000000"
COLOURS = (BLUE, VERMILLION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#8C7B00", "#882255", GREY, "#44AA99")
MARKERS = "os^DvPX<>p*"  # 11 markers and 10 colours meet again after 110 classes
LINES = ("-", "--", "-.", ":")

PANEL = (4.2, 3.2)
"""Inches. Its letters of 9 and 10 points are still 7 when the panel is printed 8 cm wide."""
SMALL, TITLE, LINE = 9, 10, 13.5
"""Points: small letters, a title, the height of a line in a legend."""
MOST_INSIDE = 5
"""A legend with more entries stands beside the axes."""
WIDE = 28
"""Letters of a line in a legend."""
LEGEND = {"fontsize": SMALL, "edgecolor": "none", "borderpad": 0.3, "labelspacing": 0.3}
CLASS_LEGEND = {"framealpha": 0.0, "handlelength": 1.0, "handletextpad": 0.4, "columnspacing": 1.2}


def colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def marker(i: int) -> str:
    return MARKERS[i % len(MARKERS)]


def line(i: int) -> str:
    return LINES[i % len(LINES)]


def rgb(colour: str) -> np.ndarray:
    """The red, green and blue of a colour "#RRGGBB", each in 0 .. 1."""
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def panels(
    axes: Any,
    names: Sequence[str],
    what: str,
    *,
    columns: int = 3,
    size: tuple[float, float] = PANEL,
    **grid: Any,
) -> np.ndarray:
    """The given axes as a flat array, one for each name; or new ones, in a figure that pyplot shows."""
    if axes is None:
        return _new(len(names), min(columns, len(names)), size, grid)
    flat = np.atleast_1d(np.asarray(axes, object)).ravel()
    if not all(hasattr(ax, "plot") and hasattr(ax, "transAxes") for ax in flat):
        raise TypeError(
            f"{what} draws into matplotlib axes; got {_check.describe(axes)}. "
            f"Try figure, axes = plt.subplots(1, {len(names)}), or leave axes out."
        )
    if len(flat) != len(names):
        raise ValueError(
            f"{what} has {len(names)} panel{'s' * (len(names) > 1)} ({', '.join(names)}); got "
            f"{len(flat)} axes. Try figure, axes = plt.subplots(1, {len(names)})."
        )
    return flat


def panel(axes: Any, what: str, size: tuple[float, float] = PANEL) -> Any:
    """The given axes, or new ones."""
    return panels(axes, [what], what, size=size)[0]


def _new(count: int, columns: int, size: tuple[float, float], grid: Mapping[str, Any]) -> np.ndarray:
    from matplotlib import pyplot

    rows = -(-count // columns)
    figsize = (size[0] * columns, size[1] * rows)
    _, axes = pyplot.subplots(rows, columns, figsize=figsize, layout="constrained", squeeze=False, **grid)
    for spare in axes.ravel()[count:]:
        spare.remove()
    return axes.ravel()[:count]


def png(draw: Callable[[Any], Any], count: int) -> bytes:
    """What `draw` draws into `count` new axes, as a PNG file's bytes; pyplot is left alone."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PANEL[0] * count, PANEL[1]), layout="constrained")
    draw(figure.subplots(1, count))
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=180)
    return content.getvalue()


def finish(ax: Any, xlabel: str, ylabel: str, title: str = "", legend_title: str = "") -> Any:
    """Labels, a faint grid, no box, a legend if something has a label. Returns the axes."""
    frame(ax, xlabel, ylabel)
    if title:
        ax.set_title(title, fontsize=TITLE)
    handles, labels = ax.get_legend_handles_labels()
    place: dict[str, Any] = {"loc": "best", "framealpha": 0.85}
    if len(labels) > MOST_INSIDE:
        place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.02), "framealpha": 0.0}
    if handles:
        look = {"title": legend_title or None, "title_fontsize": SMALL, "handlelength": 2.2}
        wrapped = [textwrap.fill(label, WIDE) for label in labels]
        ax.legend(handles, wrapped, **LEGEND, **look, **place)
    return ax


def finish_classes(ax: Any, xlabel: str, ylabel: str, title: str = "") -> Any:
    """The same with a legend of classes above the axes, where it hides no point. Returns the axes."""
    frame(ax, xlabel, ylabel)
    handles, labels = ax.get_legend_handles_labels()
    columns, rows = class_columns(labels)
    if title:
        ax.set_title(title, fontsize=TITLE, pad=6 + LINE * rows)
    place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.1, "ncols": columns}
    drawn = ax.legend(handles, [short(label) for label in labels], **LEGEND, **CLASS_LEGEND, **place)
    _enlarge(drawn)
    return ax


def class_size(labels: Sequence[str]) -> tuple[float, float]:
    """The size of new axes under a legend of these classes."""
    _, rows = class_columns(labels)
    return PANEL[0], PANEL[1] + LINE / 72 * (rows - 1)


def class_columns(labels: Sequence[str], width: float = PANEL[0]) -> tuple[int, int]:
    """The columns and rows of a legend that is `width` inches wide."""
    letters = [len(short(label)) + 4 for label in labels]  # a marker and its space count as four
    room = (width - 0.5) * 72 / 5.4  # inches to letters of 9 points
    columns = len(labels) if sum(letters) <= room else max(1, min(len(labels), int(room / max(letters))))
    return columns, -(-len(labels) // columns)


def figure_legend(figure: Any, width: float, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """One legend of classes for all panels of a figure, above them."""
    columns, _ = class_columns(labels, width)
    place = {"loc": "outside upper center", "ncols": columns}
    _enlarge(figure.legend(handles, [short(label) for label in labels], **LEGEND, **CLASS_LEGEND, **place))


def frame(ax: Any, xlabel: str, ylabel: str) -> None:
    """Labels, a faint grid, no box."""
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)


def say(ax: Any, text: str) -> None:
    """A sentence in axes that have nothing else to show."""
    ax.text(0.5, 0.35, text, transform=ax.transAxes, ha="center", fontsize=SMALL)
    ax.set(xticks=[], yticks=[])


def short(name: str, width: int = 20) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def number_epochs(ax: Any) -> None:
    """Whole numbers only on the horizontal axis."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def scale_x_by_powers(ax: Any) -> None:
    """A logarithmic horizontal axis, with plain numbers at 1, 2 and 5 times the powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def colour_map(colours: Iterable[Any]) -> Any:
    """A smooth passage through some colours."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("funcnet", list(colours))


def colour_bar(ax: Any, drawn: Any, label: str, ticks: Sequence[float]) -> None:
    """The key to the colours of what was drawn, as high as the axes and cleared with them."""
    bar = ax.figure.colorbar(drawn, cax=ax.inset_axes((1.03, 0.0, 0.05, 1.0)), ticks=ticks, format="%.2g")
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label(label)


def outline(ax: Any, column: int, row: int) -> None:
    """A frame around one cell of a heat map."""
    from matplotlib.patches import Rectangle

    corner = (column - 0.48, row - 0.48)
    ax.add_patch(Rectangle(corner, 0.96, 0.96, fill=False, edgecolor=VERMILLION, linewidth=2.5))


def _enlarge(legend: Any) -> None:
    """Points in a legend are never too small to be told apart."""
    for handle in legend.legend_handles:
        if hasattr(handle, "get_sizes") and len(handle.get_sizes()):
            handle.set_sizes([max(30.0, float(handle.get_sizes()[0]))])
