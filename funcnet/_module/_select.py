"""Arrays of a model by path: the ones that a user names."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from funcnet import _check

Paths: TypeAlias = str | Iterable[str] | Callable[..., bool]

MAX_LISTED = 20
"""Paths in an error message; larger models have more."""


def select(argument: str, leaves: Mapping[str, Any], names: Mapping[str, str], paths: Paths) -> set[str]:
    """The paths of the leaves that a user selects, at least one.

    Args:
        argument: its name, for error messages.
        leaves: the leaves to select from by path, `layers[0].weight`.
        names: their names in a file of weights, `layers.0.weight`, by path.
        paths: a path or name, or the beginning of some that ends with a whole part; several of them; or a
            function of path and leaf.

    Raises:
        TypeError: if `paths` is none of these, or the function does not return True or False.
        ValueError: if one of them matches no leaf.
    """
    if callable(paths):
        _check.takes(argument, paths, "a function (path, leaf) -> bool", "layers[0].weight", None)
        chosen = {path for path, leaf in leaves.items() if _is_selected(argument, paths, path, leaf)}
        if not chosen:
            raise ValueError(f"{argument} must select an array of the model, got none. {_listing(leaves)}")
        return chosen
    is_one = isinstance(paths, str | bytes | Mapping) or getattr(paths, "ndim", 1) == 0
    is_several = isinstance(paths, Iterable) and not is_one
    prefixes: Iterable[Any] = paths if is_several else [paths]
    selected: set[str] = set()
    for prefix in prefixes:
        if not isinstance(prefix, str):
            raise TypeError(
                f"{argument} must be a path such as 'layers[0]', a list of them, or a function "
                f"(path, leaf) -> bool, got {_check.describe(prefix)}."
            )
        matches = {p for p in leaves if _starts(p, prefix) or _starts(names[p], prefix)}
        if not matches:
            raise ValueError(
                f"{argument} must name arrays of the model, and nothing is at {prefix!r}. "
                f"{_listing(leaves)}"
            )
        selected |= matches
    if not selected:
        raise ValueError(f"{argument} must name an array of the model, got none. {_listing(leaves)}")
    return selected


def _starts(path: str, prefix: str) -> bool:
    return path == prefix or (path.startswith(prefix) and path[len(prefix)] in ".[")


def _is_selected(argument: str, rule: Callable[..., Any], path: str, leaf: Any) -> bool:
    value = rule(path, leaf)
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{argument} must return True or False, got {_check.describe(value)} for {path}.")
    return bool(value)


def _listing(leaves: Mapping[str, Any]) -> str:
    if not leaves:
        return "The model has no arrays."
    more = f", and {len(leaves) - MAX_LISTED} more" if len(leaves) > MAX_LISTED else ""
    return f"Its arrays are {', '.join(list(leaves)[:MAX_LISTED])}{more}."
