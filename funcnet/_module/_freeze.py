"""Which arrays of a model are frozen, and which label each parameter has for its optimizer."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from funcnet import _check, _tree
from funcnet._module._class import Module, is_module, missing_parameters
from funcnet._module._model import join, modules, shapes
from funcnet._module._select import Paths, select
from funcnet._types import PyTree

T = TypeVar("T")


def freeze(model: T, paths: Paths | None = None) -> T:
    """A copy of a model in which some arrays are frozen: training leaves each of their bits as it is.

    Frozen parameters get no gradient, no update (weight decay, momentum, averages and noise included) and
    no optimizer state, and `fn.trainable` is False for them. A frozen layer with running statistics, such
    as `BatchNorm`, stays in inference: it uses its statistics and does not update them. Dropout is not
    affected. The names of the arrays on disk stay, so that weights can be loaded before or after.

    What is frozen is part of the model's structure, as a static field is: it stays through jit, vmap,
    `replace` and pickle, and if the module becomes a part of another one. A model can be frozen before
    `init`, which then draws all its arrays.

    Args:
        model: a module, or a container of modules, before or after `init`.
        paths: a path such as "backbone" or "layers[0].weight" (a name in a file of weights,
            "layers.0.weight", works, too), which stands for all arrays below it; a list of paths; or a
            function `(path, leaf) -> bool`. All arrays if None.

    Returns:
        The same type; the arrays are shared.

    Raises:
        TypeError: if `paths` is none of these, or selects an array that does not belong to a module.
        ValueError: if a path matches no array of the model; the message lists the paths there are.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> model = fn.freeze(fn.MLP((2, 5, "scalar")).init(jax.random.key(0)), "layers[0]")
        >>> fn.trainable(model).layers[0].weight, fn.trainable(model).layers[1].weight
        (False, True)
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.adamw(1e-2), epochs=2, batch_size=4)
        >>> run = train(model, (jnp.ones((8, 2)), jnp.ones(8)), jax.random.key(1))
        >>> run.model.layers[0] == model.layers[0], run.model.layers[1] == model.layers[1]
        (True, False)
    """
    return _set_frozen(model, paths, is_frozen=True)


def unfreeze(model: T, paths: Paths | None = None) -> T:
    """A copy of a model in which some arrays are not frozen, so that they train. The reverse of `freeze`.

    Args:
        model: a module, or a container of modules, before or after `init`.
        paths: as for `freeze`; all arrays if None.

    Returns:
        The same type; the arrays are shared.

    Raises:
        TypeError: as `freeze`.
        ValueError: as `freeze`.

    Example:
        >>> import jax, funcnet as fn
        >>> model = fn.freeze(fn.MLP((2, 5, 1)).init(jax.random.key(0)))
        >>> fn.count(model, trainable=True), fn.count(fn.unfreeze(model, "layers[1]"), trainable=True)
        (0, 6)
    """
    return _set_frozen(model, paths, is_frozen=False)


def label(rule: Callable[[str, Any], Any]) -> Callable[[PyTree], PyTree]:
    """Labels of parameters by path, for `optax.partition` and `optax.masked`: rates by path.

    They are a function of the parameters. A tree of labels would be a module, which can be called, and
    optax calls what it can.

    Args:
        rule: a function of path, such as "layers[0].weight", and leaf. It returns a string for
            `optax.partition`, or True or False for `optax.masked`. The leaf is a parameter, or its
            gradient or update: of the same shape.

    Returns:
        A function `parameters -> tree of labels`.

    Raises:
        TypeError: if `rule` is not such a function; when called, if a label is of another type.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> label = fn.label(lambda path, leaf: "head" if path.startswith("layers[1]") else "backbone")
        >>> optimizer = optax.partition({"head": optax.adam(1e-2), "backbone": optax.adam(1e-4)}, label)
        >>> model = fn.MLP((2, 5, 1)).init(jax.random.key(0))
        >>> label(model).layers[0].bias, label(model).layers[1].bias
        ('backbone', 'head')
        >>> state = fn.TrainState.create(model, optimizer, jax.random.key(1))
    """
    _check.takes("rule", rule, "a function (path, leaf) -> label", "layers[0].weight", None)

    def labels(parameters: PyTree) -> PyTree:
        leaves = _tree.paths(parameters)
        return jax.tree.unflatten(
            jax.tree.structure(parameters),
            [_label(path, rule(path, leaf)) for path, leaf in leaves.items()],
        )

    return labels


def _label(path: str, value: Any) -> Any:
    if isinstance(value, np.bool_):
        return bool(value)
    if not isinstance(value, str | bool):
        raise TypeError(
            "a label must be a string for optax.partition, or True or False for optax.masked, got "
            f"{_check.describe(value)} for {path or 'the model'}. Try fn.label(lambda path, leaf: "
            '"head" if path.startswith("head") else "backbone").'
        )
    return value


def frozen_leaves(model: PyTree) -> list[bool]:
    """Whether each leaf of a model is frozen, in their order."""
    frozen = [join(path, own) for path, module in modules(model).items() for own in module._frozen]
    return [
        any(path == at or path.startswith((f"{at}.", f"{at}[")) for at in frozen)
        for path in _tree.paths(model)
    ]


def _set_frozen(model: Any, paths: Paths | None, *, is_frozen: bool) -> Any:
    """The model in which the selected arrays are frozen, or not, and the others as they are."""
    if isinstance(model, type | str):
        raise TypeError(
            f"model must be a module, or a container of modules, got {_check.describe(model)}. Try "
            'model = fn.freeze(fn.MLP((4, 16, 3)), "layers[0]").'
        )
    like = shapes(model)
    leaves = _tree.paths(like)
    rule: Paths = (lambda path, leaf: True) if paths is None else paths
    selected = select("paths", leaves, _tree.names(like), rule)
    in_modules = {join(at, own) for at, module in modules(model).items() for own in _own_paths(module)}
    if others := selected - in_modules:
        path = min(others)
        raise TypeError(
            f"only arrays of modules can be frozen, and {path or 'the model'} is in a "
            f"{type(model).__name__}. Leave it without updates instead: optax.partition({{'frozen': "
            "optax.set_to_zero(), 'rest': optax.adam(1e-3)}, fn.label(lambda path, leaf: 'frozen' if "
            f"path.startswith({path!r}) else 'rest'))."
        )
    return _mark(model, "", selected, is_frozen)


def _mark(tree: PyTree, path: str, selected: set[str], is_frozen: bool) -> PyTree:
    """The tree in whose modules the selected arrays are marked."""

    def mark(keys: Any, node: Any) -> Any:
        at = join(path, jax.tree_util.keystr(keys))
        return _mark_module(node, at, selected, is_frozen) if is_module(node) else node

    return jax.tree_util.tree_map_with_path(mark, tree, is_leaf=is_module)


def _mark_module(module: Module, path: str, selected: set[str], is_frozen: bool) -> Module:
    children = {
        name: _mark(getattr(module, name), join(path, name), selected, is_frozen)
        for name in module._children
    }
    before, chosen = set(module._frozen), {own for own in _own_paths(module) if join(path, own) in selected}
    frozen = tuple(sorted(before | chosen if is_frozen else before - chosen))
    copy: Module = object.__new__(type(module))  # as JAX unflattens: no constructor runs
    copy.__dict__.update(module.__dict__ | children | {"_frozen": frozen})
    return copy


def _own_paths(module: Module) -> list[str]:
    """The paths in a module of its own arrays, those that `init` would draw included."""
    unset = missing_parameters(module)
    drawn = jax.eval_shape(module.parameters, jax.random.key(0)) if unset else {}
    values = {name: drawn[name] if name in unset else getattr(module, name) for name in module._children}
    return [
        join(name, path)
        for name, value in values.items()
        for path, leaf in _tree.paths(value, is_leaf=is_module).items()
        if not is_module(leaf)
    ]
