"""`vmap_last` is `vmap`, for every model, loss and optimizer, and through control flow."""

import math

import jax
import jax.numpy as jnp
import optax
import pytest
from tables import MODELS, OPTIMIZERS, TRAINED, assert_close, dataset

import funcnet as fn
from funcnet.transform import vmap_last

KEYS = jax.random.split(jax.random.key(0), 3)
ROWS = jnp.arange(12.0).reshape(3, 4)


def slow(name):
    return pytest.param(name, marks=pytest.mark.slow)


def assert_same(f, in_axes, *args, factor=4):
    data = jax.random.key_data
    actual, expected = jax.jit(vmap_last(f, in_axes))(*args), jax.jit(jax.vmap(f, in_axes))(*args)
    is_key = lambda a: jnp.issubdtype(a.dtype, jax.dtypes.prng_key)  # noqa: E731
    assert_close(
        *(jax.tree.map(lambda a: data(a) if is_key(a) else a, t) for t in (actual, expected)), factor
    )


def one_step(name, optimizer="adam"):
    step = fn.step(MODELS[name].loss(), OPTIMIZERS[optimizer])

    def from_scratch(model, key, batch):
        state = fn.TrainState.create(model, OPTIMIZERS[optimizer], key)
        state, info = step(state, batch)
        return step(state, batch)[0], info.metrics

    models = jax.vmap(MODELS[name].net.init)(KEYS)
    return from_scratch, (0, 0, None), models, KEYS, MODELS[name].rows(5)


@pytest.mark.parametrize("name", [n if n == "mlp-dropout" else slow(n) for n in TRAINED])
def test_two_steps_of_every_model(name):
    assert_same(*one_step(name))


@pytest.mark.parametrize("optimizer", [slow(n) for n in OPTIMIZERS if n != "lbfgs"])
def test_two_steps_of_every_optimizer(optimizer):
    assert_same(*one_step("mlp", optimizer))


@pytest.mark.slow  # ensembles, which are made of them, are in the quick suite
@pytest.mark.parametrize("stopping", [None, fn.EarlyStopping("loss", patience=1)], ids=["all", "stopping"])
def test_a_whole_training(stopping):
    train = fn.fit(MODELS["mlp"].loss(), optax.adam(0.3), epochs=4, batch_size=8, stopping=stopping)
    models = jax.vmap(MODELS["mlp"].net.init)(KEYS)
    data = dataset("weighted", "mlp")
    assert_same(train, (0, None, 0, None), models, data, KEYS, data, factor=20)


def switched(x, n):
    return jax.lax.switch(n, [jnp.sin, lambda a: a * 2, lambda a: a - a], x)


