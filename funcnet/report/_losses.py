"""Graphs of loss functions."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._types import PerExample
from funcnet.report import _canvas


def loss_curves(
    losses: Mapping[str, PerExample],
    axes: Any = None,
    *,
    over: Literal["residual", "probability"] = "residual",
    targets: Sequence[int] = (1,),
    title: str = "",
) -> Any:
    """Per-example losses as functions of the residual or of the predicted probability.

    Over "residual" the target is 0 and the prediction ranges from -2 to 2. Over "probability" the
    prediction is the logit log(p / (1 - p)) of class 1 for p = 0.01, …, 0.99.

    Args:
        losses: a mapping from the name of each curve to a function (prediction, target) -> scalar, from
            `fn.losses`, `fn.metrics` or your own.
        axes: matplotlib axes; a new figure if None.
        over: the quantity on the horizontal axis.
        targets: over "probability", the true classes (0, 1 or both), one curve for each.
        title: title of the axes.

    Returns:
        The axes.

    Raises:
        TypeError: if `losses` is not a mapping of functions with at least one entry.
        ValueError: if `over` or `targets` is unknown, or a loss does not return a scalar.

    Example:
        >>> import funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> wrong = lambda logit, target: 1 - fn.metrics.accuracy(logit, target)
        >>> both = {"0-1": wrong, "logistic": fn.losses.binary_cross_entropy}
        >>> ax = fn.report.loss_curves(both, Figure().subplots(), over="probability")
        >>> [round(float(line.get_ydata()[0]), 2) for line in ax.lines]  # at p = 0.01
        [1.0, 4.61]
    """
    if not isinstance(losses, Mapping) or not losses:
        raise TypeError(
            "losses must be a mapping from names to losses with at least one entry, got "
            f"{_check.describe(losses)}. Try {{'squared': fn.losses.squared_error}}."
        )
    for name, loss in losses.items():
        _check.takes(f"losses[{name!r}]", loss, "a function (prediction, target) -> scalar", None, None)
    _check.choice("over", over, ("residual", "probability"))
    _check.strings(title=title)
    if over == "residual":
        x = predictions = np.linspace(-2.0, 2.0, 201)
        graphs, xlabel = {(name, ""): (loss, 0) for name, loss in losses.items()}, "prediction − target"
    else:
        numbers = list(targets) if isinstance(targets, Sequence | np.ndarray) and np.ndim(targets) else []
        if not numbers or not all(isinstance(t, int | np.integer) and t in (0, 1) for t in numbers):
            text = _check.describe(targets)
            raise ValueError(f"targets must be 0, 1 or both, got {text}. Try targets=(0, 1).")
        targets = numbers
        x = np.linspace(0.01, 0.99, 197)
        predictions = np.log(x) - np.log1p(-x)
        suffixes = {t: f", true class {t}" if len(targets) > 1 else "" for t in targets}
        graphs = {(name, suffixes[t]): (loss, t) for name, loss in losses.items() for t in targets}
        title = title or (f"true class {targets[0]}" if len(targets) == 1 else "")
        xlabel = "predicted probability of class 1"
    values = {key: _evaluate(key[0], loss, predictions, target) for key, (loss, target) in graphs.items()}
    ax = _canvas.panel(axes, "loss_curves")
    names = list(losses)
    for (name, suffix), value in values.items():
        i = names.index(name)
        # With both classes the line style shows the class, otherwise the loss.
        line = _canvas.line(int(suffix.endswith("1"))) if suffix else _canvas.line(i)
        style = {"color": _canvas.colour(i), "linestyle": line, "linewidth": 1.8}
        ax.plot(x, value, label=f"{name}{suffix}", **style)
    return _canvas.finish(ax, xlabel, "loss per example", title)


def _evaluate(name: str, loss: PerExample, predictions: np.ndarray, target: int) -> np.ndarray:
    z = jnp.asarray(predictions, float)
    values = np.asarray(
        jax.vmap(lambda p: _check.results(f"losses[{name!r}]", loss(p, jnp.asarray(target, p.dtype))))(z)
    )
    if values.shape != predictions.shape:
        raise ValueError(
            f"losses[{name!r}] must return a scalar for a prediction and a target of shape (), got shape "
            f"{values.shape[1:]}."
        )
    return values
