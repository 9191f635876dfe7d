"""The cost of operations: floating-point operations by a rule for each, bytes by operands and results."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from funcnet.transform._jaxpr import subprograms

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr, JaxprEqn

FREE = {
    "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "slice", "dynamic_slice", "pad",
    "concatenate", "gather", "iota", "copy", "convert_element_type", "rev", "split", "stop_gradient",
    "sow", "dynamic_update_slice", "bitcast_convert_type", "random_bits", "random_wrap", "random_unwrap",
    "update_buffer", "random_fold_in", "random_seed", "random_split", "optimization_barrier", "copy_p",
    "forward_only",
}  # fmt: skip
"""They move data and compute nothing."""


def flops(equation: "JaxprEqn") -> float:
    """Floating-point operations of one operation; a multiplication with an addition is two.

    For a `scan`, those of all iterations; for a `while` loop, of one iteration, as their number is unknown;
    for a `cond`, those of the most expensive branch.
    """
    name, params = equation.primitive.name, equation.params
    if name in RULES:
        return RULES[name](equation)
    if name == "scan":
        return params["length"] * of_program(params["jaxpr"].jaxpr)
    if name == "while":
        return of_program(params["body_jaxpr"].jaxpr) + of_program(params["cond_jaxpr"].jaxpr)
    if name == "cond":
        return max(of_program(branch.jaxpr) for branch in params["branches"])
    if programs := subprograms(equation):
        return sum(map(of_program, programs))
    if name in FREE or not any(_floating(var) for var in (*equation.invars, *equation.outvars)):
        return 0.0
    if name.startswith(("reduce_", "cum", "arg")):
        return float(_size(equation.invars[0]))
    return float(sum(map(_size, equation.outvars)))


def of_program(jaxpr: "Jaxpr") -> float:
    """Floating-point operations of all operations of a program."""
    return sum(map(flops, jaxpr.eqns))


def moved_bytes(equation: "JaxprEqn") -> float:
    """Bytes that an operation reads and writes if nothing is fused; of a `scan`, in all iterations."""
    own = float(sum(map(_bytes, (*equation.invars, *equation.outvars))))
    if equation.primitive.name == "scan":
        body = equation.params["jaxpr"].jaxpr
        return max(own, float(equation.params["length"] * sum(map(moved_bytes, body.eqns))))
    return own


def _dot(equation: "JaxprEqn") -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = _shape(equation.invars[0])
    return 2.0 * _size(equation.outvars[0]) * math.prod(left[i] for i in contracted)


def _product(equation: "JaxprEqn") -> float:
    return 2.0 * _size(equation.outvars[0]) * _shape(equation.invars[0])[-1]


def _convolution(equation: "JaxprEqn") -> float:
    kernel = _shape(equation.invars[1])
    features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return 2.0 * _size(equation.outvars[0]) * math.prod(kernel) / features


def _windows(equation: "JaxprEqn") -> float:
    return float(_size(equation.outvars[0]) * (math.prod(equation.params["window_dimensions"]) - 1))


def _cubic(factor: float) -> Callable[["JaxprEqn"], float]:
    """A rule for matrices [..., n, n]: factor · n³ each (Golub, Van Loan, "Matrix computations", 2013)."""
    return lambda equation: factor * _size(equation.invars[0]) * _shape(equation.invars[0])[-1]


def _of_updates(equation: "JaxprEqn") -> float:
    return float(_size(equation.invars[-1]))


RULES: dict[str, Callable[["JaxprEqn"], float]] = {
    "dot_general": _dot,
    "product": _product,
    "conv_general_dilated": _convolution,
    "integer_pow": lambda equation: 2.0 * _size(equation.outvars[0]),
    "logistic": lambda equation: 3.0 * _size(equation.outvars[0]),
    "scatter": lambda equation: 0.0,
    **dict.fromkeys(
        ("scatter-add", "scatter-sub", "scatter-mul", "scatter-min", "scatter-max"), _of_updates
    ),
    **dict.fromkeys(("reduce_window_sum", "reduce_window_max", "reduce_window_min"), _windows),
    "cholesky": _cubic(1 / 3),
    "lu": _cubic(2 / 3),
    "eigh": _cubic(9.0),
    "triangular_solve": lambda equation: float(_size(equation.invars[1]) * _shape(equation.invars[0])[-1]),
}


def _shape(var: Any) -> tuple[int, ...]:
    return getattr(var.aval, "shape", ())


def _size(var: Any) -> int:
    return math.prod(_shape(var))


def _floating(var: Any) -> bool:
    dtype = getattr(var.aval, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.inexact)


def _bytes(var: Any) -> float:
    dtype = getattr(var.aval, "dtype", None)
    return _size(var) * getattr(dtype, "itemsize", 0)
