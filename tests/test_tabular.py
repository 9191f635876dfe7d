"""Train on a table, predict, save and load."""

import csv
import dataclasses
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import funcnet as fn
from funcnet import _files, _keys
from funcnet.report._runs import find_runs, read_run
from funcnet.tabular import fit_table, load_table_model
from funcnet.tabular._prepare import prepare, split_table

SETTINGS = {"hidden": (8,), "epochs": 12, "patience": 3}


def line_table(rows=60):
    """A target on a line, in units far from 1: y = 1000 + 300·a, and an irrelevant feature."""
    a, b = np.random.default_rng(0).normal(size=(2, rows)).astype(np.float32)
    data = fn.data.Dataset((np.stack([50 + 10 * a, b], axis=1), 1000 + 300 * a))
    return fn.data.Table("line", data, ("a", "b"), "price")


@pytest.fixture(scope="module")
def iris():
    return fit_table(fn.data.load("iris"), **SETTINGS)


@pytest.fixture(scope="module")
def line():
    return fit_table(line_table(), hidden=(16,), epochs=60)


@pytest.fixture(scope="module")
def folder(iris, tmp_path_factory):
    place = tmp_path_factory.mktemp("iris") / "deep" / "er"
    iris.save(place)
    return place


def test_a_classification_learns_and_reports_its_metrics(iris):
    assert iris.rows == {"train": 90, "validation": 30, "test": 30}
    assert iris.metrics["test"]["accuracy"] > 0.6
    assert list(iris.metrics["train"]) == ["loss", "accuracy"]
    assert iris.compile_seconds > 0
    assert iris.train_seconds > 0
    best = int(iris.run.best_epoch)
    assert iris.metrics["validation"]["loss"] == pytest.approx(
        float(iris.run.history["val_loss"][best]), rel=1e-5
    )


def test_predictions_are_class_names_with_probabilities(iris):
    x, y = iris.table.data[:]
    labels, probability = iris.predictor.predict(x), iris.predictor.predict_proba(x)
    assert set(labels) <= set(iris.table.class_names)
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)
    assert (np.asarray(iris.table.class_names)[probability.argmax(1)] == labels).all()
    rows = iris.rows
    expected = sum(iris.metrics[part]["accuracy"] * rows[part] for part in rows) / len(y)
    assert np.mean(labels == np.asarray(iris.table.class_names)[np.asarray(y)]) == pytest.approx(expected)


def test_a_regression_predicts_in_the_units_of_the_target(line):
    x, y = (np.asarray(a) for a in line.table.data[:])
    error = np.abs(line.predictor.predict(x) - y)
    total = sum(line.metrics[part]["absolute_error"] * n for part, n in line.rows.items())
    assert total / len(y) == pytest.approx(error.mean(), rel=1e-3)
    assert error.mean() < 100  # of a standard deviation of 300
    assert line.metrics["test"]["loss"] < 0.5  # in standard deviations
    with pytest.raises(ValueError, match="got the numeric target price"):
        line.predictor.predict_proba(x)
    assert line.score_table()[0][-1] == "mean absolute error (in units of price)"


@pytest.mark.parametrize("kind", ["iris", "line"])
def test_a_loaded_model_predicts_the_same(kind, request, tmp_path):
    result = request.getfixturevalue(kind)
    result.save(tmp_path)
    x, _ = result.table.data[:]
    loaded = load_table_model(tmp_path)
    np.testing.assert_array_equal(loaded.predict(x), result.predictor.predict(x))
    assert loaded.feature_names == result.table.feature_names
    assert (loaded.task, loaded.target_name) == (result.table.task, result.table.target_name)


def test_the_saved_history_is_that_of_the_run(iris, folder):
    with open(folder / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row.pop("epoch")) for row in rows] == list(range(1, int(iris.run.state.epoch) + 1))
    assert set(rows[0]) == {"loss", "accuracy", "train_loss", "val_loss", "val_accuracy"}
    for name, values in iris.run.history.items():
        read = np.array([row[name] for row in rows], np.float32)
        np.testing.assert_array_equal(read, values[: len(rows)])


def test_the_other_saved_files(iris, folder):
    assert {p.name for p in folder.iterdir()} == {
        *("model.safetensors", "model.json", "history.csv", "curves.png")
    }
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    described = json.loads((folder / "model.json").read_text())
    assert described["class_names"] == list(iris.table.class_names)
    assert described["metrics"]["test"] == iris.metrics["test"]
    assert described["settings"]["hidden"] == [8]


