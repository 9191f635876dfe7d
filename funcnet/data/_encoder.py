"""Encode raw columns as features, by statistics of the training rows."""

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._types import PyTree
from funcnet.data import _file
from funcnet.data._columns import Columns, check_names, checked_columns
from funcnet.data._dataset import Dataset, host_arrays


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Encodes raw columns: one feature for each numeric column, and one for each category of a text column.

    A missing value is replaced by the median or the most frequent category of the training rows. A category
    that is not in the training rows becomes zeros. Numbers keep their units: apply a `Scaler` afterwards.

    Args:
        names: the names of the columns.
        fill: for each column the replacement of missing values: a number, or one of its categories.
        categories: for each column the strings in the training rows, sorted; None for numbers.

    Raises:
        TypeError: if an argument is not a tuple; from `transform`, if the data is not the raw columns of a
            table.
        ValueError: if the arguments don't have an entry for each column; from `transform`, if the columns
            are not those it was fitted on.

    Example:
        >>> import json, tempfile, pathlib, jax, funcnet as fn
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "rents.csv")
        ...     _ = path.write_text("area,city,rent\\n50,Oslo,9.5\\n,Rome,7.25\\n70,Rome,8\\n40,,5.5\\n")
        ...     table = fn.data.load(path)
        >>> train, test = fn.data.split(table.data, (3, 1), None)
        >>> encoder = fn.data.Encoder.fit(train)
        >>> encoder.feature_names
        ('area', 'city=Oslo', 'city=Rome')
        >>> encoder.transform(train)[:][0].tolist()
        [[50.0, 1.0, 0.0], [60.0, 0.0, 1.0], [70.0, 0.0, 1.0]]
        >>> encoder.transform(test)[:][0].tolist()
        [[40.0, 0.0, 1.0]]
        >>> fn.data.Encoder.from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder
        True
    """

    names: tuple[str, ...]
    fill: tuple[float | str, ...]
    categories: tuple[tuple[str, ...] | None, ...]

    def __post_init__(self) -> None:
        check_names(self.names, self.categories)
        if not isinstance(self.fill, tuple) or len(self.fill) != len(self.names):
            raise ValueError(
                f"fill must be a tuple of one value for each of the {len(self.names)} columns, got "
                f"{_check.describe(self.fill)}."
            )
        for name, value, strings in zip(self.names, self.fill, self.categories, strict=True):
            if strings is None:
                is_valid = isinstance(value, int | float) and not isinstance(value, bool)
                is_valid = is_valid and abs(value) <= sys.float_info.max  # type: ignore[arg-type]
            else:
                is_valid = isinstance(value, str) and value in strings
            if not is_valid:
                expected = "a finite number" if strings is None else f"one of {', '.join(strings)}"
                raise ValueError(
                    f"fill of column {name!r} must be {expected}, got {_check.describe(value)}."
                )

    @staticmethod
    def fit(data: PyTree) -> "Encoder":
        """Fit an encoder to training rows.

        Args:
            data: a Dataset or tuple (columns, ...), or Columns alone. Rows of weight zero are ignored;
                other weights have no effect.

        Returns:
            An Encoder.

        Raises:
            TypeError: if the data holds no raw columns.
            ValueError: if a column is missing in every row.
        """
        _check.concrete("Encoder.fit", data)
        columns = _raw_columns(host_arrays(data))
        rows = len(columns.values)
        counts = np.asarray(data.weights()) > 0 if isinstance(data, Dataset) else np.ones(rows, bool)
        values = np.asarray(columns.values, np.float64)[counts]
        present = ~np.asarray(columns.missing)[counts]
        fill: list[float | str] = []
        categories: list[tuple[str, ...] | None] = []
        for j, (name, strings) in enumerate(zip(columns.names, columns.categories, strict=True)):
            column = values[present[:, j], j]
            if column.size == 0:
                raise ValueError(f"column {name!r} is missing in every training row: drop it.")
            if strings is None:
                fill.append(float(np.median(column)))
                categories.append(None)
            else:
                number, count = np.unique(column.astype(int), return_counts=True)
                fill.append(strings[number[np.argmax(count)]])
                categories.append(tuple(strings[i] for i in number))
        return Encoder(columns.names, tuple(fill), tuple(categories))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """A name for each feature: its column's, or `column=category` for a category."""
        columns = zip(self.names, self.categories, strict=True)
        return tuple(
            feature
            for name, strings in columns
            for feature in ([name] if strings is None else [f"{name}={string}" for string in strings])
        )

    @property
    def is_number(self) -> np.ndarray:
        """Whether each feature is a number rather than a category: booleans [features]."""
        return np.concatenate(
            [[True] if strings is None else [False] * len(strings) for strings in self.categories]
        )

    def transform(self, data: Any) -> Any:
        """Encode columns as features without missing values.

        Args:
            data: Columns [..., columns], or a Dataset or tuple that begins with them.

        Returns:
            Floats [..., features], or the same Dataset or tuple with the columns replaced by them. The raw
            columns of a file become float64 of NumPy's, whose digits a `Scaler` needs.

        Raises:
            TypeError: if the data is not the raw columns of a table.
            ValueError: if the columns differ, or a numeric column now holds text.
        """
        if isinstance(data, Dataset):
            return Dataset(self.transform(data.arrays), weight=data.weight, rows=data.rows)
        if isinstance(data, tuple) and data:
            return (self.transform(data[0]), *data[1:])
        columns = _raw_columns(data)
        if columns.names != self.names:
            raise ValueError(
                f"this Encoder was fitted on the columns {', '.join(self.names)}, "
                f"got {', '.join(columns.names)}. Read new rows with encoder.read(path)."
            )
        for name, ours, theirs in zip(self.names, self.categories, columns.categories, strict=True):
            if (ours is None) != (theirs is None):
                raise ValueError(
                    f"column {name!r} must hold {_kind(ours)}, as when this Encoder was fitted, got "
                    f"{_kind(theirs)}. Read new rows with encoder.read(path), which knows the kind of each "
                    "column."
                )
        features = [self._features(columns, j) for j in range(len(self.names))]
        return _module_of(columns.values).concatenate(features, axis=-1)

    def read(self, path: str | os.PathLike[str]) -> Columns:
        """Read the same columns of new rows.

        Args:
            path: a CSV or Parquet file with these columns; others are ignored.

        Returns:
            Columns [rows, columns].

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if a column is missing, or a numeric column holds text or an infinity.
        """
        _check.path("path", path)
        frame = _file.read_columns(Path(path), self.names)
        is_text = [strings is not None for strings in self.categories]
        return _file.columns(frame, Path(path), is_text)

    def to_dict(self) -> dict[str, Any]:
        """The encoder as a dictionary that JSON can hold: `json.dumps(encoder.to_dict())`."""
        return {
            "names": list(self.names),
            "fill": list(self.fill),
            "categories": [None if strings is None else list(strings) for strings in self.categories],
        }

    @staticmethod
    def from_dict(state: Mapping[str, Any]) -> "Encoder":
        """Build an encoder from the dictionary of `to_dict`.

        Args:
            state: as returned by `to_dict`, possibly through JSON.

        Returns:
            An equal Encoder.

        Raises:
            TypeError: if `state` is not a dictionary, or an entry not a list.
            ValueError: if an entry is missing, or the entries don't match each other.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a dictionary of Encoder.to_dict, got {_check.describe(state)}.")
        entries = []
        for name in ("names", "fill", "categories"):
            if name not in state:
                raise ValueError(
                    f"state must be a dictionary of Encoder.to_dict, got one without {name!r}."
                )
            if not isinstance(state[name], list | tuple):
                raise TypeError(
                    f"state must be a dictionary of Encoder.to_dict, with lists, got "
                    f"{_check.describe(state[name])} for {name!r}."
                )
            entries.append(tuple(state[name]))
        names, fill, categories = entries
        categories = tuple(tuple(c) if isinstance(c, list) else c for c in categories)
        try:
            return Encoder(names, fill, categories)
        except (TypeError, ValueError) as error:
            raise type(error)(f"state must be a dictionary of Encoder.to_dict, but its {error}") from None

    def _features(self, columns: Columns, j: int) -> Any:
        """The features of column j, [..., 1] or [..., categories]."""
        value, missing = columns.values[..., j : j + 1], columns.missing[..., j : j + 1]
        strings, np_or_jnp = self.categories[j], _module_of(columns.values)
        if strings is None:
            return np_or_jnp.where(missing, np_or_jnp.asarray(self.fill[j], value.dtype), value)
        # Categories are matched by name: another file may number them differently. No category is -1.
        number = {string: i for i, string in enumerate(columns.categories[j] or ())}
        shape = (*value.shape[:-1], len(strings))
        numbers = np_or_jnp.asarray([number.get(string, -1) for string in strings], value.dtype)
        is_fill = np_or_jnp.asarray([string == self.fill[j] for string in strings])
        value, missing, numbers, is_fill = (
            np_or_jnp.broadcast_to(a, shape) for a in (value, missing, numbers, is_fill)
        )
        return np_or_jnp.where(missing, is_fill, value == numbers).astype(value.dtype)


def _module_of(values: Any) -> Any:
    """NumPy, which keeps all digits, for an array of NumPy; else jax.numpy."""
    return np if isinstance(values, np.ndarray) else jnp


def _kind(strings: tuple[str, ...] | None) -> str:
    return "numbers" if strings is None else "text"


def _raw_columns(data: Any) -> Columns:
    columns = data[0] if isinstance(data, tuple | list) and data else data
    if not isinstance(columns, Columns):
        raise TypeError(
            "data of an Encoder must be the raw columns of a table with text or missing values, got "
            f"{_check.describe(columns)}. If x is an array of numbers, use a Scaler: Scaler.fit(train)."
        )
    return checked_columns(columns)
