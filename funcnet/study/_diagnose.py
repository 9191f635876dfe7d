"""What two curves say about a training: underfitted, good, overfitted, not converged, diverged, or nothing."""

import dataclasses
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from funcnet import _check
from funcnet.study._measured import Curve, Estimate, Measured, last, measured, smoother

Verdict = Literal["underfit", "good", "overfit", "not converged", "diverged", "unclear"]

FEWEST = 5
"""Measured epochs below which nothing is said."""
SURE, LIKELY = 3.5, 2.5
"""Standard errors of what is taken for real, and of what can't be ruled out. The first is so high
because the turn is looked for along the whole curve: the luckiest of many places is compared."""
LARGE_GAP = 0.25
"""Share of what was learned on the training rows that is missing on validation rows."""
LITTLE = 0.2
"""Share of a constant prediction's loss; who explains less of it has learned little."""


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
        ('overfit', 20, 24)
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
    | diverged | not finite (half of the members, of many); or the training loss rose surely, by more than half of its fall; or its last fifth lies above its start |
    | unclear | fewer than 5 measured epochs |
    | underfit, not converged, unclear | without validation: levelled above the target, still falling, else unclear |
    | overfit | validation rose much and surely (3.5 standard errors) from its lowest point, training did not |
    | unclear | both rose much; or validation rose much, but not surely (2.5); or noise hides a rise of a quarter of the fall |
    | not converged | training and validation still fall, much and likely, in the last quarter of the epochs |
    | overfit | levelled with a gap above a quarter of the fall; with a target, if only training reached it |
    | unclear | a gap as large as that, but not surely |
    | underfit | levelled, small gap, above the target by much; or within 20 % of the baseline's loss |
    | unclear | no fall that stands out of the noise, and no target or baseline |
    | good | the rest: levelled, small gap, no rise |

    Without target and baseline nothing tells what good is, and "good" says only that the curves show
    neither overfitting nor too short a training. Curves don't show how much of a gap is the luck
    of these validation rows: `fn.study.cross_validate` does.

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
        TypeError: if `run` is no run and no mapping, or a number is none.
        ValueError: if there is neither `train_loss` nor `loss`, or a setting is out of range.

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
    if not isinstance(history, Mapping):
        raise TypeError(
            f"diagnose judges a run, its history or a mapping from names to losses; got "
            f"{_check.describe(run)}. Try fn.study.diagnose(run); of an ensemble, its runs: found.runs."
        )
    if not {"train_loss", "loss"} & set(history):
        raise ValueError(
            f"diagnose reads train_loss or loss, and val_loss; this history holds {', '.join(history)}."
        )
    for name, value in {"target": target, "baseline": baseline}.items():
        if value is not None:
            _check.between(name, value, -np.inf, np.inf)
    _check.setting("tolerance", tolerance, 0.0, 1.0)
    has_outcome = hasattr(run, "history") and hasattr(run, "outcome")
    curves = measured(history, run.outcome if has_outcome else None)
    kept = int(np.median(run.best_epoch)) if has_outcome and run.state.stop.model is not None else -1
    if len(curves.epochs) < FEWEST or 2 * curves.diverged >= curves.members:
        return _thin(curves)
    return _Evidence(curves, target, baseline, tolerance, kept).diagnosis()


def _thin(curves: Measured) -> Diagnosis:
    """Without curves to judge: what did not stay finite, and what is too short."""
    if curves.diverged and 2 * curves.diverged >= curves.members:
        who = f"{curves.diverged} of {curves.members} trainings" if curves.members > 1 else "the training"
        reason = f"{who} met a loss that was not finite or passed the divergence threshold."
        verdict: Verdict = "diverged"
        advice = CALMER
    else:
        count = len(curves.epochs)
        reason = f"{count} epochs were measured, and fewer than {FEWEST} say nothing about a trend."
        verdict, advice = "unclear", ("train for more epochs, or evaluate more often (eval_every)",)
    training, validation = curves.training.values, curves.validation
    means = training.mean(axis=0), None if validation is None else validation.values.mean(axis=0)
    nothing = (None,) * 6
    return Diagnosis(
        verdict, reason, advice, *nothing, curves.epochs, *means, *means, members=curves.members
    )


CALMER = (
    "a learning rate 3 to 10 times smaller",
    "features scaled to about -1 .. 1: fn.data.Scaler",
    "gradients clipped: optax.chain(optax.clip_by_global_norm(1.0), optimizer)",
)
Finding = tuple[Verdict, str, tuple[str, ...]] | None


