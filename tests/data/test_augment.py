"""Augmentation: in training only, random for each example and step, and within the laws of means."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
import tables
from keys import cached_key
from tables import assert_close, same_bits

import funcnet as fn

IMAGE = np.arange(1, 21, dtype=np.float32).reshape(4, 5)


@functools.cache
def many_keys():
    return jax.random.split(cached_key(0), 4000)


def test_noise_is_normal_with_its_scale():
    x, y = jax.jit(jax.vmap(lambda key: fn.data.noise(0.5)(key, (jnp.ones(2), 7))))(many_keys())
    assert set(y.tolist()) == {7}
    standard = (np.asarray(x) - 1) / 0.5
    assert scipy.stats.kstest(standard.ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(standard.T)[0, 1]) < 4 / len(many_keys()) ** 0.5


def test_noise_takes_a_traced_scale_and_keeps_the_dtype():
    key = cached_key(0)
    slope = jax.jit(jax.grad(lambda scale: fn.data.noise(scale)(key, jnp.ones(3)).sum()))(0.1)
    np.testing.assert_allclose(slope, np.asarray(jax.random.normal(key, (3,))).sum(), rtol=1e-6)
    for dtype in (jnp.bfloat16, jnp.float16):
        noisy, _ = jax.eval_shape(fn.data.noise(0.1), key, (jnp.ones(3, dtype), 0))
        assert noisy.dtype == dtype


def test_flip_flips_one_axis_with_the_given_probability():
    results = jax.jit(jax.vmap(lambda key: fn.data.flip(-1, 0.3)(key, (IMAGE, 0))[0]))(many_keys())
    results = np.asarray(results)
    flipped = (results == IMAGE[:, ::-1][None]).all((1, 2))
    assert ((results == IMAGE[None]).all((1, 2)) != flipped).all()
    assert scipy.stats.binomtest(int(flipped.sum()), len(many_keys()), 0.3).pvalue > 1e-3
    for probability, expected in ((0, IMAGE), (1, IMAGE[::-1])):
        np.testing.assert_array_equal(fn.data.flip(0, probability)(cached_key(0), IMAGE), expected)


@pytest.mark.parametrize("channels", [(), (2,)])
def test_every_shift_is_equally_likely_and_fills_with_zeros(channels):
    image = np.broadcast_to(IMAGE.reshape(4, 5, *[1] * len(channels)), (4, 5, *channels))
    results = np.asarray(jax.jit(jax.vmap(lambda key: fn.data.shift(1)(key, (image, 0))[0]))(many_keys()))
    padded = np.pad(np.asarray(image), [(1, 1), (1, 1), *[(0, 0)] * len(channels)])
    shifts = [padded[i : i + 4, j : j + 5] for i in range(3) for j in range(3)]
    counts = [int((results == shift).reshape(len(many_keys()), -1).all(1).sum()) for shift in shifts]
    assert sum(counts) == len(many_keys())
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_chained_transforms_run_in_order_with_their_own_keys():
    keys = []

    def spy(key, example):
        keys.append(jax.random.key_data(key).tolist())
        return jax.tree.map(lambda a: 2 * a + 1, example)

    both = fn.data.chain(spy, fn.data.flip(0, 1), spy)
    assert both(cached_key(0), (np.float32([1, 2]), 3))[0].tolist() == [11.0, 7.0]
    assert keys[0] != keys[1]
    assert jax.random.key_data(cached_key(0)).tolist() not in keys


def _augmented(case, transform):
    return fn.data.augmented(case.loss(), transform)


def _trained(loss, case, data, size=6, **settings):
    """The model after an epoch of a loop over `step`, which costs half of a `fit`."""
    state = fn.TrainState.create(case.init(), optax.adam(0.1), cached_key(0))
    step = jax.jit(fn.step(loss, optax.adam(0.1), **settings))
    for batch in fn.data.batches(data, size, cached_key(0)):
        state, _ = step(state, batch)
    return state.model


@pytest.mark.parametrize("name", [pytest.param("mlp", marks=pytest.mark.slow), "mlp-dropout"])
def test_an_identity_transform_changes_no_bit(name):
    case, data = tables.MODELS[name], tables.dataset("weighted", name)
    plain = _trained(case.loss(), case, data)
    assert same_bits(_trained(_augmented(case, lambda key, example: example), case, data), plain)


def test_evaluation_does_not_transform_examples():
    case, data = tables.MODELS["mlp"], tables.dataset("tail", "mlp")
    loss = _augmented(case, fn.data.noise(100.0))
    expected = fn.evaluate(case.loss(), case.init(), data)
    assert_close(fn.evaluate(loss, case.init(), data), expected)
    run = fn.fit(loss, optax.sgd(0.0), epochs=2, batch_size=8)(case.init(), data, cached_key(0), data)
    np.testing.assert_allclose(run.history["val_loss"], float(expected["loss"]), rtol=1e-5)
    np.testing.assert_allclose(run.history["train_loss"], float(expected["loss"]), rtol=1e-5)
    assert abs(run.history["loss"][0] / expected["loss"] - 1) > 0.01
    assert run.history["loss"][0] != run.history["loss"][1]  # transformed anew in every epoch


def test_every_example_has_its_own_draw_independent_of_the_models():
    def loss(model, example, key):
        x, _ = example
        return model * x, {"x": x, "model": jax.random.normal(key) if key is not None else x}

    wrapped = fn.data.augmented(loss, lambda key, example: (jax.random.normal(key), example[1]))
    logged = jax.jit(jax.vmap(lambda key: wrapped(1.0, (jnp.zeros(()), 0), key)[1]))(many_keys())
    assert len(np.unique(logged["x"])) > 0.99 * len(many_keys())
    assert abs(np.corrcoef(logged["x"], logged["model"])[0, 1]) < 4 / len(many_keys()) ** 0.5


def test_microbatches_of_transformed_examples_equal_one_batch():
    case = tables.MODELS["mlp-dropout"]
    loss, data = _augmented(case, fn.data.noise(0.5)), fn.data.Dataset(case.rows(10))
    whole, parts = _trained(loss, case, data), _trained(loss, case, data, accumulate=3)
    assert_close(parts, whole, factor=5)


def test_a_batchwise_loss_gets_examples_transformed_one_by_one():
    @fn.losses.batchwise
    def loss(model, batch, weight, key):
        return jnp.sum(model * 0), {"mean": jnp.mean(batch[0]), "std": jnp.std(batch[0])}

    wrapped = fn.data.augmented(loss, fn.data.noise(1.0))
    zeros = np.zeros(4000, np.float32)
    for key, std in ((cached_key(0), 1.0), (None, 0.0)):
        _, logged = jax.jit(wrapped)(np.float32(1), (zeros, zeros), zeros + 1, key)
        assert float(logged["std"]) == pytest.approx(std, abs=0.05)
    assert wrapped.batchwise


@functools.cache
def _mixing(case):
    return jax.jit(fn.data.mixup(case.loss(), 0.4))


def _mixed(case, weight, n=None):
    x, y = map(np.asarray, case.rows(len(weight)))
    return _mixing(case)(case.init(), (x[:n], y[:n]), weight[:n], cached_key(0))


def test_mixup_without_a_key_is_the_weighted_mean():
    case, data = tables.MODELS["mlp"], tables.dataset("weighted", "mlp")
    expected = fn.evaluate(case.loss(), case.init(), data)
    assert_close(fn.evaluate(fn.data.mixup(case.loss()), case.init(), data, batch_size=8), expected)


def test_mixup_mixes_targets_as_it_mixes_features():
    """Row i is the unit vector i with the label i, so the sums of a label's losses show its fraction."""

    def loss(model, example, key):
        x, y = example
        return x.sum(), {f"{r}{c}": (y == r).astype(float) * x[c] for r in range(3) for c in range(3)}

    batch = np.eye(3, dtype=np.float32), np.arange(3, dtype=np.int32)
    value, logged = jax.jit(fn.data.mixup(loss, 2.0))(None, batch, np.ones(3, np.float32), cached_key(0))
    # Σ fraction(label r) · fraction(feature c) over mixed examples: symmetric if both fractions are equal.
    moments = np.array([[logged[f"{r}{c}"] for c in range(3)] for r in range(3)])
    np.testing.assert_allclose(moments, moments.T, atol=1e-6)
    assert moments.sum() == pytest.approx(1, rel=1e-5)
    assert 0.5 <= np.trace(moments) < 1  # λ² + (1 - λ)², unless a row is its own partner
    assert float(value) == pytest.approx(1, rel=1e-5)


