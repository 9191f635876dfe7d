"""Confusion matrices and reliability diagrams of classifiers."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._types import ArrayLike
from funcnet.report import _canvas, _examples

MAX_BINS = 1000
MAX_CLASSES_WITH_COUNTS = 20
"""With more classes the cells are too small for numbers."""


def calibration(logits: ArrayLike, targets: ArrayLike, axes: Any = None, *, bins: int = 10) -> Any:
    """A reliability diagram: observed frequency against predicted probability.

    For one logit: the predicted probability of class 1 and the frequency of class 1. For several logits:
    the probability of the predicted class and its accuracy. Points on the diagonal are perfectly
    calibrated. Bars are 95 % Wilson intervals; the lower panel is the number of examples in each bin.

    Args:
        logits: the output of `fn.predict`, [n] or [n, 1] for two classes, or [n, classes]. For
            probabilities p pass log(p) of shape [n, classes], or jax.scipy.special.logit(p) of shape [n].
        targets: class numbers [n] or [n, 1].
        axes: two matplotlib axes; a new figure if None.
        bins: number of equal bins between 0 and 1; empty bins are not drawn.

    Returns:
        The axes, as a numpy array [2].

    Raises:
        TypeError: if `bins` is not an integer.
        ValueError: if the shapes don't match, a logit is NaN, or `bins` is below 1.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> logits, targets = np.array([-1.1, -1.1, -1.1, -1.1, 3.0]), np.array([0, 0, 0, 1, 1])
        >>> upper, lower = fn.report.calibration(logits, targets, Figure().subplots(2))
        >>> upper.lines[1].get_ydata().tolist(), [int(bar.get_height()) for bar in lower.patches]
        ([0.25, 1.0], [0, 0, 4, 0, 0, 0, 0, 0, 0, 1])

    Source: DeGroot, Fienberg, "The comparison and evaluation of forecasters", 1983; Wilson,
    "Probable inference, the law of succession, and statistical inference", 1927 (intervals).
    """
    bins = _check.count("bins", bins)
    if bins > MAX_BINS:
        raise ValueError(f"bins must be at most {MAX_BINS}, got {bins}. Try bins=10.")
    z, y = _logits_and_classes("calibration", logits, targets)
    if z.shape[1] == 1:
        probability, outcome = np.asarray(jax.nn.sigmoid(z[:, 0]), float), y == 1
        xlabel, ylabel = "predicted probability of class 1", "fraction of class 1"
    else:
        probability, outcome = _examples.probabilities(z).max(axis=1), z.argmax(axis=1) == y
        xlabel, ylabel = "probability of the predicted class", "accuracy"
    # Rounded, so that no rounding error moves 0.7 to the bin below it.
    index = np.minimum(np.round(probability * bins, 6).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    filled = count > 0
    predicted = np.bincount(index, probability, bins)[filled] / count[filled]
    observed = np.bincount(index, outcome, bins)[filled] / count[filled]
    ratios = {"sharex": True, "height_ratios": (3, 1)}
    size = (_canvas.PANEL[0], 0.6 * _canvas.PANEL[0])
    axes = _canvas.panels(axes, ["reliability", "counts"], "calibration", columns=1, size=size, **ratios)
    upper, lower = axes
    upper.plot(
        [0, 1], [0, 1], color=_canvas.GREY, linestyle=":", linewidth=1.2, label="perfectly calibrated"
    )
    errors = np.abs(wilson_interval(observed, count[filled]) - observed)
    upper.plot(predicted, observed, color=_canvas.BLUE, marker="o", linestyle="", label="observed")
    upper.vlines(predicted, observed - errors[0], observed + errors[1], color=_canvas.BLUE, linewidth=1.2)
    upper.set(xlim=(0, 1), ylim=(-0.03, 1.03))
    _canvas.finish(upper, "", ylabel)
    edges = np.arange(bins) / bins
    lower.bar(edges, count, width=1 / bins, align="edge", color=_canvas.BLUE, edgecolor="white")
    lower.set_xlim(0, 1)
    _canvas.finish(lower, xlabel, "examples")
    return axes


def confusion_matrix(
    predictions: ArrayLike,
    targets: ArrayLike | None = None,
    axes: Any = None,
    *,
    class_names: Sequence[str] | None = None,
) -> Any:
    """Counts by true class (rows) and predicted class (columns).

    The shade is the fraction of the row, so that rare classes are as visible as frequent ones.

    Args:
        predictions: logits [n, classes], or [n] or [n, 1] for two classes; predicted class numbers [n],
            integers; or, if `targets` is None, a matrix of counts [classes, classes].
        targets: class numbers [n] or [n, 1].
        axes: matplotlib axes; a new figure if None.
        class_names: the name of class 0, 1, …

    Returns:
        The axes.

    Raises:
        ValueError: if the shapes don't match, a count is negative, or there are too few names.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> ax = fn.report.confusion_matrix(np.array([[8, 2], [1, 9]]), axes=Figure().subplots())
        >>> [text.get_text() for text in ax.texts], ax.get_ylabel()
        (['8', '2', '1', '9'], 'true class')
    """
    counts = _check_counts(predictions) if targets is None else _count(predictions, targets)
    size = len(counts)
    names = _examples.names("class_names", class_names, size)
    if class_names is None:
        names = [str(c) for c in range(size)]
    side = float(np.clip(0.4 * size, 3.0, 10))
    longest = max(len(_canvas.truncate(name)) for name in names)
    ax = _canvas.panel(axes, "confusion_matrix", (side + 0.8 + 0.07 * longest, side + 0.05 * longest))
    fraction = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shades = _canvas.colour_map(["#FFFFFF", _canvas.BLUE])
    image = ax.imshow(fraction, cmap=shades, vmin=0, vmax=1, aspect="auto")
    if size <= MAX_CLASSES_WITH_COUNTS:
        _write_counts(ax, counts, fraction)
    _canvas.add_colour_bar(ax, image, "fraction of the true class", [0, 0.5, 1])
    _name_classes(ax, names)
    ax.set(xlabel="predicted class", ylabel="true class")
    return ax


def _logits_and_classes(
    function: str, logits: Any, targets: Any, name: str = "logits"
) -> tuple[np.ndarray, np.ndarray]:
    z, y = (_to_host(name, value) for name, value in ((name, logits), ("targets", targets)))
    if z.ndim not in (1, 2) or y.ndim == 0 or len(z) != len(y) or not z.size:
        raise ValueError(
            f"{name} must be logits of shape [n] or [n, classes] and targets class numbers [n], got shapes "
            f"{z.shape} and {y.shape}."
        )
    z = z.astype(np.result_type(z.dtype, np.float32)).reshape(len(z), -1)
    y = _examples.class_numbers(function, y, len(z))
    if np.isnan(z).any():
        raise ValueError(
            f"{name} must not be NaN, got NaN in {np.isnan(z).any(axis=1).sum()} of {len(z)} rows."
        )
    if y.max() >= max(2, z.shape[1]):
        raise ValueError(
            f"targets must be below the number of classes, got class {y.max()} and logits of "
            f"{max(2, z.shape[1])} classes."
        )
    return z, y


def _to_host(name: str, value: Any) -> np.ndarray:
    """An argument as a NumPy array of numbers; raise if it is traced."""
    if isinstance(value, jax.core.Tracer):
        raise TypeError(f"{name} must be concrete to be drawn, got a tracer. Draw outside of jit.")
    array = np.asarray(_check.array(name, value))
    return (
        array.astype(np.float32)
        if jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize < 4
        else array
    )


def wilson_interval(fraction: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The ends [2, bins] of the 95 % interval of a fraction observed in `count` cases."""
    z = 1.96
    middle = (fraction + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(fraction * (1 - fraction) / count + z**2 / (4 * count**2))
    return np.stack([middle - half, middle + half])


def _check_counts(matrix: Any) -> np.ndarray:
    counts = _to_host("predictions", matrix)
    counts = counts.astype(int) if counts.dtype == bool else counts
    is_square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] and counts.size > 0
    if not is_square or not ((counts >= 0) & np.isfinite(counts)).all():
        raise ValueError(
            "predictions without targets must be a square matrix of counts, finite and not negative, got "
            f"shape {counts.shape}. Try confusion_matrix(fn.predict(model, x), y)."
        )
    return counts


