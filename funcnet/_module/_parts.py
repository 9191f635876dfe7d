"""Whether the parts of a changed module are still those that its settings build."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax


def check_parts(module: Any, copy: Any, changes: Iterable[str]) -> None:
    """Raise if a setting of `copy` differs from `module`'s, and a part that was built from it is kept."""
    settings = (*module._static, *module._traceable)
    changed = [name for name in settings if getattr(module, name) != getattr(copy, name)]
    fields = {field.name: field for field in dataclasses.fields(module)}
    built = [name for name in module._children if fields[name].default is None]
    if not changed or not built:
        return
    try:
        before, after = (
            {name: getattr(_rebuild(m, built), name) for name in built} for m in (module, copy)
        )
    except (TypeError, ValueError):  # of a class that can't be built without its parts
        return
    stale = [
        name
        for name in built
        if name not in changes and _structure(before[name]) != _structure(after[name])
    ]
    if stale:
        owner, setting, parts = type(module).__name__, changed[0], ", ".join(f"{n}=None" for n in stale)
        raise ValueError(
            f"{owner}.{stale[0]} must be what {setting}={getattr(copy, setting)!r} builds, and replace "
            f"would keep what {getattr(module, setting)!r} built. Build it anew, and initialize it: "
            f"net.replace({setting}=..., {parts})."
        )


def _structure(part: Any) -> Any:
    return jax.tree.structure(part)


def _rebuild(module: Any, built: Iterable[str]) -> Any:
    """A module of the same settings, with new parts."""
    settings = {name: getattr(module, name) for name in (*module._children, *module._static)}
    return type(module)(**settings | dict.fromkeys(built))
