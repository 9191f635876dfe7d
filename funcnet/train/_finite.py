"""When to check for NaN and infinities: at every step, or once at the end.

Checking every gradient and branching on the result costs about 10 % of a small step. If the optimizer's
update propagates non-finite values, as SGD's and Adam's do, a non-finite gradient always leaves non-finite
parameters. So the check runs once, at the end of a compiled call, and the first bad step is searched for
only if it fails (`_chunks`). Optimizers that can hide a NaN (clipping, signs, masks) keep the check at
every step.
"""

import functools
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from funcnet import _tree
from funcnet._module import trainable
from funcnet._types import Array, PyTree
from funcnet.data import Dataset
from funcnet.train._early_stopping import Outcome
from funcnet.train._optimizer import aggregates_examples, extra_arguments, first_state, update_optimizer
from funcnet.train._plan import Plan
from funcnet.train._state import TrainState
from funcnet.transform._jaxpr import evaluate

if TYPE_CHECKING:
    from jax.extend.core import JaxprEqn

Check: TypeAlias = Literal["every_step", "deferred"]
ResolvedCheck: TypeAlias = Literal["every_step", "deferred", "never"]


def resolve_check(plan: Plan, check: Check, model: PyTree, rows: Dataset) -> ResolvedCheck:
    """`check`, or "every_step" if a deferred check could miss something, or "never" with `on_nan="ignore"`.

    Args:
        plan: the run.
        check: "deferred" if the caller can return to the first bad step.
        model, rows: only their structures, shapes and dtypes matter.
    """
    # Skipping a step requires checking it, and a custom step may hide a NaN. With weights, a
    # batch may have a total weight of zero; it must then change nothing, which requires a branch.
    hides = plan.on_nan == "skip" or rows.weight is not None or plan.step is not None
    if check == "every_step" or hides:
        return "every_step"
    if plan.on_nan == "ignore":
        return "never"
    parameters = _tree.partition(model, trainable(model))[0]
    return "deferred" if propagates_nonfinite(plan.optimizer, parameters) else "every_step"


def is_finite(state: TrainState) -> Array:
    """Whether the parameters and the losses of all completed epochs are finite: bool []."""
    parameters = _tree.partition(state.model, trainable(state.model))[0]
    return (state.stopping.outcome != Outcome.NOT_FINITE.code) & _tree.all_finite(parameters)


# A NaN or an infinity anywhere in an input makes an entry of the output NaN or infinite.
ARITHMETIC = {
    "abs", "add", "add_any", "broadcast_in_dim", "concatenate", "convert_element_type", "copy", "cumsum",
    "dot_general", "expand_dims", "log", "log1p", "mul", "neg", "reduce_sum", "reshape", "rev", "sqrt",
    "square", "squeeze", "stop_gradient", "sub", "transpose",
}  # fmt: skip

Leaves: TypeAlias = frozenset[int]
"""Indices of leaves of the gradient."""


class _Value(NamedTuple):
    """The leaves whose NaN or infinity is certainly in an array; whether it is one repeated number."""

    leaves: Leaves = Leaves()
    uniform: bool = False


def propagates_nonfinite(optimizer: optax.GradientTransformation, parameters: PyTree) -> bool:
    """Whether a NaN or an infinity anywhere in a gradient is certain to make an update NaN or infinite.

    True if an update is arithmetic on the gradient, as Adam's is. False if the optimizer clips entries,
    uses only their signs, masks leaves, or replaces non-finite values; and False if it uses operations that
    are not listed here.
    """

    def updates(gradient: PyTree, state: PyTree, parameters: PyTree, value: Any) -> PyTree:
        extra = extra_arguments(value, gradient, lambda _: value)
        return update_optimizer(optimizer, gradient, state, parameters, extra)[0]

    state = jax.eval_shape(functools.partial(first_state, optimizer), parameters)
    if aggregates_examples(state):  # it clips
        return False
    program = jax.make_jaxpr(updates)(parameters, state, parameters, jnp.zeros(()))
    count = len(jax.tree.leaves(parameters))
    gradient = [_Value(frozenset([index])) for index in range(count)]
    others = [_Value()] * (len(program.in_avals) - count)
    outputs = evaluate(program, [*gradient, *others], _propagate, lift=lambda _: _Value())
    return len(_union(outputs)) == count


def _propagate(equation: "JaxprEqn", inputs: list[_Value]) -> list[_Value]:
    """For each output, the leaves whose NaN or infinity is certain to be in it."""
    name = equation.primitive.name
    if name == "select_n" and (inputs[0].uniform or _is_scalar(equation.invars[0])):
        cases = [case.leaves for case in inputs[1:]]
        return [_Value(frozenset.intersection(*cases))]  # whichever case is chosen
    if name == "div" or (name == "integer_pow" and equation.params["y"] > 0):
        return [_Value(inputs[0].leaves)]  # not of the divisor: a number divided by infinity is zero
    if name in ARITHMETIC:
        uniform = name == "broadcast_in_dim" and _is_scalar(equation.invars[0])
        return [_Value(_union(inputs) if _has_infinities(equation) else Leaves(), uniform)]
    return [_Value()] * len(equation.outvars)


def _union(values: list[_Value]) -> Leaves:
    return Leaves().union(*(value.leaves for value in values))


def _is_scalar(atom: Any) -> bool:
    return bool(atom.aval.shape == ())


def _has_infinities(equation: Any) -> bool:
    """Whether the dtypes of the outputs have infinities; some of 8 bits and less have none."""
    dtypes = [out.aval.dtype for out in equation.outvars]
    return all(jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize > 1 for dtype in dtypes)
