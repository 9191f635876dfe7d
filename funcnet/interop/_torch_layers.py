"""Each layer that funcnet and PyTorch share: its arrays as the tensors of a state dict, and back.

Linear maps are transposed, convolutions have their channels first, and the gates of a recurrent layer are
in the same order in both.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from funcnet.layers import (
    GRU,
    LSTM,
    BatchNorm,
    Bidirectional,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Embedding,
    GroupNorm,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    RMSNorm,
    SpectralNorm,
)
from funcnet.models import Transformer
from funcnet.models._siren import Affine

Tensors: TypeAlias = dict[str, np.ndarray]

LINEAR = (Linear, Affine)
TRANSPOSED = (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)
CONVOLUTIONS = (Conv1d, Conv2d, Conv3d, *TRANSPOSED)
NORMS = (BatchNorm, LayerNorm, RMSNorm)
RECURRENT = (GRU, LSTM, Bidirectional)
SHARED = (
    *LINEAR,
    *CONVOLUTIONS,
    *NORMS,
    *RECURRENT,
    GroupNorm,
    Embedding,
    MultiHeadAttention,
    SpectralNorm,
)

COUNTER = "num_batches_tracked"
"""PyTorch's number of batches of a BatchNorm, which only averages with momentum=None read."""


class Order(NamedTuple):
    """The channels of the images that a feature axis holds: PyTorch has the channels first, funcnet last.

    Args:
        before: of those that are flattened into the input of a layer; 1 if both orders are the same.
        after: of those that its output is reshaped to, or that a norm normalizes.
    """

    before: int = 1
    after: int = 1


def refusal(layer: Any) -> str | None:
    """Why a layer can't be the one of its name in PyTorch; None if it can."""
    match layer:
        case GRU() if not (type(layer.input) is type(layer.recurrent) is Linear):
            return "its input and recurrent must be Linear layers"
        case LSTM() if not (type(layer.input) is type(layer.recurrent) is Linear):
            return "its input and recurrent must be Linear layers"
        case LSTM(input=Linear(use_bias=True)) | LSTM(recurrent=Linear(use_bias=True)):
            return "its input and recurrent must have no bias of their own"
        case Bidirectional():
            parts: tuple[Any, Any] = layer.forward, layer.backward
            forward, backward = parts
            if type(forward) not in (GRU, LSTM) or type(forward) is not type(backward):
                return "both layers must be a GRU, or both an LSTM"
            sizes = [(part.in_features, part.features) for part in parts]
            if sizes[0] != sizes[1]:
                return "both layers must have the same sizes"
            return refusal(forward) or refusal(backward)
        case MultiHeadAttention() if not (type(layer.project) is type(layer.out) is Linear):
            return "its project and out must be Linear layers"
        case SpectralNorm() if type(layer.layer) not in (*LINEAR, *CONVOLUTIONS):
            return "its layer must be a Linear or a convolution"
        case SpectralNorm() if getattr(layer.layer, "groups", 1) > 1 and type(layer.layer) in TRANSPOSED:
            return "the matrix of a transposed convolution with groups is another one in PyTorch"
    return None if type(layer) in SHARED else "PyTorch has no such layer"


def to_tensors(layer: Any, order: Order) -> Tensors:
    """The tensors of a layer by their names in PyTorch, in its order; {} if it has none."""
    match layer:
        case Linear() | Affine():
            return _linear_tensors(layer, order)
        case SpectralNorm():
            return _spectral_tensors(layer, order)
        case GRU():
            return _gru_tensors(layer)
        case LSTM():
            bias = np.asarray(layer.bias)
            return {**_gate_weights(layer), "bias_ih_l0": bias, "bias_hh_l0": np.zeros_like(bias)}
        case Bidirectional():
            backward = to_tensors(layer.backward, order)
            return to_tensors(layer.forward, order) | {f"{n}_reverse": a for n, a in backward.items()}
        case MultiHeadAttention():
            return _attention_tensors(layer)
        case BatchNorm():
            mean, variance = np.asarray(layer.mean.value), np.asarray(layer.variance.value)  # type: ignore[union-attr]
            running = {"running_mean": mean, "running_var": variance}
            tensors = _affine_tensors(layer, mean, needs_bias=True) | running
            tensors = {name: _channels_first(a, order.after) for name, a in tensors.items()}
            return tensors | {COUNTER: np.zeros((), np.int64)}
        case LayerNorm() | RMSNorm() | GroupNorm():
            tensors = _affine_tensors(layer, None, needs_bias=isinstance(layer, GroupNorm))
            return {name: _channels_first(a, order.after) for name, a in tensors.items()}
        case Embedding():
            return {"weight": np.asarray(layer.weight)}
        case Transformer():
            return {"position_embedding": np.asarray(layer.position_embedding)}
    weight = _kernel_tensor(layer, np.asarray(layer.weight), order)
    return {"weight": weight} | ({} if layer.bias is None else {"bias": np.asarray(layer.bias)})


