"""Module classes as pytrees of JAX."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from jax.tree_util import GetAttrKey, register_pytree_with_keys

from funcnet import _tree


class _Split(NamedTuple):
    """The fields of a module: the children, and what is part of the tree's structure."""

    names: tuple[str, ...]
    children_of: Callable[[Any], tuple[Any, ...]]
    static_of: Callable[[Any], tuple[Any, ...]]
    keys: tuple[GetAttrKey, ...]


def register(cls: Any) -> None:
    """Register a module class as a pytree, by its `_children`, `_static` and `_traceable`.

    A setting that may be traced is static where it is a number, and a child where it is a Buffer. What is
    frozen is part of the structure, as a setting is: no transformation of JAX loses it. Unflattening runs
    no constructor: JAX unflattens arbitrary leaves.
    """

    @functools.cache
    def split(numbers: tuple[str, ...]) -> _Split:
        children = tuple(name for name in cls._children if name not in numbers)
        static = (*cls._static, "_frozen", *numbers)
        keys = tuple(GetAttrKey(name) for name in children)
        return _Split((*children, *static), _tree.getter(children), _tree.getter(static), keys)

    def numbers_in(module: Any) -> tuple[str, ...]:
        if not cls._traceable:  # most classes, and each call of `fit` flattens trees
            return ()
        return tuple(name for name in cls._traceable if type(getattr(module, name)) in (int, float))

    def flatten(module: Any) -> tuple[tuple[Any, ...], Any]:
        numbers = numbers_in(module)
        fields = split(numbers)
        return fields.children_of(module), (fields.static_of(module), numbers)

    def flatten_with_keys(module: Any) -> tuple[list[tuple[GetAttrKey, Any]], Any]:
        children, structure = flatten(module)
        return list(zip(split(structure[1]).keys, children, strict=True)), structure

    def unflatten(structure: Any, children: Iterable[Any]) -> Any:
        static, numbers = structure
        module = object.__new__(cls)
        module.__dict__.update(zip(split(numbers).names, (*children, *static), strict=True))
        return module

    register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
