"""The base of all studies: one compiled program, and its mapping over members."""

import abc
import dataclasses
import functools
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check, _mesh, _processes, _tree
from funcnet._types import Array, Loss, PyTree
from funcnet.data import Dataset
from funcnet.data._dataset import as_dataset
from funcnet.study._members import ProgressCallback, is_small, map_members
from funcnet.train._digest import check_equal, digest
from funcnet.train._evaluate import check_data

# Vectors of 512 bits take 0.74 to 1.02 of the time for members of `vmap_last`, where the CPU has them;
# matrix products gain nothing.
WIDE_VECTORS = {"xla_cpu_prefer_vector_width": 512}


def to_rows(name: str, rows: Any, loss: Loss | None, model: PyTree, *, concrete: bool = False) -> Dataset:
    """The rows of the argument `name` as a Dataset, which suits the model if there is a loss.

    Raises:
        TypeError: if they are not rows, or traced though they must be `concrete`.
        ValueError: if they do not suit the model.
    """
    if (
        rows is None
        or isinstance(rows, str | bool | int | float)
        or callable(rows)
        or hasattr(rows, "history")
    ):
        raise TypeError(
            f"{name} must be a Dataset or a tuple of arrays [n, ...], got {_check.describe(rows)}. Try "
            f"{name}=(x, y)."
        )
    if concrete:
        check_concrete(name, rows)
    return as_dataset(rows) if loss is None else check_data(loss, model, rows)


def check_net(net: Any) -> None:
    """Raise unless the argument `net` is a module with an `init`, or a model: any pytree of arrays."""
    leaves = jax.tree.leaves(net)
    if not leaves or not all(hasattr(leaf, "dtype") for leaf in leaves) or hasattr(net, "history"):
        _check.architecture(net)


def check_concrete(name: str, value: PyTree) -> None:
    """Raise if the argument `name` of a computation on the host is traced, or the caller is."""
    if _tree.is_traced() or not _tree.is_concrete(value):
        raise TypeError(
            f"{name} must not be traced: this runs on the host. Call it outside of jit, vmap and grad."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Study(abc.ABC):
    """A computation of many steps of training that is compiled once and called with arrays.

    A subclass is final. Its settings are its fields, and it implements `_compute` and `__call__`.
    """

    @abc.abstractmethod
    def _compute(self, static: Any, *arrays: PyTree) -> PyTree:
        """The traced computation: pure in `arrays`; `static` is hashable and part of the program."""

    def _run(self, static: Hashable, *arrays: PyTree, wide: bool = False) -> PyTree:
        """`_compute`, compiled; `wide` chooses wide vectors on a CPU, but not within another `jit`."""
        if _processes.count() > 1:
            check_equal(_describe(arrays))
        return _processes.to_local(self._programs[wide](static, _mesh.num_devices(), *arrays))

    @functools.cached_property
    def _programs(self) -> dict[bool, Any]:
        """The program without and with wide vectors."""

        def program(static: Any, num_devices: int, *arrays: PyTree) -> PyTree:
            del num_devices  # static, so that each number of devices (`mesh.use`) has its own program
            return self._compute(static, *arrays)

        options = {False: None, True: WIDE_VECTORS if jax.default_backend() == "cpu" else None}
        return {
            wide: jax.jit(program, static_argnums=(0, 1), compiler_options=option)
            for wide, option in options.items()
        }


def _describe(arrays: PyTree) -> dict[str, str]:
    """The arguments of a study as strings by name, to be compared between processes."""
    parts: dict[str, list[Any]] = {}
    for part in jax.tree.leaves(arrays, is_leaf=lambda leaf: isinstance(leaf, Dataset)):
        kind = "data" if isinstance(part, Dataset) else "key" if _tree.is_key(part) else "start"
        parts.setdefault(kind, []).append(part)
    return {kind: "; ".join(map(digest, leaves)) for kind, leaves in parts.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class MemberStudy(Study):
    """A study of many members, which are independent runs: computed in blocks and over all devices.

    A subclass is final. It implements `_member`, `_combine` and `__call__`, which calls `_run_members`.

    Args:
        block: the number of members computed side by side on a device; chosen by memory if None.
        progress: called on the host after each block with the number of members it finished; None for
            no calls.
    """

    block: int | None = dataclasses.field(kw_only=True)
    progress: ProgressCallback | None = dataclasses.field(kw_only=True)

    def __post_init__(self) -> None:
        if self.block is not None:
            _check.count("block", self.block)
        if self.progress is not None:
            expected = "a function of the number of members just finished"
            _check.takes("progress", self.progress, expected, 1)

    @abc.abstractmethod
    def _member(self, static: Any, shared: Any, number: Array) -> PyTree:
        """The result of one member: pure in what all members share and its number, an int32 scalar."""

    @abc.abstractmethod
    def _combine(self, static: Any, shared: Any, results: Any) -> PyTree:
        """The result of the study, within the program, from the results [members, ...] of all members."""

    def _run_members(
        self,
        model: PyTree,
        size: int,
        shared: PyTree,
        static: Hashable = None,
        *,
        report: bool = True,
        wide: bool = False,
    ) -> PyTree:
        """All members in one program.

        Args:
            model: a member's model, whose parameter sizes decide how members are mapped.
            size: the number of members.
            shared: what all members share, a pytree of arrays.
            static: hashable settings of this call, which are part of the program.
            report: whether `progress` is called.
            wide: whether small members use wide vectors.
        """
        _check.fits_in_memory(f"the results of {size} members", 64 * size)  # at the least
        small = is_small(model)
        return self._run((static, size, small, report), shared, None, wide=wide and small)

    def _run_member(self, number: int, shared: PyTree, static: Hashable = None) -> PyTree:
        """The result of one member alone."""
        number = _check.not_negative("number", number)
        if number > _check.INT32_MAX:
            raise ValueError(f"number must be at most 2**31 - 1, got {number}.")
        return self._run((static, 1, False, False), shared, jnp.int32(number))

    def _compute(self, static: Any, *arrays: PyTree) -> PyTree:
        (setting, size, small, report), (shared, number) = static, arrays
        member = functools.partial(self._member, setting)
        if number is not None:
            return member(shared, number)
        progress = self.progress if report else None
        results = map_members(member, shared, size, self.block, small, progress)
        return self._combine(setting, shared, results)
