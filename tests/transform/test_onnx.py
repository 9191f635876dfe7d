"""ONNX models: what onnxruntime computes is what the model computes, for any number of rows."""

import sys

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import MODELS

import funcnet as fn
from funcnet.transform import graph

X = np.ones((5, 4), np.float32)


def run(path, *args):
    session = pytest.importorskip("onnxruntime").InferenceSession(path.read_bytes())
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, map(np.asarray, args), strict=True)))


def test_without_the_packages_a_sentence_has_the_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(ImportError, match=r'pip install "funcnet\[onnx\]"'):
        graph(jnp.sin)(X).save(tmp_path / "sin.onnx")


# The import of jax2onnx takes 15 seconds.
@pytest.mark.slow
class TestConverted:
    @pytest.fixture(autouse=True)
    def packages(self):
        pytest.importorskip("jax2onnx")

    @pytest.mark.parametrize("name", MODELS)
    def test_a_model_computes_the_same(self, name, tmp_path):
        entry = MODELS[name]
        model = entry.init()
        path = graph(model)(entry.rows(5)[0]).save(tmp_path / "model.onnx", batch="b")
        for n in (1, 6):
            x, _ = entry.rows(n)
            (y,) = run(path, x)
            np.testing.assert_allclose(y, model(x), rtol=1e-5, atol=1e-5)

    def test_arguments_and_results_are_flattened(self, tmp_path):
        model = fn.MLP((4, 6, 3)).init(jax.random.key(0))
        g = graph(lambda model, x: {"y": model(x), "rows": x, "label": jnp.argmax(model(x), -1)})(model, X)
        x = jax.random.normal(jax.random.key(0), (3, 4))
        label, rows, y = run(g.save(tmp_path / "model.onnx", batch="b"), *jax.tree.leaves(model), x)
        np.testing.assert_allclose(y, model(x), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(rows, x)
        np.testing.assert_array_equal(label, jnp.argmax(model(x), -1))

    def test_models_of_other_libraries(self, tmp_path):
        nn = flax.linen
        net = nn.Sequential([nn.Conv(4, (3, 3)), nn.BatchNorm(use_running_average=True), nn.relu])
        x = jax.random.normal(jax.random.key(0), (5, 6, 6, 1))
        params = net.init(jax.random.key(0), x)
        g = graph(lambda x: net.apply(params, x).mean((1, 2)))(x)
        (y,) = run(g.save(tmp_path / "linen.onnx", batch="b"), x[:2])
        np.testing.assert_allclose(y, net.apply(params, x[:2]).mean((1, 2)), rtol=1e-5, atol=1e-5)

    def test_loops_and_branches(self, tmp_path):
        def f(x):
            doubled = jax.lax.while_loop(lambda c: jnp.sum(c) < 100, lambda c: 2 * c, jnp.abs(x))
            return jax.lax.cond(jnp.sum(x) > 0, jnp.sin, jnp.cos, x), doubled

        path = graph(f)(X).save(tmp_path / "f.onnx", batch="b")
        for x in (X[:2], -X):
            for ours, expected in zip(run(path, x), f(x), strict=True):
                np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)

    def test_float64(self, tmp_path):
        with jax.enable_x64(True):
            x = jnp.linspace(0.0, 1.0, 6).reshape(2, 3)
            (y,) = run(graph(jnp.sin)(x).save(tmp_path / "f.onnx", batch="b"), x)
            np.testing.assert_allclose(y, jnp.sin(x), rtol=1e-6)
            assert y.dtype == np.float64

    @pytest.mark.parametrize(
        ("f", "args", "message"),
        [
            (lambda x: x, (X.astype(jnp.float16),), "must have inputs and outputs of .*, got float16"),
            (lambda x, key: x, (X, jax.random.key), "must have inputs and outputs of .*, got key<fry>"),
            (lambda x: jnp.linalg.eigh(x.T @ x)[0], (X,), "can't convert this graph to ONNX: eigh"),
        ],
    )
    def test_what_cannot_be_converted_ends_in_a_sentence(self, f, args, message, tmp_path):
        args = [jax.random.key(0) if arg is jax.random.key else arg for arg in args]
        with pytest.raises(ValueError, match=message):
            graph(f)(*args).save(tmp_path / "f.onnx")
        assert not list(tmp_path.iterdir())

    def test_a_wrong_conversion_is_not_saved(self, tmp_path, monkeypatch):
        import jax2onnx

        wrong = jax2onnx.to_onnx
        monkeypatch.setattr(jax2onnx, "to_onnx", lambda f, *a, **k: wrong(lambda x: [2 * f(x)[0]], *a, **k))
        with pytest.raises(ValueError, match=r"not saved, since it computes .* as output 0, and the graph"):
            graph(jnp.sin)(X).save(tmp_path / "f.onnx", batch="b")
        assert not list(tmp_path.iterdir())
