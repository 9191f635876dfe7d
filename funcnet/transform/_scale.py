"""Norms whose squares neither overflow nor vanish."""

import jax.numpy as jnp

from funcnet._types import Array


def magnitude(*arrays: Array) -> Array:
    """The largest absolute value, to divide by: limited to numbers whose reciprocal is normal, too.

    It is 1 if there are no arrays. XLA divides by a scalar as a product with its reciprocal, which would
    be 0 for 3e38 in float32.
    """
    if not arrays:
        return jnp.ones(())
    dtype = max((a.dtype for a in arrays), key=lambda dtype: dtype.itemsize)
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(a), initial=0).astype(dtype) for a in arrays]))
    return jnp.clip(largest, jnp.finfo(dtype).tiny, jnp.finfo(dtype).max / 64)


def scaled_norm(v: Array) -> Array:
    """The Euclidean norm of a vector."""
    return magnitude(v) * jnp.linalg.norm(v / magnitude(v))
