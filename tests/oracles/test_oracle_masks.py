"""Masked sequences in recurrent layers: PyTorch's packed sequences, and the same sequences without gaps."""

import functools
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from keys import cached_key
from tables import assert_close, marked, same_bits

import funcnet as fn

NETS = {
    "gru": fn.layers.GRU(3, 4),
    "lstm": fn.layers.LSTM(3, 4),
    "bidirectional-gru": fn.layers.Bidirectional(fn.layers.GRU(3, 4)),
    "bidirectional-lstm": fn.layers.Bidirectional(fn.layers.LSTM(3, 4)),
}
# Both cells and both directions are in the quick suite, each once.
SOME = marked(NETS, slow={"lstm", "bidirectional-gru"})
LENGTHS = np.array([5, 1, 3, 6, 2])
PADDED = np.arange(6) < LENGTHS[:, None]


@functools.cache
def _model(name: str) -> Any:
    """A model with biases that are not zero: with zero biases some padding would show nowhere."""

    def moved(a: jax.Array) -> jax.Array:
        return jnp.asarray(np.asarray(a) + 0.3 * np.cos(np.arange(a.size)).reshape(a.shape), a.dtype)

    return jax.tree.map(moved, jax.jit(NETS[name].init)(cached_key(41)))


@functools.cache
def _unroll(name: str) -> Any:
    model = _model(name)
    return jax.jit(lambda x, mask: model.unroll(x, mask=mask))


def _rows(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(5, 6, 3)).astype(np.float32)


def _torch_layer(name: str, model: Any) -> Any:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    bidirectional = name.startswith("bidirectional")
    directions = (model.forward, model.backward) if bidirectional else (model,)
    kind = torch.nn.GRU if name.endswith("gru") else torch.nn.LSTM
    layer = kind(3, 4, batch_first=True, bidirectional=bidirectional)
    with torch.no_grad():
        for direction, suffix in zip(directions, ("", "_reverse"), strict=False):
            biases = (
                (direction.input.bias, direction.recurrent.bias)
                if name.endswith("gru")
                else (direction.bias, np.zeros(16, np.float32))
            )
            values = {
                "weight_ih": direction.input.weight.T,
                "weight_hh": direction.recurrent.weight.T,
                "bias_ih": biases[0],
                "bias_hh": biases[1],
            }
            for parameter, value in values.items():
                getattr(layer, f"{parameter}_l0{suffix}").copy_(torch.from_numpy(np.array(value)))
    return layer


@pytest.mark.parametrize("name", NETS)
def test_padded_sequences_are_pytorchs_packed_sequences(name: str) -> None:
    torch = pytest.importorskip("torch")
    model, x = _model(name), _rows()
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.from_numpy(x), torch.from_numpy(LENGTHS), batch_first=True, enforce_sorted=False
    )
    with torch.no_grad():
        outputs, state = _torch_layer(name, model)(packed)
        outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    # PyTorch's final state is [directions, batch, features], or a pair of such arrays.
    state = [part.numpy() for part in (state if isinstance(state, tuple) else (state,))]
    expected = [part[d] for d in range(len(state[0])) for part in state]
    x[~PADDED] = np.nan  # what padding holds has no effect
    got, final = _unroll(name)(x, PADDED)
    np.testing.assert_allclose(got, outputs.numpy(), rtol=2e-5, atol=2e-6)
    assert not np.asarray(got)[~PADDED].any()
    for actual, wanted in zip(jax.tree.leaves(final), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=2e-5, atol=2e-6)
    # `return_sequences=False` is h_n, the directions beside each other.
    last = jax.jit(_last_outputs(name, model))(x, LENGTHS)
    np.testing.assert_allclose(last, np.concatenate(list(state[0]), axis=-1), rtol=2e-5, atol=2e-6)
    assert_close(jax.jit(_last_outputs(name, model))(x[0, :5]), last[0])  # without padding


def _last_outputs(name: str, model: Any) -> Any:
    """The call of a model with `return_sequences=False`."""
    parts = ("forward", "backward") if name.startswith("bidirectional") else ()
    if not parts:
        return lambda x, length=None: model.replace(return_sequences=False)(x, length=length)
    last = {part: getattr(model, part).replace(return_sequences=False) for part in parts}
    return lambda x, length=None: model.replace(**last)(x, length=length)


@functools.cache
def _gradients(name: str) -> Any:
    def total(model: Any, x: Any, length: Any) -> Any:
        outputs, state = model.unroll(x, length=length)
        return jnp.sum(jnp.sin(outputs)) + sum(map(jnp.sum, jax.tree.leaves(state)))

    return jax.jit(jax.grad(total, argnums=(0, 1)))


