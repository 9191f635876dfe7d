"""Examples that do not fit in memory, in the order and with the cursor of those that do."""

import hashlib
import itertools
import math
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._types import Key, PyTree
from funcnet.data._batches import Gathered, epoch_rows, steps
from funcnet.data._dataset import Dataset
from funcnet.data._shuffle import Shuffle, epoch_order

PIECE_BYTES = 2**26
"""Bytes of examples that are handed to the device at once, 64 MB; two such pieces wait meanwhile."""


class Source(Protocol):
    """Rows by their numbers."""

    def __len__(self) -> int: ...

    def rows(self, numbers: np.ndarray) -> PyTree:
        """The examples in these rows, numpy arrays [len(numbers), ...]."""
        ...

    def identity(self) -> str:
        """What tells this data from other data, without reading all of it."""
        ...


class Piece(NamedTuple):
    """Some batches of an epoch, one after another: the first `length` of [batches, rows, ...]."""

    epoch: int
    first: int
    length: int
    batches: Gathered


class Stream:
    """Examples on disk, or from an iterator, for `fn.Trainer`: read ahead by a thread, batch by batch.

    Rows that can be read by their number are shuffled by the keyed bijection that `fit` uses: a stream ends
    in the same numbers as the same rows in memory. `Stream.parquet` shuffles row groups, and rows within
    `window` groups at a time. Batches from an iterator come in its order.

    Made by `Stream.npy`, `Stream.parquet` or `Stream.batches`; or from any `source` with `__len__`,
    `rows(numbers) -> pytree of numpy arrays` and `identity() -> str`.

    Args:
        source: the rows.
        ahead: pieces of 64 MB that are read before they are wanted, at least 1.

    Raises:
        TypeError: if `source` lacks one of its methods.
        ValueError: if it is empty, or `ahead` is below 1.

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

    def __init__(self, source: Source, *, ahead: int = 2) -> None:
        for name in ("__len__", "rows", "identity"):
            if not hasattr(source, name):
                raise TypeError(
                    f"a Stream's source has __len__, rows(numbers) and identity(); "
                    f"{_check.describe(source)} has no {name}. Try fn.data.Stream.npy(('x.npy', 'y.npy'))."
                )
        _check.positive("ahead", ahead)
        if len(source) < 1:
            raise ValueError("this stream has no rows: check the files.")
        self.source, self.ahead = source, ahead

    @staticmethod
    def npy(paths: PyTree, *, ahead: int = 2) -> "Stream":
        """Rows of `.npy` files.

        Args:
            paths: a pytree of paths, by habit (x, y): files of numbers [rows, ...] of one length.
            ahead: as for `Stream`.

        Returns:
            A Stream, shuffled globally.

        Raises:
            FileNotFoundError: if a file is not there.
            ValueError: if one is no `.npy` file of numbers in C order, or lengths differ.
        """
        return Stream(_Npy(paths), ahead=ahead)

    @staticmethod
    def parquet(
        path: str | os.PathLike[str],
        features: Sequence[str],
        target: str,
        *,
        window: int = 8,
        ahead: int = 2,
    ) -> "Stream":
        """Rows of a Parquet file, as pairs (x [features], y).

        Needs pyarrow: pip install 'funcnet[parquet]'.

        Args:
            path: the file.
            features: columns of numbers, one after another in x, float32.
            target: a column of numbers; whole numbers become int32 classes.
            window: row groups that are in memory at once. Row groups are shuffled, and rows within so
                many of them: less mixed than a global shuffle, and each group is read once an epoch.
            ahead: as for `Stream`.

        Returns:
            A Stream.

        Raises:
            ImportError: without pyarrow.
            FileNotFoundError: if the file is not there.
            ValueError: if a column is missing or holds no numbers.
        """
        return Stream(_Parquet(path, features, target, window), ahead=ahead)

    @staticmethod
    def batches(make: Callable[[], Iterable[PyTree]], count: int, *, ahead: int = 2) -> "BatchStream":
        """Batches of an iterator, such as a grain or a torch loader, in its own order.

        Args:
            make: called before each epoch: the iterable of its batches, pytrees of arrays [rows, ...]. The
                last one may be shorter. For a run that can be gone on with it gives the same batches again.
            count: batches in an epoch.
            ahead: as for `Stream`.

        Returns:
            A stream whose batches are those of the iterator, whatever `batch_size` and `shuffle` say.

        Raises:
            TypeError: if `make` can't be called.
            ValueError: if `count` is below 1; in training, if an epoch ends early.
        """
        return BatchStream(make, count, ahead=ahead)

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


class BatchStream:
    """Batches from an iterator, in its own order; `Stream.batches` makes it.

    Args:
        make: called before each epoch: the iterable of its batches, pytrees of arrays [rows, ...].
        count: batches in an epoch.
        ahead: batches that are read before they are wanted, at least 1.

    Raises:
        TypeError: if `make` can't be called.
        ValueError: if `count` or `ahead` is below 1; in training, if an epoch ends early.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> stream = fn.data.Stream.batches(lambda: (np.full(4, i) for i in range(3)), count=3)
        >>> len(stream.first(2)), stream.per_epoch(4)
        (2, 3)
    """

    def __init__(self, make: Callable[[], Iterable[PyTree]], count: int, *, ahead: int = 2) -> None:
        _check.function("make", make, "() -> an iterable of batches")
        _check.positive("count", count)
        _check.positive("ahead", ahead)
        self.make, self.count, self.ahead = make, count, ahead
        self._like: PyTree = None

    def first(self, rows: int) -> Dataset:
        """The first rows of the first batch, as a Dataset."""
        if self._like is None:
            batch = next(iter(self.make()), None)
            if batch is None:
                raise ValueError("this stream has no batches: what `make` returned is empty.")
            self._like = jax.tree.map(np.asarray, batch)
        return Dataset(jax.tree.map(lambda a: a[:rows], self._like))

    def fingerprint(self) -> str:
        """What tells this data from other data: its shapes and its first batch."""
        first = self.first(2**31)
        digest = hashlib.sha256()
        for path, leaf in _tree.paths(first.arrays).items():
            digest.update(f"{path} {leaf.dtype} {leaf.shape}".encode() + np.asarray(leaf).tobytes())
        return f"{self.count} batches, the first with sha256 {digest.hexdigest()[:16]}"

    def per_epoch(self, size: int) -> int:
        """Batches in an epoch."""
        return self.count

    def pieces(self, key: Key | None, epoch: int, first: int, last: int, size: int) -> Iterator[Piece]:
        """An epoch from batch `first` to batch `last`; the batches before it are read and left out."""
        number = 0
        for number, batch in enumerate(itertools.islice(self.make(), last), 1):
            filled = _filled(batch, size, last=number == self.count)
            if number > first:
                yield Piece(epoch, number - 1, 1, filled)
        if number < last:
            raise ValueError(
                f"the stream ended after {number} of {self.count} batches of epoch {epoch}. "
                "Pass the number that it has: fn.data.Stream.batches(make, count)."
            )


def _filled(batch: PyTree, rows: int, last: bool) -> Gathered:
    """A batch as the only one of a piece, with copies of its last row up to `rows`."""
    batch = jax.tree.map(np.asarray, batch)
    lengths = {len(leaf) for leaf in jax.tree.leaves(batch)}
    found = min(lengths)
    if len(lengths) > 1:
        raise ValueError(f"the arrays of a batch have as many rows as each other; got {sorted(lengths)}.")
    if not (found == rows or (last and 1 <= found < rows)):
        raise ValueError(
            f"a batch of {found} rows came, and the first one had {rows}: only the last may be shorter."
        )
    number = np.minimum(np.arange(rows), found - 1)
    return Gathered(
        jax.tree.map(lambda a: a[number][None], batch), jnp.asarray(np.arange(rows) < found, float)[None]
    )


class _File(NamedTuple):
    """An array in a file: where it begins, and what a row of it is."""

    descriptor: int
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Some rows, read one by one in the order of the file; a run of neighbours at once.

        Mapped into memory, a page that is touched brings its neighbours, which count as this process's
        memory: gigabytes of them.
        """
        found = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        size = found[:1].nbytes
        view = memoryview(found.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        if len(numbers) > 1 and (np.diff(numbers) == 1).all():
            self._read(view, int(numbers[0]) * size)
            return found
        for i in np.argsort(numbers, kind="stable").tolist():
            self._read(view[i * size : (i + 1) * size], int(numbers[i]) * size)
        return found

    def _read(self, to: memoryview, place: int) -> None:
        done = 0
        while done < len(to):
            count = os.preadv(self.descriptor, [to[done:]], self.offset + place + done)
            if count == 0:
                raise ValueError("a file of this stream has become shorter while it was read.")
            done += count


class _Npy:
    """Files of numpy's own format."""

    def __init__(self, paths: PyTree) -> None:
        self.names: dict[str, str] = {}

        def opened(path: Any) -> _File:
            place = Path(path)
            with place.open("rb") as file:
                try:
                    version = np.lib.format.read_magic(file)
                    reader = getattr(np.lib.format, f"read_array_header_{version[0]}_{version[1]}")
                    shape, fortran, dtype = reader(file)
                except (ValueError, AttributeError) as error:
                    raise ValueError(f"{place} is no .npy file: {error}.") from None
                if fortran or dtype.kind not in "biuf" or not shape:
                    raise ValueError(
                        f"{place} holds {dtype} {shape}{' in Fortran order' if fortran else ''}; a "
                        "stream reads numbers [rows, ...] in C order. Write it anew: "
                        "np.save(path, np.ascontiguousarray(array))."
                    )
                offset, size = file.tell(), place.stat().st_size
                wanted = offset + math.prod(shape) * dtype.itemsize
                if size < wanted:
                    raise ValueError(f"{place} is cut off: it has {size:,} bytes of {wanted:,}.")
                descriptor = os.dup(file.fileno())
            weakref.finalize(self, os.close, descriptor)
            self.names[str(place)] = (
                f"{place.name} {dtype} {shape}, {size} bytes, {place.stat().st_mtime_ns}"
            )
            return _File(descriptor, offset, shape, dtype)

        self.files = jax.tree.map(opened, paths)
        lengths = {file.shape[0] for file in self._leaves()}
        if len(lengths) != 1:
            told = ", ".join(map(str, sorted(lengths))) or "no file"
            raise ValueError(f"the files of a stream have as many rows as each other; got {told}.")

    def _leaves(self) -> list[_File]:
        return jax.tree.leaves(self.files, is_leaf=lambda leaf: isinstance(leaf, _File))

    def __len__(self) -> int:
        return self._leaves()[0].shape[0]

    def rows(self, numbers: np.ndarray) -> PyTree:
        is_file = lambda leaf: isinstance(leaf, _File)  # noqa: E731
        return jax.tree.map(lambda file: file.rows(numbers), self.files, is_leaf=is_file)

    def identity(self) -> str:
        return "; ".join(self.names.values())


class _Parquet:
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
