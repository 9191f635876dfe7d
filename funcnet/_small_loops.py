"""Small loops as one kernel each: what a small network's steps cost on a processor is XLA's own walk."""

import os

import jax
import jaxlib

SMALL_BYTES = 100_000
"""What one turn of a small loop touches at most. Beyond it XLA's walk is little beside the arithmetic."""


def fuse_small_loops() -> None:
    """Let XLA compile each loop of little work as one kernel: small networks train several times as fast.

    XLA walks through a step on a processor operation by operation, and may hand each to another core. For
    a network of some hundred numbers that walk is most of the time. Call this before JAX starts; it adds to
    XLA_FLAGS, which hold for the whole process and whatever it compiles. Sums of products are added up in
    another order then, so numbers differ in their last digits from those of a process without it. It is
    about processors; programs for GPU and TPU stay as they are.

    Raises:
        RuntimeError: if JAX has started already: it reads its flags once.

    Example:
        >>> import jax, funcnet as fn
        >>> devices = jax.devices()  # JAX has started: too late
        >>> fn.fuse_small_loops()  # call it right after the imports
        Traceback (most recent call last):
        RuntimeError: JAX has started already, and reads its flags once. Call funcnet.fuse_small_loops() \
right after the imports, before the first array.

    Source: XLA's pass SmallWhileLoopHoisting, 2025.
    """
    flags = [f"--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold={SMALL_BYTES}"]
    if jaxlib.version.__version_info__ < (0, 11):
        # Products of XLA's newer library can't be parts of a kernel. A flag that a later XLA does not know
        # would end the process, so it is set only where it is known.
        flags.append("--xla_cpu_experimental_ynn_fusion_type=")
    there = os.environ.get("XLA_FLAGS", "").split()
    if set(flags) <= set(there):
        return
    if _has_started():
        raise RuntimeError(
            "JAX has started already, and reads its flags once. Call funcnet.fuse_small_loops() right "
            "after the imports, before the first array."
        )
    os.environ["XLA_FLAGS"] = " ".join([*there, *flags])


def _has_started() -> bool:
    """Whether JAX's devices are made. JAX doesn't say, but refuses another number of them from then on."""
    count = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    try:
        jax.config.update("jax_num_cpu_devices", max(count, 1) + 1)
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", count)
    return False
