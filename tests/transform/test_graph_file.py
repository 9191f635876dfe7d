"""Graphs on disk: any length of a batch, any platform, modules of any library, loaded by JAX alone."""

import functools
import subprocess
import sys
from typing import Any, NamedTuple

import flax.linen
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tables import MODELS, assert_close, marked

import funcnet as fn
from funcnet.transform import graph, load_graph

X, MORE = (np.random.default_rng(n).normal(size=(n, 4)).astype(np.float32) for n in (5, 7))
NAMES = ("weight", "bias")


def the_key():
    return jax.random.key(0)


@functools.cache
def initial():
    return jax.jit(fn.MLP((4, 6, 3)).init)(the_key())


class Pair(NamedTuple):
    first: Any
    second: Any


def exported(path):
    return jax.export.deserialize(bytearray(path.read_bytes()[64:]))


@pytest.mark.parametrize("name", marked(MODELS, slow=set(MODELS) - {"conv-2d", "gru"}))
def test_a_saved_model_takes_any_batch_and_lists_all_platforms(name, tmp_path):
    entry = MODELS[name]
    model = entry.init()
    path = graph(model)(entry.rows(5)[0]).save(tmp_path / "model.graph", batch="b")
    assert exported(path).platforms == ("cpu", "cuda", "tpu")
    for n in (1, 8):
        x, _ = entry.rows(n)
        assert_close(load_graph(path)(x), jax.jit(model)(x))


