"""Fitted functions of one feature, over the points that they were fitted to."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from funcnet import _check
from funcnet.data import Scaler
from funcnet.report import _canvas, _examples
from funcnet.report._scatter import draw_pairs

PLACES = 400
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
    """What a model of one feature predicts, from the smallest to the largest feature, and the points.

    Args:
        model: called on one example x of shape () or (1,), gives a number of shape () or (1,).
        data: a Dataset or tuple (x, y): x [n] or [n, 1] in its own units, y [n] or [n, 1].
        axes: matplotlib axes; made when left out.
        valid: validation rows of the same kind, drawn as crosses.
        scaler: what x goes through before the model; nothing when left out.
        feature_name: what x is, with its unit.
        target_name: what y is, with its unit.
        title: above the axes.

    Returns:
        The axes.

    Raises:
        TypeError: if the model can't be called.
        ValueError: if x has more than one feature, the model gives more than one number, or it was
            made by vmap.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> data = (jnp.array([0.0, 1.0, 2.0]), jnp.array([0.1, 1.9, 4.2]))
        >>> ax = fn.report.regression_line(lambda x: 2 * x, data, Figure().subplots())
        >>> ax.lines[0].get_ydata()[[0, -1]].tolist()
        [0.0, 4.0]
    """
    names = {"feature_name": feature_name, "target_name": target_name}
    axes = None if axes is None else [axes]
    return _draw({title: model}, data, axes, "regression_line", valid, scaler, **names)[0]


def fits(
    models: Mapping[str, Any],
    data: Any,
    axes: Any = None,
    *,
    valid: Any = None,
    scaler: Scaler | None = None,
    feature_name: str = "feature",
    target_name: str = "target",
) -> Any:
    """Several fitted functions over the same points, side by side: too simple, too rich, as wanted.

    All panels have the same range, that of the points and a little more; a curve that leaves it is cut.

    Args:
        models: by the title of its panel, a model as for `regression_line`.
        data: a Dataset or tuple (x, y): x [n] or [n, 1] in its own units, y [n] or [n, 1].
        axes: matplotlib axes, one for each model; made when left out.
        valid: validation rows of the same kind, drawn as crosses.
        scaler: what x goes through before every model; nothing when left out.
        feature_name: what x is, with its unit.
        target_name: what y is, with its unit.

    Returns:
        The axes, as a numpy array [models].

    Raises:
        TypeError: if `models` is no mapping or one can't be called.
        ValueError: if there is no model, x has more than one feature, or a model gives more than one
            number.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> data = (jnp.array([0.0, 1.0, 2.0]), jnp.array([0.0, 2.0, 4.0]))
        >>> models = {"underfit": lambda x: 0 * x + 2, "fit": lambda x: 2 * x}
        >>> axes = fn.report.fits(models, data, Figure().subplots(1, 2))
        >>> [ax.get_title() for ax in axes]
        ['underfit', 'fit']
    """
    if not isinstance(models, Mapping) or not models:
        raise TypeError(
            f"fits wants a mapping from titles to models, at least one; got {_check.describe(models)}. "
            "Try {'a line': line, 'a network': run.model}."
        )
    names = {"feature_name": feature_name, "target_name": target_name}
    return _draw(models, data, axes, "fits", valid, scaler, **names)


def _draw(
    models: Mapping[str, Any],
    data: Any,
    axes: Any,
    what: str,
    valid: Any,
    scaler: Scaler | None,
    feature_name: str,
    target_name: str,
) -> np.ndarray:
    x, y = _examples.line_data(what, data)
    held_out = None if valid is None else _examples.line_data(what, valid)
    points = np.stack([x.reshape(-1), y], axis=1)
    if held_out is not None:
        points = np.concatenate([points, np.stack([held_out[0].reshape(-1), held_out[1]], axis=1)])
    places = np.linspace(points[:, 0].min(), points[:, 0].max(), PLACES)
    inputs = places.reshape(-1, *x.shape[1:]).astype(x.dtype)
    curves = {title: _curve(what, model, inputs, scaler) for title, model in models.items()}
    ends = _range(points[:, 1], np.concatenate(list(curves.values())))
    axes = _canvas.panels(axes, [title or what for title in models], what, sharey=True)
    for ax, (title, curve) in zip(axes, curves.items(), strict=True):
        draw_pairs(ax, x, y, "training" if valid is not None else "")
        if held_out is not None:
            draw_pairs(ax, *held_out, "validation", valid=True)
        ax.plot(places, curve, color=_canvas.VERMILLION, linewidth=1.8, label="prediction", zorder=2)
        ax.set_ylim(*ends)
        _canvas.finish(ax, feature_name, target_name, title)
    return axes


def _curve(what: str, model: Any, inputs: np.ndarray, scaler: Scaler | None) -> np.ndarray:
    predicted = _examples.outputs(what, model, inputs, scaler)
    if predicted.shape[1] != 1:
        raise ValueError(
            f"{what} draws one number for each example; this model gives {predicted.shape[1]}. Draw one "
            "of them: lambda x: model(x)[0]."
        )
    return predicted[:, 0]


def _range(points: np.ndarray, curve: np.ndarray) -> tuple[float, float]:
    """The range of the points, wider by what the curve needs but not by more than 40 %."""
    low, high = float(points.min()), float(points.max())
    spread = (high - low) or 1.0
    low, high = low - 0.05 * spread, high + 0.05 * spread
    finite = curve[np.isfinite(curve)]
    if finite.size:
        low = max(low - 0.4 * spread, min(low, float(finite.min()) - 0.05 * spread))
        high = min(high + 0.4 * spread, max(high, float(finite.max()) + 0.05 * spread))
    return low, high
