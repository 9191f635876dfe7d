"""Whatever a loss or metric cannot use ends in one sentence that names the function and the argument."""

import datetime
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
import tables

import funcnet as fn

M, L = fn.metrics, fn.losses
ALL = {**tables.LOSSES, **tables.METRICS, **tables.SUM_METRICS}
USELESS = {
    "None": None,
    "a string": "a",
    "bytes": b"a",
    "objects": np.array([1, None], object),
    "text": np.array(["a", "b"]),
    "dates": np.array(["2020-01-01"], "M8[D]"),
    "a date": datetime.date(2020, 1, 1),
    "complex": np.array([1j, 2]),
    "complex of JAX": lambda: jnp.array([1j]),
    "a key": lambda: jax.random.key(0),
    "a dictionary": {"a": 1},
    "a masked array": np.ma.array([1.0, 2.0], mask=[False, True]),
    "a ragged list": [[1], [2, 3]],
    "a list with None": [1, None],
    "an empty list": [],
    "a large integer": 10**400,
    "a column of text": pandas.Series(["a"]),
    "a categorical column": pandas.Series(["a", "b"], dtype="category"),
    "a record": np.zeros(2, [("a", "f4")]),
    "a class": float,
}


def _made(value: Any) -> Any:
    """A value of a table; what JAX makes is made as it is used."""
    return value() if callable(value) and not isinstance(value, type) else value


