"""The features of a table as arrays: numbers with gaps, and the codes of categories."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """The features of a table: what a `Schema` makes of its columns, and what a network is trained on.

    Args:
        numbers: float64 [rows, numbers], NaN in a gap.
        codes: int32 [rows, categories], each 0 .. size-1; -1 for a gap or a category unknown in training.
        sizes: the number of categories of each column of `codes`.
    """

    numbers: np.ndarray
    codes: np.ndarray
    sizes: tuple[int, ...]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.numbers)

    def rows(self, index: np.ndarray) -> "Features":
        """The features of some rows: row numbers, or a mask."""
        return Features(self.numbers[index], self.codes[index], self.sizes)
