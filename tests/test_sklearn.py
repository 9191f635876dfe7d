"""The estimators keep scikit-learn's rules, and work in other people's hands."""

import copy
import dataclasses
import json
import os
import pickle
import warnings
from pathlib import Path

import jax
import joblib
import numpy as np
import optax
import pandas
import polars
import pytest
from sklearn import set_config
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_iris, make_regression
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import estimator_checks_generator

import funcnet as fn
from funcnet import _files
from funcnet.data import Table
from funcnet.report._runs import find_runs, read_run
from funcnet.sklearn import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor
from funcnet.sklearn._folds import make_folds
from funcnet.sklearn._target import weigh_classes
from funcnet.tabular import Schema
from funcnet.tabular._features import Features
from funcnet.tabular._interval import cv_plus
from funcnet.tabular._merge import merge_equal_rows

QUICK = {"cv": None, "members": 1, "max_iter": 30, "hidden_layer_sizes": (16,)}
TINY = {"cv": None, "max_iter": 3, "hidden_layer_sizes": (8,), "members": 1}
FOLDS = {"cv": 3, "members": 1, "max_iter": 30, "hidden_layer_sizes": (16,)}


def small_net(n_features, n_outputs):
    return fn.MLP((n_features, 16, n_outputs))


# For checks that need no accuracy.
TINY_ESTIMATORS = [
    MLPClassifier(**TINY),
    MLPRegressor(**TINY),
    NetClassifier(small_net, epochs=3),
    NetRegressor(small_net, epochs=3),
]

# scikit-learn's own checks of these are quick, and each has failed once while this was written.
QUICK_CHECKS = {
    *("check_classifiers_one_label", "check_classifiers_regression_target", "check_complex_data"),
    *("check_dict_unchanged", "check_dont_overwrite_parameters", "check_dtype_object"),
    *("check_estimators_empty_data_messages", "check_estimators_nan_inf", "check_estimators_pickle"),
    *("check_fit1d", "check_fit2d_1sample", "check_dataframe_column_names_consistency"),
    *(
        "check_methods_subset_invariance",
        "check_n_features_in_after_fitting",
        "check_no_attributes_set_in_init",
    ),
    *("check_sample_weight_equivalence_on_dense_data", "check_all_zero_sample_weights_error"),
    *("check_supervised_y_2d", "check_supervised_y_no_nan", "check_estimator_sparse_array"),
}


# Regressors and networks share most of their code with the MLPClassifier.
NET_CHECKS = {
    *("check_dataframe_column_names_consistency", "check_estimators_nan_inf", "check_estimators_pickle"),
    *("check_sample_weight_equivalence_on_dense_data", "check_supervised_y_2d", "check_fit2d_1sample"),
}


def checks(estimators, names=None):
    for estimator in estimators:
        for instance, check in estimator_checks_generator(estimator, mark=None):
            name = check.func.__name__
            if names is None or name in names:
                yield pytest.param(instance, check, id=f"{type(instance).__name__}-{name}")


def run_check(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize(
    ("estimator", "check"),
    [*checks(TINY_ESTIMATORS[:1], QUICK_CHECKS), *checks(TINY_ESTIMATORS[1:], NET_CHECKS)],
)
def test_some_checks_of_scikit_learn(estimator, check):
    run_check(estimator, check)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "check"),
    list(checks([MLPClassifier(), MLPRegressor(), NetClassifier(small_net), NetRegressor(small_net)])),
)
def test_all_checks_of_scikit_learn(estimator, check):
    run_check(estimator, check)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True, as_frame=True)
    species = np.array(["setosa", "versicolor", "virginica"], object)[y]
    return X.assign(colour=np.where(X.iloc[:, 2] > 4, "red", "NA")), species


@pytest.fixture(scope="module")
def classifier(iris):
    return MLPClassifier(**FOLDS, random_state=1).fit(*iris)


@pytest.fixture(scope="module")
def regressor():
    X, y = load_diabetes(return_X_y=True)
    return MLPRegressor(**FOLDS, random_state=1).fit(X, y), X, y


def test_classes_survive_to_the_letter(iris, classifier):
    X, y = iris
    assert classifier.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert classifier.score(X, y) > 0.9
    assert set(classifier.predict(X[:5])) == {"setosa"}
    for labels in (
        ["007", "7", "07"],
        ["None", "NA", "nan"],
        [3, 1, 2],
        [True, False, True],
        ["a ", "a", "A"],
    ):
        target = np.array(labels * 10, object if isinstance(labels[0], str) else None)
        model = MLPClassifier(**QUICK).fit(X[:30], target)
        assert model.classes_.tolist() == sorted(set(labels))
        assert set(model.predict(X[:30]).tolist()) <= set(labels)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.array(["2024-01-01"] * 10, "datetime64[D]"), ValueError, "got dates"),
        (["a"] * 10, ValueError, "at least two classes"),
        ([None, *"abcdefghi"], ValueError, "contains NaN, in row 0"),
        ([1.5, *range(9)], ValueError, "continuous"),
        ([1, "a"] * 5, TypeError, "all numbers or all text"),
        (["a", "b"] * 4, ValueError, "one entry for each of the 10 rows"),
    ],
)
def test_a_target_that_is_not_classes_is_refused(y, error, message):
    if isinstance(y, list) and len({type(v) for v in y}) > 1:
        y = np.array(y, object)
    with pytest.raises(error, match=message):
        MLPClassifier(**QUICK).fit(np.arange(10.0)[:, None], y)


def test_a_numeric_target_may_be_decimals_and_dates_are_refused():
    import decimal

    X = np.linspace(0, 1, 20)[:, None]
    y = np.array([decimal.Decimal(f"{i}.5") for i in range(20)], object)
    same = MLPRegressor(**QUICK).fit(X, y.astype(float))
    np.testing.assert_array_equal(MLPRegressor(**QUICK).fit(X, y).predict(X), same.predict(X))
    with pytest.raises(TypeError, match="got dates"):
        MLPRegressor(**QUICK).fit(X, np.arange(20).astype("datetime64[D]"))
    with pytest.raises(ValueError, match="y must hold numbers, got 'a'"):
        MLPRegressor(**QUICK).fit(X, ["a"] * 20)


def test_pandas_and_polars_frames_give_the_same_model(iris, classifier):
    X, y = iris
    frame = polars.DataFrame(X.to_dict("list"))
    model = MLPClassifier(**FOLDS, random_state=1).fit(frame, polars.Series(y))
    assert model.feature_names_in_.tolist() == X.columns.tolist()
    np.testing.assert_array_equal(model.predict_proba(frame), classifier.predict_proba(X))


def test_new_rows_may_be_dictionaries_in_any_order_of_columns(iris, classifier):
    X, _ = iris
    expected = classifier.predict_proba(X)
    turned = X[X.columns[::-1]]
    for rows in (turned.to_dict("list"), turned.to_dict("records")):
        np.testing.assert_array_equal(classifier.predict_proba(rows), expected)
    with pytest.raises(ValueError, match=r"now missing:\n- colour"):
        classifier.predict([{X.columns[1]: 1.0, X.columns[2]: 1.0, X.columns[3]: 1.0}])


