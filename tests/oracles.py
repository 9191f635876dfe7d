"""Float64 oracles of all losses and metrics, in numpy, independent of the code under test.

`LOSS_ORACLES[name](prediction, target, **settings)` is the loss of one example.
`METRIC_ORACLES[name](predictions, targets, weight, **settings)` is the metric of all rows, as `measure` and
the ranking metrics return it. Both are floats of 64 bits (a confusion matrix is an array): where one
exceeds float32, the right float32 is infinite, see `as_float32`. NaN means: NaN or a sentence is right. An
infinite logit stands for its limit. `Mismatch` means: only a sentence is right.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np


class Mismatch(Exception):
    """The function is not defined for these shapes or settings."""


def as_float32(value: Any) -> np.ndarray:
    """The nearest float32, infinite where float64 values exceed its range."""
    with np.errstate(over="ignore"):
        return np.asarray(value, np.float64).astype(np.float32)


def _silently(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def oracle(*args: Any, **settings: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args, **settings)

    return oracle


def _pair(prediction: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    p, t = np.asarray(prediction), np.asarray(target)
    if p.shape != t.shape:
        raise Mismatch(f"shapes {p.shape} and {t.shape}")
    return p.astype(np.float64), t.astype(np.float64)


def _mean(values: np.ndarray) -> float:
    """The mean, which only overflows where it exceeds float64 itself."""
    if not values.size:
        raise Mismatch("no entries")
    scale = np.max(np.abs(np.where(np.isfinite(values), values, 0))) or 1.0
    return float(np.mean(values / scale) * scale) if np.isfinite(values).all() else float(np.mean(values))


def _number(name: str, value: Any, low: float, high: float, *, low_included: bool = False) -> np.ndarray:
    v = np.asarray(value, np.float64)
    if not np.all(((v >= low) if low_included else (v > low)) & (v < high)):
        raise Mismatch(f"{name} out of range")
    return v


def _softplus(z: np.ndarray) -> np.ndarray:
    """log(1 + exp(z)): the negative log-likelihood of class 0 at the logit z; inf at inf, 0 at -inf."""
    return np.logaddexp(0.0, z)


def _product(factor: np.ndarray, value: np.ndarray) -> np.ndarray:
    """factor · value, where 0 · inf is 0: the limit for an outcome that does not occur."""
    return np.where(factor == 0, np.where(np.isnan(value), np.nan, 0.0), factor * value)


def log_softmax(z: np.ndarray) -> np.ndarray:
    """Over the last axis. One infinite logit: its class is certain. Several, or all -inf: NaN."""
    top = np.max(z, axis=-1, keepdims=True)
    certain = np.isposinf(top)
    one = certain & (np.sum(np.isposinf(z), axis=-1, keepdims=True) == 1)
    shifted = z - np.where(np.isfinite(top), top, 0)
    finite = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    limit = np.where(np.isposinf(z), 0.0, -np.inf)
    lost = np.isneginf(top) | np.isnan(z).any(axis=-1, keepdims=True) | (certain & ~one)
    return np.where(lost, np.nan, np.where(one, limit, finite))


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(log_softmax(z))


# Losses of one example.


@_silently
def squared_error(prediction: Any, target: Any) -> float:
    p, t = _pair(prediction, target)
    return _mean((p - t) ** 2)


@_silently
def absolute_error(prediction: Any, target: Any) -> float:
    p, t = _pair(prediction, target)
    return _mean(np.abs(p - t))


@_silently
def huber(prediction: Any, target: Any, *, delta: Any = 1.0) -> float:
    p, t = _pair(prediction, target)
    d, e = _number("delta", delta, 0, np.inf), np.abs(p - t)
    if d.shape not in ((), e.shape):
        raise Mismatch("delta")
    return _mean(np.where(e <= d, e**2 / 2, d * (e - d / 2)))


@_silently
def log_cosh(prediction: Any, target: Any) -> float:
    p, t = _pair(prediction, target)
    e = np.abs(p - t)
    small = np.log1p(2 * np.sinh(np.minimum(e, 1) / 2) ** 2)
    return _mean(np.where(e < 1, small, e + np.log1p(np.exp(-2 * e)) - np.log(2)))


@_silently
def quantile(prediction: Any, target: Any, *, q: Any) -> float:
    p, t = _pair(prediction, target)
    level = _number("q", q, 0, 1)
    if level.shape not in ((), p.shape):
        raise Mismatch("q")
    return _mean(np.maximum(level * (t - p), (level - 1) * (t - p)))


@_silently
def binary_cross_entropy(logits: Any, target: Any, *, smoothing: Any = 0.0) -> float:
    z, t = _pair(logits, target)
    s = _number("smoothing", smoothing, 0, 1, low_included=True)
    if s.shape not in ((), z.shape):
        raise Mismatch("smoothing")
    smoothed = t * (1 - s) + s / 2
    values = _product(smoothed, _softplus(-z)) + _product(1 - smoothed, _softplus(z))
    return _mean(np.where((t >= 0) & (t <= 1), values, np.nan))


@_silently
def multilabel_cross_entropy(logits: Any, target: Any, *, smoothing: Any = 0.0) -> float:
    if np.ndim(logits) == 0:
        raise Mismatch("no axis of labels")
    return binary_cross_entropy(logits, target, smoothing=smoothing)


@_silently
def cross_entropy(logits: Any, target: Any, *, smoothing: Any = 0.0) -> float:
    z, t = np.asarray(logits, np.float64), np.asarray(target)
    s = _number("smoothing", smoothing, 0, 1, low_included=True)
    if z.ndim == 0 or z.shape[-1] < 2:
        raise Mismatch("fewer than two classes")
    classes, log_p = z.shape[-1], log_softmax(z)
    if t.dtype.kind in "iu" and t.shape == z.shape[:-1]:
        valid = (t >= 0) & (t < classes)
        rows = np.eye(classes)[np.where(valid, t, 0).astype(np.int64)]
        rows = np.where(valid[..., None], rows, np.nan)
    elif t.dtype.kind == "f" and t.shape == z.shape:
        rows = t.astype(np.float64)
    else:
        raise Mismatch(f"a {t.dtype} target of shape {t.shape} for logits of shape {z.shape}")
    if s.ndim:
        if s.shape != (t.shape if t.dtype.kind in "iu" else z.shape):
            raise Mismatch("smoothing")
        s = s[..., None] if t.dtype.kind in "iu" else s
    rows = rows * (1 - s) + s / classes
    return _mean(-np.sum(_product(rows, log_p), axis=-1))


@_silently
def kl_divergence(logits: Any, target: Any) -> float:
    if np.asarray(target).dtype.kind != "f":
        raise Mismatch("targets that are not probabilities")
    z, t = _pair(logits, target)
    if z.ndim == 0:
        raise Mismatch("no axis of classes")
    log_p = log_softmax(z)
    positive = t > 0
    ratio = np.log(np.where(positive, t, 1)) - np.where(positive, log_p, 0)
    return _mean(np.sum(np.where(t >= 0, np.where(positive, t * ratio, 0), np.nan), axis=-1))


@_silently
def poisson(log_rate: Any, target: Any) -> float:
    z, t = _pair(log_rate, target)
    values = np.where(np.isposinf(z) & np.isfinite(t), np.inf, np.exp(z) - _product(t, z))
    return _mean(np.where(t >= 0, values, np.nan))


@_silently
def gaussian_nll(prediction: Any, target: Any) -> float:
    p, t = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    if p.shape != (*t.shape, 2):
        raise Mismatch(f"shapes {p.shape} and {t.shape}")
    mean, s = p[..., 0], p[..., 1]
    e = np.abs(t - mean)
    square = np.where(e == 0, 0.0, np.exp(2 * np.log(np.where(e == 0, 1, e)) - s))
    # At a log-variance of -inf an error other than 0 costs infinitely much, and no error -inf.
    values = np.where(np.isneginf(s) & (e > 0), np.inf, (np.log(2 * np.pi) + s + square) / 2)
    values = np.where(np.isposinf(s) & ~np.isnan(e), np.inf, values)
    return _mean(np.where(np.isnan(s), np.nan, values))


@_silently
def hinge(logits: Any, target: Any) -> float:
    z, t = _pair(logits, target)
    values = np.maximum(0, 1 - (2 * t - 1) * z)
    return _mean(np.where((t == 0) | (t == 1), values, np.nan))


@_silently
def focal(logits: Any, target: Any, *, gamma: Any = 2.0, alpha: Any = None) -> float:
    z, t = _pair(logits, target)
    g = _number("gamma", gamma, 0, np.inf, low_included=True)
    if g.shape not in ((), z.shape):
        raise Mismatch("gamma")
    signed = np.where(t == 1, z, -z)
    values = _product(np.exp(-_product(g, _softplus(signed))), _softplus(-signed))
    if alpha is not None:
        a = _number("alpha", alpha, 0, 1)
        if a.shape not in ((), z.shape):
            raise Mismatch("alpha")
        values = values * np.where(t == 1, a, 1 - a)
    return _mean(np.where((t == 0) | (t == 1), values, np.nan))


@_silently
def zero_one(prediction: Any, target: Any) -> float:
    return _mean(1 - _correct(prediction, target))


LOSS_ORACLES: dict[str, Callable[..., float]] = {
    f.__name__: f
    for f in (
        *(absolute_error, binary_cross_entropy, cross_entropy, focal, gaussian_nll, hinge, huber),
        *(kl_divergence, log_cosh, multilabel_cross_entropy, poisson, quantile, squared_error, zero_one),
    )
}


# Metrics: of one example first.


def _is_class_target(z: np.ndarray, t: np.ndarray) -> bool:
    return z.ndim == t.ndim + 1 and z.shape[:-1] == t.shape and z.shape[-1] > 1


def _is_class(t: np.ndarray, classes: int) -> np.ndarray:
    return (t >= 0) & (t < classes) & (t == np.floor(t))


def _is_one_hot(z: np.ndarray, t: np.ndarray) -> bool:
    return bool(z.shape == t.shape and z.ndim and z.shape[-1] > 1 and t.dtype.kind == "f")


def _one_hot_rows(t: np.ndarray) -> None:
    """Floating rows must add up to 1; a sum that is NaN or another is refused."""
    if not np.all(np.abs(t.astype(np.float64).sum(axis=-1) - 1) < 0.01):
        raise Mismatch("rows that don't add up to 1")


def _correct(prediction: Any, target: Any) -> np.ndarray:
    z, t = np.asarray(prediction), np.asarray(target)
    if _is_class_target(z, t):
        wrong = np.isnan(z.astype(np.float64)).any(axis=-1)
        same = np.argmax(z, axis=-1) == t
        return np.where(_is_class(t, z.shape[-1]), (same & ~wrong).astype(float), np.nan)
    if _is_one_hot(z, t):
        _one_hot_rows(t)
        wrong = np.isnan(z.astype(np.float64)).any(axis=-1)
        return ((np.argmax(z, axis=-1) == np.argmax(t, axis=-1)) & ~wrong).astype(float)
    if z.shape != t.shape:
        raise Mismatch(f"shapes {z.shape} and {t.shape}")
    if z.dtype.kind != "f":
        return np.where(np.isnan(t.astype(np.float64)), np.nan, z == t)
    same = ((z > 0) == (t > 0.5)) & ~np.isnan(z)
    return np.where((t >= 0) & (t <= 1), same.astype(float), np.nan)


def _accuracy(prediction: Any, target: Any) -> float:
    return _mean(_correct(prediction, target))


def _top_k(prediction: Any, target: Any, *, k: int) -> float:
    z, t = np.asarray(prediction, np.float64), np.asarray(target)
    if z.ndim == 0 or t.shape != z.shape[:-1] or t.dtype.kind not in "iu" or k >= z.shape[-1]:
        raise Mismatch("top_k")
    valid = (t >= 0) & (t < z.shape[-1])
    index = np.where(valid, t, 0).astype(np.int64)[..., None]
    own = np.take_along_axis(z, index, axis=-1)
    number = np.arange(z.shape[-1])
    higher = ~((z < own) | ((z == own) & (number >= index)))  # NaN ranks higher than any number
    return _mean(np.where(valid, (higher.sum(axis=-1) < k).astype(float), np.nan))


def _brier(logits: Any, target: Any) -> float:
    z, t = np.asarray(logits, np.float64), np.asarray(target)
    if _is_class_target(z, t):
        valid = _is_class(t, z.shape[-1])
        rows = np.eye(z.shape[-1])[np.where(valid, t, 0).astype(np.int64)]
        return _mean(np.where(valid, ((softmax(z) - rows) ** 2).sum(axis=-1), np.nan))
    if z.shape != t.shape:
        raise Mismatch(f"shapes {z.shape} and {t.shape}")
    if _is_one_hot(z, t):
        _one_hot_rows(t)
        return _mean(((softmax(z) - t) ** 2).sum(axis=-1))
    return _mean((np.exp(-_softplus(-z)) - t) ** 2)


# Metrics of all rows.


def _weight(weight: Any, n: int) -> np.ndarray:
    w = np.ones(n) if weight is None else np.asarray(weight).astype(np.float64)
    if w.shape != (n,) or not np.isfinite(w).all() or (w < 0).any() or not w.any():
        raise Mismatch("weight")
    return w / w.max()  # no metric but the confusion matrix depends on the scale


def _rows(predictions: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    p, t = np.asarray(predictions), np.asarray(targets)
    if not p.ndim or not t.ndim or len(p) != len(t) or not len(p):
        raise Mismatch(f"shapes {p.shape} and {t.shape}")
    return p, t


def _weighted_mean(values: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Over the leading axis; a row of weight zero may hold any values."""
    ws = w.reshape(w.shape + (1,) * (values.ndim - 1))
    terms = np.where(ws > 0, values * ws, 0)
    return terms.sum(axis=0) / w.sum()


