"""The network of the estimators: embedded numbers and categories, scaled features, an MLP."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet._types import Array
from funcnet.tabular._activations import ACTIVATIONS, cos_turns
from funcnet.tabular._random_bits import hash_counters, random_bits
from funcnet.tabular._sizes import pad

FREQUENCIES, CATEGORY_SIZE = 16, 8
"""Periodic features of a number, and the size of the embedding of a category."""

Parameters = dict[str, Array]


class Columns(NamedTuple):
    """How many columns of each kind a table has, without padding."""

    numbers: int
    others: int
    codes: int
    vocabulary: int


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
        number_size: size of the embedding of a number beside the number itself; 0 for none.
    """

    numbers: int
    others: int
    codes: int
    vocabulary: int
    hidden: tuple[int, ...]
    outputs: int
    activation: str
    number_size: int = 3

    @property
    def inputs(self) -> int:
        """Inputs of the first layer, with padding."""
        return self.numbers * (1 + self.number_size) + self.others + self.codes * CATEGORY_SIZE

    def input_mask(self, columns: Columns) -> np.ndarray:
        """float32: 1 for each input of the first layer that comes from a column, 0 for the padding."""
        blocks = (
            (columns.numbers, self.numbers, 1 + self.number_size),
            (columns.others, self.others, 1),
            (columns.codes, self.codes, CATEGORY_SIZE),
        )
        inside = [np.arange(padded * width) < size * width for size, padded, width in blocks]
        return np.concatenate(inside).astype(np.float32)