def test_equal_seeds_agree_and_others_do_not(iris):
    X, y = iris
    a, b = (MLPClassifier(**FOLDS).fit(X, y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(MLPClassifier(**FOLDS, random_state=5).fit(X, y).predict_proba(X), a)
    state = np.random.RandomState(3)
    first = MLPClassifier(**FOLDS, random_state=state).fit(X, y).predict_proba(X)
    assert not np.array_equal(MLPClassifier(**FOLDS, random_state=state).fit(X, y).predict_proba(X), first)


def test_a_second_fit_of_the_same_shape_compiles_nothing(iris):
    X, y = iris
    MLPClassifier(**FOLDS).fit(X, y).predict(X[:9])  # other tests may have cleared the caches
    compiled = []

    def note(event, seconds, **_):
        compiled.extend([event] * ("backend_compile" in event))

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        jax.jit(lambda x: x + 2)(1.0)
        assert len(compiled) == 1, "the event is called something else now"
        MLPClassifier(**FOLDS, random_state=7).fit(X[::-1], y[::-1]).predict(X[:9])
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert len(compiled) == 1


def test_five_rows_train_and_a_failed_fit_leaves_an_unfitted_estimator():
    X, y = np.arange(5.0)[:, None], ["a", "b", "a", "b", "a"]
    model = MLPClassifier(max_iter=5, early_stopping=False).fit(X, y)
    assert model.predict(X).shape == (5,)
    with pytest.raises(ValueError, match="held-out rows"):
        model.report()
    lower, upper = MLPRegressor(max_iter=5, cv=5).fit(X, X[:, 0]).predict_interval(X)
    assert np.isinf([lower, upper]).all(), "five rows can't promise 90 %"
    with pytest.raises(ValueError, match="only one class"):
        model.fit(X, ["a"] * 5)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_it_works_in_the_tools_of_scikit_learn(iris):
    X, y = iris
    numbers = X.drop(columns="colour")
    model = MLPClassifier(**{**QUICK, "max_iter": 100})
    set_config(transform_output="pandas")
    try:
        pipeline = make_pipeline(StandardScaler(), model).fit(numbers, y)
        assert pipeline.score(numbers, y) > 0.9
    finally:
        set_config(transform_output="default")
    assert pipeline[-1].feature_names_in_.tolist() == numbers.columns.tolist()
    scaled = make_pipeline(StandardScaler().set_output(transform="polars"), model).fit(numbers, y)
    assert scaled.score(numbers, y) > 0.9
    assert cross_val_score(model, X, y, cv=3).mean() > 0.9
    assert cross_val_predict(model, X, y, cv=3, method="predict_proba").shape == (150, 3)
    calibrated = CalibratedClassifierCV(model, cv=2).fit(X, y)
    assert calibrated.score(X, y) > 0.9
    stack = StackingClassifier([("mlp", model), ("mlp2", clone(model).set_params(random_state=2))], cv=2)
    assert stack.fit(X, y).score(X, y) > 0.9
    importance = permutation_importance(scaled, numbers, y, n_repeats=2, random_state=0)
    assert importance.importances_mean.shape == (4,)


@pytest.mark.slow
def test_grid_search_in_two_processes(iris):
    X, y = iris
    grid = {"alpha": [0.01, 1.0], "hidden_layer_sizes": ["auto", (8,)]}
    model = MLPClassifier(**QUICK | {"max_iter": 100})
    search = GridSearchCV(model, grid, n_jobs=2, cv=2).fit(X, y)
    assert search.best_score_ > 0.9
    assert search.best_params_.keys() == grid.keys()


def test_copies_give_the_same_predictions(iris, classifier, tmp_path):
    X, _ = iris
    joblib.dump(classifier, tmp_path / "model.joblib")
    classifier.save(tmp_path / "model")
    others = {
        "pickle": pickle.loads(pickle.dumps(classifier)),
        "copy": copy.deepcopy(classifier),
        "joblib": joblib.load(tmp_path / "model.joblib"),
        "load": MLPClassifier.load(tmp_path / "model"),
    }
    for name, other in others.items():
        np.testing.assert_array_equal(other.predict_proba(X), classifier.predict_proba(X), err_msg=name)
        assert other.report() == classifier.report()
        assert other.get_params() == classifier.get_params()
        assert other.loss_curve_ == classifier.loss_curve_
    unfitted = clone(classifier)
    with pytest.raises(NotFittedError):
        unfitted.predict(X)


def test_saved_files_that_changed_are_refused(classifier, regressor, tmp_path):
    classifier.save(tmp_path)
    classifier.save(tmp_path)  # again, into the same folder
    arrays, description, _, schema = sorted(tmp_path.iterdir())
    assert arrays.suffix == ".safetensors"
    assert Schema.from_dict(json.loads(schema.read_text())) == classifier.schema_
    with pytest.raises(ValueError, match="contains a MLPClassifier"):
        MLPRegressor.load(tmp_path)
    content = arrays.read_bytes()
    arrays.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="damaged"):
        MLPClassifier.load(tmp_path)
    description.write_text(description.read_text().replace("setosa", "setose"))
    with pytest.raises(ValueError, match="has changed"):
        MLPClassifier.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="contains no trained model"):
        MLPClassifier.load(tmp_path / "other")
    with pytest.raises(ValueError, match="joblib"):
        MLPClassifier(**QUICK, preprocessing=StandardScaler()).fit([[1.0], [2.0]], [0, 1]).save(tmp_path)


def changed(value, path, new):
    """A copy of nested dictionaries with another value at a path."""
    name, *rest = path
    return value | {name: changed(value[name], rest, new) if rest else new}


PARTS = {
    "no members": (("attributes", "members_"), None, "members_ must be Members"),
    "no classes": (("attributes", "classes_"), {"list": []}, "classes_ must be an array, got list"),
    "another task": (("attributes", "_task"), "labels", "the task and the outputs of the estimator"),
    "a number of columns": (("attributes", "n_features_in_"), 3, "schema_ must have 3 columns, got 5"),
    "a schema of text": (("attributes", "schema_"), "x", "schema_ must be a Schema"),
    "no epochs": (("attributes", "n_iter_"), 0, "n_iter_ must be at least 1"),
    "rows beyond the end": (("attributes", "_rows"), {"list": [500]}, "is damaged"),
    "an unknown kind": (("attributes", "_rows"), {"code": "import os"}, "is damaged: 'code'"),
    "an unknown array": (("attributes", "_target"), {"array": "99"}, "is damaged: '99'"),
    "no attributes": (("attributes",), {}, "has no attribute 'n_features_in_'"),
    "an unknown parameter": (("parameters",), {"depth": 3}, "unexpected keyword argument 'depth'"),
    "files elsewhere": (("files", "arrays"), "../arrays", "'../arrays' is not the name of a file"),
    "a name that is not text": (
        ("attributes", "feature_names_in_", "texts"),
        [["a"], "b", "c", "d", "e"],
        "texts must be strings",
    ),
    "a history of text": (("run", "history"), {"loss": ["x"]}, "the field 'run'"),
}