def to_arrays(layer: Any, tensors: Tensors, order: Order) -> dict[str, np.ndarray]:
    """The arrays of a layer by their path in it, from the tensors that `to_tensors` names."""
    match layer:
        case SpectralNorm():
            return _spectral_arrays(layer, tensors, order)
        case GRU():
            return _gate_arrays(tensors) | {
                f"{part}.bias": tensors[f"bias_{way}_l0"]
                for part, way in (("input", "ih"), ("recurrent", "hh"))
                if getattr(layer, part).bias is not None
            }
        case LSTM():
            return _gate_arrays(tensors) | {"bias": tensors["bias_ih_l0"] + tensors["bias_hh_l0"]}
        case Bidirectional():
            ways = {
                "forward": {n: a for n, a in tensors.items() if not n.endswith("_reverse")},
                "backward": {n[:-8]: a for n, a in tensors.items() if n.endswith("_reverse")},
            }
            return {
                f"{way}.{path}": array
                for way, part in ways.items()
                for path, array in to_arrays(getattr(layer, way), part, order).items()
            }
        case MultiHeadAttention():
            names = {
                "project": ("in_proj_weight", "in_proj_bias"),
                "out": ("out_proj.weight", "out_proj.bias"),
            }
            weights = {f"{part}.weight": tensors[weight].T for part, (weight, _) in names.items()}
            return weights | {
                f"{part}.bias": tensors[bias]
                for part, (_, bias) in names.items()
                if getattr(layer, part).bias is not None
            }
        case BatchNorm() | LayerNorm() | RMSNorm() | GroupNorm():
            affine = {"scale": "weight", "bias": "bias"}
            paths = {path: name for path, name in affine.items() if getattr(layer, path, None) is not None}
            if isinstance(layer, BatchNorm):
                paths |= {"mean.value": "running_mean", "variance.value": "running_var"}
            return {path: _channels_last(tensors[name], order.after) for path, name in paths.items()}
        case Embedding() | Transformer():
            return dict(tensors)
    arrays = {"weight": _kernel_array(layer, tensors["weight"], order).reshape(layer.weight.shape)}
    return arrays | _bias_array(layer, tensors, order)


def _linear_tensors(layer: Any, order: Order) -> Tensors:
    tensors = {"weight": _kernel_tensor(layer, np.asarray(layer.weight), order)}
    if layer.bias is not None:
        tensors["bias"] = _channels_first(np.asarray(layer.bias).reshape(-1), order.after)
    return tensors


def _bias_array(layer: Any, tensors: Tensors, order: Order) -> dict[str, np.ndarray]:
    if layer.bias is None:
        return {}
    return {"bias": _channels_last(tensors["bias"], order.after).reshape(layer.bias.shape)}


def _channels_first(array: np.ndarray, channels: int) -> np.ndarray:
    """Features [positions * channels, ...] of channels-last images in PyTorch's order."""
    return array.reshape(-1, channels, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)


def _channels_last(array: np.ndarray, channels: int) -> np.ndarray:
    """Undo `_channels_first`."""
    return array.reshape(channels, -1, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)


def _kernel_tensor(layer: Any, weight: np.ndarray, order: Order) -> np.ndarray:
    """The weight of a linear map or a convolution as PyTorch's; it may have another number of outputs."""
    if isinstance(layer, LINEAR):
        weight = _channels_first(weight.reshape(len(weight), -1), order.before)
        return _channels_first(weight.T, order.after)
    dims = weight.ndim - 2
    if not isinstance(layer, TRANSPOSED):
        return weight.transpose(dims + 1, dims, *range(dims))
    weight = weight.reshape(
        *weight.shape[:-1], layer.groups, -1
    )  # [*kernel, in / groups, groups, out / groups]
    weight = weight.transpose(dims + 1, dims, dims + 2, *range(dims))
    return weight.reshape(-1, *weight.shape[2:])


