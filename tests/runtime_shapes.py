"""The checker of shape annotations in tests: it checks arrays, and leaves all other types to the library.

An argument that is not an array raises the library's own error, so that tests see what users see.
"""

import typing
from collections.abc import Callable
from typing import Any

from beartype import beartype
from jaxtyping import PRNGKeyArray


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with its jaxtyping annotations checked at run time and its others ignored.

    Left out on purpose: keys (a wrong key has an error message of its own), classes, protocols, `Self`;
    and constructors, whose fields say what an object holds, not what it may be made from.
    """
    if function.__name__ == "__init__":
        return function
    kept = {name: hint for name, hint in function.__annotations__.items() if _names_shape(hint)}
    function.__annotations__ = kept
    return beartype(function)


def only_where_shapes_are_named(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    """`jaxtyped` for functions with a shape in their annotations; it leaves all others as they are.

    Most functions name no shape, and binding the arguments of each call took a seventh of the tests' time.
    """

    def decorate(function: Any = None, *, typechecker: Any = None) -> Any:
        if function is None:
            return lambda decorated: decorate(decorated, typechecker=typechecker)
        if isinstance(function, type) or not any(map(_names_shape, function.__annotations__.values())):
            return function
        return jaxtyped(function, typechecker=typechecker)

    return decorate


def _names_shape(hint: Any) -> bool:
    inside = typing.get_args(hint)
    if all(part in inside for part in typing.get_args(PRNGKeyArray)):
        return False
    return hasattr(hint, "array_type") or any(_names_shape(part) for part in inside)
