"""Checkpoints of sharded models: written in parts, restored onto any number of devices."""

import contextlib
import functools
import shutil

import jax
import numpy as np
import optax
import pytest
from tables import assert_close

import funcnet as fn
from funcnet import _tree
from funcnet.train._array_files import Parts, storable
from funcnet.train._checkpoint import read_checkpoint
from funcnet.train._manifest import places
from funcnet.train._safetensors import map_arrays

NET = fn.MLP((8, 64, 64, 3), dropout=0.1)
X = np.random.default_rng(0).normal(size=(40, 8)).astype("float32")
Y = np.arange(40, dtype="int32") % 3
LOSS = fn.losses.supervised(fn.losses.cross_entropy)
TRAIN = fn.fit(LOSS, optax.adam(1e-2), epochs=4, batch_size=16, shuffle=False, ema=0.9)


@functools.cache
def initial():
    key = jax.random.key(0)
    return jax.jit(NET.init)(key), key


class Failure(RuntimeError):
    pass


def fail_after(epoch):
    def fail(context):
        if context.epoch == epoch:
            raise Failure

    return fail


def model_on(devices):
    """A mesh of so many devices, and the initial model sharded over it; on one device if None."""
    if devices is None:
        return contextlib.nullcontext(), lambda model: model
    return fn.mesh.use(devices), fn.mesh.shard


def run_on(devices, directory, callbacks=()):
    mesh, shard = model_on(devices)
    model, key = initial()
    with mesh:
        trainer = fn.Trainer(TRAIN, directory, callbacks, progress=False)
        return trainer(shard(model), (X, Y), key, (X, Y))


def stop_on(devices, directory):
    with pytest.raises(Failure):
        run_on(devices, directory, [fail_after(2)])


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The directory of a run that was stopped on four devices."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    stop_on(4, folder)
    return folder


@pytest.mark.parametrize("later", [4, pytest.param(2, marks=pytest.mark.slow), None])
def test_a_run_saved_on_four_devices_goes_on_with_any_number(later, stopped, tmp_path):
    expected = run_on(4, None)
    shutil.copytree(stopped, tmp_path / "run")
    run = run_on(later, tmp_path / "run")
    assert int(run.state.epoch) == 4
    assert_close(dict(run.history), dict(expected.history), 10)
    assert_close(run.model, expected.model, 20)
    if later == 4:
        assert run.model == expected.model, "not the same bits on the same devices"


def test_a_run_saved_on_one_device_goes_on_sharded(tmp_path):
    expected = run_on(None, None)
    stop_on(None, tmp_path / "run")
    run = run_on(4, tmp_path / "run")
    assert_close(run.model, expected.model, 20)
    moments = _tree.paths(run.state.opt_state)
    (weight,) = [leaf for path, leaf in moments.items() if path.endswith("mu.layers[1].weight")]
    assert {shard.data.shape for shard in weight.addressable_shards} == {(64, 16)}


def test_each_part_is_written_once(stopped):
    place = places(stopped)[-1]
    stored = map_arrays(place / "arrays.safetensors")
    name = "['state'].state.model.layers[1].weight"
    parts = {key: array.shape for key, array in stored.items() if key.startswith(name)}
    assert parts == {f"{name}@0,{16 * i}": (64, 16) for i in range(4)}
    whole = read_checkpoint(place).arrays[name]
    assert isinstance(whole, Parts)
    weights = fn.load_weights(NET, stopped)
    assert weights.layers[1].weight.shape == (64, 64)


def test_any_region_is_read_from_parts():
    expected = np.arange(60, dtype="float32").reshape(6, 10)
    parts = {(i, j): expected[i : i + 3, j : j + 5] for i in (0, 3) for j in (0, 5)}
    array = Parts("a", np.dtype("float32"), (6, 10), parts)
    assert np.array_equal(array, expected)
    for rows in (slice(0, 6), slice(2, 5), slice(4, None), slice(3, 3)):
        for columns in (slice(None), slice(4, 6), slice(5, 10)):
            assert np.array_equal(array[rows, columns], expected[rows, columns])
    for wrong in ({**parts, (0, 1): parts[0, 0]}, {(0, 0): parts[0, 0]}, {(4, 8): parts[0, 0]}):
        with pytest.raises(ValueError, match="the parts of a are not those of an array of shape"):
            Parts("a", np.dtype("float32"), (6, 10), wrong)


def test_parts_of_a_dtype_that_safetensors_lacks_are_read():
    expected = np.arange(12).reshape(4, 3) * (1 + 2j)
    parts = {(i, 0): storable(expected[i : i + 2]) for i in (0, 2)}
    assert np.array_equal(Parts("a", expected.dtype, (4, 3), parts), expected)
