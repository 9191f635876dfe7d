"""Sequences, tokens and masks."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet._check._arrays import array, jax_array
from funcnet._check._layers import layer_input
from funcnet._check._training import key
from funcnet._check._values import between, describe, integer


def sequence(layer: str, x: Any, size: int) -> jax.Array:
    """Return an input as an array [..., length, size], and check that the length is at least 1."""
    steps = layer_input(layer, x)
    shape = steps.shape
    if len(shape) < 2 or shape[-1] != size or shape[-2] == 0:
        raise ValueError(
            f"{layer} expects a sequence of shape [..., length, {size}], got shape {shape}. "
            "If each step has one feature, add an axis: x[..., None]."
        )
    return steps


def token_sequence(layer: str, x: Any) -> jax.Array:
    """Return an input as an array of integers [..., length], and check that the length is at least 1."""
    tokens = integers(layer, x)
    if not tokens.ndim or tokens.shape[-1] == 0:
        raise ValueError(
            f"{layer} expects an input of at least one token, [..., length], got shape {tokens.shape}."
        )
    return tokens


def pad_token(token: int, vocab_size: int | None) -> None:
    """Check that the padding token is one of the model's tokens."""
    if vocab_size is None:
        raise ValueError(
            f"pad_token must be None for a model of vectors, got the token {token}. Leave it out, and call "
            "the model with a mask: model(x, mask=mask)."
        )
    between("pad_token", integer("pad_token", token), 0, vocab_size)


def mask(name: str, value: Any, shape: tuple[int, ...]) -> jax.Array:
    """Return a mask as an array, and check that it holds one boolean for each position."""
    values = jnp.asarray(array(name, value))
    if values.dtype != bool:
        raise TypeError(
            f"{name} must be boolean, True for positions that count, got {describe(value)}. Try mask != 0."
        )
    if values.shape != shape:
        raise ValueError(
            f"{name} must have shape {shape}, one value for each position, got {values.shape}. "
            f"One mask for all: jnp.broadcast_to(mask, {shape})."
        )
    return values


def steps(mask_value: Any, length: Any, shape: tuple[int, ...]) -> jax.Array | None:
    """Return which steps [..., time] count, given by a mask or by the lengths [...]; None if all do."""
    if mask_value is not None and length is not None:
        raise ValueError(
            "mask and length must not both be given. Try mask=mask & (jnp.arange(time) < length)."
        )
    if length is None:
        return None if mask_value is None else mask("mask", mask_value, shape)
    *batch, time = shape
    values = array("length", length)
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise TypeError(f"length must hold integers, got {describe(values)}. Try length.astype(int).")
    if values.shape != tuple(batch):
        raise ValueError(
            f"length must have shape {tuple(batch)}, one integer for each sequence, got {values.shape}. "
            f"One length for all: jnp.full({tuple(batch)}, length)."
        )
    if not isinstance(values, jax.core.Tracer):
        values = np.asarray(values)  # JAX would keep the last 32 bits
        if (outside := (values < 1) | (values > time)).any():
            raise ValueError(
                f"length must hold integers from 1 to {time}, the number of steps of x, got "
                f"{values[outside][0]}. Leave out empty sequences."
            )
    positions = jax.lax.broadcasted_iota(jnp.int32, shape, len(batch))
    ends = jnp.asarray(values, jnp.int32)  # int8 ends at 127
    return positions < jnp.broadcast_to(ends[..., None], shape)


def key_by_place(value: Any, call: str) -> None:
    """Check that the second argument of a recurrent layer is None or a key: no state, and no lengths."""
    if value is not None:
        key(value, call)


def state(name: str, value: Any, shape: tuple[int, ...]) -> jax.Array:
    """Return the state of a recurrent layer as an array, and check that each sequence has one entry."""
    values = jax_array(name, value)
    if values.shape != shape:
        raise ValueError(
            f"{name} must have shape {shape}, one state for each sequence, got {values.shape}. "
            f"One state for all: jnp.broadcast_to({name}, {shape})."
        )
    return values


def pair(name: str, value: Any, parts: str) -> tuple[Any, Any]:
    """Return a pair, and check that it has two entries."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{name} must be a pair {parts}, got {describe(value)}.")
    return value[0], value[1]


def method(name: str, value: Any, method: str, expected: str) -> None:
    """Check that a layer has a method."""
    if not hasattr(value, method):
        raise TypeError(
            f"{name} must be a layer with {method}(x, state), such as {expected}, got "
            f"{type(value).__name__}."
        )


def argument(name: str, value: Any, argument: str, expected: str) -> None:
    """Check that a layer accepts an argument by its name."""
    accepted = inspect.signature(value).parameters
    if argument not in accepted and all(p.kind != p.VAR_KEYWORD for p in accepted.values()):
        raise TypeError(
            f"{name} must be a layer that takes a {argument}, such as {expected}, got "
            f"{type(value).__name__}. Declare it: def __call__(self, x, key=None, *, {argument}=None)."
        )


def integers(layer: str, x: Any) -> jax.Array:
    """Return the input of a layer as an array, and check that it holds integers."""
    values = layer_input(layer, x)
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise TypeError(f"{layer} expects integers, got {describe(values)}. Try x.astype(int).")
    return values


def integers_below(layer: str, x: Any, count: int) -> None:
    """Check that concrete integers lie in 0 .. count-1."""
    values = np.asarray(x)
    outside = (values < 0) | (values >= count)
    if outside.any():
        raise ValueError(
            f"{layer} expects integers from 0 to {count - 1}, got {values[outside][0]} "
            f"({int(outside.sum())} of {values.size} are out of range). Number the tokens from 0 and set "
            "num_embeddings (vocab_size of a Transformer) to the largest number plus 1."
        )
