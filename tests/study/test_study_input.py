"""What a study cannot use ends in a sentence that names the argument, before anything is compiled."""

import functools
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcnet as fn

S = fn.study
PACKAGE = str(Path(fn.__file__).parent)
LOSS = fn.losses.supervised(fn.losses.squared_error)
TRAIN = fn.fit(LOSS, optax.sgd(0.1), epochs=1, batch_size=4)
NET = fn.models.LinearRegression(1)
X = np.linspace(0.0, 1.0, 8, dtype=np.float32)[:, None]
DATA = (X, X[:, 0])


def the_key():
    return jax.random.key(0)


@functools.cache
def folds():
    return fn.data.kfold(DATA, 2, the_key())


@functools.cache
def a_run():
    return TRAIN(jax.jit(NET.init)(the_key()), DATA, the_key())


def make_train(learning_rate):
    return fn.fit(LOSS, optax.sgd(learning_rate), epochs=1, batch_size=4)


def make_longer(learning_rate):
    return fn.fit(LOSS, optax.sgd(learning_rate), epochs=2, batch_size=4)


def make_pair(capacity):
    return TRAIN, NET


def make_net(width):
    return fn.MLP((1, width, "scalar"))


NAN = float("nan")
OBJECTS = np.array([1.0, None, "a"], object)


@functools.cache
def bad_values() -> dict[str, list[Any]]:
    return {
        "train": [None, 3, "a", a_run(), lambda model: model, fn.fit, NET],
        "net": [None, 3, "a", a_run(), fn.MLP, optax.adam(0.1), X],
        "data": [
            None,
            3,
            "a",
            a_run(),
            (OBJECTS, OBJECTS),
            (X, X[:4, 0]),
            (X[:0], X[:0, 0]),
            (np.array(["a"] * 8), X[:, 0]),
        ],
        "draw": [lambda: DATA, lambda a, b: DATA],
        "key": [None, 0, "k", jnp.zeros(2, "uint32"), jax.random.split(the_key(), 2)],
        "count": [0, -1, True, 1.5, "2", None, 2**40, np.float64(3)],
        "block": [0, -1, True, 1.5, "2", 2**40],
        "number": [-1, 1.5, True, None, "0", 2**40],
        "boolean": [None, 1, "yes", np.ones(2)],
        "choice": [None, 3, "mean", np.ones(2)],
        "mode": [3, "mean", np.ones(2)],
        "function": [3, "a", lambda: 0],
        "factory": [None, 3, "a", TRAIN, lambda: TRAIN],
        "folds": [None, DATA, 5, a_run()],
        "increasing": [
            None,
            3,
            "ab",
            (),
            (2, 1),
            (1, 1),
            (0, 2),
            (1.5, 2),
            (True, 2),
            (1, 2**40),
            np.array(3),
        ],
        "capacities": [None, 3, "ab", (), {1: 2}, np.array(3)],
        "settings": [
            None,
            3,
            {},
            {"learning_rate": []},
            {"learning_rate": 0.1},
            {"learning_rate": "ab"},
            {3: [1.0]},
            {"learning_rate": [[1.0]]},
        ],
        "monitor": [None, 3, "loss", "val_accuracy"],
        "metric": [None, 3, "loss", lambda: 0.0],
        "rate": [0.0, -1.0, NAN, float("inf"), "a", None, True],
        "hyperparams": [None, {}, 1, "a", jnp.ones(2, int), OBJECTS],
        "optimizer": [3, "adam", make_train],
        "log": ["yes", 1, None],
        "quantities": [None, 3, "gradient", [], ["weights"], [3]],
        "run": [
            None,
            3,
            "a",
            {},
            {"val_loss": [1.0]},
            {"loss": OBJECTS},
            {"loss": []},
            {"loss": 3.0},
            {"loss": [1.0], "val_loss": [1.0, 2.0]},
        ],
        "target": ["a", NAN, float("inf"), OBJECTS, np.ones(2), True],
        "tolerance": [0.0, 1.0, NAN, None, "a"],
        "truth": ["a", OBJECTS, np.ones(3)],
    }


MADE = (the_key, folds)


def of(study: Callable[..., Any], call: dict[str, Any], **settings: Any) -> Callable[..., Any]:
    """A function of the arguments of a study and of its call."""

    def run(**arguments: Any) -> Any:
        arguments = {
            n: value() if any(value is make for make in MADE) else value
            for n, value in (settings | call).items()
        } | arguments
        made = study(**{name: arguments.pop(name) for name in settings})
        return made(**arguments)

    return run


