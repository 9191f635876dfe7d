"""`reap` and `plant` through every transformation of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import assert_close

from funcnet.transform import plant, reap, sow

X = np.float32([0.3, -0.7, 1.1])


@jax.custom_jvp
def odd(x):
    return sow(jnp.sin(x), "inside") * 2


odd.defjvp(lambda primals, tangents: (odd(*primals), 5 * tangents[0]))


@jax.custom_vjp
def steep(x):
    return sow(jnp.sin(x), "inside") * 2


steep.defvjp(lambda x: (steep(x), x), lambda x, cotangent: (7 * cotangent,))


def plain(x):
    return sow(jnp.sin(x), "inside") * 2


def deep(f):
    """Three levels: a checkpointed function in a compiled one in a branch."""
    inner = jax.checkpoint(f)
    return lambda x: jax.lax.cond(x[0] > -9, jax.jit(inner), lambda x: x, x)


ONCE = {
    "plain": plain,
    "jit": jax.jit(plain),
    "vmap": jax.vmap(plain),
    "remat": jax.checkpoint(plain),
    "custom_jvp": odd,
    "custom_vjp": steep,
    "nested": deep(plain),
    "nested custom": deep(steep),
    "jit of vmap of remat": jax.jit(jax.vmap(jax.checkpoint(plain))),
}


@pytest.mark.parametrize("name", ONCE)
def test_one_value_comes_out_and_derivatives_stay(name):
    f = ONCE[name]

    def summed_and_reaped(x):
        out, values = reap(f)(x)
        return jnp.sum(out), values

    @jax.jit
    def computed(x):
        gradients = jax.grad(summed_and_reaped, has_aux=True)(x), jax.grad(lambda x: jnp.sum(f(x)))(x)
        # What is sown can be differentiated, by JAX's own rule.
        of_sown = jax.grad(lambda x: jnp.sum(reap(f)(x)[1]["inside"]))(x)
        mapped = jax.vmap(reap(f))(jnp.stack([x, 2 * x]))[1]["inside"]
        return reap(f)(x), reap(reap(f))(x)[0], gradients, of_sown, mapped

    once, twice, ((gradient, values), expected), of_sown, mapped = computed(X)
    assert_close(once, (2 * np.sin(X), {"inside": np.sin(X)}))
    assert_close(twice, once)
    assert_close(gradient, expected)
    assert_close(values["inside"], np.sin(X))
    assert_close(of_sown, np.cos(X))
    assert_close(mapped, np.sin(np.stack([X, 2 * X])))


@pytest.mark.parametrize("name", [name for name in ONCE if "custom" not in name])
def test_another_value_goes_in(name):
    def planted(x, value):
        return plant(ONCE[name], {"inside": value})(x)

    @jax.jit
    def computed(x, value):
        return planted(x, value), jax.grad(lambda *args: jnp.sum(planted(*args)), (0, 1))(x, value)

    twos = np.full(3, 2, np.float32)
    assert_close(computed(X, twos / 2), (twos, (0 * twos, twos)))


def test_reaping_a_gradient_gives_the_values_of_the_forward_pass():
    gradient, values = jax.jit(reap(jax.grad(lambda x: jnp.sum(plain(x) ** 2))))(X)
    assert_close(values["inside"], np.sin(X))
    assert_close(gradient, 8 * np.sin(X) * np.cos(X))


def test_loops_stack_and_branches_fill_with_zeros():
    def repeated(x):
        return jax.lax.scan(lambda x, a: (sow(x * a, "product"), x), x, jnp.arange(1.0, 4.0), reverse=True)

    (out, _), values = reap(repeated)(2.0)
    assert_close((out, values["product"]), (jnp.float32(12.0), jnp.array([12.0, 12.0, 6.0])))
    (out, _) = plant(repeated, {"product": jnp.array([1.0, 2.0, 3.0])})(2.0)
    assert float(out) == 1.0

    def until(x):
        return jax.lax.while_loop(lambda x: x < 10, lambda x: sow(2 * x, "last"), x)

    assert float(reap(until)(3.0)[1]["last"]) == 12.0
    assert float(reap(until)(30.0)[1]["last"]) == 0.0

    def either(x):
        return jax.lax.cond(x > 0, lambda x: sow(x, "positive"), lambda x: sow(-x, "negative"), x)

    assert {n: float(v) for n, v in reap(either)(2.0)[1].items()} == {"positive": 2.0, "negative": 0.0}
    assert {n: float(v) for n, v in reap(jax.jit(either))(-3.0)[1].items()} == {
        "positive": 0.0,
        "negative": 3.0,
    }


def test_trees_are_sown_whole():
    def f(x):
        return sow({"a": x, "b": (x**2, 1.0)}, "tree")["b"][0]

    assert_close(reap(f)(3.0)[1]["tree"], {"a": jnp.float32(3), "b": (jnp.float32(9), jnp.float32(1))})


@pytest.mark.parametrize("transform", [lambda f: f, lambda f: lambda x: jax.lax.map(f, x), jax.grad])
def test_sow_compiles_to_nothing_without_reap(transform):
    def operations(sow):
        def f(x):
            return jnp.sum(sow(jnp.sin(x), "inside") * 2)

        text = jax.jit(transform(f)).lower(X).compile().as_text()
        return [line.split("metadata=")[0] for line in text.splitlines() if " = " in line]

    assert operations(sow) == operations(lambda value, name: value)


def test_errors_name_the_problem():
    with pytest.raises(ValueError, match="'inside' is sown twice"):
        reap(lambda x: plain(plain(x)))(X)
    with pytest.raises(ValueError, match=r"names that `f` sows \(inside\), got 'other'"):
        plant(plain, {"other": 1.0})(X)
    with pytest.raises(ValueError, match="the value planted for 'inside' must have the shape"):
        plant(plain, {"inside": jnp.ones(2)})(X)
    with pytest.raises(TypeError, match="name must be a string, got int 3"):
        sow(X, 3)
    with pytest.raises(TypeError, match="function of arrays"):
        reap(3)


def test_random_programs_agree_with_plain_ones():
    rng = np.random.default_rng(0)
    for number in range(10):
        weights = jnp.asarray(rng.normal(size=(3, 3, 3)), jnp.float32)

        def f(x, weights=weights):
            for i, weight in enumerate(weights):
                x = sow(jnp.tanh(x @ weight), f"layer {i}")
            return x

        out, values = reap(jax.jit(f))(X)
        assert_close(out, f(X), factor=5)
        cut = number % 3
        rest = plant(f, {f"layer {cut}": values[f"layer {cut}"]})(jnp.zeros(3))
        assert_close(rest, out, factor=5)


def test_functions_and_names_may_be_arguments():
    def f(x, bend, *, name):
        return sow(bend(x), name) ** 2

    out, sown = reap(f)(3.0, jnp.negative, name="bent")
    assert (float(out), float(sown["bent"])) == (9.0, -3.0)
    assert float(plant(f, {"bent": 2.0})(3.0, jnp.negative, name="bent")) == 4.0
