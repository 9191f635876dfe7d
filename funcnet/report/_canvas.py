"""Axes, colours and image files. The only file that imports matplotlib."""

import io
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from funcnet import _check

# The palette of Okabe, Ito, "Color universal design", 2008, without black, with a deeper yellow and two
# more colours: safe for colour-blind readers. Markers and line styles distinguish classes without colour.
BLUE, VERMILLION, GREEN, GREY, BLACK = "#0072B2", "#D55E00", "#009E73", "#666666", "#000000"
COLOURS = (BLUE, VERMILLION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#8C7B00", "#882255", GREY, "#44AA99")
MARKERS = "os^DvPX<>p*"  # 11 markers and 10 colours: 110 different combinations
LINES = ("-", "--", "-.", ":")

PANEL = (4.2, 3.2)
"""Inches. Text of 9 and 10 points still has 7 points if the panel is printed 8 cm wide."""
SMALL, TITLE, LINE_HEIGHT = 9, 10, 13.5
"""Points: font size of small text and of titles, height of a line in a legend."""
MAX_ENTRIES_INSIDE = 5
"""A legend with more entries is placed beside the axes."""
LEGEND_CHARACTERS = 28
"""Characters in a line of a legend, before it is wrapped."""
LEGEND = {"fontsize": SMALL, "edgecolor": "none", "borderpad": 0.3, "labelspacing": 0.3}
CLASS_LEGEND = {"framealpha": 0.0, "handlelength": 1.0, "handletextpad": 0.4, "columnspacing": 1.2}


def colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def marker(i: int) -> str:
    return MARKERS[i % len(MARKERS)]


def line(i: int) -> str:
    return LINES[i % len(LINES)]


def rgb(colour: str) -> np.ndarray:
    """Red, green and blue of a colour "#RRGGBB", each in 0 .. 1."""
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def panels(
    axes: Any,
    names: Sequence[str],
    function: str,
    *,
    columns: int = 3,
    size: tuple[float, float] = PANEL,
    **grid: Any,
) -> np.ndarray:
    """The given axes as a flat array, one for each name; new axes in a pyplot figure if they are None."""
    if axes is None:
        return _new_axes(len(names), min(columns, len(names)), size, grid)
    flat = _flatten(axes)
    if not all(hasattr(ax, "plot") and hasattr(ax, "transAxes") for ax in flat):
        raise TypeError(
            f"axes of {function} must be matplotlib axes, got {_check.describe(axes)}. Try figure, axes = "
            f"plt.subplots(1, {len(names)}), or axes=None for a new figure."
        )
    if len(flat) != len(names):
        raise ValueError(
            f"{function} needs {len(names)} axes ({', '.join(names)}), got {len(flat)}. Try figure, axes = "
            f"plt.subplots(1, {len(names)})."
        )
    return np.fromiter(flat, object, len(flat))


def _flatten(axes: Any) -> list[Any]:
    """Axes in nested sequences, one after another; NumPy would ask what is not axes for its numbers."""
    if isinstance(axes, np.ndarray):
        return _flatten(axes.ravel().tolist())
    return [ax for part in axes for ax in _flatten(part)] if isinstance(axes, list | tuple) else [axes]


def panel(axes: Any, function: str, size: tuple[float, float] = PANEL) -> Any:
    """The given axes, or new ones if they are None."""
    return panels(axes, [function], function, size=size)[0]


def _new_axes(count: int, columns: int, size: tuple[float, float], grid: Mapping[str, Any]) -> np.ndarray:
    from matplotlib import pyplot

    rows = -(-count // columns)
    figsize = (size[0] * columns, size[1] * rows)
    _, axes = pyplot.subplots(rows, columns, figsize=figsize, layout="constrained", squeeze=False, **grid)
    for unused in axes.ravel()[count:]:
        unused.remove()
    return axes.ravel()[:count]


def png(
    draw: Callable[[Any], Any],
    count: int = 1,
    heights: Sequence[float] = (1.0,),
    *,
    panel: tuple[float, float] = PANEL,
    dpi: int = 180,
) -> bytes:
    """The bytes of a PNG file that `draw` draws into new axes, without pyplot's global state.

    Args:
        draw: called with the axes.
        count: the number of axes side by side.
        heights: of axes below one another, relative to a panel's.
        panel: width and height of a panel in inches.
        dpi: pixels per inch.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(panel[0] * count, panel[1] * sum(heights)), layout="constrained")
    draw(figure.subplots(len(heights), count, height_ratios=heights))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def finish(ax: Any, xlabel: str, ylabel: str, title: str = "", legend_title: str = "") -> Any:
    """Set labels, title, grid, and a legend if something has a label. Returns the axes."""
    style_axes(ax, xlabel, ylabel)
    if title:
        ax.set_title(title, fontsize=TITLE)
    handles, labels = ax.get_legend_handles_labels()
    placement: dict[str, Any] = {"loc": "best", "framealpha": 0.85}
    if len(labels) > MAX_ENTRIES_INSIDE:
        placement = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.02), "framealpha": 0.0}
    if handles:
        style = {"title": legend_title or None, "title_fontsize": SMALL, "handlelength": 2.2}
        wrapped = [textwrap.fill(label, LEGEND_CHARACTERS) for label in labels]
        ax.legend(handles, wrapped, **LEGEND, **style, **placement)
    return ax


def finish_classes(ax: Any, xlabel: str, ylabel: str, title: str = "") -> Any:
    """Like `finish`, with the legend of classes above the axes, where it hides no point."""
    style_axes(ax, xlabel, ylabel)
    handles, labels = ax.get_legend_handles_labels()
    columns, rows = legend_layout(labels)
    if title:
        ax.set_title(title, fontsize=TITLE, pad=6 + LINE_HEIGHT * rows)
    placement = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.1, "ncols": columns}
    texts = [truncate(label) for label in labels]
    _enlarge_markers(ax.legend(handles, texts, **LEGEND, **CLASS_LEGEND, **placement))
    return ax


def class_panel_size(labels: Sequence[str]) -> tuple[float, float]:
    """The size of new axes with a legend of these classes above them."""
    _, rows = legend_layout(labels)
    return PANEL[0], PANEL[1] + LINE_HEIGHT / 72 * (rows - 1)


def legend_layout(labels: Sequence[str], width: float = PANEL[0]) -> tuple[int, int]:
    """The number of columns and rows of a legend that is `width` inches wide."""
    characters = [len(truncate(label)) + 4 for label in labels]  # a marker takes the space of four
    available = (width - 0.5) * 72 / 5.4  # characters of 9 points in `width` inches
    fitting = max(1, min(len(labels), int(available / max(characters))))
    columns = len(labels) if sum(characters) <= available else fitting
    return columns, -(-len(labels) // columns)


def add_figure_legend(figure: Any, width: float, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Add one legend of classes for all panels of a figure, above them."""
    columns, _ = legend_layout(labels, width)
    texts, placement = [truncate(label) for label in labels], {"loc": "outside upper center"}
    legend = figure.legend(handles, texts, ncols=columns, **LEGEND, **CLASS_LEGEND, **placement)
    _enlarge_markers(legend)


def style_axes(ax: Any, xlabel: str, ylabel: str) -> None:
    """Set labels and a faint grid; hide the upper and right spines."""
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)


def show_message(ax: Any, text: str) -> None:
    """Write a sentence into axes that have nothing else to show."""
    ax.text(0.5, 0.35, text, transform=ax.transAxes, ha="center", fontsize=SMALL)
    ax.set(xticks=[], yticks=[])


def truncate(name: str, width: int = 20) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def use_integer_ticks(ax: Any) -> None:
    """Only integers as ticks of the horizontal axis."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def use_plain_numbers(ax: Any, ticks: int = 5) -> None:
    """Few ticks, with numbers as they are read: 1,500,000 and not 1.5 beside a lone 1e6."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, ScalarFormatter

    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=ticks, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(ScalarFormatter(useOffset=False))
        if 1e4 <= max(map(abs, axis.get_view_interval())) < 1e8:
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}".replace("-", "−")))


