"""Statistics of the layers of a network during training."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from funcnet import _check
from funcnet.report import _canvas
from funcnet.report._epochs import draw_curve
from funcnet.study._quantities import QUANTITIES, quantity_of
from funcnet.train import Run

LOG_QUANTITIES = {"activation_std", "gradient", "update"}
LAYER_COLOURS = (_canvas.BLUE, _canvas.GREEN, _canvas.COLOURS[4], _canvas.VERMILLION)


def layers(run: Run, axes: Any = None) -> Any:
    """The quantities of `fn.study.monitor`: a panel for each quantity, a curve by epoch for each layer.

    Colours run from the first layer to the last; biases and activation functions are dashed. A vmapped run
    is drawn as medians and bands.

    Args:
        run: a run of a training function from `fn.study.monitor`.
        axes: matplotlib axes, one for each monitored quantity; a new figure if None.

    Returns:
        The axes, as a numpy array [quantities].

    Raises:
        TypeError: if `run` is not a run.
        ValueError: if nothing was monitored, or the number of axes is wrong.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> x = jnp.linspace(-1.0, 1.0, 64)[:, None]
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(0.01), epochs=5)
        >>> model = fn.MLP((1, 8, "scalar")).init(jax.random.key(0))
        >>> run = fn.study.monitor(train, ["gradient"])(model, (x, x[:, 0]), jax.random.key(1))
        >>> (ax,) = fn.report.layers(run, Figure().subplots())
        >>> ax.get_yscale(), len(ax.lines)
        ('log', 4)
    """
    if not isinstance(getattr(run, "history", None), Mapping):
        raise TypeError(f"run must be a run with monitored layers, got {_check.describe(run)}.")
    names_by_quantity: dict[str, list[str]] = {}
    for name in run.history:
        if (quantity := quantity_of(name)) is not None:
            names_by_quantity.setdefault(quantity, []).append(name)
    if not names_by_quantity:
        raise ValueError(
            "the run has no monitored quantities. Try run = fn.study.monitor(train)(model, data, key)."
        )
    quantities = [name for name in QUANTITIES if name in names_by_quantity]
    axes = _canvas.panels(axes, quantities, "layers", size=(_canvas.PANEL[0] + 1.4, _canvas.PANEL[1]))
    colours = _canvas.colour_map(LAYER_COLOURS)
    for ax, quantity in zip(axes, quantities, strict=True):
        lines = [(name, "--" if _is_secondary(name) else "-") for name in names_by_quantity[quantity]]
        for name, line in lines:
            same_style = [other for other, style in lines if style == line]
            shade = colours(same_style.index(name) / max(len(same_style) - 1, 1))
            draw_curve(ax, run.history[name], name.partition("/")[2], shade, line)
        title, unit = QUANTITIES[quantity]
        if unit.startswith("share"):
            ax.set_ylim(-0.03, 1.03)
        elif quantity in LOG_QUANTITIES and any(
            np.any(np.asarray(run.history[name]) > 0) for name, _ in lines
        ):
            ax.set_yscale("log")
        _canvas.use_integer_ticks(ax)
        _canvas.finish(ax, "epoch", unit, title)
    return axes


def _is_secondary(name: str) -> bool:
    """Whether this is a bias (of a layer with a weight) or an activation function (after a layer)."""
    return name.endswith("bias") or re.fullmatch(r".*/\w+ \d+", name) is not None
