"""Rows of numpy's own files, read one by one where they lie."""

import math
import os
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from funcnet._types import PyTree

NEAR_BYTES, WINDOW_BYTES = 2**12, 2**20
"""Rows no further apart than a page are read with what lies between them, a megabyte at once."""


class _File(NamedTuple):
    """An array in a file: where it begins, and what a row of it is."""

    descriptor: int
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Some rows, read in the order of the file: at once where most lie near each other, or one by one.

        Mapped into memory, a page that is touched brings its neighbours, which count as this process's
        memory: gigabytes of them.
        """
        found = _empty((len(numbers), *self.shape[1:]), self.dtype)
        size = found[:1].nbytes
        view = memoryview(found.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        if len(numbers) > 1 and (np.diff(numbers) == 1).all():
            self._read(view, self.offset + int(numbers[0]) * size)
            return found
        order = np.argsort(numbers, kind="stable")
        places = numbers[order].astype(np.int64) * size
        apart = (np.diff(places) > NEAR_BYTES) | (np.diff(places // WINDOW_BYTES) > 0)
        cuts = np.flatnonzero(apart) + 1
        if 4 * len(cuts) >= len(order) or not size:
            self._read_each(view, order * size, places, size)
            return found
        for window in np.split(np.arange(len(order)), cuts):
            first, last = places[window[0]], places[window[-1]]
            near = np.empty(last - first + size, np.uint8)
            self._read(near.data, self.offset + int(first))
            rows = near.view(self.dtype).reshape(-1, *self.shape[1:])
            found[order[window]] = rows[(places[window] - first) // size]
        return found

    def _read_each(self, to: memoryview, begins: np.ndarray, places: np.ndarray, size: int) -> None:
        file, read = self.descriptor, os.preadv  # names outside of the loop, which is most of the work
        for begin, place in zip(begins.tolist(), (places + self.offset).tolist(), strict=True):
            row = to[begin : begin + size]
            if read(file, (row,), place) != size:
                self._read(row, place)

    def _read(self, to: memoryview, place: int) -> None:
        done = 0
        while done < len(to):
            count = os.preadv(self.descriptor, [to[done:]], place + done)
            if count == 0:
                raise ValueError("a file of this stream has become shorter while it was read.")
            done += count


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array that begins where JAX takes it over without a copy: at a multiple of 64 bytes."""
    size = math.prod(shape) * dtype.itemsize
    content = np.empty(size + 64, np.uint8)
    first = -content.ctypes.data % 64
    return content[first : first + size].view(dtype).reshape(shape)


class Npy:
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
