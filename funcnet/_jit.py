"""`jax.jit` with a bounded number of programs."""

import functools
from collections.abc import Callable
from typing import Any

import jax

PROGRAMS = 32
"""How often a function is traced before its programs are forgotten: some 10 MB each."""


def bounded_jit(f: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
    """`jax.jit(f, **settings)`, which forgets all its programs after every 32 traces.

    JAX keeps a program for each new shape and each static argument as long as the function exists. A
    process that trains on tables of ever new sizes would grow with each of them.
    """
    traces = 0

    @functools.wraps(f)
    def traced(*args: Any, **named: Any) -> Any:
        nonlocal traces
        traces += 1
        return f(*args, **named)

    program: Any = jax.jit(traced, **settings)

    @functools.wraps(f)
    def call(*args: Any, **named: Any) -> Any:
        nonlocal traces
        result = program(*args, **named)
        if traces >= PROGRAMS:
            traces = 0
            program.clear_cache()
        return result

    call.program = program  # type: ignore[attr-defined]
    return call
