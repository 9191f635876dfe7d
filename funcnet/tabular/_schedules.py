"""How the learning rate, weight decay and dropout change over a run."""

import jax.numpy as jnp

from funcnet._types import Array


def cosine_cycles(progress: Array, cycles: Array | float = 4.0) -> Array:
    """Cosine cycles from 0 to 1 and back to 0, each twice as long as the last one.

    A run that starts to overfit early ends a cycle early, and its best epoch has a small learning rate.

    Args:
        progress: the fraction of the run that is done, 0 .. 1.
        cycles: number of cycles; 0 for a constant 1.

    Source: "coslog4" in Holzmüller et al., "Better by default", 2024.
    """
    wave = 0.5 * (1 - jnp.cos(2 * jnp.pi * jnp.log2(1 + (2.0**cycles - 1) * progress)))
    return jnp.where(cycles > 0, wave, 1.0)


def flat_cosine(progress: Array) -> Array:
    """1 for the first half of the run, then along a cosine to 0.

    Args:
        progress: the fraction of the run that is done, 0 .. 1.
    """
    return jnp.where(progress < 0.5, 1.0, 0.5 * (1 + jnp.cos(2 * jnp.pi * (progress - 0.5))))
