"""Tables of all public models, losses and metrics, and of optimizers and data sets.

The laws are tested over these tables, so a new entry is one line here.
"""

import dataclasses
import functools
from collections.abc import Callable, Container, Iterable
from typing import Any, Literal

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from flax import nnx

import funcnet as fn

Target = Literal["number", "numbers", "binary", "classes"]
BATCH = 8

# Tolerances for values that are equal up to rounding: relative, and absolute around zero.
TOLERANCE = {"float16": 2e-2, "float32": 2e-5, "float64": 1e-9}


def assert_close(actual: Any, expected: Any, factor: float = 1.0) -> None:
    """Trees of one structure, floats equal within `factor` tolerances of their dtype, all else equal."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(expected)]
    for path, a, b in zip(
        paths, map(_host, jax.tree.leaves(actual)), map(_host, jax.tree.leaves(expected)), strict=True
    ):
        if np.issubdtype(a.dtype, np.floating) and np.issubdtype(b.dtype, np.floating):
            allowed = factor * max(TOLERANCE[a.dtype.name], TOLERANCE[b.dtype.name])
            np.testing.assert_allclose(a, b, rtol=allowed, atol=allowed, err_msg=path)
        else:
            np.testing.assert_array_equal(a, b, err_msg=path)


def assert_trained_alike(train: Any, net: Any, data: Any, key: jax.Array, expected: Any) -> None:
    """A Trainer ends where `expected`, the run of `train`, did; vmapped models end where single ones do."""
    actual = fn.Trainer(train, sync_every=fn.train.Every(steps=3))(net.init(key), data, key)
    assert_close(actual, expected, factor=5)
    keys = jax.random.split(key, 3)
    models = jax.jit(jax.vmap(net.init))(keys)
    together = jax.vmap(train, in_axes=(0, None, 0))(models, data, keys)
    one = train(jax.tree.map(lambda a: a[1], models), data, keys[1])
    assert_close(jax.tree.map(lambda a: a[1], together.model), one.model, factor=20)


def marked(cases: Iterable[Any], *, slow: Container[Any]) -> list[Any]:
    """Cases for `parametrize`; those in `slow` are only run by `make test-all`."""
    return [pytest.param(case, marks=pytest.mark.slow) if case in slow else case for case in cases]


def same_bits(a: Any, b: Any) -> bool:
    """Whether two trees hold the same bits, NaN included."""
    pairs = zip(map(_host, jax.tree.leaves(a)), map(_host, jax.tree.leaves(b)), strict=True)
    return all(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in pairs)


def _host(leaf: Any) -> np.ndarray:
    is_key = jnp.issubdtype(getattr(leaf, "dtype", int), jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


@dataclasses.dataclass(frozen=True)
class Model:
    """An architecture, the shape of one input, and the kind of its target.

    With `tokens`, inputs are integers below it.
    """

    net: fn.Module
    shape: tuple[int, ...]
    target: Target
    tokens: int = 0

    def init(self, seed: int = 0) -> fn.Module:
        return _initialised(self.net, seed, jnp.zeros(()).dtype, jax.sharding.get_abstract_mesh())

    def loss(self) -> Any:
        return SUPERVISED[self.target]

    def rows(self, n: int, seed: int = 0) -> tuple[jax.Array, jax.Array]:
        """n examples (x, y); y depends on x in part."""
        rng = np.random.default_rng(seed)
        x = (
            rng.integers(0, self.tokens, (n, *self.shape))
            if self.tokens
            else rng.normal(size=(n, *self.shape))
        )
        outputs = self._outputs()
        signal = x.reshape(n, -1) @ rng.normal(size=(int(np.prod(self.shape)), int(np.prod(outputs))))
        y = _targets(self.target, signal, outputs)
        return _default_dtype(x), _default_dtype(y)

    def _outputs(self) -> tuple[int, ...]:
        x = jax.ShapeDtypeStruct(self.shape, jnp.int32 if self.tokens else jnp.zeros(()).dtype)
        return jax.eval_shape(self.init(), x).shape


def _default_dtype(values: np.ndarray) -> jax.Array:
    return jnp.asarray(values, float if values.dtype.kind == "f" else jnp.int32)


@functools.cache
def _initialised(net: fn.Module, seed: int, *context: Any) -> fn.Module:
    """`net.init`, cached for each default dtype and mesh."""
    del context
    return jax.jit(net.init)(jax.random.key(seed))


def _targets(target: Target, signal: np.ndarray, outputs: tuple[int, ...]) -> np.ndarray:
    if target == "classes":
        return np.argmax(signal, axis=1)
    if target == "binary":
        return (signal[:, 0] > 0).astype(int)
    return np.tanh(signal[:, 0] if target == "number" else signal.reshape(len(signal), *outputs))


L = fn.layers
IMAGE = (5, 6, 2)
MODELS = {
    "activation": Model(fn.layers.Activation(jax.nn.tanh), (3,), "numbers"),
    "avg-pool-1d": Model(L.AvgPool1d(2, 1, padding="SAME"), (5, 2), "numbers"),
    "avg-pool-2d": Model(L.AvgPool2d(2, padding=((1, 0), 1)), IMAGE, "numbers"),
    "channel-dropout": Model(L.ChannelDropout(0.4), IMAGE, "numbers"),
    "conv-1d": Model(L.Conv1d(2, 3, 3, padding=((2, 0),)), (5, 2), "numbers"),
    "conv-2d": Model(L.Conv2d(2, 4, (3, 2), stride=(2, 1), groups=2), IMAGE, "numbers"),
    "conv-net": Model(
        fn.models.ConvNet(IMAGE, 3, channels=(3,), activation=jax.nn.tanh, dropout=0.3), IMAGE, "classes"
    ),
    "conv-transpose-2d": Model(L.ConvTranspose2d(2, 2, 3, stride=2), (2, 3, 2), "numbers"),
    "conv-3d": Model(L.Conv3d(2, 3, 2, stride=(1, 2, 1)), (2, 3, 2, 2), "numbers"),
    "conv-transpose-1d": Model(L.ConvTranspose1d(2, 3, 3, stride=2), (3, 2), "numbers"),
    "conv-transpose-3d": Model(L.ConvTranspose3d(2, 2, 2), (2, 2, 3, 2), "numbers"),
    "dropout": Model(fn.Dropout(0.4), (3,), "numbers"),
    "dropout-array": Model(fn.Dropout(jax.device_put(np.float32(0.4))), (3,), "numbers"),
    "flatten": Model(L.Flatten(3), IMAGE, "numbers"),
    "global-avg-pool": Model(L.GlobalAvgPool(), IMAGE, "numbers"),
    "global-max-pool": Model(L.GlobalMaxPool(), IMAGE, "numbers"),
    "group-norm": Model(L.GroupNorm(4, 2), (2, 3, 4), "numbers"),
    "layer-norm": Model(L.LayerNorm(4), (4,), "numbers"),
    "attention": Model(fn.layers.MultiHeadAttention(4, 2, causal=True), (3, 4), "numbers"),
    "batch-norm": Model(L.BatchNorm(4), (4,), "numbers"),
    "bidirectional": Model(fn.layers.Bidirectional(fn.layers.GRU(2, 2)), (3, 2), "numbers"),
    "embedding": Model(fn.layers.Embedding(5, 2), (3,), "numbers", tokens=5),
    "fourier-mlp": Model(
        fn.models.FourierMLP((2, 4, "scalar"), num_frequencies=3, scale=0.5, activation=jax.nn.tanh),
        (2,),
        "number",
    ),
    "gru": Model(fn.layers.GRU(2, 3), (3, 2), "numbers"),
    "gru-last": Model(fn.layers.GRU(2, 3, return_sequences=False), (3, 2), "numbers"),
    "linear": Model(fn.Linear(3, 2), (3,), "numbers"),
    "linear-no-bias": Model(fn.Linear(3, "scalar", use_bias=False), (3,), "number"),
    "linear-regression": Model(fn.models.LinearRegression(3), (3,), "number"),
    "linear-regression-2": Model(fn.models.LinearRegression(3, 2), (3,), "numbers"),
    "max-pool-1d": Model(L.MaxPool1d(2), (5, 2), "numbers"),
    "max-pool-2d": Model(L.MaxPool2d(3, 2, padding="SAME"), IMAGE, "numbers"),
    "lstm": Model(fn.layers.LSTM(2, 3), (3, 2), "numbers"),
    "mlp": Model(fn.MLP((3, 5, 4, 3), activation=jax.nn.tanh), (3,), "classes"),
    "mlp-dropout": Model(fn.MLP((3, 6, "scalar"), dropout=0.3), (3,), "number"),
    "number-embedding": Model(L.NumberEmbedding(3, num_frequencies=4, embedding_size=2), (3,), "numbers"),
    "perceptron": Model(fn.models.Perceptron(3), (3,), "binary"),
    "perceptron-classes": Model(fn.models.Perceptron(3, 4), (3,), "classes"),
    "reshape": Model(L.Reshape((2, -1), num_axes=3), IMAGE, "numbers"),
    "residual": Model(L.Residual(fn.Linear(3, 2), projection=fn.Linear(3, 2)), (3,), "numbers"),
    "res-mlp": Model(
        fn.models.ResMLP(3, "scalar", width=4, depth=2, activation=jax.nn.tanh, dropout=0.2), (3,), "number"
    ),
    "rms-norm": Model(L.RMSNorm(4), (4,), "numbers"),
    "sequential": Model(
        fn.Sequential(fn.Linear(3, 4), jax.nn.sigmoid, fn.Dropout(0.2), fn.Linear(4, "scalar")),
        (3,),
        "binary",
    ),
    "upsample-bilinear": Model(L.Upsample((2, 3), "bilinear"), (2, 3, 2), "numbers"),
    "upsample-nearest": Model(L.Upsample(2, num_spatial_dims=1), (3, 2), "numbers"),
    "siren": Model(fn.models.SIREN((2, 4, 4, "scalar"), omega=3.0, hidden_omega=3.0), (2,), "number"),
    "spectral-norm": Model(L.SpectralNorm(fn.Linear(3, 2)), (3,), "numbers"),
    "transformer": Model(
        fn.models.Transformer(3, vocab_size=5, features=4, num_heads=2, depth=1, dropout=0.2, pad_token=0),
        (4,),
        "classes",
        tokens=5,
    ),
}
# One of each kind: `make test` tests the laws on these, `make test-all` on all models.
QUICK = ["conv-2d", "gru", "mlp-dropout"]
TRAINED = [name for name, model in MODELS.items() if fn.count(model.net)]
RANDOM = [
    "channel-dropout",
    "conv-net",
    "dropout",
    "dropout-array",
    "mlp-dropout",
    "res-mlp",
    "sequential",
    "transformer",
]
# The output for a row depends on the other rows of its batch.
BATCHED = ["batch-norm"]
# In training these treat a part of their computation as a constant in the gradient.
HELD = ["spectral-norm"]
# A loss on targets of another shape or with a setting; slow, since the plain loss is tested quickly.
VARIANTS = [
    *("squared-error-3", "binary-cross-entropy-3", "binary-cross-entropy-smoothed"),
    *("cross-entropy-sequence", "cross-entropy-smoothed", "absolute-error-3"),
]
FIXED_START = [
    "batch-norm",
    "group-norm",
    "layer-norm",
    "linear-regression",
    "linear-regression-2",
    "rms-norm",
]


def name_of(function: Any) -> str:
    """The name of a function, also inside a `functools.partial`."""
    return getattr(function, "func", function).__name__


@dataclasses.dataclass(frozen=True)
class PerExample:
    """A function of a prediction and a target, and how to draw a batch of both."""

    function: Callable[[Any, Any], jax.Array]
    draw: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]

    def pairs(self, n: int, seed: int = 0, dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
        prediction, target = self.draw(np.random.default_rng(seed), n)
        return prediction.astype(dtype), target.astype(dtype if target.dtype.kind == "f" else np.int32)


def _reals(*shape: int) -> Any:
    return lambda rng, n: (3 * rng.normal(size=(n, *shape)), rng.normal(size=(n, *shape)))


def _bits(*shape: int) -> Any:
    return lambda rng, n: (3 * rng.normal(size=(n, *shape)), rng.integers(0, 2, (n, *shape)))


def _classes(k: int, *shape: int) -> Any:
    return lambda rng, n: (3 * rng.normal(size=(n, *shape, k)), rng.integers(0, k, (n, *shape)))


def _spreads() -> Any:
    return lambda rng, n: (rng.normal(size=(n, 2)), rng.normal(size=n))


def _counts() -> Any:
    return lambda rng, n: (rng.normal(size=n), rng.poisson(2.0, n))


def _probabilities(k: int) -> Any:
    return lambda rng, n: (3 * rng.normal(size=(n, k)), rng.dirichlet(np.ones(k), n))


LOSSES = {
    "squared-error": PerExample(fn.losses.squared_error, _reals()),
    "squared-error-3": PerExample(fn.losses.squared_error, _reals(3)),
    "binary-cross-entropy": PerExample(fn.losses.binary_cross_entropy, _bits()),
    "binary-cross-entropy-3": PerExample(fn.losses.binary_cross_entropy, _bits(3)),
    "cross-entropy": PerExample(fn.losses.cross_entropy, _classes(4)),
    "cross-entropy-sequence": PerExample(fn.losses.cross_entropy, _classes(4, 3)),
    "cross-entropy-probabilities": PerExample(fn.losses.cross_entropy, _probabilities(4)),
}
LOSSES |= {
    "absolute-error": PerExample(fn.losses.absolute_error, _reals(3)),
    "binary-cross-entropy-smoothed": PerExample(
        functools.partial(fn.losses.binary_cross_entropy, smoothing=0.2), _bits()
    ),
    "cross-entropy-smoothed": PerExample(
        functools.partial(fn.losses.cross_entropy, smoothing=0.1), _classes(4)
    ),
    "focal": PerExample(functools.partial(fn.losses.focal, alpha=0.3), _bits()),
    "gaussian-nll": PerExample(fn.losses.gaussian_nll, _spreads()),
    "hinge": PerExample(fn.losses.hinge, _bits()),
    "huber": PerExample(fn.losses.huber, _reals(3)),
    "kl-divergence": PerExample(fn.losses.kl_divergence, _probabilities(4)),
    "log-cosh": PerExample(fn.losses.log_cosh, _reals()),
    "multilabel-cross-entropy": PerExample(fn.losses.multilabel_cross_entropy, _bits(3)),
    "poisson": PerExample(fn.losses.poisson, _counts()),
    "quantile": PerExample(functools.partial(fn.losses.quantile, q=0.8), _reals()),
    "zero-one": PerExample(fn.losses.zero_one, _classes(4)),
}
METRICS = {
    "absolute-error": PerExample(fn.metrics.absolute_error, _reals()),
    "absolute-error-3": PerExample(fn.metrics.absolute_error, _reals(3)),
    "accuracy-binary": PerExample(fn.metrics.accuracy, _bits()),
    "accuracy-classes": PerExample(fn.metrics.accuracy, _classes(4)),
    "accuracy-sequence": PerExample(fn.metrics.accuracy, _classes(4, 3)),
    "brier": PerExample(fn.metrics.brier, _classes(4)),
    "brier-binary": PerExample(fn.metrics.brier, _bits()),
    "top-2": PerExample(fn.metrics.top_k(2), _classes(4)),
}

# Metrics that are functions of sums over examples.
SUM_METRICS = {
    "confusion-matrix": PerExample(fn.metrics.confusion_matrix(4), _classes(4)),
    "expected-calibration-error": PerExample(fn.metrics.expected_calibration_error(bins=5), _classes(4)),
    "f1-binary": PerExample(fn.metrics.f1(), _bits()),
    "f1-labels": PerExample(fn.metrics.f1(average="macro"), _bits(3)),
    "f1-macro": PerExample(fn.metrics.f1(average="macro"), _classes(4)),
    "precision-micro": PerExample(fn.metrics.precision(average="micro"), _classes(4)),
    "precision-macro": PerExample(fn.metrics.precision(average="macro"), _classes(4)),
    "r2": PerExample(fn.metrics.r2(), _reals()),
    "r2-3": PerExample(fn.metrics.r2(), _reals(3)),
    "recall-binary": PerExample(fn.metrics.recall(), _bits()),
    "recall-each": PerExample(fn.metrics.recall(average=None), _classes(4)),
    "rmse": PerExample(fn.metrics.rmse(), _reals(3)),
}

# The right values in float64, by public name: of one example, and of all rows.
LOSS_ORACLES = oracles.LOSS_ORACLES
METRIC_ORACLES = oracles.METRIC_ORACLES

SUPERVISED: dict[Target, Any] = {
    "number": fn.losses.supervised(fn.losses.squared_error, absolute_error=fn.metrics.absolute_error),
    "numbers": fn.losses.supervised(fn.losses.squared_error, absolute_error=fn.metrics.absolute_error),
    "binary": fn.losses.supervised(fn.losses.binary_cross_entropy, accuracy=fn.metrics.accuracy),
    "classes": fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy),
}


def _promoting(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer whose own arithmetic mixes dtypes: its update runs under JAX's standard promotion."""
    update = optax.with_extra_args_support(optimizer).update

    def promoting_update(*args: Any, **extra: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return update(*args, **extra)

    return optax.GradientTransformationExtraArgs(optimizer.init, promoting_update)


OPTIMIZERS: dict[str, optax.GradientTransformation] = {
    "adagrad": optax.adagrad(0.1),
    "adam": optax.adam(0.03),
    "adamw": optax.adamw(optax.cosine_decay_schedule(0.03, 12), weight_decay=0.1),
    "lbfgs": optax.lbfgs(),
    "lion": optax.lion(0.01),
    "momentum": optax.sgd(0.05, momentum=0.9),
    "nesterov": optax.sgd(0.05, momentum=0.9, nesterov=True),
    "plateau": _promoting(optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1))),
    "polyak": optax.polyak_sgd(0.5),
    "rmsprop": optax.rmsprop(0.01),
    "sgd": optax.sgd(0.1),
}


