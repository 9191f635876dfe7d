"""Features as one matrix of float32: scaled numbers, flags of gaps, and a column for each category."""

import dataclasses

import numpy as np

from funcnet.tabular._features import Features


@dataclasses.dataclass(frozen=True, eq=False)
class Matrix:
    """Scales and encodes features as training rows prescribe.

    A number becomes z / sqrt(1 + (z/3)^2) of z = (x - median) / (75 % - 25 % quantile), 0 in a gap, and a
    column flags its gaps if there were any in training. A category becomes one column for each value.

    Args:
        center: the median of each number, float64 [numbers].
        scale: what the centred number is divided by, float64 [numbers].
        has_gaps: whether the number has gaps in the training rows, bool [numbers].
        sizes: the number of categories of each column of codes.

    Source: Holzmüller, Grinsztajn, Steinwart, "Better by default: strong pre-tuned MLPs", 2024.
    """

    center: np.ndarray
    scale: np.ndarray
    has_gaps: np.ndarray
    sizes: tuple[int, ...]

    @staticmethod
    def fit(features: Features, weight: np.ndarray | None = None) -> "Matrix":
        """The median, the interquartile range (or half the range, where that is 0) and gaps of each number.

        Args:
            features: the training rows.
            weight: of each row: a weight of 2 counts like two rows.
        """
        weight = np.ones(len(features)) if weight is None else weight
        columns = features.numbers.shape[1]
        center, scale = np.zeros(columns), np.ones(columns)
        gaps = np.isnan(features.numbers)
        for j in range(columns):
            values = features.numbers[~gaps[:, j], j]
            if not len(values):
                continue
            low, center[j], high = np.quantile(
                values, (0.25, 0.5, 0.75), weights=weight[~gaps[:, j]], method="inverted_cdf"
            )
            spread = high - low or (values.max() - values.min()) / 2
            scale[j] = spread if spread > 0 else 1.0
        return Matrix(center, scale, gaps.any(axis=0), features.sizes)

    @property
    def width(self) -> int:
        """The number of columns of the matrix."""
        return len(self.center) + int(self.has_gaps.sum()) + sum(self.sizes)

    def transform(self, features: Features) -> np.ndarray:
        """The features as float32 [rows, width]."""
        gaps = np.isnan(features.numbers)
        z = (features.numbers - self.center) / self.scale
        z = np.where(gaps, 0.0, z / np.sqrt(1 + (z / 3) ** 2))
        one_hot = [
            codes[:, None] == np.arange(size)
            for codes, size in zip(features.codes.T, self.sizes, strict=True)
        ]
        return np.concatenate([z, gaps[:, self.has_gaps], *one_hot], axis=1).astype(np.float32)
