"""Loss curves with their noise, their smoothed course, and differences with standard errors."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from funcnet.train import Outcome

MIN_MEMBERS_FOR_ERRORS = 5
"""With at least this many members, standard errors come from their spread; with fewer, from the noise of
the mean curve."""
MAD_TO_STD = 1.4826
"""Standard deviation of normal noise over its median absolute deviation."""
MIN_EPOCHS_FOR_CORRELATION = 40
MAX_POINTS = 400
"""Longer curves are averaged over blocks of epochs, which does not change verdicts."""
ROUNDING = 1e-6
"""Changes below this share of a curve's size are rounding."""


class Estimate(NamedTuple):
    """A number estimated from noisy curves, with its standard error.

    Args:
        value: the number, in units of the loss.
        standard_error: its standard error, in the same units.
        num_members: the number of runs whose spread gives the standard error; 1 if it is computed from the
            noise between neighboring epochs.

    Example:
        >>> import funcnet as fn
        >>> gap = fn.study.Estimate(0.2, 0.05)
        >>> print(gap, gap.z)
        0.2 ± 0.05 4.0
    """

    value: float
    standard_error: float
    num_members: int = 1

    @property
    def z(self) -> float:
        """The z-score, value / standard_error. With several members the quotient follows Student's t
        distribution and is converted to the standard normal quantile of equal probability.
        """
        if not self.value:
            return 0.0
        t = self.value / self.standard_error if self.standard_error else np.copysign(np.inf, self.value)
        if self.num_members == 1:
            return float(t)
        from scipy import special  # 0.15 s to import

        tail = special.stdtr(self.num_members - 1, -abs(t))
        return float(np.copysign(special.ndtri(tail), t))

    def __str__(self) -> str:
        return f"{self.value:.3g} ± {self.standard_error:.1g}"


