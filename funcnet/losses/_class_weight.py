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
    """The weights of the classes 0, 1, … as one array [classes], checked; 1 for classes not named."""
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
        return [value.get(number, 1.0) for number in range(max(value) + 1)]
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

    NaN for a class without a weight.
    """
    weights = jnp.stack([jnp.asarray(w, float) for w in weights]) if isinstance(weights, list) else weights
    weights = jnp.asarray(weights, float)
    target = as_class_numbers(target)
    if target.ndim == 0:
        number = jnp.arange(len(weights)).astype(target.dtype)
        is_class = number == jnp.broadcast_to(target, number.shape)
        weight = jnp.sum(jnp.where(is_class, weights, 0))
        return jnp.where(jnp.any(is_class), weight, jnp.nan)
    if target.shape == weights.shape and jnp.issubdtype(target.dtype, jnp.floating):
        return jnp.sum(target.astype(weights.dtype) * weights)
    raise ValueError(
        f"class_weight of {len(weights)} classes expects one class for each example, a number or a one-hot "
        f"row, got a {target.dtype} target of shape {target.shape}. For other weights: "
        "fn.losses.weighted(loss, lambda example: ...)."
    )


def check_classes(weights: Any, targets: Any) -> None:
    """Check that each class of concrete targets has a weight; targets are [n], or one-hot [n, classes]."""
    if jnp.ndim(targets) != 1:
        return  # one-hot rows, whose shape `weight_of_class` checks
    values = np.asarray(jax.device_get(targets))
    wrong = (values < 0) | (values >= len(weights)) | (values != np.floor(values))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"class_weight must have a weight for each class of the targets, got {len(weights)} weights, "
            f"for 0 to {len(weights) - 1}, and class {values[row]} in row {row}."
        )
