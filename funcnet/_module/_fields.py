"""The fields of module classes: which of them are children, and the checks of classes and values.

`base` is always `Module`, passed as an argument because its own module imports this one.
"""

import collections.abc
import dataclasses
import inspect
import types
import typing
from typing import Any

import jax
import numpy as np

from funcnet import _check, _tree


@_tree.node
class Buffer:
    """An array in a model that is not a parameter: running statistics, tables, counts.

    It is saved, moved between devices and vmapped with the model, but gets no gradient and no optimizer
    updates.

    Args:
        value: an array of any shape and dtype.

    Raises:
        TypeError: if the value is a string, a function or a class.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.trainable({"weight": jnp.ones(3), "steps": fn.Buffer(jnp.zeros((), int))})
        {'steps': Buffer(value=False), 'weight': True}
    """

    value: Any

    def __post_init__(self) -> None:
        def as_array(leaf: Any) -> Any:
            if _tree.is_key(leaf):
                return leaf
            array = _check.array("the value of a Buffer", leaf)
            return leaf if isinstance(leaf, int | float) else array

        object.__setattr__(self, "value", jax.tree.map(as_array, self.value))


def check_body(cls: type, base: type) -> None:
    """Raise for attributes without annotation that would be missing in the model or hide a field."""
    annotated = inspect.get_annotations(cls)
    inherited = {field.name: field for field in getattr(cls, "__dataclass_fields__", {}).values()}
    for name, value in vars(cls).items():
        if name in inherited and name not in annotated:
            kind = getattr(inherited[name].type, "__name__", type(value).__name__)
            raise TypeError(
                f"{cls.__name__}.{name} must have an annotation to override the default of a field. Write "
                f"'{name}: {kind} = ...'."
            )
        if name not in annotated and isinstance(value, base | Buffer | jax.Array | np.ndarray):
            kind = "fn.Module" if isinstance(value, base) else "jax.Array"
            raise TypeError(
                f"{cls.__name__}.{name} must have an annotation to be part of the model. Write "
                f"'{name}: {kind} = ...'."
            )


def check_constructor(cls: Any, names: list[str], base: type) -> None:
    """Raise if `replace` could not construct the class from its fields."""
    for field in dataclasses.fields(cls):
        if not field.init:
            raise TypeError(
                f"{cls.__name__}.{field.name} must be an argument of the constructor, got init=False. "
                f"Declare '{field.name}: fn.Module | None = None' and set it in __post_init__ if None."
            )
        if hasattr(base, field.name):
            raise TypeError(
                f"{cls.__name__}.{field.name} must not have the name of an attribute of Module: rename it, "
                f"for example to {field.name}_."
            )
    if any(isinstance(kind, dataclasses.InitVar) for kind in inspect.get_annotations(cls).values()):
        raise TypeError(
            f"{cls.__name__} must not have an InitVar, since replace and init can't pass it on: make it a "
            "field."
        )
    if not cls._custom_init:
        return
    parameters = inspect.signature(cls).parameters
    if any(p.kind == p.VAR_KEYWORD for p in parameters.values()):
        return
    missing = [name for name in names if name not in parameters]
    if missing:
        raise TypeError(
            f"{cls.__name__}.__init__ must accept every field by its name, since init and replace "
            f"construct copies from all fields; {', '.join(missing)} is missing. Remove __init__, or add "
            "the argument."
        )


def check_static(owner: str, name: str, value: Any, base: type) -> None:
    leaves = jax.tree.leaves(value, is_leaf=lambda node: isinstance(node, base))
    if any(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves):
        raise TypeError(
            f"{owner}.{name} is a static field by its annotation and must not hold an array. Annotate it "
            f"as an array, '{name}: jax.Array', or as fn.Buffer if it is not a parameter."
        )
    if any(isinstance(leaf, base) for leaf in leaves):
        raise TypeError(
            f"{owner}.{name} is a static field by its annotation and must not hold a module. Annotate it "
            f"as a module: '{name}: fn.Module'."
        )


def python_numbers(value: Any) -> Any:
    """A static value with Python's numbers in place of NumPy's, so that it is equal, and printed, alike."""
    if isinstance(value, np.generic):
        return float(value) if isinstance(value, np.longdouble) else value.item()
    if type(value) is tuple and any(isinstance(entry, np.generic | tuple) for entry in value):
        return tuple(python_numbers(entry) for entry in value)
    return value


