"""How the learning rate, weight decay and dropout change over a run."""

import jax.numpy as jnp

from funcnet._types import Array


def coslog4(progress: Array) -> Array:
    """Four cosine cycles of growing length, from 0 to 1 and back to 0 (Holzmüller et al. 2024).

    Args:
        progress: the fraction of the run that is done, 0 .. 1.
    """
    return 0.5 * (1 - jnp.cos(2 * jnp.pi * jnp.log2(1 + 15 * progress)))


def flat_cosine(progress: Array) -> Array:
    """1 for the first half of the run, then along a cosine to 0.

    Args:
        progress: the fraction of the run that is done, 0 .. 1.
    """
    return jnp.where(progress < 0.5, 1.0, 0.5 * (1 + jnp.cos(2 * jnp.pi * (progress - 0.5))))
