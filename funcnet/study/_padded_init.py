"""The initial models of MLPs of several sizes, padded to one shape, from one program for all sizes."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _keys
from funcnet._module import Buffer
from funcnet._types import Array, Key
from funcnet.layers._linear import Initializer, draw_weight
from funcnet.models import MLP
from funcnet.study._padded import PaddedMLP, hidden_widths, layer_shapes

VARIANCES = {
    "lecun": lambda inner, outer: 1 / inner,
    "he": lambda inner, outer: 2 / inner,
    "glorot": lambda inner, outer: 2 / (inner + outer),
}
"""The variance of a weight [in, out], by the scheme of its initializer."""


def init_padded(nets: Sequence[MLP], keys: Key, like: PaddedMLP) -> PaddedMLP:
    """`net.init(key)` for each network and each key, in the layers of `like`: [nets, keys, ...].

    To compile the draws of one weight takes longer than to train a small network, so the weights of all
    layers and networks are drawn by one program. It relies on a property of JAX's keys: the first numbers
    of a draw do not depend on how many are drawn. Each weight [in, out] is thus the first in * out numbers
    of one long draw of variance 1, times a scale. Weights of other initializers are drawn shape by shape.
    """
    layers = [
        np.zeros((len(nets), len(keys), *shape), np.dtype(jnp.zeros(()).dtype)) for shape in like.shapes
    ]
    # [layers, keys]: the keys that `init` derives by the path of each layer
    layer_keys = [
        jax.vmap(functools.partial(_keys.fold_in_name, name=f"layers[{i}]"))(keys)
        for i in range(len(layers))
    ]
    groups: dict[str, list[tuple[int, int, tuple[int, int], float]]] = {}
    for index, net in enumerate(nets):
        for i, (layer, shape) in enumerate(zip(net.layers, layer_shapes(net), strict=True)):  # type: ignore[arg-type]
            unit = _unit_draw(layer.weight_init, shape, keys)
            if unit is None:
                draw = jax.vmap(functools.partial(draw_weight, layer.weight_init, shape=shape))
                layers[i][index, :, : shape[0], : shape[1]] = draw(layer_keys[i])
            else:
                groups.setdefault(unit[0], []).append((index, i, shape, unit[1]))
    for name, parts in groups.items():
        stacked = jnp.stack([layer_keys[i] for _, i, _, _ in parts])
        shapes = np.array([shape for *_, shape, _ in parts], np.int32)
        scales = np.array([scale for *_, scale in parts])
        size = int(shapes.prod(axis=1).max())
        largest = tuple(shapes.max(axis=0).tolist())
        weights = np.asarray(_draw(name, size, largest, stacked, shapes, scales))
        for weight, (index, i, (inner, outer), _) in zip(weights, parts, strict=True):
            layers[i][index, :, :inner, :outer] = weight[:, :inner, :outer]
    lead = len(nets), len(keys)
    modules = tuple(
        layer._copy({"weight": jnp.asarray(weight), "bias": jnp.zeros((*lead, *shape[1:]))})
        for layer, weight, shape in zip(like.layers, layers, like.shapes, strict=True)  # type: ignore[arg-type]
    )
    widths = jnp.array([hidden_widths(net, like) for net in nets], jnp.int32)
    widths = jnp.broadcast_to(widths[:, None], (*lead, widths.shape[1]))
    return like._copy({"layers": modules, "widths": Buffer(widths)})


def _unit_draw(init: Initializer, shape: tuple[int, int], keys: Key) -> tuple[str, float] | None:
    """An initializer whose draw for one input has variance 1, and the scale of a weight; or None."""
    scheme, _, distribution = init.rpartition("_") if isinstance(init, str) else ("", "", "")
    is_threefry = str(jax.random.key_impl(keys)) == "threefry2x32"
    has_prefixes = is_threefry and jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    if distribution not in ("normal", "uniform") or not has_prefixes:
        return None
    if not scheme:
        return distribution, 1.0
    return f"lecun_{distribution}", VARIANCES[scheme](*shape) ** 0.5


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _draw(name: str, size: int, largest: tuple[int, int], keys: Key, shapes: Array, scales: Array) -> Array:
    """For each layer its weights, in the corner of arrays [layers, keys, *largest].

    Args:
        name: the initializer of the long draw.
        size: how many numbers are drawn for each key.
        largest: the shape that every weight fits into.
        keys: [layers, keys].
        shapes: (in, out) of each layer, [layers, 2].
        scales: [layers].
    """
    row, column = jnp.arange(largest[0])[:, None], jnp.arange(largest[1])[None, :]

    def of_layer(layer: tuple[Key, Array, Array]) -> Array:
        keys, shape, scale = layer
        index = jnp.minimum(row * shape[1] + column, size - 1)
        return jax.vmap(lambda key: draw_weight(name, key, (1, size))[0][index] * scale)(keys)

    return jax.lax.map(of_layer, (keys, shapes, jnp.asarray(scales, float)))