def mean_of(per_example: Callable[..., float]) -> Callable[..., float]:
    """The weighted mean over rows of a function of one example: what `measure` computes of it."""

    @_silently
    def over_rows(predictions: Any, targets: Any, weight: Any = None, **settings: Any) -> float:
        p, t = _rows(predictions, targets)
        w = _weight(weight, len(p))
        values = np.zeros(len(p))
        for i in range(len(p)):
            try:
                values[i] = per_example(p[i], t[i], **settings)
            except Mismatch as error:
                if w[i] > 0 or "add up" not in str(error):
                    raise
        return float(_weighted_mean(values, w))

    return over_rows


@_silently
def rmse(predictions: Any, targets: Any, weight: Any = None) -> float:
    p, t = _rows(predictions, targets)
    w, (p, t) = _weight(weight, len(p)), _pair(p, t)
    return float(np.sqrt(_mean(np.asarray(_weighted_mean((p - t) ** 2, w)))))


@_silently
def r2(predictions: Any, targets: Any, weight: Any = None, *, offset: float | None = None) -> float:
    p, t = _rows(predictions, targets)
    w, (p, t) = _weight(weight, len(p)), _pair(p, t)
    keep = w > 0
    p, t, w = p[keep], t[keep], w[keep]
    both = np.abs(np.concatenate([p.ravel(), t.ravel()]))
    size = max(
        1.0, float(np.max(both, initial=0, where=np.isfinite(both)))
    )  # R² does not depend on the unit
    p, t = p / size, t / size
    centred = t - t[0]
    variation = _weighted_mean((centred - _weighted_mean(centred, w)) ** 2, w)
    residual = _weighted_mean((t - p) ** 2, w)
    constant = (t == t[0]).all(axis=0)
    of_constant = np.where(residual == 0, 1.0, 0.0 * residual)
    return float(np.mean(np.where(constant, of_constant, 1 - residual / np.where(constant, 1, variation))))


