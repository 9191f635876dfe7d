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

import funcnet as fn


@dataclasses.dataclass(frozen=True)
class Arg:
    """A kind of mutation, and how to make the base value; made anew for each call if `fresh`."""

    kind: str
    make: Callable[[], Any]
    traced: bool = False  # whether jit may trace it: it holds numbers
    passed: str = ""  # to a function of the user: a "tree" of arrays, or "any" tree


@dataclasses.dataclass(frozen=True)
class Case:
    """A call of keyword arguments, and the right value where an oracle gives it."""

    name: str
    call: Callable[..., Any]
    args: dict[str, Arg]
    oracle: Callable[..., Any] | None = None
    law: Callable[..., str] | None = None  # of the result and the arguments: what it breaks, or ""
    names: frozenset[str] = frozenset()  # every name that a sentence may use
    room: str = ""
    nan_ok: bool = False  # NaN is an answer: of a run that diverged, of epochs that were not reached
    nan_if: Callable[..., bool] | None = None  # of the arguments: whether NaN is documented for them
    rare: bool = False  # takes seconds
    draws: bool = False  # random or of another type for other inputs: not compared with its base call


class Unjudged(Exception):
    """An oracle leaves open what is right."""


CASES: dict[str, Case] = {}
EXPENSIVE = {
    *("fn.fit/call", "fn.Trainer/run", "fn.Trainer.overfit_one_batch", "study.ensemble/call"),
    *(
        "study.ensemble.member",
        "study.cross_validate/call",
        "study.learning_curve/call",
        "study.capacity_curve",
        "study.sweep_sizes",
    ),
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


def pass_on(arg: Arg, kind: str = "tree") -> Arg:
    """An argument that a function of the user gets as it is, and may not accept."""
    return dataclasses.replace(arg, passed=kind)


def args(**values: Any) -> dict[str, Arg]:
    """Arguments by name: their kinds follow from the values, where these don't say otherwise."""
    return {name: value if isinstance(value, Arg) else _kind_of(value) for name, value in values.items()}


def _kind_of(value: Any) -> Arg:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "text", dict: "mapping"}
    if type(value) in kinds:
        return constant(kinds[type(value)], value, traced=False)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return constant("array", value)
    if isinstance(value, tuple | list):
        is_pair = len(value) == 2 and all(isinstance(part, np.ndarray | np.generic) for part in value)
        return constant("data" if is_pair else "sequence", value)
    return constant("function" if callable(value) else "object", value)


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
        name, call, args, names=frozenset(names - {"self", "kwargs"} | {"args"}), room=room, **rest
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
SHARES = RNG.dirichlet(np.ones(3), N).astype(np.float32)
WEIGHT = RNG.uniform(0.5, 2.0, N).astype(np.float32)
PAIRS, CLASSES, PLANE = (X, Y), (X, THREE), (normal(N, 2), BITS)
LINE = (np.linspace(0, 1, N, dtype=np.float32)[:, None], Y)
SQUARED = fn.losses.supervised(fn.losses.squared_error)
CLASSIFY = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
NET, CLASSIFIER = fn.MLP((3, 4, "scalar")), fn.MLP((3, 4, 3))
# The data's x and y are arguments of the loss, which says what is wrong with them by its names.
OF_LOSS = ("prediction", "target")
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


# fmt: off
# A table: one call for each name.
def losses() -> None:
    real = args(prediction=normal(3), target=normal(3))
    bits = args(logits=normal(3), target=np.array([0, 1, 1], np.int32))
    shares = np.array([0.2, 0.5, 0.3], np.float32)
    two = array(normal(2, 3))
    settings: dict[str, dict[str, Arg]] = {"squared_error": real, "absolute_error": real, "huber": {**real,
        **args(delta=number(1.0))}, "log_cosh": real, "quantile": {**real, **args(q=number(0.3))},
        "binary_cross_entropy": {**bits, **args(smoothing=number(0.1))}, "multilabel_cross_entropy": {
        **bits, **args(smoothing=number(0.0))}, "focal": {**bits, **args(gamma=number(2.0), alpha=number(
        0.3))}, "hinge": bits, "cross_entropy": args(logits=two, target=np.array([2, 0]), smoothing=number(
        0.1)), "cross_entropy/rows": args(logits=normal(3), target=shares), "kl_divergence": args(
        logits=normal(3), target=shares), "poisson": args(log_rate=normal(3), target=np.array([0, 2, 5],
        np.int32)), "gaussian_nll": args(prediction=normal(3, 2), target=normal(3)), "zero_one": args(
        prediction=two, target=np.array([2, 0]))}
    for name, given in settings.items():
        short = name.split("/")[0]
        case(f"losses.{name}", getattr(fn.losses, short), given, "values", oracle=oracles.LOSS_ORACLES[
            short])
    case("losses.supervised", _call_supervised, args(per_example_loss=fn.losses.squared_error, model=MODEL,
        example=(X[0], Y[0])), "values", also=("x", "y", "target", "prediction"))
    case("losses.supervised/metrics", lambda metric: fn.losses.supervised(fn.losses.squared_error,
        metric=metric), args(metric=fn.metrics.absolute_error), "values")
    case("losses.batchwise", _call_batchwise, args(loss=user_batch_loss, data=PAIRS), "values")
    case("losses.penalized", _call_penalized, args(loss=LOSS, l1=number(0.1), l2=number(0.1),
        where=user_is_weight, model=MODEL), "values")


def _call_supervised(per_example_loss: Any, model: Any, example: Any) -> Any:
    return fn.losses.supervised(per_example_loss)(model, example, None)


def user_batch_loss(model: Any, batch: Any, weight: Any, key: Any) -> Any:
    x, y = batch
    return jnp.sum((jax.vmap(model)(x) - y) ** 2 * weight) / jnp.sum(weight)


def _call_batchwise(loss: Any, data: Any) -> Any:
    return fn.evaluate(fn.losses.batchwise(loss), trained(), data, 4)


def user_is_weight(path: str, leaf: Any) -> bool:
    return path.endswith("weight")


def _call_penalized(loss: Any, l1: Any, l2: Any, where: Any, model: Any) -> Any:
    return fn.losses.penalized(loss, l1, l2, where)(model, (X[0], Y[0]), None)


