"""Layers: sizes, inputs and parts."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from funcnet._check._values import describe, positive


def length(name: str, value: Any, wanted: int) -> None:
    """A tuple of so many entries."""
    if len(value) != wanted:
        raise ValueError(f"{name} has {wanted} entries; got {len(value)}: {value!r}.")


def rank(layer: str, x: Any, least: int, axes: str) -> None:
    """An array with at least so many axes."""
    if jnp.ndim(x) < least:
        raise ValueError(
            f"{layer} wants an input [..., {axes}]; got shape {jnp.shape(x)}. One example has "
            f"{least} axes, channels last: a grey image needs x[..., None], a flat row a reshape."
        )


def module(name: str, value: Any) -> None:
    """A module, not a plain function or a class."""
    if not hasattr(value, "_init_missing") or isinstance(value, type):
        raise TypeError(
            f"{name} is a funcnet module; got {describe(value)}. A function becomes one: "
            "fn.layers.Activation(jax.nn.relu)."
        )


def with_weight(name: str, value: Any) -> None:
    """A module with a parameter `weight` of its own."""
    module(name, value)
    if not hasattr(value, "weight"):
        raise TypeError(
            f"{name} is a module with a weight, and {type(value).__name__} has none of its own. Wrap the "
            "layers in it: fn.layers.SpectralNorm(fn.Linear(4, 16))."
        )


def divides(name: str, value: int, what: str, total: int) -> None:
    """A divisor of a size."""
    if total % value:
        raise ValueError(f"{name}={value} doesn't divide {what}={total}. Choose a divisor.")


def last_axis(layer: str, x: Any, size: int) -> None:
    """An input whose last axis has the layer's size."""
    shape = jnp.shape(x)
    if not shape or shape[-1] != size:
        raise ValueError(
            f"{layer} wants an input whose last axis is {size}; got shape {shape}. "
            "Let the sizes chain: the output size of a layer is the input size of the next."
        )


def last_axes(layer: str, x: Any, wanted: tuple[int, ...]) -> None:
    """An input whose last axes have these sizes."""
    shape = jnp.shape(x)
    if shape[-len(wanted) :] != wanted:
        raise ValueError(
            f"{layer} wants an input whose last axes are {wanted}; got shape {shape}. Rows of pixels "
            f"become images by x.reshape(-1, {', '.join(map(str, wanted))})."
        )


def fresh(name: str, net: Any) -> None:
    """A module whose parameters are yet to be drawn."""
    if not hasattr(net, "init") or isinstance(net, type):
        raise TypeError(f"{name} is a module; got {describe(net)}. Try fn.layers.GRU(2, 8).")
    if jax.tree.leaves(net):
        raise ValueError(
            f"{name} holds its parameters already, and a second layer made from it would start as the "
            "same. Pass the architecture, before init; or give both layers."
        )


def sizes(name: str, value: Any) -> list[Any]:
    """At least two layer sizes, of which the last may be "scalar"."""
    if isinstance(value, str | int) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is a tuple of layer sizes; got {describe(value)}. Try (4, 16, 3).")
    listed = list(value)
    if len(listed) < 2:
        raise ValueError(
            f"{name} holds the size of the input and of the output at least; got {value}. Try (4, 3)."
        )
    for i, size in enumerate(listed):
        if size != "scalar" or i + 1 < len(listed):
            positive(f"{name}[{i}]", size)
    return listed


def numbers(name: str, value: Any, example: str) -> list[int]:
    """At least one positive whole number, in a tuple."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is a tuple of whole numbers; got {describe(value)}. Try {name}={example}.")
    listed = list(value)
    if not listed:
        raise ValueError(f"{name} is empty. Try {name}={example}.")
    for i, number in enumerate(listed):
        positive(f"{name}[{i}]", number)
    return listed


def layer(name: str, value: Any) -> None:
    """Something that can stand in a Sequential: a module or a function, and no class."""
    if isinstance(value, type) or not callable(value):
        raise TypeError(
            f"{name} of a Sequential is a module or a function; got {describe(value)}. "
            "Try fn.Sequential(fn.Linear(2, 5), jax.nn.relu, fn.Linear(5, 1))."
        )


def floating_parameters(leaves: Mapping[str, Any]) -> None:
    """Parameters that a gradient exists for."""
    for path, leaf in leaves.items():
        dtype = getattr(leaf, "dtype", None)
        if dtype is None:
            raise TypeError(
                f"the model's leaf {path or 'itself'} is {describe(leaf)}, and a model holds arrays "
                "only. Keep settings in static fields of a funcnet.Module, or outside the model."
            )
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"the parameter {path or 'itself'} holds {dtype}, and only real numbers are trained. "
                "Make it floating: jnp.asarray(value, float); or, if it is no parameter, wrap it: "
                "funcnet.Buffer(value)."
            )
