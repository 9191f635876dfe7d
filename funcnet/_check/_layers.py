"""Layers: sizes, inputs and parts."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet._check._arrays import jax_array
from funcnet._check._values import choice, describe, positive, takes

MAX_DEPTH = 10_000
"""More layers than this take minutes to trace; a million of them fill the memory before any array does."""


def size(name: str, value: Any) -> None:
    """Check that a value is a number of features, an integer of at least 1, or "scalar"."""
    if isinstance(value, str):
        if value != "scalar":
            raise ValueError(f'{name} must be an integer or "scalar", got {value!r}. Try {name}=10.')
        return
    positive(name, value)


def depth(name: str, value: Any) -> None:
    """Check that a value is a number of layers that can be built."""
    positive(name, value)
    if value > MAX_DEPTH:
        raise ValueError(f"{name} must be at most {MAX_DEPTH}, got {value}. Try {name}=10.")


def initializer(name: str, value: Any, names: Iterable[str]) -> None:
    """Check that a value is the name of an initializer, or a function."""
    if isinstance(value, str):
        choice(name, value, names)
    else:
        expected = (
            "the name of an initializer, such as 'he_normal', or a function (key, shape, dtype) -> array"
        )
        takes(name, value, expected, None, None, None)


def length(name: str, value: Any, expected: int) -> None:
    """Check that a tuple has the expected number of entries."""
    if len(value) != expected:
        raise ValueError(f"{name} must have {expected} entries, got {len(value)}: {value!r}.")


def layer_input(layer: str, x: Any) -> jax.Array:
    """Return the input of a layer as a JAX array of real numbers."""
    return jax_array(f"x of {layer}", x)


def rank(layer: str, x: Any, min_rank: int, axes: str) -> jax.Array:
    """Return the input of a layer as an array, and check that it has enough axes."""
    array = layer_input(layer, x)
    if array.ndim < min_rank:
        raise ValueError(
            f"{layer} expects an input [..., {axes}], got shape {array.shape}. One example has "
            f"{min_rank} axes, channels last: a grey image needs x[..., None], a flat row a reshape."
        )
    return array


def spatial(layer: str, x: Any, num_spatial_dims: int) -> jax.Array:
    """Return the input of a layer as an array, and check that its spatial axes are not empty."""
    array = rank(layer, x, num_spatial_dims + 1, f"{num_spatial_dims} spatial axes, channels")
    if 0 in array.shape[-num_spatial_dims - 1 : -1]:
        raise ValueError(
            f"{layer} expects an input with entries along each spatial axis, got shape {array.shape}."
        )
    return array


def module(name: str, value: Any) -> None:
    """Check that a value is a module, not a plain function or a class."""
    if not hasattr(value, "_init_missing") or isinstance(value, type):
        raise TypeError(
            f"{name} must be a funcnet module, got {describe(value)}. Wrap a function: "
            "fn.layers.Activation(jax.nn.relu)."
        )


def with_weight(name: str, value: Any) -> None:
    """Check that a module itself has a parameter `weight`."""
    module(name, value)
    if not hasattr(value, "weight"):
        raise TypeError(
            f"{name} must be a module with a parameter `weight`, got {type(value).__name__}, which has "
            "none. Wrap the layers inside it instead: fn.layers.SpectralNorm(fn.Linear(4, 16))."
        )


def divides(name: str, value: int, total_name: str, total: int) -> None:
    """Check that a value divides a size."""
    if total % value:
        raise ValueError(f"{name} must divide {total_name}={total}, got {value}.")


def last_axis(layer: str, x: Any, size: int) -> jax.Array:
    """Return the input of a layer as an array, and check that its last axis has the layer's size."""
    array = layer_input(layer, x)
    if array.shape[-1:] != (size,):
        raise ValueError(
            f"{layer} expects an input whose last axis is {size}, got shape {array.shape}. "
            "The output size of a layer must be the input size of the next."
        )
    return array


def last_axes(layer: str, x: Any, expected: tuple[int, ...]) -> jax.Array:
    """Return the input of a layer as an array, and check the sizes of its last axes."""
    array = layer_input(layer, x)
    if array.shape[-len(expected) :] != expected:
        raise ValueError(
            f"{layer} expects an input whose last axes are {expected}, got shape {array.shape}. Reshape "
            f"rows of pixels to images: x.reshape(-1, {', '.join(map(str, expected))})."
        )
    return array


