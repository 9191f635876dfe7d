"""Arrays in parts on the devices of several processes: made of what each has, read, and gathered."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from funcnet import _mesh, _tree
from funcnet._types import PyTree


def replicate(arrays: list[jax.Array], rows: np.ndarray | None = None) -> list[jax.Array]:
    """Arrays that are in parts on several devices, or some rows of them, whole on each of these devices."""
    shardings = tuple(
        jax.sharding.NamedSharding(array.sharding.mesh, jax.sharding.PartitionSpec())
        if isinstance(array.sharding, jax.sharding.NamedSharding)
        else jax.sharding.NamedSharding(jax.sharding.get_mesh(), jax.sharding.PartitionSpec())
        for array in arrays
    )
    whole: list[jax.Array] = _replicate_program(shardings)(arrays, rows)
    return whole


@functools.lru_cache(64)
def _replicate_program(shardings: tuple[Any, ...]) -> Any:
    def take(arrays: list[jax.Array], rows: jax.Array | None) -> list[jax.Array]:
        return arrays if rows is None else [array[rows] for array in arrays]

    return jax.jit(take, out_shardings=list(shardings))


def place_process_rows(tree: PyTree, counts: Sequence[int]) -> tuple[PyTree, np.ndarray]:
    """The rows of all processes as arrays that are spread over all devices of the enclosing `use`.

    Args:
        tree: the rows of this process, arrays of NumPy [counts[process], ...].
        counts: the number of rows of each process.

    Returns:
        The arrays, in which every device has the same number of rows, copies of its last one included; and
        the places in them of process 0's rows, process 1's, and so on.
    """
    mesh = jax.sharding.get_mesh()
    devices = list(mesh.devices.flat)
    places: dict[int, list[int]] = {}  # of each process's devices among all
    for place, device in enumerate(devices):
        places.setdefault(device.process_index, []).append(place)
    size = max(-(-count // len(places[process])) for process, count in enumerate(counts))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(mesh.axis_names))
    own = places[jax.process_index()]

    def place_leaf(leaf: np.ndarray) -> jax.Array:
        rows = np.minimum(np.arange(size * len(own)), len(leaf) - 1)
        parts = [
            jax.device_put(leaf[part], devices[place])
            for part, place in zip(np.split(rows, len(own)), own, strict=True)
        ]
        shape = (size * len(devices), *leaf.shape[1:])
        return jax.make_array_from_single_device_arrays(shape, sharding, parts)

    row_places = [
        np.repeat(np.asarray(places[process]) * size, size)[:count] + np.arange(count) % size
        for process, count in enumerate(counts)
    ]
    return jax.tree.map(place_leaf, tree), np.concatenate(row_places).astype(np.int32)


def local_part(array: jax.Array) -> np.ndarray:
    """The rows of an array that are on this process's devices, each once."""
    shards = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(shards[start]) for start in sorted(shards)])


def is_spread(tree: PyTree) -> bool:
    """Whether other processes have parts of an array in a tree, which this one can't read."""
    return any(
        isinstance(leaf, jax.Array)
        and _tree.is_concrete(leaf)
        and not (leaf.is_fully_addressable or leaf.is_fully_replicated)
        for leaf in jax.tree.leaves(tree)
    )


def is_in_parts(array: Any) -> bool:
    """Whether devices hold different parts of an array."""
    return isinstance(array, jax.Array) and not array.is_fully_replicated


def own_parts(array: jax.Array) -> tuple[dict[tuple[int, ...], Any], set[int]]:
    """The parts of an array that this process has, each by the index of its first element; and all owners.

    Of copies of a part, the first counts. Owners are numbers of processes.
    """
    parts = {
        tuple(part.start or 0 for part in shard.index): shard.data
        for shard in array.addressable_shards
        if shard.replica_id == 0
    }
    return parts, {s.device.process_index for s in array.global_shards if s.replica_id == 0}


def from_regions(like: jax.Array, read: Callable[[Any], np.ndarray]) -> jax.Array:
    """An array on the devices of `like`, in its parts, each of which `read(index)` returns."""
    return jax.make_array_from_callback(like.shape, like.sharding, read, dtype=like.dtype)


def own_rows(size: int) -> np.ndarray | None:
    """Which rows of a batch of `size` are on this process's devices; None if every process needs all."""
    mesh, names = jax.sharding.get_mesh(), _mesh.data_axes()
    if _mesh.num_processes() == 1 or not names or size % _mesh.size(names):
        return None
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(names))
    indices: Any = sharding.addressable_devices_indices_map((size,)).values()
    parts = {index[0].indices(size)[:2] for index in indices}
    return np.concatenate([np.arange(*part) for part in sorted(parts)])


def from_own_rows(tree: PyTree, rows: np.ndarray, size: int) -> PyTree:
    """Batches [batches, size, ...] over all processes, from those of their rows that this one has read."""
    names = _mesh.data_axes()
    sharding = jax.sharding.NamedSharding(jax.sharding.get_mesh(), jax.sharding.PartitionSpec(None, names))

    def place(leaf: Any) -> jax.Array:
        values = np.asarray(leaf)

        def part(index: Any) -> np.ndarray:
            start, stop, _ = index[1].indices(size)
            return values[:, np.searchsorted(rows, start) : np.searchsorted(rows, stop - 1) + 1]

        return jax.make_array_from_callback((len(leaf), size, *leaf.shape[2:]), sharding, part)

    return jax.tree.map(place, tree)
