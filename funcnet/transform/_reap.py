"""Sown values out of a function, other values into it."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._sow import renew_p, sow
from funcnet._types import PyTree
from funcnet.transform._jaxpr import holds
from funcnet.transform._marks import Sown, interpret

__all__ = ["plant", "reap", "renewed", "sow"]


def reap(f: Callable[..., PyTree]) -> Callable[..., tuple[PyTree, Sown]]:
    """`f` together with what is sown in it.

    Through jit, vmap, grad, remat and custom derivatives a value comes out as it is; through `scan` with an
    axis [length] for the turns; from a `while` loop the one of the last turn, zeros if there was none; from
    a `cond` that of the branch taken, zeros where that branch sows nothing of the name. It can be mapped,
    differentiated and compiled in turn, and `f` keeps its custom derivatives.

    Args:
        f: any function of pytrees of arrays.

    Returns:
        A function of the same arguments: (what `f` returns, {name: value}).

    Raises:
        TypeError: if `f` can't be called.
        ValueError: if a name is sown twice, or within an operation that can't be opened.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> def f(x):
        ...     return jax.lax.fori_loop(0, 3, lambda i, x: fn.transform.sow(2 * x, "doubled"), x)
        >>> out, values = fn.transform.reap(f)(1.0)
        >>> float(out), values["doubled"].tolist()
        (8.0, [2.0, 4.0, 8.0])
    """
    _check.function("f", f, "a function of arrays")

    @functools.wraps(f)
    def reaped(*args: Any, **named: Any) -> tuple[PyTree, Sown]:
        return _interpreted(f, args, named, {})

    return reaped


def plant(f: Callable[..., PyTree], values: Sown) -> Callable[..., PyTree]:
    """`f` with other values in place of those that it sows.

    Args:
        f: any function of pytrees of arrays.
        values: by name, in the shapes in which `reap` gives them; of a `while` loop one for all turns.

    Returns:
        A function of the arguments of `f`.

    Raises:
        TypeError: if `f` can't be called.
        ValueError: if a name is not sown, or a value has another shape.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> def f(x):
        ...     return fn.transform.sow(jnp.sin(x), "inside") ** 2
        >>> float(fn.transform.plant(f, {"inside": 3.0})(0.5))
        9.0
    """
    _check.function("f", f, "a function of arrays")

    @functools.wraps(f)
    def planted(*args: Any, **named: Any) -> PyTree:
        results, sown = _interpreted(f, args, named, values)
        if missing := sorted(set(values) - set(sown)):
            raise ValueError(
                f"nothing is sown under {missing[0]!r} in this function; sown: "
                f"{', '.join(sown) or 'nothing'}."
            )
        return results

    return planted


def _interpreted(
    f: Callable[..., PyTree], args: tuple[Any, ...], named: dict[str, Any], values: Sown
) -> tuple[PyTree, Sown]:
    leaves, tree = jax.tree.flatten((args, named))
    places = [i for i, leaf in enumerate(leaves) if _is_array(leaf)]

    def of_arrays(arrays: list[Any]) -> PyTree:
        filled = list(leaves)  # what is no array, such as a function or a name, is a part of the program
        for i, array in zip(places, arrays, strict=True):
            filled[i] = array
        args, named = jax.tree.unflatten(tree, filled)
        return f(*args, **named)

    arrays = [leaves[i] for i in places]
    traced, shape = jax.make_jaxpr(of_arrays, return_shape=True)(arrays)
    found = interpret(traced.jaxpr, traced.consts, arrays, values)
    return jax.tree.unflatten(jax.tree.structure(shape), found.results), found.sown


def _is_array(leaf: Any) -> bool:
    if isinstance(leaf, bool | int | float | complex):
        return True
    return hasattr(leaf, "dtype") and hasattr(leaf, "shape") and not isinstance(leaf, type)


def renewed(f: Callable[..., PyTree], rest: PyTree) -> tuple[PyTree, PyTree]:
    """`f(rest)`, and `rest` with the arrays that `f` renews; the very same `rest` if it renews none."""
    if not jax.tree.leaves(rest):
        return f(rest), rest
    traced, shape = jax.make_jaxpr(f, return_shape=True)(rest)
    if not holds(traced.jaxpr, renew_p()):
        return f(rest), rest
    leaves, tree = jax.tree.flatten(rest)
    found = interpret(traced.jaxpr, traced.consts, leaves, {})
    for place, moves in found.renewed.items():
        for seen, share in moves:
            old = leaves[place]
            leaves[place] = old + jnp.asarray(share, old.dtype) * (seen.astype(old.dtype) - old)
    return jax.tree.unflatten(jax.tree.structure(shape), found.results), jax.tree.unflatten(tree, leaves)
