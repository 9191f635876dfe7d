"""Decision surfaces of classifiers."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from funcnet import _check
from funcnet.data import Scaler
from funcnet.report import _canvas, _examples
from funcnet.report._epochs import STYLES, draw_curve
from funcnet.report._scatter import draw_classes

GRID = 240
"""Grid points along each side of a surface."""


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
    """The predictions of a classifier on the plane of two features, and the data.

    For one logit: the probability of class 1, and the line where it is one half. For several logits: the
    predicted class, shaded by its probability, and the lines where it changes.

    Args:
        model: called on one example x [features], returns a logit of shape () or (1,), or logits
            [classes].
        data: a Dataset or tuple (x, y): x [n, features] in its own units, y class numbers [n] or
            [n, 1].
        axes: matplotlib axes; a new figure if None.
        scaler: applied to x before the model; none by default.
        features: the two columns of x to draw; required if there are more than two. The others are fixed
            at their mean, so a correctly classified example can be on the wrong side of a line.
        feature_names: the name of each column of x, with its unit.
        class_names: the name of class 0, 1, …

    Returns:
        The axes.

    Raises:
        TypeError: if the model is not callable.
        ValueError: if `features` is missing, y does not hold class numbers, there are too few names, or
            the model is a vmapped model.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> data = (jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.array([0, 1]))
        >>> ax = fn.report.decision_surface(lambda x: x[0] - x[1], data, Figure().subplots())
        >>> ax.get_xlabel(), [text.get_text() for text in ax.get_legend().get_texts()]
        ('feature 1', ['class 0', 'class 1'])
    """
    function = "decision_surface"
    x, y = _examples.pairs(function, data)
    columns = _examples.two_columns(function, x, features)
    y = _examples.class_numbers(function, y, len(x))
    sides = np.linspace(*_examples.limits(x[:, columns]), GRID).T
    plane = np.tile(x.mean(axis=0, dtype=float), (GRID * GRID, 1))
    plane[:, columns] = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    logits = _examples.outputs(function, model, _examples.to_inputs(plane, x), scaler)
    logits = logits.astype(float).reshape(GRID, GRID, -1)
    feature_names = _examples.names("feature_names", feature_names, x.shape[1])
    class_names = _examples.names("class_names", class_names, max(2, logits.shape[-1], int(y.max()) + 1))
    width, height = _canvas.class_panel_size(class_names)
    ax = _canvas.panel(axes, function, (width + 0.6, height))
    draw_classes(ax, x[:, columns], y, class_names)
    if logits.shape[-1] == 1:
        _draw_probability(ax, sides, logits[..., 0], class_names[1])
    else:
        _draw_bands(ax, sides, logits)
    ax.set(xlim=sides[0, [0, -1]], ylim=sides[1, [0, -1]])
    _canvas.finish_classes(ax, feature_names[columns[0]], feature_names[columns[1]])
    ax.grid(False)
    return ax


def training_frame(
    model: Any,
    history: Mapping[str, Any],
    data: Any,
    axes: Any = None,
    *,
    metric: str = "accuracy",
    **surface: Any,
) -> Any:
    """One frame of an animation of training: the metric so far, and below it the decision surface.

    The axes are cleared first. Call it after each epoch with the same two axes, then show the figure: in a
    notebook with `IPython.display.display(figure, clear=True)`, in a file with matplotlib's FuncAnimation.

    Args:
        model: the current classifier, as for `decision_surface`.
        history: a run's history, or any mapping with the metric's name, and its name with "val_", to the
            values so far [epochs]; NaN for future epochs keeps the width of the axis fixed.
        data: a Dataset or tuple (x, y), as for `decision_surface`.
        axes: two matplotlib axes; a new figure if None.
        metric: name of the metric to draw.
        **surface: further arguments of `decision_surface`, such as `scaler` and `class_names`.

    Returns:
        The axes, as a numpy array [2].

    Raises:
        TypeError: if the model is not callable.
        ValueError: if the history lacks the metric or is that of a vmapped run, or the surface can't be
            drawn.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> axes, data = Figure().subplots(2), (jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.array([0, 1]))
        >>> history = {"accuracy": [], "val_accuracy": []}
        >>> for epoch in range(2):
        ...     model = lambda x: (epoch + 1) * (x[0] - x[1])
        ...     history["accuracy"].append(0.5 + epoch / 2)
        ...     history["val_accuracy"].append(0.5)
        ...     _ = fn.report.training_frame(model, history, data, axes)
        >>> axes[0].lines[0].get_ydata().tolist()
        [0.5, 1.0]
    """
    if not isinstance(history, Mapping):
        raise TypeError(
            f"history must be a mapping from names to values [epochs], got {_check.describe(history)}. Try "
            "run.history."
        )
    _check.string("metric", metric, "accuracy")
    if metric not in history:
        raise ValueError(
            f"history must have the metric {metric!r}, got {', '.join(map(str, history))}. Choose one of "
            "them, such as metric='loss'."
        )
    names = [name for name in (metric, f"val_{metric}") if name in history]
    values = {name: np.asarray(_check.array(f"history[{name!r}]", history[name]), float) for name in names}
    for name in names:
        if np.ndim(values[name]) != 1:
            raise ValueError(
                f"history[{name!r}] must be one number for each epoch, got shape {np.shape(values[name])}. "
                "Draw one member of a vmapped run: jax.tree.map(lambda a: a[0], run)."
            )
    axes = _canvas.panels(
        axes, [metric, "surface"], "training_frame", columns=1, size=(4.8, 2.9), height_ratios=(1, 2)
    )
    for ax in axes:
        ax.clear()
    for name, kind in zip(names, ("training", "validation"), strict=False):
        draw_curve(axes[0], values[name], kind, *STYLES[kind][1:])
    axes[0].set_xlim(0.5, max(len(values[name]) for name in names) + 0.5)
    _canvas.use_integer_ticks(axes[0])
    _canvas.finish(axes[0], "epoch", metric.replace("_", " "))
    decision_surface(model, data, axes[1], **surface)
    return axes


def _draw_probability(ax: Any, sides: np.ndarray, logits: np.ndarray, class_name: str) -> None:
    probability = np.asarray(jax.nn.sigmoid(logits))
    # Paler than the data by mixing with white: transparency would show the seams between contours.
    pale = [tuple(1 - 0.65 * (1 - _canvas.rgb(c))) for c in (_canvas.BLUE, "#FFFFFF", _canvas.VERMILLION)]
    filled = ax.contourf(*sides, probability, np.linspace(0, 1, 41), cmap=_canvas.colour_map(pale))
    if logits.min() < 0 < logits.max():
        ax.contour(*sides, logits, [0.0], colors="black", linewidths=1.4)
    _canvas.add_colour_bar(ax, filled, f"probability of {class_name}", [0, 0.25, 0.5, 0.75, 1])


def _draw_bands(ax: Any, sides: np.ndarray, logits: np.ndarray) -> None:
    probability = _examples.probabilities(logits)
    count = logits.shape[-1]
    palette = np.array([_canvas.rgb(_canvas.colour(c)) for c in range(count)])
    # From white, where all classes are equally likely, to the full colour of a certain class.
    certainty = (probability.max(-1, keepdims=True) - 1 / count) / (1 - 1 / count)
    image = 1 - 0.6 * certainty * (1 - palette[logits.argmax(-1)])
    half = (sides[:, 1] - sides[:, 0]) / 2
    extent = np.stack([sides[:, 0] - half, sides[:, -1] + half], axis=1).ravel()
    # The image has its own colours; the grey colour map is for the colour bar, which shows the shading.
    greys = {"cmap": _canvas.colour_map(["#FFFFFF", "#999999"]), "vmin": 1 / count, "vmax": 1}
    placement = {"origin": "lower", "extent": extent, "aspect": "auto", "zorder": 0}
    bands = ax.imshow(image, interpolation="bilinear", **placement, **greys)
    for c in range(count):
        margin = logits[..., c] - np.delete(logits, c, axis=-1).max(-1)
        if margin.min() < 0 < margin.max():
            ax.contour(*sides, margin, [0.0], colors="black", linewidths=1.2)
    _canvas.add_colour_bar(ax, bands, "probability of the predicted class", [1 / count, 1])
