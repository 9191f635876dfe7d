"""Keys of tests, made when they are first used: no import of a test module runs JAX."""

import functools
from collections.abc import Callable

import jax


@functools.cache
def cached_key(seed: int) -> jax.Array:
    with jax.ensure_compile_time_eval():  # a first use in a traced function would keep a tracer
        return jax.random.key(seed)


def lazy_key(seed: int) -> Callable[[], jax.Array]:
    """A function that returns a key: `KEY = lazy_key(0)` in a module, `KEY()` in its tests."""
    return functools.partial(cached_key, seed)
