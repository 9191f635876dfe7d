"""What was measured at each epoch, as curves."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from funcnet.report import _canvas
from funcnet.study._monitor import quantity_of
from funcnet.train import History, Run

MOST_CURVES = 20
FEW_POINTS = 12
"""Up to so many points are marked: a line alone hides where they are, and a single one is no line."""
STYLES = {
    "training": ("training, during the epoch", _canvas.BLUE, "-"),
    "validation": ("validation", _canvas.VERMILLION, "--"),
    "train_loss": ("training, after the epoch", _canvas.GREEN, "-."),
}


def history(run: Run, axes: Any = None) -> Any:
    """Loss and metrics by epoch, training and validation, with the best epoch marked.

    Epochs are numbered from 1. Those not evaluated or not reached are left out; the line joins the
    others. Of a run made by vmap: the median of its members and a band from their 5th to their 95th
    percentile, of the members that measured the epoch, as long as half of them did.

    Args:
        run: a finished training, or many made by vmap.
        axes: matplotlib axes, one for the loss and one for each metric; made when left out.

    Returns:
        The axes, as a numpy array [1 + metrics].

    Raises:
        TypeError: for something that is no run or no axes.
        ValueError: for another number of axes.

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
    if not (hasattr(run, "history") and hasattr(run, "best_epoch")):
        raise TypeError(
            f"history draws the run that a training returns; got {type(run).__name__}. For numbers by "
            "name: funcnet.report.curves(values)."
        )
    measured = _panels(run.history)
    best = np.ravel(run.best_epoch) + 1
    members = f"{best.size} trainings: median, 5–95 %" if np.ndim(run.best_epoch) else ""
    axes = _canvas.panels(axes, list(measured), "history")
    for ax, (title, names) in zip(axes, measured.items(), strict=True):
        drawn = [draw_curve(ax, run.history[name], *STYLES[_kind(name)]) for name in names]
        _mark_best(ax, best[best > 0], bool(members))
        _canvas.number_epochs(ax)
        _canvas.finish(ax, "epoch", title.replace("_", " "), legend_title=members)
        if not any(drawn):
            _canvas.say(ax, "nothing finite was measured")
    return axes


def history_png(run: Run) -> bytes:
    """The figure that `history` draws, as the bytes of a PNG file; no window and no global state."""
    return _canvas.png(lambda axes: history(run, axes), len(_panels(run.history)))


def curves(
    values: Mapping[str, Any],
    axes: Any = None,
    *,
    x: Any = None,
    xlabel: str = "epoch",
    ylabel: str = "value",
    title: str = "",
) -> Any:
    """One curve for each name: a setting, a layer, a model.

    What a loss logs beside its value comes back in the history, its mean over the epoch: a metric
    `jnp.abs(model.layers[0].weight).max()` is the largest weight of a layer by epoch. In a loop over
    `fn.data.batches` and `fn.step`, append what is wanted of `state.model` after each epoch.

    Args:
        values: by the name of the curve, an array [epochs]; or [members, epochs], drawn as the median
            and a band from the 5th to the 95th percentile. NaN is left out.
        axes: matplotlib axes; made when left out.
        x: where the values stand, [epochs], in units of `xlabel`; 1, 2, … when left out.
        xlabel: what stands at the horizontal axis.
        ylabel: what stands at the vertical axis, with its unit.
        title: above the axes.

    Returns:
        The axes.

    Raises:
        TypeError: if `values` is no mapping.
        ValueError: for no curve or more than 20, or one that doesn't go with x.

    Example:
        >>> import funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> rates = {"dropout 0": [0.90, 0.92], "dropout 0.2": [0.89, 0.93]}
        >>> ax = fn.report.curves(rates, Figure().subplots(), ylabel="validation accuracy")
        >>> [(line.get_label(), line.get_ydata().tolist()) for line in ax.lines]
        [('dropout 0', [0.9, 0.92]), ('dropout 0.2', [0.89, 0.93])]
    """
    if not isinstance(values, Mapping):
        raise TypeError(
            f"curves wants a mapping from names to arrays [epochs]; got {type(values).__name__}. "
            "Try {'training': loss, 'validation': val_loss}."
        )
    if not 0 < len(values) <= MOST_CURVES:
        raise ValueError(
            f"curves draws 1 to {MOST_CURVES} curves that can be told apart; got {len(values)}. Stack "
            "members of one kind into an array [members, epochs]: it becomes a median and a band."
        )
    for name, array in values.items():
        if np.ndim(array) not in (1, 2) or (x is not None and np.shape(array)[-1:] != np.shape(x)):
            wanted = "[epochs] or [members, epochs]" + (
                f" with x of shape {np.shape(x)}" if x is not None else ""
            )
            raise ValueError(f"curve {name!r} has shape {np.shape(array)}, and {wanted} is wanted.")
    beside = 0.08 * max(map(len, map(str, values))) + 0.5 if len(values) > _canvas.MOST_INSIDE else 0.0
    ax = _canvas.panel(axes, "curves", (_canvas.PANEL[0] + beside, _canvas.PANEL[1]))
    for i, (name, array) in enumerate(values.items()):
        draw_curve(ax, array, str(name), _canvas.colour(i), _canvas.line(i), x)
    if x is None:
        _canvas.number_epochs(ax)
    return _canvas.finish(ax, xlabel, ylabel, title)


def draw_curve(ax: Any, values: Any, label: str, colour: str, line: str, x: Any = None) -> bool:
    """A line through what was measured, if anything was; a median and a band for [members, epochs]."""
    members = np.asarray(values, float)
    members = members.reshape(-1, members.shape[-1])
    place = np.arange(1, members.shape[1] + 1) if x is None else np.asarray(x, float)
    found = (~np.isnan(members)).sum(axis=0)
    kept = (found > 0) & (2 * found >= found.max(initial=0))
    place, members = place[kept], members[:, kept]
    with np.errstate(invalid="ignore"):  # between two infinities there is no percentile
        low, middle, high = np.nanpercentile(members, [5, 50, 95], axis=0) if kept.any() else [[]] * 3
    dots = "o" if len(place) <= FEW_POINTS else ""
    style = {"color": colour, "linestyle": line, "marker": dots, "markersize": 4, "linewidth": 1.8}
    seen = bool(np.isfinite(middle).any())
    label += "" if seen else " (no values)"
    ax.plot(place, middle, label=label, **style)
    if len(members) > 1:
        ax.fill_between(place, low, high, color=colour, alpha=0.2, linewidth=0)
    if len(members) > 1 and len(place) == 1:
        ax.vlines(place, low, high, color=colour)
    return seen


def _panels(measured: History) -> dict[str, list[str]]:
    """The names in each panel: the losses, then each metric with its validation twin."""
    found = {"loss": [name for name in measured if name in ("loss", "train_loss", "val_loss")]}
    for name in measured:
        if name not in found["loss"] and quantity_of(name) is None:
            found.setdefault(name.removeprefix("val_"), []).append(name)
    return found


def _kind(name: str) -> str:
    if name == "train_loss":
        return name
    return "validation" if name.startswith("val_") else "training"


def _mark_best(ax: Any, best: np.ndarray, many: bool) -> None:
    if best.size:
        at = float(np.median(best))
        label = f"best epoch{', median' * many}: {at:g}"
        ax.axvline(at, color=_canvas.GREY, lw=1.2, ls=":", label=label, zorder=1)
