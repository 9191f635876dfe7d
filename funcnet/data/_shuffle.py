"""A keyed bijection on row numbers: a shuffle that is computed and not stored."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys, _tree
from funcnet._jit import bounded_jit
from funcnet._types import Array, ArrayLike, Int, Key, UInt32


@_tree.node
class Shuffle:
    """A random permutation of 0 .. n-1 as a function: the row at a position is computed independently.

    Swap-or-not shuffle: each round pairs row x with (k - x) mod n and swaps the pair if a hash bit of it is
    1. Every round is its own inverse for any n, so no table, sort or rejection is needed. The probability
    that none of the 12 + log2(n) rounds moves a row is 1 / (4096 n).

    Args:
        rounds: uint32 [rounds, 3]: the pairing k, and the two numbers of a multiply-shift hash.
        n: int32 scalar, the number of rows.

    Returns:
        When called on positions (int32, any shape, each in 0 .. n-1): their rows, the same shape.

    Raises:
        TypeError: from a call, if a position is not an integer.
        ValueError: from `draw`, if n is below 1 or above 2³¹ - 1; from a call, if a position is not in
            0 .. n-1.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> order = fn.data.Shuffle.draw(jax.random.key(0), 10)
        >>> rows = order(jnp.arange(10))
        >>> sorted(rows.tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        >>> int(order(3)) == int(rows[3]), order.inverse(rows).tolist() == list(range(10))
        (True, True)

    Source: Hoang, Morris, Rogaway, "An enciphering scheme based on a card shuffle", CRYPTO 2012;
    Dietzfelbinger, "Universal hashing and k-wise independent random variables", 1996 (the hash).
    """

    rounds: UInt32[Array, "rounds 3"]
    n: Int[Array, ""]

    @staticmethod
    def draw(key: Key, n: int) -> "Shuffle":
        """The shuffle of n rows determined by `key`.

        Args:
            key: a typed key.
            n: the number of rows, a Python integer.

        Returns:
            A Shuffle.

        Raises:
            TypeError: if `key` is not a typed key, or n not an integer.
            ValueError: if n is below 1 or above 2³¹ - 1.
        """
        _check.key(key)
        n = _check.positive("n", n)
        if n > 2**31 - 1:
            raise ValueError(f"n must be at most 2**31 - 1, since row numbers are int32, got {n}.")
        return _draw_rounds(key, np.int32(n), 12 + (int(n) - 1).bit_length())

    def __call__(self, position: ArrayLike) -> Int[Array, "*shape"]:
        return _apply_rounds(self._check_range("position", position), self.rounds, self.n)

    def inverse(self, row: ArrayLike) -> Int[Array, "*shape"]:
        """The position of a row."""
        return _apply_rounds(self._check_range("row", row), self.rounds[::-1], self.n)

    def _check_range(self, name: str, values: Any) -> Any:
        numbers = _check.array(name, values)
        if not jnp.issubdtype(numbers.dtype, jnp.integer) and numbers.size:
            raise TypeError(f"{name} must be an integer, got {_check.describe(values)}.")
        if _tree.is_concrete((numbers, self.n)) and np.ndim(self.n) == 0 and numbers.size:
            _check.row_numbers(numbers, int(self.n))
        return numbers


# Jitted: operation by operation, a first shuffle outside of jit would compile thirty programs.
@functools.partial(jax.jit, static_argnums=2, inline=True)
def _draw_rounds(key: Key, n: Array, rounds: int) -> Shuffle:
    bits = jax.random.bits(key, (rounds, 3), "uint32")
    pairing, hashing = bits[:, :1] % n.astype(jnp.uint32), bits[:, 1:]
    return Shuffle(jnp.concatenate([pairing, hashing], axis=1), n)


@functools.partial(bounded_jit, inline=True)
def _apply_rounds(x: Array | int, rounds: Array, n: Array) -> Array:
    x, n = jnp.asarray(x).astype(jnp.uint32), n.astype(jnp.uint32)
    for i in range(rounds.shape[0]):
        pairing, multiplier, offset = rounds[i, 0], rounds[i, 1], rounds[i, 2]
        partner = jnp.where(pairing >= x, pairing - x, pairing + n - x)
        swap = ((multiplier | 1) * jnp.maximum(x, partner) + offset) >> 31
        x = jnp.where(swap == 1, partner, x)
    return x.astype(jnp.int32)


def epoch_order(key: Key, epoch: Array | int, n: int) -> Shuffle:
    """The order of n rows in epoch `epoch` of the run with this key."""
    return Shuffle.draw(jax.random.fold_in(_keys.fold_in_name(key, "shuffle"), epoch), n)
