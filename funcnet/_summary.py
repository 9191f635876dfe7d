"""A table of the modules of a model, without running it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._module import Module, count, modules, observe_calls, shapes
from funcnet._types import PyTree


@dataclasses.dataclass(frozen=True)
class Row:
    """One module of a summary.

    Args:
        path: path in the model, '' for the model itself.
        class_name: name of its class.
        output: dtype and shape of the output, as text.
        parameters: number of parameters, including those of its children.
        nbytes: size of all its arrays in bytes, including buffers.
        flops: floating-point operations of one call, by XLA's cost analysis before optimization; -1 if
            the model did not call it.
        frozen: how many of the parameters `fn.freeze` froze.
    """

    path: str
    class_name: str
    output: str
    parameters: int
    nbytes: int
    flops: int
    frozen: int = 0


HEADER = ("path", "class", "output", "parameters", "frozen", "bytes", "FLOPs")


@dataclasses.dataclass(frozen=True)
class Summary:
    """The rows of a summary, parents before children; it prints as a table.

    The table has a column `frozen` if something is.
    """

    rows: tuple[Row, ...]

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [_align(line, widths) for line in cells]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table, for notebooks."""
        from funcnet import _html

        total = f"{self.rows[0].parameters:,} parameters" if self.rows else "no modules"
        header, *rows = self._cells()
        return _html.fragment(_html.Table(total, header, rows))

    def _cells(self) -> list[tuple[str, ...]]:
        """The header and the rows as text."""
        cells = [HEADER, *(_format_row(row) for row in self.rows)]
        if any(row.frozen for row in self.rows):
            return cells
        column = HEADER.index("frozen")
        return [(*line[:column], *line[column + 1 :]) for line in cells]


@_check.usage("fn.summary(net, x[0])")
def summary(net: Module, x: PyTree) -> Summary:
    """The modules of a model: path, class, output, parameters, bytes, FLOPs.

    The model is not run: shapes come from abstract evaluation, FLOPs from XLA's cost analysis.

    Args:
        net: a module, before or after `init`.
        x: an example input, or a `jax.ShapeDtypeStruct` of its shape and dtype.

    Returns:
        A Summary with `rows`; it prints as a table.

    Raises:
        TypeError: if `net` is not a module.
        ValueError: if x does not have the shape that it expects.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> print(fn.summary(fn.MLP((2, 10, 1)), jnp.ones(2)))
        path       class   output       parameters  bytes  FLOPs
        --------------------------------------------------------
        (model)    MLP     float32[1]           41    164     81
        layers[0]  Linear  float32[10]          30    120     50
        layers[1]  Linear  float32[1]           11     44     21
    """
    _check.not_lifted(net)
    if not isinstance(net, Module):
        raise TypeError(
            f"net must be a funcnet.Module, got {_check.describe(net)}. Try summary(fn.MLP((4, 16, 3)), x)."
        )
    x = jax.tree_util.tree_map_with_path(_example, x)
    calls: dict[str, tuple[Any, ...]] = {}

    def call_recorded(model: Module, x: PyTree) -> Any:
        paths = {id(module): path for path, module in modules(model).items()}

        def record(module: Module, args: Any, kwargs: Any, output: Any) -> None:
            path = paths.get(id(module))
            if path is not None:
                calls.setdefault(path, (_structs(args), _structs(kwargs), _structs(output)))

        with observe_calls(record):
            return model(x)  # type: ignore[operator]

    model = shapes(net)
    jax.eval_shape(call_recorded, model, x)
    return Summary(tuple(_row(path, module, calls.get(path)) for path, module in modules(model).items()))


def _example(path: Any, leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct) or _tree.is_key(leaf):
        return leaf
    return _check.jax_array(f"x{jax.tree_util.keystr(path)}", leaf)


def _row(path: str, module: Module, call: tuple[Any, ...] | None) -> Row:
    nbytes = [int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(module)]
    output, flops = "not called", -1
    if call is not None:
        args, kwargs, result = call
        output = ", ".join(_tree.dtype_and_shape(leaf) for leaf in jax.tree.leaves(result))
        flops = _flops(module, args, kwargs)
    frozen = count(module, trainable=False)
    return Row(path, type(module).__name__, output, count(module), sum(nbytes), flops, frozen)


def _flops(module: Module, args: Any, kwargs: Any) -> int:
    lowered = jax.jit(lambda m, a, k: m(*a, **k)).lower(module, args, kwargs)
    return int((lowered.cost_analysis() or {}).get("flops", 0))


def _structs(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), tree)


def _format_row(row: Row) -> tuple[str, ...]:
    flops = f"{row.flops:,}" if row.flops >= 0 else "-"
    return (
        row.path or "(model)",
        row.class_name,
        row.output,
        f"{row.parameters:,}",
        f"{row.frozen:,}",
        f"{row.nbytes:,}",
        flops,
    )


def _align(cells: tuple[str, ...], widths: list[int]) -> str:
    padded = [
        cell.ljust(width) if i < 3 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