class _Evidence:
    """The numbers that the rules look at, and the rules in their order."""

    def __init__(
        self,
        curves: Measured,
        target: float | None,
        baseline: float | None,
        tolerance: float,
        kept: int,
    ) -> None:
        self.curves, self.target, self.baseline, self.kept = curves, target, baseline, kept
        self.count = count = len(curves.epochs)
        self.train = curves.training
        self.valid = curves.validation or curves.training
        self.end, before = last(count), last(count, back=max(3, count // 4))
        self.rows = smoother(count)
        self.best = int(self.valid.smooth.argmin())
        self.level = self.train.estimate(self.end)
        self.start = float(self.train.mean[0]) if baseline is None else baseline
        self.learned = self.start - float(self.train.smooth.min())
        self.much = tolerance * max(self.learned, tolerance * abs(self.start))
        self.rise, self.train_rise = self._rise_of(self.valid), self._rise_of(self.train)
        self.falls = [curve.estimate(before - self.end) for curve in (self.train, self.valid)]
        apart = Curve(self.valid.values - self.train.values)
        self.gap, self.best_gap = apart.estimate(self.end), apart.estimate(self.rows[self.best])

    def diagnosis(self) -> Diagnosis:
        """The finding of the first rule that fits."""
        rules: list[Callable[[], Finding]] = [self._diverged, self._without_validation]
        rules += [self._turned, self._hidden, self._falling, self._apart, self._poor]
        verdict, reason, advice = next((found for rule in rules if (found := rule())), self._good())
        curves, valid = self.curves, self.curves.validation
        return Diagnosis(
            verdict=verdict,
            reason=reason + self._notes(),
            advice=advice,
            best_epoch=int(curves.epochs[self.best]),
            onset=self._onset() if self._rose(self.rise) else None,
            gap=self.gap if valid else None,
            best_gap=self.best_gap if valid else None,
            rise=self.rise if valid else None,
            fall=self.falls[0],
            epochs=curves.epochs,
            training=self.train.values.mean(axis=0),
            validation=valid.values.mean(axis=0) if valid else None,
            training_smooth=self.train.smooth,
            validation_smooth=valid.smooth if valid else None,
            members=curves.members,
        )

    def _rise_of(self, curve: Curve) -> Estimate:
        """From the lowest smoothed epoch to the last tenth of the epochs, as far as it comes after."""
        lowest = int(curve.smooth.argmin())
        end = self.rows[max(lowest, int(self.end.argmax())) :].mean(axis=0)
        return curve.estimate(end - self.rows[lowest])

    def _notes(self) -> str:
        notes = ""
        if self.curves.training_name == "loss":
            notes += " The training loss is the one that ran while weights moved, as no train_loss is there."
        if self.curves.diverged:
            notes += f" {self.curves.diverged} of {self.curves.members} trainings diverged and are left out."
        return notes

    def _rose(self, rise: Estimate) -> bool:
        return rise.value > self.much and rise.z > SURE

    def _onset(self) -> int:
        """The last epoch whose smoothed validation loss is not likely above the lowest."""
        rows = self.rows[self.best :]
        above = [self.valid.estimate(row - rows[0]).z > LIKELY for row in rows]
        return int(self.curves.epochs[self.best + np.flatnonzero(~np.array(above))[-1]])

    def _epoch(self) -> int:
        return int(self.curves.epochs[self.best]) + 1

    def _share(self, part: float) -> str:
        return f"{part / self.learned:.0%}" if abs(part) <= self.learned else "more than all"

    def _diverged(self) -> Finding:
        rise, tail = self.train_rise, self.train.mean[-max(3, self.count // 5) :] - self.start
        large = max(0.5 * self.learned, LITTLE * abs(self.start))
        lost = rise.z > SURE and rise.value > large
        if not (lost or tail.min() > max(large, SURE * self.train.noise)):
            return None
        reason = (
            f"the training loss ended at {self.level}, {rise.value:.3g} above its lowest, after a start at "
            f"{self.start:.3g}."
        )
        return "diverged", reason, CALMER

    def _without_validation(self) -> Finding:
        if self.curves.validation is not None:
            return None
        advice = ("validation rows: train(model, data, key, valid)",)
        if found := self._falling() or (self.target is not None and self._poor()) or None:
            verdict, reason, first = found
            return verdict, f"{reason} There are no validation rows to see a gap.", (*first, *advice)
        reason = f"the training loss levelled at {self.level}, and without validation rows no gap is seen."
        return "unclear", reason, advice

    def _turned(self) -> Finding:
        if not self._rose(self.rise):
            return None
        if self._rose(self.train_rise) and self.train_rise.value > 0.5 * self.rise.value:
            reason = (
                f"training and validation loss both rose, by {self.train_rise} and {self.rise}: the "
                "training is unstable, and whether it overfits is not seen."
            )
            return "unclear", reason, CALMER
        reason = (
            f"the validation loss rose by {self.rise} ({self._share(self.rise.value)} of what was learned) "
            f"from epoch {self._epoch()} to the end, while the training loss did not; the gap grew from "
            f"{self.best_gap} to {self.gap}."
        )
        return "overfit", reason, (self._stop_early(), *SIMPLER)

    def _stop_early(self) -> str:
        if self.kept >= 0:
            return f"keep run.model: early stopping left it at epoch {self.kept + 1}"
        patience = max(5, self.count // 10)
        return f"stop about epoch {self._epoch()}: fn.fit(…, stopping=fn.EarlyStopping(patience={patience}))"

    def _hidden(self) -> Finding:
        likely = self.rise.value > self.much and self.rise.z > LIKELY
        seen = SURE * self.falls[1].error <= LARGE_GAP * max(self.learned, 0.0)
        if seen and not likely:
            return None
        if not seen and self._no_fall():
            return self._poor()
        what = "may have risen" if likely else "is too noisy to tell a rise"
        reason = (
            f"the validation loss {what}: from its lowest, epoch {self._epoch()}, to the end it changed by "
            f"{self.rise}, and {self.learned:.3g} was learned."
        )
        return "unclear", reason, STEADIER

    def _falling(self) -> Finding:
        if not all(fall.value > self.much and fall.z > LIKELY for fall in self.falls):
            return None
        train, valid = self.falls
        both = f"and the validation loss by {valid} " if self.curves.validation is not None else ""
        reason = (
            f"in the last quarter of {self.count} measured epochs the training loss fell by {train} {both}"
            f"({self._share(train.value)} of all that was learned): there is more to come."
        )
        epochs = 2 * (int(self.curves.epochs[-1]) + 1)
        return "not converged", reason, (f"train longer: epochs={epochs}", "a larger learning rate")

    def _apart(self) -> Finding:
        if self._no_fall() and self.target is None:
            return None
        much, text = LARGE_GAP * self.learned, f"{self.gap} ({self._share(self.gap.value)} of what was learned)"
        above = self.gap.value - much
        end = self.valid.estimate(self.end)
        if self.target is not None:
            if end.value <= self.target:
                return None
            if self.level.value <= self.target and end.value - self.target > self.much:
                above = max(above, min(self.gap.value, end.value - self.target))
        sure = Estimate(above, self.gap.error, self.gap.members)
        if sure.z > LIKELY:
            reason = (
                f"the validation loss levelled {text} above the training loss, {end.value:.3g} against "
                f"{self.level.value:.3g}."
            )
            return "overfit", reason, SIMPLER
        if Estimate(-above, self.gap.error, self.gap.members).z < LIKELY and self.gap.error > self.much:
            return "unclear", f"the gap is {text}, and noise hides whether that is much.", STEADIER
        return None

    def _no_fall(self) -> bool:
        """Whether nothing was learned since the start that stands out of the noise."""
        learned = Estimate(self.start - self.level.value, self.level.error, self.level.members)
        return learned.z < SURE or self.learned <= 0

    def _poor(self) -> Finding:
        if self.target is not None:
            missing = self.level.value - self.target
            sure = Estimate(missing, self.level.error, self.level.members)
            if missing <= self.much or sure.z < LIKELY:
                return None
            return "underfit", f"{self._levelled()}, {missing:.3g} above the target {self.target:g}.", RICHER
        if self.baseline is not None:
            if self.baseline - self.level.value >= LITTLE * abs(self.baseline):
                return None
            reason = f"{self._levelled()}, not much below the {self.baseline:.3g} of a constant prediction."
            return "underfit", reason, RICHER
        if not self._no_fall():
            return None
        reason = (
            f"the training loss stayed at {self.level} from the first epoch on: all was learned in that "
            "epoch, or nothing."
        )
        return "unclear", reason, ("say what good is: diagnose(run, target=…) or baseline=…", *RICHER)

    def _levelled(self) -> str:
        text = f"the training loss levelled at {self.level}"
        return text if self.curves.validation is None else f"{text} with a gap of {self.gap}"

    def _good(self) -> tuple[Verdict, str, tuple[str, ...]]:
        turn = f"did not turn: it ended {self.rise} above its lowest"
        if self.best == self.count - 1:
            turn = "ended at its lowest"
        reason = f"{self._levelled()}, and the validation loss {turn}."
        if self.target is None and self.baseline is None:
            reason += " Whether a lower loss can be had, curves don't tell: give a target or baseline."
        return "good", reason, ()


SIMPLER = (
    "more training rows, or augmented ones",
    "a smaller model",
    "dropout: fn.MLP(…, dropout=0.3)",
    "weight decay: optax.adamw(…, weight_decay=0.1)",
)
RICHER = (
    "a larger model, or better features",
    "less dropout, weight decay or penalty",
    "a higher learning rate",
)
STEADIER = (
    "more validation rows",
    "several seeds at once: jax.vmap(train, in_axes=(0, None, 0, None))",
    "more epochs, or a smaller learning rate at the end",
)
