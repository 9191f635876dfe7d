"""State dicts of PyTorch as models, and models as state dicts. PyTorch is never imported."""

import os
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _files, _tree
from funcnet._module import Module, check_complete, modules, shapes
from funcnet._module._class import check_shapes
from funcnet._module._model import join
from funcnet.interop._torch_layers import COUNTER, Order, Tensors, to_arrays, to_tensors
from funcnet.interop._torch_match import by_module, differences, key_of, match_layers
from funcnet.interop._torch_names import Rename, Unit, units
from funcnet.interop._torch_order import Channels, orders
from funcnet.layers import LSTM, MultiHeadAttention
from funcnet.train._safetensors import deserialize
from funcnet.train._weights import DIGEST

M = TypeVar("M", bound=Module)

PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".pth.tar")


@_check.usage('fn.interop.load_torch(net, "model.safetensors")')
def load_torch(
    net: M,
    path_or_state_dict: str | os.PathLike[str] | Mapping[str, Any],
    rename: Rename | None = None,
    channels: Channels | None = None,
) -> M:
    """A model with the weights of the same network in PyTorch.

    Layers are found by their names in PyTorch, those that `to_torch` gives, or by their paths. If the names
    are others, they are found by kind and shape; layers of the same shapes by the numbers in their names,
    such as "fc1" and "fc2". Where these don't decide, an error asks for `rename`. An array that a model
    holds itself, such as learned positions, has no layer to rename: rename it in the state dict.

    A state dict holds arrays and no settings: activation functions, strides, padding, `eps`, whether a
    Transformer's norms come first. Set them as in PyTorch, and compare the outputs of one example. Some
    defaults differ: the padding of convolutions is 0 in PyTorch, and "SAME" here.

    Args:
        net: the architecture before `init`, or a model of the same shapes, whose values are replaced.
        path_or_state_dict: a safetensors file, or `state_dict()` of a module of PyTorch: a mapping of names
            to tensors or arrays.
        rename: PyTorch's names of modules by their path in `net`, where they can't be found: {"layers[0]":
            "features.0", "blocks": "encoder.layers"}, or a function of the path of a layer. A part stands
            for all in it. "rnn[1]" is the second layer of an LSTM or GRU with `num_layers=2`.
        channels: PyTorch flattens images channels first, funcnet channels last. Where that can't be known
            from `net`: the number of channels of the images that are flattened into a layer, by its path,
            {"head": 64}, with that of the images that its output is reshaped to in a pair, {"expand":
            (1, 64)}; or one number for all of them, 1 if no images are flattened.

    Returns:
        The same type as `net`, with the arrays on the default device, in its dtypes.

    Raises:
        TypeError: if `net` is not a module, or an argument or a tensor is none of these.
        FileNotFoundError: if the file does not exist.
        ValueError: if a layer has no counterpart in PyTorch, if layers can't be told apart, if the order of
            flattened images can't be known, or if the tensors are not those of `net`: the message lists
            each one that is missing, unused, of another shape, or of values that its dtype can't hold.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> state = {"0.weight": np.array([[1.0, 2.0]]), "0.bias": np.array([3.0])}  # net.state_dict()
        >>> model = fn.interop.load_torch(fn.Sequential(fn.Linear(2, 1)), state)
        >>> model(np.array([1.0, 1.0])).tolist()
        [6.0]
    """
    _check.module("net", net)
    for module in modules(net).values():
        check_shapes(module)
    state, source = _read(path_or_state_dict)
    template = shapes(net)
    like = jax.tree.map(_placeholder, template)
    layers = {unit.path: unit for unit in units(like, rename)}
    order = orders(like, channels)
    expected = {path: _tensors(unit.layer, order.get(path)) for path, unit in layers.items()}
    found = [unit for unit in layers.values() if expected[unit.path]]
    given = by_module(state)
    match = match_layers(found, expected, given)
    if match.advice:
        raise ValueError(f"{source} does not determine the weights of this {_name(net)}: {match.advice}.")
    lines = differences(found, expected, given, match.pairs)
    arrays: dict[str, np.ndarray] = {}
    for unit in found if not lines else ():
        name = match.pairs[unit.path]
        part, problems = _arrays(unit, order.get(unit.path), given[name], expected[unit.path], name)
        arrays |= part
        lines += problems
    if lines:
        raise ValueError(
            f"{source} does not hold the weights of this {_name(net)}:\n  " + "\n  ".join(lines)
        )
    kept = _tree.paths(net)  # settings that are arrays, such as the rate of a dropout
    leaves = [jnp.asarray(arrays[at]) if at in arrays else kept[at] for at in _tree.paths(template)]
    model: M = jax.tree.unflatten(jax.tree.structure(template), leaves)
    return model


