"""The evidence in the curves of a training, and the rules that make a verdict of it."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from funcnet.study._loss_curves import Curve, Estimate, Measured, last, smoother

Verdict = Literal["underfit", "good", "overfit", "not converged", "diverged", "unclear"]

SURE, LIKELY = 3.5, 2.5
"""Standard errors of what is taken for real, and of what can't be ruled out. The first is so high
because the turn is looked for along the whole curve: the luckiest of many places is compared."""
LARGE_GAP = 0.25
"""Share of what was learned on the training rows that is missing on validation rows."""
LITTLE = 0.2
"""Share of a constant prediction's loss; who explains less of it has learned little."""

CALMER = (
    "a learning rate 3 to 10 times smaller",
    "features scaled to about -1 .. 1: fn.data.Scaler",
    "gradients clipped: optax.chain(optax.clip_by_global_norm(1.0), optimizer)",
)
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

Found = tuple[Verdict, str, tuple[str, ...]]


class Evidence:
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

    def found(self) -> Found:
        """The finding of the first rule that fits."""
        rules: list[Callable[[], Found | None]] = [self._diverged, self._without_validation]
        rules += [self._turned, self._hidden, self._falling, self._apart, self._poor]
        verdict, reason, advice = next((found for rule in rules if (found := rule())), self._good())
        return verdict, reason + self._notes(), advice

    def onset(self) -> int | None:
        """The last epoch whose smoothed validation loss is not likely above the lowest, if it rose."""
        if not self._rose(self.rise):
            return None
        rows = self.rows[self.best :]
        above = [self.valid.estimate(row - rows[0]).z > LIKELY for row in rows]
        return int(self.curves.epochs[self.best + np.flatnonzero(~np.array(above))[-1]])

    def _rise_of(self, curve: Curve) -> Estimate:
        """From the lowest smoothed epoch to the last tenth of the epochs, as far as it comes after."""
        lowest = int(curve.smooth.argmin())
        end = self.rows[max(lowest, int(self.end.argmax())) :].mean(axis=0)
        return curve.estimate(end - self.rows[lowest])

    def _notes(self) -> str:
        curves, notes = self.curves, ""
        if curves.training_name == "loss":
            notes += " There is no train_loss: training is the loss as it ran while weights moved."
        if curves.diverged:
            notes += f" {curves.diverged} of {curves.members} trainings diverged and are left out."
        return notes

    def _rose(self, rise: Estimate) -> bool:
        return rise.value > self.much and rise.z > SURE

    def _epoch(self) -> int:
        return int(self.curves.epochs[self.best]) + 1

    def _share(self, part: float) -> str:
        return f"{part / self.learned:.0%}" if abs(part) <= self.learned else "more than all"

    def _diverged(self) -> Found | None:
        rise, tail = self.train_rise, self.train.mean[-max(3, self.count // 5) :] - self.start
        large = max(0.5 * self.learned, LITTLE * abs(self.start))
        lost = rise.z > SURE and rise.value > large
        above = tail.min() > max(large, SURE * self.train.noise)
        later = self.train.mean[1:] - self.start
        wild = (later > 0).mean() >= 0.9 and np.median(later) > max(large, 0.5 * abs(self.start))
        if not (lost or above or wild):
            return None
        reason = (
            f"the training loss ended at {self.level}, {rise.value:.3g} above its lowest, after a start at "
            f"{self.start:.3g}."
        )
        return "diverged", reason, CALMER

    def _without_validation(self) -> Found | None:
        if self.curves.validation is not None:
            return None
        advice = ("validation rows: train(model, data, key, valid)",)
        if found := self._falling() or (self.target is not None and self._poor()) or None:
            verdict, reason, first = found
            return verdict, f"{reason} There are no validation rows to see a gap.", (*first, *advice)
        reason = f"the training loss levelled at {self.level}, and without validation rows no gap is seen."
        return "unclear", reason, advice

    def _turned(self) -> Found | None:
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
        stopping = f"fn.EarlyStopping(patience={patience})"
        return f"stop about epoch {self._epoch()}: fn.fit(…, stopping={stopping})"

    def _hidden(self) -> Found | None:
        likely = self.rise.value > self.much and self.rise.z > LIKELY
        seen = SURE * self.falls[1].error <= LARGE_GAP * max(self.learned, 0.0)
        if seen and not likely:
            return None
        if not seen and (self._no_fall() or self._little()):
            return self._poor()
        what = "may have risen" if likely else "is too noisy to tell a rise"
        reason = (
            f"the validation loss {what}: from its lowest, epoch {self._epoch()}, to the end it changed by "
            f"{self.rise}, and {self.learned:.3g} was learned."
        )
        return "unclear", reason, STEADIER

    def _falling(self) -> Found | None:
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

    def _apart(self) -> Found | None:
        if self._little() or (self._no_fall() and self.target is None):
            return None
        end, above = self.valid.estimate(self.end).value, self.gap.value - LARGE_GAP * self.learned
        if self.target is not None:
            if end <= self.target:
                return None
            if self.level.value <= self.target and end - self.target > self.much:
                above = max(above, min(self.gap.value, end - self.target))
        text = f"{self.gap} ({self._share(self.gap.value)} of what was learned)"
        z = Estimate(above, self.gap.error, self.gap.members).z
        if z > LIKELY:
            reason = (
                f"the validation loss levelled {text} above the training loss, {end:.3g} against "
                f"{self.level.value:.3g}."
            )
            return "overfit", reason, SIMPLER
        if z > -LIKELY and self.gap.error > self.much:
            return "unclear", f"the gap is {text}, and noise hides whether that is much.", STEADIER
        return None

    def _no_fall(self) -> bool:
        """Whether nothing was learned since the start that stands out of the noise."""
        noise = self.train.noise if self.baseline is None else 0.0  # of the first epoch
        error = float(np.hypot(self.level.error, noise))
        return self.learned <= 0 or Estimate(self.start - self.level.value, error).z < SURE

    def _little(self) -> bool:
        """Whether training explains little of a constant prediction's loss."""
        return self.baseline is not None and self.baseline - self.level.value < LITTLE * abs(self.baseline)

    def _poor(self) -> Found | None:
        if self.target is not None:
            missing = self.level.value - self.target
            sure = Estimate(missing, self.level.error, self.level.members)
            if missing <= self.much or sure.z < LIKELY:
                return None
            reason = f"{self._levelled()}, {missing:.3g} above the target {self.target:g}."
            return "underfit", reason, RICHER
        if self.baseline is not None:
            if not self._little():
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

    def _good(self) -> Found:
        turn = f"did not turn: it ended {self.rise} above its lowest"
        if self.best == self.count - 1:
            turn = "ended at its lowest"
        reason = f"{self._levelled()}, and the validation loss {turn}."
        if self.target is None and self.baseline is None:
            reason += " Whether a lower loss can be had, curves don't tell: give a target or baseline."
        return "good", reason, ()
