"""Where images are flattened, or made of features: channels first in PyTorch, channels last in funcnet.

A linear layer behind a `Flatten` has the same columns in another order, and one before a `Reshape` has its
outputs in another order. The number of channels alone decides it: the spatial axes come in the same order
in both. It is followed through the layers whose calls are known. In other classes it can't be, and the user
has to say it.
"""

import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module, modules
from funcnet._module._model import join
from funcnet.interop._torch_layers import CONVOLUTIONS, LINEAR, NORMS, RECURRENT, Order
from funcnet.layers import (
    Activation,
    AvgPool1d,
    AvgPool2d,
    BatchNorm,
    ChannelDropout,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    MaxPool1d,
    MaxPool2d,
    MultiHeadAttention,
    NumberEmbedding,
    Reshape,
    Residual,
    Sequential,
    SpectralNorm,
    Upsample,
)
from funcnet.models import (
    MLP,
    SIREN,
    ConvNet,
    FourierMLP,
    LinearRegression,
    Perceptron,
    ResMLP,
    Transformer,
)
from funcnet.models._block import Block

Channels: TypeAlias = int | Mapping[str, int | tuple[int, int]]

POOLS = (AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d, Upsample, ChannelDropout)
OF_FEATURES = (*RECURRENT, MultiHeadAttention, NumberEmbedding, Block, FourierMLP, Transformer)
GLOBAL_POOLS = (GlobalAvgPool, GlobalMaxPool)
OF_IMAGES = (*CONVOLUTIONS, *POOLS, *GLOBAL_POOLS, GroupNorm, Reshape)
MERGING = {"reshape", "ravel", "flatten", "rearrange"}
"""Names in the code of a class that may merge axes: of jax, numpy and einops."""
CHAINS: dict[type, str] = {
    **{Sequential: "layers", MLP: "layers", SIREN: "layers"},
    **{LinearRegression: "linear", Perceptron: "linear"},
}
"""Models that call the layers in this field one after the other, and nothing else of several examples."""


class _Flow(NamedTuple):
    """What is known of an array between two layers.

    Args:
        kind: "input", of the model: an image or features; "features" in the same order in both libraries;
            an "image"; one that is "flat"; features "reshaped" to several axes, an image or a sequence;
            or "unknown".
        channels: of an image, or of what is flat; None if unknown.
        dims: the number of spatial axes.
        sources: the paths of the layers whose output features these are.
    """

    kind: Literal["input", "features", "image", "flat", "reshaped", "unknown"]
    channels: int | None = None
    dims: int = 0
    sources: tuple[str, ...] = ()
    reshape: str = ""


FEATURES, UNKNOWN = _Flow("features"), _Flow("unknown")


def orders(model: Module, channels: Channels | None) -> dict[str, Order]:
    """How features are ordered, by the path of each layer that has features.

    Raises:
        TypeError: if `channels` is neither an integer nor a dictionary of them.
        ValueError: if the order of some features can't be known and is not in `channels`, or does not fit.
    """
    walk = _Walk(model, channels)
    walk.check_end(walk.visit(model, "", _Flow("input") if walk.has_images else FEATURES))
    if unknown := sorted(walk.by_path.keys() - walk.met):
        raise ValueError(f"channels must have paths of layers with features, got {unknown[0]!r}.")
    if walk.asked and jax.tree.leaves(model):
        paths = list(dict.fromkeys(walk.asked))
        raise ValueError(
            f"it can't be known from this {type(model).__name__} whether images are flattened into "
            f"{', '.join(path or 'it' for path in paths)}, or made of its output: PyTorch orders them "
            "channels first, funcnet channels last. Pass channels=1 if they are not, or have one channel; "
            f"else the number of channels, channels={{{paths[0]!r}: 64}}, or a pair of it and of the "
            f"channels that the output is reshaped to, {{{paths[0]!r}: (1, 64)}}."
        )
    return walk.orders