def test_modules_in_and_out_are_plain_where_there_is_only_jax(tmp_path):
    def step(model, x):
        return jax.tree.map(lambda a: 2 * a, model), Pair(model(x), {"x": x})

    path = graph(step)(initial(), X).save(tmp_path / "step.graph", batch="b")
    expected = jax.jit(initial())(MORE)
    arrays = {
        f"{i}{name}": getattr(layer, name) for i, layer in enumerate(initial().layers) for name in NAMES
    }
    np.savez(tmp_path / "in.npz", x=MORE, **arrays)
    program = f"""
import sys
sys.modules["funcnet"] = None
import jax, jax.export, numpy as np
content = open({str(path)!r}, "rb").read()
call = jax.export.deserialize(bytearray(content[64:])).call
saved = np.load({str(tmp_path / "in.npz")!r})
layers = tuple({{name: saved[f"{{i}}{{name}}"] for name in {NAMES}}} for i in (0, 1))
model, (y, rest) = call({{"layers": layers}}, saved["x"])
assert model["layers"][1]["bias"].shape == (3,) and rest["x"].shape == (7, 4)
np.save({str(tmp_path / "y.npy")!r}, y)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert_close(jnp.asarray(np.load(tmp_path / "y.npy")), expected, factor=10)

    doubled, (y, _) = load_graph(path)(initial(), MORE)
    assert_close(y, expected, factor=10)
    np.testing.assert_array_equal(doubled["layers"][0]["weight"], 2 * initial().layers[0].weight)
    again, _ = load_graph(path)(doubled, MORE)
    np.testing.assert_array_equal(again["layers"][0]["bias"], 4 * initial().layers[0].bias)


def test_training_is_a_graph_of_modules(tmp_path):
    train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(0.1), epochs=2, batch_size=4)
    data = (X, X[:, :3])
    path = graph(lambda *args: train(*args).model)(initial(), data, the_key()).save(
        tmp_path / "train.graph"
    )
    trained = load_graph(path)(initial(), data, the_key())
    assert_close(
        trained["layers"][1]["bias"], train(initial(), data, the_key()).model.layers[1].bias, factor=10
    )


def linen():
    net = flax.linen.Sequential([flax.linen.Dense(3), flax.linen.BatchNorm(use_running_average=True)])
    return net.apply, net.init(the_key(), X)


def nnx_model():
    return (lambda model, x: model(x)), nnx.Linear(4, 3, rngs=nnx.Rngs(0))


def equinox():
    eqx = pytest.importorskip("equinox")

    class Net(eqx.Module):
        linear: Any
        dropout: Any
        activation: Any
        scale: float

        def __call__(self, x):
            return self.scale * self.activation(self.dropout(self.linear(x), inference=True))

    net = Net(eqx.nn.Linear(4, 3, key=the_key()), eqx.nn.Dropout(0.3), jax.nn.relu, 2.0)
    return (lambda model, x: jax.vmap(model)(x)), net


@pytest.mark.parametrize("make", marked([linen, nnx_model, equinox], slow={linen}))  # a dictionary
def test_models_of_other_libraries(make, tmp_path):
    f, model = make()
    g = graph(f)(model, X)
    expected = f(model, np.concatenate([X, MORE]))
    np.testing.assert_allclose(g(model, X), expected[:5], rtol=1e-5, atol=1e-6)
    path = g.save(tmp_path / "model.graph", batch=(None, "b"))
    np.testing.assert_allclose(load_graph(path)(model, MORE), expected[5:], rtol=1e-5, atol=1e-6)


def test_what_is_not_an_array_belongs_to_the_graph():
    eqx = pytest.importorskip("equinox")
    f, net = equinox()
    g = graph(f)(net, X)
    scaled = eqx.tree_at(lambda n: n.scale, net, 3.0)
    for change in (scaled, eqx.tree_at(lambda n: n.activation, net, jnp.tanh)):
        with pytest.raises(ValueError, match=r"args\[0\]\.\w+ of this graph must be what it was"):
            g(change, X)
    doubled = graph(lambda net, x: eqx.tree_at(lambda n: n.linear.bias, net, 2 * net.linear.bias))(net, X)(
        net, X
    )
    assert doubled.activation is jax.nn.relu
    np.testing.assert_array_equal(doubled.linear.bias, 2 * net.linear.bias)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"platforms": "cpu"}, TypeError, "platforms must be a list of some of cpu, cuda, rocm, tpu, got"),
        ({"platforms": ()}, TypeError, "platforms must be a list"),
        ({"platforms": ("gpu",)}, ValueError, "platforms must be one of cpu, cuda, rocm, tpu, got 'gpu'"),
        ({"batch": 3}, TypeError, "batch must be a name, or a name or None for each argument, got int 3"),
        ({"batch": "a b"}, TypeError, "batch must be a name such as 'b', or None, got str 'a b'"),
        ({"batch": ("b",)}, ValueError, "batch must have a name or None for each of 2 arguments"),
        (
            {"batch": (None, "b", None)},
            ValueError,
            "batch must have a name or None for each of 2 arguments",
        ),
        (
            {"batch": ({"w": "b", "s": "b"}, "b")},
            ValueError,
            r"batch must be None for args\[0\]\['s'\], a scalar",
        ),
        (
            {"batch": ({"w": "b", "s": None}, "b")},
            ValueError,
            r"batch must name axes of one length, .* of length 4",
        ),
    ],
)
def test_other_settings_end_in_a_sentence(settings, error, message, tmp_path):
    g = graph(lambda params, x: x @ params["w"] * params["s"])({"w": jnp.ones((4, 2)), "s": 2.0}, X)
    with pytest.raises(error, match=message):
        g.save(tmp_path / "g", **settings)


def test_what_a_file_cannot_hold_ends_in_a_sentence(tmp_path):
    def prints(x):
        jax.debug.print("{x}", x=x)
        return x

    with pytest.raises(ValueError, match=r"batch must name axes that may have any length, got 'b'"):
        graph(lambda x: x if x.shape[0] > 3 else -x)(X).save(tmp_path / "g", batch="b")
    with pytest.raises(ValueError, match=r"platforms must all have .* Try platforms=\('cpu',\)"):
        graph(jnp.linalg.eigvals)(jnp.eye(3)).save(tmp_path / "g")
    with pytest.raises(ValueError, match="a graph that runs Python can't be saved, got debug_print"):
        graph(prints)(X).save(tmp_path / "g")
    assert not list(tmp_path.iterdir())
