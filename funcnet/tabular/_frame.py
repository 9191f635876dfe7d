"""The columns of a frame or an array, one kind each: numbers, booleans, dates, categories or text."""

import datetime
import decimal
import fractions
import warnings
from typing import Any, Literal

import numpy as np

from funcnet import _check
from funcnet.data._rows import named_rows

Kind = Literal["number", "boolean", "date", "category", "text"]

GAPS = ("NoneType", "NAType", "NaTType")
NUMBERS = int | float | np.integer | np.floating | decimal.Decimal | fractions.Fraction
DATES = datetime.date | np.datetime64
CONTAINERS = (dict, list, tuple, set, frozenset, bytes, np.ndarray)


class RawColumn:
    """One column as it came.

    Args:
        name: its name.
        kind: "number" and "boolean" have float64 values, NaN in a gap; "date" datetime64[us], NaT in a gap;
            "category" (the frame declares it) and "text" objects, None in a gap.
        values: [rows].
        whole: whether all numbers came as integers.
    """

    def __init__(self, name: str, kind: Kind, values: np.ndarray, whole: bool = False) -> None:
        self.name, self.kind, self.values, self.whole = name, kind, values, whole

    @property
    def gaps(self) -> np.ndarray:
        """Whether each row is a gap: booleans [rows]."""
        if self.kind in ("category", "text"):
            return is_none(self.values)
        return np.isnat(self.values) if self.kind == "date" else np.isnan(self.values)

    def texts(self) -> np.ndarray:
        """Each value as text without blanks around it, objects [rows]; None in a gap."""
        values = self.values.tolist()
        if self.kind in ("category", "text") and set(map(type, values)) <= {str, type(None)}:
            stripped = {
                v: None if v is None else v.strip() or None for v in set(values)
            }  # a blank is a gap
            return _objects([stripped[v] for v in values])
        gaps, texts = self.gaps, np.full(len(values), None, object)
        if self.kind in ("boolean", "number", "date"):
            convert: Any = (lambda v: str(bool(v))) if self.kind == "boolean" else to_text
            distinct, place = np.unique(self.values[~gaps], return_inverse=True)
            texts[~gaps] = np.array([convert(v) for v in distinct.tolist()], object)[place]
            return texts
        return _objects([None if gap else to_text(v) or None for v, gap in zip(values, gaps, strict=True)])


def is_frame(X: Any) -> bool:
    """Whether this is a table of pandas or polars."""
    return hasattr(X, "columns") and (hasattr(X, "dtypes") or hasattr(X, "schema"))


def read(X: Any) -> tuple[list[RawColumn], bool]:
    """The columns of a frame, or of an array [rows, columns], and whether they have names of their own.

    Raises:
        TypeError: if it holds neither numbers nor text, or is sparse.
        ValueError: if it does not have two axes.
    """
    check_dense(X)
    X = named_rows(X)
    if is_frame(X):
        names = check_names(X)
        return [_of_series(str(name), X[name]) for name in names], all(isinstance(n, str) for n in names)
    values = to_array(X)
    if values.ndim != 2:
        raise ValueError(
            f"X must be a table with two axes [rows, columns], got {_check.describe(values)}. Try "
            "X.reshape(-1, 1) for one column."
        )
    return [_of_array(f"x{j}", values[:, j]) for j in range(values.shape[1])], False


def check_names(X: Any) -> list[Any]:
    """The names of the columns of a frame, each once.

    Raises:
        TypeError: if its rows are not in memory, or it is neither of pandas nor of polars.
        ValueError: if a name is there twice.
    """
    for method, has in (("collect", "collect"), ("to_pandas", "column_names")):
        if hasattr(X, has):
            raise TypeError(
                f"X must be a frame of pandas or polars, got a {type(X).__name__}. Try X.{method}()."
            )
    names = list(X.columns)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"X must have a different name for each column, got {twice!r} twice.")
    return names


def is_none(values: np.ndarray) -> np.ndarray:
    """Whether each of some objects is None."""
    return np.array([value is None for value in values.tolist()], bool)


def check_dense(X: Any) -> None:
    """Check that this is not a sparse matrix."""
    if hasattr(X, "toarray") and hasattr(X, "nnz"):
        raise TypeError(_sparse(f"a sparse {type(X).__name__}"))


