"""Examples that do not fit in memory, in the same order as examples in memory."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._jit import bounded_jit
from funcnet._types import Key, PyTree
from funcnet.data._batch_stream import BatchStream
from funcnet.data._batches import Chunk, PaddedBatch, epoch_rows, num_batches
from funcnet.data._csv import Csv
from funcnet.data._dataset import Dataset, narrow
from funcnet.data._map import Map
from funcnet.data._npy import Npy
from funcnet.data._parquet import Parquet
from funcnet.data._shuffle import epoch_order

CHUNK_BYTES = 2**25
"""Bytes of examples in a chunk, which is copied to the device as a whole: 32 MB, the fastest size from 4 to
64 MB. Larger arrays are allocated from new pages each time."""


class Source(Protocol):
    """Rows that are read by their numbers."""

    def __len__(self) -> int: ...

    def rows(self, numbers: np.ndarray) -> PyTree:
        """The examples in these rows, numpy arrays [len(numbers), ...]."""
        ...

    def identity(self) -> str:
        """A string that differs for other data, whichever byte differs: a run resumes only on the same."""
        ...


class Stream:
    """Examples on disk, or from an iterator, for `fn.Trainer`, read in advance by a background thread.

    Rows that can be read by number are shuffled by the keyed bijection that `fit` uses, so a stream gives
    the same result as the same rows in memory. `Stream.parquet` shuffles row groups, and rows within
    `window` groups at a time. Batches from an iterator keep the order of the iterator.

    Create one by `Stream.npy`, `Stream.csv`, `Stream.parquet`, `Stream.from_map` (a dataset of PyTorch,
    Hugging Face or grain) or `Stream.from_batches` (an iterator); or from any `source` with `__len__`,
    `rows(numbers) -> pytree of numpy arrays` and `identity() -> str`.

    Args:
        source: the rows.
        prefetch: the number of chunks of 32 MB to read in advance, at least 1.

    Raises:
        TypeError: if `source` lacks one of these methods.
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
            if isinstance(source, type) or not hasattr(source, name):
                raise TypeError(
                    "the source of a Stream must have __len__, rows(numbers) and identity(), got "
                    f"{_check.describe(source)} without {name}. "
                    "Try fn.data.Stream.npy(('x.npy', 'y.npy'))."
                )
        prefetch = _check.positive("prefetch", prefetch)
        if len(source) < 1:
            raise ValueError("a stream must have at least one row, got 0: check the files.")
        self.source, self.prefetch = source, prefetch

    @staticmethod
    def npy(paths: PyTree, *, prefetch: int = 2) -> "Stream":
        """Rows of `.npy` files.

        Args:
            paths: a pytree of paths, usually (x, y): files of numbers [rows, ...] of one length.
            prefetch: as for `Stream`.

        Returns:
            A Stream, whose rows are shuffled globally.

        Raises:
            FileNotFoundError: if a file does not exist.
            TypeError: if one is not a path.
            ValueError: if one is not a `.npy` file of numbers in C order, or lengths differ.
        """
        return Stream(Npy(paths), prefetch=prefetch)

    @staticmethod
    def csv(
        path: str | os.PathLike[str],
        features: Sequence[str],
        target: str,
        *,
        separator: str = ",",
        decimal: str = ".",
        encoding: str = "utf-8",
        prefetch: int = 2,
    ) -> "Stream":
        """Rows of a text file, such as CSV, as pairs (x [features], y).

        The file is read once to find its rows, of which 16 bytes each stay in memory, and then row by row.

        Args:
            path: the file, with a header, not compressed.
            features: columns of finite numbers, which become the columns of x, float32.
            target: a column of numbers; integers become int32 classes.
            separator: of the columns.
            decimal: the decimal mark, "." or ",".
            encoding: of the text: UTF-8, ASCII, Latin-1 or Windows-1252.
            prefetch: as for `Stream`.

        Returns:
            A Stream, whose rows are shuffled globally.

        Raises:
            FileNotFoundError: if the file does not exist.
            TypeError: if an argument has the wrong type.
            ValueError: if a column is missing, a cell is not a finite number, or the file is damaged.

        Example:
            >>> import pathlib, tempfile, funcnet as fn
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     _ = pathlib.Path(folder, "t.csv").write_text("a,b,y\\n1.5,x,0\\n2.5,y,1\\n")
            ...     stream = fn.data.Stream.csv(f"{folder}/t.csv", ["a"], "y")
            ...     len(stream), stream.first(2)[:][1].tolist()
            (2, [0, 1])
        """
        return Stream(Csv(path, features, target, separator, decimal, encoding), prefetch=prefetch)

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
            features: columns of numbers, which become the columns of x, float32.
            target: a column of numbers; integers become int32 classes.
            window: the number of row groups in memory at once. Row groups are shuffled, and then the rows
                within a window: a weaker shuffle than a global one, but each group is read once an epoch.
            prefetch: as for `Stream`.

        Returns:
            A Stream.

        Raises:
            ImportError: if pyarrow is not installed.
            FileNotFoundError: if the file does not exist.
            ValueError: if a column is missing or not numeric.
        """
        return Stream(Parquet(path, features, target, window), prefetch=prefetch)

    @staticmethod
    def from_map(dataset: Any, *, prefetch: int = 2) -> "Stream":
        """Rows of a dataset that is indexed by number: of PyTorch, Hugging Face, grain, or your own class.

        They are shuffled by the keyed bijection that `fit` uses, so the dataset itself need not be, and a
        run resumes at any batch. A background thread reads each row of a chunk once, by `__getitems__` if
        the dataset has PyTorch's protocol of batches, else by `__getitem__`.

        Args:
            dataset: anything with `__len__` and `__getitem__(number) -> example`, a pytree of numbers,
                lists of numbers, arrays or PyTorch tensors: a pair (x, y), or a dictionary as in Hugging
                Face's datasets. All examples have the shapes and dtypes of the first. If `__getitem__`
                draws random numbers, a run can't resume exactly: a Trainer with a directory warns of it,
                and `fn.data.augmented` draws them from the key instead.
            prefetch: as for `Stream`.

        Returns:
            A Stream for a Trainer, whose rows are shuffled globally; `stream.first(rows)` reads rows for
            validation. A run resumes on it if the rows have the same digest; of more than 16,384 rows,
            as many at equal distances are compared.

        Raises:
            TypeError: if it is not such a dataset, or an example holds text or objects.
            ValueError: if it is empty, or a row has other shapes or dtypes than the first.

        Example:
            >>> import numpy as np, funcnet as fn
            >>> class Squares:
            ...     def __len__(self):
            ...         return 5
            ...     def __getitem__(self, number):
            ...         return {"x": np.float32(number), "y": number**2}
            >>> stream = fn.data.Stream.from_map(Squares())
            >>> len(stream), stream.first(3)[:]["y"].tolist()
            (5, [0, 1, 4])
        """
        return Stream(Map(dataset), prefetch=prefetch)

    @staticmethod
    def from_batches(
        factory: Callable[[], Iterable[PyTree]], num_batches: int, *, prefetch: int = 2
    ) -> BatchStream:
        """Batches of an iterator, such as a grain or a PyTorch loader, in its own order.

        A PyTorch DataLoader with `shuffle=True` draws its order from torch's global generator, or from its
        own: seed it in `factory`, so that each run has the same order. Here every epoch has the same one:

            def factory():
                return DataLoader(dataset, 32, shuffle=True, generator=torch.Generator().manual_seed(0))

        `Stream.from_map(dataset)` shuffles each epoch anew, and resumes without reading earlier batches.

        Args:
            factory: called before each epoch; returns a new iterable of batches, pytrees of arrays
                [rows, ...]. The last batch may be shorter. A run can be resumed if the batches are the same
                each time; every batch that is read after that is compared with the one before.
            num_batches: the number of batches in an epoch.
            prefetch: the number of batches to read in advance, at least 1.

        Returns:
            A stream of the iterator's batches, regardless of `batch_size` and `shuffle`.

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
        rows = _check.positive("rows", rows)
        return Dataset(self.source.rows(np.arange(min(rows, len(self)))))

    def fingerprint(self) -> str:
        """A string that differs for other data: computed from all bytes of the files."""
        return f"{len(self)} rows, {self.source.identity()}"

    def steps_per_epoch(self, batch_size: int) -> int:
        """The number of batches in an epoch."""
        return num_batches(len(self), batch_size)

    def chunks(
        self,
        key: Key | None,
        epoch: int,
        first: int,
        last: int,
        batch_size: int,
        rows: np.ndarray | None = None,
    ) -> Iterator[Chunk]:
        """Batches `first` to `last` of an epoch, `last` excluded, several at a time.

        Args:
            key: of the run; None for the order of the rows.
            epoch: the number of the epoch.
            first: the number of the first batch.
            last: the number of the last batch plus 1.
            batch_size: rows in a batch.
            rows: which rows of each batch are read, by their place in it; all if None.
        """
        read = slice(None) if rows is None else rows
        count, batch_rows = min(self._chunk_length(batch_size), last), self._batch_rows(key, epoch)
        for start in range(first, last, count):
            numbers, mask = batch_rows(batch_size, start, count)
            numbers, mask = numbers[:, read], mask[:, read]
            examples = narrow(self.source.rows(numbers.ravel()))
            examples = jax.tree.map(lambda a: a.reshape(*numbers.shape, *a.shape[1:]), examples)  # noqa: B023
            # All chunks have the same shape, so one compiled program serves them all; the rest is not used.
            batches = PaddedBatch(examples, jnp.asarray(mask, float))
            yield Chunk(epoch, start, min(count, last - start), batches)

    def _chunk_length(self, batch_size: int) -> int:
        """The number of batches in a chunk."""
        example = self.source.rows(np.zeros(1, int))
        num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(example))
        return max(1, min(512, CHUNK_BYTES // max(num_bytes * batch_size, 1)))

    def _batch_rows(
        self, key: Key | None, epoch: int
    ) -> Callable[[int, int, int], tuple[np.ndarray, np.ndarray]]:
        """A function `(batch_size, first batch, count) -> rows and mask`, [count, batch_size] each."""
        n = len(self)
        source_order = getattr(self.source, "order", None)
        if source_order is not None and key is not None:
            permutation = source_order(key, epoch)

            def permuted_rows(batch_size: int, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
                position = first * batch_size + np.arange(count * batch_size).reshape(count, batch_size)
                return permutation[np.minimum(position, n - 1)], position < n

            return permuted_rows
        order = None if key is None else epoch_order(key, epoch, n)

        def shuffled_rows(batch_size: int, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            row, mask, _ = _jitted_epoch_rows(n, order, batch_size, np.int32(first), count)
            return np.asarray(row), np.asarray(mask)

        return shuffled_rows


_jitted_epoch_rows = bounded_jit(epoch_rows, static_argnums=(0, 2, 4))
