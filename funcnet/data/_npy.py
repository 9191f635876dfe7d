"""Read single rows of `.npy` files."""

import math
import os
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from funcnet import _check
from funcnet._types import PyTree
from funcnet.data._digest import file_digest

NEAR_BYTES, WINDOW_BYTES = 2**12, 2**20
"""Rows no further apart than a page are read together with the bytes between them, up to a megabyte."""


class _File(NamedTuple):
    """An array in a file: its file descriptor, offset in bytes, shape and dtype."""

    descriptor: int
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Read some rows in the order of the file: many together if most are adjacent, else one by one.

        A memory map would be simpler, but each page that is read also loads its neighbours, and gigabytes
        of them are counted as memory of this process.
        """
        result = _empty((len(numbers), *self.shape[1:]), self.dtype)
        row_bytes = result[:1].nbytes
        view = memoryview(result.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        if len(numbers) > 1 and (np.diff(numbers) == 1).all():
            self._read(view, self.offset + int(numbers[0]) * row_bytes)
            return result
        order = np.argsort(numbers, kind="stable")
        starts = numbers[order].astype(np.int64) * row_bytes
        is_apart = (np.diff(starts) > NEAR_BYTES) | (np.diff(starts // WINDOW_BYTES) > 0)
        cuts = np.flatnonzero(is_apart) + 1
        if 4 * len(cuts) >= len(order) or not row_bytes:
            self._read_each(view, order * row_bytes, starts, row_bytes)
            return result
        for window in np.split(np.arange(len(order)), cuts):
            first, last = starts[window[0]], starts[window[-1]]
            block = np.empty(last - first + row_bytes, np.uint8)
            self._read(block.data, self.offset + int(first))
            rows = block.view(self.dtype).reshape(-1, *self.shape[1:])
            result[order[window]] = rows[(starts[window] - first) // row_bytes]
        return result

    def _read_each(self, to: memoryview, targets: np.ndarray, starts: np.ndarray, row_bytes: int) -> None:
        file, read = self.descriptor, os.preadv  # looked up once: the loop is most of the work
        for target, start in zip(targets.tolist(), (starts + self.offset).tolist(), strict=True):
            row = to[target : target + row_bytes]
            if read(file, (row,), start) != row_bytes:
                self._read(row, start)

    def _read(self, to: memoryview, start: int) -> None:
        done = 0
        while done < len(to):
            count = os.preadv(self.descriptor, [to[done:]], start + done)
            if count == 0:
                raise ValueError("a file of this stream became shorter while it was read.")
            done += count


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array at a multiple of 64 bytes, so that JAX can use it without a copy."""
    num_bytes = math.prod(shape) * dtype.itemsize
    buffer = np.empty(num_bytes + 64, np.uint8)
    first = -buffer.ctypes.data % 64
    return buffer[first : first + num_bytes].view(dtype).reshape(shape)


def _native(array: np.ndarray) -> np.ndarray:
    """The array in the byte order of the machine, which JAX expects."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


class Npy:
    """A pytree of `.npy` files."""

    def __init__(self, paths: PyTree) -> None:
        self._paths: list[Path] = []

        def open_file(path: Any) -> _File:
            if not isinstance(path, str | os.PathLike):
                raise TypeError(f"paths must be paths of .npy files, got {_check.describe(path)}.")
            place = _check.path("paths", path, "x.npy")
            file = _open(place)
            weakref.finalize(self, os.close, file.descriptor)
            self._paths.append(place)
            return file

        self.files = jax.tree.map(open_file, paths)
        lengths = {file.shape[0] for file in self._leaves()}
        if len(lengths) != 1:
            listed = ", ".join(map(str, sorted(lengths))) or "no file"
            raise ValueError(f"the files of a stream must have the same number of rows, got {listed}.")

    def _leaves(self) -> list[_File]:
        return jax.tree.leaves(self.files, is_leaf=_is_file)

    def __len__(self) -> int:
        return self._leaves()[0].shape[0]

    def rows(self, numbers: np.ndarray) -> PyTree:
        return jax.tree.map(lambda file: _native(file.rows(numbers)), self.files, is_leaf=_is_file)

    def identity(self) -> str:
        parts = [
            f"{file.dtype} {file.shape}, sha256 {file_digest(file.descriptor, path)[:16]}"
            for file, path in zip(self._leaves(), self._paths, strict=True)
        ]
        return f"{jax.tree.structure(self.files, is_leaf=_is_file)}: {'; '.join(parts)}"


def _is_file(node: Any) -> bool:
    return isinstance(node, _File)


def _open(path: Path) -> _File:
    """Open a file of numbers, after a check of its header and its size."""
    try:
        file = path.open("rb")
    except IsADirectoryError:
        raise ValueError(f"paths must be .npy files, and {path} is a directory.") from None
    with file:
        try:
            version = np.lib.format.read_magic(file)
            reader = getattr(np.lib.format, f"read_array_header_{version[0]}_{version[1]}")
            shape, fortran, dtype = reader(file)
        except (ValueError, AttributeError, EOFError) as error:
            reason = str(error).splitlines()[0].rstrip(".") if str(error) else "it is empty"
            raise ValueError(
                f"paths must be .npy files, and {path} is not a .npy file: {reason}."
            ) from None
        if fortran or dtype.kind not in "biuf" or not shape:
            raise ValueError(
                f"paths must be files of numbers [rows, ...] in C order, got {path} with {dtype} {shape}"
                f"{' in Fortran order' if fortran else ''}. Write it again: "
                "np.save(path, np.ascontiguousarray(array))."
            )
        if shape[0] == 0:
            raise ValueError(f"paths must be files of at least one row, got {path} of shape {shape}.")
        offset, size = file.tell(), os.fstat(file.fileno()).st_size
        expected = offset + math.prod(shape) * dtype.itemsize
        if size < expected:
            raise ValueError(
                f"paths must be whole files, and {path} is truncated: expected {expected:,} bytes, "
                f"got {size:,}."
            )
        return _File(os.dup(file.fileno()), offset, shape, dtype)
