"""`vmap_last` is `vmap`, for every model, loss and optimizer, and through control flow."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import MODELS, OPTIMIZERS, TRAINED, assert_close, dataset

import funcnet as fn
from funcnet.transform import vmap_last

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


def the_keys():
    return jax.random.split(jax.random.key(0), 3)


def slow(name):
    return pytest.param(name, marks=pytest.mark.slow)


def both(f, in_axes, *args):
    return vmap_last(f, in_axes)(*args), jax.vmap(f, in_axes)(*args)


def assert_same(f, in_axes, *args, factor=4):
    assert_close(*jax.jit(functools.partial(both, f, in_axes))(*args), factor)


def one_step(name, optimizer="adam"):
    step = fn.step(MODELS[name].loss(), OPTIMIZERS[optimizer])

    def from_scratch(model, key, batch):
        state = fn.TrainState.create(model, OPTIMIZERS[optimizer], key)
        state, info = step(state, batch)
        return step(state, batch)[0], info.metrics

    models = jax.jit(jax.vmap(MODELS[name].net.init))(the_keys())
    return from_scratch, (0, 0, None), models, the_keys(), MODELS[name].rows(5)


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
    models = jax.jit(jax.vmap(MODELS["mlp"].net.init))(the_keys())
    data = dataset("weighted", "mlp")
    assert_same(train, (0, None, 0, None), models, data, the_keys(), data, factor=20)


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
def test_control_flow_products_and_indices(f):
    @jax.jit
    def first_second_and_both(x, n):
        mapped = both(f, (0, None), x, n[1]), both(f, (None, 0), x[1], n), both(f, 0, x, n)
        return list(zip(*mapped, strict=True))

    assert_close(*first_second_and_both(ROWS, np.arange(3, dtype=np.int32)), 4)


def test_loops_that_an_inner_vmap_has_batched():
    """Each row has its own end, whether it depends on the lanes or not, and whatever the carry's axes."""

    def powers(w, n):
        def power(k):
            return jax.lax.fori_loop(0, k, lambda i, a: (a[0] * w, a[1] + 1), (jnp.ones(()), jnp.zeros(3)))

        return jax.vmap(power)(n)

    def nested(w, n):
        return jax.vmap(powers, (None, 0))(w, n[:, None] + jnp.arange(3)[None])

    w, n = np.array([2.0, 3.0, 0.5], np.float32), np.array([1, 3, 2], np.int32)
    each = n[:, None] + np.arange(3, dtype=np.int32)
    for axes, lengths in (((0, None), n), ((0, 0), each), ((None, 0), n[:, None])):
        assert_same(powers, axes, w if axes[0] == 0 else w[0], lengths)
    assert_same(lambda x: jax.lax.while_loop(lambda s: False, lambda s: s + 1, x), 0, w)
    assert_same(nested, (0, None), w, n)
    assert_same(nested, (0, 0), w, n[:, None] + np.arange(4, dtype=np.int32))


def test_axes_are_those_of_vmap():
    def f(tree, x):
        return {"a": tree["a"] @ x, "none": None, "b": tree["b"]}

    tree = {"a": np.ones((4, 2, 3), np.float32), "b": ROWS[0, :3]}
    assert_same(f, ({"a": 2, "b": 0}, None), tree, np.ones(2, np.float32))
    assert_same(lambda x: x * 2, -1, ROWS)


def test_derivatives_are_taken_inside():
    def f(w, x):
        return jnp.sum(jax.nn.relu(w @ x)) + jax.nn.logsumexp(w)

    assert_same(jax.grad(f), 0, np.zeros((3, 2, 4), np.float32), ROWS)
    assert_same(jax.hessian(f), 0, np.ones((3, 2, 4), np.float32), ROWS)


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
    array, weights = np.full((5, 4), entries, dtype), np.full(4, entries, dtype)

    def product(a, b):
        return jax.lax.dot_general(
            a, b, (((0,), (0,)), ((), ())), preferred_element_type=jnp.dtype(out_dtype)
        )

    actual, expected = jax.jit(functools.partial(both, product, (0, None)))(array, weights)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("shape", [(7,), (7, 4), (7, 2, 3), (7, 40)], ids=str)
