"""The target of a table from a file: classes, or numbers as people write them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from funcnet import _check
from funcnet._text import quoted
from funcnet.data import _parse
from funcnet.data._file import number_column
from funcnet.data._parse import is_number
from funcnet.data._text_file import DECIMAL

MAX_CLASSES = 20
DAYS = "Try the days since some date, or the year."


class Target(NamedTuple):
    """A target as it is read.

    Args:
        values: class numbers, or float64, [rows].
        classes: the names of the classes; empty for numbers.
        is_known: whether each row has one, bool [rows].
        why: why it is read so.
        read_as: how its numbers are written: "number", "1.234,5 €", …; "text" for classes.
    """

    values: np.ndarray
    classes: tuple[str, ...]
    is_known: np.ndarray
    why: str
    read_as: str


def read_target(
    column: Any, task: str | None, path: Path, missing: Sequence[str] = (), *, min_classes: int = 2
) -> Target:
    """Read a target as classes, or as numbers.

    Args:
        column: of pandas; gaps are rows without a target.
        task: "classification", "regression", or None: then text, booleans, and at most 20 different
            integers that count from 0 or 1 are classes.
        path: of the table, for errors.
        missing: words, or numbers as text, that mean that the target is missing.
        min_classes: the least number of classes.

    Raises:
        ValueError: if there is no target, too few classes, or text among numbers.
    """
    import pandas

    what = f"the target {column.name!r}"
    present = ~column.isna().to_numpy()
    values, why, read_as = column, "it holds text", "number"
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
            numbers, read_as = parsed
            values = numbers.reindex(column.index)
            gaps = values.isna() | values.isin(_parse.plain_numbers(missing))  # -999.0 is -999, too
            present, why = ~gaps.to_numpy(), ""
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
        target[present] = number_column(values[present].rename(column.name), path.stem, advice)
        return Target(target, (), present, why, read_as)
    classes, codes = np.unique(np.asarray(values[present]), return_inverse=True)
    if len(classes) < min_classes:
        raise ValueError(
            f"{path}: {what} must have at least two classes, got only {quoted(str(classes[0]))}."
        )
    target = np.zeros(len(column), np.int32)
    target[present] = codes
    return Target(target, tuple(map(_class_name, classes.tolist())), present, why, "text")


def _example(column: Any, values: Any) -> str:
    """How a number is read that Python would not read, or would read as another one."""
    for text, value in zip(column, values, strict=True):
        if isinstance(text, str) and not (is_number(text) and float(text) == value):
            return f", {quoted(text.strip())} is {value:.10g}"
    return ""


def _class_name(value: Any) -> str:
    """Gaps in a file make 1.0 of 1."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _parse_numbers(
    texts: Any, counts: Mapping[str, int], what: str, path: Path, comma_first: bool
) -> tuple[Any, str] | None:
    """Texts as numbers, with NaN for words such as NA, and how they are written; None if others are among
    them.

    Raises:
        ValueError: if a few words are among so many numbers that they can't be classes.
    """
    plain = {text: count for text, count in counts.items() if not _parse.is_missing(text)}
    if not plain or (read_as := _parse.number_format(plain, comma_first)) is None:
        return None
    numbers = {text: _parse.parse_number(text, read_as) for text in plain}
    words = [text for text, number in numbers.items() if number is None]
    if not words:
        return texts.map(numbers).astype(float), read_as
    if len(numbers) - len(words) > max(MAX_CLASSES, 5 * len(words)):
        row = texts.index[texts == words[0]][0] + 1
        raise ValueError(
            f"{path}: {what} must hold numbers or classes, got {len(numbers) - len(words)} different "
            f"numbers, and {quoted(words[0])} in data row {row}. Leave it blank where it is not known, or "
            "choose the task: classification."
        )
    return None


def _counts_from(values: np.ndarray) -> str | None:
    """Why numbers are classes: few integers that count from 0 or 1. None if they are not."""
    distinct = np.unique(values)
    if len(distinct) > MAX_CLASSES or distinct[0] not in (0, 1) or (np.diff(distinct) != 1).any():
        return None
    return f"it holds the integers from {distinct[0]:.0f} to {distinct[-1]:.0f}"
