from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from funcnet import _check, _keys
from funcnet._module import Buffer, Module, is_complete
from funcnet._sow import update_buffer
from funcnet._types import Array, Key
from funcnet.layers._dtype import wide

FIRST = 15  # iterations of `init`, so that the estimate serves before any training; PyTorch's number


class SpectralNorm(Module):
    """A layer whose weight is divided by its largest singular value: its slope is about 1 at most.

    W / σ with σ = vᵀ W u, where u and v come from a power iteration: u ← Wᵀ v / |Wᵀ v|, v ← W u / |W u|.
    W is the weight as a matrix [all other axes, last axis]. For a convolution that is not the largest
    singular value of the map from image to image, but the usual stand-in for it. In training, when
    there is a key, u and v take `iterations` steps; in inference they stay. The gradient takes them for
    constants, as they are where the iteration has come to rest.

    u and v are buffers of the model: `step`, `fit` and `Trainer` carry them on, and a model that is called
    by hand is a value and stays as it is. They depend on the weight alone, not on the examples; a layer
    that is called twice in a step is divided by the same σ both times. With `accumulate` each part takes
    steps of its own.

    Args:
        layer: a module with a parameter `weight`, such as a `Linear` or a `Conv2d`.
        iterations: steps of the power iteration in each training step.
        eps: the least length and σ that is divided by; of a weight below it nothing is taken.
        u: Buffer of [last axis of the weight], of length 1, set by `init` when left out.
        v: Buffer of [all other axes of the weight], of length 1, set by `init` when left out.

    Returns:
        When called on x: what the layer with the divided weight returns.

    Raises:
        TypeError: if `layer` is no module or has no `weight`.
        ValueError: if `iterations` is below 1 or `eps` not above 0.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> wide = fn.Linear(2, 2, use_bias=False, weight=jnp.array([[3.0, 0.0], [0.0, 4.0]]))
        >>> layer = fn.layers.SpectralNorm(wide).init(jax.random.key(0))
        >>> [f"{value:.3f}" for value in layer(jnp.ones(2))]  # divided by 4
        ['0.750', '1.000']

    Source: Miyato, Kataoka, Koyama, Yoshida, "Spectral normalization for generative adversarial networks",
    2018; two vectors that are kept as in PyTorch.
    """

    needs_key: ClassVar[bool] = True
    layer: Module
    _: KW_ONLY
    iterations: int = 1
    eps: float = 1e-12
    u: Buffer | None = None
    v: Buffer | None = None

    def __post_init__(self) -> None:
        _check.with_weight("layer", self.layer)
        _check.positive("iterations", self.iterations)
        _check.above_zero("eps", self.eps)

    def parameters(self, key: Key) -> Mapping[str, Any]:
        # The weight that `init` draws for the layer, by the same key: no model begins with a σ of chance.
        layer = self.layer if is_complete(self.layer) else self.layer.init(_keys.named(key, "layer"))
        matrix = _matrix(layer)
        u, v = (
            jax.random.normal(_keys.named(key, name), (size,), matrix.dtype)
            for name, size in zip("uv", matrix.shape[::-1], strict=True)
        )
        u, v = self._iterated(matrix, self._unit(u, u), self._unit(v, v), FIRST)
        return {"u": Buffer(u), "v": Buffer(v)}

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        assert self.u is not None
        assert self.v is not None
        matrix = _matrix(self.layer)
        u, v = (buffer.value.astype(matrix.dtype) for buffer in (self.u, self.v))
        if key is not None:
            u, v = self._iterated(jax.lax.stop_gradient(matrix), u, v, self.iterations)
            update_buffer(self.u.value, u, 1.0)
            update_buffer(self.v.value, v, 1.0)
        sigma = v @ matrix @ u
        sigma = jnp.where(jnp.abs(sigma) > self.eps, sigma, jnp.ones_like(sigma))
        weight = self.layer.weight  # type: ignore[attr-defined]
        return self.layer.replace(weight=(wide(weight) / sigma).astype(weight.dtype))(x, key=key)  # type: ignore[operator]

    def _iterated(self, matrix: Array, u: Array, v: Array, steps: int) -> tuple[Array, Array]:
        for _ in range(steps):
            u = self._unit(v @ matrix, u)
            v = self._unit(matrix @ u, v)
        return u, v

    def _unit(self, a: Array, before: Array) -> Array:
        """`a` of length 1; where it has none, what was there before: a zero would stay for ever."""
        length = jnp.linalg.norm(a)
        return jnp.where(length > self.eps, a / jnp.maximum(length, self.eps), before)


def _matrix(layer: Any) -> Array:
    """The weight [all other axes, last axis]; a vector is one column."""
    weight = wide(layer.weight)
    return weight.reshape(-1, weight.shape[-1] if weight.ndim > 1 else 1)
