"""Curves of losses as evidence: their noise, their smooth course, and differences with standard errors."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from funcnet.train import Outcome

MEMBERS_FOR_ERRORS = 5
"""From so many members on their spread is the uncertainty; of fewer, the noise of the mean curve is."""
NORMAL = 1.4826
"""Standard deviation of normal noise in units of its median absolute deviation."""
ENOUGH_FOR_CORRELATION = 40
MOST_POINTS = 400
"""Longer curves are averaged over blocks of epochs, which costs nothing of what is judged."""
ROUNDING = 1e-6
"""Share of a curve's size below which a change is rounding."""


class Estimate(NamedTuple):
    """A number from noisy curves, and how sure it is.

    Args:
        value: the number, in the loss's units.
        error: its standard error, in the same units.
        members: how many trainings' spread the error comes from; 1 where it comes from the noise
            between neighbouring epochs.

    Example:
        >>> import funcnet as fn
        >>> gap = fn.study.Estimate(0.2, 0.05)
        >>> print(gap, gap.z)
        0.2 ± 0.05 4.0
    """

    value: float
    error: float
    members: int = 1

    @property
    def z(self) -> float:
        """The value in standard errors, as a standard normal number; Student's t is converted.

        Source: Wallace, "Bounds on normal approximations to Student's distribution", 1959.
        """
        t = self.value / self.error if self.error else float(np.copysign(np.inf, self.value))
        if self.value == 0 or self.members == 1:
            return t if self.value else 0.0
        freedom = self.members - 1
        size = np.sqrt(freedom * np.log1p(t * t / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
        return float(np.copysign(size, t))

    def __str__(self) -> str:
        return f"{self.value:.3g} ± {self.error:.1g}"


@dataclasses.dataclass(frozen=True)
class Curve:
    """One loss by measured epoch, [members, epochs], all finite."""

    values: np.ndarray

    @functools.cached_property
    def mean(self) -> np.ndarray:
        """The mean of the members, with single epochs that stand out pulled back to their neighbours."""
        raw = self.values.mean(axis=0)
        calm = median_of_three(raw)
        stands_out = np.abs(raw - calm) > 4 * noise_of_differences(raw)
        return np.where(stands_out, calm, raw)

    @functools.cached_property
    def smooth(self) -> np.ndarray:
        """The mean, smoothed by local lines."""
        return smoother(self.values.shape[1]) @ self.mean

    @functools.cached_property
    def noise(self) -> float:
        """Standard deviation of one epoch of the mean, larger where neighbours go together."""
        rest = self.mean - self.smooth
        spread = NORMAL * float(np.median(np.abs(rest)))
        half = self.mean[len(rest) // 2 :]
        noise = max(spread, noise_of_differences(self.mean), noise_of_differences(half))
        together = correlation(np.clip(rest, -3 * spread, 3 * spread))
        few = 1 + 4 / len(rest)  # of few epochs the noise itself is uncertain
        floor = ROUNDING * float(np.abs(self.mean).max())
        return max(few * noise * float(np.sqrt((1 + together) / (1 - together))), floor)

    def estimate(self, weights: np.ndarray) -> Estimate:
        """A weighted sum over epochs, with its standard error."""
        members = len(self.values)
        if members < MEMBERS_FOR_ERRORS:
            return Estimate(float(self.mean @ weights), self.noise * float(np.linalg.norm(weights)))
        each = self.values @ weights
        floor = ROUNDING * float(np.abs(self.values).max())
        error = max(float(each.std(ddof=1)) / members**0.5, floor)
        return Estimate(float(each.mean()), error, members)


@functools.lru_cache(maxsize=8)
def smoother(epochs: int) -> np.ndarray:
    """The matrix [epochs, epochs] of local lines; reach grows with the epoch, as curves slow down."""
    place = np.arange(epochs, dtype=float)
    matrix = np.empty((epochs, epochs))
    for t in range(epochs):
        width = min(max(2.0, 0.2 * t), reach(epochs)) + 1
        weight = np.clip(1 - np.abs((place - t) / width) ** 3, 0.0, None) ** 3
        away = place - t
        moments = [float((weight * away**power).sum()) for power in range(3)]
        line = weight * (moments[2] - moments[1] * away)
        matrix[t] = line / line.sum()
    return matrix


def reach(epochs: int) -> float:
    """How many epochs to each side are smoothed over, at most."""
    return max(2.0, 0.1 * epochs)


def correlation(rest: np.ndarray) -> float:
    """The correlation 0 .. 0.9 of neighbours in what smoothing leaves; 0 where epochs are too few for it.

    Source: Kendall, "Note on bias in the estimation of autocorrelation", 1954, for a fitted line.
    """
    power, span = float(rest @ rest), 1 + 2 * reach(len(rest))
    if not power or len(rest) < ENOUGH_FOR_CORRELATION:
        return 0.0
    found = float(rest[1:] @ rest[:-1]) / power
    return float(np.clip(found + (2 + 4 * max(found, 0.0)) / span, 0.0, 0.9))


def last(epochs: int, back: int = 0) -> np.ndarray:
    """Weights [epochs] of the mean of the last tenth of the epochs, 3 at least, or of that much earlier."""
    width = min(max(3, epochs // 10), epochs - back)
    weights = np.zeros(epochs)
    weights[epochs - back - width : epochs - back] = 1 / width
    return weights


def median_of_three(values: np.ndarray) -> np.ndarray:
    """Each value's median with its neighbours; the last with the two before it, the first as it is."""
    before = np.concatenate([values[:1], values[:-2], values[-2:-1]])
    after = np.concatenate([values[:1], values[2:], values[-3:-2]])
    return np.median([before, values, after], axis=0)


def noise_of_differences(values: np.ndarray) -> float:
    """Standard deviation of independent noise on a smooth curve, from its second differences."""
    if len(values) < 5:
        return 0.0
    return NORMAL * float(np.median(np.abs(np.diff(values, 2)))) / 6**0.5


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a history holds, ready to be judged.

    `epochs` are the measured ones, from 0; `diverged` of all `members` are left out of the curves.
    """

    epochs: np.ndarray
    training: Curve
    validation: Curve | None
    training_name: str
    members: int
    diverged: int


def measured(history: Mapping[str, Any], outcome: Any = None) -> Measured:
    """The curves of a history, without epochs not measured and members that diverged."""
    name = "train_loss" if "train_loss" in history else "loss"
    names = [name, "val_loss"] if "val_loss" in history else [name]
    losses = np.stack([_rows(history[each]) for each in names])
    bad = _diverged(losses, outcome)
    if not bad.all():
        losses = losses[:, ~bad]
    losses = np.where(np.isfinite(losses), losses, np.nan)
    found = ~np.isnan(losses).any(axis=0)
    last_found = np.where(found.any(axis=1), found.shape[1] - 1 - found[:, ::-1].argmax(axis=1), -1)
    kept = found.any(axis=0) & (np.arange(found.shape[1]) <= np.median(last_found))
    epochs = np.flatnonzero(kept)
    starts = np.arange(0, len(epochs), -(-len(epochs) // MOST_POINTS) or 1)
    curves = [Curve(_blocks(_filled(loss[:, kept]), starts)) for loss in losses]
    validation = curves[1] if len(curves) > 1 else None
    middle = _blocks(epochs[None].astype(float), starts)[0].astype(int)
    return Measured(middle, curves[0], validation, name, len(bad), int(bad.sum()))


def _rows(values: Any) -> np.ndarray:
    array = np.asarray(values, float)
    return array.reshape(-1, array.shape[-1])


def _diverged(losses: np.ndarray, outcome: Any) -> np.ndarray:
    """Which members [members] met a value that is not finite, or were stopped for what they lost."""
    bad = np.isinf(losses).any(axis=(0, 2))
    if outcome is None:
        return bad
    outcomes = np.ravel(np.asarray(outcome, object))
    stopped = np.isin([each.name for each in outcomes], [Outcome.NOT_FINITE.name, Outcome.DIVERGED.name])
    finished = np.array([each is Outcome.FINISHED for each in outcomes])
    # A finished training has measured its last epoch: NaN there is a loss that was not a number.
    return bad | stopped | (finished & np.isnan(losses[:, :, -1]).any(axis=0))


def _blocks(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The mean [members, blocks] of each block of epochs."""
    if not len(starts):
        return values
    sizes = np.diff(np.append(starts, values.shape[1]))
    return np.add.reduceat(values, starts, axis=1) / sizes


def _filled(values: np.ndarray) -> np.ndarray:
    """NaN replaced by the value before it: a member that has stopped no longer changes."""
    known = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(values.shape[1])), axis=1)
    filled = np.take_along_axis(values, known, axis=1)
    return np.where(np.isnan(filled), np.nanmean(values, axis=0), filled)
