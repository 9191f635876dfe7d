"""Tables from text: with any separator, encoding and compression."""

import bz2
import codecs
import contextlib
import csv
import io
import itertools
import lzma
import re
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from funcnet import _check
from funcnet._text import quoted
from funcnet.data import _parse
from funcnet.data._parse import is_number

SEPARATORS = ("\t", "|", ";", ",")
"""The first of those that fit: names and cells with a comma are common, those with a tab are not."""
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
    except csv.Error as error:
        raise ValueError(f"{path} can't be read as a table: {error}.") from None
    _check_header(path, [name.strip() for name in header])
    _check_rows(path, text, separator, len(header))

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
                **exact_numbers(),
                **settings,
            )

    try:
        frame = read()
        # Pandas would cut the zeros of codes, the last digits of long integers beside a blank, and write
        # TRUE as True: these stay text.
        texts = [name for name in frame if name.strip() in as_text or _has_booleans(frame[name])]
        texts += _long_integers(frame)
        at_least = 2 if separator == "," else 1
        ambiguous = _with_decimal_commas(frame, read, at_least, decimal)
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


def exact_numbers() -> dict[str, str]:
    """The setting of `read_csv` for all digits: by default pandas 2 changes the last of many numbers."""
    import pandas

    return {} if int(pandas.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}


def text_columns(frame: Any) -> list[str]:
    """The columns of text. Pandas 2 has no dtype for them: booleans with gaps are objects, too."""
    from pandas.api.types import infer_dtype

    objects = (name for name, dtype in frame.dtypes.items() if dtype.kind == "O")
    return [name for name in objects if infer_dtype(frame[name], skipna=True) == "string"]


def _with_decimal_commas(
    frame: Any, read: Callable[..., Any], at_least: int, decimal: str | None
) -> list[str] | None:
    """The columns of 1.234 in which that is a thousand, since most columns show that commas are decimal.

    None if they do not, or fewer than `at_least`: where commas separate columns, "1,2" may also be a list.
    A `decimal` that is given decides.
    """
    if decimal == ".":
        return None
    shown = [_parse.decimal_mark(frame[name].value_counts().to_dict()) for name in text_columns(frame)]
    if decimal is None and shown.count(",") < at_least:
        return None
    floats = frame.select_dtypes(float).columns
    words = read(dtype=dict.fromkeys(floats, str))
    marks = {name: _parse.decimal_mark(words[name].str.strip().value_counts().to_dict()) for name in floats}
    if decimal is None and shown.count(",") <= [*shown, *marks.values()].count("."):
        return None
    return [name for name, mark in marks.items() if not mark]


def _long_integers(frame: Any) -> list[str]:
    """The columns of floats that hold only integers, of which some may have lost digits."""
    return [
        name
        for name, column in frame.select_dtypes(float).items()
        if 2**53 <= column.abs().max() < float("inf") and (column.dropna() % 1 == 0).all()
    ]


def _has_booleans(column: Any) -> bool:
    """Whether pandas has read words as booleans; with gaps among them they are objects."""
    return bool(column.dtype == bool or (column.dtype == object and column.map(type).eq(bool).any()))


def _decompress(path: Path, content: bytes) -> bytes:
    """The content of a compressed file; other content as it is."""
    name = next((name for mark, name in COMPRESSED.items() if content.startswith(mark)), None)
    if name is None:
        return content
    start: Callable[[], Any]
    error: type[Exception]
    if name == "zstandard":
        try:
            import zstandard  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise ValueError(
                f"{path} is compressed with Zstandard, and reading it needs a package that funcnet does "
                "not install: pip install zstandard."
            ) from None
        start, error = zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError
    else:
        start, error = {
            "gzip": (lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), zlib.error),
            "bzip2": (bz2.BZ2Decompressor, OSError),
            "xz": (lzma.LZMADecompressor, lzma.LZMAError),
        }[name]
    try:
        return _join_streams(start, content)
    except (EOFError, ValueError, error) as reason:
        raise ValueError(f"{path} is a damaged {name} file: {str(reason).rstrip('.')}.") from None


def _join_streams(start: Callable[[], Any], content: bytes) -> bytes:
    """The content of all streams of a compressed file.

    The libraries end with the first, where it is cut, or in silence where the next is damaged.
    """
    parts = []
    while content := content.lstrip(b"\0"):  # by which files are filled up
        stream = start()
        parts.append(stream.decompress(content))
        if not stream.eof:
            raise EOFError("its end is missing")
        content = stream.unused_data
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
            if candidate == "utf-8" and encoding is None:
                _check_not_utf8(path, content)
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


