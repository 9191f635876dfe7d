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
import numpy as np
from jax.interpreters import ad, batching, mlir

from funcnet import _check, _tree
from funcnet._types import Array

T = TypeVar("T")

BATCH_AXIS = "examples of a batch"
"""The name of the axis over which `fit` maps a loss of one example: `jax.lax.psum(x, fn.BATCH_AXIS)`.

It exists in training, in a layer that is called with a key. Rows of weight 0 are among the examples.
"""


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


def update_buffer(buffer: Any, new: Array, step_size: float | None = None) -> None:
    """Set a buffer of the model in this training step, in a layer of one's own.

    The layer sees one example; the new value must be that of the whole batch, the same for all examples.
    Take means over them by `jax.lax.pmean(x, fn.BATCH_AXIS)`. This axis exists in training steps only, so
    write `if key is not None: ...`, and don't call the layer with a key outside of them. The rows that pad
    a short last batch are in these means, unless the class declares `needs_batch: ClassVar[bool] = True`.
    `fn.fit`, `fn.step` and `fn.Trainer` return the model with the updated buffer.

    Args:
        buffer: a `fn.Buffer` of the model that is trained.
        new: an array of the same shape.
        step_size: by default the buffer becomes `new`, and a layer may be called once in a step. With a
            number in (0, 1], it becomes buffer + step_size · (new - buffer), once for each call.

    Raises:
        TypeError: if `buffer` is not a Buffer of one array, or would round a floating value to an integer.
        ValueError: if the shapes differ, or `step_size` is not in (0, 1]; in a training step, if `new`
            depends on the example.

    Example:
        >>> from typing import ClassVar
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> class Mean(fn.Module):  # the running mean of all inputs
        ...     needs_batch: ClassVar[bool] = True
        ...     mean: fn.Buffer = fn.Buffer(jnp.zeros(()))
        ...     scale: jax.Array | None = None
        ...     def parameters(self, key):
        ...         return {"scale": jnp.ones(())}
        ...     def __call__(self, x, key=None):
        ...         if key is not None:
        ...             fn.update_buffer(self.mean, jax.lax.pmean(x, fn.BATCH_AXIS), step_size=0.5)
        ...         return self.scale * (x - self.mean.value)
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.sgd(0.0), epochs=1)
        >>> x = jnp.array([1.0, 3.0])
        >>> run = train(Mean().init(jax.random.key(0)), (x, x), jax.random.key(1))
        >>> float(run.model.mean.value)
        1.0
    """
    old: Any = getattr(buffer, "value", None)
    if not _tree.is_array(old):
        raise TypeError(
            f"buffer must be a fn.Buffer of one array, got {_check.describe(buffer)}. Try "
            "fn.update_buffer(self.mean, new)."
        )
    _check.same_shape("new", new, "the buffer", old)
    if isinstance(step_size, int | float | np.number) and not 0 < step_size <= 1:
        raise ValueError(f"step_size must be in (0, 1], got {step_size!r}.")
    is_part = step_size is not None and not (isinstance(step_size, int | float) and step_size == 1)
    is_rounded = is_part or jnp.issubdtype(jnp.result_type(new), jnp.floating)
    if is_rounded and not jnp.issubdtype(old.dtype, jnp.inexact):
        raise TypeError(
            f"buffer must be floating, since the new value would be rounded, got {old.dtype}. Try "
            "fn.Buffer(jnp.array(0.0))."
        )
    replace_buffer(old, new, step_size)


def replace_buffer(old: Array, new: Array, step_size: float | None = None) -> None:
    """`update_buffer` of the array in a buffer, possibly cast to another dtype."""
    update_buffer_p().bind(old, jnp.asarray(new), step_size=step_size, per_example=False)


class _Context(threading.local):
    weight: Any = None
    calls_once: bool = False


_context = _Context()


@contextlib.contextmanager
def in_batch(weight: Array) -> Iterator[None]:
    """Set what `batch_weight` returns, while a loss of one example or of a whole batch is traced."""
    before, _context.weight = _context.weight, weight
    try:
        yield
    finally:
        _context.weight = before


@contextlib.contextmanager
def calling_once() -> Iterator[None]:
    """While a loss of one example calls the model once, and does not differentiate by its input.

    Then a network of another library may be called on the whole batch instead, which is the same and
    cheaper: each of its matrix products is one product, without an axis of length 1.
    """
    before, _context.calls_once = _context.calls_once, True
    try:
        yield
    finally:
        _context.calls_once = before


def is_called_once() -> bool:
    """Whether this is within `calling_once`, in a loss of one example."""
    return _context.calls_once and _context.weight is not None and not _context.weight.ndim


def batch_weight() -> Array | None:
    """The weight of the traced example in its batch, []; in a batchwise loss those of its rows, [rows].

    None outside of a batch.
    """
    return _context.weight


def over_batch(x: Array) -> Array:
    """The sum of `x` over the examples of the batch."""
    return jax.lax.psum(x, BATCH_AXIS)


def gather_batch(tree: T) -> T:
    """The values of all examples of the batch, with a leading axis; they are the same for each example."""

    def gather(leaf: Any) -> Any:
        if not _tree.is_key(leaf):
            return jax.lax.all_gather(leaf, BATCH_AXIS)
        return jax.random.wrap_key_data(gather(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))

    return jax.tree.map(gather, tree)


def own_row(tree: T) -> T:
    """The row of this example, of arrays with a row for each example of the batch."""
    row = jax.lax.axis_index(BATCH_AXIS)
    options: Any = {"mode": "promise_in_bounds", "unique_indices": True, "indices_are_sorted": True}
    return jax.tree.map(lambda leaf: leaf.at[row].get(**options), tree)


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


def _batch_update_buffer(arrays: Any, axes: Any, *, step_size: float | None, per_example: bool) -> Any:
    # Each example has its own new array, so there is no single update. A training step raises an error.
    del per_example
    old, new = (
        array if axis is None else jnp.moveaxis(array, axis, 0)
        for array, axis in zip(arrays, axes, strict=True)
    )
    out = update_buffer_p().bind(old, new, step_size=step_size, per_example=True)
    return out, None if axes[1] is None else 0
