"""From raw columns to features, by what the training rows say."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._types import Array, PyTree
from funcnet.data import _file
from funcnet.data._columns import Columns
from funcnet.data._dataset import Dataset, as_dataset


@dataclasses.dataclass(frozen=True)
class Encoder:
    """What raw columns become: one feature for a column of numbers, one for each category of a text.

    A gap gets the median of the training rows, or their most frequent category. A category that the
    training rows don't have becomes zeros. Numbers keep their units: a `Scaler` comes after.

    Args:
        names: of the columns.
        fill: for each column what stands in a gap: a number, or one of its categories.
        categories: for each column the words of the training rows, sorted; None for numbers.

    Raises:
        TypeError: from `transform`, for anything but the raw columns of a table.
        ValueError: from `transform`, for other columns than those it was fitted on.

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

    @staticmethod
    def fit(data: PyTree) -> "Encoder":
        """The encoder of some training rows.

        Args:
            data: a Dataset or tuple (columns, ...), or Columns alone. Rows of weight zero are left
                out; other weights change nothing.

        Returns:
            An Encoder.

        Raises:
            TypeError: if the data holds no raw columns.
            ValueError: if a column has a gap in every row.
        """
        data = as_dataset(data)
        columns = _columns(data[:])
        counts = np.asarray(data.weights()) > 0
        values = np.asarray(columns.values, np.float64)[counts]
        known = ~np.asarray(columns.missing)[counts]
        fill: list[float | str] = []
        categories: list[tuple[str, ...] | None] = []
        for j, (name, words) in enumerate(zip(columns.names, columns.categories, strict=True)):
            seen = values[known[:, j], j]
            if seen.size == 0:
                raise ValueError(f"column {name!r} is missing in every training row: drop it.")
            if words is None:
                fill.append(float(np.median(seen)))
                categories.append(None)
            else:
                number, count = np.unique(seen.astype(int), return_counts=True)
                fill.append(words[number[np.argmax(count)]])
                categories.append(tuple(words[i] for i in number))
        return Encoder(columns.names, tuple(fill), tuple(categories))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """A name for each feature: that of its column, and with a category `column=category`."""
        named = zip(self.names, self.categories, strict=True)
        return tuple(
            feature
            for name, words in named
            for feature in ([name] if words is None else [f"{name}={word}" for word in words])
        )

    @property
    def is_number(self) -> np.ndarray:
        """For each feature whether it is a number, and no category: booleans [features]."""
        return np.concatenate(
            [[True] if words is None else [False] * len(words) for words in self.categories]
        )

    def transform(self, data: Any) -> Any:
        """Features without gaps.

        Args:
            data: Columns [..., columns], or a Dataset or tuple that begins with them.

        Returns:
            Floats [..., features], or the same Dataset or tuple with them in the columns' place.

        Raises:
            TypeError: for anything but the raw columns of a table.
            ValueError: for other columns, or a column of words where there were numbers.
        """
        if isinstance(data, Dataset):
            return Dataset(self.transform(data.arrays), weight=data.weight, rows=data.rows)
        if isinstance(data, tuple):
            return (self.transform(data[0]), *data[1:])
        columns = _columns(data)
        if columns.names != self.names:
            raise ValueError(
                f"this Encoder was fitted on the columns {', '.join(self.names)}; "
                f"got {', '.join(columns.names)}."
            )
        for name, ours, theirs in zip(self.names, self.categories, columns.categories, strict=True):
            if (ours is None) != (theirs is None):
                raise ValueError(
                    f"column {name!r} held {_kind(ours)} when this Encoder was fitted, and holds "
                    f"{_kind(theirs)} here. Read new rows with encoder.read(path): it knows each "
                    "column's kind."
                )
        return jnp.concatenate([self._features(columns, j) for j in range(len(self.names))], axis=-1)

    def read(self, path: str | os.PathLike[str]) -> Columns:
        """The same columns of new rows.

        Args:
            path: a CSV or Parquet file that has them; other columns are ignored.

        Returns:
            Columns [rows, columns].

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if a column is missing, or one of numbers holds a word or an infinity.
        """
        frame = _file.selected(Path(path), self.names)
        is_text = [words is not None for words in self.categories]
        return _file.columns(frame, Path(path), is_text)

    def to_dict(self) -> dict[str, Any]:
        """Everything there is to it, as JSON can hold it: `json.dumps(encoder.to_dict())`."""
        return {
            "names": list(self.names),
            "fill": list(self.fill),
            "categories": [None if words is None else list(words) for words in self.categories],
        }

    @staticmethod
    def from_dict(state: Mapping[str, Any]) -> "Encoder":
        """The encoder that `to_dict` told of.

        Args:
            state: what `to_dict` gave, through JSON or not.

        Returns:
            An equal Encoder.

        Raises:
            KeyError: if a part is missing.
            ValueError: if the parts don't suit each other.
        """
        names, fill = tuple(state["names"]), tuple(state["fill"])
        categories = tuple(None if words is None else tuple(words) for words in state["categories"])
        for name, value, words in zip(names, fill, categories, strict=True):
            if not (isinstance(value, int | float) if words is None else value in words):
                raise ValueError(f"the encoder of column {name!r} fills gaps with {value!r}.")
        return Encoder(names, fill, categories)

    def _features(self, columns: Columns, j: int) -> Array:
        """The features of column j, [..., 1] or [..., categories]."""
        value, missing, words = (
            columns.values[..., j : j + 1],
            columns.missing[..., j : j + 1],
            self.categories[j],
        )
        if words is None:
            return jnp.where(missing, jnp.asarray(self.fill[j], value.dtype), value)
        # Categories are found by name: another file numbers them in another way. -1 is none's number.
        number = {word: i for i, word in enumerate(columns.categories[j] or ())}
        shape = (*value.shape[:-1], len(words))
        wanted = jnp.asarray([number.get(word, -1) for word in words], value.dtype)
        filled = jnp.asarray([word == self.fill[j] for word in words])
        value, missing, wanted, filled = (
            jnp.broadcast_to(a, shape) for a in (value, missing, wanted, filled)
        )
        return jnp.where(missing, filled, value == wanted).astype(value.dtype)


def _kind(words: tuple[str, ...] | None) -> str:
    return "numbers" if words is None else "words"


def _columns(data: Any) -> Columns:
    found = data[0] if isinstance(data, tuple | list) else data
    if not isinstance(found, Columns):
        raise TypeError(
            "an Encoder wants the raw columns of a table with text or gaps; got "
            f"{_check.describe(found)}. Of other tables x is an array of numbers already: fit a Scaler."
        )
    return found