@pytest.mark.parametrize("case", PARTS)
def test_sealed_parts_that_do_not_fit_are_refused(case, classifier, tmp_path):
    path, new, message = PARTS[case]
    classifier.save(tmp_path)
    description = json.loads((tmp_path / "estimator.json").read_text())
    del description["sha256"]
    _files.write_sealed(tmp_path / "estimator.json", changed(description, path, new))
    with pytest.raises(ValueError, match=rf"estimator\.json.*{message}"):
        MLPClassifier.load(tmp_path)


NETWORKS = {
    "another number of outputs": ({"outputs": 4}, "weight_1 must be numbers of shape"),
    "fewer inputs": ({"numbers": 0}, "weight_0 must be numbers of shape"),
    "an unknown activation": ({"activation": "step"}, "activation must be one of"),
    "hidden sizes of text": ({"hidden": "x"}, "'hidden' of Network must be of type"),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_a_sealed_network_that_does_not_fit_is_refused(case, classifier, tmp_path):
    change, message = NETWORKS[case]
    classifier.save(tmp_path)
    description = json.loads((tmp_path / "estimator.json").read_text())
    del description["sha256"]
    members = dict(description["attributes"]["members_"]["Members"]["pairs"])
    pairs = members["network"]["Network"]["pairs"]
    pairs[:] = [[name, change.get(name, value)] for name, value in pairs]
    _files.write_sealed(tmp_path / "estimator.json", description)
    with pytest.raises(ValueError, match=message):
        MLPClassifier.load(tmp_path)


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


def test_a_folder_holds_the_old_estimator_or_the_new_one_after_a_kill_at_any_moment(
    iris, classifier, tmp_path, monkeypatch
):
    X, _ = iris
    newer = copy.deepcopy(classifier)
    newer.members_ = dataclasses.replace(classifier.members_, temperature=0.5)
    old, new = classifier.predict_proba(X[:5]), newer.predict_proba(X[:5])
    outcomes = []
    for calls in range(200):
        place = tmp_path / str(calls)
        classifier.save(place)
        (place / "notes.txt").write_text("mine")
        with monkeypatch.context() as patch:
            kill_after(patch, calls)
            try:
                newer.save(place)
                killed = False
            except Killed:
                killed = True
        loaded = MLPClassifier.load(place).predict_proba(X[:5])
        outcomes.append((loaded == new).all())
        assert outcomes[-1] or (loaded == old).all()
        assert read_run(place).problem == ""
        classifier.save(place)
        kinds = sorted(p.name.split("-")[0] for p in place.iterdir() if p.suffix != ".part")
        assert kinds == ["arrays", "estimator.json", "history.csv", "notes.txt", "schema.json"]
        if not killed:
            break
    assert not killed
    assert outcomes == sorted(outcomes), "the new estimator was there, and then the old one again"
    assert set(outcomes[:-1]) == {True, False}


def test_links_and_permissions_of_a_folder_stay(classifier, tmp_path):
    place = tmp_path / "model"
    classifier.save(place)
    (place / "estimator.json").rename(tmp_path / "described")
    (place / "estimator.json").symlink_to("../described")
    (tmp_path / "described").chmod(0o600)
    classifier.save(place)
    assert (place / "estimator.json").is_symlink()
    assert (tmp_path / "described").stat().st_mode & 0o777 == 0o600
    assert MLPClassifier.load(place).get_params() == classifier.get_params()


def test_saved_estimators_are_listed_with_their_history(classifier, tmp_path):
    classifier.save(tmp_path / "a")
    NetRegressor(small_net, epochs=3).fit(np.eye(8), np.arange(8.0)).save(tmp_path / "b")
    first, second = find_runs(tmp_path)
    np.testing.assert_allclose(first.history["loss"], classifier.loss_curve_, rtol=1e-5)
    assert (first.problem, second.epochs, second.outcome) == ("", "3 of 3", "finished")


def test_a_regressor_is_saved_with_its_intervals(regressor, tmp_path):
    model, X, _ = regressor
    model.save(tmp_path)
    other = MLPRegressor.load(tmp_path)
    np.testing.assert_array_equal(other.predict_interval(X), model.predict_interval(X))
    np.testing.assert_array_equal(other.uncertainty(X), model.uncertainty(X))


def test_report_agrees_with_scikit_learn(iris, classifier, regressor, tmp_path):
    X, y = iris
    report = classifier.report(X=X, y=y)
    assert report["accuracy"] == classifier.score(X, y)
    assert report["log_loss"] == pytest.approx(log_loss(y, classifier.predict_proba(X)))
    assert report["baseline"]["log_loss"] == pytest.approx(np.log(3))
    model, X, y = regressor
    report = model.report(tmp_path / "report.json", X=X, y=y)
    assert report["r2"] == pytest.approx(model.score(X, y))
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert report["baseline"]["rmse"] == pytest.approx(y.std())
    assert model.report()["rmse"] > report["rmse"], "out of fold"
    with pytest.raises(ValueError, match="together"):
        model.report(X=X)
    with pytest.raises(ValueError, match=r"\.json"):
        model.report("report.pdf")


def test_report_of_two_classes_has_the_area_under_the_curve(iris):
    X, _ = iris
    noisy = (np.asarray(X.iloc[:, 1]) + np.random.default_rng(0).normal(size=150) > 3).astype(int)
    model = MLPClassifier(**FOLDS).fit(X, noisy, sample_weight=np.arange(150.0))
    report = model.report()
    weight, p = np.arange(150.0), model.out_of_fold_[:, 1]
    assert np.isnan(p[0])
    expected = roc_auc_score(noisy[1:], p[1:], sample_weight=weight[1:])
    assert report["auc"] == pytest.approx(expected)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_intervals_cover_what_they_promise(coverage):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(2400, 2))
    y = 3 * X[:, 0] + X[:, 1] ** 2 + rng.normal(scale=0.5, size=2400)
    model = MLPRegressor(**FOLDS).fit(X[:400], y[:400])
    lower, upper = model.predict_interval(X[400:], coverage)
    share = np.mean((lower <= y[400:]) & (y[400:] <= upper))
    # The thresholds themselves come from 400 residuals: three standard errors of both.
    error = 3 * np.sqrt(coverage * (1 - coverage) * (1 / 400 + 1 / 2000))
    assert abs(share - coverage) < error + 0.02
    assert (lower < model.predict(X[400:])).all()


