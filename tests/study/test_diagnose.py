"""The verdict on synthetic curves with twenty draws of noise, and on real runs."""

import collections
import functools

import jax
import numpy as np
import optax
import pytest
from scipy import stats
from tables import marked

import funcnet as fn
from funcnet.study import diagnose
from funcnet.study._loss_curves import LossCurve, median_of_three, smoother

NOISES = 20
RIGHT = 19
nan, inf = np.nan, np.inf


def fall(t, end, time, start=1.0):
    return end + (start - end) * np.exp(-t / time)


def turned(t, at, slope, end=0.3, time=8):
    return fall(t, end, time) + slope * np.maximum(t - at, 0)


def curves(epochs, valid, train=lambda t: fall(t, 0.05, 10), noise=0.0, train_noise=None):
    """A function of a seed that gives a history: two courses, functions of the epoch, and their noise."""

    def history(seed):
        rng, t = np.random.default_rng(seed), np.arange(float(epochs))
        calm = 0.3 * noise if train_noise is None else train_noise
        train_loss = train(t) + calm * rng.normal(size=epochs)
        return {"train_loss": train_loss, "val_loss": valid(t) + noise * rng.normal(size=epochs)}

    return history


def changed(history, change):
    """The same with `change(values, seed)` applied to each curve."""
    return lambda seed: {name: change(values.copy(), seed) for name, values in history(seed).items()}


def one_epoch_off(by):
    def change(values, seed):
        values[[-1, 40, 60][seed % 3]] += by
        return values

    return change


def nan_after(epoch):
    return lambda values, _: np.where(np.arange(len(values)) > epoch, nan, values)


def each_fifth(values, _):
    return np.where(np.arange(len(values)) % 5 == 4, values, nan)


def infinite_at_the_end(values, _):
    values[-3:] = inf
    return values


def thrown_about(values, seed):
    values[1:] = np.random.default_rng(seed).uniform(0.9, 5.0, size=len(values) - 1)
    return values


def without_validation(history):
    return lambda seed: {"loss": history(seed)["train_loss"]}


def members(history, count=8):
    def many(seed):
        each = [history(1000 * seed + member) for member in range(count)]
        return {name: np.stack([one[name] for one in each]) for name in each[0]}

    return many


def swinging(t):
    return fall(t, 0.4, 4) + 0.01 * np.exp(t / 12) * (1.2 + np.sin(2 * t))


GOOD = curves(100, lambda t: fall(t, 0.12, 10), noise=0.02)
FALLING = curves(40, lambda t: fall(t, 0.12, 30), lambda t: fall(t, 0.05, 30), noise=0.01)
OVERFIT = curves(100, lambda t: turned(t, 25, 0.006), noise=0.02)
HIGH = curves(80, lambda t: fall(t, 0.53, 8), lambda t: fall(t, 0.5, 8), noise=0.01)
TARGET = {"target": 0.1}

