"""Metrics by epoch, as curves."""

import math
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from funcnet import _check, _tree
from funcnet.report import _canvas
from funcnet.study._quantities import quantity_of
from funcnet.train import Run

MAX_CURVES = 20
NOTEBOOK_PANELS = 3
MAX_MARKED_POINTS = 12
"""Up to this many points get a marker: a line alone hides where they are, and one point draws no line."""
STYLES = {
    "training": ("training, during the epoch", _canvas.BLUE, "-"),
    "validation": ("validation", _canvas.VERMILLION, "--"),
    "train_loss": ("training, after the epoch", _canvas.GREEN, "-."),
}


def history(run: Run, axes: Any = None) -> Any:
    """Training and validation loss and metrics by epoch, with the best epoch marked.

    Epochs are numbered from 1. Epochs that were not evaluated or not reached are omitted; the line joins
    the others. A vmapped run is drawn as the median and the 5th to 95th percentile of its members; epochs
    that fewer than half of them reached are omitted.

    Args:
        run: a finished run, or many of them from vmap.
        axes: matplotlib axes, one for the loss and one for each metric; a new figure if None.

    Returns:
        The axes, as a numpy array [1 + metrics].

    Raises:
        TypeError: if `run` is not a run, or `axes` are not axes.
        ValueError: if the number of axes is wrong.

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
    if not (isinstance(getattr(run, "history", None), Mapping) and hasattr(run, "best_epoch")):
        raise TypeError(
            f"run must be a Run, as returned by a training function, got {type(run).__name__}. For arrays "
            "by name: fn.report.curves(values); of an estimator: "
            "fn.report.curves({'loss': model.loss_curve_})."
        )
    if not _tree.is_concrete(dict(run.history)):
        raise TypeError("run must be concrete to be drawn, got a traced one. Draw outside of jit.")
    names_by_panel = _panels(run.history)
    best = np.ravel(run.best_epoch) + 1
    members = f"{best.size} runs: median, 5–95 %" if np.ndim(run.best_epoch) else ""
    axes = _canvas.panels(axes, list(names_by_panel), "history")
    for ax, (title, names) in zip(axes, names_by_panel.items(), strict=True):
        has_values = [draw_curve(ax, run.history[name], *STYLES[_kind(name)]) for name in names]
        _mark_best(ax, best[best > 0], bool(members))
        _canvas.use_integer_ticks(ax)
        _canvas.finish(ax, "epoch", title.replace("_", " "), legend_title=members)
        if not any(has_values):
            _canvas.show_message(ax, "no finite values")
    return axes


def history_png(run: Run) -> bytes:
    """The figure of `history` as the bytes of a PNG file, without pyplot's global state."""
    return _canvas.png(lambda axes: history(run, axes), len(_panels(run.history)))


def notebook_png(run: Run) -> bytes:
    """The first panels of `history`, in few pixels: a notebook keeps each picture that it has shown."""
    names = [name for names in list(_panels(run.history).values())[:NOTEBOOK_PANELS] for name in names]
    shown: Any = types.SimpleNamespace(
        history={name: run.history[name] for name in names}, best_epoch=run.best_epoch
    )
    count = len(_panels(shown.history))
    return _canvas.png(lambda axes: history(shown, axes), count, dpi=90)


