"""What a classifier predicts everywhere on a plane."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from funcnet.data import Scaler
from funcnet.report import _canvas, _examples
from funcnet.report._epochs import STYLES, draw_curve
from funcnet.report._scatter import draw_classes

GRID = 240
"""Points along each side of a surface."""


def decision_surface(
    model: Any,
    data: Any,
    axes: Any = None,
    *,
    scaler: Scaler | None = None,
    features: Sequence[int] | None = None,
    feature_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Any:
    """What a classifier predicts everywhere on the plane of two features, with the examples over it.

    One logit: the probability of class 1, and the line where it is one half. Several logits: the
    predicted class, deeper where its probability is larger, and the lines where it changes.

    Args:
        model: called on one example x [features], gives a logit of shape () or (1,), or logits
            [classes].
        data: a Dataset or tuple (x, y): x [n, features] in their own units, y class numbers [n] or
            [n, 1].
        axes: matplotlib axes; made when left out.
        scaler: what x goes through before the model; nothing when left out.
        features: the two columns of x that are drawn; needed for more than two. The others are held
            at their mean, so that examples can lie on the wrong side of a line and be right.
        feature_names: the name of each column of x, with its unit.
        class_names: the name of class 0, 1, …

    Returns:
        The axes.

    Raises:
        TypeError: if the model can't be called.
        ValueError: if the columns aren't chosen, y holds no class numbers, the names are too few, or
            the model was made by vmap.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> data = (jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.array([0, 1]))
        >>> ax = fn.report.decision_surface(lambda x: x[0] - x[1], data, Figure().subplots())
        >>> ax.get_xlabel(), [text.get_text() for text in ax.get_legend().get_texts()]
        ('feature 1', ['class 0', 'class 1'])
    """
    what = "decision_surface"
    x, y = _examples.pairs(what, data)
    shown = _examples.two_columns(what, x, features)
    y = _examples.class_numbers(what, y, len(x))
    sides = np.linspace(*_examples.limits(x[:, shown]), GRID).T
    plane = np.tile(x.mean(axis=0), (GRID * GRID, 1))
    plane[:, shown] = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    logits = _examples.outputs(what, model, plane.astype(x.dtype), scaler).reshape(GRID, GRID, -1)
    feature_names = _examples.names("feature_names", feature_names, x.shape[1])
    class_names = _examples.names("class_names", class_names, max(2, logits.shape[-1], int(y.max()) + 1))
    width, height = _canvas.class_size(class_names)
    ax = _canvas.panel(axes, what, (width + 0.6, height))
    draw_classes(ax, x[:, shown], y, class_names)
    if logits.shape[-1] == 1:
        _draw_probability(ax, sides, logits[..., 0], class_names[1])
    else:
        _draw_bands(ax, sides, logits)
    ax.set(xlim=sides[0, [0, -1]], ylim=sides[1, [0, -1]])
    _canvas.finish_classes(ax, feature_names[shown[0]], feature_names[shown[1]])
    ax.grid(False)
    return ax


def training_frame(
    model: Any,
    measured: Mapping[str, Any],
    data: Any,
    axes: Any = None,
    *,
    metric: str = "accuracy",
    **surface: Any,
) -> Any:
    """One picture of a film of a training: the metric so far above, the decision surface below.

    The axes are emptied first: call it after each epoch with the same two axes, and show the figure.
    In a notebook `IPython.display.display(figure, clear=True)`; for a file, matplotlib's FuncAnimation.

    Args:
        model: the classifier as it is now, as for `decision_surface`.
        measured: a run's history, or any mapping from the metric's name, and its name with "val_",
            to the values so far [epochs]; NaN for epochs to come keeps the width of the picture.
        data: a Dataset or tuple (x, y), as for `decision_surface`.
        axes: two matplotlib axes; made when left out.
        metric: which metric is drawn.
        **surface: further arguments of `decision_surface`, such as `scaler` and `class_names`.

    Returns:
        The axes, as a numpy array [2].

    Raises:
        TypeError: if the model can't be called.
        ValueError: if the metric was not measured, was measured by a vmapped training, or the surface
            can't be drawn.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> axes, data = Figure().subplots(2), (jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.array([0, 1]))
        >>> measured = {"accuracy": [], "val_accuracy": []}
        >>> for epoch in range(2):
        ...     model = lambda x: (epoch + 1) * (x[0] - x[1])
        ...     measured["accuracy"].append(0.5 + epoch / 2)
        ...     measured["val_accuracy"].append(0.5)
        ...     _ = fn.report.training_frame(model, measured, data, axes)
        >>> axes[0].lines[0].get_ydata().tolist()
        [0.5, 1.0]
    """
    if metric not in measured:
        raise ValueError(
            f"training_frame draws {metric!r}, and what was measured is {', '.join(measured)}. Choose with "
            "metric=..."
        )
    drawn = [name for name in (metric, f"val_{metric}") if name in measured]
    for name in drawn:
        if np.ndim(measured[name]) != 1:
            raise ValueError(
                f"training_frame draws one training; {name} has shape {np.shape(measured[name])}. Of a run "
                "made by vmap draw one member: jax.tree.map(lambda a: a[0], run)."
            )
    axes = _canvas.panels(
        axes, [metric, "surface"], "training_frame", columns=1, size=(4.8, 2.9), height_ratios=(1, 2)
    )
    for ax in axes:
        ax.clear()
    for name, kind in zip(drawn, ("training", "validation"), strict=False):
        draw_curve(axes[0], measured[name], kind, *STYLES[kind][1:])
    axes[0].set_xlim(0.5, max(len(measured[name]) for name in drawn) + 0.5)
    _canvas.number_epochs(axes[0])
    _canvas.finish(axes[0], "epoch", metric.replace("_", " "))
    decision_surface(model, data, axes[1], **surface)
    return axes


def _draw_probability(ax: Any, sides: np.ndarray, logits: np.ndarray, class_name: str) -> None:
    probability = np.asarray(jax.nn.sigmoid(logits))
    # Paler than the examples, by mixing and not by transparency, which shows the seams of contours.
    ends = [tuple(1 - 0.65 * (1 - _canvas.rgb(c))) for c in (_canvas.BLUE, "#FFFFFF", _canvas.VERMILLION)]
    filled = ax.contourf(*sides, probability, np.linspace(0, 1, 41), cmap=_canvas.colour_map(ends))
    if logits.min() < 0 < logits.max():
        ax.contour(*sides, logits, [0.0], colors="black", linewidths=1.4)
    _canvas.colour_bar(ax, filled, f"probability of {class_name}", [0, 0.25, 0.5, 0.75, 1])


def _draw_bands(ax: Any, sides: np.ndarray, logits: np.ndarray) -> None:
    probability = np.asarray(jax.nn.softmax(logits))
    count = logits.shape[-1]
    palette = np.array([_canvas.rgb(_canvas.colour(c)) for c in range(count)])
    # White where all classes are equally likely, the class's colour where it is certain.
    sure = (probability.max(-1, keepdims=True) - 1 / count) / (1 - 1 / count)
    image = 1 - 0.6 * sure * (1 - palette[logits.argmax(-1)])
    half = (sides[:, 1] - sides[:, 0]) / 2
    extent = np.stack([sides[:, 0] - half, sides[:, -1] + half], axis=1).ravel()
    # The image has its own colours; the greys are for the bar, which tells how deep a colour is.
    greys = {"cmap": _canvas.colour_map(["#FFFFFF", "#999999"]), "vmin": 1 / count, "vmax": 1}
    place = {"origin": "lower", "extent": extent, "aspect": "auto", "zorder": 0}
    bands = ax.imshow(image, interpolation="bilinear", **place, **greys)
    for c in range(count):
        ahead = logits[..., c] - np.delete(logits, c, axis=-1).max(-1)
        if ahead.min() < 0 < ahead.max():
            ax.contour(*sides, ahead, [0.0], colors="black", linewidths=1.2)
    _canvas.colour_bar(ax, bands, "probability of the predicted class", [1 / count, 1])