def collatz(x, n):
    def longer(state):
        n, count, x = state
        return jnp.where(n % 2 == 0, n // 2, 3 * n + 1), count + 1, x * 0.5

    return jax.lax.while_loop(lambda state: state[0] != 1, longer, (n + 1, 0, x))


def scanned(x, n):
    def add(carry, row):
        total, count, constant = carry
        return (total + row, count + n, constant), (row * 2, constant)

    return jax.lax.scan(add, (jnp.zeros(()), jnp.int32(0), jnp.ones(2)), x, reverse=True)


def constant_branches(x, n):
    return jax.lax.cond(x[0] > 3, lambda: jnp.ones(2), lambda: jnp.zeros(2)), n


def indexed(x, n):
    taken = jax.lax.dynamic_slice(x, (n,), (2,)), jax.lax.dynamic_update_slice(x, x[:1], (n,))
    return taken, x[n], jnp.sort(x), jnp.cumsum(x), jnp.pad(x, 1, constant_values=2), x.at[n].add(1.0)


def products(x, n):
    a, b = jnp.outer(x, x + 1), jnp.stack([x, x * x])
    return (
        a @ a,
        jnp.einsum("ab,cb->ca", a, b),
        jnp.einsum("abc,abd->acd", a[None], a[None] + n.astype(float)),
        x @ x,
        2.0 * a,
    )


def drawn(x, n):
    key = jax.random.fold_in(jax.random.key(0), n)
    return jax.random.normal(key, (3,)) + x[0], jax.random.split(key)


@pytest.mark.parametrize(
    "f", [switched, collatz, scanned, constant_branches, indexed, products, drawn], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("in_axes", [0, (0, None), (None, 0)], ids=["both", "first", "second"])
def test_control_flow_products_and_indices(f, in_axes):
    both = ROWS, jnp.arange(3)
    axes = in_axes if isinstance(in_axes, tuple) else (0, 0)
    args = [a if axis == 0 else a[1] for a, axis in zip(both, axes, strict=True)]
    assert_same(f, in_axes, *args)


def test_axes_are_those_of_vmap():
    def f(tree, x):
        return {"a": tree["a"] @ x, "none": None, "b": tree["b"]}

    tree = {"a": jnp.ones((4, 2, 3)), "b": jnp.arange(3.0)}
    assert_same(f, ({"a": 2, "b": 0}, None), tree, jnp.ones(2))
    assert_same(lambda x: x * 2, -1, ROWS)


def test_derivatives_are_taken_inside():
    def f(w, x):
        return jnp.sum(jax.nn.relu(w @ x)) + jax.nn.logsumexp(w)

    assert_same(jax.grad(f), 0, jnp.ones((3, 2, 4)) - 1, ROWS)
    assert_same(jax.hessian(f), 0, jnp.ones((3, 2, 4)), ROWS)


def test_nothing_mapped_and_unequal_sizes_raise():
    with pytest.raises(ValueError, match="no mapped argument"):
        vmap_last(jnp.sin, (None,))(ROWS)
    with pytest.raises(ValueError, match=r"sizes \[3, 4\]"):
        vmap_last(jnp.add, (0, 1))(ROWS, ROWS)
    with pytest.raises(TypeError, match="f must be a function of arrays"):
        vmap_last("sin")


@pytest.mark.parametrize(
    ("dtype", "out_dtype", "entries"),
    [("int8", "int32", 100), ("float16", "float32", 300), ("float16", "float16", 3)],
)
def test_products_with_shared_operands_are_summed_in_the_requested_dtype(dtype, out_dtype, entries):
    array, weights = jnp.full((5, 4), entries, dtype), jnp.full(4, entries, dtype)

    def product(a, b):
        return jax.lax.dot_general(
            a, b, (((0,), (0,)), ((), ())), preferred_element_type=jnp.dtype(out_dtype)
        )

    actual = fn.transform.vmap_last(product, (0, None))(array, weights)
    expected = jax.vmap(product, (0, None))(array, weights)
    assert actual.dtype == expected.dtype
    assert bool((actual == expected).all())


@pytest.mark.parametrize("shape", [(7,), (7, 4), (7, 2, 3), (7, 40)], ids=str)
def test_rows_of_a_table_that_members_share(shape):
    table = jnp.arange(float(math.prod(shape))).reshape(shape)
    rows = jax.random.randint(KEYS[0], (3, 5, 2), 0, 7)
    taken = lambda rows, table: table.at[rows].get(mode="promise_in_bounds")  # noqa: E731
    assert_same(taken, (0, None), rows, table)
    assert_same(taken, (0, 0), rows, jnp.stack([table, table + 1, -table]))
    assert_same(lambda rows: table[rows], 0, rows + 3)  # beyond the end, too
    assert_same(lambda rows: table.T.at[..., rows].get(mode="promise_in_bounds"), 0, rows)


def test_rows_of_a_table_come_with_the_members_last():
    table, last = jnp.ones((7, 4)), KEYS.size
    taken = vmap_last(lambda rows: table.at[rows].get(mode="promise_in_bounds"), in_axes=-1)
    program = jax.make_jaxpr(taken)(jnp.zeros((5, last), jnp.int32))
    gathers = [equation for equation in program.eqns if equation.primitive.name == "gather"]
    assert [equation.outvars[0].aval.shape for equation in gathers] == [(5, 4, last)]


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float16", "complex64"])
def test_products_of_two_arrays_with_members_keep_every_digit(dtype):
    a = jnp.asarray(jnp.arange(24).reshape(3, 2, 4) * 1_000_003 % 251, dtype)
    b = a.reshape(3, 4, 2) + jnp.asarray(2**24 + 1 if dtype == "int32" else 1, dtype)
    actual, expected = (over(jnp.matmul)(a, b) for over in (vmap_last, jax.vmap))
    assert actual.dtype == expected.dtype
    assert_close(actual, expected)


def test_a_product_is_computed_once_for_all_operations_that_read_it():
    """XLA would recompute a plain sum of products in each operation that reads it."""

    def read_by_three(a, b):
        product = a @ b
        return product + 1, product * 2, jnp.abs(product)

    def flops(f):
        arrays = jnp.ones((128, 16, 16)), jnp.ones((128, 16, 3))
        return jax.jit(vmap_last(f)).lower(*arrays).compile().cost_analysis()["flops"]

    assert flops(read_by_three) < 1.5 * flops(jnp.matmul)


DRAWS = {
    "bits": lambda key: jax.random.bits(key, (5, 3)),
    "byte": lambda key: jax.random.bits(key, (), "uint8"),
    "normal": lambda key: jax.random.normal(jax.random.fold_in(key, 7), (4,)),
    "keys": lambda key: jax.vmap(lambda k: jax.random.uniform(k, (2,)))(jax.random.split(key)),
}


@pytest.mark.parametrize(
    ("draw", "impl"), [*((name, "threefry2x32") for name in DRAWS), ("bits", "rbg"), ("normal", "rbg")]
)
def test_random_numbers_are_those_of_each_members_key(draw, impl):
    keys = jax.random.split(jax.random.key(1, impl=impl), 3)
    actual, expected = (jax.jit(over(DRAWS[draw]))(keys) for over in (vmap_last, jax.vmap))
    assert bool((actual == expected).all())


@pytest.mark.parametrize("partitionable", [False, True])
def test_random_bytes_however_jax_draws_them(partitionable):
    with jax.threefry_partitionable(partitionable):
        actual, expected = (
            over(lambda key: jax.random.bits(key, (7,), "uint8"))(KEYS) for over in (vmap_last, jax.vmap)
        )
    assert bool((actual == expected).all())


def test_a_reshape_in_another_order():
    assert_same(lambda x: jax.lax.reshape(x, (6,), dimensions=(1, 0)), 0, jnp.arange(18.0).reshape(3, 2, 3))


def test_random_bits_come_with_the_members_last():
    program = jax.make_jaxpr(vmap_last(lambda key: jax.random.bits(key, (5, 3))))(KEYS)
    draws = [equation for equation in program.eqns if equation.primitive.name == "threefry2x32"]
    assert [equation.outvars[0].aval.shape for equation in draws] == [(5, 3, KEYS.size)]
