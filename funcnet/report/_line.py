"""The decision boundary of a linear classifier."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnet import _check
from funcnet.data import Scaler
from funcnet.report import _canvas, _examples
from funcnet.report._scatter import draw_classes


def separating_line(
    model: Any,
    data: Any,
    axes: Any = None,
    *,
    scaler: Scaler | None = None,
    feature_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    title: str = "",
) -> Any:
    """The data and the line on which a linear classifier gives both classes probability one half.

    For one logit z = w·x + b the line is z = 0, since sigmoid(0) = 1/2; for two logits it is where they
    are equal. With a scaler z = w·(x - shift) / scale + b; the figure keeps the units of the data.

    Args:
        model: linear in x, called on one example x [2], returns one logit of shape () or (1,), or two
            logits.
        data: a Dataset or tuple (x, y): x [n, 2] in any units, y class numbers 0 and 1, [n] or [n, 1].
        axes: matplotlib axes; a new figure if None.
        scaler: applied to x before the model; none by default.
        feature_names: labels of the two axes, with units.
        class_names: the names of class 0 and 1.
        title: title of the axes.

    Returns:
        The axes.

    Raises:
        TypeError: if the model is not callable.
        ValueError: if x does not have two features, the model is not linear, does not return one or two
            logits, does not depend on x or is a vmapped model, or there are too few names.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> data = (jnp.array([[0.0, 0.0], [2.0, 1.0]]), jnp.array([0, 1]))
        >>> ax = fn.report.separating_line(lambda x: 4 * x[0] - 4, data, Figure().subplots())
        >>> ax.lines[0].get_xdata().round(5).tolist()
        [1.0, 1.0]
    """
    function = "separating_line"
    x, y = _examples.pairs(function, data)
    if x.shape[1:] != (2,):
        raise ValueError(
            f"x of {function} must have two features, got shape {x.shape}. Train on two columns, such as "
            "x[:, [0, 1]]; for more features use decision_surface(model, data, features=(0, 1))."
        )
    y = _examples.class_numbers(function, y, len(x))
    _check.strings(title=title)
    feature_names = _examples.names("feature_names", feature_names, 2)
    class_names = _examples.names("class_names", class_names, max(2, int(y.max()) + 1))
    low, high = _examples.limits(x)
    weight, bias = _affine(model, low, high, scaler, x.dtype)
    endpoints = _boundary(weight, bias) * (high - low) + low
    suffix = " (outside)" if abs(bias + weight.sum() / 2) > np.abs(weight).sum() / 2 else ""
    ax = _canvas.panel(axes, function, _canvas.class_panel_size([*class_names, "probability 1/2"]))
    draw_classes(ax, x, y, class_names)
    ax.plot(*endpoints.T, color="black", linewidth=1.8, label=f"probability 1/2{suffix}", zorder=2)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return _canvas.finish_classes(ax, feature_names[0], feature_names[1], title)


def _affine(
    model: Any, low: np.ndarray, high: np.ndarray, scaler: Scaler | None, dtype: Any
) -> tuple[np.ndarray, float]:
    """Weight [2] and bias of the logit of class 1, in axes coordinates from 0 to 1."""
    side = np.linspace(0.0, 1.0, 7)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    x = (low + grid * (high - low)).astype(dtype)
    logits = _examples.outputs("separating_line", model, x, scaler).astype(float)
    if logits.shape[1] > 2:
        raise ValueError(
            f"the model of separating_line must return one or two logits, got {logits.shape[1]}. For more "
            "classes use decision_surface(model, data)."
        )
    if not np.isfinite(logits).all():
        raise ValueError("the model of separating_line must return finite logits, got NaN or infinity.")
    logit = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
    inputs = np.column_stack([grid, np.ones(len(grid))])
    solution = np.linalg.lstsq(inputs, logit)[0]
    span = np.ptp(logit)
    if not span > 1e-5 * np.abs(logit).max():
        raise ValueError(
            "the model returns the same logit everywhere, so it has no separating line. Train it."
        )
    if np.abs(inputs @ solution - logit).max() > 1e-2 * span:
        raise ValueError(
            "the model of separating_line must be linear in x, got a model that is not linear in x. Use "
            "decision_surface(model, data)."
        )
    return solution[:2], float(solution[2])


def _boundary(weight: np.ndarray, bias: float) -> np.ndarray:
    """Two points [2, 2] of the line weight·x + bias = 0, far enough apart to cross the axes."""
    # The point of the line nearest to the centre, and from there more than half the diagonal both ways.
    nearest = 0.5 - (bias + weight.sum() / 2) * weight / (weight @ weight)
    direction = np.array([-weight[1], weight[0]]) / np.sqrt(weight @ weight)
    return nearest + np.array([[-0.75], [0.75]]) * direction
