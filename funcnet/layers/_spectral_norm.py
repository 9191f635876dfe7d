from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from funcnet import _check, _keys
from funcnet._module import Buffer, Module, is_complete
from funcnet._sow import replace_buffer
from funcnet._types import Array, Key
from funcnet.layers._dtype import wide

INIT_ITERATIONS = 15  # as in PyTorch, so that the estimate is usable before training


class SpectralNorm(Module):
    """Spectral normalization: a layer whose weight is divided by its largest singular value.

    The weight is W / σ with σ = vᵀ W u, where u and v are estimated by power iteration:
    u ← Wᵀ v / |Wᵀ v|, v ← W u / |W u|. W is the weight as a matrix [all other axes, last axis]. For a
    linear layer the Lipschitz constant is then about 1. For a convolution this is not the largest singular
    value of the map from image to image, but the usual approximation of it. In training (with a key) u and
    v are updated by `iterations` steps; in inference, or if `fn.freeze` froze them, they are fixed.
    Gradients treat them as constants, which is exact once the iteration has converged.

    u and v are buffers of the model: `step`, `fit` and `Trainer` update them, and calling a model directly
    does not change it. They depend on the weight alone, not on the examples: a layer that is called twice
    in a step is divided by the same σ both times. With `accumulate`, they are updated in every micro-batch.

    Args:
        layer: a module with a parameter `weight`, such as a `Linear` or a `Conv2d`.
        iterations: steps of the power iteration in each training step.
        eps: lower bound of σ and of the norms that are divided by; a smaller σ is replaced by 1.
        u: Buffer of [last axis of the weight], of length 1, set by `init` if None.
        v: Buffer of [all other axes of the weight], of length 1, set by `init` if None.

    Returns:
        When called on x: the output of the layer with the normalized weight.

    Raises:
        TypeError: if `layer` is not a module or has no `weight`.
        ValueError: if `iterations` is below 1 or `eps` not above 0.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> wide = fn.Linear(2, 2, use_bias=False, weight=jnp.array([[3.0, 0.0], [0.0, 4.0]]))
        >>> layer = fn.layers.SpectralNorm(wide).init(jax.random.key(0))
        >>> [f"{value:.3f}" for value in layer(jnp.ones(2))]  # divided by 4
        ['0.750', '1.000']

    Source: Miyato, Kataoka, Koyama, Yoshida, "Spectral normalization for generative adversarial networks",
    2018; both vectors are stored, as in PyTorch.
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
        _check.depth("iterations", self.iterations)
        _check.above_zero("eps", self.eps)

    def parameters(self, key: Key) -> Mapping[str, Any]:
        # The layer is drawn by the same key as in `init`, so that σ belongs to the model's weight.
        layer = self.layer if is_complete(self.layer) else self.layer.init(_keys.fold_in_name(key, "layer"))
        matrix = _matrix(layer)
        u, v = (
            jax.random.normal(_keys.fold_in_name(key, name), (size,), matrix.dtype)
            for name, size in zip("uv", matrix.shape[::-1], strict=True)
        )
        u, v = self._power_iteration(matrix, self._normalize(u, u), self._normalize(v, v), INIT_ITERATIONS)
        return {"u": Buffer(u), "v": Buffer(v)}

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        assert self.u is not None
        assert self.v is not None
        matrix = _matrix(self.layer)
        u, v = (jax.lax.stop_gradient(b.value.astype(matrix.dtype)) for b in (self.u, self.v))
        if key is not None and not self._is_frozen("u", "v"):
            u, v = self._power_iteration(jax.lax.stop_gradient(matrix), u, v, self.iterations)
            replace_buffer(self.u.value, u, 1.0)
            replace_buffer(self.v.value, v, 1.0)
        sigma = v @ matrix @ u
        sigma = jnp.where(jnp.abs(sigma) > float(self.eps), sigma, jnp.ones_like(sigma))
        weight = self.layer.weight  # type: ignore[attr-defined]
        return self.layer.replace(weight=(wide(weight) / sigma).astype(weight.dtype))(x, key=key)  # type: ignore[operator]

    def _power_iteration(self, matrix: Array, u: Array, v: Array, steps: int) -> tuple[Array, Array]:
        for _ in range(steps):
            u = self._normalize(v @ matrix, u)
            v = self._normalize(matrix @ u, v)
        return u, v

    def _normalize(self, a: Array, previous: Array) -> Array:
        """`a` scaled to norm 1; `previous` if its norm is zero, from which the iteration can't recover."""
        norm = jnp.linalg.norm(a)
        return jnp.where(norm > float(self.eps), a / jnp.maximum(norm, float(self.eps)), previous)


def _matrix(layer: Any) -> Array:
    """The weight as a matrix [all other axes, last axis]; a vector becomes one column."""
    weight = wide(layer.weight)
    return weight.reshape(-1, weight.shape[-1] if weight.ndim > 1 else 1)
