"""Devices. The only file that knows where arrays lie: batches over devices, members over devices."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import jax

from funcnet import _check, _tree
from funcnet._types import PyTree

T = TypeVar("T")
AXIS = "devices"


def use(devices: int | Sequence[Any] | None = None) -> AbstractContextManager[Any]:
    """Within it, every batch of `fit`, `step`, `evaluate` and `predict` is spread over devices.

    Each device computes its part of a batch's rows; sums over rows are added up over devices before
    they are divided, so the numbers are those of one device up to the order of summation. Model and
    optimizer state are the same on all devices. A batch whose size is no multiple of the number of
    devices is computed whole on each. On a CPU, give JAX several devices before it starts:
    `jax.config.update("jax_num_cpu_devices", 4)`.

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
                f"jax.config.update('jax_num_cpu_devices', {chosen})."
            )
        chosen = there[:chosen]
    _check.devices(chosen)
    axis_type = jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((len(chosen),), (AXIS,), (axis_type,), devices=chosen)
    return jax.set_mesh(mesh)


def spread(tree: T) -> T:
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
        ...     fn.mesh.spread(jnp.ones((8, 2))).shape
        (8, 2)
    """
    mesh = jax.sharding.get_abstract_mesh()
    if AXIS not in mesh.axis_names:
        raise ValueError(
            "spread divides over the devices of `with funcnet.mesh.use(n):`; none is around it."
        )
    for path, leaf in _tree.paths(tree).items():
        _check.divisible(path, leaf, mesh.shape[AXIS])
    return jax.device_put(tree, jax.sharding.PartitionSpec(AXIS))


def over_rows(batch: T) -> T:
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
        ...     float(jax.jit(lambda x: fn.mesh.over_rows(x).sum())(jnp.ones(8)))
        8.0
    """
    mesh = jax.sharding.get_abstract_mesh()
    if AXIS not in mesh.axis_names:
        return batch
    spec = jax.sharding.PartitionSpec(AXIS)

    def divided(leaf: PyTree) -> PyTree:
        if leaf.shape[0] % mesh.shape[AXIS]:
            return leaf
        return jax.lax.with_sharding_constraint(leaf, spec)

    return jax.tree.map(divided, batch)