def to_arrays(owner: str, name: str, value: Any, base: type) -> Any:
    """The value of a child field, with arrays that JAX can't read (big-endian, PyTorch) as arrays."""
    nodes = base | Buffer

    def convert(leaf: Any) -> Any:
        if isinstance(leaf, nodes | jax.Array | jax.ShapeDtypeStruct | bool | int | float):
            return leaf
        if isinstance(leaf, np.ndarray | np.generic):
            is_complex = leaf.dtype.kind == "c" and leaf.dtype.isnative
            return leaf if is_complex else _check.array(f"{owner}.{name}", leaf)
        return _check.jax_array(f"{owner}.{name}", leaf)

    leaves, tree = jax.tree.flatten(value, is_leaf=lambda node: isinstance(node, nodes))
    arrays = [convert(leaf) for leaf in leaves]
    same = all(a is b for a, b in zip(leaves, arrays, strict=True))
    return value if same else jax.tree.unflatten(tree, arrays)


def check_child(owner: str, name: str, value: Any, annotation: Any, base: type) -> None:
    nodes = base | Buffer
    is_one_module = inspect.isclass(annotation) and issubclass(annotation, base)
    if is_one_module and isinstance(value, list | tuple | dict | set):
        raise TypeError(
            f"{owner}.{name} must hold one module by its annotation, got {_check.describe(value)}. For "
            f"several annotate it as '{name}: tuple[fn.Module, ...]'."
        )
    holds_nodes = _is_node_annotation(annotation, nodes)
    for leaf in jax.tree.leaves(value, is_leaf=lambda node: isinstance(node, nodes)):
        if isinstance(leaf, str | bytes | complex):
            raise TypeError(
                f"{owner}.{name} must hold arrays or modules by its annotation, got {leaf!r}. Declare a "
                f"static field for settings: '{name}: {type(leaf).__name__}'."
            )
        if callable(leaf) and not isinstance(leaf, base):
            function = getattr(leaf, "__name__", type(leaf).__name__)
            raise TypeError(
                f"{owner}.{name} must hold arrays or modules by its annotation, got the function "
                f"{function}. Declare a static field for functions, '{name}: Callable', or pass them to "
                "Sequential: fn.Sequential(fn.Linear(2, 5), jax.nn.relu)."
            )
        if holds_nodes and not isinstance(leaf, nodes):
            raise TypeError(
                f"{owner}.{name} must hold modules or fn.Buffers by its annotation, got "
                f"{_check.describe(leaf)}."
            )


def _is_node_annotation(annotation: Any, nodes: Any) -> bool:
    """Whether a field with this annotation holds modules or buffers alone, or None."""
    if typing.get_origin(annotation) is not None or isinstance(annotation, types.UnionType):
        parts = (part for part in typing.get_args(annotation) if part not in (Ellipsis, type(None)))
        return all(_is_node_annotation(part, nodes) for part in parts)
    return inspect.isclass(annotation) and issubclass(annotation, nodes)


def is_setting_annotation(annotation: Any) -> bool:
    """Whether a field holds a number, which is static, or a Buffer, such as `float | Buffer`."""
    parts = typing.get_args(annotation)
    return Buffer in parts and any(number in parts for number in (int, float))


def annotations(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, localns={cls.__name__: cls}, include_extras=True)
    except (NameError, TypeError) as error:
        raise TypeError(
            f"the annotations of {cls.__name__} must be resolvable when the class is defined, got {error}. "
            "Child and static fields are distinguished by them. Import the names they use, remove "
            "'from __future__ import annotations', or annotate the field as fn.Module or jax.Array."
        ) from None


def is_child_annotation(annotation: Any, base: type) -> bool:
    """Whether a field with this annotation holds arrays or modules."""
    origin = typing.get_origin(annotation)
    if origin in (collections.abc.Callable, type, typing.Literal):
        return False
    if origin is not None or isinstance(annotation, types.UnionType):
        return any(is_child_annotation(part, base) for part in typing.get_args(annotation))
    if isinstance(annotation, typing.TypeVar):
        return is_child_annotation(annotation.__bound__, base)
    if not inspect.isclass(annotation):
        return False
    if hasattr(annotation, "array_type"):  # a jaxtyping annotation: Float[Array, "..."]
        return True
    return "PyTree" in annotation.__name__ or issubclass(annotation, jax.Array | base | Buffer)
