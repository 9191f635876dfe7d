"""Bias, variance and noise are those that formulas and brute force give."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import MODELS, assert_close

import funcnet as fn
from funcnet.study._decompose import decompose

ROWS, FEATURES, SIGMA, PENALTY = 12, 5, 0.5, 0.2
SQUARED = fn.losses.supervised(fn.losses.squared_error)
TRAIN = fn.fit(SQUARED, optax.adam(0.05), epochs=2, batch_size=8, shuffle=False)


def the_key():
    return jax.random.key(11)


def table(seed, rows, features=FEATURES):
    x = np.random.default_rng(seed).normal(size=(rows, features)).astype(np.float32)
    return x, np.sin(x.sum(axis=1)).astype(np.float32)


def fixed_design(x, target):
    """Training sets with these inputs and fresh noise."""
    return lambda key: (x, target + SIGMA * jax.random.normal(key, target.shape))


def smoother(x, x_test, penalty):
    """S with prediction = S @ y, of ridge regression with the mean loss and no intercept."""
    gram = x.T @ x / len(x) + penalty * np.eye(x.shape[1])
    return x_test @ np.linalg.solve(gram, x.T) / len(x)


def legendre(seed, rows, degree=3):
    """Inputs of a polynomial fit: an orthonormal basis over the points, and a target beyond its reach."""
    t = np.sort(np.random.default_rng(seed).uniform(-1, 1, rows))
    basis = np.polynomial.legendre.legvander(t, degree) * np.sqrt(2 * np.arange(degree + 1) + 1)
    return basis.astype(np.float32), np.sin(4 * t).astype(np.float32)


@pytest.mark.parametrize(
    ("made", "penalty"), [(table, PENALTY), pytest.param(legendre, 0.0, marks=pytest.mark.slow)]
)
def test_linear_fits_agree_with_the_closed_form(made, penalty):
    (x, target), (x_test, truth) = made(0, ROWS), made(1, 40)
    y_test = (truth + SIGMA * np.random.default_rng(2).normal(size=40)).astype(np.float32)
    loss = fn.losses.penalized(SQUARED, l2=penalty)
    train = fn.fit(loss, optax.sgd(0.1, momentum=0.8), epochs=250, batch_size=ROWS, shuffle=False)
    net = fn.Linear(x.shape[1], "scalar", use_bias=False, weight_init="zeros")
    study = fn.study.bias_variance(train, 100)
    found = study(net, fixed_design(x, target), the_key(), (x_test, y_test), truth)
    s = smoother(x, x_test, penalty)
    expected = {
        "bias_squared": np.mean((s @ target - truth) ** 2),
        "variance": SIGMA**2 * np.mean(np.sum(s**2, axis=1)),
        "error": np.mean((s @ target - y_test) ** 2) + SIGMA**2 * np.mean(np.sum(s**2, axis=1)),
        "noise": SIGMA**2,
    }
    for name, value in expected.items():
        error = float(found.standard_error[name])
        assert 0 < error < value / 3, name  # the gate is narrow enough to fail
        assert abs(float(found.mean[name]) - value) < 3 * error, name
    mean, member_error = found.mean, found.standard_error
    off = (np.asarray(found.predictions).mean(axis=0) - truth) * (truth - y_test)
    luck = 2 * off.std() / len(off) ** 0.5  # bias times the noise of these rows, zero on average
    together = float(mean["bias_squared"] + mean["variance"] + mean["noise"])
    assert abs(together - float(mean["error"])) < 3 * luck
    assert luck > 0
    assert float(member_error["error"]) > 0


def squares(f, y):
    """Unbiased parts of the squared error, by loops."""
    size = len(f)
    error = np.mean([(f[m] - y) ** 2 for m in range(size)], axis=0)
    variance = sum((f[m] - f[n]) ** 2 for m in range(size) for n in range(m)) / (size * (size - 1))
    return error, variance, error - variance


def test_parts_and_standard_errors_are_brute_force_in_numpy():
    """Pairs of members give an unbiased variance, products of pairs an unbiased bias²: error − variance."""
    row = MODELS["mlp-dropout"]
    x, x_test = np.asarray(row.rows(16)[0]), np.asarray(row.rows(7, seed=1)[0])
    y, y_test = np.sin(x[:, 0]), np.sin(x_test[:, 0])
    weight = np.float32([1, 2, 0, 1, 0.5, 1, 3])
    net = fn.MLP((3, 4, "scalar"), dropout=0.5)
    study = fn.study.bias_variance(TRAIN, 6)
    found = study(net, (x, y), the_key(), fn.data.Dataset((x_test, y_test), weight=weight))
    f, w = np.asarray(found.predictions, np.float64), weight / float(weight.sum())
    names = ("error", "variance", "bias_and_noise")
    for name, expected in zip(names, squares(f, y_test), strict=True):
        np.testing.assert_allclose(found.per_row[name], expected, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(found.mean[name], expected @ w, rtol=1e-3)
    left = [squares(np.delete(f, m, axis=0), y_test) for m in range(6)]
    for i, name in enumerate(names):
        apart = np.array([parts[i] @ w for parts in left])
        expected = np.sqrt(5 / 6 * np.sum((apart - apart.mean()) ** 2))
        np.testing.assert_allclose(found.standard_error[name], expected, rtol=1e-3)


@pytest.mark.parametrize("classes", ["scalar", pytest.param(3, marks=pytest.mark.slow)])
def test_zero_one_parts_are_brute_force_in_numpy(classes):
    """Domingos' formulas by loops over rows; the parts add up to the error in each row."""
    rng, kinds = np.random.default_rng(0), 2 if classes == "scalar" else classes
    x = rng.normal(size=(40, 2)).astype(np.float32)
    truth = ((x[:, 0] > 0).astype(int) + (x[:, 1] > 0.3)).clip(max=kinds - 1)
    y = np.where(rng.uniform(size=40) < 0.3, rng.integers(kinds, size=40), truth)
    per_example = fn.losses.binary_cross_entropy if kinds == 2 else fn.losses.cross_entropy
    train = fn.fit(
        fn.losses.supervised(per_example), optax.adam(0.3), epochs=3, batch_size=8, shuffle=False
    )
    study = fn.study.bias_variance(train, 9, loss="zero_one")
    net, data = fn.models.Perceptron(2, classes), (x[:12], y[:12])
    found = study(net, data, the_key(), (x, y), truth)
    logits = np.asarray(found.predictions)
    chosen = (logits > 0).astype(int) if kinds == 2 else logits.argmax(axis=-1)
    rows = {name: np.asarray(part) for name, part in found.per_row.items()}
    for i in range(40):
        votes = chosen[:, i].tolist()
        main = max(range(kinds), key=votes.count)
        error, clean = (np.mean([v != label for v in votes]) for label in (y[i], truth[i]))
        bias, spread = float(main != truth[i]), np.mean([v != main for v in votes])
        at = {name: float(part[i]) for name, part in rows.items()}
        assert at["error"] == pytest.approx(error, abs=1e-6)
        assert at["bias"] == bias
        if bias:
            assert at["biased_variance"] == pytest.approx(np.mean(np.array(votes) == truth[i]), abs=1e-6)
            assert kinds > 2 or at["biased_variance"] == pytest.approx(spread, abs=1e-6)
        else:
            assert at["unbiased_variance"] == pytest.approx(spread, abs=1e-6)
        assert at["variance"] == pytest.approx(at["unbiased_variance"] - at["biased_variance"], abs=1e-6)
        assert at["bias"] + at["variance"] + at["noise"] == pytest.approx(error, abs=1e-6)
        if kinds == 2:
            assert at["noise"] == pytest.approx((y[i] != truth[i]) * (1 - 2 * clean), abs=1e-6)
    assert 0 < float(found.mean["bias"]) < 1
    assert float(found.mean["biased_variance"]) > 0
    bare = study(net, data, the_key(), (x, y))
    assert_close(bare.mean["bias_and_noise"] + bare.mean["variance"], found.mean["error"])


