"""Weights of rows and classes in the loss, heads, and metrics of all rows."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import recall_score, roc_auc_score
from tables import assert_close, marked, same_bits

import funcnet as fn

L, M = fn.losses, fn.metrics
N = 43
NET = fn.Linear(3, "scalar")


class TwoHeads(fn.Module):
    yes: fn.Module = fn.Linear(3, "scalar")
    kind: fn.Module = fn.Linear(3, 4)

    def __call__(self, x: Any, key: Any = None) -> Any:
        return {"yes": self.yes(x), "kind": self.kind(x)}


def _x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)


def _labels() -> np.ndarray:
    return (_x()[:, 0] + 0.5 * _x()[:, 1] ** 2 > 1).astype(np.int32)


def _two_labels() -> dict[str, np.ndarray]:
    return {"yes": _labels(), "kind": np.random.default_rng(1).integers(0, 4, N).astype(np.int32)}


@functools.cache
def _key() -> jax.Array:
    return jax.random.key(4)


@functools.cache
def _model() -> Any:
    return jax.jit(NET.init)(_key())


def _weight(example: Any) -> Any:
    return jnp.where(example[1] == 1, 10.0, 1.0)


PLAIN = L.supervised(L.binary_cross_entropy, accuracy=M.accuracy)
TEN = {
    "weighted": L.weighted(PLAIN, _weight),
    "by class": L.supervised(L.binary_cross_entropy, class_weight={1: 10.0}, accuracy=M.accuracy),
    "array": L.supervised(L.binary_cross_entropy, class_weight=np.array([1, 10]), accuracy=M.accuracy),
}


@pytest.mark.parametrize("name", marked(TEN, slow={"by class", "array"}))
def test_weights_weight_the_loss_alone_for_each_batch_size(name: str) -> None:
    model, data = _model(), fn.data.Dataset((_x(), _labels()), weight=np.arange(N) % 3.0)
    z, y, rows = np.asarray(model(_x()), float), np.asarray(_labels()), np.arange(N) % 3.0
    losses = np.logaddexp(0, z) - y * z
    expected = {
        "loss": np.average(np.where(y == 1, 10, 1) * losses, weights=rows),
        "unweighted_loss": np.average(losses, weights=rows),
        "accuracy": np.average((z > 0) == y, weights=rows),
    }
    for size in (5, N):
        got = fn.evaluate(TEN[name], model, data, size)
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(got[key], value, rtol=1e-5)
    train = fn.fit(TEN[name], optax.sgd(0.0), epochs=1, batch_size=4, accumulate=3, shuffle=False)
    np.testing.assert_allclose(train(model, data, _key()).history["loss"], [expected["loss"]], rtol=1e-5)


def test_the_class_may_be_a_float_or_a_one_hot_row_and_weights_may_be_traced() -> None:
    logits, number = jnp.array([0.3, -0.2, 1.0]), jnp.array(2)
    weights = jnp.array([1.0, 2.0, 3.0])
    plain = float(L.cross_entropy(logits, number))
    targets = number, jax.nn.one_hot(number, 3)
    for target, given in itertools.product(targets, (weights, {0: 7.0, 2: 3.0})):
        loss = L.supervised(L.cross_entropy, class_weight=given)
        assert float(loss(lambda x: x, (logits, target), None)[0]) == pytest.approx(3 * plain)

    def value(w: Any) -> Any:
        loss = L.supervised(L.binary_cross_entropy, class_weight={1: w})
        return loss(lambda x: x, (jnp.array(0.0), jnp.array(1.0)), None)[0]

    assert float(jax.jit(jax.grad(value))(2.0)) == pytest.approx(np.log(2))


def test_a_row_of_weight_zero_may_have_any_loss() -> None:
    loss = L.weighted(lambda model, x, key: model / x, lambda x: jnp.where(x == 0, 0.0, 1.0))
    step = jax.jit(fn.step(loss, optax.sgd(1.0)))
    _, info = step(fn.TrainState.create(jnp.array(2.0), optax.sgd(1.0), _key()), jnp.array([0.0, 4.0]))
    assert float(info.loss) == 0.25


def test_heads_are_the_sum_of_their_losses_times_their_shares() -> None:
    model, x, y = jax.jit(TwoHeads().init)(_key()), _x(), _two_labels()
    loss = L.supervised(
        {"yes": L.binary_cross_entropy, "kind": L.cross_entropy},
        shares={"yes": 1.0, "kind": 0.2},
        class_weight={"yes": {1: 10.0}},
        accuracy=M.accuracy,
        auc={"yes": M.roc_auc},
    )
    got = fn.evaluate(loss, model, (x, y), 5)
    of_yes = L.supervised(
        L.binary_cross_entropy, class_weight={1: 10.0}, accuracy=M.accuracy, auc=M.roc_auc
    )
    yes = fn.evaluate(of_yes, model.yes, (x, y["yes"]), 5)
    kind = fn.evaluate(L.supervised(L.cross_entropy, accuracy=M.accuracy), model.kind, (x, y["kind"]), 5)
    expected = {f"yes_{name}": v for name, v in yes.items()} | {
        f"kind_{name}": v for name, v in kind.items()
    }
    assert_close(got, {"loss": yes["loss"] + 0.2 * kind["loss"], **expected})
    run = fn.fit(loss, optax.adam(1e-2), epochs=2, shuffle=False)(model, (x, y), _key(), (x, y))
    assert {"yes_loss", "kind_accuracy", "val_kind_loss", "val_yes_auc"} <= set(run.history)


def _of_members(loss: Any) -> Any:
    train = fn.fit(loss, optax.adam(0.03), epochs=4, batch_size=8, shuffle=False)
    models = jax.jit(jax.vmap(NET.init))(jax.random.split(_key(), 2))
    data = (_x(), _labels())
    runs = jax.vmap(train, in_axes=(0, None, None, None))(models, data, _key(), data)
    model, history = jax.device_get((runs.model, dict(runs.history)))
    return [jax.tree.map(lambda a, i=i: a[i], (model, history)) for i in range(2)]


def test_metrics_of_all_rows_and_of_each_class_are_exact() -> None:
    loss = L.supervised(L.binary_cross_entropy, auc=M.roc_auc, recall=M.recall(average=None))
    y = np.asarray(_labels())
    for model, history in _of_members(loss):
        z = np.asarray(fn.predict(model, _x()))
        recalls = recall_score(y, z > 0, average=None, zero_division=0)
        last = {name: float(values[-1]) for name, values in history.items()}
        assert last["val_auc"] == pytest.approx(roc_auc_score(y, z), rel=1e-6)
        assert [last["val_recall_0"], last["val_recall_1"]] == pytest.approx(recalls.tolist(), rel=1e-6)
        assert "auc" not in last
        assert "recall_0" in last
        assert float(fn.evaluate(loss, model, (_x(), y), 10)["auc"]) == last["val_auc"]


def test_all_rows_get_their_weights() -> None:
    model, weight = _model(), np.arange(N) % 4.0
    data = fn.data.Dataset((_x(), _labels()), weight=weight)
    got = fn.evaluate(L.supervised(L.binary_cross_entropy, auc=M.roc_auc), model, data, 10)["auc"]
    scores = np.asarray(fn.predict(model, _x()))
    expected = roc_auc_score(_labels(), scores, sample_weight=weight)
    assert float(got) == pytest.approx(expected, rel=1e-6)
    measured = M.measure(M.whole(M.roc_auc), scores, _labels(), weight)
    assert float(measured) == pytest.approx(expected, rel=1e-6)


def test_rows_of_training_need_not_be_weighted_in_a_metric_of_validation() -> None:
    loss = L.supervised(L.binary_cross_entropy, high=M.whole(lambda p, t: jnp.max(p)))
    data = fn.data.Dataset((_x(), _labels()), weight=jnp.ones(N))
    run = fn.fit(loss, optax.sgd(0.1), epochs=1, shuffle=False)(_model(), data, _key(), (_x(), _labels()))
    assert float(run.history["val_high"][-1]) == float(jnp.max(fn.predict(run.model, _x())))


@pytest.mark.slow
def test_a_run_stops_by_a_metric_of_all_rows_and_a_trainer_ends_with_the_same_bits() -> None:
    of_two = M.whole(lambda p, t: {"low": jnp.min(p), "high": jnp.max(p)})
    loss = L.supervised(L.binary_cross_entropy, auc=M.roc_auc, of=of_two)
    stopping = fn.EarlyStopping("val_auc", mode="max", patience=2)
    train = fn.fit(loss, optax.adam(0.1), epochs=30, batch_size=8, stopping=stopping)
    data = (_x(), _labels())
    run = train(_model(), data, _key(), data)
    assert same_bits(fn.Trainer(train, progress=False)(_model(), data, _key(), data), run)
    assert float(run.history["val_auc"][run.best_epoch]) == np.nanmax(run.history["val_auc"])
    assert {"val_of_low", "val_of_high"} <= set(run.history)


@pytest.mark.slow
def test_a_sweep_over_settings_of_losses_is_one_program() -> None:
    traces = []

    def last_loss(smoothing: Any, gamma: Any, share: Any) -> Any:
        traces.append(1)
        heads = {
            "yes": functools.partial(L.focal, gamma=gamma),
            "kind": functools.partial(L.cross_entropy, smoothing=smoothing),
        }
        loss = L.supervised(heads, shares={"yes": 1.0, "kind": share})
        train = fn.fit(loss, optax.sgd(0.1), epochs=2, batch_size=16)
        return train(jax.jit(TwoHeads().init)(_key()), (_x(), _two_labels()), _key()).history["loss"][-1]

    settings = (jnp.array([0.0, 0.1]), jnp.array([2.0, 1.0]), jnp.array([0.2, 1.0]))
    together = jax.jit(jax.vmap(last_loss))(*settings)
    assert len(traces) == 1
    np.testing.assert_allclose(together, [last_loss(0.0, 2.0, 0.2), last_loss(0.1, 1.0, 1.0)], rtol=1e-5)


def _train(loss: Any, net: Any = NET, y: Any = None) -> Any:
    y = _labels() if y is None else y
    return fn.fit(loss, optax.sgd(0.1), epochs=1, shuffle=False)(
        jax.jit(net.init)(_key()), (_x(), y), _key()
    )


HEADS = L.supervised({"yes": L.binary_cross_entropy, "kind": L.cross_entropy})
BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "an if": (
        lambda: _train(L.weighted(PLAIN, lambda e: 10.0 if e[1] == 1 else 1.0)),
        TypeError,
        "jnp.where",
    ),
    "a negative weight": (
        lambda: _train(L.weighted(PLAIN, lambda e: e[1] - 1)),
        ValueError,
        "at least 0",
    ),
    "a weight of no scalar": (lambda: _train(L.weighted(PLAIN, lambda e: e[0])), ValueError, "scalar"),
    "twice": (lambda: _train(L.weighted(TEN["weighted"], _weight)), ValueError, "weighted once"),
    "penalized": (lambda: L.weighted(L.penalized(PLAIN, l2=0.1), _weight), ValueError, r"penalized\(fn"),
    "batchwise": (
        lambda: L.weighted(L.batchwise(lambda m, b, w, k: 0.0), _weight),
        ValueError,
        "batchwise",
    ),
    "balanced": (lambda: L.supervised(L.cross_entropy, class_weight="balanced"), ValueError, "np.bincount"),
    "a class without weight": (
        lambda: _train(L.supervised(L.binary_cross_entropy, class_weight=[1.0])),
        ValueError,
        "class 1 in row",
    ),
    "a negative class weight": (
        lambda: L.supervised(L.cross_entropy, class_weight={0: -1.0}),
        ValueError,
        r"class_weight\[0\]",
    ),
    "no head": (lambda: L.supervised({}), TypeError, "dictionary of losses by the name of the head"),
    "a head without a name": (lambda: L.supervised({1: L.hinge}), TypeError, "by the name of the head"),
    "shares of one loss": (lambda: L.supervised(L.cross_entropy, shares={"a": 1}), ValueError, "heads"),
    "other shares": (lambda: L.supervised({"a": L.hinge}, shares={"b": 1}), ValueError, r"\(a\), got b"),
    "targets of one head": (
        lambda: _train(HEADS, TwoHeads(), {"yes": _labels()}),
        ValueError,
        r"targets .* \(kind, yes\), got yes",
    ),
    "an array as output": (lambda: _train(HEADS, NET, _two_labels()), ValueError, "output of the model"),
    "labels of a head": (
        lambda: _train(HEADS, TwoHeads(), _two_labels() | {"yes": _labels() + 1}),
        ValueError,
        "binary_cross_entropy expects targets from 0 to 1",
    ),
    "a dictionary for one loss": (
        lambda: _train(L.supervised(L.cross_entropy), TwoHeads()),
        TypeError,
        "dictionary of losses",
    ),
    "weights that a metric ignores": (
        lambda: fn.evaluate(
            L.supervised(L.binary_cross_entropy, high=M.whole(lambda p, t: jnp.max(p))),
            _model(),
            fn.data.Dataset((_x(), _labels()), weight=jnp.ones(N)),
        ),
        ValueError,
        "high must take the weights",
    ),
    "whole of a Metric": (lambda: M.whole(M.f1()), TypeError, "exact without whole"),
    "whole as a loss": (lambda: L.supervised(M.whole(M.roc_auc)), TypeError, "not minimized"),
    "many values": (
        lambda: fn.evaluate(
            L.supervised(L.binary_cross_entropy, all=M.whole(lambda p, t: jnp.zeros(101))),
            _model(),
            (_x(), _labels()),
        ),
        ValueError,
        "up to 100 values",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_weights_heads_and_metrics_get_one_sentence(name: str) -> None:
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


def test_weights_that_data_in_memory_would_not_pass_stop_a_step() -> None:
    """The rows of a stream and of `step` are not checked before: a NaN says that a weight is wrong."""
    model = fn.MLP((2, 3)).init(jax.random.key(0))
    x = np.ones((4, 2), np.float32)
    by_class = fn.losses.supervised(fn.losses.cross_entropy, class_weight=[1.0, 3.0])
    negative = fn.losses.weighted(fn.losses.supervised(fn.losses.cross_entropy), lambda example: -1.0)
    for loss in (by_class, negative):
        state = fn.TrainState.create(model, optax.sgd(0.1), jax.random.key(0))
        _, info = jax.jit(fn.step(loss, optax.sgd(0.1)))(state, (x, np.array([0, 1, 2, 2])))
        assert not bool(info.finite)


def test_weights_of_classes_that_do_not_exist_are_refused() -> None:
    model, x = fn.MLP((2, 2)).init(jax.random.key(0)), jnp.ones((3, 2))
    y = jnp.array([0, 1, 1])
    for weights, message in (
        ({0: 1.0, 5: 3.0}, "one for each of 2 classes|each of 2 classes, from 0, got one for class 5"),
        ({30_000: 1.0}, "got one for class 30000"),
        ([1.0, 2.0, 3.0], r"Weights of the rows are part of the data: fn.data.Dataset"),
    ):
        loss = fn.losses.supervised(fn.losses.cross_entropy, class_weight=weights)
        with pytest.raises(ValueError, match=message):
            fn.evaluate(loss, model, (x, y))
    binary = fn.losses.supervised(fn.losses.binary_cross_entropy, class_weight={0: 5.0})
    with pytest.raises(ValueError, match=r"class numbers \[n\], or one-hot rows .*Pass y\[:, 0\]"):
        fn.evaluate(binary, lambda x: x[:1], (x, y[:, None].astype(float)))
    values = fn.evaluate(binary, lambda x: x[0], (x, y))
    logits = np.log1p(np.exp(1.0))
    np.testing.assert_allclose(values["loss"], (5 * logits + 2 * (logits - 1)) / 3, rtol=1e-5)


def test_a_setting_of_a_metric_of_all_rows_is_not_taken_for_weights() -> None:
    def share(prediction, target, threshold=0.5):
        return jnp.mean((prediction > threshold) == (target > 0.5))

    loss = fn.losses.supervised(fn.losses.squared_error, share=fn.metrics.whole(share))
    x, y = jnp.array([0.1, 0.9, 0.8, 0.2]), jnp.array([0.0, 1, 1, 0])
    assert float(fn.evaluate(loss, lambda x: x, (x, y))["share"]) == 1.0
    with pytest.raises(ValueError, match="weights"):
        fn.evaluate(loss, lambda x: x, fn.data.Dataset((x, y), weight=jnp.ones(4)))
    bad = fn.losses.supervised(fn.losses.squared_error, f=fn.metrics.whole(lambda p, t: float(p.sum())))
    with pytest.raises(TypeError, match=r"must be written with jax.numpy.*fn.metrics.measure"):
        fn.evaluate(bad, lambda x: x, (x, y))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float16", "bfloat16", "float32"])
def test_weights_of_any_dtype_weigh_alike(dtype):
    targets, scores = np.arange(6) % 2, np.linspace(-1, 1, 6)[[3, 0, 4, 5, 1, 2]]
    weight = np.array([1, 0, 1, 1, 0, 1] if dtype == "bool" else [3, 0, 5, 1, 2, 9], float)
    weight *= 7168 if dtype == "float16" else 1  # their sum is not a float16
    total = M.whole(lambda predictions, targets, weight: jnp.sum(weight))
    for metric in (M.accuracy, M.f1(), M.confusion_matrix(2), total):
        got, expected = (
            M.measure(metric, scores, targets, weight=w) for w in (jnp.asarray(weight, dtype), weight)
        )
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    got, expected = (M.roc_auc(scores, targets, w) for w in (jnp.asarray(weight, dtype), weight))
    np.testing.assert_allclose(got, expected, rtol=1e-6)
