"""Functions of models (pytrees of arrays with or without modules): parameters, modules, shapes."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._module._class import (
    Module,
    before_init_message,
    is_complete,
    is_module,
    missing_parameters,
    parameter_paths,
)
from funcnet._module._fields import Buffer
from funcnet._types import Key, PyTree


def trainable(model: PyTree) -> PyTree:
    """The mask of trainable leaves: True for each parameter, False for the contents of Buffers.

    Args:
        model: any pytree of arrays.

    Returns:
        A tree like `model` with booleans as leaves.

    Example:
        >>> import jax, funcnet as fn
        >>> fn.trainable(fn.Linear(2, 3).init(jax.random.key(0))).bias
        True
    """

    def mark(node: Any) -> Any:
        if isinstance(node, Buffer):
            return jax.tree.map(lambda _: False, node)
        return True

    return jax.tree.map(mark, model, is_leaf=lambda node: isinstance(node, Buffer))


def count(model: PyTree) -> int:
    """The number of parameters, without buffers.

    Args:
        model: any pytree of arrays, or a module before or after `init`.

    Returns:
        The sum of the sizes of all trainable leaves.

    Example:
        >>> import jax, funcnet as fn
        >>> fn.count(fn.MLP((2, 5, 1)))
        21
    """
    parameters, _ = _tree.partition(shapes(model), trainable(shapes(model)))
    for leaf in jax.tree.leaves(parameters):
        if not isinstance(getattr(leaf, "shape", ()), tuple):
            raise TypeError(f"model must be a pytree of arrays, got {_check.describe(leaf)} in it.")
    return sum(int(np.prod(jnp.shape(leaf))) for leaf in jax.tree.leaves(parameters))


def shapes(model: PyTree) -> PyTree:
    """The initialized model, with shapes and dtypes in place of the arrays that `init` would draw."""

    def init_shapes(node: Any) -> Any:
        if isinstance(node, Module) and not is_complete(node):
            return jax.eval_shape(node._init_missing, jax.random.key(0))
        return node

    return jax.tree.map(init_shapes, model, is_leaf=is_module)


def check_model(model: PyTree) -> None:
    """Raise unless `model` is a pytree of arrays whose parameters are all set and floating."""
    leaves = jax.tree.leaves(model)
    if is_complete(model) and all(map(_check.is_floating, leaves)):
        return  # fast path of every call of `fit`: paths are only computed for an error message
    check_complete(model)
    _check.floating_parameters(parameter_paths(model))


def check_complete(model: PyTree) -> None:
    """Raise if a parameter of a module in `model` is missing."""
    for path, module in modules(model).items():
        if missing := missing_parameters(module):
            raise TypeError(before_init_message(module, missing, path))


def call(model: Any, x: Any, key: Key | None) -> Any:
    """`model(x)`, with the key if it is not None and the model accepts one."""
    if isinstance(model, type) or not callable(model):
        raise TypeError(
            f"the model must be callable, got {_check.describe(model)}. For other pytrees write the loss "
            "yourself: def loss(params, example, key): ..."
        )
    if key is None:
        return model(x)
    accepted = inspect.signature(model).parameters
    if "key" in accepted or any(p.kind == p.VAR_KEYWORD for p in accepted.values()):
        return model(x, key=key)
    needing_key = [path for path, module in modules(model).items() if module.needs_key]
    if needing_key:  # otherwise dropout would silently be disabled
        raise TypeError(
            f"{type(model).__name__}.__call__ must accept a key and pass it on to {needing_key[0]}, which "
            "needs it in training. Write def __call__(self, x, key=None): ..."
        )
    return model(x)


def modules(model: PyTree) -> dict[str, Module]:
    """All modules in `model` by path, parents before children; the path of `model` itself is ''."""
    by_path: dict[str, Module] = {}

    def visit(path: str, node: Any) -> None:
        if not isinstance(node, Module):
            for child_path, leaf in _tree.paths(node, is_leaf=is_module).items():
                if isinstance(leaf, Module):
                    visit(_join(path, child_path), leaf)
            return
        by_path[path] = node
        for name in node._children:
            visit(_join(path, name), getattr(node, name))

    visit("", model)
    return by_path


def _join(path: str, child: str) -> str:
    return path + child if not path or not child or child.startswith("[") else f"{path}.{child}"
