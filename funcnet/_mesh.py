"""Devices. The only file that knows where arrays lie: batches over devices, members over devices."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import jax

from funcnet import _check, _tree
from funcnet._types import PyTree

T = TypeVar("T")
AXIS = "devices"


def cpu_devices(count: int | None = None) -> int:
    """Make every core of the processor a device of its own, before JAX starts.

    JAX takes a CPU for one device, whatever its cores. Many small trainings side by side, as in
    `fn.study`, go faster with one device a core and `with fn.mesh.use():` around them.

    Args:
        count: how many devices; as many as there are cores when left out.

    Returns:
        The number of CPU devices.

    Raises:
        TypeError: if `count` is no whole number.
        ValueError: if it is below 1.
        RuntimeError: if JAX has started already with another number: the first array decides.

    Example:
        >>> import jax, funcnet as fn
        >>> started = len(jax.devices("cpu"))  # here it has; call `cpu_devices()` right after the imports
        >>> fn.mesh.cpu_devices(started) == started
        True
    """
    count = os.cpu_count() or 1 if count is None else count
    _check.positive("count", count)
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        if (there := len(jax.devices("cpu"))) != count:
            raise RuntimeError(
                f"JAX has started with {there} CPU devices, so it can't have {count} any more. Call "
                "funcnet.mesh.cpu_devices() right after the imports, before the first array."
            ) from None
    return count


def use(devices: int | Sequence[Any] | None = None) -> AbstractContextManager[Any]:
    """Within it, every batch of `fit`, `step`, `evaluate` and `predict` is spread over devices.

    Each device computes its part of a batch's rows; sums over rows are added up over devices before
    they are divided, so the numbers are those of one device up to the order of summation. Model and
    optimizer state are the same on all devices. A batch whose size is no multiple of the number of
    devices is computed whole on each. On a CPU, give JAX several devices before it starts:
    `fn.mesh.cpu_devices()`.

    Args:
        devices: how many of `jax.devices()`, or which; all when left out.

    Returns:
        A context manager; its value is the `jax.sharding.Mesh`, of one axis "devices".

    Raises:
        TypeError: if `devices` is neither a whole number nor a sequence of devices.
        ValueError: if there are not so many devices.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(1e-2), epochs=2)
        >>> model = fn.models.LinearRegression(1).init(jax.random.key(0))
        >>> with fn.mesh.use(1):
        ...     run = train(model, (jnp.ones((64, 1)), jnp.ones(64)), jax.random.key(1))
        >>> run.history["loss"].shape
        (2,)
    """
    chosen = list(jax.devices()) if devices is None else devices
    if isinstance(chosen, int):
        _check.positive("devices", chosen)
        there = jax.devices()
        if chosen > len(there):
            raise ValueError(
                f"{chosen} devices are wanted and {len(there)} are there. On a CPU, before anything else: "
                f"funcnet.mesh.cpu_devices({chosen})."
            )
        chosen = there[:chosen]
    _check.devices(chosen)
    axis_type = jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((len(chosen),), (AXIS,), (axis_type,), devices=chosen)
    return jax.set_mesh(mesh)


def shard_members(tree: T) -> T:
    """`tree` with the leading axis of each array divided over the devices of the `use` around it.

    For the members of an ensemble: what `jax.vmap(train)` is given spread, it computes spread, each
    device its own members, without a word between devices.

    Args:
        tree: arrays [n, ...], n a multiple of the number of devices.

    Returns:
        The same arrays, on all devices.

    Raises:
        ValueError: outside of `use`, or if n is no multiple of the number of devices.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> with fn.mesh.use(1):
        ...     fn.mesh.shard_members(jnp.ones((8, 2))).shape
        (8, 2)
    """
    mesh = jax.sharding.get_abstract_mesh()
    if AXIS not in mesh.axis_names:
        raise ValueError('fn.mesh.shard_members must be called inside "with fn.mesh.use(n):".')
    for path, leaf in _tree.paths(tree).items():
        _check.divisible(path, leaf, mesh.shape[AXIS])
    return jax.device_put(tree, jax.sharding.PartitionSpec(AXIS))


def shard_rows(batch: T) -> T:
    """`batch` with its rows divided over the devices of the `use` around it, within jit.

    `fit`, `evaluate`, `predict` and `fn.data.batches` do so by themselves; it is for batches of your own.

    Args:
        batch: arrays [rows, ...].

    Returns:
        The same arrays. Outside of `use`, and where rows are no multiple of the devices, as they were.

    Raises:
        Nothing of its own.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> with fn.mesh.use(1):
        ...     float(jax.jit(lambda x: fn._mesh.shard_rows(x).sum())(jnp.ones(8)))
        8.0
    """
    mesh = jax.sharding.get_abstract_mesh()
    if AXIS not in mesh.auto_axes:  # none in use, or each device works by itself, as in `map_devices`
        return batch
    spec = jax.sharding.PartitionSpec(AXIS)

    def divided(leaf: PyTree) -> PyTree:
        if leaf.shape[0] % mesh.shape[AXIS]:
            return leaf
        return jax.lax.with_sharding_constraint(leaf, spec)

    return jax.tree.map(divided, batch)


def in_shard_map() -> bool:
    """Whether this is traced inside a `jax.shard_map`.

    There JAX keeps books, for its own primitives, on what varies from device to device.

    Returns:
        A bool.

    Raises:
        Nothing of its own.

    Example:
        >>> import funcnet as fn
        >>> fn._mesh.in_shard_map()
        False
    """
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def num_devices() -> int:
    """The number of devices of the `use` around it; 1 outside.

    Returns:
        A whole number.

    Raises:
        Nothing of its own.

    Example:
        >>> import funcnet as fn
        >>> fn._mesh.num_devices()
        1
    """
    return dict(jax.sharding.get_abstract_mesh().shape).get(AXIS, 1)


def map_devices(f: Callable[[T, Any], Any]) -> Callable[[T, Any], Any]:
    """`f(rows, shared)` on each device for its own part of the rows, the results put together again.

    Nothing is exchanged between devices. Outside of `use` it is `f` itself.

    Args:
        f: a function of arrays [n, ...] and of a pytree that all devices share, to arrays [n, ...],
            each row of the result from its row. It closes over no arrays.

    Returns:
        The same function, of rows whose number is a multiple of the devices'.

    Raises:
        Nothing of its own.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> with fn.mesh.use(1):
        ...     fn._mesh.map_devices(lambda x, factor: x * factor)(jnp.arange(4), 2).tolist()
        [0, 2, 4, 6]
    """
    if AXIS not in jax.sharding.get_abstract_mesh().axis_names:
        return f
    spec = jax.sharding.PartitionSpec(AXIS)
    # Nothing is exchanged, so there is nothing for JAX to check; checking would forbid `cond` in `f`.
    in_specs = (spec, jax.sharding.PartitionSpec())
    return jax.shard_map(f, in_specs=in_specs, out_specs=spec, check_vma=False)
