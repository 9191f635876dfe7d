"""Modules: models that are ordinary values. A module is a frozen dataclass and a pytree."""

import contextlib
import contextvars
import copy
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self, dataclass_transform

import jax
import numpy as np
from jax.tree_util import GetAttrKey, register_pytree_with_keys

from funcnet import _check, _keys, _tree
from funcnet._module._fields import (
    Buffer,
    annotations,
    check_body,
    check_child,
    check_constructor,
    check_static,
    names_child,
)
from funcnet._types import Array, Key, PyTree

Observer = Callable[["Module", tuple[Any, ...], dict[str, Any], Any], None]
_observer: contextvars.ContextVar[Observer | None] = contextvars.ContextVar("observer", default=None)


@dataclass_transform(frozen_default=True)
class Module:
    """The base of layers and models: a frozen dataclass and a pytree, so plain JAX works on it.

    A subclass declares its fields and `__call__(self, x, key=None)`. A field is a **child** when its
    annotation names Array, Module, Buffer or a PyTree, tuple, list or dict of them; any other field
    is **static**. `key=None` means inference; a key means training. A layer that acts otherwise in
    training says so, `needs_key: ClassVar[bool] = True`, and a model that keeps the key from it is refused.

    A layer with arrays of its own declares them as fields that are None at first and returns them
    from `parameters(key)`; `init` fills them in.

    Raises:
        TypeError: for an array or module in a static field, a function in a child field, an
            annotation that cannot be resolved, or a call before `init`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> class TwoLayer(fn.Module):
        ...     hidden: fn.Module = fn.Linear(2, 10)
        ...     out: fn.Module = fn.Linear(10, 1)
        ...     def __call__(self, x, key=None):
        ...         return self.out(jax.nn.relu(self.hidden(x)))
        >>> model = TwoLayer().init(jax.random.key(0))
        >>> model(jnp.ones(2)).shape, fn.count(model)
        ((1,), 41)
    """

    needs_key: ClassVar[bool] = False
    _children: ClassVar[tuple[str, ...]] = ()
    _static: ClassVar[tuple[str, ...]] = ()
    _by_hand: ClassVar[bool] = False  # whether the constructor is written by hand, here or in a base

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_body(cls, Module)
        cls._by_hand = cls._by_hand or "__init__" in vars(cls)
        dataclasses.dataclass(init=not cls._by_hand, frozen=True, eq=False, repr=False)(cls)
        cls.__setattr__ = _frozen  # type: ignore[assignment]
        found = annotations(cls)
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        check_constructor(cls, names, Module)
        cls._children = tuple(name for name in names if names_child(found[name], Module))
        cls._static = tuple(name for name in names if name not in cls._children)
        _register(cls)
        _wrap(cls, "__init__", _checked_init)
        _wrap(cls, "__call__", _observed_call)

    def parameters(self, key: Key) -> Mapping[str, Array]:
        """The arrays of this module's own fields, freshly drawn; children draw theirs themselves.

        Args:
            key: this module's own key.

        Returns:
            Arrays by field name. A field that already holds an array keeps it.
        """
        del key
        return {}

    def init(self, key: Key) -> Self:
        """The same module with its missing parameters drawn. Pure: `jax.vmap(net.init)(keys)`.

        Every child's key comes from `key` and its path, so adding a layer changes no other layer's
        numbers. Parameters that are there already (a pretrained part, a chosen start) are kept.

        Args:
            key: a typed key, shape ().

        Returns:
            A module of the same type.

        Raises:
            TypeError: if `key` is no typed key, or a parameter is not floating.
            ValueError: if no parameter is missing, so that a second `init` would do nothing.
        """
        _check.key(key)
        if jax.tree.leaves(self) and is_complete(self):
            raise ValueError(
                f"every parameter of this {type(self).__name__} is set, and init draws only missing "
                "ones. For a fresh start call init on the architecture: net = MLP((4, 16, 3)); "
                "model = net.init(key); other = net.init(other_key)."
            )
        model = self._filled(key)
        _check.floating_parameters(parameter_paths(model))
        return model

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed: `model.replace(out=model.out.replace(bias=b))`."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def _filled(self, key: Key) -> Self:
        def fill(name: str, path: Any, child: Any) -> Any:
            if not isinstance(child, Module):
                return child
            return child._filled(_keys.named(key, name + jax.tree_util.keystr(path)))

        children = {
            name: jax.tree_util.tree_map_with_path(
                functools.partial(fill, name), getattr(self, name), is_leaf=is_module
            )
            for name in self._children
        }
        own = {n: v for n, v in self.parameters(key).items() if getattr(self, n) is None}
        return self.replace(**(children | own))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Static fields are shared: a copy of a function would be another function to jit.
        return jax.tree.map(lambda leaf: copy.deepcopy(leaf, memo), self)

    def __eq__(self, other: object) -> bool:
        structures: tuple[Any, Any] = jax.tree.structure(self), jax.tree.structure(other)
        if structures[0] != structures[1]:
            return False
        pairs = zip(jax.tree.leaves(self), jax.tree.leaves(other), strict=True)
        return all(np.array_equal(_tree.to_numpy(a), _tree.to_numpy(b)) for a, b in pairs)

    def __hash__(self) -> int:
        return hash(jax.tree.structure(self))

    def __repr__(self) -> str:
        fields = [(f, getattr(self, f.name)) for f in dataclasses.fields(self)]  # type: ignore[arg-type]
        shown = [
            f"{f.name}={_text(value)}"
            for f, value in fields
            if value is not None and not (f.name in self._static and value == f.default)
        ]
        line = f"{type(self).__name__}({', '.join(shown)})"
        if len(line) <= 88 and "\n" not in line:
            return line
        body = ",\n".join(shown).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"