def to_text(value: Any) -> str:
    """A value as the name of a category: integers without a decimal point, whatever their type."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer):
        return str(value)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value.item() if isinstance(value, np.generic) else value)


def to_array(X: Any) -> np.ndarray:
    """An array, or nested lists, as an array; lists that hold text and numbers as objects."""
    if not isinstance(X, np.ndarray) and isinstance(X, list | tuple):
        plain = np.array(X, dtype=object)  # np.asarray would make text of the numbers beside text
        kinds = {type(value) for value in plain.ravel().tolist()}
        return np.asarray(X) if kinds <= {int, float, bool} else plain
    values = np.asarray(fill_mask(X) if isinstance(X, np.ma.MaskedArray) else X)
    return values.astype(str) if values.dtype.kind == "S" else values


def fill_mask(X: Any) -> np.ndarray:
    """A masked array as an array with gaps: NaN among floats, None among objects."""
    if not np.ma.is_masked(X):
        return np.asarray(X.data)
    return np.asarray(X.filled(np.nan) if X.dtype.kind == "f" else X.astype(object).filled(None))


def _of_array(name: str, values: np.ndarray) -> RawColumn:
    kind = values.dtype.kind
    if kind == "c":
        raise ValueError(f"Complex data not supported: column {name} must be real. Try np.abs(x).")
    if kind in "biuf":
        if _is_too_long(values):
            return RawColumn(name, "text", np.array([str(v) for v in values.tolist()], object))
        return RawColumn(
            name,
            "boolean" if kind == "b" else "number",
            values.astype(np.float64, copy=False),
            kind in "iu",
        )
    if kind == "M":
        return RawColumn(name, "date", values.astype("datetime64[us]"))
    if kind == "m":  # days
        return RawColumn(name, "number", values / np.timedelta64(1, "D"))
    if kind in "US":
        return RawColumn(name, "text", values.astype(object))
    return _of_objects(name, values)


def _of_series(name: str, series: Any) -> RawColumn:
    """A column of pandas or polars; neither needs to be imported for it."""
    dtype = str(series.dtype)
    if dtype.startswith("Sparse"):
        raise TypeError(_sparse(f"the sparse column {name!r}"))
    if dtype.lower().startswith(("category", "categorical", "enum")):
        values = np.asarray(series.to_numpy(), object)
        return RawColumn(name, "category", with_none(values))
    if "timestamp" in dtype.lower() or dtype.lower().startswith("datetime"):
        return RawColumn(name, "date", _local_times(series))
    nullable = hasattr(series, "isna") and not isinstance(series.dtype, np.dtype)
    if nullable and getattr(series.dtype, "kind", "O") in "biuf":  # pandas' own numbers and Arrow's
        kind = series.dtype.kind
        if not series.isna().any():
            return _of_array(name, series.to_numpy(dtype=f"{kind}{series.dtype.itemsize}"))
        known = series.dropna()
        if kind in "iu" and len(known) and _is_beyond_float64(known.min(), known.max()):
            return _of_objects(name, np.asarray(series.astype(object)))
        values = series.to_numpy(dtype=float, na_value=np.nan)
        return RawColumn(name, "boolean" if kind == "b" else "number", values, kind in "iu")
    has_gaps = dtype in ("Int64", "UInt64") and 0 < series.null_count() < len(series)  # of polars
    if has_gaps and _is_beyond_float64(series.min(), series.max()):
        return _of_objects(name, _objects(series.to_list()))
    values = np.asarray(series.to_numpy())
    return _of_array(name, values if values.ndim == 1 else _objects(series.to_list()))


def _local_times(series: Any) -> np.ndarray:
    """The time on the clock of its zone: an hour of the day means that."""
    if hasattr(series.dt, "tz_localize"):
        series = series.dt.tz_localize(None) if getattr(series.dt, "tz", None) is not None else series
        return series.to_numpy(dtype="datetime64[us]")
    return np.asarray(series.dt.replace_time_zone(None).to_numpy()).astype("datetime64[us]")


def _of_objects(name: str, values: np.ndarray) -> RawColumn:
    values = with_none(values)
    present = values[~is_none(values)]
    types = set(map(type, present.tolist()))
    if strange := [t for t in types if issubclass(t, CONTAINERS)]:
        wrong = np.array([type(v) in strange for v in values.tolist()])
        warnings.warn(
            f"column {name} holds {wrong.sum()} values that are neither numbers nor text, such as a "
            f"{strange[0].__name__}; they count as missing.",
            UserWarning,
            stacklevel=2,
        )
        values = _objects([None if w else v for v, w in zip(values.tolist(), wrong, strict=True)])
        present, types = values[~is_none(values)], types - set(strange)
    for kind, dtype, of in (
        ("boolean", np.float64, bool | np.bool_),
        ("number", np.float64, NUMBERS),
        ("date", "datetime64[us]", DATES),
    ):
        if types and all(issubclass(t, of) for t in types) and not (kind == "number" and bool in types):
            if kind == "date":
                present = np.array([_without_zone(v) for v in present.tolist()], object)
            elif kind == "number" and any(isinstance(v, int) and abs(v) > 2**53 for v in present.tolist()):
                break  # as text, with all digits
            filled = np.full(len(values), "NaT" if kind == "date" else np.nan, dtype)
            filled[~is_none(values)] = present.astype(dtype)
            whole = all(issubclass(t, int | np.integer) for t in types)
            return RawColumn(name, kind, filled, whole)  # type: ignore[arg-type]
    return RawColumn(name, "text", values)


def _objects(values: list[Any]) -> np.ndarray:
    """A list as objects [rows], whatever it holds."""
    return np.array([*values, None], object)[:-1]


def with_none(values: np.ndarray) -> np.ndarray:
    """Objects with None for NaN, NaT and the NA of pandas."""
    objects = values.tolist()
    if set(map(type, objects)) <= {str, type(None)}:
        return values
    return _objects([None if _is_gap(v) else v for v in objects])


def _is_gap(value: Any) -> bool:
    is_float = isinstance(value, float | np.floating | decimal.Decimal)
    return type(value).__name__ in GAPS or (is_float and value != value)


def _without_zone(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime.datetime) else value


def _is_too_long(values: np.ndarray) -> bool:
    """Whether integers have more digits than float64: they name things, and are kept as text."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8 or not values.size:
        return False
    return _is_beyond_float64(values.min(), values.max())


def _is_beyond_float64(low: Any, high: Any) -> bool:
    """Whether not all integers from one to the other are numbers of float64."""
    return bool(low < -(2**53) or high > 2**53)


def _sparse(what: str) -> str:
    return f"Sparse data is not supported: X must be dense, got {what}. Try X.toarray()."