def architecture_only(name: str, net: Any) -> None:
    """Check that a module has no parameters yet."""
    if not hasattr(net, "init") or isinstance(net, type):
        raise TypeError(f"{name} must be a module, got {describe(net)}. Try fn.layers.GRU(2, 8).")
    if jax.tree.leaves(net):
        raise ValueError(
            f"{name} must be an architecture without parameters, got an initialized layer: its copy would "
            "start from the same values. Pass it before init, or pass both layers."
        )


def sizes(name: str, value: Any) -> list[Any]:
    """Return at least two layer sizes as a list; the last one may be "scalar"."""
    if not _is_sequence(value):
        raise TypeError(f"{name} must be a tuple of layer sizes, got {describe(value)}. Try (4, 16, 3).")
    entries = list(value)
    depth(f"the length of {name}", max(len(entries), 1))
    if len(entries) < 2:
        raise ValueError(
            f"{name} must hold at least the sizes of the input and the output, got {value}. Try (4, 3)."
        )
    for i, entry in enumerate(entries):
        (size if i + 1 == len(entries) else positive)(f"{name}[{i}]", entry)
    return entries


def positive_integers(name: str, value: Any, example: str) -> list[int]:
    """Return at least one positive integer as a list."""
    if not _is_sequence(value):
        raise TypeError(f"{name} must be a tuple of integers, got {describe(value)}. Try {name}={example}.")
    entries = list(value)
    if not entries:
        raise ValueError(f"{name} must have at least one entry, got {value!r}. Try {name}={example}.")
    for i, entry in enumerate(entries):
        positive(f"{name}[{i}]", entry)
    return entries


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple | range) or (isinstance(value, np.ndarray) and value.ndim == 1)


def layers(name: str, value: Any) -> tuple[Any, ...]:
    """Return the layers of a Sequential as a tuple, and check that each is a module or a function."""
    if not isinstance(value, list | tuple):
        raise TypeError(
            f"{name} must be a tuple of modules, got {describe(value)}. Try {name}=(fn.Linear(2, 5),)."
        )
    for i, step in enumerate(value):
        layer(f"step {i}", step)
    return tuple(value)


def layer(name: str, value: Any) -> None:
    """Check that a value can be a layer of a Sequential: a module or a function, not a class."""
    if isinstance(value, type) or not callable(value):
        raise TypeError(
            f"{name} of a Sequential must be a module or a function, got {describe(value)}. "
            "Try fn.Sequential(fn.Linear(2, 5), jax.nn.relu, fn.Linear(5, 1))."
        )
    takes(f"{name} of a Sequential", value, "a module or a function of one array", None)


def is_floating(leaf: Any) -> bool:
    """Whether a leaf of a model is a floating array that JAX reads, and not a class or PyTorch's."""
    dtype = getattr(leaf, "dtype", None)
    is_array = isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic)
    if not is_array or isinstance(leaf, np.ma.MaskedArray) or not isinstance(dtype, np.dtype):
        return False
    is_known = dtype.isnative and dtype != np.longdouble  # which JAX does not have
    return is_known and bool(jnp.issubdtype(dtype, jnp.floating))


def floating_parameters(leaves: Mapping[str, Any]) -> None:
    """Check that all parameters, given by path, are floating arrays."""
    for path, leaf in leaves.items():
        dtype = getattr(leaf, "dtype", None)
        if getattr(leaf, "dtype", None) == np.longdouble:
            raise TypeError(
                f"the parameter {path or 'itself'} of the model must be of a dtype that JAX has, got "
                f"{leaf.dtype}. Convert it: value.astype(np.float32)."
            )
        known = jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic
        if not isinstance(leaf, known) or not isinstance(dtype, np.dtype):
            raise TypeError(
                f"the leaf {path or 'itself'} of the model must be an array, got {describe(leaf)}. "
                "Keep settings in static fields of a funcnet.Module, or outside the model."
            )
        if not is_floating(leaf):
            raise TypeError(
                f"the parameter {path or 'itself'} of the model must be floating, got {dtype}. "
                "Convert it, jnp.asarray(value, float), or, if it is not a parameter, wrap it: "
                "funcnet.Buffer(value)."
            )