def _kernel_array(layer: Any, weight: np.ndarray, order: Order) -> np.ndarray:
    """Undo `_kernel_tensor`."""
    if isinstance(layer, LINEAR):
        return _channels_last(_channels_last(weight, order.after).T, order.before)
    dims = weight.ndim - 2
    if not isinstance(layer, TRANSPOSED):
        return weight.transpose(*range(2, dims + 2), 1, 0)
    weight = weight.reshape(
        layer.groups, -1, *weight.shape[1:]
    )  # [groups, in / groups, out / groups, *kernel]
    weight = weight.transpose(*range(3, dims + 3), 1, 0, 2)
    return weight.reshape(*weight.shape[:-2], -1)


ORIGINAL, LEFT, RIGHT = (f"parametrizations.weight.{name}" for name in ("original", "0._u", "0._v"))


def _spectral_tensors(norm: Any, order: Order) -> Tensors:
    layer, u, v = norm.layer, np.asarray(norm.u.value), np.asarray(norm.v.value)
    tensors = to_tensors(layer, order)
    weight = tensors.pop("weight")
    kernel = layer.weight.shape[:-1] if len(layer.weight.shape) > 1 else layer.weight.shape
    # v is the weight of a layer with one output.
    right = _kernel_tensor(layer, v.reshape(*kernel, 1), order._replace(after=1)).reshape(-1)
    return tensors | {ORIGINAL: weight, LEFT: _channels_first(u, order.after), RIGHT: right}


def _spectral_arrays(norm: Any, tensors: Tensors, order: Order) -> dict[str, np.ndarray]:
    layer, weight = norm.layer, tensors[ORIGINAL]
    outputs = 1 if isinstance(layer, TRANSPOSED) else 0
    shape = [1 if axis == outputs else size for axis, size in enumerate(weight.shape)]
    right = _kernel_array(layer, tensors[RIGHT].reshape(shape), order._replace(after=1)).reshape(-1)
    inner = to_arrays(layer, tensors | {"weight": weight}, order)
    vectors = {"u.value": _channels_last(tensors[LEFT], order.after), "v.value": right}
    return {f"layer.{path}": array for path, array in inner.items()} | vectors


def _gate_weights(layer: Any) -> Tensors:
    parts = {"weight_ih_l0": layer.input, "weight_hh_l0": layer.recurrent}
    return {name: np.asarray(part.weight).T for name, part in parts.items()}


def _gate_arrays(tensors: Tensors) -> dict[str, np.ndarray]:
    return {"input.weight": tensors["weight_ih_l0"].T, "recurrent.weight": tensors["weight_hh_l0"].T}


def _gru_tensors(layer: Any) -> Tensors:
    biases = {"bias_ih_l0": layer.input.bias, "bias_hh_l0": layer.recurrent.bias}
    return _gate_weights(layer) | _biases(biases, 3 * layer.features, layer.input.weight.dtype)


def _attention_tensors(layer: Any) -> Tensors:
    biases = {"in_proj_bias": layer.project.bias, "out_proj.bias": layer.out.bias}
    sizes = {"in_proj_bias": 3 * layer.features, "out_proj.bias": layer.features}
    tensors = {
        "in_proj_weight": np.asarray(layer.project.weight).T,
        "out_proj.weight": np.asarray(layer.out.weight).T,
    }
    for name, bias in _biases(biases, sizes, layer.out.weight.dtype).items():
        tensors[name] = bias
    order = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    return {name: tensors[name] for name in order if name in tensors}


def _biases(biases: dict[str, Any], sizes: Any, dtype: Any) -> Tensors:
    """Two biases, of which PyTorch has both or none: zeros for one that we don't have."""
    if all(bias is None for bias in biases.values()):
        return {}
    return {
        name: np.zeros(sizes[name] if isinstance(sizes, dict) else sizes, dtype)
        if bias is None
        else np.asarray(bias)
        for name, bias in biases.items()
    }


def _affine_tensors(layer: Any, like: np.ndarray | None, needs_bias: bool) -> Tensors:
    """Scale and bias of a norm. PyTorch has no bias without a scale, and most norms have both or none."""
    given = {"weight": layer.scale, "bias": getattr(layer, "bias", None)}
    if all(array is None for array in given.values()):
        return {}
    like = (
        np.asarray(next(array for array in given.values() if array is not None)) if like is None else like
    )
    if given["weight"] is None:
        given["weight"] = np.ones_like(like)
    if given["bias"] is None and needs_bias:
        given["bias"] = np.zeros_like(like)
    return {name: np.asarray(array) for name, array in given.items() if array is not None}
