"""Which operation made the first NaN or infinity: a program evaluated operation by operation."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._types import PyTree
from funcnet.transform._arguments import to_arrays
from funcnet.transform._jaxpr import bind, cond_parts, evaluate, scan_parts, while_parts

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr, JaxprEqn


@dataclasses.dataclass(frozen=True)
class NotFinite:
    """The first operation whose result is not finite although all of its inputs are.

    Args:
        operation: JAX's name for it: "log", "div", "sqrt", …; "argument" if a NaN was passed in.
        source: file, line and function that called the operation; empty if JAX does not record them.
        inputs: dtype, shape, smallest and largest value of each input.
        result: the same for its first non-finite result, and the number of entries that are not finite.
        iteration: the iteration, from 0, of each loop around the operation, the outermost loop first.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.transform.find_nan(jnp.log)(-jnp.ones(2)).result
        'float32[2], 2 of 2 not finite'
    """

    operation: str
    source: str
    inputs: tuple[str, ...]
    result: str
    iteration: tuple[int, ...] = ()

    def __str__(self) -> str:
        iteration = f" in iteration {', '.join(map(str, self.iteration))}" if self.iteration else ""
        inputs = "\n".join(f"  input: {text}" for text in self.inputs)
        where = f"{self.operation} at {self.source or 'an unknown place'}{iteration}"
        return f"{where}\n{inputs}\n  result: {self.result}"


def find_nan(f: Callable[..., PyTree]) -> Callable[..., NotFinite | None]:
    """Run a function operation by operation, and stop at the first that produces a NaN or an infinity.

    Loops run iteration by iteration and compiled parts are opened, so this is slow; the numbers are those
    that the function computes. An infinity is reported if all inputs of the operation are finite, and a NaN
    if no input is NaN: a mask of -inf is not reported, but a NaN computed from it is. In a loop under
    `vmap`, rows that have ended are computed until the last one ends, and are reported, too.

    Args:
        f: any function of pytrees of arrays, gradients included: `find_nan(jax.grad(loss))(model)`.

    Returns:
        A function of the same arguments: a `NotFinite`, or None if all is finite.

    Raises:
        TypeError: if `f` is not callable; in the call, if an argument does not hold arrays or is traced.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> def loss(x):
        ...     return jnp.sum(jnp.sqrt(x))
        >>> cause = fn.transform.find_nan(jax.grad(loss))(jnp.array([1.0, 0.0]))
        >>> cause.operation, cause.inputs[1]
        ('div', 'float32[2] from 0 to 1')
    """
    _check.function("f", f, "a function of arrays")

    def find(*args: Any) -> NotFinite | None:
        _check.takes("f", f, "a function of arrays", *args)
        args = to_arrays("args", args)
        if not _tree.is_concrete(args):
            raise TypeError(
                "find_nan runs on the host, so args must not be traced. Call it outside of jit."
            )
        for path, leaf in _tree.paths(args).items():
            if _has_nan(leaf):
                return NotFinite("argument", "", (), f"{path}: {_summary(leaf)}")
        try:
            program = jax.make_jaxpr(lambda *args: _check.results("f", f(*args)))(*args)
            with jax.debug_nans(False):  # JAX's own check would raise before it is found here
                _run(program, jax.tree.leaves(args), ())
        except _NotFiniteError as error:
            return error.cause
        return None

    return find


class _NotFiniteError(Exception):
    def __init__(self, cause: NotFinite) -> None:
        self.cause = cause


def _run(program: "ClosedJaxpr", args: Sequence[Any], iteration: tuple[int, ...]) -> list[Any]:
    return evaluate(program, args, functools.partial(_apply, iteration))


def _apply(iteration: tuple[int, ...], equation: "JaxprEqn", inputs: list[Any]) -> list[Any]:
    match equation.primitive.name:
        case "scan":
            return _scan(iteration, equation, inputs)
        case "while":
            return _while(iteration, equation, inputs)
        case "cond":
            index, branches, operands = cond_parts(equation, inputs)
            return _run(branches[min(max(int(index), 0), len(branches) - 1)], operands, iteration)
    results = bind(equation, *inputs)
    if any(map(_has_nan, inputs)):
        return results
    finite = all(map(_is_finite, inputs))
    for result in results:
        # An infinity computed from an infinity may be intended, as in a mask; a NaN is not.
        if _has_nan(result) or (finite and not _is_finite(result)):
            summaries = tuple(map(_summary, inputs))
            source = _source(equation)
            raise _NotFiniteError(
                NotFinite(equation.primitive.name, source, summaries, _summary(result), iteration)
            )
    return results


def _scan(iteration: tuple[int, ...], equation: "JaxprEqn", inputs: list[Any]) -> list[Any]:
    scan = scan_parts(equation, inputs)
    length, backwards = scan.settings["length"], scan.settings["reverse"]
    carry, size, ys = scan.carry, len(scan.carry), []
    for i in reversed(range(length)) if backwards else range(length):
        results = _run(scan.body, [*scan.consts, *carry, *(x[i] for x in scan.xs)], (*iteration, i))
        carry = results[:size]
        ys.append(results[size:])
    if not ys:
        avals = [var.aval for var in scan.body.jaxpr.outvars[size:]]
        return [*carry, *(jnp.zeros((0, *aval.shape), aval.dtype) for aval in avals)]
    if backwards:
        ys.reverse()
    return [*carry, *(jnp.stack(y) for y in zip(*ys, strict=True))]


def _while(iteration: tuple[int, ...], equation: "JaxprEqn", inputs: list[Any]) -> list[Any]:
    loop = while_parts(equation, inputs)
    carry, i = loop.carry, 0

    def is_running() -> Any:
        return jnp.asarray(_run(loop.cond, [*loop.cond_consts, *carry], (*iteration, i))[0])

    while bool((running := is_running()).any()):
        after = _run(loop.body, [*loop.body_consts, *carry], (*iteration, i))
        if running.ndim:  # under vmap, each row has its own end
            after = [_where(running, new, old) for new, old in zip(after, carry, strict=True)]
        carry, i = after, i + 1
    return carry


def _where(running: Any, new: Any, old: Any) -> Any:
    """The new rows of those that are running, which are the first axes; the old ones of the others."""
    is_row = running.reshape(*running.shape, *(1,) * (jnp.ndim(new) - running.ndim))
    return jnp.where(jnp.broadcast_to(is_row, jnp.shape(new)), new, old)


def _has_nan(value: Any) -> bool:
    return not _is_finite(value) and bool(jnp.isnan(value).any())


def _is_finite(value: Any) -> bool:
    return not jnp.issubdtype(jnp.result_type(value), jnp.inexact) or bool(jnp.isfinite(value).all())


def _summary(value: Any) -> str:
    dtype = jnp.result_type(value)
    if not jnp.issubdtype(dtype, jnp.number):
        return _check.describe(value)
    array = np.asarray(value)
    array = array.astype(float) if jnp.issubdtype(dtype, jnp.floating) else array
    finite = array[np.isfinite(array)]
    limits = f" from {finite.min():.6g} to {finite.max():.6g}" if finite.size else ""
    count = array.size - finite.size
    return f"{_tree.dtype_and_shape(jnp.asarray(value))}{limits}" + (
        f", {count} of {array.size} not finite" if count else ""
    )


def _source(equation: "JaxprEqn") -> str:
    """The innermost place outside of JAX."""
    from jax.extend.source_info_util import summarize

    return summarize(equation.source_info)
