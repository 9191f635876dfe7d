"""What a diagnosis saw: the curves, what smoothing made of them, and the turn."""

from typing import Any

import numpy as np

from funcnet.report import _canvas
from funcnet.study import Diagnosis, diagnose


def diagnosis(diagnosis: Any, axes: Any = None) -> Any:
    """Training and validation loss with their smoothed lines, the best epoch and the turn marked.

    Measured values are faint points, smoothed ones lines; epochs are numbered from 1. The verdict is
    the title. Of many trainings the mean is drawn.

    Args:
        diagnosis: what `fn.study.diagnose` found; or a run or history, which is then diagnosed.
        axes: matplotlib axes; made when left out.

    Returns:
        The axes.

    Raises:
        TypeError: if `diagnosis` is no diagnosis, run or mapping.
        ValueError: for a history without `train_loss` and `loss`.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> epoch = np.arange(60)
        >>> history = {"train_loss": np.exp(-epoch / 8), "val_loss": np.exp(-epoch / 8) + 0.01 * epoch}
        >>> ax = fn.report.diagnosis(fn.study.diagnose(history), Figure().subplots())
        >>> ax.get_title(), ax.get_ylabel()
        ('overfit', 'loss')
    """
    found = diagnosis if isinstance(diagnosis, Diagnosis) else diagnose(diagnosis)
    ax = _canvas.panel(axes, "diagnosis")
    _draw(ax, found.epochs, found.train_loss, found.train_loss_smooth, "training", _canvas.BLUE, "-")
    if found.val_loss is not None:
        smooth = found.val_loss_smooth
        _draw(ax, found.epochs, found.val_loss, smooth, "validation", _canvas.VERMILLION, "--")
    marks = {"best epoch": (found.best_epoch, ":"), "validation turned": (found.onset, "-.")}
    for label, (epoch, line) in marks.items():
        if epoch is not None:
            label = f"{label}: {epoch + 1}"
            ax.axvline(epoch + 1, color=_canvas.GREY, lw=1.2, ls=line, label=label, zorder=1)
    _canvas.number_epochs(ax)
    many = f"{found.num_members} runs: mean" if found.num_members > 1 else ""
    _canvas.finish(ax, "epoch", "loss", found.verdict, legend_title=many)
    if not len(found.epochs):
        _canvas.say(ax, "nothing finite was measured")
    return ax


def _draw(
    ax: Any, epochs: np.ndarray, values: np.ndarray, smooth: Any, label: str, colour: str, line: str
) -> None:
    """Points as measured, and a line through the smoothed ones."""
    ax.plot(epochs + 1, values, ".", color=colour, alpha=0.35, markersize=4)
    ax.plot(epochs + 1, smooth, color=colour, linestyle=line, linewidth=1.8, label=label)
