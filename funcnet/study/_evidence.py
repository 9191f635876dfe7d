"""The evidence in the loss curves of a run, and the rules that turn it into a verdict."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from funcnet.study._loss_curves import Estimate, LossCurve, LossCurves, smoother, tail_weights

Verdict = Literal["underfit", "good", "overfit", "not converged", "diverged", "unclear"]

SURE, LIKELY = 3.5, 2.5
"""Standard errors from which a change is considered real, or possible. The first is high because the
minimum is searched along the whole curve: the extreme of many epochs is compared."""
LARGE_GAP = 0.25
"""A generalization gap above this share of the reduction of the training loss is large."""
LITTLE = 0.2
"""A reduction below this share of the loss of a constant prediction is little."""

STABILIZE = (
    "a learning rate 3 to 10 times smaller",
    "features scaled to about -1 .. 1: fn.data.Scaler",
    "gradients clipped: optax.chain(optax.clip_by_global_norm(1.0), optimizer)",
)
REGULARIZE = (
    "more training rows, or augmented ones",
    "a smaller model",
    "weight decay: optax.adamw(…, weight_decay=0.1), or 1.0",
    "dropout: fn.MLP(…, dropout=0.3)",
)
INCREASE_CAPACITY = (
    "a larger model, or better features",
    "less dropout, weight decay or penalty",
    "a higher learning rate",
)
REDUCE_NOISE = (
    "more validation rows",
    "several seeds at once: jax.vmap(train, in_axes=(0, None, 0, None))",
    "more epochs, or a smaller learning rate at the end",
)

Finding = tuple[Verdict, str, tuple[str, ...]]
"""Verdict, reason and advice."""


class Evidence:
    """The numbers that the rules use, and the rules in their order."""

    def __init__(
        self,
        curves: LossCurves,
        target: float | None,
        baseline: float | None,
        tolerance: float,
        restored_epoch: int,
    ) -> None:
        self.curves, self.target, self.baseline = curves, target, baseline
        self.restored_epoch = restored_epoch
        self.count = count = len(curves.epochs)
        self.train = curves.train
        self.valid = curves.valid or curves.train
        self.end, before = tail_weights(count), tail_weights(count, back=max(3, count // 4))
        self.smoother = smoother(count)
        self.best = int(self.valid.smooth.argmin())
        self.level = self.train.estimate(self.end)
        self.start = float(self.train.mean[0]) if baseline is None else baseline
        self.learned = self.start - float(self.train.smooth.min())
        self.much = tolerance * max(self.learned, tolerance * abs(self.start))
        self.rise, self.train_rise = self._rise_of(self.valid), self._rise_of(self.train)
        self.falls = [curve.estimate(before - self.end) for curve in (self.train, self.valid)]
        gap = LossCurve(self.valid.values - self.train.values)
        self.gap, self.best_gap = gap.estimate(self.end), gap.estimate(self.smoother[self.best])

    def judge(self) -> Finding:
        """The finding of the first rule that applies."""
        rules: list[Callable[[], Finding | None]] = [self._divergence, self._no_validation]
        rules += [self._val_loss_rose, self._rise_is_hidden, self._still_falling, self._large_gap]
        rules += [self._underfit]
        verdict, reason, advice = next((finding for rule in rules if (finding := rule())), self._good())
        return verdict, reason + self._notes(), advice

    def onset(self) -> int | None:
        """The last epoch whose smoothed validation loss is not likely above the minimum, if it rose."""
        if not self._rose(self.rise):
            return None
        rows = self.smoother[self.best :]
        above = [self.valid.estimate(row - rows[0]).z > LIKELY for row in rows]
        return int(self.curves.epochs[self.best + np.flatnonzero(~np.array(above))[-1]])

    def _rise_of(self, curve: LossCurve) -> Estimate:
        """From the lowest smoothed epoch to the epochs after it in the last tenth."""
        lowest = int(curve.smooth.argmin())
        end = self.smoother[max(lowest, int(self.end.argmax())) :].mean(axis=0)
        return curve.estimate(end - self.smoother[lowest])

    def _notes(self) -> str:
        curves, notes = self.curves, ""
        if curves.train_name == "loss":
            notes += " There is no train_loss: the training loss is the running mean while weights changed."
        if curves.num_diverged:
            notes += f" {curves.num_diverged} of {curves.num_members} runs diverged and are left out."
        return notes

    def _rose(self, rise: Estimate) -> bool:
        return rise.value > self.much and rise.z > SURE

    def _epoch(self) -> int:
        return int(self.curves.epochs[self.best]) + 1

    def _share(self, part: float) -> str:
        """A part as a share of the reduction of the training loss."""
        return f"{part / self.learned:.0%}" if abs(part) <= self.learned else "more than 100%"

    def _divergence(self) -> Finding | None:
        rise, tail = self.train_rise, self.train.mean[-max(3, self.count // 5) :] - self.start
        large = max(0.5 * self.learned, LITTLE * abs(self.start))
        rose = rise.z > SURE and rise.value > large
        ends_above = tail.min() > max(large, SURE * self.train.noise)
        later = self.train.mean[1:] - self.start
        mostly_above = (later > 0).mean() >= 0.9 and np.median(later) > max(large, 0.5 * abs(self.start))
        if not (rose or ends_above or mostly_above):
            return None
        reason = (
            f"the training loss ended at {self.level}, {rise.value:.3g} above its minimum, after a start "
            f"at {self.start:.3g}."
        )
        return "diverged", reason, STABILIZE

    def _no_validation(self) -> Finding | None:
        if self.curves.valid is not None:
            return None
        advice = ("validation rows: train(model, data, key, valid)",)
        if finding := self._still_falling() or (self.target is not None and self._underfit()) or None:
            verdict, reason, first = finding
            return verdict, f"{reason} Without validation rows the gap is unknown.", (*first, *advice)
        reason = (
            f"the training loss levelled off at {self.level}; without validation rows the gap is unknown."
        )
        return "unclear", reason, advice

    def _val_loss_rose(self) -> Finding | None:
        if not self._rose(self.rise):
            return None
        if self._rose(self.train_rise) and self.train_rise.value > 0.5 * self.rise.value:
            reason = (
                f"training and validation loss both rose, by {self.train_rise} and {self.rise}: the run is "
                "unstable, so overfitting can't be detected."
            )
            return "unclear", reason, STABILIZE
        reason = (
            f"the validation loss rose by {self.rise} ({self._share(self.rise.value)} of the reduction of "
            f"the training loss) from epoch {self._epoch()} to the end, while the training loss did not; "
            f"the gap grew from {self.best_gap} to {self.gap}."
        )
        if self.restored_epoch >= 0:
            reason += f" run.model is that of epoch {self.restored_epoch + 1}, not that of the end."
        return "overfit", reason, (self._stop_early(), *REGULARIZE)

    def _stop_early(self) -> str:
        if self.restored_epoch >= 0:
            return f"keep run.model: early stopping restored epoch {self.restored_epoch + 1}"
        patience = max(5, self.count // 10)
        stopping = f"fn.EarlyStopping(patience={patience})"
        return f"stop near epoch {self._epoch()}: fn.fit(…, stopping={stopping})"

    def _rise_is_hidden(self) -> Finding | None:
        likely = self.rise.value > self.much and self.rise.z > LIKELY
        detectable = SURE * self.falls[1].standard_error <= LARGE_GAP * max(self.learned, 0.0)
        if detectable and not likely:
            return None
        if not detectable and (self._no_fall() or self._little()):
            return self._underfit()
        what = "may have risen" if likely else "is too noisy to detect a rise"
        reason = (
            f"the validation loss {what}: from its minimum at epoch {self._epoch()} to the end it changed "
            f"by {self.rise}, while the training loss was reduced by {self.learned:.3g}."
        )
        return "unclear", reason, REDUCE_NOISE

    def _still_falling(self) -> Finding | None:
        if not all(fall.value > self.much and fall.z > LIKELY for fall in self.falls):
            return None
        train, valid = self.falls
        both = f"and the validation loss by {valid} " if self.curves.valid is not None else ""
        reason = (
            f"in the last quarter of {self.count} measured epochs the training loss fell by {train} "
            f"{both}({self._share(train.value)} of the whole reduction), so more epochs would help."
        )
        epochs = 2 * (int(self.curves.epochs[-1]) + 1)
        return "not converged", reason, (f"train longer: epochs={epochs}", "a larger learning rate")

    def _large_gap(self) -> Finding | None:
        if self._little() or (self._no_fall() and self.target is None):
            return None
        end, above = self.valid.estimate(self.end).value, self.gap.value - LARGE_GAP * self.learned
        if self.target is not None:
            if end <= self.target:
                return None
            if self.level.value <= self.target and end - self.target > self.much:
                above = max(above, min(self.gap.value, end - self.target))
        text = f"{self.gap} ({self._share(self.gap.value)} of the reduction of the training loss)"
        z = Estimate(above, self.gap.standard_error, self.gap.num_members).z
        if z > LIKELY:
            reason = (
                f"the validation loss levelled off {text} above the training loss, {end:.3g} against "
                f"{self.level.value:.3g}."
            )
            return "overfit", reason, REGULARIZE
        if z > -LIKELY and self.gap.standard_error > self.much:
            return "unclear", f"the gap is {text}, and it is too noisy to judge its size.", REDUCE_NOISE
        return None

    def _no_fall(self) -> bool:
        """Whether the reduction of the training loss since the start is within the noise."""
        noise = self.train.noise if self.baseline is None else 0.0  # of the first epoch
        error = float(np.hypot(self.level.standard_error, noise))
        return self.learned <= 0 or Estimate(self.start - self.level.value, error).z < SURE

    def _little(self) -> bool:
        """Whether training reduced the loss of a constant prediction only a little."""
        return self.baseline is not None and self.baseline - self.level.value < LITTLE * abs(self.baseline)

    def _underfit(self) -> Finding | None:
        if self.target is not None:
            excess = Estimate(
                self.level.value - self.target, self.level.standard_error, self.level.num_members
            )
            if excess.value <= self.much or excess.z < LIKELY:
                return None
            reason = f"{self._level_text()}, {excess.value:.3g} above the target {self.target:g}."
            return "underfit", reason, INCREASE_CAPACITY
        if self.baseline is not None:
            if not self._little():
                return None
            reason = (
                f"{self._level_text()}, not much below {self.baseline:.3g}, that of a constant prediction."
            )
            return "underfit", reason, INCREASE_CAPACITY
        if not self._no_fall():
            return None
        reason = (
            f"the training loss stayed at {self.level} from the first epoch on: either everything was "
            "learned in that epoch, or nothing."
        )
        advice = ("a target or a baseline: diagnose(run, target=…) or baseline=…", *INCREASE_CAPACITY)
        return "unclear", reason, advice

    def _level_text(self) -> str:
        text = f"the training loss levelled off at {self.level}"
        return text if self.curves.valid is None else f"{text} with a gap of {self.gap}"

    def _good(self) -> Finding:
        end = f"did not rise: it ended {self.rise} above its minimum"
        if self.best == self.count - 1:
            end = "ended at its minimum"
        reason = f"{self._level_text()}, and the validation loss {end}."
        if self.target is None and self.baseline is None:
            reason += " Whether a lower loss is possible needs a target or a baseline."
        return "good", reason, ()
