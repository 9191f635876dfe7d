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
    """A gated recurrent unit (GRU), applied along a sequence.

    With the logistic function σ and the elementwise product ⊙, for one step x and the state h:

        r = σ(x W_r + b_r + h U_r + c_r)
        z = σ(x W_z + b_z + h U_z + c_z)
        n = tanh(x W_n + b_n + r ⊙ (h U_n + c_n))
        h ← (1 - z) ⊙ n + z ⊙ h

    These are PyTorch's equations: the reset gate r is applied after the product with U_n, and there are two
    biases. W = [W_r | W_z | W_n] and b are those of `input`, U and c those of `recurrent`.

    Args:
        in_features: size of the last axis of the input.
        features: size of the state.
        input: Linear(in_features, 3 * features) with biases of zero. Built if None.
        recurrent: Linear(features, 3 * features) with an orthogonal matrix for each gate. Built if None.
        scan_unroll: number of steps in one iteration of the compiled loop, `unroll` of `jax.lax.scan`. More
            take longer to compile and may run faster; the result is the same up to rounding.
        return_sequences: whether a call returns the output of each step; if False, that of the last step
            of each sequence, as in Keras.

    Returns:
        When called on x of shape [..., time, in_features]: the state after each step,
        [..., time, features]. With `return_sequences=False` it is the state after the last step of each
        sequence, [..., features]; `outputs[..., -1, :]` would be that of the padding, 0. The argument
        `state`, [..., features], is the state before the first step; zero by default. `length`, integers
        [...], is the number of steps of each sequence: what is padded after them has no effect and no
        gradient, may be NaN, and its output is 0, as with PyTorch's packed sequences. `mask`, bool
        [..., time], does the same for steps anywhere: it is False at those to skip. The state passes them
        unchanged. `unroll(x, state, length=length)` returns the outputs of all steps and the final state,
        that after the last step of each sequence. Under tracing (inside `jit`, `fit`), where the lengths
        can't be checked, one below 1 skips all steps, and one above `time` none.

    Raises:
        ValueError: if a size is below 1, or x, `state`, `mask` or `length` has the wrong shape, a length is
            not in 1 .. time, or both `mask` and `length` are given.
        TypeError: if the mask is not boolean, the lengths are not integers, or `key` is not a key.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> layer = fn.layers.GRU(2, 5).init(jax.random.key(0))
        >>> x = jnp.ones((3, 7, 2))
        >>> first, state = layer.unroll(x[:, :4])
        >>> rest = layer(x[:, 4:], state=state)
        >>> bool(jnp.allclose(layer(x), jnp.concatenate([first, rest], axis=1), atol=1e-6))
        True
        >>> outputs, state = layer.unroll(x, length=jnp.array([7, 4, 1]))  # sequences padded at their ends
        >>> bool(jnp.allclose(state[1], first[1, -1], atol=1e-6)), outputs[1, 4:].any().item()
        (True, False)
        >>> last = layer.replace(return_sequences=False)
        >>> bool((last(x, length=jnp.array([7, 4, 1])) == state).all())  # for a classifier of sequences
        True

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014; Saxe,
    McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning", 2014 (orthogonal start).
    """

    in_features: int
    features: int
    _: KW_ONLY
    input: Linear | None = None
    recurrent: Linear | None = None
    scan_unroll: int = 1
    return_sequences: bool = True

    def __post_init__(self) -> None:
        _build_gates(self, gates=3, use_bias=True)

    def __call__(
        self,
        x: Array,
        key: Key | None = None,
        *,
        state: Array | None = None,
        mask: Array | None = None,
        length: Array | None = None,
    ) -> Array:
        _check.key_by_place(key, "layer(x, state=h) or layer(x, length=lengths)")
        outputs, last = self.unroll(x, state, mask=mask, length=length)
        return outputs if self.return_sequences else last

    def unroll(
        self,
        x: Array,
        state: Array | None = None,
        *,
        mask: Array | None = None,
        length: Array | None = None,
    ) -> tuple[Array, Array]:
        """The outputs of all steps, and the state after the last step that is not masked."""
        x = _check.sequence(f"GRU({self.in_features}, {self.features})", x, self.in_features)
        x, mask = _mask_input(x, mask, length)
        rows: Array = self.input(x)  # type: ignore[misc]

        def step(h: Array, row: Array) -> tuple[Array, Array]:
            r_x, z_x, n_x = jnp.split(row, 3, axis=-1)
            r_h, z_h, n_h = jnp.split(self.recurrent(h), 3, axis=-1)  # type: ignore[misc]
            r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
            h = (1 - z) * jnp.tanh(n_x + r * n_h) + z * h
            return h, h

        return _scan_length(
            step, _initial_state("state", state, rows, self.features), rows, mask, self.scan_unroll
        )


