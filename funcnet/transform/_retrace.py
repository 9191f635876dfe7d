"""Why a function is compiled again: which argument is not what it was."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from funcnet import _check, _tree
from funcnet._types import PyTree


def explain_retrace(f: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """`jax.jit(f)`, which keeps in a list why it was traced each time after the first.

    Args:
        f: a function of pytrees of arrays.

    Returns:
        The compiled function, with a list `reasons`: for each further trace a line, "[0]: float32[3]
        before, float32[4] now"; compared with the closest call before.

    Raises:
        TypeError: if `f` can't be called.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> double = fn.transform.explain_retrace(lambda x: 2 * x)
        >>> _ = double(jnp.ones(3)), double(jnp.zeros(3)), double(jnp.ones(4)), double(1.0)
        >>> double.reasons
        ['[0]: float32[3] before, float32[4] now', '[0]: float32[3] before, float32[] (weak) now']
    """
    _check.function("f", f, "a function of arrays")
    seen: list[dict[str, str]] = []
    reasons: list[str] = []

    @jax.jit
    def traced(*args: Any, **named: Any) -> PyTree:
        now = {path: _kind(leaf) for path, leaf in _tree.paths((args, named) if named else args).items()}
        now |= {"the structure": str(jax.tree.structure((args, named)))}
        if seen:
            reasons.append(min((_difference(before, now) for before in seen), key=len))
        seen.append(now)
        return f(*args, **named)

    @functools.wraps(f)
    def run(*args: Any, **named: Any) -> PyTree:
        return traced(*args, **named)

    run.reasons = reasons  # type: ignore[attr-defined]
    return run


def _difference(before: dict[str, str], now: dict[str, str]) -> str:
    lines = [
        f"{path}: {before.get(path, 'nothing')} before, {now.get(path, 'nothing')} now"
        for path in {**before, **now}
        if before.get(path) != now.get(path) and path != "the structure"
    ]
    if not lines and before["the structure"] != now["the structure"]:
        lines = [f"the structure: {before['the structure']} before, {now['the structure']} now"]
    return "; ".join(lines) or "another context: a flag of JAX, a mesh, a precision"


def _kind(leaf: Any) -> str:
    aval = jax.typeof(leaf)
    weak = " (weak)" if getattr(aval, "weak_type", False) else ""
    return f"{_tree.dtype_and_shape(aval)}{weak}"
