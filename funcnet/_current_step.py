"""The number of the training step that is being traced, for losses whose settings follow a schedule."""

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

import jax

from funcnet._types import Array, Loss


class _Context(threading.local):
    step: Any = None


_context = _Context()


@contextlib.contextmanager
def at_step(step: Array, loss: Loss) -> Iterator[None]:
    """Set the number that `current_step` returns, while the training step of a loss is traced."""
    # JAX would reuse the trace of a jitted loss, with the number of another step in it.
    is_scheduled = getattr(loss, "scheduled", False)
    before, _context.step = _context.step, step
    try:
        with _new_trace()(object()) if is_scheduled else contextlib.nullcontext():
            yield
    finally:
        _context.step = before


def current_step() -> Array | None:
    """The number of steps before the one that is being traced, int32 []; None outside of training."""
    return _context.step


@functools.cache
def _new_trace() -> Any:
    """A context for JAX: within two values of it, no trace of a jitted function is shared."""
    return jax.make_user_context()