def test_cv_plus_is_the_quantile_of_its_definition():
    rng = np.random.default_rng(0)
    predictions, residuals = rng.normal(size=(3, 7)), rng.exponential(size=50)
    pattern = rng.integers(0, 3, size=50)
    for coverage in (0.5, 0.8, 0.9):
        lower, upper = cv_plus(predictions, residuals, pattern, coverage)
        low = np.sort(predictions[pattern] - residuals[:, None], axis=0)
        high = np.sort(predictions[pattern] + residuals[:, None], axis=0)
        np.testing.assert_allclose(lower, low[int(np.floor((1 - coverage) * 51 + 1e-9)) - 1], rtol=1e-12)
        np.testing.assert_allclose(upper, high[int(np.ceil(coverage * 51 - 1e-9)) - 1], rtol=1e-12)
    assert np.isinf(cv_plus(predictions, residuals[:8], pattern[:8], 0.9)).all(), "too few rows"
    assert np.isfinite(cv_plus(predictions, residuals[:9], pattern[:9], 0.9)).all()


def test_several_targets_and_labels():
    X, y = make_regression(120, 4, n_targets=2, noise=5.0, random_state=0)
    model = MLPRegressor(**FOLDS).fit(X, y)
    lower, upper = model.predict_interval(X)
    assert model.predict(X).shape == lower.shape == upper.shape == (120, 2)
    assert 0.8 < np.mean((lower <= y) & (y <= upper)) <= 1
    assert model.uncertainty(X).total.shape == (120, 2)
    labels = (y > 0).astype(int)
    classifier = MLPClassifier(**FOLDS).fit(X, labels)
    assert classifier.predict_proba(X).shape == (120, 2)
    assert classifier.score(X, labels) > 0.8
    assert classifier.report()["label_accuracy"] > classifier.report()["baseline"]["label_accuracy"]
    assert classifier.uncertainty(X).total.shape == (120,)


def test_uncertainty_adds_up_and_knows_where_it_does_not_know(iris, classifier):
    X, _ = iris
    parts = classifier.uncertainty(X)
    np.testing.assert_allclose(parts.total, parts.aleatoric + parts.epistemic, atol=1e-12)
    assert (parts.total <= np.log(3) + 1e-12).all()
    assert parts.total[:50].mean() < parts.total[50:].mean(), "setosa is far from the others"


FIRST, SECOND = range(20), range(20, 40)


@pytest.mark.parametrize(
    "cv",
    [
        None,
        4,
        "auto",
        ShuffleSplit(3, random_state=0),
        [(FIRST, SECOND), (SECOND, FIRST)],
    ],
)
def test_cv_is_what_scikit_learn_takes(cv):
    X = np.linspace(0, 1, 40)[:, None]
    early_stopping = False if cv is None else "auto"
    model = MLPRegressor(cv=cv, members=1, max_iter=5, early_stopping=early_stopping).fit(X, X[:, 0])
    held_out = ~np.isnan(model.out_of_fold_)
    if cv is None:
        assert not held_out.any()
        with pytest.raises(ValueError, match=r"predict_interval needs .* Try cv=5"):
            model.predict_interval(X)
    else:
        assert held_out.all() or isinstance(cv, ShuffleSplit)
        assert np.isfinite(model.predict_interval(X, 0.8)).all()


@pytest.mark.parametrize(
    ("cv", "error"),
    [(1, ValueError), (50, ValueError), ("loo", TypeError), (2.5, TypeError), ([(0, 99)], ValueError)],
)
def test_a_cv_that_is_none_is_refused(cv, error):
    with pytest.raises(error, match="cv must"):
        MLPRegressor(cv=cv).fit(np.arange(40.0)[:, None], np.arange(40.0))


def test_a_weight_of_two_is_a_repeated_row_in_any_order():
    rng = np.random.default_rng(0)
    X, y, weight = rng.normal(size=(12, 3)), rng.normal(size=12), rng.integers(0, 3, 12)
    repeated = np.repeat(np.arange(12), weight)[::-1]
    model = MLPRegressor(**QUICK, early_stopping=False)
    weighted = clone(model).fit(X, y, sample_weight=weight)
    plain = clone(model).fit(X[repeated], y[repeated])
    np.testing.assert_allclose(weighted.predict(X), plain.predict(X), rtol=1e-6)


def test_a_fold_of_a_bootstrap_repeats_its_rows():
    rng = np.random.default_rng(0)
    X, held_out = rng.normal(size=(80, 2)), np.arange(40, 80)
    y = X[:, 0] + rng.normal(size=80)

    def fit(rows):
        return MLPRegressor(**{**QUICK, "cv": [(rows, held_out)]}, random_state=0).fit(X, y).predict(X)

    once = fit(np.arange(40))
    np.testing.assert_array_equal(fit(np.arange(40)), once)
    assert np.abs(fit(np.r_[np.arange(40), np.zeros(400, int)]) - once).max() > 0.01


def test_equal_rows_are_merged():
    numbers = np.array([[1.0, np.nan], [2, 0], [1, np.nan], [2, -0.0]])
    features, y = Features(numbers, np.zeros((4, 0), np.int32), ()), np.array([0, 1, 0, 1])
    first, weight, source = merge_equal_rows(features, y, np.arange(1.0, 5), np.zeros(4, int))
    assert sorted(weight) == [4.0, 6.0]
    assert (source[[0, 1]] == source[[2, 3]]).all()
    assert sorted(first) == [0, 1]
    groups = merge_equal_rows(features, y, np.ones(4), np.arange(4))
    assert len(groups[0]) == 4


@pytest.mark.parametrize("model", [MLPClassifier(**QUICK), NetClassifier(small_net)], ids=["MLP", "Net"])
def test_partial_fit_learns_pass_by_pass(iris, model):
    X, y = iris
    model = clone(model)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, y)
    model.partial_fit(X[:100], y[:100], classes=np.unique(y))
    assert model.classes_.tolist() == sorted(set(y))
    for _ in range(60):
        model.partial_fit(X, y)
    assert model.n_iter_ == 61
    assert model.score(X, y) > 0.85
    with pytest.raises(ValueError, match="classes must be those of the first call"):
        model.partial_fit(X, y, classes=["a", "b"])
    assert not hasattr(MLPClassifier(cv=5), "partial_fit")