@_check.usage("state = fn.interop.to_torch(model)")
def to_torch(
    model: Module, rename: Rename | None = None, channels: Channels | None = None
) -> dict[str, np.ndarray]:
    """The state dict of the same network in PyTorch, which `load_state_dict` takes.

    `net.load_state_dict({name: torch.from_numpy(a) for name, a in state.items()})` loads it. The names are
    those of `nn.Sequential` for `Sequential`, `MLP` and `ConvNet` (activations and pools count, and dropout
    if there is one), those of `nn.TransformerEncoder` for the blocks of a `Transformer`, and the paths of
    all else.

    Args:
        model: an initialized model.
        rename: PyTorch's names of modules by their path in `model`, as for `load_torch`.
        channels: of flattened images, as for `load_torch`.

    Returns:
        Arrays by PyTorch's names in PyTorch's order. Biases that only PyTorch has are 0, and
        `num_batches_tracked` of a BatchNorm is 0. Half precision becomes float32, which NumPy has.

    Raises:
        TypeError: if `model` is not an initialized module.
        ValueError: if a layer has no counterpart in PyTorch, if the order of flattened images can't be
            known, or if these are several models in one tree.

    Example:
        >>> import jax, funcnet as fn
        >>> model = fn.MLP((4, 16, 3)).init(jax.random.key(0))
        >>> {name: array.shape for name, array in fn.interop.to_torch(model).items()}
        {'0.weight': (16, 4), '0.bias': (16,), '2.weight': (3, 16), '2.bias': (3,)}
    """
    _check.module("model", model)
    check_complete(model)
    if any(isinstance(leaf, jax.ShapeDtypeStruct | jax.core.Tracer) for leaf in jax.tree.leaves(model)):
        raise TypeError("model must hold arrays, got shapes or tracers: call to_torch outside of jit.")
    for module in modules(model).values():
        check_shapes(module)
    host = jax.tree.map(_to_host, model)
    layers, order = units(host, rename), orders(host, channels)
    return {
        key_of(unit.name, name): _wide_copy(array)
        for unit in layers
        for name, array in to_tensors(unit.layer, order.get(unit.path, Order())).items()
    }


def _to_host(leaf: Any) -> Any:
    return np.asarray(leaf) if isinstance(getattr(leaf, "dtype", None), np.dtype) else leaf


def _placeholder(leaf: Any) -> Any:
    """Zeros of a leaf's shape that take no memory; a PRNG key and a number stay."""
    dtype = getattr(leaf, "dtype", None)
    return np.broadcast_to(np.zeros((), dtype), leaf.shape) if isinstance(dtype, np.dtype) else leaf


def _tensors(layer: Any, order: Order | None) -> Tensors:
    """The tensors of a layer that a state dict must hold."""
    tensors = to_tensors(layer, order or Order())
    return {name: array for name, array in tensors.items() if name != COUNTER}


def _wide_copy(array: np.ndarray) -> np.ndarray:
    """A row-major copy that PyTorch can read: it has no dtype for NumPy's bfloat16."""
    return np.array(array, np.float32 if array.dtype.name == "bfloat16" else array.dtype, order="C")


def _name(net: Module) -> str:
    return type(net).__name__


def _read(source: Any) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a file or a state dict, and its name for errors."""
    if isinstance(source, str | os.PathLike):
        place = _check.path("path_or_state_dict", source, "model.safetensors")
        if place.name.lower().endswith(PICKLES):
            raise ValueError(
                f"path_or_state_dict must be a safetensors file, got {place}: a pickle could run code. "
                "Load it in PyTorch, torch.load(path, weights_only=True), and pass the state dict, or "
                'write a file: safetensors.torch.save_file(net.state_dict(), "model.safetensors").'
            )
        arrays, metadata = deserialize(_files.read(place, "a safetensors file"), str(place))
        if DIGEST in metadata:
            raise ValueError(
                f"path_or_state_dict must be a file of PyTorch, got {place}, which funcnet wrote. Try "
                "fn.load_weights(net, path)."
            )
        return arrays, str(place)
    if callable(getattr(source, "state_dict", None)):
        raise TypeError(
            f"path_or_state_dict must be a state dict, got a {type(source).__name__}. Pass "
            "net.state_dict()."
        )
    if not isinstance(source, Mapping):
        raise TypeError(
            "path_or_state_dict must be a safetensors file or a mapping of names to arrays, got "
            f"{_check.describe(source)}."
        )
    return {_check_key(name): _to_numpy(name, value) for name, value in source.items()}, "the state dict"


def _check_key(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the names of a state dict must be strings, got {_check.describe(name)}.")
    return name


def _to_numpy(name: str, value: Any) -> np.ndarray:
    if isinstance(value, Mapping):
        raise TypeError(
            f"the state dict must hold arrays, got {type(value).__name__} for {name!r}. If that is the "
            f"state dict, pass checkpoint[{name!r}]."
        )
    if hasattr(value, "detach"):  # a tensor of PyTorch, on any device; NumPy lacks bfloat16
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    return np.asarray(_check.array(name, value))


def _arrays(
    unit: Unit, order: Order | None, given: Tensors, expected: Tensors, module: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of a layer by their path in the model, and a line for each tensor that they can't hold."""
    tensors, lines = {}, []
    for name, like in expected.items():
        with np.errstate(over="ignore"):
            tensors[name] = given[name].astype(like.dtype)
        dtype = given[name].dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            lines.append(f"{key_of(module, name)}: values of {dtype.name}, {like.dtype.name} expected")
        elif not np.array_equal(tensors[name].astype(dtype), given[name], equal_nan=True):
            lines.append(
                f"{key_of(module, name)}: values of {dtype.name} that {like.dtype.name} can't hold. Round "
                "them, as net.float().state_dict(), or load them into a model of that dtype"
            )
    arrays = to_arrays(unit.layer, tensors, order or Order())
    leaves = [arrays.get(path, leaf) for path, leaf in _tree.paths(unit.layer).items()]
    layer = jax.tree.unflatten(jax.tree.structure(unit.layer), leaves)
    is_lstm = type(getattr(unit.layer, "forward", unit.layer)) is LSTM  # its two biases are added
    for name, tensor in {} if is_lstm or lines else _tensors(layer, order).items():
        if not np.array_equal(tensor, tensors[name], equal_nan=True):
            option = ": set qkv_bias=True" if isinstance(layer, MultiHeadAttention) else ""
            lines.append(
                f"{key_of(module, name)}: must be {int(tensor.flat[0])} everywhere, since "
                f"{unit.path or 'the model'} ({type(layer).__name__}) has no such array{option}"
            )
    return {join(unit.path, path): array for path, array in arrays.items()}, lines
