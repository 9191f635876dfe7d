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
    """The mask of trainable leaves: False for the contents of Buffers and for what `fn.freeze` froze.

    Args:
        model: any pytree of arrays.

    Returns:
        A tree like `model` with booleans as leaves.

    Example:
        >>> import jax, funcnet as fn
        >>> fn.trainable(fn.Linear(2, 3).init(jax.random.key(0))).bias
        True
    """
    return jax.tree.unflatten(jax.tree.structure(model), _trainable(model))


def _trainable(tree: PyTree, frozen: tuple[str, ...] = (), path: str = "") -> list[bool]:
    """Whether each leaf is trainable, in the order of the tree.

    Args:
        tree: a model, or the value of a module's field.
        frozen: the paths of the module's own frozen arrays.
        path: the name of the field.
    """
    if isinstance(tree, Module):
        fields = {name: getattr(tree, name) for name in tree._children}
        return [
            flag
            for name, value in fields.items()
            if not (name in tree._traceable and type(value) in (int, float))  # a static setting
            for flag in _trainable(value, tree._frozen, name)
        ]
    flags: list[bool] = []
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_node):
        if isinstance(leaf, Module):
            flags += _trainable(leaf)
        elif isinstance(leaf, Buffer):
            flags += [False] * len(jax.tree.leaves(leaf))
        else:
            flags.append(not frozen or join(path, jax.tree_util.keystr(keys)) not in frozen)
    return flags


def _is_node(node: Any) -> bool:
    return isinstance(node, Module | Buffer)


def is_parameter(model: PyTree) -> PyTree:
    """The mask of the parameters, frozen or not: True, and False for the contents of Buffers."""

    def mark(node: Any) -> Any:
        return jax.tree.map(lambda _: not isinstance(node, Buffer), node)

    return jax.tree.map(mark, model, is_leaf=lambda node: isinstance(node, Buffer))


def count(model: PyTree, *, trainable: bool | None = None) -> int:
    """The number of parameters, without buffers.

    Args:
        model: any pytree of arrays, or a module before or after `init`.
        trainable: True for the parameters that train, False for those that `fn.freeze` froze; both if None.

    Returns:
        The sum of the sizes of their leaves.

    Example:
        >>> import jax, funcnet as fn
        >>> net = fn.freeze(fn.MLP((2, 5, 1)), "layers[0]")
        >>> fn.count(net), fn.count(net, trainable=True), fn.count(net, trainable=False)
        (21, 6, 15)
    """
    if trainable is not None:
        _check.boolean("trainable", trainable)
    like = shapes(model)
    flags = zip(jax.tree.leaves(like), jax.tree.leaves(is_parameter(like)), _trainable(like), strict=True)
    leaves = [a for a, is_counted, trains in flags if is_counted and trainable in (None, trains)]
    for leaf in leaves:
        if not isinstance(getattr(leaf, "shape", ()), tuple):
            raise TypeError(f"model must be a pytree of arrays, got {_check.describe(leaf)} in it.")
    sizes = [leaf for leaf in leaves if hasattr(leaf, "dtype") or isinstance(leaf, float)]
    return sum(int(np.prod(jnp.shape(leaf))) for leaf in sizes)


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


def check_trainable(model: PyTree) -> None:
    """Raise if all parameters of a model are frozen."""
    if not any(_trainable(model)) and any(jax.tree.leaves(is_parameter(model))):
        last = list(parameter_paths(model))[-1]
        raise ValueError(
            f"there is nothing to train: every parameter of this {type(model).__name__} is frozen. "
            f"Unfreeze some: model = fn.unfreeze(model, {last!r})."
        )


def check_complete(model: PyTree) -> None:
    """Raise if a parameter of a module in `model` is missing."""
    for path, module in modules(model).items():
        if missing := missing_parameters(module):
            raise TypeError(before_init_message(module, missing, path))


def call(model: Any, x: Any, key: Key | None) -> Any:
    """`model(x)`, with the key if it is not None and the model accepts one."""
    if isinstance(model, type) or not callable(model):
        if hasattr(type(model), "forward"):
            raise TypeError(
                f"the model must be callable, got {type(model).__name__} with a method forward. Rename it: "
                "def __call__(self, x, key=None): ..."
            )
        raise TypeError(
            f"the model must be callable, got {_check.describe(model)}. For other pytrees write the loss "
            "yourself: def loss(params, example, key): ..."
        )
    if key is None:
        return model(x, key=None) if requires_key(model) else model(x)
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


def requires_key(model: Any) -> bool:
    """Whether a model of another library has an argument `key` without a default."""
    if isinstance(model, Module) or not callable(model):
        return False
    try:
        key = inspect.signature(model).parameters.get("key")
    except (TypeError, ValueError):  # a function that is not written in Python
        return False
    return key is not None and key.default is key.empty


def needs_batch(model: PyTree) -> bool:
    """Whether a module in `model` sees the whole batch in training, which must then have its true size."""
    return any(module.needs_batch for module in modules(model).values())


def modules(model: PyTree) -> dict[str, Module]:
    """All modules in `model` by path, parents before children; the path of `model` itself is ''."""
    by_path: dict[str, Module] = {}

    def visit(path: str, node: Any) -> None:
        if not isinstance(node, Module):
            for child_path, leaf in _tree.paths(node, is_leaf=is_module).items():
                if isinstance(leaf, Module):
                    visit(join(path, child_path), leaf)
            return
        by_path[path] = node
        for name in node._children:
            visit(join(path, name), getattr(node, name))

    visit("", model)
    return by_path


def join(path: str, child: str) -> str:
    """The path of a child, such as `layers[0].weight`; its name may begin with a dot, as of `keystr`."""
    child = child.removeprefix(".")
    return path + child if not path or not child or child.startswith("[") else f"{path}.{child}"
