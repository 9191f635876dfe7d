"""Memory: refuse what can't fit, before it is allocated."""

import os

import jax

ALWAYS_FITS = 2**28
"""Bytes up to which nothing is looked up: every machine has them."""


def fits_in_memory(what: str, num_bytes: int) -> None:
    """Check that the default device can hold this many bytes.

    Args:
        what: what needs them, in the plural, with the settings that make it large.
        num_bytes: its size; nothing is checked if it depends on a named axis of `jax.export`.
    """
    if not isinstance(num_bytes, int) or num_bytes <= ALWAYS_FITS:
        return
    available = _available_bytes()
    if available is not None and num_bytes > available:
        raise ValueError(
            f"{what} need {_format(num_bytes)}, and {_format(available)} are available. Choose smaller "
            "settings."
        )


def _available_bytes() -> int | None:
    """The memory of the default device; for the CPU, what the machine can still give, None if unknown."""
    device = jax.config.jax_default_device or jax.local_devices()[0]  # type: ignore[attr-defined]
    stats = device.memory_stats() if hasattr(device, "memory_stats") else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    try:
        with open("/proc/meminfo") as file:
            kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in file}
        return 1024 * (kilobytes["MemAvailable"] + kilobytes.get("SwapFree", 0))
    except (OSError, KeyError):  # not Linux
        return (
            None
            if not hasattr(os, "sysconf")
            else int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        )


def _format(num_bytes: int) -> str:
    """A number of bytes in the unit in which it is between 1 and 1024, as far as units go."""
    unit = min((num_bytes.bit_length() - 1) // 10, 6)
    return f"{num_bytes / 1024**unit:,.1f} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB')[unit]}"
