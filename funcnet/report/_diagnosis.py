"""The curves of a diagnosis, smoothed, with the best epoch and where validation rises."""

from typing import Any

import numpy as np

from funcnet.report import _canvas
from funcnet.study import Diagnosis, diagnose


def diagnosis(diagnosis: Any, axes: Any = None) -> Any:
    """Training and validation loss with smoothed lines, the best epoch and where validation rises.

    Measured values are faint points, smoothed values lines; epochs are numbered from 1. The title is the
    verdict. For several runs their mean is drawn.

    Args:
        diagnosis: the result of `fn.study.diagnose`, or a run or history to diagnose.
        axes: matplotlib axes; a new figure if None.

    Returns:
        The axes.

    Raises:
        TypeError: if `diagnosis` is not a diagnosis, run or mapping.
        ValueError: if a history has neither `train_loss` nor `loss`.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> epoch = np.arange(60)
        >>> history = {"train_loss": np.exp(-epoch / 8), "val_loss": np.exp(-epoch / 8) + 0.01 * epoch}
        >>> ax = fn.report.diagnosis(fn.study.diagnose(history), Figure().subplots())
        >>> ax.get_title(), ax.get_ylabel()
        ('verdict: overfit', 'loss')
    """
    result = diagnosis if isinstance(diagnosis, Diagnosis) else diagnose(diagnosis)
    ax = _canvas.panel(axes, "diagnosis")
    _draw(ax, result.epochs, result.train_loss, result.train_loss_smooth, "training", _canvas.BLUE, "-")
    if result.val_loss is not None:
        smooth = result.val_loss_smooth
        _draw(ax, result.epochs, result.val_loss, smooth, "validation", _canvas.VERMILLION, "--")
    marks = {"best epoch": (result.best_epoch, ":"), "validation rises": (result.onset, "-.")}
    for label, (epoch, line) in marks.items():
        if epoch is not None:
            label = f"{label}: {epoch + 1}"
            ax.axvline(epoch + 1, color=_canvas.GREY, lw=1.2, ls=line, label=label, zorder=1)
    _canvas.use_integer_ticks(ax)
    many = f"mean of {result.num_members} runs" if result.num_members > 1 else ""
    _canvas.finish(ax, "epoch", "loss", f"verdict: {result.verdict}", legend_title=many)
    if not len(result.epochs):
        _canvas.show_message(ax, "no finite values")
    return ax


def _draw(
    ax: Any, epochs: np.ndarray, values: np.ndarray, smooth: Any, label: str, colour: str, line: str
) -> None:
    """The measured values as points, and a line through the smoothed ones."""
    ax.plot(epochs + 1, values, ".", color=colour, alpha=0.35, markersize=4)
    ax.plot(epochs + 1, smooth, color=colour, linestyle=line, linewidth=1.8, label=label)
