"""A computation as a value: costs as XLA counts them, drawn, saved, and run where there is only JAX."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import assert_close, marked

import funcnet as fn
from funcnet.transform import explain_retrace, graph

KEY = jax.random.key(0)
MODELS = {
    "linear": (fn.Linear(8, 4), (32, 8)),
    "mlp": (fn.MLP((8, 64, 32, 4)), (32, 8)),
    "res_mlp": (fn.models.ResMLP(8, 4), (32, 8)),
    "siren": (fn.models.SIREN((2, 64, 64, 1)), (64, 2)),
    "fourier": (fn.models.FourierMLP((2, 64, 1)), (64, 2)),
    "conv": (fn.models.ConvNet((16, 16, 1), 4, channels=(8, 16)), (8, 16, 16, 1)),
    "transformer": (
        fn.models.Transformer(4, in_features=8, max_length=10, features=32, num_heads=4, depth=2),
        (6, 10, 8),
    ),
    "attention": (fn.layers.MultiHeadAttention(16, 4), (4, 10, 16)),
    "norm": (fn.Sequential(fn.Linear(8, 64), fn.layers.LayerNorm(64), fn.Linear(64, 64)), (32, 8)),
    "deep": (fn.MLP((64,) * 6), (128, 64)),
}


SLOW = ("mlp", "res_mlp", "fourier", "deep")  # products and activations, as in "norm" and "siren"


@pytest.mark.parametrize("name", marked(MODELS, slow=SLOW))
def test_its_cost_is_what_xla_counts(name):
    net, shape = MODELS[name]
    model, x = jax.jit(net.init)(KEY), jnp.ones(shape)
    mine = graph(model)(x).cost()
    xla = jax.jit(model).lower(x).cost_analysis()
    # XLA counts some moves as operations, and transcendental functions apart.
    assert mine.flops == pytest.approx(xla["flops"] + xla.get("transcendentals", 0.0), rel=0.1)
    dots = sum(o.flops for o in graph(model)(x).table() if o.name in ("dot_general", "product"))
    assert 0.5 * mine.flops <= dots <= mine.flops or name == "conv"


def test_a_table_names_modules_shapes_and_places():
    model = fn.MLP((4, 16, 3)).init(KEY)
    rows = graph(model)(jnp.ones((32, 4))).table()
    first = next(row for row in rows if row.name in ("product", "dot_general"))
    assert "MLP" in first.scope
    assert "Linear" in first.scope
    assert first.outputs == ("float32[32,16]",)
    assert first.flops == 2 * 32 * 4 * 16
    assert first.bytes == 4 * (32 * 4 + 4 * 16 + 32 * 16)
    assert ".py:" in first.source


def test_loops_and_branches_are_costed():
    def f(x):
        return jax.lax.scan(lambda c, _: (c @ c, None), x, length=7)[0]

    assert graph(f)(jnp.ones((3, 3))).cost().flops == 7 * 54
    either = graph(lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x, x))
    assert 54 <= either(jnp.ones((3, 3))).cost().flops <= 56


def test_it_runs_draws_and_differs(tmp_path):
    model = fn.MLP((4, 16, 3)).init(KEY)
    x = jnp.ones((5, 4))
    g = graph(model)(jax.ShapeDtypeStruct((5, 4), jnp.float32))
    assert_close(g(x), model(x))
    assert_close(g.compile(jax.devices()[1])(jax.device_put(x, jax.devices()[1])), model(x))
    backward = graph(jax.grad(lambda m: model(x).sum() + m(x).sum()))(model)
    text = backward.draw(tmp_path / "g.dot").read_text()
    assert text.startswith("digraph")
    assert "Linear" in text
    assert "#D55E00" in text  # something is computed on the way back
    assert g.diff(g) == []
    wider = graph(fn.MLP((4, 16, 16, 3)).init(KEY))(x)
    assert any(line.startswith("+1 product float32[5,16]") for line in g.diff(wider))
    with pytest.raises(ValueError, match="path must end in"):
        g.draw(tmp_path / "g.jpg")


def test_a_picture_has_a_box_for_each_layer_and_no_arrow_back():
    model = fn.MLP((4, 8, 8, 3)).init(KEY)
    x = jnp.ones((5, 4))
    text = graph(model)(x).dot()
    assert [text.count(f'"{name}"') for name in ("MLP/Linear", "MLP/Activation")] == [3, 2]
    assert '"[0] float32[5,4]", shape=ellipse' in text
    backward = graph(jax.grad(lambda m, x: m(x).sum()))(model, x)
    assert '"[0].layers[2].weight float32[8,3]"' in backward.dot()
    for drawn in (text, backward.dot(), backward.dot(fold=False)):
        arrows = re.findall(r"n(\d+) -> n(\d+);", drawn)
        assert arrows
        assert all(int(a) < int(b) for a, b in arrows)
    # A compiled part that is used twice is two.
    relu = jax.jit(lambda x: jnp.maximum(x, 0))
    assert graph(lambda x: relu(relu(x) - 1))(x).dot(fold=False).count('label="max"') == 2
    assert 'label="inner", shape=box' in graph(jax.named_scope("inner")(jnp.sin))(x).dot()


def test_other_arguments_raise():
    g = graph(lambda a, b: a["x"] + b)({"x": jnp.ones(3)}, jnp.ones(3))
    with pytest.raises(TypeError, match=r"args\[1\] .* must be .*shape \(3,\), got .*shape \(4,\)"):
        g({"x": jnp.ones(3)}, jnp.ones(4))
    with pytest.raises(TypeError, match="must have the structure"):
        g(jnp.ones(3), jnp.ones(3))
    with pytest.raises(TypeError, match="JAX transformations"):
        jax.jit(g)({"x": jnp.ones(3)}, jnp.ones(3))


def test_saved_it_runs_in_a_process_that_has_only_jax(tmp_path):
    model = fn.MLP((4, 16, 3)).init(KEY)
    path = graph(model)(jnp.ones((1, 4))).save(tmp_path / "model", batch="b")
    x = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    program = (
        "import jax, numpy as np, sys\n"
        f"f = jax.export.deserialize(bytearray(open({str(path)!r}, 'rb').read()[64:]))\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, f.call(np.load({str(tmp_path / 'x.npy')!r})))\n"
        "assert not any(name.startswith('funcnet') for name in sys.modules)\n"
    )
    program = program.replace("import jax,", "import jax, jax.export,")
    subprocess.run([sys.executable, "-c", program], check=True)
    assert_close(jnp.asarray(np.load(tmp_path / "y.npy")), model(jnp.asarray(x)), factor=10)
    assert_close(fn.transform.load_graph(path)(jnp.asarray(x)), model(jnp.asarray(x)), factor=10)


def test_a_retrace_is_explained():
    f = explain_retrace(lambda model, x, scale=1.0: model["w"] @ x * scale)
    model = {"w": jnp.ones((2, 3))}
    for x in (jnp.ones(3), jnp.zeros(3), jnp.ones((3, 2)), jnp.ones(3, jnp.float16).astype(jnp.float32)):
        f(model, x)
    assert f.reasons == ["[1]: float32[3] before, float32[3,2] now"]
    f({"w": jnp.ones((2, 3)), "b": 1.0}, jnp.ones(3))
    assert "[0]['b']: nothing before, float32[] (weak) now" in f.reasons[1]
