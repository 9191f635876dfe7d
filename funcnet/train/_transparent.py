"""Whether a gradient that is not finite shows in the weights: read off an optimizer's program."""

from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import optax

from funcnet._types import PyTree
from funcnet.transform._jaxpr import called

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr

# A NaN or an infinity among the numbers that go in makes one of the numbers that come out NaN or infinite.
ARITHMETIC = {
    "abs", "add", "add_any", "broadcast_in_dim", "concatenate", "convert_element_type", "copy", "cumsum",
    "dot_general", "expand_dims", "log", "log1p", "mul", "neg", "reduce_sum", "reshape", "rev", "sqrt",
    "square", "squeeze", "stop_gradient", "sub", "transpose",
}  # fmt: skip

Leaves: TypeAlias = frozenset[int]
"""Numbers of the gradient's leaves."""


def transparent(optimizer: optax.GradientTransformation, parameters: PyTree) -> bool:
    """Whether a NaN or an infinity anywhere in a gradient makes an update NaN or infinite, for certain.

    So it is where an update is arithmetic on the gradient, as Adam's. It is not where numbers are clipped
    one by one, only their signs count, leaves are left out, or what is not finite is mended; and nothing is
    claimed of operations that are not known here.
    """
    update = optax.with_extra_args_support(optimizer).update

    def updates(gradient: PyTree, state: PyTree, parameters: PyTree, value: Any) -> PyTree:
        return update(
            gradient, state, parameters, value=value, grad=gradient, value_fn=lambda parameters: value
        )[0]

    state = jax.eval_shape(optimizer.init, parameters)
    program = jax.make_jaxpr(updates)(parameters, state, parameters, jnp.zeros(())).jaxpr
    count = len(jax.tree.leaves(parameters))
    gradient = [frozenset([number]) for number in range(count)]
    nothing = [Leaves()] * (len(program.invars) - count)
    shown = _shown(program, [*gradient, *nothing])
    return len(Leaves().union(*shown)) == count


def _shown(program: "Jaxpr", inputs: list[Leaves]) -> list[Leaves]:
    """For each output, the leaves whose NaN or infinity it is sure to show."""
    known = dict(zip(program.invars, inputs, strict=True))
    uniform = set()  # of one number, repeated

    def of(atom: Any) -> Leaves:
        return Leaves() if hasattr(atom, "val") else known.get(atom, Leaves())

    for equation in program.eqns:
        found = [of(atom) for atom in equation.invars]
        name, inner = equation.primitive.name, called(equation)
        if name == "broadcast_in_dim" and _is_number(equation.invars[0]):
            uniform.update(equation.outvars)
        if name == "select_n" and (equation.invars[0] in uniform or _is_number(equation.invars[0])):
            outputs = [frozenset.intersection(*found[1:])]  # whichever case is chosen
        elif name == "div" or (name == "integer_pow" and equation.params["y"] > 0):
            outputs = [found[0]]  # and nothing of a divisor: a number by an infinity is zero
        elif name in ARITHMETIC and _can_show(equation):
            outputs = [Leaves().union(*found)]
        elif inner is not None and name in ("jit", "pjit", "closed_call", "custom_jvp_call"):
            outputs = _shown(inner[0], found)
        else:
            outputs = [Leaves()] * len(equation.outvars)
        known |= zip(equation.outvars, outputs, strict=True)
    return [of(atom) for atom in program.outvars]


def _is_number(atom: Any) -> bool:
    return bool(atom.aval.shape == ())


def _can_show(equation: Any) -> bool:
    """Whether what comes out is of a kind that has infinities; those of 8 bits and less may have none."""
    dtypes = [out.aval.dtype for out in equation.outvars]
    return all(jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize > 1 for dtype in dtypes)
