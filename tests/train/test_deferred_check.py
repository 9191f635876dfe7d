"""A training looks at its steps afterwards, and ends as if it had looked at each."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
from tables import assert_close, marked, same_bits

import funcnet as fn
from funcnet.train import Every
from funcnet.train._finite import propagates_nonfinite

ROWS = np.linspace(0.5, 2.0, 43, dtype=np.float32)
PARAMETERS = {
    "weight": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
    "bias": np.ones(3, np.float32),
}


def _every_other(choose):
    """An optimizer that drops the gradient of every other step."""

    def update(gradient, count, _=None):
        return jax.tree.map(lambda a: choose(count % 2 == 0, a, jnp.zeros_like(a)), gradient), count + 1

    return optax.GradientTransformation(lambda _: jnp.zeros((), int), update)


HONEST = {
    **{name: found for name, found in tables.OPTIMIZERS.items() if name not in ("lbfgs", "lion")},
    "global-norm": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)),
    "rmsprop": optax.rmsprop(0.1),
    "adafactor": optax.adafactor(0.1),
    "schedule": optax.adam(optax.cosine_decay_schedule(0.1, 100)),
}
HIDING = {
    "lion": tables.OPTIMIZERS["lion"],
    "line-search": tables.OPTIMIZERS["lbfgs"],
    "clip": optax.chain(optax.clip(1.0), optax.sgd(0.1)),
    "zero-nans": optax.chain(optax.zero_nans(), optax.sgd(0.1)),
    "apply-if-finite": optax.apply_if_finite(optax.sgd(0.1), 3),
    "sign": optax.sign_sgd(0.1),
    "frozen": optax.multi_transform(
        {"moves": optax.sgd(0.1), "stays": optax.set_to_zero()}, {"weight": "moves", "bias": "stays"}
    ),
    "elsewhere": optax.stateless(lambda g, _: jax.tree.map(lambda a: jnp.where(a > 0, a, jnp.flip(-a)), g)),
    "narrow": optax.stateless(
        lambda g, _: jax.tree.map(lambda a: a.astype(jnp.float4_e2m1fn).astype(a.dtype), g)
    ),
    "odd steps": _every_other(jnp.where),
    "even steps": _every_other(lambda is_even, a, zero: jnp.where(is_even, zero, a)),
    "inverse": optax.stateless(lambda g, _: jax.tree.map(lambda a: 1 / (1 + a**2), g)),
}


def the_key():
    return jax.random.key(3)


@pytest.mark.parametrize("name", [*HONEST, *HIDING])
def test_an_optimizer_is_known_to_show_what_is_not_finite(name):
    optimizer = (HONEST | HIDING)[name]
    known = propagates_nonfinite(optimizer, PARAMETERS)
    assert known == (name in HONEST)
    optimizer = optax.with_extra_args_support(optimizer)

    @jax.jit
    def updates(gradient):
        state = optimizer.init(PARAMETERS)
        return optimizer.update(gradient, state, PARAMETERS, value=jnp.array(1.0), grad=gradient)[0]

    for leaf in PARAMETERS if known else ():
        for wrong in (np.nan, np.inf, -np.inf):
            gradient = {name: array.copy() for name, array in PARAMETERS.items()}
            gradient[leaf][..., -1] = wrong
            found = jax.tree.leaves(updates(gradient))
            assert not all(np.isfinite(update).all() for update in found), (leaf, wrong)


def _root(model, x, key):
    return model * jnp.sqrt(x)


def _slope(model, x, key):
    return jnp.sqrt(jnp.abs(model * x))  # of no slope where x is zero


def _cliff(model, x, key):
    return jnp.where(x < 0, jnp.inf, (model - x) ** 2)  # a slope that is finite, a loss that is not


def _square(model, x, key):
    return (model - x) ** 2


# A loss, a row that spoils it, an optimizer, settings.
BROKEN = {
    "loss": (_root, -1.0, optax.adam(0.01), {}),
    "gradient": (_slope, 0.0, optax.sgd(0.01), {}),
    "loss-alone": (_cliff, -1.0, optax.adam(0.01), {"eval_every": 3, "epochs": 5, "shuffle": False}),
    "weights": (_square, 1.0, optax.sgd(1e5), {"epochs": 9}),
    "clipped": (_slope, 0.0, HIDING["clip"], {}),
    "mended": (_slope, 0.0, HIDING["zero-nans"], {}),
    "accumulated": (_root, -1.0, optax.adam(0.01), {"accumulate": 2, "batch_size": 4}),
    "first-step": (_root, -1.0, optax.sgd(0.01), {"shuffle": False, "batch_size": 43}),
    "averaged": (_slope, 0.0, optax.sgd(0.01), {"ema": 0.9}),
    "stopped": (
        *(_root, -1.0, optax.sgd(0.01)),
        {"stopping": fn.EarlyStopping("loss", patience=2, divergence_threshold=50.0), "shuffle": False},
    ),
}


def _training(name, **more):
    loss, row, optimizer, settings = BROKEN[name]
    train = fn.fit(loss, optimizer, **({"epochs": 4, "batch_size": 8} | settings | more))
    rows = ROWS.copy()
    rows[30] = row
    return train, np.float32(1.5), rows


@pytest.mark.parametrize("name", marked(BROKEN, slow=BROKEN.keys() - {"loss-alone", "weights", "stopped"}))
def test_a_training_that_breaks_ends_where_looking_at_each_step_ends_it(name):
    train, model, rows = _training(name)
    found, expected = train(model, rows, the_key()), jax.jit(train)(model, rows, the_key())
    assert found.outcome == expected.outcome
    assert found.outcome.name == "NOT_FINITE"
    assert int(found.state.step) == int(expected.state.step)
    assert_close(found, expected)
    for setting in ({}, {"sync_every": Every(steps=1)}, {"sync_every": Every(steps=4)}):
        again = fn.Trainer(train, progress=False, **setting)(model, rows, the_key())
        assert same_bits(again, found)


@pytest.mark.parametrize(
    ("name", "on_nan"),
    [
        *(("gradient", "skip"), ("loss-alone", "ignore")),
        *(pytest.param("mended", on_nan, marks=pytest.mark.slow) for on_nan in ("skip", "ignore")),
        pytest.param("gradient", "ignore", marks=pytest.mark.slow),
        pytest.param("loss-alone", "skip", marks=pytest.mark.slow),
    ],
)
def test_what_goes_on_whatever_comes_goes_on_as_within_jit(name, on_nan):
    train, model, rows = _training(name, on_nan=on_nan)
    found, expected = train(model, rows, the_key()), jax.jit(train)(model, rows, the_key())
    assert found.outcome == expected.outcome
    assert found.outcome.name == "FINISHED"
    assert_close(found, expected)


def test_weights_that_were_infinite_before_are_no_reason_to_stop():
    def loss(model, x, key):
        return (model["slope"] - x) ** 2 + jnp.where(x > 9, model["mask"], 0.0)

    model = {"slope": np.float32(0), "mask": np.float32(-np.inf)}
    train = fn.fit(loss, optax.sgd(0.1), epochs=2, batch_size=8, shuffle=False)
    found, expected = train(model, ROWS, the_key()), jax.jit(train)(model, ROWS, the_key())
    assert found.outcome == expected.outcome
    assert_close(found, expected)


def test_more_steps_than_int32_can_count_are_refused():
    train = fn.fit(_root, optax.sgd(0.01), epochs=10**6, batch_size=1, stopping=fn.EarlyStopping("loss"))
    with pytest.raises(ValueError, match=r"fewer than 2\*\*31 steps, got epochs=1,000,000 of 3,000"):
        train(jnp.array(1.0), jnp.ones(3000), the_key())


def test_a_history_that_does_not_fit_is_refused_before_it_is_allocated():
    train = fn.fit(_root, optax.sgd(0.01), epochs=2**31 - 1, stopping=fn.EarlyStopping("loss"))
    with pytest.raises(ValueError, match=r"epochs must be at most 250,000,000, got 2,147,483,647.*8.6 GB"):
        train(jnp.array(1.0), jnp.ones(1), the_key())


def test_a_sum_of_losses_that_overflows_is_no_step_that_does():
    def loss(model, x, key):
        return (model - x) ** 2 * 0 + 3e38

    train = fn.fit(loss, optax.sgd(0.1), epochs=3, batch_size=1, shuffle=False)
    found, expected = (run(np.float32(0), ROWS, the_key()) for run in (train, jax.jit(train)))
    assert found.outcome == expected.outcome
    assert int(found.state.step) == int(expected.state.step)


def test_a_batch_in_which_no_row_counts_moves_nothing():
    data = fn.data.Dataset(ROWS, weight=np.arange(43) < 16)
    train = fn.fit(_square, optax.sgd(0.1, momentum=0.9), epochs=1, batch_size=8, shuffle=False)
    found, expected = (train(np.float32(0), rows, the_key()) for rows in (data, ROWS[:16]))
    np.testing.assert_allclose(found.model, expected.model, rtol=1e-6)


def test_within_a_transformation_a_training_is_traced_once():
    count = 0

    def loss(model, x, key):
        nonlocal count
        count += 1
        return (model - x) ** 2

    def last(rate):
        train = fn.fit(loss, optax.sgd(rate), epochs=2, batch_size=8, shuffle=False)
        return train(jnp.array(0.0), ROWS, the_key()).history["loss"][-1]

    jax.jit(last).lower(0.1)
    within_jit, count = count, 0
    jax.grad(last)(0.1)
    assert 0 < count <= within_jit
