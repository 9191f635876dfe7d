"""A computation as a value: costs as XLA counts them, drawn, saved, and run where there is only JAX."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import assert_close, marked

import funcnet as fn
from funcnet.transform import explain_retrace, graph

MODELS = {
    "linear": (lambda: fn.Linear(8, 4), (32, 8)),
    "mlp": (lambda: fn.MLP((8, 64, 32, 4)), (32, 8)),
    "res_mlp": (lambda: fn.models.ResMLP(8, 4), (32, 8)),
    "siren": (lambda: fn.models.SIREN((2, 64, 64, 1)), (64, 2)),
    "fourier": (lambda: fn.models.FourierMLP((2, 64, 1)), (64, 2)),
    "conv": (lambda: fn.models.ConvNet((16, 16, 1), 4, channels=(8, 16)), (8, 16, 16, 1)),
    "transformer": (
        lambda: fn.models.Transformer(4, in_features=8, max_length=10, features=32, num_heads=4, depth=2),
        (6, 10, 8),
    ),
    "attention": (lambda: fn.layers.MultiHeadAttention(16, 4), (4, 10, 16)),
    "norm": (lambda: fn.Sequential(fn.Linear(8, 64), fn.layers.LayerNorm(64), fn.Linear(64, 64)), (32, 8)),
    "deep": (lambda: fn.MLP((64,) * 6), (128, 64)),
}


QUICK = {"siren", "conv", "attention", "norm"}  # the others consist of these, or of their parts


@functools.cache
def initial(net):
    return jax.jit(net.init)(jax.random.key(0))


@pytest.mark.parametrize("name", marked(MODELS, slow=MODELS.keys() - QUICK))
def test_its_cost_is_what_xla_counts(name):
    make, shape = MODELS[name]
    model, x = initial(make()), np.ones(shape, np.float32)
    mine = graph(model)(x).cost()
    xla = jax.jit(model).lower(x).cost_analysis()
    # XLA counts some moves as operations, and transcendental functions apart.
    assert mine.flops == pytest.approx(xla["flops"] + xla.get("transcendentals", 0.0), rel=0.1)
    dots = sum(o.flops for o in graph(model)(x).table() if o.name in ("dot_general", "product"))
    assert 0.5 * mine.flops <= dots <= mine.flops or name == "conv"


def test_a_table_names_modules_shapes_and_places():
    model = initial(fn.MLP((4, 16, 3)))
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
    model = initial(fn.MLP((4, 16, 3)))
    x = np.ones((5, 4), np.float32)
    g, expected = graph(model)(jax.ShapeDtypeStruct((5, 4), jnp.float32)), jax.jit(model)(x)
    assert_close(g(x), expected)
    assert_close(g.compile(jax.devices()[1])(jax.device_put(x, jax.devices()[1])), expected)
    backward = graph(jax.grad(lambda m: model(x).sum() + m(x).sum()))(model)
    text = backward.draw(tmp_path / "g.dot").read_text()
    assert text.startswith("digraph")
    assert "Linear" in text
    assert "#D55E00" in text  # something is computed on the way back
    assert g.diff(g) == []
    wider = graph(initial(fn.MLP((4, 16, 16, 3))))(x)
    assert any(line.startswith("+1 product float32[5,16]") for line in g.diff(wider))
    with pytest.raises(ValueError, match="path must end in"):
        g.draw(tmp_path / "g.jpg")


def test_a_picture_has_a_box_for_each_layer_and_no_arrow_back():
    model = initial(fn.MLP((4, 8, 8, 3)))
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


def test_a_retrace_is_explained():
    f = explain_retrace(lambda model, x, scale=1.0: model["w"] @ x * scale)
    model = {"w": jnp.ones((2, 3))}
    for x in (jnp.ones(3), jnp.zeros(3), jnp.ones((3, 2)), jnp.ones(3, jnp.float16).astype(jnp.float32)):
        f(model, x)
    assert f.reasons == ["[1]: float32[3] before, float32[3,2] now"]
    f({"w": jnp.ones((2, 3)), "b": 1.0}, jnp.ones(3))
    assert "[0]['b']: nothing before, float32[] (weak) now" in f.reasons[1]


@pytest.mark.parametrize(
    ("f", "flops"),
    [
        (lambda x: x.at[:2].set(1.0), 0),
        (lambda x: x.at[:2].max(1.0), 2 * 6),
        (lambda x: jnp.linalg.cholesky(x, symmetrize_input=False), 6**3 / 3),
        (lambda x: jax.scipy.linalg.solve_triangular(x, jnp.ones((6, 2))), 6 * 6 * 2),
        (lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2, 3), (1, 1), "VALID"), 5 * 4 * 5),
    ],
    ids=["set", "max", "cholesky", "solve", "windows"],
)
def test_operations_have_their_own_cost(f, flops):
    found = {o.name: o.flops for o in graph(f)(jnp.ones((6, 6))).table()}
    name = max(found, key=found.get)
    assert found[name] == pytest.approx(flops), found


def test_a_scan_moves_the_bytes_of_all_iterations():
    x = jnp.ones(8)
    body = graph(lambda x: x * 2)(x).cost().unfused
    scan = graph(lambda x: jax.lax.scan(lambda c, _: (c * 2, None), x, length=5)[0])(x).cost().unfused
    assert scan == 5 * body