class _Walk:
    def __init__(self, model: Module, channels: Channels | None) -> None:
        self.orders: dict[str, Order] = {}
        self.asked: list[str] = []
        self.met: set[str] = set()
        self.default: Order | None = None
        self.by_path: dict[str, Order] = {}
        self.sizes: dict[str, tuple[int, int]] = {}  # features of the input and of the output
        if isinstance(channels, Mapping):
            self.by_path = {str(path): _as_order(value) for path, value in channels.items()}
        elif channels is not None:
            self.default = _as_order(channels)
        self.has_images = any(map(_may_flatten, modules(model).values()))

    def visit(self, layer: Any, path: str, flow: _Flow) -> _Flow:
        """The flow after a layer; notes the orders of what is in it."""
        kind = type(layer)
        if kind in CHAINS:
            return self._visit_chain(layer, path, flow)
        if kind in LINEAR or (kind is SpectralNorm and type(layer.layer) in LINEAR):
            return self._visit_linear(layer, path, flow)
        if kind in NORMS:
            return self._visit_norm(layer, path, flow)
        if kind is SpectralNorm:
            layer, kind = layer.layer, type(layer.layer)
        if kind in CONVOLUTIONS:
            self._settle(flow, is_image=True)
            return _Flow("image", layer.out_channels, layer.num_spatial_dims)
        if kind is GroupNorm:
            self._settle(flow, is_image=True)
            return _Flow("image", layer.channels, layer.num_spatial_dims)
        if kind in POOLS:
            flow = self._settle(flow, is_image=True)
            return UNKNOWN if flow.kind == "features" else flow  # PyTorch has the channels first there
        if kind in GLOBAL_POOLS:
            self._settle(flow, is_image=True)
            return FEATURES
        if kind is Dropout:
            return flow
        if kind is Activation:
            return _after_function(flow, layer.function)
        if kind is Flatten:
            return self._visit_flatten(path, flow, layer.num_axes)
        if kind is Reshape:
            return self._visit_reshape(layer, path, flow)
        if kind is Residual:
            return self._visit_residual(layer, path, flow)
        if kind is ConvNet:
            last = (layer.convolutions or (layer.input_shape[-1],))[-1]
            count = getattr(last, "out_channels", last)
            flat = _Flow("flat", count) if _dropped_axes(layer.activation) == 0 else UNKNOWN
            return self._visit_linear(layer.out, join(path, "out"), flat)
        if kind is ResMLP:
            self._visit_linear(layer.embed, join(path, "embed"), flow)
            return self._visit_linear(layer.out, join(path, "out"), FEATURES)
        if kind is Embedding:
            return FEATURES
        if kind in OF_FEATURES:
            self._settle(flow, is_image=False)
            if flow.kind in ("flat", "unknown") and self._order(path, flow).before != 1:
                raise ValueError(
                    f"channels of {path} must be 1: images are flattened into {kind.__name__}, and only "
                    "linear layers and norms can be converted then."
                )
            return FEATURES
        return self._visit_other(layer, path)

    def check_end(self, flow: _Flow) -> None:
        """At the end of what can be followed, reshaped features may become an image or a sequence."""
        if flow.kind != "reshaped" or flow.channels == 1:
            return
        order = self._answer(flow.reshape)
        if order is None:
            self.asked.append(flow.reshape)
        elif order.before not in (1, flow.channels):
            raise ValueError(
                f"channels of {flow.reshape} must be {flow.channels}, or 1, got {order.before}."
            )
        elif order.before != 1:
            self._settle(flow, is_image=True)

    def _visit_chain(self, model: Any, path: str, flow: _Flow) -> _Flow:
        field = CHAINS[type(model)]
        value = getattr(model, field)
        if isinstance(value, Module):
            return self.visit(value, join(path, field), flow)
        function = getattr(model, "activation", None)
        for i, layer in enumerate(value):
            flow = self.visit(layer, join(path, f"{field}[{i}]"), flow)
            if function is not None and i < len(value) - 1:
                flow = _after_function(flow, function)
        return flow

    def _visit_linear(self, layer: Any, path: str, flow: _Flow) -> _Flow:
        self._settle(flow, is_image=False)
        inner: Any = layer.layer if isinstance(layer, SpectralNorm) else layer
        outputs = 1 if inner.out_features == "scalar" else inner.out_features
        self.sizes[path] = (inner.in_features, outputs)
        self._note(path, self._order(path, flow))
        if flow.kind == "image":  # a linear map of the channels of each pixel
            return UNKNOWN
        return _Flow("features", sources=() if inner.out_features == "scalar" else (path,))

    def _visit_norm(self, layer: Any, path: str, flow: _Flow) -> _Flow:
        flow = self._settle(flow, is_image=isinstance(layer, BatchNorm))
        self.sizes[path] = (layer.features, layer.features)
        self._note(path, Order(after=self._order(path, flow).before))
        if flow.kind == "features":
            flow = flow._replace(sources=(*flow.sources, path)) if flow.sources else flow
        if flow.kind in ("input", "features") and isinstance(layer, BatchNorm):
            return flow._replace(channels=layer.features)
        return flow

    def _visit_flatten(self, path: str, flow: _Flow, num_axes: int) -> _Flow:
        if num_axes == 1:
            return flow
        if flow.kind == "features":  # a batch norm of a sequence has the channels first in PyTorch
            return UNKNOWN if flow.channels else FEATURES
        if flow.kind == "input" or (flow.kind == "image" and num_axes == flow.dims + 1):
            return _Flow("flat", flow.channels)
        return UNKNOWN if flow.kind == "unknown" else self._visit_mixed(path)

    def _visit_mixed(self, path: str) -> _Flow:
        """Axes that are merged or split in another way, which PyTorch may do in another order."""
        self._expect_one_channel(
            path,
            "what merges or splits channels has no counterpart in PyTorch, unless it does so in the same "
            "order",
        )
        return UNKNOWN

    def _expect_one_channel(self, path: str, reason: str) -> None:
        """Ask for the number of channels, which can only be 1."""
        order = self._answer(path)
        if order is None:
            self.asked.append(path)
        elif order.before != 1:
            raise ValueError(f"channels of {path} must be 1, got {order.before}: {reason}.")

    def _visit_reshape(self, layer: Reshape, path: str, flow: _Flow) -> _Flow:
        if len(layer.shape) == 1:
            return self._visit_flatten(path, flow, layer.num_axes)
        if flow.kind == "image" and layer.num_axes == flow.dims + 1 and layer.shape[-1] == flow.channels:
            return flow._replace(dims=len(layer.shape) - 1)
        if layer.num_axes > 1 or flow.kind not in ("features", "input"):
            return self._visit_mixed(path)
        *spatial, channels = layer.shape
        if channels == -1 and flow.sources:
            channels = self.sizes[flow.sources[0]][1] // math.prod(spatial)
        reshaped = _Flow("reshaped", channels, len(spatial), flow.sources, path)
        if not flow.sources and channels != 1 and math.prod(spatial) != 1:
            self._expect_one_channel(
                path, "only the output of a linear layer can be made an image of several channels"
            )
        return reshaped

    def _visit_residual(self, layer: Residual, path: str, flow: _Flow) -> _Flow:
        inner = self.visit(layer.layer, join(path, "layer"), flow)
        other = flow
        if layer.projection is not None:
            other = self.visit(layer.projection, join(path, "projection"), flow)
        if inner.kind == "features" and other.kind in ("flat", "unknown"):
            return self._add_features(path, inner, other)
        inner, other = (f._replace(sources=()) for f in (inner, other))
        if "image" in (inner.kind, other.kind) and {inner.kind, other.kind} <= {
            "image",
            "reshaped",
            "input",
        }:
            return inner if inner.kind == "image" else other
        if {inner.kind, other.kind} <= {"features", "input"}:
            return FEATURES
        return inner if inner == other else UNKNOWN

    def _add_features(self, path: str, inner: _Flow, other: _Flow) -> _Flow:
        """Features plus an image that is flat: they must come in its order."""
        if not inner.sources:
            return self._visit_mixed(path)
        for source in inner.sources:
            order = Order(other.channels) if other.channels else self._answer(source)
            if order is None:
                self.asked.append(source)
                continue
            after = order.before if order.after == 1 else order.after
            self._note(source, self.orders[source]._replace(after=after))
        return other

    def _visit_other(self, module: Module, path: str) -> _Flow:
        """A class whose call is not known, and may reshape anything in between."""
        start = UNKNOWN if self.has_images else FEATURES
        for name in module._children:
            leaves = jax.tree_util.tree_flatten_with_path(
                getattr(module, name), is_leaf=lambda node: isinstance(node, Module)
            )[0]
            for keys, child in leaves:
                if not isinstance(child, Module):
                    continue
                flow = self.visit(child, join(join(path, name), jax.tree_util.keystr(keys)), start)
                self.check_end(flow)
                if self.has_images:
                    self._ask_outputs(flow)
        return start

    def _ask_outputs(self, flow: _Flow) -> None:
        """The features that leave a part of a class that is not known: they may become an image there."""
        if flow.kind != "features":
            return
        for path in flow.sources:
            order = self._answer(path)
            if order is None:
                self.asked.append(path)
            else:
                self._note(path, self.orders.get(path, Order())._replace(after=order.after))

    def _settle(self, flow: _Flow, *, is_image: bool) -> _Flow:
        """The flow before a layer of images, or of features: it decides what reshaped features are."""
        if flow.kind != "reshaped":
            return flow
        if not is_image:
            return FEATURES
        for path in flow.sources:
            self._note(path, self.orders.get(path, Order())._replace(after=flow.channels or 1))
        return _Flow("image", flow.channels, flow.dims)

    def _note(self, path: str, order: Order) -> None:
        for count, size in zip(order, self.sizes[path], strict=True):
            if size % count:
                raise ValueError(f"channels of {path} must divide its {size} features, got {count}.")
        self.orders[path] = order

    def _order(self, path: str, flow: _Flow) -> Order:
        """The order of the features of a layer: given, known, or asked for."""
        if path in self.by_path or flow.kind == "unknown" or (flow.kind == "flat" and not flow.channels):
            order = self._answer(path)
            if order is None:
                self.asked.append(path)
            return order or Order()
        return Order(flow.channels or 1) if flow.kind == "flat" else Order()

    def _answer(self, path: str) -> Order | None:
        """What the user says of a layer."""
        self.met.add(path)
        return self.by_path.get(path, self.default)


