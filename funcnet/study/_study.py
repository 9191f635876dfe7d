"""The base of all studies: one compiled program, and its mapping over members."""

import abc
import contextvars
import dataclasses
import functools
from collections.abc import Hashable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from funcnet import _check, _mesh, _processes, _tree
from funcnet._types import Array, Loss, PyTree
from funcnet.data import Dataset
from funcnet.data._dataset import as_dataset
from funcnet.study._members import (
    SMALL_BLOCK,
    ProgressCallback,
    block_width,
    is_small,
    map_members,
)
from funcnet.train import Fit
from funcnet.train._blocks import BlockStudy, RunStage, Stage
from funcnet.train._digest import (
    check_equal,
    digest,
    digest_call,
    digest_program,
    digest_text,
    without_addresses,
)
from funcnet.train._evaluate import check_data
from funcnet.train._fingerprint import SETTINGS

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
            check_equal({**_describe(arrays), "program of the study": self._digest(static, arrays)})
        return _processes.to_local(self._programs[wide](static, _mesh.num_devices(), *arrays))

    def _digest(self, static: Hashable, arrays: PyTree) -> str:
        """A digest of the program, remembered by the shapes of its arguments."""
        leaves, tree = jax.tree.flatten(arrays)
        key = static, tree, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
        if key not in self._digests:
            self._digests[key] = digest_call(functools.partial(self._compute, static), *arrays)[0]
        return self._digests[key]

    @functools.cached_property
    def _digests(self) -> dict[Any, str]:
        return {}

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


_run_stage: contextvars.ContextVar[tuple["MemberStudy", RunStage] | None] = contextvars.ContextVar(
    "run_stage", default=None
)
"""The study that a Trainer runs block by block, and the function that does it."""


