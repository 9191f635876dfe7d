"""How often a classifier is right, and whether it knows."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from funcnet import _check
from funcnet._types import ArrayLike
from funcnet.report import _canvas, _examples

MOST_WITH_NUMBERS = 20
"""With more classes the cells are too small for their numbers."""


def calibration(logits: ArrayLike, targets: ArrayLike, axes: Any = None, *, bins: int = 10) -> Any:
    """A reliability diagram: how often it happens against how probable it was said to be.

    One logit: the predicted probability of class 1 and how often it is class 1. Several: the
    probability of the predicted class and how often it is right. Points on the diagonal are honest.
    Bars are 95 % Wilson intervals; below, how many examples are in each bin.

    Args:
        logits: what `fn.predict` gives, [n] or [n, 1] for two classes, or [n, classes]. Of
            probabilities p: log(p) for [n, classes], jax.scipy.special.logit(p) for [n].
        targets: class numbers [n] or [n, 1].
        axes: two matplotlib axes; made when left out.
        bins: into how many equal parts 0 .. 1 is cut; the empty ones are left out.

    Returns:
        The axes, as a numpy array [2].

    Raises:
        TypeError: if `bins` is no whole number.
        ValueError: if the shapes don't go together, a logit is NaN, or `bins` is below 1.

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
    _check.positive("bins", bins)
    z, y = _logits_and_classes("calibration", logits, targets)
    if z.shape[1] == 1:
        probability, happened = np.asarray(jax.nn.sigmoid(z[:, 0])), y == 1
        xlabel, ylabel = "predicted probability of class 1", "part of class 1"
    else:
        probability, happened = np.asarray(jax.nn.softmax(z)).max(axis=1), z.argmax(axis=1) == y
        xlabel, ylabel = "probability of the predicted class", "part that is right"
    place = np.minimum((probability * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    full = count > 0
    said = np.bincount(place, probability, bins)[full] / count[full]
    seen = np.bincount(place, happened, bins)[full] / count[full]
    ratios = {"sharex": True, "height_ratios": (3, 1)}
    size = (_canvas.PANEL[0], 0.6 * _canvas.PANEL[0])
    axes = _canvas.panels(axes, ["reliability", "counts"], "calibration", columns=1, size=size, **ratios)
    upper, lower = axes
    upper.plot([0, 1], [0, 1], color=_canvas.GREY, linestyle=":", linewidth=1.2, label="as predicted")
    errors = np.abs(_wilson(seen, count[full]) - seen)
    upper.plot(said, seen, color=_canvas.BLUE, marker="o", linestyle="", label="observed")
    upper.vlines(said, seen - errors[0], seen + errors[1], color=_canvas.BLUE, linewidth=1.2)
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
    """How often each class is predicted as each: rows are the true class, columns the predicted one.

    The shade is the part of the row, so that rare classes are seen as well as frequent ones.

    Args:
        predictions: logits [n, classes], or [n] or [n, 1] for two classes; or predicted class numbers
            [n], integers; or, without targets, a matrix of counts [classes, classes].
        targets: class numbers [n] or [n, 1].
        axes: matplotlib axes; made when left out.
        class_names: the name of class 0, 1, …

    Returns:
        The axes.

    Raises:
        ValueError: if the shapes don't go together, a count is negative, or the names are too few.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> ax = fn.report.confusion_matrix(np.array([[8, 2], [1, 9]]), axes=Figure().subplots())
        >>> [text.get_text() for text in ax.texts], ax.get_ylabel()
        (['8', '2', '1', '9'], 'true class')
    """
    counts = _matrix(predictions) if targets is None else _counted(predictions, targets)
    size = len(counts)
    names = _examples.names("class_names", class_names, size)
    if class_names is None:
        names = [str(c) for c in range(size)]
    side = float(np.clip(0.4 * size, 3.0, 10))
    longest = max(len(_canvas.short(name)) for name in names)
    ax = _canvas.panel(axes, "confusion_matrix", (side + 0.8 + 0.07 * longest, side + 0.05 * longest))
    part = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shades = _canvas.colour_map(["#FFFFFF", _canvas.BLUE])
    image = ax.imshow(part, cmap=shades, vmin=0, vmax=1, aspect="auto")
    if size <= MOST_WITH_NUMBERS:
        _write_counts(ax, counts, part)
    _canvas.colour_bar(ax, image, "part of the true class", [0, 0.5, 1])
    _name_classes(ax, names)
    ax.set(xlabel="predicted class", ylabel="true class")
    return ax


def _logits_and_classes(what: str, logits: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    z, y = np.asarray(logits), np.asarray(targets)
    if z.ndim not in (1, 2) or y.ndim == 0 or len(z) != len(y) or not len(z):
        raise ValueError(
            f"{what} wants logits [n] or [n, classes] and class numbers [n]; got shapes {z.shape} and "
            f"{y.shape}."
        )
    z = z.astype(np.result_type(z.dtype, np.float32)).reshape(len(z), -1)
    y = _examples.class_numbers(what, y, len(z))
    if np.isnan(z).any():
        raise ValueError(f"{what} got NaN in {np.isnan(z).any(axis=1).sum()} of {len(z)} rows of logits.")
    if y.max() >= max(2, z.shape[1]):
        raise ValueError(
            f"{what} got {max(2, z.shape[1])} classes of logits and a target of class {y.max()}."
        )
    return z, y


def _wilson(part: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The ends [2, bins] of the 95 % interval of a part that was seen in `count` cases."""
    z = 1.96
    middle = (part + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(part * (1 - part) / count + z**2 / (4 * count**2))
    return np.stack([middle - half, middle + half])


def _matrix(given: Any) -> np.ndarray:
    counts = np.asarray(given)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size or not (counts >= 0).all():
        raise ValueError(
            "confusion_matrix wants a square matrix of counts, none negative, or predictions and targets; "
            f"got shape {counts.shape} alone. Try confusion_matrix(fn.predict(model, x), y)."
        )
    return counts


def _counted(predictions: Any, targets: Any) -> np.ndarray:
    given = np.asarray(predictions)
    if given.ndim == 1 and given.dtype.kind in "iu":
        y = _examples.class_numbers("confusion_matrix", np.asarray(targets), len(given))
        predicted = _examples.class_numbers("confusion_matrix", given, len(given))
        size = max(2, int(y.max()) + 1, int(predicted.max()) + 1)
    else:
        logits, y = _logits_and_classes("confusion_matrix", given, targets)
        predicted, size = _examples.classes_of(logits), max(2, logits.shape[1])
    counts = np.zeros((size, size), int)
    np.add.at(counts, (y, predicted), 1)
    return counts


def _write_counts(ax: Any, counts: np.ndarray, part: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count:g}" if counts.dtype.kind == "f" else str(count)
        shade = "white" if part[row, column] > 0.55 else "black" if count else _canvas.GREY
        look = {"color": shade, "fontsize": 10 if len(counts) <= 6 else 8}
        ax.text(column, row, text, ha="center", va="center", **look)


def _name_classes(ax: Any, names: Sequence[str]) -> None:
    short = [_canvas.short(name) for name in names]
    every = -(-len(names) // 40)
    places = range(0, len(names), every)
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, short)) > 3 else {}
    ax.set_xticks(places, [short[i] for i in places], fontsize=_canvas.SMALL, **turned)
    ax.set_yticks(places, [short[i] for i in places], fontsize=_canvas.SMALL)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