class LSTM(Module):
    """Long short-term memory (LSTM), applied along a sequence.

    With the logistic function σ and the elementwise product ⊙, for one step x, the output h and the
    cell c:

        i, f, o = σ(x W_i + h U_i + b_i), σ(x W_f + h U_f + b_f), σ(x W_o + h U_o + b_o)
        g = tanh(x W_g + h U_g + b_g)
        c ← f ⊙ c + i ⊙ g
        h ← o ⊙ tanh(c)

    These are PyTorch's equations, with one bias in place of the sum of its two biases. The order of the
    gates is i, f, g, o: W = [W_i | W_f | W_g | W_o], and likewise for U and b.

    Args:
        in_features: size of the last axis of the input.
        features: size of h and of c.
        input: W, a Linear(in_features, 4 * features, use_bias=False). Built if None.
        recurrent: U, a Linear(features, 4 * features, use_bias=False) with an orthogonal matrix for each
            gate. Built if None.
        bias: [4 * features]. If None, `init` sets it to 1 for the forget gate and to 0 elsewhere.
        scan_unroll: number of steps in one iteration of the compiled loop, as for `GRU`.
        return_sequences: whether a call returns h after each step; if False, h after the last step of each
            sequence.

    Returns:
        When called on x of shape [..., time, in_features]: h after each step,
        [..., time, features], or after the last one, [..., features], as for `GRU`. The argument `state` is
        the pair (h, c) before the first step, each [..., features]; zero by default. `length`, integers
        [...], or `mask`, bool [..., time], says which steps are padding, as for `GRU`.
        `unroll(x, state, length=length)` returns the outputs of all steps and the pair (h, c) after the
        last step of each sequence.

    Raises:
        ValueError: if a size is below 1, or x, `state`, `mask` or `length` has the wrong shape, a length is
            not in 1 .. time, or both `mask` and `length` are given.
        TypeError: if the mask is not boolean, the lengths are not integers, `state` is not a pair, or `key`
            is not a key.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> layer = fn.layers.LSTM(2, 5).init(jax.random.key(0))
        >>> x = jnp.ones((3, 7, 2))
        >>> layer(x).shape, fn.count(layer)
        ((3, 7, 5), 160)
        >>> outputs, (h, c) = layer.unroll(x)  # (h, c): initial state for the next part of x
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
    scan_unroll: int = 1
    return_sequences: bool = True

    def __post_init__(self) -> None:
        _build_gates(self, gates=4, use_bias=False)

    def parameters(self, key: Key) -> Mapping[str, Array]:
        del key
        bias = jnp.zeros((4, self.features)).at[1].set(1)
        return {"bias": bias.ravel()}

    def __call__(
        self,
        x: Array,
        key: Key | None = None,
        *,
        state: tuple[Array, Array] | None = None,
        mask: Array | None = None,
        length: Array | None = None,
    ) -> Array:
        _check.key_by_place(key, "layer(x, state=(h, c)) or layer(x, length=lengths)")
        outputs, (last, _) = self.unroll(x, state, mask=mask, length=length)
        return outputs if self.return_sequences else last

    def unroll(
        self,
        x: Array,
        state: tuple[Array, Array] | None = None,
        *,
        mask: Array | None = None,
        length: Array | None = None,
    ) -> tuple[Array, tuple[Array, Array]]:
        """The outputs of all steps, and the pair (h, c) after the last step that is not masked."""
        x = _check.sequence(f"LSTM({self.in_features}, {self.features})", x, self.in_features)
        x, mask = _mask_input(x, mask, length)
        rows: Array = self.input(x)  # type: ignore[misc]
        rows = rows + jnp.broadcast_to(self.bias, rows.shape)  # type: ignore[arg-type]
        h, c = (None, None) if state is None else _check.pair("state", state, "(h, c)")

        def step(state: tuple[Array, Array], row: Array) -> tuple[tuple[Array, Array], Array]:
            h, c = state
            i, f, g, o = jnp.split(row + self.recurrent(h), 4, axis=-1)  # type: ignore[misc]
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        initial = (
            _initial_state("state[0]", h, rows, self.features),
            _initial_state("state[1]", c, rows, self.features),
        )
        return _scan_length(step, initial, rows, mask, self.scan_unroll)


def _build_gates(layer: Any, gates: int, use_bias: bool) -> None:
    """Check the sizes, and build the linear maps that are None."""
    _check.positive("in_features", layer.in_features)
    _check.positive("features", layer.features)
    _check.positive("scan_unroll", layer.scan_unroll)
    _check.boolean("return_sequences", layer.return_sequences)
    width = gates * layer.features
    if layer.input is None:
        object.__setattr__(layer, "input", Linear(layer.in_features, width, use_bias=use_bias))
    if layer.recurrent is None:
        recurrent = Linear(layer.features, width, use_bias=use_bias, weight_init=orthogonal_gates)
        object.__setattr__(layer, "recurrent", recurrent)


def _mask_input(x: Array, mask: Array | None, length: Array | None) -> tuple[Array, Array | None]:
    """x with zeros at the masked steps, whose values may be infinite or NaN, and the mask as an array."""
    mask = _check.steps(mask, length, x.shape[:-1])
    if mask is None:
        return x, None
    return jnp.where(jnp.broadcast_to(mask[..., None], x.shape), x, jnp.zeros_like(x)), mask


def _initial_state(name: str, state: Array | None, rows: Array, features: int) -> Array:
    shape = (*rows.shape[:-2], features)
    if state is None:
        return jnp.zeros(shape, rows.dtype)
    return _check.state(name, state, shape).astype(rows.dtype)


def _scan_length(
    step: Callable[..., Any], initial: Any, rows: Array, mask: Array | None, unroll: int
) -> tuple[Array, Any]:
    """The outputs of `step(state, row) -> (state, output)` along axis -2, and the last state.

    A masked step leaves the state as it is, and its output is 0.
    """
    if mask is None:
        last, outputs = jax.lax.scan(step, initial, jnp.moveaxis(rows, -2, 0), unroll=unroll)
        return jnp.moveaxis(outputs, 0, -2), last

    def masked_step(state: Any, row_and_mask: tuple[Array, Array]) -> tuple[Any, Array]:
        row, keep = row_and_mask
        new, output = step(state, row)
        keep = jnp.broadcast_to(keep[..., None], output.shape)
        kept = jax.tree.map(lambda new, old: jnp.where(keep, new, old), new, state)
        return kept, jnp.where(keep, output, jnp.zeros_like(output))

    steps = jnp.moveaxis(rows, -2, 0), jnp.moveaxis(mask, -1, 0)
    last, outputs = jax.lax.scan(masked_step, initial, steps, unroll=unroll)
    return jnp.moveaxis(outputs, 0, -2), last
