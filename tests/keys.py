"""Keys of tests, made when they are first used: no import of a test module runs JAX."""

import functools

import jax


@functools.cache
def cached_key(seed: int) -> jax.Array:
    with jax.ensure_compile_time_eval():  # a first use in a traced function would keep a tracer
        return jax.random.key(seed)