def _check_not_utf8(path: Path, content: bytes) -> None:
    """Check that text is not UTF-8 with a few damaged bytes: as Windows-1252 all its accents are others.

    In a text of Windows-1252 two letters with accents that are one character of UTF-8 are rare.
    """
    text = content.decode("utf-8", errors="surrogateescape")
    damaged = [match.start() for match in re.finditer("[\udc80-\udcff]", text)]
    if len(re.findall(r"[^\x00-\x7f]", text)) >= 2 * len(damaged):
        line = 1 + len(re.findall(r"\r\n?|\n", text[: damaged[0]]))
        raise ValueError(
            f"{path} is text in UTF-8 with {len(damaged):,} damaged bytes, the first in line {line:,}. "
            "Save it again as UTF-8, or give its encoding."
        )


def _check_rows(path: Path, text: str, separator: str, width: int) -> None:
    """Check that all rows have as many fields as the header, and that no quotation mark hides rows.

    Pandas fills up a row that has too few, although its cells may stand in other columns. All rows may have
    one separator more, after the last field.
    """
    lines = enumerate(text.split("\n"), 1)
    rows = ((number, line) for number, line in lines if line.strip() or separator in line)
    first, expected = 0, width
    for place, (number, line) in enumerate(rows):
        if '"' in line:
            row = _quoted_row(path, number, line, lines, separator)
            fields, has_end = len(row), not row[-1].strip()
        else:
            fields, has_end = line.count(separator) + 1, line.rstrip(" ").endswith(separator)
        is_longer = fields == width + 1 and has_end
        if place <= 1:  # the header, and the first row
            first, expected = number, fields if is_longer else width
        if fields != expected or (fields > width and not is_longer):
            if fields == width:
                number, fields = first, expected
            more = "more" if fields > width else "fewer"
            raise ValueError(
                f"{path} has rows with {more} fields than its header: line {number:,} has {fields:,}, and "
                f"the header {width:,}. Give each column a name, and each blank cell its separator."
            )


def _quoted_row(
    path: Path, number: int, line: str, lines: Iterator[tuple[int, str]], separator: str
) -> list[str]:
    """The fields of a row with quotation marks: it takes the lines that it goes on in.

    Raises:
        ValueError: if a mark that does not begin or end a cell hides the end of a line, or a separator.
    """
    taken = [line]

    def take() -> Iterator[str]:
        yield _without_blanks(line, separator)
        for _, part in lines:
            taken.append(part)
            yield _without_blanks(part, separator)

    try:
        row = next(csv.reader(take(), delimiter=separator, skipinitialspace=True, strict=True))
        text = "\n".join(taken)
        if re.search(rf'[^{re.escape(separator)}"\n]"[^{re.escape(separator)}"\n]', text):
            _check_separators(text, separator)
    except csv.Error:
        raise ValueError(
            f"{path} has a quotation mark in line {number:,} that is never closed, or not at the end of "
            "its cell. Quote the whole cell, and write a mark within it twice."
        ) from None
    return row


def _without_blanks(line: str, separator: str) -> str:
    """A line without the blanks behind quoted cells."""
    return (re.sub(rf'" +(?={re.escape(separator)}|$)', '"', line) if '" ' in line else line) + "\n"


def _check_separators(text: str, separator: str) -> None:
    """Raise if text is quoted behind other text, as in 5"Rome, north": what it hides is taken for cells."""
    parts = [part.strip(" ") for part in text.split('"')]
    for before, inside, behind in zip(parts, parts[1:], parts[2:], strict=False):
        is_middle = bool(before) and not before.endswith((separator, "\n"))
        is_whole = separator in inside and inside.strip(separator) == inside
        if is_middle and is_whole and behind[:1] in ("", separator, "\n"):
            raise csv.Error


def _find_separator(text: str) -> str:
    """The separator with which most rows have as many fields as the header, and then the most fields.

    If all rows have, it is the first of SEPARATORS: "Doe, John" may be a cell of every row.
    """
    sample = text[:SAMPLE]
    lines = sample if len(sample) == len(text) else sample[: sample.rfind("\n") + 1]

    def agreement(separator: str) -> tuple[float, int]:
        rows = csv.reader(io.StringIO(lines), delimiter=separator, skipinitialspace=True)
        counts: list[int] = []
        with contextlib.suppress(csv.Error):  # a cell is too long
            for row in itertools.islice(rows, 200):
                counts += [len(row)] if len(row) > 1 or "".join(row).strip() else []
        if not counts or counts[0] < 2:
            return 0.0, 0
        share = sum(count == counts[0] for count in counts) / len(counts)
        return share, counts[0] if share < 1 else 0

    scores = {separator: agreement(separator) for separator in SEPARATORS}
    return max(SEPARATORS, key=scores.__getitem__) if any(map(any, scores.values())) else ","


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
            raise ValueError(
                f"{path} has two columns called {quoted(name)}. Give each column its own name."
            )
