"""Values out of the inside of a function, and a layer's view of the batch around its example.

Nothing here computes: `sow` and `renew` are identities that leave a mark in the program, for
`transform.reap` and for `step` to find. A program that nobody reaps compiles to what it is without them.
"""

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching, mlir

from funcnet._types import Array

T = TypeVar("T")

EXAMPLES = "examples of a batch"
"""The name of the axis over which a loss of one example is mapped."""


def sow(value: T, name: str) -> T:
    """Mark a value under a name, for `reap` to take out and `plant` to replace.

    Args:
        value: a pytree of arrays.
        name: what it is called; once in a function, loops aside.

    Returns:
        `value` as it is.

    Raises:
        TypeError: if the name is no string.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> def f(x):
        ...     return fn.transform.sow(jnp.sin(x), "inside") ** 2
        >>> out, values = fn.transform.reap(f)(0.5)
        >>> round(float(values["inside"]), 4)
        0.4794

    Source: Oryx, `harvest`, 2020, whose words these are.
    """
    if not isinstance(name, str):
        raise TypeError(f"sow(value, name) takes a string for a name; got {name!r}.")
    leaves, tree = jax.tree.flatten(value)
    if not leaves:
        return value
    return jax.tree.unflatten(tree, sow_p().bind(*map(jnp.asarray, leaves), name=name, tree=tree))


def renew(old: Array, seen: Array, share: float) -> None:
    """Say how a buffer moves in this step: old + share · (seen - old), in the dtype in which it is kept.

    `old` is the array as the model holds it, or in another dtype. A training step carries the buffer on; if
    a layer is used twice it moves twice. Everywhere else this does nothing.
    """
    renew_p().bind(old, seen, share=share, each=False)


class _Around(threading.local):
    weight: Any = None


_around = _Around()


@contextlib.contextmanager
def one_of_batch(weight: Array) -> Iterator[None]:
    """While it is traced, a function of one example is one of a batch in which it counts `weight`."""
    before, _around.weight = _around.weight, weight
    try:
        yield
    finally:
        _around.weight = before


def batch_weight() -> Array | None:
    """How much the example that is traced counts in its batch; None outside of a batch."""
    return _around.weight


def over_batch(x: Array) -> Array:
    """The sum of `x` over the examples of the batch."""
    return jax.lax.psum(x, EXAMPLES)


@functools.cache
def sow_p() -> Any:
    """The primitive behind `sow`: its operands, under a name."""
    from jax.extend.core import Primitive

    made = Primitive("sow")
    made.multiple_results = True
    made.def_impl(lambda *leaves, name, tree: list(leaves))
    made.def_abstract_eval(lambda *avals, name, tree: list(avals))
    mlir.register_lowering(made, mlir.lower_fun(lambda *leaves, name, tree: list(leaves), True))
    batching.primitive_batchers[made] = _mapped
    ad.primitive_jvps[made] = _differentiated
    ad.primitive_transposes[made] = lambda slopes, *_, name, tree: slopes
    return made


def _mapped(leaves: Any, axes: Any, *, name: str, tree: Any) -> Any:
    leaves = [
        leaf if axis is None else jnp.moveaxis(leaf, axis, 0)
        for leaf, axis in zip(leaves, axes, strict=True)
    ]
    return sow_p().bind(*leaves, name=name, tree=tree), [None if axis is None else 0 for axis in axes]


def _differentiated(leaves: Any, slopes: Any, *, name: str, tree: Any) -> Any:
    # The tangent is no value of the function: it passes without a mark.
    return sow_p().bind(*leaves, name=name, tree=tree), list(slopes)


@functools.cache
def renew_p() -> Any:
    """The primitive behind `renew`: what was seen, beside the old array."""
    from jax.extend.core import Primitive

    made = Primitive("renew")
    made.def_impl(lambda old, seen, share, each: seen)
    made.def_abstract_eval(lambda old, seen, share, each: seen)
    mlir.register_lowering(made, mlir.lower_fun(lambda old, seen, share, each: seen, False))
    batching.primitive_batchers[made] = _renewed_by_each
    ad.primitive_jvps[made] = _renewed_along
    return made


def _renewed_along(arrays: Any, slopes: Any, **params: Any) -> Any:
    slope = slopes[1]
    return renew_p().bind(*arrays, **params), slope


def _renewed_by_each(arrays: Any, axes: Any, *, share: float, each: bool) -> Any:
    # Each its own: there is not one new array. The mark stays, for a training step to refuse.
    del each
    seen = arrays[1] if axes[1] is None else jnp.moveaxis(arrays[1], axes[1], 0)
    old = arrays[0] if axes[0] is None else jnp.moveaxis(arrays[0], axes[0], 0)
    return renew_p().bind(old, seen, share=share, each=True), None if axes[1] is None else 0
