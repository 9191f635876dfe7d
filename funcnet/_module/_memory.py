"""Whether the arrays of an architecture fit into memory, before any of them is drawn."""

from typing import Any

import jax

from funcnet import _check

LARGE = 2**13
"""Architectures without a size this large are not looked at: evaluating shapes takes as long as `init`."""


LARGEST_ARRAY = 2**56
"""Bytes of an array that no machine and no mesh of machines has; XLA ends the process at 2**63."""


def check_memory(module: Any, is_traced: bool) -> None:
    """Raise if the arrays that `init` would draw need more than the memory of the machine or the device.

    Traced, they may be sharded over many devices, or only be evaluated for their shapes: then only what no
    number of devices holds is refused.
    """
    largest, setting = max(_sizes(module), default=(0, ""))
    if not largest:
        return
    name = type(module).__name__
    too_large = ValueError(f"the sizes of this {name} must be below 2**31, got {setting} {largest:,}.")
    try:
        structs = jax.tree.leaves(jax.eval_shape(module._init_missing, jax.random.key(0)))
    except OverflowError:
        raise too_large from None
    if any(size > _check.INT32_MAX for leaf in structs for size in leaf.shape):
        raise too_large
    what = f"the parameters of this {name}, with {setting} {largest:,},"
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in structs]
    if max(sizes, default=0) > LARGEST_ARRAY:
        raise ValueError(f"{what} need more memory than there is. Choose smaller settings.")
    if is_traced:
        return
    _check.fits_in_memory(what, sum(sizes) + max(sizes, default=0))  # random bits, and what is made of them


def _sizes(module: Any) -> list[tuple[int, str]]:
    """The large integers in its static fields, with the fields' names; if none, those of its modules."""
    own = [(leaf, name) for name in module._static for leaf in jax.tree.leaves(getattr(module, name))]
    if large := [(leaf, name) for leaf, name in own if isinstance(leaf, int) and leaf >= LARGE]:
        return large
    children = [getattr(module, name) for name in module._children]
    inside = jax.tree.leaves(children, is_leaf=lambda node: hasattr(node, "_children"))
    return [size for child in inside if hasattr(child, "_children") for size in _sizes(child)]
