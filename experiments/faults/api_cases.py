"""A valid call of every public function, class and method of funcnet, small and quick: what is mutated.

`CASES[name]` holds the call and its arguments, each with the kind that says how it is mutated. Names of
arguments are those of the function, or of the function that it returns.
"""

import contextlib
import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
from matplotlib.figure import Figure

import funcnet as fn


@dataclasses.dataclass(frozen=True)
class Arg:
    """A kind of mutation, and how to make the base value; made anew for each call if `fresh`."""

    kind: str
    make: Callable[[], Any]
    traced: bool = False  # whether jit may trace it: it holds numbers


@dataclasses.dataclass(frozen=True)
class Case:
    """A call of keyword arguments, and the right value where an oracle gives it."""

    name: str
    call: Callable[..., Any]
    args: dict[str, Arg]
    oracle: Callable[..., Any] | None = None
    names: frozenset[str] = frozenset()  # every name that a sentence may use
    room: str = ""
    nan_ok: bool = False  # NaN is an answer: of a run that diverged, of epochs that were not reached
    rare: bool = False  # takes seconds
    draws: bool = False  # random or of another type for other inputs: not compared with its base call


CASES: dict[str, Case] = {}
EXPENSIVE = {
    *("fn.fit/call", "fn.Trainer/run", "fn.Trainer.overfit_one_batch", "study.ensemble/call"),
    *("study.ensemble.member", "study.cross_validate/call", "study.learning_curve/call", "study.capacity_curve"),
    *("study.learning_rate_range/call", "study.sweep/call", "study.hyper_gradient/call", "study.tune/call"),
    *("study.bias_variance/call", "study.monitor/data", "transform.eigenpairs", "train.Request"),
}


def constant(kind: str, value: Any, traced: bool | None = None) -> Arg:
    return Arg(kind, lambda: value, kind in ("array", "number") if traced is None else traced)


def lazily(kind: str, make: Callable[[], Any]) -> Arg:
    return Arg(kind, functools.cache(make))


def fresh(kind: str, make: Callable[[], Any]) -> Arg:
    return Arg(kind, make)


array = functools.partial(constant, "array")
number = functools.partial(constant, "number")
integer = functools.partial(constant, "integer")
boolean = functools.partial(constant, "boolean")
text = functools.partial(constant, "text")
function = functools.partial(constant, "function")
sequence = functools.partial(constant, "sequence")
data = functools.partial(constant, "data")
mapping = functools.partial(constant, "mapping")
thing = functools.partial(constant, "object")
path = functools.partial(constant, "path")


def case(name: str, call: Callable[..., Any], args: dict[str, Arg], room: str = "", **rest: Any) -> None:
    names = {*args, *rest.pop("also", ())}
    target: Any = fn
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        for part in name.split("/")[0].split("."):
            target = getattr(target, part)
        names |= set(inspect.signature(target).parameters)
    room = room or name.split(".")[0]
    rest["rare"] = name in EXPENSIVE
    CASES[name] = Case(
        name, call, args, names=frozenset(names - {"self", "args", "kwargs"}), room=room, **rest
    )


RNG = np.random.default_rng(7)
N = 12
KEY = Arg("key", lambda: jax.random.key(1))


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def classes(k: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, k, shape).astype(np.int32)


X, Y = normal(N, 3), normal(N)
BITS, THREE = np.array([0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0], np.int32), np.arange(N, dtype=np.int32) % 3
WEIGHT = RNG.uniform(0.5, 2.0, N).astype(np.float32)
PAIRS, CLASSES, PLANE = (X, Y), (X, THREE), (normal(N, 2), BITS)
LINE = (np.linspace(0, 1, N, dtype=np.float32)[:, None], Y)
SQUARED = fn.losses.supervised(fn.losses.squared_error)
CLASSIFY = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
NET, CLASSIFIER = fn.MLP((3, 4, "scalar")), fn.MLP((3, 4, 3))
SETTINGS = {"epochs": 2, "batch_size": 4}


@functools.cache
def trained(net: Any = NET) -> Any:
    return jax.jit(net.init)(jax.random.key(0))


@functools.cache
def train() -> Any:
    return fn.fit(SQUARED, optax.sgd(0.05), **SETTINGS)


@functools.cache
def run() -> Any:
    return train()(trained(), PAIRS, jax.random.key(1), PAIRS)


NETS, MODEL = constant("object", NET), lazily("tree", trained)
TRAIN, RUN = lazily("object", train), lazily("object", run)
LOSS, OPTIMIZER = constant("function", SQUARED), constant("object", optax.sgd(0.05))


def losses() -> None:
    real = {"prediction": array(normal(3)), "target": array(normal(3))}
    bits = {"logits": array(normal(3)), "target": array(np.array([0, 1, 1], np.int32))}
    shares = np.array([0.2, 0.5, 0.3], np.float32)
    two = array(normal(2, 3))
    settings: dict[str, dict[str, Arg]] = {
        "squared_error": real,
        "absolute_error": real,
        "huber": {**real, "delta": number(1.0)},
        "log_cosh": real,
        "quantile": {**real, "q": number(0.3)},
        "binary_cross_entropy": {**bits, "smoothing": number(0.1)},
        "multilabel_cross_entropy": {**bits, "smoothing": number(0.0)},
        "focal": {**bits, "gamma": number(2.0), "alpha": number(0.3)},
        "hinge": bits,
        "cross_entropy": {"logits": two, "target": array(np.array([2, 0])), "smoothing": number(0.1)},
        "cross_entropy/rows": {"logits": array(normal(3)), "target": array(shares)},
        "kl_divergence": {"logits": array(normal(3)), "target": array(shares)},
        "poisson": {"log_rate": array(normal(3)), "target": array(np.array([0, 2, 5], np.int32))},
        "gaussian_nll": {"prediction": array(normal(3, 2)), "target": array(normal(3))},
        "zero_one": {"prediction": two, "target": array(np.array([2, 0]))},
    }
    for name, args in settings.items():
        short = name.split("/")[0]
        case(
            f"losses.{name}", getattr(fn.losses, short), args, "values", oracle=oracles.LOSS_ORACLES[short]
        )
    case(
        "losses.supervised",
        _call_supervised,
        {
            "per_example_loss": function(fn.losses.squared_error),
            "model": MODEL,
            "example": data((X[0], Y[0])),
        },
        "values",
        also=("x", "y", "target", "prediction"),
    )
    case(
        "losses.supervised/metrics",
        lambda metric: fn.losses.supervised(fn.losses.squared_error, metric=metric),
        {"metric": function(fn.metrics.absolute_error)},
        "values",
    )
    case(
        "losses.batchwise", _call_batchwise, {"loss": function(_batch_loss), "data": data(PAIRS)}, "values"
    )
    case(
        "losses.penalized",
        _call_penalized,
        {
            "loss": LOSS,
            "l1": number(0.1),
            "l2": number(0.1),
            "where": function(_is_weight),
            "model": MODEL,
        },
        "values",
    )


def _call_supervised(per_example_loss: Any, model: Any, example: Any) -> Any:
    return fn.losses.supervised(per_example_loss)(model, example, None)


def _batch_loss(model: Any, batch: Any, weight: Any, key: Any) -> Any:
    x, y = batch
    return jnp.sum((jax.vmap(model)(x) - y) ** 2 * weight) / jnp.sum(weight)


def _call_batchwise(loss: Any, data: Any) -> Any:
    return fn.evaluate(fn.losses.batchwise(loss), trained(), data, 4)


def _is_weight(path: str, leaf: Any) -> bool:
    return path.endswith("weight")


def _call_penalized(loss: Any, l1: Any, l2: Any, where: Any, model: Any) -> Any:
    return fn.losses.penalized(loss, l1, l2, where)(model, (X[0], Y[0]), None)


