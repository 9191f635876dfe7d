"""Fitted functions of one feature, over the data that they were fitted to."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from funcnet import _check
from funcnet.data import Scaler
from funcnet.report import _canvas, _examples
from funcnet.report._scatter import draw_pairs

CURVE_POINTS = 400
"""Points along a curve."""


def regression_line(
    model: Any,
    data: Any,
    axes: Any = None,
    *,
    valid: Any = None,
    scaler: Scaler | None = None,
    feature_name: str = "feature",
    target_name: str = "target",
    title: str = "",
) -> Any:
    """The data of one feature and the predictions of a model over their range.

    Args:
        model: called on one example x of shape () or (1,), returns a number of shape () or (1,).
        data: a Dataset or tuple (x, y): x [n] or [n, 1] in its own units, y [n] or [n, 1].
        axes: matplotlib axes; a new figure if None.
        valid: validation data (x, y), drawn as crosses.
        scaler: applied to x before the model; none by default.
        feature_name: label of the horizontal axis, with its unit.
        target_name: label of the vertical axis, with its unit.
        title: title of the axes.

    Returns:
        The axes.

    Raises:
        TypeError: if the model is not callable.
        ValueError: if x has more than one feature, the model returns more than one number, or it is a
            vmapped model.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> data = (jnp.array([0.0, 1.0, 2.0]), jnp.array([0.1, 1.9, 4.2]))
        >>> ax = fn.report.regression_line(lambda x: 2 * x, data, Figure().subplots())
        >>> ax.lines[0].get_ydata()[[0, -1]].tolist()
        [0.0, 4.0]
    """
    names = {"feature_name": feature_name, "target_name": target_name}
    _check.strings(title=title, **names)
    axes = None if axes is None else [axes]
    return _draw({title: model}, data, axes, "regression_line", valid, scaler, **names)[0]


def fitted_curves(
    models: Mapping[str, Any],
    data: Any,
    axes: Any = None,
    *,
    valid: Any = None,
    scaler: Scaler | None = None,
    feature_name: str = "feature",
    target_name: str = "target",
) -> Any:
    """Several fitted functions over the same data, side by side, such as an underfit and an overfit.

    All panels have the same range, that of the data with a margin; curves are clipped to it.

    Args:
        models: a mapping from the title of each panel to a model, as for `regression_line`.
        data: a Dataset or tuple (x, y): x [n] or [n, 1] in its own units, y [n] or [n, 1].
        axes: matplotlib axes, one for each model; a new figure if None.
        valid: validation data (x, y), drawn as crosses.
        scaler: applied to x before every model; none by default.
        feature_name: label of the horizontal axis, with its unit.
        target_name: label of the vertical axis, with its unit.

    Returns:
        The axes, as a numpy array [models].

    Raises:
        TypeError: if `models` is not a mapping with at least one model, or a model is not callable.
        ValueError: if x has more than one feature, or a model returns more than one number.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> data = (jnp.array([0.0, 1.0, 2.0]), jnp.array([0.0, 2.0, 4.0]))
        >>> models = {"underfit": lambda x: 0 * x + 2, "fit": lambda x: 2 * x}
        >>> axes = fn.report.fitted_curves(models, data, Figure().subplots(1, 2))
        >>> [ax.get_title() for ax in axes]
        ['underfit', 'fit']
    """
    if not isinstance(models, Mapping) or not models:
        raise TypeError(
            "models must be a mapping from titles to models with at least one entry, got "
            f"{_check.describe(models)}. Try {{'linear': line, 'MLP': run.model}}."
        )
    names = {"feature_name": feature_name, "target_name": target_name}
    _check.strings(**names)
    return _draw(models, data, axes, "fitted_curves", valid, scaler, **names)


def _draw(
    models: Mapping[str, Any],
    data: Any,
    axes: Any,
    function: str,
    valid: Any,
    scaler: Scaler | None,
    feature_name: str,
    target_name: str,
) -> np.ndarray:
    x, y = _examples.line_data(function, data)
    validation = None if valid is None else _examples.line_data(function, valid, "valid")
    points = np.stack([x.reshape(-1), y], axis=1)
    if validation is not None:
        points = np.concatenate([points, np.stack([validation[0].reshape(-1), validation[1]], axis=1)])
    grid = np.linspace(*_examples.finite_range(points[:, 0]), CURVE_POINTS)
    inputs = _examples.to_inputs(grid, x)
    curves = {title: _curve(function, model, inputs, scaler) for title, model in models.items()}
    limits = _range(points[:, 1], np.concatenate(list(curves.values())))
    axes = _canvas.panels(axes, [title or function for title in models], function, sharey=True)
    for ax, (title, curve) in zip(axes, curves.items(), strict=True):
        draw_pairs(ax, x, y, "training" if valid is not None else "")
        if validation is not None:
            draw_pairs(ax, *validation, "validation", valid=True)
        ax.plot(grid, curve, color=_canvas.VERMILLION, linewidth=1.8, label="prediction", zorder=2)
        ax.set_ylim(*limits)
        _canvas.finish(ax, feature_name, target_name, title)
    return axes


def _curve(function: str, model: Any, inputs: np.ndarray, scaler: Scaler | None) -> np.ndarray:
    predictions = _examples.outputs(function, model, inputs, scaler)
    if predictions.shape[1] != 1:
        raise ValueError(
            f"the model of {function} must return one number for each example, got {predictions.shape[1]}. "
            "Draw one of them: lambda x: model(x)[0]."
        )
    return predictions[:, 0]


def _range(points: np.ndarray, curve: np.ndarray) -> tuple[float, float]:
    """The vertical range of the points, extended for the curve by at most 40 % at each end."""
    low, high = _examples.finite_range(points)
    height = (high - low) or max(1.0, 0.1 * abs(high))
    low, high = low - 0.05 * height, high + 0.05 * height
    finite = curve[np.isfinite(curve)]
    if finite.size:
        low = max(low - 0.4 * height, min(low, float(finite.min()) - 0.05 * height))
        high = min(high + 0.4 * height, max(high, float(finite.max()) + 0.05 * height))
    return low, high