def test_mixup_draws_partners_by_weight_and_fractions_from_beta():
    rows = np.eye(4, dtype=np.float32)
    weight = np.float32([1, 0, 2, 5])

    def loss(model, example, key):
        x, _ = example
        return x.sum(), {f"x{i}": x[i] for i in range(4)} | {"square": jnp.sum(x * x)}

    def mixed(key, alpha):
        return fn.data.mixup(loss, alpha)(None, (rows, np.arange(4)), weight, key)[1]

    logged = jax.jit(jax.vmap(lambda key: mixed(key, 0.7)))(many_keys())
    means = np.array([np.mean(logged[f"x{i}"]) for i in range(4)])
    np.testing.assert_allclose(means, np.asarray(weight) / 8, atol=0.01)  # mixing keeps the mean
    assert not np.asarray(logged["x1"]).any()  # a row of weight zero is never a partner
    probability = np.asarray(weight) / 8
    same_row = np.sum(probability**2)
    squares = 1 - 0.7 / (2 * 0.7 + 1)  # E[λ² + (1 - λ)²] for Beta(0.7, 0.7)
    assert np.mean(logged["square"]) == pytest.approx(same_row + (1 - same_row) * squares, abs=0.01)


@pytest.mark.slow
def test_no_row_of_weight_zero_is_a_partner_if_cumulative_sums_are_rounded():
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.1, 1, 20_000).astype(np.float32) * (rng.uniform(size=20_000) < 0.3)
    x = jnp.asarray(weight == 0, jnp.float32)
    loss = fn.data.mixup(lambda model, example, key: example[0])
    mixed = jax.jit(lambda key: loss(None, (x, x), jnp.asarray(weight), key))
    assert not any(float(mixed(key)) for key in many_keys()[:20])


