"""Weights of the classes in a supervised loss."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._compare import as_class_numbers
from funcnet._types import Array


def class_weights(value: Any) -> Any:
    """The weights, checked: a dictionary by class number, where others have weight 1, or [classes]."""
    if isinstance(value, str):
        raise ValueError(
            f"class_weight must be a dictionary or an array, got {value!r}, which depends on the data. "
            "For balanced classes: counts = np.bincount(y); class_weight=len(y) / (len(counts) * counts)."
        )
    if isinstance(value, Mapping):
        for number, weight in value.items():
            if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 0:
                raise TypeError(
                    "class_weight must be a dictionary by class number, from 0, got the class "
                    f"{_check.describe(number)}. Try class_weight={{0: 1.0, 1: 10.0}}."
                )
            _check.setting(f"class_weight[{number}]", weight, 0, float("inf"), low_included=True)
        if not value:
            raise ValueError("class_weight must have a weight, got {}. Try class_weight={0: 1.0, 1: 10.0}.")
        return {int(number): weight for number, weight in value.items()}
    weights = _check.array("class_weight", value)
    if weights.ndim != 1:
        raise ValueError(
            f"class_weight must have one weight for each class, [classes], got shape {weights.shape}."
        )
    if _tree.is_concrete(weights):
        values = np.asarray(weights)
        if not ((values >= 0) & (values < np.inf)).all():
            raise ValueError(f"class_weight must be at least 0 and finite, got {values.tolist()}.")
    return weights


def weight_of_class(weights: Any, target: Any) -> Array:
    """The weight of one example by its class: a number of shape (), or a one-hot row [classes].

    NaN for a class without a weight, and for a number that is not one of a class.
    """
    target = as_class_numbers(target)
    is_row = target.ndim == 1 and len(target) > 1 and jnp.issubdtype(target.dtype, jnp.floating)
    if target.ndim == 0:
        return _weight_of_number(weights, target)
    if is_row and isinstance(weights, dict):
        row = jnp.ones(len(target))
        for number, weight in weights.items():
            row = row.at[number].set(weight) if number < len(target) else row
        return jnp.sum(target.astype(row.dtype) * row)
    if is_row and target.shape == weights.shape:
        return jnp.sum(target.astype(float) * jnp.asarray(weights, float))
    raise ValueError(
        f"class_weight of {len(weights)} classes expects one class for each example, a number or a one-hot "
        f"row, got a {target.dtype} target of shape {target.shape}. For other weights: "
        "fn.losses.weighted(loss, lambda example: ...)."
    )


def _weight_of_number(weights: Any, number: Array) -> Array:
    if isinstance(weights, dict):
        is_class = (number >= 0) & (jnp.floor(number) == number)
        weight_of = jnp.where(is_class, 1.0, jnp.nan)
        for named, weight in weights.items():
            weight_of = jnp.where(number == named, weight, weight_of)
        return weight_of
    weights = jnp.asarray(weights, float)
    classes = jnp.arange(len(weights)).astype(number.dtype)
    is_class = classes == jnp.broadcast_to(number, classes.shape)
    return jnp.where(jnp.any(is_class), jnp.sum(jnp.where(is_class, weights, 0)), jnp.nan)


def check_classes(weights: Any, targets: Any, num_classes: int | None) -> None:
    """Check that each class of concrete targets has a weight, and each weight a class.

    Args:
        weights: what `class_weights` returned.
        targets: [n], or one-hot rows [n, classes].
        num_classes: the number of classes that the model tells apart; None if it is not known.
    """
    values = np.asarray(jax.device_get(targets))
    largest = max(weights) if isinstance(weights, dict) else len(weights) - 1
    if num_classes is not None and largest >= num_classes:
        of_rows = not isinstance(weights, dict) and len(weights) == len(values)
        advice = (
            "Weights of the rows are part of the data: fn.data.Dataset((x, y), weight=w)."
            if of_rows
            else "Try class_weight={0: 1.0, 1: 10.0}."
        )
        raise ValueError(
            f"class_weight must have a weight for each of {num_classes} classes, from 0, got one for class "
            f"{largest}. {advice}"
        )
    if values.ndim == 2 and np.issubdtype(values.dtype, np.floating):
        sums = values.astype(np.float64).sum(axis=1)
        if values.shape[1] < 2 or not np.allclose(sums, 1.0, atol=1e-3):
            row = int(np.argmax(np.abs(sums - 1)))
            raise ValueError(
                "class_weight expects class numbers [n], or one-hot rows that add up to 1, got targets of "
                f"shape {values.shape}, and {values[row].tolist()} in row {row}. Pass y[:, 0] for [n, 1]; "
                "for several labels fn.losses.weighted(loss, lambda example: ...)."
            )
        return
    if values.ndim != 1:
        return  # `weight_of_class` raises
    last = np.inf if isinstance(weights, dict) else len(weights)
    wrong = (values < 0) | (values >= last) | (values != np.floor(values))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"class_weight must have a weight for each class of the targets, got weights for 0 to "
            f"{last - 1} and class {values[row]} in row {row}."
        )
