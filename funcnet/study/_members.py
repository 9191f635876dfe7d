"""Many members of one kind, computed in blocks: the one place that decides how."""

import math
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from funcnet import _check, _mesh
from funcnet._module import Module, is_complete
from funcnet._types import Array, Key, PyTree
from funcnet.transform import vmap_last

# Measured with MLPs 4-h-3 on two cores: up to this size of the largest parameter, and from so many members
# on, whole lanes of members pay; with h = 64 they take twice the time of vmap.
LARGEST_FOR_LANES = 128
LEAST_FOR_LANES = 32
LANES = 128
# On a processor members that are no lanes go so many at a time that what they carry stays in its cache:
# digits' MLP takes 33 µs a model-step four at a time, 45 alone, 46 by sixteen; a ConvNet is best alone.
CACHE_BYTES = 3 * 2**18
BLOCK_BYTES = 2**28

# Lanes take 0.74 to 1.02 of the time in vectors of 512 bits, by the hour, where the processor has them;
# matrix products don't gain by them.
WIDE = {"xla_cpu_prefer_vector_width": 512}

Progress: TypeAlias = Callable[[int], None]


def check_blocks(block: int | None, progress: Progress | None) -> None:
    """Raise unless these are what `each_member` wants."""
    if block is not None:
        _check.positive("block", block)
    if progress is not None:
        _check.function("progress", progress, "a function of the number of members done, such as print")


def each_member(
    one: Callable[[PyTree, Array], PyTree],
    shared: PyTree,
    size: int,
    block: int | None = None,
    small: bool = False,
    progress: Progress | None = None,
) -> PyTree:
    """`one(shared, number)` for each number 0 .. size-1, results stacked: in blocks, over all devices.

    Args:
        one: pure in what all members share and a member's number, an int32 scalar.
        shared: a pytree of arrays.
        size: the number of members.
        block: how many are computed side by side on a device; chosen by memory when left out.
        small: whether members are small enough for `vmap_last`.
        progress: told on the host, from within the program, how many more members are done.
    """
    small = small and size >= LEAST_FOR_LANES
    devices = _mesh.num_devices()
    share = math.ceil(size / devices)
    block = min(share, block or _block(one, shared, small))
    blocks = math.ceil(share / block)
    together = (vmap_last if small else jax.vmap)(one, in_axes=(None, 0)) if block > 1 else _single(one)
    numbers = jnp.arange(devices * blocks * block, dtype=jnp.int32).reshape(devices * blocks, block)

    def one_block(shared: PyTree, numbers: Array) -> PyTree:
        # The last block is filled up with members that are computed and thrown away.
        results = together(shared, jnp.minimum(numbers, size - 1))
        if progress is not None:  # it waits for a result, so that it tells what is done
            last, real = jax.tree.leaves(results)[-1], jnp.sum(numbers < size)
            jax.debug.callback(lambda _, more: progress(int(more)), last, real)
        return results

    def run(numbers: Array, shared: PyTree) -> PyTree:
        if len(numbers) == 1:
            return jax.tree.map(lambda a: a[None], one_block(shared, numbers[0]))
        return jax.lax.map(lambda block: one_block(shared, block), numbers)

    results = _mesh.map_devices(run)(numbers, shared)
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:size], results)


def compiled(run: Callable[..., PyTree], static_argnums: int, small: bool) -> Callable[..., PyTree]:
    """`jax.jit` for a study of members that are small or not; not to be called within another `jit`."""
    wide = small and jax.default_backend() == "cpu"
    return jax.jit(run, static_argnums=static_argnums, compiler_options=WIDE if wide else None)


def _single(one: Callable[[PyTree, Array], PyTree]) -> Callable[[PyTree, Array], PyTree]:
    """`vmap` over a single member, which is computed as it would be alone."""

    def together(shared: PyTree, numbers: Array) -> PyTree:
        return jax.tree.map(lambda a: a[None], one(shared, numbers[0]))

    return together


def _block(one: Callable[[PyTree, Array], PyTree], shared: PyTree, small: bool) -> int:
    """A processor's lanes, if members are small; else as many as its cache, or a device's memory, holds."""
    if small:
        return LANES
    result = jax.eval_shape(one, shared, jax.ShapeDtypeStruct((), jnp.int32))
    carried = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(result))
    return max(1, (CACHE_BYTES if jax.default_backend() == "cpu" else BLOCK_BYTES) // carried)


def is_small(model: PyTree) -> bool:
    """Whether every parameter is small."""
    return max((math.prod(leaf.shape) for leaf in jax.tree.leaves(model)), default=0) <= LARGEST_FOR_LANES


def start(net: Module, key: Key) -> Module:
    """Where a member starts: freshly drawn, or at the parameters that `net` has already."""
    return net if is_complete(net) else net.init(key)
