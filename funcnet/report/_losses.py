"""The shapes of losses."""

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
    """Losses of one example: by the residual of a regression, or by the predicted probability.

    Over "residual" the target is 0 and the prediction runs from -2 to 2. Over "probability" the
    prediction is the logit log(p / (1 - p)) of p = 0.01, …, 0.99 for class 1.

    Args:
        losses: by the name of the curve, a function (prediction, target) -> scalar: those of
            `fn.losses` and `fn.metrics`, or your own.
        axes: matplotlib axes; made when left out.
        over: what the loss is drawn against.
        targets: over "probability", the true classes, out of 0 and 1, with a curve each.
        title: above the axes.

    Returns:
        The axes.

    Raises:
        TypeError: if `losses` is no mapping to functions.
        ValueError: if there is none, `over` or `targets` is unknown, or a loss gives no scalar.

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
            f"loss_curves wants a mapping from names to losses, at least one; got "
            f"{_check.describe(losses)}. Try {{'squared': fn.losses.squared_error}}."
        )
    for name, loss in losses.items():
        _check.function(f"the loss {name!r}", loss, "a function (prediction, target) -> scalar")
    _check.choice("over", over, ("residual", "probability"))
    if over == "residual":
        places = predictions = np.linspace(-2.0, 2.0, 201)
        drawn, xlabel = {(name, ""): (loss, 0) for name, loss in losses.items()}, "prediction − target"
    else:
        if not targets or not set(targets) <= {0, 1}:
            raise ValueError(f"targets are the true classes, out of 0 and 1; got {tuple(targets)}.")
        places = np.linspace(0.01, 0.99, 197)
        predictions = np.log(places) - np.log1p(-places)
        true = {t: f", true class {t}" if len(targets) > 1 else "" for t in targets}
        drawn = {(name, true[t]): (loss, t) for name, loss in losses.items() for t in targets}
        title = title or (f"true class {targets[0]}" if len(targets) == 1 else "")
        xlabel = "predicted probability of class 1"
    values = {key: _along(key[0], loss, predictions, target) for key, (loss, target) in drawn.items()}
    ax = _canvas.panel(axes, "loss_curves")
    names = list(losses)
    for (name, suffix), value in values.items():
        i = names.index(name)
        # With both classes the style tells the class, without them it tells the loss once more.
        style = _canvas.line(int(suffix.endswith("1"))) if suffix else _canvas.line(i)
        look = {"color": _canvas.colour(i), "linestyle": style, "linewidth": 1.8}
        ax.plot(places, value, label=name + suffix, **look)
    return _canvas.finish(ax, xlabel, "loss of one example", title)


def _along(name: str, loss: PerExample, predictions: np.ndarray, target: int) -> np.ndarray:
    z = jnp.asarray(predictions, float)
    values = np.asarray(jax.vmap(lambda p: loss(p, jnp.asarray(target, p.dtype)))(z))
    if values.shape != predictions.shape:
        raise ValueError(
            f"the loss {name!r} gives shape {values.shape[1:]} for a prediction and a target of shape (), "
            "and a scalar is wanted."
        )
    return values
