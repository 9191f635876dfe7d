"""Examples that do not fit in memory, in the order and with the cursor of those that do."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._types import Key, PyTree
from funcnet.data._batch_stream import BatchStream
from funcnet.data._batches import Gathered, Piece, epoch_rows, steps
from funcnet.data._dataset import Dataset
from funcnet.data._npy import Npy
from funcnet.data._parquet import Parquet
from funcnet.data._shuffle import epoch_order

PIECE_BYTES = 2**25
"""Bytes of examples that are handed to the device at once, 32 MB; two such pieces wait meanwhile. Of 4 to
64 MB this was the fastest: larger arrays are made of fresh pages each time."""


class Source(Protocol):
    """Rows by their numbers."""

    def __len__(self) -> int: ...

    def rows(self, numbers: np.ndarray) -> PyTree:
        """The examples in these rows, numpy arrays [len(numbers), ...]."""
        ...

    def identity(self) -> str:
        """What tells this data from other data, without reading all of it."""
        ...


class Stream:
    """Examples on disk, or from an iterator, for `fn.Trainer`: read ahead by a thread, batch by batch.

    Rows that can be read by their number are shuffled by the keyed bijection that `fit` uses: a stream ends
    in the same numbers as the same rows in memory. `Stream.parquet` shuffles row groups, and rows within
    `window` groups at a time. Batches from an iterator come in its order.

    Made by `Stream.npy`, `Stream.parquet` or `Stream.from_batches`; or from any `source` with `__len__`,
    `rows(numbers) -> pytree of numpy arrays` and `identity() -> str`.

    Args:
        source: the rows.
        prefetch: pieces of 32 MB that are read before they are wanted, at least 1.

    Raises:
        TypeError: if `source` lacks one of its methods.
        ValueError: if it is empty, or `prefetch` is below 1.

    Example:
        >>> import tempfile, jax, numpy as np, optax, funcnet as fn
        >>> x = np.linspace(-1.0, 1.0, 256, dtype=np.float32)[:, None]
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.sgd(0.1), epochs=5)
        >>> model = fn.models.LinearRegression(1).init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/x.npy", x)
        ...     np.save(f"{folder}/y.npy", 2 * x[:, 0])
        ...     stream = fn.data.Stream.npy((f"{folder}/x.npy", f"{folder}/y.npy"))
        ...     run = fn.Trainer(train)(model, stream, jax.random.key(1))
        >>> same = train(model, (x, 2 * x[:, 0]), jax.random.key(1))
        >>> bool(abs(run.history["loss"] - same.history["loss"]).max() < 1e-6)
        True
    """

    def __init__(self, source: Source, *, prefetch: int = 2) -> None:
        for name in ("__len__", "rows", "identity"):
            if not hasattr(source, name):
                raise TypeError(
                    f"a Stream's source has __len__, rows(numbers) and identity(); "
                    f"{_check.describe(source)} has no {name}. Try fn.data.Stream.npy(('x.npy', 'y.npy'))."
                )
        _check.positive("prefetch", prefetch)
        if len(source) < 1:
            raise ValueError("this stream has no rows: check the files.")
        self.source, self.prefetch = source, prefetch

    @staticmethod
    def npy(paths: PyTree, *, prefetch: int = 2) -> "Stream":
        """Rows of `.npy` files.

        Args:
            paths: a pytree of paths, by habit (x, y): files of numbers [rows, ...] of one length.
            prefetch: as for `Stream`.

        Returns:
            A Stream, shuffled globally.

        Raises:
            FileNotFoundError: if a file is not there.
            ValueError: if one is no `.npy` file of numbers in C order, or lengths differ.
        """
        return Stream(Npy(paths), prefetch=prefetch)

    @staticmethod
    def parquet(
        path: str | os.PathLike[str],
        features: Sequence[str],
        target: str,
        *,
        window: int = 8,
        prefetch: int = 2,
    ) -> "Stream":
        """Rows of a Parquet file, as pairs (x [features], y).

        Needs pyarrow: pip install 'funcnet[parquet]'.

        Args:
            path: the file.
            features: columns of numbers, one after another in x, float32.
            target: a column of numbers; whole numbers become int32 classes.
            window: row groups that are in memory at once. Row groups are shuffled, and rows within so
                many of them: less mixed than a global shuffle, and each group is read once an epoch.
            prefetch: as for `Stream`.

        Returns:
            A Stream.

        Raises:
            ImportError: without pyarrow.
            FileNotFoundError: if the file is not there.
            ValueError: if a column is missing or holds no numbers.
        """
        return Stream(Parquet(path, features, target, window), prefetch=prefetch)

    @staticmethod
    def from_batches(
        factory: Callable[[], Iterable[PyTree]], num_batches: int, *, prefetch: int = 2
    ) -> BatchStream:
        """Batches of an iterator, such as a grain or a torch loader, in its own order.

        Args:
            factory: called before each epoch: a fresh iterable of its batches, pytrees of arrays [rows,
                ...]. The last one may be shorter. For a run that can be gone on with they are the same each
                time.
            num_batches: batches in an epoch.
            prefetch: as for `Stream`.

        Returns:
            A stream whose batches are those of the iterator, whatever `batch_size` and `shuffle` say.

        Raises:
            TypeError: if `factory` can't be called.
            ValueError: if `num_batches` is below 1; in training, if an epoch ends early, or `factory`
                returns the same iterator again.
        """
        return BatchStream(factory, num_batches, prefetch=prefetch)

    def __len__(self) -> int:
        return len(self.source)

    def first(self, rows: int) -> Dataset:
        """The first rows, as a Dataset."""
        return Dataset(self.source.rows(np.arange(min(rows, len(self)))))

    def fingerprint(self) -> str:
        """What tells this data from other data."""
        return f"{len(self)} rows, {self.source.identity()}"

    def per_epoch(self, size: int) -> int:
        """Batches in an epoch."""
        return steps(len(self), size)

    def pieces(self, key: Key | None, epoch: int, first: int, last: int, size: int) -> Iterator[Piece]:
        """An epoch from batch `first` to batch `last`, not included, some batches at a time.

        Args:
            key: of the run; None for the order of the rows.
            epoch: its number.
            first, last: batches of it.
            size: rows in a batch.
        """
        count, order = min(self._at_once(size), last), self._order(key, epoch)
        for begin in range(first, last, count):
            rows, mask = order(size, begin, count)
            examples = self.source.rows(rows.ravel())
            cut = jax.tree.map(lambda a: a.reshape(*rows.shape, *a.shape[1:]), examples)  # noqa: B023
            # All pieces have one shape, so that one program takes them; what is over is not used.
            yield Piece(epoch, begin, min(count, last - begin), Gathered(cut, jnp.asarray(mask, float)))

    def _at_once(self, size: int) -> int:
        one = self.source.rows(np.zeros(1, int))
        weight = sum(leaf.nbytes for leaf in jax.tree.leaves(one))
        return max(1, min(512, PIECE_BYTES // max(weight * size, 1)))

    def _order(
        self, key: Key | None, epoch: int
    ) -> Callable[[int, int, int], tuple[np.ndarray, np.ndarray]]:
        """`(size, first batch, batches) -> rows and mask`, [batches, size] each."""
        n = len(self)
        own = getattr(self.source, "order", None)
        if own is not None and key is not None:
            return _windowed(own(key, epoch), n)
        order = None if key is None else epoch_order(key, epoch, n)

        def rows(size: int, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            found = _rows(n, order, size, np.int32(first), count)
            return np.asarray(found[0]), np.asarray(found[1])

        return rows


_rows = jax.jit(epoch_rows, static_argnums=(0, 2, 4))


def _windowed(permutation: np.ndarray, n: int) -> Callable[[int, int, int], tuple[np.ndarray, np.ndarray]]:
    def rows(size: int, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        position = first * size + np.arange(count * size).reshape(count, size)
        return permutation[np.minimum(position, n - 1)], position < n

    return rows
