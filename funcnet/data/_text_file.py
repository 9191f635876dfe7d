"""Tables from text: with any separator, encoding and compression."""

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
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from funcnet import _check
from funcnet.data import _parse
from funcnet.data._parse import is_number

SEPARATORS = (",", ";", "\t", "|")
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
SAMPLE = 2**18
"""Characters from which the separator is found."""
DECIMAL = "decimal"
"""The attribute of a frame whose value is "," if its file has decimal commas."""


def check_format(separator: Any, encoding: Any, decimal: Any) -> None:
    for name, value in (("separator", separator), ("encoding", encoding)):
        if not (value is None or isinstance(value, str)):
            raise TypeError(f"{name} must be a string, got {_check.describe(value)}.")
    is_one = separator is None or (len(separator) == 1 and separator.isascii())
    if not is_one or separator in ('"', "\r", "\n", "\0"):
        raise ValueError(f'separator must be one ASCII character, got {separator!r}. Try ";" or "\\t".')
    if decimal is not None:
        _check.choice("decimal", decimal, (".", ","))
    if decimal == separator == ",":
        raise ValueError('separator and decimal must differ, got "," for both. Try separator=";".')


def read_text(
    path: Path,
    content: bytes,
    separator: str | None,
    encoding: str | None,
    as_text: Collection[str],
    decimal: str | None,
) -> Any:
    import pandas

    text = _decode(path, _decompress(path, content), encoding)
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
        ambiguous = _with_decimal_commas(frame, read, decimal) if separator != "," or decimal else None
        texts += ambiguous or ()
        edge = rf'[{re.escape(separator)}" ]'
        if re.search(rf"(?:^|{edge}){_parse.CODE.pattern}(?:{edge}|$)", text, re.MULTILINE):
            words = read(dtype=str)
            texts += [
                name for name in words if words[name].str.strip().str.fullmatch(_parse.CODE.pattern).any()
            ]
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


def _with_decimal_commas(frame: Any, read: Callable[..., Any], decimal: str | None) -> list[str] | None:
    """The columns of 1.234 in which that is a thousand, since most columns show that commas are decimal.

    None if they do not, unless `decimal` says so. A comma that separates columns is not decimal.
    """
    if decimal == ".":
        return None
    shown = [_parse.decimal_mark(frame[name].value_counts().to_dict()) for name in frame.select_dtypes(str)]
    if "," not in shown and decimal is None:
        return None
    floats = frame.select_dtypes(float).columns
    words = read(dtype=dict.fromkeys(floats, str))
    marks = {name: _parse.decimal_mark(words[name].str.strip().value_counts().to_dict()) for name in floats}
    if decimal is None and shown.count(",") <= [*shown, *marks.values()].count("."):
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
    if all(is_number(name) for name in names):
        raise ValueError(
            f"{path} begins with numbers and has no header. Put the column names in its first line."
        )
    if "" in names[1:]:  # the first may be that of row numbers
        raise ValueError(f"column {names.index('', 1) + 1} of {path} has no name. Give each column a name.")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{path} has two columns called {name!r}. Give each column its own name.")
