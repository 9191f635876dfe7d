"""Rows of a Parquet file, with a few row groups in memory. The only file that imports pyarrow."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._types import Key, PyTree
from funcnet.data._digest import file_digest
from funcnet.data._pairs import check_names, to_pair
from funcnet.data._shuffle import Shuffle


class Parquet:
    """A Parquet file with a few row groups in memory."""

    def __init__(
        self, path: str | os.PathLike[str], features: Sequence[str], target: str, window: int
    ) -> None:
        try:
            import pyarrow.parquet as pq
        except ImportError as error:
            raise ImportError("Parquet streams need pyarrow: pip install 'funcnet[parquet]'.") from error
        window = _check.positive("window", window)
        _check.path("path", path)
        check_names(features, target)
        self.path, self.features, self.target, self.window = Path(path), list(features), target, window
        if self.path.is_dir():
            raise ValueError(f"path must be a Parquet file, and {path} is a directory.")
        if not self.path.exists():
            raise FileNotFoundError(errno.ENOENT, "path must be a Parquet file, there is none", str(path))
        try:
            self.file = pq.ParquetFile(self.path)
        except ValueError as error:  # pyarrow's errors are ValueErrors
            raise ValueError(
                f"path must be a Parquet file, and {path} is not a Parquet file: {error}"
            ) from None
        names = self.file.schema_arrow.names
        if missing := [name for name in (*self.features, target) if name not in names]:
            raise ValueError(
                f"features and target must be columns of {path}: {', '.join(names)}; got {missing[0]!r}."
            )
        meta = self.file.metadata
        self.group_sizes = np.array([meta.row_group(i).num_rows for i in range(meta.num_row_groups)])
        self.group_starts = np.concatenate([[0], np.cumsum(self.group_sizes)])
        self._loaded: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return int(self.group_starts[-1])

    def order(self, key: Key, epoch: int) -> np.ndarray:
        """Row groups are shuffled, and then the rows within `window` groups at a time."""
        key = jax.random.fold_in(key, epoch)
        groups = np.asarray(Shuffle.draw(key, len(self.group_sizes))(jnp.arange(len(self.group_sizes))))
        groups = groups[self.group_sizes[groups] > 0]
        parts = []
        for start in range(0, len(groups), self.window):
            rows = np.concatenate(
                [np.arange(*self.group_starts[g : g + 2]) for g in groups[start : start + self.window]]
            )
            shuffle = Shuffle.draw(jax.random.fold_in(key, start), len(rows))
            parts.append(rows[np.asarray(shuffle(jnp.arange(len(rows))))])
        return np.concatenate(parts)

    def rows(self, numbers: np.ndarray) -> PyTree:
        group = np.searchsorted(self.group_starts, numbers, side="right") - 1
        parts, positions = [], []
        for g in np.unique(group):
            position = np.flatnonzero(group == g)
            rows = numbers[position] - self.group_starts[g]
            parts.append(jax.tree.map(lambda a: a[rows], self._load_group(int(g))))  # noqa: B023
            positions.append(position)
        order = np.argsort(np.concatenate(positions))
        return jax.tree.map(lambda *arrays: np.concatenate(arrays)[order], *parts)

    def identity(self) -> str:
        with self.path.open("rb") as file:
            digest = file_digest(file.fileno(), self.path)
        columns = f"{self.features} and {self.target!r}"
        return f"columns {columns}, window {self.window}, sha256 {digest[:16]}"

    def _load_group(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if number not in self._loaded:
            table = self.file.read_row_group(number, columns=[*self.features, self.target])
            columns = {name: table.column(name).to_numpy() for name in table.column_names}
            for name, column in columns.items():
                if table.column(name).null_count:
                    raise ValueError(f"the column {name!r} of {self.path} has gaps. Fill them first.")
                if column.dtype.kind not in "biuf":
                    raise ValueError(
                        f"the column {name!r} of {self.path} must hold numbers, got {column.dtype}."
                    )
            pair = to_pair(self.path, columns, self.features, self.target, is_first=number == 0)
            # Two windows: a chunk may span the end of one and the start of the next.
            while len(self._loaded) >= 2 * self.window:
                self._loaded.pop(next(iter(self._loaded)))
            self._loaded[number] = pair
        return self._loaded[number]
