"""Rows by the names of their columns: frames, dictionaries of columns, and lists of dictionaries."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from funcnet import _check
from funcnet.data import _file


def named_rows(rows: Any) -> Any:
    """Dictionaries as a frame of pandas: one of columns or of the values of one row, or a list of rows.

    In a list, what a row does not name is a gap. Anything else is returned as it is.
    """
    if isinstance(rows, Mapping) and not hasattr(rows, "shape"):  # some sparse arrays are dictionaries
        columns = {name: _to_column(values) for name, values in rows.items()}
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"all columns must have the same number of rows, got {lengths}.")
        return _file.to_frame(columns)
    if isinstance(rows, list | tuple) and rows and all(isinstance(row, Mapping) for row in rows):
        return _file.to_frame(list(rows))
    return rows


def encode_by_name(rows: Any, names: Sequence[str], target: str | None, task: str | None) -> np.ndarray:
    """The named columns of new rows as float64 [rows, columns]; those of an array are found by place."""
    what, advice = "the new rows", _file.advice(task)
    rows = named_rows(rows)
    if not hasattr(rows, "columns"):
        values = np.asarray(_check.array("rows", rows))
        if values.ndim != 2 or values.shape[1] != len(names):
            raise ValueError(
                f"rows must have shape [n, {len(names)}], one column for each feature, got {values.shape}."
            )
        values = _check.to_float64("rows", values)
        for name, column in zip(names, values.T, strict=True):
            _file.number_column(_file.to_frame({name: column})[name], what, advice)
        return values
    given, expected = [str(name).strip() for name in rows.columns], _file.join_names(names)
    if twice := [name for name in given if given.count(name) > 1]:
        raise ValueError(f"rows must have a different name for each column, got {twice[0]!r} twice.")
    if missing := [name for name in names if name not in given]:
        raise ValueError(
            f"rows must have the columns {expected}; got none called {_file.join_names(missing)}."
        )
    if more := [str(name) for name in given if name not in names and name != target]:
        raise ValueError(
            f"rows must have only the columns {expected}; got {_file.join_names(more)} as well."
        )
    columns = dict(zip(given, rows.columns, strict=True))
    return _file.numbers(_file.to_frame({n: _to_column(rows[columns[n]]) for n in names}), what, advice)


def _to_column(values: Any) -> Any:
    """Values [rows] without an index, by which pandas would align them; one value is one row."""
    if isinstance(values, list | tuple):
        return list(values)
    if hasattr(values, "to_numpy"):
        return _file.to_column(values)
    values = np.asarray(values)
    return values if values.ndim else values[None]