def metrics() -> None:
    logits, scores = array(normal(N, 3)), array(normal(N))
    weight, bits, three = array(WEIGHT), array(BITS), array(THREE)
    M = fn.metrics
    one = {
        "accuracy": (array(normal(2, 3)), array(np.array([2, 0]))),
        "accuracy/binary": (array(normal(3)), array(np.array([0, 1, 1]))),
        "brier": (array(normal(2, 3)), array(np.array([2, 0]))),
        "brier/binary": (array(normal(3)), array(np.array([0, 1, 1]))),
        "absolute_error": (array(normal(3)), array(normal(3))),
    }
    right = {
        "accuracy": oracles._accuracy,
        "brier": oracles._brier,
        "absolute_error": oracles.absolute_error,
    }
    for name, (p, t) in one.items():
        short = name.split("/")[0]
        first = "logits" if short == "brier" else "prediction"
        case(f"metrics.{name}", getattr(M, short), {first: p, "target": t}, "values", oracle=right[short])
    case(
        "metrics.top_k",
        lambda k, prediction, target: M.top_k(k)(prediction, target),
        {"k": integer(2), "prediction": array(normal(2, 3)), "target": array(np.array([2, 0]))},
        "values",
        oracle=lambda k, prediction, target: oracles._top_k(prediction, target, k=k),
    )
    for name in ("roc_auc", "average_precision"):
        case(
            f"metrics.{name}",
            getattr(M, name),
            {"scores": scores, "targets": bits, "weight": weight},
            "values",
            oracle=oracles.METRIC_ORACLES[name],
        )
        case(
            f"metrics.{name}/plain",
            getattr(M, name),
            {"scores": scores, "targets": bits},
            "values",
            oracle=oracles.METRIC_ORACLES[name],
        )
    rows: dict[str, tuple[Any, Any, Any, dict[str, Arg]]] = {
        "precision": (M.precision, logits, three, {"average": text("macro"), "classes": integer(3)}),
        "recall": (M.recall, scores, bits, {"average": text("binary")}),
        "f1": (M.f1, three, array(THREE[::-1].copy()), {"average": text("macro"), "classes": integer(3)}),
        "confusion_matrix": (M.confusion_matrix, logits, three, {"classes": integer(3)}),
        "expected_calibration_error": (M.expected_calibration_error, logits, three, {"bins": integer(5)}),
        "rmse": (M.rmse, scores, array(Y), {}),
        "r2": (M.r2, scores, array(Y), {}),
        "r2/offset": (M.r2, scores, array(Y), {"offset": number(0.1, traced=False)}),
    }
    for name, (make, p, t, settings) in rows.items():
        short = name.split("/")[0]
        case(
            f"metrics.{name}",
            _measuring(make),
            {"predictions": p, "targets": t, "weight": weight, **settings},
            "values",
            oracle=oracles.METRIC_ORACLES[short],
            also=("prediction", "target"),
        )
    for metric in ("accuracy", "brier"):
        case(
            f"metrics.measure/{metric}",
            _measuring(lambda metric=metric: getattr(M, metric)),
            {"predictions": logits, "targets": three, "weight": weight},
            "values",
            oracle=oracles.METRIC_ORACLES[metric],
            also=("prediction", "target", "logits"),
        )
    for loss, (p, t) in {"squared_error": (scores, array(Y)), "cross_entropy": (logits, three)}.items():
        case(
            f"metrics.measure/{loss}",
            _measuring(lambda loss=loss: getattr(fn.losses, loss)),
            {"predictions": p, "targets": t, "weight": weight},
            "values",
            oracle=oracles.mean_of(oracles.LOSS_ORACLES[loss]),
            also=("prediction", "target", "logits"),
        )
    case(
        "metrics.measure",
        M.measure,
        {"metric": function(M.accuracy), "predictions": logits, "targets": three, "weight": weight},
        "values",
        also=("prediction", "target"),
    )
    case(
        "metrics.Metric",
        lambda prediction, target: M.rmse()(prediction, target).value(),
        {"prediction": array(normal(3)), "target": array(normal(3))},
        "values",
    )
    case(
        "metrics.MetricSums",
        lambda sums, metric: M.MetricSums(sums, metric).value(),
        {"sums": constant("tree", (np.float32(4.0), np.float32(9.0))), "metric": thing(M.rmse())},
        "values",
    )


def _measuring(make: Any) -> Any:
    def measure(predictions: Any, targets: Any, weight: Any, **settings: Any) -> Any:
        return fn.metrics.measure(make(**settings), predictions, targets, weight)

    return measure


