"""What layers take as inputs, and their numbers: in half precision, far from zero, and without a NaN."""

import functools
import traceback
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from keys import lazy_key
from tables import BATCHED, MODELS, RANDOM, marked, same_bits

import funcnet as fn

KEY = lazy_key(3)
L = fn.layers

NOT_NUMBERS: dict[str, Any] = {
    "none": None,
    "text": "abc",
    "bytes": b"abc",
    "list of text": ["a", "b"],
    "objects": np.array([None, 1, "a"], object),
    "complex": np.ones(3, complex),
    "dates": np.array(["2020-01-01"], "datetime64[D]"),
    "ragged": [[1.0, 2.0], [3.0]],
    "function": len,
    "class": int,
    "set": {1.0, 2.0},
    "dictionary": {"x": 1.0},
    "key": KEY,
}


def _as_torch(x: np.ndarray) -> Any:
    return pytest.importorskip("torch").from_numpy(np.array(x))


AS_OTHERS = {
    "numpy": np.asarray,
    "float64": lambda x: x.astype(float) if x.dtype.kind == "f" else x.astype(np.int64),
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "list": lambda x: x.tolist(),
    "read-only": lambda x: np.broadcast_to(x, x.shape),
    "torch": _as_torch,
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_not_an_array_of_numbers_gets_a_sentence(name: str) -> None:
    model = MODELS[name].init()
    for kind, value in NOT_NUMBERS.items():
        value = KEY() if kind == "key" else value
        if name == "activation" and kind == "key":
            continue  # an Activation's function gets any JAX array
        with pytest.raises((TypeError, ValueError), match=r"^x of \w+.* must be") as caught:
            model(value)
        assert "/funcnet/" in traceback.extract_tb(caught.value.__traceback__)[-1].filename, kind


@pytest.mark.parametrize("name", marked(MODELS, slow={"gru"}))
def test_whatever_holds_numbers_is_taken_as_the_jax_array(name: str) -> None:
    row = MODELS[name]
    model, x = row.init(), row.rows(2)[0]
    expected = model(x)
    for kind, convert in AS_OTHERS.items():
        assert same_bits(model(convert(np.asarray(x))), expected), kind


@pytest.mark.parametrize("name", marked(MODELS, slow={"gru"}))
def test_no_layer_makes_a_nan_on_its_way(name: str) -> None:
    row = MODELS[name]
    model, x = row.init(), row.rows(2)[0]

    def loss(model: Any, x: Any, key: Any) -> Any:
        return sum(jnp.sum(leaf.astype(float) ** 2) for leaf in jax.tree.leaves(model(x, key=key)))

    with jax.debug_nans(True):
        for inputs in (x, jnp.zeros_like(x), jnp.ones_like(x)):
            for key in (None, KEY()) if name in RANDOM + BATCHED else (None,):
                argnums = 0 if row.tokens or not jax.tree.leaves(model) else (0, 1)
                jax.grad(loss, argnums if jax.tree.leaves(model) else 1)(model, inputs, key)


HALF_TOLERANCE = {"bfloat16": 0.06, "float16": 0.01}


@pytest.mark.parametrize("dtype", marked(HALF_TOLERANCE, slow={"float16"}))
@pytest.mark.parametrize("name", MODELS)
def test_half_precision_is_float32_up_to_rounding(name: str, dtype: str) -> None:
    row = MODELS[name]
    half = jax.tree.map(lambda a: a.astype(dtype) if a.dtype == jnp.float32 else a, row.init())
    x = row.rows(3)[0]
    x = x if row.tokens else x.astype(dtype)
    whole = jax.tree.map(lambda a: a.astype(jnp.float32), half)
    expected = jax.jit(whole)(x if row.tokens else x.astype(jnp.float32))
    got = jax.jit(half)(x)
    assert got.dtype == dtype
    allowed = HALF_TOLERANCE[dtype] * max(1.0, float(jnp.abs(expected).max()))
    np.testing.assert_allclose(got.astype(jnp.float32), expected, rtol=0, atol=allowed)


NORMS = {
    "layer": L.LayerNorm(16),
    "group": L.GroupNorm(16, 2, 1),
    "batch": L.BatchNorm(16),
}


def _normalized(name: str, x: np.ndarray) -> np.ndarray:
    """In float64: x [64, 16]."""
    axes = {"layer": -1, "batch": 0, "group": (0, 2)}[name]
    split = x.reshape(64, 2, 8) if name == "group" else x
    mean, variance = split.mean(axes, keepdims=True), split.var(axes, keepdims=True)
    return ((split - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("name", NORMS)
def test_a_norm_loses_no_more_digits_than_its_input_has(name: str, offset: float) -> None:
    x = (offset + np.random.default_rng(0).normal(size=(64, 16))).astype(np.float32)
    model = NORMS[name].init(KEY())
    got = jax.jit(lambda x: model(x, key=KEY()))(x)
    # E[x²] - E[x]² would be off by 8 at an offset of 10,000. One last digit of x there is 0.001.
    digit = max(float(np.spacing(np.float32(offset))), 1e-7)
    np.testing.assert_allclose(got, _normalized(name, x.astype(float)), rtol=0, atol=6 * digit)


@pytest.mark.parametrize("dtype", marked(HALF_TOLERANCE, slow={"float16"}))
def test_sums_over_positions_are_kept_in_float32(dtype: str) -> None:
    ones = jnp.full((70_000, 1), 2, dtype)
    net = fn.models.Transformer(1, in_features=1, features=1, num_heads=1, depth=1, positions="none")
    mean = fn.models._transformer._mean(ones, jnp.ones(70_000, bool))
    assert mean.tolist() == [2.0]
    assert L.GlobalAvgPool(1)(ones).tolist() == [2.0]
    assert L.AvgPool1d(70_000)(ones).tolist() == [[2.0]]
    assert jax.eval_shape(lambda key, x: net.init(key)(x), KEY(), jnp.ones((3, 1))).shape == (1,)


def test_running_statistics_stay_in_float32() -> None:
    half = fn.Precision(param="bfloat16", compute="bfloat16")
    norm = L.BatchNorm(2).init(KEY()).replace(mean=fn.Buffer(jnp.array([1000.5, 3.0])))
    x = jnp.array([[1000.0, 3.0], [1001.0, 3.0]], float)
    # Rounded to bfloat16 the mean 1000.5 would be 1000, and the outputs 0 and 0.
    got = half.model(half.cast_parameters(norm))(x)
    assert got[:, 0].tolist() == pytest.approx([-0.5, -0.5])  # x itself is 1000 in bfloat16
    halved = jax.tree.map(lambda a: a.astype(jnp.bfloat16), norm)
    assert halved(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    with pytest.raises(TypeError, match=r"BatchNorm.mean must be at least float32 in training"):
        halved(x.astype(jnp.bfloat16), key=KEY())


@pytest.mark.parametrize("name", ["batch-norm", "conv-net", "dropout", "mlp-dropout", "residual"])
def test_a_wrong_key_gets_a_sentence(name: str) -> None:
    row = MODELS[name]
    model, x = row.init(), row.rows(2)[0]
    for key in (0, "a", np.zeros(2, np.uint32), jax.random.split(KEY(), 2)):
        with pytest.raises((TypeError, ValueError), match="key must be a"):
            model(x, key=key)


@pytest.mark.parametrize(
    "net",
    [
        lambda: fn.MLP((4, 2**31, 1)),
        lambda: fn.MLP((4, 2**40, 1)),
        lambda: L.LSTM(2, 2**31),
        lambda: L.Embedding(2**40, 2**20),
        lambda: L.Conv2d(2**20, 2**20, 99),
        lambda: fn.models.ResMLP(2, 1, depth=2**31),
        lambda: fn.models.Transformer(2, vocab_size=4, depth=2**31),
        lambda: fn.Linear(2**63, 1),
    ],
)
def test_absurd_sizes_get_a_sentence_before_memory_is_taken(net: Any) -> None:
    with pytest.raises(ValueError, match=r"need [\d,.]+ [GTPE]iB|must be at most|must be below"):
        net().init(KEY())


PARTS: dict[str, tuple[Any, str]] = {
    "a string for a bias": (lambda: fn.Linear(2, 3, use_bias="no"), "use_bias must be True or False"),
    "an initializer of another type": (lambda: fn.Linear(2, 3, weight_init=0.1), "weight_init must be"),
    "an initializer of a model": (lambda: fn.MLP((2, 3, 1), weight_init=0.1), "weight_init must be"),
    "an array for a module": (lambda: L.GRU(2, 3, input=jnp.ones(3)), "GRU.input must hold modules"),
    "an array for a buffer": (
        lambda: fn.models.FourierMLP((2, 3), frequencies=jnp.ones((2, 128))),
        "FourierMLP.frequencies must hold modules or fn.Buffers",
    ),
    "a class for a buffer": (lambda: fn.Buffer(int), "the value of a Buffer must be an array"),
    "text for an array": (lambda: fn.Linear(2, 3, weight="ones"), "Linear.weight must hold arrays"),
    "a class for a function": (lambda: fn.MLP((2, 3, 1), activation=fn.Linear), "activation must be"),
    "a number for layers": (lambda: fn.Sequential(layers=3), "layers must be a tuple of modules"),
    "a momentum of None": (lambda: L.BatchNorm(2, momentum=None), "momentum must be a number"),
    "an array for a size": (lambda: fn.Linear(2, np.array([3, 3])), "out_features must be an integer"),
    "classes of a network": (lambda: fn.models.ConvNet((8, 8, 1), 1.5), "classes must be an integer"),
}


@pytest.mark.parametrize("case", PARTS)
def test_wrong_parts_are_named(case: str) -> None:
    call, message = PARTS[case]
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_numpy_numbers_are_settings_like_pythons() -> None:
    net = fn.MLP((np.int64(2), np.int32(3), 1), dropout=np.float32(0.5))
    assert repr(net) == repr(fn.MLP((2, 3, 1), dropout=0.5))
    assert jax.tree.structure(net) == jax.tree.structure(fn.MLP((2, 3, 1), dropout=0.5))
    assert repr(fn.Linear(np.int64(2), 3)) == repr(fn.Linear(2, 3))


def test_dropout_keeps_the_mean_in_half_precision() -> None:
    x = jnp.full(1000, 0.7, jnp.bfloat16)
    kept = set(functools.reduce(jnp.append, [fn.Dropout(0.1)(x, key=KEY())]).astype(float).tolist()) - {0.0}
    assert kept == {float(jnp.asarray(float(x[0]) / 0.9, jnp.bfloat16))}


def test_models_of_other_dtypes_are_not_equal_and_not_one_compiled_function() -> None:
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), fn.Linear(2, 3).init(KEY()))
    whole = jax.tree.map(lambda a: a.astype(jnp.float32), half)
    assert whole != half
    assert jax.jit(whole)(jnp.ones(2)).dtype == jnp.float32
    assert jax.jit(half)(jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16


def test_parameters_that_are_no_arrays_of_their_shape_are_named() -> None:
    x = jnp.ones(2)
    with pytest.raises(
        TypeError, match=r"Linear.weight must be an array of numbers of shape \(2, 3\).* got list"
    ):
        fn.Linear(2, 3, weight=[[1.0] * 3] * 2, bias=jnp.zeros(3))(x)
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert L.Embedding(3, 2, weight=table)(jnp.array([2, 0])).tolist() == [[4.0, 5.0], [0.0, 1.0]]


@pytest.mark.parametrize("net", [L.RMSNorm(4, eps=2**70), L.BatchNorm(4, eps=2**70), L.LayerNorm(4, eps=1)])
def test_a_whole_number_is_a_setting_like_any_other(net: Any) -> None:
    assert net.init(KEY())(jnp.ones((2, 4))).dtype == jnp.float32
    with pytest.raises(ValueError, match="eps must be above 0 and finite"):
        L.RMSNorm(4, eps=10**400)