def metrics() -> None:
    logits, scores = (array(normal(N, 3)), array(normal(N)))
    weight, bits, three = (array(WEIGHT), array(BITS), array(THREE))
    M = fn.metrics
    one = {"accuracy": (array(normal(2, 3)), array(np.array([2, 0]))), "accuracy/binary": (array(normal(3)),
        array(np.array([0, 1, 1]))), "brier": (array(normal(2, 3)), array(np.array([2, 0]))),
        "brier/binary": (array(normal(3)), array(np.array([0, 1, 1]))), "absolute_error": (array(normal(3)),
        array(normal(3)))}
    right = {"accuracy": oracles._accuracy, "brier": oracles._brier,
        "absolute_error": oracles.absolute_error}
    for name, (p, t) in one.items():
        short = name.split("/")[0]
        first = "logits" if short == "brier" else "prediction"
        case(f"metrics.{name}", getattr(M, short), {first: p, "target": t}, "values", oracle=right[short],
            nan_ok=True)  # of a target that is not a class
    case("metrics.top_k", lambda k, prediction, target: M.top_k(k)(prediction, target), args(k=2,
        prediction=normal(2, 3), target=np.array([2, 0])), "values", oracle=lambda k, prediction,
        target: oracles._top_k(prediction, target, k=k), nan_ok=True)  # as above
    for name in ("roc_auc", "average_precision"):
        case(f"metrics.{name}", getattr(M, name), {"scores": scores, "targets": bits, "weight": weight},
            "values", oracle=oracles.METRIC_ORACLES[name])
        case(f"metrics.{name}/plain", getattr(M, name), {"scores": scores, "targets": bits}, "values",
            oracle=oracles.METRIC_ORACLES[name])
    rows: dict[str, tuple[Any, Any, Any, dict[str, Arg]]] = {"precision": (M.precision, logits, three, args(
        average="macro", classes=3)), "recall": (M.recall, scores, bits, args(average="binary")), "f1": (
        M.f1, three, array(THREE[::-1].copy()), args(average="macro", classes=3)), "confusion_matrix": (
        M.confusion_matrix, logits, three, args(classes=3)), "expected_calibration_error": (
        M.expected_calibration_error, logits, three, args(bins=5)), "rmse": (M.rmse, scores, array(Y), {}),
        "r2": (M.r2, scores, array(Y), {}), "r2/offset": (M.r2, scores, array(Y), args(offset=0.1))}
    for name, (make, p, t, settings) in rows.items():
        short = name.split("/")[0]
        case(f"metrics.{name}", _measuring(make), {"predictions": p, "targets": t, "weight": weight,
            **settings}, "values", oracle=oracles.METRIC_ORACLES[short], also=("prediction", "target"))
    for metric in ("accuracy", "brier"):
        case(f"metrics.measure/{metric}", _measuring(lambda metric=metric: getattr(M, metric)), {
            "predictions": logits, "targets": three, "weight": weight}, "values",
            oracle=oracles.METRIC_ORACLES[metric], also=("prediction", "target", "logits"))
    rows_of: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "absolute_error": (normal(N), Y, {}), "binary_cross_entropy": (normal(N), BITS, {}),
        "focal": (normal(N), BITS, {}), "gaussian_nll": (normal(N, 2), Y, {}),
        "hinge": (normal(N), BITS, {}), "huber": (normal(N), Y, {}), "log_cosh": (normal(N), Y, {}),
        "kl_divergence": (normal(N, 3), SHARES, {}),
        "multilabel_cross_entropy": (normal(N, 2), np.stack([BITS, 1 - BITS], 1), {}),
        "poisson": (normal(N), THREE, {}), "quantile": (normal(N), Y, {"q": 0.3}),
        "zero_one": (normal(N, 3), THREE, {})}
    for loss, (p, t, fixed) in rows_of.items():
        case(f"metrics.measure/{loss}", _measuring(lambda loss=loss, fixed=fixed: functools.partial(
            getattr(fn.losses, loss), **fixed)), args(predictions=p, targets=t, weight=WEIGHT), "values",
            oracle=functools.partial(oracles.mean_of(oracles.LOSS_ORACLES[loss]), **fixed),
            also=("prediction", "target", "logits", "log_rate"))
        case(f"fn.evaluate/{loss}", functools.partial(_evaluated, functools.partial(
            getattr(fn.losses, loss), **fixed)), args(x=p, y=t, weight=WEIGHT), "values",
            oracle=functools.partial(_as_rows, oracles.mean_of(oracles.LOSS_ORACLES[loss]), fixed),
            also=("prediction", "target", "logits", "log_rate", "data"))
    for name, n in {"many": 70_000, "few": 300}.items():
        case(f"metrics.measure/{name}", lambda weight, n=n: M.measure(M.accuracy, np.ones(n, np.float32),
            np.ones(n, int), weight), args(weight=np.ones(n, np.float32)), "values",
            oracle=functools.partial(_all_right, n))
        case(f"fn.evaluate/{name}", lambda weight, n=n: _evaluated(fn.losses.absolute_error, np.ones(n),
            np.zeros(n), weight), args(weight=np.ones(n, np.float32)), "values",
            oracle=functools.partial(_all_right, n))
    for loss, (p, t) in {"squared_error": (scores, array(Y)), "cross_entropy": (logits, three)}.items():
        case(f"metrics.measure/{loss}", _measuring(lambda loss=loss: getattr(fn.losses, loss)), {
            "predictions": p, "targets": t, "weight": weight}, "values", oracle=oracles.mean_of(
            oracles.LOSS_ORACLES[loss]), also=("prediction", "target", "logits"))
    case("metrics.measure", M.measure, args(metric=M.accuracy, predictions=logits, targets=three,
        weight=weight), "values", nan_ok=True, also=("prediction", "target"))
    case("metrics.Metric", lambda prediction, target: M.rmse()(prediction, target).value(), args(
        prediction=normal(3), target=normal(3)), "values")
    case("metrics.MetricSums", lambda sums, metric: M.MetricSums(sums, metric).value(), args(sums=constant(
        "tree", (np.float32(4.0), np.float32(9.0))), metric=thing(M.rmse())), "values",
        nan_if=lambda sums, metric: not np.any(sums[0]))


def _evaluated(loss: Any, x: Any, y: Any, weight: Any) -> Any:
    """The weighted mean loss of predictions: of a model that returns its input."""
    data = fn.data.Dataset((x, y), weight=weight)
    return fn.evaluate(fn.losses.supervised(loss), user_identity, data)["loss"]


def user_identity(x: Any) -> Any:
    return x


def _as_rows(oracle: Any, fixed: Any, x: Any, y: Any, weight: Any) -> Any:
    """As `measure`, where targets out of range, and what is not finite, are refused: no row may be."""
    counts = np.ones(len(x), bool) if weight is None else np.asarray(weight) > 0
    values = [np.asarray(a) for a in (x, y)]
    if any(not np.isfinite(oracles.as_float32(a[counts[: len(a)]])).all() for a in values):
        raise oracles.Mismatch("not finite")
    value = oracle(x, y, weight, **fixed)
    if abs(value) * np.sum(counts if weight is None else np.asarray(weight, float)) > 1e38:
        raise Unjudged("the sum of all rows exceeds float32")
    return value


def _all_right(n: int, weight: Any) -> float:
    if weight is not None:
        oracles._weight(weight, n)
    return 1.0


def _measuring(make: Any) -> Any:
    def measure(predictions: Any, targets: Any, weight: Any, **settings: Any) -> Any:
        return fn.metrics.measure(make(**settings), predictions, targets, weight)

    return measure


