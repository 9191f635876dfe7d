from dataclasses import KW_ONLY
from typing import Any

import jax.numpy as jnp

from funcnet import _check, _keys
from funcnet._module import Module
from funcnet._types import Array, Key


class Bidirectional(Module):
    """Two recurrent layers in opposite directions: [forward(x) | reverse(backward(reverse(x)))].

    Args:
        forward: a layer from [..., time, in] to [..., time, features], such as a GRU.
        backward: the layer that reads the sequence from its end. If None, a layer of the same
            architecture with its own parameters.

    Returns:
        When called on x of shape [..., time, in]: [..., time, 2 * features]. If the layers have
        `return_sequences=False`, each one's output at the last step that it reads, [..., 2 * features], as
        in Keras; that is the first step for the backward layer. `length`, integers
        [...], is the number of steps of each sequence, and `mask`, bool [..., time], is False at steps
        that both layers skip, as for `GRU`: the backward layer starts at the last step of a sequence.
        `unroll(x, state, length=length)` returns the outputs and the pair of final states, (forward,
        backward); `state` is such a pair.

    Raises:
        TypeError: if `forward` or `backward` is not a module, if `key` is not a key, or if there is a mask
            or a length and one of them takes no mask.
        ValueError: if `forward` is initialized already and `backward` is None: both would start with the
            same parameters; if they differ in `return_sequences`; or if `mask` or `length` is wrong, as
            for `GRU`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> layer = fn.layers.Bidirectional(fn.layers.GRU(2, 5)).init(jax.random.key(0))
        >>> x = jnp.ones((3, 7, 2))
        >>> layer(x).shape
        (3, 7, 10)
        >>> outputs, (forward, backward) = layer.unroll(x, length=jnp.array([7, 4, 1]))  # padded at the end
        >>> bool(jnp.allclose(outputs[1, :4], layer(x[1, :4]), atol=1e-6)), backward.shape
        (True, (3, 5))

    Source: Schuster, Paliwal, "Bidirectional recurrent neural networks", 1997.
    """

    forward: Module
    _: KW_ONLY
    backward: Module | None = None

    def __post_init__(self) -> None:
        _check.module("forward", self.forward)
        if self.backward is None:
            _check.architecture_only("forward", self.forward)
            object.__setattr__(self, "backward", self.forward)
        _check.module("backward", self.backward)
        if _returns_sequences(self.forward) != _returns_sequences(self.backward):
            raise ValueError(
                "forward and backward must have the same return_sequences, got "
                f"{_returns_sequences(self.forward)} and {_returns_sequences(self.backward)}. Try "
                "fn.layers.Bidirectional(fn.layers.GRU(2, 5, return_sequences=False))."
            )

    def __call__(
        self,
        x: Array,
        key: Key | None = None,
        *,
        mask: Array | None = None,
        length: Array | None = None,
    ) -> Array:
        _check.key_by_place(key, "layer(x, length=lengths) or layer.unroll(x, (forward, backward))")
        first, second = _keys.split(key)
        x, masks = self._both_masks(x, mask, length)
        forward = self.forward(x, key=first, **masks[0])  # type: ignore[operator]
        backward = self.backward(jnp.flip(x, -2), key=second, **masks[1])  # type: ignore[misc, operator]
        if not _returns_sequences(self.forward):
            return jnp.concatenate([forward, backward], axis=-1)
        if forward.ndim != x.ndim:
            raise ValueError(
                f"forward must return a sequence, [..., time, features], got {forward.shape} for x of "
                f"shape {x.shape}. A layer inside another one can't have return_sequences=False."
            )
        return _concatenate(forward, backward)

    def unroll(
        self,
        x: Array,
        state: tuple[Any, Any] | None = None,
        *,
        mask: Array | None = None,
        length: Array | None = None,
    ) -> tuple[Array, tuple[Any, Any]]:
        """The outputs of all steps, and the final states of the forward and the backward layer."""
        for name in ("forward", "backward"):
            _check.method(name, getattr(self, name), "unroll", "a GRU or an LSTM")
        x, masks = self._both_masks(x, mask, length)
        states = (None, None) if state is None else _check.pair("state", state, "(forward, backward)")
        layers: Any = self.forward, self.backward
        forward, last = layers[0].unroll(x, states[0], **masks[0])
        backward, first = layers[1].unroll(jnp.flip(x, -2), states[1], **masks[1])
        return _concatenate(forward, backward), (last, first)

    def _both_masks(
        self, x: Array, mask: Array | None, length: Array | None
    ) -> tuple[Array, tuple[dict[str, Any], ...]]:
        """x as an array, and the masks of both layers as keyword arguments; none without a mask."""
        x = _check.rank("Bidirectional", x, 2, "time, features")
        mask = _check.steps(mask, length, x.shape[:-1])
        if mask is None:
            return x, ({}, {})
        for name in ("forward", "backward"):
            _check.argument(name, getattr(self, name), "mask", "a GRU or an LSTM")
        return x, ({"mask": mask}, {"mask": jnp.flip(mask, -1)})


def _returns_sequences(layer: Any) -> bool:
    return bool(getattr(layer, "return_sequences", True))


def _concatenate(forward: Array, backward: Array) -> Array:
    return jnp.concatenate([forward, jnp.flip(backward, -2)], axis=-1)
