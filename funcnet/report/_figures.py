"""Figures of results. The one file that knows matplotlib."""

import io
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from funcnet.data._dataset import as_dataset
from funcnet.train import History, Run, predict

# Okabe, Ito, "Color universal design", 2008: nearly everybody tells them apart.
BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
CLASS_COLOURS = (BLUE, VERMILLION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#8C7B00")
CLASS_MARKERS = "os^DvP*X"
GRID = 240
"""Points along each axis of a decision surface."""


def history(run: Run, axes: Any = None) -> Any:
    """Loss and metrics by epoch, training and validation, with the best epoch marked.

    Epochs are numbered from 1. Those not evaluated or not reached are left out; the line joins the
    others.

    Args:
        run: a finished training.
        axes: matplotlib axes, one for the loss and one for each metric; made when left out.

    Returns:
        The axes, as a numpy array [1 + metrics].

    Raises:
        ValueError: for a run made by vmap, or another number of axes.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> x = jnp.linspace(0.0, 1.0, 8)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.sgd(0.1), epochs=3, batch_size=4)
        >>> net = fn.models.LinearRegression(1)
        >>> run = train(net.init(jax.random.key(0)), (x, 2 * x[:, 0]), jax.random.key(1))
        >>> (ax,) = fn.report.history(run, Figure().subplots())
        >>> ax.get_ylabel(), ax.lines[0].get_xdata().tolist()
        ('loss', [1, 2, 3])
    """
    panels = _panels(run.history)
    axes = _new_axes(len(panels)) if axes is None else np.atleast_1d(np.asarray(axes, object)).ravel()
    if len(axes) != len(panels):
        raise ValueError(
            f"this run has {len(panels)} panel{'s' * (len(panels) > 1)} ({', '.join(panels)}); got "
            f"{len(axes)} axes. Try figure, axes = plt.subplots(1, {len(panels)})."
        )
    best = int(run.best_epoch) + 1
    for ax, (title, names) in zip(axes, panels.items(), strict=True):
        for name in names:
            _draw_curve(ax, name, np.asarray(run.history[name]))
        if best > 0:
            ax.axvline(best, color=GREY, lw=1.2, ls=":", label=f"best epoch: {best}", zorder=1)
        _finish_panel(ax, title)
    return axes


def history_png(run: Run) -> bytes:
    """The figure that `history` draws, as the bytes of a PNG file; no window and no global state."""
    from matplotlib.figure import Figure

    panels = len(_panels(run.history))
    figure = Figure(figsize=_size(panels), layout="constrained")
    history(run, figure.subplots(1, panels))
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return content.getvalue()


def decision_surface(
    model: Any,
    data: Any,
    axes: Any = None,
    *,
    feature_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Any:
    """What a classifier of two features predicts everywhere, with the examples over it.

    One logit: the probability of class 1, and the line where it is one half. Several logits: the
    predicted class, deeper where its probability is larger, and the lines where it changes.

    Args:
        model: called on one example x [2], gives a logit of shape () or (1,), or logits [classes].
        data: a Dataset or tuple (x, y): x [n, 2] in any units, y class numbers [n] or [n, 1].
        axes: matplotlib axes; made when left out.
        feature_names: what stands at the two axes.
        class_names: the name of class 0, 1, …

    Returns:
        The axes.

    Raises:
        ValueError: if x has not exactly two features, y holds no class numbers, or the names are
            too few.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> data = (jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.array([0, 1]))
        >>> ax = fn.report.decision_surface(lambda x: x[0] - x[1], data, Figure().subplots())
        >>> ax.get_xlabel(), [text.get_text() for text in ax.get_legend().get_texts()]
        ('feature 1', ['class 0', 'class 1'])
    """
    x, y = _two_features(data)
    low, high = x.min(0), x.max(0)
    margin = np.where(high > low, 0.08 * (high - low), 1.0)
    sides = np.linspace(low - margin, high + margin, GRID).T
    mesh = np.stack(np.meshgrid(*sides), axis=-1)
    logits = np.asarray(predict(model, mesh.reshape(-1, 2).astype(x.dtype)))
    logits = logits.reshape(GRID, GRID, -1)
    classes = max(2, logits.shape[-1], int(y.max()) + 1)
    feature_names = _names("feature_names", feature_names, 2, "feature {}", 1)
    class_names = _names("class_names", class_names, classes, "class {}", 0)
    ax = _new_axes(1)[0] if axes is None else axes
    if logits.shape[-1] == 1:
        _draw_probability(ax, sides, logits[..., 0], class_names[1])
    else:
        _draw_classes(ax, sides, logits)
    _draw_examples(ax, x, y, class_names)
    ax.set(xlabel=feature_names[0], ylabel=feature_names[1])
    return ax


def _panels(measured: History) -> dict[str, list[str]]:
    """The names in each panel: the losses, then each metric with its validation twin."""
    for name, values in measured.items():
        if np.ndim(values) != 1:
            raise ValueError(
                f"history draws one run; this one was made by vmap: {name} has shape "
                f"{np.shape(values)}. Plot one member: jax.tree.map(lambda a: a[0], run)."
            )
    names = list(measured)
    panels = {"loss": [name for name in names if name in ("loss", "train_loss", "val_loss")]}
    for name in names:
        if name not in panels["loss"]:
            panels.setdefault(name.removeprefix("val_"), []).append(name)
    return panels


def _size(panels: int) -> tuple[float, float]:
    return (5.2 * panels, 3.8)


def _new_axes(panels: int) -> Any:
    from matplotlib import pyplot

    _, axes = pyplot.subplots(1, panels, figsize=_size(panels), layout="constrained", squeeze=False)
    return axes[0]


def _draw_curve(ax: Any, name: str, values: np.ndarray) -> None:
    (measured,) = np.nonzero(~np.isnan(values))
    if name.startswith("val_"):
        colour, line, label = VERMILLION, "--", "validation"
    elif name == "train_loss":
        colour, line, label = GREEN, "-.", "training, after the epoch"
    else:
        colour, line, label = BLUE, "-", "training, during the epoch"
    # With few points a line alone hides where they are, and a single one is no line at all.
    marker = "o" if len(measured) <= 12 else ""
    ax.plot(
        *(measured + 1, values[measured]),
        **{"color": colour, "linestyle": line, "label": label, "linewidth": 1.8},
        **{"marker": marker, "markersize": 4},
    )


def _finish_panel(ax: Any, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set(xlabel="epoch", ylabel=title.replace("_", " "))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.legend(frameon=False, fontsize="small", handlelength=2.6)


def _two_features(data: Any) -> tuple[np.ndarray, np.ndarray]:
    examples = as_dataset(data)[:]
    if not (isinstance(examples, tuple | list) and len(examples) == 2):
        raise ValueError("decision_surface wants data (x, y); pass data=(x, y).")
    x, y = (np.asarray(a) for a in examples)
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(
            f"decision_surface draws two features; x has shape {x.shape}. Train on two columns, such "
            "as x[:, [0, 1]], and pass those."
        )
    y = y[:, 0] if y.shape == (len(x), 1) else y
    if y.shape != (len(x),) or (y != np.round(y)).any() or y.min() < 0:
        raise ValueError(
            f"decision_surface wants one class number for each row; y has shape {y.shape} and dtype "
            f"{y.dtype}. From one-hot rows: y.argmax(axis=1)."
        )
    return x.astype(np.result_type(x.dtype, np.float32)), y.astype(int)


def _names(argument: str, given: Sequence[str] | None, count: int, default: str, first: int) -> list[str]:
    if given is None:
        return [default.format(first + i) for i in range(count)]
    if len(given) < count:
        raise ValueError(f"{argument} holds {len(given)} names and {count} are wanted.")
    return [str(name) for name in given]


def _draw_probability(ax: Any, sides: np.ndarray, logits: np.ndarray, class_name: str) -> None:
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    probability = np.asarray(jax.nn.sigmoid(logits))
    # Paler than the examples, by mixing and not by transparency, which shows the seams of contours.
    ends = [tuple(1 - 0.65 * (1 - np.array(to_rgb(c)))) for c in (BLUE, "white", VERMILLION)]
    colours = LinearSegmentedColormap.from_list("probability", ends)
    filled = ax.contourf(*sides, probability, np.linspace(0, 1, 41), cmap=colours)
    ax.contour(*sides, logits, [0.0], colors="black", linewidths=1.4)
    bar = ax.figure.colorbar(filled, ax=ax, ticks=[0, 0.25, 0.5, 0.75, 1])
    bar.set_label(f"probability of {class_name}")


def _draw_classes(ax: Any, sides: np.ndarray, logits: np.ndarray) -> None:
    from matplotlib.colors import to_rgb

    probability = np.asarray(jax.nn.softmax(logits))
    count = logits.shape[-1]
    palette = np.array([to_rgb(CLASS_COLOURS[c % len(CLASS_COLOURS)]) for c in range(count)])
    # White where all classes are equally likely, the class's colour where it is certain.
    sure = (probability.max(-1, keepdims=True) - 1 / count) / (1 - 1 / count)
    image = 1 - 0.6 * sure * (1 - palette[logits.argmax(-1)])
    half = (sides[:, 1] - sides[:, 0]) / 2
    extent = (
        *(sides[0, 0] - half[0], sides[0, -1] + half[0]),
        *(sides[1, 0] - half[1], sides[1, -1] + half[1]),
    )
    ax.imshow(image, origin="lower", extent=extent, aspect="auto", interpolation="bilinear", zorder=0)
    for c in range(count):
        ahead = logits[..., c] - np.delete(logits, c, axis=-1).max(-1)
        if ahead.min() < 0 < ahead.max():
            ax.contour(*sides, ahead, [0.0], colors="black", linewidths=1.2)
    ax.set(xlim=sides[0, [0, -1]], ylim=sides[1, [0, -1]])


def _draw_examples(ax: Any, x: np.ndarray, y: np.ndarray, class_names: Sequence[str]) -> None:
    size = float(np.clip(9000 / len(x), 8, 36))
    for c in np.unique(y):
        ax.scatter(
            *x[y == c].T,
            **{"s": size, "marker": CLASS_MARKERS[c % len(CLASS_MARKERS)], "label": class_names[c]},
            **{"color": CLASS_COLOURS[c % len(CLASS_COLOURS)], "edgecolor": "white", "linewidth": 0.7},
            zorder=3,
        )
    ax.legend(framealpha=0.9, edgecolor="none", fontsize="small")