ALL = {"net": NET, "data": DATA, "key": the_key, "valid": DATA}
MEMBER = {"block": "block", "progress": "function"}
ensemble = of(
    S.ensemble, ALL, train=TRAIN, size=2, bootstrap=False, average="values", block=None, progress=None
)
bias_variance = of(
    S.bias_variance,
    {"net": NET, "data": DATA, "key": the_key, "test": DATA, "truth": None},
    train=TRAIN, size=3, loss="squared", epochs=None, block=None, progress=None,
)  # fmt: skip
cross_validate = of(
    S.cross_validate, {"net": NET, "key": the_key}, train=TRAIN, folds=folds, block=None, progress=None
)
capacity_curve = of(
    S.capacity_curve, {"data": DATA, "key": the_key, "valid": DATA},
    make_train=make_pair, capacities=(1,), num_repeats=2, block=None, progress=None,
)  # fmt: skip
learning_curve = of(
    S.learning_curve, ALL, train=TRAIN, train_sizes=(4, 8), num_repeats=2, block=None, progress=None
)
sweep = of(
    S.sweep, ALL, make_train=make_train, settings={"learning_rate": [0.1, 0.2]}, monitor="val_loss",
    mode="min", num_samples=1, block=None, progress=None,
)  # fmt: skip
sweep_sizes = of(
    S.sweep_sizes, {"data": DATA, "key": the_key, "valid": DATA},
    make_net=make_net, train=TRAIN, sizes=(1,), num_repeats=2, monitor="val_loss", mode="min", block=None,
    progress=None,
)  # fmt: skip
halving = of(
    S.halving, ALL, make_train=make_longer, settings={"learning_rate": [0.1, 0.2]}, monitor="val_loss",
    mode="min", num_samples=None, factor=2, min_epochs=1, block=None, progress=None,
)  # fmt: skip
rates = of(
    S.learning_rate_range, {"net": NET, "data": DATA, "key": the_key},
    make_train=make_train, min_lr=0.1, max_lr=1.0, num_rates=2, num_repeats=1, block=None, progress=None,
)  # fmt: skip
gradient = of(
    S.hyper_gradient, {"hyperparams": 0.1, **ALL}, make_train=make_train, metric="val_loss", mode=None
)
tune = of(
    S.tune, {"hyperparams": 0.1, **ALL},
    make_train=make_train, metric="val_loss", steps=1, optimizer=None, log=True, mode=None,
)  # fmt: skip
CALLS: dict[str, tuple[Callable[..., Any], dict[str, str]]] = {
    "ensemble": (
        ensemble,
        {
            "train": "train",
            "size": "count",
            "bootstrap": "boolean",
            "average": "choice",
            "net": "net",
            "data": "data",
            "key": "key",
        }
        | MEMBER,
    ),
    "bias_variance": (
        bias_variance,
        {
            "train": "train",
            "size": "count",
            "loss": "choice",
            "epochs": "increasing",
            "net": "net",
            "data": "data",
        }
        | {"key": "key", "test": "data", "truth": "truth"}
        | MEMBER,
    ),
    "draw": (bias_variance, {"data": "draw"}),
    "cross_validate": (
        cross_validate,
        {"train": "train", "folds": "folds", "net": "net", "key": "key"} | MEMBER,
    ),
    "capacity_curve": (
        capacity_curve,
        {
            "make_train": "factory",
            "capacities": "capacities",
            "num_repeats": "count",
            "data": "data",
            "key": "key",
        }
        | {"valid": "data"}
        | MEMBER,
    ),
    "learning_curve": (
        learning_curve,
        {
            "train": "train",
            "train_sizes": "increasing",
            "num_repeats": "count",
            "net": "net",
            "data": "data",
        }
        | {"key": "key", "valid": "data"}
        | MEMBER,
    ),
    "sweep": (
        sweep,
        {
            "make_train": "factory",
            "settings": "settings",
            "monitor": "monitor",
            "mode": "choice",
            "num_samples": "count",
        }
        | {"net": "net", "data": "data", "key": "key", "valid": "data"}
        | MEMBER,
    ),
    "sweep_sizes": (
        sweep_sizes,
        {
            "make_net": "factory",
            "train": "train",
            "sizes": "capacities",
            "num_repeats": "count",
            "monitor": "monitor",
            "mode": "choice",
        }
        | {"data": "data", "key": "key", "valid": "data"}
        | MEMBER,
    ),
    "halving": (
        halving,
        {
            "make_train": "factory",
            "settings": "settings",
            "monitor": "monitor",
            "mode": "choice",
            "num_samples": "count",
            "factor": "count",
            "min_epochs": "count",
        }
        | {"net": "net", "data": "data", "key": "key", "valid": "data"}
        | MEMBER,
    ),
    "learning_rate_range": (
        rates,
        {
            "make_train": "factory",
            "min_lr": "rate",
            "max_lr": "rate",
            "num_rates": "count",
            "num_repeats": "count",
        }
        | {"net": "net", "data": "data", "key": "key"}
        | MEMBER,
    ),
    "hyper_gradient": (
        gradient,
        {
            "make_train": "factory",
            "metric": "metric",
            "mode": "mode",
            "hyperparams": "hyperparams",
            "net": "net",
        }
        | {"data": "data", "key": "key", "valid": "data"},
    ),
    "tune": (
        tune,
        {
            "make_train": "factory",
            "metric": "metric",
            "steps": "count",
            "optimizer": "optimizer",
            "log": "log",
        }
        | {"hyperparams": "hyperparams", "net": "net", "valid": "data"},
    ),
    "monitor": (
        functools.partial(S.monitor, train=TRAIN),
        {"train": "train", "quantities": "quantities", "rows": "count"},
    ),
    "diagnose": (
        functools.partial(S.diagnose, run={"loss": np.ones(9)}),
        {"run": "run", "target": "target", "baseline": "target", "tolerance": "tolerance"},
    ),
    "member": (S.ensemble(TRAIN, 2).member, {}),
}
WORDS = {
    "data": "data|test|valid|row|rows|table|x|y|arrays|dataset",
    "optimizer": "optimizer",
    "monitor": "monitor|mode",
}
WORDS |= {"valid": WORDS["data"], "test": WORDS["data"], "num_repeats": "num_repeats", "train": "train"}


