"""Convolutions, pools and norms against scipy and loops written out in numpy."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from keys import cached_key
from tables import assert_close, marked

import funcnet as fn
from funcnet.layers import _convolve

L = fn.layers
RNG = np.random.default_rng(0)


def _normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def _drawn(layer):
    return jax.jit(layer.init)(cached_key(0))


def _pairs(value, axes):
    each = value if isinstance(value, tuple) else (value,) * axes
    return [pair if isinstance(pair, tuple) else (pair, pair) for pair in each]


def _by_loops(x, weight, stride, padding, dilation, groups):
    """One example [H, W, in], every sum written out; `padding` is pairs."""
    kh, kw, inputs, out = weight.shape
    x = np.pad(x.astype(np.float64), [*padding, (0, 0)])
    rows = (x.shape[0] - (kh - 1) * dilation[0] - 1) // stride[0] + 1
    columns = (x.shape[1] - (kw - 1) * dilation[1] - 1) // stride[1] + 1
    y = np.zeros((rows, columns, out))
    for i, j, a, b, o in itertools.product(range(rows), range(columns), range(kh), range(kw), range(out)):
        first = o // (out // groups) * inputs
        seen = x[i * stride[0] + a * dilation[0], j * stride[1] + b * dilation[1]]
        y[i, j, o] += seen[first : first + inputs] @ weight[a, b, :, o]
    return y


SETTINGS = {
    "plain": {"kernel_size": 3, "padding": "VALID"},
    "rectangular": {"kernel_size": (1, 4), "padding": 0},
    "strided": {"kernel_size": (3, 2), "stride": (2, 3), "padding": ((1, 0), 2)},
    "dilated": {"kernel_size": 2, "dilation": (3, 2), "padding": 1},
    "groups": {"kernel_size": 3, "groups": 2, "stride": 2, "padding": "VALID"},
    "depthwise": {"kernel_size": 3, "groups": 4, "padding": 1},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_conv2d_is_the_sum_written_out(name):
    settings = SETTINGS[name]
    layer = _drawn(L.Conv2d(4, 8, **settings, bias=jnp.asarray(_normal(8))))
    x = _normal(2, 7, 8, 4)
    stride, dilation = (np.broadcast_to(settings.get(n, 1), 2) for n in ("stride", "dilation"))
    padding = _pairs(0 if settings["padding"] == "VALID" else settings["padding"], 2)
    groups = settings.get("groups", 1)
    expected = [_by_loops(row, np.asarray(layer.weight), stride, padding, dilation, groups) for row in x]
    got = jax.jit(layer)(jnp.asarray(x))
    np.testing.assert_allclose(got, np.array(expected) + np.asarray(layer.bias), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kernel", "size"), [(3, (6, 7)), (4, (5, 5)), ((2, 5), (6, 6))])
def test_same_padding_is_scipys(kernel, size):
    layer = _drawn(L.Conv2d(1, 1, kernel, use_bias=False))
    x = _normal(*size)
    weight = np.asarray(layer.weight)[..., 0, 0]
    # scipy lays the longer half before the centre; ours, as XLA's, the longer half at the end.
    full = scipy.signal.correlate2d(x, weight, mode="full")
    start = [k - 1 - (k - 1) // 2 for k in weight.shape]
    expected = full[start[0] : start[0] + size[0], start[1] : start[1] + size[1]]
    assert_close(jax.jit(layer)(jnp.asarray(x[..., None]))[..., 0], expected, factor=2)
    if all(k % 2 for k in weight.shape):
        np.testing.assert_allclose(expected, scipy.signal.correlate2d(x, weight, mode="same"), rtol=1e-6)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [6, 7])
def test_same_padding_with_a_stride_gives_the_ceiling(size, stride):
    layer = _drawn(L.Conv1d(1, 1, 3, stride=stride))
    assert jax.eval_shape(layer, jnp.ones((size, 1))).shape == (-(-size // stride), 1)


@pytest.mark.parametrize("mode", ["valid", "full"])
def test_conv1d_is_scipys_correlation(mode):
    padding = "VALID" if mode == "valid" else 3
    layer = _drawn(L.Conv1d(2, 3, 4, padding=padding, use_bias=False))
    x, weight = _normal(9, 2), np.asarray(layer.weight)
    expected = [
        sum(scipy.signal.correlate(x[:, i], weight[:, i, o], mode=mode) for i in range(2)) for o in range(3)
    ]
    assert_close(jax.jit(layer)(jnp.asarray(x)), np.stack(expected, axis=-1), factor=5)


def test_a_causal_convolution_sees_no_future():
    layer = _drawn(L.Conv1d(1, 1, 3, padding=((4, 0),), dilation=2))
    slope = jax.jit(jax.jacobian(lambda x: layer(x[:, None])[:, 0]))(np.ones(6, np.float32))
    assert slope.shape == (6, 6)
    assert np.array_equal(slope, np.tril(slope))
    assert np.count_nonzero(slope) == 6 + 4 + 2


# Those left out in the quick suite are sums written out above, by the formulation that the backend takes.
@pytest.mark.parametrize("name", marked([*SETTINGS, "same"], slow={"plain", "rectangular", "depthwise"}))
def test_all_formulations_agree_forward_backward_and_inside_a_loop(name):
    settings = {**{"stride": 1, "dilation": 1, "groups": 1}, **SETTINGS.get(name, {"kernel_size": 3})}
    pair = [np.broadcast_to(settings[n], 2).tolist() for n in ("kernel_size", "stride", "dilation")]
    kernel, stride, dilation = pair
    added = (
        _pairs(settings["padding"], 2) if not isinstance(settings.get("padding", ""), str) else [(1, 1)] * 2
    )
    weight = jnp.asarray(_normal(*kernel, 4 // settings["groups"], 8))
    x = jnp.asarray(_normal(3, 2, 7, 8, 4))

    def both(by):
        def value(x, weight):
            y = jax.lax.map(lambda row: by(row, weight, stride, added, dilation, settings["groups"]), x)
            return jnp.sum(jnp.sin(y)), y

        return jax.jit(jax.value_and_grad(value, argnums=(0, 1), has_aux=True))(x, weight)

    (_, expected), wanted = both(_convolve.by_xla)
    by_rows = [_convolve.by_rows] if stride[0] == settings["groups"] == 1 else []
    for way in (_convolve.by_patches, *by_rows):
        (_, y), gradients = both(way)
        assert_close(y, expected, factor=5)
        assert_close(gradients, wanted, factor=20)


def test_the_formulation_follows_the_backend(monkeypatch):
    layer, x = _drawn(L.Conv2d(1, 2, 3)), jnp.ones((4, 4, 1))
    assert "conv_general_dilated" not in str(jax.make_jaxpr(lambda x: layer(x))(x))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "conv_general_dilated" in str(jax.make_jaxpr(lambda x: layer(x))(x))


def test_on_cpus_the_product_follows_the_channels():
    def chosen(kernel, stride=(1, 1), groups=1):
        return _convolve._cpu_method(jnp.zeros(kernel), stride, groups)

    assert chosen((3, 3, 1, 32)) is _convolve.by_patches
    assert chosen((3, 3, 32, 64)) is _convolve.by_rows
    assert chosen((3, 3, 32, 64), stride=(1, 2)) is _convolve.by_rows
    assert chosen((3, 3, 32, 64), stride=(2, 1)) is _convolve.by_patches
    assert chosen((3, 3, 16, 32), groups=2) is _convolve.by_patches
    assert chosen((3, 32, 64)) is _convolve.by_patches
    assert chosen((5, 64, 16)) is _convolve.by_rows


TRANSPOSED = {
    "valid": ({"kernel_size": 3, "stride": 2, "padding": "VALID"}, (9, 11)),
    "same": ({"kernel_size": 3, "stride": 2}, (8, 10)),
    "same-sparse": ({"kernel_size": 2, "stride": 3}, (12, 15)),
    "pytorch": ({"kernel_size": 4, "stride": 2, "padding": 1}, (8, 10)),
    "output-padding": ({"kernel_size": 3, "stride": 2, "padding": ((1, 0), (1, 0))}, (8, 10)),
    "dilated": ({"kernel_size": (2, 3), "dilation": (3, 2), "padding": ((2, 1), 1)}, (4, 7)),
    "groups": ({"kernel_size": 3, "stride": 1, "groups": 2}, (4, 5)),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_the_transpose_spreads_each_pixel_over_a_window(name):
    settings, size = TRANSPOSED[name]
    layer = _drawn(L.ConvTranspose2d(2, 4, **settings, use_bias=False))
    x, weight = _normal(4, 5, 2), np.asarray(layer.weight)
    kernel, stride, dilation = (
        np.broadcast_to(settings.get(n, 1), 2) for n in ("kernel_size", "stride", "dilation")
    )
    groups = settings.get("groups", 1)
    covered = (kernel - 1) * dilation + 1
    full = np.zeros((*((np.array([4, 5]) - 1) * stride + covered + 9), 4))
    for i, j, a, b, o in itertools.product(range(4), range(5), *map(range, kernel), range(4)):
        first = o // (4 // groups) * (2 // groups)
        spread = x[i, j, first : first + 2 // groups] @ weight[a, b, :, o]
        full[i * stride[0] + a * dilation[0], j * stride[1] + b * dilation[1], o] += spread
    if settings.get("padding", "SAME") == "SAME":
        before = np.maximum(covered - stride, 0) // 2
        assert size == tuple(np.array([4, 5]) * stride)
    else:
        pairs = _pairs(0 if settings["padding"] == "VALID" else settings["padding"], 2)
        before = [low for low, _ in pairs]
        lost = [low + high for low, high in pairs]
        assert size == tuple((np.array([4, 5]) - 1) * stride + covered - lost)
    expected = full[before[0] : before[0] + size[0], before[1] : before[1] + size[1]]
    got = jax.jit(layer)(jnp.asarray(x))
    assert got.shape == (*size, 4)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


# With the convolutions and their transposes both written out, one setting shows the law.
@pytest.mark.parametrize(
    "name", marked([name for name in TRANSPOSED if name != "groups"], slow=TRANSPOSED.keys() - {"pytorch"})
)
def test_the_transpose_is_the_vjp_of_the_convolution(name):
    settings, size = TRANSPOSED[name]
    up = _drawn(L.ConvTranspose2d(2, 4, **settings, use_bias=False))
    down = L.Conv2d(4, 2, **settings, use_bias=False, weight=jnp.swapaxes(up.weight, -1, -2))
    image, x = jnp.asarray(_normal(*size, 4)), jnp.asarray(_normal(4, 5, 2))
    assert jax.eval_shape(down, image).shape == x.shape
    assert_close(jax.jit(up)(x), jax.jit(lambda x: jax.vjp(down, image)[1](x)[0])(x), factor=5)


@pytest.mark.parametrize(
    ("window", "stride", "padding"),
    [(2, None, 0), (3, None, 0), ((2, 3), 1, 0), (3, 2, 1), (2, 2, ((1, 0), (0, 1))), (3, (1, 2), 2)],
)
def test_pools_are_numpys_maximum_and_mean_of_each_window(window, stride, padding):
    x = _normal(2, 7, 8, 3)
    (kh, kw), (sh, sw) = (np.broadcast_to(s, 2) for s in (window, window if stride is None else stride))
    wide = np.pad(x, [(0, 0), *_pairs(padding, 2), (0, 0)], constant_values=np.nan)
    rows, columns = (wide.shape[1] - kh) // sh + 1, (wide.shape[2] - kw) // sw + 1
    largest, mean = np.zeros((2, 2, rows, columns, 3))
    for i, j in itertools.product(range(rows), range(columns)):
        seen = wide[:, i * sh : i * sh + kh, j * sw : j * sw + kw]
        largest[:, i, j], mean[:, i, j] = np.nanmax(seen, axis=(1, 2)), np.nanmean(seen, axis=(1, 2))
    pools = [pool(window, stride, padding=padding) for pool in (L.MaxPool2d, L.AvgPool2d)]
    by_max, by_mean = jax.jit(lambda x: [pool(x) for pool in pools])(jnp.asarray(x))
    np.testing.assert_allclose(by_max, largest, rtol=1e-6)
    np.testing.assert_allclose(by_mean, mean, rtol=1e-5, atol=1e-6)


def test_pools_of_sequences_are_those_of_images_of_width_one():
    pairs = (L.MaxPool1d, L.MaxPool2d), (L.AvgPool1d, L.AvgPool2d)

    @jax.jit
    def pooled(x):
        ones = [one(3, 2, padding="SAME")(x) for one, _ in pairs]
        return ones, [two((3, 1), (2, 1), padding="SAME")(x[:, None])[:, 0] for _, two in pairs]

    assert_close(*pooled(_normal(9, 2)))


@pytest.mark.parametrize(
    "pool", [pytest.param(L.MaxPool2d(2), marks=pytest.mark.slow), L.MaxPool2d((3, 2)), L.MaxPool2d(3, 1)]
)
def test_the_gradient_of_a_pool_goes_to_the_first_of_the_largest(pool):
    x = np.round(_normal(6, 7, 1))  # many are equal
    weight = np.round(8 * _normal(*jax.eval_shape(pool, x).shape)) / 8  # their sums are exact

    def value(x):
        return jnp.sum(weight * pool(x))

    (height, width), stride = (
        np.broadcast_to(pool.window, 2),
        np.broadcast_to(pool.stride or pool.window, 2),
    )
    expected = np.zeros((6, 7, 1))
    for i, j in itertools.product(*map(range, weight.shape[:2])):
        top, left = stride * (i, j)
        seen = np.asarray(x)[top : top + height, left : left + width, 0]
        a, b = np.unravel_index(seen.argmax(), seen.shape)
        expected[top + a, left + b] += weight[i, j]
    along, broken = _normal(6, 7, 1), x.copy()
    broken[1, 1] = np.nan

    @jax.jit
    def derivatives(x):
        curved = jax.hessian(lambda x: jnp.sum(weight * pool(x) ** 2))(x)
        return jax.grad(value)(x), jax.jvp(value, (x,), (along,))[1], curved, pool(x)

    slope, directed, curved, _ = derivatives(x)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)
    np.testing.assert_allclose(directed, np.sum(expected * along), rtol=1e-4)
    assert np.isfinite(curved).all()
    assert np.trace(np.asarray(curved).reshape(42, 42)) == pytest.approx(2 * expected.sum(), rel=1e-4)
    assert np.isnan(derivatives(broken)[-1][0, 0]).all()


def test_global_pools_and_flatten_are_numpys():
    x = _normal(2, 3, 4, 5)
    layers = L.GlobalAvgPool(), L.GlobalMaxPool(), L.GlobalMaxPool(1), L.Flatten(3), L.Flatten(2)
    expected = [x.mean((1, 2)), x.max((1, 2)), x.max(2), x.reshape(2, 60), x.reshape(2, 3, 20)]
    assert_close(jax.jit(lambda x: [layer(x) for layer in layers])(x), expected)


def test_norms_are_their_formulas():
    x = 3 + 2 * _normal(2, 5, 4, 6)
    scale, bias = _normal(6), _normal(6)
    arrays = {"scale": jnp.asarray(scale), "bias": jnp.asarray(bias)}
    layers = (
        L.LayerNorm(6, eps=0.1, **arrays),
        L.RMSNorm(6, eps=0.1, scale=arrays["scale"]),
        L.GroupNorm(6, 2, eps=0.1, **arrays),
    )
    by_layer = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.1) * scale + bias
    by_root = x / np.sqrt((x**2).mean(-1, keepdims=True) + 0.1) * scale
    groups = [
        (p - p.mean((1, 2, 3), keepdims=True)) / np.sqrt(p.var((1, 2, 3), keepdims=True) + 0.1)
        for p in (x[..., :3], x[..., 3:])
    ]
    by_group = np.concatenate(groups, axis=-1) * scale + bias
    found = jax.jit(lambda x: [layer(x) for layer in layers])(x)
    assert_close(found, [by_layer, by_root, by_group], factor=2)


@pytest.mark.parametrize("layer", [L.LayerNorm(64), L.RMSNorm(64), L.GroupNorm(64, 4, 1)])
def test_norms_compute_in_float32_where_half_precision_overflows(layer):
    model = _drawn(layer)
    half = jax.tree.map(lambda a: np.asarray(a, np.float16), model)
    x = (1000 * _normal(3, 64)).astype(np.float16)
    got, expected = jax.jit(lambda half, model, x: (half(x), model(x.astype(jnp.float32))))(half, model, x)
    assert got.dtype == jnp.float16
    np.testing.assert_allclose(got.astype(np.float32), expected, rtol=2e-3, atol=2e-3)


def test_channel_dropout_keeps_the_mean_and_drops_each_example_by_itself():
    drop, x = L.ChannelDropout(0.3), np.ones((40, 2, 3, 50), np.float32)
    y = np.asarray(jax.jit(drop)(x, key=cached_key(0)))
    assert (y == y[:, :1, :1]).all()
    kept = y[:, 0, 0] > 0
    np.testing.assert_allclose(y[:, 0, 0][kept], 1 / 0.7, rtol=1e-6)
    error = np.sqrt(0.3 * 0.7 / kept.size)
    assert abs(kept.mean() - 0.7) < 4 * error
    assert len(np.unique(kept, axis=0)) > 30


@pytest.mark.parametrize("dtype", marked(["bfloat16", "float16", "float32"], slow={"float16", "float32"}))
def test_layers_keep_their_dtype(dtype):
    net = fn.Sequential(
        *(L.Conv2d(2, 4, 3), L.GroupNorm(4, 2), L.MaxPool2d(3, 1, padding="SAME"), L.AvgPool2d(2)),
        *(L.ConvTranspose2d(4, 4, 2), L.Residual(L.RMSNorm(4)), L.ChannelDropout(0.5), L.Flatten()),
    )
    model = jax.jit(lambda key: jax.tree.map(lambda a: a.astype(dtype), net.init(key)))(cached_key(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = jax.jit(model)(jnp.ones((6, 6, 2), dtype), key=cached_key(1))
    assert y.dtype == jnp.dtype(dtype)


def test_means_are_summed_in_float32_and_whole_numbers_are_pooled():
    x = np.random.default_rng(0).uniform(size=(1000, 1)).astype(jnp.bfloat16)

    @jax.jit
    def pooled(x, hundreds, negative, bytes):
        largest = fn.layers.MaxPool2d(2, padding="SAME")._max(negative)
        means = fn.layers.AvgPool1d(1000)(x), fn.layers.AvgPool2d(64)(hundreds)
        return *means, largest, fn.layers.AvgPool2d(2)._mean(bytes)

    hundreds, negative = np.full((64, 64, 1), 100, np.float16), np.full((3, 3, 1), -5, np.int32)
    mean, hundred, largest, byte = pooled(x, hundreds, negative, np.full((2, 2, 1), 200, np.uint8))
    assert mean.dtype == jnp.bfloat16
    assert mean.item() == pytest.approx(float(x.astype(np.float32).mean()), rel=0.01)
    assert hundred.item() == 100
    assert largest.max() == -5
    assert byte.item() == 200


@pytest.mark.parametrize("formulation", ["cpu", "gpu"])
@pytest.mark.parametrize("dtype", ["uint8", "bfloat16"])
def test_both_formulations_take_whole_numbers_and_mixed_dtypes(formulation, dtype, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: formulation)
    by = jax.jit(lambda x, weight: _convolve.convolve(x, weight, (1, 1), [(1, 1)] * 2, (1, 1)))
    with jax.numpy_dtype_promotion("standard"):
        y = np.asarray(by(np.ones((5, 5, 1), jnp.dtype(dtype)), np.ones((3, 3, 1, 2), np.float32)))
    assert y.dtype == np.float32
    assert y[2, 2].tolist() == [9.0, 9.0]


TORCH = {
    "conv-3d": ("Conv3d", {"kernel_size": (2, 3, 1), "stride": (1, 2, 1), "padding": (1, 0, 0)}, (3, 5, 4)),
    "conv-3d-groups": ("Conv3d", {"kernel_size": 2, "groups": 2, "dilation": 2, "padding": 1}, (4, 3, 3)),
    "up-1d": ("ConvTranspose1d", {"kernel_size": 4, "stride": 3, "padding": 1, "dilation": 2}, (5,)),
    "up-2d": ("ConvTranspose2d", {"kernel_size": 3, "stride": 2, "groups": 2}, (4, 5)),
    "up-3d": ("ConvTranspose3d", {"kernel_size": (2, 3, 2), "stride": 2, "padding": (0, 1, 1)}, (2, 3, 4)),
}


@pytest.mark.parametrize("name", TORCH)
def test_convolutions_of_one_to_three_axes_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    kind, settings, size = TORCH[name]
    ours = {"padding": 0, **settings}
    ours["padding"] = tuple((p, p) for p in np.broadcast_to(ours["padding"], len(size)).tolist())
    layer = _drawn(getattr(L, kind)(2, 4, **ours, bias=jnp.asarray(_normal(4))))
    x = _normal(3, *size, 2)
    peer = getattr(torch.nn, kind)(2, 4, **settings)
    weight, groups = np.asarray(layer.weight), settings.get("groups", 1)
    if "Transpose" in kind:  # PyTorch's [in, out / groups, *kernel]
        parts = [np.moveaxis(part, (-2, -1), (0, 1)) for part in np.split(weight, groups, axis=-1)]
        weight = np.concatenate(parts)
    else:
        weight = np.moveaxis(weight, (-1, -2), (0, 1))
    with torch.no_grad():
        peer.weight.copy_(torch.from_numpy(weight.copy()))
        peer.bias.copy_(torch.from_numpy(np.array(layer.bias)))
        expected = np.moveaxis(peer(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).numpy(), 1, -1)
    np.testing.assert_allclose(jax.jit(layer)(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_enlarged_images_are_pytorchs(method):
    torch = pytest.importorskip("torch")
    for axes, scale in ((2, 2), (2, (3, 1)), (1, 3), (3, (1, 2, 3))):
        x = _normal(2, *(2, 3, 4)[:axes], 5)
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[axes] if method == "bilinear" else "nearest"
        rows = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
        expected = torch.nn.functional.interpolate(rows, scale_factor=scale, mode=mode).numpy()
        got = L.Upsample(scale, method, num_spatial_dims=axes)(x)
        np.testing.assert_allclose(got, np.moveaxis(expected, 1, -1), rtol=1e-6, atol=1e-6)
    integers = L.Upsample(2, method)(np.arange(6).reshape(2, 3, 1))
    assert integers.dtype == (jnp.int32 if method == "nearest" else jnp.float32)


def test_a_reshaped_example_holds_the_same_numbers_in_order():
    x = _normal(2, 3, 4, 5)
    for layer, shape in ((L.Reshape((2, 10), 2), (2, 3, 2, 10)), (L.Reshape((5, -1), 3), (2, 5, 12))):
        np.testing.assert_array_equal(layer(x), x.reshape(shape))
    assert_close(L.Flatten(2)(L.Reshape((5, 4), 2)(x)), jnp.asarray(x.reshape(2, 3, 20)))
