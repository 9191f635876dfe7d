"""Diagnosis of a run from its loss curves: underfit, good, overfit, not converged, diverged or unclear."""

import dataclasses
import textwrap
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from funcnet import _check, _tree
from funcnet.study._evidence import STABILIZE, Evidence, Finding, Verdict
from funcnet.study._loss_curves import Estimate, LossCurves, read_losses

MIN_EPOCHS = 5
"""With fewer measured epochs the verdict is "unclear"."""


@dataclasses.dataclass(frozen=True, eq=False)
class Diagnosis:
    """A verdict on a run, and the evidence for it. It can be printed.

    Epochs are counted from 0, as in `run.best_epoch`; the printed text and pictures count from 1.

    Args:
        verdict: "underfit", "good", "overfit", "not converged", "diverged" or "unclear".
        reason: a sentence with the numbers behind the verdict.
        advice: what to try, the most promising first.
        best_epoch: the minimum of the smoothed validation loss (of the training loss without validation
            rows); None if there is not enough data.
        onset: the onset of overfitting: the last epoch at which the validation loss is not yet above its
            minimum by more than noise and `tolerance`; None if it did not rise.
        gap: the generalization gap, validation - training loss, at the end: an `Estimate` in units of the
            loss; None without validation or with too few epochs.
        best_gap: the same at `best_epoch`.
        rise: the increase of the validation loss from `best_epoch` to the end.
        fall: the decrease of the training loss in the last quarter of the epochs.
        epochs: the measured epochs, int [points].
        train_loss: the training loss [points], the mean over members.
        val_loss: the validation loss [points]; None without validation rows.
        train_loss_smooth: the smoothed training loss [points].
        val_loss_smooth: the smoothed validation loss [points]; None without validation rows.
        num_members: the number of runs that were diagnosed together.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> epoch = np.arange(60)
        >>> history = {"train_loss": np.exp(-epoch / 8), "val_loss": np.exp(-epoch / 8) + 0.01 * epoch}
        >>> diagnosis = fn.study.diagnose(history)
        >>> diagnosis.verdict, diagnosis.best_epoch, diagnosis.onset
        ('overfit', 20, 25)
    """

    verdict: Verdict
    reason: str
    advice: tuple[str, ...]
    best_epoch: int | None
    onset: int | None
    gap: Estimate | None
    best_gap: Estimate | None
    rise: Estimate | None
    fall: Estimate | None
    epochs: np.ndarray
    train_loss: np.ndarray
    val_loss: np.ndarray | None
    train_loss_smooth: np.ndarray
    val_loss_smooth: np.ndarray | None
    num_members: int

    def _repr_html_(self) -> str:
        """The verdict, its reason, and what to try, for notebooks."""
        from funcnet import _html

        steps = [_html.Text(f"{number}. {text}.") for number, text in enumerate(self.advice, 1)]
        return _html.fragment(_html.Text(f"{self.verdict.capitalize()}: {self.reason}"), *steps)

    def __str__(self) -> str:
        steps = " ".join(f"{number}. {text}." for number, text in enumerate(self.advice, 1))
        heading = f"{self.verdict.capitalize()}: {self.reason}"
        return "\n".join(textwrap.fill(text, 100) for text in (heading, steps and f"Try: {steps}") if text)


def diagnose(
    run: Any, *, target: float | None = None, baseline: float | None = None, tolerance: float = 0.05
) -> Diagnosis:
    """Diagnose a run from its loss curves: one verdict, its evidence, and what to try.

    The curves are `train_loss`, the loss of the weights at the end of each epoch in inference mode, and
    `val_loss`. Without `train_loss`, the running mean `loss` is used, and the reason mentions it. Changes
    are compared with their standard errors, from the noise between neighboring epochs (second differences
    and residuals of the smoothing), or from the spread of members if at least 5 were trained by vmap. They
    are also compared with the reduction of the training loss from the baseline, or from the first epoch
    without one: "much" is more than `tolerance` of it. The first rule that applies decides:

    | verdict | evidence |
    |---|---|
    | diverged | not finite, in at least half of the members; or the training loss clearly rose by more |
    |          | than half of its reduction and a fifth of its start; or ended that far above the start; |
    |          | or was nearly always above the start, typically by half of it |
    | unclear | fewer than 5 measured epochs |
    | unclear | no validation rows; unless "not converged" or, with a target, "underfit" applies |
    | overfit | the validation loss rose much, by over 3.5 standard errors, and the training loss did not |
    | unclear | both rose much; or a rise is likely but not clear; or noise would hide a large rise |
    | not converged | training and validation loss both fell much in the last quarter of the epochs |
    | overfit | the gap is above a quarter of the reduction; or only the training loss meets the target |
    | unclear | the gap may be that large |
    | underfit | the training loss is above the target by much, or within 20 % of the baseline |
    | unclear | the training loss never fell, and there is neither a target nor a baseline |
    | good | otherwise: both levelled off, with a small gap and no rise |

    Without target and baseline, "good" only means that the curves show neither overfitting nor too few
    epochs. Curves don't show how much of the gap is due to the choice of validation rows; use
    `fn.study.cross_validate`. A single curve with slow fluctuations, with a correlation between neighbors
    above 0.5, can look like overfitting; train several seeds by vmap.

    Args:
        run: a `Run`, also one from vmap, its `History`, or any mapping from names to arrays [epochs] or
            [members, epochs].
        target: the loss that is good enough, in units of the loss.
        baseline: the loss of a constant prediction, in units of the loss: log k for k balanced classes,
            the variance of the targets for squared errors.
        tolerance: the smallest relevant share of the reduction, above 0 and below 1.

    Returns:
        A Diagnosis.

    Raises:
        TypeError: if `run` is neither a run nor a mapping, `target` or `baseline` is not a number, or
            within jit or vmap.
        ValueError: if there is neither `train_loss` nor `loss`, losses differ in shape, or a setting is
            out of range.

    Example:
        >>> import jax, optax, funcnet as fn
        >>> moons = fn.data.two_moons(rows=60, noise=0.3)
        >>> rows, valid = moons.data[:20], moons.data[20:]
        >>> loss = fn.losses.supervised(fn.losses.binary_cross_entropy)
        >>> train = fn.fit(loss, optax.adam(0.03), epochs=100, batch_size=20)
        >>> net = fn.MLP((2, 64, "scalar"))
        >>> run = train(net.init(jax.random.key(0)), rows, jax.random.key(1), valid)
        >>> fn.study.diagnose(run).verdict
        'overfit'

    Source: Prechelt, "Early stopping - but when?", 1998, for the rise of the validation loss; Gasser,
    Sroka, Jennen-Steinmetz, "Residual variance and residual pattern in nonlinear regression", 1986, for
    the noise from differences; Cleveland, "Robust locally weighted regression", 1979, for the smoothing.
    """
    history = getattr(run, "history", run)
    history = _to_losses(history)
    target, baseline = _to_float("target", target), _to_float("baseline", baseline)
    _check.scalar_setting("tolerance", tolerance, 0.0, 1.0)
    outcome, restored_epoch = None, -1
    if hasattr(run, "state"):
        outcome = run.outcome
        restored_epoch = int(np.median(run.best_epoch)) if run.state.stopping.model is not None else -1
    curves = read_losses(history, outcome)
    if len(curves.epochs) < MIN_EPOCHS or 2 * curves.num_diverged >= curves.num_members:
        return _diagnose_without_trend(curves)
    return _diagnose_trend(curves, Evidence(curves, target, baseline, tolerance, restored_epoch))


