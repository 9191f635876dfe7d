"""Training networks on the features of a table: what must not matter changes nothing."""

import dataclasses
import pickle

import jax
import numpy as np
import pytest

from funcnet.tabular import _recipe, _training
from funcnet.tabular._choices import Settings
from funcnet.tabular._features import Features
from funcnet.tabular._network import unpack
from funcnet.tabular._preprocessing import fit_preprocessing
from funcnet.tabular._random_bits import hash_counters, random_bits
from funcnet.tabular._recipe import train_members
from funcnet.tabular._sizes import round_up

KEY = jax.random.key(0)
SMALL = Settings(hidden_layer_sizes=(16, 16), max_iter=6, batch_size=32)


def table(rows=120, numbers=3, seed=0):
    """Numbers, a category of 3 and one of 12 values; one of each decides the target."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, numbers))
    codes = np.stack([rng.integers(0, 3, rows), rng.integers(0, 12, rows)], 1).astype(np.int32)
    features = Features(x, codes, (3, 12))
    value = 2 * x[:, 0] + (codes[:, 0] == 1)
    return features, value


def folds(rows, k=3):
    fold = np.arange(rows) % k
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(k)]


def train(features, target, task="classes", settings=SMALL, **kwargs):
    return train_members(features, target, task, settings=settings, key=KEY, **kwargs)


def test_the_recipe_learns_classes():
    features, value = table(300)
    settings = Settings(hidden_layer_sizes=(32, 32), max_iter=30)
    members = train(features, value > 0.3, settings=settings, folds=folds(300))
    new, new_value = table(200, seed=1)
    p = members.predict(new)
    assert p.shape == (200, 2)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    assert ((p[:, 1] > 0.5) == (new_value > 0.3)).mean() > 0.9


def test_the_recipe_learns_values_in_their_units_and_stays_in_their_range():
    features, value = table(300)
    settings = Settings(hidden_layer_sizes=(32, 32), max_iter=30)
    members = train(features, 1e6 + 1000 * value, "values", settings=settings, folds=folds(300))
    new, new_value = table(200, seed=1)
    y = members.predict(new)
    assert y.shape == (200,)
    assert np.std(y - 1e6 - 1000 * new_value) < 0.3 * np.std(1000 * new_value)
    assert y.max() <= 1e6 + 1000 * value.max() + 1e-3


def test_the_same_key_gives_the_same_bits_and_another_key_others():
    features, value = table()
    first, second = (train(features, value > 0, folds=folds(120)).predict(features) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    other = train_members(features, value > 0, "classes", settings=SMALL, key=jax.random.key(1))
    assert (other.predict(features) != first).any()


@pytest.mark.parametrize("task", ["classes", "values"])
def test_padding_is_invisible(task, monkeypatch):
    """Twice as many rows and columns of padding change results by rounding only."""
    features, value = table()
    target = value > 0 if task == "classes" else value
    settings = dataclasses.replace(SMALL, max_iter=2)
    expected = train(features, target, task, settings, folds=folds(120))
    monkeypatch.setattr(_recipe, "round_up", lambda size, smallest=1: 2 * round_up(size, smallest))
    padded = train(features, target, task, settings, folds=folds(120))
    assert padded.network.inputs == 2 * expected.network.inputs
    np.testing.assert_allclose(padded.predict(features), expected.predict(features), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(padded.best_epoch, expected.best_epoch)


def test_rows_of_weight_zero_are_left_out():
    features, value = table()
    wrong = np.where(np.arange(120) < 40, -value, value)
    weight = np.where(np.arange(120) < 40, 0.0, 2.0)
    index = [(t, v) for t, v in folds(120)]
    members = train(features, wrong > 0, weight=weight, folds=index)
    rows = np.arange(40, 120)
    alone = train(
        features.rows(rows),
        value[rows] > 0,
        folds=[(t[t >= 40] - 40, v[v >= 40] - 40) for t, v in index],
    )
    np.testing.assert_array_equal(members.predict(features), alone.predict(features))
    assert np.isnan(members.out_of_fold[:40]).all()


def test_a_weight_of_two_pulls_the_prediction():
    features = Features(np.zeros((100, 1)), np.zeros((100, 0), np.int32), ())
    target = np.arange(100) % 2
    members = train(
        *(features, target), weight=np.where(target == 1, 3.0, 1.0), settings=Settings(max_iter=20)
    )
    assert 0.65 < members.predict(features)[0, 1] < 0.85


def test_the_best_epoch_is_the_last_of_the_lowest_scores_and_its_outputs_are_out_of_fold():
    features, value = table()
    members = train(features, value, "values", folds=folds(120))
    losses = members.history["val_loss"][:, :6]
    assert np.isnan(members.history["val_loss"][:, 6:]).all()
    np.testing.assert_array_equal(members.best_epoch, losses.argmin(1))
    for run, (trained, held_out) in enumerate(folds(120)):
        predicted = members.predictions(features)[run][held_out]
        predicted = np.clip(predicted, value[trained].min(), value[trained].max())
        np.testing.assert_allclose(predicted, members.out_of_fold[held_out], rtol=1e-4, atol=1e-5)


def test_early_stopping_ends_a_run_that_does_not_improve():
    features, value = table()
    noise = np.random.default_rng(0).permutation(value)
    settings = dataclasses.replace(SMALL, max_iter=100, early_stopping=True, n_iter_no_change=3)
    members = train(features, noise, "values", settings)
    epochs = np.isfinite(members.history["loss"]).sum(1)
    assert epochs[0] < 100
    np.testing.assert_array_equal(epochs, members.best_epoch + 1 + 3)


def test_without_validation_the_last_epoch_is_kept():
    features, value = table()
    members = train(features, value > 0, settings=dataclasses.replace(SMALL, early_stopping=False))
    assert members.best_epoch.tolist() == [5]
    assert np.isnan(members.out_of_fold).all()


def test_gaps_and_unknown_categories_are_predicted():
    features, value = table()
    numbers = features.numbers.copy()
    numbers[::5, 0] = np.nan
    members = train(Features(numbers, features.codes, features.sizes), value > 0)
    new = Features(np.full((4, 3), np.nan), np.full((4, 2), -1, np.int32), features.sizes)
    p = members.predict(new)
    assert np.isfinite(p).all()
    np.testing.assert_array_equal(p, np.repeat(p[:1], 4, 0))


def test_an_unknown_category_adds_nothing_to_the_first_layer():
    """Its embedding has no training row: a random one would add noise."""
    features, value = table(300)
    codes = np.where(features.codes == 11, 10, features.codes)  # no row has the last one
    members = train(Features(features.numbers, codes, (3, 12)), value > 0)
    tables = [unpack(members.network, {k: v[0] for k, v in members.parameters.items()})["embedding"]]
    assert (tables[0][0] == 0).all()
    assert (tables[0][1:12] != 0).all()


def test_held_out_targets_do_not_bound_their_predictions():
    """On a trend, the range of all targets would tell the first fold how far it goes."""
    x = np.linspace(0, 1, 120)
    features = Features(x[:, None], np.zeros((120, 0), np.int32), ())
    split = [(np.arange(60), np.arange(60, 120)), (np.arange(90), np.arange(90, 120))]
    members = train(features, x, "values", dataclasses.replace(SMALL, max_iter=60), folds=split)
    assert np.nanmax(members.out_of_fold[60:90]) <= x[59] + 1e-6
    assert np.nanmax(members.out_of_fold) <= (x[59] + x[89]) / 2 + 1e-6
    new = members.predictions(features)
    assert x[59] < new.max() <= 1 + 1e-6, "new rows may be as far as any training row"
    longer = train(features, x + 1, "values", SMALL, folds=split, start=members)
    low, high = longer.bounds * longer.scale + longer.center
    np.testing.assert_allclose([low[0], high[0]], [0, 2], atol=1e-6)


def test_runs_that_hold_no_rows_out_have_no_validation_loss():
    features, value = table()
    members = train(features, value, "values", dataclasses.replace(SMALL, early_stopping=False))
    assert np.isnan(members.history["val_loss"]).all()
    assert np.isfinite(members.history["loss"][:, :6]).all()


def test_a_second_table_of_similar_size_compiles_nothing():
    features, value = table(120)
    train(features, value > 0, folds=folds(120)).predict(features)
    before = _training._train_one._cache_size()
    assert before > 0
    other, value = table(125, numbers=4, seed=1)
    settings = dataclasses.replace(SMALL, max_iter=5, learning_rate_init=1e-3)
    train(other, value > 0, settings=settings, folds=folds(125)).predict(other)
    assert _training._train_one._cache_size() == before


def test_members_of_a_fold_differ_and_their_mean_is_the_prediction():
    features, value = table()
    settings = dataclasses.replace(SMALL, members=2)
    members = train(features, value > 0, settings=settings, folds=folds(120))
    assert len(members) == 6
    assert members.fold.tolist() == [0, 0, 1, 1, 2, 2]
    each = members.predictions(features)
    assert (each[0] != each[1]).any()
    np.testing.assert_array_equal(each.mean(0), members.predict(features))


def test_labels_and_several_values():
    features, value = table()
    labels = np.stack([value > 0, value < 1, features.numbers[:, 1] > 0], 1)
    p = train(features, labels, "labels", folds=folds(120)).predict(features)
    assert p.shape == (120, 3)
    assert ((p > 0) & (p < 1)).all()
    values = np.stack([value, 100 - value], 1)
    members = train(features, values, "values", folds=folds(120))
    assert members.predict(features).shape == (120, 2) == members.out_of_fold.shape
    one = train(features, values[:, :1], "values", folds=folds(120))
    assert one.predict(features).shape == (120, 1)


def test_probabilities_are_calibrated_on_the_rows_held_out():
    features, value = table(200)
    y = np.where(np.random.default_rng(0).random(200) < 0.3, value < 0, value > 0).astype(int)
    loss = {}
    for calibrate in (True, False):
        settings = dataclasses.replace(SMALL, calibrate=calibrate, max_iter=20)
        members = train(features, y, settings=settings, folds=folds(200))
        loss[calibrate] = -np.log(members.out_of_fold[np.arange(200), y]).mean()
        assert (members.temperature != 1) == calibrate
    assert loss[True] < loss[False]


def test_a_single_class_and_a_constant_target_are_predicted():
    features, _ = table()
    assert train(features, np.zeros(120, int)).predict(features)[:, 0].min() > 0.5
    np.testing.assert_allclose(train(features, np.full(120, 7.0), "values").predict(features), 7.0)


def test_five_rows_have_an_answer():
    features, value = table(5)
    assert train(features, value, "values").predict(features).shape == (5,)


def test_no_columns_at_all():
    features = Features(np.zeros((50, 0)), np.zeros((50, 0), np.int32), ())
    p = train(features, np.arange(50) % 5 == 0).predict(features)
    np.testing.assert_array_equal(p, np.repeat(p[:1], 50, 0))


def test_members_can_be_pickled():
    features, value = table()
    members = train(features, value > 0)
    again = pickle.loads(pickle.dumps(members))
    np.testing.assert_array_equal(again.predict(features), members.predict(features))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"target": np.zeros(7)},
            ValueError,
            r"target must have shape \[rows\] with 120 rows, got shape \(7,\)",
        ),
        ({"target": np.full(120, np.nan)}, ValueError, "target must be finite"),
        ({"target": np.full(120, 0.5)}, ValueError, "target must hold integers 0 .. 0"),
        ({"task": "ranking"}, ValueError, 'task must be "classes", "labels" or "values"'),
        ({"weight": np.ones(3)}, ValueError, r"weight must have shape \[120\]"),
        ({"folds": [(np.arange(9), np.array([200]))]}, ValueError, "rows 0 .. 119, got 200"),
        ({"folds": [(np.arange(9) > 3, np.arange(3))]}, TypeError, "arrays of row numbers"),
        ({"folds": [(np.arange(0), np.arange(3))]}, ValueError, "at least one row"),
        ({"folds": []}, ValueError, "at least one pair"),
        ({"key": 0}, TypeError, "key"),
    ],
)
def test_wrong_arguments_are_refused(change, error, message):
    features, value = table()
    arguments = {
        "target": (value > 0).astype(int),
        "task": "classes",
        "settings": SMALL,
        "key": KEY,
    } | change
    with pytest.raises(error, match=message):
        train_members(features, **arguments)


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ({"max_iter": 1.5}, TypeError),
        ({"members": 0}, ValueError),
        ({"alpha": -1.0}, ValueError),
        ({"learning_rate_init": 0.0}, ValueError),
        ({"activation": "swish!"}, ValueError),
        ({"early_stopping": "yes"}, TypeError),
        ({"hidden_layer_sizes": (0,)}, ValueError),
    ],
)
def test_wrong_settings_are_refused(setting, error):
    with pytest.raises(error, match=next(iter(setting))):
        Settings(**setting)


def test_a_diverged_run_is_reported():
    features, value = table()
    settings = dataclasses.replace(SMALL, learning_rate_init=1e30, activation="relu")
    with pytest.raises(FloatingPointError, match="learning_rate_init"):
        train(features, value, "values", settings)


def trained(task="classes", settings=SMALL, **kwargs):
    features, value = table()
    return train(features, value > 0 if task == "classes" else value, task, settings, **kwargs)


@pytest.mark.parametrize("task", ["classes", "values"])
def test_further_training_goes_on_from_the_start(task):
    features, value = table()
    target = value > 0 if task == "classes" else value
    first = train(features, target, task, folds=folds(120))
    more = train(features, target, task, Settings(max_iter=6), folds=folds(120), start=first)
    assert more.history["loss"][:, 0].mean() < first.history["loss"][:, 0].mean()
    assert more.network == first.network
    np.testing.assert_array_equal(more.fold, first.fold)
    np.testing.assert_array_equal(more.scale, first.scale)


@pytest.mark.parametrize("task", ["classes", "values"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_layer_sizes": (16, 8)}, r"hidden_layer_sizes must stay \(16, 16\)"),
        ({"hidden_layer_sizes": np.array([8])}, r"hidden_layer_sizes must stay \(16, 16\)"),
        ({"activation": "relu"}, "activation must stay"),
        ({"members": 2}, "folds and members must stay those of the 3 runs"),
    ],
)
def test_further_training_keeps_the_networks(task, change, message):
    start = trained(task, folds=folds(120))
    settings = dataclasses.replace(Settings(max_iter=2), **change)
    with pytest.raises(ValueError, match=message):
        trained(task, settings, folds=folds(120), start=start)


def test_further_training_takes_the_same_sizes_however_they_are_written():
    start = trained()
    for sizes in ([16, 16], np.array([16, 16]), "auto"):
        trained(settings=Settings(hidden_layer_sizes=sizes, max_iter=1), start=start)


def test_further_training_keeps_the_folds_columns_and_outputs():
    start = trained(folds=folds(120), settings=dataclasses.replace(SMALL, members=2))
    for settings, k in ((Settings(), 2), (Settings(members=3), 2), (Settings(members=6), 1)):
        rows = [(np.arange(60), np.arange(60, 120))] if k == 1 else folds(120, k)
        with pytest.raises(ValueError, match="folds and members must stay those of the 6 runs"):
            trained(settings=settings, folds=rows, start=start)
    features, value = table(numbers=2)
    with pytest.raises(ValueError, match="features must have the columns of the training rows, 3 numbers"):
        train(features, value > 0, folds=folds(120), settings=Settings(max_iter=1), start=start)
    with pytest.raises(ValueError, match="target must have 2 outputs, as before, got 3"):
        trained(folds=folds(120), settings=Settings(max_iter=1), start=start, num_classes=3)


def test_every_run_goes_on_without_folds_and_stays_calibrated():
    start = trained(folds=folds(120), settings=dataclasses.replace(SMALL, members=2, max_iter=30))
    more = trained(settings=Settings(max_iter=1, early_stopping=False), start=start)
    np.testing.assert_array_equal(more.fold, [0, 0, 1, 1, 2, 2])
    assert more.temperature == start.temperature != 1.0


def test_the_range_of_predictions_grows_with_the_targets():
    features, value = table()
    start = train(features, value, "values")
    more = train(features, 10 * value, "values", Settings(max_iter=60), start=start)
    assert value.max() < more.predict(features).max() <= 10 * value.max() + 1e-4


def test_a_single_step_learns():
    features, value = table(20)
    settings = dataclasses.replace(SMALL, max_iter=1, early_stopping=False, calibrate=False)
    members = train(features, value > 0, settings=settings)
    start = train(features, value > 0, settings=dataclasses.replace(settings, learning_rate_init=1e-30))
    assert np.abs(members.predict(features) - start.predict(features)).max() > 1e-3


def test_early_stopping_watches_a_row_however_small_the_fraction():
    settings = dataclasses.replace(SMALL, early_stopping=True, validation_fraction=1e-4)
    assert np.sum(~np.isnan(trained(settings=settings).out_of_fold[:, 0])) == 1


def test_a_temperature_needs_ten_rows():
    members = trained(folds=[(np.arange(111), np.arange(111, 120))])
    assert members.chosen["temperature"] == (1.0, "fewer than 10 rows were held out")


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e150])
def test_targets_of_any_size_are_scaled(size):
    features, value = table()
    expected = train(features, value, "values").predict(features)
    got = train(features, value * size, "values").predict(features) / size
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_columns_of_categories_share_no_row_of_the_embedding_table():
    codes = np.stack([np.arange(12) % 10 - 1, np.arange(12) - 1, np.arange(12) % 3], 1).astype(np.int32)
    features = Features(np.zeros((12, 0)), codes, (10, 12, 3))
    rows = fit_preprocessing(features).transform(features).codes
    assert [set(column.tolist()) for column in rows.T] == [set(range(10)), set(range(11, 23))]


def test_a_category_of_one_value_is_told_from_a_gap():
    codes = (np.arange(120) % 3 - 1).clip(max=0).astype(np.int32)[:, None]
    features = Features(np.zeros((120, 0)), codes, (1,))
    prepared = fit_preprocessing(features)
    assert prepared.columns.others == 1
    assert prepared.matrix(features)[:3, 0].tolist() == [0, 1, 1]
    p = train(features, codes[:, 0] == 0, folds=folds(120)).predict(features)[:, 1]
    assert p[codes[:, 0] == 0].min() > p[codes[:, 0] < 0].max()
    before = dataclasses.replace(prepared, keeps_single=False)  # of a model that was saved before
    assert before.matrix(features).shape == (120, 0)


def test_a_column_of_denormal_numbers_makes_no_nan():
    features, value = table()
    tiny = Features(np.round(features.numbers) * 1e-320, features.codes, features.sizes)
    assert np.isfinite(train(tiny, value > 0).predict(tiny)).all()


@pytest.mark.parametrize(
    "settings",
    [{"hidden_layer_sizes": (10**6, 10**6)}, {"members": 10**10}, {"max_iter": 10**12}],
)
def test_what_cannot_fit_into_memory_is_refused_at_once(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"{name}.*available"):
        trained(settings=dataclasses.replace(SMALL, **settings))


def test_too_many_steps_are_refused():
    with pytest.raises(ValueError, match="max_iter must give fewer than"):
        trained(settings=dataclasses.replace(SMALL, max_iter=10**8, batch_size=1))


def test_a_fit_has_no_nan_in_its_programs():
    x = np.linspace(-1.0, 1.0, 60)[:, None]
    settings = Settings(hidden_layer_sizes=(8,), max_iter=30, early_stopping=True, n_iter_no_change=2)
    with jax.debug_nans(True):
        members = train_members(
            Features(x, np.zeros((60, 0), np.int32), ()),
            *(x[:, 0] > 0, "classes"),
            settings=settings,
            key=jax.random.key(0),
        )
    losses = members.history["loss"][0]
    assert not np.isnan(losses[: members.best_epoch[0] + 1]).any()
    assert np.isnan(losses[-1])


def test_random_bits_are_those_of_models_trained_before():
    """The hash in Python integers: dropout and the order of rows depend on every constant in it."""

    def mix(h):
        h = ((h ^ (h >> 16)) * 0x7FEB352D) % 2**32
        h = ((h ^ (h >> 15)) * 0x846CA68B) % 2**32
        return h ^ (h >> 16)

    h = 0x9E3779B9
    for counter in (7, 1, 2**31):
        h = mix(h ^ ((counter * 0x85EBCA6B + 0xC2B2AE35) % 2**32))
    seed = hash_counters(7, 1, np.uint32(2**31))
    assert int(seed) == h
    assert random_bits((2, 3), seed).ravel().tolist() == [mix(mix((i + h) % 2**32) ^ h) for i in range(6)]