@pytest.mark.parametrize("name", NETS)
def test_lengths_are_masks_and_their_gradients_are_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    model, rows = _model(name), _rows()
    x = torch.tensor(rows, requires_grad=True)
    layer = _torch_layer(name, model)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x, torch.from_numpy(LENGTHS), batch_first=True, enforce_sorted=False
    )
    outputs, state = layer(packed)
    padded, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    finals = state if isinstance(state, tuple) else (state,)
    (torch.sin(padded).sum() + sum(part.sum() for part in finals)).backward()
    rows[~PADDED] = np.nan
    by_mask = _unroll(name)(rows, PADDED)
    by_length = jax.jit(lambda x, n: model.unroll(x, length=n))(rows, LENGTHS.astype(np.int8))
    assert same_bits(by_length, by_mask)
    slopes, x_slopes = _gradients(name)(model, rows, LENGTHS)
    np.testing.assert_allclose(x_slopes, x.grad.numpy(), rtol=2e-5, atol=2e-6)
    assert not np.asarray(x_slopes)[~PADDED].any()
    forward = slopes.forward if name.startswith("bidirectional") else slopes
    for ours, theirs in ((forward.input, layer.weight_ih_l0), (forward.recurrent, layer.weight_hh_l0)):
        np.testing.assert_allclose(ours.weight, theirs.grad.numpy().T, rtol=2e-4, atol=2e-5)


def test_lengths_of_one_example_and_those_that_cannot_be_checked() -> None:
    model, x = _model("gru"), _rows()[0]
    call = jax.jit(
        lambda n, **settings: model.replace(**settings).unroll(x, length=n), static_argnames="scan_unroll"
    )
    outputs, state = call(3)
    outputs = np.asarray(outputs)
    assert_close((outputs[:3], state), jax.jit(model.unroll)(x[:3]))
    assert_close(call(3, scan_unroll=4), (outputs, state))
    for length in (0, -2):
        assert not any(np.asarray(leaf).any() for leaf in call(length))
    assert_close(call(99), jax.jit(model.unroll)(x))


@pytest.mark.parametrize("name", SOME)
@hypothesis.given(bits=st.lists(st.booleans(), min_size=6, max_size=6), seed=st.integers(0, 99))
@hypothesis.settings(max_examples=8)
def test_masked_steps_are_steps_that_are_not_there(name: str, bits: list[bool], seed: int) -> None:
    mask, x = np.array(bits), _rows(seed)[0]
    outputs, state = _unroll(name)(np.where(mask[:, None], x, np.float32(1e30)), mask)
    assert not np.asarray(outputs)[~mask].any()
    if not mask.any():
        assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(state))
        return
    short, short_state = _steps_alone(_model(name), x[mask])
    assert_close(outputs[mask], short)
    assert_close(state, short_state)


def _steps_alone(model: Any, x: np.ndarray) -> Any:
    """Outputs and final state of `model.unroll(x)`, by a program of one step for all lengths."""
    if isinstance(model, fn.layers.Bidirectional):
        ahead, back = _steps_alone(model.forward, x), _steps_alone(model.backward, x[::-1])
        return np.concatenate([ahead[0], back[0][::-1]], axis=-1), (ahead[1], back[1])
    state = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), jax.eval_shape(model.unroll, x[:1])[1])
    outputs = []
    for row in x:
        output, state = _one_step(model, row[None], state)
        outputs.append(np.asarray(output[0]))
    return np.stack(outputs), state


@jax.jit
def _one_step(model: Any, x: jax.Array, state: Any) -> Any:
    return model.unroll(x, state)


@pytest.mark.parametrize("name", SOME)
def test_a_masked_step_has_no_gradient_whatever_it_holds(name: str) -> None:
    mask = PADDED[2]

    @jax.jit
    def gradients(model: Any, x: Any) -> Any:
        return jax.grad(lambda m, x: jnp.sum(m(x, mask=mask) ** 2), argnums=(0, 1))(model, x)

    x = _rows()[2]
    plain = gradients(_model(name), x)
    for value in (np.nan, np.inf, 3e38):
        filled = gradients(_model(name), np.where(mask[:, None], x, np.float32(value)))
        assert same_bits(filled, plain)
    assert not np.asarray(plain[1])[~mask].any()