def _count(predictions: Any, targets: Any) -> np.ndarray:
    values = _to_host("predictions", predictions)
    if values.ndim == 1 and values.dtype.kind in "iu":
        y = _examples.class_numbers("confusion_matrix", _to_host("targets", targets), len(values))
        predicted = _examples.class_numbers("confusion_matrix", values, len(values))
        size = max(2, int(y.max()) + 1, int(predicted.max()) + 1)
    else:
        logits, y = _logits_and_classes("confusion_matrix", values, targets, "predictions")
        predicted, size = _examples.classes_of(logits), max(2, logits.shape[1])
    counts = np.zeros((size, size), int)
    np.add.at(counts, (y, predicted), 1)
    return counts


def _write_counts(ax: Any, counts: np.ndarray, fraction: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count:g}" if counts.dtype.kind == "f" else str(count)
        colour = "white" if fraction[row, column] > 0.55 else "black" if count else _canvas.GREY
        style = {"color": colour, "fontsize": 10 if len(counts) <= 6 else 8}
        ax.text(column, row, text, ha="center", va="center", **style)


def _name_classes(ax: Any, names: Sequence[str]) -> None:
    labels = [_canvas.truncate(name) for name in names]
    ticks = range(0, len(names), -(-len(names) // 40))
    rotation = (
        {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, labels)) > 3 else {}
    )
    ax.set_xticks(ticks, [labels[i] for i in ticks], fontsize=_canvas.SMALL, **rotation)
    ax.set_yticks(ticks, [labels[i] for i in ticks], fontsize=_canvas.SMALL)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
