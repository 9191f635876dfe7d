"""Several devices end in the numbers of one. (conftest.py makes four of the CPU.)"""

import functools
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
    expected = train(model, data, KEY, data)
    with fn.mesh.use(devices):
        run = train(model, data, KEY, data)
    assert_close(run.model, expected.model, 10)
    assert_close(dict(run.history), dict(expected.history), 10)


@pytest.mark.parametrize("name", TRAINED)
def test_evaluation_and_prediction_of_every_model(name):
    model, data = MODELS[name].init(), MODELS[name].rows(22)
    loss = MODELS[name].loss()
    expected = fn.evaluate(loss, model, data, batch_size=8), fn.predict(model, data[0], batch_size=8)
    with fn.mesh.use():
        result = fn.evaluate(loss, model, data, batch_size=8), fn.predict(model, data[0], batch_size=8)
    assert_close(result, expected, 4)


def test_rows_lie_on_all_devices_and_only_sums_are_exchanged():
    model, data = MODELS["mlp"].init(), fn.data.Dataset(MODELS["mlp"].rows(80))
    train = fn.fit(MODELS["mlp"].loss(), optax.sgd(0.1), epochs=1, batch_size=40)
    with fn.mesh.use(4):
        program = jax.jit(train).lower(model, data, KEY).compile().as_text()
    assert "all-reduce" in program
    assert "all-gather" not in program
    assert "f32[10,3]" in program, "no device computes a quarter of a batch"


AUTO, EXPLICIT = jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit


def test_rows_lie_along_the_data_axis_of_any_mesh():
    model, data = MODELS["mlp"].init(), fn.data.Dataset(MODELS["mlp"].rows(80))
    train = fn.fit(MODELS["mlp"].loss(), optax.sgd(0.1), epochs=1, batch_size=40)
    expected = train(model, data, KEY)

    def rows_of_a_device(context):
        with context:
            program = jax.jit(train).lower(model, data, KEY).compile().as_text()
            assert_close(train(model, data, KEY).model, expected.model, 10)
        assert "all-gather" not in program
        return min(n for n in (10, 20, 40) if f"f32[{n},3]" in program)

    square = {"data": 2, "model": 2}
    by_hand = functools.partial(jax.make_mesh, (2, 2), ("a", "data"))
    assert rows_of_a_device(fn.mesh.use(square)) == 20
    assert rows_of_a_device(fn.mesh.use(square, data_axis=None)) == 40
    assert rows_of_a_device(fn.mesh.use(square, data_axis=("data", "model"))) == 10
    assert rows_of_a_device(fn.mesh.use({"rows": 4}, data_axis="rows")) == 10
    assert rows_of_a_device(fn.mesh.use(by_hand(), ("a", "data"))) == 10
    assert rows_of_a_device(fn.mesh.use(by_hand(axis_types=(EXPLICIT, EXPLICIT)))) == 20
    assert rows_of_a_device(jax.set_mesh(by_hand(axis_types=(AUTO, AUTO)))) == 20
    assert rows_of_a_device(jax.set_mesh(jax.make_mesh((4,), ("rows",), (AUTO,)))) == 40


def test_a_mesh_keeps_its_devices_and_their_order():
    mesh = jax.sharding.Mesh(np.array(jax.devices())[[3, 1, 0, 2]].reshape(2, 2), ("data", "x"))
    before = jax.sharding.get_abstract_mesh()
    with fn.mesh.use(mesh) as used:
        assert used.devices.tolist() == mesh.devices.tolist()
    with fn.mesh.use(jax.devices()[1:3]) as used:
        assert set(used.devices.flat) == set(jax.devices()[1:3])
    assert jax.sharding.get_abstract_mesh() == before


def test_an_explicit_mesh_set_by_hand_is_refused():
    with (
        jax.set_mesh(jax.make_mesh((4,), ("data",), (EXPLICIT,))),
        pytest.raises(ValueError, match=r"must have axes of type Auto.*with fn.mesh.use\(mesh\)"),
    ):
        fn.evaluate(MODELS["mlp"].loss(), MODELS["mlp"].init(), MODELS["mlp"].rows(8))


