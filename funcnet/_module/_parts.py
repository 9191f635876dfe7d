"""Whether the parts and arrays of a changed module are still those that its settings build."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from funcnet import _check, _tree

Shapes = Mapping[str, tuple[int, ...]]


def check_parts(
    module: Any, copy: Any, changes: Mapping[str, Any], shapes_of: Callable[[Any], Shapes]
) -> None:
    """Raise if `copy`, `module` with changes, contradicts itself.

    Args:
        module: the module.
        copy: the changed one.
        changes: the new values of fields.
        shapes_of: returns the shapes of a module's own parameters, by its tree structure.
    """
    settings = (*module._static, *module._traceable)
    changed = [name for name in settings if getattr(module, name) != getattr(copy, name)]
    if not module._children or not (changed or changes.keys() & set(module._children)):
        return
    _check_arrays(module, copy, changes, changed, shapes_of)
    fields = {field.name: field for field in dataclasses.fields(module)}
    built = [name for name in module._children if fields[name].default is None]
    given = [n for n in built if _holds_modules(new := changes.get(n)) and new is not getattr(module, n)]
    if not built or not (changed or given):
        return
    try:
        before, after = (
            {name: getattr(_rebuild(m, built), name) for name in built} for m in (module, copy)
        )
    except (TypeError, ValueError):  # of a class that can't be built without its parts
        return
    owner = type(module).__name__
    for name in given:
        counts = _count_modules(after[name]), _count_modules(getattr(copy, name))
        if after[name] is not None and counts[0] != counts[1]:
            raise ValueError(
                f"{owner}.{name} must hold {counts[0]} modules, as its settings build, got {counts[1]}. "
                f"Change the setting as well: net.replace({settings[0]}=..., {name}=...)."
            )
    kept = [n for n in built if n not in given and (n not in changes or changes[n] is not None)]
    new = {id(leaf) for name in changed for leaf in jax.tree.leaves(getattr(copy, name))}
    stale = [n for n in kept if _differ(before[n], after[n], new)]
    if changed and stale:
        setting, parts = changed[0], ", ".join(f"{n}=None" for n in stale)
        raise ValueError(
            f"{owner}.{stale[0]} must be what {setting}={getattr(copy, setting)!r} builds, and replace "
            f"would keep what {getattr(module, setting)!r} built. Build it anew, and initialize it: "
            f"net.replace({setting}=..., {parts})."
        )


def _check_arrays(
    module: Any,
    copy: Any,
    changes: Mapping[str, Any],
    changed: Sequence[str],
    shapes_of: Callable[[Any], Shapes],
) -> None:
    """Raise unless a module's own arrays are those that its settings imply, stacked or not."""
    owner, shapes = type(module).__name__, shapes_of(jax.tree.structure(copy))
    for name in shapes.keys() & changes.keys():
        if isinstance(changes[name], list | tuple | float):
            raise TypeError(
                f"{owner}.{name} must be an array of shape {shapes[name]}, got "
                f"{_check.describe(changes[name])}. Try jnp.asarray(value, float)."
            )
    if changed:
        for name in shapes_of(jax.tree.structure(module)).keys() - shapes.keys():
            if getattr(copy, name) is not None:
                setting = f"{changed[0]}={getattr(copy, changed[0])!r}"
                raise ValueError(
                    f"{owner}.{name} must be None with {setting}, got "
                    f"{_check.describe(getattr(copy, name))}. Write net.replace({setting}, {name}=None)."
                )
    stacks = {
        name: value.shape[: len(value.shape) - len(shape)]
        for name, shape in shapes.items()
        if hasattr(value := getattr(copy, name), "shape")
        and value.shape[len(value.shape) - len(shape) :] == shape
    }
    if len(set(stacks.values())) > 1:
        listed = "; ".join(f"{n} {getattr(copy, n).shape}, of one model {shapes[n]}" for n in stacks)
        raise ValueError(
            f"the arrays of {owner} must have the same leading axes, one entry for each model, got "
            f"{listed}. Stack all of them: net.replace({', '.join(f'{name}=...' for name in stacks)})."
        )


def _differ(before: Any, after: Any, new: set[int]) -> bool:
    """Whether settings have built another part: of another structure, or with an array of `new`."""
    structures: Any = [jax.tree.structure(part) for part in (before, after)]
    if structures[0] != structures[1]:
        return True
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return any(
        id(b) in new or (_tree.is_concrete((a, b)) and not np.array_equal(a, b))
        for a, b in pairs
        if a is not b
    )


def _is_module(node: Any) -> bool:
    return hasattr(node, "_init_missing")


def _holds_modules(part: Any) -> bool:
    """Whether a part is a tuple, a list or a dictionary of modules, whose number settings determine."""
    return not _is_module(part) and any(map(_is_module, jax.tree.leaves(part, is_leaf=_is_module)))


def _count_modules(part: Any) -> int:
    return len(jax.tree.leaves(part, is_leaf=_is_module))


def _rebuild(module: Any, built: Iterable[str]) -> Any:
    """A module of the same settings, with new parts."""
    settings = {name: getattr(module, name) for name in (*module._children, *module._static)}
    return type(module)(**settings | dict.fromkeys(built))