def use_log_x_axis(ax: Any) -> None:
    """A logarithmic horizontal axis with plain numbers at 1, 2 and 5 times the powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def colour_map(colours: Iterable[Any]) -> Any:
    """A colour map that interpolates between the given colours."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("funcnet", list(colours))


def add_colour_bar(ax: Any, mappable: Any, label: str, ticks: Sequence[float]) -> None:
    """Add a colour bar as high as the axes, inside of them so that `ax.clear()` removes it."""
    bar = ax.figure.colorbar(
        mappable, cax=ax.inset_axes((1.03, 0.0, 0.05, 1.0)), ticks=ticks, format="%.2g"
    )
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label(label)


def outline_cell(ax: Any, column: int, row: int) -> None:
    """Draw a frame around one cell of a heat map."""
    from matplotlib.patches import Rectangle

    corner = (column - 0.48, row - 0.48)
    ax.add_patch(Rectangle(corner, 0.96, 0.96, fill=False, edgecolor=VERMILLION, linewidth=2.5))


def _enlarge_markers(legend: Any) -> None:
    """Make the markers of a legend large enough to be distinguished."""
    for handle in legend.legend_handles:
        if hasattr(handle, "get_sizes") and len(handle.get_sizes()):
            handle.set_sizes([max(30.0, float(handle.get_sizes()[0]))])