def test_members_are_computed_on_their_devices_without_communication():
    train = fn.fit(MODELS["mlp"].loss(), optax.sgd(0.1), epochs=1, batch_size=8)
    keys = jax.random.split(KEY, 8)
    models = jax.jit(jax.vmap(MODELS["mlp"].net.init))(keys)
    data = fn.data.Dataset(MODELS["mlp"].rows(16))
    many = jax.jit(jax.vmap(train, in_axes=(0, None, 0)))
    expected = many(models, data, keys)
    with fn.mesh.use(4):
        args = fn.mesh.shard_members(models), data, fn.mesh.shard_members(keys)
    compiled = many.lower(*args).compile()
    run = compiled(*args)
    weight = run.model.layers[0].weight
    assert len(weight.sharding.device_set) == 4
    assert {shard.data.shape[0] for shard in weight.addressable_shards} == {2}
    assert_close(run.model, expected.model, 4)
    assert "all-" not in compiled.as_text()


def test_the_number_of_cpu_devices_is_set_before_jax_is_initialized():
    assert fn.mesh.cpu_devices(4) == 4  # as it is
    with pytest.raises(RuntimeError, match=r"count must be 4, the number of CPU devices.* got 3"):
        fn.mesh.cpu_devices(3)
    code = "import funcnet as fn, jax; print(fn.mesh.cpu_devices(3), len(jax.devices('cpu')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "3"]


def test_wrong_devices_are_refused():
    with pytest.raises(ValueError, match=r"at most 4, the number available, got 9.*mesh.cpu_devices\(9\)"):
        fn.mesh.use(9)
    with pytest.raises(TypeError, match="an integer or a list"):
        fn.mesh.use("all")
    with pytest.raises(ValueError, match="at least 1"):
        fn.mesh.use(0)
    with pytest.raises(ValueError, match=r"at most 4.*got 2 x 4 = 8.*cpu_devices\(8\)"):
        fn.mesh.use({"data": 2, "model": 4})
    with pytest.raises(ValueError, match=r"devices\['data'\] must be at least 1"):
        fn.mesh.use({"data": 0})
    for wrong in ({}, {1: 2}, {"": 2}):
        with pytest.raises(TypeError, match=r"names of axes to their sizes.*use\({\"data\": 4}\)"):
            fn.mesh.use(wrong)
    with (
        fn.mesh.use({"data": 4}, data_axis=None),
        pytest.raises(ValueError, match="with a data_axis or a member_axis"),
    ):
        fn.mesh.shard_members(jnp.ones(4))
    with pytest.raises(ValueError, match=r'must be called inside "with fn.mesh.use'):
        fn.mesh.shard_members(jnp.ones(4))
    with (
        fn.mesh.use(4),
        pytest.raises(ValueError, match=r"\['w'\] must be a multiple of the 4 devices, got shape \(6,\)"),
    ):
        fn.mesh.shard_members({"w": jnp.ones(6)})
    assert np.all(fn.evaluate(lambda m, e, k: m * e, jnp.ones(()), jnp.ones(6))["loss"] == 1.0)


def test_an_axis_that_is_not_in_the_mesh_is_refused():
    square = {"x": 2, "y": 2}
    with pytest.raises(
        ValueError, match=r"data_axis .* has 'x', 'y', got 'data'. Write data_axis='x', or d"
    ):
        fn.mesh.use(square)
    with pytest.raises(ValueError, match=r"data_axis .* got 'z'.* data_axis=None for every device"):
        fn.mesh.use(square, ("x", "z"))
    with pytest.raises(ValueError, match=r"member_axis .* got 'z'.* member_axis=None for the data axis"):
        fn.mesh.use(square, "x", member_axis="z")
    with pytest.raises(ValueError, match="each axis once"):
        fn.mesh.use(square, ("x", "x"))
    with pytest.raises(TypeError, match=r"data_axis must be the name of an axis.*Try data_axis='x'"):
        fn.mesh.use(square, 1)