def _weights(n: int) -> np.ndarray:
    """Unequal weights, two of them zero."""
    weight = np.random.default_rng(9).uniform(0.2, 3.0, n)
    weight[[1, n // 2]] = 0.0
    return weight.astype(np.float32)


def _view(n: int) -> np.ndarray:
    """Some of n rows, several of them twice, unordered."""
    return np.random.default_rng(8).integers(0, n, n - 4)


def _left_out(data: fn.data.Dataset) -> fn.data.Dataset:
    return fn.data.out_of_bag(data, fn.data.bootstrap(data, jax.random.key(1)))


DATASETS: dict[str, Callable[[Model], fn.data.Dataset]] = {
    "whole-batches": lambda model: fn.data.Dataset(model.rows(2 * BATCH)),
    "tail": lambda model: fn.data.Dataset(model.rows(2 * BATCH + 3)),
    "one-short-batch": lambda model: fn.data.Dataset(model.rows(BATCH - 3)),
    "weighted": lambda model: fn.data.Dataset(model.rows(19), weight=_weights(19)),
    "rows": lambda model: fn.data.Dataset(model.rows(23), rows=_view(23)),
    "weighted-rows": lambda model: fn.data.Dataset(model.rows(23), weight=_weights(23), rows=_view(23)),
    "fold": lambda model: fn.data.kfold(model.rows(22), 5, jax.random.key(1))[0][0],
    "bootstrap": lambda model: fn.data.bootstrap(model.rows(19), jax.random.key(1)),
    "out-of-bag": lambda model: _left_out(fn.data.Dataset(model.rows(23))),
}


@functools.cache
def dataset(name: str, model: str) -> fn.data.Dataset:
    return DATASETS[name](MODELS[model])


@functools.cache
def training(model: str, optimizer: str = "adam", **settings: Any) -> Any:
    """One `fit` per choice, so that all tests of a process share its compiled program."""
    return fn.fit(
        MODELS[model].loss(), OPTIMIZERS[optimizer], **{"epochs": 3, "batch_size": BATCH, **settings}
    )


@dataclasses.dataclass(frozen=True)
class Foreign:
    """A model of another library or a plain pytree, and the function that predicts for one example."""

    params: Any
    predict: Callable[[Any, jax.Array], jax.Array]

    def loss(self, params: Any, example: Any, key: Any) -> jax.Array:
        del key
        x, y = example
        return (self.predict(params, x) - y) ** 2


def _dictionary() -> Foreign:
    w, v = jax.random.normal(jax.random.key(0), (2, 3, 4))
    params = {"hidden": {"w": w, "b": jnp.zeros(4)}, "out": [v[0], jnp.zeros(())]}

    def predict(params: Any, x: jax.Array) -> jax.Array:
        hidden = jnp.tanh(x @ params["hidden"]["w"] + params["hidden"]["b"])
        return hidden @ params["out"][0] + params["out"][1]

    return Foreign(params, predict)


def _linen() -> Foreign:
    net = flax.linen.Sequential([flax.linen.Dense(4), flax.linen.tanh, flax.linen.Dense(1)])
    return Foreign(net.init(jax.random.key(0), jnp.ones(3)), lambda params, x: net.apply(params, x)[0])


def _nnx() -> Foreign:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.hidden, self.out = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 1, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.out(jnp.tanh(self.hidden(x)))[0]

    graph, params = nnx.split(Net(nnx.Rngs(0)))
    return Foreign(params, lambda params, x: nnx.merge(graph, params)(x))


FOREIGN: dict[str, Callable[[], Foreign]] = {
    "dictionary": _dictionary,
    "flax-linen": _linen,
    "flax-nnx": _nnx,
}
