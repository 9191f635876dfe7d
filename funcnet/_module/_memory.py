"""Whether the arrays of an architecture fit into memory, before any of them is drawn."""

import os
from typing import Any

import jax

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
    needed, memory = sum(leaf.size * leaf.dtype.itemsize for leaf in structs), _memory()
    if memory is not None and needed > memory:
        raise ValueError(
            f"the parameters of this {name} need {needed / 1e9:,.0f} GB, and there are {memory / 1e9:,.0f} "
            f"GB of memory. Its largest size is {max(filter(_is_int, leaves)):,}: check the sizes. Arrays "
            "that are spread over devices are drawn inside jax.jit(net.init, out_shardings=...)."
        )


def _settings(module: Any) -> Any:
    """The values of all static fields, and those of the modules inside."""
    children = [getattr(module, name) for name in module._children]
    inside = jax.tree.leaves(children, is_leaf=lambda node: hasattr(node, "_children"))
    own = [getattr(module, name) for name in module._static]
    return own + [_settings(child) for child in inside if hasattr(child, "_children")]


def _is_int(leaf: Any) -> bool:
    return isinstance(leaf, int)


def _memory() -> int | None:
    """Bytes of the device that `init` draws on, or of the machine; None if neither is known."""
    device = jax.config.jax_default_device or jax.local_devices()[0]  # type: ignore[attr-defined]
    stats = device.memory_stats() if hasattr(device, "memory_stats") else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    if not hasattr(os, "sysconf"):  # Windows
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
