"""A keyed bijection on row numbers: a shuffle that nobody has to store."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys, _tree
from funcnet._types import Array, Int, Key, UInt32


@_tree.node
class Shuffle:
    """A random permutation of 0 .. n-1 as a function: any position's row, without the others.

    Swap-or-not: each round pairs row x with (k - x) mod n and swaps the pair if a hash of it says
    so. Every round is its own inverse on any n, so no table, no sort and no rejection is needed;
    12 + log2(n) rounds leave a row unmoved by all of them with probability 1 / (4096 n).

    Args:
        rounds: uint32 [rounds, 3]: the pairing, and the two numbers of a multiply-shift hash.
        n: int32 scalar, the number of rows.

    Returns:
        When called on positions (int32, any shape, each in 0 .. n-1): their rows, the same shape.

    Raises:
        ValueError: from `draw`, if n is below 1 or above 2³¹ - 1.

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
        """The shuffle of n rows that belongs to `key`.

        Args:
            key: a typed key.
            n: the number of rows, a Python integer.

        Returns:
            A Shuffle.

        Raises:
            ValueError: if n is below 1 or above 2³¹ - 1.
        """
        _check.positive("n", n)
        if n > 2**31 - 1:
            raise ValueError(f"row numbers are int32, so n is at most 2**31 - 1; got {n}.")
        return _drawn(key, np.int32(n), 12 + (int(n) - 1).bit_length())

    def __call__(self, position: Int[Array, "*shape"] | int) -> Int[Array, "*shape"]:
        return _swapped(position, self.rounds, self.n)

    def inverse(self, row: Int[Array, "*shape"] | int) -> Int[Array, "*shape"]:
        """The position at which a row stands."""
        return _swapped(row, self.rounds[::-1], self.n)


# A program each: outside jit, operation by operation, a first shuffle would compile thirty.
@functools.partial(jax.jit, static_argnums=2, inline=True)
def _drawn(key: Key, n: Array, rounds: int) -> Shuffle:
    bits = jax.random.bits(key, (rounds, 3), "uint32")
    pairing, hashing = bits[:, :1] % n.astype(jnp.uint32), bits[:, 1:]
    return Shuffle(jnp.concatenate([pairing, hashing], axis=1), n)


@functools.partial(jax.jit, inline=True)
def _swapped(x: Array | int, rounds: Array, n: Array) -> Array:
    x, n = jnp.asarray(x).astype(jnp.uint32), n.astype(jnp.uint32)
    for i in range(rounds.shape[0]):
        pairing, multiplier, offset = rounds[i, 0], rounds[i, 1], rounds[i, 2]
        partner = jnp.where(pairing >= x, pairing - x, pairing + n - x)
        swap = ((multiplier | 1) * jnp.maximum(x, partner) + offset) >> 31
        x = jnp.where(swap == 1, partner, x)
    return x.astype(jnp.int32)


def epoch_order(key: Key, epoch: Array | int, n: int) -> Shuffle:
    """The order in which epoch `epoch` of the run with this key visits n rows."""
    return Shuffle.draw(jax.random.fold_in(_keys.named(key, "shuffle"), epoch), n)
