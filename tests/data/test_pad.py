"""Sequences of unequal lengths as one array."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn


def test_padded_sequences_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(n, 2)).astype(np.float32) for n in (3, 1, 5)]
    padded, lengths = fn.data.pad(arrays, value=-2.5)
    expected = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(a) for a in arrays], batch_first=True, padding_value=-2.5
    )
    np.testing.assert_array_equal(padded, expected.numpy())
    assert padded.dtype == np.float32
    assert lengths.dtype == np.int32
    assert lengths.tolist() == [3, 1, 5]


def test_longer_than_the_longest_and_mixed_dtypes() -> None:
    padded, lengths = fn.data.pad([jnp.array([1, 2]), np.array([0.5], np.float32)], length=4)
    assert padded.tolist() == [[1, 2, 0, 0], [0.5, 0, 0, 0]]
    assert lengths.tolist() == [2, 1]
    assert fn.data.pad([[True], [False, True]])[0].dtype == bool
    half, single = jnp.array([1.5, 2.5], jnp.bfloat16), jnp.array([0.1], jnp.float32)
    padded, _ = fn.data.pad([half, single], value=0.1)
    assert padded.dtype == np.float32
    assert padded.tolist() == [[1.5, 2.5], [single[0].item()] * 2]
    assert fn.data.pad([half, half[:1]], value=0.1)[0][1, 1] == jnp.bfloat16(0.1)


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "dtypes that NumPy does not combine": (
        lambda: fn.data.pad([jnp.ones(2, jnp.bfloat16), jnp.ones(1, jnp.float16), jnp.ones(1, jnp.int32)]),
        TypeError,
        "dtypes that NumPy combines, got bfloat16 and float16 and int32. .*np.float32",
    ),
    "under jit": (
        lambda: jax.jit(lambda a: fn.data.pad([a, a]))(jnp.ones(3)),
        TypeError,
        "fn.data.pad runs on the host, .* got a tracer. Call it outside of them",
    ),
    "Keras's length": (
        lambda: fn.data.pad([[1]], maxlen=24),
        TypeError,
        r"pad has no setting 'maxlen'. Its settings are length, value. Write fn.data.pad",
    ),
    "Keras's side": (
        lambda: fn.data.pad([[1]], padding="post"),
        TypeError,
        r"pad has no setting 'padding'. .* Write fn.data.pad\(arrays, length=24\): it pads at the ends",
    ),
    "no list": (lambda: fn.data.pad(3), TypeError, "arrays must be a list of arrays, got int 3"),
    "text": (lambda: fn.data.pad(["ab", "c"]), TypeError, r"arrays\[0\] must be an array of numbers"),
    "nothing": (lambda: fn.data.pad([]), ValueError, "at least one sequence, got none"),
    "a number": (lambda: fn.data.pad([1, 2]), ValueError, r"arrays\[0\] must have shape \[time\]"),
    "an empty sequence": (lambda: fn.data.pad([[1], []]), ValueError, r"arrays\[1\] .* got \(0,\)"),
    "another axis": (
        lambda: fn.data.pad([np.ones((2, 3)), np.ones((2, 4))]),
        ValueError,
        r"arrays\[1\] must have shape \[time, 3\] with at least one step, as arrays\[0\], got \(2, 4\)",
    ),
    "too short": (
        lambda: fn.data.pad([[1], [1, 2, 3]], length=2),
        ValueError,
        r"length must be at least 3, that of arrays\[1\], got 2",
    ),
    "half": (
        lambda: fn.data.pad([[1]], value=0.5),
        ValueError,
        "value must be a number that int64 can hold",
    ),
    "below": (
        lambda: fn.data.pad([np.ones(2, np.uint8)], value=-1),
        ValueError,
        "value must be a number that uint8 can hold, got -1",
    ),
    "NaN": (lambda: fn.data.pad([[1.0]], value=np.nan), ValueError, "value must be at least"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_sequences_get_a_sentence(name: str) -> None:
    call, error, text = WRONG[name]
    with pytest.raises(error, match=text):
        call()
