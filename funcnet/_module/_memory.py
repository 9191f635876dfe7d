"""Whether the arrays of an architecture fit into memory, before any of them is drawn."""

from typing import Any

import jax

from funcnet import _check

LARGE = 2**13
"""Architectures without a size this large are not looked at: evaluating shapes takes as long as `init`."""


def check_memory(module: Any) -> None:
    """Raise if the arrays that `init` would draw need more than the memory of the machine or the device."""
    leaves = jax.tree.leaves(_settings(module))
    if not any(isinstance(leaf, int) and leaf >= LARGE for leaf in leaves):
        return
    name = type(module).__name__
    try:
        structs = jax.tree.leaves(jax.eval_shape(module._init_missing, jax.random.key(0)))
    except OverflowError:
        raise ValueError(
            f"the sizes of this {name} must be below 2**31, got {max(filter(_is_int, leaves))}."
        ) from None
    largest = max(filter(_is_int, leaves))
    what = f"the parameters of this {name}, whose largest size is {largest:,},"
    _check.fits_in_memory(what, sum(leaf.size * leaf.dtype.itemsize for leaf in structs))


def _settings(module: Any) -> Any:
    """The values of all static fields, and those of the modules inside."""
    children = [getattr(module, name) for name in module._children]
    inside = jax.tree.leaves(children, is_leaf=lambda node: hasattr(node, "_children"))
    own = [getattr(module, name) for name in module._static]
    return own + [_settings(child) for child in inside if hasattr(child, "_children")]


def _is_int(leaf: Any) -> bool:
    return isinstance(leaf, int)
