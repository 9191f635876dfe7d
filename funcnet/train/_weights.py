"""The weights of any model on disk, as safetensors: names, shapes, dtypes, bytes, and no code."""

import os
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

from funcnet import _check, _tree
from funcnet._module import check_complete, shapes
from funcnet._types import PyTree

T = TypeVar("T")

# The format's words for dtypes that numpy spells otherwise.
DTYPES = {
    **{"BOOL": "bool", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64"},
    **{"U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64"},
    **{"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"},
}


def save_weights(model: PyTree, path: str | os.PathLike[str]) -> None:
    """Write every array of a model, buffers included, to a safetensors file.

    The file appears at once and whole, or not at all: it is written beside its place and moved.

    Args:
        model: any pytree of arrays, such as a module after `init`.
        path: where to; by habit it ends in ".safetensors". A file that is there is replaced.

    Raises:
        TypeError: if a module has yet to be initialised.
        ValueError: if a leaf is no array of numbers, or two leaves would have one name.
        OSError: if the file can't be written.

    Example:
        >>> import tempfile, jax, funcnet as fn
        >>> net = fn.MLP((4, 16, 3))
        >>> model = net.init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fn.save_weights(model, f"{folder}/model.safetensors")
        ...     fn.load_weights(net, f"{folder}/model.safetensors") == model
        True
    """
    from safetensors.numpy import save

    check_complete(model)
    # The format stores memory as it lies: rows first, without gaps.
    arrays = {name: np.array(leaf, order="C") for name, leaf in _named(model).items()}
    write_whole(path, save(arrays))


def load_weights(net: T, path: str | os.PathLike[str]) -> T:
    """A model with the arrays of a file that `save_weights` wrote.

    Args:
        net: the architecture before `init`, or a model of the same shapes; its own numbers play no
            part.
        path: the safetensors file.

    Returns:
        The same type as `net`, with the file's arrays on the default device.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no safetensors file, or its arrays are not those of `net`: the message
            lists each that is missing, unexpected, or of another shape or dtype.

    Example:
        >>> import tempfile, jax, funcnet as fn
        >>> model = fn.MLP((4, 16, 3)).init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fn.save_weights(model, f"{folder}/model.safetensors")
        ...     fn.load_weights(fn.MLP((4, 8, 3)), f"{folder}/model.safetensors")
        Traceback (most recent call last):
        ValueError: .../model.safetensors holds other weights than this MLP's:
          layers.0.bias: float32[16] in the file, float32[8] wanted
          layers.0.weight: float32[4,16] in the file, float32[4,8] wanted
          layers.1.weight: float32[16,3] in the file, float32[8,3] wanted
    """
    template = shapes(net)
    wanted = _named(template)
    found = _read(Path(path))
    if wrong := _differences(wanted, found):
        lines = "\n  ".join(wrong)
        raise ValueError(f"{path} holds other weights than this {type(net).__name__}'s:\n  {lines}")
    leaves = [jnp.asarray(found[name]) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that a reader sees all of it or the one of before, never a part."""
    place = Path(path)
    beside = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, place)
    except OSError as error:
        # Told of the file that was asked for: nobody knows the one beside it.
        raise OSError(error.errno, error.strerror, str(place)) from None
    finally:
        beside.unlink(missing_ok=True)


def _named(model: PyTree) -> dict[str, Any]:
    """Leaves by dotted path, `layers.0.weight`, in the order of the tree."""
    flat, _ = jax.tree_util.tree_flatten_with_path(model)
    named: dict[str, Any] = {}
    for path, leaf in flat:
        name = ".".join(_step(entry) for entry in path) or "model"
        if name in named:
            raise ValueError(f"two arrays of the model would be called {name!r}: rename a key with a dot.")
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or jnp.issubdtype(dtype, jax.dtypes.extended) or dtype.name not in DTYPES.values():
            raise ValueError(
                f"{name} is {_check.describe(leaf)}, and weights are arrays of numbers. Keep settings in "
                "static fields, and a key as jax.random.key_data(key)."
            )
        named[name] = leaf
    return named


def _step(entry: Any) -> str:
    match entry:
        case GetAttrKey(name=name):
            return str(name)
        case SequenceKey(idx=index):
            return str(index)
        case DictKey(key=key) | FlattenedIndexKey(key=key):
            return str(key)
    return str(entry)


def _read(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole safetensors file: {error}.") from None
    unknown = sorted({entry["dtype"] for _, entry in entries} - set(DTYPES))
    if unknown:
        raise ValueError(f"{path} holds arrays of {', '.join(unknown)}, which JAX has no dtype for.")
    return {
        name: np.frombuffer(entry["data"], jnp.dtype(DTYPES[entry["dtype"]])).reshape(entry["shape"])
        for name, entry in entries
    }


def _differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    ours, theirs = (
        {name: _tree.dtype_and_shape(array) for name, array in tree.items()} for tree in (wanted, found)
    )
    lines = []
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            came = f"{theirs[name]} in the file" if name in theirs else "missing in the file"
            lines.append(f"{name}: {came}, {f'{ours[name]} wanted' if name in ours else 'unexpected'}")
    return lines
