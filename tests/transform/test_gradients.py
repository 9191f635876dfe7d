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
    def found(x, v):
        return (
            *(T.hvp(f)(x, v), T.hessian_diag(f, chunk=3)(x), T.ggnvp(outputs, loss)(x, v)),
            T.eigenpairs(functools.partial(T.hvp(f), x), x, KEY, count=3, iterations=8),
            [T.jacobian(outputs, chunk=chunk)(x) for chunk in (None, 2)],
            T.jacobian(tall, chunk=3)(x),
        )

    product, diagonal, gauss_newton, (values, vectors), jacobians, of_tall = found(x, v)
    assert_close(product, back(dense @ along), factor=100)
    assert_close(diagonal, back(np.diag(dense)), factor=100)
    want = np.linalg.eigvalsh(dense)
    want = want[np.argsort(-np.abs(want))][:3]
    np.testing.assert_allclose(values, want, rtol=1e-6, atol=1e-8)
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
    for got in jacobians:
        assert_close(got, whole, factor=100)
    assert_close(of_tall, whole_of_tall, factor=100)


def test_they_compose_with_jit_vmap_and_grad():
    _, f, x, v = _random(1)
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), x, v)
    for compute in (T.hessian_diag(f), T.jacobian(f), lambda x: T.hvp(f)(x, v)):
        want = [compute(x), compute(v)]
        got = jax.jit(jax.vmap(compute))(both)
        assert_close(got, jax.tree.map(lambda a, b: jnp.stack([a, b]), *want), factor=100)
        total = lambda x, compute=compute: sum(jnp.sum(a) for a in jax.tree.leaves(compute(x)))  # noqa: E731
        slope = jax.jit(jax.grad(total))(x)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


def test_hutchinsons_diagonal_is_right_within_its_error():
    _, f, x, _ = _random(2)
    dense, _, _ = _dense(f, x)
    off = dense - np.diag(np.diag(dense))
    error = np.sqrt((off**2).sum(1) / 2000)
    got = jax.flatten_util.ravel_pytree(T.hessian_diag(f, key=KEY, samples=2000)(x))[0]
    assert (np.abs(np.asarray(got) - np.diag(dense)) <= 5 * error + 1e-9).all()


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
    step, slope = 1e-4, jax.jit(jax.grad(f))
    ahead = slope(jax.tree.map(lambda a, b: a + step * b, parameters, v))
    behind = slope(jax.tree.map(lambda a, b: a - step * b, parameters, v))
    want = jax.tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind)
    for a, b in zip(jax.tree.leaves(product), jax.tree.leaves(want), strict=True):
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
    slope = jax.jit(jax.grad(f))
    each = [slope(model, (x, y)) for x, y in zip(*data, strict=True)]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *each)
    assert_close(T.per_example_grads(f)(model, data), stacked)
    lengths = np.array([float(optax.tree.norm(g)) for g in each])
    mean, got = T.clipped_mean_grad(f, 2.0)(model, data)
    np.testing.assert_allclose(got, lengths, rtol=1e-9)
    factor = np.minimum(1, 2.0 / lengths)
    assert_close(mean, jax.tree.map(lambda g: jnp.tensordot(jnp.asarray(factor), g, 1) / 13, stacked))
    weight = jnp.arange(13.0)
    mean = lambda m: jnp.sum(weight * jax.vmap(f, (None, 0))(m, data)) / weight.sum()  # noqa: E731
    want = jax.jit(jax.value_and_grad(mean))(model)
    for size in (4, 20):
        value, slope = jax.jit(T.microbatched_value_and_grad(f, size))(model, data, weight)
        assert_close((value, slope), want, factor=10)
    matrix = np.concatenate([np.asarray(stacked["w"]), np.asarray(stacked["b"])[:, None]], 1)
    spread = np.trace(np.cov(matrix.T))
    scale = spread / ((matrix.mean(0) ** 2).sum() - spread / 13)
    got = float(T.gradient_noise_scale(f)(model, data))
    assert got == pytest.approx(scale, rel=1e-9) if scale > 0 else np.isinf(got)


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


def test_a_gradient_whose_square_overflows_is_cut_to_the_same_length():
    rows = jnp.array([[3e30, -4e30], [0.0, 0.5]], jnp.float32)
    mean, _ = T.clipped_mean_grad(lambda w, x: w @ x, 1.0)(jnp.zeros(2, jnp.float32), rows)
    np.testing.assert_allclose(mean, [0.3, (-0.8 + 0.5) / 2], rtol=1e-6)


def test_the_gradients_of_each_example_are_written_as_they_are_wanted():
    x, model = jnp.ones((7, 3)), fn.Linear(3, 4).init(KEY)
    grads = T.per_example_grads(lambda m, x: jnp.sum(m(x) ** 2))
    text = jax.jit(grads).lower(model, x).as_text()
    assert "tensor<7x3x4xf" in text
    assert "tensor<7x4x3xf" not in text


