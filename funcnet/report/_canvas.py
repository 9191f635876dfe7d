"""Axes, colours and files. The one file that knows matplotlib."""

import io
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# Okabe, Ito, "Color universal design", 2008, without its black and with a deeper yellow, and two more:
# nearly everybody tells neighbours apart, and markers and line styles tell them apart without colour.
BLUE, VERMILLION, GREEN, GREY, BLACK = "#0072B2", "#D55E00", "#009E73", "#666666", "#000000"
COLOURS = (BLUE, VERMILLION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#8C7B00", "#882255", GREY, "#44AA99")
MARKERS = "os^DvPX*<>p"  # 11 markers and 10 colours meet again after 110 classes
LINES = ("-", "--", "-.", ":")

PANEL = (4.2, 3.2)
"""Inches. Its letters of 9 and 10 points are still 7 when the panel is printed 8 cm wide."""
SMALL = 9
MOST_IN_LEGEND = 5
"""More entries than these stand beside the axes."""


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
            f"{what} draws into matplotlib axes; got {type(flat[0]).__name__ if len(flat) else axes!r}. "
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


def clear(ax: Any) -> None:
    """Empty the axes, and take away the colour bars that belong to them."""
    for drawn in [*ax.collections, *ax.images]:
        if drawn.colorbar is not None:
            drawn.colorbar.remove()
    ax.clear()


def finish(ax: Any, xlabel: str, ylabel: str, title: str = "", legend_title: str = "") -> Any:
    """Labels, a faint grid, no box, a legend if something has a label. Returns the axes."""
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if title:
        ax.set_title(title, fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    legend(ax, legend_title)
    return ax


def legend(ax: Any, title: str = "") -> None:
    """The legend, inside where it covers least, or to the right of the axes if it is long."""
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return
    place: dict[str, Any] = {"loc": "best", "framealpha": 0.85}
    if len(labels) > MOST_IN_LEGEND:
        place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.02), "framealpha": 0.0}
    ax.legend(
        handles,
        [textwrap.fill(label, 28) for label in labels],
        **{"title": title or None, "title_fontsize": SMALL, "fontsize": SMALL, "edgecolor": "none"},
        **{"handlelength": 2.2, "borderpad": 0.3, "labelspacing": 0.3, **place},
    )


def number_epochs(ax: Any) -> None:
    """Whole numbers only on the horizontal axis."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def colour_map(colours: Iterable[Any]) -> Any:
    """A smooth passage through some colours."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("funcnet", list(colours))


def colour_bar(ax: Any, drawn: Any, label: str, ticks: Sequence[float], below: bool = False) -> None:
    """The key to the colours of what was drawn."""
    place = {"location": "bottom", "aspect": 30} if below else {"location": "right"}
    bar = ax.figure.colorbar(drawn, ax=ax, ticks=ticks, **place)
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label(label)


def figure_legend(figure: Any, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """One legend for all panels of a figure, above them."""
    wrapped = [textwrap.fill(label, 28) for label in labels]
    columns = min(len(labels), 4)
    place = {"loc": "outside upper center", "ncols": columns}
    figure.legend(handles, wrapped, frameon=False, fontsize=SMALL, **place)
