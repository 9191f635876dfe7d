"""`jax.jit` with a bounded number of programs."""

import functools
from collections.abc import Callable
from typing import Any

import jax

PROGRAMS = 32
"""How many programs a function keeps, some 10 MB each."""


def bounded_jit(f: Callable[..., Any], **settings: Any) -> Any:
    """`jax.jit(f, **settings)`, which forgets its programs before it traces the 33rd.

    JAX keeps a program for each new shape and each static argument as long as the function exists. A
    process that trains on tables of ever new sizes would grow with each of them. The 33rd program is traced
    again by its next call, since JAX does not keep what is traced while its cache is cleared.
    """
    traces = 0

    @functools.wraps(f)
    def count_trace(*args: Any, **named: Any) -> Any:
        nonlocal traces
        if traces == PROGRAMS:
            traces = 0
            program.clear_cache()
        traces += 1
        return f(*args, **named)

    program: Any = jax.jit(count_trace, **settings)
    return program
