"""An integer that does not fit is refused wherever it is an index; it never becomes another one.

JAX keeps the last 32 bits of NumPy's integers: 2**32 + 3 would be row 3, and 2**32 + 1 class 1.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from keys import lazy_key

import funcnet as fn

LARGE = 2**32
KEY = lazy_key(0)
LOGITS = np.array([[0.0, 1.0], [2.0, 0.0]], np.float32)
CLASSES = np.array([0, LARGE + 1])
NET = fn.Linear(1, 2)
LOSS = fn.losses.supervised(fn.losses.cross_entropy)
TRAIN = fn.fit(LOSS, optax.sgd(0.1), epochs=1)


@functools.cache
def data() -> fn.data.Dataset:
    return fn.data.Dataset((np.arange(8.0, dtype=np.float32)[:, None], np.arange(8, dtype=np.int32) % 2))


def step() -> Any:
    state = fn.TrainState.create(NET.init(KEY()), optax.sgd(0.1), KEY())
    return fn.step(LOSS, optax.sgd(0.1))(state, (np.ones((2, 1), np.float32), CLASSES))


INDEXES: dict[str, Callable[[], Any]] = {
    "rows of take": lambda: fn.data.take(data(), np.array([LARGE + 3])),
    "a list of rows": lambda: fn.data.take(data(), [LARGE + 3]),
    "unsigned rows": lambda: fn.data.take(data(), np.array([2**31 + 3], np.uint32)),
    "rows of a Dataset": lambda: fn.data.Dataset(data().arrays, rows=np.array([LARGE + 3])),
    "an index of a Dataset": lambda: data()[LARGE + 3],
    "labels of a Dataset": lambda: fn.data.Dataset((jnp.ones((2, 1)), CLASSES)),
    "positions of a Shuffle": lambda: fn.data.Shuffle.draw(KEY(), 8)(np.array([LARGE + 3])),
    "rows of a Shuffle": lambda: fn.data.Shuffle.draw(KEY(), 8).inverse(np.array([LARGE + 3])),
    "the size of a Shuffle": lambda: fn.data.Shuffle.draw(KEY(), LARGE + 3),
    "cross_entropy": lambda: fn.losses.cross_entropy(LOGITS, CLASSES),
    "cross_entropy of one": lambda: fn.losses.cross_entropy(LOGITS[0], np.int64(LARGE + 1)),
    "zero_one": lambda: fn.losses.zero_one(LOGITS, CLASSES),
    "accuracy": lambda: fn.metrics.accuracy(LOGITS, CLASSES),
    "accuracy of predicted classes": lambda: fn.metrics.accuracy(CLASSES, jnp.array([0, 1])),
    "top_k": lambda: fn.metrics.top_k(1)(LOGITS, CLASSES),
    "brier": lambda: fn.metrics.brier(LOGITS, CLASSES),
    "f1": lambda: fn.metrics.measure(fn.metrics.f1(average="macro", classes=2), LOGITS, CLASSES),
    "f1 of predicted classes": lambda: fn.metrics.measure(
        fn.metrics.f1(classes=2), CLASSES, jnp.array([0, 1])
    ),
    "confusion_matrix": lambda: fn.metrics.measure(fn.metrics.confusion_matrix(2), LOGITS, CLASSES),
    "calibration": lambda: fn.metrics.measure(fn.metrics.expected_calibration_error(), LOGITS, CLASSES),
    "roc_auc": lambda: fn.metrics.roc_auc(LOGITS[:, 1], CLASSES),
    "average_precision": lambda: fn.metrics.average_precision(LOGITS[:, 1], CLASSES),
    "one_hot": lambda: fn.data.one_hot(CLASSES, 2),
    "Embedding": lambda: fn.layers.Embedding(4, 2).init(KEY())(np.array([LARGE + 1])),
    "Transformer": lambda: fn.models.Transformer(
        2, vocab_size=4, max_length=4, pad_token=0, features=8, num_heads=2, depth=1
    ).init(KEY())(CLASSES),
    "fit": lambda: TRAIN(NET.init(KEY()), (np.ones((2, 1), np.float32), CLASSES), KEY()),
    "step": step,
    "evaluate": lambda: fn.evaluate(LOSS, NET.init(KEY()), (np.ones((2, 1), np.float32), CLASSES)),
    "a member of an ensemble": lambda: fn.study.ensemble(TRAIN, 2).member(NET, data(), KEY(), LARGE + 1),
    "an epoch": lambda: fn.data.batches(data(), 2, KEY(), LARGE + 1),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_integer_out_of_range_is_refused(name):
    with pytest.raises((ValueError, IndexError), match=r"funcnet|must|rows?|position|at most") as caught:
        INDEXES[name]()
    assert "funcnet" in str(caught.traceback[-1].path), f"raised by {caught.traceback[-1].path}"


def test_integers_that_fit_are_taken_whatever_their_dtype():
    for dtype in (np.int64, np.uint64, np.uint32, np.int16, np.uint8):
        assert fn.data.take(data(), np.array([3], dtype)).rows.tolist() == [3]
        loss = fn.losses.cross_entropy(LOGITS, np.array([0, 1], dtype))
        assert float(loss) == float(fn.losses.cross_entropy(LOGITS, jnp.array([0, 1])))


@pytest.mark.parametrize(
    "loss", [fn.losses.squared_error, fn.losses.absolute_error], ids=["squared", "absolute"]
)
def test_a_large_integer_target_keeps_its_value(loss):
    target, prediction = np.array([0, LARGE + 1]), jnp.zeros(2)
    assert float(loss(prediction, target)) == float(loss(prediction, jnp.asarray(target, float)))


@pytest.mark.parametrize("loss", [fn.losses.hinge, fn.losses.binary_cross_entropy], ids=["hinge", "binary"])
def test_a_large_integer_is_not_a_class(loss):
    assert np.isnan(loss(jnp.zeros(2), np.array([0, LARGE + 1])))