def data_room() -> None:
    D = fn.data
    rows, labels = (sequence((5, 0, 3, 3)), array(THREE))
    also = ("arrays", "x", "y", "rows", "weight")
    case("data.Dataset", lambda arrays, weight, rows: D.Dataset(arrays, weight=weight, rows=rows)[:], args(
        arrays=PAIRS, weight=WEIGHT, rows=np.array([5, 0, 3, 3])), also=also)
    case("data.Dataset.__getitem__", lambda arrays, index: D.Dataset(arrays)[index], args(arrays=PAIRS,
        index=3), also=also)
    case("data.Dataset.axes", lambda arrays, weight, rows: D.Dataset.axes(arrays, weight, rows), args(
        arrays=thing(None), weight=0, rows=0), draws=True)
    case("data.take", lambda data, rows: D.take(data, rows)[:], args(data=PAIRS, rows=rows), also=also)
    case("data.take/array", lambda rows: D.take(PAIRS, rows)[:], args(rows=np.array([5, 0, 3, 3])),
        oracle=_take)
    case("data.split", lambda data, sizes, key, stratify: [p[:] for p in D.split(data, sizes, key,
        stratify=stratify)], args(data=CLASSES, sizes=(0.5, 0.5), key=KEY, stratify=labels), also=also)
    case("data.split/counts", lambda data, sizes: [p[:] for p in D.split(data, sizes, None)], args(
        data=CLASSES, sizes=(8, 4)), also=also)
    case("data.kfold", _kfold, args(data=CLASSES, folds=3, key=KEY, stratify=labels, groups=np.arange(
        N) // 2), also=also)
    case("data.kfold/groups", lambda groups: _kfold(CLASSES, 3, jax.random.key(0), None, groups), args(
        groups=np.arange(N) // 2), law=_groups_stay_together)
    case("data.kfold/single", lambda groups, stratify: _kfold(CLASSES, 3, jax.random.key(0), stratify,
        groups), args(groups=np.arange(N), stratify=np.array([1, 1, 2, 2, 0, 0] * 2)), law=_sizes_are_even)
    case("data.kfold/stratify", lambda stratify: _kfold(CLASSES, 3, jax.random.key(0), stratify, None),
        args(stratify=labels), law=_classes_are_even)
    case("data.split/stratify", lambda stratify: [p[:][0] for p in D.split((np.arange(N), THREE), (
        0.5, 0.5), jax.random.key(0), stratify=stratify)], args(stratify=labels), law=_halves_are_even)
    case("data.bootstrap", lambda data, key, samples: D.bootstrap(data, key, samples)[:], args(data=PAIRS,
        key=KEY, samples=5), also=also)
    case("data.out_of_bag", lambda data, sample: D.out_of_bag(data, sample).weights(), args(data=PAIRS,
        sample=lazily("object", lambda: D.bootstrap(PAIRS, jax.random.key(0)))), also=also)
    case("data.class_weights", D.class_weights, args(labels=labels, weights="balanced"))
    case("data.class_weights/balanced", D.class_weights, {"labels": labels}, oracle=_class_weights)
    case("data.class_weights/mapping", lambda weights: D.class_weights(THREE, weights), args(weights={
        0: 1.0, 1: 2.0}))
    case("data.one_hot", D.one_hot, args(labels=labels, classes=3), oracle=_one_hot)
    case("data.batches", lambda data, batch_size, key, epoch: [(b.example, b.weight) for b in D.batches(
        data, batch_size, key, epoch)], args(data=PAIRS, batch_size=5, key=KEY, epoch=0), also=also)
    case("data.Batch", lambda example, weight: fn.step(SQUARED, optax.sgd(0.1))(_state(), D.Batch(example,
        weight))[1].loss, args(example=PAIRS, weight=WEIGHT), also=("target", "x"), nan_if=_no_row_counts)
    for kind in ("standard", "minmax"):
        case(f"data.Scaler.fit/{kind}", lambda data, kind=kind: (s := D.Scaler.fit(data, kind)) and (
            s.shift, s.scale), args(data=PAIRS), also=also, oracle=functools.partial(_scaler, kind))
    parameters = list(inspect.signature(D.Scaler.fit).parameters)
    case("data.Scaler.fit", D.Scaler.fit, {parameters[0]: data(PAIRS), parameters[1]: text("standard")},
        also=also)
    case("data.Scaler", lambda shift, scale, data: D.Scaler(shift, scale).transform(data), args(
        shift=normal(3), scale=np.ones(3, np.float32), data=X), also=("x",))
    case("data.Scaler/standardized", _standardized, args(x=X), also=(*also, "data"), oracle=_standard)
    case("data.Scaler.transform", lambda data: _scaled().transform(D.Dataset(data))[:], args(data=PAIRS),
        also=also)
    case("data.Scaler.inverse_transform", lambda data: _scaled().inverse_transform(data), args(data=X),
        also=("x",))
    case("data.Shuffle.draw", lambda key, n, row: D.Shuffle.draw(key, n)(row), args(key=KEY, n=10,
        row=np.arange(5)), also=("position", "positions"))
    case("data.Shuffle.inverse", lambda row: D.Shuffle.draw(jax.random.key(0), 10).inverse(row), args(
        row=np.arange(5)), also=("position", "positions", "rows"))
    case("data.load", lambda name, target, task: _frame(D.load(name, target, task)), args(name=path(
        "rows.csv"), target="rent", task="regression"), also=("path",))
    case("data.load/name", lambda name: len(D.load(name).data), args(name="iris"), also=("path",))
    case("data.Table", lambda name, data, feature_names, target_name, class_names: D.Table(name, D.Dataset(
        data), feature_names, target_name, class_names).task, args(name="t", data=CLASSES, feature_names=(
        "a", "b", "c"), target_name="y", class_names=("u", "v", "w")), also=also)
    case("data.Problem", lambda data, truth: D.Problem(D.Dataset(data), truth) and None, args(data=PAIRS,
        truth=jnp.sin), also=also, draws=True)
    case("data.Folds", lambda train, valid: len(D.Folds(train, valid)), args(train=lazily("object",
        lambda: _folds().train), valid=lazily("object", lambda: _folds().valid)))
    case("data.Folds.__getitem__", lambda index: _folds()[index][0][:], args(index=1), also=("fold",))
    sizes: dict[str, dict[str, Arg]] = {"exact_linear": args(features=2, noise=1.0), "friedman1": args(
        features=6, noise=1.0), "gaussians": args(features=2, distance=2.0), "noisy_line": args(slope=2.0,
        intercept=1.0, noise=0.5), "two_classes": args(flip_y=0.1, class_sep=1.5), "two_moons": args(
        noise=0.2)}
    for name, given in sizes.items():
        case(f"data.{name}", lambda name=name, **k: getattr(D, name)(**k).data[:], {**given, **args(rows=8,
            seed=3)}, draws=True)
    image = (normal(4, 5, 2), np.int32(1))
    transforms: dict[str, dict[str, Arg]] = {"noise": args(scale=number(0.1)), "shift": args(pixels=1),
        "flip": args(axis=-2, probability=0.5)}
    for name, given in transforms.items():
        case(f"data.{name}", lambda key, example, name=name, **k: getattr(D, name)(**k)(key, example), {
            **given, **args(key=KEY, example=image)}, also=("x", "image"), draws=True)
    case("data.chain", lambda first, second, key, example: D.chain(first, second)(key, example), args(
        first=D.flip(-1), second=D.noise(0.1), key=KEY, example=image), also=("transforms", "transform"),
        draws=True)
    case("data.augmented", lambda loss, transform, key, example: D.augmented(loss, transform)(trained(),
        example, key), args(loss=LOSS, transform=D.noise(0.1), key=KEY, example=(X[0], Y[0])), draws=True,
        also=("target", "prediction", "x"))
    case("data.mixup", lambda loss, alpha, key, batch: D.mixup(loss, alpha)(trained(), batch, WEIGHT, key),
        args(loss=LOSS, alpha=0.2, key=KEY, batch=PAIRS), draws=True, also=("x", "y", "examples", "target",
        "prediction"))
    case("data.Stream", lambda source, prefetch: len(D.Stream(source, prefetch=prefetch).first(2)), args(
        source=thing(UserSource()), prefetch=2), draws=True)
    case("data.Stream.npy", lambda paths, prefetch, rows: D.Stream.npy((paths, "y.npy"),
        prefetch=prefetch).first(rows)[:], args(paths=path("x.npy"), prefetch=2, rows=2), also=("path",),
        draws=True)
    case("data.Stream.parquet", lambda path, features, target, window: D.Stream.parquet(path, features,
        target, window=window).first(2)[:], args(path=path("rows.parquet"), features=("a", "b"), target="t",
        window=2), draws=True)
    case("data.Stream.from_map", lambda dataset, prefetch, rows: D.Stream.from_map(dataset,
        prefetch=prefetch).first(rows)[:], args(dataset=thing(list(zip(X, Y, strict=True))), prefetch=2,
        rows=2), draws=True)
    case("data.Stream.from_batches", lambda factory, num_batches, prefetch: train()(trained(),
        D.Stream.from_batches(factory, num_batches, prefetch=prefetch).first(4), jax.random.key(0)).history[
        "loss"], args(factory=user_two_batches, num_batches=2, prefetch=2), draws=True, nan_ok=True,
        also=("data", "batch"))
    case("data.BatchStream", lambda factory, num_batches, prefetch, rows: D.BatchStream(factory,
        num_batches, prefetch=prefetch).first(rows)[:], args(factory=user_two_batches, num_batches=2,
        prefetch=2, rows=2), draws=True)


def _no_row_counts(example: Any, weight: Any) -> bool:
    return not np.any(np.asarray(weight))


def _groups_stay_together(folds: Any, groups: Any) -> str:
    groups = np.arange(N) if groups is None else groups
    held_out = [np.asarray(v)[np.asarray(w) > 0] for _, v, _, w in folds]
    if sorted(np.concatenate(held_out).tolist()) != list(range(N)):
        return "each row is held out once"
    number = np.empty(N, int)
    for i, rows in enumerate(held_out):
        number[rows] = i
    values = np.asarray(groups)
    same = values[:, None] == values
    return "a group is in one fold" if (same & (number[:, None] != number)).any() else ""


def _sizes_are_even(folds: Any, groups: Any, stratify: Any) -> str:
    if broken := _groups_stay_together(folds, groups):
        return broken
    if len(np.unique(np.asarray(groups))) < N:
        return ""
    return _classes_are_even(folds, stratify)


def _classes_are_even(folds: Any, stratify: Any) -> str:
    labels = np.asarray(0 * np.arange(N) if stratify is None else stratify)
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        return ""
    sizes = [int(np.sum(np.asarray(w) > 0)) for *_, w in folds]
    counts = [[int(np.sum(labels[np.asarray(v)[np.asarray(w) > 0]] == c)) for _, v, _, w in folds]
         for c in np.unique(labels)]
    if max(sizes) - min(sizes) > 1:
        return f"sizes differ by at most one: {sizes}"
    even = all(max(c) - min(c) <= 1 for c in counts)
    return "" if even else f"classes differ by at most one row: {counts}"


def _halves_are_even(parts: Any, stratify: Any) -> str:
    labels = np.asarray(0 * np.arange(N) if stratify is None else stratify)
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        return ""
    counts = [[int(np.sum(labels[np.asarray(rows)] == c)) for rows in parts] for c in np.unique(labels)]
    return "" if all(abs(a - b) <= 1 for a, b in counts) else f"classes differ by at most one row: {counts}"


def _standardized(x: Any) -> Any:
    """Features as a training gets them."""
    data = fn.data.Dataset((x, Y))
    return fn.data.Scaler.fit(data, "standard").transform(data)[:][0]


def _standard(x: Any) -> Any:
    # A Dataset narrows what stays distinct, and refuses the rest: both are documented.
    x = oracles.as_float32(x).astype(np.float64)
    if x.ndim < 2 or len(x) != N or not np.isfinite(x).all() or not x.size:
        raise oracles.Mismatch("features")
    rows = x.reshape(-1, x.shape[-1])  # pixels share the scale of their channel
    with np.errstate(all="ignore"):
        size = np.max(np.abs(rows), axis=0, initial=1e-300)
        centred = rows / size - (rows / size).mean(axis=0)
        constant = np.ptp(rows, axis=0) == 0
        return np.where(constant, 0, centred / np.where(constant, 1, centred.std(axis=0))).reshape(x.shape)


def _take(rows: Any) -> Any:
    rows = np.asarray(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows) or rows.min() < 0 or rows.max() >= N:
        raise oracles.Mismatch("rows")
    return [X[rows], Y[rows]]


def _one_hot(labels: Any, classes: Any) -> Any:
    t = np.asarray(labels)
    if t.dtype.kind not in "iu" or (t.size and not 0 <= t.min() <= t.max() < classes):
        raise oracles.Mismatch("labels")
    return np.eye(classes)[t] if t.size else np.zeros((*t.shape, classes))


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
    if x.ndim < 2 or len(x) != N or not np.isfinite(x).all() or not x.size:
        return None
    x = x.reshape(-1, x.shape[-1])  # pixels share the scale of their channel
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


def _frame(table: Any) -> Any:
    """The numbers of a table; its gaps are meant to be NaN."""
    return table.to_pandas().select_dtypes("number").fillna(0.0).to_numpy()


class UserSource:
    """Twelve rows that are read by number."""

    def __len__(self) -> int:
        return N

    def rows(self, numbers: Any) -> Any:
        return X[numbers], Y[numbers]

    def identity(self) -> str:
        return "twelve rows"


def user_two_batches() -> Iterator[Any]:
    yield X[:4], Y[:4]
    yield X[4:8], Y[4:8]


@functools.cache
def _state() -> Any:
    return fn.TrainState.create(trained(), optax.sgd(0.1), jax.random.key(0))


def layers() -> None:
    L, M = (fn.layers, fn.models)
    image, words = (array(normal(6, 6, 2)), array(normal(5, 3)))
    conv = args(in_channels=2, out_channels=4, kernel_size=3, stride=1, padding="SAME", dilation=1,
        groups=2, use_bias=True)
    pool = args(window=2, stride=2, padding="VALID")
    norm = args(eps=1e-05, use_scale=True)
    specs: dict[str, tuple[Any, dict[str, Arg], Arg]] = {"Activation": (L.Activation, args(
        function=jnp.tanh), array(normal(3))), "AvgPool1d": (L.AvgPool1d, pool, words), "AvgPool2d": (
        L.AvgPool2d, pool, image), "MaxPool1d": (L.MaxPool1d, pool, words), "MaxPool2d": (L.MaxPool2d, pool,
        image), "BatchNorm": (L.BatchNorm, {**norm, **args(features=3, momentum=0.1)}, array(X)),
        "Bidirectional": (L.Bidirectional, args(forward=thing(L.GRU(3, 2))), words), "ChannelDropout": (
        L.ChannelDropout, args(rate=0.5, num_spatial_dims=2), image), "Conv1d": (L.Conv1d, {**conv, **args(
        groups=1, in_channels=3)}, words), "Conv2d": (L.Conv2d, conv, image), "ConvTranspose2d": (
        L.ConvTranspose2d, conv, image), "Dropout": (L.Dropout, args(rate=0.5), array(normal(3))),
        "Embedding": (L.Embedding, args(num_embeddings=4, features=2), array(np.array([0, 3, 1]))),
        "Flatten": (L.Flatten, args(num_axes=3), image), "GRU": (L.GRU, args(in_features=3, features=2),
        words), "LSTM": (L.LSTM, args(in_features=3, features=2), words), "GlobalAvgPool": (L.GlobalAvgPool,
        args(num_spatial_dims=2), image), "GlobalMaxPool": (L.GlobalMaxPool, args(num_spatial_dims=2),
        image), "GroupNorm": (L.GroupNorm, {**norm, **args(channels=2, groups=1, num_spatial_dims=2)},
        image), "LayerNorm": (L.LayerNorm, {**norm, **args(features=3)}, array(X)), "RMSNorm": (L.RMSNorm, {
        **norm, **args(features=3)}, array(X)), "Linear": (L.Linear, args(in_features=3, out_features=2,
        use_bias=True, weight_init="he_normal"), array(X)), "MultiHeadAttention": (L.MultiHeadAttention,
        args(features=3, num_heads=3, causal=True), words), "Residual": (L.Residual, args(layer=thing(
        fn.Linear(3, 3)), projection=thing(None)), array(X)), "SpectralNorm": (L.SpectralNorm, args(
        layer=thing(fn.Linear(3, 2)), iterations=1, eps=1e-12), array(X)), "Sequential": (L.Sequential,
        args(layers=thing((fn.Linear(3, 2),))), array(X)), "Sequential/steps": (lambda first,
        second: L.Sequential(first, second), args(first=thing(fn.Linear(3, 2)), second=jnp.tanh), array(X))}
    sizes = sequence((3, 4, 2))
    models: dict[str, tuple[Any, dict[str, Arg], Arg]] = {"ConvNet": (M.ConvNet, args(input_shape=(6, 6, 2),
        classes=3, channels=(2,), kernel_size=3, dropout=0.0, activation=jax.nn.relu), image),
        "FourierMLP": (M.FourierMLP, args(sizes=sizes, num_frequencies=3, scale=1.0), array(X)),
        "LinearRegression": (M.LinearRegression, args(in_features=3, out_features=2), array(X)), "MLP": (
        M.MLP, args(sizes=sizes, activation=jax.nn.relu, dropout=0.1, weight_init="he_normal"), array(X)),
        "Perceptron": (M.Perceptron, args(in_features=3, out_features=2), array(X)), "ResMLP": (M.ResMLP,
        args(in_features=3, out_features=2, width=4, depth=1, dropout=0.0), array(X)), "SIREN": (M.SIREN,
        args(sizes=sizes, omega=3.0, hidden_omega=3.0), array(X)), "Transformer": (M.Transformer, args(
        out_features=2, in_features=3, features=4, num_heads=2, depth=1, positions="sinusoidal",
        dropout=0.0), words), "Transformer/tokens": (M.Transformer, args(out_features=2, vocab_size=5,
        features=4, num_heads=2, depth=1, max_length=6, positions="learned", pad_token=0), array(np.array([
        1, 4, 2, 0])))}
    for room, table in (("layers", specs), ("models", models)):
        for name, (make, settings, x) in table.items():
            case(f"{room}.{name}", functools.partial(_apply, make, name, tuple(settings)), {**settings,
                "x": x}, "layers", also=("rate",) if "Dropout" in name else ())
    case("layers.Linear/arrays", lambda weight, bias, x: fn.Linear(3, 2, weight=weight, bias=bias)(x), args(
        weight=normal(3, 2), bias=normal(2), x=X), "layers")
    case("layers.Embedding/weight", lambda weight, x: L.Embedding(4, 2, weight=weight)(x), args(
        weight=jnp.asarray(normal(4, 2)), x=np.array([0, 3])), "layers")
    case("layers.GRU/state", lambda x, state: _ready("GRU")(x, state=state), args(x=words, state=normal(2)),
        "layers")
    case("layers.LSTM.unroll", lambda x, state: _ready("LSTM").unroll(x, state=state), args(x=words,
        state=constant("tree", (normal(2), normal(2)))), "layers")
    case("layers.MultiHeadAttention/mask", lambda x, mask: _ready("attention")(x, mask=mask), args(x=normal(
        5, 4), mask=np.array([1, 1, 0, 1, 1], bool)), "layers")
    case("layers.Dropout/key", lambda x, key: fn.Dropout(0.5)(x, key=key), args(x=X, key=KEY), "layers",
        draws=True)
    case("layers.init", lambda key: fn.Linear(3, 2).init(key).weight, args(key=KEY), "layers", draws=True)
    case("fn.Module.init", lambda net, key: fn.Module.init(net, key), args(net=NETS, key=KEY), "layers",
        draws=True, also=("self",))
    case("fn.Module.replace", lambda weight: trained(fn.Linear(3, 2)).replace(weight=weight)(X), args(
        weight=normal(3, 2)), "layers")
    case("fn.Buffer", lambda value: fn.count({"a": fn.Buffer(value), "b": jnp.ones(2)}), args(value=pass_on(
        array(normal(3)))), "layers")
    case("fn.count", fn.count, args(model=MODEL), "layers")
    case("fn.trainable", fn.trainable, args(model=MODEL), "layers")
    case("fn.summary", lambda net, x: str(fn.summary(net, x)), args(net=NETS, x=X[0]), "layers", draws=True)
    case("fn.Module", _subclass, args(value=pass_on(thing(fn.Linear(3, 2)), "any"), x=X), "layers",
        also=("layer",))


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
    also = ("arrays", "x", "y", "rows", "weight", *OF_LOSS)
    fit = args(loss=LOSS, optimizer=OPTIMIZER, epochs=2, batch_size=4)
    case("fn.fit", lambda **k: fn.fit(**k), {**fit, **args(shuffle=True, eval_every=1, accumulate=1,
        ema=number(0.5), on_nan="stop", remat=False, stopping=thing(fn.EarlyStopping()))}, "engine",
        draws=True)
    case("fn.fit/call", lambda **k: fn.fit(**k)(trained(), PAIRS, jax.random.key(0), PAIRS).history[
        "val_loss"], {**fit, **args(ema=0.5, eval_every=1, stopping=thing(None))}, "engine", nan_ok=True,
        draws=True)
    case("train.Fit", lambda model, data, key, valid: train()(model, data, key, valid).history["val_loss"],
        args(model=MODEL, data=PAIRS, key=KEY, valid=PAIRS), "engine", nan_ok=True, also=also)
    case("train.Fit/data", lambda data: train()(trained(), data, jax.random.key(0)).history["loss"], args(
        data=PAIRS), "engine", nan_ok=True, also=also)
    case("train.Fit/weight", lambda weight: train()(trained(), fn.data.Dataset(PAIRS, weight=weight),
        jax.random.key(0)).history["loss"], args(weight=WEIGHT), "engine", nan_ok=True)
    case("train.Fit/classes", lambda y: fn.evaluate(CLASSIFY, trained(CLASSIFIER), (X, y)), args(y=THREE),
        "engine", also=("target", "targets", "data"))
    case("fn.step", lambda loss, optimizer, accumulate, on_nan: fn.step(loss, optimizer,
        accumulate=accumulate, on_nan=on_nan)(_state(), PAIRS)[1].loss, args(loss=LOSS, optimizer=OPTIMIZER,
        accumulate=1, on_nan="stop"), "engine", draws=True)
    case("fn.step/call", lambda state, batch: _step()(state, batch)[1].loss, args(state=lazily("object",
        _state), batch=PAIRS), "engine", also=also)
    case("fn.TrainState.create", lambda model, optimizer, key: fn.TrainState.create(model, optimizer,
        key).step, args(model=MODEL, optimizer=OPTIMIZER, key=KEY), "engine")
    case("fn.TrainState", lambda model, opt_state, step, epoch, key: _step()(fn.TrainState(model, opt_state,
        step, epoch, key, _state().stopping), PAIRS)[0].step, args(model=MODEL, opt_state=lazily("object",
        lambda: _state().opt_state), step=np.int32(0), epoch=np.int32(0), key=KEY), "engine", also=("state",
        ))
    case("fn.evaluate", fn.evaluate, args(loss=LOSS, model=MODEL, data=PAIRS, batch_size=4), "engine",
        also=also)
    case("fn.evaluate/data", lambda data: fn.evaluate(SQUARED, trained(), data, 4), args(data=PAIRS),
        "engine", also=also)
    case("fn.predict", fn.predict, args(model=MODEL, x=X, batch_size=4), "engine")
    case("fn.predict/x", lambda x: fn.predict(trained(), x, 4), args(x=X), "engine")
    case("fn.EarlyStopping", lambda **k: fn.fit(SQUARED, optax.sgd(0.05), stopping=fn.EarlyStopping(**k),
        **SETTINGS), args(monitor="val_loss", min_delta=0.0, patience=3, mode="min", restore_best=True,
        start_from_epoch=0, stopping_threshold=0.1, divergence_threshold=9.0), "engine", draws=True)
    case("fn.History", lambda arrays: {**fn.History(arrays)}, args(arrays={"loss": normal(2)}), "engine",
        draws=True)
    case("fn.Run", lambda model, state: fn.Run(model, state).history, args(model=MODEL, state=lazily(
        "object", lambda: run().state)), "engine", draws=True)
    case("fn.Precision", lambda param, compute, output: fn.Precision(param, compute, output)(SQUARED)(
        trained(), (X[0], Y[0]), None)[0], args(param=constant("dtype", "float32"), compute=constant(
        "dtype", "bfloat16"), output=constant("dtype", "float32")), "optim", draws=True)
    case("fn.Precision.__call__", lambda loss, model, x: fn.Precision(compute="bfloat16")(loss)(model, (x,
        Y[0]), None), args(loss=LOSS, model=MODEL, x=X[0]), "optim", draws=True, also=("example",))
    case("fn.Precision.model", lambda model, x: fn.Precision(compute="bfloat16").model(model)(x), args(
        model=MODEL, x=X[0]), "optim", draws=True)
    case("fn.Precision.cast_parameters", lambda model: fn.Precision(param="bfloat16").cast_parameters(
        model), args(model=MODEL), "optim", draws=True)
    case("fn.cache_compilations", _cache, args(directory=path("cache")), "disk", draws=True)
    case("fn.save", fn.save, args(model=NETS, path=path("saved.safetensors")), "disk", draws=True)
    case("fn.load", fn.load, args(path=path("whole.safetensors"), custom_objects={"Net": fn.MLP}), "disk",
        draws=True)
    case("fn.save_weights", fn.save_weights, args(model=MODEL, path=path("saved.safetensors")), "disk",
        draws=True)
    case("fn.load_weights", fn.load_weights, args(net=NETS, path=path("model.safetensors")), "disk",
        also=("weights",), draws=True)
    trainer = args(progress=False, sync_every=thing(T.Every(epochs=1)), save_every=thing(T.Every(epochs=1)),
        keep=2, keep_best="loss", resume="never", max_time=9.0, limit_batches=2, evaluate_first=False)
    case("fn.Trainer", lambda train, directory, callbacks, **k: fn.Trainer(train, directory, callbacks,
        **k) and None, {**trainer, **args(train=TRAIN, directory=path("runs"), callbacks=thing(()))},
        "engine", draws=True)
    case("fn.Trainer/run", lambda directory, callbacks, **k: fn.Trainer(train(), directory, callbacks,
        progress=False, **k)(trained(), PAIRS, jax.random.key(0)).history["loss"], args(directory=path(
        "runs"), callbacks=thing(()), sync_every=trainer["sync_every"], save_every=trainer["save_every"],
        keep_best="loss", limit_batches=2), "engine", draws=True, nan_ok=True)
    case("fn.Trainer.__call__", lambda model, data, key, valid: fn.Trainer(train(), progress=False)(model,
        data, key, valid).history["loss"], args(model=MODEL, data=PAIRS, key=KEY, valid=PAIRS), "engine",
        nan_ok=True, also=also)
    case("fn.Trainer.dry_run", lambda model, data, key: fn.Trainer(train(), progress=False).dry_run(model,
        data, key).loss, args(model=MODEL, data=PAIRS, key=KEY), "engine", also=also)
    case("fn.Trainer.overfit_one_batch", lambda model, data, key, steps: fn.Trainer(train(),
        progress=False).overfit_one_batch(model, data, key, steps).history["loss"], args(model=MODEL,
        data=PAIRS, key=KEY, steps=2), "engine", nan_ok=True, also=also, draws=True)
    case("train.Every", lambda epochs: fn.Trainer(train(), sync_every=T.Every(epochs=epochs)) and None,
        args(epochs=1), "engine")
    case("train.Every/steps", lambda steps: T.Every(steps=steps).next_step(3, 2), args(steps=2), "engine",
        draws=True)
    case("train.Every/seconds", lambda seconds: fn.Trainer(train(), progress=False, sync_every=T.Every(
        seconds=seconds)) and None, args(seconds=1.0), "engine")
    case("train.replay", T.replay, args(train=TRAIN, state=lazily("object", lambda: run().state),
        data=PAIRS), "engine", draws=True, also=also)
    case("train.EarlyStopping.update", lambda value: T.EarlyStopping().init(trained()) and None, args(
        value=number(0.5)), "engine")
    for name, make, given in (("AverageWeights", T.AverageWeights, args(start=0, every=1)), ("CSV", T.CSV,
        args(path=path("log.csv"))), ("JSONLines", T.JSONLines, args(path=path("log.jsonl"))), (
        "TensorBoard", T.TensorBoard, args(path=path("board"))), ("ReduceOnPlateau", T.ReduceOnPlateau,
        args(monitor="loss", factor=0.1, patience=1, min_delta=0.0, mode="min", cooldown=0, min_lr=0.0,
        name="learning_rate"))):
        case(f"train.{name}", functools.partial(_with_callback, make), given, "optim", nan_ok=True,
            draws=True, also=("callbacks",))
    case("train.Callback", lambda callbacks: fn.Trainer(train(), callbacks=callbacks, progress=False)(
        trained(), PAIRS, jax.random.key(0)).history["loss"], args(callbacks=thing((T.Callback(),))),
        "optim", draws=True)
    case("train.Callback/function", lambda callback: fn.Trainer(train(), callbacks=[callback],
        progress=False)(trained(), PAIRS, jax.random.key(0)).history["loss"], args(
        callback=lambda context: None), "optim", draws=True, also=("callbacks",))
    case("train.Request", lambda stop, save, hyperparams, values: _requesting(T.Request(stop, save,
        hyperparams, values)), args(stop=False, save=False, hyperparams={"learning_rate": 0.01},
        values={"fid": 0.5}), "optim", draws=True, nan_ok=True)
    case("mesh.cpu_devices", fn.mesh.cpu_devices, args(count=1), "engine", draws=True)
    case("mesh.use", _meshed, args(devices=1, data=PAIRS), "engine", also=also)
    case("mesh.shard_members", _sharded, args(tree=constant("array", normal(4, 2), False)), "engine")


@functools.cache
def _step() -> Any:
    return fn.step(SQUARED, optax.sgd(0.1))


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
    x, v = (array(normal(3)), array(normal(3)))
    examples = array(jnp.asarray(normal(5, 3)))
    scalar, per_example = (function(user_cubes), function(user_product))
    tree, anything = pass_on(x), pass_on(x, "any")
    common = {"f": scalar, "x": tree}
    case("transform.hvp", lambda f, x, v: T.hvp(f)(x, v), {**common, "v": v})
    case("transform.hessian_diag", lambda f, x, chunk: T.hessian_diag(f, chunk=chunk)(x), {**common, **args(
        chunk=2)})
    case("transform.hessian_diag/key", lambda f, x, key, samples: T.hessian_diag(f, key=key,
        samples=samples)(x), {**common, **args(key=KEY, samples=3)}, draws=True)
    case("transform.ggnvp", lambda outputs, loss, x, v: T.ggnvp(outputs, loss)(x, v), args(outputs=jnp.sin,
        loss=scalar, x=x, v=v))
    case("transform.jacobian", lambda f, x, chunk: T.jacobian(f, chunk=chunk)(x), args(f=user_sin,
        x=tree, chunk=2))
    case("transform.check_grads", lambda f, x, directions, tolerance, seed: str(T.check_grads(f,
        directions=directions, tolerance=tolerance, seed=seed)(x)), {**common, **args(directions=1,
        tolerance=0.0001, seed=0)}, draws=True)
    case("transform.clip_gradient", lambda x, norm: (T.clip_gradient(x, norm), jax.grad(lambda v: jnp.sum(
        T.clip_gradient(v, norm)))(jnp.ones(3))), args(x=x, norm=number(1.0)))
    case("transform.reverse_gradient", lambda x, scale: (T.reverse_gradient(x, scale), jax.grad(
        lambda v: jnp.sum(T.reverse_gradient(v, scale)))(jnp.ones(3))), args(x=x, scale=number(1.0)))
    case("transform.straight_through", lambda f, x: (T.straight_through(f)(x), jax.grad(lambda v: jnp.sum(
        T.straight_through(f)(v)))(jnp.ones(3))), args(f=jnp.round, x=x))
    for name, more in (("clipped_mean_grad", args(norm=number(1.0))), ("gradient_noise_scale", {}), (
        "per_example_grads", {})):
        case(f"transform.{name}", lambda f, x, examples, name=name, **k: getattr(T, name)(f, **k)(x,
            examples), {"f": per_example, "x": tree, "examples": examples, **more},
            nan_ok=name == "gradient_noise_scale")
    case("transform.microbatched_value_and_grad", lambda f, size, x, examples,
        weight: T.microbatched_value_and_grad(f, size)(x, examples, weight), args(f=per_example, size=2,
        x=tree, examples=examples, weight=WEIGHT[:5]))
    case("transform.eigenpairs", lambda matvec, like, key, count, iterations: T.eigenpairs(matvec, like,
        key, count=count, iterations=iterations), args(matvec=user_twice, like=x, key=KEY, count=1,
        iterations=3), draws=True)
    case("transform.implicit_minimum", lambda solve, objective, ridge, start, h: T.implicit_minimum(solve,
        objective, ridge=ridge)(start, h), args(solve=user_solve, objective=user_objective, ridge=0.0,
        start=pass_on(_kind_of(np.float32(0.5)))) | {"h": pass_on(_kind_of(np.float32(3.0)), "any")})
    case("transform.explain_retrace", lambda f, x: T.explain_retrace(f)(x), args(f=user_sin, x=anything))
    case("transform.find_nan", lambda f, x: str(T.find_nan(f)(x)), args(f=user_cubes, x=tree), draws=True)
    case("transform.graph", lambda f, x: T.graph(f)(x).cost().flops, args(f=user_cubes, x=tree), draws=True)
    case("transform.Graph.__call__", lambda x: T.graph(user_cubes)(np.ones(3, np.float32))(x), args(
        x=constant("array", normal(3), False)), also=("arguments", "inputs"))
    case("transform.Graph.table", lambda open_calls: len(T.graph(user_cubes)(X[0]).table(
        open_calls=open_calls)), args(open_calls=True), draws=True)
    case("transform.Graph.diff", lambda other: T.graph(user_cubes)(X[0]).diff(other), args(other=lazily(
        "object", lambda: T.graph(jnp.sin)(X[0]))), draws=True)
    case("transform.Graph.compile", lambda device: T.graph(user_cubes)(X[0]).compile(device) and None, args(
        device=thing(None)), draws=True)
    case("transform.Graph.dot", lambda fold: len(T.graph(user_cubes)(X[0]).dot(fold=fold)), args(fold=True),
        draws=True)
    case("transform.Graph.draw", lambda path, fold: T.graph(user_cubes)(X[0]).draw(path, fold=fold),
        args(path=path("graph.dot"), fold=True), draws=True)
    case("transform.Graph.save", lambda path, batch: T.graph(user_cubes)(X).save(
        path, batch=batch) and None,
        args(path=path("saved.graph"), batch="b"), draws=True)
    case("transform.load_graph", lambda path, x: T.load_graph(path)(x), args(path=path("double.graph"),
        x=constant("array", normal(3), False)), also=("arguments",), draws=True)
    case("transform.Cost", lambda flops, bytes: T.Cost(1000.0, 1000.0, 2000.0).seconds(flops=flops,
        bytes=bytes), args(flops=1000000000.0, bytes=1000000000.0), draws=True)
    case("transform.sow", lambda value, name: T.reap(lambda v: T.sow(v, name))(value), args(value=x,
        name="inside"), draws=True)
    case("transform.reap", lambda f, x: T.reap(f)(x), args(f=user_sows, x=anything))
    case("transform.plant", lambda f, values, x: T.plant(f, values)(x), args(f=user_sows, values={
        "inside": np.ones(3, np.float32)}, x=anything), draws=True)
    case("transform.vmap_last", lambda f, in_axes, x: T.vmap_last(f, in_axes)(x), args(f=user_sin,
        in_axes=0, x=pass_on(array(X))))


def user_sin(x: Any) -> Any:
    return jnp.sin(x)


def user_cubes(x: Any) -> Any:
    return jnp.sum(jnp.asarray(x) ** 3)


def user_product(w: Any, example: Any) -> Any:
    return jnp.sum(w * example) ** 2


def user_twice(v: Any) -> Any:
    return jax.tree.map(lambda a: 2 * a, v)


def user_objective(x: Any, h: Any) -> Any:
    return (x - h) ** 2 + x**2


def user_solve(x: Any, h: Any) -> Any:
    return h / 2 + 0 * x


def user_sows(x: Any) -> Any:
    return fn.transform.sow(jnp.sin(x), "inside") ** 2


def studies() -> None:
    S = fn.study
    also = ("arrays", "x", "y", "rows", "weight", *OF_LOSS)
    of_factory = (*also, "optimizer")  # what the user's factory passes to fn.fit has that name
    net, pairs, valid = (NETS, data(PAIRS), data(PAIRS))
    block = args(block=2)
    case("study.ensemble", lambda train, size, bootstrap, average, block: S.ensemble(train, size,
        bootstrap=bootstrap, average=average, block=block) and None, {**block, **args(train=TRAIN, size=2,
        bootstrap=False, average="values")}, draws=True)
    case("study.ensemble/call", lambda net, data, key, valid: _ensemble()(net, data, key,
        valid).runs.history["loss"], args(net=net, data=pairs, key=KEY, valid=valid), nan_ok=True,
        also=also)
    case("study.ensemble.member", lambda net, data, key, number: _ensemble().member(net, data, key,
        number).history["loss"], args(net=net, data=pairs, key=KEY, number=0), nan_ok=True, also=also)
    case("study.Ensemble", lambda members, average, x: S.Ensemble(members, average)(x), args(members=lazily(
        "tree", _members), average="values", x=X), also=("Linear", "model"))
    for name in ("predictions", "spread"):
        case(f"study.Ensemble.{name}", lambda x, name=name: getattr(S.Ensemble(_members()), name)(x), args(
            x=X))
    for name in ("disagreement", "mutual_information"):
        case(f"study.Ensemble.{name}", lambda x, name=name: getattr(S.Ensemble(_members(CLASSIFIER),
            "classes"), name)(x), args(x=X))
    case("study.cross_validate", lambda train, folds, block: S.cross_validate(train, folds,
        block=block) and None, {**block, **args(train=TRAIN, folds=lazily("object", _folds))}, draws=True)
    case("study.cross_validate/call", lambda net, key: S.cross_validate(train(), _folds())(net, key).scores,
        args(net=net, key=KEY), draws=True)
    case("study.learning_curve", lambda train, train_sizes, num_repeats, block: S.learning_curve(train,
        train_sizes, num_repeats, block=block) and None, {**block, **args(train=TRAIN, train_sizes=(4, 8),
        num_repeats=2)}, draws=True)
    case("study.learning_curve/call", lambda net, data, key, valid: S.learning_curve(train(), (4, 8), 1)(
        net, data, key, valid).scores, args(net=net, data=pairs, key=KEY, valid=valid), also=also,
        draws=True)
    case("study.capacity_curve", lambda make_train, capacities, num_repeats, block: S.capacity_curve(
        make_train, capacities, num_repeats, block=block)(PAIRS, jax.random.key(0), PAIRS).scores, {**block,
        **args(make_train=user_of_width, capacities=(2,), num_repeats=1)}, draws=True)
    case("study.sweep_sizes", lambda make_net, train, sizes, num_repeats, block: S.sweep_sizes(make_net,
        train, sizes, num_repeats, block=block)(PAIRS, jax.random.key(0), PAIRS).scores, {**block,
        **args(make_net=user_of_net, train=TRAIN, sizes=(2,), num_repeats=1)}, draws=True)
    case("study.learning_rate_range", lambda **k: S.learning_rate_range(**k) and None,
        args(make_train=user_of_rate, min_lr=0.001, max_lr=0.1, num_rates=2, num_repeats=1), draws=True)
    case("study.learning_rate_range/call", lambda make_train, net, data, key: S.learning_rate_range(
        make_train, num_rates=2, num_repeats=1)(net, data, key).losses, args(make_train=user_of_rate,
        net=net,
        data=pairs, key=KEY), also=also, draws=True, nan_ok=True)
    case("study.bias_variance", lambda train, size, loss, epochs, block: S.bias_variance(train, size,
        loss=loss, epochs=epochs, block=block) and None, {**block, **args(train=TRAIN, size=3,
        loss="squared", epochs=(1, 2))}, draws=True)
    case("study.bias_variance/call", lambda net, data, key, test: S.bias_variance(train(), 3)(net, data,
        key, test).mean, args(net=net, data=pairs, key=KEY, test=PAIRS), also=(*also, "draw",
        "draw_or_data"), draws=True)
    case("study.sweep", lambda make_train, settings, monitor, mode, num_samples: S.sweep(make_train,
        settings, monitor=monitor, mode=mode, num_samples=num_samples) and None,
        args(make_train=user_of_rate,
        settings={"rate": [0.1, 0.2]}, monitor="val_loss", mode="min", num_samples=2), draws=True)
    case("study.sweep/call", lambda make_train, settings, net, data, key, valid: S.sweep(make_train,
        settings)(net, data, key, valid).scores, args(make_train=user_of_rate, settings={"rate": [0.1,
        0.2]},
        net=net, data=pairs, key=KEY, valid=valid), also=also, draws=True, nan_ok=True)
    case("study.halving", lambda make_train, settings, monitor, mode, num_samples, factor, min_epochs:
        S.halving(make_train, settings, monitor=monitor, mode=mode, num_samples=num_samples, factor=factor,
        min_epochs=min_epochs) and None, args(make_train=user_of_rate, settings={"rate": [0.1, 0.2]},
        monitor="val_loss", mode="min", num_samples=2, factor=2, min_epochs=1), draws=True)
    case("study.SweepResult.run", lambda trial: _swept().run(trial).history["loss"], args(trial=0),
        draws=True)
    case("study.hyper_gradient", lambda make_train, metric, mode: S.hyper_gradient(make_train, metric,
        mode=mode) and None, args(make_train=user_of_rate, metric="val_loss", mode="forward"), draws=True)
    case("study.hyper_gradient/call", lambda make_train, hyperparams, data, key, valid: S.hyper_gradient(
        make_train)(hyperparams, NET, data, key, valid), args(make_train=user_of_rate,
        hyperparams=pass_on(number(0.05)),
        data=pairs, key=KEY, valid=valid), also=of_factory, draws=True, nan_ok=True)
    case("study.tune", lambda make_train, metric, steps, optimizer, log, mode: S.tune(make_train, metric,
        steps=steps, optimizer=optimizer, log=log, mode=mode) and None, args(make_train=user_of_rate,
        metric="val_loss", steps=2, optimizer=thing(optax.sgd(0.1)), log=True, mode="forward"), draws=True)
    case("study.tune/call", lambda make_train, hyperparams, key: S.tune(make_train, steps=2)(hyperparams,
        NET, PAIRS, key, PAIRS).values, args(make_train=user_of_rate, hyperparams=pass_on(number(0.05)),
        key=KEY), also=of_factory, draws=True, nan_ok=True)
    case("study.monitor", lambda train, quantities, rows: S.monitor(train, quantities, rows=rows) and None,
        args(train=TRAIN, quantities=("gradient", "dead"), rows=4), draws=True)
    case("study.monitor/data", lambda data: S.monitor(train(), ["gradient"], data=data)(trained(), PAIRS,
        jax.random.key(0)).history["loss"], {"data": pairs}, also=also, draws=True)
    history = {"train_loss": np.exp(-np.arange(20) / 8), "val_loss": np.exp(-np.arange(20) / 8) + 0.1}
    case("study.diagnose", lambda run, target, baseline, tolerance: str(S.diagnose(run, target=target,
        baseline=baseline, tolerance=tolerance)), args(run=history, target=0.1, baseline=2.0,
        tolerance=0.05), draws=True, also=("train_loss", "val_loss", "history", "losses"))
    case("study.diagnose/curve", lambda train_loss, val_loss: str(S.diagnose({"train_loss": train_loss,
        "val_loss": val_loss})), args(train_loss=history["train_loss"], val_loss=history["val_loss"]),
        also=("losses",), draws=True)


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
    return fn.study.sweep(user_of_rate, {"rate": [0.1, 0.2]})(NET, PAIRS, jax.random.key(0), PAIRS)


def user_of_rate(rate: Any) -> Any:
    return fn.fit(SQUARED, optax.sgd(rate), **SETTINGS)


def user_of_net(width: Any) -> Any:
    return fn.MLP((3, width, "scalar"))


def user_of_width(width: Any) -> Any:
    return train(), fn.MLP((3, width, "scalar"))


def reports() -> None:
    R = fn.report
    also = ("arrays", "x", "y")
    axes, two = fresh("object", user_axes), fresh("object", functools.partial(user_axes, 1, 2))
    names, both = (sequence(("a", "b")), sequence((0, 1)))
    label, plane, line = (text("label"), data(PLANE), data(LINE))
    classify, curve = (function(user_difference), function(user_double))
    specs: dict[str, dict[str, Arg]] = {"scatter": {"data": plane, "axes": axes, "title": label,
        "features": both, "feature_names": names, "class_names": names}, "pair_plot": {"data": plane,
        "features": both, "feature_names": names, "class_names": names}, "decision_surface": {
        "model": classify, "data": plane, "axes": axes, "features": both, "class_names": names},
        "predictions": {"model": classify, "data": plane, "axes": two, "features": both,
        "feature_names": names}, "separating_line": {"model": classify, "data": plane, "axes": axes,
        "class_names": names, "title": label}, "regression_line": args(model=curve, data=line, axes=axes,
        valid=line, title=label, scaler=thing(None)), "fitted_curves": args(models={"fit": user_double},
        data=line, target_name=label), "spread": args(ensemble=lazily("object", lambda: fn.study.Ensemble(
        _members(fn.MLP((1, 2, "scalar"))))), data=line, axes=axes, margin=0.3), "calibration": args(
        logits=normal(N), targets=BITS, axes=two, bins=4), "confusion_matrix": args(predictions=normal(N,
        3), targets=THREE, axes=axes, class_names=("a", "b", "c")), "curves": args(values={"a": [0.1, 0.2],
        "b": [0.3, 0.1]}, axes=axes, x=np.array([1.0, 2.0]), xlabel=label), "loss_curves": args(losses={
        "a": fn.losses.squared_error}, axes=axes, over="residual", targets=(1,)), "history": args(run=RUN,
        axes=axes), "layers": args(run=lazily("object", _monitored), axes=axes), "learning_curve": args(
        curve=lazily("object", lambda: fn.study.Curve("training rows", (10, 20), _scores())), axes=axes),
        "learning_rates": args(result=lazily("object", lambda: fn.study.LearningRateRangeResult(np.array([
        0.01, 0.1, 1.0]), np.array([[0.9], [0.5], [0.2]]), np.array([1.0]))), axes=axes), "folds": args(
        result=lazily("object", _validated), axes=axes), "sweep": args(result=lazily("object", _swept),
        axes=axes), "diagnosis": args(diagnosis={"train_loss": [3.0, 2, 1], "val_loss": [3.0, 2, 2]},
        axes=axes), "bias_variance": args(results=lazily("object", _bias_variance), axes=axes,
        xlabel=label), "training_frame": args(model=classify, history={"accuracy": [0.5, 0.6]}, data=plane,
        axes=two, metric="accuracy")}
    for name, given in specs.items():
        case(f"report.{name}", functools.partial(_drawn, getattr(R, name)), given, also=also, draws=True)
    case("report.LivePlot", lambda path, seconds: _with_callback(R.LivePlot, path=path, seconds=seconds),
        args(path=path("curves.png"), seconds=5.0), draws=True)
    case("fn.Run.plot", lambda axes: run().plot(axes) and None, {"axes": axes}, "report", draws=True)


def user_axes(*grid: int) -> Any:
    from matplotlib.figure import Figure

    return Figure().subplots(*grid)


def _drawn(draw: Any, **args: Any) -> None:
    """Drawn with its texts and ticks, which matplotlib reads only then."""
    axes = np.ravel(np.asarray(draw(**args), object))
    axes[0].figure.draw_without_rendering()


def user_difference(x: Any) -> Any:
    return 4 * x[0] - x[1]


def user_double(x: Any) -> Any:
    return 2 * x


@functools.cache
def _monitored() -> Any:
    return fn.study.monitor(train(), ["gradient"])(trained(), PAIRS, jax.random.key(0))


@functools.cache
def _bias_variance() -> Any:
    return fn.study.bias_variance(train(), 3)(NET, PAIRS, jax.random.key(0), PAIRS)

# fmt: on

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
    fn.save(trained(), folder / "whole.safetensors")
    fn.transform.graph(user_cubes)(X[0]).save(folder / "double.graph")
