"""What two curves say about a training: too little, good, too much, too short, diverged, or nothing."""

import dataclasses
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from funcnet import _check, _tree
from funcnet.study._evidence import CALMER, Evidence, Found, Verdict
from funcnet.study._loss_curves import Estimate, Measured, measured

FEWEST = 5
"""Measured epochs below which nothing is said."""


@dataclasses.dataclass(frozen=True, eq=False)
class Diagnosis:
    """A verdict on a training, and the evidence for it. Print it.

    Epochs are counted from 0, as in `run.best_epoch`; sentences and pictures count from 1.

    Args:
        verdict: "underfit", "good", "overfit", "not converged", "diverged" or "unclear".
        reason: why, in a sentence with numbers.
        advice: what to try, the most promising first.
        best_epoch: the lowest point of the smoothed validation loss (training loss, where there is
            no validation); None where nothing could be measured.
        onset: where validation turned up: the last epoch not yet beyond noise and `tolerance` above
            its lowest point; None if it did not turn.
        gap: validation - training loss at the end, an `Estimate` in the loss's units; None without
            validation or with too few epochs.
        best_gap: the same at `best_epoch`.
        rise: what the validation loss rose from `best_epoch` to the end.
        fall: what the training loss still fell in the last quarter of the epochs.
        epochs: the measured epochs, int [points].
        training: the training loss [points], the mean over members.
        validation: the validation loss [points]; None where there is none.
        training_smooth: the smoothed training loss [points].
        validation_smooth: the smoothed validation loss [points]; None where there is none.
        members: how many trainings were diagnosed together.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> epoch = np.arange(60)
        >>> history = {"train_loss": np.exp(-epoch / 8), "val_loss": np.exp(-epoch / 8) + 0.01 * epoch}
        >>> found = fn.study.diagnose(history)
        >>> found.verdict, found.best_epoch, found.onset
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
    training: np.ndarray
    validation: np.ndarray | None
    training_smooth: np.ndarray
    validation_smooth: np.ndarray | None
    members: int

    def __str__(self) -> str:
        steps = " ".join(f"{number}. {text}." for number, text in enumerate(self.advice, 1))
        heading = f"{self.verdict.capitalize()}: {self.reason}"
        return "\n".join(textwrap.fill(text, 100) for text in (heading, steps and f"Try: {steps}") if text)


def diagnose(
    run: Any, *, target: float | None = None, baseline: float | None = None, tolerance: float = 0.05
) -> Diagnosis:
    """Judge a training by its curves: one verdict, its evidence, and what to try.

    It reads `train_loss`, the loss of each epoch's final weights in inference mode, and `val_loss`;
    where `train_loss` is missing, `loss` as it ran, and says so. Changes are held against their
    standard error, from the noise between neighbouring epochs (second differences, and what
    smoothing leaves), or from the spread of the members where 5 or more were trained by vmap. They are held
    against what was learned, too: "much" is more than `tolerance` of the fall of the training loss
    from the baseline, or from the first epoch where none is given. The first rule that fits decides:

    | verdict | evidence |
    |---|---|
    | diverged | not finite, of many in half of the members; or the training loss surely rose by over |
    |          | half of its fall, and by a fifth of its start; or ended that far above the start; |
    |          | or was above the start nearly always, typically by half of it |
    | unclear | fewer than 5 measured epochs |
    | unclear | no validation; but "not converged" or, by a target, "underfit" can be seen |
    | overfit | validation rose much and surely, by 3.5 standard errors, and training did not |
    | unclear | both rose much; or validation did, but not surely; or noise would hide a large rise |
    | not converged | training and validation both fell much in the last quarter of the epochs |
    | overfit | the gap is above a quarter of the fall; or the target is met by training only |
    | unclear | the gap may be that large |
    | underfit | the training loss is above the target by much, or within 20 % of the baseline |
    | unclear | the training loss never fell, and there is no target and no baseline |
    | good | the rest: levelled, with a small gap and no rise |

    Without target and baseline nothing tells what good is, and "good" says only that the curves show
    neither overfitting nor too short a training. Curves don't show how much of a gap is the luck of
    these validation rows: `fn.study.cross_validate` does. A single curve that wanders slowly, with a
    correlation of neighbours above 0.5, can look as if it turned; several seeds by vmap tell.

    Args:
        run: a `Run`, also one made by vmap, its `History`, or any mapping from names to arrays
            [epochs] or [members, epochs].
        target: the loss that would be good enough, in the loss's units.
        baseline: the loss of a constant prediction, in the loss's units: for k classes of one size
            log k, for squared errors the variance of the targets.
        tolerance: the smallest share of the fall that matters, above 0 and below 1.

    Returns:
        A Diagnosis.

    Raises:
        TypeError: if `run` is no run and no mapping, a number is none, or it is called within jit or vmap.
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

    Source: Prechelt, "Early stopping - but when?", 1998, for the turn of the validation loss; the
    noise from differences: Gasser, Sroka, Jennen-Steinmetz, "Residual variance and residual pattern
    in nonlinear regression", 1986; local lines: Cleveland, "Robust locally weighted regression", 1979.
    """
    history = getattr(run, "history", run)
    _check_history(history)
    target, baseline = (_number(*named) for named in (("target", target), ("baseline", baseline)))
    _check.setting("tolerance", tolerance, 0.0, 1.0)
    outcome, kept = None, -1
    if hasattr(run, "state"):
        outcome = run.outcome
        kept = int(np.median(run.best_epoch)) if run.state.stop.model is not None else -1
    curves = measured(history, outcome)
    if len(curves.epochs) < FEWEST or 2 * curves.diverged >= curves.members:
        return _thin(curves)
    return _judged(curves, Evidence(curves, target, baseline, tolerance, kept))


def _check_history(history: Any) -> None:
    """Raise unless it maps a training loss, and no loss of another shape, to numbers [..., epochs]."""
    if not isinstance(history, Mapping):
        raise TypeError(
            f"diagnose judges a run, its history or a mapping from names to losses; got "
            f"{_check.describe(history)}. Try fn.study.diagnose(run); of an ensemble, its runs: found.runs."
        )
    losses = {name: history[name] for name in ("loss", "train_loss", "val_loss") if name in history}
    if not {"train_loss", "loss"} & set(losses):
        raise ValueError(
            f"diagnose reads train_loss or loss, and val_loss; this history holds {', '.join(history)}."
        )
    if not _tree.is_concrete(losses):
        raise TypeError("diagnose reads numbers: call it on what jit or vmap returns, not within.")
    shapes = {name: np.shape(values) for name, values in losses.items()}
    if len(set(shapes.values())) > 1 or () in shapes.values():
        raise ValueError(f"losses have one shape, [epochs] or [members, epochs]; got {shapes}.")


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    value = value.item() if hasattr(value, "item") else value
    _check.between(name, value, -np.inf, np.inf)
    return float(value)


def _judged(curves: Measured, evidence: Evidence) -> Diagnosis:
    verdict, reason, advice = evidence.found()
    valid = curves.validation
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
        training=curves.training.values.mean(axis=0),
        validation=valid.values.mean(axis=0) if valid else None,
        training_smooth=curves.training.smooth,
        validation_smooth=valid.smooth if valid else None,
        members=curves.members,
    )


def _thin(curves: Measured) -> Diagnosis:
    """Without curves to judge: what did not stay finite, and what is too short."""
    verdict, reason, advice = _not_finite(curves) if curves.diverged else _too_short(len(curves.epochs))
    training, validation = curves.training.values, curves.validation
    means = training.mean(axis=0), None if validation is None else validation.values.mean(axis=0)
    nothing = (None,) * 6
    return Diagnosis(
        verdict, reason, advice, *nothing, curves.epochs, *means, *means, members=curves.members
    )


def _not_finite(curves: Measured) -> Found:
    who = f"{curves.diverged} of {curves.members} trainings" if curves.members > 1 else "the training"
    reason = f"{who} met a loss that was not finite or passed the divergence threshold."
    return "diverged", reason, CALMER


def _too_short(count: int) -> Found:
    reason = f"{count} epochs were measured, and fewer than {FEWEST} say nothing about a trend."
    return "unclear", reason, ("train for more epochs, or evaluate more often (eval_every)",)
