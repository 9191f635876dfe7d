"""Mapping over many members of one kind: in blocks, over devices, by `vmap` or `vmap_last`."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _mesh
from funcnet._module import Module, is_complete, needs_batch
from funcnet._types import Array, Key, PyTree
from funcnet.transform import vmap_last

# Measured with MLPs 4-h-3 on two cores: `vmap_last` pays up to this size of the largest parameter and from
# this number of members; with h = 64 it takes twice the time of `vmap`.
SMALL_PARAMETER = 128
MIN_MEMBERS_FOR_VMAP_LAST = 32
SMALL_BLOCK = 128
# If fewer members than slots are computed, the last block is padded: a block of 16 takes a fifth of the
# time of one of 128.
SMALL_BLOCK_OF_FEW = 16
# On a CPU, the block of larger members is chosen such that their loop state stays in the cache: the MLP
# for digits takes 33 µs per model and step in blocks of 4, 45 alone, 46 in blocks of 16; a ConvNet is
# fastest alone.
CACHE_BYTES = 3 * 2**18
BLOCK_BYTES = 2**28

ProgressCallback: TypeAlias = Callable[[int], None]


def map_members(
    one: Callable[[PyTree, Array], PyTree],
    shared: PyTree,
    size: int,
    block: int | None,
    small: bool,
    progress: ProgressCallback | None,
    first: Array | int = 0,
    width: int | None = None,
    small_block: int = SMALL_BLOCK,
    count: Array | None = None,
) -> PyTree:
    """`one(shared, number)` for each number 0 .. size-1, results stacked: in blocks, over all devices.

    Args:
        one: pure in what all members share and a member's number, an int32 scalar.
        shared: a pytree of arrays.
        size: the number of members.
        block: the number of members computed side by side on a device; chosen by memory if None.
        small: whether members are small enough for `vmap_last`.
        progress: called on the host, from within the program, with the number of members of each
            finished block.
        first, width: the number of the first member, and how many are computed from there, with copies of
            the last member beyond the end; all members if None.
        small_block: the block of small members.
        count: the number of the first members that are computed, int32 []; of the others, the results hold
            any values. It is not part of the program. All members if None.

    Returns:
        The results, a pytree of arrays [width, ...].
    """
    one = jax.jit(one)  # traced once, though the block is chosen by the shapes of its results
    small = small and size >= MIN_MEMBERS_FOR_VMAP_LAST
    devices = _mesh.num_devices()
    width = size if width is None else width
    size_per_device = math.ceil(width / devices)
    block = min(size_per_device, block or _choose_block(one, shared, small_block if small else None))
    blocks = math.ceil(size_per_device / block)
    mapped = (vmap_last if small else jax.vmap)(one, in_axes=(None, 0)) if block > 1 else _map_single(one)
    numbers = first + jnp.arange(devices * blocks * block, dtype=jnp.int32).reshape(devices * blocks, block)
    if count is not None:  # the first blocks are one for each device
        numbers = numbers.reshape(blocks, devices, block).swapaxes(0, 1).reshape(-1, block)

    def run_block(shared: PyTree, numbers: Array, stop: Array | int) -> PyTree:
        # The last block is padded with copies of the last member, which are dropped below.
        results = mapped(shared, jnp.minimum(numbers, size - 1))
        if progress is not None:  # the callback depends on a result, so it runs after the block is done
            last, finished = jax.tree.leaves(results)[-1], jnp.sum(numbers < stop)
            jax.debug.callback(lambda _, count: progress(int(count)), last, finished)
        return results

    def run(numbers: Array, arguments: tuple[PyTree, Array | None]) -> PyTree:
        shared, count = arguments
        if count is not None:
            return _map_blocks(lambda block: run_block(shared, block, count), numbers, count)
        if len(numbers) == 1:
            return jax.tree.map(lambda a: a[None], run_block(shared, numbers[0], size))
        return jax.lax.map(lambda block: run_block(shared, block, size), numbers)

    results = _mesh.map_devices(run)(numbers, (shared, count))
    if count is not None:
        results = jax.tree.map(
            lambda a: a.reshape(devices, blocks, *a.shape[1:]).swapaxes(0, 1).reshape(a.shape), results
        )
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:width], results)


def _map_blocks(run_block: Callable[[Array], PyTree], numbers: Array, count: Array) -> PyTree:
    """`run_block` of the blocks whose first number is below `count`, and zeros for the others."""
    structs = jax.eval_shape(run_block, numbers[0])
    zeros = jax.tree.map(lambda a: jnp.zeros((len(numbers), *a.shape), a.dtype), structs)

    def add_block(i: Array, results: PyTree) -> PyTree:
        return jax.tree.map(lambda a, new: a.at[i].set(new), results, run_block(numbers[i]))

    return jax.lax.fori_loop(0, jnp.sum(numbers[:, 0] < count), add_block, zeros)


def block_width(
    one: Callable[[PyTree, Array], PyTree],
    shared: PyTree,
    size: int,
    block: int | None,
    small: bool,
    small_block: int = SMALL_BLOCK,
) -> int:
    """The number of members that all devices compute at once: a block on each."""
    small = small and size >= MIN_MEMBERS_FOR_VMAP_LAST
    block = block or _choose_block(one, shared, small_block if small else None)
    return min(size, _mesh.num_devices() * block)


def _map_single(one: Callable[[PyTree, Array], PyTree]) -> Callable[[PyTree, Array], PyTree]:
    """`vmap` for blocks of one member, which is computed without a batch axis."""

    def map_block(shared: PyTree, numbers: Array) -> PyTree:
        return jax.tree.map(lambda a: a[None], one(shared, numbers[0]))

    return map_block


def _choose_block(one: Callable[[PyTree, Array], PyTree], shared: PyTree, small_block: int | None) -> int:
    """A fixed number of small members; of others as many as the cache or the device memory holds."""
    if small_block is not None:
        return small_block
    result = jax.eval_shape(one, shared, jax.ShapeDtypeStruct((), jnp.int32))
    bytes_per_member = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(result))
    return max(1, (CACHE_BYTES if jax.default_backend() == "cpu" else BLOCK_BYTES) // bytes_per_member)


def check_equal_sizes(model: PyTree, has_padding: bool, what: str, advice: str) -> None:
    """Check that a model which needs its whole batch does not get rows of weight 0 as padding."""
    if has_padding and needs_batch(model):
        raise ValueError(
            f"{what} would be padded with rows of weight 0, and this network needs its whole batch in "
            "training: rows of weight 0 would enter its state, such as running statistics, as in its own "
            f"library. {advice}"
        )


def is_small(model: PyTree) -> bool:
    """Whether every parameter is small."""
    return max(map(jnp.size, jax.tree.leaves(model)), default=0) <= SMALL_PARAMETER


def init_if_incomplete(net: Module, key: Key) -> Module:
    """`net.init(key)` for an architecture; `net` itself if it has its parameters already."""
    return net if is_complete(net) else net.init(key)


def model_of_shapes(net: Module, key: Key) -> Module:
    """A model with the shapes and dtypes of `init_if_incomplete`, for checks.

    Drawing one outside of a program would compile each of its operations, which takes seconds.
    """

    def zeros(leaf: jax.ShapeDtypeStruct) -> Any:  # of NumPy, which takes no time, but has no keys
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return (jnp if is_key else np).zeros(leaf.shape, leaf.dtype)

    return jax.tree.map(zeros, jax.eval_shape(init_if_incomplete, net, key))


def check_start_is_drawn(net: Module) -> None:
    """Check that a study can draw the start of each run: not of a network that another library built."""
    if net.has_fixed_start:
        raise ValueError(
            "a study draws the start of each run, and this network of another library was built already. "
            "Pass a function that builds it: fn.interop.from_equinox(lambda key: Net(key)), "
            "from_nnx(lambda rngs: Net(rngs)), from_keras(lambda: keras.Sequential([...]))."
        )
