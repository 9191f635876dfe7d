"""Whether an optimizer propagates a non-finite gradient to the parameters: read from its jaxpr."""

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from funcnet._types import PyTree
from funcnet.transform._jaxpr import evaluate

if TYPE_CHECKING:
    from jax.extend.core import JaxprEqn

# A NaN or an infinity anywhere in an input makes an entry of the output NaN or infinite.
ARITHMETIC = {
    "abs", "add", "add_any", "broadcast_in_dim", "concatenate", "convert_element_type", "copy", "cumsum",
    "dot_general", "expand_dims", "log", "log1p", "mul", "neg", "reduce_sum", "reshape", "rev", "sqrt",
    "square", "squeeze", "stop_gradient", "sub", "transpose",
}  # fmt: skip

Leaves: TypeAlias = frozenset[int]
"""Indices of leaves of the gradient."""


class Value(NamedTuple):
    """The leaves whose NaN or infinity is certain to be in an array; is the array one number, repeated?"""

    leaves: Leaves = Leaves()
    uniform: bool = False


def transparent(optimizer: optax.GradientTransformation, parameters: PyTree) -> bool:
    """Whether a NaN or an infinity anywhere in a gradient is certain to make an update NaN or infinite.

    True if an update is arithmetic on the gradient, as Adam's is. False if the optimizer clips entries,
    uses only their signs, masks leaves, or replaces non-finite values; and False if it uses operations that
    are not listed here.
    """
    update = optax.with_extra_args_support(optimizer).update

    def updates(gradient: PyTree, state: PyTree, parameters: PyTree, value: Any) -> PyTree:
        return update(
            gradient, state, parameters, value=value, grad=gradient, value_fn=lambda parameters: value
        )[0]

    state = jax.eval_shape(optimizer.init, parameters)
    program = jax.make_jaxpr(updates)(parameters, state, parameters, jnp.zeros(()))
    count = len(jax.tree.leaves(parameters))
    gradient = [Value(frozenset([index])) for index in range(count)]
    others = [Value()] * (len(program.in_avals) - count)
    outputs = evaluate(program, [*gradient, *others], _propagate, lift=lambda _: Value())
    return len(_union(outputs)) == count


def _propagate(equation: "JaxprEqn", inputs: list[Value]) -> list[Value]:
    """For each output, the leaves whose NaN or infinity is certain to be in it."""
    name = equation.primitive.name
    if name == "select_n" and (inputs[0].uniform or _is_scalar(equation.invars[0])):
        cases = [case.leaves for case in inputs[1:]]
        return [Value(frozenset.intersection(*cases))]  # whichever case is chosen
    if name == "div" or (name == "integer_pow" and equation.params["y"] > 0):
        return [Value(inputs[0].leaves)]  # not of the divisor: a number divided by infinity is zero
    if name in ARITHMETIC:
        uniform = name == "broadcast_in_dim" and _is_scalar(equation.invars[0])
        return [Value(_union(inputs) if _has_infinities(equation) else Leaves(), uniform)]
    return [Value()] * len(equation.outvars)


def _union(values: list[Value]) -> Leaves:
    return Leaves().union(*(value.leaves for value in values))


def _is_scalar(atom: Any) -> bool:
    return bool(atom.aval.shape == ())


def _has_infinities(equation: Any) -> bool:
    """Whether the dtypes of the outputs have infinities; some of 8 bits and less have none."""
    dtypes = [out.aval.dtype for out in equation.outvars]
    return all(jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize > 1 for dtype in dtypes)
