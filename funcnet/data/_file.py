"""Tables in CSV and Parquet files: reading them, and telling numbers from categories."""

import datetime
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.data._columns import Columns

PARQUET = (".parquet", ".pq")
MOST_CLASSES = 20
MOST_CATEGORIES = 100


def frame(path: Path) -> Any:
    """The pandas frame of a file: at least one row, names without blanks around them."""
    import pandas

    read = _parquet if path.suffix.lower() in PARQUET else _csv
    found = read(path)
    if len(found) == 0:
        raise ValueError(f"the table {path} is empty: it has a header and no rows.")
    found = found.rename(columns=lambda name: str(name).strip())
    for name in found.columns[found.columns.duplicated()]:
        raise ValueError(f"{path} has two columns called {name!r}. Give each a name of its own.")
    for name in found.columns:
        if isinstance(found[name].dtype, pandas.CategoricalDtype):
            found[name] = found[name].astype(object)
    return found


def _csv(path: Path) -> Any:
    import pandas

    try:
        with warnings.catch_warnings():
            # A row longer than the header: pandas would shift or cut columns with no more than a warning.
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            found = pandas.read_csv(path, skipinitialspace=True, index_col=False)
    except pandas.errors.ParserWarning:
        raise ValueError(
            f"{path} has rows with more fields than its header. Give each column a name."
        ) from None
    except pandas.errors.EmptyDataError:
        raise ValueError(f"the table {path} is empty: a header and rows are wanted.") from None
    except (pandas.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read as a CSV file: {str(error).strip()}.") from None
    if len(found) and all(_is_number(name) for name in found.columns):
        raise ValueError(
            f"{path} begins with numbers and has no header. Put the columns' names in its first line."
        )
    _check_header(path)
    return found


def _check_header(path: Path) -> None:
    """Raise for a column without a name, or two of one name: pandas would make names up."""
    import pandas

    header = pandas.read_csv(path, header=None, nrows=1, dtype=str, skipinitialspace=True).iloc[0]
    names = [str(name).strip() for name in header.fillna("")]
    if "" in names:
        raise ValueError(
            f"column {names.index('') + 1} of {path} has no name. Row numbers that pandas wrote are no "
            "feature: frame.to_csv(path, index=False)."
        )
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{path} has two columns called {name!r}. Give each a name of its own.")


def _parquet(path: Path) -> Any:
    import pandas

    try:
        return pandas.read_parquet(path, engine="pyarrow")
    except ImportError:
        raise ValueError(
            f"{path} is a Parquet file, and reading those needs a package that funcnet does not bring: "
            "pip install pyarrow."
        ) from None
    except OSError:
        raise
    except Exception as error:  # pyarrow's errors can't be named without importing it
        raise ValueError(f"{path} can't be read as a Parquet file: {str(error).strip()}.") from None


def selected(path: Path, names: Sequence[str]) -> Any:
    """The frame of the named columns of a file, in that order."""
    found = frame(path)
    missing = [name for name in names if name not in found.columns]
    if missing:
        raise ValueError(
            f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}. "
            f"Wanted: {', '.join(names)}."
        )
    return found[list(names)]


def features(found: Any, path: Path) -> np.ndarray | Columns:
    """float32 [rows, columns] if all is numbers without a gap, else Columns fit for an Encoder."""
    is_text = [_is_text(found[name]) for name in found.columns]
    if not any(is_text) and not found.isna().to_numpy().any():
        return numbers(found, path)
    made = columns(found, path, is_text)
    for name, words, gaps in zip(made.names, made.categories, np.asarray(made.missing).T, strict=True):
        if gaps.all():
            raise ValueError(f"{path}: column {name!r} is missing in every row: drop it.")
        if words is not None:
            _check_categories(f"{path}: column {name!r}", words, len(found))
    return made


def columns(found: Any, path: Path, is_text: Sequence[bool]) -> Columns:
    """Columns of a frame, of which some are known to be text."""
    names = tuple(map(str, found.columns))
    gaps = found.isna().to_numpy()
    values = np.zeros(found.shape, np.float32)
    categories: list[tuple[str, ...] | None] = []
    for j, (name, text) in enumerate(zip(names, is_text, strict=True)):
        there = ~gaps[:, j]
        if text:
            given = found[name][there].astype(str).str.strip().to_numpy(object)
            words, values[there, j] = np.unique(given.astype(str), return_inverse=True)
            categories.append(tuple(map(str, words)))
        else:
            values[there, j] = numbers(found[[name]], path, gaps_allowed=True)[there, 0]
            categories.append(None)
    return Columns(jnp.asarray(values), jnp.asarray(gaps), names, tuple(categories))


def numbers(found: Any, path: Path, gaps_allowed: bool = False) -> np.ndarray:
    """A frame of finite numbers as float32 [rows, columns]."""
    return np.column_stack([_number_column(found[name], path, gaps_allowed) for name in found.columns])


def _number_column(column: Any, path: Path, gaps_allowed: bool) -> np.ndarray:
    import pandas

    types = pandas.api.types
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        raise ValueError(_dates(f"{path}: column {column.name!r}", str(column.dropna().iloc[0])))
    values = pandas.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)
    wrong = ~np.isfinite(values) & ~(gaps_allowed & column.isna().to_numpy())
    if (bad := np.flatnonzero(wrong)).size:
        came = column.iloc[bad[0]]
        what = "is missing" if pandas.isna(came) else f"is {str(came)!r}, no finite number"
        raise ValueError(
            f"{path}: column {column.name!r} {what} in data row {bad[0] + 1} "
            f"({bad.size} of {len(column)} rows). Fill in or drop such values first; a column holds "
            "numbers or words, not both."
        )
    return values.astype(np.float32)


def _is_text(column: Any) -> bool:
    """Whether a column has words, and none that is a number."""
    import pandas

    if pandas.api.types.is_datetime64_any_dtype(column):
        return False
    given = column[~column.isna()]
    return len(given) > 0 and bool(pandas.to_numeric(given, errors="coerce").isna().all())


def looks_like_classes(column: Any) -> bool:
    """Whether a target is text, or has few different whole numbers."""
    import pandas

    if pandas.api.types.is_bool_dtype(column) or not pandas.api.types.is_numeric_dtype(column):
        return True
    values = np.asarray(column, float)
    return bool((values == values.round()).all() and len(np.unique(values)) <= MOST_CLASSES)


def _check_categories(what: str, words: tuple[str, ...], rows: int) -> None:
    if len(words) == 1:
        raise ValueError(f"{what} holds nothing but {words[0]!r}, which says nothing: drop it.")
    if all(map(_is_date, words)):
        raise ValueError(_dates(what, words[0]))
    most = min(MOST_CATEGORIES, max(10, rows // 2))
    if len(words) > most:
        raise ValueError(
            f"{what} is text with {len(words)} different values in {rows} rows, such as {words[0]!r}; at "
            f"most {most} are taken as categories. Names, numbers and texts of single rows say nothing "
            "about others: drop the column, or make few categories of it."
        )


def _dates(what: str, example: str) -> str:
    return (
        f"{what} holds dates such as {example!r}. Make numbers of them, such as days since the first, "
        "the month or the day of the week."
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
