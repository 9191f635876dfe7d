"""Law 12: every metric is scikit-learn's, on a hundred random weighted cases each."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
from keys import cached_key
from sklearn import metrics as sk
from tables import assert_close

import funcnet as fn

CASES, ROWS = 100, 13
M = fn.metrics


def _softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _bits(rng):
    return rng.normal(size=ROWS), rng.integers(0, 2, ROWS)


def _classes(rng):
    """Of four classes some may not occur, and some never be predicted."""
    return 2 * rng.normal(size=(ROWS, 4)), rng.integers(0, rng.integers(2, 5), ROWS)


def _labels(rng):
    return rng.normal(size=(ROWS, 3)), rng.integers(0, 2, (ROWS, 3))


def _numbers(rng):
    return rng.normal(size=(ROWS, 2)), rng.normal(size=(ROWS, 2))


def _ratio(kind, average):
    score = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}[kind]
    settings = {"average": average, "zero_division": 0}

    def of(z, t, w):
        if z.ndim == 1:
            return score(t, z > 0, sample_weight=w, **settings)
        if t.ndim == 2:
            return score(t, z > 0, sample_weight=w, **settings)
        return score(t, z.argmax(1), sample_weight=w, labels=range(4), **settings)

    return of


def _calibration(z, t, w):
    p = _softmax(z)
    confidence, right = p.max(1), p.argmax(1) == t
    place = np.clip(np.ceil(confidence * 5) - 1, 0, 4)
    gaps = [abs(np.sum((w * (right - confidence))[place == b])) for b in range(5)]
    return np.sum(gaps) / w.sum()


AGREE = {
    "accuracy": (M.accuracy, _classes, lambda z, t, w: sk.accuracy_score(t, z.argmax(1), sample_weight=w)),
    "accuracy-bits": (M.accuracy, _bits, lambda z, t, w: sk.accuracy_score(t, z > 0, sample_weight=w)),
    "top-2": (
        M.top_k(2),
        _classes,
        lambda z, t, w: sk.top_k_accuracy_score(t, z, k=2, sample_weight=w, labels=range(4)),
    ),
    "absolute-error": (
        M.absolute_error,
        _numbers,
        lambda p, t, w: sk.mean_absolute_error(t, p, sample_weight=w),
    ),
    "brier": (
        M.brier,
        _bits,
        lambda z, t, w: sk.brier_score_loss(t, 1 / (1 + np.exp(-z)), sample_weight=w, pos_label=1),
    ),
    "log-loss": (
        fn.losses.cross_entropy,
        _classes,
        lambda z, t, w: sk.log_loss(t, _softmax(z), sample_weight=w, labels=range(4)),
    ),
    "r2": (M.r2(), _numbers, lambda p, t, w: sk.r2_score(t, p, sample_weight=w)),
    "rmse": (
        M.rmse(),
        _numbers,
        lambda p, t, w: np.sqrt(sk.mean_squared_error(t, p, sample_weight=w)),
    ),
    "confusion": (
        M.confusion_matrix(4),
        _classes,
        lambda z, t, w: sk.confusion_matrix(t, z.argmax(1), sample_weight=w, labels=range(4)),
    ),
    "calibration": (M.expected_calibration_error(bins=5), _classes, _calibration),
    "auc": (M.roc_auc, _bits, lambda z, t, w: sk.roc_auc_score(t, z, sample_weight=w)),
    "average-precision": (
        M.average_precision,
        _bits,
        lambda z, t, w: sk.average_precision_score(t, z, sample_weight=w),
    ),
}
for _kind in ("precision", "recall", "f1"):
    _make = getattr(M, _kind)
    AGREE[f"{_kind}-binary"] = (_make(), _bits, _ratio(_kind, "binary"))
    for _average in ("micro", "macro"):
        AGREE[f"{_kind}-{_average}"] = (_make(average=_average), _classes, _ratio(_kind, _average))
        AGREE[f"{_kind}-{_average}-labels"] = (_make(average=_average), _labels, _ratio(_kind, _average))


# Precision and recall are averaged as f1 is; f1 is of two classes what precision and recall are.
SLOW = {name for name in AGREE if name.startswith(("precision-m", "recall-m"))} | {
    "f1-binary",
    "f1-micro-labels",
}


@pytest.mark.parametrize("name", tables.marked(AGREE, slow=SLOW))
def test_a_hundred_weighted_cases_agree_with_scikit_learn(name):
    metric, draw, oracle = AGREE[name]
    rng = np.random.default_rng(7)
    whole = getattr(metric, "of_all_rows", False)
    cases = []
    while len(cases) < CASES:
        z, t = draw(rng)
        z = np.round(z, 1) if whole else z  # ties
        if not whole or len(set(t.tolist())) == 2:
            cases.append((z.astype(np.float32), t, rng.uniform(0.1, 3, ROWS).astype(np.float32)))
    z, t, w = (np.stack(part) for part in zip(*cases, strict=True))
    t = t.astype(np.int32) if t.dtype.kind == "i" else t.astype(np.float32)
    measured = metric if whole else functools.partial(M.measure, metric)
    found = jax.jit(jax.vmap(measured))(z, t, w)
    expected = np.stack(
        [oracle(*(a.astype(float) if a.dtype.kind == "f" else a for a in c)) for c in cases]
    )
    np.testing.assert_allclose(found, expected, rtol=3e-4, atol=3e-5)


def test_one_class_and_empty_classes_have_a_value_or_an_error():
    ones = np.ones(4, np.int32)
    scores = np.array([0.1, 0.4, -0.3, 2.0], np.float32)
    with pytest.raises(ValueError, match="got only class 1, for which it is not defined"):
        M.roc_auc(scores, ones)
    with pytest.raises(ValueError, match="got only class 0, for which it is not defined"):
        M.average_precision(scores, 0 * ones)
    assert float(M.average_precision(scores, ones)) == 1.0
    assert np.isnan(jax.jit(M.roc_auc)(scores, ones))

    @jax.jit
    def measured(scores, ones):
        ratios = [M.measure(make(), -(scores**2), 0 * ones) for make in (M.precision, M.recall, M.f1)]
        targets = ones.astype(float)
        return ratios, M.measure(M.r2(), targets, targets), M.measure(M.r2(), 0 * targets, targets)

    assert jax.tree.map(float, measured(scores, ones)) == ([0.0, 0.0, 0.0], 1.0, 0.0)
    assert np.isnan(M.measure(M.f1(average="macro"), np.zeros((2, 3), np.float32), np.array([0, 3])))


def test_an_offset_keeps_the_digits_of_r2():
    rng = np.random.default_rng(0)
    t = (1e4 + rng.normal(size=200)).astype(np.float32)
    p = (t + 0.5 * rng.normal(size=200)).astype(np.float32)
    expected = sk.r2_score(t.astype(float), p.astype(float))
    assert float(M.measure(M.r2(offset=1e4), p, t)) == pytest.approx(expected, rel=1e-3)


def test_r2_of_many_rows_far_from_zero():
    n, measured = 300_000, jax.jit(functools.partial(M.measure, M.r2()))
    ones = np.ones(n, np.float32)
    for wrong, right in ((123.556, 123.456), (1e4 + 0.2, 1e4 + 0.1)):
        wrong, right = np.full(n, wrong, np.float32), np.full(n, right, np.float32)
        assert float(measured(wrong, right, ones)) == 0.0
        assert float(measured(right, right, ones)) == 1.0
    rng = np.random.default_rng(0)
    t = (300 + rng.normal(size=n)).astype(np.float32)
    p = (t + 0.5 * rng.normal(size=n)).astype(np.float32)
    w = (rng.uniform(size=n) < 0.5).astype(np.float32)
    expected = sk.r2_score(t.astype(float), p.astype(float), sample_weight=w)
    t[w == 0] = np.nan
    assert float(measured(p, t, w)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_the_unit_of_the_weights_does_not_change_r2_in_batches(unit):
    rng = np.random.default_rng(0)
    t = (50 + rng.normal(size=1000)).astype(np.float32)
    p = (t + 0.3 * rng.normal(size=1000)).astype(np.float32)
    loss = fn.losses.supervised(fn.losses.squared_error, r2=M.r2())
    data = fn.data.Dataset((p, t), weight=np.full(1000, unit, np.float32))
    expected = sk.r2_score(t.astype(float), p.astype(float))
    assert float(fn.evaluate(loss, lambda x: x, data)["r2"]) == pytest.approx(expected, abs=0.01)


def test_r2_of_equal_targets_in_batches():
    loss = fn.losses.supervised(fn.losses.squared_error, r2=M.r2())
    for n, size in ((10_000, 32), (1_000_000, 1024)):
        data = np.full(n, 123.556, np.float32), np.full(n, 123.456, np.float32)
        assert float(fn.evaluate(loss, lambda x: x, data, batch_size=size)["r2"]) == 0.0


def test_rankings_with_a_score_that_is_nan_are_nan_in_an_evaluation():
    x, y = jnp.array([-1.0, 2.0, 3.0, 4.0]), jnp.array([1, 0, 0, 1])
    loss = fn.losses.supervised(
        fn.losses.binary_cross_entropy, auc=M.roc_auc, precision=M.average_precision
    )
    means = fn.evaluate(loss, jnp.log, (x, y))
    assert np.isnan([means["auc"], means["precision"]]).all()
    known = fn.evaluate(loss, jnp.log, fn.data.Dataset((x, y), weight=jnp.array([0.0, 1, 1, 1])))
    assert [float(known["auc"]), float(known["precision"])] == [1.0, 1.0]
    weights = jax.jit(lambda w: (M.roc_auc(jnp.log(x), y, w), M.average_precision(jnp.log(x), y, w)))
    assert np.isnan(weights(jnp.ones(4))).all()


@pytest.mark.parametrize("ranking", [fn.metrics.roc_auc, fn.metrics.average_precision])
def test_rankings_under_jit_of_other_classes_and_of_any_unit(ranking):
    scores, targets = jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1])
    assert np.isnan(jax.jit(ranking)(scores, targets + 1))
    assert np.isnan(jax.jit(ranking)(scores, targets.astype(float) * 0.9))
    weight = jnp.array([1.0, 2, 3, 0])
    odd = targets.at[3].set(7)
    expected = float(ranking(scores, targets, weight))
    for anything in (7.0, np.nan):
        odd_row = np.array([0.0, 0.0, 1.0, anything])
        assert float(ranking(scores, odd_row, weight)) == pytest.approx(expected, rel=1e-5)
    for unit in (1e-21, 1.0, 1e20):
        assert float(jax.jit(ranking)(scores, odd, weight * unit)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("metric", [fn.metrics.precision, fn.metrics.recall, fn.metrics.f1])
def test_floating_targets_beyond_the_classes_have_no_counts(metric):
    logits = jnp.array([1.0, -1.0, 1.0])
    assert np.isnan(float(fn.metrics.measure(metric(), logits, jnp.array([1.0, 2.0, 0.0]))))
    assert np.isnan(float(fn.metrics.measure(metric(), logits, jnp.array([1.0, -1.0, 0.0]))))


def test_targets_between_the_classes_and_beyond_them():
    z, smooth, beyond = jnp.array([2.0, -1.0]), jnp.array([0.95, 0.05]), jnp.array([2, 1])
    assert [float(M.measure(m, z, smooth)) for m in (M.accuracy, M.recall(), M.f1())] == [1.0, 1.0, 1.0]
    assert np.isnan([M.measure(m, z, beyond) for m in (M.accuracy, M.brier, M.recall())]).all()
    logits = jnp.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    assert np.isnan([M.measure(m, logits, jnp.array([2, -1])) for m in (M.accuracy, M.top_k(2))]).all()


@pytest.mark.parametrize("dtype", tables.marked([jnp.float16, jnp.bfloat16], slow=[jnp.float16]))
def test_rankings_of_half_precision_scores(dtype):
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 5000)
    scores = jnp.asarray(rng.normal(size=5000) + target, dtype)
    exact = np.asarray(scores.astype(jnp.float32), float)
    assert float(M.roc_auc(scores, target)) == pytest.approx(sk.roc_auc_score(target, exact), rel=1e-5)
    expected = sk.average_precision_score(target, exact)
    assert float(M.average_precision(scores, target)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("ranking", "oracle"),
    [(M.roc_auc, sk.roc_auc_score), (M.average_precision, sk.average_precision_score)],
)
def test_rankings_skip_rows_of_weight_zero(ranking, oracle):
    scores, target = np.array([0.1, 0.4, 0.35, 0.8], np.float32), np.array([0, 0, 1, 1])
    rows = np.append(scores, np.float32([np.nan, np.inf])), np.append(target, [1, -1])
    weight = np.float32([1, 1, 1, 1, 0, 0])
    for function in (ranking, jax.jit(ranking)):
        assert float(function(*rows, weight)) == pytest.approx(oracle(target, scores), rel=1e-6)
    with pytest.raises(ValueError, match=r"got nan in row 4"):
        ranking(*rows, np.ones(6, np.float32))


@pytest.mark.parametrize("dtype", tables.marked([jnp.uint8, jnp.int8], slow=[jnp.int8]))
def test_narrow_labels_of_more_classes_than_they_hold(dtype):
    z, far = np.zeros((1, 256), np.float32), np.zeros(300, np.float32)
    z[0, 7] = far[261] = 5.0
    recall = M.recall(average="micro", classes=256)

    @jax.jit
    def measured(z, label, far, five):
        right = (
            M.measure(M.top_k(2), z, label),
            M.measure(recall, z, label),
            M.measure(recall, label, label),
        )
        brier = M.measure(M.brier, z, label), M.measure(M.brier, z, label.astype(int))
        return right, brier, M.accuracy(far, five)

    right, brier, wrong = measured(z, np.array([7], dtype), far, np.array(5, dtype))
    assert [float(value) for value in right] == [1.0, 1.0, 1.0]
    assert float(brier[0]) == pytest.approx(float(brier[1]))
    assert float(wrong) == 0.0


ONE_HOT = {
    "accuracy": M.accuracy,
    "brier": M.brier,
    "calibration": M.expected_calibration_error(),
    "confusion": M.confusion_matrix(2),
    "recall": M.recall(),
}


def test_floating_rows_that_are_not_one_hot_are_refused():
    z, t = np.float32([[2, 1], [0, 1]]), np.float32([[1, 1], [0, 1]])
    for metric in ONE_HOT.values():
        with pytest.raises(ValueError, match=r"adding up to 1, got \[1.0, 1.0\].*y.astype\(int\)"):
            M.measure(metric, z, t)
        M.measure(metric, z, t, np.float32([0, 1]))  # a row of weight zero may hold anything

    @jax.jit
    def measured(z, t, w):
        return {name: M.measure(metric, z, t, w) for name, metric in ONE_HOT.items()}

    for name, value in measured(z, t, np.ones(2, np.float32)).items():
        assert np.isnan(value).any(), name
    for values in (measured(z, t, np.float32([0, 1])), measured(z, t.astype(int), np.ones(2, np.float32))):
        for name, value in values.items():
            assert np.isfinite(value).all(), name


def test_logits_that_are_not_a_number_are_not_right():
    @jax.jit
    def measured(pairs, bits, labels):
        hits = [(M.accuracy(z, y), fn.losses.zero_one(z, y)) for z, y in pairs]
        return hits, M.accuracy(*bits), M.measure(M.f1(average="macro"), *labels)

    nan, zero = np.float32(np.nan), np.array(0)
    pairs = [(np.full(3, nan), zero), (np.float32([0, nan, -1]), zero), (np.array(nan), zero)]
    bits = np.full(2, nan), np.float32([1, 0])
    hits, hit, f1 = measured(pairs, bits, (np.full((2, 3), nan), np.array([0, 1])))
    assert jax.tree.map(float, hits) == [(0.0, 1.0)] * 3
    assert float(hit) == 0.0
    assert np.isnan(f1)


def test_sums_are_exact_for_every_batch_size_padding_and_weight():
    metrics = {name: metric.function for name, metric in tables.SUM_METRICS.items()}
    pairs = {name: metric.pairs(23) for name, metric in tables.SUM_METRICS.items()}
    weight = np.random.default_rng(1).uniform(0.2, 3, 23).astype(np.float32)
    weight[[3, 11]] = 0

    def loss(model, example, key):
        return jnp.zeros(()), {name: metric(*example[name]) for name, metric in metrics.items()}

    @jax.jit
    def measured(pairs, weight):
        return {name: M.measure(metric, *pairs[name], weight) for name, metric in metrics.items()}

    expected = measured(pairs, weight)
    for size in (7, 23):
        found = fn.evaluate(loss, np.float32(0), fn.data.Dataset(pairs, weight=weight), batch_size=size)
        for name, value in expected.items():
            if value.ndim == 1:  # a name for each value
                found[name] = jnp.stack([found[f"{name}_{i}"] for i in range(len(value))])
        assert_close({name: found[name] for name in expected}, expected, 5)


@pytest.mark.slow
def test_a_history_of_sums_is_exact_under_accumulation_and_vmap():
    row = tables.MODELS["mlp"]
    loss = fn.losses.supervised(
        fn.losses.cross_entropy, f1=M.f1(average="macro"), ece=M.expected_calibration_error(bins=4)
    )
    data = fn.data.Dataset(row.rows(19), weight=np.linspace(0.5, 2, 19, dtype=np.float32))
    still = optax.set_to_zero()  # nothing moves, so an epoch measures one model
    model = row.init()
    alone = fn.evaluate(loss, model, data)
    for settings in ({"batch_size": 8}, {"batch_size": 3, "accumulate": 2}):
        run = fn.fit(loss, still, epochs=2, **settings)(model, data, cached_key(0), data)
        for name in ("f1", "ece", "loss"):
            assert_close(run.history[name][-1], alone[name], 10)
            assert_close(run.history[f"val_{name}"][-1], alone[name], 10)
    models = jax.vmap(row.net.init)(jax.random.split(cached_key(1), 3))
    runs = jax.vmap(fn.fit(loss, still, epochs=1, batch_size=8), in_axes=(0, None, None))(
        models, data, cached_key(0)
    )
    each = [fn.evaluate(loss, jax.tree.map(lambda a, i=i: a[i], models), data)["f1"] for i in range(3)]
    assert_close(runs.history["f1"][:, 0], jnp.stack(each), 10)


def test_what_cannot_be_logged_is_refused():
    row = tables.MODELS["mlp"]
    matrix = fn.losses.supervised(fn.losses.cross_entropy, matrix=M.confusion_matrix(3))
    with pytest.raises(ValueError, match=r"one number for each epoch, got shape \(3, 3\) for matrix"):
        fn.fit(matrix, optax.sgd(0.1), epochs=1)(row.init(), row.rows(8), cached_key(0))
    assert fn.evaluate(matrix, row.init(), row.rows(8))["matrix"].sum() == 8
    with pytest.raises(TypeError, match=r"fn.metrics.roc_auc\(fn.predict\(model, x\), y\)"):
        fn.losses.supervised(M.roc_auc)
    with pytest.raises(TypeError, match=r"f1=f1\(...\)"):
        fn.losses.supervised(fn.losses.cross_entropy, f1=M.f1)
    with pytest.raises(TypeError, match="can be measured but not minimized"):
        fn.losses.supervised(M.f1())


def test_a_penalty_is_logged_apart_and_changes_no_mean():
    row = tables.MODELS["mlp"]
    plain, model = row.loss(), row.init()
    data = fn.data.Dataset(row.rows(19), weight=np.linspace(0.5, 2, 19, dtype=np.float32))
    loss = fn.losses.penalized(fn.losses.penalized(plain, l1=0.01), l2=0.1)
    weights = [np.asarray(layer.weight, float) for layer in model.layers]
    expected = sum(0.01 * np.abs(w).sum() + 0.1 * (w**2).sum() for w in weights)
    found = fn.evaluate(loss, model, data, batch_size=4)  # the last batch is short
    assert float(found["penalty"]) == pytest.approx(expected, rel=1e-5)
    assert_close(found["data_loss"], fn.evaluate(plain, model, data)["loss"])
    assert float(found["loss"]) == pytest.approx(float(found["data_loss"]) + expected, rel=1e-5)
    train = fn.fit(loss, optax.sgd(0.1), epochs=2, batch_size=8)
    history = jax.eval_shape(train, model, data, cached_key(0)).history
    assert set(history) == {"loss", "data_loss", "penalty", "accuracy"}
    moved = []
    for parts in (1, 2):
        state = fn.TrainState.create(model, optax.sgd(0.1), cached_key(0))
        step = jax.jit(fn.step(loss, optax.sgd(0.1), accumulate=parts))
        for batch in fn.data.batches(data, 8, cached_key(0)):
            state, _ = step(state, batch)
        moved.append(state.model)
    assert_close(*moved, 10)


def test_the_penalty_is_computed_once_for_a_batch():
    loss = fn.losses.penalized(fn.losses.supervised(fn.losses.squared_error), l2=0.1)
    model = fn.Linear(7, "scalar").init(cached_key(0))
    each = jax.vmap(loss, in_axes=(None, 0, None))
    program = str(jax.make_jaxpr(each)(model, (jnp.ones((5, 7)), jnp.ones(5)), None))
    assert "f32[5,7] = square" not in program
    assert "f32[7]" in program


def test_accuracy_of_classes_already_predicted_is_scikit_learns():
    rng = np.random.default_rng(3)
    predicted, target = rng.integers(4, size=(2, 50))
    found = M.measure(M.accuracy, predicted, target)
    assert float(found) == pytest.approx(sk.accuracy_score(target, predicted), abs=1e-6)
    assert float(fn.losses.zero_one(2, 1)) == 1.0


@pytest.mark.parametrize(
    ("over", "shape"),
    [
        (jax.vmap, (1000, 10)),
        (fn.transform.vmap_last, (128, 3)),
        pytest.param(jax.vmap, (128, 3), marks=pytest.mark.slow),
        pytest.param(fn.transform.vmap_last, (1000, 10), marks=pytest.mark.slow),
    ],
)
def test_logits_of_which_one_is_nan_are_never_right(over, shape):
    # The largest of many logits on a processor need not be NaN where one of them is.
    logits = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    logits[:, 0] = np.nan
    hits = jax.jit(over(M.accuracy))(logits, np.zeros(len(logits), np.int32))
    assert float(hits.sum()) == 0.0


def test_accuracy_of_a_target_that_is_no_class_is_nan():
    assert np.isnan(M.measure(M.accuracy, np.zeros((2, 3)), np.array([5, 0])))
    assert np.isnan(M.measure(M.accuracy, np.array([0.2, -1.0]), np.array([2, 0])))
    assert float(M.accuracy(jnp.array(0.3), jnp.array(0.1))) == 0.0  # a smoothed 0 is a 0


WRONG_PENALTIES = {
    "a negative strength": (lambda: fn.losses.penalized(LOSS, l1=-1.0), "l1 must be at least 0"),
    "nothing chosen": (
        lambda: _evaluated(fn.losses.penalized(LOSS, l2=1.0, where=lambda path, leaf: False)),
        "where must select an array of the model",
    ),
    "another structure": (
        lambda: _evaluated(fn.losses.penalized(LOSS, l2=1.0, where={"w": True})),
        "booleans with the model's structure",
    ),
}
LOSS = fn.losses.supervised(fn.losses.squared_error)


def _evaluated(loss):
    line = fn.Linear(1, "scalar").init(cached_key(0))
    return fn.evaluate(loss, line, (np.ones((3, 1), np.float32), np.ones(3, np.float32)))


@pytest.mark.parametrize("case", WRONG_PENALTIES)
def test_wrong_penalties_are_refused(case):
    action, words = WRONG_PENALTIES[case]
    with pytest.raises(ValueError, match=words):
        action()


RULES = {  # LESSON K12: the task, its last layer, a target, and the loss that belongs to them
    "binary": ("scalar", np.array(1), fn.losses.binary_cross_entropy),
    "binary-as-two": (2, np.array([0.0, 1.0], np.float32), fn.losses.cross_entropy),
    "one-hot": (3, np.array([0.0, 1.0, 0.0], np.float32), fn.losses.cross_entropy),
    "numbered": (3, np.array(1), fn.losses.cross_entropy),
    "multilabel": (3, np.array([1, 0, 1]), fn.losses.multilabel_cross_entropy),
}


@pytest.mark.parametrize("task", tables.marked(RULES, slow=RULES.keys() - {"multilabel"}))
def test_k12_each_task_has_its_last_layer_and_loss(task):
    outputs, target, per_example = RULES[task]
    data = np.ones((6, 2), np.float32), np.broadcast_to(target, (6, *target.shape))
    train = fn.fit(fn.losses.supervised(per_example), optax.adam(0.3), epochs=40, batch_size=6)
    run = train(fn.Linear(2, outputs).init(cached_key(0)), data, cached_key(1))
    assert float(run.history["loss"][-1]) < 0.05


@pytest.mark.parametrize("weight", [None, np.arange(1.0, 13.0), np.array([1e30] + [1.0] * 11)])
@pytest.mark.parametrize("trace", [False, True])
def test_a_mean_is_finite_although_the_sum_is_not(weight, trace):
    prediction, target = np.zeros(12, np.float32), np.full(12, 3.4e38, np.float32)
    target[3:] = 1.0
    error = lambda *args: fn.metrics.measure(fn.metrics.absolute_error, *args)  # noqa: E731
    right = np.average(target.astype(np.float64), weights=weight)
    if trace and weight is not None:
        weight = jnp.asarray(weight, jnp.float32)
        np.testing.assert_allclose(jax.jit(error)(prediction, target, weight), right, rtol=1e-5)
    np.testing.assert_allclose(error(prediction, target, weight), right, rtol=1e-5)


def test_a_class_is_a_whole_number():
    logits = np.zeros((4, 3), np.float32)
    for metric in (fn.metrics.accuracy, fn.metrics.brier):
        assert np.isnan(fn.metrics.measure(metric, logits, np.array([0.5, 1, 2, 0])))
        assert np.isfinite(fn.metrics.measure(metric, logits, np.array([0.0, 1, 2, 0])))
