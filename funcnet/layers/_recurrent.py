from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Float, Key
from funcnet.layers._linear import Linear


def orthogonal_gates(key: Key, shape: tuple[int, int], dtype: Any) -> Array:
    """[features, gates * features]: an orthogonal matrix for each gate."""
    features, width = shape
    draw = jax.nn.initializers.orthogonal()
    keys = jax.random.split(key, width // features)
    return jnp.concatenate([draw(k, (features, features), dtype) for k in keys], axis=1)


class GRU(Module):
    """A gated recurrent unit, run along a sequence.

    With σ the logistic function and ⊙ the product entry by entry, for x of one step and the state h:

        r = σ(x W_r + b_r + h U_r + c_r)
        z = σ(x W_z + b_z + h U_z + c_z)
        n = tanh(x W_n + b_n + r ⊙ (h U_n + c_n))
        h ← (1 - z) ⊙ n + z ⊙ h

    These are PyTorch's equations: the reset gate r acts after the product with U_n, and there are two
    biases. W = [W_r | W_z | W_n] and b are those of `input`, U and c those of `recurrent`.

    Args:
        in_features: size of the last axis of the input.
        features: size of the state.
        input: Linear(in_features, 3 * features); biases start at zero.
        recurrent: Linear(features, 3 * features), started with an orthogonal matrix for each gate.

    Returns:
        When called on x of shape [..., length, in_features]: the state after each step,
        [..., length, features]. `state`, [..., features], is the one before the first; zero when left
        out. The last step's output is the state that goes on.

    Raises:
        ValueError: if a size is below 1, or x or `state` has another shape.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> layer = fn.layers.GRU(2, 5).init(jax.random.key(0))
        >>> x = jnp.ones((3, 7, 2))
        >>> first = layer(x[:, :4])
        >>> rest = layer(x[:, 4:], state=first[:, -1])
        >>> bool(jnp.allclose(layer(x), jnp.concatenate([first, rest], axis=1), atol=1e-6))
        True

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014; Saxe,
    McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning", 2014 (orthogonal start).
    """

    in_features: int
    features: int
    _: KW_ONLY
    input: Linear | None = None
    recurrent: Linear | None = None

    def __post_init__(self) -> None:
        _make_gates(self, gates=3, use_bias=True)

    def __call__(self, x: Array, key: Key | None = None, *, state: Array | None = None) -> Array:
        del key
        _check.sequence(f"GRU({self.in_features}, {self.features})", x, self.in_features)
        rows = self.input(x)  # type: ignore[misc]

        def step(h: Array, row: Array) -> tuple[Array, Array]:
            r_x, z_x, n_x = jnp.split(row, 3, axis=-1)
            r_h, z_h, n_h = jnp.split(self.recurrent(h), 3, axis=-1)  # type: ignore[misc]
            r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
            h = (1 - z) * jnp.tanh(n_x + r * n_h) + z * h
            return h, h

        return _along_length(step, _start("state", state, rows, self.features), rows)[0]


class LSTM(Module):
    """Long short-term memory, run along a sequence.

    With σ the logistic function and ⊙ the product entry by entry, for x of one step, the output h and
    the cell c:

        i, f, o = σ(x W_i + h U_i + b_i), σ(x W_f + h U_f + b_f), σ(x W_o + h U_o + b_o)
        g = tanh(x W_g + h U_g + b_g)
        c ← f ⊙ c + i ⊙ g
        h ← o ⊙ tanh(c)

    These are PyTorch's equations with one bias, its two added up: they never act apart. The gates stand
    in the order i, f, g, o: W = [W_i | W_f | W_g | W_o], and U and b likewise.

    Args:
        in_features: size of the last axis of the input.
        features: size of h and of c.
        input: Linear(in_features, 4 * features, use_bias=False), which holds W.
        recurrent: Linear(features, 4 * features, use_bias=False), U, started with an orthogonal matrix
            for each gate.
        bias: [4 * features], zero after `init` but for the forget gate's, which are 1.

    Returns:
        When called on x of shape [..., length, in_features]: h after each step,
        [..., length, features]. `state` is the pair (h, c) before the first, each [..., features]; zero
        when left out.

    Raises:
        ValueError: if a size is below 1, or x or `state` has another shape.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> layer = fn.layers.LSTM(2, 5).init(jax.random.key(0))
        >>> x = jnp.ones((3, 7, 2))
        >>> layer(x).shape, fn.count(layer)
        ((3, 7, 5), 160)
        >>> outputs, (h, c) = layer.unroll(x)  # where the next piece of a long sequence begins
        >>> layer(x, state=(h, c)).shape
        (3, 7, 5)

    Source: Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 9, 1997; Gers,
    Schmidhuber, Cummins, "Learning to forget", 2000 (the forget gate and its bias).
    """

    in_features: int
    features: int
    _: KW_ONLY
    input: Linear | None = None
    recurrent: Linear | None = None
    bias: Float[Array, " gates"] | None = None

    def __post_init__(self) -> None:
        _make_gates(self, gates=4, use_bias=False)

    def parameters(self, key: Key) -> Mapping[str, Array]:
        del key
        bias = jnp.zeros((4, self.features)).at[1].set(1)
        return {"bias": bias.ravel()}

    def __call__(
        self, x: Array, key: Key | None = None, *, state: tuple[Array, Array] | None = None
    ) -> Array:
        del key
        return self.unroll(x, state)[0]

    def unroll(
        self, x: Array, state: tuple[Array, Array] | None = None
    ) -> tuple[Array, tuple[Array, Array]]:
        """What a call gives, and the pair (h, c) after the last step."""
        _check.sequence(f"LSTM({self.in_features}, {self.features})", x, self.in_features)
        rows: Array = self.input(x)  # type: ignore[misc]
        rows = rows + jnp.broadcast_to(self.bias, rows.shape)  # type: ignore[arg-type]
        h, c = (None, None) if state is None else state

        def step(state: tuple[Array, Array], row: Array) -> tuple[tuple[Array, Array], Array]:
            h, c = state
            i, f, g, o = jnp.split(row + self.recurrent(h), 4, axis=-1)  # type: ignore[misc]
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        start = (_start("h", h, rows, self.features), _start("c", c, rows, self.features))
        return _along_length(step, start, rows)


def _make_gates(layer: Any, gates: int, use_bias: bool) -> None:
    """Check the sizes, and make the two linear maps that were left out."""
    _check.positive("in_features", layer.in_features)
    _check.positive("features", layer.features)
    width = gates * layer.features
    if layer.input is None:
        object.__setattr__(layer, "input", Linear(layer.in_features, width, use_bias=use_bias))
    if layer.recurrent is None:
        made = Linear(layer.features, width, use_bias=use_bias, weight_init=orthogonal_gates)
        object.__setattr__(layer, "recurrent", made)


def _start(name: str, state: Array | None, rows: Array, features: int) -> Array:
    shape = (*rows.shape[:-2], features)
    if state is None:
        return jnp.zeros(shape, rows.dtype)
    _check.state(name, state, shape)
    return jnp.asarray(state, rows.dtype)


def _along_length(step: Callable[..., Any], start: Any, rows: Array) -> tuple[Array, Any]:
    """The outputs of `step(state, row) -> (state, output)` along the axis -2, and the last state."""
    last, outputs = jax.lax.scan(step, start, jnp.moveaxis(rows, -2, 0))
    return jnp.moveaxis(outputs, 0, -2), last
