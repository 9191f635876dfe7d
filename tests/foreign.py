"""Networks of other libraries: a ConvNet with BatchNorm and Dropout, an MLP, an LSTM, a Transformer.

Each is written as its library's users write it.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import funcnet as fn

IMAGE, CLASSES, ROWS = (6, 6, 1), 3, 43


# A ConvNet with BatchNorm and Dropout -----------------------------------------------------------------


class LinenConvNet(nn.Module):
    rate: float = 0.3

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.Conv(4, (3, 3), use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = nn.Dropout(self.rate, deterministic=not train)(x.mean((1, 2)))
        return nn.Dense(CLASSES)(x)


class NnxConvNet(nnx.Module):
    def __init__(self, rngs, rate=0.3):
        self.conv = nnx.Conv(1, 4, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.out = nnx.Linear(4, CLASSES, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x)))
        return self.out(self.dropout(x.mean((1, 2))))


class EquinoxConvNet(eqx.Module):
    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    out: eqx.nn.Linear

    def __init__(self, key, rate=0.3):
        first, second = jax.random.split(key)
        self.conv = eqx.nn.Conv2d(1, 4, 3, padding=1, use_bias=False, key=first)
        self.norm = eqx.nn.BatchNorm(4, axis_name="batch", momentum=0.9, mode="batch")
        self.dropout = eqx.nn.Dropout(rate)
        self.out = eqx.nn.Linear(4, CLASSES, key=second)

    def __call__(self, x, state, *, key=None):
        x, state = self.norm(self.conv(jnp.moveaxis(x, -1, 0)), state)
        x = self.dropout(jax.nn.relu(x).mean((1, 2)), key=key)
        return self.out(x), state


def keras_conv_net(rate=0.3):
    import keras

    return keras.Sequential(
        [
            keras.Input(IMAGE),
            keras.layers.Conv2D(4, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(rate),
            keras.layers.Dense(CLASSES),
        ]
    )


def draw_functions(key):
    first, second = jax.random.split(key)
    normal = jax.nn.initializers.lecun_normal()
    params = {
        "kernel": normal(first, (9, 4)),
        "scale": jnp.ones(4),
        "bias": jnp.zeros(4),
        "out": normal(second, (4, CLASSES)),
    }
    return params, {"mean": jnp.zeros(4), "variance": jnp.ones(4), "steps": jnp.int32(0)}


def apply_functions(params, state, x, key, rate=0.3):
    patches = jax.lax.conv_general_dilated_patches(
        x, (3, 3), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    x = patches @ params["kernel"]
    if key is None:
        mean, variance = state["mean"], state["variance"]
    else:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        state = {
            "mean": 0.9 * state["mean"] + 0.1 * mean,
            "variance": 0.9 * state["variance"] + 0.1 * variance,
            "steps": state["steps"] + 1,
        }
    x = (x - mean) * jax.lax.rsqrt(variance + 1e-5) * params["scale"] + params["bias"]
    x = jax.nn.relu(x).mean((1, 2))
    if key is not None and rate:
        x = jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0.0)
    return x @ params["out"], state


# Networks without a state -----------------------------------------------------------------------------


class LinenMLP(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.relu(nn.Dense(8)(x))
        return nn.Dense(CLASSES)(nn.Dropout(0.2, deterministic=not train)(x))


class NnxMLP(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(4, 8, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.out = nnx.Linear(8, CLASSES, rngs=rngs)

    def __call__(self, x):
        return self.out(self.dropout(nnx.relu(self.hidden(x))))


def keras_mlp():
    import keras

    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.2), keras.layers.Dense(CLASSES)]
    return keras.Sequential([keras.Input((4,)), *layers])


def draw_mlp(key):
    first, second = jax.random.split(key)
    normal = jax.nn.initializers.lecun_normal()
    return {"hidden": normal(first, (4, 8)), "out": normal(second, (8, CLASSES))}


def apply_mlp(params, x, key):
    return jax.nn.relu(x @ params["hidden"]) @ params["out"]


class LinenLSTM(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(CLASSES)(nn.RNN(nn.LSTMCell(6))(x)[:, -1])


class NnxLSTM(nnx.Module):
    def __init__(self, rngs):
        self.rnn = nnx.RNN(nnx.LSTMCell(2, 6, rngs=rngs), rngs=rngs)
        self.out = nnx.Linear(6, CLASSES, rngs=rngs)

    def __call__(self, x):
        return self.out(self.rnn(x)[:, -1])


class EquinoxLSTM(eqx.Module):
    cell: eqx.nn.LSTMCell
    out: eqx.nn.Linear

    def __init__(self, key):
        first, second = jax.random.split(key)
        self.cell, self.out = eqx.nn.LSTMCell(2, 6, key=first), eqx.nn.Linear(6, CLASSES, key=second)

    def __call__(self, x):
        start = jnp.zeros(6), jnp.zeros(6)
        (h, _), _ = jax.lax.scan(lambda state, row: (self.cell(row, state), None), start, x)
        return self.out(h)


def keras_lstm():
    import keras

    return keras.Sequential([keras.Input((5, 2)), keras.layers.LSTM(6), keras.layers.Dense(CLASSES)])


class LinenTransformer(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.Dense(8)(x)
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(2, dropout_rate=0.1)(y, deterministic=not train)
        return nn.Dense(CLASSES)(nn.LayerNorm()(x).mean(1))


class NnxTransformer(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Linear(2, 8, rngs=rngs)
        self.first, self.second = nnx.LayerNorm(8, rngs=rngs), nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, dropout_rate=0.1, decode=False, rngs=rngs)
        self.out = nnx.Linear(8, CLASSES, rngs=rngs)

    def __call__(self, x):
        x = self.embed(x)
        x = x + self.attention(self.first(x))
        return self.out(self.second(x).mean(1))


class EquinoxTransformer(eqx.Module):
    embed: eqx.nn.Linear
    first: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    second: eqx.nn.LayerNorm
    out: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        self.embed, self.out = eqx.nn.Linear(2, 8, key=keys[0]), eqx.nn.Linear(8, CLASSES, key=keys[1])
        self.first, self.second = eqx.nn.LayerNorm(8), eqx.nn.LayerNorm(8)
        self.attention = eqx.nn.MultiheadAttention(2, 8, dropout_p=0.1, key=keys[2])

    def __call__(self, x, *, key=None):
        x = jax.vmap(self.embed)(x)
        y = jax.vmap(self.first)(x)
        x = x + self.attention(y, y, y, key=key)
        return self.out(jax.vmap(self.second)(x).mean(0))


def keras_transformer():
    import keras

    inputs = keras.Input((5, 2))
    x = keras.layers.Dense(8)(inputs)
    y = keras.layers.LayerNormalization()(x)
    x = x + keras.layers.MultiHeadAttention(2, 4, dropout=0.1)(y, y)
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization()(x))
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(x))


@dataclasses.dataclass(frozen=True)
class Network:
    """A function that lifts a network, and the shape of its input."""

    lift: Callable[[], Any]
    shape: tuple[int, ...]

    @functools.cached_property
    def net(self) -> Any:
        return self.lift()

    @functools.cached_property
    def model(self) -> Any:
        with jax.ensure_compile_time_eval():  # the first use may be within jit
            return jax.jit(self.net.init)(jax.random.key(0))

    @functools.cached_property
    def data(self) -> tuple[jax.Array, jax.Array]:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(ROWS, *self.shape))
        y = np.digitize(x.reshape(ROWS, -1).sum(1), [-1.0, 1.0])
        with jax.ensure_compile_time_eval():
            return jnp.asarray(x, float), jnp.asarray(y, jnp.int32)


SEQUENCE = (5, 2)
I = fn.interop  # noqa: E741
CONV_NETS = {
    "linen": Network(lambda: I.from_linen(LinenConvNet(), jnp.zeros(IMAGE)), IMAGE),
    "nnx": Network(lambda: I.from_nnx(lambda rngs: NnxConvNet(rngs)), IMAGE),
    "equinox": Network(lambda: I.from_equinox(eqx.nn.make_with_state(EquinoxConvNet)), IMAGE),
    "keras": Network(lambda: I.from_keras(keras_conv_net), IMAGE),
    "functions": Network(lambda: I.from_stateful_functions(draw_functions, apply_functions), IMAGE),
}
OTHERS = {
    "linen-mlp": Network(lambda: I.from_linen(LinenMLP(), jnp.zeros(4)), (4,)),
    "nnx-mlp": Network(lambda: I.from_nnx(NnxMLP), (4,)),
    "equinox-mlp": Network(lambda: I.from_equinox(lambda key: eqx.nn.MLP(4, CLASSES, 8, 1, key=key)), (4,)),
    "keras-mlp": Network(lambda: I.from_keras(keras_mlp), (4,)),
    "functions-mlp": Network(lambda: I.from_functions(draw_mlp, apply_mlp), (4,)),
    "linen-lstm": Network(lambda: I.from_linen(LinenLSTM(), jnp.zeros(SEQUENCE)), SEQUENCE),
    "nnx-lstm": Network(lambda: I.from_nnx(NnxLSTM), SEQUENCE),
    "equinox-lstm": Network(lambda: I.from_equinox(EquinoxLSTM), SEQUENCE),
    "keras-lstm": Network(lambda: I.from_keras(keras_lstm), SEQUENCE),
    "linen-transformer": Network(lambda: I.from_linen(LinenTransformer(), jnp.zeros(SEQUENCE)), SEQUENCE),
    "nnx-transformer": Network(lambda: I.from_nnx(NnxTransformer), SEQUENCE),
    "equinox-transformer": Network(lambda: I.from_equinox(EquinoxTransformer), SEQUENCE),
    "keras-transformer": Network(lambda: I.from_keras(keras_transformer), SEQUENCE),
}