def _metric_case():
    x, y = np.linspace(-1, 1, 10, dtype=np.float32)[:, None], np.array([0, 0, 0, 1, 0, 1, 1, 1, 1, 0])
    metrics = {"rmse": fn.metrics.rmse(), "r2": fn.metrics.r2()}
    return fn.losses.supervised(fn.losses.squared_error, **metrics), (x, y.astype(np.float32))


@pytest.mark.parametrize("batch_size", tables.marked([4, 9, 10], slow={4, 10}))  # 9 leaves one row alone
def test_a_metric_of_sums_is_the_same_through_mixup(batch_size):
    plain, data = _metric_case()
    expected = fn.evaluate(plain, lambda x: 3 * x[0], data)
    assert float(expected["rmse"]) == pytest.approx(1.8166, abs=1e-4)
    loss = fn.data.mixup(plain)
    assert_close(fn.evaluate(loss, lambda x: 3 * x[0], data, batch_size=batch_size), expected)


def test_mixup_works_with_matrices_and_counts():
    x, y = np.linspace(-1, 1, 10, dtype=np.float32)[:, None], np.array([0, 0, 0, 1, 0, 1, 1, 1, 1, 0])
    matrix, f1 = fn.metrics.confusion_matrix(2), fn.metrics.f1()
    plain = fn.losses.supervised(fn.losses.cross_entropy, matrix=matrix, f1=f1)
    data = fn.data.Dataset((x, y), weight=np.arange(10, dtype=np.float32))
    metrics = fn.evaluate(
        fn.data.mixup(plain), lambda x: 3 * x * jnp.array([-1.0, 1.0]), data, batch_size=4
    )
    assert_close(metrics, fn.evaluate(plain, lambda x: 3 * x * jnp.array([-1.0, 1.0]), data))


def test_sums_are_mixed_by_the_fractions_of_the_losses():
    plain, (x, y) = _metric_case()
    weight = np.arange(10, dtype=np.float32)

    def squared_error_loss(model, example, key):
        rmse = plain(model, example, key)[1]["rmse"]
        return rmse.sums[1], {"rmse": rmse}

    mixed = functools.partial(fn.data.mixup(squared_error_loss, 1.0), lambda x: 3 * x[0])
    value, logged = jax.jit(mixed)((x, y), weight, cached_key(0))
    count, square = logged["rmse"].sums
    assert float(count) == pytest.approx(45, rel=1e-5)
    assert float(square) == pytest.approx(45 * float(value), rel=1e-5)


@pytest.mark.parametrize("name", [pytest.param("mlp", marks=pytest.mark.slow), "mlp-dropout"])
def test_rows_of_weight_zero_are_invisible_to_mixup(name):
    case = tables.MODELS[name]
    weight = np.array([1.0, 2.0, 0.5, 1.0, 0.0, 0.0], np.float32)
    assert_close(_mixed(case, weight), _mixed(case, weight, n=4))
    value, _ = _mixed(case, np.zeros(6, np.float32))
    assert float(value) == 0.0


@pytest.mark.slow
def test_augmented_mixup_transforms_before_it_mixes():
    def loss(model, example, key):
        return jnp.zeros(()), {"x": example[0]}

    def squared(key, example):
        return example[0] ** 2, example[1]

    batch, weight = (jnp.array([0.0, 2.0]), jnp.zeros(2)), jnp.array([1.0, 1.0])
    _, before = fn.data.augmented(fn.data.mixup(loss, 1.0), squared)(None, batch, weight, cached_key(0))
    _, plain = fn.data.mixup(loss, 1.0)(None, batch, weight, cached_key(0))
    assert float(before["x"]) != pytest.approx(float(plain["x"]))
    doubled = (jnp.array([0.0, 4.0]), jnp.zeros(2))
    assert_close(before, fn.data.mixup(loss, 1.0)(None, doubled, weight, cached_key(0))[1])