def assert_our_sentence(call: Callable[[], Any], argument: str) -> None:
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    frame = traceback.extract_tb(error.value.__traceback__)[-1]
    assert frame.filename.startswith(PACKAGE), f"raised in {frame.filename}: {error.value}"
    assert re.search(rf"\b({WORDS.get(argument, argument)})\b", str(error.value)), str(error.value)


OPTIONAL = ("num_samples", "epochs")  # may be None


@pytest.mark.parametrize("name", CALLS)
def test_what_cannot_be_used_ends_in_a_sentence_that_names_it(name):
    call, kinds = CALLS[name]
    problems = []
    for argument, kind in kinds.items():
        for bad in bad_values()[kind]:
            if argument in OPTIONAL and bad is None:
                continue
            if argument == "net" and bad is X and name in ("learning_rate_range", "hyper_gradient", "tune"):
                continue
            try:
                assert_our_sentence(lambda: call(**{argument: bad}), argument)  # noqa: B023
            except (AssertionError, pytest.fail.Exception) as problem:
                problems.append(f"{argument}={bad!r}: {problem}")
    assert not problems, "\n".join(problems)


def test_the_number_of_a_member_is_an_integer():
    for number in bad_values()["number"]:
        for study in (S.ensemble(TRAIN, 2), S.bias_variance(TRAIN, 3)):
            assert_our_sentence(lambda: study.member(NET, DATA, the_key(), number), "number")  # noqa: B023


@pytest.mark.parametrize("result", [None, "a", 3.0, (TRAIN,), (NET, TRAIN), lambda model: model])
def test_a_factory_that_returns_no_training_function_is_named(result):
    make = lambda value: result  # noqa: E731
    for call in (
        lambda: S.capacity_curve(make, (1,), 1)(DATA, the_key(), DATA),
        lambda: S.sweep(lambda rate: result, {"rate": [0.1]})(NET, DATA, the_key(), DATA),
        lambda: S.learning_rate_range(make)(NET, DATA, the_key()),
    ):
        assert_our_sentence(call, "make_train")


def test_traced_arguments_of_studies_on_the_host_are_named():
    x, key = jnp.asarray(X), the_key()
    assert_our_sentence(lambda: jax.jit(lambda x: sweep(data=(x, x[:, 0]), key=key))(x), "data")
    assert_our_sentence(lambda: jax.jit(lambda x: learning_curve(data=(x, x[:, 0]), key=key))(x), "data")
    assert_our_sentence(lambda: jax.jit(lambda x: capacity_curve(valid=(x, x[:, 0]), key=key))(x), "valid")
    assert_our_sentence(lambda: jax.jit(lambda x: sweep_sizes(valid=(x, x[:, 0]), key=key))(x), "valid")
    assert_our_sentence(lambda: jax.jit(lambda x: rates(data=(x, x[:, 0]), key=key))(x), "data")
    assert_our_sentence(lambda: jax.jit(lambda x: S.diagnose({"loss": x[:, 0]}))(x), "diagnose")


def test_results_made_by_hand_are_checked():
    with pytest.raises(ValueError, match="members must be a model"):
        S.Ensemble(fn.Linear(2, 1))
    with pytest.raises(TypeError, match=r"scores.*must be an array of numbers"):
        S.Curve("n", (1,), {"loss": OBJECTS})
    with pytest.raises(ValueError, match=r"scores.*must have shape"):
        S.Curve("n", (1,), {"loss": np.ones(3)})
    result = S.SweepResult([{"a": 1}, {"a": 2}], [2.0, 1.0], "min", [], [(0, 0), (0, 1)])
    assert result.best == {"a": 2}
    with pytest.raises(ValueError, match="trial must be below 2"):
        result.run(2)
    with pytest.raises(TypeError, match="trial must be an integer"):
        result.run(0.5)
