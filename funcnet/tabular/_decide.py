"""Decide how a column of the training rows is read, and say why."""

import collections
import dataclasses
import re
from collections.abc import Collection, Mapping

import numpy as np

from funcnet._text import quoted
from funcnet.data import _parse
from funcnet.tabular import _column
from funcnet.tabular._column import DATE_PARTS, NO, ROLES, YES, Column, Role
from funcnet.tabular._frame import RawColumn, is_none

__all__ = ["ROLES", "column"]

INDEX_NAMES = re.compile(
    r"|unnamed: \d+|index|(row|record|case|obs)?[ _.]?(id|nr|no|number|names?)|row|obs|#", re.IGNORECASE
)
"""Names of a column of row numbers; the first is empty."""

INTEGER = re.compile(r"-?\d+", re.ASCII)


def column(
    raw: RawColumn,
    role: str | None,
    missing: frozenset[str],
    dayfirst: bool | None,
    comma_first: bool = False,
    *,
    may_be_index: bool,
    may_drop: bool,
) -> Column:
    """How a column is read.

    Args:
        raw: the column of the training rows.
        role: its role, if the user has chosen it.
        missing: words that count as missing.
        dayfirst: whether the day comes first in dates in which that can't be seen.
        comma_first: whether the comma is decimal in 1,234, if the column does not show it.
        may_be_index: whether it can be a column of row numbers, if it has the name of one.
        may_drop: whether a constant number can be dropped; the columns of an array are all kept.
    """
    if missing and raw.kind in ("text", "category"):
        values = [None if isinstance(v, str) and v.strip() in missing else v for v in raw.values]
        raw = RawColumn(raw.name, raw.kind, np.array([*values, None], object)[:-1])
    elif raw.kind == "number":
        raw = RawColumn(raw.name, raw.kind, _column.without(raw.values, missing), raw.whole)
    if role is not None:
        decided = _read_as_role(raw, role, dayfirst, comma_first)  # type: ignore[arg-type]
        return dataclasses.replace(decided, why="chosen by the user", words=_with(decided.words, missing))
    gaps = int(_gaps(raw).sum())
    if gaps == len(raw.values) and may_drop:
        return Column(raw.name, "dropped", raw.kind, gaps, "it is empty")
    if raw.kind == "date":
        decided = _date(raw, "date")
    elif raw.kind == "boolean":
        decided = Column(raw.name, "boolean", "true / false", gaps)
    elif raw.kind == "number":
        decided = Column(raw.name, "number", "number", gaps)
    elif raw.kind == "category":
        decided = _category(raw)
    else:
        decided = _text(raw, dayfirst, comma_first)
    has_name_of_index = INDEX_NAMES.fullmatch(raw.name.strip()) is not None
    if may_be_index and has_name_of_index and _are_row_numbers(decided, raw):
        return Column(raw.name, "dropped", decided.read_as, gaps, "it numbers the rows")
    decided = dataclasses.replace(decided, words=_with(decided.words, missing))
    if may_drop and decided.role != "dropped" and decided.missing == 0 and _is_constant(decided, raw):
        value = tuple(sorted(set(raw.texts())))  # a number or a date may be written in several ways
        why = "it has the same value in every row"
        return dataclasses.replace(decided, role="dropped", why=why, categories=value)
    return decided


def _gaps(raw: RawColumn) -> np.ndarray:
    """Whether each row is a gap; a text of blanks is one."""
    return is_none(raw.texts()) if raw.kind in ("text", "category") else raw.gaps


def _text(raw: RawColumn, dayfirst: bool | None, comma_first: bool) -> Column:
    counts = collections.Counter(text for text in raw.texts() if text is not None)
    gaps = len(raw.values) - sum(counts.values())
    if not counts:
        return Column(raw.name, "category", "text", gaps)
    plain = {text: n for text, n in counts.items() if not _parse.is_missing(text)}
    if plain and (read_as := _parse.number_format(plain, comma_first)) is not None:
        words = {text: n for text, n in plain.items() if _parse.parse_number(text, read_as) is None}
        if _are_numbers(plain, words) and not _become_equal(plain):
            return _number(raw, read_as, {**words, **{t: n for t, n in counts.items() if t not in plain}})
    if plain and (read_as := _parse.date_format(raw.name, plain, dayfirst)) is not None:
        return _date(raw, read_as)
    if len(counts) == 2 and (pair := _pair(counts)) is not None:
        return Column(raw.name, "boolean", " / ".join(pair), gaps)
    return _drop_names(_category(raw), counts)


def _are_numbers(texts: Mapping[str, int], words: Mapping[str, int]) -> bool:
    """Whether a column with these words among its numbers is one of numbers."""
    rows = sum(texts.values())
    with_digits = sum(n for word, n in words.items() if any(c.isdigit() for c in word))
    distinct = len(texts) - len(words)
    few_words = len(words) <= max(3, 0.02 * len(texts)) and sum(words.values()) <= 0.2 * rows
    return (
        not words
        or (few_words and distinct >= 5 * len(words) and with_digits <= max(1, 0.02 * rows))
        or (
            # One odd value in a column of numbers is a mistake, however short the column.
            sum(words.values()) == 1 and distinct >= 5
        )
    )


def _become_equal(texts: Collection[str]) -> bool:
    """Whether different integers are the same number of float64: they name things."""
    long = [text for text in texts if len(text) > 15 and INTEGER.fullmatch(text)]
    return len(set(map(float, long))) < len(long)


