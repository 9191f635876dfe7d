"""Scatter plots of data and predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnet import _check
from funcnet.data import Scaler
from funcnet.report import _canvas, _examples


def scatter(
    data: Any,
    axes: Any = None,
    *,
    title: str = "",
    features: Sequence[int] | None = None,
    feature_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    target_name: str = "target",
) -> Any:
    """A scatter plot of data: two features by class, or a target against one feature.

    Args:
        data: a Dataset or tuple (x, y). With x [n, features] and class numbers y [n] or [n, 1], two
            features are drawn by class; with x [n] or [n, 1] and numbers y, y is drawn against x.
        axes: matplotlib axes; a new figure if None.
        title: title of the axes.
        features: the two columns of x to draw; required if there are more than two.
        feature_names: the name of each column of x, with its unit.
        class_names: the name of class 0, 1, …
        target_name: label of y, with its unit, if x has one feature.

    Returns:
        The axes.

    Raises:
        ValueError: if `features` is missing, y does not hold class numbers, or there are too few names.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> data = (jnp.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), jnp.array([0, 1, 1]))
        >>> ax = fn.report.scatter(data, Figure().subplots(), class_names=["no", "yes"])
        >>> [(points.get_label(), len(points.get_offsets())) for points in ax.collections]
        [('no', 1), ('yes', 2)]
    """
    _check.strings(title=title, target_name=target_name)
    x, y = _examples.pairs("scatter", data)
    if x.ndim == 1 or x.shape[1] == 1:
        x, y = _examples.line_data("scatter", data)
        name = "feature" if feature_names is None else _examples.names("feature_names", feature_names, 1)[0]
        ax = _canvas.panel(axes, "scatter")
        draw_pairs(ax, x, y, "")
        return _canvas.finish(ax, name, target_name, title)
    columns = _examples.two_columns("scatter", x, features)
    y = _examples.class_numbers("scatter", y, len(x))
    feature_names = _examples.names("feature_names", feature_names, x.shape[1])
    class_names = _examples.names("class_names", class_names, int(y.max()) + 1)
    ax = _canvas.panel(axes, "scatter", _canvas.class_panel_size(class_names))
    draw_classes(ax, x[:, columns], y, class_names)
    return _canvas.finish_classes(ax, feature_names[columns[0]], feature_names[columns[1]], title)


def predictions(
    model: Any,
    data: Any,
    axes: Any = None,
    *,
    scaler: Scaler | None = None,
    features: Sequence[int] | None = None,
    feature_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Any:
    """Predicted and true classes side by side, with rings around wrong predictions.

    Args:
        model: called on one example x [features], returns a logit of shape () or (1,), or logits
            [classes].
        data: a Dataset or tuple (x, y): x [n, features] in its own units, y class numbers [n] or
            [n, 1].
        axes: two matplotlib axes; a new figure if None.
        scaler: applied to x before the model; none by default.
        features: the two columns of x to draw; required if there are more than two.
        feature_names: the name of each column of x, with its unit.
        class_names: the name of class 0, 1, …

    Returns:
        The axes, as a numpy array [2].

    Raises:
        TypeError: if the model is not callable.
        ValueError: if `features` is missing, y does not hold class numbers, there are too few names, or
            the model is a vmapped model.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> data = (jnp.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), jnp.array([0, 1, 1]))
        >>> left, right = fn.report.predictions(lambda x: x[0] - x[1], data, Figure().subplots(1, 2))
        >>> left.get_title(), right.get_title()
        ('predicted: 1 of 3 wrong', 'true')
    """
    x, y = _examples.pairs("predictions", data)
    columns = _examples.two_columns("predictions", x, features)
    y = _examples.class_numbers("predictions", y, len(x))
    logits = _examples.outputs("predictions", model, x, scaler)
    predicted = _examples.classes_of(logits)
    feature_names = _examples.names("feature_names", feature_names, x.shape[1])
    class_names = _examples.names("class_names", class_names, max(2, logits.shape[1], int(y.max()) + 1))
    size = _canvas.class_panel_size([*class_names, "wrong"])
    axes = _canvas.panels(axes, ["predicted", "true"], "predictions", size=size, sharex=True, sharey=True)
    wrong = predicted != y
    titles = (f"predicted: {wrong.sum()} of {len(y)} wrong", "true")
    for ax, classes, title in zip(axes, (predicted, y), titles, strict=True):
        draw_classes(ax, x[:, columns], classes, class_names)
        if wrong.any():
            style = {"s": 3 * _size(len(x)), "facecolors": "none", "edgecolors": "black", "linewidths": 1.1}
            ax.scatter(*x[wrong][:, columns].T, label="wrong", **style)
        _canvas.finish_classes(ax, feature_names[columns[0]], feature_names[columns[1]], title)
    return axes


def draw_classes(
    ax: Any, x: np.ndarray, y: np.ndarray, class_names: Sequence[str], *, scale: float = 1.0
) -> None:
    """Draw points x [n, 2] with the colour and marker of their class y [n], their area times `scale`."""
    size = max(6.0, scale * _size(len(x)))
    edge = 0.5 if size > 25 else 0.2
    for c in np.unique(y):
        ax.scatter(
            *x[y == c].T,
            **{"s": size, "marker": _canvas.marker(c), "label": class_names[c], "zorder": 3},
            **{"color": _canvas.colour(c), "edgecolor": "white", "linewidth": edge},
        )


def draw_pairs(ax: Any, x: np.ndarray, y: np.ndarray, label: str, *, valid: bool = False) -> None:
    """Draw points (x, y), validation data as crosses."""
    if valid:
        style = {"marker": "x", "color": _canvas.GREEN, "linewidth": 1.4}
    else:
        style = {"marker": "o", "color": _canvas.BLUE, "edgecolor": "white", "linewidth": 0.5}
    ax.scatter(x.reshape(-1), y, s=_size(len(y)), zorder=3, label=label, **style)


def _size(points: int) -> float:
    return float(np.clip(9000 / points, 8, 40))
