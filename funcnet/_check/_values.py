"""Numbers, names and functions."""

import inspect
import itertools
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

INT32_MAX = 2**31 - 1

MAX_REPEATS = 1_000_000
"""More runs, samples or directions than anybody waits for: a larger number is a mistake."""


def positive(name: str, value: Any) -> int:
    """A value as an integer, after a check that it is at least 1."""
    value = integer(name, value, 10)
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}. Try {name}=10.")
    if value >= 2**62:
        raise ValueError(f"{name} must be below 2**62, got {describe(value)}. Try {name}=10.")
    return value


def integer(name: str, value: Any, example: int = 0) -> int:
    """A value as Python's integer, after a check that it is one: a sum of NumPy's small ones wraps."""
    if not _is_number(value) or isinstance(value, float | np.floating):
        text = repr(value) if isinstance(value, bool | int | float | str) else describe(value)
        raise TypeError(f"{name} must be an integer, got {text}. Try {name}={example}.")
    return int(value)


def concrete(what: str, tree: Any) -> None:
    """Check that no array is a tracer, for code that runs on the host."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree)):
        raise TypeError(
            f"{what} runs on the host, so its data must not be traced by jit, vmap or grad, got a tracer. "
            "Call it outside of them."
        )


def increasing(name: str, values: Any) -> None:
    """Check that values are integers of at least 1, one or more, in increasing order."""
    is_sequence = isinstance(values, list | tuple | range) or (
        isinstance(values, np.ndarray) and values.ndim > 0
    )
    if not is_sequence or not len(values):
        raise TypeError(f"{name} must be increasing integers, got {describe(values)}. Try {name}=(10, 30).")
    for value in values:
        count(f"each of {name}", value)
    if any(b <= a for a, b in itertools.pairwise(values)):
        raise ValueError(
            f"{name} must increase, got {tuple(values)}. Try {name}={tuple(sorted(set(values)))}."
        )


def not_negative(name: str, value: Any) -> int:
    """A value as an integer, after a check that it is at least 0."""
    value = integer(name, value)
    if value < 0:
        raise ValueError(f"{name} must be at least 0, got {value}. Try {name}=0.")
    return value


def count(name: str, value: Any) -> int:
    """A value as an integer, after a check that it is at least 1 and fits in 32 bits."""
    value = positive(name, value)
    if value > INT32_MAX:
        raise ValueError(f"{name} must be at most 2**31 - 1, got {value}. Try {name}=10.")
    return value


def repeats(name: str, value: Any) -> int:
    """A value as an integer, after a check that it is a number of repetitions that ends: 1 to a million."""
    value = positive(name, value)
    if value > MAX_REPEATS:
        raise ValueError(f"{name} must be at most {MAX_REPEATS:,}, got {value:,}. Try {name}=10.")
    return value


def between(name: str, value: Any, low: float, high: float) -> Any:
    """A value as Python's number, after a check that it is in [low, high)."""
    if not _is_number(value):
        raise TypeError(f"{name} must be a number, got {describe(value)}.")
    if not (
        low <= value < high and abs(value if isinstance(value, int) else float(value)) <= sys.float_info.max
    ):
        upper = f" and below {high}"
        upper = " and finite" if high == float("inf") else upper
        raise ValueError(f"{name} must be at least {low}{upper}, got {_short(value)}.")
    return _python_number(value)


def string(name: str, value: Any, example: str) -> None:
    """Check that a value is a string."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {describe(value)}. Try {name}={example!r}.")


def strings(**values: Any) -> None:
    """Check that the values of arguments, given by their names, are strings."""
    for name, value in values.items():
        string(name, value, name)


def boolean(name: str, value: Any) -> None:
    """Check that a value is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {describe(value)}.")


def number(name: str, value: Any) -> Any:
    """A value as Python's number, after a check that it is one, and not NaN."""
    if not _is_number(value):
        raise TypeError(f"{name} must be a number, got {describe(value)}.")
    if value != value:
        raise ValueError(f"{name} must be a number, got NaN.")
    return _python_number(value)


def above_zero(name: str, value: Any) -> Any:
    """A value as Python's number, after a check that it is finite and above 0."""
    if not _is_number(value):
        raise TypeError(f"{name} must be a number, got {describe(value)}.")
    number = _python_number(value)  # NumPy's float32 would overflow in the comparison
    if not 0 < number <= sys.float_info.max:
        raise ValueError(f"{name} must be above 0 and finite, got {_short(value)}.")
    return number


