"""The files with the arrays of a checkpoint: whole arrays, or their parts as several devices hold them."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _files, _parts, _tree
from funcnet.train._safetensors import DTYPES, map_arrays, serialize

ARRAYS = "arrays.safetensors"


def file_of(process: int) -> str:
    """The name of the file with the parts that a process has written."""
    return f"arrays-{process:05d}.safetensors" if process else ARRAYS


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    _files.write(path, serialize({name: storable(array) for name, array in arrays.items()}, {}))


def as_array(leaf: Any) -> Any:
    """A leaf as an array of JAX or NumPy; for a key, its key data."""
    if _tree.is_key(leaf):
        return jax.random.key_data(leaf)
    return leaf if hasattr(leaf, "dtype") and hasattr(leaf, "shape") else np.asarray(leaf)


def copy_to_host(leaf: Any) -> np.ndarray:
    """A leaf as a row-major array in the byte order of this machine."""
    array = np.asarray(leaf)
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def is_number(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "b" or bool(jnp.issubdtype(dtype, jnp.number))


def storable(array: np.ndarray) -> np.ndarray:
    """The array, or its bytes [..., bytes of a number] if safetensors lacks its dtype.

    The manifest has the dtype of every array.
    """
    return array if array.dtype.name in DTYPES.values() else array[..., None].view(np.uint8)


def read_arrays(place: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a checkpoint, with the dtypes and shapes of its manifest; read when they are used.

    Raises:
        ValueError: if its files do not hold them.
    """
    stored: dict[str, np.ndarray] = {}
    for name in manifest["files"]:
        stored |= map_arrays(place / name)
    parts: dict[str, dict[tuple[int, ...], np.ndarray]] = {}
    for name, array in stored.items():
        path, is_part, start = name.rpartition("@")
        if is_part and path in manifest["arrays"] and re.fullmatch(r"\d+(,\d+)*", start):
            parts.setdefault(path, {})[tuple(map(int, start.split(",")))] = array
    arrays: dict[str, Any] = {}
    for name, kind in manifest["arrays"].items():
        try:
            dtype, shape = jnp.dtype(kind["dtype"]), tuple(kind["shape"])
        except TypeError:
            raise ValueError(f"{name} has the unknown dtype {kind['dtype']!r}") from None
        if name in parts:
            arrays[name] = Parts(name, dtype, shape, parts[name])
            continue
        sizes_match = name in stored and stored[name].nbytes == math.prod(shape) * dtype.itemsize
        if not (sizes_match and is_number(dtype) and all(size >= 0 for size in shape)):
            raise ValueError(f"{place.name} does not hold the array {name} of the manifest")
        arrays[name] = stored[name].reshape(-1).view(np.uint8).view(dtype).reshape(shape)
    return arrays


class Parts:
    """An array in a checkpoint that was written in parts, of which any region can be read.

    Args:
        name: of the array.
        dtype, shape: of the whole array.
        parts: by the index of their first element.

    Raises:
        ValueError: if the parts are not those of such an array.
    """

    def __init__(
        self,
        name: str,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        parts: Mapping[tuple[int, ...], np.ndarray],
    ) -> None:
        self.dtype, self.shape, self.ndim = dtype, shape, len(shape)
        if dtype.name not in DTYPES.values():
            parts = {start: part.view(dtype)[..., 0] for start, part in parts.items()}
        self._parts = parts
        fits = all(
            len(start) == part.ndim == len(shape)
            and all(i + n <= size for i, n, size in zip(start, part.shape, shape, strict=True))
            for start, part in parts.items()
        )
        size = sum(part.size for part in parts.values()) if fits else -1
        if size != math.prod(shape) or not is_number(dtype):
            raise ValueError(f"the parts of {name} are not those of an array of shape {shape}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[tuple(slice(0, size) for size in self.shape)], dtype)

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        """A region, by slices without steps."""
        bounds = [part.indices(size)[:2] for part, size in zip(index, self.shape, strict=True)]
        region = np.empty([max(0, stop - start) for start, stop in bounds], self.dtype)
        for start, part in self._parts.items():
            ranges = [
                (max(i, low), min(i + n, high))
                for i, n, (low, high) in zip(start, part.shape, bounds, strict=True)
            ]
            if all(low < high for low, high in ranges):
                to = tuple(
                    slice(low - b[0], high - b[0]) for (low, high), b in zip(ranges, bounds, strict=True)
                )
                of = tuple(slice(low - i, high - i) for (low, high), i in zip(ranges, start, strict=True))
                region[to] = part[of].view(self.dtype)
        return region


def like(array: Any, leaf: Any) -> Any:
    """A saved array as a leaf is: on its devices, in its parts."""
    if _tree.is_key(leaf):
        data = like(array, jax.random.key_data(leaf))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array):
        if _parts.is_in_parts(leaf) or not leaf.is_fully_addressable:
            return _parts.from_regions(leaf, lambda index: np.array(array[index]))
        return jax.device_put(np.array(array), leaf.sharding)
    return np.array(array) if isinstance(leaf, np.ndarray) else np.asarray(array).item()