@pytest.mark.slow
def test_each_member_is_its_training_alone_and_that_of_a_bagged_ensemble():
    row = MODELS["mlp-dropout"]
    x = row.rows(21)[0]
    data, test = (x, x[:, 0]), (x[:5], x[:5, 0])
    net = fn.MLP((3, 4, "scalar"), dropout=0.5)
    study = fn.study.bias_variance(TRAIN, 4)
    found = study(net, data, the_key(), test)
    other = study(net, data, jax.random.key(12), test)
    assert not np.allclose(found.predictions, other.predictions)
    for number in (0, 3):
        alone = study.member(net, data, the_key(), number).model
        assert_close(found.predictions[number], fn.predict(alone, test[0]), 20)
    bagged = fn.study.ensemble(TRAIN, 4, bootstrap=True).member(net, data, the_key(), 3).model
    assert_close(fn.predict(bagged, test[0]), found.predictions[3], 20)


@pytest.mark.slow
def test_epochs_are_shorter_trainings_of_the_same_members_and_nothing_is_traced_twice():
    traced = 0

    def draw(key):
        nonlocal traced
        traced += 1
        x = jax.random.normal(key, (10, 3))
        return x, x[:, 0]

    x, y = draw(jax.random.key(1))
    net = fn.MLP((3, 4, "scalar"))
    study = fn.study.bias_variance(TRAIN, 3, epochs=(1, 4))
    found = study(net, draw, the_key(), (x, y))
    first = traced
    study(net, draw, jax.random.key(9), (x + 1, y))
    assert traced == first
    assert found.predictions.shape == (2, 3, 10)
    assert found.mean["variance"].shape == (2,)
    assert found.per_row["variance"].shape == (2, 10)
    assert found.epochs.tolist() == [1, 4]
    short = fn.fit(SQUARED, optax.adam(0.05), epochs=1, batch_size=8, shuffle=False)
    once = fn.study.bias_variance(short, 3)(net, draw, the_key(), (x, y))
    assert_close(jax.tree.map(lambda a: a[0], found.mean), once.mean, 20)


