"""Arrays: whatever holds numbers, from NumPy, JAX, pandas, polars, PyTorch on the CPU, or lists."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet._check._data import fits_int32
from funcnet._check._values import describe


def jax_array(name: str, value: Any, advice: str = "Number from 0.") -> jax.Array:
    """`array` as a JAX array, in the dtype that JAX gives it: without 64-bit mode, at most 32 bits.

    Raises:
        TypeError: as for `array`.
        ValueError: as for `array`, or if an integer does not fit.
    """
    values = array(name, value)
    if isinstance(values, jax.Array):
        return values
    fits_int32(name, values, advice)
    return jnp.asarray(values)


def array(name: str, value: Any) -> np.ndarray | jax.Array:
    """Whatever holds real numbers or booleans, as an array that keeps all digits.

    JAX arrays and tracers are returned as they are. Everything else becomes a NumPy array in the byte order
    of the machine: NumPy's own and Python's numbers, (nested) lists, pandas and polars columns and tables,
    PyTorch tensors on the CPU, and anything with `__array__`; with `__jax_array__`, a JAX array.

    Raises:
        TypeError: if it holds no numbers, such as None, text, objects, dates, or complex numbers.
        ValueError: if a list is ragged.
    """
    if isinstance(value, jax.Array):
        if not _is_real(value.dtype):
            raise TypeError(_not_numbers(name, value))
        return value
    if hasattr(value, "__jax_array__") and not isinstance(value, type):
        return array(name, value.__jax_array__())
    if isinstance(value, list | tuple) and any(
        isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value)
    ):
        return _stack(name, value)
    values = _to_numpy(name, value)
    if values.dtype == np.longdouble:
        values = values.astype(np.float64)
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if not _is_real(values.dtype):
        raise TypeError(_not_numbers(name, value if values.dtype.kind == "O" else values))
    return values


def pytree(name: str, tree: Any) -> Any:
    """A pytree with its leaves as JAX arrays; a (nested) list of Python's numbers is one array.

    Raises:
        TypeError: as for `array`, for a leaf that is neither that nor a JAX array.
        ValueError: as for `jax_array`.
    """
    if isinstance(tree, jax.Array):
        return tree
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    if isinstance(tree, list) and all(isinstance(leaf, bool | int | float) for _, leaf in leaves):
        return jax_array(name, tree)

    def convert(path: Any, leaf: Any) -> jax.Array:
        where = f"{name}{jax.tree_util.keystr(path)}"
        return leaf if isinstance(leaf, jax.Array) else jax_array(where, leaf)

    return jax.tree_util.tree_map_with_path(convert, tree)


def setting(name: str, value: Any, low: float, high: float, *, low_included: bool = False) -> Any:
    """Numbers, one or an array, after a check that they lie above `low` (or at it) and below `high`.

    They must do so in the dtype of the computation, too: 1e-50 is 0 in float32, and 0.99999999 is 1.
    Tracers are not looked at. NumPy's scalars and other libraries' arrays become arrays that JAX reads.
    """
    try:
        numbers = array(name, value)
    except TypeError:
        raise TypeError(f"{name} must be a number, got {describe(value)}.") from None
    if isinstance(numbers, jax.core.Tracer):
        return value
    if numbers.dtype == bool:
        raise TypeError(f"{name} must be a number, got {describe(value)}.")
    exact = np.asarray(numbers, np.float64)
    dtype = jax.dtypes.canonicalize_dtype(float)
    with np.errstate(over="ignore", under="ignore"):
        rounded = exact.astype(dtype)
    for values, where in ((exact, ""), (rounded, f", which {dtype.name} rounds to {rounded}")):
        if not np.all(((values >= low) if low_included else (values > low)) & (values < high)):
            lower = f"at least {low}" if low_included else f"above {low}"
            upper = " and finite" if high == float("inf") else f" and below {high}"
            raise ValueError(f"{name} must be {lower}{upper}, got {value}{where}.")
    return value if isinstance(value, int | float | jax.Array) else numbers


def scalar_setting(
    name: str, value: Any, low: float, high: float, *, low_included: bool = False
) -> jax.Array:
    """One number between `low` and `high`, checked as by `setting`, as a floating array of shape ()."""
    setting(name, value, low, high, low_included=low_included)
    number = jnp.asarray(array(name, value), float)
    if number.shape != ():
        raise ValueError(f"{name} must be one number, got {describe(number)}.")
    return number


def _to_numpy(name: str, value: Any) -> np.ndarray:
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.getmaskarray(value).any():
            raise TypeError(
                f"{name} must be an array without masked entries, got a masked array. Fill them in: "
                "x.filled(0), or give their rows weight 0."
            )
        return np.asarray(value.data)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} must fit in 64-bit integers, got {describe(value)}.")
    if isinstance(value, np.ndarray | np.generic | bool | int | float | range):
        return np.asarray(value)
    if isinstance(value, list | tuple):
        return _list_to_numpy(name, value)
    if hasattr(value, "detach") and hasattr(value, "numpy"):  # PyTorch
        try:
            return np.asarray(value.detach().numpy())
        except (TypeError, RuntimeError):
            raise TypeError(
                f"{name} must be on the CPU and of a dtype that NumPy has, got {_describe(value)}. Try "
                "x.detach().float().cpu()."
            ) from None
    if hasattr(value, "to_numpy"):  # pandas and polars
        return _table_to_numpy(value)
    if hasattr(value, "__array__") and not isinstance(value, type):
        return np.asarray(value)
    raise TypeError(_not_numbers(name, value))


def _list_to_numpy(name: str, value: Any) -> np.ndarray:
    parts = [part for part in value if not isinstance(part, list | tuple | bool | int | float | np.generic)]
    if parts and all(hasattr(part, "__array__") for part in parts):
        value = [array(f"{name}[{i}]", part) for i, part in enumerate(value)]
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError, OverflowError):
        raise ValueError(
            f"{name} must be an array, or a list of rows of equal lengths, got {describe(value)}."
        ) from None


def _table_to_numpy(value: Any) -> np.ndarray:
    """A pandas or polars column or table; gaps in columns of numbers become NaN."""
    values = np.asarray(value.to_numpy())
    dtypes = value.dtypes if hasattr(value, "dtypes") else [value.dtype]
    kinds = {getattr(dtype, "kind", "O") for dtype in np.atleast_1d(np.asarray(dtypes, object))}
    if values.dtype == object and kinds <= set("biuf"):  # pandas' nullable columns
        return np.asarray(value.to_numpy(dtype=float, na_value=np.nan))
    return values


def _stack(name: str, value: Any) -> jax.Array:
    try:
        return jnp.stack([jax_array(f"{name}[{i}]", part) for i, part in enumerate(value)])
    except ValueError:
        raise ValueError(
            f"{name} must be an array, or a list of rows of equal lengths, got {describe(value)}."
        ) from None


def _is_real(dtype: Any) -> bool:
    return bool(
        np.dtype(bool) == dtype or jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)
    )


def _describe(value: Any) -> str:
    return f"a {type(value).__name__} of {value.dtype} on {value.device}"


def _not_numbers(name: str, value: Any) -> str:
    if hasattr(value, "columns") and hasattr(value, "dtypes"):
        wrong = [str(n) for n in value.columns if np.asarray(value[n]).dtype.kind not in "biuf"]
        return (
            f"{name} must be an array of numbers, got a {type(value).__name__} with text, dates or gaps in "
            f"{', '.join(wrong[:5]) or 'it'}. Read a frame as a table: fn.data.load(frame, target='y')."
        )
    dtype = getattr(value, "dtype", None)
    if getattr(dtype, "kind", "") == "c":
        return f"{name} must be real, got complex numbers. Try np.abs(x), x.real or x.imag."
    if getattr(dtype, "kind", "") in ("U", "S", "T"):
        return (
            f"{name} must be an array of numbers, got text. Of labels: classes, y = np.unique(labels, "
            "return_inverse=True). Of features, read a table: fn.data.load('table.csv', target='y')."
        )
    if getattr(dtype, "kind", "") in ("M", "m"):
        return (
            f"{name} must be an array of numbers, got {dtype}. Try (x - x.min()) / np.timedelta64(1, 'D')."
        )
    is_dataset = hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, str)
    hint = ""
    if name == "data" and type(value).__name__ == "DataLoader":
        hint = " Pass a stream of its dataset to a Trainer: fn.data.Stream.from_map(loader.dataset)."
    elif name == "data" and is_dataset:
        hint = " Pass a stream to a Trainer: fn.data.Stream.from_map(dataset)."
    return f"{name} must be an array of numbers, got {describe(value)}.{hint}"
