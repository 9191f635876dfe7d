"""The weights of any model on disk, as safetensors: names, shapes, dtypes and bytes, no code."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

from funcnet import _check, _files, _tree
from funcnet._module import check_complete, shapes
from funcnet._text import printable
from funcnet._types import PyTree

T = TypeVar("T")

# The names of the format for dtypes that numpy spells differently.
DTYPES = {
    **{"BOOL": "bool", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64"},
    **{"U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64"},
    **{"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"},
}

DIGEST = "funcnet.sha256"
"""The field of the file's metadata with a checksum of all arrays and their names."""
EXAMPLE = "model.safetensors"


def save_weights(model: PyTree, path: str | os.PathLike[str]) -> None:
    """Write every array of a model, buffers included, to a safetensors file.

    The write is atomic: the file is written under another name and then renamed. A checksum of all arrays
    is written with them.

    Args:
        model: any pytree of arrays, such as a module after `init`.
        path: the file, which usually ends in ".safetensors". An existing file is replaced.

    Raises:
        TypeError: if a module is not initialised, or `path` is not a path.
        ValueError: if a leaf is not an array of numbers, or two leaves would have the same name.
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
    place = _check.path("path", path, EXAMPLE)
    check_complete(model)
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(model)):
        raise TypeError("model must hold arrays, got the shapes of some. Try model = net.init(key).")
    # The format stores memory as it is: row-major, without gaps.
    arrays = {name: np.array(leaf, order="C") for name, leaf in _arrays_by_name("model", model).items()}
    _files.write(place, serialize(arrays, {DIGEST: _digest(arrays)}))


def load_weights(net: T, path: str | os.PathLike[str]) -> T:
    """A model with the arrays of a file that `save_weights` wrote.

    Args:
        net: the architecture before `init`, or a model of the same shapes, whose values are ignored.
        path: the safetensors file.

    Returns:
        The same type as `net`, with the file's arrays on the default device.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not a safetensors file; if it has changed since `save_weights` wrote it, whose
            checksum files of other tools don't have; or if its arrays are not those of `net`: the message
            lists each one that is missing, unexpected, or has another shape or dtype.

    Example:
        >>> import tempfile, jax, funcnet as fn
        >>> model = fn.MLP((4, 16, 3)).init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fn.save_weights(model, f"{folder}/model.safetensors")
        ...     fn.load_weights(fn.MLP((4, 8, 3)), f"{folder}/model.safetensors")
        Traceback (most recent call last):
        ValueError: .../model.safetensors does not hold the weights of this MLP:
          layers.0.bias: float32[16] in the file, float32[8] expected
          layers.0.weight: float32[4,16] in the file, float32[4,8] expected
          layers.1.weight: float32[16,3] in the file, float32[8,3] expected
    """
    place = _check.path("path", path, EXAMPLE)
    template = shapes(net)
    expected = _arrays_by_name("net", template)
    saved, metadata = deserialize(_files.read(place, "a safetensors file"), str(place))
    if metadata.get(DIGEST, _digest(saved)) != _digest(saved):
        raise ValueError(f"{place} is damaged: its content has changed since it was saved.")
    if lines := _differences(saved, expected):
        raise ValueError(
            f"{path} does not hold the weights of this {type(net).__name__}:\n  " + "\n  ".join(lines)
        )
    leaves = [jnp.asarray(saved[name]) for name in expected]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def serialize(arrays: Mapping[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """Row-major arrays as the content of a safetensors file."""
    from safetensors.numpy import save

    return save(dict(arrays), metadata)


def deserialize(content: bytes, path: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file, and its metadata.

    Raises:
        ValueError: if it is not a safetensors file, or JAX lacks one of its dtypes; it names `path`.
    """
    import safetensors

    try:
        entries = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        reason = printable(str(error)[:200])  # it may quote all of the header
        raise ValueError(f"{path} is not a complete safetensors file: {reason}.") from None
    unknown = sorted({entry["dtype"] for _, entry in entries} - set(DTYPES))
    if unknown:
        raise ValueError(f"{path} holds arrays of {', '.join(unknown)}, for which JAX has no dtype.")
    arrays = {
        name: np.frombuffer(entry["data"], jnp.dtype(DTYPES[entry["dtype"]])).reshape(entry["shape"])
        for name, entry in entries
    }
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return arrays, header.get("__metadata__") or {}


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """A SHA-256 of the names, dtypes, shapes and bytes of row-major arrays, in the order of the names."""
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def _arrays_by_name(argument: str, model: PyTree) -> dict[str, Any]:
    """Leaves by dotted path, `layers.0.weight`, in the order of the tree."""
    flat, _ = jax.tree_util.tree_flatten_with_path(model)
    arrays: dict[str, Any] = {}
    for path, leaf in flat:
        name = ".".join(_key_name(entry) for entry in path) or "model"
        if name in arrays:
            raise ValueError(f"two arrays of the model would be called {name!r}: rename a key with a dot.")
        if name == "__metadata__" or not name.isprintable():
            raise ValueError(f"{name!r} can't be the name of an array in a safetensors file: rename it.")
        dtype = getattr(leaf, "dtype", None)
        if (
            not _tree.is_array(leaf)
            or dtype is None
            or jnp.issubdtype(dtype, jax.dtypes.extended)
            or dtype.name not in DTYPES.values()
        ):
            raise ValueError(
                f"the weights of {argument} must be arrays of numbers, got {_check.describe(leaf)} for "
                f"{name}. Keep settings in static fields, and a key as jax.random.key_data(key)."
            )
        arrays[name] = leaf
    return arrays


def _key_name(entry: Any) -> str:
    match entry:
        case GetAttrKey(name=name):
            return str(name)
        case SequenceKey(idx=index):
            return str(index)
        case DictKey(key=key) | FlattenedIndexKey(key=key):
            return str(key)
    return str(entry)


def _differences(saved: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    in_file, in_model = (
        {name: _tree.dtype_and_shape(array) for name, array in arrays.items()}
        for arrays in (saved, expected)
    )
    lines = []
    for name in sorted(in_file.keys() | in_model.keys()):
        if in_file.get(name) != in_model.get(name):
            kind = f"{in_file[name]} in the file" if name in in_file else "missing in the file"
            lines.append(
                f"{name}: {kind}, {f'{in_model[name]} expected' if name in in_model else 'unexpected'}"
            )
    return lines