@pytest.mark.parametrize("name", SOME)
def test_a_mask_of_ones_changes_nothing_and_maps_over_examples(name: str) -> None:
    model, x = _model(name), _rows()
    ones = np.ones((5, 6), bool)
    assert_close(jax.jit(lambda x: model(x, mask=ones))(x), jax.jit(model)(x))
    mapped = jax.jit(jax.vmap(lambda x, mask: model(x, mask=mask)))(x, PADDED)
    assert_close(mapped, jax.jit(lambda x, mask: model(x, mask=mask))(x, PADDED))


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_the_state_is_continued_over_a_gap(name: str) -> None:
    model = _model(name)

    @jax.jit
    def halves(x: jax.Array) -> Any:
        first, middle = model.unroll(x[:, :3], mask=PADDED[:, :3])
        second, last = model.unroll(x[:, 3:], middle, mask=PADDED[:, 3:])
        return jnp.concatenate([first, second], axis=1), last

    assert_close(halves(_rows()), _unroll(name)(_rows(), PADDED))


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "mask of another shape": (
        lambda: _model("gru")(jnp.ones((2, 6, 3)), mask=jnp.ones(6, bool)),
        ValueError,
        r"mask must have shape \(2, 6\)",
    ),
    "mask of numbers": (
        lambda: _model("lstm")(jnp.ones((6, 3)), mask=jnp.ones(6)),
        TypeError,
        "mask must be boolean",
    ),
    "mask of a list of text": (
        lambda: _model("lstm")(jnp.ones((2, 3)), mask=["yes", "no"]),
        TypeError,
        "mask must be an array of numbers",
    ),
    "lengths beyond the end": (
        lambda: _model("gru")(jnp.ones((2, 6, 3)), length=jnp.array([6, 7])),
        ValueError,
        "length must hold integers from 1 to 6, the number of steps of x, got 7",
    ),
    "no length": (
        lambda: _model("bidirectional-gru")(jnp.ones((2, 6, 3)), length=[0, 2]),
        ValueError,
        "length must hold integers from 1 to 6, .* got 0",
    ),
    "a length of 33 bits": (
        lambda: _model("gru")(jnp.ones((3, 6, 3)), length=np.array([5, 2**32 + 2, 1])),
        ValueError,
        "length must hold integers from 1 to 6, .* got 4294967298",
    ),
    "a negative length as an unsigned one": (
        lambda: _model("lstm")(jnp.ones((6, 3)), length=np.uint64(2**64 - 1)),
        ValueError,
        "length must hold integers from 1 to 6, .* got 18446744073709551615",
    ),
    "a state by place": (
        lambda: _model("gru")(jnp.ones((2, 6, 3)), jnp.ones((2, 4))),
        TypeError,
        r"key must be a typed JAX key, got an array .* Write layer\(x, state=h\) or layer\(x, length=",
    ),
    "lengths by place": (
        lambda: _model("gru")(jnp.ones((2, 6, 3)), np.array([5, 2])),
        TypeError,
        r"key must be a typed JAX key, got an array of int64 .* or layer\(x, length=lengths\)",
    ),
    "a pair of states by place": (
        lambda: _model("lstm")(jnp.ones((6, 3)), (jnp.ones(4), jnp.ones(4))),
        TypeError,
        r"key must be a typed JAX key, got tuple .* Write layer\(x, state=\(h, c\)\)",
    ),
    "lengths by place in both directions": (
        lambda: _model("bidirectional-lstm")(jnp.ones((2, 6, 3)), [5, 2]),
        TypeError,
        r"key must be .* Write layer\(x, length=lengths\) or layer.unroll\(x, \(forward, backward\)\)",
    ),
    "sequences from one direction": (
        lambda: fn.layers.Bidirectional(
            fn.layers.GRU(3, 4), backward=fn.layers.GRU(3, 4, return_sequences=False)
        ),
        ValueError,
        "forward and backward must have the same return_sequences, got True and False",
    ),
    "a number for return_sequences": (
        lambda: fn.layers.LSTM(3, 4, return_sequences=0),
        TypeError,
        "return_sequences must be True or False",
    ),
    "lengths of a Sequential": (
        lambda: fn.Sequential(_model("gru"), jax.nn.relu)(jnp.ones((6, 3)), length=4),
        TypeError,
        r"Sequential has no setting 'length'.* Write net\[1\]\(net\[0\]\(x\), length=length\), layer",
    ),
    "lengths of another shape": (
        lambda: _model("lstm")(jnp.ones((2, 6, 3)), length=4),
        ValueError,
        r"length must have shape \(2,\), one integer for each sequence, got \(\)",
    ),
    "lengths that are floats": (
        lambda: _model("lstm")(jnp.ones((6, 3)), length=4.0),
        TypeError,
        "length must hold integers",
    ),
    "mask and length": (
        lambda: _model("lstm")(jnp.ones((6, 3)), length=4, mask=jnp.ones(6, bool)),
        ValueError,
        "mask and length must not both be given",
    ),
    "a loop of no steps": (
        lambda: fn.layers.GRU(2, 3, scan_unroll=0),
        ValueError,
        "scan_unroll must be at least 1",
    ),
    "state that is not a pair": (
        lambda: _model("lstm")(jnp.ones((6, 3)), state=jnp.ones(4)),
        TypeError,
        r"state must be a pair \(h, c\)",
    ),
    "bidirectional layers without masks": (
        lambda: fn.layers.Bidirectional(fn.Linear(3, 4)).init(cached_key(41))(
            jnp.ones((6, 3)), mask=jnp.ones(6, bool)
        ),
        TypeError,
        "forward must be a layer that takes a mask, such as a GRU or an LSTM, got Linear",
    ),
    "bidirectional layers without states": (
        lambda: fn.layers.Bidirectional(fn.Linear(3, 4)).init(cached_key(41)).unroll(jnp.ones((6, 3))),
        TypeError,
        "forward must be a layer with unroll",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_mask_raises(case: str) -> None:
    call, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        call()
