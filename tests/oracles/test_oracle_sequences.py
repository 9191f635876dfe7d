"""Law 12: attention, GRU, LSTM, positions and the coordinate networks against loops in numpy."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from keys import cached_key
from tables import assert_close, marked, same_bits

import funcnet as fn
from funcnet._module import observe_calls
from funcnet.models._transformer import sinusoids

RNG = np.random.default_rng(17)
DTYPES = [("bfloat16", False), ("float32", False), ("float64", True)]


@functools.cache
def _initialised(net: fn.Module, x64: bool) -> Any:
    return jax.jit(net.init)(cached_key(41))


def _init(net: fn.Module) -> Any:
    return _initialised(net, jax.config.jax_enable_x64)


def _drawn(net: fn.Module) -> Any:
    """A model whose biases aren't zero, so that a bias left out or put elsewhere shows."""

    def moved(a: jax.Array) -> jax.Array:
        return jnp.asarray(np.asarray(a) + 0.1 * np.cos(np.arange(a.size)).reshape(a.shape), a.dtype)

    return jax.tree.map(moved, _init(net))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def _affine(layer: fn.Linear, x: np.ndarray) -> np.ndarray:
    bias = 0.0 if layer.bias is None else np.asarray(layer.bias, float)
    return x @ np.asarray(layer.weight, float) + bias


def _attention(layer: Any, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """One sequence [length, features], query by query and head by head."""
    length, features = x.shape
    size = features // layer.num_heads
    q, k, v = np.split(_affine(layer.project, x), 3, axis=1)
    together = np.zeros((length, features))
    for t in range(length):
        for head in range(layer.num_heads):
            part = slice(head * size, (head + 1) * size)
            keys = [s for s in range(length) if mask[s] and not (layer.causal and s > t)]
            scores = np.array([np.exp(q[t, part] @ k[s, part] / np.sqrt(size)) for s in keys])
            for s, score in zip(keys, scores, strict=True):
                together[t, part] += score / scores.sum() * v[s, part]
    return _affine(layer.out, together)


def _gru(layer: Any, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    w_r, w_z, w_n = np.split(np.asarray(layer.input.weight, float), 3, axis=1)
    b_r, b_z, b_n = np.split(np.asarray(layer.input.bias, float), 3)
    u_r, u_z, u_n = np.split(np.asarray(layer.recurrent.weight, float), 3, axis=1)
    c_r, c_z, c_n = np.split(np.asarray(layer.recurrent.bias, float), 3)
    states = []
    for row in x:
        r = _sigmoid(row @ w_r + b_r + h @ u_r + c_r)
        z = _sigmoid(row @ w_z + b_z + h @ u_z + c_z)
        n = np.tanh(row @ w_n + b_n + r * (h @ u_n + c_n))
        h = (1 - z) * n + z * h
        states.append(h)
    return np.stack(states)


def _lstm(layer: Any, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    w_i, w_f, w_g, w_o = np.split(np.asarray(layer.input.weight, float), 4, axis=1)
    u_i, u_f, u_g, u_o = np.split(np.asarray(layer.recurrent.weight, float), 4, axis=1)
    b_i, b_f, b_g, b_o = np.split(np.asarray(layer.bias, float), 4)
    outputs = []
    for row in x:
        i, f = _sigmoid(row @ w_i + h @ u_i + b_i), _sigmoid(row @ w_f + h @ u_f + b_f)
        g, o = np.tanh(row @ w_g + h @ u_g + b_g), _sigmoid(row @ w_o + h @ u_o + b_o)
        c = f * c + i * g
        h = o * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs), c


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("heads", "masked"), [(1, False), (3, True)])
def test_attention_is_the_loop_over_queries_heads_and_keys(causal: bool, heads: int, masked: bool) -> None:
    layer = _drawn(fn.layers.MultiHeadAttention(6, heads, causal=causal))
    x = RNG.normal(size=(2, 5, 6)).astype(np.float32)
    # The second sequence begins with two masked positions: causal queries there have no key at all.
    mask = np.array([[1, 0, 1, 1, 0], [0, 0, 1, 0, 1]], bool) if masked else np.ones((2, 5), bool)
    got = jax.jit(lambda x: layer(x, mask=jnp.asarray(mask)) if masked else layer(x))(x)
    expected = np.stack([_attention(layer, row, m) for row, m in zip(x.astype(float), mask, strict=True)])
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)