def curves(
    values: Mapping[str, Any],
    axes: Any = None,
    *,
    x: Any = None,
    xlabel: str = "epoch",
    ylabel: str = "value",
    title: str = "",
) -> Any:
    """One curve for each name, such as a setting, a layer or a model.

    Metrics that a loss returns are in the history as means over the epoch: a metric
    `jnp.abs(model.layers[0].weight).max()` is the largest weight of a layer by epoch. In a hand-written
    loop over `fn.data.batches` and `fn.step`, append values computed from `state.model` after each epoch.

    Args:
        values: a mapping from the name of each curve to an array [epochs]; or [members, epochs], drawn as
            the median and a band from the 5th to the 95th percentile. NaN is omitted.
        axes: matplotlib axes; a new figure if None.
        x: horizontal coordinates of the values, [epochs]; 1, 2, … by default.
        xlabel: label of the horizontal axis, with its unit.
        ylabel: label of the vertical axis, with its unit.
        title: title of the axes.

    Returns:
        The axes.

    Raises:
        TypeError: if `values` is not a mapping.
        ValueError: if there is no curve or more than 20, or one does not have the shape of x.

    Example:
        >>> import funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> rates = {"dropout 0": [0.90, 0.92], "dropout 0.2": [0.89, 0.93]}
        >>> ax = fn.report.curves(rates, Figure().subplots(), ylabel="validation accuracy")
        >>> [(line.get_label(), line.get_ydata().tolist()) for line in ax.lines]
        [('dropout 0', [0.9, 0.92]), ('dropout 0.2', [0.89, 0.93])]
    """
    _check.strings(xlabel=xlabel, ylabel=ylabel, title=title)
    if not isinstance(values, Mapping):
        raise TypeError(
            f"values must be a mapping from names to arrays [epochs], got {type(values).__name__}. "
            "Try {'training': loss, 'validation': val_loss}."
        )
    if not _tree.is_concrete((dict(values), x)):
        raise TypeError("values must be concrete to be drawn, got traced ones. Draw outside of jit.")
    if not 0 < len(values) <= MAX_CURVES:
        raise ValueError(
            f"values must hold 1 to {MAX_CURVES} curves, got {len(values)}. Stack similar curves into an "
            "array [members, epochs], which is drawn as a median and a band."
        )
    values = {name: np.asarray(_check.array(f"values[{name!r}]", a), float) for name, a in values.items()}
    x = None if x is None else np.asarray(_check.array("x", x), float)
    for name, array in values.items():
        if np.ndim(array) not in (1, 2) or (x is not None and np.shape(array)[-1:] != np.shape(x)):
            with_x = f" for x of shape {np.shape(x)}" if x is not None else ""
            raise ValueError(
                f"curve {name!r} must have shape [epochs] or [members, epochs]{with_x}, got "
                f"{np.shape(array)}."
            )
    outside = len(values) > _canvas.MAX_ENTRIES_INSIDE
    legend_width = 0.08 * max(map(len, map(str, values))) + 0.5 if outside else 0.0
    ax = _canvas.panel(axes, "curves", (_canvas.PANEL[0] + legend_width, _canvas.PANEL[1]))
    for i, (name, array) in enumerate(values.items()):
        draw_curve(ax, array, str(name), _canvas.colour(i), _canvas.line(i), x)
    if x is None:
        _canvas.use_integer_ticks(ax)
    return _canvas.finish(ax, xlabel, ylabel, title)


def draw_curve(ax: Any, values: Any, label: str, colour: str, line: str, x: Any = None) -> bool:
    """Draw a line, or a median and a band for [members, epochs]. Returns whether any value is finite."""
    members = np.asarray(values, float)
    members = members.reshape(math.prod(members.shape[:-1]), members.shape[-1])
    x = np.arange(1, members.shape[1] + 1) if x is None else np.asarray(x, float)
    counts = (~np.isnan(members)).sum(axis=0)
    drawn = (counts > 0) & (2 * counts >= counts.max(initial=0))
    x, members = x[drawn], members[:, drawn]
    with np.errstate(invalid="ignore"):  # interpolating between two infinities gives NaN
        low, high = np.nanpercentile(members, [5, 95], axis=0) if drawn.any() else [[]] * 2
        middle = np.nanmedian(members, axis=0) if drawn.any() else []
    marker = "o" if len(x) <= MAX_MARKED_POINTS else ""
    style = {"color": colour, "linestyle": line, "marker": marker, "markersize": 4, "linewidth": 1.8}
    has_values = bool(np.isfinite(middle).any())
    label += "" if has_values else " (no values)"
    ax.plot(x, middle, label=label, **style)
    if len(members) > 1:
        ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    if len(members) > 1 and len(x) == 1:
        ax.vlines(x, low, high, color=colour)
    return has_values


def _panels(history: Mapping[str, Any]) -> dict[str, list[str]]:
    """The names in each panel: first the losses, then each metric with its validation values."""
    panels = {"loss": [name for name in history if name in ("loss", "train_loss", "val_loss")]}
    for name in history:
        if name not in panels["loss"] and quantity_of(name) is None:
            panels.setdefault(name.removeprefix("val_"), []).append(name)
    return panels


def _kind(name: str) -> str:
    if name == "train_loss":
        return name
    return "validation" if name.startswith("val_") else "training"


def _mark_best(ax: Any, best: np.ndarray, several: bool) -> None:
    if best.size:
        epoch = float(np.median(best))
        label = f"best epoch{', median' * several}: {epoch:g}"
        ax.axvline(epoch, color=_canvas.GREY, lw=1.2, ls=":", label=label, zorder=1)
