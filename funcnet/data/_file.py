"""Read tables from text and Parquet files: with any separator, encoding and compression."""

import bz2
import codecs
import csv
import gzip
import io
import itertools
import lzma
import re
import warnings
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from funcnet import _check, _files
from funcnet.data import _parse

PARQUET = (".parquet", ".pq")
SEPARATORS = (",", ";", "\t", "|")
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
SAMPLE = 2**18
"""Characters from which the separator is found."""
DAYS = "Try the days since some date, or the year."
DECIMAL = "decimal"
"""The attribute of a frame whose value is "," if its file has decimal commas."""
MAX_CLASSES = 20
MAX_NAMES = 20
"""Names of columns that an error lists."""
ADVICE = (
    "Text, dates and gaps are read by the estimators of fn.sklearn: MLPClassifier().fit(*table.arrays)."
)


def read_frame(
    path: Path,
    separator: str | None = None,
    encoding: str | None = None,
    as_text: Collection[str] = (),
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

    Raises:
        OSError: if the file can't be read.
        TypeError: if the separator or the encoding is not a string.
        ValueError: if it is damaged, not a table, or has no rows.
    """
    import pandas

    _check_format(separator, encoding)
    is_parquet = path.suffix.lower() in PARQUET
    frame = _read_parquet(path) if is_parquet else _read_text(path, separator, encoding, as_text)
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


def _check_format(separator: Any, encoding: Any) -> None:
    for name, value in (("separator", separator), ("encoding", encoding)):
        if not (value is None or isinstance(value, str)):
            raise TypeError(f"{name} must be a string, got {_check.describe(value)}.")
    is_one = separator is None or (len(separator) == 1 and separator.isascii())
    if not is_one or separator in ('"', "\r", "\n", "\0"):
        raise ValueError(f'separator must be one ASCII character, got {separator!r}. Try ";" or "\\t".')


def _read_text(path: Path, separator: str | None, encoding: str | None, as_text: Collection[str]) -> Any:
    import pandas

    text = _decode(path, _decompress(path, _files.read(path, "a table")), encoding)
    if declared := re.match(r"sep=([\t !#-~])\n", text):  # by which spreadsheets name their separator
        separator, text = separator or declared[1], text[declared.end() :]
    if not text.strip():
        raise ValueError(f"the table {path} is empty: expected a header and rows.")
    separator = _find_separator(text) if separator is None else separator
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    try:
        header = next(row for row in rows if len(row) > 1 or "".join(row).strip())
        _check_header(path, [name.strip() for name in header])
    except csv.Error as error:
        raise ValueError(f"{path} can't be read as a table: {error}.") from None

    def read(**settings: Any) -> Any:
        with warnings.catch_warnings():
            # For a row longer than the header pandas shifts or cuts columns, with only a warning.
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            return pandas.read_csv(
                io.StringIO(text),
                sep=separator,
                skipinitialspace=True,
                index_col=False,
                keep_default_na=False,
                na_values=[""],
                low_memory=False,
                **settings,
            )

    try:
        frame = read()
        # Pandas would cut the zeros of codes, and write TRUE as True: these stay text.
        texts = [name for name in frame if name.strip() in as_text or _has_booleans(frame[name])]
        ambiguous = _with_decimal_commas(frame, read) if separator != "," else None
        texts += ambiguous or ()
        edge = rf'[{re.escape(separator)}" ]'
        if re.search(rf"(?:^|{edge})0\d+(?:{edge}|$)", text, re.MULTILINE):
            words = read(dtype=str)
            texts += [name for name in words if words[name].str.fullmatch(r"\s*0\d+\s*").any()]
        frame = read(dtype=dict.fromkeys(texts, str)) if texts else frame
        if ambiguous is not None:
            frame.attrs[DECIMAL] = ","
        return frame
    except pandas.errors.ParserWarning:
        raise ValueError(
            f"{path} has rows with more fields than its header. Give each column a name."
        ) from None
    except (pandas.errors.ParserError, pandas.errors.EmptyDataError) as error:
        raise ValueError(f"{path} can't be read as a table: {str(error).strip()}.") from None


def _with_decimal_commas(frame: Any, read: Callable[..., Any]) -> list[str] | None:
    """The columns of 1.234 in which that is a thousand, since most columns show that commas are decimal.

    None if they do not. A comma that separates columns is not decimal.
    """
    shown = [_parse.decimal_mark(frame[name].value_counts().to_dict()) for name in frame.select_dtypes(str)]
    if "," not in shown:
        return None
    floats = frame.select_dtypes(float).columns
    words = read(dtype=dict.fromkeys(floats, str))
    marks = {name: _parse.decimal_mark(words[name].str.strip().value_counts().to_dict()) for name in floats}
    if shown.count(",") <= [*shown, *marks.values()].count("."):
        return None
    return [name for name, mark in marks.items() if not mark]


def _has_booleans(column: Any) -> bool:
    """Whether pandas has read words as booleans; with gaps among them they are objects."""
    return bool(column.dtype == bool or (column.dtype == object and column.map(type).eq(bool).any()))


def _decompress(path: Path, content: bytes) -> bytes:
    """The content of a compressed file; other content as it is."""
    name = next((name for mark, name in COMPRESSED.items() if content.startswith(mark)), None)
    if name is None:
        return content
    if name == "zstandard":
        try:
            import zstandard  # type: ignore[import-not-found]
        except ImportError:
            raise ValueError(
                f"{path} is compressed with Zstandard, and reading it needs a package that funcnet does "
                "not install: pip install zstandard."
            ) from None
        try:
            return _join_frames(zstandard.ZstdDecompressor(), content)
        except (EOFError, zstandard.ZstdError) as error:
            raise ValueError(f"{path} is a damaged {name} file: {error}.") from None
    decompress = {"gzip": gzip.decompress, "bzip2": bz2.decompress, "xz": lzma.decompress}[name]
    try:
        return decompress(content)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path} is a damaged {name} file: {str(error).rstrip('.')}.") from None


def _join_frames(decompressor: Any, content: bytes) -> bytes:
    """The content of all frames of Zstandard: the library ends with the first, or where it is cut."""
    parts = []
    while content:
        frame = decompressor.decompressobj()
        parts.append(frame.decompress(content))
        if not frame.eof:
            raise EOFError("it ends within a frame")
        content = frame.unused_data
    return b"".join(parts)


def _decode(path: Path, content: bytes, encoding: str | None) -> str:
    """The text of a file, without a byte order mark, and with line feeds at the ends of lines."""
    marks = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    mark = next((mark for mark in marks if content.startswith(mark)), None)
    if encoding is None and mark is not None:
        candidates = ["utf-8-sig" if mark == codecs.BOM_UTF8 else "utf-16"]
    else:
        candidates = ["utf-8", "cp1252"] if encoding is None else [encoding]
    for candidate in candidates:
        try:
            text = content.decode(candidate)
        except UnicodeError:
            continue
        except LookupError:
            raise ValueError(
                f'encoding must be the name of an encoding, got {encoding!r}. Try "utf-8".'
            ) from None
        if "\0" in text:
            raise ValueError(
                f"{path} is not a table of text: it contains zero bytes. If it is text in UTF-16, give its "
                'encoding, such as "utf-16-le".'
            )
        return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    raise ValueError(
        f"{path} is not text in {' or '.join(candidates)}. Give its encoding, or save it as UTF-8."
    )


def _find_separator(text: str) -> str:
    """The separator with which most rows have as many fields as the header, and then the most fields."""
    sample = text[:SAMPLE]
    lines = sample if len(sample) == len(text) else sample[: sample.rfind("\n") + 1]

    def agreement(separator: str) -> tuple[float, int]:
        rows = csv.reader(io.StringIO(lines), delimiter=separator, skipinitialspace=True)
        try:
            counts = [len(row) for row in itertools.islice(rows, 200) if row]
        except csv.Error:  # a cell is too long
            return 0.0, 0
        if not counts or counts[0] < 2:
            return 0.0, 0
        return sum(count == counts[0] for count in counts) / len(counts), counts[0]

    return max(SEPARATORS, key=agreement)


def _check_header(path: Path, names: Sequence[str]) -> None:
    """Check that all columns have different names, since pandas would invent missing ones."""
    if all(_is_number(name) for name in names):
        raise ValueError(
            f"{path} begins with numbers and has no header. Put the column names in its first line."
        )
    if "" in names[1:]:  # the first may be that of row numbers
        raise ValueError(f"column {names.index('', 1) + 1} of {path} has no name. Give each column a name.")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{path} has two columns called {name!r}. Give each column its own name.")


def _read_parquet(path: Path) -> Any:
    import pandas

    try:
        frame = pandas.read_parquet(path, engine="pyarrow")
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


def read_columns(
    path: Path,
    names: Sequence[str],
    separator: str | None = None,
    encoding: str | None = None,
    as_text: Collection[str] = (),
) -> Any:
    """Read the named columns of a file as a pandas frame, in that order."""
    frame = read_frame(path, separator, encoding, as_text)
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(
            f"{path} lacks the column{'s' * (len(missing) > 1)} {join_names(missing)}. "
            f"Expected: {join_names(names)}."
        )
    return frame[list(names)]


def join_names(names: Sequence[str]) -> str:
    """Names of columns, the first of many."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def numbers(frame: Any, table: str) -> np.ndarray:
    """The columns of a table, which must be finite numbers, as float64 [rows, columns]."""
    for name in frame.select_dtypes(str) if frame.attrs.get(DECIMAL) == "," else ():
        raise ValueError(f"column {name!r} of {table} must hold finite numbers, got text. {ADVICE}")
    return np.column_stack([_number_column(frame[name], table, ADVICE) for name in frame.columns])


def _number_column(column: Any, table: str, advice: str) -> np.ndarray:
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
        got = "a gap" if pandas.isna(value) else repr(str(value))
        raise ValueError(
            f"{what} must hold finite numbers, got {got} in data row {column.index[wrong[0]] + 1} "
            f"({wrong.size} of {len(column)} rows). {advice}"
        )
    if isinstance(parsed.dtype, np.dtype) and parsed.dtype.kind in "iu":
        return _check.to_float64(what, parsed.to_numpy())
    return values


class Target(NamedTuple):
    """A target as it is read.

    Args:
        values: class numbers, or float64, [rows].
        classes: the names of the classes; empty for numbers.
        is_known: whether each row has one, bool [rows].
        why: why it is read so.
    """

    values: np.ndarray
    classes: tuple[str, ...]
    is_known: np.ndarray
    why: str


def read_target(column: Any, task: str | None, path: Path, missing: Sequence[str] = ()) -> Target:
    """Read a target as classes, or as numbers.

    Args:
        column: of pandas; gaps are rows without a target.
        task: "classification", "regression", or None: then text, booleans, and at most 20 different
            integers that count from 0 or 1 are classes.
        path: of the table, for errors.
        missing: words, or numbers as text, that mean that the target is missing.

    Raises:
        ValueError: if there is no target, only one class, or text among numbers.
    """
    import pandas

    what = f"the target {column.name!r}"
    present = ~column.isna().to_numpy()
    values, why = column, "it holds text"
    types = pandas.api.types
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        raise ValueError(f"{path}: {what} must hold numbers or classes, got {column.dtype}. {DAYS}")
    if types.is_bool_dtype(column):
        why = "it holds booleans"
    elif types.is_numeric_dtype(column):
        why = ""
        present &= ~column.isin(_parse.plain_numbers(missing)).to_numpy()
    else:
        texts = column.astype(object).where(present, "").map(lambda v: str(v).strip())
        present &= ~texts.isin(["", *missing]).to_numpy()
        values, counts = texts, texts[present].value_counts().to_dict()
        if (
            task != "classification"
            and (
                parsed := _parse_numbers(
                    texts[present], counts, what, path, column.attrs.get(DECIMAL) == ","
                )
            )
            is not None
        ):
            values = parsed.reindex(column.index)
            present, why = values.notna().to_numpy(), ""
        elif task is None and len(counts) > MAX_CLASSES and _parse.date_format(what, counts, True):
            raise ValueError(f"{path}: {what} must hold numbers or classes, got dates. {DAYS}")
    if not present.any():
        raise ValueError(f"{path}: {what} is missing in every row.")
    is_text = why != ""
    if task is not None:
        why = "it was chosen"
    else:
        integers = None if is_text else _counts_from(np.asarray(values[present], float))
        task = "classification" if is_text or integers else "regression"
        why = why or integers or f"it holds numbers{_example(column[present], values[present])}"
    _check.choice("task", task, ("classification", "regression"))
    if task == "regression":
        target = np.full(len(column), np.nan)
        advice = "Leave it blank where it is not known: such rows are left out."
        target[present] = _number_column(values[present].rename(column.name), path.stem, advice)
        return Target(target, (), present, why)
    classes, codes = np.unique(np.asarray(values[present]), return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{path}: {what} must have at least two classes, got only {str(classes[0])!r}.")
    target = np.zeros(len(column), np.int32)
    target[present] = codes
    return Target(target, tuple(_class_name(value) for value in classes.tolist()), present, why)


def _example(column: Any, values: Any) -> str:
    """How a number is read that Python would not read, or would read as another one."""
    for text, value in zip(column, values, strict=True):
        if isinstance(text, str) and not (_is_number(text) and float(text) == value):
            return f", {text.strip()!r} is {value:.10g}"
    return ""


def _class_name(value: Any) -> str:
    """Gaps in a file make 1.0 of 1."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _parse_numbers(texts: Any, counts: Mapping[str, int], what: str, path: Path, comma_first: bool) -> Any:
    """Texts as numbers, with NaN for words such as NA; None if others are among them.

    Raises:
        ValueError: if a few words are among so many numbers that they can't be classes.
    """
    plain = {text: count for text, count in counts.items() if not _parse.is_missing(text)}
    if not plain or (read_as := _parse.number_format(plain, comma_first)) is None:
        return None
    numbers = {text: _parse.parse_number(text, read_as) for text in plain}
    words = [text for text, number in numbers.items() if number is None]
    if not words:
        return texts.map(numbers).astype(float)
    if len(numbers) - len(words) > max(MAX_CLASSES, 5 * len(words)):
        row = texts.index[texts == words[0]][0] + 1
        raise ValueError(
            f"{path}: {what} must hold numbers or classes, got {len(numbers) - len(words)} different "
            f"numbers, and {words[0]!r} in data row {row}. Leave it blank where it is not known, or choose "
            "the task: classification."
        )
    return None


def _counts_from(values: np.ndarray) -> str | None:
    """Why numbers are classes: few integers that count from 0 or 1. None if they are not."""
    distinct = np.unique(values)
    if len(distinct) > MAX_CLASSES or distinct[0] not in (0, 1) or (np.diff(distinct) != 1).any():
        return None
    return f"it holds the integers from {distinct[0]:.0f} to {distinct[-1]:.0f}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
