"""Read tables from CSV and Parquet files, and distinguish numbers from categories."""

import datetime
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from funcnet import _check
from funcnet.data._columns import Columns

PARQUET = (".parquet", ".pq")
MAX_CLASSES = 20
MAX_CATEGORIES = 100


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


def features(frame: Any, path: Path) -> np.ndarray | Columns:
    """float64 [rows, columns] if all values are numbers, none missing; else Columns for an Encoder."""
    is_text = [_is_text(frame[name]) for name in frame.columns]
    if not any(is_text) and not frame.isna().to_numpy().any():
        return numbers(frame, path)
    raw = columns(frame, path, is_text)
    for name, strings, gaps in zip(raw.names, raw.categories, np.asarray(raw.missing).T, strict=True):
        if gaps.all():
            raise ValueError(f"{path}: column {name!r} is missing in every row: drop it.")
        if strings is not None:
            _check_categories(f"{path}: column {name!r}", strings, len(frame))
    return raw


def columns(frame: Any, path: Path, is_text: Sequence[bool]) -> Columns:
    """The columns of a frame; `is_text` marks those of text."""
    names = tuple(map(str, frame.columns))
    gaps = frame.isna().to_numpy()
    values = np.zeros(frame.shape)
    categories: list[tuple[str, ...] | None] = []
    for j, (name, text) in enumerate(zip(names, is_text, strict=True)):
        present = ~gaps[:, j]
        if text:
            column = frame[name][present].astype(str).str.strip().to_numpy(object)
            strings, values[present, j] = np.unique(column.astype(str), return_inverse=True)
            categories.append(tuple(map(str, strings)))
        else:
            values[present, j] = numbers(frame[[name]], path, gaps_allowed=True)[present, 0]
            categories.append(None)
    return Columns(values, gaps, names, tuple(categories))


def numbers(frame: Any, path: Path, gaps_allowed: bool = False) -> np.ndarray:
    """A frame of finite numbers as float64 [rows, columns]."""
    return np.column_stack([_number_column(frame[name], path, gaps_allowed) for name in frame.columns])


def _number_column(column: Any, path: Path, gaps_allowed: bool) -> np.ndarray:
    import pandas

    types = pandas.api.types
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        raise ValueError(_dates_message(f"{path}: column {column.name!r}", str(column.dropna().iloc[0])))
    parsed = pandas.to_numeric(column, errors="coerce")
    values = parsed.to_numpy(float, na_value=np.nan)
    wrong = ~np.isfinite(values) & ~(gaps_allowed & column.isna().to_numpy())
    if (bad := np.flatnonzero(wrong)).size:
        value = column.iloc[bad[0]]
        problem = "is missing" if pandas.isna(value) else f"is {str(value)!r}, not a finite number,"
        raise ValueError(
            f"{path}: column {column.name!r} {problem} in data row {bad[0] + 1} "
            f"({bad.size} of {len(column)} rows). Fill in or drop such values first; a column must hold "
            "numbers or text, not both."
        )
    if isinstance(parsed.dtype, np.dtype) and parsed.dtype.kind in "iu":
        return _check.to_float64(f"{path}: column {column.name!r}", parsed.to_numpy())
    return values


def _is_text(column: Any) -> bool:
    """Whether a column has text, and no string that is a number."""
    import pandas

    if pandas.api.types.is_datetime64_any_dtype(column):
        return False
    present = column[~column.isna()]
    return len(present) > 0 and bool(pandas.to_numeric(present, errors="coerce").isna().all())


def looks_like_classes(column: Any) -> bool:
    """Whether a target is text, or integers with few different values."""
    import pandas

    if pandas.api.types.is_bool_dtype(column) or not pandas.api.types.is_numeric_dtype(column):
        return True
    values = np.asarray(column, float)
    return bool((values == values.round()).all() and len(np.unique(values)) <= MAX_CLASSES)


def _check_categories(what: str, strings: tuple[str, ...], num_rows: int) -> None:
    if len(strings) == 1:
        raise ValueError(
            f"{what} must have at least two different values, got only {strings[0]!r}: drop it."
        )
    if all(map(_is_date, strings)):
        raise ValueError(_dates_message(what, strings[0]))
    limit = min(MAX_CATEGORIES, max(10, num_rows // 2))
    if len(strings) > limit:
        raise ValueError(
            f"{what} must have at most {limit} categories, got {len(strings)} different strings in "
            f"{num_rows} rows, such as {strings[0]!r}. A model can't learn from strings that occur in "
            "single rows: drop the column, or reduce it to few categories."
        )


def _dates_message(what: str, example: str) -> str:
    return (
        f"{what} must hold numbers or categories, got dates such as {example!r}. Convert them to numbers, "
        "such as days since the first, the month or the day of the week."
    )


def _is_date(text: str) -> bool:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
