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


def decompose_primitives(f: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """`f`, computed by JAX's own primitives only, for tools that read jaxprs.

    The matrix product of our layers becomes a `dot_general`; what `sow` and `update_buffer` mark is passed
    on. Loops, branches, compiled parts, checkpoints and custom derivatives stay. The result can itself be
    mapped, differentiated and compiled: its values are those of `f`, its gradients up to rounding.

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
        results = decompose(program, jax.tree.leaves(arrays))
        return jax.tree.unflatten(jax.tree.structure(structs), results)

    return decomposed


def decompose(program: "ClosedJaxpr", args: Sequence[Any]) -> list[Any]:
    """The results of a program, computed by JAX's own primitives only."""
    return evaluate(program, args, _rule, open_call=lambda equation: None)


def _ours() -> tuple[Any, ...]:
    return product_p(), update_buffer_p(), sow_p(), forward_only_p()


def _rule(equation: "JaxprEqn", inputs: list[Any]) -> Sequence[Any]:
    primitive = equation.primitive
    if primitive is product_p():
        return [matmul_impl(*inputs, **equation.params)]
    if primitive is update_buffer_p():
        return inputs[1:]
    if primitive in (sow_p(), forward_only_p()):
        return inputs
    if primitive.name == "shard_map":  # its body is traced inside of it
        return _shard_map(equation, inputs)
    return bind(equation, *inputs, **{name: _param(param) for name, param in equation.params.items()})


def _param(param: Any) -> Any:
    """A parameter of an equation, with the programs that it holds decomposed."""
    from jax.extend.core import ClosedJaxpr

    if isinstance(param, tuple | list):
        return type(param)(map(_param, param)) if type(param) in (tuple, list) else param
    jaxpr = getattr(param, "jaxpr", param)
    if not hasattr(jaxpr, "eqns") or not contains(jaxpr, *_ours()):
        return param
    program = param if hasattr(param, "consts") else ClosedJaxpr(param, ())
    new = jax.make_jaxpr(lambda *args: decompose(program, args))(*program.in_avals)
    return new if program is param else new.jaxpr


def _shard_map(equation: "JaxprEqn", inputs: list[Any]) -> Sequence[Any]:
    from jax.extend.core import ClosedJaxpr

    params = equation.params
    program = ClosedJaxpr(params["jaxpr"], ())
    settings = {name: params[name] for name in ("mesh", "in_specs", "out_specs", "check_vma")}
    axis_names = params["manual_axes"]
    return jax.shard_map(lambda *args: tuple(decompose(program, args)), axis_names=axis_names, **settings)(*inputs)
