"""From numbers with gaps and codes of categories to the arrays a network takes."""

import dataclasses
from typing import NamedTuple

import numpy as np

from funcnet.tabular._features import Features
from funcnet.tabular._network import Columns

CHUNK = 2**14
"""Rows that are transformed at once."""
ANY_SIZE = 2**31
"""`max_one_hot` where categories of any size are one-hot encoded, since the network embeds none."""
SMALLEST = 1e-300
"""The smallest spread that a column is divided by: the inverse of a smaller one is infinite."""


class Inputs(NamedTuple):
    """The inputs of a network: numbers to embed, other columns, and rows of the embedding table."""

    numbers: np.ndarray
    others: np.ndarray
    codes: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Preprocessing:
    """How the features of a table become the inputs of a network, fitted on the training rows.

    Numbers are centred by the median, scaled by the interquartile range and softly clipped to ±3. Where
    that range is zero, as for a count that is mostly 0, the scale is twice the median distance of the other
    values; by the whole range, as is usual, they would be too small to be told apart. Columns with two
    values become -1 and 1, with gaps as 0. A column of numbers that had gaps adds one that marks them, and
    a gap counts as the median. Categories with up to 9 values become one-hot columns, all zero for an
    unknown one; of two values it is one column of -1 and 1. Larger ones become rows of an embedding table,
    the first of each column for the unknown.

    Args:
        centers: float64 [numbers].
        scales: float64 [numbers]: what a centred number is multiplied with.
        is_binary: bool [numbers]: columns with at most two values.
        has_gaps: bool [numbers]: columns with gaps in training.
        sizes: the number of categories of each column of codes.
        max_one_hot: categories of up to this many values are one-hot encoded, larger ones embedded.
        keeps_single: whether a category of one value is a column, which tells it from a gap. It was not in
            models that were saved before.

    Source:
        Holzmüller, Grinsztajn, Steinwart, "Better by default: strong pre-tuned MLPs and boosted trees on
        tabular data", 2024.
    """

    centers: np.ndarray
    scales: np.ndarray
    is_binary: np.ndarray
    has_gaps: np.ndarray
    sizes: tuple[int, ...]
    max_one_hot: int = 9
    keeps_single: bool = False

    @property
    def width(self) -> int:
        """The columns of `matrix`."""
        return self.columns.numbers + self.columns.others

    def matrix(self, features: Features) -> np.ndarray:
        """The inputs as one float32 matrix [rows, columns], if `max_one_hot` embeds no category."""
        inputs = self.transform(features)
        return np.concatenate([inputs.numbers, inputs.others], axis=1)

    @property
    def columns(self) -> Columns:
        """How many columns of each kind the inputs have."""
        numbers = int((~self.is_binary).sum())
        fewest = 1 if self.keeps_single else 2
        one_hot = sum(size - (size == 2) for size in self.sizes if fewest <= size <= self.max_one_hot)
        others = int(self.is_binary.sum() + self.has_gaps.sum()) + one_hot
        embedded = [size + 1 for size in self.sizes if size > self.max_one_hot]
        return Columns(numbers, others, len(embedded), sum(embedded))

    @property
    def unknown_rows(self) -> np.ndarray:
        """The rows of the embedding table for unknown categories: int64, one for each embedded column."""
        embedded = [size + 1 for size in self.sizes if size > self.max_one_hot]
        return np.cumsum([0, *embedded], dtype=np.int64)[:-1]

    def transform(
        self, features: Features, rows: int | None = None, sizes: tuple[int, int, int] | None = None
    ) -> Inputs:
        """The inputs of a network for some rows.

        Args:
            features: with the columns of the training rows.
            rows: the number of rows of the arrays, with zeros at the end; that of `features` if None.
            sizes: their numbers of columns, likewise; those of `columns` if None.

        Returns:
            Numbers float32, others float32 and codes int32, each [rows, columns].

        Raises:
            ValueError: if the number of columns or categories differs from the training rows'.
        """
        self._check(features)
        rows, sizes = len(features) if rows is None else rows, self.columns[:3] if sizes is None else sizes
        dtypes = np.float32, np.float32, np.int32
        inputs = Inputs(*(np.zeros((rows, n), dtype) for n, dtype in zip(sizes, dtypes, strict=True)))
        for start in range(0, len(features), CHUNK):  # temporary arrays in float64 stay small
            part = np.arange(start, min(start + CHUNK, len(features)))
            for array, values in zip(inputs, self._transform(features.rows(part)), strict=True):
                array[start : start + len(part), : values.shape[1]] = values
        return inputs

    def _transform(self, features: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        gaps = np.isnan(features.numbers)
        scaled = np.where(gaps, 0.0, (features.numbers - self.centers) * self.scales)
        binary = np.clip(scaled[:, self.is_binary], -1, 1)
        scaled = np.clip(scaled[:, ~self.is_binary], -1e6, 1e6)
        columns = [binary, gaps[:, self.has_gaps].astype(float)]
        codes, offset = [np.zeros((len(features), 0), np.int32)], 1
        for i, size in enumerate(self.sizes):
            code = features.codes[:, i]
            if size > self.max_one_hot:
                codes.append((code + offset)[:, None])
                offset += size + 1
            elif size == 2:
                columns.append(np.where(code < 0, 0.0, code * 2.0 - 1.0)[:, None])
            elif size > 2 or (size == 1 and self.keeps_single):
                columns.append((code[:, None] == np.arange(size)).astype(float))
        numbers = scaled / np.sqrt(1 + (scaled / 3) ** 2)
        return numbers, np.concatenate(columns, axis=1), np.concatenate(codes, axis=1)

    def _check(self, features: Features) -> None:
        if features.numbers.shape[1] != len(self.centers) or features.sizes != self.sizes:
            raise ValueError(
                f"features must have the columns of the training rows, {len(self.centers)} numbers and "
                f"categories of sizes {self.sizes}, got {features.numbers.shape[1]} and {features.sizes}."
            )


def fit_preprocessing(
    features: Features, max_one_hot: int = 9, weight: np.ndarray | None = None
) -> Preprocessing:
    """The preprocessing fitted on some rows.

    Args:
        features: the training rows, at least one. A column without a finite number counts as all gaps.
        max_one_hot: categories of up to this many values are one-hot encoded.
        weight: of each row: a weight of 2 counts like two rows. If None, quantiles are interpolated.

    Returns:
        A Preprocessing.

    Raises:
        ValueError: if there are no rows, or a number is infinite.
    """
    if len(features) == 0:
        raise ValueError("features must have at least one row, got none.")
    if np.isinf(features.numbers).any():
        raise ValueError("features must be finite or NaN (a gap), got an infinite number.")
    columns = []
    for column in features.numbers.T:
        known = ~np.isnan(column)
        columns.append(_fit_column(column[known], None if weight is None else weight[known]))
    centers, scales, is_binary = np.array(columns).reshape(-1, 3).T
    has_gaps = np.isnan(features.numbers).any(axis=0)
    is_binary = is_binary.astype(bool)
    return Preprocessing(
        centers, scales, is_binary, has_gaps, features.sizes, max_one_hot, keeps_single=True
    )


def _fit_column(values: np.ndarray, weight: np.ndarray | None) -> tuple[float, float, bool]:
    """The centre and scale of a column without its gaps, and whether it has at most two values."""
    if len(values) == 0:
        return 0.0, 0.0, True
    low, first, middle, third, high = _quantiles(values, [0, 0.25, 0.5, 0.75, 1], weight)
    if low == high:
        return float(low), 0.0, True
    if ((values == low) | (values == high)).all():
        return float(low + (high - low) / 2), float(2 / max(high - low, SMALLEST)), True
    spread = third - first
    if spread == 0:  # most values are the same: twice the median distance of the others
        others = values != middle
        distances = np.abs(values[others] - middle)
        spread = 2 * _quantiles(distances, [0.5], None if weight is None else weight[others])[0]
    return float(middle), float(1 / max(spread, SMALLEST)), False


def _quantiles(values: np.ndarray, levels: list[float], weight: np.ndarray | None) -> np.ndarray:
    if weight is None:
        return np.quantile(values, levels)
    return np.quantile(values, levels, weights=weight, method="inverted_cdf")