def test_what_is_no_number_votes_for_no_class():
    logits = np.zeros((3, 2, 2), np.float32)
    logits[:, 0], logits[:, 1, 1] = np.nan, 1
    parts = jax.jit(lambda logits: decompose("zero_one", logits, jnp.array([0, 1]), None, jnp.ones(2)))
    mean, _, rows = parts(logits)
    assert all(np.isnan(rows[name][0]) for name in ("error", "variance", "bias_and_noise"))
    assert rows["error"][1] == 0
    assert np.isnan(mean["error"])


NET, DATA = fn.models.LinearRegression(3), (np.ones((6, 3), np.float32), np.ones(6, np.float32))
WRONG = {
    "no training": (lambda: fn.study.bias_variance("train", 3), TypeError, r"Try train = fn.fit\(loss"),
    "two members": (lambda: fn.study.bias_variance(TRAIN, 2), ValueError, "size must be at least 3"),
    "another loss": (
        lambda: fn.study.bias_variance(TRAIN, 3, loss="hinge"),
        ValueError,
        "squared, zero_one",
    ),
    "epochs that fall": (
        lambda: fn.study.bias_variance(TRAIN, 3, epochs=(4, 2)),
        ValueError,
        r"Try epochs=\(2, 4\)",
    ),
    "one number of epochs": (
        lambda: fn.study.bias_variance(TRAIN, 3, epochs=4),
        TypeError,
        "epochs .*got int 4",
    ),
    "floats for classes": (
        lambda: fn.study.bias_variance(TRAIN, 3, loss="zero_one")(NET, DATA, the_key(), DATA),
        ValueError,
        "expects integer class numbers as targets, got float32",
    ),
    "truth of another shape": (
        lambda: fn.study.bias_variance(TRAIN, 3)(NET, DATA, the_key(), DATA, jnp.ones(5)),
        ValueError,
        r"truth must have the shape of y, \(6,\), got \(5,\)",
    ),
    "no targets": (
        lambda: fn.study.bias_variance(
            fn.fit(lambda model, x, key: model(x) ** 2, optax.sgd(0.1), epochs=1), 3
        )(NET, DATA[0], the_key(), DATA[0]),
        ValueError,
        r"Pass test=\(x, y\)",
    ),
    "numbers for classes": (
        lambda: fn.study.bias_variance(TRAIN, 3, loss="zero_one")(
            fn.Linear(3, 2), (DATA[0], DATA[0][:, :2]), the_key(), (DATA[0], DATA[0][:, :2])
        ),
        ValueError,
        "one class for each row",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_refused(case):
    action, kind, words = WRONG[case]
    with pytest.raises(kind, match=words):
        action()