CASES = {
    "overfit, clean": ("overfit", curves(100, lambda t: turned(t, 25, 0.006)), {}),
    "overfit, noisy": ("overfit", curves(100, lambda t: turned(t, 25, 0.006), noise=0.05), {}),
    "overfit late": ("overfit", curves(150, lambda t: turned(t, 100, 0.004), noise=0.01), {}),
    "overfit slightly": ("overfit", curves(100, lambda t: turned(t, 30, 0.0015), noise=0.01), {}),
    "overfit in 20 epochs": (
        "overfit",
        curves(20, lambda t: turned(t, 5, 0.02, time=2), lambda t: fall(t, 0.05, 4), noise=0.01),
        {},
    ),
    "a gap that stays": ("overfit", curves(100, lambda t: fall(t, 0.5, 8), noise=0.01), {}),
    "a gap that misses the target": (
        "overfit",
        curves(100, lambda t: fall(t, 0.2, 8), noise=0.01),
        {"target": 0.08},
    ),
    "overfit, each fifth epoch": ("overfit", changed(OVERFIT, each_fifth), {}),
    "overfit, stopped early": ("overfit", changed(OVERFIT, nan_after(60)), {}),
    "overfit, 8 noisy members": (
        "overfit",
        members(curves(60, lambda t: turned(t, 20, 0.006), noise=0.05)),
        {},
    ),
    "good, clean": ("good", curves(100, lambda t: fall(t, 0.12, 10)), {}),
    "good, noisy": ("good", curves(100, lambda t: fall(t, 0.12, 10), noise=0.05), {}),
    "good, one lucky epoch": ("good", changed(GOOD, one_epoch_off(-0.3)), {}),
    "good, one unlucky epoch": ("good", changed(GOOD, one_epoch_off(0.3)), {}),
    "good, stopped early": ("good", changed(GOOD, nan_after(70)), {}),
    "good, each fifth epoch": ("good", changed(GOOD, each_fifth), {}),
    "good, 8 members": ("good", members(GOOD), {}),
    "good, 2 members": ("good", members(GOOD, 2), {}),
    "good, target reached": ("good", GOOD, {"target": 0.2}),
    "validation below training": (
        "good",
        curves(100, lambda t: fall(t, 0.1, 10), lambda t: fall(t, 0.2, 10), noise=0.02),
        {},
    ),
    "high, but who knows": ("good", HIGH, {}),
    "underfit by a target": ("underfit", HIGH, TARGET),
    "underfit by a baseline": ("underfit", HIGH, {"baseline": 0.55}),
    "underfit, no validation": ("underfit", without_validation(HIGH), TARGET),
    "flat, by a target": (
        "underfit",
        curves(60, lambda t: 0.52 + 0 * t, lambda t: 0.5 + 0 * t, 0.01),
        TARGET,
    ),
    "still falling": ("not converged", FALLING, {}),
    "still falling, 8 epochs": (
        "not converged",
        curves(8, lambda t: fall(t, 0.12, 15), lambda t: fall(t, 0.05, 15), noise=0.002),
        {},
    ),
    "still falling, no validation": ("not converged", without_validation(FALLING), {}),
    "to infinity": ("diverged", changed(GOOD, infinite_at_the_end), {}),
    "swinging wider and wider": ("diverged", curves(60, swinging, swinging, noise=0.01), {}),
    "thrown about": ("diverged", changed(GOOD, thrown_about), TARGET),
    "above its start": ("diverged", curves(20, lambda t: 1 + 0.1 * t, lambda t: 1 + 0.1 * t, 0.01), {}),
    "flat, target reached": (
        "good",
        curves(60, lambda t: 0.06 + 0 * t, lambda t: 0.05 + 0 * t, 0.01),
        TARGET,
    ),
    "flat, baseline passed": (
        "good",
        curves(60, lambda t: 0.06 + 0 * t, lambda t: 0.05 + 0 * t, 0.01),
        {"baseline": 0.7},
    ),
    "a gap that noise hides": (
        "unclear",
        curves(12, lambda t: fall(t, 0.27, 1.2), lambda t: fall(t, 0.05, 1.2), noise=0.12),
        {},
    ),
    "both rise a little": (
        "unclear",
        curves(100, lambda t: turned(t, 40, 0.004), lambda t: turned(t, 40, 0.004, end=0.2), noise=0.01),
        {},
    ),
    "3 epochs": ("unclear", changed(OVERFIT, lambda values, _: values[:3]), {}),
    "nothing measured": ("unclear", changed(OVERFIT, lambda values, _: values * nan), {}),
    "levelled, no validation": ("unclear", without_validation(GOOD), {}),
    "noise larger than effect": (
        "unclear",
        curves(12, lambda t: turned(t, 4, 0.01, end=0.5, time=3), noise=0.4, train_noise=0.02),
        {},
    ),
    "flat, noise only": (
        "unclear",
        curves(60, lambda t: 0.5 + 0 * t, lambda t: 0.45 + 0 * t, noise=0.02),
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_on_prepared_curves(name):
    verdict, history, settings = CASES[name]
    found = collections.Counter(diagnose(history(seed), **settings).verdict for seed in range(NOISES))
    assert found[verdict] >= RIGHT, found


@pytest.mark.parametrize("epochs", [10, 30, 100, 300])
@pytest.mark.parametrize("noise", [0.01, 0.05, 0.2])
def test_noise_on_a_plateau_is_rarely_called_overfitting(epochs, noise):
    plateau = curves(
        epochs, lambda t: fall(t, 0.12, epochs / 10), lambda t: fall(t, 0.05, epochs / 10), noise
    )
    called = sum(diagnose(plateau(seed)).verdict == "overfit" for seed in range(100))
    assert called <= 5


@pytest.mark.parametrize("correlation", [0.3, 0.5])
def test_nor_is_noise_whose_neighbours_go_together(correlation):
    def wandering(values, seed):
        rng = np.random.default_rng(seed)
        steps = rng.normal(size=len(values)) * (1 - correlation**2) ** 0.5
        for i in range(1, len(steps)):
            steps[i] += correlation * steps[i - 1]
        return values + 0.03 * steps

    history = changed(curves(100, lambda t: fall(t, 0.12, 10)), wandering)
    assert sum(diagnose(history(seed)).verdict == "overfit" for seed in range(100)) <= 5


def test_the_turn_is_found_where_it_is():
    clean = diagnose(CASES["overfit, clean"][1](0))
    lowest = int(np.argmin(turned(np.arange(100.0), 25, 0.006)))
    assert abs(clean.best_epoch - lowest) <= 2
    assert clean.onset == clean.best_epoch
    late = [diagnose(CASES["overfit late"][1](seed)).onset for seed in range(NOISES)]
    assert 85 <= np.median(late) <= 115
    fifth = diagnose(CASES["overfit, each fifth epoch"][1](0))
    assert fifth.best_epoch % 5 == 4
    assert 14 <= fifth.best_epoch <= 40


def test_estimates_are_those_of_the_course():
    found = diagnose(OVERFIT(0))
    t = np.arange(90.0, 100.0)
    rise = turned(t, 25, 0.006).mean() - turned(float(found.best_epoch), 25, 0.006)
    assert abs(found.rise.value - rise) < 4 * found.rise.standard_error
    gap = (turned(t, 25, 0.006) - fall(t, 0.05, 10)).mean()
    assert abs(found.gap.value - gap) < 4 * found.gap.standard_error
    assert found.best_gap.value < found.gap.value
    assert found.gap.standard_error < 0.03


def test_standard_errors_are_as_large_as_the_scatter():
    """The spread of the gap over 300 draws of the noise compared with the standard error of each draw."""
    for history, least in ((GOOD, 0.8), (members(GOOD), 0.6)):
        gaps = [diagnose(history(seed)).gap for seed in range(300)]
        scatter = np.std([gap.value for gap in gaps])
        error = np.median([gap.standard_error for gap in gaps])
        assert least < error / scatter < 1.8


def test_the_error_of_members_is_that_of_their_mean():
    history = members(GOOD)(0)
    found = diagnose(history)
    gaps = (history["val_loss"] - history["train_loss"])[:, -10:].mean(axis=1)
    np.testing.assert_allclose(found.gap[:2], [gaps.mean(), stats.sem(gaps)], rtol=1e-10)
    assert found.gap.num_members == found.num_members == 8


def test_z_of_members_is_students():
    for t, size in ((1.0, 5), (3.0, 8), (6.0, 8), (-2.5, 20)):
        exact = stats.norm.isf(stats.t.sf(t, size - 1))
        assert abs(fn.study.Estimate(t, 1.0, size).z - exact) < 1e-9
    assert fn.study.Estimate(2.0, 0.0).z == inf
    assert fn.study.Estimate(0.0, 0.0).z == 0
    assert fn.study.Estimate(-6.0, 2.0).z == -3


def test_local_lines_leave_lines_alone():
    line = 3.0 - 0.25 * np.arange(50)
    np.testing.assert_allclose(smoother(50) @ line, line, atol=1e-12)
    np.testing.assert_allclose(smoother(5).sum(axis=1), 1.0)


def test_single_epochs_that_stand_out_are_pulled_back():
    np.testing.assert_array_equal(median_of_three(np.array([5.0, 1, 9, 3, 4])), [5, 5, 3, 4, 4])
    rng = np.random.default_rng(0)
    values = 0.01 * rng.normal(size=(1, 50))
    values[0, 20] = 3.0
    assert np.abs(LossCurve(values).mean).max() < 0.1


def test_long_histories_are_judged_in_blocks():
    found = diagnose(curves(3001, lambda t: turned(t, 800, 0.0002, time=200), noise=0.05)(0))
    assert found.verdict == "overfit"
    assert len(found.epochs) <= 400
    assert 600 <= found.best_epoch <= 1200


def test_scale_and_shift_change_nothing():
    for name in ("overfit slightly", "good, noisy", "still falling", "noise larger than effect"):
        history = CASES[name][1](3)
        plain = diagnose(history)
        other = diagnose({curve: 1000 * values for curve, values in history.items()})
        assert (other.verdict, other.best_epoch, other.onset) == (
            plain.verdict,
            plain.best_epoch,
            plain.onset,
        )


def test_the_running_loss_is_used_only_where_there_is_no_other():
    history = OVERFIT(0)
    wrong = {**history, "loss": 5 - history["train_loss"]}
    assert diagnose(wrong).reason == diagnose(history).reason
    running = diagnose({"loss": history["train_loss"], "val_loss": history["val_loss"]})
    assert running.verdict == "overfit"
    assert "There is no train_loss" in running.reason


def test_members_that_diverged_are_left_out_or_decide():
    history = members(GOOD)(0)
    for name in history:
        history[name][:2, -5:] = inf
    found = diagnose(history)
    assert found.verdict == "good"
    assert "2 of 8 runs diverged and are left out" in found.reason
    for name in history:
        history[name][:4, -5:] = inf
    found = diagnose(history)
    assert (found.verdict, found.gap, found.onset) == ("diverged", None, None)
    assert "4 of 8 runs" in found.reason


def test_members_stopped_at_different_epochs_keep_their_last_value():
    history = members(OVERFIT)(0)
    for name in history:
        for member in range(8):
            history[name][member, 60 + 5 * member :] = nan
    found = diagnose(history)
    assert found.verdict == "overfit"
    assert found.epochs[-1] in (76, 77, 78)


def test_numbers_may_be_jax_arrays_and_losses_lists():
    history = HIGH(0)
    lists = {name: values.tolist() for name, values in history.items()}
    assert diagnose(lists, target=jax.numpy.float32(0.1)).verdict == "underfit"


def test_it_prints_a_paragraph():
    text = str(diagnose(OVERFIT(0)))
    assert text.startswith("Overfit: the validation loss rose by 0.")
    assert "Try: 1. stop near epoch " in text.replace("\n", " ")
    assert max(map(len, text.splitlines())) <= 100
    assert "Try" not in str(diagnose(GOOD(0)))


BINARY = fn.losses.supervised(fn.losses.binary_cross_entropy)
LINE, WIDE = fn.models.Perceptron(2), fn.MLP((2, 64, "scalar"))


def the_key():
    return jax.random.key(0)


@functools.cache
def moons(noise):
    return tuple(map(np.asarray, fn.data.two_moons(rows=400, noise=noise).data[:]))


def trained(net, optimizer, epochs, noise=0.2, rows=200, batch_size=50, **settings):
    train = fn.fit(BINARY, optimizer, epochs=epochs, batch_size=batch_size, shuffle=False, **settings)
    x, y = moons(noise)
    model, valid = jax.jit(net.init)(the_key()), (x[200:], y[200:])
    return train(model, (x[:rows], y[:rows]), jax.random.key(1), valid)


def few_rows(**settings):
    return trained(WIDE, optax.adam(0.03), 100, 0.35, 20, 20, **settings)


def eight_seeds():
    net, train = WIDE, fn.fit(BINARY, optax.adam(0.03), epochs=60, batch_size=20)
    x, y = moons(0.35)
    return jax.vmap(lambda key: train(net.init(key), (x[:20], y[:20]), key, (x[200:], y[200:])))(
        jax.random.split(the_key(), 8)
    )


def powers_unscaled(**settings):
    x = np.linspace(-2.0, 2.0, 32, dtype=np.float32)
    data = np.vander(x, 6)[:, :5], np.sin(2 * x)
    squared = fn.losses.supervised(fn.losses.squared_error)
    train = fn.fit(squared, optax.sgd(0.1), epochs=30, batch_size=8, shuffle=False, **settings)
    return train(jax.jit(fn.models.LinearRegression(5).init)(the_key()), data, the_key(), data)


def iris_by_a_line():
    iris = fn.data.load("iris").data
    rows, valid = fn.data.split(iris, (0.5, 0.5), the_key(), stratify=iris.arrays[1])
    loss = fn.losses.supervised(fn.losses.cross_entropy)
    train = fn.fit(loss, optax.adam(0.1), epochs=60, batch_size=25)
    return train(jax.jit(fn.models.Perceptron(4, 3).init)(the_key()), rows, the_key(), valid)


REAL = {
    "a wide network and 20 rows": ("overfit", few_rows, {}),
    "stopped early": ("overfit", lambda: few_rows(stopping=fn.EarlyStopping(patience=20)), {}),
    "8 seeds": ("overfit", eight_seeds, {}),
    "a line between moons": ("underfit", lambda: trained(LINE, optax.adam(0.1), 60), TARGET),
    "a small network": ("good", lambda: trained(fn.MLP((2, 16, "scalar")), optax.adam(0.02), 80), {}),
    "iris": ("good", iris_by_a_line, {"baseline": float(np.log(3))}),
    "too few epochs": ("not converged", lambda: trained(WIDE, optax.sgd(0.01), 12), {}),
    "four epochs": ("unclear", lambda: trained(LINE, optax.sgd(0.01), 4), {}),
    "too high a rate": ("diverged", powers_unscaled, {}),
    "too high a rate, NaN ignored": ("diverged", lambda: powers_unscaled(on_nan="ignore"), {}),
}


@pytest.fixture(scope="module")
def runs():
    made = {}
    return lambda name: made.get(name) or made.setdefault(name, REAL[name][1]())


# Curves, above, test each verdict; these are a run that stopped early and one that broke.
QUICK = {"stopped early", "too high a rate"}


@pytest.mark.parametrize("name", marked(REAL, slow=REAL.keys() - QUICK))
def test_the_verdict_on_real_trainings(name, runs):
    verdict, _, settings = REAL[name]
    found = diagnose(runs(name), **settings)
    assert found.verdict == verdict, found.reason


def test_what_early_stopping_kept_is_told(runs):
    run = runs("stopped early")
    assert diagnose(run).advice[0] == (
        f"keep run.model: early stopping restored epoch {int(run.best_epoch) + 1}"
    )


def test_a_run_its_history_and_a_dictionary_are_judged_alike(runs):
    run = runs("stopped early")
    for other in (run.history, dict(run.history)):
        # Only a run knows which weights early stopping has restored.
        assert (
            diagnose(run).reason
            == f"{diagnose(other).reason} run.model is that of epoch 3, not that of the end."
        )


WRONG = {
    "a model": (lambda: diagnose(WIDE), TypeError, "run must be a Run, its history or a mapping"),
    "no loss": (
        lambda: diagnose({"accuracy": [1.0]}),
        ValueError,
        "must contain train_loss or loss, got accuracy",
    ),
    "two lengths": (
        lambda: diagnose({"train_loss": [1.0, 0.5], "val_loss": [1.0]}),
        ValueError,
        "losses of run must have one shape",
    ),
    "one number": (lambda: diagnose({"loss": 1.0}), ValueError, "losses of run must have one shape"),
    "within jit": (
        lambda: jax.jit(lambda loss: diagnose({"loss": loss}).gap)(np.ones(9)),
        TypeError,
        "on the result of jit or vmap",
    ),
    "a word": (lambda: diagnose(GOOD(0), target="low"), TypeError, "target must be a number"),
    "tolerance": (
        lambda: diagnose(GOOD(0), tolerance=1.5),
        ValueError,
        "tolerance must be above 0.0 and below",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_refused(case):
    action, kind, words = WRONG[case]
    with pytest.raises(kind, match=words):
        action()