def test_gradients_that_are_somebody_elses():
    x = jnp.array([0.4, 2.6])
    rounded = T.straight_through(jnp.round)
    assert rounded(x).tolist() == [0.0, 3.0]
    np.testing.assert_allclose(jax.grad(lambda x: jnp.sum(rounded(x) ** 2))(x), 2 * jnp.round(x))
    np.testing.assert_allclose(jax.grad(lambda x: jnp.sum(T.reverse_gradient(x, 2.0) ** 2))(x), -4 * x)
    np.testing.assert_allclose(T.reverse_gradient(x, 2.0), x)
    tree = {"a": x, "b": jnp.ones(2)}
    slope = jax.grad(
        lambda t: jnp.sum(T.clip_gradient(t, 0.5)["a"] * 3 + T.clip_gradient(t, 0.5)["b"] * 0.1)
    )(tree)
    assert float(optax.tree.norm(slope)) <= 1.0 + 1e-9
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

    found = T.implicit_minimum(solve, objective)
    np.testing.assert_allclose(jax.jit(found)(jnp.zeros(4), 0.3), jax.jit(closed)(0.3), rtol=1e-6)
    want = jax.jit(jax.jacfwd(closed))(0.3)
    for derivative in (jax.jacrev, jax.jacfwd):
        got = jax.jit(derivative(lambda h: found(jnp.zeros(4), h)))(0.3)
        np.testing.assert_allclose(got, want, rtol=1e-5)


@jax.custom_vjp
def doubled_wrongly(x):
    return 2 * x


doubled_wrongly.defvjp(lambda x: (2 * x, None), lambda _, slope: (3 * slope,))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_wrong_gradient_is_found_in_its_leaf(number):
    _, f, x, _ = _random(number)
    assert T.check_grads(f)(x).right
    found = T.check_grads(lambda x: f({"a": doubled_wrongly(x["a"]), "b": x["b"]}))(x)
    assert found.wrong == ["['a']"]
    assert "wrong in ['a']" in str(found)


def test_what_is_no_number_is_no_right_gradient():
    assert not T.check_grads(lambda x: jnp.sum(jnp.where(x > 0, jnp.sqrt(x), 0.0)))(jnp.zeros(3)).right
    assert T.check_grads(lambda x: jnp.sum(jnp.sin(1e7 * x)))(jnp.array([1e-8])).right


def test_rows_of_weight_zero_may_hold_anything_and_sums_are_wide():
    value, slope = T.microbatched_value_and_grad(lambda w, x: w * jnp.log(x), 2)(
        jnp.array(1.0), jnp.array([1.0, 2.0, -1.0]), jnp.array([1.0, 1.0, 0.0])
    )
    assert float(value) == float(slope) == pytest.approx(np.log(2) / 2)
    half = jnp.bfloat16
    value, slope = T.microbatched_value_and_grad(lambda w, x: w * x, 1)(half(1), jnp.ones(1000, half))
    assert (float(value), float(slope), slope.dtype) == (1.0, 1.0, half)
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
    ("call", "words"),
    [
        (lambda: T.hvp(lambda x: x)(jnp.ones(2), jnp.ones(2)), "must return a scalar, got"),
        (lambda: T.hvp(jnp.sum)(jnp.ones(2, int), jnp.ones(2)), "must be floating to be differentiated"),
        (lambda: T.hvp(jnp.sum)(jnp.ones(2), jnp.ones(3)), "v must have the shapes of x"),
        (lambda: T.hvp(jnp.sum)(jnp.ones(2), (jnp.ones(2),)), "v must have the structure of x"),
        (lambda: T.jacobian(jnp.sin)(jnp.ones(2, int)), "must be floating to be differentiated"),
        (lambda: T.jacobian(lambda x: x > 0)(jnp.ones(2)), "the output must be floating"),
        (lambda: T.jacobian(3), "function of arrays"),
        (
            lambda: T.per_example_grads(lambda w, x: w * x)(jnp.ones(2), jnp.ones((3, 2))),
            "must return a scalar",
        ),
        (lambda: T.check_grads(lambda x: x)(jnp.ones(2)), "must return a scalar"),
        (lambda: T.eigenpairs(lambda v: v, jnp.ones(2, int), KEY), "must be floating to be differentiated"),
    ],
)
def test_what_has_no_derivative_is_refused(call, words):
    with pytest.raises(TypeError, match=words):
        call()


def test_half_precision_is_clipped_by_lengths_that_do_not_vanish():
    w, rows = jnp.zeros(10_000, jnp.float16), jnp.full((1, 10_000), 1e-4, jnp.float16)
    mean, lengths = T.clipped_mean_grad(lambda w, x: jnp.sum(w * x), 0.005)(w, rows)
    assert float(lengths[0]) == pytest.approx(0.01, rel=1e-2)
    assert float(jnp.linalg.norm(mean.astype(jnp.float32))) <= 0.0051