def test_gru_is_the_loop_over_its_equations() -> None:
    layer = _drawn(fn.layers.GRU(3, 4))
    x, h = RNG.normal(size=(6, 3)).astype(np.float32), RNG.normal(size=4).astype(np.float32)
    call = jax.jit(layer)
    np.testing.assert_allclose(call(x), _gru(layer, x, np.zeros(4)), rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(call(x, state=h), _gru(layer, x, h), rtol=2e-5, atol=2e-6)


def test_lstm_is_the_loop_over_its_equations() -> None:
    layer = _drawn(fn.layers.LSTM(3, 4))
    x = RNG.normal(size=(6, 3)).astype(np.float32)
    h, c = RNG.normal(size=(2, 4)).astype(np.float32)
    zero = np.zeros(4)
    np.testing.assert_allclose(jax.jit(layer)(x), _lstm(layer, x, zero, zero)[0], rtol=2e-5, atol=2e-6)
    outputs, (last, cell) = jax.jit(layer.unroll)(x, (h, c))
    expected, expected_cell = _lstm(layer, x, h, c)
    np.testing.assert_allclose(outputs, expected, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(cell, expected_cell, rtol=2e-5, atol=2e-6)
    assert same_bits(last, outputs[-1])


def test_recurrent_layers_start_orthogonal_and_an_lstm_remembers() -> None:
    for layer, gates in ((_init(fn.layers.GRU(2, 5)), 3), (_init(fn.layers.LSTM(2, 5)), 4)):
        for gate in np.split(layer.recurrent.weight, gates, axis=1):
            np.testing.assert_allclose(gate @ gate.T, np.eye(5), atol=1e-5)
    assert layer.bias.reshape(4, 5).tolist() == [[0.0] * 5, [1.0] * 5, [0.0] * 5, [0.0] * 5]


def test_bidirectional_reads_from_both_ends() -> None:
    layer = _init(fn.layers.Bidirectional(fn.layers.GRU(2, 3)))
    x = jnp.asarray(RNG.normal(size=(4, 5, 2)), float)
    both, forward, backward = jax.jit(lambda x: (layer(x), layer.forward(x), layer.backward(x[:, ::-1])))(x)
    assert_close(both[..., :3], forward)
    assert_close(both[..., 3:], backward[:, ::-1])
    assert not same_bits(layer.forward, layer.backward)


@pytest.mark.parametrize("features", [6, 5])
def test_sinusoids_are_the_papers(features: int) -> None:
    half = -(-features // 2)
    expected = np.zeros((4, 2 * half))
    for position in range(4):
        for i in range(half):
            expected[position, i] = np.sin(position / 10000 ** (2 * i / features))
            expected[position, half + i] = np.cos(position / 10000 ** (2 * i / features))
    np.testing.assert_allclose(sinusoids(4, features), expected[:, :features], rtol=1e-5, atol=1e-6)


def test_embedding_takes_rows_of_its_table() -> None:
    layer = _init(fn.layers.Embedding(300, 2))
    numbers = [np.array([[0, 5], [127, 9]], t) for t in (np.int8, np.uint8, np.int32, np.uint32)]
    for x, rows in zip(numbers, jax.jit(lambda xs: list(map(layer, xs)))(numbers), strict=True):
        np.testing.assert_array_equal(rows, np.asarray(layer.weight)[x])
    np.testing.assert_array_equal(layer(7), layer.weight[7])


def test_a_number_out_of_range_is_refused_or_nan_and_never_another_row() -> None:
    layer = _init(fn.layers.Embedding(4, 2))
    call = jax.jit(layer)
    for bad in (-1, 4, 2**31 - 1, -(2**31)):
        with pytest.raises(ValueError, match=r"integers from 0 to 3, got .* \(1 of 2 are out of range\)"):
            layer(np.array([0, bad], np.int32))
        rows = call(np.array([0, bad], np.int32))
        assert np.isnan(rows[1]).all()
        assert same_bits(rows[0], layer.weight[0])
    assert np.isnan(call(np.uint32(2**32 - 1))).all()


def test_padding_of_narrow_tokens_is_that_of_wide_ones() -> None:
    settings = {"features": 4, "num_heads": 2, "depth": 1}
    model = fn.models.Transformer(2, vocab_size=257, pad_token=256, **settings).init(cached_key(7))
    tokens = np.array([0, 3, 0, 200])
    narrow, wide = (model(jnp.asarray(tokens, dtype)) for dtype in ("uint8", "int32"))
    np.testing.assert_array_equal(narrow, wide)


def test_masked_tokens_may_be_any_numbers() -> None:
    net = fn.models.Transformer(2, vocab_size=9, features=4, num_heads=2, depth=1)
    model, mask = net.init(cached_key(7)), jnp.array([True, True, False])
    odd, plain = (model(jnp.array([5, 2, last]), mask=mask) for last in (-1, 0))
    np.testing.assert_array_equal(odd, plain)
    with pytest.raises(ValueError, match="expects integers from 0 to 8"):
        model(jnp.array([5, -1, 2]), mask=mask)


def test_siren_is_its_formula_and_starts_in_its_bounds() -> None:
    model = _init(fn.models.SIREN((2, 64, 64, 3), omega=20.0, hidden_omega=15.0))
    x = RNG.uniform(-1, 1, (7, 2))
    h, (first, second, last) = x, model.layers
    for omega, layer in ((20.0, first), (15.0, second)):
        h = np.sin(omega * _affine(layer, h))
    np.testing.assert_allclose(jax.jit(model)(jnp.asarray(x, float)), _affine(last, h), atol=2e-4)
    for layer, bound in ((first, 1 / 2), (second, np.sqrt(6 / 64) / 15), (last, np.sqrt(6 / 64) / 15)):
        weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
        largest = np.abs(weight).max()
        assert 0.9 * bound < largest <= bound
        assert np.abs(bias).max() <= layer.in_features**-0.5
        assert bias.std() > 0


def test_a_sirens_sines_start_with_arguments_of_unit_variance() -> None:
    model = _init(fn.models.SIREN((2, 256, 256, 256, 1)))
    h = np.sin(30 * _affine(model.layers[0], RNG.uniform(-1, 1, (500, 2))))
    for layer in model.layers[1:-1]:
        assert 0.8 < (30 * (h @ np.asarray(layer.weight))).std() < 1.2
        h = np.sin(30 * _affine(layer, h))


def test_fourier_features_are_cosines_and_sines_of_frequencies_that_stay() -> None:
    model = _init(fn.models.FourierMLP((2, 5, "scalar"), num_frequencies=400, scale=3.0))
    frequencies = np.asarray(model.frequencies.value)
    # The standard error of a deviation from 800 normal numbers is 1 / √1600 of it.
    assert abs(frequencies.std() / 3 - 1) < 4 / 1600**0.5
    x = RNG.uniform(-1, 1, (7, 2))
    phases = 2 * np.pi * x @ frequencies
    waves = np.concatenate([np.cos(phases), np.sin(phases)], axis=1)
    got, expected = jax.jit(lambda x, waves: (model(x), model.mlp(waves)))(np.float32(x), np.float32(waves))
    np.testing.assert_allclose(got, expected, atol=2e-4)
    assert fn.trainable(model).frequencies.value is False
    assert fn.count(model) == fn.count(model.mlp)


# What must not matter, for random sequences.


CAUSAL: dict[str, fn.Module] = {
    "attention": fn.layers.MultiHeadAttention(4, 2, causal=True),
    "gru": fn.layers.GRU(4, 4),
    "lstm": fn.layers.LSTM(4, 4),
}


@pytest.mark.parametrize("name", marked(CAUSAL, slow={"gru", "lstm"}))  # these are loops over the steps
def test_a_causal_output_never_depends_on_later_inputs(name: str) -> None:
    x = RNG.normal(size=(6, 4)).astype(np.float32)
    call = jax.jit(_drawn(CAUSAL[name]))
    plain = np.asarray(call(x))
    for t in range(5):
        changed = np.asarray(call(np.where(np.arange(6)[:, None] > t, np.float32(1e3), x)))
        assert same_bits(changed[: t + 1], plain[: t + 1])
        assert not same_bits(changed[t + 1 :], plain[t + 1 :])
    slopes = np.asarray(jax.jit(jax.jacrev(call))(x))  # [length, features, length, features]
    later = np.triu(np.ones((6, 6), bool), 1)
    assert not np.moveaxis(slopes, 1, 2)[later].any()


MASK = np.array([True, False, True, True, False])


@functools.cache
def _masked_attention(causal: bool) -> Any:
    """Its kept outputs, and the gradient of their squares by the layer and by x."""

    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def called(layer: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        kept = layer(x, mask=MASK)[np.flatnonzero(MASK)]
        return jnp.sum(kept**2), kept

    layer = _drawn(fn.layers.MultiHeadAttention(4, 2, causal=causal))
    return functools.partial(jax.jit(called), layer)


@pytest.mark.parametrize("value", [1e3, 1e30, float(np.finfo(np.float32).max)])
@pytest.mark.parametrize("causal", [False, True])
def test_a_masked_key_never_matters(causal: bool, value: float) -> None:
    called = _masked_attention(causal)
    x = RNG.normal(size=(5, 4)).astype(np.float32)
    (_, plain), slopes = called(x)
    (_, changed), slopes_then = called(np.where(MASK[:, None], x, np.float32(value)))
    assert same_bits(changed, plain)
    assert not same_bits(called(x + 1)[0][1], plain)
    assert not np.asarray(slopes[1])[~MASK].any()
    if value < 1e38:  # above that the masked position's own projection overflows
        assert_close(slopes_then, slopes)


@pytest.mark.slow
def test_without_a_key_attention_gives_its_last_bias_and_a_finite_gradient() -> None:
    for dtype, x64 in DTYPES:
        with jax.enable_x64(x64):
            layer = jax.tree.map(lambda a, d=dtype: a.astype(d), _drawn(fn.layers.MultiHeadAttention(4, 2)))
            x, none = jnp.ones((2, 3, 4), dtype), jnp.zeros((2, 3), bool)
            assert same_bits(layer(x, mask=none), jnp.broadcast_to(layer.out.bias, x.shape))
            slopes = jax.jit(jax.grad(lambda m, x=x, none=none: jnp.sum(m(x, mask=none))))(layer)
            assert all(np.isfinite(np.asarray(a, float)).all() for a in jax.tree.leaves(slopes))


def test_attention_carries_permutations_along() -> None:
    layer = _drawn(fn.layers.MultiHeadAttention(4, 2))
    x, order = RNG.normal(size=(6, 4)).astype(np.float32), RNG.permutation(6)
    call = jax.jit(layer)
    plain, carried = np.asarray(call(x)), np.asarray(call(x[order]))
    assert_close(carried, plain[order])
    assert np.abs(carried - plain).max() > 1e-3


@functools.cache
def _transformer(**settings: Any) -> Any:
    return _drawn(fn.models.Transformer(3, vocab_size=9, features=8, num_heads=2, depth=2, **settings))


@pytest.mark.slow
def test_without_positions_a_transformer_sees_a_set_and_with_them_a_sequence() -> None:
    x = np.array([3, 1, 4, 1, 5, 8])
    both = jax.jit(lambda model, x: (model(x), model(x[::-1])))
    assert_close(*both(_transformer(positions="none"), x))
    for model in (_transformer(), _transformer(positions="learned", max_length=6)):
        ahead, back = both(model, x)
        assert float(jnp.abs(ahead - back).max()) > 1e-3


def test_padding_never_matters_to_a_transformer() -> None:
    model = _transformer(pad_token=0)
    call = jax.jit(lambda model, x, mask=None: model(x, mask=mask))
    x, padded = np.array([3, 1, 4]), np.array([3, 1, 4, 0, 0])
    plain, mask = call(model, x), np.arange(5) < 3
    assert_close(call(model, padded), plain)
    assert_close(call(model, np.array([3, 1, 4, 7, 7]), mask), plain)
    assert_close(call(model, np.zeros(5, int)), model.head.bias)
    # Tokens out of range are rows of NaN when traced; masked, not even those reach the sums.
    strange = np.array([3, 1, 4, 99, -4])
    assert_close(call(model, strange, mask), plain)
    assert not np.isfinite(call(model, strange)).any()
    slopes = jax.jit(jax.grad(lambda model, x: jnp.sum(model(x, mask=mask))))
    assert_close(slopes(model, strange), slopes(model, padded))


VECTORS = fn.models.Transformer(
    *("scalar",),
    in_features=2,
    max_length=4,
    positions="learned",
    features=4,
    num_heads=2,
    depth=1,
)


def test_a_transformer_of_vectors_masks_and_broadcasts_learned_positions() -> None:
    model, x = _drawn(VECTORS), RNG.normal(size=(5, 3, 2)).astype(np.float32)
    mask = np.array([True, True, False])
    call = jax.jit(lambda model, x, mask=None: model(x, mask=mask))
    together = call(model, x, np.broadcast_to(mask, (5, 3)))
    assert together.shape == (5,)
    for row, value in zip(x, together, strict=True):
        assert_close(call(model, row[:2]), value)
    assert model.position_embedding.shape == (4, 4)


@pytest.mark.slow
def test_every_layer_of_a_transformer_has_a_dropout_of_its_own() -> None:
    model = _transformer(dropout=0.5)
    x = jnp.array([3, 1, 4, 1])
    keys: list[bytes] = []

    def record(module: fn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if isinstance(module, fn.Dropout):
            keys.append(np.asarray(jax.random.key_data(kwargs["key"])).tobytes())

    with observe_calls(record):
        model(x, key=cached_key(41))  # not jitted, so that the keys can be read
    assert len(keys) == len(set(keys)) == 4


NETS: dict[str, tuple[fn.Module, Callable[[], np.ndarray]]] = {
    "attention": (fn.layers.MultiHeadAttention(4, 2, causal=True), lambda: RNG.normal(size=(3, 4))),
    "gru": (fn.layers.GRU(4, 2), lambda: RNG.normal(size=(3, 4))),
    "lstm": (fn.layers.LSTM(4, 2), lambda: RNG.normal(size=(3, 4))),
    "embedding": (fn.layers.Embedding(5, 2), lambda: RNG.integers(0, 5, (3, 4))),
    "siren": (fn.models.SIREN((4, 3, "scalar")), lambda: RNG.normal(size=(3, 4))),
    "fourier-mlp": (fn.models.FourierMLP((4, 3, 1), num_frequencies=2), lambda: RNG.normal(size=(3, 4))),
    "transformer": (
        fn.models.Transformer(2, vocab_size=5, features=4, num_heads=2, depth=1, pad_token=0),
        lambda: RNG.integers(0, 5, (3, 4)),
    ),
}


# In the quick suite the two with the most arithmetic of their own, one narrower and one wider than float32.
KEPT = [(name, *dtype) for name in NETS for dtype in DTYPES]


def _quick(name: str, dtype: str, x64: bool) -> bool:
    return (name, dtype) in {("lstm", "float64"), ("transformer", "bfloat16")}


@pytest.mark.parametrize(
    ("name", "dtype", "x64"), [pytest.param(*c, marks=() if _quick(*c) else pytest.mark.slow) for c in KEPT]
)
def test_outputs_and_gradients_keep_the_models_dtype(name: str, dtype: str, x64: bool) -> None:
    with jax.enable_x64(x64):
        net, draw = NETS[name]
        model = jax.tree.map(lambda a: a.astype(dtype), jax.jit(net.init)(cached_key(41)))
        x = jnp.asarray(draw())
        x = x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.int32)
        value, slopes = jax.jit(jax.value_and_grad(lambda model: jnp.sum(jnp.sin(model(x)))))(model)
        assert {a.dtype.name for a in jax.tree.leaves((value, slopes))} == {dtype}
        assert np.isfinite(float(value))


def test_softmax_is_as_wide_as_the_model() -> None:
    with jax.enable_x64(True):
        layer = _drawn(fn.layers.MultiHeadAttention(4, 2))
        x = RNG.normal(size=(5, 4))
        expected = _attention(layer, x, np.ones(5, bool))
        np.testing.assert_allclose(jax.jit(layer)(x), expected, rtol=1e-12)


GRU, LSTM = fn.layers.GRU(2, 3), fn.layers.LSTM(2, 3)
WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "embedding of floats": (lambda: _init(fn.layers.Embedding(4, 2))(jnp.ones(3)), TypeError, "float32"),
    "embedding of nothing": (
        lambda: fn.layers.Embedding(0, 2),
        ValueError,
        "num_embeddings must be at least 1",
    ),
    "heads": (
        lambda: fn.layers.MultiHeadAttention(6, 4),
        ValueError,
        "num_heads must divide features=6, got 4",
    ),
    "no sequence": (
        lambda: _init(fn.layers.MultiHeadAttention(4, 2))(jnp.ones(4)),
        ValueError,
        r"\[\.\.\., length, 4\], got shape \(4,\)",
    ),
    "mask of floats": (
        lambda: _init(fn.layers.MultiHeadAttention(4, 2))(jnp.ones((3, 4)), mask=jnp.ones(3)),
        TypeError,
        "mask must be boolean",
    ),
    "mask of another shape": (
        lambda: _init(fn.layers.MultiHeadAttention(4, 2))(jnp.ones((2, 3, 4)), mask=jnp.ones(3, bool)),
        ValueError,
        r"mask must have shape \(2, 3\)",
    ),
    "gru": (lambda: _init(GRU)(jnp.ones((4, 3))), ValueError, r"GRU\(2, 3\) expects"),
    "gru size": (lambda: fn.layers.GRU(2, 0), ValueError, "features must be at least 1"),
    "gru state": (
        lambda: _init(GRU)(jnp.ones((5, 4, 2)), state=jnp.ones(3)),
        ValueError,
        r"state must have shape \(5, 3\)",
    ),
    "lstm": (lambda: _init(LSTM)(jnp.ones((4, 3))), ValueError, r"LSTM\(2, 3\) expects"),
    "lstm cell": (
        lambda: _init(LSTM)(jnp.ones((4, 2)), state=(jnp.ones(3), jnp.ones(2))),
        ValueError,
        r"state\[1\] must have shape \(3,\)",
    ),
    "bidirectional of arrays": (
        lambda: fn.layers.Bidirectional(_init(GRU)),
        ValueError,
        "must be an architecture without parameters",
    ),
    "bidirectional of a number": (
        lambda: fn.layers.Bidirectional(3),
        TypeError,
        "forward must be a funcnet module",
    ),
    "no input": (lambda: fn.models.Transformer(2), ValueError, "one of vocab_size and in_features"),
    "two inputs": (
        lambda: fn.models.Transformer(2, vocab_size=4, in_features=4),
        ValueError,
        "got vocab_size, in_features",
    ),
    "padding": (
        lambda: fn.models.Transformer(2, vocab_size=4, pad_token=4),
        ValueError,
        "pad_token must be at least 0",
    ),
    "padding of vectors": (
        lambda: fn.models.Transformer(2, in_features=4, pad_token=0),
        ValueError,
        "a model of vectors",
    ),
    "hidden": (
        lambda: fn.models.Transformer(2, vocab_size=4, hidden_features=0),
        ValueError,
        "hidden_features must be at least 1",
    ),
    "dropout": (
        lambda: fn.models.Transformer(2, vocab_size=4, dropout=1.0),
        ValueError,
        "dropout must be at least",
    ),
    "positions": (
        lambda: fn.models.Transformer(2, vocab_size=4, positions="relative"),
        ValueError,
        "sinusoidal, learned, none",
    ),
    "no length": (
        lambda: fn.models.Transformer(2, vocab_size=4, positions="learned"),
        TypeError,
        "max_length must be",
    ),
    "too long": (
        lambda: _init(VECTORS)(jnp.zeros((5, 2))),
        ValueError,
        "at most max_length=4, got 5",
    ),
    "no tokens": (
        lambda: _transformer(pad_token=0)(jnp.zeros((2, 0), int)),
        ValueError,
        "an input of at least one token",
    ),
    "omega": (lambda: fn.models.SIREN((1, 2, 1), omega=0), ValueError, "omega must be above 0"),
    "siren input": (
        lambda: _init(fn.models.SIREN((1, 2, 1)))(jnp.ones(2)),
        ValueError,
        "whose last axis is 1",
    ),
    "scale": (lambda: fn.models.FourierMLP((1, 2), scale=-1.0), ValueError, "scale must be above 0"),
    "scale text": (lambda: fn.models.FourierMLP((1, 2), scale="1"), TypeError, "scale must be a number"),
    "fourier input": (
        lambda: _init(fn.models.FourierMLP((1, 2)))(jnp.ones(2)),
        ValueError,
        "whose last axis is 1",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_gets_a_sentence(name: str) -> None:
    call, error, text = WRONG[name]
    with pytest.raises(error, match=text):
        call()


@pytest.mark.slow
def test_masked_positions_reach_no_gradient_of_a_transformer_whatever_they_hold():
    x = jax.random.normal(cached_key(41), (3, 4)).at[2].set(jnp.inf)
    mask = jnp.array([True, True, False])
    model = _init(fn.models.Transformer(3, in_features=4, features=4, num_heads=2, depth=1))
    grads = jax.grad(lambda model: jnp.sum(model(x, mask=mask) ** 2))(model)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
