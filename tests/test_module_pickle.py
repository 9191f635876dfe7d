"""Models, runs and what belongs to them can be pickled, copied, and sent to other processes."""

import copy
import functools
import io
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import chex
import cloudpickle
import jax
import jax.numpy as jnp
import joblib
import numpy as np
import pytest
from keys import lazy_key
from tables import MODELS, OPTIMIZERS, marked, same_bits

import funcnet as fn

KEY = lazy_key(0)


def squared(x: jax.Array) -> jax.Array:
    return x * x


def _by_joblib(value: Any) -> Any:
    file = io.BytesIO()
    joblib.dump(value, file)
    file.seek(0)
    return joblib.load(file)


COPIES = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "pickle-2": lambda value: pickle.loads(pickle.dumps(value, protocol=2)),
    "joblib": _by_joblib,
    "cloudpickle": lambda value: pickle.loads(cloudpickle.dumps(value)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


def _filled(net: fn.Module) -> fn.Module:
    """A model with other numbers than those of `init`, which takes a compilation."""
    shapes = jax.eval_shape(net.init, KEY())
    return jax.tree.map(
        lambda a: jnp.asarray(np.random.default_rng(0).normal(size=a.shape), a.dtype), shapes
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_pickled_and_copied_to_an_equal_one(name: str) -> None:
    net = MODELS[name].net
    for model in (net, _filled(net)):
        for kind, copied in COPIES.items():
            other = copied(model)
            # One structure, so that jit does not trace the copy again.
            assert jax.tree.structure(other) == jax.tree.structure(model), kind
            assert other == model, kind
            assert same_bits(other, model), kind


@pytest.mark.parametrize(
    "name",
    marked(["mlp-dropout", "conv-net", "siren", "sequential", "transformer"], slow={"siren", "conv-net"}),
)
def test_a_copy_predicts_the_same_and_is_not_traced_again(name: str) -> None:
    row = MODELS[name]
    chex.clear_trace_counter()  # of the other models: it counts by the place of a function
    call = jax.jit(chex.assert_max_traces(lambda model, x: model(x), n=1))
    model, (x, _) = row.init(), row.rows(3)
    expected = call(model, x)
    for copied in COPIES.values():
        assert same_bits(call(copied(model), x), expected)


@pytest.mark.parametrize(
    "function",
    [
        *(jax.nn.relu, jax.nn.relu6, jax.nn.gelu, jax.nn.silu, jax.nn.sigmoid, jax.nn.softplus),
        *(jnp.tanh, jnp.sin, jnp.maximum, jax.lax.tanh, jax.lax.erf, jax.scipy.special.erf, squared),
        (jax.nn.leaky_relu, squared),
    ],
)
def test_functions_are_found_by_their_names(function: Any) -> None:
    class Holder(fn.Module):
        function: Any

    globals()["Holder"] = Holder
    Holder.__qualname__ = "Holder"
    for copied in COPIES.values():
        assert copied(Holder(function)).function == function


def test_functions_with_settings_bound() -> None:
    leaky = functools.partial(jax.nn.leaky_relu, negative_slope=0.3)
    model = fn.MLP((2, 3, 1), activation=leaky).init(KEY())
    for copied in COPIES.values():
        assert same_bits(copied(model)(jnp.ones(2)), model(jnp.ones(2)))


def test_models_before_init_with_buffers_or_in_halves() -> None:
    model = fn.Precision(param="bfloat16", compute="bfloat16").cast_parameters(MODELS["batch-norm"].init())
    for value in (fn.MLP((2, 1)), model, {"a": fn.Buffer(jnp.arange(3)), "key": jax.random.key(3)}):
        for copied in COPIES.values():
            assert same_bits(copied(value), value)


@pytest.mark.parametrize("optimizer", marked(["adam", "lbfgs"], slow={"lbfgs"}))
def test_runs_and_their_settings(optimizer: str) -> None:
    row = MODELS["mlp-dropout"]
    stopping = fn.EarlyStopping(patience=2, restore_best=True)
    train = fn.fit(row.loss(), OPTIMIZERS[optimizer], epochs=3, batch_size=8, stopping=stopping)
    run = train(row.init(), row.rows(16), KEY(), row.rows(8, seed=1))
    for copied in COPIES.values():
        other = copied(run)
        assert jax.tree.structure(other) == jax.tree.structure(run)
        assert same_bits(other, run)
        assert other.outcome is run.outcome
        assert same_bits(dict(copied(run.history)), dict(run.history))
        assert copied(stopping) == stopping
        assert copied(train.stopping) == stopping
    assert same_bits(
        jax.random.uniform(pickle.loads(pickle.dumps(run)).state.key), jax.random.uniform(KEY())
    )


def predict(model: Any, x: np.ndarray) -> tuple[np.ndarray, bytes]:
    return np.asarray(model(x)), pickle.dumps(model)


@pytest.mark.slow
def test_a_model_goes_to_another_process_and_comes_back() -> None:
    model = fn.MLP((2, 3, 1), activation=jnp.tanh).init(KEY())
    x = np.ones(2, np.float32)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        y, sent_back = pool.submit(predict, model, x).result()
    assert pickle.loads(sent_back) == model
    np.testing.assert_allclose(y, model(x), rtol=1e-6)


def test_what_has_no_name_is_named() -> None:
    class Local(fn.Module):
        def __call__(self, x: Any, key: Any = None) -> Any:
            return x

    with pytest.raises(pickle.PicklingError, match=r"MLP.activation must be a function that can"):
        pickle.dumps(fn.MLP((2, 3, 1), activation=lambda x: x))
    with pytest.raises(pickle.PicklingError, match=r"Conv1d.weight_init must be .*got .*<locals>"):
        pickle.dumps({"net": fn.layers.Conv1d(1, 1, 1, weight_init=jax.nn.initializers.he_normal())})
    for copied in (COPIES["pickle"], COPIES["joblib"], COPIES["cloudpickle"]):
        with pytest.raises(pickle.PicklingError, match="Local must be defined at the top of a"):
            copied(Local())
    # cloudpickle stores the code of functions, and a copy shares them.
    net = fn.MLP((2, 3, 1), activation=lambda x: 2 * x).init(KEY())
    for copied in (COPIES["cloudpickle"], copy.copy, copy.deepcopy):
        assert same_bits(copied(net)(jnp.ones(2)), net(jnp.ones(2)))