def reseal(folder, change):
    """Change the description of a model and its checksum with it."""
    described = json.loads((folder / "model.json").read_text())
    del described["sha256"]
    _files.write_sealed(folder / "model.json", described | change)


def copy_of(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "must have format 2 .*, got 1. Train it again"),
        ({"sizes": [4, -1, 3]}, "model.json is damaged: sizes"),
        ({"sizes": None}, "model.json is damaged: the field 'sizes'"),
        ({"sizes": [4, 8, 2]}, "model.json is damaged: sizes must begin with 4 features and end with 3"),
        ({"sizes": ["scalar", "scalar"]}, "model.json is damaged: sizes"),
        ({"scaler": {"shift": [0.0]}}, "model.json is damaged: the field 'scaler'"),
        ({"scaler": {"shift": [0.0], "scale": [1.0]}}, "a shift and a scale for each feature"),
        ({"scaler": {"shift": [0.0] * 4, "scale": [0.0] * 4}}, "is damaged: scale must be above 0"),
        ({"target_scaler": {"shift": 0.0, "scale": 1.0}}, "a regression must have a target_scaler"),
        ({"class_names": []}, "model.json is damaged: sizes"),
        ({"class_names": [1, 2, 3]}, "model.json is damaged: the field 'class_names'"),
        ({"activation": ["relu"]}, "model.json is damaged: the field 'activation'"),
        ({"encoder": 3}, "model.json is damaged: the field 'encoder'"),
        ({"encoder": {"names": 5}}, "model.json is damaged"),
        ({"dropout": 2.0}, "model.json is damaged: dropout"),
        ({"files": {}}, "model.json is damaged: the field 'files'"),
        ({"files": {"model.safetensors": "0", "history.csv": "0"}}, "belongs to another run"),
        ({"sizes": [4, 9, 3]}, "does not hold the weights"),
    ],
)
def test_a_sealed_description_that_does_not_fit_is_refused(folder, tmp_path, change, message):
    place = copy_of(folder, tmp_path)
    reseal(place, change)
    with pytest.raises(ValueError, match=message):
        load_table_model(place)


def test_each_changed_digit_of_a_description_is_refused(folder, tmp_path):
    place = copy_of(folder, tmp_path)
    whole = (place / "model.json").read_bytes()
    digits = [i for i, byte in enumerate(whole) if chr(byte).isdigit()]
    assert len(digits) > 200
    for i in digits[::3]:
        (place / "model.json").write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        with pytest.raises(ValueError, match=r"model\.json"):
            load_table_model(place)