def init_parameters(
    net: Network, columns: Columns, unknown: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw the parameters of the columns of a table, float32, and pad them with zeros.

    The rows `unknown` of the embedding table begin as zeros: one that no training row has stays so, where a
    random one would add noise to the predictions.

    Weights are drawn from N(0, 1) and divided by √inputs when they are applied (neural tangent
    parametrisation, Jacot et al. 2018), so that one learning rate serves all layers. They are drawn by
    NumPy: inside the compiled program, the same would take a second to compile.
    """

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    width = net.hidden[0] if net.hidden else net.outputs
    blocks = [
        pad(normal(columns.numbers, 1 + net.number_size, width), net.numbers).reshape(-1, width),
        pad(normal(columns.others, width), net.others),
        pad(normal(columns.codes, CATEGORY_SIZE, width), net.codes).reshape(-1, width),
    ]
    sizes = (*net.hidden, net.outputs)
    parameters = {"weight_0": np.concatenate(blocks)}
    parameters["scale"] = np.ones(len(parameters["weight_0"]), np.float32)
    for i in range(1, len(sizes)):
        parameters[f"weight_{i}"] = normal(sizes[i - 1], sizes[i])
    for i, size in enumerate(net.hidden):
        parameters[f"bias_{i}"] = normal(size)
        parameters[f"mixture_{i}"] = np.ones(size, np.float32)
    parameters[f"bias_{len(net.hidden)}"] = np.zeros(net.outputs, np.float32)
    if net.numbers and net.number_size:
        n, bound = columns.numbers, FREQUENCIES**-0.5
        phase = rng.uniform(-0.5, 0.5, (n, FREQUENCIES)).astype(np.float32)
        mix = rng.uniform(-bound, bound, (n, FREQUENCIES, net.number_size)).astype(np.float32)
        parameters["frequency"] = pad(np.float32(0.1) * normal(n, FREQUENCIES), net.numbers)
        parameters["phase"] = pad(phase, net.numbers)
        parameters["mix"] = pad(mix, net.numbers)
        parameters["shift"] = np.zeros((net.numbers, net.number_size), np.float32)
    if net.codes:
        embedding = normal(columns.vocabulary, CATEGORY_SIZE)
        embedding[unknown] = 0
        parameters["embedding"] = pad(embedding, net.vocabulary)
    return parameters


def pack(parameters: Mapping[str, Any], xp: Any) -> Parameters:
    """The weights as they are, and all other parameters in one vector "rest".

    A step then updates a handful of arrays instead of twenty, which halves the time to compile it.
    """
    weights = {name: value for name, value in parameters.items() if name.startswith("weight_")}
    rest = [parameters[name].reshape(-1) for name in sorted(parameters) if name not in weights]
    return weights | {"rest": xp.concatenate(rest)}


def unpack(net: Network, packed: Parameters) -> Parameters:
    """All parameters by name: the inverse of `pack`."""
    parameters, start = {name: value for name, value in packed.items() if name != "rest"}, 0
    for name, shape in sorted(_small_shapes(net).items()):
        size = math.prod(shape)
        parameters[name] = packed["rest"][start : start + size].reshape(shape)
        start += size
    return parameters


def packed_shapes(net: Network) -> dict[str, tuple[int, ...]]:
    """The shape of each array of `pack`."""
    sizes = itertools.pairwise((net.inputs, *net.hidden, net.outputs))
    rest = sum(math.prod(shape) for shape in _small_shapes(net).values())
    return {f"weight_{i}": pair for i, pair in enumerate(sizes)} | {"rest": (rest,)}


def _small_shapes(net: Network) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"scale": (net.inputs,), f"bias_{len(net.hidden)}": (net.outputs,)}
    for i, size in enumerate(net.hidden):
        shapes |= {f"bias_{i}": (size,), f"mixture_{i}": (size,)}
    if net.numbers and net.number_size:
        shapes |= dict.fromkeys(("frequency", "phase"), (net.numbers, FREQUENCIES))
        shapes |= {
            "mix": (net.numbers, FREQUENCIES, net.number_size),
            "shift": (net.numbers, net.number_size),
        }
    if net.codes:
        shapes["embedding"] = (net.vocabulary, CATEGORY_SIZE)
    return shapes


def apply_network(
    net: Network,
    parameters: Mapping[str, Array],
    inputs: tuple[Array, Array, Array],
    mask: Array,
    dropout: Array | None = None,
    seed: Array | int = 0,
) -> Array:
    """The outputs [rows, outputs] for numbers, others and codes of [rows, columns].

    Args:
        net: the sizes.
        parameters: by name, as `unpack` returns them.
        inputs: numbers, others and codes, padded.
        mask: [inputs of the first layer], from `Network.input_mask`.
        dropout: the probability of dropping a hidden unit; no dropout if None.
        seed: uint32 that chooses the dropped units.
    """
    h = _embed(net, parameters, inputs) * (parameters["scale"] * mask)[:, None]
    h = _linear(parameters, 0, h.T, jnp.maximum(mask.sum(), 1.0))
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
    """The inputs of the first layer [inputs, rows]: numbers with their embeddings, others, categories.

    A number's embedding is linear in cosines with learned frequencies and phases (PBLD: Gorishniy et al.,
    "On embeddings for numerical features in tabular deep learning", 2022, in the variant of RealMLP).
    Rows are the last axis, and the turns a product of [frequency, phase] with [number, 1]: all loops then
    run along rows, which makes a step of 60 numbers on a CPU a fifth faster.
    """
    numbers, others, codes = inputs
    parts = [others.T]
    if net.numbers and not net.number_size:
        parts.insert(0, numbers.T)
    elif net.numbers:
        x = numbers.T[:, None]
        lines = jnp.stack([parameters["frequency"], parameters["phase"]], axis=-1)
        points = jnp.concatenate([x, jnp.ones_like(x)], axis=1)
        turns = jnp.einsum("pkc,pcn->pkn", lines, points, precision=jax.lax.Precision.HIGHEST)
        embedding = jnp.einsum("pkn,pkd->pdn", cos_turns(turns), parameters["mix"])
        embedding = embedding + parameters["shift"][:, :, None]
        parts.insert(0, jnp.concatenate([x, embedding], axis=1).reshape(-1, len(numbers)))
    if net.codes:
        parts.append(parameters["embedding"][codes].reshape(len(codes), -1).T)
    return jnp.concatenate(parts, axis=0)