@pytest.mark.slow
def test_a_single_example_is_mixed_with_itself_and_keeps_its_key():
    case, data = tables.MODELS["mlp-dropout"], tables.dataset("weighted", "mlp-dropout")
    batch = jax.tree.map(lambda a: a[:1], data.arrays)
    expected, _ = case.loss()(case.init(), data[0], jax.random.fold_in(cached_key(0), 0))
    for alpha in (1e-4, 0.4, 1e4):
        value, _ = fn.data.mixup(case.loss(), alpha)(case.init(), batch, jnp.ones(1), cached_key(0))
        np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.slow
def test_mixup_trains_and_keeps_the_check_of_targets():
    case = tables.MODELS["mlp"]
    x, y = case.rows(24)
    loss = fn.data.augmented(fn.data.mixup(case.loss()), fn.data.noise(0.01))
    run = fn.fit(loss, optax.adam(0.05), epochs=15, batch_size=8)(
        case.init(), (x, y), cached_key(0), (x, y)
    )
    assert run.history["val_loss"][-1] < 0.8 * run.history["val_loss"][0]
    with pytest.raises(ValueError, match="targets from 0 to 2"):
        fn.fit(loss, optax.adam(0.05), epochs=1)(case.init(), (x, y + 3), cached_key(0))


@pytest.mark.parametrize("dtype", tables.marked([jnp.float16, jnp.bfloat16], slow=[jnp.float16]))
def test_mixup_keeps_the_dtype_of_features(dtype):
    def loss(model, example, key):
        assert example[0].dtype == dtype
        return jnp.sum(model * example[0])

    ones = np.ones(4, np.float32)
    rows = np.ones((4, 3), jnp.dtype(dtype))
    value = jax.jit(fn.data.mixup(loss))(rows[0], (rows, 0 * ones), ones, cached_key(0))
    assert float(value) == pytest.approx(3, rel=2e-2)


PLAIN = fn.losses.supervised(fn.losses.squared_error)
WHOLE = fn.losses.batchwise(lambda model, batch, weight, key: jnp.zeros(()))
WRONG = {
    "a transform without a key": (
        lambda: fn.data.augmented(fn.losses.supervised(fn.losses.squared_error), lambda example: example),
        TypeError,
        r"Try def transform\(key, example\)",
    ),
    "noise below zero": (lambda: fn.data.noise(-1.0), ValueError, "scale must be at least 0"),
    "noise of a string": (lambda: fn.data.noise("much"), TypeError, "scale must be a number"),
    "noise on integers": (
        lambda: fn.data.noise(0.1)(cached_key(0), (jnp.arange(3), 0)),
        TypeError,
        "the example of noise must be floating, got int32",
    ),
    "two axes": (lambda: fn.data.flip((0, 1)), TypeError, "axis must be an integer"),
    "no such axis": (
        lambda: fn.data.flip(2)(cached_key(0), IMAGE),
        ValueError,
        r"that axis, got shape \(4, 5\)",
    ),
    "probability of 2": (lambda: fn.data.flip(0, 2), ValueError, "probability must be at least 0"),
    "half a pixel": (lambda: fn.data.shift(0.5), TypeError, "pixels must be an integer"),
    "a row of pixels": (
        lambda: fn.data.shift(1)(cached_key(0), jnp.ones(4)),
        ValueError,
        "shift expects an image",
    ),
    "an empty chain": (lambda: fn.data.chain(), ValueError, "at least one transform"),
    "a chain of numbers": (
        lambda: fn.data.chain(fn.data.flip(0), 3),
        TypeError,
        r"transforms\[1\] must be a func",
    ),
    "no loss": (
        lambda: fn.data.augmented(fn.losses.squared_error, fn.data.flip(0)),
        TypeError,
        "supervised",
    ),
    "no transform": (lambda: fn.data.augmented(PLAIN, 0.1), TypeError, "transform must be a function"),
    "mixup of a batchwise loss": (lambda: fn.data.mixup(WHOLE), TypeError, "must be of one example"),
    "no alpha": (lambda: fn.data.mixup(PLAIN, 0), ValueError, "alpha must be above 0, got 0"),
    "alpha of a string": (lambda: fn.data.mixup(PLAIN, "big"), TypeError, "alpha must be a number"),
    "mixup without targets": (
        lambda: fn.data.mixup(PLAIN)(None, jnp.ones((3, 2)), jnp.ones(3), cached_key(0)),
        ValueError,
        r"mixup expects examples \(x, y\)",
    ),
    "mixup of integers": (
        lambda: fn.data.mixup(PLAIN)(None, (jnp.arange(3), jnp.ones(3)), jnp.ones(3), cached_key(0)),
        ValueError,
        "mixup expects floating features, got int32",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_augmentations_are_refused(case):
    action, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        action()
