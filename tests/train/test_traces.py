"""How often Python runs a loss, how many programs are kept, and jax_debug_nans."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import marked

import funcnet as fn
from funcnet._jit import PROGRAMS, bounded_jit

X = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
DATA = X, np.sin(X[:, 0])
NET = fn.MLP((1, 4, "scalar"))
SQUARED = fn.losses.supervised(fn.losses.squared_error)
SETTINGS = {
    "plain": {},
    "eval_every": {"eval_every": 2},
    "stopping": {"stopping": fn.EarlyStopping("loss", patience=1)},
    "on_nan": {"on_nan": "skip"},
    "ema": {"ema": 0.9},
    "remat": {"remat": True},
}
# What one setting traces or breaks, all together do; which one it is, the slow tests tell.
SETTINGS["all"] = functools.reduce(dict.__or__, SETTINGS.values())
NAMES = marked(SETTINGS, slow=SETTINGS.keys() - {"plain", "all"})


@functools.cache
def initial():
    return jax.jit(NET.init)(jax.random.key(0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("transform", [lambda train: train, jax.jit], ids=["fit", "jit"])
def test_a_run_traces_its_loss_once(name, transform):
    chex.clear_trace_counter()

    @chex.assert_max_traces(1)
    def loss(model, example, key):
        x, y = example
        return (model(x) - y) ** 2

    train = transform(fn.fit(loss, optax.adam(0.01), epochs=3, batch_size=16, **SETTINGS[name]))
    for seed in range(2):
        train(initial(), DATA, jax.random.key(seed))


def test_a_loss_of_batch_norm_is_traced_once():
    chex.clear_trace_counter()

    @chex.assert_max_traces(1)
    def loss(model, example, key):
        x, y = example
        return jnp.mean((model(x) - y) ** 2)

    net = fn.Sequential(fn.Linear(1, 4), fn.layers.BatchNorm(4), fn.Linear(4, "scalar"))
    key = jax.random.key(0)
    fn.fit(loss, optax.adam(0.01), epochs=3, shuffle=False)(jax.jit(net.init)(key), DATA, key)


def test_a_function_keeps_a_bounded_number_of_programs():
    traces = []

    def double(x):
        traces.append(x.shape)
        return x

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
    assert program(np.ones(1)) == 1
    assert program._cache_size() == 2


@pytest.fixture
def debug_nans():
    with jax.debug_nans(True):
        yield


WAYS = {
    "fit": lambda train: train,
    "Trainer": lambda train: fn.Trainer(train, progress=False),
    "jit": jax.jit,
    "vmap": lambda train: jax.vmap(train, in_axes=(None, None, 0, None)),
}
QUICK = [("plain", "fit"), ("plain", "Trainer"), ("all", "fit"), ("all", "vmap")]
OTHERS = itertools.filterfalse(QUICK.__contains__, itertools.product(SETTINGS, ["Trainer", "vmap"]))


@pytest.mark.usefixtures("debug_nans")
@pytest.mark.parametrize(
    ("name", "way"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)]
)
def test_a_finite_run_works_with_debug_nans(name, way):
    train = fn.fit(SQUARED, optax.adam(0.01), epochs=3, batch_size=16, shuffle=False, **SETTINGS[name])
    key = jax.random.key(0)
    key = jax.random.split(key, 2) if way == "vmap" else key
    run = WAYS[way](train)(initial(), DATA, key, DATA)
    values = np.atleast_2d(run.history["val_loss"])
    evaluated = [False, True, True] if "eval_every" in SETTINGS[name] else [True] * 3
    np.testing.assert_array_equal(np.isfinite(values), [evaluated] * len(values))


@pytest.mark.usefixtures("debug_nans")
def test_debug_nans_finds_the_nan_of_a_loss():
    def loss(model, example, key):
        return jnp.log(model - 1)

    with pytest.raises(FloatingPointError, match="nan"):
        fn.fit(loss, optax.sgd(0.1), epochs=2, shuffle=False)(jnp.array(0.0), X, jax.random.key(0))
