"""Rows of a Parquet file, a few row groups in memory at a time. The only file that names pyarrow."""

import os
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._types import Key, PyTree
from funcnet.data._shuffle import Shuffle


class Parquet:
    """A Parquet file, a few row groups in memory at a time."""

    def __init__(
        self, path: str | os.PathLike[str], features: Sequence[str], target: str, window: int
    ) -> None:
        try:
            import pyarrow.parquet as pq
        except ImportError as error:
            raise ImportError("Parquet streams need pyarrow: pip install 'funcnet[parquet]'.") from error
        _check.positive("window", window)
        if isinstance(features, str) or not features or target in features:
            raise ValueError(f"features are names of columns, the target not among them; got {features!r}.")
        self.path, self.features, self.target, self.window = Path(path), list(features), target, window
        try:
            self.file = pq.ParquetFile(self.path)
        except ValueError as error:  # pyarrow's own are ValueErrors
            raise ValueError(f"{path} is no Parquet file: {error}") from None
        names = self.file.schema_arrow.names
        if missing := [name for name in (*self.features, target) if name not in names]:
            raise ValueError(f"{path} has no column {missing[0]!r}; it has {', '.join(names)}.")
        meta = self.file.metadata
        self.sizes = np.array([meta.row_group(i).num_rows for i in range(meta.num_row_groups)])
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)])
        self.held: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return int(self.starts[-1])

    def order(self, key: Key, epoch: int) -> np.ndarray:
        """Row groups shuffled, and rows within `window` of them at a time."""
        key = jax.random.fold_in(key, epoch)
        groups = np.asarray(Shuffle.draw(key, len(self.sizes))(jnp.arange(len(self.sizes))))
        parts = []
        groups = groups[self.sizes[groups] > 0]
        for begin in range(0, len(groups), self.window):
            rows = np.concatenate(
                [np.arange(*self.starts[g : g + 2]) for g in groups[begin : begin + self.window]]
            )
            mixed = Shuffle.draw(jax.random.fold_in(key, begin), len(rows))
            parts.append(rows[np.asarray(mixed(jnp.arange(len(rows))))])
        return np.concatenate(parts)

    def rows(self, numbers: np.ndarray) -> PyTree:
        group = np.searchsorted(self.starts, numbers, side="right") - 1
        parts, places = [], []
        for g in np.unique(group):
            here = np.flatnonzero(group == g)
            parts.append(jax.tree.map(lambda a: a[numbers[here] - self.starts[g]], self._group(int(g))))  # noqa: B023
            places.append(here)
        back = np.argsort(np.concatenate(places))
        return jax.tree.map(lambda *cut: np.concatenate(cut)[back], *parts)

    def identity(self) -> str:
        stat = self.path.stat()
        return f"{self.path.name}, {stat.st_size} bytes, {stat.st_mtime_ns}, window {self.window}"

    def _group(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if number not in self.held:
            table = self.file.read_row_group(number, columns=[*self.features, self.target])
            columns = {name: table.column(name).to_numpy() for name in table.column_names}
            for name, column in columns.items():
                if table.column(name).null_count:
                    raise ValueError(f"the column {name!r} of {self.path} has gaps; fill them first.")
                if column.dtype.kind not in "biuf":
                    raise ValueError(
                        f"the column {name!r} of {self.path} holds {column.dtype}, and no numbers."
                    )
            x = np.stack([columns[name] for name in self.features], axis=1).astype(np.float32)
            y = columns[self.target]
            # Two windows: a piece may lie in the end of one and the beginning of the next.
            while len(self.held) >= 2 * self.window:
                self.held.pop(next(iter(self.held)))
            self.held[number] = x, y.astype(np.float32 if y.dtype.kind == "f" else np.int32)
        return self.held[number]
