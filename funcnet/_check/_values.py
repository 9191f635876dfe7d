"""Numbers, words and functions."""

import itertools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def positive(name: str, value: Any) -> None:
    """An integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is a whole number; got {value!r}. Try {name}=10.")
    if value < 1:
        raise ValueError(f"{name} is at least 1; got {value}. Try {name}=10.")


def rising(name: str, values: Any) -> None:
    """Whole numbers of at least 1, one or more, each larger than the one before."""
    if not isinstance(values, list | tuple | range | np.ndarray) or not len(values):
        raise TypeError(f"{name} are whole numbers that rise; got {describe(values)}. Try {name}=(10, 30).")
    for value in values:
        positive(f"each of {name}", value)
    if any(b <= a for a, b in itertools.pairwise(values)):
        raise ValueError(f"{name} rise; got {tuple(values)}. Try {name}={tuple(sorted(set(values)))}.")


def not_negative(name: str, value: Any) -> None:
    """An integer of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is a whole number; got {value!r}. Try {name}=0.")
    if value < 0:
        raise ValueError(f"{name} is at least 0; got {value}. Try {name}=0.")


def between(name: str, value: Any, low: float, high: float) -> None:
    """A Python number in [low, high)."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name} is a number; got {type(value).__name__} {value!r}.")
    if not low <= value < high:
        raise ValueError(f"{name} is at least {low} and below {high}; got {value}.")


def setting(name: str, value: Any, low: float, high: float, *, low_included: bool = False) -> None:
    """Numbers above `low` (or at it) and below `high`, one or an array of them; traced ones pass."""
    if isinstance(value, jax.core.Tracer):
        return
    if isinstance(value, bool | str) or not jnp.issubdtype(jnp.result_type(value), jnp.number):
        raise TypeError(f"{name} is a number; got {describe(value)}.")
    values = np.asarray(value, float)
    if not np.all(((values >= low) if low_included else (values > low)) & (values < high)):
        least = f"at least {low}" if low_included else f"above {low}"
        below = "" if high == float("inf") else f" and below {high}"
        raise ValueError(f"{name} is {least}{below}; got {value}.")


def boolean(name: str, value: Any) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False; got {describe(value)}.")


def above_zero(name: str, value: Any) -> None:
    """A Python number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name} is a number; got {type(value).__name__} {value!r}.")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} is above 0 and finite; got {value}.")


def at_most(name: str, value: int, limit: str, most: int) -> None:
    """No more than a limit."""
    if value > most:
        raise ValueError(f"{name} is at most {limit}={most}; got {value}. Try {limit}={value}.")


def one_of(**values: Any) -> None:
    """One argument of several, a whole number of at least 1."""
    given = {name: value for name, value in values.items() if value is not None}
    if len(given) != 1:
        came = ", ".join(given) or "none"
        raise ValueError(
            f"one of {' and '.join(values)} is given; got {came}. Try {next(iter(values))}=10."
        )
    for name, value in given.items():
        positive(name, value)


def choice(name: str, value: Any, known: Iterable[str]) -> None:
    """One of the known words."""
    words = list(known)
    if value not in words:
        raise ValueError(f"{name}={value!r} is not known. Choose one of: {', '.join(words)}.")


def function(name: str, value: Any, wanted: str) -> None:
    """Something that can be called."""
    if not callable(value):
        raise TypeError(f"{name} is {wanted}; got {describe(value)}.")


def floating_dtype(name: str, value: Any) -> Any:
    """A floating dtype that JAX keeps as it is."""
    dtype = jnp.dtype(value)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"{name} is a floating dtype such as 'float32' or 'bfloat16'; got {dtype.name}.")
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(f"{name} is float64: switch it on, jax.config.update('jax_enable_x64', True).")
    return dtype


def devices(value: Any) -> None:
    """A sequence of at least one device."""
    if not (isinstance(value, list | tuple) and value and all(hasattr(d, "platform") for d in value)):
        raise TypeError(f"devices is a whole number or a list of jax.devices(); got {describe(value)}.")


def divisible(path: str, value: Any, parts: int) -> None:
    """An array whose leading axis can be cut into equal parts."""
    shape = jnp.shape(value)
    if not shape or shape[0] % parts:
        raise ValueError(
            f"{path or 'the array'} has shape {shape}; its leading axis is to be divided over {parts} "
            "devices."
        )


def describe(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"an array of {value.dtype} and shape {value.shape}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '...'}"
