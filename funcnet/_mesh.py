"""Devices: the only file that places arrays, batches or members of ensembles, on devices."""

import contextlib
import math
import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import numpy as np

from funcnet import _check, _tree
from funcnet._types import PyTree

T = TypeVar("T")
Axis: TypeAlias = str | tuple[str, ...] | None
DATA_AXIS = "data"


class Axes(NamedTuple):
    """The axes of the mesh along which rows of batches are sharded, and members of studies."""

    data: tuple[str, ...]
    members: tuple[str, ...]


# A part of the key of each compiled program, as the mesh is. A mesh of the user's may have an axis "data".
_AXES: Any = jax.make_user_context(Axes((DATA_AXIS,), (DATA_AXIS,)))


def cpu_devices(count: int | None = None) -> int:
    """Configure JAX to use every CPU core as a device, before JAX is initialized.

    By default JAX uses a CPU as one device, regardless of its number of cores. Many small runs side by
    side, as in `fn.study`, are faster with one device for each core, inside `with fn.mesh.use():`.

    Args:
        count: the number of devices; by default the number of cores.

    Returns:
        The number of CPU devices of this process.

    Raises:
        TypeError: if `count` is not an integer.
        ValueError: if it is below 1.
        RuntimeError: if JAX was initialized, by its first array, with another number of devices.

    Example:
        >>> import jax, funcnet as fn
        >>> count = len(jax.devices("cpu"))  # initializes JAX, so call `cpu_devices()` before such a line
        >>> fn.mesh.cpu_devices(count) == count
        True
    """
    count = os.cpu_count() or 1 if count is None else count
    count = _check.count("count", count)
    try:
        jax.config.update("jax_num_cpu_devices", int(count))
    except RuntimeError:
        if (available := len(jax.local_devices(backend="cpu"))) != count:
            raise RuntimeError(
                f"count must be {available}, the number of CPU devices of this process, got {count}. "
                "Call funcnet.mesh.cpu_devices() right after the imports, before the first array."
            ) from None
    return count


def use(
    devices: int | Sequence[Any] | Mapping[str, int] | jax.sharding.Mesh | None = None,
    data_axis: Axis = DATA_AXIS,
    member_axis: Axis = None,
) -> AbstractContextManager[jax.sharding.Mesh]:
    """A context manager that shards every batch of `fit`, `step`, `evaluate` and `predict` over devices.

    Each device computes its part of the rows of a batch. Sums over rows are added up over devices before
    they are divided, so the results are those of one device up to the order of summation. Model and
    optimizer state are replicated on all devices, unless `fn.mesh.shard` has placed the model. If the size
    of a batch is not a multiple of the number of devices, every device computes the whole batch. On a CPU,
    configure several devices before JAX is initialized: `fn.mesh.cpu_devices()`.

    With several processes (`fn.mesh.initialize`) the devices are those of all, which then call the same
    functions with the same arguments; or `jax.local_devices()`, with which each process is alone.

    Inside `jax.set_mesh` with a mesh of your own, rows are sharded over its axis "data", if it has one.

    Args:
        devices: the number of `jax.devices()` to use, or a sequence of devices, on one axis "data"; a
            dictionary from names of axes to their sizes; or a mesh, whose axes are used as of type Auto. By
            default all devices, on one axis.
        data_axis: the axis over which rows of batches are sharded, or a tuple of axes; None if every device
            computes whole batches.
        member_axis: the axis over which members of studies and of `shard_members` are, or a tuple of axes;
            `data_axis` if None.

    Returns:
        A context manager; its value is the `jax.sharding.Mesh`.

    Raises:
        TypeError: if `devices` is none of these, or an axis is not a string.
        ValueError: if there are fewer devices, or the mesh has no such axis.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(1e-2), epochs=2)
        >>> model = fn.models.LinearRegression(1).init(jax.random.key(0))
        >>> with fn.mesh.use({"data": 1, "model": 1}) as mesh:
        ...     run = train(model, (jnp.ones((64, 1)), jnp.ones(64)), jax.random.key(1))
        >>> mesh.axis_names, run.history["loss"].shape
        (('data', 'model'), (2,))
    """
    mesh = _make_mesh(devices)
    _check_processes(mesh, chosen=isinstance(devices, int | np.integer | Mapping))
    data, members = check_axis("data_axis", data_axis, mesh), check_axis("member_axis", member_axis, mesh)
    return _Use(mesh, Axes(data, members or data))


