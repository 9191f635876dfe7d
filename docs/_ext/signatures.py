"""Signatures with types as they are read: `Key` and `Loss`, and not the types that they stand for."""

import enum
import inspect
import types
import typing
from typing import Any

import jax
import jaxtyping
import optax
from public_names import public_classes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

from funcnet import _types

# The names of reference/types.md, by what they stand for.
NAMED: dict[str, Any] = {
    "Key": _types.Key,
    "ArrayLike": _types.ArrayLike,
    "Loss": _types.Loss,
    "PerExample": _types.PerExample,
}
LIBRARIES = {"jax": jax, "jax.nn": jax.nn, "jax.sharding": jax.sharding, "optax": optax}


def show_signature(
    app: Sphinx, what: str, path: str, value: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """The signature as autodoc finds it, with our way to show annotations and defaults."""
    if signature is None or what not in ("class", "exception", "function", "method"):
        return None
    if what == "function":  # one signature, and not one for each overload
        analyzer = ModuleAnalyzer.for_module(value.__module__)
        analyzer.analyze()
        analyzer.overloads.clear()
    if inspect.isclass(value) and (issubclass(value, enum.Enum) or value is _types.PyTree):
        return "", None
    try:
        found = inspect.signature(value, eval_str=True)
    except (NameError, TypeError, ValueError):
        return None
    kept = [p for p in found.parameters.values() if p.name != "self" and not p.name.startswith("_")]
    names = ", ".join(with_star([show_parameter(parameter) for parameter in kept], kept))
    is_class = inspect.isclass(value) or found.return_annotation is found.empty
    return f"({names})", None if is_class else show(found.return_annotation)


def with_star(shown: list[str], parameters: list[inspect.Parameter]) -> typing.Iterator[str]:
    """The parameters, with the star before those that are passed by name only."""
    is_open = True
    for text, parameter in zip(shown, parameters, strict=True):
        if is_open and parameter.kind is parameter.KEYWORD_ONLY:
            yield "*"
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL):
            is_open = False
        yield text
        is_last = text is shown[-1]
        if parameter.kind is parameter.POSITIONAL_ONLY and (
            is_last or parameters[shown.index(text) + 1].kind is not parameter.POSITIONAL_ONLY
        ):
            yield "/"


def show_parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = f"{stars}{parameter.name}"
    if parameter.annotation is not parameter.empty:
        text += f": {show(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        text += f" = {show_default(parameter.default)}"
    return text


def show_default(value: Any) -> str:
    if type(value).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
        return "{}"
    for module, library in LIBRARIES.items():
        name = getattr(value, "__name__", None)
        if name and getattr(library, name, None) is value:
            return f"{module}.{name}"
    return repr(value)


def show(annotation: Any) -> str:
    """The annotation as an expression; `~module.name` is displayed as `name`."""
    if annotation is None or annotation is types.NoneType:
        return "None"
    if annotation is ...:
        return "..."
    if annotation is Any:
        return "~typing.Any"
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, typing.TypeVar):
        return annotation.__name__
    if isinstance(annotation, list):
        return f"[{', '.join(map(show, annotation))}]"
    if named := [name for name, meaning in NAMED.items() if same(annotation, meaning)]:
        return named[0]
    if inspect.isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray):
        return (
            f"~jaxtyping.{annotation.dtype.__name__}[{show(annotation.array_type)}, {annotation.dim_str!r}]"
        )
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " | ".join(map(repr, arguments))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(show_union(list(arguments)))
    if origin is not None:
        return f"{show(origin)}[{', '.join(map(show, arguments))}]"
    return qualified(annotation)


def same(annotation: Any, meaning: Any) -> bool:
    return annotation is meaning or (typing.get_origin(meaning) is not None and annotation == meaning)


def show_union(members: list[Any]) -> list[str]:
    """The members of a union; those that together have a name, by it; None comes last."""
    shown = []
    for name, meaning in NAMED.items():
        parts = typing.get_args(meaning)
        if parts and all(part in members for part in parts):
            members = [member for member in members if member not in parts]
            shown.append(name)
    shown += [show(member) for member in members if member is not types.NoneType]
    return [*shown, "None"] if types.NoneType in members else shown


def qualified(cls: Any) -> str:
    """The path of a class, to be displayed as its name; of a private class that of its public base."""
    if cls is jax.Array:
        return "~jax.Array"
    module = cls.__module__
    if module == "builtins":
        return cls.__qualname__
    if module.startswith("funcnet"):
        found = [public_classes()[base] for base in cls.__mro__ if base in public_classes()]
        return f"~{found[0]}" if found else cls.__name__
    public = next(
        (name for name, library in LIBRARIES.items() if vars(library).get(cls.__name__) is cls), module
    )
    return f"~{public}.{cls.__qualname__}"


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-signature", show_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