@dataclasses.dataclass(frozen=True, eq=False)
class MemberStudy(Study, BlockStudy):
    """A study of many members, which are independent runs: computed in blocks and over all devices.

    A subclass is final. It implements `_member`, `_combine`, `num_members` and `__call__`, which calls
    `_run_members`.

    Args:
        block: the number of members computed side by side on a device; chosen by memory if None.
        progress: called on the host after each block with the number of members it finished; None for
            no calls.
    """

    SHARED: ClassVar[tuple[str, ...]]
    """The names of what all members share."""
    SMALL_BLOCK: ClassVar[int] = SMALL_BLOCK
    """The block of small members, if `block` is None."""

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

    def run_in_blocks(self, run_stage: RunStage, *args: Any, **kwargs: Any) -> Any:
        token = _run_stage.set((self, run_stage))
        try:
            return self(*args, **kwargs)
        finally:
            _run_stage.reset(token)

    def _run_members(
        self,
        model: PyTree,
        size: int,
        shared: PyTree,
        static: Hashable = None,
        *,
        count: int | None = None,
        report: bool = True,
        wide: bool = False,
    ) -> PyTree:
        """All members in one program; or by that of a block, if a Trainer runs this study.

        Args:
            model: a member's model, whose parameter sizes decide how members are mapped.
            size: the number of members.
            shared: what all members share, a pytree of arrays.
            static: hashable settings of this call, which are part of the program.
            count: the number of the first members that are computed, which is not part of the program; all
                if None. `_combine` gets any values for the others, or only the results of the first.
            report: whether `progress` is called.
            wide: whether small members use wide vectors.
        """
        _check.fits_in_memory(f"the results of {size} members", 64 * size)  # at the least
        small = is_small(model)
        study, run_stage = _run_stage.get() or (None, None)
        if run_stage is None or study is not self:
            number = None if count is None else jnp.int32(count)
            return self._run(_All(static, size, small, report), shared, number, wide=wide and small)
        traced = self._trace(static, size, small, shared)

        def run(first: int, width: int) -> dict[str, Any]:
            block = _Block(static, size, small, width)
            results = self._run(block, shared, jnp.int32(first), wide=wide and small)
            return dict(zip(traced.structs, results, strict=True))

        computed = size if count is None else count
        identify = functools.partial(self._identity, computed, shared, traced)
        progress = self.progress if report else None
        stage = Stage(computed, traced.width, traced.structs, run, identify, progress, is_repeat=not report)
        results = run_stage(stage)
        combine = _Combine(static, traced.tree, traced.key_impls)
        return self._run(combine, shared, list(results.values()))

    def _run_member(self, number: int, shared: PyTree, static: Hashable = None) -> PyTree:
        """The result of one member alone."""
        number = _check.not_negative("number", number)
        if number > _check.INT32_MAX:
            raise ValueError(f"number must be at most 2**31 - 1, got {number}.")
        return self._run(_One(static), shared, jnp.int32(number))

    def _compute(self, static: Any, *arrays: PyTree) -> PyTree:
        shared, argument = arrays
        member = functools.partial(self._member, static.setting)
        map_ = functools.partial(map_members, member, shared, small_block=self.SMALL_BLOCK)
        match static:
            case _One():
                return member(shared, argument)
            case _All(setting, size, small, report):
                progress = self.progress if report else None
                results = map_(size, self.block, small, progress, count=argument)
                return self._combine(setting, shared, results)
            case _Block(_, size, small, width):
                results = map_(size, self.block, small, None, argument, width)
                return [_unwrap_key(leaf) for leaf in jax.tree.leaves(results)]
            case _Combine(setting, tree, key_impls):
                leaves = map(_wrap_key, argument, key_impls)
                return self._combine(setting, shared, jax.tree.unflatten(tree, leaves))
        raise AssertionError(static)

    def _trace(self, static: Hashable, size: int, small: bool, shared: PyTree) -> "_Traced":
        """One member as JAX traces it, and how many are computed at once; remembered by shapes."""
        leaves, tree = jax.tree.flatten(shared)
        structs = [jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]
        key = static, size, small, _mesh.num_devices(), tree, tuple(map(str, structs))
        if key not in self._traces:
            member = functools.partial(self._member, static)
            impls: list[Any] = []

            def one(shared: PyTree, number: Array) -> PyTree:
                result = member(shared, number)
                impls[:] = [
                    jax.random.key_impl(leaf) if _tree.is_key(leaf) else None
                    for leaf in jax.tree.leaves(result)
                ]
                return jax.tree.map(_unwrap_key, result)

            arguments = jax.tree.unflatten(tree, structs), jax.ShapeDtypeStruct((), jnp.int32)
            with _mesh.ignore_mesh():
                program, result = jax.make_jaxpr(one, return_shape=True)(*arguments)
            width = block_width(member, arguments[0], size, self.block, small, self.SMALL_BLOCK)
            self._traces[key] = _Traced(
                width,
                _tree.paths((result,)),
                jax.tree.structure(result),
                tuple(impls),
                digest_program(program),
            )
        return self._traces[key]

    @functools.cached_property
    def _traces(self) -> dict[Any, "_Traced"]:
        return {}

    def _identity(self, size: int, shared: PyTree, traced: "_Traced") -> dict[str, str]:
        """What must be the same when the study resumes, as strings by name."""
        identity = {"study": type(self).__name__}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Fit):
                settings = {name: repr(getattr(value, name)) for name in SETTINGS}
                identity |= {f"setting {name} of {field.name}": text for name, text in settings.items()}
            elif field.name not in ("block", "progress", *self.SHARED) and not callable(value):
                identity[f"setting {field.name}"] = without_addresses(repr(value))
        identity["members"] = str(size)
        for name, part in zip(self.SHARED, shared, strict=True):
            structure = digest_text(str(jax.tree.structure(part)))
            identity[name] = "none" if part is None else f"{digest(part)}, structure {structure}"
        return {**identity, "program of a member": traced.program}


class _All(NamedTuple):
    """All members, and their combination."""

    setting: Any
    size: int
    small: bool
    report: bool


class _One(NamedTuple):
    """One member alone."""

    setting: Any


class _Block(NamedTuple):
    """The results of `width` members, as arrays."""

    setting: Any
    size: int
    small: bool
    width: int


class _Combine(NamedTuple):
    """The combination of the results of all members."""

    setting: Any
    tree: Any
    key_impls: tuple[Any, ...]


class _Traced(NamedTuple):
    """What tracing one member shows: the structure of its result, and its program."""

    width: int
    structs: dict[str, Any]
    tree: Any
    key_impls: tuple[Any, ...]
    program: str


def _unwrap_key(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _tree.is_key(leaf) else leaf


def _wrap_key(leaf: Any, impl: Any) -> Any:
    return leaf if impl is None else jax.random.wrap_key_data(leaf, impl=impl)