class _Use(AbstractContextManager[jax.sharding.Mesh]):
    """Enters a mesh by `with`. It warns if it never was: `jax.set_mesh(mesh)` needs no `with`."""

    def __init__(self, mesh: jax.sharding.Mesh, axes: Axes) -> None:
        self._mesh, self._axes, self._stack, self._is_new = mesh, axes, contextlib.ExitStack(), True

    def __enter__(self) -> jax.sharding.Mesh:
        self._is_new = False
        self._stack.enter_context(jax.set_mesh(self._mesh))
        self._stack.enter_context(_AXES(self._axes))
        return self._mesh

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def __del__(self) -> None:
        if self._is_new:
            warnings.warn(
                "fn.mesh.use() has no effect without `with`. Write: with fn.mesh.use(): run = train(...)",
                stacklevel=2,
            )


def _check_processes(mesh: jax.sharding.Mesh, chosen: bool) -> None:
    """Check that a mesh has devices of all processes, or only of this one; if JAX has chosen them, all."""
    processes = {device.process_index for device in mesh.devices.flat}
    count, own = jax.process_count(), jax.process_index()
    if len(processes) != count and (chosen or processes != {own}):
        raise ValueError(
            f"devices must be those of all {count} processes, or of this one, got devices of "
            f"{len(processes)} in process {own}. Write fn.mesh.use(), or for this process alone "
            "fn.mesh.use(jax.local_devices())."
        )


def _make_mesh(devices: Any) -> jax.sharding.Mesh:
    """The mesh of the argument of `use`."""
    if isinstance(devices, jax.sharding.Mesh):
        return jax.sharding.Mesh(devices.devices, devices.axis_names, axis_types=_auto(devices.axis_names))
    sizes, selected, available = {DATA_AXIS: 0}, devices, jax.devices()
    if devices is None:
        selected = available
    elif isinstance(devices, int | np.integer):
        sizes = {DATA_AXIS: _check.count("devices", devices)}
    elif isinstance(devices, Mapping):
        if not devices or not all(isinstance(name, str) and name for name in devices):
            raise TypeError(
                "devices must map names of axes to their sizes, got "
                f'{_check.describe(devices)}. Try fn.mesh.use({{"data": {len(available)}}}).'
            )
        sizes = {name: _check.count(f"devices[{name!r}]", size) for name, size in devices.items()}
    if (count := math.prod(sizes.values())) > len(available):
        factors = " x ".join(map(str, sizes.values()))
        raise ValueError(
            f"devices must be at most {len(available)}, the number available, got {factors}"
            f"{f' = {count}' if len(sizes) > 1 else ''}. On a CPU, first call "
            f"funcnet.mesh.cpu_devices({count})."
        )
    if count:
        selected = available[:count]
    else:
        _check.devices(selected)
        sizes = {DATA_AXIS: len(selected)}
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), _auto(sizes), devices=selected)


def _auto(names: Collection[Any]) -> tuple[Any, ...]:
    return (jax.sharding.AxisType.Auto,) * len(names)


def check_axis(argument: str, axis: Any, mesh: Any) -> tuple[str, ...]:
    """An axis of a mesh, given as a name, several names or None, as a tuple of names."""
    names = () if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"{argument} must be the name of an axis, a tuple of names or None, got "
            f"{_check.describe(axis)}. Try {argument}={mesh.axis_names[0]!r}."
        )
    if len(set(names)) < len(names):
        raise ValueError(f"{argument} must name each axis once, got {axis}. Try {argument}={names[0]!r}.")
    if missing := [name for name in names if name not in mesh.axis_names]:
        own = ", ".join(map(repr, mesh.axis_names))
        none = "every device to compute whole batches" if argument == "data_axis" else "the data axis"
        raise ValueError(
            f"{argument} must be an axis of the mesh, which has {own}, got {missing[0]!r}. Write "
            f"{argument}={mesh.axis_names[0]!r}, or {argument}=None for {none}."
        )
    return names


def data_axes() -> tuple[str, ...]:
    """The axes of the enclosing mesh along which rows of batches are sharded."""
    return _auto_axes(_AXES.value.data)


