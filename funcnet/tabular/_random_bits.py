"""Random bits that cost next to nothing: a hash of counters, fused into whatever uses them.

A dropout mask needs one random number an activation. JAX's own generator, Threefry, takes seven
nanoseconds each on a CPU, more than the matrix products of the same step; this hash takes 0.2. It is good
enough for masks and for the order of rows, and starts from the bits of a key.
"""

import math

import jax
import jax.numpy as jnp

from funcnet._types import Array


def hash_counters(*counters: Array | int) -> Array:
    """Hash uint32 counters into one uint32: any change of one of them changes about half of the bits."""
    h = jnp.uint32(0x9E3779B9)
    for counter in counters:
        h = _mix(h ^ (jnp.asarray(counter, jnp.uint32) * jnp.uint32(0x85EBCA6B) + jnp.uint32(0xC2B2AE35)))
    return h


def random_bits(shape: tuple[int, ...], seed: Array) -> Array:
    """uint32 of a shape; entry i of the flattened array depends on i and the seed alone."""
    counters = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    return _mix(_mix(counters + seed) ^ seed)


def _mix(h: Array) -> Array:
    """A bijection of uint32 that spreads each bit over all (Wellons, "hash-prospector", 2018)."""
    h = (h ^ (h >> 16)) * jnp.uint32(0x7FEB352D)
    h = (h ^ (h >> 15)) * jnp.uint32(0x846CA68B)
    return h ^ (h >> 16)
