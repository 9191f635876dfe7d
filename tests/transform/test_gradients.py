"""Products, Jacobians, eigenpairs, per-example gradients: against dense float64 oracles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import MODELS, QUICK, assert_close

import funcnet as fn
from funcnet import transform as T

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def _random(number):
    """A smooth function of a tree, the tree, and a direction: another one for each number."""
    rng = np.random.default_rng(number)
    inner, outer = rng.normal(size=(5, 4)), rng.normal(size=(3, 5))
    bend = [jnp.tanh, jnp.sin, jax.nn.softplus, lambda a: a**3 / 3][number % 4]

    def outputs(x):
        hidden = bend(jnp.asarray(inner) @ x["a"] + x["b"]["c"].sum())
        return jnp.asarray(outer) @ hidden + x["b"]["c"].ravel()[:3]

    def draw():
        return {"a": jnp.asarray(rng.normal(size=4)), "b": {"c": jnp.asarray(rng.normal(size=(2, 2)))}}

    return outputs, lambda x: jnp.sum(jax.nn.logsumexp(outputs(x)) ** 2), draw(), draw()


def _dense(f, x):
    flat, back = jax.flatten_util.ravel_pytree(x)
    return np.asarray(jax.jit(jax.hessian(lambda v: f(back(v))))(flat)), flat, back


# Twenty random functions, two of them in the quick suite.
NUMBERS = [*range(2), *(pytest.param(number, marks=pytest.mark.slow) for number in range(2, 20))]


@pytest.mark.parametrize("number", NUMBERS)
def test_products_and_diagonals_are_those_of_dense_matrices(number):
    outputs, f, x, v = _random(number)
    dense, flat, back = _dense(f, x)
    along = jax.flatten_util.ravel_pytree(v)[0]
    loss = lambda y: jax.nn.logsumexp(y) ** 2  # noqa: E731
    tall = lambda x: {"many": jnp.outer(jnp.arange(1.0, 9.0), x["a"]).ravel() ** 2}  # noqa: E731

    @jax.jit
    def computed(x, v):
        return (
            *(T.hvp(f)(x, v), T.hessian_diag(f, chunk=3)(x), T.ggnvp(outputs, loss)(x, v)),
            T.eigenpairs(functools.partial(T.hvp(f), x), x, KEY, count=3, iterations=8),
            [T.jacobian(outputs, chunk=chunk)(x) for chunk in (None, 2)],
            T.jacobian(tall, chunk=3)(x),
        )

    product, diagonal, gauss_newton, (values, vectors), jacobians, of_tall = computed(x, v)
    assert_close(product, back(dense @ along), factor=100)
    assert_close(diagonal, back(np.diag(dense)), factor=100)
    eigenvalues = np.linalg.eigvalsh(dense)
    largest = eigenvalues[np.argsort(-np.abs(eigenvalues))][:3]
    np.testing.assert_allclose(values, largest, rtol=1e-6, atol=1e-8)
    for i in range(3):
        one = jax.flatten_util.ravel_pytree(jax.tree.map(lambda a, i=i: a[i], vectors))[0]
        np.testing.assert_allclose(dense @ one, float(values[i]) * one, rtol=1e-5, atol=1e-6)

    @jax.jit
    def expected(x):
        jac = jax.jacrev(lambda v: outputs(back(v)))(flat)
        matrix = jac.T @ jax.hessian(loss)(outputs(x)) @ jac
        return back(matrix @ along), jax.jacrev(outputs)(x), jax.jacfwd(tall)(x)

    by_matrix, whole, whole_of_tall = expected(x)
    assert_close(gauss_newton, by_matrix, factor=100)
    for jacobian in jacobians:
        assert_close(jacobian, whole, factor=100)
    assert_close(of_tall, whole_of_tall, factor=100)


def test_they_compose_with_jit_vmap_and_grad():
    _, f, x, v = _random(1)
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), x, v)
    for compute in (T.hessian_diag(f), T.jacobian(f), lambda x: T.hvp(f)(x, v)):
        expected = [compute(x), compute(v)]
        actual = jax.jit(jax.vmap(compute))(both)
        assert_close(actual, jax.tree.map(lambda a, b: jnp.stack([a, b]), *expected), factor=100)
        total = lambda x, compute=compute: sum(jnp.sum(a) for a in jax.tree.leaves(compute(x)))  # noqa: E731
        gradient = jax.jit(jax.grad(total))(x)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_hutchinsons_diagonal_is_right_within_its_error():
    _, f, x, _ = _random(2)
    dense, _, _ = _dense(f, x)
    off = dense - np.diag(np.diag(dense))
    error = np.sqrt((off**2).sum(1) / 2000)
    actual = jax.flatten_util.ravel_pytree(T.hessian_diag(f, key=KEY, samples=2000)(x))[0]
    assert (np.abs(np.asarray(actual) - np.diag(dense)) <= 5 * error + 1e-9).all()


def test_eigenpairs_where_the_space_is_exhausted():
    values, vectors = T.eigenpairs(lambda v: 3 * v, jnp.zeros(6), KEY, count=4)
    np.testing.assert_allclose(values, 3, rtol=1e-6)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(4), atol=1e-6)


def test_eigenpairs_of_maps_of_low_rank():
    for diagonal in ([5.0] + [0.0] * 19, [3.0, -3.0] + [0.0] * 28, [0.0] * 6):
        d = jnp.array(diagonal)
        values, _ = jax.jit(lambda d: T.eigenpairs(lambda v: d * v, d, KEY, count=3))(d)
        np.testing.assert_allclose(np.sort(np.abs(values)), np.sort(np.abs(diagonal))[-3:], atol=1e-8)


@pytest.mark.parametrize("name", sorted(QUICK))
def test_they_work_on_every_quick_model(name):
    case = MODELS[name]
    model = case.net.init(KEY)
    x = jax.random.normal(KEY, case.shape) if not case.tokens else jnp.zeros(case.shape, int)
    parameters, rest = jax.tree.map(lambda a: a, fn._tree.partition(model, fn.trainable(model)))

    def f(p, x=x):
        return jnp.sum(jnp.sin(fn._tree.combine(p, rest)(x)))

    v = jax.tree.map(jnp.ones_like, parameters)
    product = jax.jit(T.hvp(f))(parameters, v)
    step, gradient = 1e-4, jax.jit(jax.grad(f))
    ahead = gradient(jax.tree.map(lambda a, b: a + step * b, parameters, v))
    behind = gradient(jax.tree.map(lambda a, b: a - step * b, parameters, v))
    expected = jax.tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind)
    for a, b in zip(jax.tree.leaves(product), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3 * max(1.0, float(np.abs(b).max())))


def _examples():
    rng = np.random.default_rng(5)
    x, y = jnp.asarray(rng.normal(size=(13, 3))), jnp.asarray(rng.normal(size=13))
    model = {"w": jnp.asarray(rng.normal(size=3)), "b": jnp.asarray(0.5)}

    def f(model, example):
        return (example[0] @ model["w"] + model["b"] - example[1]) ** 2

    return f, model, (x, y)


def test_examples_one_by_one_clipped_and_accumulated():
    f, model, data = _examples()
    gradient = jax.jit(jax.grad(f))
    each = [gradient(model, (x, y)) for x, y in zip(*data, strict=True)]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *each)
    assert_close(T.per_example_grads(f)(model, data), stacked)
    lengths = np.array([float(optax.tree.norm(g)) for g in each])
    mean, actual = T.clipped_mean_grad(f, 2.0)(model, data)
    np.testing.assert_allclose(actual, lengths, rtol=1e-9)
    factor = np.minimum(1, 2.0 / lengths)
    assert_close(mean, jax.tree.map(lambda g: jnp.tensordot(jnp.asarray(factor), g, 1) / 13, stacked))
    weight = jnp.arange(13.0)
    mean = lambda m: jnp.sum(weight * jax.vmap(f, (None, 0))(m, data)) / weight.sum()  # noqa: E731
    expected = jax.jit(jax.value_and_grad(mean))(model)
    for size in (4, 20):
        value, gradient = jax.jit(T.microbatched_value_and_grad(f, size))(model, data, weight)
        assert_close((value, gradient), expected, factor=10)
    matrix = np.concatenate([np.asarray(stacked["w"]), np.asarray(stacked["b"])[:, None]], 1)
    spread = np.trace(np.cov(matrix.T))
    scale = spread / ((matrix.mean(0) ** 2).sum() - spread / 13)
    actual = float(T.gradient_noise_scale(f)(model, data))
    assert actual == pytest.approx(scale, rel=1e-9) if scale > 0 else np.isinf(actual)


@pytest.mark.parametrize("bend", [None, 0.3])
def test_a_clipped_mean_is_that_of_the_gradients_whatever_their_derivatives_are(bend):
    f, model, data = _examples()
    bent = f if bend is None else lambda m, e: f(T.clip_gradient(m, bend), e)
    each = T.per_example_grads(bent)(model, data)
    factor = jnp.minimum(1, 0.2 / jax.vmap(optax.tree.norm)(each))
    assert 0 < float(factor.min()) < 0.9
    mean, _ = T.clipped_mean_grad(bent, 0.2)(model, data)
    assert_close(mean, jax.tree.map(lambda g: jnp.tensordot(factor, g, 1) / 13, each))
    assert float(optax.tree.norm(mean)) <= 0.2


def test_a_gradient_whose_square_overflows_is_clipped_to_the_same_norm():
    rows = jnp.array([[3e30, -4e30], [0.0, 0.5]], jnp.float32)
    mean, _ = T.clipped_mean_grad(lambda w, x: w @ x, 1.0)(jnp.zeros(2, jnp.float32), rows)
    np.testing.assert_allclose(mean, [0.3, (-0.8 + 0.5) / 2], rtol=1e-6)


def test_per_example_gradients_are_computed_in_the_layout_of_the_parameters():
    x, model = jnp.ones((7, 3)), fn.Linear(3, 4).init(KEY)
    grads = T.per_example_grads(lambda m, x: jnp.sum(m(x) ** 2))
    text = jax.jit(grads).lower(model, x).as_text()
    assert "tensor<7x3x4xf" in text
    assert "tensor<7x4x3xf" not in text


def test_modified_gradients():
    x = jnp.array([0.4, 2.6])
    rounded = T.straight_through(jnp.round)
    assert rounded(x).tolist() == [0.0, 3.0]
    np.testing.assert_allclose(jax.grad(lambda x: jnp.sum(rounded(x) ** 2))(x), 2 * jnp.round(x))
    np.testing.assert_allclose(jax.grad(lambda x: jnp.sum(T.reverse_gradient(x, 2.0) ** 2))(x), -4 * x)
    np.testing.assert_allclose(T.reverse_gradient(x, 2.0), x)
    tree = {"a": x, "b": jnp.ones(2)}
    gradient = jax.grad(
        lambda t: jnp.sum(T.clip_gradient(t, 0.5)["a"] * 3 + T.clip_gradient(t, 0.5)["b"] * 0.1)
    )(tree)
    assert float(optax.tree.norm(gradient)) <= 1.0 + 1e-9
    assert T.clip_gradient(tree, 0.5)["a"].tolist() == x.tolist()


def test_a_minimum_is_differentiated_as_one():
    rng = np.random.default_rng(0)
    a, b = jnp.asarray(rng.normal(size=(20, 4))), jnp.asarray(rng.normal(size=20))

    def objective(w, log_decay):
        return jnp.sum((a @ w - b) ** 2) / 2 + jnp.exp(log_decay) * jnp.sum(w**2) / 2

    def solve(start, log_decay):
        step = 1 / (np.linalg.norm(np.asarray(a), 2) ** 2 + 10)
        return jax.lax.fori_loop(0, 3000, lambda i, w: w - step * jax.grad(objective)(w, log_decay), start)

    def closed(log_decay):
        return jnp.linalg.solve(a.T @ a + jnp.exp(log_decay) * jnp.eye(4), a.T @ b)

    minimum = T.implicit_minimum(solve, objective)
    np.testing.assert_allclose(jax.jit(minimum)(jnp.zeros(4), 0.3), jax.jit(closed)(0.3), rtol=1e-6)
    expected = jax.jit(jax.jacfwd(closed))(0.3)
    for derivative in (jax.jacrev, jax.jacfwd):
        actual = jax.jit(derivative(lambda h: minimum(jnp.zeros(4), h)))(0.3)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


@jax.custom_vjp
def doubled_wrongly(x):
    return 2 * x


doubled_wrongly.defvjp(lambda x: (2 * x, None), lambda _, cotangent: (3 * cotangent,))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_wrong_gradient_is_located_in_its_leaf(number):
    _, f, x, _ = _random(number)
    assert T.check_grads(f)(x).right
    check = T.check_grads(lambda x: f({"a": doubled_wrongly(x["a"]), "b": x["b"]}))(x)
    assert check.wrong == ["['a']"]
    assert "wrong in ['a']" in str(check)


def test_nan_is_not_a_right_gradient():
    assert not T.check_grads(lambda x: jnp.sum(jnp.where(x > 0, jnp.sqrt(x), 0.0)))(jnp.zeros(3)).right
    assert T.check_grads(lambda x: jnp.sum(jnp.sin(1e7 * x)))(jnp.array([1e-8])).right


def test_rows_of_weight_zero_may_hold_anything_and_sums_are_wide():
    value, gradient = T.microbatched_value_and_grad(lambda w, x: w * jnp.log(x), 2)(
        jnp.array(1.0), jnp.array([1.0, 2.0, -1.0]), jnp.array([1.0, 1.0, 0.0])
    )
    assert float(value) == float(gradient) == pytest.approx(np.log(2) / 2)
    half = jnp.bfloat16
    value, gradient = T.microbatched_value_and_grad(lambda w, x: w * x, 1)(half(1), jnp.ones(1000, half))
    assert (float(value), float(gradient), gradient.dtype) == (1.0, 1.0, half)
    _, lengths = T.clipped_mean_grad(lambda w, x: w * x, 1.0)(
        jnp.float32(0), jnp.array([1e30, 1.0], jnp.float32)
    )
    assert lengths.shape == (2,)


def test_a_nan_made_of_infinities_is_found():
    masked = jnp.full(3, -jnp.inf)
    assert T.find_nan(jax.nn.softmax)(masked).operation in ("sub", "div")
    assert T.find_nan(lambda x: x + 1)(jnp.array([1.0, jnp.nan])).operation == "argument"
    assert (
        T.find_nan(lambda x: jax.nn.softmax(jnp.where(x > 0, x, -jnp.inf)))(jnp.array([1.0, -1.0])) is None
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: T.hvp(lambda x: x)(jnp.ones(2), jnp.ones(2)), "must return a scalar, got"),
        (lambda: T.hvp(jnp.sum)(jnp.ones(2, int), jnp.ones(2)), "must be floating to be differentiated"),
        (lambda: T.hvp(jnp.sum)(jnp.ones(2), jnp.ones(3)), "v must have the shapes of x"),
        (lambda: T.hvp(jnp.sum)(jnp.ones(2), (jnp.ones(2),)), "v must have the structure of x"),
        (lambda: T.jacobian(jnp.sin)(jnp.ones(2, int)), "must be floating to be differentiated"),
        (lambda: T.jacobian(lambda x: x > 0)(jnp.ones(2)), "the result of f must be floating"),
        (lambda: T.jacobian(3), "function of arrays"),
        (
            lambda: T.per_example_grads(lambda w, x: w * x)(jnp.ones(2), jnp.ones((3, 2))),
            "must return a scalar",
        ),
        (lambda: T.check_grads(lambda x: x)(jnp.ones(2)), "must return a scalar"),
        (lambda: T.eigenpairs(lambda v: v, jnp.ones(2, int), KEY), "must be floating to be differentiated"),
    ],
)
def test_functions_without_a_derivative_raise(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_half_precision_is_clipped_by_lengths_that_do_not_vanish():
    w, rows = jnp.zeros(10_000, jnp.float16), jnp.full((1, 10_000), 1e-4, jnp.float16)
    mean, lengths = T.clipped_mean_grad(lambda w, x: jnp.sum(w * x), 0.005)(w, rows)
    assert float(lengths[0]) == pytest.approx(0.01, rel=1e-2)
    assert float(jnp.linalg.norm(mean.astype(jnp.float32))) <= 0.0051
