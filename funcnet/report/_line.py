"""The line that separates two classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

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
    """The line where a linear classifier gives both classes probability one half, and the examples.

    For one logit z = w·x + b that is z = 0, since sigmoid(0) = 1/2; for two logits it is where they
    are equal. With a scaler z = w·(x - shift) / scale + b, and line and points keep their own units.

    Args:
        model: linear in x, called on one example x [2]; gives a logit of shape () or (1,), or two
            logits.
        data: a Dataset or tuple (x, y): x [n, 2] in any units, y class numbers 0 and 1, [n] or [n, 1].
        axes: matplotlib axes; made when left out.
        scaler: what x goes through before the model; nothing when left out.
        feature_names: what stands at the two axes, with units.
        class_names: the names of class 0 and 1.
        title: above the axes.

    Returns:
        The axes.

    Raises:
        TypeError: if the model can't be called.
        ValueError: if x has not two features, the model is not linear, gives other than one or two
            logits, doesn't depend on x or was made by vmap, or the names are too few.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> data = (jnp.array([[0.0, 0.0], [2.0, 1.0]]), jnp.array([0, 1]))
        >>> ax = fn.report.separating_line(lambda x: 4 * x[0] - 4, data, Figure().subplots())
        >>> ax.lines[0].get_xdata().round(5).tolist()
        [1.0, 1.0]
    """
    what = "separating_line"
    x, y = _examples.pairs(what, data)
    if x.shape[1:] != (2,):
        raise ValueError(
            f"{what} draws two features; x has shape {x.shape}. Train on two columns, such as x[:, [0, "
            "1]], and pass those; decision_surface(model, data, features=(0, 1)) cuts through more."
        )
    y = _examples.class_numbers(what, y, len(x))
    feature_names = _examples.names("feature_names", feature_names, 2)
    class_names = _examples.names("class_names", class_names, max(2, int(y.max()) + 1))
    low, high = _examples.limits(x)
    weight, bias = _affine(model, low, high, scaler, x.dtype)
    ends = _half(weight, bias) * (high - low) + low
    beyond = " (outside)" if abs(bias + weight.sum() / 2) > np.abs(weight).sum() / 2 else ""
    ax = _canvas.panel(axes, what, _canvas.class_size([*class_names, "probability 1/2"]))
    draw_classes(ax, x, y, class_names)
    ax.plot(*ends.T, color="black", linewidth=1.8, label=f"probability 1/2{beyond}", zorder=2)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return _canvas.finish_classes(ax, feature_names[0], feature_names[1], title)


def _affine(
    model: Any, low: np.ndarray, high: np.ndarray, scaler: Scaler | None, dtype: Any
) -> tuple[np.ndarray, float]:
    """Weight [2] and bias of the logit of class 1, by the place in the picture, 0 .. 1 each way."""
    side = np.linspace(0.0, 1.0, 7)
    places = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    x = (low + places * (high - low)).astype(dtype)
    logits = _examples.outputs("separating_line", model, x, scaler).astype(float)
    if logits.shape[1] > 2:
        raise ValueError(
            f"separating_line separates two classes; this model gives {logits.shape[1]} logits. Use "
            "decision_surface(model, data)."
        )
    logit = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
    inputs = np.column_stack([places, np.ones(len(places))])
    solution = np.linalg.lstsq(inputs, logit)[0]
    spread = np.ptp(logit)
    if not spread > 1e-5 * np.abs(logit).max():
        raise ValueError("this model gives the same logit everywhere, and nothing is separated. Train it.")
    if np.abs(inputs @ solution - logit).max() > 1e-2 * spread:
        raise ValueError(
            "separating_line draws linear models, and this one is not linear in x. Use "
            "decision_surface(model, data)."
        )
    return solution[:2], float(solution[2])


def _half(weight: np.ndarray, bias: float) -> np.ndarray:
    """Both ends [2, 2] of weight·place + bias = 0, long enough to cross the whole picture."""
    # Seen from the middle: the nearest point of the line, and along it by more than half the diagonal.
    nearest = 0.5 - (bias + weight.sum() / 2) * weight / (weight @ weight)
    along = np.array([-weight[1], weight[0]]) / np.sqrt(weight @ weight)
    return nearest + np.array([[-0.75], [0.75]]) * along