def data_room() -> None:
    D = fn.data
    rows, labels = sequence((5, 0, 3, 3)), array(THREE)
    also = ("arrays", "x", "y", "rows", "weight")
    case(
        "data.Dataset",
        lambda arrays, weight, rows: D.Dataset(arrays, weight=weight, rows=rows)[:],
        {"arrays": data(PAIRS), "weight": array(WEIGHT), "rows": array(np.array([5, 0, 3, 3]))},
        also=also,
    )
    case(
        "data.Dataset.__getitem__",
        lambda arrays, index: D.Dataset(arrays)[index],
        {"arrays": data(PAIRS), "index": integer(3)},
        also=also,
    )
    case(
        "data.Dataset.axes",
        lambda arrays, weight, rows: D.Dataset.axes(arrays, weight, rows),
        {"arrays": thing(None), "weight": integer(0), "rows": integer(0)},
        draws=True,
    )
    case(
        "data.take",
        lambda data, rows: D.take(data, rows)[:],
        {"data": data(PAIRS), "rows": rows},
        also=also,
    )
    case(
        "data.take/array",
        lambda rows: D.take(PAIRS, rows)[:],
        {"rows": array(np.array([5, 0, 3, 3]))},
        oracle=_take,
    )
    case(
        "data.split",
        lambda data, sizes, key, stratify: [p[:] for p in D.split(data, sizes, key, stratify=stratify)],
        {"data": data(CLASSES), "sizes": sequence((0.5, 0.5)), "key": KEY, "stratify": labels},
        also=also,
    )
    case(
        "data.split/counts",
        lambda data, sizes: [p[:] for p in D.split(data, sizes, None)],
        {"data": data(CLASSES), "sizes": sequence((8, 4))},
        also=also,
    )
    case(
        "data.kfold",
        _kfold,
        {
            "data": data(CLASSES),
            "folds": integer(3),
            "key": KEY,
            "stratify": labels,
            "groups": array(np.arange(N) // 2),
        },
        also=also,
    )
    case(
        "data.kfold/groups",
        lambda groups: _kfold(CLASSES, 3, jax.random.key(0), None, groups),
        {"groups": array(np.arange(N) // 2)},
    )
    case(
        "data.bootstrap",
        lambda data, key, samples: D.bootstrap(data, key, samples)[:],
        {"data": data(PAIRS), "key": KEY, "samples": integer(5)},
        also=also,
    )
    case(
        "data.out_of_bag",
        lambda data, sample: D.out_of_bag(data, sample).weights(),
        {"data": data(PAIRS), "sample": lazily("object", lambda: D.bootstrap(PAIRS, jax.random.key(0)))},
        also=also,
    )
    case("data.class_weights", D.class_weights, {"labels": labels, "weights": text("balanced")})
    case("data.class_weights/balanced", D.class_weights, {"labels": labels}, oracle=_class_weights)
    case(
        "data.class_weights/mapping",
        lambda weights: D.class_weights(THREE, weights),
        {"weights": mapping({0: 1.0, 1: 2.0})},
    )
    case("data.one_hot", D.one_hot, {"labels": labels, "classes": integer(3)}, oracle=_one_hot)
    case(
        "data.batches",
        lambda data, batch_size, key, epoch: [
            (b.example, b.weight) for b in D.batches(data, batch_size, key, epoch)
        ],
        {"data": data(PAIRS), "batch_size": integer(5), "key": KEY, "epoch": integer(0)},
        also=also,
    )
    case(
        "data.Batch",
        lambda example, weight: (
            fn.step(SQUARED, optax.sgd(0.1))(_state(), D.Batch(example, weight))[1].loss
        ),
        {"example": data(PAIRS), "weight": array(WEIGHT)},
    )
    for kind in ("standard", "minmax"):
        case(
            f"data.Scaler.fit/{kind}",
            lambda data, kind=kind: (s := D.Scaler.fit(data, kind)) and (s.shift, s.scale),
            {"data": data(PAIRS)},
            also=also,
            oracle=functools.partial(_scaler, kind),
        )
    parameters = list(inspect.signature(D.Scaler.fit).parameters)
    case(
        "data.Scaler.fit",
        D.Scaler.fit,
        {parameters[0]: data(PAIRS), parameters[1]: text("standard")},
        also=also,
    )
    case(
        "data.Scaler",
        lambda shift, scale, data: D.Scaler(shift, scale).transform(data),
        {"shift": array(normal(3)), "scale": array(np.ones(3, np.float32)), "data": array(X)},
        also=("x",),
    )
    case(
        "data.Scaler.transform",
        lambda data: _scaled().transform(D.Dataset(data))[:],
        {"data": data(PAIRS)},
        also=also,
    )
    case(
        "data.Scaler.inverse_transform",
        lambda data: _scaled().inverse_transform(data),
        {"data": array(X)},
        also=("x",),
    )
    case(
        "data.Shuffle.draw",
        lambda key, n, row: D.Shuffle.draw(key, n)(row),
        {"key": KEY, "n": integer(10), "row": array(np.arange(5))},
        also=("position", "positions"),
    )
    case(
        "data.Shuffle.inverse",
        lambda row: D.Shuffle.draw(jax.random.key(0), 10).inverse(row),
        {"row": array(np.arange(5))},
        also=("position", "positions", "rows"),
    )
    columns = {
        "values": array(np.array([[31.0, 0], [0, 1], [7, 1]], np.float32)),
        "missing": array(np.array([[0, 0], [1, 0], [0, 0]], bool)),
        "names": sequence(("age", "city")),
        "categories": thing((None, ("Oslo", "Rome"))),
    }
    case("data.Columns", _encode, {**columns, "y": array(np.array([0, 1, 0]))}, also=("columns", "data"))
    case(
        "data.Encoder",
        lambda names, fill, categories: D.Encoder(names, fill, categories).transform(_columns()),
        {
            "names": sequence(("age", "city")),
            "fill": sequence((1.0, "Oslo")),
            "categories": thing((None, ("Oslo", "Rome"))),
        },
    )
    case(
        "data.Encoder.fit",
        lambda data: D.Encoder.fit(data).to_dict(),
        {"data": thing(_pair_of_columns())},
        also=also,
    )
    case(
        "data.Encoder.transform",
        lambda data: _encoder().transform(data),
        {"data": thing(_columns())},
        also=also,
    )
    case(
        "data.Encoder.from_dict",
        lambda state: D.Encoder.from_dict(state).feature_names,
        {"state": fresh("mapping", lambda: _encoder().to_dict())},
        "data",
    )
    case("data.Encoder.read", lambda path: _encoder().read(path), {"path": path("rows.csv")})
    case(
        "data.load",
        lambda name, target, task: D.load(name, target, task).data[:],
        {"name": path("rows.csv"), "target": text("rent"), "task": text("regression")},
        also=("path",),
    )
    case("data.load/name", lambda name: len(D.load(name).data), {"name": text("iris")}, also=("path",))
    case(
        "data.Table",
        lambda name, data, feature_names, target_name, class_names: (
            D.Table(name, D.Dataset(data), feature_names, target_name, class_names).task
        ),
        {
            "name": text("t"),
            "data": data(CLASSES),
            "feature_names": sequence(("a", "b", "c")),
            "target_name": text("y"),
            "class_names": sequence(("u", "v", "w")),
        },
        also=also,
    )
    case(
        "data.Problem",
        lambda data, truth: D.Problem(D.Dataset(data), truth) and None,
        {"data": data(PAIRS), "truth": function(jnp.sin)},
        also=also,
        draws=True,
    )
    case(
        "data.Folds",
        lambda train, valid: len(D.Folds(train, valid)),
        {
            "train": lazily("object", lambda: _folds().train),
            "valid": lazily("object", lambda: _folds().valid),
        },
    )
    case(
        "data.Folds.__getitem__", lambda index: _folds()[index][0][:], {"index": integer(1)}, also=("fold",)
    )
    sizes: dict[str, dict[str, Arg]] = {
        "exact_linear": {"features": integer(2), "noise": number(1.0, False)},
        "friedman1": {"features": integer(6), "noise": number(1.0, False)},
        "gaussians": {"features": integer(2), "distance": number(2.0, False)},
        "noisy_line": {
            "slope": number(2.0, False),
            "intercept": number(1.0, False),
            "noise": number(0.5, False),
        },
        "two_classes": {"flip_y": number(0.1, False), "class_sep": number(1.5, False)},
        "two_moons": {"noise": number(0.2, False)},
    }
    for name, args in sizes.items():
        case(
            f"data.{name}",
            lambda name=name, **k: getattr(D, name)(**k).data[:],
            {"rows": integer(8), "seed": integer(3), **args},
            draws=True,
        )
    image = (normal(4, 5, 2), np.int32(1))
    transforms: dict[str, dict[str, Arg]] = {
        "noise": {"scale": number(0.1)},
        "shift": {"pixels": integer(1)},
        "flip": {"axis": integer(-2), "probability": number(0.5)},
    }
    for name, args in transforms.items():
        case(
            f"data.{name}",
            lambda key, example, name=name, **k: getattr(D, name)(**k)(key, example),
            {**args, "key": KEY, "example": data(image)},
            also=("x", "image"),
            draws=True,
        )
    case(
        "data.chain",
        lambda first, second, key, example: D.chain(first, second)(key, example),
        {"first": function(D.flip(-1)), "second": function(D.noise(0.1)), "key": KEY, "example": data(image)},
        also=("transforms", "transform"), draws=True,
    )
    case(
        "data.augmented",
        lambda loss, transform, key, example: D.augmented(loss, transform)(trained(), example, key),
        {"loss": LOSS, "transform": function(D.noise(0.1)), "key": KEY, "example": data((X[0], Y[0]))},
        draws=True,
    )
    case(
        "data.mixup",
        lambda loss, alpha, key, batch: D.mixup(loss, alpha)(trained(), batch, WEIGHT, key),
        {"loss": LOSS, "alpha": number(0.2, False), "key": KEY, "batch": data(PAIRS)},
        draws=True,
        also=("x", "y", "examples"),
    )
    case(
        "data.Stream",
        lambda source, prefetch: len(D.Stream(source, prefetch=prefetch).first(2)),
        {"source": thing(UserSource()), "prefetch": integer(2)},
        draws=True,
    )
    case(
        "data.Stream.npy",
        lambda paths, prefetch, rows: D.Stream.npy((paths, "y.npy"), prefetch=prefetch).first(rows)[:],
        {"paths": path("x.npy"), "prefetch": integer(2), "rows": integer(2)},
        also=("path",),
        draws=True,
    )
    case(
        "data.Stream.parquet",
        lambda path, features, target, window: D.Stream.parquet(
            path, features, target, window=window
        ).first(2)[:],
        {
            "path": path("rows.parquet"),
            "features": sequence(("a", "b")),
            "target": text("t"),
            "window": integer(2),
        },
        draws=True,
    )
    case(
        "data.Stream.from_batches",
        lambda factory, num_batches, prefetch: train()(
            trained(),
            D.Stream.from_batches(factory, num_batches, prefetch=prefetch).first(4),
            jax.random.key(0),
        ).history["loss"],
        {"factory": function(_two_batches), "num_batches": integer(2), "prefetch": integer(2)},
        draws=True,
        nan_ok=True,
    )
    case(
        "data.BatchStream",
        lambda factory, num_batches, prefetch, rows: D.BatchStream(
            factory, num_batches, prefetch=prefetch
        ).first(rows)[:],
        {
            "factory": function(_two_batches),
            "num_batches": integer(2),
            "prefetch": integer(2),
            "rows": integer(2),
        },
        draws=True,
    )


def _take(rows: Any) -> Any:
    rows = np.asarray(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows) or rows.min() < 0 or rows.max() >= N:
        raise oracles.Mismatch("rows")
    return [X[rows], Y[rows]]


def _one_hot(labels: Any, classes: Any) -> Any:
    t = np.asarray(labels)
    if t.dtype.kind not in "iu" or (t.size and not 0 <= t.min() <= t.max() < classes):
        raise oracles.Mismatch("labels")
    return np.eye(classes)[t]


def _class_weights(labels: Any) -> Any:
    t = np.asarray(labels)
    if t.ndim != 1 or not t.size:
        raise oracles.Mismatch("labels")
    if t.dtype.kind == "f" and np.isnan(t).any():
        raise oracles.Mismatch("labels")
    _, number, counts = np.unique(t, return_inverse=True, return_counts=True)
    return len(t) / (len(counts) * counts)[number]


def _scaler(kind: str, data: Any) -> Any:
    x = np.asarray(data[0], np.float64)
    if x.ndim != 2 or len(x) != N or not np.isfinite(x).all() or not x.size:
        return None
    if kind == "minmax":
        return [x.min(axis=0), np.where(np.ptp(x, axis=0) == 0, 1, np.ptp(x, axis=0))]
    with np.errstate(all="ignore"):
        deviation = (x - x[:1]).std(axis=0)
        return [x.mean(axis=0), np.where(np.ptp(x, axis=0) == 0, 1, deviation)]


def _kfold(data: Any, folds: Any, key: Any, stratify: Any, groups: Any) -> Any:
    made = fn.data.kfold(data, folds, key, stratify=stratify, groups=groups)
    return [(t.rows, v.rows, t.weights(), v.weights()) for t, v in made]


@functools.cache
def _folds() -> Any:
    return fn.data.kfold(PAIRS, 3, jax.random.key(0))


@functools.cache
def _scaled() -> Any:
    return fn.data.Scaler.fit(fn.data.Dataset(PAIRS), "standard")


def _columns() -> Any:
    return fn.data.Columns(
        jnp.array([[31.0, 0], [0, 1], [7, 1]]),
        jnp.array([[0, 0], [1, 0], [0, 0]], bool),
        ("age", "city"),
        (None, ("Oslo", "Rome")),
    )


def _pair_of_columns() -> Any:
    return (_columns(), jnp.array([0, 1, 0]))


@functools.cache
def _encoder() -> Any:
    return fn.data.Encoder.fit(_pair_of_columns())


def _encode(values: Any, missing: Any, names: Any, categories: Any, y: Any) -> Any:
    pair = (fn.data.Columns(values, missing, names, categories), y)
    return fn.data.Encoder.fit(pair).transform(pair[0])


class UserSource:
    """Twelve rows that are read by number."""

    def __len__(self) -> int:
        return N

    def rows(self, numbers: Any) -> Any:
        return X[numbers], Y[numbers]

    def identity(self) -> str:
        return "twelve rows"


def _two_batches() -> Iterator[Any]:
    yield X[:4], Y[:4]
    yield X[4:8], Y[4:8]


@functools.cache
def _state() -> Any:
    return fn.TrainState.create(trained(), optax.sgd(0.1), jax.random.key(0))


def layers() -> None:
    L, M = fn.layers, fn.models
    image, words = array(normal(6, 6, 2)), array(normal(5, 3))
    conv = {
        "in_channels": integer(2),
        "out_channels": integer(4),
        "kernel_size": integer(3),
        "stride": integer(1),
        "padding": text("SAME"),
        "dilation": integer(1),
        "groups": integer(2),
        "use_bias": boolean(True),
    }
    pool = {"window": integer(2), "stride": integer(2), "padding": text("VALID")}
    norm = {"eps": number(1e-5, False), "use_scale": boolean(True)}
    specs: dict[str, tuple[Any, dict[str, Arg], Arg]] = {
        "Activation": (L.Activation, {"function": function(jnp.tanh)}, array(normal(3))),
        "AvgPool1d": (L.AvgPool1d, pool, words),
        "AvgPool2d": (L.AvgPool2d, pool, image),
        "MaxPool1d": (L.MaxPool1d, pool, words),
        "MaxPool2d": (L.MaxPool2d, pool, image),
        "BatchNorm": (
            L.BatchNorm,
            {"features": integer(3), "momentum": number(0.1, False), **norm},
            array(X),
        ),
        "Bidirectional": (L.Bidirectional, {"forward": thing(L.GRU(3, 2))}, words),
        "ChannelDropout": (
            L.ChannelDropout,
            {"rate": number(0.5, False), "num_spatial_dims": integer(2)},
            image,
        ),
        "Conv1d": (L.Conv1d, {**conv, "groups": integer(1), "in_channels": integer(3)}, words),
        "Conv2d": (L.Conv2d, conv, image),
        "ConvTranspose2d": (L.ConvTranspose2d, conv, image),
        "Dropout": (L.Dropout, {"rate": number(0.5, False)}, array(normal(3))),
        "Embedding": (
            L.Embedding,
            {"num_embeddings": integer(4), "features": integer(2)},
            array(np.array([0, 3, 1])),
        ),
        "Flatten": (L.Flatten, {"num_axes": integer(3)}, image),
        "GRU": (L.GRU, {"in_features": integer(3), "features": integer(2)}, words),
        "LSTM": (L.LSTM, {"in_features": integer(3), "features": integer(2)}, words),
        "GlobalAvgPool": (L.GlobalAvgPool, {"num_spatial_dims": integer(2)}, image),
        "GlobalMaxPool": (L.GlobalMaxPool, {"num_spatial_dims": integer(2)}, image),
        "GroupNorm": (
            L.GroupNorm,
            {"channels": integer(2), "groups": integer(1), "num_spatial_dims": integer(2), **norm},
            image,
        ),
        "LayerNorm": (L.LayerNorm, {"features": integer(3), **norm}, array(X)),
        "RMSNorm": (L.RMSNorm, {"features": integer(3), **norm}, array(X)),
        "Linear": (
            L.Linear,
            {
                "in_features": integer(3),
                "out_features": integer(2),
                "use_bias": boolean(True),
                "weight_init": text("he_normal"),
            },
            array(X),
        ),
        "MultiHeadAttention": (
            L.MultiHeadAttention,
            {"features": integer(3), "num_heads": integer(3), "causal": boolean(True)},
            words,
        ),
        "Residual": (L.Residual, {"layer": thing(fn.Linear(3, 3)), "projection": thing(None)}, array(X)),
        "SpectralNorm": (
            L.SpectralNorm,
            {"layer": thing(fn.Linear(3, 2)), "iterations": integer(1), "eps": number(1e-12, False)},
            array(X),
        ),
        "Sequential": (L.Sequential, {"layers": thing((fn.Linear(3, 2),))}, array(X)),
        "Sequential/steps": (
            lambda first, second: L.Sequential(first, second),
            {"first": thing(fn.Linear(3, 2)), "second": function(jnp.tanh)},
            array(X),
        ),
    }
    sizes = sequence((3, 4, 2))
    models: dict[str, tuple[Any, dict[str, Arg], Arg]] = {
        "ConvNet": (
            M.ConvNet,
            {
                "input_shape": sequence((6, 6, 2)),
                "classes": integer(3),
                "channels": sequence((2,)),
                "kernel_size": integer(3),
                "dropout": number(0.0, False),
                "activation": function(jax.nn.relu),
            },
            image,
        ),
        "FourierMLP": (
            M.FourierMLP,
            {"sizes": sizes, "num_frequencies": integer(3), "scale": number(1.0, False)},
            array(X),
        ),
        "LinearRegression": (
            M.LinearRegression,
            {"in_features": integer(3), "out_features": integer(2)},
            array(X),
        ),
        "MLP": (
            M.MLP,
            {
                "sizes": sizes,
                "activation": function(jax.nn.relu),
                "dropout": number(0.1, False),
                "weight_init": text("he_normal"),
            },
            array(X),
        ),
        "Perceptron": (M.Perceptron, {"in_features": integer(3), "out_features": integer(2)}, array(X)),
        "ResMLP": (
            M.ResMLP,
            {
                "in_features": integer(3),
                "out_features": integer(2),
                "width": integer(4),
                "depth": integer(1),
                "dropout": number(0.0, False),
            },
            array(X),
        ),
        "SIREN": (
            M.SIREN,
            {"sizes": sizes, "omega": number(3.0, False), "hidden_omega": number(3.0, False)},
            array(X),
        ),
        "Transformer": (
            M.Transformer,
            {
                "out_features": integer(2),
                "in_features": integer(3),
                "features": integer(4),
                "num_heads": integer(2),
                "depth": integer(1),
                "positions": text("sinusoidal"),
                "dropout": number(0.0, False),
            },
            words,
        ),
        "Transformer/tokens": (
            M.Transformer,
            {
                "out_features": integer(2),
                "vocab_size": integer(5),
                "features": integer(4),
                "num_heads": integer(2),
                "depth": integer(1),
                "max_length": integer(6),
                "positions": text("learned"),
                "pad_token": integer(0),
            },
            array(np.array([1, 4, 2, 0])),
        ),
    }
    for room, table in (("layers", specs), ("models", models)):
        for name, (make, settings, x) in table.items():
            case(
                f"{room}.{name}",
                functools.partial(_apply, make, name, tuple(settings)),
                {**settings, "x": x},
                "layers",
                also=("rate",) if "Dropout" in name else (),
            )
    case(
        "layers.Linear/arrays",
        lambda weight, bias, x: fn.Linear(3, 2, weight=weight, bias=bias)(x),
        {"weight": array(normal(3, 2)), "bias": array(normal(2)), "x": array(X)},
        "layers",
    )
    case(
        "layers.Embedding/weight",
        lambda weight, x: L.Embedding(4, 2, weight=weight)(x),
        {"weight": array(jnp.asarray(normal(4, 2))), "x": array(np.array([0, 3]))},
        "layers",
    )
    case(
        "layers.GRU/state",
        lambda x, state: _ready("GRU")(x, state=state),
        {"x": words, "state": array(normal(2))},
        "layers",
    )
    case(
        "layers.LSTM.unroll",
        lambda x, state: _ready("LSTM").unroll(x, state=state),
        {"x": words, "state": constant("tree", (normal(2), normal(2)))},
        "layers",
    )
    case(
        "layers.MultiHeadAttention/mask",
        lambda x, mask: _ready("attention")(x, mask=mask),
        {"x": array(normal(5, 4)), "mask": array(np.array([1, 1, 0, 1, 1], bool))},
        "layers",
    )
    case(
        "layers.Dropout/key",
        lambda x, key: fn.Dropout(0.5)(x, key=key),
        {"x": array(X), "key": KEY},
        "layers",
        draws=True,
    )
    case("layers.init", lambda key: fn.Linear(3, 2).init(key).weight, {"key": KEY}, "layers", draws=True)
    case(
        "fn.Module.init",
        lambda net, key: fn.Module.init(net, key),
        {"net": NETS, "key": KEY},
        "layers",
        draws=True,
        also=("self",),
    )
    case(
        "fn.Module.replace",
        lambda weight: trained(fn.Linear(3, 2)).replace(weight=weight)(X),
        {"weight": array(normal(3, 2))},
        "layers",
    )
    case(
        "fn.Buffer",
        lambda value: fn.count({"a": fn.Buffer(value), "b": jnp.ones(2)}),
        {"value": array(normal(3))},
        "layers",
    )
    case("fn.count", fn.count, {"model": MODEL}, "layers")
    case("fn.trainable", fn.trainable, {"model": MODEL}, "layers")
    case(
        "fn.summary",
        lambda net, x: str(fn.summary(net, x)),
        {"net": NETS, "x": array(X[0])},
        "layers",
        draws=True,
    )
    case("fn.Module", _subclass, {"value": thing(fn.Linear(3, 2)), "x": array(X)}, "layers")


def _subclass(value: Any, x: Any) -> Any:
    class Own(fn.Module):
        layer: fn.Module

        def __call__(self, x: Any, key: Any = None) -> Any:
            return self.layer(x)

    return Own(value).init(jax.random.key(0))(x)


@functools.cache
def _initialised(make: Any, settings: tuple[Any, ...]) -> Any:
    return make(**dict(settings)).init(jax.random.key(0))


def _apply(make: Any, name: str, names: tuple[str, ...], x: Any, **settings: Any) -> Any:
    """Construct, initialise and call; models of unchanged settings are made once."""
    base = {
        k: CASES[("models." if hasattr(fn.models, name.split("/")[0]) else "layers.") + name].args[k].make()
        for k in names
    }
    if all(settings[k] is base[k] for k in names):
        return _initialised(make, tuple(settings.items()))(x)
    return make(**settings).init(jax.random.key(0))(x)


@functools.cache
def _ready(name: str) -> Any:
    nets = {
        "GRU": fn.layers.GRU(3, 2),
        "LSTM": fn.layers.LSTM(3, 2),
        "attention": fn.layers.MultiHeadAttention(4, 2),
    }
    return nets[name].init(jax.random.key(0))


def engine() -> None:
    T = fn.train
    also = ("arrays", "x", "y", "rows", "weight")
    fit = {"loss": LOSS, "optimizer": OPTIMIZER, "epochs": integer(2), "batch_size": integer(4)}
    case(
        "fn.fit",
        lambda **k: fn.fit(**k),
        {
            **fit,
            "shuffle": boolean(True),
            "eval_every": integer(1),
            "accumulate": integer(1),
            "ema": number(0.5),
            "on_nan": text("stop"),
            "remat": boolean(False),
            "stopping": thing(fn.EarlyStopping()),
        },
        "engine",
        draws=True,
    )
    case(
        "fn.fit/call",
        lambda **k: fn.fit(**k)(trained(), PAIRS, jax.random.key(0), PAIRS).history["val_loss"],
        {**fit, "ema": number(0.5, False), "eval_every": integer(1), "stopping": thing(None)},
        "engine",
        nan_ok=True,
        draws=True,
    )
    case(
        "train.Fit",
        lambda model, data, key, valid: train()(model, data, key, valid).history["val_loss"],
        {"model": MODEL, "data": data(PAIRS), "key": KEY, "valid": data(PAIRS)},
        "engine",
        nan_ok=True,
        also=also,
    )
    case(
        "train.Fit/data",
        lambda data: train()(trained(), data, jax.random.key(0)).history["loss"],
        {"data": data(PAIRS)},
        "engine",
        nan_ok=True,
        also=also,
    )
    case(
        "train.Fit/weight",
        lambda weight: train()(trained(), fn.data.Dataset(PAIRS, weight=weight), jax.random.key(0)).history[
            "loss"
        ],
        {"weight": array(WEIGHT)},
        "engine",
        nan_ok=True,
    )
    case(
        "train.Fit/classes",
        lambda y: fn.evaluate(CLASSIFY, trained(CLASSIFIER), (X, y)),
        {"y": array(THREE)},
        "engine",
        also=("target", "targets", "data"),
    )
    case(
        "fn.step",
        lambda loss, optimizer, accumulate, on_nan: (
            fn.step(loss, optimizer, accumulate=accumulate, on_nan=on_nan)(_state(), PAIRS)[1].loss
        ),
        {"loss": LOSS, "optimizer": OPTIMIZER, "accumulate": integer(1), "on_nan": text("stop")},
        "engine",
        draws=True,
    )
    case(
        "fn.step/call",
        lambda state, batch: _step()(state, batch)[1].loss,
        {"state": lazily("object", _state), "batch": data(PAIRS)},
        "engine",
        also=also,
    )
    case(
        "fn.TrainState.create",
        lambda model, optimizer, key: fn.TrainState.create(model, optimizer, key).step,
        {"model": MODEL, "optimizer": OPTIMIZER, "key": KEY},
        "engine",
    )
    case(
        "fn.TrainState",
        lambda model, opt_state, step, epoch, key: (
            _step()(fn.TrainState(model, opt_state, step, epoch, key, _state().stopping), PAIRS)[0].step
        ),
        {
            "model": MODEL,
            "opt_state": lazily("object", lambda: _state().opt_state),
            "step": array(np.int32(0)),
            "epoch": array(np.int32(0)),
            "key": KEY,
        },
        "engine",
        also=("state",),
    )
    case(
        "fn.evaluate",
        fn.evaluate,
        {"loss": LOSS, "model": MODEL, "data": data(PAIRS), "batch_size": integer(4)},
        "engine",
        also=also,
    )
    case(
        "fn.evaluate/data",
        lambda data: fn.evaluate(SQUARED, trained(), data, 4),
        {"data": data(PAIRS)},
        "engine",
        also=also,
    )
    case("fn.predict", fn.predict, {"model": MODEL, "x": array(X), "batch_size": integer(4)}, "engine")
    case("fn.predict/x", lambda x: fn.predict(trained(), x, 4), {"x": array(X)}, "engine")
    case(
        "fn.EarlyStopping",
        lambda **k: fn.fit(SQUARED, optax.sgd(0.05), stopping=fn.EarlyStopping(**k), **SETTINGS),
        {
            "monitor": text("val_loss"),
            "min_delta": number(0.0, False),
            "patience": integer(3),
            "mode": text("min"),
            "restore_best": boolean(True),
            "start_from_epoch": integer(0),
            "stopping_threshold": number(0.1, False),
            "divergence_threshold": number(9.0, False),
        },
        "engine",
        draws=True,
    )
    case(
        "fn.History",
        lambda arrays: {**fn.History(arrays)},
        {"arrays": mapping({"loss": normal(2)})},
        "engine",
        draws=True,
    )
    case(
        "fn.Run",
        lambda model, state: fn.Run(model, state).history,
        {"model": MODEL, "state": lazily("object", lambda: run().state)},
        "engine",
        draws=True,
    )
    case(
        "fn.Precision",
        lambda param, compute, output: fn.Precision(param, compute, output)(SQUARED)(
            trained(), (X[0], Y[0]), None
        )[0],
        {
            "param": constant("dtype", "float32"),
            "compute": constant("dtype", "bfloat16"),
            "output": constant("dtype", "float32"),
        },
        "optim",
        draws=True,
    )
    case(
        "fn.Precision.__call__",
        lambda loss, model, x: fn.Precision(compute="bfloat16")(loss)(model, (x, Y[0]), None)[0],
        {"loss": LOSS, "model": MODEL, "x": array(X[0])},
        "optim",
        draws=True,
        also=("example",),
    )
    case(
        "fn.Precision.model",
        lambda model, x: fn.Precision(compute="bfloat16").model(model)(x),
        {"model": MODEL, "x": array(X[0])},
        "optim",
        draws=True,
    )
    case(
        "fn.Precision.cast_parameters",
        lambda model: fn.Precision(param="bfloat16").cast_parameters(model),
        {"model": MODEL},
        "optim",
        draws=True,
    )
    case("fn.cache_compilations", _cache, {"directory": path("cache")}, "disk", draws=True)
    case(
        "fn.save_weights",
        fn.save_weights,
        {"model": MODEL, "path": path("saved.safetensors")},
        "disk",
        draws=True,
    )
    case(
        "fn.load_weights",
        fn.load_weights,
        {"net": NETS, "path": path("model.safetensors")},
        "disk",
        draws=True,
    )
    trainer = {
        "progress": boolean(False),
        "sync_every": thing(T.Every(epochs=1)),
        "save_every": thing(T.Every(epochs=1)),
        "keep": integer(2),
        "keep_best": text("loss"),
        "resume": text("never"),
        "max_time": number(9.0, False),
        "limit_batches": integer(2),
        "evaluate_first": boolean(False),
    }
    case(
        "fn.Trainer",
        lambda train, directory, callbacks, **k: fn.Trainer(train, directory, callbacks, **k) and None,
        {"train": TRAIN, "directory": path("runs"), "callbacks": thing(()), **trainer},
        "engine",
        draws=True,
    )
    case(
        "fn.Trainer/run",
        lambda directory, callbacks, **k: fn.Trainer(train(), directory, callbacks, progress=False, **k)(
            trained(), PAIRS, jax.random.key(0)
        ).history["loss"],
        {
            "directory": path("runs"),
            "callbacks": thing(()),
            "sync_every": trainer["sync_every"],
            "save_every": trainer["save_every"],
            "keep_best": text("loss"),
            "limit_batches": integer(2),
        },
        "engine",
        draws=True,
        nan_ok=True,
    )
    case(
        "fn.Trainer.__call__",
        lambda model, data, key, valid: fn.Trainer(train(), progress=False)(
            model, data, key, valid
        ).history["loss"],
        {"model": MODEL, "data": data(PAIRS), "key": KEY, "valid": data(PAIRS)},
        "engine",
        nan_ok=True,
        also=also,
    )
    case(
        "fn.Trainer.dry_run",
        lambda model, data, key: fn.Trainer(train(), progress=False).dry_run(model, data, key).loss,
        {"model": MODEL, "data": data(PAIRS), "key": KEY},
        "engine",
        also=also,
    )
    case(
        "fn.Trainer.overfit_one_batch",
        lambda model, data, key, steps: (
            fn.Trainer(train(), progress=False).overfit_one_batch(model, data, key, steps).history["loss"]
        ),
        {"model": MODEL, "data": data(PAIRS), "key": KEY, "steps": integer(2)},
        "engine",
        nan_ok=True,
        also=also,
        draws=True,
    )
    case(
        "train.Every",
        lambda epochs: fn.Trainer(train(), sync_every=T.Every(epochs=epochs)) and None,
        {"epochs": integer(1)},
        "engine",
    )
    case(
        "train.Every/steps",
        lambda steps: T.Every(steps=steps).next_step(3, 2),
        {"steps": integer(2)},
        "engine",
        draws=True,
    )
    case(
        "train.Every/seconds",
        lambda seconds: fn.Trainer(train(), progress=False, sync_every=T.Every(seconds=seconds)) and None,
        {"seconds": number(1.0, False)},
        "engine",
    )
    case(
        "train.replay",
        T.replay,
        {"train": TRAIN, "state": lazily("object", lambda: run().state), "data": data(PAIRS)},
        "engine",
        draws=True,
        also=also,
    )
    case(
        "train.EarlyStopping.update",
        lambda value: T.EarlyStopping().init(trained()) and None,
        {"value": number(0.5)},
        "engine",
    )
    for name, make, args in (
        ("AverageWeights", T.AverageWeights, {"start": integer(0), "every": integer(1)}),
        ("CSV", T.CSV, {"path": path("log.csv")}),
        ("JSONLines", T.JSONLines, {"path": path("log.jsonl")}),
        ("TensorBoard", T.TensorBoard, {"path": path("board")}),
        (
            "ReduceOnPlateau",
            T.ReduceOnPlateau,
            {
                "monitor": text("loss"),
                "factor": number(0.1, False),
                "patience": integer(1),
                "min_delta": number(0.0, False),
                "mode": text("min"),
                "cooldown": integer(0),
                "min_lr": number(0.0, False),
                "name": text("learning_rate"),
            },
        ),
    ):
        case(
            f"train.{name}",
            functools.partial(_with_callback, make),
            args,
            "optim",
            nan_ok=True,
            draws=True,
            also=("callbacks",),
        )
    case(
        "train.Callback",
        lambda callbacks: fn.Trainer(train(), callbacks=callbacks, progress=False)(
            trained(), PAIRS, jax.random.key(0)
        ).history["loss"],
        {"callbacks": thing((T.Callback(),))},
        "optim",
        draws=True,
    )
    case(
        "train.Callback/function",
        lambda callback: fn.Trainer(train(), callbacks=[callback], progress=False)(
            trained(), PAIRS, jax.random.key(0)
        ).history["loss"],
        {"callback": function(lambda context: None)},
        "optim",
        draws=True,
        also=("callbacks",),
    )
    case(
        "train.Request",
        lambda stop, save, hyperparams: _requesting(T.Request(stop, save, hyperparams)),
        {"stop": boolean(False), "save": boolean(False), "hyperparams": mapping({"learning_rate": 0.01})},
        "optim",
        draws=True,
        nan_ok=True,
    )
    case(
        "train.ReplayedStep",
        lambda **k: str(T.ReplayedStep(**k)),
        {
            "step": integer(3),
            "epoch": integer(0),
            "rows": array(np.array([7])),
            "loss": number(0.5, False),
            "leaf": text(""),
            "cause": thing(None),
        },
        "engine",
        draws=True,
    )
    case("mesh.cpu_devices", fn.mesh.cpu_devices, {"count": integer(1)}, "engine", draws=True)
    case("mesh.use", _meshed, {"devices": integer(1), "data": data(PAIRS)}, "engine", also=also)
    case("mesh.shard_members", _sharded, {"tree": array(normal(4, 2))}, "engine")


@functools.cache
def _step() -> Any:
    return jax.jit(fn.step(SQUARED, optax.sgd(0.1)))


def _cache(directory: Any) -> Any:
    try:
        return str(fn.cache_compilations(directory))
    finally:
        jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR"))


@functools.cache
def _injected() -> Any:
    return fn.fit(SQUARED, optax.inject_hyperparams(optax.sgd)(learning_rate=0.05), **SETTINGS)


def _with_callback(make: Any, **settings: Any) -> Any:
    trainer = fn.Trainer(_injected(), callbacks=[make(**settings)], progress=False)
    return trainer(trained(), PAIRS, jax.random.key(0)).history["loss"]


def _requesting(request: Any) -> Any:
    trainer = fn.Trainer(_injected(), callbacks=[lambda context: request], progress=False)
    return trainer(trained(), PAIRS, jax.random.key(0)).history["loss"]


def _meshed(devices: Any, data: Any) -> Any:
    with fn.mesh.use(devices):
        return fn.evaluate(SQUARED, trained(), data, 4)


def _sharded(tree: Any) -> Any:
    with fn.mesh.use(1):
        return fn.mesh.shard_members(tree)


def transforms() -> None:
    T = fn.transform
    x, v = array(normal(3)), array(normal(3))
    examples = array(jnp.asarray(normal(5, 3)))
    scalar, per_example = function(_cubes), function(_product)
    common = {"f": scalar, "x": x}
    case("transform.hvp", lambda f, x, v: T.hvp(f)(x, v), {**common, "v": v})
    case(
        "transform.hessian_diag",
        lambda f, x, chunk: T.hessian_diag(f, chunk=chunk)(x),
        {**common, "chunk": integer(2)},
    )
    case(
        "transform.hessian_diag/key",
        lambda f, x, key, samples: T.hessian_diag(f, key=key, samples=samples)(x),
        {**common, "key": KEY, "samples": integer(3)},
        draws=True,
    )
    case(
        "transform.ggnvp",
        lambda outputs, loss, x, v: T.ggnvp(outputs, loss)(x, v),
        {"outputs": function(jnp.sin), "loss": scalar, "x": x, "v": v},
    )
    case(
        "transform.jacobian",
        lambda f, x, chunk: T.jacobian(f, chunk=chunk)(x),
        {"f": function(jnp.sin), "x": x, "chunk": integer(2)},
    )
    case(
        "transform.check_grads",
        lambda f, x, directions, tolerance, seed: str(
            T.check_grads(f, directions=directions, tolerance=tolerance, seed=seed)(x)
        ),
        {**common, "directions": integer(1), "tolerance": number(1e-4, False), "seed": integer(0)},
        draws=True,
    )
    case(
        "transform.clip_gradient",
        lambda x, norm: jax.grad(lambda x: jnp.sum(T.clip_gradient(x, norm)))(x),
        {"x": x, "norm": number(1.0)},
    )
    case(
        "transform.reverse_gradient",
        lambda x, scale: jax.grad(lambda x: jnp.sum(T.reverse_gradient(x, scale)))(x),
        {"x": x, "scale": number(1.0)},
    )
    case(
        "transform.straight_through",
        lambda f, x: jax.value_and_grad(lambda x: jnp.sum(T.straight_through(f)(x)))(x),
        {"f": function(jnp.round), "x": x},
    )
    for name, more in (
        ("clipped_mean_grad", {"norm": number(1.0)}),
        ("gradient_noise_scale", {}),
        ("per_example_grads", {}),
    ):
        case(
            f"transform.{name}",
            lambda f, x, examples, name=name, **k: getattr(T, name)(f, **k)(x, examples),
            {"f": per_example, "x": x, "examples": examples, **more},
            nan_ok=name == "gradient_noise_scale",
        )
    case(
        "transform.microbatched_value_and_grad",
        lambda f, size, x, examples, weight: T.microbatched_value_and_grad(f, size)(x, examples, weight),
        {"f": per_example, "size": integer(2), "x": x, "examples": examples, "weight": array(WEIGHT[:5])},
    )
    case(
        "transform.eigenpairs",
        lambda matvec, like, key, count, iterations: T.eigenpairs(
            matvec, like, key, count=count, iterations=iterations
        ),
        {"matvec": function(_twice), "like": x, "key": KEY, "count": integer(1), "iterations": integer(3)},
        draws=True,
    )
    case(
        "transform.implicit_minimum",
        lambda solve, objective, ridge, start, h: T.implicit_minimum(solve, objective, ridge=ridge)(
            start, h
        ),
        {
            "solve": function(_solve),
            "objective": function(_objective),
            "ridge": number(0.0, False),
            "start": array(np.float32(0.5)),
            "h": array(np.float32(3.0)),
        },
    )
    case(
        "transform.explain_retrace", lambda f, x: T.explain_retrace(f)(x), {"f": function(jnp.sin), "x": x}
    )
    case(
        "transform.find_nan",
        lambda f, x: str(T.find_nan(f)(x)),
        {"f": function(_cubes), "x": x},
        draws=True,
    )
    case(
        "transform.graph",
        lambda f, x: T.graph(f)(x).cost().flops,
        {"f": function(_cubes), "x": x},
        draws=True,
    )
    case(
        "transform.Graph.__call__",
        lambda x: T.graph(_cubes)(np.ones(3, np.float32))(x),
        {"x": x},
        also=("arguments", "inputs"),
    )
    case(
        "transform.Graph.table",
        lambda open_calls: len(T.graph(_cubes)(X[0]).table(open_calls=open_calls)),
        {"open_calls": boolean(True)},
        draws=True,
    )
    case(
        "transform.Graph.diff",
        lambda other: T.graph(_cubes)(X[0]).diff(other),
        {"other": lazily("object", lambda: T.graph(jnp.sin)(X[0]))},
        draws=True,
    )
    case(
        "transform.Graph.compile",
        lambda device: T.graph(_cubes)(X[0]).compile(device) and None,
        {"device": thing(None)},
        draws=True,
    )
    case(
        "transform.Graph.dot",
        lambda fold: len(T.graph(_cubes)(X[0]).dot(fold=fold)),
        {"fold": boolean(True)},
        draws=True,
    )
    case(
        "transform.Graph.draw",
        lambda path, fold: T.graph(_cubes)(X[0]).draw(path, fold=fold),
        {"path": path("graph.dot"), "fold": boolean(True)},
        draws=True,
    )
    case(
        "transform.Graph.save",
        lambda path, batch: T.graph(_cubes)(X).save(path, batch=batch) and None,
        {"path": path("saved.graph"), "batch": text("b")},
        draws=True,
    )
    case(
        "transform.load_graph",
        lambda path, x: T.load_graph(path)(x),
        {"path": path("double.graph"), "x": x},
        also=("arguments",),
        draws=True,
    )
    case(
        "transform.Cost",
        lambda flops, bytes: T.Cost(1e3, 1e3, 2e3).seconds(flops=flops, bytes=bytes),
        {"flops": number(1e9, False), "bytes": number(1e9, False)},
        draws=True,
    )
    case(
        "transform.GradCheck",
        lambda differences, tolerance: str(T.GradCheck(differences, tolerance)),
        {"differences": mapping({"weight": 1e-9}), "tolerance": number(1e-4, False)},
        draws=True,
    )
    case(
        "transform.sow",
        lambda value, name: T.reap(lambda v: T.sow(v, name) * 2)(value),
        {"value": x, "name": text("inside")},
        draws=True,
    )
    case("transform.reap", lambda f, x: T.reap(f)(x), {"f": function(_sows), "x": x})
    case(
        "transform.plant",
        lambda f, values, x: T.plant(f, values)(x),
        {"f": function(_sows), "values": mapping({"inside": np.ones(3, np.float32)}), "x": x},
        draws=True,
    )
    case(
        "transform.vmap_last",
        lambda f, in_axes, x: T.vmap_last(f, in_axes)(x),
        {"f": function(jnp.sin), "in_axes": integer(0), "x": array(X)},
    )


def _cubes(x: Any) -> Any:
    return jnp.sum(jnp.asarray(x) ** 3)


def _product(w: Any, example: Any) -> Any:
    return jnp.sum(w * example) ** 2


def _twice(v: Any) -> Any:
    return jax.tree.map(lambda a: 2 * a, v)


def _objective(x: Any, h: Any) -> Any:
    return (x - h) ** 2 + x**2


def _solve(x: Any, h: Any) -> Any:
    return h / 2 + 0 * x


def _sows(x: Any) -> Any:
    return fn.transform.sow(jnp.sin(x), "inside") ** 2


def studies() -> None:
    S = fn.study
    also = ("arrays", "x", "y", "rows", "weight")
    net, pairs, valid = NETS, data(PAIRS), data(PAIRS)
    block = {"block": integer(2)}
    case(
        "study.ensemble",
        lambda train, size, bootstrap, average, block: (
            S.ensemble(train, size, bootstrap=bootstrap, average=average, block=block) and None
        ),
        {
            "train": TRAIN,
            "size": integer(2),
            "bootstrap": boolean(False),
            "average": text("values"),
            **block,
        },
        draws=True,
    )
    case(
        "study.ensemble/call",
        lambda net, data, key, valid: _ensemble()(net, data, key, valid).runs.history["loss"],
        {"net": net, "data": pairs, "key": KEY, "valid": valid},
        nan_ok=True,
        also=also,
    )
    case(
        "study.ensemble.member",
        lambda net, data, key, number: _ensemble().member(net, data, key, number).history["loss"],
        {"net": net, "data": pairs, "key": KEY, "number": integer(0)},
        nan_ok=True,
        also=also,
    )
    case(
        "study.Ensemble",
        lambda members, average, x: S.Ensemble(members, average)(x),
        {"members": lazily("tree", _members), "average": text("values"), "x": array(X)},
    )
    for name in ("predictions", "spread"):
        case(
            f"study.Ensemble.{name}",
            lambda x, name=name: getattr(S.Ensemble(_members()), name)(x),
            {"x": array(X)},
        )
    for name in ("disagreement", "mutual_information"):
        case(
            f"study.Ensemble.{name}",
            lambda x, name=name: getattr(S.Ensemble(_members(CLASSIFIER), "classes"), name)(x),
            {"x": array(X)},
        )
    case(
        "study.cross_validate",
        lambda train, folds, block: S.cross_validate(train, folds, block=block) and None,
        {"train": TRAIN, "folds": lazily("object", _folds), **block},
        draws=True,
    )
    case(
        "study.cross_validate/call",
        lambda net, key: S.cross_validate(train(), _folds())(net, key).scores,
        {"net": net, "key": KEY},
        draws=True,
    )
    case(
        "study.learning_curve",
        lambda train, train_sizes, num_repeats, block: (
            S.learning_curve(train, train_sizes, num_repeats, block=block) and None
        ),
        {"train": TRAIN, "train_sizes": sequence((4, 8)), "num_repeats": integer(2), **block},
        draws=True,
    )
    case(
        "study.learning_curve/call",
        lambda net, data, key, valid: S.learning_curve(train(), (4, 8), 1)(net, data, key, valid).scores,
        {"net": net, "data": pairs, "key": KEY, "valid": valid},
        also=also,
        draws=True,
    )
    case(
        "study.capacity_curve",
        lambda make_train, capacities, num_repeats, block: (
            S.capacity_curve(make_train, capacities, num_repeats, block=block)(
                PAIRS, jax.random.key(0), PAIRS
            ).scores
        ),
        {
            "make_train": function(_of_width),
            "capacities": sequence((2,)),
            "num_repeats": integer(1),
            **block,
        },
        draws=True,
    )
    case(
        "study.learning_rate_range",
        lambda make_train, min_lr, max_lr, num_rates, num_repeats: (
            S.learning_rate_range(
                make_train, min_lr=min_lr, max_lr=max_lr, num_rates=num_rates, num_repeats=num_repeats
            )
            and None
        ),
        {
            "make_train": function(_of_rate),
            "min_lr": number(1e-3, False),
            "max_lr": number(0.1, False),
            "num_rates": integer(2),
            "num_repeats": integer(1),
        },
        draws=True,
    )
    case(
        "study.learning_rate_range/call",
        lambda make_train, net, data, key: (
            S.learning_rate_range(make_train, num_rates=2, num_repeats=1)(net, data, key).losses
        ),
        {"make_train": function(_of_rate), "net": net, "data": pairs, "key": KEY},
        also=also,
        draws=True,
        nan_ok=True,
    )
    case(
        "study.bias_variance",
        lambda train, size, loss, epochs, block: (
            S.bias_variance(train, size, loss=loss, epochs=epochs, block=block) and None
        ),
        {"train": TRAIN, "size": integer(3), "loss": text("squared"), "epochs": sequence((1, 2)), **block},
        draws=True,
    )
    case(
        "study.bias_variance/call",
        lambda net, data, key, test: S.bias_variance(train(), 3)(net, data, key, test).mean,
        {"net": net, "data": pairs, "key": KEY, "test": data(PAIRS)},
        also=(*also, "draw", "draw_or_data"),
        draws=True,
    )
    case(
        "study.sweep",
        lambda make_train, settings, monitor, mode, num_samples: (
            S.sweep(make_train, settings, monitor=monitor, mode=mode, num_samples=num_samples) and None
        ),
        {
            "make_train": function(_of_rate),
            "settings": mapping({"rate": [0.1, 0.2]}),
            "monitor": text("val_loss"),
            "mode": text("min"),
            "num_samples": integer(2),
        },
        draws=True,
    )
    case(
        "study.sweep/call",
        lambda make_train, settings, net, data, key, valid: (
            S.sweep(make_train, settings)(net, data, key, valid).scores
        ),
        {
            "make_train": function(_of_rate),
            "settings": mapping({"rate": [0.1, 0.2]}),
            "net": net,
            "data": pairs,
            "key": KEY,
            "valid": valid,
        },
        also=also,
        draws=True,
        nan_ok=True,
    )
    case(
        "study.SweepResult.run",
        lambda trial: _swept().run(trial).history["loss"],
        {"trial": integer(0)},
        draws=True,
    )
    case(
        "study.hyper_gradient",
        lambda make_train, metric, mode: S.hyper_gradient(make_train, metric, mode=mode) and None,
        {"make_train": function(_of_rate), "metric": text("val_loss"), "mode": text("forward")},
        draws=True,
    )
    case(
        "study.hyper_gradient/call",
        lambda make_train, hyperparams, data, key, valid: S.hyper_gradient(make_train)(
            hyperparams, NET, data, key, valid
        ),
        {
            "make_train": function(_of_rate),
            "hyperparams": number(0.05),
            "data": pairs,
            "key": KEY,
            "valid": valid,
        },
        also=also,
        draws=True,
        nan_ok=True,
    )
    case(
        "study.tune",
        lambda make_train, metric, steps, optimizer, log, mode: (
            S.tune(make_train, metric, steps=steps, optimizer=optimizer, log=log, mode=mode) and None
        ),
        {
            "make_train": function(_of_rate),
            "metric": text("val_loss"),
            "steps": integer(2),
            "optimizer": thing(optax.sgd(0.1)),
            "log": boolean(True),
            "mode": text("forward"),
        },
        draws=True,
    )
    case(
        "study.tune/call",
        lambda make_train, hyperparams, key: (
            S.tune(make_train, steps=2)(hyperparams, NET, PAIRS, key, PAIRS).values
        ),
        {"make_train": function(_of_rate), "hyperparams": number(0.05), "key": KEY},
        draws=True,
        nan_ok=True,
    )
    case(
        "study.monitor",
        lambda train, quantities, rows: S.monitor(train, quantities, rows=rows) and None,
        {"train": TRAIN, "quantities": sequence(("gradient", "dead")), "rows": integer(4)},
        draws=True,
    )
    case(
        "study.monitor/data",
        lambda data: S.monitor(train(), ["gradient"], data=data)(
            trained(), PAIRS, jax.random.key(0)
        ).history["loss"],
        {"data": pairs},
        also=also,
        draws=True,
    )
    history = {"train_loss": np.exp(-np.arange(20) / 8), "val_loss": np.exp(-np.arange(20) / 8) + 0.1}
    case(
        "study.diagnose",
        lambda run, target, baseline, tolerance: str(
            S.diagnose(run, target=target, baseline=baseline, tolerance=tolerance)
        ),
        {
            "run": mapping(history),
            "target": number(0.1, False),
            "baseline": number(2.0, False),
            "tolerance": number(0.05, False),
        },
        draws=True,
        also=("train_loss", "val_loss", "history"),
    )
    case(
        "study.diagnose/curve",
        lambda train_loss, val_loss: str(S.diagnose({"train_loss": train_loss, "val_loss": val_loss})),
        {"train_loss": array(history["train_loss"]), "val_loss": array(history["val_loss"])},
        draws=True,
    )
    case(
        "study.Curve",
        lambda x_name, x, scores: S.Curve(x_name, x, scores).mean,
        {"x_name": text("training rows"), "x": sequence((10, 20)), "scores": mapping(_scores())},
        draws=True,
    )
    case(
        "study.Estimate",
        lambda value, standard_error: str(S.Estimate(value, standard_error)),
        {"value": number(0.2, False), "standard_error": number(0.05, False)},
        draws=True,
    )
    case(
        "study.LearningRateRangeResult",
        lambda rates, losses, losses_at_init: (
            S.LearningRateRangeResult(rates, losses, losses_at_init).suggestion
        ),
        {
            "rates": array(np.array([0.01, 0.1, 1.0])),
            "losses": array(np.array([[0.9], [0.5], [0.2]])),
            "losses_at_init": array(np.array([1.0])),
        },
        draws=True,
    )
    case(
        "study.CrossValidationResult.out_of_fold",
        lambda predictions: dataclasses.replace(_validated(), predictions=predictions).out_of_fold(),
        {"predictions": lazily("array", lambda: np.asarray(_validated().predictions))},
        draws=True,
    )


def _scores() -> dict[str, np.ndarray]:
    return {"loss": np.array([[0.1, 0.3], [0.2, 0.2]]), "val_loss": np.array([[2.0, 4], [1, 1]])}


@functools.cache
def _ensemble() -> Any:
    return fn.study.ensemble(train(), 2)


@functools.cache
def _members(net: Any = NET) -> Any:
    return jax.vmap(net.init)(jax.random.split(jax.random.key(0), 2))


@functools.cache
def _validated() -> Any:
    return fn.study.cross_validate(train(), _folds())(NET, jax.random.key(0))


@functools.cache
def _swept() -> Any:
    return fn.study.sweep(_of_rate, {"rate": [0.1, 0.2]})(NET, PAIRS, jax.random.key(0), PAIRS)


def _of_rate(rate: Any) -> Any:
    return fn.fit(SQUARED, optax.sgd(rate), **SETTINGS)


def _of_width(width: Any) -> Any:
    return train(), fn.MLP((3, width, "scalar"))


def reports() -> None:
    R = fn.report
    also = ("arrays", "x", "y")
    axes, two = (
        fresh("object", lambda: Figure().subplots()),
        fresh("object", lambda: Figure().subplots(1, 2)),
    )
    names, both = sequence(("a", "b")), sequence((0, 1))
    label, plane, line = text("label"), data(PLANE), data(LINE)
    classify, curve = function(_difference), function(_double)
    specs: dict[str, dict[str, Arg]] = {
        "scatter": {
            "data": plane,
            "axes": axes,
            "title": label,
            "features": both,
            "feature_names": names,
            "class_names": names,
        },
        "pair_plot": {"data": plane, "features": both, "feature_names": names, "class_names": names},
        "decision_surface": {
            "model": classify,
            "data": plane,
            "axes": axes,
            "features": both,
            "class_names": names,
        },
        "predictions": {
            "model": classify,
            "data": plane,
            "axes": two,
            "features": both,
            "feature_names": names,
        },
        "separating_line": {
            "model": classify,
            "data": plane,
            "axes": axes,
            "class_names": names,
            "title": label,
        },
        "regression_line": {
            "model": curve,
            "data": line,
            "axes": axes,
            "valid": line,
            "title": label,
            "scaler": thing(None),
        },
        "fitted_curves": {"models": mapping({"fit": _double}), "data": line, "target_name": label},
        "spread": {
            "ensemble": lazily("object", lambda: fn.study.Ensemble(_members(fn.MLP((1, 2, "scalar"))))),
            "data": line,
            "axes": axes,
            "margin": number(0.3, False),
        },
        "calibration": {
            "logits": array(normal(N)),
            "targets": array(BITS),
            "axes": two,
            "bins": integer(4),
        },
        "confusion_matrix": {
            "predictions": array(normal(N, 3)),
            "targets": array(THREE),
            "axes": axes,
            "class_names": sequence(("a", "b", "c")),
        },
        "curves": {
            "values": mapping({"a": [0.1, 0.2], "b": [0.3, 0.1]}),
            "axes": axes,
            "x": array(np.array([1.0, 2.0])),
            "xlabel": label,
        },
        "loss_curves": {
            "losses": mapping({"a": fn.losses.squared_error}),
            "axes": axes,
            "over": text("residual"),
            "targets": sequence((1,)),
        },
        "history": {"run": RUN, "axes": axes},
        "layers": {"run": lazily("object", _monitored), "axes": axes},
        "learning_curve": {
            "curve": lazily("object", lambda: fn.study.Curve("training rows", (10, 20), _scores())),
            "axes": axes,
        },
        "learning_rates": {
            "result": lazily(
                "object",
                lambda: fn.study.LearningRateRangeResult(
                    np.array([0.01, 0.1, 1.0]), np.array([[0.9], [0.5], [0.2]]), np.array([1.0])
                ),
            ),
            "axes": axes,
        },
        "folds": {"result": lazily("object", _validated), "axes": axes},
        "sweep": {"result": lazily("object", _swept), "axes": axes},
        "diagnosis": {
            "diagnosis": mapping({"train_loss": [3.0, 2, 1], "val_loss": [3.0, 2, 2]}),
            "axes": axes,
        },
        "bias_variance": {"results": lazily("object", _bias_variance), "axes": axes, "xlabel": label},
        "training_frame": {
            "model": classify,
            "history": mapping({"accuracy": [0.5, 0.6]}),
            "data": plane,
            "axes": two,
            "metric": text("accuracy"),
        },
    }
    for name, args in specs.items():
        case(f"report.{name}", functools.partial(_drawn, getattr(R, name)), args, also=also, draws=True)
    case(
        "report.LivePlot",
        lambda path, seconds: _with_callback(R.LivePlot, path=path, seconds=seconds),
        {"path": path("curves.png"), "seconds": number(5.0, False)},
        draws=True,
    )
    case("fn.Run.plot", lambda axes: run().plot(axes) and None, {"axes": axes}, "report", draws=True)


def _drawn(draw: Any, **args: Any) -> None:
    """Drawn with its texts and ticks, which matplotlib reads only then."""
    axes = np.ravel(np.asarray(draw(**args), object))
    axes[0].figure.draw_without_rendering()


def _difference(x: Any) -> Any:
    return 4 * x[0] - x[1]


def _double(x: Any) -> Any:
    return 2 * x


@functools.cache
def _monitored() -> Any:
    return fn.study.monitor(train(), ["gradient"])(trained(), PAIRS, jax.random.key(0))


@functools.cache
def _bias_variance() -> Any:
    return fn.study.bias_variance(train(), 3)(NET, PAIRS, jax.random.key(0), PAIRS)


for room in (losses, metrics, data_room, layers, engine, transforms, studies, reports):
    room()


def uncovered() -> list[str]:
    """Public names that no case calls."""
    named = {part for name in CASES for part in name.split("/")[0].split(".")}
    rooms = [
        fn,
        fn.data,
        fn.layers,
        fn.losses,
        fn.mesh,
        fn.metrics,
        fn.models,
        fn.report,
        fn.study,
        fn.train,
        fn.transform,
    ]
    public = {
        name
        for room in rooms
        for name in dir(room)
        if not name.startswith("_") and not inspect.ismodule(getattr(room, name))
    }
    return sorted(public - named)


def write_files(folder: Path) -> None:
    """The files that valid calls read, into a folder."""
    import pandas

    (folder / "rows.csv").write_text("age,city,rent\n31,Oslo,9.5\n,Rome,7.25\n7,Rome,8\n40,Oslo,5.5\n")
    (folder / "garbage.bin").write_bytes(bytes(range(256)) * 4)
    (folder / "empty.bin").write_bytes(b"")
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    pandas.DataFrame({"a": X[:, 0], "b": X[:, 1], "t": Y}).to_parquet(folder / "rows.parquet")
    fn.save_weights(trained(), folder / "model.safetensors")
    fn.transform.graph(_cubes)(X[0]).save(folder / "double.graph")
