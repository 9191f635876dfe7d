"""Bias-variance decompositions and learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from funcnet import _check
from funcnet.report import _canvas, _examples
from funcnet.study import BiasVarianceResult, Curve

PARTS = {
    "error": ("error", _canvas.BLACK, "-"),
    "bias_squared": ("bias²", _canvas.BLUE, "--"),
    "bias": ("bias", _canvas.BLUE, "--"),
    "bias_and_noise": ("bias and noise", _canvas.BLUE, "--"),
    "variance": ("variance", _canvas.VERMILLION, "-."),
    "noise": ("noise", _canvas.GREY, ":"),
}
WIDE_RANGE = 20
"""An axis is logarithmic if its largest value is more than this many times the smallest."""


def bias_variance(
    results: BiasVarianceResult | Mapping[Any, BiasVarianceResult], axes: Any = None, *, xlabel: str = ""
) -> Any:
    """Error, bias, variance and noise with 95 % bands, by epoch or by capacity, or as bars.

    Bands are ±1.96 standard errors. A horizontal axis of positive numbers over a wide range is logarithmic.

    Args:
        results: the result of `fn.study.bias_variance`, drawn by epoch if it has `epochs` and as bars
            otherwise; or a mapping from capacities (or other labels) to results without `epochs`.
        axes: matplotlib axes; a new figure if None.
        xlabel: label of the horizontal axis; "epochs" or "capacity" by default.

    Returns:
        The axes.

    Raises:
        TypeError: if `results` is neither a result nor a mapping of results.
        ValueError: if the mapping is empty, or one of its results has epochs.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> def result(bias, variance):
        ...     mean = {"bias_and_noise": bias, "variance": variance, "error": bias + variance}
        ...     error = dict.fromkeys(mean, jnp.array(0.1))
        ...     return fn.study.BiasVarianceResult(mean, error, {}, jnp.zeros((9, 1)))
        >>> results = {1: result(jnp.array(2.0), jnp.array(0.5)), 3: result(jnp.array(1.0), jnp.array(1.5))}
        >>> ax = fn.report.bias_variance(results, Figure().subplots(), xlabel="degree")
        >>> [(line.get_label(), line.get_ydata().tolist()) for line in ax.lines]
        [('error', [2.5, 2.5]), ('bias and noise', [2.0, 1.0]), ('variance', [0.5, 1.5])]
    """
    _check.strings(xlabel=xlabel)
    if isinstance(results, BiasVarianceResult):
        if results.epochs is None:
            return _bars(results, _canvas.panel(axes, "bias_variance"), xlabel)
        return _lines([results], np.asarray(results.epochs).tolist(), axes, xlabel or "epochs")
    values: list[Any] = list(results.values()) if isinstance(results, Mapping) else [None]
    if not values:
        raise ValueError(
            "results must hold at least one result, got an empty mapping. Try {width: result}."
        )
    if not all(isinstance(result, BiasVarianceResult) for result in values):
        raise TypeError(
            "results must be a result of fn.study.bias_variance or a mapping from capacities to such "
            f"results, got {type(results).__name__}."
        )
    if any(result.epochs is not None for result in values):
        raise ValueError(
            "results in a mapping must not have epochs. Draw one at a time: "
            "bias_variance(results[capacity])."
        )
    return _lines(values, list(results), axes, xlabel or "capacity")


def learning_curve(curve: Curve, axes: Any = None) -> Any:
    """Training and validation scores by number of training rows or by capacity, with 95 % bands.

    Bands are ±1.96 standard errors over the repeats; a single repeat has no band. Axes of positive numbers
    over a wide range are logarithmic.

    Args:
        curve: the result of `fn.study.learning_curve` or `fn.study.capacity_curve`.
        axes: matplotlib axes, one for the loss and one for each metric; a new figure if None.

    Returns:
        The axes, as a numpy array [1 + metrics].

    Raises:
        TypeError: if `curve` is not a Curve.
        ValueError: if the number of axes is wrong.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> scores = {"loss": np.array([[0.1, 0.3], [0.2, 0.2]]), "val_loss": np.array([[2.0, 4], [1, 1]])}
        >>> curve = fn.study.Curve("training rows", (10, 20), scores)
        >>> (ax,) = fn.report.learning_curve(curve, Figure().subplots())
        >>> ax.get_xlabel(), [(line.get_label(), line.get_ydata().tolist()) for line in ax.lines]
        ('training rows', [('training', [0.2, 0.2]), ('validation', [3.0, 1.0])])
    """
    if not isinstance(curve, Curve):
        raise TypeError(
            "curve must be a result of fn.study.learning_curve or capacity_curve, got "
            f"{type(curve).__name__}. For one run by epoch: fn.report.history(run)."
        )
    if missing := [
        name for name in curve.scores if f"val_{name}" not in curve.scores and name[:4] != "val_"
    ]:
        raise ValueError(f"curve must hold a score val_{missing[0]} beside {missing[0]!r}.")
    metrics = [name for name in curve.scores if not name.startswith("val_") and name != "loss"]
    names = ["loss", *metrics]
    axes = _canvas.panels(axes, names, "learning_curve")
    for ax, name in zip(axes, names, strict=True):
        mean, error = curve.mean, curve.standard_error
        _band(ax, curve.x, mean[name], error[name], "training", _canvas.BLUE, "-")
        validation = f"val_{name}"
        _band(ax, curve.x, mean[validation], error[validation], "validation", _canvas.VERMILLION, "--")
        _scale_x(ax, curve.x)
        if name == "loss" and _is_wide(mean[validation]):
            _scale_y(ax, mean[name], mean[validation])
        _canvas.finish(ax, curve.x_name, name.replace("_", " "))
    return axes


def _lines(results: Sequence[BiasVarianceResult], positions: Sequence[Any], axes: Any, xlabel: str) -> Any:
    """A line for each part, over several results or over the epochs of one result."""
    ax = _canvas.panel(axes, "bias_variance")
    for name in (name for name in PARTS if name in results[0].mean):
        mean = np.ravel([np.asarray(result.mean[name]) for result in results])
        error = np.ravel([np.asarray(result.standard_error[name]) for result in results])
        _band(ax, positions, mean, error, *PARTS[name])
    _scale_x(ax, positions)
    return _canvas.finish(ax, xlabel, "part of the error")


def _bars(result: BiasVarianceResult, ax: Any, xlabel: str) -> Any:
    names = [name for name in PARTS if name in result.mean]
    heights = [float(result.mean[name]) for name in names]
    errors = [1.96 * float(result.standard_error[name]) for name in names]
    colours = [PARTS[name][1] for name in names]
    ax.bar([PARTS[name][0] for name in names], heights, yerr=errors, color=colours, alpha=0.7, capsize=4)
    return _canvas.finish(ax, xlabel, "part of the error")


def _band(
    ax: Any, positions: Sequence[Any], mean: Any, error: Any, label: str, colour: str, line: str
) -> None:
    """A line through the means with a band of ±1.96 standard errors."""
    x = _coordinates(positions)
    ax.plot(x, mean, color=colour, linestyle=line, marker="o", markersize=4, linewidth=1.8, label=label)
    with np.errstate(invalid="ignore"):  # no band where both are infinite
        low, high = mean - 1.96 * error, mean + 1.96 * error
    ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def _coordinates(positions: Sequence[Any]) -> np.ndarray:
    """Horizontal coordinates: numbers as they are, labels as 0, 1, …"""
    numeric = all(isinstance(position, int | float | np.number) for position in positions)
    return np.asarray(positions if numeric else range(len(positions)), float)


def _scale_x(ax: Any, positions: Sequence[Any]) -> None:
    x = _coordinates(positions)
    if not np.array_equal(x, np.arange(len(x))) and _is_wide(x):
        _canvas.use_log_x_axis(ax)
    elif isinstance(positions[0], str):
        ax.set_xticks(x, [_canvas.truncate(label) for label in positions])
    elif all(isinstance(position, int) for position in positions):
        _canvas.use_integer_ticks(ax)


def _scale_y(ax: Any, training: np.ndarray, validation: np.ndarray) -> None:
    """A logarithmic axis that shows the whole validation loss, but no training loss far below it."""
    ax.set_yscale("log")
    ax.set_ylim(bottom=max(_examples.finite_range(training)[0], validation.min() / WIDE_RANGE) / 2)


def _is_wide(values: np.ndarray) -> bool:
    return bool(np.all((values > 0) & np.isfinite(values)) and values.max() > WIDE_RANGE * values.min())
