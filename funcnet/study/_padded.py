"""MLPs of several sizes in one shape: each in the layers of a larger one, with zeros beyond its entries."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _keys
from funcnet._module import Buffer, Module
from funcnet._types import Array, Key, PyTree
from funcnet.layers import Linear
from funcnet.layers._dropout import with_rate
from funcnet.layers._linear import Size
from funcnet.models import MLP


class PaddedMLP(Module):
    """An MLP in the layers of a larger one, which computes the numbers of the MLP alone.

    Layer i of the MLP is in the first rows and columns of layer i; all other entries are zero. Hidden units
    beyond the MLP's own are set to zero after the activation, and its output is read from the last layer
    that it has. So no loss depends on an entry of the padding, whose gradient is exactly zero.

    Args:
        shapes: (in, out) of each layer: the largest of all MLPs that share this shape.
        out_features, activation, dropout: as for `MLP`.
        min_layers: the fewest layers of an MLP that shares this shape.
        layers: the linear layers, built from `shapes` if None.
        widths: the hidden units after each layer but the last, int32; 0 beyond the MLP's last layer.
    """

    shapes: tuple[tuple[int, int], ...]
    out_features: Size
    _: KW_ONLY
    activation: Callable[[Array], Array]
    dropout: float
    min_layers: int
    layers: tuple[Linear, ...] | None = None
    widths: Buffer | None = None

    def __post_init__(self) -> None:
        if self.layers is None:
            object.__setattr__(self, "layers", tuple(Linear(*shape) for shape in self.shapes))

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        layers: Any = self.layers
        widths: Array = self.widths.value  # type: ignore[union-attr]
        last = jnp.sum(widths > 0)  # the index of the MLP's last layer
        num_outputs = 1 if self.out_features == "scalar" else self.out_features
        drop = with_rate(self.dropout)
        output: Any = None
        for i, layer in enumerate(layers):
            x = layer(x if i == 0 else x[..., : layer.in_features])
            if i + 1 >= self.min_layers:
                y = x[..., :num_outputs]
                output = y if output is None else jnp.where(i == last, y, output)
            if i + 1 < len(layers):
                x = drop(self.activation(x), key=_keys.fold_in(key, i))
                is_own = jnp.broadcast_to(jnp.arange(x.shape[-1]) < widths[i], x.shape)
                x = jnp.where(is_own, x, jnp.zeros_like(x))
        return output[..., 0] if self.out_features == "scalar" else output


def common_shape(nets: Sequence[MLP]) -> PaddedMLP:
    """The smallest `PaddedMLP`, without arrays, that each of the networks fits into."""
    layers = [layer_shapes(net) for net in nets]
    shapes = []
    for i in range(max(map(len, layers))):
        inner, outer = zip(*(own[i] for own in layers if i < len(own)), strict=True)
        shapes.append((max(inner), max(outer)))
    return PaddedMLP(
        tuple(shapes),
        nets[0].sizes[-1],
        activation=nets[0].activation,
        dropout=nets[0].dropout,  # type: ignore[arg-type]
        min_layers=min(map(len, layers)),
    )


def layer_shapes(net: MLP) -> list[tuple[int, int]]:
    """(in, out) of each layer."""
    sizes = [1 if size == "scalar" else size for size in net.sizes]
    return list(itertools.pairwise(sizes))


def hidden_widths(net: MLP, like: PaddedMLP) -> list[int]:
    """The hidden units after each layer of `like` but the last; 0 beyond the last layer of `net`."""
    hidden = [outer for _, outer in layer_shapes(net)[:-1]]
    return hidden + [0] * (len(like.shapes) - 1 - len(hidden))


def pad(model: MLP, net: MLP, like: PaddedMLP) -> PaddedMLP:
    """A model of the architecture `net`, or its gradient, in the layers of `like`."""
    layers: list[Linear] = []
    for i, layer in enumerate(like.layers):  # type: ignore[arg-type]
        own = model.layers[i] if i < len(net.layers) else None  # type: ignore[index,arg-type]
        inner, outer = layer_shapes(net)[i] if own is not None else (0, 0)
        weight, bias = jnp.zeros(like.shapes[i]), jnp.zeros(like.shapes[i][1:])
        if own is not None:
            weight = weight.at[:inner, :outer].set(own.weight.reshape(inner, outer))  # type: ignore[union-attr]
            bias = bias.at[:outer].set(own.bias.reshape(outer))  # type: ignore[union-attr]
        layers.append(layer._copy({"weight": weight, "bias": bias}))
    widths = Buffer(jnp.array(hidden_widths(net, like), jnp.int32))
    return like._copy({"layers": tuple(layers), "widths": widths})


def unpad(tree: PyTree, net: MLP) -> PyTree:
    """A tree in which each `PaddedMLP` is replaced by the MLP in it, of the architecture `net`.

    It may hold a model, gradients, or what an optimizer keeps for each parameter; leaves that do not have
    the shape of the padded parameter, such as one number for each layer, are unchanged.
    """

    def is_padded(node: Any) -> bool:
        return isinstance(node, PaddedMLP)

    return jax.tree.map(lambda node: _cut(node, net) if is_padded(node) else node, tree, is_leaf=is_padded)


def _cut(padded: PaddedMLP, net: MLP) -> MLP:
    struct = jax.eval_shape(net.init, jax.random.key(0))
    leaves: list[Any] = []
    leaf: Any
    for layer, own, shape in zip(padded.layers, struct.layers, padded.shapes, strict=False):  # type: ignore[arg-type]
        for leaf, like, whole in ((layer.weight, own.weight, shape), (layer.bias, own.bias, shape[1:])):
            if getattr(leaf, "shape", None) == whole:
                # A scalar output is a column of the padded layer, and no axis of the MLP's own.
                sides = like.shape if len(like.shape) == len(whole) else (*like.shape, 1)
                leaf = leaf[tuple(map(slice, sides))].reshape(like.shape)
            leaves.append(leaf)
    return jax.tree.unflatten(jax.tree.structure(struct), leaves)
