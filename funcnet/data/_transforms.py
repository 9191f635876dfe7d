"""Random transforms of one example, `transform(key, example) -> example`, for `augmented`."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._types import Array, Key, PyTree


class Transform(Protocol):
    """A function from an example to one of the same shapes and dtypes, pure given its key."""

    def __call__(self, key: Key, example: PyTree, /) -> PyTree: ...


def noise(scale: float | Array) -> Transform:
    """Normal noise on the features: x + scale·ε with ε of mean 0 and standard deviation 1.

    Args:
        scale: the standard deviation of the noise in the units of x, at least 0; it may be traced.

    Returns:
        `transform(key, example)`; of a tuple, such as an example (x, y), it changes the first entry.

    Raises:
        TypeError: if `scale` is not a number; when called, if x is not floating.
        ValueError: if `scale` is negative.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> x, y = fn.data.noise(0.1)(jax.random.key(0), (jnp.zeros(1000), 1))
        >>> round(float(x.std()), 2), y
        (0.1, 1)

    Source: Bishop, "Training with noise is equivalent to Tikhonov regularization", 1995.
    """
    scale = _check.setting("scale", scale, 0.0, float("inf"), low_included=True)

    def add_noise(key: Key, x: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(f"the example of noise must be floating, got {x.dtype}. Try x.astype(float).")
        if np.ndim(scale) > x.ndim or any(
            a not in (1, b) for a, b in zip(np.shape(scale)[::-1], x.shape[::-1], strict=False)
        ):
            raise ValueError(
                f"scale must be one number, or one for each of the features {x.shape}, got shape "
                f"{np.shape(scale)}."
            )
        return x + jnp.asarray(scale, x.dtype) * jax.random.normal(key, x.shape, x.dtype)

    return _on_features(add_noise)


def flip(axis: int, probability: float = 0.5) -> Transform:
    """Flip the features along one axis, with some probability.

    Args:
        axis: an axis of one example's features: -2 flips an image [height, width, channels] left to right.
        probability: the probability of a flip, in 0 .. 1.

    Returns:
        `transform(key, example)`; of a tuple, such as an example (x, y), it changes the first entry.

    Raises:
        TypeError: if `axis` is not an integer, or `probability` not a number.
        ValueError: if `probability` is not in 0 .. 1; when called, if x has no such axis.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> fn.data.flip(0, probability=1.0)(jax.random.key(0), (jnp.arange(3), 7))[0].tolist()
        [2, 1, 0]

    Source: Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
    networks", 2012.
    """
    axis = _check.integer("axis", axis)
    if not (isinstance(probability, int | float | np.number) and probability == 1):
        probability = _check.between("probability", probability, 0.0, 1.0)

    def maybe_flip(key: Key, x: Array) -> Array:
        if not -x.ndim <= axis < x.ndim:
            raise ValueError(f"flip({axis}) expects an example with that axis, got shape {x.shape}.")
        return jnp.where(jax.random.bernoulli(key, float(probability)), jnp.flip(x, axis), x)

    return _on_features(maybe_flip)


def shift(pixels: int) -> Transform:
    """Shift an image by up to `pixels` vertically and horizontally, and fill the border with zeros.

    Args:
        pixels: the largest shift, at least 1. Along each of the two axes, every shift from -pixels to
            pixels is equally likely.

    Returns:
        `transform(key, example)`; of a tuple, such as an example (x, y), it changes the first entry, an
        image [height, width] or [height, width, channels].

    Raises:
        TypeError: if `pixels` is not an integer.
        ValueError: if `pixels` is below 1; when called, if x is not such an image.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> image = jnp.zeros((3, 3)).at[1, 1].set(1.0)
        >>> shifted, _ = fn.data.shift(1)(jax.random.key(1), (image, 0))
        >>> shifted.tolist()
        [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]

    Source: Simard, Steinkraus, Platt, "Best practices for convolutional neural networks applied to
    visual document analysis", 2003.
    """
    pixels = _check.positive("pixels", pixels)
    pixels = _check.between("pixels", pixels, 1, 2**30)

    def random_shift(key: Key, x: Array) -> Array:
        if x.ndim not in (2, 3):
            raise ValueError(
                "shift expects an image [height, width] or [height, width, channels], got shape "
                f"{x.shape} for one example. Try x.reshape(-1, 28, 28, 1)."
            )
        border = [(pixels, pixels)] * 2 + [(0, 0)] * (x.ndim - 2)
        row, column = jax.random.randint(key, (2,), 0, 2 * pixels + 1)
        start = (row, column, *[0] * (x.ndim - 2))
        return jax.lax.dynamic_slice(jnp.pad(x, border), start, x.shape)

    return _on_features(random_shift)


def chain(*transforms: Transform) -> Transform:
    """Apply transforms one after another, each with its own key.

    Args:
        *transforms: functions (key, example) -> example, at least one.

    Returns:
        `transform(key, example)`.

    Raises:
        TypeError: if one is not a function.
        ValueError: if there is none.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> both = fn.data.chain(fn.data.flip(-1), fn.data.noise(0.1))
        >>> x, y = both(jax.random.key(0), (jnp.arange(3.0), 7))
        >>> x.shape, y
        ((3,), 7)
    """
    if not transforms:
        raise ValueError("chain expects at least one transform, got none. Try chain(shift(2), flip(-2)).")
    for i, transform in enumerate(transforms):
        _check.takes(f"transforms[{i}]", transform, "a function (key, example) -> example", None, None)

    def apply_all(key: Key, example: PyTree, /) -> PyTree:
        _check.key(key)
        for i, transform in enumerate(transforms):
            example = transform(jax.random.fold_in(key, i), example)
        return example

    return apply_all


def _on_features(change: Callable[[Key, Array], Array]) -> Transform:
    """Apply `change` to the first entry of an example (x, y), or to an example that is one array."""

    def transform(key: Key, example: Any, /) -> Any:
        _check.key(key)
        if isinstance(example, tuple | list) and len(example):
            return (change(key, _check.jax_array("example[0]", example[0])), *example[1:])
        return change(key, _check.jax_array("example", example))

    return transform