def _refused(function: str, arguments: tuple[str, ...], call: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert "funcnet" in str(caught.traceback[-1].path), f"raised by {caught.traceback[-1].path}"
    sentence = str(caught.value)
    assert function in sentence, sentence
    assert any(name in sentence for name in arguments), sentence


@pytest.mark.parametrize("value", USELESS)
def test_losses_and_metrics_refuse_what_holds_no_numbers(value: str) -> None:
    for case in ALL.values():
        (prediction,), (target,) = case.pairs(1)
        names = ("prediction", "logits", "log_rate", "target", "shape")
        _refused("", names, functools.partial(case.function, _made(USELESS[value]), target))
        _refused("", names, functools.partial(case.function, prediction, _made(USELESS[value])))


@pytest.mark.parametrize("value", USELESS)
def test_measure_and_rankings_refuse_what_holds_no_numbers(value: str) -> None:
    scores, target = np.array([0.1, 0.2, 0.3]), np.array([0, 1, 1])
    measure = functools.partial(M.measure, M.accuracy)
    for function in (measure, M.roc_auc, M.average_precision):
        _refused("", ("scores", "predictions"), lambda f=function: f(_made(USELESS[value]), target))
        _refused("", ("targets",), lambda f=function: f(scores, _made(USELESS[value])))
        if value != "None":
            _refused("weight", ("weight",), lambda f=function: f(scores, target, _made(USELESS[value])))


def test_the_sentence_names_function_and_argument() -> None:
    with pytest.raises(
        TypeError, match=r"^the prediction of squared_error must be an array of numbers, got None"
    ):
        L.squared_error(None, 1.0)
    with pytest.raises(
        TypeError, match=r"^the logits of cross_entropy must be an array of numbers, got str 'a'"
    ):
        L.cross_entropy(logits="a", target=1)
    with pytest.raises(TypeError, match=r"^predictions\['a'\] must be an array of numbers, got text"):
        M.measure(M.accuracy, {"a": np.array(["x"])}, np.array([1]))
    with pytest.raises(ValueError, match=r"^the prediction of huber must have at least one entry"):
        L.huber(np.zeros(0), np.zeros(0))


NUMBERS = np.array([0.25, -1.0, 2.0])
READ_ONLY = NUMBERS.copy()
READ_ONLY.flags.writeable = False
USABLE = {
    "list": NUMBERS.tolist(),
    "big-endian": NUMBERS.astype(">f8"),
    "read-only": READ_ONLY,
    "column": pandas.Series(NUMBERS),
    "nullable column": pandas.Series(NUMBERS).astype("Float64"),
    "longdouble": NUMBERS.astype(np.longdouble),
    "masked without masks": np.ma.array(NUMBERS),
    "reversed": NUMBERS[::-1][::-1],
    "float16": NUMBERS.astype(np.float16),
    "JAX": lambda: jnp.asarray(NUMBERS),
}


@pytest.mark.parametrize("kind", USABLE)
def test_whatever_holds_numbers_is_taken(kind: str) -> None:
    value, target = _made(USABLE[kind]), np.array([1, 0, 0])
    for function in (L.squared_error, L.binary_cross_entropy, M.brier):
        np.testing.assert_allclose(function(value, target), function(NUMBERS, target), rtol=1e-6)
    np.testing.assert_allclose(L.huber(NUMBERS + 1, value), L.huber(NUMBERS + 1, NUMBERS), rtol=1e-6)
    for metric in (M.rmse(), M.f1(), M.accuracy):
        np.testing.assert_allclose(
            M.measure(metric, value, target, abs(value) if kind != "list" else [0.25, 1, 2]),
            M.measure(metric, NUMBERS, target, abs(NUMBERS)),
            rtol=1e-6,
        )
    assert float(M.roc_auc(value, target)) == float(M.roc_auc(NUMBERS, target))


@pytest.mark.parametrize("kind", ["weight", "view"])
def test_targets_that_are_never_used_may_hold_any_values(kind: str) -> None:
    x, y = np.ones((4, 2), np.float32), np.array([0, 2, -1, 1])
    weights = np.array([1.0, 2.0, 3.0])
    loss = fn.losses.supervised(fn.losses.cross_entropy, class_weight=weights)
    model = fn.Linear(2, 3).init(jax.random.key(0))
    data = fn.data.take((x, y), np.flatnonzero(y >= 0))
    if kind == "weight":
        data = fn.data.Dataset((x, y), weight=(y >= 0).astype(float))
    used = float(fn.evaluate(loss, model, (x[y >= 0], y[y >= 0]))["loss"])
    assert float(fn.evaluate(loss, model, data)["loss"]) == pytest.approx(used, rel=1e-6)
    y[1] = 3
    wrong = fn.data.Dataset((x, y), rows=data.rows, weight=data.weight)
    with pytest.raises(ValueError, match=r"got 3 in row 1 \(1 of 4 are out of range\)"):
        fn.evaluate(loss, model, wrong)


def test_probabilities_in_half_precision_are_taken() -> None:
    y = jax.nn.softmax(jnp.zeros((2, 1000))).astype(jnp.bfloat16)
    loss = fn.losses.supervised(fn.losses.cross_entropy)
    model = fn.Linear(2, 1000).init(jax.random.key(0))
    assert np.isfinite(fn.evaluate(loss, model, (np.ones((2, 2), np.float32), y))["loss"])


def test_tensors_of_pytorch_are_taken() -> None:
    torch = pytest.importorskip("torch")
    p, t = torch.tensor(NUMBERS, requires_grad=True), torch.tensor([1, 0, 0])
    assert float(L.squared_error(p, t)) == float(L.squared_error(NUMBERS, np.array([1, 0, 0])))
    assert float(M.measure(M.accuracy, p, t)) == pytest.approx(2 / 3)


ONES = np.ones(2)
WRONG = {
    "delta of None": (lambda: L.huber(1.0, 2.0, delta=None), TypeError, "delta must be a number, got None"),
    "delta of text": (lambda: L.huber(1.0, 2.0, delta="1"), TypeError, "delta must be a number, got str"),
    "delta of True": (lambda: L.huber(1.0, 2.0, delta=True), TypeError, "delta must be a number"),
    "delta of NaN": (
        lambda: L.huber(1.0, 2.0, delta=np.nan),
        ValueError,
        "delta must be above 0 and finite",
    ),
    "delta of a shape": (
        lambda: L.huber(ONES, ONES, delta=[1.0] * 3),
        ValueError,
        r"delta .* shape \(3,\)",
    ),
    "q of complex": (lambda: L.quantile(1.0, 2.0, q=1j), TypeError, "q must be a number"),
    "q of a dictionary": (
        lambda: L.quantile(1.0, 2.0, q={"q": 1}),
        TypeError,
        "q must be a number, got dict",
    ),
    "q of 1": (lambda: L.quantile(1.0, 2.0, q=1), ValueError, "q must be above 0 and below 1"),
    "smoothing of objects": (
        lambda: L.cross_entropy(ONES, 1, smoothing=np.array([None])),
        TypeError,
        "smoothing must be a number",
    ),
    "gamma below 0": (lambda: L.focal(1.0, 1, gamma=-1), ValueError, "gamma must be at least 0"),
    "alpha of a key": (
        lambda: L.focal(1.0, 1, alpha=jax.random.key(0)),
        TypeError,
        "alpha must be a number",
    ),
    "k of 1.5": (lambda: M.top_k(1.5), TypeError, "k must be an integer"),
    "classes of 2**40": (lambda: M.confusion_matrix(2**40), ValueError, "classes must be from 2 to"),
    "average of a column": (
        lambda: M.f1(average=pandas.Series(["a"])),
        ValueError,
        "average must be one of",
    ),
    "bins of 2**40": (lambda: M.expected_calibration_error(bins=2**40), ValueError, "bins must be at most"),
    "offset of 1e39": (lambda: M.r2(offset=1e39), ValueError, "offset must be"),
    "offset of -inf": (lambda: M.r2(offset=-np.inf), ValueError, "offset must be"),
    "weights of a wrong length": (
        lambda: M.measure(M.accuracy, ONES, ONES, np.ones(3)),
        ValueError,
        r"weight must be one number for each of the 2 rows, got shape \(3,\)",
    ),
    "weights in a column": (
        lambda: M.roc_auc(ONES, [0, 1], np.ones((2, 1))),
        ValueError,
        r"weight must be one number for each of the 2 rows, got shape \(2, 1\)",
    ),
    "weights by name": (lambda: M.measure(M.accuracy, ONES, ONES, "balanced"), TypeError, "weight must be"),
    "negative weights": (lambda: M.measure(M.accuracy, ONES, ONES, [1, -1]), ValueError, "at least 0"),
    "weights of NaN": (
        lambda: M.measure(M.accuracy, ONES, ONES, [1, np.nan]),
        ValueError,
        "must be finite",
    ),
    "a metric of none": (lambda: M.measure(None, ONES, ONES), TypeError, "metric must be a function"),
    "l1 of each parameter": (
        lambda: L.penalized(_loss, l1=[0.1, 0.2]),
        ValueError,
        "l1 must be one number",
    ),
    "l2 of None": (lambda: L.penalized(_loss, l2=None), TypeError, "l2 must be a number"),
    "where of a number": (lambda: L.penalized(_loss, l2=1.0, where=3), TypeError, "where must be"),
    "penalized of a dictionary": (
        lambda: L.penalized(lambda m, e, k: {"a": jnp.ones(())}, l2=0.1)(fn.Linear(1, 1), None, None),
        TypeError,
        "the loss must be a scalar for one example, got dict",
    ),
    "a selection of nothing": (lambda: L.penalized(_loss, where=lambda: True), TypeError, "where must be"),
    "a class that there is none of": (
        lambda: fn.evaluate(L.supervised(L.zero_one), lambda x: x, (jnp.ones((2, 3)), jnp.array([0, 127]))),
        ValueError,
        "zero_one expects targets from 0 to 2, got 127 in row 1",
    ),
    "a ranking as a loss": (lambda: L.penalized(M.roc_auc), TypeError, "ranks all rows at once"),
    "batchwise of an example": (
        lambda: L.batchwise(_loss),
        TypeError,
        r"function \(model, batch, weight, key\)",
    ),
    "supervised of None": (lambda: L.supervised(None), TypeError, "per_example_loss must be a function"),
}


def _loss(model: Any, example: Any, key: Any) -> Any:
    return jnp.zeros(())


@pytest.mark.parametrize("case", WRONG)
def test_wrong_settings_end_in_a_sentence(case: str) -> None:
    call, error, sentence = WRONG[case]
    with pytest.raises(error, match=sentence):
        call()


def test_builtins_without_a_signature_are_taken() -> None:
    assert L.supervised(min)
    assert float(M.measure(M.accuracy, ONES, ONES, weight=[True, False])) == 1


CONSTANT = np.array([0.1, 0.9]), np.array([0, 1])


@pytest.mark.parametrize("kind", tables.marked([np.asarray, jnp.asarray], slow=[np.asarray]))
@pytest.mark.parametrize("function", [L.squared_error, M.accuracy, M.roc_auc, L.binary_cross_entropy])
def test_constants_may_be_compared_within_jit(function, kind):
    arrays = [kind(values) for values in CONSTANT]
    expected = function(*arrays)
    np.testing.assert_allclose(jax.jit(lambda z: function(*arrays) + z)(0.0), expected, rtol=1e-6)
