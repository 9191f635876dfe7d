"""Sequences, tokens and masks."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet._check._values import between, describe


def sequence(layer: str, x: Any, size: int) -> None:
    """Check that an input is [..., length, size] with a length of at least 1."""
    shape = jnp.shape(x)
    if len(shape) < 2 or shape[-1] != size or shape[-2] == 0:
        raise ValueError(
            f"{layer} expects a sequence of shape [..., length, {size}], got shape {shape}. "
            "If each step has one feature, add an axis: x[..., None]."
        )


def token_sequence(layer: str, x: Any) -> None:
    """Check that an input is [..., length] with a length of at least 1."""
    shape = jnp.shape(x)
    if not shape or shape[-1] == 0:
        raise ValueError(
            f"{layer} expects sequences of at least one token, [..., length], got shape {shape}."
        )


def pad_token(token: int, vocab_size: int | None) -> None:
    """Check that the padding token is one of the model's tokens."""
    if vocab_size is None:
        raise ValueError(
            f"pad_token must be None for a model of vectors, got the token {token}. Leave it out, and call "
            "the model with a mask: model(x, mask=mask)."
        )
    between("pad_token", token, 0, vocab_size)


def mask(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """Check that a mask is boolean, with one value for each position."""
    if not jnp.issubdtype(jnp.result_type(value), bool):
        raise TypeError(
            f"{name} must be boolean, True for positions that count, got {describe(value)}. Try mask != 0."
        )
    if jnp.shape(value) != shape:
        raise ValueError(
            f"{name} must have shape {shape}, one value for each position, got {jnp.shape(value)}. "
            f"One mask for all: jnp.broadcast_to(mask, {shape})."
        )


def state(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """Check that a recurrent layer's state has one entry for each sequence."""
    if jnp.shape(value) != shape:
        raise ValueError(
            f"{name} must have shape {shape}, one state for each sequence, got {jnp.shape(value)}. "
            f"One state for all: jnp.broadcast_to({name}, {shape})."
        )


def integers(layer: str, x: Any) -> None:
    """Check that an input holds integers."""
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(f"{layer} expects integers, got {describe(x)}. Try x.astype(int).")


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
