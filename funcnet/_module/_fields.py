"""The fields of a module's class: which are children, and what no class or field may hold.

`base` is `Module`, which is made of all this.
"""

import collections.abc
import dataclasses
import inspect
import types
import typing
from typing import Any

import jax
import numpy as np

from funcnet import _tree


@_tree.node
class Buffer:
    """An array in a model that is no parameter: running statistics, tables, counts.

    It is saved, moved and vmapped with the model; no gradient reaches it and no optimizer moves it.

    Args:
        value: an array of any shape and dtype.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.trainable({"a": jnp.ones(3), "seen": fn.Buffer(jnp.zeros((), int))})
        {'a': True, 'seen': Buffer(value=False)}
    """

    value: Any


def check_body(cls: type, base: type) -> None:
    """Raise for what stands in the class and would be no part of the model, or hide a part of it."""
    annotated = inspect.get_annotations(cls)
    inherited = {field.name: field for field in getattr(cls, "__dataclass_fields__", {}).values()}
    for name, value in vars(cls).items():
        if name in inherited and name not in annotated:
            kind = getattr(inherited[name].type, "__name__", inherited[name].type)
            raise TypeError(
                f"{cls.__name__}.{name} overrides a field's default, and without an annotation that does "
                f"nothing. Write '{name}: {kind} = ...'."
            )
        if name not in annotated and isinstance(value, base | Buffer | jax.Array | np.ndarray):
            kind = "fn.Module" if isinstance(value, base) else "jax.Array"
            raise TypeError(
                f"{cls.__name__}.{name} has no annotation, so it would be no part of the model. Write "
                f"'{name}: {kind} = ...'."
            )


def check_constructor(cls: Any, names: list[str], base: type) -> None:
    """Raise if the class could not be made from its fields, as `replace` does."""
    for field in dataclasses.fields(cls):
        if not field.init:
            raise TypeError(
                f"{cls.__name__}.{field.name} is not set by the constructor as other fields are. Let "
                f"it be given, '{field.name}: fn.Module | None = None', and set by __post_init__ if it is "
                "None."
            )
        if hasattr(base, field.name):
            raise TypeError(
                f"{cls.__name__}.{field.name} hides what a Module calls {field.name}: rename it."
            )
    if any(isinstance(kind, dataclasses.InitVar) for kind in inspect.get_annotations(cls).values()):
        raise TypeError(
            f"{cls.__name__} has an InitVar, which replace and init can't hand on: make it a field."
        )
    if not cls._by_hand:
        return
    taken = inspect.signature(cls).parameters
    if any(p.kind == p.VAR_KEYWORD for p in taken.values()):
        return
    missing = [name for name in names if name not in taken]
    if missing:
        raise TypeError(
            f"{cls.__name__}.__init__ does not take {', '.join(missing)}, and init and replace make a copy "
            "from all fields. Leave __init__ out, or let it take every field by its name."
        )


def check_static(owner: str, name: str, value: Any, base: type) -> None:
    leaves = jax.tree.leaves(value, is_leaf=lambda node: isinstance(node, base))
    if any(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves):
        raise TypeError(
            f"{owner}.{name} is a static field by its annotation, and an array came. Arrays live in "
            f"fields annotated as arrays: '{name}: jax.Array'; or fn.Buffer, if it is no parameter."
        )
    if any(isinstance(leaf, base) for leaf in leaves):
        raise TypeError(
            f"{owner}.{name} is a static field by its annotation, and a module came. Annotate it as "
            f"one, so that its parameters are found: '{name}: fn.Module'."
        )


def check_child(owner: str, name: str, value: Any, base: type) -> None:
    for leaf in jax.tree.leaves(value, is_leaf=lambda node: isinstance(node, base)):
        if callable(leaf) and not isinstance(leaf, base):
            shown = getattr(leaf, "__name__", type(leaf).__name__)
            raise TypeError(
                f"{owner}.{name} holds arrays and modules by its annotation, and the function {shown} "
                f"came. Keep functions in a static field: '{name}: Callable'; in a Sequential they "
                "may stand as they are: fn.Sequential(fn.Linear(2, 5), jax.nn.relu)."
            )


def annotations(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, localns={cls.__name__: cls}, include_extras=True)
    except (NameError, TypeError) as error:
        raise TypeError(
            f"the annotations of {cls.__name__} can't be resolved when the class is made ({error}), so "
            "its children can't be told from its static fields. Import the names they use, drop "
            "'from __future__ import annotations', or annotate the field as fn.Module or jax.Array."
        ) from None


def names_child(annotation: Any, base: type) -> bool:
    """Whether a field of this annotation holds arrays or modules."""
    origin = typing.get_origin(annotation)
    if origin in (collections.abc.Callable, type, typing.Literal):
        return False
    if origin is not None or isinstance(annotation, types.UnionType):
        return any(names_child(part, base) for part in typing.get_args(annotation))
    if isinstance(annotation, typing.TypeVar):
        return names_child(annotation.__bound__, base)
    if not inspect.isclass(annotation):
        return False
    if hasattr(annotation, "array_type"):  # a jaxtyping annotation: Float[Array, "..."]
        return True
    return "PyTree" in annotation.__name__ or issubclass(annotation, jax.Array | base | Buffer)
