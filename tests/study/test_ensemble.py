"""An ensemble is its members, each as if it were trained alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special, stats
from tables import MODELS, assert_close, same_bits

import funcnet as fn
from funcnet.study import _members

STOPPING = fn.EarlyStopping(patience=1)
CASES = [(False, None), (False, 2), (True, None)]


def the_key():
    return jax.random.key(3)


def training(row, **settings):
    return fn.fit(row.loss(), optax.sgd(0.2), **{"epochs": 4, "batch_size": 8, **settings})


@pytest.mark.parametrize(
    ("bootstrap", "block"),
    [(True, 2), *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES)],
)
def test_each_member_is_its_training_alone(bootstrap, block):
    row = MODELS["mlp-dropout"]
    data, valid = row.rows(21), row.rows(9, seed=1)
    many = fn.study.ensemble(training(row, stopping=STOPPING), 5, bootstrap=bootstrap, block=block)
    found = many(row.net, data, the_key(), valid)
    assert len(found.model) == 5
    runs = jax.device_get((found.runs.model, dict(found.runs.history), found.runs.state.epoch))
    assert len(np.unique(runs[1]["loss"][:, 0])) == 5, "each member has its own start"
    for number in (0, 4):
        alone = many.member(row.net, data, the_key(), number, valid)
        member = jax.tree.map(lambda a, i=number: a[i], runs)
        assert_close(member, (alone.model, dict(alone.history), alone.state.epoch), 20)


@pytest.mark.slow
def test_members_differ_and_do_not_depend_on_the_size():
    row = MODELS["mlp"]
    few, more = (
        fn.study.ensemble(training(row), size)(row.net, row.rows(16), the_key()).model.members
        for size in (2, 3)
    )
    weights = more.layers[0].weight
    assert not jnp.allclose(weights[0], weights[1])
    assert_close(jax.tree.map(lambda a: a[:2], more), few, 20)


@pytest.mark.slow
def test_over_devices_it_ends_in_the_same_numbers():
    row = MODELS["mlp"]
    many = fn.study.ensemble(training(row), 6)
    expected = many(row.net, row.rows(16), the_key())
    with fn.mesh.use(4):
        got = many(row.net, row.rows(16), the_key())
    assert_close(got.model, expected.model, 20)


@pytest.mark.slow
def test_large_members_are_mapped_by_vmap():
    net, x = fn.MLP((3, 60, 60, "scalar")), jnp.ones((8, 3))
    train = fn.fit(
        fn.losses.supervised(fn.losses.squared_error), optax.sgd(0.1), epochs=1, batch_size=8, shuffle=False
    )
    many = fn.study.ensemble(train, 3)
    found = many(net, (x, x[:, 0]), the_key())
    assert_close(
        jax.tree.map(lambda a: a[2], found.model.members),
        many.member(net, (x, x[:, 0]), the_key(), 2).model,
    )


@pytest.mark.slow
def test_many_small_members_are_mapped_by_lanes():
    row = MODELS["linear-regression"]
    many = fn.study.ensemble(training(row), _members.MIN_MEMBERS_FOR_VMAP_LAST + 1)
    args = (row.net, row.rows(8), the_key())
    found = many(*args)
    assert_close(jax.tree.map(lambda a: a[32], found.model.members), many.member(*args, 32).model, 20)


def test_one_call_compiles_and_the_next_does_not():
    row, traced = MODELS["linear-regression"], 0
    plain = row.loss()

    def counted(model, example, key):
        nonlocal traced
        traced += 1
        return plain(model, example, key)

    many = fn.study.ensemble(fn.fit(counted, optax.adam(0.1), epochs=1, batch_size=8, shuffle=False), 3)
    many(row.net, row.rows(16), the_key())
    first = traced
    many(row.net, row.rows(16, seed=4), jax.random.key(9))
    assert traced == first


def members(average, shape):
    rng = np.random.default_rng(0)
    model = fn.Linear(4, shape)
    drawn = jax.jit(jax.vmap(model.init))(jax.random.split(the_key(), 7))
    return fn.study.Ensemble(drawn, average), rng.normal(size=(6, 4)).astype(np.float32)


@pytest.mark.slow
def test_means_of_values_and_probabilities():
    values, x = members("values", 3)
    each = np.asarray(values.predictions(x), np.float64)
    np.testing.assert_allclose(values(x), each.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values.spread(x), each.std(0), rtol=1e-5, atol=1e-6)
    classes, _ = members("classes", 3)
    p = special.softmax(each, -1)
    np.testing.assert_allclose(special.softmax(classes(x), -1), p.mean(0), rtol=1e-5)
    np.testing.assert_allclose(classes.spread(x), p.std(0), rtol=1e-4, atol=1e-6)
    binary, _ = members("binary", "scalar")
    q = special.expit(np.asarray(binary.predictions(x), np.float64))
    np.testing.assert_allclose(special.expit(binary(x)), q.mean(0), rtol=1e-5)


def test_disagreement_and_mutual_information():
    measured = jax.jit(lambda m: (m.predictions(x), m.disagreement(x), m.mutual_information(x)))
    classes, x = members("classes", 3)
    each, disagreement, mutual_information = map(np.asarray, measured(classes))
    each = each.astype(np.float64)
    p = special.softmax(each, -1)
    disagree = (each.argmax(-1) != p.mean(0).argmax(-1)).mean(0)
    np.testing.assert_allclose(disagreement, disagree, rtol=1e-6)
    information = stats.entropy(p.mean(0), axis=-1) - stats.entropy(p, axis=-1).mean(0)
    np.testing.assert_allclose(mutual_information, information, rtol=1e-3, atol=1e-6)
    binary, _ = members("binary", "scalar")
    each, _, mutual_information = measured(binary)
    q = special.expit(np.asarray(each, np.float64))
    both = np.stack([q, 1 - q], -1)
    information = stats.entropy(both.mean(0), axis=-1) - stats.entropy(both, axis=-1).mean(0)
    np.testing.assert_allclose(mutual_information, information, rtol=1e-3, atol=1e-6)


def test_an_ensemble_is_a_module():
    ensemble, x = members("classes", 3)
    assert same_bits(*jax.jit(lambda m, x: (m(x), ensemble(x)))(ensemble, x))
    loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
    found = fn.evaluate(loss, ensemble, (x, np.zeros(6, np.int32)))
    assert 0 <= float(found["accuracy"]) <= 1
    assert fn.predict(ensemble, x).shape == (6, 3)


WRONG = {
    "no training": (lambda: fn.study.ensemble("train", 3), TypeError, r"Try train = fn.fit\(loss"),
    "no members": (
        lambda: fn.study.ensemble(training(MODELS["mlp"]), 0),
        ValueError,
        "size must be at least 1",
    ),
    "an unknown mean": (
        lambda: fn.study.ensemble(training(MODELS["mlp"]), 2, average="votes"),
        ValueError,
        "must be one of values, classes, binary",
    ),
    "arrays for a network": (
        lambda: fn.study.ensemble(training(MODELS["mlp"]), 2)({"w": 1}, MODELS["mlp"].rows(8), the_key()),
        TypeError,
        "net must be a module with an init",
    ),
    "disagreement of values": (
        lambda: members("values", 3)[0].disagreement(jnp.ones(4)),
        ValueError,
        "average='classes'",
    ),
    "information of values": (
        lambda: members("values", 3)[0].mutual_information(jnp.ones(4)),
        ValueError,
        "average='classes'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_refused(case):
    action, kind, words = WRONG[case]
    with pytest.raises(kind, match=words):
        action()


def test_members_without_a_number_agree_with_nobody():
    members = np.float32([[1, 0], [np.nan, 0], [2, 0]])

    class Constant(fn.Module):
        w: jax.Array

        def __call__(self, x, key=None):
            return self.w + 0 * x

    for average in ("classes", "binary"):
        found = jax.jit(fn.study.Ensemble(Constant(members), average).disagreement)(np.zeros(2, np.float32))
        assert np.isnan(found).any()


def test_a_member_alone_compiles_once():
    traced, row = [], MODELS["linear-regression"]

    def loss(model, example, key):
        traced.append(None)
        return row.loss()(model, example, key)

    many = fn.study.ensemble(fn.fit(loss, optax.sgd(0.1), epochs=1, shuffle=False), 3)
    many.member(row.net, row.rows(8), the_key(), 0)
    first = len(traced)
    many.member(row.net, row.rows(8), the_key(), 2)
    assert len(traced) == first


def test_a_network_without_parameters_is_no_reason_to_stumble():
    class Same(fn.Module):
        def __call__(self, x, key=None):
            return x[0]

    train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.sgd(0.1), epochs=1, shuffle=False)
    run = fn.study.ensemble(train, 2)(
        Same(), (np.ones((4, 1), np.float32), np.zeros(4, np.float32)), the_key()
    )
    np.testing.assert_allclose(run.runs.history["loss"], [[1.0], [1.0]])


def test_progress_reports_each_block_when_it_is_done():
    row, counts = MODELS["linear-regression"], []
    train, data = training(row, epochs=1, shuffle=False), row.rows(8)
    run = fn.study.ensemble(train, 5, block=2, progress=counts.append)(row.net, data, the_key())
    jax.effects_barrier()
    assert sorted(counts) == [1, 2, 2]  # padding of the last block is not counted
    assert_close(run.model, fn.study.ensemble(train, 5, block=2)(row.net, data, the_key()).model)


def test_a_network_may_hold_a_key():
    class Noisy(fn.Module):
        weight: jax.Array | None = None
        noise: fn.Buffer | None = None

        def parameters(self, key):
            return {"weight": jnp.ones(3), "noise": fn.Buffer(jax.random.key(4))}

        def __call__(self, x, key=None):
            return x @ self.weight

    row = MODELS["linear-regression"]
    train, (x, y) = training(row, epochs=1), row.rows(8)
    result = fn.study.ensemble(train, 2)(Noisy(), (x[:, :3], y), the_key())
    assert jnp.issubdtype(result.model.members.noise.value.dtype, jax.dtypes.prng_key)


def test_the_first_call_compiles_one_program():
    row, programs = MODELS["mlp-dropout"], []

    def note(event, *_, **__):
        if "backend_compile" in event:
            programs.append(event)

    many = fn.study.ensemble(training(row, epochs=1), 2)
    data, key = fn.data.Dataset(row.rows(8)), the_key()
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        many(row.net, data, key)
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert len(programs) == 1
