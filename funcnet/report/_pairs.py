"""All features against all."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnet.report import _canvas, _examples
from funcnet.report._scatter import draw_classes

MOST_FEATURES = 8
MOST_FILLED = 4
"""Of more classes only the outlines are drawn."""
SIZE = (1.75, 1.55)
"""Inches of a panel."""


def pair_plot(
    data: Any,
    axes: Any = None,
    *,
    features: Sequence[int] | None = None,
    feature_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Any:
    """Every pair of features by class, and the histogram of each feature on the diagonal.

    The panels of a row share their vertical range and those of a column their horizontal one;
    histograms fill the height of their panel, each class as high as its count.

    Args:
        data: a Dataset or tuple (x, y): x [n, features], y class numbers [n] or [n, 1].
        axes: matplotlib axes, [drawn features, drawn features]; made when left out.
        features: the columns of x that are drawn, 2 to 8; needed for more than 8, of which the
            panels would be too small to read.
        feature_names: the name of each column of x, with its unit.
        class_names: the name of class 0, 1, …

    Returns:
        The axes, as a numpy array [drawn features, drawn features].

    Raises:
        ValueError: if there are fewer than 2 or more than 8 features to draw, y holds no class
            numbers, or the names are too few.

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
    shown = _chosen(x, features)
    feature_names = _examples.names("feature_names", feature_names, x.shape[1])
    class_names = _examples.names("class_names", class_names, int(y.max()) + 1)
    count, x = len(shown), x[:, shown]
    pairs = [f"{i} by {j}" for i in shown for j in shown]
    axes = _canvas.panels(axes, pairs, "pair_plot", columns=count, size=SIZE)
    axes = axes.reshape(count, count)
    low, high = _examples.limits(x)
    for (row, column), ax in np.ndenumerate(axes):
        if row == column:
            _draw_histogram(ax, x[:, row], y, float(low[row]), float(high[row]))
        else:
            draw_classes(ax, x[:, [column, row]], y, class_names, scale=0.4)
        ax.set(xlim=(low[column], high[column]), ylim=(low[row], high[row]))
        xlabel = feature_names[shown[column]] if row == count - 1 else ""
        _name(ax, xlabel, feature_names[shown[row]] if column == 0 else "")
    handles, labels = axes[1, 0].get_legend_handles_labels()
    _canvas.figure_legend(axes[0, 0].figure, SIZE[0] * count, handles, labels)
    return axes


def _chosen(x: np.ndarray, features: Sequence[int] | None) -> list[int]:
    if x.ndim != 2 or x.shape[1] < 2:
        raise ValueError(f"pair_plot draws 2 features and more; x has shape {x.shape}.")
    chosen = range(x.shape[1]) if features is None else features
    if not 2 <= len(chosen) <= MOST_FEATURES:
        raise ValueError(
            f"pair_plot draws 2 to {MOST_FEATURES} features; {len(chosen)} would be {len(chosen) ** 2} "
            "panels. Choose columns: features=(0, 1, 2, 3)."
        )
    return _examples.columns("pair_plot", x, chosen, len(chosen))


def _draw_histogram(ax: Any, x: np.ndarray, y: np.ndarray, low: float, high: float) -> None:
    """Outlines by class. Heights are scaled to the vertical range, which belongs to the row's feature."""
    edges = np.linspace(x.min(), x.max() if x.max() > x.min() else x.min() + 1, 13)
    counts = {c: np.histogram(x[y == c], edges)[0] for c in np.unique(y)}
    tallest = max(int(count.max()) for count in counts.values())
    for c, count in counts.items():
        heights = low + 0.94 * (high - low) * count / tallest
        look = {"color": _canvas.colour(c), "linestyle": _canvas.line(c), "linewidth": 1.2}
        ax.stairs(heights, edges, baseline=low, **look)
        if len(counts) <= MOST_FILLED:
            ax.stairs(heights, edges, baseline=low, color=_canvas.colour(c), alpha=0.2, fill=True)


def _name(ax: Any, xlabel: str, ylabel: str) -> None:
    """Labels and numbers at the left and lower edge of the whole only."""
    _canvas.frame(ax, xlabel, ylabel)
    ax.tick_params(labelsize=8, labelbottom=bool(xlabel), labelleft=bool(ylabel))
    ax.xaxis.label.set_fontsize(_canvas.SMALL)
    ax.yaxis.label.set_fontsize(_canvas.SMALL)
