"""How often Python runs a loss, how many programs are kept, and jax_debug_nans."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcnet as fn
from funcnet._jit import PROGRAMS, bounded_jit

KEY = jax.random.key(0)
X = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
DATA = X, np.sin(X[:, 0])
NET = fn.MLP((1, 4, "scalar"))
SQUARED = fn.losses.supervised(fn.losses.squared_error)
SETTINGS = [
    {},
    {"eval_every": 2},
    {"stopping": fn.EarlyStopping("loss", patience=1)},
    {"on_nan": "skip"},
    {"ema": 0.9},
    {"remat": True},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("transform", [lambda train: train, jax.jit], ids=["fit", "jit"])
def test_a_run_traces_its_loss_once(settings, transform):
    chex.clear_trace_counter()

    @chex.assert_max_traces(1)
    def loss(model, example, key):
        x, y = example
        return (model(x) - y) ** 2

    train = transform(fn.fit(loss, optax.adam(0.01), epochs=3, batch_size=16, **settings))
    for seed in range(2):
        train(NET.init(KEY), DATA, jax.random.key(seed))


def test_a_loss_of_batch_norm_is_traced_once():
    chex.clear_trace_counter()

    @chex.assert_max_traces(1)
    def loss(model, example, key):
        x, y = example
        return jnp.mean((model(x) - y) ** 2)

    net = fn.Sequential(fn.Linear(1, 4), fn.layers.BatchNorm(4), fn.Linear(4, "scalar"))
    fn.fit(loss, optax.adam(0.01), epochs=3)(net.init(KEY), DATA, KEY)


def test_a_function_keeps_a_bounded_number_of_programs():
    traces = []

    def double(x):
        traces.append(x.shape)
        return 2 * x

    program = bounded_jit(double)
    for size in range(1, PROGRAMS + 1):
        program(np.ones(size))
    program(np.ones(1))
    assert program._cache_size() == len(traces) == PROGRAMS
    # The 33rd: it forgets all, its own trace included, since that has only begun.
    for _ in range(3):
        assert program(np.ones(PROGRAMS + 1)).shape == (PROGRAMS + 1,)
    assert program._cache_size() == 1
    assert PROGRAMS < len(traces) <= PROGRAMS + 2
    assert program(np.ones(1)) == 2
    assert program._cache_size() == 2


@pytest.fixture
def debug_nans():
    with jax.debug_nans(True):
        yield


@pytest.mark.usefixtures("debug_nans")
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_finite_run_works_with_debug_nans(settings):
    train = fn.fit(SQUARED, optax.adam(0.01), epochs=3, batch_size=16, **settings)
    model = NET.init(KEY)
    run = train(model, DATA, KEY, DATA)
    values = np.asarray(run.history["val_loss"])
    evaluated = [False, True, True] if "eval_every" in settings else [True] * 3
    np.testing.assert_array_equal(np.isfinite(values), evaluated)
    for other in (
        fn.Trainer(train, progress=False)(model, DATA, KEY, DATA),
        jax.jit(train)(model, DATA, KEY, DATA),
    ):
        np.testing.assert_allclose(np.asarray(other.history["val_loss"]), values, rtol=1e-5)
    keys = jax.random.split(KEY, 2)
    runs = jax.vmap(train, in_axes=(None, None, 0, None))(model, DATA, keys, DATA)
    assert np.isfinite(np.asarray(runs.history["val_loss"])).all(axis=0).tolist() == evaluated


@pytest.mark.usefixtures("debug_nans")
def test_debug_nans_finds_the_nan_of_a_loss():
    def loss(model, example, key):
        return jnp.log(model - 1)

    with pytest.raises(FloatingPointError, match="nan"):
        fn.fit(loss, optax.sgd(0.1), epochs=2)(jnp.array(0.0), X, KEY)
