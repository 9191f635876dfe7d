"""Tables from files as frames of pandas, and their columns as numbers."""

import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from funcnet import _check, _files
from funcnet._text import quoted
from funcnet.data._text_file import DECIMAL, check_format, read_text, text_columns

PARQUET = (".parquet", ".pq")
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
MAX_NAMES = 20
"""Names of columns that an error lists."""


def advice(task: str | None) -> str:
    """What reads a table whose columns are not finite numbers."""
    if task is None:
        return "Text, dates and gaps are read by fn.tabular.Schema.fit(table.arrays)."
    estimator = "MLPClassifier" if task == "classification" else "MLPRegressor"
    return (
        f"Text, dates and gaps are read by the estimators of fn.sklearn: {estimator}().fit(*table.arrays)."
    )


def read_frame(
    path: Path,
    separator: str | None = None,
    encoding: str | None = None,
    as_text: Collection[str] = (),
    *,
    decimal: str | None = None,
    content: bytes | None = None,
) -> Any:
    """Read a file as a pandas frame with at least one row, numbered from 0.

    A column of a text holds numbers if all of its cells do, and none is a code such as 00501. Blank cells
    are gaps, and blanks around names of columns are removed.

    Args:
        path: a Parquet file (.parquet or .pq), or text, possibly compressed (gzip, bzip2, xz, Zstandard).
        separator: of the columns of a text; by default the one of comma, semicolon, tab and bar with which
            rows have as many fields as the header.
        encoding: of a text; by default that of its byte order mark, UTF-8, or Windows-1252.
        as_text: columns of a text whose cells stay text, even if all of them are numbers.
        decimal: the decimal mark of a text, "." or ","; by default the columns show it.
        content: of the file, if it is read already.

    Raises:
        OSError: if the file can't be read.
        TypeError: if the separator or the encoding is not a string.
        ValueError: if it is damaged, not a table, or has no rows.
    """
    check_format(separator, encoding, decimal)
    content = read_content(path) if content is None else content
    if path.suffix.lower() in PARQUET or content.startswith(b"PAR1"):
        frame = _read_parquet(path, content)
    else:
        frame = read_text(path, content, separator, encoding, as_text, decimal)
    return _with_names(frame, path)


def from_memory(frame: Any, what: Path) -> Any:
    """A frame of pandas or polars as one of pandas with at least one row, numbered from 0.

    Its index is left out: it is not a column. Errors call the frame `what`.

    Raises:
        ValueError: if it has no rows, or two columns of one name.
    """
    import pandas

    if isinstance(frame, pandas.DataFrame):
        return _with_names(frame.reset_index(drop=True), what)
    return _with_names(pandas.DataFrame({name: to_column(frame[name]) for name in frame.columns}), what)


def to_column(series: Any) -> Any:
    """A series without its index, by which pandas would align it; of polars, with all digits.

    Times are those on the clock of their zone, as the estimators read them.
    """
    if hasattr(series, "reset_index"):
        return series.reset_index(drop=True)
    if not callable(getattr(series, "null_count", None)) or not hasattr(series, "dtype"):
        return np.asarray(series)  # an index of pandas, an array of Arrow
    if str(series.dtype).startswith("Datetime"):
        series = series.dt.replace_time_zone(None)
    elif series.null_count() and series.dtype.is_integer() and str(series.dtype) != "Int128":
        import pandas

        return pandas.array(series.to_list(), str(series.dtype))
    return series.to_numpy()


def _with_names(frame: Any, path: Path) -> Any:
    """A frame of pandas with different names as text, without the type of categories."""
    import pandas

    if len(frame) == 0:
        raise ValueError(
            f"the table {path} is empty: expected a header and rows, got a header and no rows."
        )
    frame = frame.rename(columns=lambda name: str(name).strip())
    for name in frame.columns[frame.columns.duplicated()]:
        raise ValueError(f"{path} has two columns called {quoted(name)}. Give each column its own name.")
    for name in frame.columns:
        if isinstance(frame[name].dtype, pandas.CategoricalDtype):
            frame[name] = frame[name].astype(object)
    return frame


