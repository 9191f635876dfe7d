"""Checks of the parameters that are "auto" or a value."""

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnet import _check
from funcnet.tabular._recipe import ACTIVATIONS


def check(name: str, value: Any) -> Any:
    """A parameter of the recipe, checked; "auto" stays.

    Raises:
        TypeError: if it has the wrong type.
        ValueError: if it is out of range.
    """
    if isinstance(value, str) and value == "auto":
        return value
    return CHECKS[name](name, value)


def _sizes(name: str, value: Any) -> tuple[int, ...]:
    sizes = (value,) if isinstance(value, int | np.integer) else value
    if not isinstance(sizes, list | tuple | np.ndarray):
        raise TypeError(
            f"{name} must be 'auto' or integers, got {_check.describe(value)}. Try {name}=(128, 128)."
        )
    for size in sizes:
        _check.positive(f"each of {name}", size)
    return tuple(int(size) for size in sizes)


def _integer(name: str, value: Any) -> int:
    _check.positive(name, value)
    return int(value)


def _boolean(name: str, value: Any) -> bool:
    _check.boolean(name, value)
    return bool(value)


def _positive(name: str, value: Any) -> float:
    _check.above_zero(name, value)
    return float(value)


def _not_negative(name: str, value: Any) -> float:
    _check.number(name, value)
    if not 0 <= value < np.inf:
        raise ValueError(f"{name} must be at least 0 and finite, got {value}.")
    return float(value)


def fraction(name: str, value: Any) -> float:
    """A number between 0 and 1, both excluded."""
    _check.number(name, value)
    if not 0 < value < 1:
        raise ValueError(f"{name} must be above 0 and below 1, got {value}.")
    return float(value)


def _activation(name: str, value: Any) -> str:
    _check.choice(name, value, ("auto", *ACTIVATIONS))
    return str(value)


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "hidden_layer_sizes": _sizes,
    "activation": _activation,
    "alpha": _not_negative,
    "batch_size": _integer,
    "learning_rate_init": _positive,
    "max_iter": _integer,
    "early_stopping": _boolean,
    "validation_fraction": fraction,
    "n_iter_no_change": _integer,
    "members": _integer,
    "calibrate": _boolean,
}