def _to_losses(history: Any) -> dict[str, np.ndarray]:
    """The losses of a history, which must hold a training loss, all of one shape [..., epochs]."""
    if not isinstance(history, Mapping):
        raise TypeError(
            f"run must be a Run, its history or a mapping from names to losses, got "
            f"{_check.describe(history)}. Try fn.study.diagnose(run); for an ensemble: "
            "fn.study.diagnose(result.runs)."
        )
    losses = {name: history[name] for name in ("loss", "train_loss", "val_loss") if name in history}
    if not {"train_loss", "loss"} & set(losses):
        raise ValueError(
            f"run must contain train_loss or loss, got {', '.join(map(str, history))}. Try "
            "fn.study.diagnose(run.history)."
        )
    if not _tree.is_concrete(losses):
        raise TypeError(
            "diagnose needs concrete losses, got traced ones. Call it on the result of jit or vmap: "
            "fn.study.diagnose(jax.vmap(train)(models, data, keys))."
        )
    arrays = {name: np.asarray(_check.array(f"run[{name!r}]", a), float) for name, a in losses.items()}
    shapes = {name: values.shape for name, values in arrays.items()}
    if len(set(shapes.values())) > 1 or any(0 in shape or not shape for shape in shapes.values()):
        raise ValueError(
            f"losses of run must have one shape, [epochs] or [members, epochs], and an epoch, got {shapes}."
        )
    return arrays


def _to_float(name: str, value: Any) -> float | None:
    if value is None:
        return None
    _check.setting(name, value, -np.inf, np.inf)
    if isinstance(value, jax.core.Tracer) or np.size(value) != 1:
        raise TypeError(f"{name} must be one number, got {_check.describe(value)}.")
    return float(np.asarray(value).item())


def _diagnose_trend(curves: LossCurves, evidence: Evidence) -> Diagnosis:
    verdict, reason, advice = evidence.judge()
    valid = curves.valid
    return Diagnosis(
        verdict=verdict,
        reason=reason,
        advice=advice,
        best_epoch=int(curves.epochs[evidence.best]),
        onset=evidence.onset() if valid else None,
        gap=evidence.gap if valid else None,
        best_gap=evidence.best_gap if valid else None,
        rise=evidence.rise if valid else None,
        fall=evidence.falls[0],
        epochs=curves.epochs,
        train_loss=curves.train.values.mean(axis=0),
        val_loss=valid.values.mean(axis=0) if valid else None,
        train_loss_smooth=curves.train.smooth,
        val_loss_smooth=valid.smooth if valid else None,
        num_members=curves.num_members,
    )


def _diagnose_without_trend(curves: LossCurves) -> Diagnosis:
    """The diagnosis where members diverged or epochs are too few."""
    verdict, reason, advice = _not_finite(curves) if curves.num_diverged else _too_short(len(curves.epochs))
    train_loss = curves.train.values.mean(axis=0)
    val_loss = None if curves.valid is None else curves.valid.values.mean(axis=0)
    return Diagnosis(
        verdict=verdict,
        reason=reason,
        advice=advice,
        best_epoch=None,
        onset=None,
        gap=None,
        best_gap=None,
        rise=None,
        fall=None,
        epochs=curves.epochs,
        train_loss=train_loss,
        val_loss=val_loss,
        train_loss_smooth=train_loss,
        val_loss_smooth=val_loss,
        num_members=curves.num_members,
    )


def _not_finite(curves: LossCurves) -> Finding:
    several = curves.num_members > 1
    who = f"{curves.num_diverged} of {curves.num_members} runs" if several else "the run"
    return "diverged", f"{who} had a non-finite loss or passed the divergence threshold.", STABILIZE


def _too_short(count: int) -> Finding:
    reason = f"{count} epochs were measured, and at least {MIN_EPOCHS} are needed for a trend."
    return "unclear", reason, ("train for more epochs, or evaluate more often (eval_every)",)