def _auto_axes(names: Sequence[str]) -> tuple[str, ...]:
    """Those of some axes that the enclosing mesh has, and that no enclosing `map_devices` maps over."""
    mesh = jax.sharding.get_abstract_mesh()
    if explicit := [name for name in names if name in mesh.explicit_axes]:
        raise ValueError(
            f"the mesh must have axes of type Auto, got {explicit[0]!r} of type Explicit. Write "
            '"with fn.mesh.use(mesh):" in place of jax.set_mesh(mesh).'
        )
    return tuple(name for name in names if name in mesh.auto_axes)


def size(names: Sequence[str]) -> int:
    """The number of devices along some axes of the enclosing mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return math.prod(mesh.shape[name] for name in names)


def shard_members(tree: T) -> T:
    """Shard the leading axis of each array over the member axis of the enclosing `use`.

    For the members of an ensemble: if the arguments of `jax.vmap(train)` are sharded, each device computes
    its own members, without communication between devices.

    Args:
        tree: arrays [n, ...], n a multiple of the number of devices.

    Returns:
        The same arrays, sharded over the devices.

    Raises:
        ValueError: if called outside of `use`, or if n is not a multiple of the number of devices.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> with fn.mesh.use(1):
        ...     fn.mesh.shard_members(jnp.ones((8, 2))).shape
        (8, 2)
    """
    if not (names := _auto_axes(_AXES.value.members)):
        raise ValueError(
            'fn.mesh.shard_members must be called inside "with fn.mesh.use(n):", with a data_axis or a '
            "member_axis."
        )
    if not jax.tree.leaves(tree):
        raise TypeError(f"tree must hold at least one array [n, ...], got {_check.describe(tree)}.")

    def to_array(path: Any, leaf: Any) -> jax.Array:
        name = f"tree{jax.tree_util.keystr(path)}"
        array = leaf if isinstance(leaf, jax.Array) else _check.jax_array(name, leaf)
        _check.divisible(name, array, size(names))
        return array

    tree = jax.tree_util.tree_map_with_path(to_array, tree)
    return jax.device_put(tree, jax.sharding.PartitionSpec(names))


def shard_rows(batch: T) -> T:
    """Shard the rows of a batch over the data axis of the enclosing `use`, inside jit.

    Outside of `use`, or if the number of rows is not a multiple of that of the devices, nothing changes.
    """
    if not (names := data_axes()):
        return batch
    count = size(names)

    def shard(leaf: PyTree) -> PyTree:
        if leaf.shape[0] % count:
            return leaf
        return jax.lax.with_sharding_constraint(leaf, jax.sharding.PartitionSpec(names))

    return jax.tree.map(shard, batch)


def ignore_mesh() -> AbstractContextManager[Any]:
    """A context manager inside which programs are traced as on one device, also inside of `use`."""
    return jax.set_mesh(jax.make_mesh((), (), devices=jax.local_devices()[:1]))


def in_shard_map() -> bool:
    """Whether this is traced inside a `jax.shard_map`, where JAX tracks which values vary over devices."""
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def num_devices() -> int:
    """The number of devices along the member axis of the enclosing `use`; 1 outside."""
    return size(_auto_axes(_AXES.value.members))


def map_devices(f: Callable[[T, Any], Any]) -> Callable[[T, Any], Any]:
    """Map `f(rows, shared)` over the member axis, on each device for its part of the rows.

    Each row of the result of `f` must depend on that row only, and `f` must not close over arrays. The
    number of rows must be a multiple of that of the devices. Outside of `use`, returns `f` itself.
    """
    if not (names := _auto_axes(_AXES.value.members)):
        return f
    rows, shared = jax.sharding.PartitionSpec(names), jax.sharding.PartitionSpec()
    # Without communication there is nothing for JAX to check, and the check would forbid `cond` in `f`.
    return jax.shard_map(f, in_specs=(rows, shared), out_specs=rows, axis_names=set(names), check_vma=False)


def num_processes() -> int:
    """The number of processes whose devices are in the mesh of the enclosing `use`; 1 outside."""
    if _tree.is_traced():
        return 1
    mesh = jax.sharding.get_mesh()
    return 1 if mesh.empty else len({device.process_index for device in mesh.devices.flat})
