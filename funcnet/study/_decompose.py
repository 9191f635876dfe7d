"""The error of many models, taken apart row by row, and how sure its parts are."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._metric import promote_to_float32
from funcnet._types import Array

ErrorLoss: TypeAlias = Literal["squared", "zero_one"]
Parts: TypeAlias = dict[str, Array]


def decompose(
    loss: ErrorLoss, predictions: Array, y: Array, truth: Array | None, weight: Array
) -> tuple[Parts, Parts, Parts]:
    """The weighted means of the error's parts, their standard errors, and the parts by row [n].

    Those of `noise` are over rows, of the other parts over members: a jackknife, as bias and variance
    are no means of members.

    Args:
        loss: which error.
        predictions: [members, n, ...].
        y, truth: [n, ...].
        weight: how much each row counts, [n].
    """
    made = _squared if loss == "squared" else _zero_one
    of_members = made(promote_to_float32(predictions), y, truth)
    size = predictions.shape[0]
    rows = of_members(jnp.ones(size))

    def mean(part: Array) -> Array:
        counted = jnp.where(weight > 0, part * weight.astype(part.dtype), jnp.zeros_like(part))
        return jnp.sum(counted) / jnp.sum(weight).astype(part.dtype)

    def without(member: Array) -> Parts:
        left = of_members(jnp.ones(size).at[member].set(0.0))
        return jax.tree.map(mean, left)

    apart = jax.lax.map(without, jnp.arange(size))
    errors = {name: jnp.std(values) * (size - 1) ** 0.5 for name, values in apart.items()}
    if "noise" in rows:
        errors["noise"] = _error_over_rows(rows["noise"], weight.astype(rows["noise"].dtype), mean)
    return jax.tree.map(mean, rows), errors, rows


def _error_over_rows(part: Array, weight: Array, mean: Callable[[Array], Array]) -> Array:
    away = jnp.where(weight > 0, weight * (part - mean(part)), jnp.zeros_like(part))
    count = jnp.sum(weight > 0).astype(part.dtype)
    return jnp.sqrt(jnp.sum(away**2) * count / (count - 1)) / jnp.sum(weight)


def _squared(f: Array, y: Array, truth: Array | None) -> Callable[[Array], Parts]:
    """Parts of the squared error, the mean over the entries of a row, for members that count 1 or 0."""
    _check.equal_shapes("the squared error", f[0], y)
    f = f.reshape(*f.shape[:2], -1)
    y = y.astype(f.dtype).reshape(f.shape[1:])
    truth = None if truth is None else truth.astype(f.dtype).reshape(f.shape[1:])

    def parts(counts: Array) -> Parts:
        size = jnp.sum(counts).astype(f.dtype)
        counts = counts.astype(f.dtype)[:, None, None]
        mean = jnp.sum(counts * f, axis=0) / size
        variance = jnp.sum(counts * (f - mean[None]) ** 2, axis=0) / (size - 1)
        # The mean of a few members is off by itself: without the correction that would count as bias.
        off = (mean - (y if truth is None else truth)) ** 2 - variance / size
        found = {"error": jnp.sum(counts * (f - y[None]) ** 2, axis=0) / size, "variance": variance}
        if truth is None:
            found["bias_and_noise"] = off
        else:
            found |= {"bias_squared": off, "noise": (y - truth) ** 2}
        return {name: jnp.mean(part, axis=-1) for name, part in found.items()}

    return parts


def _zero_one(logits: Array, y: Array, truth: Array | None) -> Callable[[Array], Parts]:
    """Domingos' parts of the 0-1 loss, for members that count 1 or 0."""
    if logits.shape[1:] == y.shape:
        logits = jnp.stack([jnp.zeros_like(logits), logits], axis=-1)
    if y.ndim != 1 or logits.ndim != 3:
        raise ValueError(
            "the 0-1 loss wants one class for each row: targets [n] and logits [n] or [n, classes]; got "
            f"targets of shape {y.shape} and predictions of shape {logits.shape[1:]}."
        )
    for name, labels in {"targets": y, "truth": y if truth is None else truth}.items():
        if jnp.issubdtype(labels.dtype, jnp.floating):
            raise ValueError(
                f"the 0-1 loss wants class numbers as {name}, whole numbers; got {labels.dtype}. "
                "Numbers in between are for loss='squared'."
            )
    votes = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=logits.dtype)
    votes = jnp.where(jnp.isnan(logits).any(axis=-1, keepdims=True), jnp.nan, votes)  # that votes for none
    y, truth = y.astype(jnp.int32), None if truth is None else truth.astype(jnp.int32)

    def parts(counts: Array) -> Parts:
        counts = counts.astype(votes.dtype)
        share = jnp.sum(counts[:, None, None] * votes, axis=0) / jnp.sum(counts)
        true = y if truth is None else truth
        biased = jnp.argmax(share, axis=-1) != true
        right = _at(share, true)
        bias = jnp.where(jnp.isnan(right), jnp.nan, biased.astype(share.dtype))
        nothing = jnp.zeros_like(right)
        found = {
            "error": 1 - _at(share, y),
            "variance": 1 - right - bias,
            "unbiased_variance": jnp.where(biased, nothing, 1 - right),
            "biased_variance": jnp.where(biased, right, nothing),
        }
        if truth is None:
            return found | {"bias_and_noise": bias}
        return found | {"bias": bias, "noise": right - _at(share, y)}

    return parts


def _at(share: Array, label: Any) -> Array:
    return jnp.take_along_axis(share, label[:, None], axis=1)[:, 0]