def _python_number(value: Any) -> Any:
    return int(value) if isinstance(value, int | np.integer) else float(value)


def _short(value: Any) -> str:
    return describe(value) if isinstance(value, int) and value.bit_length() > 128 else str(value)


def _is_number(value: Any) -> bool:
    """Whether a value is one real number: no bool, and none of NumPy's complex numbers and durations."""
    real = int | float | np.integer | np.floating
    return isinstance(value, real) and not isinstance(value, bool | np.timedelta64)


def at_most(name: str, value: int, limit_name: str, limit: int) -> None:
    """Check that a value is not larger than another argument."""
    if value > limit:
        raise ValueError(
            f"{name} must be at most {limit_name}={limit}, got {value}. Try {limit_name}={value}."
        )


def one_of(**values: Any) -> None:
    """Check that exactly one of several arguments is given, an integer of at least 1."""
    given = {name: value for name, value in values.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            f"exactly one of {' and '.join(values)} must be given, got {', '.join(given) or 'none'}. "
            f"Try {next(iter(values))}=10."
        )
    for name, value in given.items():
        positive(name, value)


def choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Check that a value is one of some strings."""
    names = list(choices)
    if not isinstance(value, str) or value not in names:
        text = repr(value) if isinstance(value, str) else describe(value)
        raise ValueError(f"{name} must be one of {', '.join(names)}, got {text}.")


def function(name: str, value: Any, expected: str) -> None:
    """Check that a value can be called, and is not a class."""
    if isinstance(value, type) or not callable(value):
        raise TypeError(f"{name} must be {expected}, got {describe(value)}.")


def takes(name: str, value: Any, expected: str, /, *args: Any, **named: Any) -> None:
    """Check that a value can be called with these arguments, as far as its signature shows it."""
    function(name, value, expected)
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # some built-in functions have none
        return
    try:
        signature.bind(*args, **named)
    except TypeError as error:
        raise TypeError(
            f"{name} must be {expected}, got {function_name(value)}, which takes other arguments: {error}."
        ) from None


def function_name(value: Any) -> str:
    """The name of a function, of the function that a `functools.partial` binds, or of a class."""
    inner = getattr(value, "func", value)
    return str(getattr(inner, "__name__", type(inner).__name__))


def floating_dtype(name: str, value: Any) -> Any:
    """Return a floating dtype, and check that JAX does not narrow it."""
    expected = f"{name} must be a floating dtype such as 'float32' or 'bfloat16'"
    try:
        dtype = jnp.dtype(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{expected}, got {describe(value)}.") from error
    if value is None or not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"{expected}, got {'None' if value is None else dtype.name}.")
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(
            f"{name} is float64, which JAX disables by default. Enable it: "
            "jax.config.update('jax_enable_x64', True)."
        )
    return dtype


def path(name: str, value: Any, example: str = "runs/first") -> Path:
    """Return a path given as a string or a `pathlib.Path`."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name} must be a path, got {describe(value)}. Try {name}={example!r}.")
    text = os.fspath(value)
    if not text or "\0" in text:
        problem = "a path with a null character" if text else "an empty string"
        raise ValueError(f"{name} must be a path, got {problem}. Try {name}={example!r}.")
    return Path(text)


def devices(value: Any) -> None:
    """Check that a value is a sequence of at least one device."""
    if not (isinstance(value, list | tuple) and value and all(hasattr(d, "platform") for d in value)):
        raise TypeError(
            "devices must be an integer, a list of jax.devices(), sizes of axes by name or a mesh, got "
            f'{describe(value)}. Try fn.mesh.use({{"data": 2, "model": 2}}).'
        )


def divisible(path: str, value: Any, num_devices: int) -> None:
    """Check that the leading axis of an array can be divided evenly over devices."""
    shape = jnp.shape(value)
    if not shape or shape[0] % num_devices:
        raise ValueError(
            f"the leading axis of {path or 'the array'} must be a multiple of the {num_devices} devices, "
            f"got shape {shape}."
        )


def describe(value: Any) -> str:
    """Describe a value for an error message: its type, and its dtype and shape or a short repr."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"an array of {value.dtype} and shape {value.shape}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, int) and value.bit_length() > 128:  # Python prints no more than 4300 digits
        return f"an integer of {value.bit_length():,} bits"
    text = " ".join(repr(value).split())
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '...'}"