@dataclasses.dataclass(frozen=True)
class LossCurve:
    """One loss by measured epoch, [members, epochs], all finite."""

    values: np.ndarray

    @functools.cached_property
    def mean(self) -> np.ndarray:
        """The mean over members; a single epoch that is an outlier is replaced by a median of three."""
        raw = self.values.mean(axis=0)
        filtered = median_of_three(raw)
        is_outlier = np.abs(raw - filtered) > 4 * noise_of_differences(raw)
        return np.where(is_outlier, filtered, raw)

    @functools.cached_property
    def smooth(self) -> np.ndarray:
        """The mean, smoothed by local linear regression."""
        return smoother(self.values.shape[1]) @ self.mean

    @functools.cached_property
    def noise(self) -> float:
        """Standard deviation of one epoch of the mean, increased if neighboring epochs are correlated."""
        residuals = self.mean - self.smooth
        spread = MAD_TO_STD * float(np.median(np.abs(residuals)))
        half = self.mean[len(residuals) // 2 :]
        noise = max(spread, noise_of_differences(self.mean), noise_of_differences(half))
        rho = correlation(np.clip(residuals, -3 * spread, 3 * spread))
        few = 1 + 4 / len(residuals)  # with few epochs the noise itself is uncertain
        floor = ROUNDING * float(np.abs(self.mean).max())
        return max(few * noise * float(np.sqrt((1 + rho) / (1 - rho))), floor)

    def estimate(self, weights: np.ndarray) -> Estimate:
        """A weighted sum over epochs, with its standard error."""
        members = len(self.values)
        if members < MIN_MEMBERS_FOR_ERRORS:
            return Estimate(float(self.mean @ weights), self.noise * float(np.linalg.norm(weights)))
        each = self.values @ weights
        floor = ROUNDING * float(np.abs(self.values).max())
        error = max(float(each.std(ddof=1)) / members**0.5, floor)
        return Estimate(float(each.mean()), error, members)


@functools.lru_cache(maxsize=8)
def smoother(epochs: int) -> np.ndarray:
    """The matrix [epochs, epochs] of local linear regression with tricube weights.

    The bandwidth grows with the epoch, because curves slow down.
    """
    epoch = np.arange(epochs, dtype=float)
    matrix = np.empty((epochs, epochs))
    for t in range(epochs):
        width = min(max(2.0, 0.2 * t), max_bandwidth(epochs)) + 1
        weight = np.clip(1 - np.abs((epoch - t) / width) ** 3, 0.0, None) ** 3
        distance = epoch - t
        moments = [float((weight * distance**power).sum()) for power in range(3)]
        line = weight * (moments[2] - moments[1] * distance)
        matrix[t] = line / line.sum()
    return matrix


def max_bandwidth(epochs: int) -> float:
    """The largest number of epochs to each side that are smoothed over."""
    return max(2.0, 0.1 * epochs)


def correlation(residuals: np.ndarray) -> float:
    """The correlation 0 .. 0.9 of neighboring residuals of the smoothing; 0 if there are too few epochs.

    Source: Kendall, "Note on bias in the estimation of autocorrelation", 1954, for a fitted line.
    """
    power, span = float(residuals @ residuals), 1 + 2 * max_bandwidth(len(residuals))
    if not power or len(residuals) < MIN_EPOCHS_FOR_CORRELATION:
        return 0.0
    rho = float(residuals[1:] @ residuals[:-1]) / power
    return float(np.clip(rho + (2 + 4 * max(rho, 0.0)) / span, 0.0, 0.9))


def tail_weights(epochs: int, back: int = 0) -> np.ndarray:
    """Weights [epochs] of the mean over the last tenth of the epochs, at least 3; ending `back` earlier."""
    width = min(max(3, epochs // 10), epochs - back)
    weights = np.zeros(epochs)
    weights[epochs - back - width : epochs - back] = 1 / width
    return weights


def median_of_three(values: np.ndarray) -> np.ndarray:
    """The median of each value and its neighbors; the last uses the two before it, the first is kept."""
    before = np.concatenate([values[:1], values[:-2], values[-2:-1]])
    after = np.concatenate([values[:1], values[2:], values[-3:-2]])
    return np.median([before, values, after], axis=0)


def noise_of_differences(values: np.ndarray) -> float:
    """Standard deviation of independent noise on a smooth curve, from its second differences."""
    if len(values) < 5:
        return 0.0
    return MAD_TO_STD * float(np.median(np.abs(np.diff(values, 2)))) / 6**0.5


@dataclasses.dataclass(frozen=True)
class LossCurves:
    """The loss curves of a history.

    Args:
        epochs: the measured epochs, from 0.
        train: the training loss, without members that diverged.
        valid: the validation loss, if there is one.
        train_name: the name of the training loss in the history, "train_loss" or "loss".
        num_members: the number of all members.
        num_diverged: the number of members that diverged.
    """

    epochs: np.ndarray
    train: LossCurve
    valid: LossCurve | None
    train_name: str
    num_members: int
    num_diverged: int


def read_losses(history: Mapping[str, Any], outcome: Any = None) -> LossCurves:
    """The curves of a history, without epochs that were not measured and members that diverged."""
    name = "train_loss" if "train_loss" in history else "loss"
    names = [name, "val_loss"] if "val_loss" in history else [name]
    losses = np.stack([_with_member_axis(history[each]) for each in names])
    diverged = _find_diverged(losses, outcome)
    if not diverged.all():
        losses = losses[:, ~diverged]
    losses = np.where(np.isfinite(losses), losses, np.nan)
    is_measured = ~np.isnan(losses).any(axis=0)
    last = is_measured.shape[1] - 1 - is_measured[:, ::-1].argmax(axis=1)
    last = np.where(is_measured.any(axis=1), last, -1)
    keep = is_measured.any(axis=0) & (np.arange(is_measured.shape[1]) <= np.median(last))
    epochs = np.flatnonzero(keep)
    starts = np.arange(0, len(epochs), -(-len(epochs) // MAX_POINTS) or 1)
    curves = [LossCurve(_block_means(_fill_forward(loss[:, keep]), starts)) for loss in losses]
    valid = curves[1] if len(curves) > 1 else None
    middle = _block_means(epochs[None].astype(float), starts)[0].astype(int)
    return LossCurves(middle, curves[0], valid, name, len(diverged), int(diverged.sum()))


def _with_member_axis(values: Any) -> np.ndarray:
    """Values [epochs] or [..., epochs] as [members, epochs]."""
    array = np.asarray(values, float)
    return array.reshape(-1, array.shape[-1])


def _find_diverged(losses: np.ndarray, outcome: Any) -> np.ndarray:
    """Which members [members] had a non-finite value or were stopped because they diverged."""
    diverged = np.isinf(losses).any(axis=(0, 2))
    if outcome is None:
        return diverged
    outcomes = np.ravel(np.asarray(outcome, object))
    stopped = np.isin([each.name for each in outcomes], [Outcome.NOT_FINITE.name, Outcome.DIVERGED.name])
    finished = np.array([each is Outcome.FINISHED for each in outcomes])
    # A finished run has measured its last epoch, so NaN there is a loss that was NaN.
    return diverged | stopped | (finished & np.isnan(losses[:, :, -1]).any(axis=0))


def _block_means(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The mean [members, blocks] over each block of epochs."""
    if not len(starts):
        return values
    sizes = np.diff(np.append(starts, values.shape[1]))
    return np.add.reduceat(values, starts, axis=1) / sizes


def _fill_forward(values: np.ndarray) -> np.ndarray:
    """NaN replaced by the last value before it: a member that has stopped no longer changes."""
    known = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(values.shape[1])), axis=1)
    filled = np.take_along_axis(values, known, axis=1)
    return np.where(np.isnan(filled), np.nanmean(values, axis=0), filled)
