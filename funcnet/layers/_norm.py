from collections.abc import Mapping
from dataclasses import KW_ONLY

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Float, Key
from funcnet.layers._dtype import as_floating, wide


class LayerNorm(Module):
    """Layer normalization: the features of each example normalized, then scaled and shifted.

    (x - mean) / sqrt(variance + eps) · scale + bias over the last axis, computed in at least float32.

    Args:
        features: size of the last axis.
        eps: added to the variance, in its units.
        use_scale: whether a scale is learned; it starts at one.
        use_bias: whether a bias is learned; it starts at zero.
        scale: [features], set by `init` if None.
        bias: [features], set by `init` if None.

    Returns:
        When called on x of shape [..., features]: the same shape and dtype.

    Raises:
        ValueError: if `features` is below 1, `eps` is not above 0, or the last axis of x is not
            `features`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> norm = fn.layers.LayerNorm(2).init(jax.random.key(0))
        >>> norm(jnp.array([[1.0, 3.0], [10.0, 30.0]])).round(3).tolist()
        [[-1.0, 1.0], [-1.0, 1.0]]

    Source: Ba, Kiros, Hinton, "Layer normalization", 2016.
    """

    features: int
    _: KW_ONLY
    eps: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    scale: Float[Array, "..."] | None = None
    bias: Float[Array, "..."] | None = None

    def __post_init__(self) -> None:
        _check.positive("features", self.features)
        _check.above_zero("eps", self.eps)
        _check.boolean("use_scale", self.use_scale)
        _check.boolean("use_bias", self.use_bias)

    def parameters(self, key: Key) -> Mapping[str, Array]:
        del key
        return _initial_affine(self.features, self.use_scale, self.use_bias)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        x = _check.last_axis(f"LayerNorm({self.features})", x, self.features)
        y = _standardize(wide(x), (-1,), self.eps)
        return as_floating(_affine(y, self.scale, self.bias), x.dtype)


class RMSNorm(Module):
    """RMS normalization: the features of each example divided by their root mean square, then scaled.

    x / sqrt(mean(x²) + eps) · scale over the last axis, computed in at least float32.

    Args:
        features: size of the last axis.
        eps: added to the mean square, in its units.
        use_scale: whether a scale is learned; it starts at one.
        scale: [features], set by `init` if None.

    Returns:
        When called on x of shape [..., features]: the same shape and dtype.

    Raises:
        ValueError: if `features` is below 1, `eps` is not above 0, or the last axis of x is not
            `features`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> norm = fn.layers.RMSNorm(2).init(jax.random.key(0))
        >>> [f"{value:.3f}" for value in norm(jnp.array([3.0, 4.0]))]
        ['0.849', '1.131']

    Source: Zhang, Sennrich, "Root mean square layer normalization", 2019.
    """

    features: int
    _: KW_ONLY
    eps: float = 1e-6
    use_scale: bool = True
    scale: Float[Array, "..."] | None = None

    def __post_init__(self) -> None:
        _check.positive("features", self.features)
        _check.above_zero("eps", self.eps)
        _check.boolean("use_scale", self.use_scale)

    def parameters(self, key: Key) -> Mapping[str, Array]:
        del key
        return _initial_affine(self.features, self.use_scale, False)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        x = _check.last_axis(f"RMSNorm({self.features})", x, self.features)
        return as_floating(_affine(_divide_by_rms(wide(x), (-1,), self.eps), self.scale, None), x.dtype)


class GroupNorm(Module):
    """Group normalization: each group of channels normalized over space and channels.

    (x - mean) / sqrt(variance + eps) · scale + bias for each example, computed in at least float32. With
    groups=1 the whole example is normalized; with groups=channels each channel separately (instance
    normalization).

    Args:
        channels: size of the last axis.
        groups: number of groups of neighbouring channels.
        num_spatial_dims: number of spatial axes before the channels: 2 for images, 1 for sequences.
        eps: added to the variance, in its units.
        use_scale: whether a scale for each channel is learned; it starts at one.
        use_bias: whether a bias for each channel is learned; it starts at zero.
        scale: [channels], set by `init` if None.
        bias: [channels], set by `init` if None.

    Returns:
        When called on x of shape [..., *spatial, channels]: the same shape and dtype.

    Raises:
        ValueError: if a size is below 1, `groups` does not divide `channels`, `eps` is not above 0,
            the last axis of x is not `channels`, or x has too few axes.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> norm = fn.layers.GroupNorm(8, 2).init(jax.random.key(0))
        >>> y = norm(5 + 3 * jax.random.normal(jax.random.key(1), (6, 6, 8)))
        >>> y.shape, round(float(y[..., :4].std()), 3)
        ((6, 6, 8), 1.0)

    Source: Wu, He, "Group normalization", 2018.
    """

    channels: int
    groups: int
    num_spatial_dims: int = 2
    _: KW_ONLY
    eps: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    scale: Float[Array, "..."] | None = None
    bias: Float[Array, "..."] | None = None

    def __post_init__(self) -> None:
        for name in ("channels", "groups", "num_spatial_dims"):
            _check.positive(name, getattr(self, name))
        _check.divides("groups", self.groups, "channels", self.channels)
        _check.above_zero("eps", self.eps)
        _check.boolean("use_scale", self.use_scale)
        _check.boolean("use_bias", self.use_bias)

    def parameters(self, key: Key) -> Mapping[str, Array]:
        del key
        return _initial_affine(self.channels, self.use_scale, self.use_bias)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        layer, spatial = f"GroupNorm({self.channels}, {self.groups})", self.num_spatial_dims
        x = _check.rank(layer, x, spatial + 1, f"{spatial} spatial axes, channels")
        x = _check.last_axis(layer, x, self.channels)
        grouped = wide(x).reshape(*x.shape[:-1], self.groups, self.channels // self.groups)
        axes = (*range(-spatial - 2, -2), -1)
        y = _standardize(grouped, axes, self.eps).reshape(x.shape)
        return as_floating(_affine(y, self.scale, self.bias), x.dtype)


def _initial_affine(size: int, use_scale: bool, use_bias: bool) -> dict[str, Array]:
    scale = {"scale": jnp.ones(size)} if use_scale else {}
    return scale | ({"bias": jnp.zeros(size)} if use_bias else {})


def _standardize(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    centred = x - jnp.broadcast_to(jnp.mean(x, axis=axes, keepdims=True), x.shape)
    return _divide_by_rms(centred, axes, eps)


def _divide_by_rms(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    mean_square = jnp.mean(jnp.square(x), axis=axes, keepdims=True)
    return x * jnp.broadcast_to(jax.lax.rsqrt(mean_square + float(eps)), x.shape)


def _affine(x: Array, scale: Array | None, bias: Array | None) -> Array:
    if scale is not None:
        x = x * jnp.broadcast_to(scale.astype(x.dtype), x.shape)
    return x if bias is None else x + jnp.broadcast_to(bias.astype(x.dtype), x.shape)
