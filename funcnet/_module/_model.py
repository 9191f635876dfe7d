"""Questions to a model, any pytree of arrays with or without modules: its parameters, parts and shapes."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._module._class import (
    Module,
    before_init,
    is_complete,
    is_module,
    missing_parameters,
    parameter_paths,
)
from funcnet._module._fields import Buffer
from funcnet._types import Key, PyTree


def trainable(model: PyTree) -> PyTree:
    """The mask of parameters: a tree like `model` with True for each parameter, False for the rest.

    Args:
        model: any pytree of arrays.

    Returns:
        The same tree with booleans as leaves; everything inside a `Buffer` is False.

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
    """The number of parameters, buffers not counted.

    Args:
        model: any pytree of arrays, or a module before or after `init`.

    Returns:
        The sum of the sizes of all trainable leaves.

    Example:
        >>> import jax, funcnet as fn
        >>> fn.count(fn.MLP((2, 5, 1)))
        21
    """
    chosen, _ = _tree.partition(shapes(model), trainable(shapes(model)))
    return sum(int(np.prod(jnp.shape(leaf))) for leaf in jax.tree.leaves(chosen))


def shapes(model: PyTree) -> PyTree:
    """`model` itself, or what its `init` would make, with shapes and dtypes in place of arrays."""

    def filled(node: Any) -> Any:
        if isinstance(node, Module) and not is_complete(node):
            return jax.eval_shape(node._filled, jax.random.key(0))
        return node

    return jax.tree.map(filled, model, is_leaf=is_module)


def check_model(model: PyTree) -> None:
    """Raise unless `model` is a pytree of arrays, all parameters there and floating."""
    leaves = jax.tree.leaves(model)
    if is_complete(model) and all(jnp.issubdtype(getattr(a, "dtype", int), jnp.floating) for a in leaves):
        return  # the short way for every call of `fit`: no path is written out unless it is needed
    check_complete(model)
    _check.floating_parameters(parameter_paths(model))


def check_complete(model: PyTree) -> None:
    """Raise if a module in `model` lacks a parameter."""
    for path, module in modules(model).items():
        if missing := missing_parameters(module):
            raise TypeError(before_init(module, missing, path))


def call(model: Any, x: Any, key: Key | None) -> Any:
    """`model(x)`, with the key if there is one and the model takes it."""
    if not callable(model):
        raise TypeError(
            f"supervised calls the model, and {_check.describe(model)} can't be called. For other pytrees "
            "write the loss: def loss(params, example, key): ..."
        )
    if key is None:
        return model(x)
    accepted = inspect.signature(model).parameters
    if "key" in accepted or any(p.kind == p.VAR_KEYWORD for p in accepted.values()):
        return model(x, key=key)
    keyed = [path for path, module in modules(model).items() if module.needs_key]
    if keyed:  # dropout would be off in silence
        raise TypeError(
            f"{type(model).__name__} takes no key, so {keyed[0]} in it would not know that it is trained. "
            "Write def __call__(self, x, key=None), and hand the key on to it."
        )
    return model(x)


def modules(model: PyTree) -> dict[str, Module]:
    """Every module in `model` by path, parents before children, `model` itself under ''."""
    found: dict[str, Module] = {}

    def visit(path: str, node: Any) -> None:
        if not isinstance(node, Module):
            inside = _tree.paths(node, is_leaf=is_module)
            for below, leaf in inside.items():
                if isinstance(leaf, Module):
                    visit(_join(path, below), leaf)
            return
        found[path] = node
        for name in node._children:
            visit(_join(path, name), getattr(node, name))

    visit("", model)
    return found


def _join(path: str, below: str) -> str:
    return path + below if not path or not below or below.startswith("[") else f"{path}.{below}"
