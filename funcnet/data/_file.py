"""Read tables from CSV and Parquet files."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from funcnet import _check

PARQUET = (".parquet", ".pq")
MAX_CLASSES = 20
ADVICE = (
    "Text, dates and gaps are read by the estimators of fn.sklearn: MLPClassifier().fit(*table.arrays)."
)


def read_frame(path: Path) -> Any:
    """Read a file as a pandas frame with at least one row; blanks around column names are removed."""
    import pandas

    frame = (_read_parquet if path.suffix.lower() in PARQUET else _read_csv)(path)
    if len(frame) == 0:
        raise ValueError(
            f"the table {path} is empty: expected a header and rows, got a header and no rows."
        )
    frame = frame.rename(columns=lambda name: str(name).strip())
    for name in frame.columns[frame.columns.duplicated()]:
        raise ValueError(f"{path} has two columns called {name!r}. Give each column its own name.")
    for name in frame.columns:
        if isinstance(frame[name].dtype, pandas.CategoricalDtype):
            frame[name] = frame[name].astype(object)
    return frame


def _read_csv(path: Path) -> Any:
    import pandas

    try:
        with warnings.catch_warnings():
            # For a row longer than the header pandas shifts or cuts columns, with only a warning.
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            frame = pandas.read_csv(path, skipinitialspace=True, index_col=False)
    except pandas.errors.ParserWarning:
        raise ValueError(
            f"{path} has rows with more fields than its header. Give each column a name."
        ) from None
    except pandas.errors.EmptyDataError:
        raise ValueError(f"the table {path} is empty: expected a header and rows.") from None
    except (pandas.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read as a CSV file: {str(error).strip()}.") from None
    if len(frame) and all(_is_number(name) for name in frame.columns):
        raise ValueError(
            f"{path} begins with numbers and has no header. Put the column names in its first line."
        )
    _check_header(path)
    return frame


def _check_header(path: Path) -> None:
    """Check that all columns have different names, since pandas would invent missing ones."""
    import pandas

    header = pandas.read_csv(path, header=None, nrows=1, dtype=str, skipinitialspace=True).iloc[0]
    names = [str(name).strip() for name in header.fillna("")]
    if "" in names:
        raise ValueError(
            f"column {names.index('') + 1} of {path} has no name. If it is the index of a "
            "pandas frame, write the file without it: frame.to_csv(path, index=False)."
        )
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{path} has two columns called {name!r}. Give each column its own name.")


def _read_parquet(path: Path) -> Any:
    import pandas

    try:
        return pandas.read_parquet(path, engine="pyarrow")
    except ImportError:
        raise ValueError(
            f"{path} is a Parquet file, and reading it needs a package that funcnet does not install: "
            "pip install pyarrow."
        ) from None
    except OSError:
        raise
    except Exception as error:  # pyarrow's errors can't be named without importing it
        raise ValueError(f"{path} can't be read as a Parquet file: {str(error).strip()}.") from None


def read_columns(path: Path, names: Sequence[str]) -> Any:
    """Read the named columns of a file as a pandas frame, in that order."""
    frame = read_frame(path)
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(
            f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}. "
            f"Expected: {', '.join(names)}."
        )
    return frame[list(names)]


def numbers(frame: Any, table: str) -> np.ndarray:
    """The columns of a table, which must be finite numbers, as float64 [rows, columns]."""
    return np.column_stack([_number_column(frame[name], table) for name in frame.columns])


def _number_column(column: Any, table: str) -> np.ndarray:
    import pandas

    what = f"column {column.name!r} of {table}"
    dates = pandas.api.types.is_datetime64_any_dtype(column)
    if dates or pandas.api.types.is_timedelta64_dtype(column):
        raise ValueError(f"{what} must hold finite numbers, got dates. {ADVICE}")
    parsed = pandas.to_numeric(column, errors="coerce")
    values = parsed.to_numpy(float, na_value=np.nan)
    if (wrong := np.flatnonzero(~np.isfinite(values))).size:
        value = column.iloc[wrong[0]]
        got = "a gap" if pandas.isna(value) else repr(str(value))
        raise ValueError(
            f"{what} must hold finite numbers, got {got} in data row {wrong[0] + 1} ({wrong.size} of "
            f"{len(column)} rows). {ADVICE}"
        )
    if isinstance(parsed.dtype, np.dtype) and parsed.dtype.kind in "iu":
        return _check.to_float64(what, parsed.to_numpy())
    return values


def looks_like_classes(column: Any) -> bool:
    """Whether a target is text, or integers with few different values."""
    import pandas

    if pandas.api.types.is_bool_dtype(column) or not pandas.api.types.is_numeric_dtype(column):
        return True
    values = np.asarray(column, float)
    return bool((values == values.round()).all() and len(np.unique(values)) <= MAX_CLASSES)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