def test_rows_of_a_table_that_members_share(shape):
    table = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    rows = np.random.default_rng(0).integers(0, 7, (3, 5, 2), np.int32)
    taken = lambda rows, table: table.at[rows].get(mode="promise_in_bounds")  # noqa: E731

    @jax.jit
    def mapped(rows, table):
        many = jnp.stack([table, table + 1, -table])
        return (
            *(both(taken, (0, None), rows, table), both(taken, (0, 0), rows, many)),
            both(lambda rows: table[rows], 0, rows + 3),  # beyond the end, too
            both(lambda rows: table.T.at[..., rows].get(mode="promise_in_bounds"), 0, rows),
        )

    for actual, expected in mapped(rows, table):
        assert_close(actual, expected, 4)


def test_rows_of_a_table_come_with_the_members_last():
    table, last = jnp.ones((7, 4)), 3
    taken = vmap_last(lambda rows: table.at[rows].get(mode="promise_in_bounds"), in_axes=-1)
    program = jax.make_jaxpr(taken)(np.zeros((5, last), np.int32))
    gathers = [equation for equation in program.eqns if equation.primitive.name == "gather"]
    assert [equation.outvars[0].aval.shape for equation in gathers] == [(5, 4, last)]


@pytest.mark.parametrize("dtype", ["int32", "float16", slow("uint8"), slow("complex64")])
def test_products_of_two_arrays_with_members_keep_every_digit(dtype):
    a = (np.arange(24).reshape(3, 2, 4) * 1_000_003 % 251).astype(dtype)
    b = a.reshape(3, 4, 2) + np.asarray(2**24 + 1 if dtype == "int32" else 1, dtype)
    actual, expected = jax.jit(functools.partial(both, jnp.matmul, 0))(a, b)
    assert actual.dtype == expected.dtype
    assert_close(actual, expected)


def test_a_product_is_computed_once_for_all_operations_that_read_it():
    """XLA would recompute a plain sum of products in each operation that reads it."""

    def read_by_three(a, b):
        product = a @ b
        return product + 1, product * 2, jnp.abs(product)

    def flops(f):
        arrays = np.ones((128, 16, 16), np.float32), np.ones((128, 16, 3), np.float32)
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
    actual, expected = jax.jit(functools.partial(both, DRAWS[draw], 0))(keys)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("partitionable", [False, True])
def test_random_bytes_however_jax_draws_them(partitionable):
    with jax.threefry_partitionable(partitionable):
        draw = lambda key: jax.random.bits(key, (7,), "uint8")  # noqa: E731
        actual, expected = jax.jit(functools.partial(both, draw, 0))(the_keys())
    np.testing.assert_array_equal(actual, expected)


def test_a_reshape_in_another_order():
    assert_same(lambda x: jax.lax.reshape(x, (4,), dimensions=(1, 0)), 0, ROWS.reshape(3, 2, 2))


def test_random_bits_come_with_the_members_last():
    program = jax.make_jaxpr(vmap_last(lambda key: jax.random.bits(key, (5, 3))))(the_keys())
    draws = [equation for equation in program.eqns if equation.primitive.name == "while"]
    assert [equation.outvars[-1].aval.shape for equation in draws] == [(5, 3, 3)]


def test_keys_are_folded_by_their_own_implementation():
    keys = jax.random.split(jax.random.key(1, impl="threefry2x32"), 3)
    with jax.default_prng_impl("rbg"):
        draw = lambda key: jax.random.bits(jax.random.fold_in(key, 7), (2,))  # noqa: E731
        actual, expected = jax.jit(functools.partial(both, draw, 0))(keys)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("numbers", [7, np.arange(4)])
def test_keys_of_examples_are_folded_and_drawn_from(numbers):
    def draw(key):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, np.arange(4, dtype=np.uint32))
        keys = jax.vmap(jax.random.fold_in)(keys, np.broadcast_to(np.uint32(numbers), 4))
        return jax.vmap(lambda key: jax.random.bits(key, (3,)))(keys)

    actual, expected = jax.jit(functools.partial(both, draw, 0))(the_keys())
    np.testing.assert_array_equal(actual, expected)