@_silently
def expected_calibration_error(
    predictions: Any, targets: Any, weight: Any = None, *, bins: int = 15
) -> float:
    p, t = _rows(predictions, targets)
    w = _weight(weight, len(p))
    z, gaps, weights, numbers = p.astype(np.float64), [], [], []
    for i in np.flatnonzero(w > 0):
        right = _correct(z[i], t[i])
        confidence = (
            np.exp(-_softplus(-np.abs(z[i]))) if z[i].shape == right.shape else softmax(z[i]).max(axis=-1)
        )
        gaps.append((right - confidence).ravel())
        numbers.append(np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1).ravel())
        weights.append(np.full(right.size, w[i] / max(right.size, 1)))
    gap, number, weight = np.concatenate(gaps), np.concatenate(numbers), np.concatenate(weights)
    if np.isnan(gap).any():
        return float("nan")
    total = sum(abs(np.sum((gap * weight)[number == b])) for b in range(bins))
    return float(total / weight.sum())


def _counts(
    predictions: Any, targets: Any, weight: Any, average: str | None, classes: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Predicted and actual classes as 0/1 [entries, classes], their weights, and whether exclusive."""
    z, t = _rows(predictions, targets)
    w = _weight(weight, len(z))
    keep = w > 0
    z, t, w = z[keep], t[keep], w[keep]
    if _is_class_target(z, t) and t.dtype.kind in "iu" and z.ndim > 1:
        predicted, actual, k = _argmax(z), t, z.shape[-1]
    elif z.shape != t.shape:
        raise Mismatch(f"shapes {z.shape} and {t.shape}")
    elif z.ndim > 1 and _is_one_hot(z, t):
        _one_hot_rows(t)
        predicted, actual, k = _argmax(z), np.argmax(t, axis=-1), z.shape[-1]
    elif z.dtype.kind in "iu" and (classes is not None or average != "binary"):
        if classes is None:
            raise Mismatch("the number of classes")
        predicted, actual, k = z, t, classes
    else:
        predicted, actual = _positive(z), _positive(t)
        if z.ndim > 1 and (classes is None or classes == z.shape[-1] > 2):
            weights = np.repeat(w, int(np.prod(z.shape[1:-1])))
            last = z.shape[-1]
            return predicted.reshape(-1, last), actual.reshape(-1, last), weights, False
        k = 2
    if classes is not None and classes != k:
        raise Mismatch("the number of classes")
    weights = np.repeat(w, int(np.prod(predicted.shape[1:])))
    return _as_rows(predicted, k), _as_rows(actual, k), weights, True


def _argmax(z: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(z.astype(np.float64)).any(axis=-1), -1, np.argmax(z, axis=-1))


def _positive(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f":
        return np.where(np.isnan(values), np.nan, values > 0)
    return np.where((values == 0) | (values == 1), values > 0, np.nan)


def _as_rows(numbers: np.ndarray, k: int) -> np.ndarray:
    flat = numbers.ravel()
    valid = _is_class(flat, k)
    rows = np.eye(k)[np.where(valid, flat, 0).astype(np.int64)]
    return np.where(valid[:, None], rows, np.nan)


def _ratio(kind: str) -> Callable[..., float]:
    @_silently
    def oracle(
        predictions: Any,
        targets: Any,
        weight: Any = None,
        *,
        average: str | None = "binary",
        classes: int | None = None,
    ) -> Any:
        predicted, actual, w, exclusive = _counts(predictions, targets, weight, average, classes)
        if average == "binary" and exclusive:
            if predicted.shape[-1] != 2:
                raise Mismatch("binary of several classes")
            predicted, actual = predicted[:, 1:], actual[:, 1:]
        sums = [np.sum(a * w[:, None], axis=0) for a in (predicted * actual, predicted, actual)]
        true, p, a = sums if average in ("macro", None) else [s.sum(keepdims=True) for s in sums]
        if kind == "f1":
            numerator, denominator = 2 * true, p + a
        else:
            numerator, denominator = true, p if kind == "precision" else a
        values = np.where(denominator == 0, 0, numerator / denominator)
        return values if average is None else float(np.mean(values))

    oracle.__name__ = kind
    return oracle


precision, recall, f1 = _ratio("precision"), _ratio("recall"), _ratio("f1")


@_silently
def confusion_matrix(predictions: Any, targets: Any, weight: Any = None, *, classes: int) -> np.ndarray:
    predicted, actual, w, _ = _counts(predictions, targets, weight, "macro", classes)
    largest = 1.0 if weight is None else float(np.asarray(weight).astype(np.float64).max())
    return (actual * w[:, None] * largest).T @ predicted


def _scores(scores: Any, targets: Any, weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    s, t = _rows(scores, targets)
    w = _weight(weight, len(s))
    if s.ndim != 1 or t.ndim != 1:
        raise Mismatch("more than one score for each row")
    keep = w > 0
    s, t, w = s[keep], t[keep], w[keep]
    if not np.isfinite(s.astype(np.float64)).all() or not np.isin(t, (0, 1)).all():
        raise Mismatch("scores or targets")
    return s, t.astype(np.int64), w


@_silently
def roc_auc(scores: Any, targets: Any, weight: Any = None) -> float:
    s, t, w = _scores(scores, targets, weight)
    if len(set(t.tolist())) < 2:
        raise Mismatch("one class only")
    one, zero = t == 1, t == 0
    wins = (s[one][:, None] > s[zero]) + 0.5 * (s[one][:, None] == s[zero])
    pairs = w[one][:, None] * w[zero]
    return float(np.sum(wins * pairs) / np.sum(pairs))


@_silently
def average_precision(scores: Any, targets: Any, weight: Any = None) -> float:
    s, t, w = _scores(scores, targets, weight)
    if 1 not in t:
        raise Mismatch("class 1 does not occur")
    at_least = s[None, :] >= s[:, None]
    precision_at = (at_least * (w * t)).sum(axis=1) / (at_least * w).sum(axis=1)
    return float(np.sum(w * t * precision_at) / np.sum(w * t))


METRIC_ORACLES: dict[str, Callable[..., Any]] = {
    "absolute_error": mean_of(absolute_error),
    "accuracy": mean_of(_accuracy),
    "brier": mean_of(_brier),
    "top_k": mean_of(_top_k),
    **{
        f.__name__: f
        for f in (
            *(average_precision, confusion_matrix, expected_calibration_error, f1, precision),
            *(r2, recall, rmse, roc_auc),
        )
    },
}
