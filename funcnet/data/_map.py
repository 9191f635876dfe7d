"""Rows of a dataset that is indexed by number: of PyTorch, Hugging Face, grain, or a class of one's own."""

import functools
import hashlib
import warnings
from typing import Any

import jax
import numpy as np

from funcnet import _check, _tree
from funcnet._types import PyTree
from funcnet.data._dataset import is_list_of_numbers

MAX_DIGEST_ROWS = 2**14
"""Rows that are read to identify a dataset; of a larger one, as many at equal distances."""
NUM_TWICE = 8
"""Rows that are read twice, to find out whether they are drawn at random."""


class Map:
    """A dataset with `__len__` and `__getitem__`, whose examples are pytrees of numbers and arrays."""

    def __init__(self, dataset: Any) -> None:
        is_frame = hasattr(dataset, "columns") and hasattr(dataset, "dtypes")  # indexed by columns
        if (
            isinstance(dataset, type | str | bytes | dict | tuple)
            or is_frame
            or getattr(dataset, "ndim", 1) == 0
            or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"))
        ):
            raise TypeError(
                "dataset must have __len__ and __getitem__(number) -> example, got "
                f"{_check.describe(dataset)}. Of arrays write fn.data.Dataset((x, y)), of a loader "
                "fn.data.Stream.from_batches(lambda: iter(loader), num_batches)."
            )
        self.dataset = dataset
        if not 1 <= len(self) < 2**31:
            raise ValueError(
                f"dataset must have at least one row and fewer than 2**31, got {len(dataset)}. "
                "The epochs are those of fn.fit: a dataset that repeats itself is not needed."
            )
        self._like, self._structure = self._flatten(0, self._examples([0])[0])
        if not self._like:
            raise ValueError("dataset must have examples of numbers or arrays, got none in row 0.")

    def __len__(self) -> int:
        return len(self.dataset)

    def rows(self, numbers: np.ndarray) -> PyTree:
        """The examples in these rows, stacked. Each is read once."""
        distinct, place = np.unique(numbers, return_inverse=True)
        examples = self._examples(distinct.tolist())
        columns = [np.empty((len(distinct), *leaf.shape), leaf.dtype) for leaf in self._like]
        for i, (number, example) in enumerate(zip(distinct.tolist(), examples, strict=True)):
            leaves, structure = self._flatten(number, example)
            if structure != self._structure or any(
                leaf.shape != like.shape or leaf.dtype != like.dtype
                for leaf, like in zip(leaves, self._like, strict=True)
            ):
                raise ValueError(
                    "all rows of a dataset must have the arrays of row 0, "
                    f"{_describe(self._like, self._structure)}, got {_describe(leaves, structure)} in row "
                    f"{number}. Pad or convert them in __getitem__; fn.data.pad makes sequences of equal "
                    "length."
                )
            for column, leaf in zip(columns, leaves, strict=True):
                column[i] = leaf
        return jax.tree.unflatten(self._structure, [column[place] for column in columns])

    def identity(self) -> str:
        """A digest of the rows, or of some at equal distances if there are more than 16,384."""
        numbers = np.unique(np.linspace(0, len(self) - 1, min(len(self), MAX_DIGEST_ROWS)).astype(int))
        sha = hashlib.sha256()
        for part in np.array_split(numbers, -(-len(numbers) // 256)):  # not all of them in memory at once
            sha.update(_to_bytes(self.rows(part)))
        few = numbers[:: -(-len(numbers) // NUM_TWICE)]
        if _to_bytes(self.rows(few)) != _to_bytes(self.rows(few)):
            warnings.warn(
                "the rows of the dataset differ when they are read again, so a run that is interrupted "
                "can't resume exactly. Draw random numbers from the key of the loss instead: "
                "fn.data.augmented(loss, fn.data.flip(axis=1)).",
                stacklevel=2,
            )
        kind = f"{type(self.dataset).__name__} of {_describe(self._like, self._structure)}"
        return f"{kind}, sha256 of {len(numbers)} rows {sha.hexdigest()[:16]}"

    def _examples(self, numbers: list[int]) -> list[Any]:
        # PyTorch's protocol of batches, which Hugging Face's datasets have, too.
        read_many = getattr(self.dataset, "__getitems__", None)
        if read_many is None:
            return [self.dataset[number] for number in numbers]
        examples = list(read_many(numbers))
        if len(examples) != len(numbers):
            raise ValueError(
                f"__getitems__ of the dataset must return an example for each number, got {len(examples)} "
                f"for {len(numbers)}."
            )
        return examples

    def _flatten(self, number: int, example: Any) -> tuple[list[np.ndarray], Any]:
        """The arrays of an example, and its structure."""
        leaves, structure = jax.tree.flatten(example, is_leaf=is_list_of_numbers)
        return [_to_array(number, structure, i, leaf) for i, leaf in enumerate(leaves)], structure


def _to_array(number: int, structure: Any, i: int, leaf: Any) -> np.ndarray:
    # The checks take as long as reading a row.
    is_numpy = isinstance(leaf, np.ndarray | np.generic) and _tree.is_array(leaf)
    if type(leaf) is float or (is_numpy and leaf.dtype.kind in "biuf"):
        return np.asarray(leaf)
    name = f"row {number} of the dataset{_paths(structure)[i]}"
    return np.asarray(_check.array(name, leaf))


@functools.lru_cache(maxsize=16)
def _paths(structure: Any) -> list[str]:
    numbers = jax.tree.unflatten(structure, range(structure.num_leaves))
    return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(numbers)]


def _describe(leaves: list[np.ndarray], structure: Any) -> str:
    parts = zip(_paths(structure), leaves, strict=True)
    return ", ".join(f"{path} {_tree.dtype_and_shape(leaf)}".strip() for path, leaf in parts) or "none"


def _to_bytes(examples: PyTree) -> bytes:
    return b"".join(
        f"{path} {leaf.dtype} {leaf.shape}".encode() + leaf.tobytes()
        for path, leaf in _tree.paths(examples).items()
    )
