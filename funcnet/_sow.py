"""Access to values inside a function, and to the batch of the example that a layer computes.

`sow` and `update_buffer` compute nothing: they are identities that leave an equation in the program, for
`transform.reap` and for `step`. A program that is not reaped compiles as if they were absent.
"""

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching, mlir

from funcnet import _check
from funcnet._types import Array

T = TypeVar("T")

EXAMPLES = "examples of a batch"
"""The name of the axis over which a loss of one example is mapped."""


def sow(value: T, name: str) -> T:
    """Mark a value with a name, for `reap` to take out and `plant` to replace.

    Args:
        value: a pytree of arrays.
        name: its name, used once in a function; a loop may repeat it.

    Returns:
        `value`, unchanged.

    Raises:
        TypeError: if `name` is not a string, or `value` does not hold arrays.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> def f(x):
        ...     return fn.transform.sow(jnp.sin(x), "inside") ** 2
        >>> out, values = fn.transform.reap(f)(0.5)
        >>> round(float(values["inside"]), 4)
        0.4794

    Source: Oryx, `harvest`, 2020, which introduced these terms.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {_check.describe(name)}. Try sow(value, 'hidden').")
    leaves, tree = jax.tree.flatten(value)
    if not leaves:
        raise TypeError(f"value must hold at least one array, got {_check.describe(value)}.")
    arrays = [
        jnp.asarray(leaf)
        if isinstance(leaf, jax.Array | float | complex)
        else _check.jax_array("value", leaf)
        for leaf in leaves
    ]
    return jax.tree.unflatten(tree, sow_p().bind(*arrays, name=name, tree=tree))


def update_buffer(old: Array, new: Array, step_size: float) -> None:
    """Update a buffer in this step: old + step_size · (new - old), in the dtype of the buffer.

    `old` is the model's array, possibly cast to another dtype. A training step returns the updated buffer;
    if a layer is called twice, its buffer is updated twice. Outside of a training step this has no effect.
    """
    update_buffer_p().bind(old, new, step_size=step_size, per_example=False)


class _Context(threading.local):
    weight: Any = None


_context = _Context()


@contextlib.contextmanager
def in_batch(weight: Array) -> Iterator[None]:
    """Set what `batch_weight` returns, while a loss of one example or of a whole batch is traced."""
    before, _context.weight = _context.weight, weight
    try:
        yield
    finally:
        _context.weight = before


def batch_weight() -> Array | None:
    """The weight of the traced example in its batch, []; in a batchwise loss those of its rows, [rows].

    None outside of a batch.
    """
    return _context.weight


def over_batch(x: Array) -> Array:
    """The sum of `x` over the examples of the batch."""
    return jax.lax.psum(x, EXAMPLES)


@functools.cache
def sow_p() -> Any:
    """The primitive of `sow`: returns its operands."""
    from jax.extend.core import Primitive

    primitive = Primitive("sow")
    primitive.multiple_results = True
    primitive.def_impl(lambda *leaves, name, tree: list(leaves))
    primitive.def_abstract_eval(lambda *avals, name, tree: list(avals))
    mlir.register_lowering(primitive, mlir.lower_fun(lambda *leaves, name, tree: list(leaves), True))
    batching.primitive_batchers[primitive] = _batch_sow
    ad.primitive_jvps[primitive] = _jvp_of_sow
    ad.primitive_transposes[primitive] = lambda cotangents, *_, name, tree: cotangents
    return primitive


def _batch_sow(leaves: Any, axes: Any, *, name: str, tree: Any) -> Any:
    leaves = [
        leaf if axis is None else jnp.moveaxis(leaf, axis, 0)
        for leaf, axis in zip(leaves, axes, strict=True)
    ]
    return sow_p().bind(*leaves, name=name, tree=tree), [None if axis is None else 0 for axis in axes]


def _jvp_of_sow(leaves: Any, tangents: Any, *, name: str, tree: Any) -> Any:
    # A tangent is not a value of the function, so it is not sown.
    return sow_p().bind(*leaves, name=name, tree=tree), list(tangents)


@functools.cache
def update_buffer_p() -> Any:
    """The primitive of `update_buffer`: takes the old and the new array, and returns the new one."""
    from jax.extend.core import Primitive

    primitive = Primitive("update_buffer")
    primitive.def_impl(lambda old, new, step_size, per_example: new)
    primitive.def_abstract_eval(lambda old, new, step_size, per_example: new)
    lowering = mlir.lower_fun(lambda old, new, step_size, per_example: new, False)
    mlir.register_lowering(primitive, lowering)
    batching.primitive_batchers[primitive] = _batch_update_buffer
    ad.primitive_jvps[primitive] = _jvp_of_update_buffer
    return primitive


def _jvp_of_update_buffer(arrays: Any, tangents: Any, **params: Any) -> Any:
    return update_buffer_p().bind(*arrays, **params), tangents[1]


def _batch_update_buffer(arrays: Any, axes: Any, *, step_size: float, per_example: bool) -> Any:
    # Each example has its own new array, so there is no single update. A training step raises an error.
    del per_example
    old, new = (
        array if axis is None else jnp.moveaxis(array, axis, 0)
        for array, axis in zip(arrays, axes, strict=True)
    )
    out = update_buffer_p().bind(old, new, step_size=step_size, per_example=True)
    return out, None if axes[1] is None else 0
