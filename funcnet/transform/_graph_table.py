"""The table of a graph: its operations and their cost."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from funcnet import _check
from funcnet.transform._cost import flops, moved_bytes
from funcnet.transform._graph_drawing import kind_of, scope_of
from funcnet.transform._jaxpr import called_program

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr, JaxprEqn


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation of a graph.

    Args:
        name: JAX's name for it.
        scope: the modules and transformations around it, the outermost first: "MLP/Linear".
        inputs: dtype and shape of each input, "float32[2,3]".
        outputs: dtype and shape of each output.
        flops: floating-point operations; of a loop those of all its iterations.
        bytes: bytes that it reads and writes if nothing is fused.
        source: file, line and function that called it.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> (operation,) = fn.transform.graph(jnp.sin)(jnp.ones(3)).table()
        >>> operation.name, operation.outputs, operation.flops, operation.bytes
        ('sin', ('float32[3]',), 3.0, 24.0)
    """

    name: str
    scope: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    flops: float
    bytes: float
    source: str


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a graph.

    Args:
        flops: floating-point operations; a multiplication with an addition is two.
        bytes: bytes of arguments and results, each moved once: the minimum.
        unfused: bytes moved if no operations are fused.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> cost = fn.transform.graph(lambda a, b: a @ b)(jnp.ones((4, 8)), jnp.ones((8, 2))).cost()
        >>> cost.flops, cost.bytes, round(cost.intensity, 2)
        (128.0, 224.0, 0.57)
        >>> cost.seconds(flops=1e9, bytes=1e9)
        2.24e-07
    """

    flops: float
    bytes: float
    unfused: float

    def __post_init__(self) -> None:
        for name in ("flops", "bytes", "unfused"):
            _check.between(name, getattr(self, name), 0, 1e308)

    @property
    def intensity(self) -> float:
        """Floating-point operations per byte that must be moved."""
        return self.flops / max(self.bytes, 1.0)

    def seconds(self, *, flops: float, bytes: float) -> float:
        """The minimum time on a device that computes `flops` and moves `bytes` per second, both above 0.

        Source: Williams, Waterman, Patterson, "Roofline", 2009.
        """
        flops = _check.above_zero("flops", flops)
        bytes = _check.above_zero("bytes", bytes)
        return max(self.flops / flops, self.bytes / bytes)


def operations_of(jaxpr: "Jaxpr", scope: str, open_calls: bool) -> Iterator[tuple["JaxprEqn", str]]:
    """Equations with their scopes; with `open_calls`, those inside of a call in place of the call."""
    for equation in jaxpr.eqns:
        inner_scope = scope_of(scope, equation)
        program = called_program(equation) if open_calls else None
        if program is not None:
            yield from operations_of(program.jaxpr, inner_scope, open_calls)
        else:
            yield equation, inner_scope


def operation_of(equation: "JaxprEqn", scope: str) -> Operation:
    """An equation as a row of the table."""
    from jax.extend.source_info_util import summarize

    return Operation(
        equation.primitive.name,
        scope,
        tuple(kind_of(var) for var in equation.invars),
        tuple(kind_of(var) for var in equation.outvars),
        flops(equation),
        moved_bytes(equation),
        summarize(equation.source_info),
    )


def line_of(operation: Operation) -> str:
    """An operation as one line, without its place."""
    return f"{operation.name} {', '.join(operation.inputs)} -> {', '.join(operation.outputs)}"


def bytes_of(leaf: Any) -> float:
    """The bytes of an array; 4 for a number of Python."""
    size = 1
    for n in jnp.shape(leaf):
        size *= n
    return size * getattr(getattr(leaf, "dtype", None), "itemsize", 4)
