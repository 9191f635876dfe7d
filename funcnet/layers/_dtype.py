"""Compute in at least float32, return the dtype of the input."""

import jax.numpy as jnp

from funcnet._types import Array


def wide(x: Array) -> Array:
    """`x` in at least float32: sums and squares in half precision overflow and lose precision."""
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    return x if floating and x.dtype.itemsize >= 4 else x.astype(jnp.float32)


def as_floating(y: Array, dtype: jnp.dtype) -> Array:
    """`y` cast to the input's dtype if that is floating, otherwise unchanged."""
    return y.astype(dtype) if jnp.issubdtype(dtype, jnp.floating) else y
