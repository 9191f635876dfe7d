"""Where new rows differ from the training rows, in sentences."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnet._text import quoted
from funcnet.tabular._column import Column
from funcnet.tabular._features import Features
from funcnet.tabular._schema import Schema

MAX_ROWS = 100_000
"""Training rows from which the distribution of a column is kept."""
QUANTILES = np.linspace(0, 1, 11)
LEAST, SURE = 0.2, 1.63
"""Shares that differ by less are not told, nor those that differ by chance in one of a hundred tables: the
quantile of Kolmogorov's distribution."""
MAX_SENTENCES = 12


@dataclasses.dataclass(frozen=True, eq=False)
class Distribution:
    """The distribution of each feature in the training rows.

    Args:
        rows: the number of training rows, of all calls.
        deciles: float64 [11, numbers]: the smallest value, the deciles, the largest; NaN without values.
        shares: float64 [11, numbers]: the share of the values that are not above each of them.
        gaps: float64 [numbers]: the share of rows with a gap.
        counts: float64 [sum of (1 + size) over categories]: for each column of codes the share of rows with
            a gap, and with each category.
    """

    rows: int
    deciles: np.ndarray
    shares: np.ndarray
    gaps: np.ndarray
    counts: np.ndarray

    @staticmethod
    def fit(features: Features) -> "Distribution":
        """The distribution of the features of the training rows."""
        rows = np.arange(0, len(features), -(-len(features) // MAX_ROWS))
        numbers, codes = features.numbers[rows], features.codes[rows]
        deciles = np.full((len(QUANTILES), numbers.shape[1]), np.nan)
        shares = np.zeros_like(deciles)
        for j, column in enumerate(numbers.T):
            if len(known := column[~np.isnan(column)]):
                deciles[:, j] = np.quantile(known, QUANTILES, method="inverted_cdf")
                shares[:, j] = _shares(known, deciles[:, j])
        counts = [_frequencies(column, size) for column, size in zip(codes.T, features.sizes, strict=True)]
        return Distribution(
            len(features),
            deciles,
            shares,
            np.isnan(numbers).mean(axis=0),
            np.concatenate([np.zeros(0), *counts]),
        )

    def merge(self, other: "Distribution") -> "Distribution":
        """The distribution of the rows of both, with deciles that are among the values of either.

        Those of the same rows, as in a second pass, are the first.
        """
        names = ("rows", "deciles", "shares", "gaps", "counts")
        pairs = [(getattr(self, name), getattr(other, name)) for name in names]
        if all(np.array_equal(a, b, equal_nan=True) for a, b in pairs):
            return self
        rows = self.rows + other.rows
        parts = [(self, self.rows / rows), (other, other.rows / rows)]
        deciles = np.full_like(self.deciles, np.nan)
        shares = np.zeros_like(deciles)
        for j in range(deciles.shape[1]):
            known = [(one, w * (1 - one.gaps[j])) for one, w in parts if not np.isnan(one.deciles[0, j])]
            if not known:
                continue
            values = np.unique([one.deciles[:, j] for one, _ in known])
            total = sum(w for _, w in known)
            each = [w * _share_at(values, one.deciles[:, j], one.shares[:, j]) for one, w in known]
            share = np.sum(each, axis=0) / total
            place = np.searchsorted(share, QUANTILES - 1e-9)
            deciles[:, j], shares[:, j] = values[place], share[place]
        (a, part), (b, rest) = parts
        gaps, counts = part * a.gaps + rest * b.gaps, part * a.counts + rest * b.counts
        return Distribution(rows, deciles, shares, gaps, counts)

    def check(self, numbers: int, sizes: Sequence[int]) -> None:
        """Check that all parts fit together, for a distribution from a file.

        Raises:
            ValueError: if they do not.
        """
        grid = len(QUANTILES), numbers
        shapes = {"deciles": grid, "shares": grid, "gaps": grid[1:], "counts": (sum(sizes) + len(sizes),)}
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype.kind != "f":
                raise ValueError(f"{name} must be floats of shape {shape}")
        if self.rows < 1:
            raise ValueError(f"rows must be at least 1, got {self.rows}")

    def differences(self, schema: Schema, X: Any, features: Features) -> list[str]:
        """Sentences about columns whose new values differ from those of the training rows.

        Args:
            schema: by which the training rows were read.
            X: new rows, as for `schema.encode`.
            features: what `schema.encode` makes of them.
        """
        found = []
        start = 0
        for column in schema.columns:
            sentences = []
            for j, (what, is_date) in enumerate(_titles(column), start):
                sentences += self._of_numbers(j, what, is_date, features.numbers[:, j])
            found += sentences[:1]  # of a date, whose parts go together
            start += len(column.number_names)
        start = 0
        for j, size in enumerate(features.sizes):
            counts = self.counts[start : start + size + 1]
            found += self._of_categories(schema, X, schema.category_names[j], features.codes[:, j], counts)
            start += size + 1
        found += [
            f"column {name!r} had one value in all training rows, and has others in "
            f"{sum(texts.values()):,} of {len(features):,} rows, such as "
            f"{quoted(max(texts, key=texts.__getitem__))}: it was dropped, so predictions do not depend on "
            "it."
            for name, texts in schema.changed_constants(X).items()
        ]
        more = len(found) - MAX_SENTENCES
        return found[:MAX_SENTENCES] + ([f"{more} more columns differ."] if more > 0 else [])

    def _of_numbers(self, j: int, what: str, is_date: bool, values: np.ndarray) -> list[str]:
        def show(bound: float) -> str:
            return str(np.datetime64(int(bound // 1), "D")) if is_date else f"{bound:.6g}"

        known = values[~np.isnan(values)]
        gaps = 1 - len(known) / max(len(values), 1)
        if gaps - self.gaps[j] > self._chance(len(values)):
            return [
                f"{what} has gaps in {gaps:.0%} of the rows, and in {self.gaps[j]:.0%} of the training "
                "rows."
            ]
        low, high = self.deciles[[0, -1], j]
        if not len(known) or np.isnan(low):
            return []
        outside = int(((known < low) | (known > high)).sum())
        width = high - low
        is_far = bool(((known < low - width) | (known > high + width)).any()) and width > 0
        if is_far or outside > 3 + 8 * len(known) / self.rows:
            return [
                f"{what} has {outside:,} of {len(known):,} values outside of {show(low)} to {show(high)}, "
                "the range of the training rows: predictions are extrapolated there."
            ]
        now, before = _shares(known, self.deciles[:, j]), self.shares[:, j]
        most = int(np.abs(now - before).argmax())
        if abs(now[most] - before[most]) > self._chance(len(known)):
            return [
                f"{what} is distributed differently than in the training rows: {now[most]:.0%} of its "
                f"values are at most {show(self.deciles[most, j])}, and {before[most]:.0%} were."
            ]
        return []

    def _of_categories(
        self, schema: Schema, X: Any, name: str, codes: np.ndarray, before: np.ndarray
    ) -> list[str]:
        if (codes < 0).any():
            texts = schema.unknown_categories(X, name)
            if texts:
                rows = sum(texts.values())
                return [
                    f"column {name!r} has categories that are not in the training rows in {rows:,} of "
                    f"{len(codes):,} rows, such as {max(texts, key=lambda t: texts[t])!r}: they count as "
                    "unknown."
                ]
        now = _frequencies(codes, len(before) - 1)
        change = now - before
        if len(codes) and np.abs(change).sum() / 2 > self._chance(len(codes)) * max(
            1, len(before) ** 0.5 / 2
        ):
            most = int(np.abs(change).argmax())
            column = next(column for column in schema.columns if column.name == name)
            what = repr(column.categories[most - 1]) if most else "a gap"
            return [
                f"column {name!r} is distributed differently than in the training rows: {what} is in "
                f"{now[most]:.0%} of the rows, and was in {before[most]:.0%}."
            ]
        return []

    def _chance(self, rows: int) -> float:
        """How far shares of that many rows must differ to be told."""
        return max(LEAST, SURE * (1 / max(rows, 1) + 1 / self.rows) ** 0.5)


def _titles(column: Column) -> list[tuple[str, bool]]:
    """What each number of a column is called, and whether it is a date in days."""
    name = f"column {column.name!r}"
    if column.role != "date":
        return [(name, False)] * len(column.number_names)
    return [(name if part == "days" else f"the {part} of {name}", part == "days") for part in column.parts]


def _shares(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The share of values that are not above each bound."""
    return np.searchsorted(np.sort(values), bounds, side="right") / len(values)


def _share_at(values: np.ndarray, bounds: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The share that is not above each value, between those of bounds."""
    bounds, first = np.unique(bounds, return_index=True)
    return np.interp(values, bounds, shares[first], left=0.0)


def _frequencies(codes: np.ndarray, size: int) -> np.ndarray:
    """The share of gaps and of each category."""
    return np.bincount(codes + 1, minlength=size + 1) / max(len(codes), 1)