def _as_order(value: Any) -> Order:
    pair = value if isinstance(value, tuple) else (value, 1)
    if len(pair) != 2:
        raise ValueError(f"channels must be an integer or a pair (before, after), got {value}.")
    for count in pair:
        _check.positive("channels", count)
    return Order(*map(int, pair))


def _may_flatten(module: Any) -> bool:
    """Whether a layer is one of images, or its code may merge axes."""
    if isinstance(module, Activation):
        return _dropped_axes(module.function) is None
    if isinstance(module, OF_IMAGES) or (isinstance(module, Flatten) and module.num_axes > 1):
        return True
    functions = (
        inspect.unwrap(function)
        for cls in type(module).__mro__
        if not cls.__module__.startswith(("funcnet.", "builtins"))
        for function in vars(cls).values()
        if inspect.isfunction(function)
    )
    return any(not MERGING.isdisjoint(function.__code__.co_names) for function in functions)


def _after_function(flow: _Flow, function: Any) -> _Flow:
    """The flow after a function of arrays, such as an activation or the mean over an axis."""
    dropped = _dropped_axes(function)
    if dropped == 0 or (dropped and flow.kind in ("input", "features")):
        return flow
    if dropped is None or flow.kind != "image" or dropped > flow.dims:
        return UNKNOWN
    return flow._replace(dims=flow.dims - dropped) if dropped < flow.dims else FEATURES


def _dropped_axes(function: Any) -> int | None:
    """How many axes before the last a function drops; None if it changes the others, such as a reshape.

    It is seen on an array whose axes have different sizes.
    """
    x = jax.ShapeDtypeStruct((2, 3, 5, 7), jnp.zeros(()).dtype)
    try:
        shape = getattr(jax.eval_shape(function, x), "shape", ())
    except (IndexError, TypeError, ValueError):
        return None
    rest = iter(x.shape)
    is_part = all(size in rest for size in shape)  # in the same order
    return len(x.shape) - len(shape) if is_part and shape[-1:] == x.shape[-1:] else None
