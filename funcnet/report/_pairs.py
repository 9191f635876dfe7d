"""Scatter plots of all pairs of features."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnet import _check
from funcnet.report import _canvas, _examples
from funcnet.report._scatter import draw_classes

MAX_FEATURES = 8
MAX_FILLED = 4
"""With more classes only the outlines of the histograms are drawn."""
PANEL_SIZE = (1.75, 1.55)
"""Inches."""


def pair_plot(
    data: Any,
    axes: Any = None,
    *,
    features: Sequence[int] | None = None,
    feature_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Any:
    """Scatter plots of all pairs of features by class, with histograms on the diagonal.

    Panels in a row share the vertical axis and panels in a column the horizontal axis. Histograms are
    counts by class, scaled to the height of the panel.

    Args:
        data: a Dataset or tuple (x, y): x [n, features], y class numbers [n] or [n, 1].
        axes: matplotlib axes, [k, k] for k features; a new figure if None.
        features: the columns of x to draw, 2 to 8; all by default, required if there are more than 8.
        feature_names: the name of each column of x, with its unit.
        class_names: the name of class 0, 1, …

    Returns:
        The axes, as a numpy array [k, k].

    Raises:
        ValueError: if there are fewer than 2 or more than 8 features to draw, y does not hold class
            numbers, or there are too few names.

    Example:
        >>> import funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> iris = fn.data.load("iris")
        >>> names = {"feature_names": iris.feature_names, "class_names": iris.class_names}
        >>> axes = fn.report.pair_plot(iris.data, Figure().subplots(4, 4), **names)
        >>> axes.shape, axes[3, 0].get_xlabel(), axes[3, 0].get_ylabel()
        ((4, 4), 'sepal length (cm)', 'petal width (cm)')
    """
    x, y = _examples.pairs("pair_plot", data)
    y = _examples.class_numbers("pair_plot", y, len(x))
    columns = _check_features(x, features)
    feature_names = _examples.names("feature_names", feature_names, x.shape[1])
    class_names = _examples.names("class_names", class_names, int(y.max()) + 1)
    count, x = len(columns), x[:, columns]
    pairs = [f"{i} by {j}" for i in columns for j in columns]
    axes = _canvas.panels(axes, pairs, "pair_plot", columns=count, size=PANEL_SIZE)
    axes = axes.reshape(count, count)
    low, high = _examples.limits(x)
    for (row, column), ax in np.ndenumerate(axes):
        if row == column:
            _draw_histogram(ax, x[:, row], y, float(low[row]), float(high[row]))
        else:
            draw_classes(ax, x[:, [column, row]], y, class_names, scale=0.4)
        ax.set(xlim=(low[column], high[column]), ylim=(low[row], high[row]))
        xlabel = feature_names[columns[column]] if row == count - 1 else ""
        _label(ax, xlabel, feature_names[columns[row]] if column == 0 else "")
    handles, labels = axes[1, 0].get_legend_handles_labels()
    _canvas.add_figure_legend(axes[0, 0].figure, PANEL_SIZE[0] * count, handles, labels)
    return axes


def _check_features(x: np.ndarray, features: Any) -> list[int]:
    if x.ndim != 2 or x.shape[1] < 2:
        raise ValueError(f"x of pair_plot must have at least 2 features, got shape {x.shape}.")
    columns = range(x.shape[1]) if features is None else features
    if (
        not isinstance(columns, Sequence | np.ndarray)
        or isinstance(columns, str)
        or getattr(columns, "ndim", 1) != 1
    ):
        raise TypeError(f"features of pair_plot must be column numbers, got {_check.describe(features)}.")
    if not 2 <= len(columns) <= MAX_FEATURES:
        raise ValueError(
            f"pair_plot draws 2 to {MAX_FEATURES} features, got {len(columns)}, which would be "
            f"{len(columns) ** 2} panels. Choose columns: features=(0, 1, 2, 3)."
        )
    return _examples.columns("pair_plot", x, columns, len(columns))


def _draw_histogram(ax: Any, x: np.ndarray, y: np.ndarray, low: float, high: float) -> None:
    """Histograms by class, scaled to the vertical range, which is shared with the row's feature."""
    first, last = _examples.finite_range(x)
    edges = np.linspace(first, last if last > first else high, 13)
    counts = {c: np.histogram(x[y == c], edges)[0] for c in np.unique(y)}
    highest = max(1, *(int(count.max()) for count in counts.values()))
    for c, count in counts.items():
        heights = low + 0.94 * (high - low) * count / highest
        style = {"color": _canvas.colour(c), "linestyle": _canvas.line(c), "linewidth": 1.2}
        ax.stairs(heights, edges, baseline=low, **style)
        if len(counts) <= MAX_FILLED:
            ax.stairs(heights, edges, baseline=low, color=_canvas.colour(c), alpha=0.2, fill=True)


def _label(ax: Any, xlabel: str, ylabel: str) -> None:
    """Labels and tick labels at the left and lower edge of the figure only."""
    _canvas.style_axes(ax, xlabel, ylabel)
    ax.tick_params(labelsize=8, labelbottom=bool(xlabel), labelleft=bool(ylabel))
    ax.xaxis.label.set_fontsize(_canvas.SMALL)
    ax.yaxis.label.set_fontsize(_canvas.SMALL)
