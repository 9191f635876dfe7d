"""Our own primitives in a program, replaced by JAX's."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax

from funcnet import _check, _tree
from funcnet._forward_only import forward_only_p
from funcnet._sow import sow_p, update_buffer_p
from funcnet._types import PyTree
from funcnet.layers._product import matmul_impl, product_p
from funcnet.transform._arguments import partition_arrays
from funcnet.transform._jaxpr import bind, contains, evaluate

if TYPE_CHECKING:  # jax.extend takes longer to import than all of funcnet
    from jax.extend.core import ClosedJaxpr, JaxprEqn


Rules = dict[Any, Callable[..., Sequence[Any]]]


def decompose_primitives(f: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """`f`, computed by JAX's own primitives only, for tools that read jaxprs.

    The matrix product of our layers becomes a `dot_general`; what `sow` and `update_buffer` mark is passed
    on. Loops, branches, compiled parts, checkpoints and custom derivatives stay. The result can itself be
    mapped, differentiated and compiled: its values are those of `f`, its gradients up to rounding. For a
    gradient through custom derivatives, decompose last: `decompose_primitives(jax.grad(f))`.

    Args:
        f: any function of pytrees of arrays.

    Returns:
        A function of the same arguments.

    Raises:
        TypeError: if `f` is not callable; in the call, if an argument is not a pytree of arrays.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> layer, x = fn.Linear(4, 3, use_bias=False).init(jax.random.key(0)), jnp.ones((2, 4))
        >>> names = lambda f: [operation.name for operation in fn.transform.graph(f)(x).table()]
        >>> "product" in names(layer), "product" in names(fn.transform.decompose_primitives(layer))
        (True, False)
    """
    _check.function("f", f, "a function of arrays")

    @functools.wraps(f)
    def decomposed(*args: Any, **named: Any) -> PyTree:
        _check.takes("f", f, "a function of arrays", *args, **named)
        arrays, others = partition_arrays("args", (args, named))

        def of_arrays(arrays: PyTree) -> PyTree:
            args, named = _tree.combine(arrays, others)
            return _check.results("f", f(*args, **named))

        program, structs = jax.make_jaxpr(of_arrays, return_shape=True)(arrays)
        results = decompose(program, jax.tree.leaves(arrays), rules())
        return jax.tree.unflatten(jax.tree.structure(structs), results)

    return decomposed


@functools.cache
def rules() -> Rules:
    """What to compute in place of each of our primitives, from its operands and parameters."""
    return {
        product_p(): lambda x, weight, precision: [matmul_impl(x, weight, precision=precision)],
        update_buffer_p(): lambda old, new, **_: [new],
        sow_p(): lambda *leaves, **_: leaves,
        forward_only_p(): lambda x: [x],
    }


def decompose(program: "ClosedJaxpr", args: Sequence[Any], rules: Rules) -> list[Any]:
    """The results of a program, with rules in place of some primitives, at any depth."""

    def rule(equation: "JaxprEqn", inputs: list[Any]) -> Sequence[Any]:
        if equation.primitive in rules:
            return rules[equation.primitive](*inputs, **equation.params)
        if equation.primitive.name == "shard_map" and contains(equation.params["jaxpr"], *rules):
            return _shard_map(equation, inputs, rules)
        params = {name: _param(param, rules) for name, param in equation.params.items()}
        return bind(equation, *inputs, **params)

    return evaluate(program, args, rule, open_call=lambda equation: None)


def _param(param: Any, rules: Rules) -> Any:
    """A parameter of an equation, with the programs that it holds decomposed."""
    from jax.extend.core import ClosedJaxpr

    if type(param) in (tuple, list):
        return type(param)(_param(part, rules) for part in param)
    jaxpr = getattr(param, "jaxpr", param)
    if not hasattr(jaxpr, "eqns") or not contains(jaxpr, *rules):
        return param
    program = param if hasattr(param, "consts") else ClosedJaxpr(param, ())
    new = jax.make_jaxpr(lambda *args: decompose(program, args, rules))(*program.in_avals)
    return new if program is param else new.jaxpr


def _shard_map(equation: "JaxprEqn", inputs: list[Any], rules: Rules) -> Sequence[Any]:
    """A `shard_map`, traced again: the axes of its mesh have names only inside of it."""
    from jax.extend.core import ClosedJaxpr

    params = equation.params
    program = ClosedJaxpr(params["jaxpr"], ())
    settings = {name: params[name] for name in ("mesh", "in_specs", "out_specs", "check_vma")}
    (axis_names,) = (value for name, value in params.items() if name.endswith("manual_axes"))
    run = jax.shard_map(
        lambda *args: tuple(decompose(program, args, rules)), axis_names=axis_names, **settings
    )
    return run(*inputs)
