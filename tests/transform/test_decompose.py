"""Our own primitives are replaced by JAX's: no foreign tool that reads jaxprs meets an unknown one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from tables import HELD, MODELS, TRAINED, assert_close, marked, same_bits

import funcnet as fn
from funcnet._forward_only import forward_only
from funcnet.transform import decompose_primitives
from funcnet.transform._jaxpr import equations

X = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)
WEIGHT, BIAS = X[:4], X[4]
NET = fn.Linear(4, 4, weight=WEIGHT, bias=BIAS)
CALLS = {"scan", "cond", "while", "jit", "checkpoint", "remat2", "custom_jvp_call", "custom_vjp_call"}
OURS = {"product", "sow", "update_buffer", "forward_only"}


def names(f, *args):
    return {equation.primitive.name for equation in equations(jax.make_jaxpr(f)(*args).jaxpr)}


@pytest.mark.parametrize(
    "name", marked(MODELS, slow=set(MODELS) - {"conv-2d", "gru", "mlp-dropout", *HELD})
)
def test_a_model_of_jax_primitives_computes_the_same(name):
    model, (x, _) = MODELS[name].init(), MODELS[name].rows(5)
    key = jax.random.key(0)

    def outputs(x):
        return model(x), model(x, key=key)

    decomposed = decompose_primitives(outputs)
    assert not names(decomposed, x) & OURS
    assert same_bits(*jax.jit(lambda x: (decomposed(x), outputs(x)))(x))
    if name not in TRAINED:
        return

    def loss(model, x):
        return jnp.sum(model(x) ** 2)

    gradients = [jax.grad(decompose_primitives(loss)), jax.grad(loss)]
    assert not names(gradients[0], model, x) & OURS
    assert_close(*jax.jit(lambda *args: [gradient(*args) for gradient in gradients])(model, x), factor=10)


@jax.custom_jvp
def custom_jvp(x):
    return NET(x)


custom_jvp.defjvp(lambda primals, tangents: (custom_jvp(*primals), 3 * NET(*tangents)))


@jax.custom_vjp
def custom_vjp(x):
    return NET(x)


custom_vjp.defvjp(lambda x: (NET(x), None), lambda _, g: (5 * g @ WEIGHT.T,))

FUNCTIONS = {
    "custom-jvp": custom_jvp,
    "custom-vjp": custom_vjp,
    "jit": jax.jit(NET),
    "remat": jax.checkpoint(NET),
    "scan": lambda x: jax.lax.scan(lambda c, _: (NET(c), c), x, length=3),
    "cond": lambda x: jax.lax.cond(x[0, 0] > 0, NET, lambda x: -NET(x), x),
    "vmap": jax.vmap(NET),
    "nested": lambda x: jax.lax.fori_loop(0, 2, lambda i, c: jax.jit(jax.checkpoint(NET))(c), x),
    "gradient": jax.grad(lambda x: jnp.sum(NET(x) ** 2)),
    "sow": lambda x: fn.transform.sow(NET(x), "hidden"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_inside_of_calls_and_loops(name):
    f = FUNCTIONS[name]
    decomposed = decompose_primitives(f)
    assert names(f, X) & OURS
    assert not names(decomposed, X) & OURS
    assert names(f, X) & CALLS == names(decomposed, X) & CALLS

    def loss(f):
        return lambda x: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(f(x)))

    @jax.jit
    def computed(x):
        gradients = [jax.grad(loss(decomposed))(x), jax.grad(loss(f))(x)]
        return decomposed(x), f(x), jax.vmap(decomposed)(x[None]), gradients

    actual, expected, mapped, gradients = computed(X)
    assert same_bits(actual, expected)
    assert_close(mapped, jax.tree.map(lambda a: np.asarray(a)[None], expected))
    assert_close(*gradients, factor=10)
    assert not names(decompose_primitives(jax.grad(loss(f))), X) & OURS


def test_inside_of_while_and_shard_map():
    def loop(x):
        at_most_9 = lambda state: (state[0] < 9) & (jnp.sum(NET(state[1])) < 1e3)  # noqa: E731
        return jax.lax.while_loop(at_most_9, lambda state: (state[0] + 1, NET(state[1])), (0, x))

    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))
    rows = PartitionSpec("d")
    mapped = jax.shard_map(
        lambda x: jax.lax.psum(fn.transform.sow(x, "x"), "d"),
        mesh=mesh,
        in_specs=rows,
        out_specs=PartitionSpec(),
    )
    for f in (loop, mapped, lambda x: forward_only(x + 1)):
        assert names(f, X) & OURS
        assert not names(decompose_primitives(f), X) & OURS
        assert same_bits(*jax.jit(lambda x, f=f: (decompose_primitives(f)(x), f(x)))(X))


def test_leaves_that_are_not_arrays_are_constants():
    decomposed = decompose_primitives(lambda activation, x, *, scale: activation(NET(x)) * scale)
    np.testing.assert_array_equal(decomposed(jnp.tanh, X, scale=2.0), jnp.tanh(NET(X)) * 2.0)
    with pytest.raises(TypeError, match=r"args\[0\]\[0\] must be"):
        decomposed("tanh", X, scale=2.0)
    with pytest.raises(TypeError, match="f must be a function"):
        decompose_primitives(3)
