"""Sums in a wider dtype, results in that of the input."""

import jax.numpy as jnp

from funcnet._types import Array


def wide(x: Array) -> Array:
    """At least float32: sums and squares of half precision overflow and lose their digits."""
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    return x if floating and x.dtype.itemsize >= 4 else x.astype(jnp.float32)


def as_floating(y: Array, dtype: jnp.dtype) -> Array:
    """`y` in the dtype of the input; as it is where that was whole numbers."""
    return y.astype(dtype) if jnp.issubdtype(dtype, jnp.floating) else y