@contextlib.contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """While this lasts, `observer(module, args, kwargs, output)` sees every call of a module."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def is_module(node: Any) -> bool:
    return isinstance(node, Module)


def is_complete(model: PyTree) -> bool:
    """Whether no module in `model` lacks a parameter."""
    if not isinstance(model, Module):
        found = jax.tree.leaves(model, is_leaf=is_module)
        return all(is_complete(leaf) for leaf in found if isinstance(leaf, Module))
    return not missing_parameters(model) and all(is_complete(getattr(model, n)) for n in model._children)


def parameter_paths(model: PyTree) -> dict[str, Any]:
    """Every parameter by its path; what a Buffer holds is none."""
    leaves = _tree.paths(model, is_leaf=lambda node: isinstance(node, Buffer))
    return {path: leaf for path, leaf in leaves.items() if not isinstance(leaf, Buffer)}


def missing_parameters(module: Module) -> list[str]:
    """The names of a module's own parameters that `init` has yet to draw."""
    unset = any(getattr(module, name) is None for name in module._children)
    if not unset or type(module).parameters is Module.parameters:
        return []
    own = jax.eval_shape(module.parameters, jax.random.key(0))
    return [name for name, like in own.items() if like is not None and getattr(module, name) is None]


def check_shapes(module: Module) -> None:
    """Raise unless a module's own parameters have the shapes in which it draws them."""
    if type(module).parameters is Module.parameters:
        return
    for name, wanted in _drawn_shapes(jax.tree.structure(module)).items():
        shape = getattr(getattr(module, name), "shape", wanted)
        if shape == wanted:
            continue
        shown = f"{type(module).__name__}.{name}"
        if shape[1:] == wanted:
            raise ValueError(
                f"{shown} has shape {shape}, and one model has {wanted}: these are {shape[0]} models in "
                "one tree. Call each by itself: jax.vmap(lambda model: model(x))(models)."
            )
        raise ValueError(f"{shown} has shape {shape}, and {wanted} is wanted.")


@functools.lru_cache(maxsize=1024)
def _drawn_shapes(structure: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of a module's own parameters, by what it is without its arrays; none if not known."""
    module = structure.unflatten([None] * structure.num_leaves)
    try:
        drawn = jax.eval_shape(module.parameters, jax.random.key(0))
    except Exception:  # a class of the user's may read its arrays there
        return {}
    return {name: like.shape for name, like in drawn.items() if hasattr(like, "shape")}


def before_init(module: Module, missing: list[str], path: str = "") -> str:
    name = type(module).__name__
    where = f" at {path}" if path else ""
    return (
        f"{name}{where} has no {' and no '.join(missing)} yet: it is an architecture without arrays. "
        "Draw its parameters first: model = net.init(jax.random.key(0))."
    )


def _wrap(cls: type, name: str, wrapper: Callable[[Any], Any]) -> None:
    if name in cls.__dict__:
        setattr(cls, name, wrapper(cls.__dict__[name]))


def _register(cls: type[Module]) -> None:
    """Make a class a pytree. JAX rebuilds trees around anything, so rebuilding runs no constructor."""
    names, keys = (*cls._children, *cls._static), [GetAttrKey(name) for name in cls._children]
    children, static = _tree.getter(cls._children), _tree.getter(cls._static)

    def flatten(module: Module) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return children(module), static(module)

    def flatten_with_keys(module: Module) -> tuple[list[tuple[GetAttrKey, Any]], tuple[Any, ...]]:
        return list(zip(keys, children(module), strict=True)), static(module)

    def unflatten(settings: tuple[Any, ...], values: Iterable[Any]) -> Module:
        module = object.__new__(cls)
        module.__dict__.update(zip(names, (*values, *settings), strict=True))
        return module

    register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)


def _checked_init(init: Any) -> Any:
    @functools.wraps(init)
    def __init__(self: Module, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if type(self).__init__ is not __init__:  # called by a subclass, which is not done yet
            return
        for name in self._static:
            check_static(type(self).__name__, name, getattr(self, name), Module)
        for name in self._children:
            check_child(type(self).__name__, name, getattr(self, name), Module)

    return __init__


def _observed_call(call: Any) -> Any:
    @functools.wraps(call)
    def __call__(self: Module, *args: Any, **kwargs: Any) -> Any:
        if not jax.tree.leaves(self) and (missing := missing_parameters(self)):
            raise TypeError(before_init(self, missing))
        check_shapes(self)
        with jax.named_scope(type(self).__name__):
            output = call(self, *args, **kwargs)
        if (observer := _observer.get()) is not None:
            observer(self, args, kwargs, output)
        return output

    return __call__


def _frozen(self: Module, name: str, value: Any) -> None:
    del value
    raise AttributeError(
        f"a {type(self).__name__} can't be changed in place; a copy can be: model.replace({name}=...). "
        "The constructor that the annotations make sets the fields; parameters(self, key) draws arrays."
    )


def _text(value: Any) -> str:
    if isinstance(value, jax.Array | jax.ShapeDtypeStruct | np.ndarray):
        return _tree.dtype_and_shape(value)
    if isinstance(value, tuple):
        inside = [_text(item) for item in value]
        if any("(" in item for item in inside):
            return "(\n  " + ",\n".join(inside).replace("\n", "\n  ") + ",\n)"
        return f"({', '.join(inside)}{',' if len(inside) == 1 else ''})"
    if callable(value) and not isinstance(value, Module):
        return getattr(value, "__name__", type(value).__name__)
    return repr(value)
