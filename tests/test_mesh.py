"""Several devices end in the numbers of one. (conftest.py makes four of the CPU.)"""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import MODELS, TRAINED, assert_close, dataset, training

import funcnet as fn

KEY = jax.random.key(0)


QUICK = [("weighted-rows", 2)]
SLOW = [("tail", 1), ("tail", 2), ("tail", 4), ("weighted-rows", 1), ("weighted-rows", 4)]


@pytest.mark.parametrize(
    ("name", "devices"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_a_training_on_several_devices(name, devices):
    data, train = dataset(name, "mlp"), training("mlp")
    model = MODELS["mlp"].init()
    want = train(model, data, KEY, data)
    with fn.mesh.use(devices):
        got = train(model, data, KEY, data)
    assert_close(got.model, want.model, 10)
    assert_close(dict(got.history), dict(want.history), 10)


@pytest.mark.parametrize("name", TRAINED)
def test_evaluation_and_prediction_of_every_model(name):
    model, data = MODELS[name].init(), MODELS[name].rows(22)
    loss = MODELS[name].loss()
    want = fn.evaluate(loss, model, data, batch_size=8), fn.predict(model, data[0], batch_size=8)
    with fn.mesh.use():
        got = fn.evaluate(loss, model, data, batch_size=8), fn.predict(model, data[0], batch_size=8)
    assert_close(got, want, 4)


def test_rows_lie_on_all_devices_and_only_sums_are_exchanged():
    model, data = MODELS["mlp"].init(), fn.data.Dataset(MODELS["mlp"].rows(64))
    train = fn.fit(MODELS["mlp"].loss(), optax.sgd(0.1), epochs=1, batch_size=16)
    with fn.mesh.use(4):
        program = jax.jit(train).lower(model, data, KEY).compile().as_text()
    assert "all-reduce" in program
    assert "all-gather" not in program
    assert "f32[4,3]" in program, "no device computes a quarter of a batch"


def test_members_are_computed_where_they_lie_without_exchange():
    train = fn.fit(MODELS["mlp"].loss(), optax.sgd(0.1), epochs=1, batch_size=8)
    keys = jax.random.split(KEY, 8)
    models = jax.jit(jax.vmap(MODELS["mlp"].net.init))(keys)
    data = fn.data.Dataset(MODELS["mlp"].rows(16))
    many = jax.jit(jax.vmap(train, in_axes=(0, None, 0)))
    want = many(models, data, keys)
    with fn.mesh.use(4):
        args = fn.mesh.shard_members(models), data, fn.mesh.shard_members(keys)
    compiled = many.lower(*args).compile()
    got = compiled(*args)
    weight = got.model.layers[0].weight
    assert len(weight.sharding.device_set) == 4
    assert {shard.data.shape[0] for shard in weight.addressable_shards} == {2}
    assert_close(got.model, want.model, 4)
    assert "all-" not in compiled.as_text()


def test_the_number_of_cpu_devices_is_set_before_jax_starts():
    assert fn.mesh.cpu_devices(4) == 4  # as it is
    with pytest.raises(RuntimeError, match=r"started with 4 CPU devices, so it can't have 3 any more"):
        fn.mesh.cpu_devices(3)
    code = "import funcnet as fn, jax; print(fn.mesh.cpu_devices(3), len(jax.devices('cpu')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "3"]


def test_wrong_devices_are_refused():
    with pytest.raises(ValueError, match=r"9 devices are wanted and 4 are there.*mesh.cpu_devices\(9\)"):
        fn.mesh.use(9)
    with pytest.raises(TypeError, match="an integer or a list"):
        fn.mesh.use("all")
    with pytest.raises(ValueError, match="at least 1"):
        fn.mesh.use(0)
    with pytest.raises(ValueError, match="none is around it"):
        fn.mesh.shard_members(jnp.ones(4))
    with (
        fn.mesh.use(4),
        pytest.raises(ValueError, match=r"\['w'\] must be a multiple of the 4 devices, got shape \(6,\)"),
    ):
        fn.mesh.shard_members({"w": jnp.ones(6)})
    assert np.all(fn.evaluate(lambda m, e, k: m * e, jnp.ones(()), jnp.ones(6))["loss"] == 1.0)
