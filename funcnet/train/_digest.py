"""Digests of arrays and programs, by which resumed runs and processes find that arguments differ."""

import hashlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from funcnet import _parts, _processes, _tree
from funcnet._types import PyTree
from funcnet.data import Dataset

ADVICE = {
    "data": "Pass the same rows in every process. If each has its own rows: "
    "fn.data.Dataset.from_process_local_data((x, y)).",
    "key": "Make it from the same seed in every process: jax.random.key(0).",
    "start": "Initialize the model from the same key in every process.",
    "": "All processes must run the same script, with the same arguments and the same files.",
}
ADVICE |= dict.fromkeys(("validation data", "valid", "test", "folds"), ADVICE["data"])
ADVICE["net"] = ADVICE["start"]
GATHERED_BYTES = 2**24
"""Bytes of an array in parts that are gathered at once."""


def check_equal(values: dict[str, str]) -> None:
    """Check that the arguments of a call, as strings by name, are equal in all processes.

    Raises:
        ValueError: if they are not.
    """
    _processes.check_equal(values, ADVICE)


def digest(tree: PyTree) -> str:
    """A SHA-256 over the shapes, dtypes and bytes of all arrays, wherever their parts are."""
    sha, rows = hashlib.sha256(), 0
    is_in_parts = isinstance(tree, Dataset) and any(map(_processes.is_spread, jax.tree.leaves(tree)))
    view = tree.rows if is_in_parts else None
    for path, leaf in _tree.paths(_tree.replace(tree, rows=None) if is_in_parts else tree).items():
        if not _processes.is_spread(leaf):
            leaf = _tree.to_numpy(leaf)
        shape = leaf.shape if view is None else (len(view), *leaf.shape[1:])
        sha.update(f"{path} {leaf.dtype} {shape}".encode())
        for block in _blocks(leaf, view):
            sha.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
        rows = max(rows, shape[0] if shape else 0)
    return f"up to {rows} rows, sha256 {sha.hexdigest()[:16]}"


def _blocks(leaf: Any, view: Any) -> Iterator[np.ndarray]:
    """An array, or its rows in the view; in blocks if other processes have parts of it."""
    if not _processes.is_spread(leaf):
        yield np.asarray(leaf) if view is None else np.asarray(leaf)[np.asarray(view)]
        return
    rows = np.arange(leaf.shape[0], dtype=np.int32) if view is None else np.asarray(view)
    size = max(1, GATHERED_BYTES * leaf.shape[0] // max(leaf.nbytes, 1))
    for first in range(0, len(rows), size):
        block = np.resize(rows[first : first + size], min(size, len(rows)))  # one program for all blocks
        yield np.asarray(_parts.replicate([leaf], block)[0])[: len(rows) - first]


def digest_bytes(content: bytes) -> str:
    return f"sha256 {hashlib.sha256(content).hexdigest()[:16]}"
