"""The network of the estimators: embedded numbers and categories, scaled features, an MLP."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from funcnet._types import Array, Key
from funcnet.tabular._activations import ACTIVATIONS, cos_turns
from funcnet.tabular._random_bits import hash_counters, random_bits

FREQUENCIES, NUMBER_SIZE, CATEGORY_SIZE = 16, 3, 8
"""Periodic features of a number, and the size of the embedding of a number and of a category."""

Parameters = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Network:
    """The sizes of a network; numbers, others, codes and vocabulary are rounded up and padded.

    Args:
        numbers: columns of numbers, each embedded.
        others: columns that enter as they are.
        codes: columns of embedded categories.
        vocabulary: rows of their embedding table.
        hidden: units of each hidden layer.
        outputs: number of outputs.
        activation: a name in `ACTIVATIONS`.
    """

    numbers: int
    others: int
    codes: int
    vocabulary: int
    hidden: tuple[int, ...]
    outputs: int
    activation: str

    def input_mask(self, numbers: int, others: int, codes: int) -> list[float]:
        """1 for each input of the first layer that comes from a column, 0 for one of the padding."""
        blocks = (
            (numbers, self.numbers, 1 + NUMBER_SIZE),
            (others, self.others, 1),
            (codes, self.codes, CATEGORY_SIZE),
        )
        return [1.0 * (i < size * width) for size, padded, width in blocks for i in range(padded * width)]


def init_parameters(net: Network, key: Key) -> Parameters:
    """Draw the parameters. Those of a column are the same for any padding.

    Weights are drawn from N(0, 1) and divided by √inputs when they are applied (neural tangent
    parametrisation, Jacot et al. 2018), so that one learning rate serves all layers.
    """
    draw = dict(zip(_DRAWN, jax.random.split(key, len(_DRAWN)), strict=True))
    normal = jax.random.normal
    width = net.hidden[0] if net.hidden else net.outputs
    blocks = [
        normal(draw["from_numbers"], (net.numbers, 1 + NUMBER_SIZE, width)),
        normal(draw["from_others"], (net.others, width)),
        normal(draw["from_codes"], (net.codes, CATEGORY_SIZE, width)),
    ]
    weights = [jnp.concatenate([block.reshape(-1, width) for block in blocks])]
    sizes = (*net.hidden, net.outputs)
    for i in range(1, len(sizes)):
        weights.append(normal(jax.random.fold_in(draw["weights"], i), (sizes[i - 1], sizes[i])))
    parameters = {f"weight_{i}": weight for i, weight in enumerate(weights)}
    for i, size in enumerate(net.hidden):
        parameters[f"bias_{i}"] = normal(jax.random.fold_in(draw["biases"], i), (size,))
        parameters[f"mixture_{i}"] = jnp.ones(size)
    parameters[f"bias_{len(net.hidden)}"] = jnp.zeros(net.outputs)
    parameters["scale"] = jnp.ones(len(weights[0]))
    if net.numbers:
        shape, turn = (net.numbers, FREQUENCIES), 0.5
        parameters["frequency"] = 0.1 * normal(draw["frequency"], shape)
        parameters["phase"] = jax.random.uniform(draw["phase"], shape, minval=-turn, maxval=turn)
        bound = FREQUENCIES**-0.5
        shape = (net.numbers, FREQUENCIES, NUMBER_SIZE)
        parameters["mix"] = jax.random.uniform(draw["mix"], shape, minval=-bound, maxval=bound)
        parameters["shift"] = jnp.zeros((net.numbers, NUMBER_SIZE))
    if net.codes:
        parameters["embedding"] = normal(draw["embedding"], (net.vocabulary, CATEGORY_SIZE))
    return parameters


_DRAWN = (
    *("from_numbers", "from_others", "from_codes", "weights", "biases"),
    *("frequency", "phase", "mix", "embedding"),
)


def apply_network(
    net: Network,
    parameters: Mapping[str, Array],
    inputs: tuple[Array, Array, Array],
    mask: Array,
    dropout: Array | None = None,
    seed: Array | None = None,
) -> Array:
    """The outputs [rows, outputs] for numbers, others and codes of [rows, columns].

    Args:
        net: the sizes.
        parameters: from `init_parameters`.
        inputs: numbers, others and codes, padded.
        mask: [inputs of the first layer], from `Network.input_mask`.
        dropout: the probability of dropping a hidden unit; no dropout if None.
        seed: uint32 that chooses the dropped units.
    """
    h = _embed(net, parameters, inputs) * (parameters["scale"] * mask)[None]
    h = _linear(parameters, 0, h, mask.sum())
    act = ACTIVATIONS[net.activation]
    for i in range(len(net.hidden)):
        h = h + parameters[f"mixture_{i}"][None] * (act(h) - h)
        if dropout is not None:
            bits = random_bits(h.shape, hash_counters(seed, i))
            dropped = bits < (dropout * 4294967040.0).astype(jnp.uint32)
            h = jnp.where(dropped, 0.0, h / (1 - dropout))
        h = _linear(parameters, i + 1, h, jnp.float32(h.shape[1]))
    return h


def _linear(parameters: Mapping[str, Array], i: int, h: Array, size: Array) -> Array:
    return (h @ parameters[f"weight_{i}"]) * jax.lax.rsqrt(size) + parameters[f"bias_{i}"][None]


def _embed(net: Network, parameters: Mapping[str, Array], inputs: tuple[Array, Array, Array]) -> Array:
    """The inputs of the first layer: numbers with their embeddings, other columns, embedded categories.

    A number's embedding is linear in cosines with learned frequencies and phases (PBLD: Gorishniy et al.,
    "On embeddings for numerical features in tabular deep learning", 2022, in the variant of RealMLP).
    """
    numbers, others, codes = inputs
    parts = [others]
    if net.numbers:
        turns = numbers[:, :, None] * parameters["frequency"][None] + parameters["phase"][None]
        embedding = jnp.einsum("npk,pkd->npd", cos_turns(turns), parameters["mix"])
        embedding = embedding + parameters["shift"][None]
        parts.insert(0, jnp.concatenate([numbers[:, :, None], embedding], -1).reshape(len(numbers), -1))
    if net.codes:
        parts.append(parameters["embedding"][codes].reshape(len(codes), -1))
    return jnp.concatenate(parts, axis=1)
