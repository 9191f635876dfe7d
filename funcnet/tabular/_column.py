"""One column of a table: how it is read, and what that makes of its values."""

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from funcnet import _files
from funcnet._text import quoted
from funcnet.data import _parse
from funcnet.tabular._frame import RawColumn, to_text

Role = Literal["number", "category", "boolean", "date", "dropped"]
ROLES = ("number", "category", "boolean", "date", "dropped")

DATE_PARTS = ("days", "year", "month", "day", "weekday", "hour")
"""Days since 1970 with fractions, year, month 1 .. 12, day 1 .. 31, weekday 0 .. 6 from Monday, hour of the
day with fractions."""

YES = frozenset(("true", "t", "yes", "y", "on", "1"))
NO = frozenset(("false", "f", "no", "n", "off", "0"))

FIELDS = {
    **{"name": str, "role": str, "read_as": str, "missing": int, "why": str},
    **{"categories": [str], "parts": [str], "words": [str]},
}


DECIMAL = re.compile(r"-?(0|[1-9]\d{0,14})\.\d{1,15}", re.ASCII)
"""A number in the notation of Python."""

LARGEST = 1e300
"""The largest number in a column: differences of two are within float64, and 1.8e308 often marks a gap."""


@dataclasses.dataclass(frozen=True)
class Column:
    """How a column of a table is read.

    Args:
        name: its name.
        role: "number", "category", "boolean", "date" or "dropped".
        read_as: how its values are written: "number", "1.234,5 €", "day.month.year", "yes / no", "text", …
        missing: number of training rows in which it is missing.
        why: the reason for what is not obvious, such as why it is dropped; empty if there is none.
        categories: of a category: its values as text, in the order of their codes. Of a column that is
            dropped because it is constant: its value as text.
        parts: of a date: the parts that differ in the training rows, each a feature.
        words: of numbers and dates: the words among them that count as missing.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> column = fn.tabular.Schema.fit(np.array([["red"], ["blue"], ["red"]])).columns[0]
        >>> column.role, column.categories
        ('category', ('blue', 'red'))
    """

    name: str
    role: Role
    read_as: str
    missing: int = 0
    why: str = ""
    categories: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    @property
    def number_names(self) -> tuple[str, ...]:
        """The names of its columns of numbers."""
        if self.role == "date":
            return tuple(f"{self.name}.{part}" for part in self.parts)
        return (self.name,) if self.role in ("number", "boolean") else ()

    def numbers(self, raw: RawColumn) -> np.ndarray:
        """The values of a number, a boolean or a date: float64 [rows, numbers], NaN in a gap."""
        if self.role == "date":
            return date_parts(dates(self, raw), self.parts)
        values = booleans(self, raw) if self.role == "boolean" else numbers(self, raw)
        if np.isinf(values).any():
            raise ValueError(
                f"Input X contains infinity: column {self.name!r} must hold finite numbers, NaN where one "
                f"is missing, got an infinity in row {int(np.flatnonzero(np.isinf(values))[0])}."
            )
        is_too_large = np.abs(values) > LARGEST
        if is_too_large.any():
            row = int(np.flatnonzero(is_too_large)[0])
            raise ValueError(
                f"column {self.name!r} must hold numbers up to {LARGEST:.0e}, NaN where one is missing, "
                f"got {values[row]:.3g} in row {row}."
            )
        return values[:, None]

    def codes(self, raw: RawColumn) -> np.ndarray:
        """The code of each row of a category: int32 [rows], -1 for a gap or an unknown category."""
        code = {text: i for i, text in enumerate(self.categories)}
        for text, i in code.copy().items():  # 1.50 in a file is 1.5 once it is read as a number
            code.setdefault(_shortest(text), i)
        if raw.kind == "boolean":  # a file with only TRUE and FALSE is read as booleans
            folded = {text.casefold(): i for text, i in reversed(code.items())}
            code = {
                text: folded[text.casefold()] for text in ("True", "False") if text.casefold() in folded
            }
        texts = raw.texts()
        for text in set(texts) - {None} - set(code):
            code[text] = code.get(_shortest(text), -1)
        return np.array([-1 if text is None else code[text] for text in texts], np.int32)

    def to_dict(self) -> dict[str, Any]:
        """The column as a dictionary that JSON can hold."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @staticmethod
    def from_dict(state: Mapping[str, Any]) -> "Column":
        """Build a column from the dictionary of `to_dict`."""
        if not _files.has_kind(state, FIELDS) or state["role"] not in ROLES:
            raise ValueError(f"a column of a schema must have the fields {', '.join(FIELDS)}.")
        if not set(state["parts"]) <= set(DATE_PARTS):
            raise ValueError(f"the parts of a date must be among {', '.join(DATE_PARTS)}.")
        values = {name: tuple(v) if isinstance(v := state[name], list) else v for name in FIELDS}
        return Column(**values)  # type: ignore[arg-type]


def unknown(column: Column, raw: RawColumn) -> dict[str, int]:
    """The number of rows by value, for values that are not among the categories; gaps are not counted."""
    pairs = zip(raw.texts(), column.codes(raw), strict=True)
    texts = (text for text, code in pairs if code < 0 and text is not None)
    return dict(collections.Counter(text for text in texts if text not in column.words))


def other_values(column: Column, raw: RawColumn) -> dict[str, int]:
    """The number of rows by value, for other values than that of a column that was dropped as constant.

    Values are compared as they are read, not as they are written: 5 € is 5.00 €. Gaps are not counted.
    """
    if column.read_as == "text":
        return unknown(column, raw)
    same = {_read(column, text) for text in column.categories}
    gaps = {_read(column, word) for word in column.words}
    others = {}
    for text, rows in collections.Counter(raw.texts()).items():
        if text is None or text in column.words or _parse.is_missing(text):
            continue
        value = _read(column, text)
        if value not in same and (value is None or value not in gaps):
            others[text] = rows
    return others


def _read(column: Column, text: str) -> Any:
    """A number, a date or a boolean by the notation of its column; None if it is something else."""
    if column.parts:
        return _parse.parse_date(text, column.read_as) or _parse.parse_date(text, _parse.YEAR_FIRST)
    if " / " in column.read_as:
        (value,) = booleans(column, RawColumn(column.name, "text", np.array([text], object)))
        return None if np.isnan(value) else bool(value)
    number = _parse.parse_number(text, column.read_as)
    if number is None:
        number = {"True": 1.0, "False": 0.0}.get(text, next(iter(_parse.plain_numbers([text])), None))
    if number is None or number.is_integer():
        return number
    return float(f"{number:.7g}")  # a table in float32 holds 0.1 as another number


def numbers(column: Column, raw: RawColumn) -> np.ndarray:
    """The numbers of a raw column, float64 [rows], NaN in a gap."""
    # "1.0" among 1,0 and 2,5 is a word, and no reason to lose all that are 1.
    gaps = [word for word in column.words if _is_number_as(word, column.read_as)]
    if raw.kind in ("number", "boolean"):
        values = without(raw.values, gaps)
        _check_factor(column, values)
        return values
    if raw.kind == "date":
        raise ValueError(f"column {column.name!r} must hold numbers, as in the training rows, got dates.")

    def parse(text: str) -> float | None:
        return _parse.parse_number(text, column.read_as)

    return without(_parse_texts(column, raw, parse, "numbers", np.dtype(np.float64)), gaps)


def _check_factor(column: Column, values: np.ndarray) -> None:
    """Raise a ValueError if plain numbers may be in another unit than in training: 0.12 may be 12 %."""
    if _parse.units(column.read_as)[1] not in _parse.FACTORS:
        return
    rows = np.flatnonzero(~np.isnan(values) & (values != 0))
    if len(rows):
        raise ValueError(
            f"column {column.name!r} must be written as in the training rows, as {column.read_as}, got the "
            f"plain number {values[rows[0]]:.6g} in row {rows[0]}. Write its unit, as text."
        )


def _is_number_as(word: str, read_as: str) -> bool:
    """Whether Python reads a word as the number that it is in the notation of a column, or as infinite."""
    return any(
        not np.isfinite(v) or v == _parse.parse_number(word, read_as) for v in _parse.plain_numbers([word])
    )


def without(values: np.ndarray, words: Iterable[str]) -> np.ndarray:
    """Numbers with NaN for those that mean a gap, such as the word "-999"."""
    gaps = _parse.plain_numbers(words)
    return np.where(np.isin(values, gaps), np.nan, values) if gaps else values


def _shortest(text: str) -> str:
    """A decimal number without zeros at its end; other text, codes such as 00501 included, as it is."""
    return to_text(float(text)) if DECIMAL.fullmatch(text) else text


def dates(column: Column, raw: RawColumn) -> np.ndarray:
    """The dates of a raw column, datetime64[us] [rows], NaT in a gap."""
    if raw.kind == "date":
        return raw.values
    if raw.kind not in ("text", "category") and not raw.gaps.all():
        raise ValueError(
            f"column {column.name!r} must hold dates, as in the training rows, got {raw.kind}s."
        )
    read_as = column.read_as if column.read_as != "date" else _parse.YEAR_FIRST

    def parse(text: str) -> Any:
        return _parse.parse_date(text, read_as)

    return _parse_texts(column, raw, parse, "dates", np.dtype("datetime64[us]"))


def booleans(column: Column, raw: RawColumn) -> np.ndarray:
    """1, 0, or NaN for a gap and any other word, float64 [rows]."""
    if raw.kind == "boolean":
        return raw.values
    words = [word.casefold() for word in column.read_as.split(" / ")]
    yes, no = ({words[0]}, {words[1]}) if len(words) == 2 else (set(), set())
    values = {None: np.nan}
    for text in set(raw.texts()) - {None}:
        folded = text.casefold()
        is_yes, is_no = folded in yes | (YES - no), folded in no | (NO - yes)
        values[text] = 1.0 if is_yes else 0.0 if is_no else np.nan
    return np.array([values[text] for text in raw.texts()])


def date_parts(values: np.ndarray, parts: tuple[str, ...] = DATE_PARTS) -> np.ndarray:
    """The parts of dates: float64 [rows, parts], NaN for NaT."""
    day, month = values.astype("datetime64[D]"), values.astype("datetime64[M]")
    days = values.astype(np.int64) / 86_400e6
    number = day.astype(np.int64)
    found = {
        "days": days,
        "year": month.astype("datetime64[Y]").astype(np.int64) + 1970.0,
        "month": month.astype(np.int64) % 12 + 1.0,
        "day": (day - month.astype("datetime64[D]")).astype(np.int64) + 1.0,
        "weekday": (number + 3) % 7 + 0.0,
        "hour": (values.astype(np.int64) - number * 86_400_000_000) / 3_600e6,  # exact: days are rounded
    }
    columns = [np.where(np.isnat(values), np.nan, found[part]) for part in parts]
    return np.stack(columns, axis=1) if columns else np.zeros((len(values), 0))


def _parse_texts(column: Column, raw: RawColumn, parse: Any, what: str, dtype: np.dtype) -> np.ndarray:
    texts = raw.texts()
    known: dict[str | None, Any] = {None: None}
    for text in set(texts) - {None}:
        known[text] = value = None if text in column.words else parse(text)
        if value is None and text not in column.words and not _parse.is_missing(text):
            row = int(np.flatnonzero(texts == text)[0])
            raise ValueError(
                f"column {column.name!r} must hold {what}, as in the training rows, got {quoted(text)} in "
                f"row {row}. Leave it blank where it is missing."
            )
    gap = np.array("NaT" if dtype.kind == "M" else np.nan, dtype)[()]
    values = {text: gap if value is None else value for text, value in known.items()}
    return np.array([values[text] for text in texts], dtype)
