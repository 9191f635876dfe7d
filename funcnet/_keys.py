"""Random streams by name, so that a new use of a key never changes the numbers of an old one."""

import zlib

import jax

from funcnet import _check
from funcnet._types import Key


def fold_in_name(key: Key, name: str) -> Key:
    """Fold a name into a key: the result is the same on every machine and in every process."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def fold_in(key: Key | None, i: int) -> Key | None:
    """The key of layer `i`; None without a key."""
    if key is None:
        return None
    _check.key(key)
    return jax.random.fold_in(key, i)


def split(key: Key | None) -> tuple[Key | None, Key | None]:
    """The keys of two layers; None without a key."""
    if key is None:
        return None, None
    _check.key(key)
    first, second = jax.random.split(key)
    return first, second
