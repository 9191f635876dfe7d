"""The format of files of arrays, safetensors: names, shapes, dtypes and bytes, no code."""

import hashlib
import json
import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _parts, _tree
from funcnet._text import printable

SEAL = "funcnet.file_sha256"
"""The field of the metadata with a checksum of the whole file, in which it is 64 zeros itself."""

# The names of the format for dtypes that numpy spells differently.
DTYPES = {
    **{"BOOL": "bool", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64"},
    **{"U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64"},
    **{"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"},
}


def serialize(arrays: Mapping[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """Row-major arrays as the content of a safetensors file."""
    from safetensors.numpy import save

    return save(dict(arrays), metadata)


def seal(content: bytes) -> bytes:
    """The content of a file, sealed: with the field SEAL in its metadata, in the order of their names."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    metadata = header.pop("__metadata__", {}) | {SEAL: "0" * 64}
    header = {"__metadata__": dict(sorted(metadata.items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # arrays start at a multiple of 8 bytes
    length, arrays = len(text).to_bytes(8, "little"), memoryview(content)[8 + size :]
    sha = hashlib.sha256()
    for part in (length, text, arrays):
        sha.update(part)
    # Quotes within a name would have a backslash before them: the field occurs once.
    field = f'"{SEAL}":"'.encode()
    text = text.replace(field + b"0" * 64, field + sha.hexdigest().encode())
    return b"".join((length, text, arrays))


def _is_intact(content: bytes) -> bool:
    """Whether a sealed file is as it was written."""
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    fields = list(re.finditer(rf'"{re.escape(SEAL)}":"([0-9a-f]{{64}})"'.encode(), header))
    if len(fields) != 1:
        return False
    sha, (start, end) = hashlib.sha256(), fields[0].span(1)
    for part in (content[: 8 + start], b"0" * 64, memoryview(content)[8 + end :]):
        sha.update(part)
    return sha.hexdigest().encode() == fields[0][1]


def check_weight(argument: str, name: str, leaf: Any, others: Container[str]) -> None:
    """Raise a ValueError unless a leaf of an argument can be an array of a file beside others."""
    if name in others:
        raise ValueError(f"two arrays of the model would be called {name!r}: rename a key with a dot.")
    if name == "__metadata__" or not name.isprintable():
        raise ValueError(f"{name!r} can't be the name of an array in a safetensors file: rename it.")
    if _parts.is_spread(leaf):
        raise ValueError(
            f"{argument} must be whole in this process, and others have parts of {name}. Call, in every "
            'process inside of the same "with fn.mesh.use(...):", model = fn.mesh.shard(model, {}), which '
            "shards nothing."
        )
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


def map_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file that `serialize` made, which are read when they are used.

    Raises:
        ValueError: if it is not a complete safetensors file.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = file.read(size)
    try:
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        content = np.memmap(path, np.uint8, "r", offset=8 + size) if entries else np.zeros(0, np.uint8)
        return {
            name: content[slice(*entry["data_offsets"])]
            .view(jnp.dtype(DTYPES[entry["dtype"]]))
            .reshape(entry["shape"])
            for name, entry in entries.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path.name} is not a complete safetensors file") from None


def deserialize(content: bytes, path: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file, and its metadata.

    Raises:
        ValueError: if it is not a safetensors file, it was sealed and has changed since, or JAX lacks one
            of its dtypes; it names `path`.
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
    metadata = header.get("__metadata__") or {}
    if SEAL in metadata and not _is_intact(content):
        raise ValueError(f"{path} is damaged: its content has changed since it was saved.")
    return arrays, metadata
