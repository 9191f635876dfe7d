"""The matrix product of layers: equal to `matmul` under every transformation, one product under vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from tables import assert_close, marked

from funcnet.layers._product import product

SHAPES = {"rows": (5, 3), "vector": (3,), "sequence": (2, 5, 3), "images": (2, 4, 5, 3), "none": (0, 5, 3)}


def _normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _value(multiply):
    return lambda x, weight: jnp.sum(jnp.sin(multiply(x, weight)))


@pytest.mark.parametrize("kind", marked(SHAPES, slow={"rows", "sequence"}))
@pytest.mark.parametrize(
    "out", [pytest.param((4,), marks=pytest.mark.slow, id="matrix"), pytest.param((), id="vector")]
)
def test_values_and_derivatives_are_those_of_matmul(kind, out):
    x, weight = _normal(*SHAPES[kind]), _normal(3, *out, seed=1)
    assert_close(product(x, weight), jnp.matmul(x, weight))
    for transform in (jax.grad, jax.hessian, jax.jacfwd):
        actual, expected = (jax.jit(transform(_value(f), (0, 1)))(x, weight) for f in (product, jnp.matmul))
        assert_close(actual, expected, factor=10)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (1, 2)])
def test_under_vmap_it_equals_matmul_under_vmap(axes):
    shapes = {None: ((5, 3), (3, 4)), 0: ((6, 5, 3), (6, 3, 4)), 1: ((5, 6, 3), ()), 2: ((), (3, 4, 6))}
    x, weight = _normal(*shapes[axes[0]][0]), _normal(*shapes[axes[1]][1], seed=1)

    def of_vmap(f):
        return jax.vmap(f, axes)(x, weight), jax.vmap(jax.grad(_value(f), (0, 1)), axes)(x, weight)

    def through_vmap(f):
        return jax.grad(_value(jax.vmap(f, axes)), (0, 1))(x, weight)

    actual, expected = (jax.jit(lambda f=f: (of_vmap(f), through_vmap(f)))() for f in (product, jnp.matmul))
    assert_close(actual, expected, factor=10)


def test_examples_with_a_shared_weight_are_one_product_forward_and_backward():
    x, weight = _normal(7, 5, 3), _normal(3, 4)
    compute = jax.grad(lambda w: jnp.sum(jnp.sin(jax.vmap(product, (0, None))(x, w))))
    text = jax.jit(compute).lower(weight).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) == 2
    assert "tensor<35x3xf32>, tensor<3x4xf32>" in products[0]
    assert ("tensor<3x35xf32>" if jax.default_backend() == "cpu" else "tensor<35x3xf32>") in products[1]


@pytest.mark.parametrize(
    ("rows", "in_features", "out", "transposed"),
    [
        pytest.param(8, 5, 4, True, marks=pytest.mark.slow),
        *((64, 512, 4, True), (65, 512, 4, False), (2, 128, 129, False)),
    ],
)
def test_x_is_transposed_for_the_gradient_of_a_small_weight_only(rows, in_features, out, transposed):
    x, weight = _normal(rows, in_features), _normal(in_features, out, seed=1)
    compute = jax.jit(jax.grad(_value(product), 1))
    transposed &= jax.default_backend() == "cpu"
    assert ("optimization_barrier" in compute.lower(x, weight).as_text()) == transposed
    assert_close(compute(x, weight), jax.grad(_value(jnp.matmul), 1)(x, weight), factor=10)
    half = x.astype(jnp.bfloat16), weight.astype(jnp.bfloat16)
    assert "optimization_barrier" not in jax.jit(jax.grad(_value(product), 1)).lower(*half).as_text()


def test_it_keeps_precision_dtype_and_promotion():
    x, weight = _normal(2, 5, 3), _normal(3, 4)
    with jax.default_matmul_precision("highest"):
        assert "HIGHEST" in jax.jit(product).lower(x, weight).as_text()
    assert product(x.astype(jnp.bfloat16), weight.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    with jax.numpy_dtype_promotion("standard"):
        assert product(x.astype(jnp.bfloat16), weight).dtype == jnp.float32


def test_inside_shard_map_a_replicated_weight_has_one_gradient():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("data",))
    x, weight = _normal(4, 5, 3), _normal(3, 4)

    def gradient(x, weight):
        return jax.grad(lambda w: jnp.sum(jnp.sin(product(x, w))))(weight)

    sharded = jax.shard_map(gradient, mesh=mesh, in_specs=(P("data"), P()), out_specs=P())
    assert_close(jax.jit(sharded)(x, weight), jax.jit(gradient)(x, weight), factor=10)