def test_a_given_learning_rate_is_that_of_the_weights_as_they_are_applied():
    """A step of Adam moves an ordinary weight by about the learning rate; these are divided by √inputs."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(64, 4))
    model = MLPRegressor(cv=None, members=1, hidden_layer_sizes=(36,), learning_rate_init=1e-3)
    before, after = (
        np.asarray(model.partial_fit(X, X[:, 0]).members_.parameters["weight_1"]) for _ in range(2)
    )
    assert np.abs(after - before).max() / 36**0.5 == pytest.approx(1e-3, rel=0.5)


def test_a_warm_start_continues(iris):
    X, y = iris
    model = MLPClassifier(cv=3, members=1, max_iter=5, warm_start=True).fit(X, y)
    first = model.loss_curve_
    assert model.fit(X, y).loss_curve_[0] < first[0]
    cold = clone(model).set_params(warm_start=False).fit(X, y)
    assert cold.loss_curve_ == first
    with pytest.raises(ValueError, match="warm_start"):
        model.set_params(cv=4).fit(X, y)
    folds = MLPClassifier(max_iter=5, members=2, warm_start=True).fit(X, y)
    before = folds.predict_proba(X)
    folds.partial_fit(X, y)
    assert folds.members_.fold.shape == (10,), "all runs of the fit continue"
    assert np.abs(folds.predict_proba(X) - before).max() < 0.5


def test_class_weights_move_the_decision():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 1))
    y = (X[:, 0] + rng.normal(size=300) > 1.5).astype(int)
    plain = MLPClassifier(**FOLDS).fit(X, y)
    balanced = MLPClassifier(**FOLDS, class_weight="balanced").fit(X, y)
    assert balanced.predict(X).mean() > plain.predict(X).mean()
    by_hand = MLPClassifier(**FOLDS, class_weight={0: 1.0, 1: 100.0}).fit(X, y)
    assert by_hand.predict(X).mean() > 0.5


def test_class_weights_are_of_classes_by_name_whatever_rows_there_are():
    """scikit-learn takes a class "1" for the number 1, and its weights are checked against the rows."""
    y = np.array(["1", "2"] * 20)
    model = MLPClassifier(**TINY, class_weight={"1": 5.0, "2": 1.0}).fit(ROWS, y)
    by_number = MLPClassifier(**TINY, class_weight={1: 5.0}).fit(ROWS, y.astype(int))
    np.testing.assert_array_equal(model.predict_proba(ROWS), by_number.predict_proba(ROWS))
    assert by_number.report(X=ROWS[1::2], y=[2] * 20)["rows"] == 20
    for first in (MLPClassifier(**TINY), NetClassifier(small_net, epochs=1)):
        first.set_params(class_weight={"1": 5.0}).partial_fit(ROWS[1::2], y[1::2], classes=["1", "2"])
        with pytest.raises(ValueError, match="class_weight must be a dictionary or None for partial_fit"):
            first.set_params(class_weight="balanced").partial_fit(ROWS, y)


@pytest.mark.parametrize(
    "weight", ["balanced", {"a": 2.0, "b": 0.5}, {"b": 3}, {"c": 0, "a": 1, "b": 2, "x": 1}]
)
def test_class_weights_are_those_of_scikit_learn(weight):
    y = np.array(list("aabbbbc"))
    classes, numbers = np.unique(y, return_inverse=True)
    np.testing.assert_allclose(weigh_classes(weight, classes, numbers), compute_sample_weight(weight, y))


def test_preprocessing_is_a_schema_roles_or_a_transformer(iris):
    X, y = iris
    roles = MLPClassifier(**QUICK, preprocessing={"colour": "dropped"}).fit(X, y)
    assert roles.schema_.columns[-1].role == "dropped"
    schema = Schema.fit(X, missing=("NA",))
    assert MLPClassifier(**QUICK, preprocessing=schema).fit(X, y).schema_ == schema
    encoder = OneHotEncoder(sparse_output=False)
    model = MLPClassifier(**QUICK, preprocessing=encoder).fit(X[["colour"]], y)
    assert model.schema_.names == ("x0", "x1")
    assert not hasattr(encoder, "categories_"), "it is cloned"
    assert model.score(X[["colour"]], y) > 0.6
    with pytest.raises(TypeError, match="Sparse data is not supported"):
        MLPClassifier(preprocessing=OneHotEncoder()).fit(X[["colour"]], y)
    with pytest.raises(TypeError, match="preprocessing must be"):
        MLPClassifier(preprocessing=3).fit(X, y)
    with pytest.raises(ValueError, match="all were dropped"):
        MLPClassifier().fit(pandas.DataFrame({"a": [1.0] * 150}), y)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"hidden_layer_sizes": 1.5}, TypeError),
        ({"hidden_layer_sizes": (8, 0)}, ValueError),
        ({"activation": "step"}, ValueError),
        ({"alpha": -1.0}, ValueError),
        ({"batch_size": 0}, ValueError),
        ({"learning_rate_init": "fast"}, TypeError),
        ({"max_iter": 2.5}, TypeError),
        ({"early_stopping": 1}, TypeError),
        ({"validation_fraction": 1.0}, ValueError),
        ({"members": 0}, ValueError),
        ({"calibrate": "isotonic"}, TypeError),
        ({"random_state": "seed"}, TypeError),
        ({"random_state": -1}, ValueError),
        ({"warm_start": None}, TypeError),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(settings, error):
    (name,) = settings
    with pytest.raises(error, match=name):
        MLPRegressor(**settings).fit(np.arange(20.0)[:, None], np.arange(20.0))


def test_early_stopping_takes_validation_rows_without_folds():
    X = np.linspace(-1, 1, 200)[:, None]
    settings = {"max_iter": 40, "n_iter_no_change": 3, "validation_fraction": 0.1}
    model = MLPRegressor(cv=None, early_stopping=True, **settings).fit(X, X[:, 0])
    assert np.sum(~np.isnan(model.out_of_fold_)) == 20
    assert np.isfinite(model.predict_interval(X, 0.8)).all(), "a split conformal interval"


def test_verbose_prints_how_columns_are_read_and_what_was_chosen(iris, capsys):
    MLPClassifier(**QUICK, verbose=True).fit(*iris)
    printed = capsys.readouterr().out
    assert "colour" in printed
    assert "hidden_layer_sizes" in printed


def test_a_network_of_ones_own(iris, tmp_path):
    X, y = iris
    model = NetClassifier(
        small_net,
        loss=lambda logits, label: fn.losses.cross_entropy(logits, label, smoothing=0.1),
        optimizer=optax.adamw(1e-2),
        epochs=60,
        stopping=fn.EarlyStopping(patience=20),
    ).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.history_["val_loss"].shape == (model.n_iter_,)
    model.save(tmp_path)
    loaded = NetClassifier.load(tmp_path, small_net)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    with pytest.raises(ValueError, match="does not hold the weights"):
        NetClassifier.load(tmp_path, lambda a, b: fn.MLP((a, 3, b)))


def test_a_network_takes_images_as_they_are():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 8, 8, 1)).astype(np.float32)
    y = (X.mean(axis=(1, 2, 3)) > 0).astype(int)
    net = fn.Sequential(fn.layers.Flatten(3), fn.MLP((64, 8, 2)))
    model = NetClassifier(net, preprocessing=None, epochs=30).fit(X, y)
    assert model.score(X, y) > 0.8
    with pytest.raises(ValueError, match="NaN"):
        model.predict(np.full((1, 8, 8, 1), np.nan))


@pytest.mark.parametrize(
    ("net", "error", "message"),
    [
        (3, TypeError, "net must be a network"),
        (lambda a, b: None, TypeError, "net must be a network"),
        (fn.MLP((1, 8, 3)), ValueError, r"outputs of shape \(2,\)"),
    ],
)
def test_a_net_that_does_not_fit_is_refused(net, error, message):
    with pytest.raises(error, match=message):
        NetClassifier(net).fit(np.arange(10.0)[:, None], [0, 1] * 5)


def test_a_net_of_fixed_size_and_the_features_of_a_category():
    X = pandas.DataFrame({"a": np.arange(10.0), "b": ["u", "v", "w", "v", "u"] * 2})
    with pytest.raises(ValueError, match=r"net must take the 4 features that .* makes of 2 columns"):
        NetClassifier(fn.MLP((2, 8, 2))).fit(X, [0, 1] * 5)
    with pytest.raises(ValueError, match=r"net must have outputs of shape \(2,\)"):
        NetClassifier(fn.MLP((4, 8, 5))).fit(X, [0, 1] * 5)


def test_the_features_of_a_builtin_table_are_arrays_of_its_dataset():
    with pytest.raises(TypeError, match=r"got a Table. Write X, y = table.arrays.arrays\."):
        tiny_classes(fn.data.load("iris"))


def test_a_setting_of_fit_is_answered_by_those_of_the_constructor():
    for estimator in (MLPClassifier(), NetClassifier(fn.MLP((2, 2)))):
        with pytest.raises(TypeError, match=rf"{type(estimator).__name__}\.fit has no setting 'seed'\."):
            estimator.fit(ROWS, HALVES, seed=3)


TINY_FOLDS = {**TINY, "cv": 3}
ROWS = np.random.default_rng(0).normal(size=(40, 2))
HALVES, VALUES = np.arange(40) % 2, ROWS[:, 0] + 1


def tiny_classes(X=ROWS, y=HALVES, weight=None, **settings):
    return MLPClassifier(**{**TINY, **settings}).fit(X, y, sample_weight=weight)


def tiny_values(X=ROWS, y=VALUES, weight=None, **settings):
    return MLPRegressor(**{**TINY, **settings}).fit(X, y, sample_weight=weight)


KINDS = {
    "Int64": pandas.array([None if i % 7 == 0 else i % 5 for i in range(40)], dtype="Int64"),
    "boolean": pandas.array([None if i % 7 == 0 else bool(i % 3) for i in range(40)], dtype="boolean"),
    "string": pandas.array([None if i % 7 == 0 else "abc"[i % 3] for i in range(40)], dtype="string"),
    "category": pandas.Categorical(["abc"[i % 3] for i in range(40)], categories=["c", "b", "a", "z"]),
    "zone": pandas.date_range("2024-01-01", periods=40, freq="13h", tz="Europe/Berlin"),
    "timedelta": pandas.to_timedelta(np.arange(40) % 9, unit="h"),
    "period": pandas.period_range("2024-01", periods=40, freq="M"),
    "interval": pandas.cut(ROWS[:, 0], 4),
    "mixed": [[1, "a", 2.5, None, True][i % 5] for i in range(40)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_may_hold_a_column_of_any_kind(kind):
    X = pandas.DataFrame({"number": ROWS[:, 0], kind: KINDS[kind]}, index=[0] * 40)
    model = tiny_classes(X)
    p = model.predict_proba(X)
    assert np.isfinite(p).all()
    np.testing.assert_array_equal(model.predict_proba(X[3:5]), p[3:5])
    nothing = pandas.DataFrame({name: [None] * 3 for name in X})
    assert np.isfinite(model.predict_proba(nothing)).all()


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (pandas.DataFrame(ROWS, columns=["a", "a"]), ValueError, "different name for each column, got 'a'"),
        (pandas.DataFrame(index=range(40)), ValueError, r"0 feature\(s\)"),
        (polars.DataFrame({"a": VALUES}).lazy(), TypeError, r"got a LazyFrame. Try X.collect\(\)"),
        (polars.DataFrame({"a": VALUES}).to_arrow(), TypeError, r"got a Table. Try X.to_pandas\(\)"),
        (np.where(ROWS > 0, 1.7e308, -1.7e308), ValueError, "column 'x0' must hold numbers up to 1e"),
        (
            pandas.DataFrame({"a": VALUES}).assign(q=1.7e308 * HALVES),
            ValueError,
            "column 'q' must hold numbers up",
        ),
        (np.where(ROWS > 1, np.inf, ROWS), ValueError, "contains infinity: column 'x0'"),
        ("new.csv", TypeError, r"got a path. Try X=pandas.read_csv\('new.csv'\)"),
        (
            Table("", (ROWS, HALVES), ("a", "b"), "c"),
            TypeError,
            r"got a Table. Write X, y = table.arrays\.",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::polars.exceptions.PerformanceWarning")
def test_an_X_that_cannot_be_read_gets_a_sentence(X, error, message):
    with pytest.raises(error, match=message):
        tiny_classes(X)


def test_structs_and_masked_values_are_gaps():
    frame = polars.DataFrame({"a": VALUES}).with_columns(b=polars.struct("a"))
    with pytest.warns(UserWarning, match="column b holds 40 values that are neither numbers nor text"):
        assert tiny_classes(frame).schema_.columns[1].role != "number"
    mask = ROWS > 1
    masked = np.ma.masked_array(np.where(mask, 1e6, ROWS), mask)
    gaps = np.where(mask, np.nan, ROWS)
    np.testing.assert_array_equal(
        tiny_classes(masked).predict_proba(masked), tiny_classes(gaps).predict_proba(gaps)
    )
    with pytest.raises(ValueError, match="y contains NaN"):
        tiny_values(y=np.ma.masked_array(VALUES, mask[:, 0]))


def test_the_memory_layout_of_X_does_not_matter():
    expected = tiny_classes().predict_proba(ROWS)
    wide = np.zeros((80, 4))
    wide[::2, ::2] = ROWS
    frozen = ROWS.copy()
    frozen.flags.writeable = False
    for X in (wide[::2, ::2], np.asfortranarray(ROWS), frozen, ROWS.astype(">f8"), ROWS.tolist()):
        np.testing.assert_array_equal(tiny_classes(X).predict_proba(X), expected)
    half = ROWS.astype(np.float16)
    np.testing.assert_allclose(tiny_classes(half).predict_proba(half), expected, atol=0.05)


@pytest.mark.parametrize("scale", [1e30, 1e299, 1e-300, 1e-320])
def test_numbers_of_any_size_are_read(scale):
    X = np.round(ROWS) * scale
    assert np.isfinite(tiny_classes(X).predict_proba(X)).all()


@pytest.mark.parametrize("scale", [1e-320, 1e-30, 1e300, 1e308])
def test_only_ratios_of_weights_matter(scale):
    model = tiny_values(weight=np.full(40, scale))
    np.testing.assert_allclose(model.predict(ROWS), tiny_values().predict(ROWS), rtol=1e-5)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (VALUES * 1e300, "y must be at most 1e.150 in size"),
        (VALUES + 1j, "y must be real"),
        (np.where(HALVES, np.nan, 1.0), "y contains NaN, in row 1"),
        (np.zeros((40, 0)), "y must have at least one column"),
        ([[1], [1, 2]] * 20, "rows of different lengths"),
    ],
)
def test_a_target_that_is_not_numbers_is_refused(y, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one sentence, and no warning before it
        with pytest.raises(ValueError, match=message):
            tiny_values(y=y)


def test_a_gap_in_classes_is_named():
    for y in (KINDS["Int64"], polars.Series(list(KINDS["Int64"].to_numpy(float, na_value=np.nan)))):
        with pytest.raises(ValueError, match="y contains NaN, in row 0"):
            tiny_classes(y=y)


def test_one_row_and_one_class_are_refused_in_plain_words():
    with pytest.raises(ValueError, match=r"at least 2 rows .* n_samples = 1"):
        tiny_values(ROWS[:1], VALUES[:1])
    with pytest.raises(ValueError, match="at least 2 rows of a weight above 0"):
        tiny_values(weight=np.arange(40) == 3)
    with pytest.raises(ValueError, match="only one class: True"):
        tiny_classes(y=[True] * 40)


def test_few_rows_of_a_class_and_many_classes():
    for y in (np.repeat(["a", "b", "c", "d"], 2), np.arange(8)):
        assert len(tiny_classes(ROWS[:8], y, cv=5).classes_) == len(set(y))
    y = np.arange(40) % 20
    assert tiny_classes(y=y).predict_proba(ROWS).shape == (40, 20)


def test_a_constant_target_is_predicted_and_reported():
    model = tiny_values(y=np.full(40, 3.7), cv=3)
    np.testing.assert_allclose(model.predict(ROWS), 3.7, rtol=1e-6)
    np.testing.assert_allclose(model.predict_interval(ROWS), 3.7, rtol=1e-6)
    assert model.report()["r2"] == 1  # as scikit-learn defines it for a perfect prediction


@pytest.mark.parametrize(
    ("class_weight", "error", "message"),
    [
        ("equal", TypeError, "class_weight must be 'balanced'"),
        ([1, 2], TypeError, "class_weight must be 'balanced'"),
        ({0: -1}, ValueError, r"class_weight\[0\] must be at least 0"),
        ({0: np.nan}, ValueError, r"class_weight\[0\] must be"),
        ({0: "x"}, TypeError, r"class_weight\[0\] must be a number"),
        ({"0": 2}, ValueError, "class_weight must be of classes of y"),
        ({0: 0, 1: 0}, ValueError, "class_weight must be above 0"),
    ],
)
def test_a_class_weight_that_is_none_is_refused(class_weight, error, message):
    for model in (MLPClassifier(**TINY), NetClassifier(small_net, epochs=1)):
        with pytest.raises(error, match=message):
            model.set_params(class_weight=class_weight).fit(ROWS, HALVES)


@pytest.mark.parametrize(
    ("cv", "error", "message"),
    [
        (GroupKFold(3), ValueError, r"cv must split .* try cv=list\(splitter.split\(X, y, groups\)\)"),
        (StratifiedKFold(30), ValueError, "cv must split .* n_splits=30"),
        ([(range(40), range(40))], ValueError, "hold out rows that it does not train on, got row 0"),
        ([(np.ones(5, bool), np.ones(5, bool))], TypeError, "a boolean for each of the 40 rows"),
        ([(np.arange(9) + 0.5, [30])], TypeError, "cv must give row numbers"),
        ([("a", "b")], TypeError, "cv must give row numbers"),
        ((np.arange(20), np.arange(20, 40)), ValueError, "cv must give pairs"),
        ([(range(3), range(3, 5), range(5, 7))], ValueError, "cv must give pairs"),
        ([], ValueError, "got 0 splits"),
    ],
)
def test_splits_that_are_none_are_refused(cv, error, message):
    with pytest.raises(error, match=message):
        tiny_classes(cv=cv)


def test_cv_may_be_a_generator_or_masks():
    model = tiny_classes(cv=StratifiedKFold(3).split(ROWS, HALVES))
    assert not np.isnan(model.out_of_fold_).any()
    first = np.arange(40) < 20
    masks = tiny_classes(cv=[(first, ~first)])
    numbers = tiny_classes(cv=[(range(20), range(20, 40))])
    np.testing.assert_array_equal(masks.out_of_fold_, numbers.out_of_fold_)


@pytest.mark.parametrize(("rows", "folds"), [(9, 0), (10, 5), (100_000, 5), (100_001, 0)])
def test_the_number_of_folds_is_chosen_by_the_rows(rows, folds):
    y = np.zeros(rows)
    assert len(make_folds("auto", y[:, None], y, None, 0) or []) == folds


def test_a_search_over_members_and_folds():
    grid = {"members": [1, 2], "cv": [2, 3], "class_weight": [None, "balanced"]}
    search = GridSearchCV(MLPClassifier(**TINY), grid, cv=2).fit(ROWS, HALVES)
    assert search.best_params_.keys() == grid.keys()


def test_a_fitted_step_of_a_pipeline_is_saved_beside_other_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**TINY)).fit(ROWS, HALVES)
    pipeline[-1].save(tmp_path)
    again = MLPClassifier.load(tmp_path)
    X = pipeline[0].transform(ROWS)
    np.testing.assert_array_equal(again.predict_proba(X), pipeline.predict_proba(ROWS))
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("classes", "error", "message"),
    [
        ([0], ValueError, "classes must be at least two"),
        ([1, "a"], TypeError, "classes must be all numbers or all text"),
        ("ab", ValueError, "classes must be a list"),
        ([0.0, np.nan], ValueError, "classes must be finite"),
    ],
)
def test_classes_of_partial_fit_that_are_none_are_refused(classes, error, message):
    with pytest.raises(error, match=message):
        MLPClassifier(**TINY).partial_fit(ROWS, HALVES, classes=classes)


def test_partial_fit_learns_from_a_few_rows_and_follows_a_wider_target():
    model = MLPRegressor(cv=None).partial_fit(ROWS, VALUES)
    for _ in range(60):
        model.partial_fit(ROWS, 10 * VALUES)
    assert model.score(ROWS, 10 * VALUES) > 0.8, "each pass is a single step"


@pytest.mark.parametrize("second", [{"cv": 2}, {"members": 2}, {"cv": None}, {"cv": None, "members": 3}])
@pytest.mark.parametrize("fit", [tiny_classes, tiny_values])
def test_a_warm_start_with_other_folds_or_members_is_refused(fit, second):
    model = fit(cv=3, warm_start=True)
    with pytest.raises(ValueError, match="warm_start=False"):
        model.set_params(**second).fit(ROWS, HALVES)


def test_a_warm_start_with_other_sizes_columns_or_targets_is_refused():
    for fit, y in ((tiny_classes, HALVES), (tiny_values, VALUES)):
        model = fit(warm_start=True)
        with pytest.raises(ValueError, match="X has 1 features"):
            model.fit(ROWS[:, :1], y)
        with pytest.raises(ValueError, match=r"hidden_layer_sizes must stay \(8,\)"):
            clone_fitted(model, hidden_layer_sizes=(9,)).fit(ROWS, y)
        with pytest.raises(ValueError, match=r"as in the first call|only the classes"):
            model.fit(ROWS, np.c_[y, y] if fit is tiny_values else y + 1)
        assert model.predict(ROWS).shape == (40,), "still fitted"


def clone_fitted(model, **parameters):
    return copy.deepcopy(model).set_params(**parameters)


@pytest.mark.parametrize("coverage", [0, 1, 1.5, None, True, [0.5, 0.9]])
def test_a_coverage_out_of_range_is_refused(regressor, coverage):
    model, X, _ = regressor
    with pytest.raises((TypeError, ValueError), match="coverage must be"):
        model.predict_interval(X, coverage)


def test_a_net_that_is_trained_further_stays_the_same():
    model = NetClassifier(small_net, epochs=2, warm_start=True).fit(ROWS, HALVES)
    model.fit(ROWS, HALVES)
    with pytest.raises(ValueError, match="net must stay the one that is trained further"):
        model.set_params(net=lambda n, k: fn.MLP((n, 3, k))).fit(ROWS, HALVES)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"net": fn.MLP}, TypeError),
        ({"loss": [1]}, TypeError),
        ({"validation_fraction": 0.99, "stopping": fn.EarlyStopping(patience=2)}, ValueError),
    ],
)
def test_a_parameter_of_a_net_is_refused_by_name(parameters, error):
    with pytest.raises(error, match=f"{next(iter(parameters))} must"):
        NetClassifier(**{"net": small_net, "epochs": 1, **parameters}).fit(ROWS, HALVES)


def test_labels_keep_their_number_and_have_no_class_weights():
    y = np.c_[HALVES, 1 - HALVES]
    model = tiny_classes(y=y, cv=3)
    with pytest.raises(ValueError, match="y must have 2 labels, as in the first call, got 3"):
        model.report(X=ROWS, y=np.c_[y, HALVES])
    with pytest.raises(ValueError, match="class_weight must be None for labels"):
        tiny_classes(y=y, class_weight="balanced")


def test_a_report_is_json_and_takes_weights_with_its_rows(tmp_path):
    model = tiny_classes(cv=3)
    model.report(tmp_path / "report.json", X=ROWS[:2], y=[0, 0])
    assert "NaN" not in (tmp_path / "report.json").read_text(), "one class has no area under the curve"
    with pytest.raises(ValueError, match="sample_weight must be given with X and y"):
        model.report(sample_weight=np.ones(40))


def test_class_weights_are_trained_with_and_not_scored_with():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    y = (x[:, 0] + rng.normal(size=200) > 1.2).astype(int)
    model = MLPClassifier(max_iter=5, cv=2, class_weight="balanced").fit(x, y)
    report = model.report()
    assert report["accuracy"] == pytest.approx((model.out_of_fold_.argmax(1) == y).mean())
    assert report["baseline"]["accuracy"] == pytest.approx(1 - y.mean())


def test_drift_names_the_columns_that_differ():
    rng = np.random.default_rng(0)
    rows = pandas.DataFrame(
        {
            "size": rng.normal(size=400),
            "city": rng.choice(["Oslo", "Rome", "Bonn"], size=400),
            "rate": rng.normal(size=400),
            "site": "A",
        }
    )
    model = MLPRegressor(max_iter=2, cv=2).fit(rows[:200], rows["size"][:200])
    assert model.drift(rows[200:]) == []
    (sentence,) = model.drift(rows[200:].assign(site="B"))
    assert "'site' had one value in all training rows, and has others in 200 of 200 rows" in sentence
    assert ", such as 'B': it was dropped" in sentence
    new = rows[200:].reset_index(drop=True)
    new["size"] *= 0.1
    new.loc[:9, "city"] = "Lima"
    new.loc[:120, "rate"] = np.nan
    size, rate, city = model.drift(new)
    assert "'size' is distributed differently" in size
    assert "'rate' has gaps in 60% of the rows" in rate
    assert "in 10 of 200 rows, such as 'Lima'" in city
    assert "outside of" in model.drift(new.assign(size=1000.0))[0]
    assert "'Rome' is in 100%" in model.drift(rows[200:].assign(city="Rome"))[-1]


def test_drift_is_from_the_rows_of_all_calls():
    x = np.linspace(0, 10, 400)[:, None]
    model = MLPRegressor(**TINY)
    for part in np.split(np.arange(400), 4):
        model.partial_fit(x[part], x[part, 0])
    assert model.drift(x) == []
    assert "outside of 0 to 10" in model.drift(x + 30)[0]
    distribution = model._distribution
    assert distribution.rows == 400
    assert distribution.merge(distribution) is distribution, "a second pass over the same rows"
    np.testing.assert_allclose(distribution.deciles[:, 0], np.linspace(0, 10, 11), atol=0.6)
    np.testing.assert_allclose(distribution.shares[:, 0], np.linspace(0, 1, 11), atol=0.06)


@pytest.mark.parametrize("dtype", ["U5", object])
def test_names_of_classes_have_their_type_after_loading(dtype, tmp_path):
    y = np.array(["a", "long"] * 20, dtype)
    model = MLPClassifier(**TINY).fit(ROWS, y)
    model.save(tmp_path / "model")
    loaded = MLPClassifier.load(tmp_path / "model")
    assert loaded.classes_.dtype == model.classes_.dtype == dtype
    assert loaded.predict(ROWS).tolist() == model.predict(ROWS).tolist()


def test_the_noise_of_weighted_rows_is_their_weighted_error():
    y, weight = np.where(np.arange(40) < 20, 1.0, -1.0) * np.arange(40), np.where(np.arange(40) < 20, 9, 1)
    model = MLPRegressor(**{**TINY, "cv": 3}).fit(ROWS, y, weight)
    assert model.uncertainty(ROWS).aleatoric[0] == pytest.approx(model.report()["rmse"] ** 2)


def test_drift_of_dates_is_told_in_dates():
    days = pandas.Series(pandas.date_range("2024-01-01", periods=90, freq="D"))
    rows = pandas.DataFrame({"sold": days, "size": np.arange(90) % 7})
    model = MLPRegressor(max_iter=1, cv=None).fit(rows, rows["size"].to_numpy(float))
    (sentence,) = model.drift(rows.assign(sold=days + pandas.Timedelta(days=200)))
    assert "column 'sold' has 90 of 90 values outside of 2024-01-01 to 2024-03-30, the range" in sentence
    (sentence,) = model.drift(rows.assign(sold=days[45]))
    assert "column 'sold' is distributed differently" in sentence
    assert "0% of its values are at most 2024-02-14, and 50% were" in sentence
    (sentence,) = model.drift(rows.assign(sold=pandas.NaT))
    assert sentence.startswith("column 'sold' has gaps in 100% of the rows")