def _number(raw: RawColumn, read_as: str, words: Mapping[str, int]) -> Column:
    decided = Column(raw.name, "number", read_as, words=tuple(sorted(words)))
    gaps = int(np.isnan(_column.numbers(decided, raw)).sum())
    why = ""
    if words:
        most = max(words, key=lambda word: words[word])
        rows = sum(words.values())
        more = " and other words" if len(words) > 1 else ""
        why = f"numbers; {quoted(most)}{more} in {rows} rows count as missing"
    return dataclasses.replace(decided, missing=gaps, why=why)


def _date(raw: RawColumn, read_as: str) -> Column:
    words: tuple[str, ...] = ()
    if raw.kind != "date":
        texts = set(raw.texts()) - {None}
        words = tuple(sorted(text for text in texts if _parse.parse_date(text, read_as) is None))
    decided = Column(raw.name, "date", read_as, words=words)
    values = _column.dates(decided, raw)
    parts = _column.date_parts(values)
    gaps = int(np.isnat(values).sum())
    varied = [len(np.unique(part[~np.isnan(part)])) > 1 for part in parts.T]
    why = f"dates; {quoted(words[0])} counts as missing" if words else ""
    kept = tuple(part for part, varies in zip(DATE_PARTS, varied, strict=True) if varies)
    return dataclasses.replace(decided, missing=gaps, parts=kept or DATE_PARTS[:1], why=why)


def _category(raw: RawColumn) -> Column:
    texts = raw.texts()
    gaps = is_none(texts)
    categories = tuple(sorted(set(texts[~gaps])))
    return Column(raw.name, "category", "text", int(gaps.sum()), categories=categories)


def _drop_names(category: Column, counts: Mapping[str, int]) -> Column:
    """The category, or a dropped column if its text is a name of the row."""
    rows, distinct = sum(counts.values()), len(counts)
    reason = ""
    if distinct == rows and rows > 2:
        reason = f"it names the row: all {rows:,} values differ"
    elif distinct > max(10, rows // 2):
        reason = f"it is free text: {distinct:,} different values in {rows:,} rows"
    if not reason:
        why = "its codes begin with zeros" if any(_parse.CODE.fullmatch(text) for text in counts) else ""
        return dataclasses.replace(category, why=why)
    return Column(category.name, "dropped", "text", category.missing, reason)


def _pair(counts: Mapping[str, int]) -> tuple[str, str] | None:
    """The words for true and false, if a column holds just these."""
    first, second = counts
    if first.casefold() in NO and second.casefold() in YES:
        first, second = second, first
    pairs = (("true", "false"), ("t", "f"), ("yes", "no"), ("y", "n"), ("on", "off"))
    return (first, second) if (first.casefold(), second.casefold()) in pairs else None


def _are_row_numbers(decided: Column, raw: RawColumn) -> bool:
    """Whether all values are integers, and all different: of some rows they need not be consecutive."""
    if decided.role != "number" or decided.missing or len(raw.values) < 10:
        return False
    values = decided.numbers(raw)[:, 0]
    return bool((values == values.round()).all()) and len(np.unique(values)) == len(values)


def _is_constant(decided: Column, raw: RawColumn) -> bool:
    if decided.role == "category":
        return len(decided.categories) == 1
    if decided.role == "date":
        return len(np.unique(_column.dates(decided, raw))) == 1
    return len(np.unique(decided.numbers(raw))) == 1


def _read_as_role(raw: RawColumn, role: Role, dayfirst: bool | None, comma_first: bool) -> Column:
    gaps = int(raw.gaps.sum())
    if role == "dropped":
        return Column(raw.name, "dropped", raw.kind, gaps)
    if role == "category":
        return _category(raw)
    texts = (
        collections.Counter(t for t in raw.texts() if t is not None)
        if raw.kind in ("text", "category")
        else {}
    )
    if role == "boolean":
        pair = _pair(texts) if len(texts) == 2 else None
        decided = Column(raw.name, "boolean", " / ".join(pair or ("true", "false")))
        return dataclasses.replace(decided, missing=int(np.isnan(_column.booleans(decided, raw)).sum()))
    plain = {text: n for text, n in texts.items() if not _parse.is_missing(text)}
    if role == "date":
        read_as = _parse.date_format(raw.name, plain, dayfirst) if plain else "date"
        if read_as is None or (raw.kind != "date" and not texts):
            raise ValueError(f"column {raw.name!r} must hold dates for the role 'date', got {raw.kind}s.")
        return _date(raw, read_as)
    if raw.kind in ("number", "boolean"):
        return Column(raw.name, "number", "number", gaps)
    if raw.kind == "date":
        raise ValueError(f"column {raw.name!r} must hold numbers for the role 'number', got dates.")
    # Codes such as 00501 are numbers if the user says so.
    stripped = {text.lstrip("0") or "0": n for text, n in plain.items()}
    read_as = _parse.number_format(stripped, comma_first) or _parse.DECIMAL_POINT
    words = {text: n for text, n in texts.items() if _parse.parse_number(text, read_as) is None}
    if texts and len(words) == len(texts):
        raise ValueError(
            f"column {raw.name!r} must hold numbers for the role 'number', got text such as "
            f"{quoted(next(iter(texts)))}."
        )
    return _number(raw, read_as, words)


def _with(words: tuple[str, ...], more: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted({*words, *more}))