def test_the_weights_of_another_model_are_refused(folder, iris, tmp_path):
    place = copy_of(folder, tmp_path)
    other = jax.tree.map(lambda a: a + 1, iris.predictor.model)
    fn.save_weights(other, place / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged, or belongs to another run"):
        load_table_model(place)


class Killed(BaseException):
    pass


def kill_after(monkeypatch, calls):
    """The process ends at a call to the file system, the one after so many."""
    left = [calls]

    def wrap(function):
        def call(*args, **settings):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return function(*args, **settings)

        return call

    for owner, name in ((os, "replace"), (os, "open"), (os, "fsync"), (Path, "rename"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, wrap(getattr(owner, name)))
    monkeypatch.setattr(shutil, "rmtree", wrap(shutil.rmtree))


def test_a_model_folder_holds_the_old_model_or_the_new_one_after_a_kill_at_any_moment(
    iris, tmp_path, monkeypatch
):
    model = jax.tree.map(lambda a: a + 1, iris.predictor.model)
    newer = dataclasses.replace(iris, predictor=dataclasses.replace(iris.predictor, model=model))
    monkeypatch.setattr("funcnet.report._epochs.history_png", lambda run: b"PNG")
    outcomes = []
    for calls in range(200):
        place = tmp_path / str(calls)
        iris.save(place)
        (place / "notes.txt").write_text("mine")
        with monkeypatch.context() as patch:
            kill_after(patch, calls)
            try:
                newer.save(place)
                killed = False
            except Killed:
                killed = True
        outcomes.append(load_table_model(place).model == model)
        assert outcomes[-1] or load_table_model(place).model == iris.predictor.model
        assert read_run(place).problem == ""
        assert len(find_runs(place)) == 1
        iris.save(place)
        assert load_table_model(place).model == iris.predictor.model
        names = {"model.safetensors", "model.json", "history.csv", "curves.png", "notes.txt"}
        assert {p.name for p in place.iterdir()} == names
        if not killed:
            break
    assert not killed
    assert outcomes == sorted(outcomes), "the new model was there, and then the old one again"
    assert set(outcomes[:-1]) == {True, False}


def test_links_and_permissions_of_a_model_folder_stay(iris, tmp_path):
    place = tmp_path / "model"
    iris.save(place)
    (place / "model.json").chmod(0o600)
    (place / "model.safetensors").rename(tmp_path / "weights")
    (place / "model.safetensors").symlink_to("../weights")
    iris.save(place)
    assert (place / "model.json").stat().st_mode & 0o777 == 0o600
    assert (place / "model.safetensors").is_symlink()
    assert load_table_model(place).model == iris.predictor.model


def test_settings_of_numpy_are_saved(iris, tmp_path):
    settings = {"hidden": (np.int64(8),), "epochs": np.int64(12), "learning_rate": np.float32(0.5)}
    dataclasses.replace(iris, settings=settings).save(tmp_path)
    saved = json.loads((tmp_path / "model.json").read_text())["settings"]
    assert saved == {"hidden": [8], "epochs": 12, "learning_rate": 0.5}


def test_what_cant_fit_into_memory_is_refused_with_the_bytes_it_needs():
    for settings in ({"hidden": (2**31 - 1,)}, {"hidden": (10**6, 10**6)}, {"epochs": 10**13}):
        with pytest.raises(ValueError, match=r"need [\d,.]+ [GT]iB, and [\d,.]+ GiB are available"):
            fit_table(fn.data.load("iris"), **settings)


@pytest.mark.parametrize(
    ("path", "error"), [(None, TypeError), (3, TypeError), (b"x", TypeError), ("", ValueError)]
)
def test_wrong_folders_are_refused(path, error, iris):
    for call in (iris.save, load_table_model):
        with pytest.raises(error, match="folder must be a path, got"):
            call(path)


def test_scalers_are_fitted_on_the_training_rows_only():
    table = line_table()
    parts = split_table(table, jax.random.key(0))
    model, (train, *_) = prepare(table, parts, (4,))
    x, y = (np.asarray(a) for a in parts[0][:])
    np.testing.assert_allclose(model.scaler.shift, x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(model.target_scaler.scale, y.std(), rtol=1e-5)
    scaled_x, scaled_y = train[:]
    np.testing.assert_allclose(scaled_x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(float(scaled_y.std()), 1, rtol=1e-4)


def test_parts_are_stratified_and_share_no_row():
    table = fn.data.load("wine")
    row = np.arange(len(table.data), dtype=np.float32)
    marked = dataclasses.replace(table, arrays=fn.data.Dataset((row[:, None], table.data[:][1])))
    parts = split_table(marked, jax.random.key(3))
    assert sorted(np.concatenate([part[:][0].ravel() for part in parts]).tolist()) == row.tolist()
    whole = np.bincount(table.data[:][1]) / len(row)
    for part in parts:
        assert np.abs(np.bincount(part[:][1]) - whole * len(part)).max() <= 1.5


def test_a_standard_split_is_kept():
    x = np.arange(70, dtype=np.float32)[:, None]
    data = fn.data.Dataset((x, np.arange(70, dtype=np.int32) % 2))
    table = fn.data.Table("standard", data, ("pixel 0",), "class", ("even", "odd"), standard_split=(60, 10))
    train, valid, test = split_table(table, jax.random.key(0))
    assert test[:][0].ravel().tolist() == list(range(60, 70))
    assert (len(train), len(valid)) == (50, 10)
    assert sorted(np.concatenate([train[:][0], valid[:][0]]).ravel().tolist()) == list(range(60))
    assert int(valid[:][1].sum()) == 5


def test_pixels_share_one_scale():
    table = fn.data.load("digits")
    model, _ = prepare(table, split_table(table, jax.random.key(0)), (4,))
    assert model.scaler.scale.shape == ()


@pytest.mark.slow
def test_a_class_may_be_missing_in_a_part():
    x = np.linspace(0, 1, 20, dtype=np.float32)[:, None]
    y = np.array([0] * 10 + [1] * 9 + [2], np.int32)
    table = fn.data.Table("rare", fn.data.Dataset((x, y)), ("x",), "class", ("a", "b", "c"))
    result = fit_table(table, hidden=(4,), epochs=2)
    assert all(np.isfinite(list(values.values())).all() for values in result.metrics.values())
    assert result.predictor.predict_proba(x).shape == (20, 3)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"hidden": (0,)}, ValueError, r"hidden\[0\] must be at least 1"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate"),
        ({"patience": -1}, ValueError, "patience"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 0.5}, TypeError, "seed must be an integer"),
    ],
)
def test_settings_out_of_range(settings, error, message):
    with pytest.raises(error, match=message):
        fit_table(line_table(), **settings)


