"""What went on inside a network while it was trained, layer by layer."""

import re
from typing import Any

import numpy as np

from funcnet import _check
from funcnet.report import _canvas
from funcnet.report._epochs import draw_curve
from funcnet.study._monitor import QUANTITIES, quantity_of
from funcnet.train import Run

LOGARITHMIC = {"activation_std", "gradient", "update"}
FIRST_TO_LAST = (_canvas.BLUE, _canvas.GREEN, _canvas.COLOURS[4], _canvas.VERMILLION)


def layers(run: Run, axes: Any = None) -> Any:
    """What `funcnet.study.monitor` found: a panel for each quantity, a curve by epoch for each layer.

    Colours go from the first layer to the last; biases and activation functions are dashed. Of a run made
    by vmap: medians and bands.

    Args:
        run: of a training that `monitor` made.
        axes: matplotlib axes, one for each quantity that was measured; made when left out.

    Returns:
        The axes, as a numpy array [quantities].

    Raises:
        TypeError: for something that is no run.
        ValueError: if nothing was monitored, or for another number of axes.

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
    if not hasattr(run, "history"):
        raise TypeError(f"layers draws the run of a monitored training; got {_check.describe(run)}.")
    found: dict[str, list[str]] = {}
    for name in run.history:
        if (quantity := quantity_of(name)) is not None:
            found.setdefault(quantity, []).append(name)
    if not found:
        raise ValueError(
            "nothing was monitored in this training. Try run = fn.study.monitor(train)(model, data, key)."
        )
    names = [name for name in QUANTITIES if name in found]
    axes = _canvas.panels(axes, names, "layers", size=(_canvas.PANEL[0] + 1.4, _canvas.PANEL[1]))
    colours = _canvas.colour_map(FIRST_TO_LAST)
    for ax, quantity in zip(axes, names, strict=True):
        lines = [(name, "--" if _is_second(name) else "-") for name in found[quantity]]
        for name, line in lines:
            alike = [other for other, its in lines if its == line]
            shade = colours(alike.index(name) / max(len(alike) - 1, 1))
            draw_curve(ax, run.history[name], name.partition("/")[2], shade, line)
        title, unit = QUANTITIES[quantity]
        if unit.startswith("share"):
            ax.set_ylim(-0.03, 1.03)
        elif quantity in LOGARITHMIC and any(
            np.any(np.asarray(run.history[name]) > 0) for name, _ in lines
        ):
            ax.set_yscale("log")
        _canvas.number_epochs(ax)
        _canvas.finish(ax, "epoch", unit, title)
    return axes


def _is_second(name: str) -> bool:
    """Whether this is a bias beside its weights, or a function after its layer."""
    return name.endswith("bias") or re.fullmatch(r".*/\w+ \d+", name) is not None