def read_content(path: Path) -> bytes:
    """The bytes of a table, also from a pipe, which can be read only once."""
    return _files.read(path, "a table", is_stream_allowed=True)


def _read_parquet(path: Path, content: bytes) -> Any:
    import pandas

    try:
        frame = pandas.read_parquet(io.BytesIO(content), engine="pyarrow")
    except ImportError:
        raise ValueError(
            f"{path} is a Parquet file, and reading it needs a package that funcnet does not install: "
            "pip install pyarrow."
        ) from None
    except OSError:
        raise
    except Exception as error:  # pyarrow's errors can't be named without importing it
        raise ValueError(
            f"{path} can't be read as a Parquet file: {str(error).strip().rstrip('.')}."
        ) from None
    named = [level for level, name in enumerate(frame.index.names) if name is not None]
    # An index with a name is a column; if there are two of that name, they are refused later.
    return frame.reset_index(level=named, allow_duplicates=True).reset_index(drop=True)


def to_parquet(columns: Mapping[str, Any]) -> bytes:
    """Columns as the content of a Parquet file.

    Raises:
        ValueError: if pyarrow is not installed.
    """
    import pandas

    file = io.BytesIO()
    try:
        pandas.DataFrame(columns).to_parquet(file, index=False)
    except ImportError:
        raise ValueError(
            "writing a Parquet file needs a package that funcnet does not install: pip install pyarrow."
        ) from None
    return file.getvalue()


def read_columns(
    path: Path,
    names: Sequence[str],
    separator: str | None = None,
    encoding: str | None = None,
    as_text: Collection[str] = (),
    *,
    optional: Sequence[str] = (),
    decimal: str | None = None,
    content: bytes | None = None,
) -> Any:
    """Read the named columns of a file as a pandas frame, in that order, and the optional ones it has."""
    frame = read_frame(path, separator, encoding, as_text, decimal=decimal, content=content)
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(
            f"{path} lacks the column{'s' * (len(missing) > 1)} {join_names(missing)}. "
            f"Expected: {join_names(names)}."
        )
    return frame[[*names, *(name for name in optional if name in frame.columns)]]


def join_names(names: Sequence[str]) -> str:
    """Names of columns, the first of many."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(quoted(name)[1:-1] for name in names[:MAX_NAMES]) + more


def to_frame(rows: Any) -> Any:
    """A dictionary of columns, or a list of rows, as a frame of pandas."""
    import pandas

    return pandas.DataFrame(rows)


def numbers(frame: Any, table: str, advice: str) -> np.ndarray:
    """The columns of a table, which must be finite numbers, as float64 [rows, columns]."""
    for name in text_columns(frame) if frame.attrs.get(DECIMAL) == "," else ():
        raise ValueError(f"column {name!r} of {table} must hold finite numbers, got text. {advice}")
    return np.column_stack([number_column(frame[name], table, advice) for name in frame.columns])


def number_column(column: Any, table: str, advice: str) -> np.ndarray:
    import pandas

    what = f"column {column.name!r} of {table}"
    dates = pandas.api.types.is_datetime64_any_dtype(column)
    if dates or pandas.api.types.is_timedelta64_dtype(column):
        raise ValueError(f"{what} must hold finite numbers, got dates. {advice}")
    if not pandas.api.types.is_numeric_dtype(column):  # booleans of a file stay text
        words = {name: float(name == "true") for name in ("true", "false")}
        column = column.map(lambda v: words.get(v.strip().lower(), v) if isinstance(v, str) else v)
    parsed = pandas.to_numeric(column, errors="coerce")
    values = parsed.to_numpy(float, na_value=np.nan)
    if (wrong := np.flatnonzero(~np.isfinite(values))).size:
        value = column.iloc[wrong[0]]
        got = "a gap" if pandas.isna(value) else quoted(str(value))
        raise ValueError(
            f"{what} must hold finite numbers, got {got} in data row {column.index[wrong[0]] + 1} "
            f"({wrong.size} of {len(column)} rows). {advice}"
        )
    if isinstance(parsed.dtype, np.dtype) and parsed.dtype.kind in "iu":
        return _check.to_float64(what, parsed.to_numpy())
    return values
