"""Why a function is traced again: which argument changed its shape, dtype or structure."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from funcnet import _check, _tree
from funcnet._types import PyTree
from funcnet.transform._arguments import to_arrays


def explain_retrace(f: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """`jax.jit(f)`, with a list of reasons why it was traced again.

    Args:
        f: a function of pytrees of arrays.

    Returns:
        The compiled function, with a list `reasons`: a line for each trace after the first, such as "[0]:
        float32[3] before, float32[4] now", compared with the most similar earlier call.

    Raises:
        TypeError: if `f` is not callable; in the call, if an argument is not a pytree of arrays.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> double = fn.transform.explain_retrace(lambda x: 2 * x)
        >>> _ = double(jnp.ones(3)), double(jnp.zeros(3)), double(jnp.ones(4)), double(1.0)
        >>> double.reasons
        ['[0]: float32[3] before, float32[4] now', '[0]: float32[3] before, float32[] (weak) now']
    """
    _check.function("f", f, "a function of arrays")
    calls: list[dict[str, str]] = []
    reasons: list[str] = []

    @jax.jit
    def traced(*args: Any, **named: Any) -> PyTree:
        now = {path: _kind(leaf) for path, leaf in _tree.paths((args, named) if named else args).items()}
        now |= {"the structure": str(jax.tree.structure((args, named)))}
        if calls:
            reasons.append(min((_difference(before, now) for before in calls), key=len))
        calls.append(now)
        return _check.results("f", f(*args, **named))

    @functools.wraps(f)
    def run(*args: Any, **named: Any) -> PyTree:
        _check.takes("f", f, "a function of arrays", *args, **named)
        return traced(*to_arrays("args", args), **to_arrays("args", named))

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
    return "; ".join(lines) or "the context changed: a JAX flag, the mesh or the matmul precision"


def _kind(leaf: Any) -> str:
    aval = jax.typeof(leaf)
    weak = " (weak)" if getattr(aval, "weak_type", False) else ""
    return f"{_tree.dtype_and_shape(aval)}{weak}"
