"""What a run, a history, a dataset and a table look like in a terminal and as a frame."""

import jax
import numpy as np
import optax
import pytest

import funcnet as fn

NET = fn.MLP((4, 8, 3))
TRAIN = fn.fit(
    fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy),
    optax.sgd(1e-2),
    epochs=4,
    batch_size=150,
    shuffle=False,
)


@pytest.fixture(scope="module")
def iris():
    return fn.data.load("iris")


@pytest.fixture(scope="module")
def run(iris):
    key = jax.random.key(0)
    return TRAIN(jax.jit(NET.init)(key), iris.data, key, iris.data)


@pytest.fixture(scope="module")
def runs(iris):
    keys = jax.random.split(jax.random.key(0))
    model = jax.jit(NET.init)(keys[0])
    return jax.vmap(TRAIN, in_axes=(None, None, 0))(model, iris.data, keys)


def test_a_run_fits_a_few_lines(run):
    text = repr(run)
    assert text.count("\n") < 10
    assert "Finished: all epochs completed." in text
    assert f"History(epoch 4: loss {float(run.history['loss'][-1]):.4g}, accuracy" in text
    assert "MLP of 67 numbers" in text


def test_data_and_tables_show_shapes_and_names(iris):
    assert repr(iris.data) == "Dataset((float32[150,4], int32[150]))"
    weighted = fn.data.Dataset({"x": iris.data[:][0]}, weight=np.ones(150))
    assert repr(weighted) == "Dataset({'x': float32[150,4]}, weight=float32[150])"
    assert repr(iris) == (
        "Table('iris', 150 rows, 4 features, classes of 'class': setosa, versicolor, virginica)"
    )


def test_traced_and_mapped_runs_and_placeholders_have_a_repr(run, runs):
    seen = []
    jax.jit(lambda r: seen.append(repr(r)))(run)
    assert "loss float32[4]" in seen[0]
    assert "loss float32[2,4]" in repr(runs)
    assert "History(loss None" in repr(jax.tree.map(lambda _: None, run))


def test_a_history_is_a_frame(run, runs):
    frame = run.to_pandas()
    assert list(frame.columns) == list(run.history)
    assert frame.index.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(frame["val_loss"], run.history["val_loss"])
    frame = runs.history.to_pandas()
    assert frame.index.names == ["run", "epoch"]
    np.testing.assert_array_equal(frame.loc[1, "loss"], runs.history["loss"][1])
    with pytest.raises(TypeError, match="can't be read inside jit"):
        jax.jit(lambda r: r.to_pandas())(run)
