"""Where an error comes from, and how it changes with rows and capacity."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from funcnet.report import _canvas
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
"""Values whose largest is so many times the smallest are drawn on a logarithmic axis."""


def bias_variance(
    results: BiasVarianceResult | Mapping[Any, BiasVarianceResult], axes: Any = None, *, xlabel: str = ""
) -> Any:
    """Error, bias, variance and noise, with bands of 95 %: as lines by epochs or capacity, or as bars.

    Bands are 1.96 standard errors to both sides. A horizontal axis of positive numbers over a wide range
    is logarithmic.

    Args:
        results: of `fn.study.bias_variance`. One with `epochs` is drawn by epoch, one without as bars;
            a mapping from capacities (or anything else) to results without, by capacity.
        axes: matplotlib axes; made when left out.
        xlabel: what stands at the horizontal axis; "epochs" or "capacity" when left out.

    Returns:
        The axes.

    Raises:
        TypeError: for something else than results.
        ValueError: for no result, or for results with epochs in a mapping.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> def found(bias, variance):
        ...     mean = {"bias_and_noise": bias, "variance": variance, "error": bias + variance}
        ...     error = dict.fromkeys(mean, jnp.array(0.1))
        ...     return fn.study.BiasVarianceResult(mean, error, {}, jnp.zeros((9, 1)))
        >>> results = {1: found(jnp.array(2.0), jnp.array(0.5)), 3: found(jnp.array(1.0), jnp.array(1.5))}
        >>> ax = fn.report.bias_variance(results, Figure().subplots(), xlabel="degree")
        >>> [(line.get_label(), line.get_ydata().tolist()) for line in ax.lines]
        [('error', [2.5, 2.5]), ('bias and noise', [2.0, 1.0]), ('variance', [0.5, 1.5])]
    """
    if isinstance(results, BiasVarianceResult):
        if results.epochs is None:
            return _bars(results, _canvas.panel(axes, "bias_variance"), xlabel)
        return _lines([results], np.asarray(results.epochs).tolist(), axes, xlabel or "epochs")
    every: list[Any] = list(results.values()) if isinstance(results, Mapping) else [None]
    if not every:
        raise ValueError("there is no result to draw. Try {width: result}.")
    if not all(isinstance(result, BiasVarianceResult) for result in every):
        raise TypeError(
            "bias_variance draws what fn.study.bias_variance found, or a mapping from capacities to such; "
            f"got {type(results).__name__}."
        )
    if any(result.epochs is not None for result in every):
        raise ValueError("results with epochs are drawn one by one: bias_variance(results[capacity]).")
    return _lines(every, list(results), axes, xlabel or "capacity")


def learning_curve(curve: Curve, axes: Any = None) -> Any:
    """Training and validation scores by number of training rows or by capacity, with bands of 95 %.

    Bands are 1.96 standard errors over the repeats to both sides. Axes of positive numbers over a wide
    range are logarithmic; for one repeat there is no band.

    Args:
        curve: of `fn.study.learning_curve` or `fn.study.capacity_curve`.
        axes: matplotlib axes, one for the loss and one for each metric; made when left out.

    Returns:
        The axes, as a numpy array [1 + metrics].

    Raises:
        TypeError: for something that is no Curve.
        ValueError: for another number of axes.

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
            "learning_curve draws what fn.study.learning_curve or capacity_curve found; got "
            f"{type(curve).__name__}. For one training by epoch: fn.report.history(run)."
        )
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


def _lines(results: Sequence[BiasVarianceResult], places: Sequence[Any], axes: Any, xlabel: str) -> Any:
    """A line for each part, over results or over the epochs of one."""
    ax = _canvas.panel(axes, "bias_variance")
    for name in (name for name in PARTS if name in results[0].mean):
        mean = np.ravel([np.asarray(result.mean[name]) for result in results])
        error = np.ravel([np.asarray(result.standard_error[name]) for result in results])
        _band(ax, places, mean, error, *PARTS[name])
    _scale_x(ax, places)
    return _canvas.finish(ax, xlabel, "part of the error")


def _bars(result: BiasVarianceResult, ax: Any, xlabel: str) -> Any:
    names = [name for name in PARTS if name in result.mean]
    heights = [float(result.mean[name]) for name in names]
    errors = [1.96 * float(result.standard_error[name]) for name in names]
    colours = [PARTS[name][1] for name in names]
    ax.bar([PARTS[name][0] for name in names], heights, yerr=errors, color=colours, alpha=0.7, capsize=4)
    return _canvas.finish(ax, xlabel, "part of the error")


def _band(
    ax: Any, places: Sequence[Any], mean: Any, error: Any, label: str, colour: str, line: str
) -> None:
    """A line through the means, and 1.96 standard errors around it."""
    x = _numbers(places)
    ax.plot(x, mean, color=colour, linestyle=line, marker="o", markersize=4, linewidth=1.8, label=label)
    ax.fill_between(x, mean - 1.96 * error, mean + 1.96 * error, color=colour, alpha=0.2, linewidth=0)


def _numbers(places: Sequence[Any]) -> np.ndarray:
    """Where places stand: numbers as they are, names one after the other."""
    numeric = all(isinstance(place, int | float | np.number) for place in places)
    return np.asarray(places if numeric else range(len(places)), float)


def _scale_x(ax: Any, places: Sequence[Any]) -> None:
    x = _numbers(places)
    if not np.array_equal(x, np.arange(len(x))) and _is_wide(x):
        _canvas.scale_x_by_powers(ax)
    elif isinstance(places[0], str):
        ax.set_xticks(x, [_canvas.short(place) for place in places])
    elif all(isinstance(place, int) for place in places):
        _canvas.number_epochs(ax)


def _scale_y(ax: Any, training: np.ndarray, validation: np.ndarray) -> None:
    """A logarithmic axis that shows all of the validation loss, and no training loss far below it."""
    ax.set_yscale("log")
    ax.set_ylim(bottom=max(training.min(), validation.min() / WIDE_RANGE) / 2)


def _is_wide(values: np.ndarray) -> bool:
    return bool(np.all(values > 0) and values.max() > WIDE_RANGE * values.min())
