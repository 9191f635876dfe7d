"""Checks of sequences, tokens and masks, one verb each, as those of `_check`."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet import _check


def sequence(layer: str, x: Any, size: int) -> None:
    """An input [..., length, size], length at least 1."""
    shape = jnp.shape(x)
    if len(shape) < 2 or shape[-1] != size or shape[-2] == 0:
        raise ValueError(
            f"{layer} wants a sequence of shape [..., length, {size}]; got shape {shape}. "
            "For one feature a step give it an axis: x[..., None]."
        )


def token_sequence(layer: str, x: Any) -> None:
    """An input [..., length], length at least 1."""
    shape = jnp.shape(x)
    if not shape or shape[-1] == 0:
        raise ValueError(
            f"{layer} wants sequences of tokens, [..., length], at least one long; got shape {shape}."
        )


def pad_token(token: int, vocab_size: int | None) -> None:
    """One of a model's tokens."""
    if vocab_size is None:
        raise ValueError(
            f"pad_token must be None for a model of vectors, got {token}. Call the model with a mask "
            "instead: model(x, mask=mask)."
        )
    _check.between("pad_token", token, 0, vocab_size)


def mask(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """Booleans, one for each position."""
    if not jnp.issubdtype(jnp.result_type(value), bool):
        came = _check.describe(value)
        raise TypeError(f"{name} is boolean, True for positions that count; got {came}. Try mask != 0.")
    if jnp.shape(value) != shape:
        raise ValueError(
            f"{name} has the shape {shape}, one value for each position; got {jnp.shape(value)}. "
            f"One mask for all: jnp.broadcast_to(mask, {shape})."
        )


def state(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """A recurrent layer's state, one for each sequence."""
    if jnp.shape(value) != shape:
        raise ValueError(
            f"{name} has the shape {shape}, one state for each sequence; got {jnp.shape(value)}. "
            f"One state for all: jnp.broadcast_to({name}, {shape})."
        )


def whole_numbers(layer: str, x: Any) -> None:
    """An array of integers."""
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(f"{layer} wants whole numbers; got {_check.describe(x)}. Try x.astype(int).")


def numbers_below(layer: str, x: Any, count: int) -> None:
    """Concrete whole numbers in 0 .. count-1."""
    values = np.asarray(x)
    outside = (values < 0) | (values >= count)
    if outside.any():
        raise ValueError(
            f"{layer} holds rows for 0 to {count - 1}; got {values[outside][0]} ({int(outside.sum())} of "
            f"{values.size} lie outside). Number them from 0, and let num_embeddings be one more than the "
            "largest."
        )
