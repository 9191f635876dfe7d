"""Take sown values out of a function, and put other values into it."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax

from funcnet import _check, _tree
from funcnet._sow import sow
from funcnet._types import PyTree
from funcnet.transform._arguments import partition_arrays, to_arrays
from funcnet.transform._harvest import Harvest, Sown, harvest

__all__ = ["plant", "reap", "sow"]


def reap(f: Callable[..., PyTree]) -> Callable[..., tuple[PyTree, Sown]]:
    """`f`, returning also the values that it sows.

    jit, vmap, grad, remat and custom derivatives leave a value as it is; `scan` stacks the values of its
    iterations along a leading axis [length]; a `while` loop gives the value of its last iteration, zeros if
    there is none; a `cond` gives that of the branch taken, zeros if that branch does not sow the name. The
    result can itself be mapped, differentiated and compiled, and `f` keeps its custom derivatives.

    Args:
        f: any function of pytrees of arrays.

    Returns:
        A function of the same arguments that returns `(f(*args), {name: value})`.

    Raises:
        TypeError: if `f` is not callable.
        ValueError: if a name is sown twice, or inside an operation that cannot be opened.

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
        results, sown, _ = _harvest(f, args, named, {})
        return results, sown

    return reaped


def plant(f: Callable[..., PyTree], values: Sown) -> Callable[..., PyTree]:
    """`f` with other values in place of those that it sows.

    Args:
        f: any function of pytrees of arrays.
        values: by name, in the shapes in which `reap` returns them; for a `while` loop one value for all
            iterations.

    Returns:
        A function of the arguments of `f`.

    Raises:
        TypeError: if `f` is not callable.
        ValueError: if a name is not sown, or a value has another shape.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> def f(x):
        ...     return fn.transform.sow(jnp.sin(x), "inside") ** 2
        >>> float(fn.transform.plant(f, {"inside": 3.0})(0.5))
        9.0
    """
    _check.function("f", f, "a function of arrays")
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise TypeError(
            f"values must be a mapping from names to values, got {_check.describe(values)}. "
            "reap(f)(*args)[1] returns one."
        )
    values = {name: to_arrays(f"values[{name!r}]", value) for name, value in values.items()}

    @functools.wraps(f)
    def planted(*args: Any, **named: Any) -> PyTree:
        results, sown, _ = _harvest(f, args, named, values)
        if missing := sorted(set(values) - set(sown)):
            names = ", ".join(sown) or "nothing"
            raise ValueError(f"values must have names that `f` sows ({names}), got {missing[0]!r}.")
        return results

    return planted


def _harvest(
    f: Callable[..., PyTree], args: tuple[Any, ...], named: dict[str, Any], values: Sown
) -> Harvest:
    _check.takes("f", f, "a function of arrays", *args, **named)
    arrays, others = partition_arrays("args", (args, named), others=True)

    def of_arrays(arrays: PyTree) -> PyTree:
        # Leaves that are not arrays, such as functions and names, are constants of the program.
        args, named = _tree.combine(arrays, others)
        return _check.results("f", f(*args, **named))

    program, structs = jax.make_jaxpr(of_arrays, return_shape=True)(arrays)
    harvested = harvest(program, jax.tree.leaves(arrays), values)
    results = jax.tree.unflatten(jax.tree.structure(structs), harvested.results)
    return harvested._replace(results=results)
