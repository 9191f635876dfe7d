"""The format of files of arrays, safetensors: names, shapes, dtypes and bytes, no code."""

import json
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from funcnet._text import printable

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
