"""Decomposition of the error of many models row by row, with standard errors."""

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
    """The weighted mean of each part of the error, their standard errors, and the parts by row [n].

    The standard error of `noise` is over rows. Those of the other parts are over members, by the
    jackknife, since bias and variance are not means over members.

    Args:
        loss: which error.
        predictions: [members, n, ...].
        y, truth: [n, ...].
        weight: the weight of each row, [n].
    """
    prepare = _squared_error_parts if loss == "squared" else _zero_one_parts
    parts_of_members = prepare(promote_to_float32(predictions), y, truth)
    size = predictions.shape[0]
    per_row = parts_of_members(jnp.ones(size))

    def mean(part: Array) -> Array:
        weighted = jnp.where(weight > 0, part * weight.astype(part.dtype), jnp.zeros_like(part))
        return jnp.sum(weighted) / jnp.sum(weight).astype(part.dtype)

    def means_without(member: Array) -> Parts:
        return jax.tree.map(mean, parts_of_members(jnp.ones(size).at[member].set(0.0)))

    jackknife = jax.lax.map(means_without, jnp.arange(size))
    errors = {name: jnp.std(values) * (size - 1) ** 0.5 for name, values in jackknife.items()}
    if "noise" in per_row:
        errors["noise"] = _error_over_rows(per_row["noise"], weight.astype(per_row["noise"].dtype), mean)
    return jax.tree.map(mean, per_row), errors, per_row


def _error_over_rows(part: Array, weight: Array, mean: Callable[[Array], Array]) -> Array:
    """The standard error of a weighted mean over rows."""
    deviation = jnp.where(weight > 0, weight * (part - mean(part)), jnp.zeros_like(part))
    count = jnp.sum(weight > 0).astype(part.dtype)
    return jnp.sqrt(jnp.sum(deviation**2) * count / (count - 1)) / jnp.sum(weight)


def _squared_error_parts(f: Array, y: Array, truth: Array | None) -> Callable[[Array], Parts]:
    """A function of the members' weights, 1 or 0, that returns the parts of the squared error by row.

    Over the entries of a row it takes the mean.
    """
    _check.equal_shapes("the squared error", f[0], y)
    f = f.reshape(*f.shape[:2], -1)
    y = y.astype(f.dtype).reshape(f.shape[1:])
    truth = None if truth is None else truth.astype(f.dtype).reshape(f.shape[1:])
    spread = f - f[:1]  # small numbers, whose means keep the digits that those of predictions near 1e6 lose

    def parts(members: Array) -> Parts:
        size = jnp.sum(members).astype(f.dtype)
        members = members.astype(f.dtype)[:, None, None]
        mean = jnp.sum(members * spread, axis=0) / size
        variance = jnp.sum(members * (spread - mean[None]) ** 2, axis=0) / (size - 1)
        # The mean of a few members has an error, too, which must not be counted as bias.
        bias = (mean + (f[0] - (y if truth is None else truth))) ** 2 - variance / size
        error = jnp.sum(members * (spread + (f[0] - y)[None]) ** 2, axis=0) / size
        result = {"error": error, "variance": variance}
        if truth is None:
            result["bias_and_noise"] = bias
        else:
            result |= {"bias_squared": bias, "noise": (y - truth) ** 2}
        return {name: jnp.mean(part, axis=-1) for name, part in result.items()}

    return parts


def _zero_one_parts(logits: Array, y: Array, truth: Array | None) -> Callable[[Array], Parts]:
    """A function of the members' weights, 1 or 0, that returns Domingos' parts of the 0-1 loss by row."""
    if logits.shape[1:] == y.shape:
        logits = jnp.stack([jnp.zeros_like(logits), logits], axis=-1)
    if y.ndim != 1 or logits.ndim != 3:
        raise ValueError(
            "the 0-1 loss expects one class for each row: targets [n] and logits [n] or [n, classes], got "
            f"targets of shape {y.shape} and predictions of shape {logits.shape[1:]}. Try loss='squared'."
        )
    for name, labels in {"targets": y, "truth": y if truth is None else truth}.items():
        if jnp.issubdtype(labels.dtype, jnp.floating):
            raise ValueError(
                f"the 0-1 loss expects integer class numbers as {name}, got {labels.dtype}. For other "
                "numbers use loss='squared'."
            )
    votes = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=logits.dtype)
    votes = jnp.where(jnp.isnan(logits).any(axis=-1, keepdims=True), jnp.nan, votes)  # NaN is not a vote
    y, truth = y.astype(jnp.int32), None if truth is None else truth.astype(jnp.int32)

    def parts(members: Array) -> Parts:
        members = members.astype(votes.dtype)
        share = jnp.sum(members[:, None, None] * votes, axis=0) / jnp.sum(members)
        true_class = y if truth is None else truth
        is_biased = jnp.argmax(share, axis=-1) != true_class
        correct = _take_class(share, true_class)
        bias = jnp.where(jnp.isnan(correct), jnp.nan, is_biased.astype(share.dtype))
        zeros = jnp.zeros_like(correct)
        result = {
            "error": 1 - _take_class(share, y),
            "variance": 1 - correct - bias,
            "unbiased_variance": jnp.where(is_biased, zeros, 1 - correct),
            "biased_variance": jnp.where(is_biased, correct, zeros),
        }
        if truth is None:
            return result | {"bias_and_noise": bias}
        return result | {"bias": bias, "noise": correct - _take_class(share, y)}

    return parts


def _take_class(share: Array, label: Any) -> Array:
    """The entry [n] of each row of `share` [n, classes] that belongs to its label."""
    return jnp.take_along_axis(share, label[:, None], axis=1)[:, 0]
