"""Random streams by name, so that a new use of a key never changes the numbers of an old one."""

import zlib

import jax

from funcnet._types import Key


def fold_in_name(key: Key, name: str) -> Key:
    """Fold a name into a key: the result is the same on every machine and in every process."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
