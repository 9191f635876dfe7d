"""Digests of arrays and programs, by which resumed runs and processes find that arguments differ."""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from funcnet import _mesh, _parts, _processes, _tree
from funcnet._types import PyTree
from funcnet.data import Dataset
from funcnet.transform._jaxpr import equations

ADVICE = {
    "data": "Pass the same rows in every process. If each has its own rows: "
    "fn.data.Dataset.from_process_local_data((x, y)).",
    "key": "Make it from the same seed in every process: jax.random.key(0).",
    "start": "Initialize the model from the same key in every process.",
    "": "All processes must run the same script, with the same arguments and the same files.",
}
ADVICE["validation data"] = ADVICE["data"]
GATHERED_BYTES = 2**24
"""Bytes of an array in parts that are gathered at once."""


def check_equal(values: dict[str, str]) -> None:
    """Check that the arguments of a call, as strings by name, are equal in all processes.

    Raises:
        ValueError: if they are not.
    """
    # By name, so that fit in one process and evaluate in another are found to be different calls.
    _processes.check_equal(values, ADVICE, f"digests of {', '.join(values)}")


def digest(tree: PyTree) -> str:
    """A SHA-256 over the shapes, dtypes and bytes of all arrays, wherever their parts are.

    Of a Dataset, with its number of rows.
    """
    sha, rows = hashlib.sha256(), 0
    is_in_parts = isinstance(tree, Dataset) and _parts.is_spread(tree)
    view = tree.rows if is_in_parts else None
    for path, leaf in _tree.paths(_tree.replace(tree, rows=None) if is_in_parts else tree).items():
        if not _parts.is_spread(leaf):
            leaf = _tree.to_numpy(leaf)
        shape = leaf.shape if view is None else (len(view), *leaf.shape[1:])
        sha.update(f"{path} {leaf.dtype} {shape}".encode())
        for block in _blocks(leaf, view):
            sha.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
        rows = max(rows, shape[0] if shape else 0)
    size = f"{rows} rows, " if isinstance(tree, Dataset) else ""
    return f"{size}sha256 {sha.hexdigest()[:16]}"


def _blocks(leaf: Any, view: Any) -> Iterator[np.ndarray]:
    """An array, or its rows in the view; in blocks if other processes have parts of it."""
    if not _parts.is_spread(leaf):
        yield np.asarray(leaf) if view is None else np.asarray(leaf)[np.asarray(view)]
        return
    rows = np.arange(leaf.shape[0], dtype=np.int32) if view is None else np.asarray(view)
    size = max(1, GATHERED_BYTES * leaf.shape[0] // max(leaf.nbytes, 1))
    for first in range(0, len(rows), size):
        block = np.resize(rows[first : first + size], min(size, len(rows)))  # one program for all blocks
        yield np.asarray(_parts.replicate([leaf], block)[0])[: len(rows) - first]


def digest_bytes(content: bytes) -> str:
    return f"sha256 {hashlib.sha256(content).hexdigest()[:16]}"


def digest_call(f: Callable[..., Any], *arguments: PyTree) -> tuple[str, PyTree]:
    """A digest of `f(*arguments)` as JAX traces it on any number of devices, and the structs of its result.

    Of the arguments, only structures, shapes and dtypes count.
    """
    structs = jax.eval_shape(lambda *values: values, *arguments)
    structs = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), structs)
    with _mesh.ignore_mesh():
        program, result = jax.make_jaxpr(f, return_shape=True)(*structs)
    return digest_program(program), result


def digest_program(program: Any) -> str:
    """A SHA-256 over a program as JAX prints it, and the arrays in it."""
    text = program.jaxpr.pretty_print(use_color=False)  # on a terminal JAX prints in color by itself
    return digest_text(f"{text}{digest(_arrays(program))}")


def digest_text(text: str) -> str:
    """A SHA-256 over a text without addresses."""
    return digest_bytes(without_addresses(text).encode())


def without_addresses(text: str) -> str:
    """A text without the addresses of functions, which differ between processes."""
    return re.sub(r"0x[0-9a-f]+", "", text)


def _arrays(program: Any) -> list[Any]:
    """The arrays in a program and in those inside it, which are not printed: what a loss closes over."""
    arrays = list(program.consts)
    for equation in equations(program.jaxpr):
        for leaf in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "consts")):
            if hasattr(leaf, "consts"):
                arrays += leaf.consts
            elif isinstance(leaf, jax.Array | np.ndarray):
                arrays.append(leaf)
    return arrays
