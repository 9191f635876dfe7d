"""Which operation made the first number that is none: a program gone through operation by operation."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._types import PyTree
from funcnet.transform._jaxpr import bind, called, scan_parts, while_parts

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr, JaxprEqn


@dataclasses.dataclass(frozen=True)
class NotFinite:
    """The first operation whose result is not finite although all it was given is.

    Args:
        operation: JAX's name for it: "log", "div", "sqrt", …; "argument" if a NaN was passed in.
        source: file, line and function that called for it; empty if JAX does not know.
        inputs: what it was given: shape, dtype, least and largest value of each input.
        result: the same of its first result that is not finite, with how many entries are none.
        turn: the number of the turn of each loop around it, the outermost first; from 0.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.transform.find_nan(jnp.log)(-jnp.ones(2)).result
        'float32[2], 2 of 2 not finite'
    """

    operation: str
    source: str
    inputs: tuple[str, ...]
    result: str
    turn: tuple[int, ...] = ()

    def __str__(self) -> str:
        turn = f" in turn {', '.join(map(str, self.turn))} of its loop" if self.turn else ""
        given = "\n".join(f"  input: {text}" for text in self.inputs)
        where = f"{self.operation} at {self.source or 'an unknown place'}{turn}"
        return f"{where}\n{given}\n  result: {self.result}"


def find_nan(f: Callable[..., PyTree]) -> Callable[..., NotFinite | None]:
    """Run a function operation by operation, and stop at the first that makes a NaN or an infinity.

    Loops are run turn by turn and compiled parts are opened, so that this takes long; every number is the
    one that was computed. An infinity is found where all numbers before it were finite, a NaN where none
    was given: a mask of -inf passes, and 0 / 0 made of it does not.

    Args:
        f: any function of pytrees of arrays, gradients included: `find_nan(jax.grad(loss))(model)`.

    Returns:
        A function of the same arguments: a `NotFinite`, or None if all is finite.

    Raises:
        TypeError: if `f` can't be called.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> def loss(x):
        ...     return jnp.sum(jnp.sqrt(x))
        >>> found = fn.transform.find_nan(jax.grad(loss))(jnp.array([1.0, 0.0]))
        >>> found.operation, found.inputs[1]
        ('div', 'float32[2] from 0 to 1')
    """
    _check.function("f", f, "a function of arrays")

    def find(*args: Any) -> NotFinite | None:
        for path, leaf in _tree.paths(args).items():
            if _has_nan(leaf):
                return NotFinite("argument", "", (), f"{path}: {_described(leaf)}")
        traced = jax.make_jaxpr(f)(*args)
        try:
            _run(traced.jaxpr, traced.consts, jax.tree.leaves(args), ())
        except _Found as found:
            return found.what
        return None

    return find


class _Found(Exception):
    def __init__(self, what: NotFinite) -> None:
        self.what = what


def _run(jaxpr: "Jaxpr", consts: Sequence[Any], args: Sequence[Any], turn: tuple[int, ...]) -> list[Any]:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else values[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        found = _applied(equation, inputs, turn)
        values |= dict(zip(equation.outvars, found, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _applied(equation: "JaxprEqn", inputs: list[Any], turn: tuple[int, ...]) -> list[Any]:
    match equation.primitive.name:
        case "scan":
            return _scan(equation, inputs, turn)
        case "while":
            return _while(equation, inputs, turn)
        case "cond":
            branches = equation.params["branches"]
            branch = branches[min(max(int(inputs[0]), 0), len(branches) - 1)]
            return _run(branch.jaxpr, branch.consts, inputs[1:], turn)
    if (inside := called(equation)) is not None:
        return _run(*inside, inputs, turn)
    results = bind(equation, *inputs)
    clean, whole = not any(map(_has_nan, inputs)), all(map(_finite, inputs))
    if clean:  # what is infinite on purpose, such as a mask, may pass; a NaN made of it may not
        for value in results:
            if _has_nan(value) or (whole and not _finite(value)):
                told = tuple(_described(value) for value in inputs)
                raise _Found(
                    NotFinite(equation.primitive.name, _source(equation), told, _described(value), turn)
                )
    return results


def _scan(equation: "JaxprEqn", inputs: list[Any], turn: tuple[int, ...]) -> list[Any]:
    fixed, carry, xs = scan_parts(equation, inputs)
    body, length, backwards = (equation.params[name] for name in ("jaxpr", "length", "reverse"))
    carried, ys = len(carry), []
    for i in reversed(range(length)) if backwards else range(length):
        found = _run(body.jaxpr, body.consts, [*fixed, *carry, *(x[i] for x in xs)], (*turn, i))
        carry = found[:carried]
        ys.append(found[carried:])
    if backwards:
        ys.reverse()
    if not ys:
        avals = [v.aval for v in body.jaxpr.outvars[carried:]]
        return [*carry, *(jnp.zeros((0, *aval.shape), aval.dtype) for aval in avals)]
    return [*carry, *(jnp.stack(parts) for parts in zip(*ys, strict=True))]


def _while(equation: "JaxprEqn", inputs: list[Any], turn: tuple[int, ...]) -> list[Any]:
    test, body = equation.params["cond_jaxpr"], equation.params["body_jaxpr"]
    tested, fixed, carry = while_parts(equation, inputs)
    i = 0
    while bool(_run(test.jaxpr, test.consts, [*tested, *carry], (*turn, i))[0]):
        carry = _run(body.jaxpr, body.consts, [*fixed, *carry], (*turn, i))
        i += 1
    return carry


def _has_nan(value: Any) -> bool:
    return not _finite(value) and bool(jnp.isnan(value).any())


def _finite(value: Any) -> bool:
    dtype = jnp.result_type(value) if not hasattr(value, "dtype") else value.dtype
    return not jnp.issubdtype(dtype, jnp.inexact) or bool(jnp.isfinite(value).all())


def _described(value: Any) -> str:
    if not hasattr(value, "dtype") or not jnp.issubdtype(value.dtype, jnp.number):
        return _check.describe(value)
    array = (
        np.asarray(value).astype(float) if jnp.issubdtype(value.dtype, jnp.floating) else np.asarray(value)
    )
    good = array[np.isfinite(array)]
    wrong = array.size - good.size
    told = f" from {good.min():.6g} to {good.max():.6g}" if good.size else ""
    return f"{_tree.dtype_and_shape(value)}{told}" + (
        f", {wrong} of {array.size} not finite" if wrong else ""
    )


def _source(equation: "JaxprEqn") -> str:
    """The innermost place outside of JAX."""
    from jax.extend.source_info_util import summarize

    return summarize(equation.source_info)
