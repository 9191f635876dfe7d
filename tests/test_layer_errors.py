"""Errors of layers and models for wrong settings and inputs."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
from keys import lazy_key

import funcnet as fn

L = fn.layers
KEY = lazy_key(0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: L.Conv2d(0, 1, 3), ValueError, "in_channels must be at least 1"),
        (lambda: L.Conv2d(1, 1, [3, 3]), TypeError, "kernel_size must be an integer"),
        (lambda: L.Conv2d(1, 1, (3, 3, 3)), ValueError, "kernel_size must have 2 entries, got 3"),
        (lambda: L.Conv1d(1, 1, 3, stride=0), ValueError, "stride must be at least 1"),
        (lambda: L.Conv2d(1, 1, 3, padding="same"), ValueError, "padding must be one of .*got 'same'"),
        (lambda: L.Conv2d(1, 1, 3, padding=-1), ValueError, "padding must be at least 0"),
        (lambda: L.Conv2d(1, 1, 3, padding=1.5), TypeError, "padding must be an integer"),
        (lambda: L.Conv2d(1, 1, 3, padding=((1, 2, 3), 1)), ValueError, "each pair of padding must have 2"),
        (lambda: L.Conv2d(3, 4, 3, groups=2), ValueError, "groups must divide in_channels=3, got 2"),
        (lambda: L.Conv2d(4, 3, 3, groups=2), ValueError, "groups must divide out_channels=3, got 2"),
        (lambda: L.Conv2d(1, 1, 3, weight_init="he"), ValueError, "weight_init must be one of .*got 'he'"),
        (
            lambda: L.MaxPool2d(2, padding=2),
            ValueError,
            "padding must be smaller than the window, got padding=2 and window=2",
        ),
        (lambda: L.Conv3d(1, 1, (3, 3)), ValueError, "kernel_size must have 3 entries, got 2"),
        (lambda: L.Upsample(0), ValueError, "scale must be at least 1"),
        (lambda: L.Upsample(2, "cubic"), ValueError, "method must be one of .*got 'cubic'"),
        (
            lambda: L.Upsample(2**30)(jnp.ones((4, 4, 1))),
            ValueError,
            r"scale must leave axes shorter than 2\*\*31, got 1073741824",
        ),
        (lambda: L.Reshape(3), TypeError, "shape must be a tuple of integers"),
        (lambda: L.Reshape((-1, -1)), ValueError, r"shape\[0\] must be at least 1"),
        (
            lambda: L.Reshape((2, 6))(jnp.ones((3, 4))),
            ValueError,
            r"as many entries as an example, \(4,\), got \(2, 6\).*set num_axes",
        ),
        (lambda: L.Reshape((-1, 3))(jnp.ones(4)), ValueError, "as many entries as an example"),
        (lambda: fn.Sequential(jax.nn.relu)[1], IndexError, "index must be at least -1 and below 1, got 1"),
        (lambda: fn.Sequential(jax.nn.relu)["a"], TypeError, "index must be an integer"),
        (lambda: fn.Sequential([fn.Linear(2, 3), 3]), TypeError, "step 1 of a Sequential must be"),
        (
            lambda: fn.Sequential(fn.Linear(2, 2), layers=[fn.Linear(2, 3)]),
            ValueError,
            "layers must not be given beside steps, got 1 and 1",
        ),
        (lambda: L.GlobalAvgPool(0), ValueError, "num_spatial_dims must be at least 1"),
        (lambda: L.Activation(lambda: 1.0), TypeError, "function must be a function of arrays"),
        (lambda: fn.Sequential(lambda: 1.0), TypeError, "step 0 of a Sequential must be"),
        (
            lambda: fn.Linear(1, 1, weight=np.array([["a"]])),
            TypeError,
            "Linear.weight must be an",
        ),
        (lambda: L.GlobalAvgPool(1)(jnp.ones((0, 2))), ValueError, "entries along each spatial axis"),
        (lambda: L.GlobalMaxPool(1)(jnp.ones((0, 2))), ValueError, "entries along each spatial axis"),
        (
            lambda: L.Conv1d(1, 1, 3, dilation=2**31).init(jax.random.key(0))(jnp.ones((9, 1))),
            ValueError,
            "dilation of Conv1d must pad each axis to fewer than",
        ),
        (
            lambda: L.GRU(3, 2**31 - 1).init(jax.random.key(0)),
            ValueError,
            "got features 2,147,483,647",
        ),
        (lambda: fn.Module.init([], jax.random.key(0)), TypeError, "net must be a funcnet module"),
        (lambda: L.GlobalMaxPool(0), ValueError, "num_spatial_dims must be at least 1"),
        (lambda: L.Flatten(0), ValueError, "num_axes must be at least 1"),
        (lambda: L.LayerNorm(3, eps=0.0), ValueError, "eps must be above 0"),
        (lambda: L.RMSNorm(3, eps="small"), TypeError, "eps must be a number"),
        (lambda: L.GroupNorm(6, 4), ValueError, "groups must divide channels=6, got 4"),
        (lambda: L.ChannelDropout(1.0), ValueError, "rate must be at least 0.0 and below 1.0"),
        (lambda: L.Residual(jax.nn.relu), TypeError, "layer must be a funcnet module"),
        (lambda: L.Residual(fn.Linear(2, 2), jnp.tanh), TypeError, "projection must be a funcnet module"),
        (lambda: L.SpectralNorm(jax.nn.relu), TypeError, "layer must be a funcnet module"),
        (lambda: L.SpectralNorm(fn.MLP((2, 3, 1))), TypeError, "got MLP, which has none"),
        (
            lambda: L.SpectralNorm(fn.Linear(2, 2), iterations=0),
            ValueError,
            "iterations must be at least 1",
        ),
        (lambda: L.SpectralNorm(fn.Linear(2, 2), eps=0.0), ValueError, "eps must be above 0"),
        (lambda: fn.models.ConvNet((28, 28), 10), ValueError, "input_shape must have 3 entries, got 2"),
        (
            lambda: fn.models.ConvNet((28, 28, 1), 10, channels=()),
            ValueError,
            "channels must have at least one entry",
        ),
        (lambda: fn.models.ConvNet((28, 28, 1), 10, channels=32), TypeError, "channels must be a tuple"),
        (
            lambda: fn.models.ConvNet((4, 4, 1), 10, channels=(2, 2, 2)),
            ValueError,
            "window of MaxPool2d must not be larger",
        ),
        (
            lambda: fn.models.ConvNet((2, 9, 1), 10, padding="VALID"),
            ValueError,
            "window of Conv2d must not be larger",
        ),
        (lambda: fn.models.ConvNet((8, 8, 1), 10, dropout=1), ValueError, "dropout must be at least 0.0"),
        (lambda: fn.models.ResMLP(3, 1, depth=0), ValueError, "depth must be at least 1"),
        (lambda: fn.models.ResMLP(3, 1, width=0), ValueError, "width must be at least 1"),
        (lambda: fn.models.ResMLP(3, 1, activation="relu"), TypeError, "activation must be a function"),
    ],
)
def test_wrong_settings_raise_when_a_layer_is_constructed(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("net", "shape", "message"),
    [
        (L.Conv2d(1, 2, 3), (28, 28), r"expects an input \[..., height, width, channels\]"),
        (L.Conv2d(3, 2, 3), (8, 8, 1), "whose last axis is 3"),
        (L.Conv2d(1, 2, 3, padding="VALID"), (2, 8, 1), r"window of \(3, 3\) and an input of \(2, 8\)"),
        (L.Conv1d(1, 2, 3), (28,), "length, channels"),
        (L.ConvTranspose2d(1, 1, 2, padding=2), (2, 2, 1), "window of ConvTranspose2d must not be larger"),
        (L.MaxPool2d(2), (28, 28), "height, width, channels"),
        (L.AvgPool1d(4), (3, 1), r"window of \(4,\)"),
        (L.GlobalAvgPool(), (4, 4), "GlobalAvgPool expects"),
        (L.GlobalMaxPool(3), (4, 4, 1), "GlobalMaxPool expects"),
        (L.Flatten(3), (4, 4), "Flatten expects"),
        (L.LayerNorm(3), (4,), "LayerNorm.3. expects"),
        (L.RMSNorm(3), (4,), "RMSNorm.3. expects"),
        (L.GroupNorm(4, 2), (3, 4), "GroupNorm.4, 2. expects"),
        (L.GroupNorm(4, 2), (3, 3, 3), "whose last axis is 4"),
        (L.ChannelDropout(0.5), (3, 4), "ChannelDropout expects"),
        (L.Residual(fn.Linear(3, 2)), (3,), r"got \(3,\) from x and \(2,\) from the layer"),
        (functools.partial(fn.models.ConvNet, (8, 8, 1), 3), (5, 64), r"x.reshape\(-1, 8, 8, 1\)"),
        (fn.models.ResMLP(3, 2, width=2, depth=1), (4,), "whose last axis is 3"),
    ],
)
def test_wrong_inputs_raise_with_their_shape(net, shape, message):
    net = net() if isinstance(net, functools.partial) else net
    shapes = jax.eval_shape(net.init, KEY()) if fn.count(net) else net
    model = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), shapes)
    with pytest.raises(ValueError, match=message):
        model(np.ones(shape, np.float32))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model, jax.ShapeDtypeStruct(shape, jnp.float32))


def test_a_convolution_before_init_raises():
    with pytest.raises(TypeError, match="Conv2d is not initialized: it has no bias and no weight"):
        L.Conv2d(1, 2, 3)(jnp.ones((4, 4, 1)))


OF_ANOTHER_TYPE = {bool: "yes", int: 1.5, float: "0.1", str: "no such"}


def parts(module):
    """A module and the modules in its fields."""
    yield module
    for field in dataclasses.fields(module):
        value = getattr(module, field.name)
        for part in value if isinstance(value, tuple) else [value]:
            if isinstance(part, fn.Module):
                yield from parts(part)


def test_every_setting_of_another_type_is_refused_and_named():
    accepted, tried = [], set()
    for layer in (part for case in tables.MODELS.values() for part in parts(case.net)):
        kind = type(layer).__name__
        for name in (field.name for field in dataclasses.fields(layer)):
            value = getattr(layer, name)
            wrong = (
                3
                if callable(value) and not isinstance(value, fn.Module)
                else OF_ANOTHER_TYPE.get(type(value))
            )
            if (
                wrong is None
                or (kind, name) in tried
                or not (hasattr(fn.layers, kind) or hasattr(fn.models, kind))
            ):
                continue
            tried.add((kind, name))
            try:
                layer.replace(**{name: wrong})
                accepted.append(f"{kind}({name}={wrong!r}) is accepted")
            except (TypeError, ValueError) as error:
                if name not in str(error):
                    accepted.append(f"{kind}({name}={wrong!r}) is refused without its name: {error}")
    assert not accepted, "\n".join(accepted)
    assert len(tried) > 100


@pytest.mark.parametrize(
    ("net", "shape", "expected"),
    [
        (fn.layers.Flatten(3), (0, 7, 7, 4), (0, 196)),
        (fn.layers.NumberEmbedding(3, embedding_size=4), (0, 3), (0, 15)),
        (fn.layers.Conv2d(4, 8, 3, groups=2), (0, 5, 5, 4), (0, 5, 5, 8)),
    ],
)
def test_no_rows_have_no_outputs(net, shape, expected):
    assert net.init(jax.random.key(0))(jnp.ones(shape)).shape == expected


def test_the_largest_of_booleans_is_whether_any_holds():
    x = jnp.zeros((4, 4, 1), bool).at[0, 3].set(True)
    assert fn.layers.MaxPool2d(2)(x)[..., 0].tolist() == [[False, True], [False, False]]


def test_both_directions_return_sequences():
    inner = fn.Sequential(fn.Linear(4, 8), fn.layers.GRU(8, 5, return_sequences=False))
    model = fn.layers.Bidirectional(inner).init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"forward must return a sequence.* got \(3, 5\)"):
        model(jnp.ones((3, 7, 4)))
