"""The number of the training step that is being traced, for losses whose settings follow a schedule."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import jax

from funcnet._types import Array


class _Context(threading.local):
    step: Any = None


_context = _Context()
_new_trace: Any = None


@contextlib.contextmanager
def at_step(step: Array) -> Iterator[None]:
    """Set the number that `current_step` returns, while a training step is traced."""
    before, _context.step = _context.step, step
    try:
        with contextlib.nullcontext() if _new_trace is None else _new_trace(object()):
            yield
    finally:
        _context.step = before


def current_step() -> Array | None:
    """The number of steps before the one that is being traced, int32 []; None outside of training."""
    return _context.step


def start_new_traces() -> None:
    """From now on no training step shares the trace of a jitted function with another.

    A scheduled loss may be inside that function, and the trace then holds the number of its step. Programs
    without such a loss keep their traces, which saves time.
    """
    global _new_trace
    if _new_trace is None:
        _new_trace = jax.make_user_context()