def test_features_of_the_wrong_shape_raise(iris):
    with pytest.raises(ValueError, match=r"features must have shape \[rows, 4\].*got shape \(2, 3\)"):
        iris.predictor.predict(np.zeros((2, 3)))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A table with text and missing values: the price depends on the town, plus 3 per square metre."""
    random = np.random.default_rng(0)
    town, area = random.choice(["Oslo", "Rome", "Lima"], 90), random.uniform(10, 90, 90).round(1)
    price = 3 * area + np.where(town == "Rome", 200, 0)
    cells = np.where(random.uniform(size=(90, 2)) < 0.1, "", np.column_stack([area.astype(str), town]))
    path = tmp_path_factory.mktemp("mixed") / "rents.csv"
    rows = [",".join([*row, f"{p:.2f}"]) for row, p in zip(cells, price, strict=True)]
    path.write_text("\n".join(["area,town,price", *rows]) + "\n")
    return fit_table(fn.data.load(path), hidden=(16,), epochs=60)


def test_encoders_are_fitted_on_the_training_rows_only(mixed):
    assert mixed.predictor.model.sizes[0] == 4
    assert mixed.metrics["test"]["absolute_error"] < 60  # of a standard deviation of 120
    train, *_ = split_table(mixed.table, _keys.fold_in_name(jax.random.key(0), "split"))
    encoder, scaler = mixed.predictor.encoder, mixed.predictor.scaler
    assert encoder == fn.data.Encoder.fit(train)
    np.testing.assert_array_equal(scaler.shift[1:], 0)  # categories stay zeros and ones
    np.testing.assert_array_equal(scaler.scale[1:], 1)
    areas = np.asarray(encoder.transform(train)[:][0][:, 0])
    np.testing.assert_allclose([scaler.shift[0], scaler.scale[0]], [areas.mean(), areas.std()], rtol=1e-5)


def test_a_loaded_encoder_reads_new_rows(mixed, tmp_path):
    mixed.save(tmp_path / "model")
    loaded = load_table_model(tmp_path / "model")
    x, _ = mixed.table.data[:]
    assert loaded.encoder == mixed.predictor.encoder
    np.testing.assert_array_equal(loaded.predict(x), mixed.predictor.predict(x))
    (tmp_path / "new.csv").write_text("town,area\nRome,50\nParis,50\n,50\nRome,\n")
    rome, paris, no_town, no_area = loaded.predict(loaded.encoder.read(tmp_path / "new.csv"))
    common, median = loaded.encoder.fill[1], loaded.encoder.fill[0]
    (tmp_path / "new.csv").write_text(f"town,area\n{common},50\nRome,{median}\n")
    expected = loaded.predict(loaded.encoder.read(tmp_path / "new.csv"))
    np.testing.assert_array_equal([no_town, no_area], expected)
    assert rome - paris > 50
    with pytest.raises(TypeError, match="raw columns of a table"):
        loaded.predict(np.ones((2, 2)))


def test_a_damaged_encoder_raises(mixed, tmp_path):
    mixed.save(tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    for change, message in (
        ({"fill": [1.0]}, "damaged"),
        ({"fill": [1.0, "Bonn"]}, "got str 'Bonn'"),
    ):
        reseal(tmp_path, {"encoder": described["encoder"] | change})
        with pytest.raises(ValueError, match=message):
            load_table_model(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "accuracy"), [("iris", 28 / 30), ("digits", 0.96)])
def test_the_defaults_are_accurate_on_small_tables(name, accuracy):
    table = fn.data.load(name)
    accuracies = [fit_table(table, seed=seed).metrics["test"]["accuracy"] for seed in range(5)]
    assert np.median(accuracies) >= accuracy - 1e-6, accuracies
