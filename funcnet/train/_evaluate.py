"""Exact means over a dataset, and predictions for all its rows."""

import dataclasses
import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

from funcnet import _check, _parts, _processes, _tree
from funcnet._jit import bounded_jit
from funcnet._metric import MetricRows
from funcnet._module import Module, as_module, check_model, requires_key, trainable
from funcnet._types import Array, Loss, PyTree
from funcnet.data import Dataset
from funcnet.data._batches import epoch_rows, gather
from funcnet.data._dataset import as_dataset, own_arrays
from funcnet.train._digest import check_equal, digest, digest_call
from funcnet.train._state import TrainState
from funcnet.transform._jaxpr import as_function
from funcnet.transform._objective import RunningTotals, Totals, objective


@_check.usage("fn.evaluate(loss, model, (x, y))")
def evaluate(loss: Loss, model: PyTree, data: PyTree, batch_size: int = 1024) -> dict[str, Array]:
    """The weighted mean loss and metrics of a model over a dataset, in inference mode.

    Args:
        loss: of one example, as for `fit`.
        model: any pytree of arrays.
        data: a Dataset, or a tuple of arrays [n, ...].
        batch_size: rows at a time. It affects memory and speed, and the result only up to rounding.

    Returns:
        Scalars by name: "loss" and the loss's metrics; for a metric of several numbers one name for each.

    Raises:
        TypeError: if `loss` is not a function, or the model lacks parameters.
        ValueError: if the data is not valid for a Dataset or for the loss.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> x = jnp.arange(5.0)
        >>> float(fn.evaluate(loss, lambda x: 0 * x, (x, x), batch_size=2)["loss"])
        6.0
    """
    _check.loss(loss)
    _check_no_run(model)
    model = as_tree(model)
    with _processes.together():
        data = check_data(loss, model, data)
    batch_size = _check.positive("batch_size", batch_size)
    hashable = loss if isinstance(loss, Hashable) else _ById(loss)
    batch_size = min(batch_size, len(data))
    _check_equal(functools.partial(_means, hashable), model, data, batch_size)
    return _processes.to_local(_evaluate(hashable, model, data, batch_size))


@_check.usage("fn.predict(model, x)")
def predict(model: Callable[[Any], Any], x: PyTree, batch_size: int = 1024) -> PyTree:
    """The predictions of a model in inference mode, row by row, in the order of the rows.

    Args:
        model: called on one example without its leading axis. JAX's cache of compiled programs keeps a
            plain function and the arrays that it closes over, but not the arrays of a module.
        x: features, an array or pytree of arrays [n, ...], or for a model of dictionaries a list of n
            dictionaries; or a Dataset, whose targets are ignored if it holds pairs (x, y). For a frame,
            `Table.encode(frame)` finds columns by their names.
        batch_size: rows at a time. It affects memory and speed, and the result only up to rounding.

    Returns:
        The outputs of the model, with a leading axis [n, ...].

    Raises:
        TypeError: if the model can't be called or lacks parameters, or x is a frame, one row, or of a
            structure that the model does not take.
        ValueError: if x is empty or its arrays differ in length.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.predict(lambda x: 2 * x, jnp.arange(3.0), batch_size=2).tolist()
        [0.0, 2.0, 4.0]
    """
    if isinstance(getattr(model, "state", None), TrainState):
        raise TypeError("model must be a model, got a Run. Write fn.predict(run.model, x).")
    # A module of another library may require a key, which is None in inference.
    key = {"key": None} if not jax.tree_util.all_leaves([model]) and requires_key(model) else {}
    _check.takes("model", model, "a function of one example, as in fn.predict(model, x)", None, **key)
    model = as_tree(model)
    check_model(model)
    batch_size = _check.positive("batch_size", batch_size)
    x = _columns(x)
    data = as_dataset(x, "x")
    if isinstance(x, tuple | list | dict):
        _check_takes(model, data.arrays)
    pairs = isinstance(x, Dataset) and isinstance(x.arrays, tuple) and len(x.arrays) == 2
    # Weights matter for means only: every row gets its own prediction.
    data = _tree.replace(data, arrays=data.arrays[0] if pairs else data.arrays, weight=None)
    batch_size = min(batch_size, len(data))
    _check_equal(_predictions, model, data, batch_size)
    return _processes.to_local(_predict(model, data, batch_size))


def _check_equal(f: Callable[..., Any], model: PyTree, data: Dataset, batch_size: int) -> None:
    """Check that all processes evaluate the same function of the same model on the same rows."""
    if _processes.count() > 1:
        program, _ = digest_call(lambda model, data: f(model, data, batch_size), model, data)
        values = {"data": digest(data), "model": digest(model), "batch_size": str(batch_size)}
        check_equal({**values, "program": program})


def _columns(x: Any) -> Any:
    """A list of dictionaries as a dictionary of columns; frames and single rows are refused."""
    if hasattr(x, "columns"):
        raise TypeError(
            f"predict takes columns by their place, not by their names, got a {type(x).__name__}. By "
            "the table that the model was trained on: fn.predict(model, table.encode(frame)). If they are "
            "in order: fn.predict(model, frame.to_numpy())."
        )
    if isinstance(x, dict) and x and all(map(_is_one_value, x.values())):
        raise TypeError(
            f"predict takes many rows, got one: {_check.describe(x)}. By the table that the model was "
            "trained on: fn.predict(model, table.encode(row)). If the model takes dictionaries: model(row)."
        )
    if not (isinstance(x, list) and x and all(isinstance(row, dict) for row in x)):
        return x
    if different := [i for i, row in enumerate(x) if row.keys() != x[0].keys()]:
        raise ValueError(
            f"every row of x must have the columns of x[0], {', '.join(map(str, x[0]))}, got "
            f"{', '.join(map(str, x[different[0]])) or 'none'} in x[{different[0]}]."
        )
    return {name: [row[name] for row in x] for name in x[0]}


def _is_one_value(value: Any) -> bool:
    return isinstance(value, str | int | float) or getattr(value, "shape", None) == ()


def _check_takes(model: Any, x: Any) -> None:
    """Raise if a model can't be called on a tuple, usually a pair (x, y), or on columns by their names."""
    example = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), x)
    try:
        jax.eval_shape(model, example)
    except Exception as error:
        raise TypeError(
            f"predict expects features that the model accepts, got {_check.describe(x)}. If that is "
            "a pair (x, y), pass x alone: fn.predict(model, x); columns by their names become features by "
            "the table that the model was trained on: fn.predict(model, table.encode(rows))."
        ) from error


def total(loss: Loss, model: PyTree, data: Dataset, batch_size: int, *, keep_rows: bool = True) -> Totals:
    """Σ w·loss, Σ w·metric and Σ w over a dataset, `batch_size` rows at a time.

    With `keep_rows`, the predictions and targets for metrics of all rows at once are kept, in the order of
    the rows; else such metrics are left out.
    """
    parts = _tree.partition(model, trainable(model))
    rows = epoch_rows(len(data), None, batch_size)

    def of_batch(row: Array, mask: Array) -> Totals:
        totals = objective(*parts, loss, gather(data, row, mask), None)[1]
        return totals if keep_rows else _split_totals(totals)[0]

    if len(rows.row) == 1:
        return _with_rows(*_split_totals(of_batch(rows.row[0], rows.mask[0])), data)
    program, struct = jax.make_jaxpr(of_batch, return_shape=True)(rows.row[0], rows.mask[0])
    traced = as_function(program, struct)
    sums_struct = _split_totals(struct)[0]

    def add_batch(sums: RunningTotals, batch: tuple[Array, Array]) -> tuple[RunningTotals, Any]:
        totals, kept = _split_totals(traced(*batch))
        return sums.add(totals.pack()), kept

    sums, kept = jax.lax.scan(add_batch, Totals.zeros(sums_struct), (rows.row, rows.mask))
    kept = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[: len(data)], kept)
    return _with_rows(sums.unpack(sums_struct), kept, data)


def _split_totals(totals: Totals) -> tuple[Totals, dict[str, Any]]:
    """The totals that are sums, and the rows of metrics of all rows at once."""
    rows = {name: total for name, total in totals.sums.items() if isinstance(total, MetricRows)}
    sums = {name: total for name, total in totals.sums.items() if name not in rows}
    return Totals(sums, totals.weight), rows


def _with_rows(totals: Totals, rows: dict[str, Any], data: Dataset) -> Totals:
    """The totals with all rows of a dataset, without weights if it has none."""
    if not rows:
        return totals
    if data.weight is None:
        rows = {name: dataclasses.replace(one, weight=None) for name, one in rows.items()}
    elif ignoring := [name for name, one in rows.items() if not one.metric.takes_weight]:
        raise ValueError(
            f"{ignoring[0]} must take the weights of the rows, since the data has weights: "
            "fn.metrics.whole(lambda predictions, targets, weight: ...)."
        )
    return Totals({**totals.sums, **rows}, totals.weight)


def check_data(loss: Loss, model: PyTree, data: PyTree) -> Dataset:
    """Check that loss, model and data match; return the data as a Dataset."""
    _check_no_run(model)
    check_model(model)
    data = as_dataset(data)
    check = getattr(loss, "check", None)
    if check is not None:
        arrays = own_arrays(data)
        try:
            check(model, arrays)
        except ValueError:
            if (rows := _rows_that_count(data)) is None:
                raise
        else:
            return data
        check(model, jax.tree.map(lambda array: array[rows], arrays))
    return data


def _rows_that_count(data: Dataset) -> np.ndarray | None:
    """Row numbers [n] of the arrays, with the first that counts in place of those that do not.

    None if all of them count, or it is not known. Those of weight 0, or not in a view, may hold any values.
    """
    known = data.arrays, data.rows, data.weight
    if not _tree.is_concrete(known) or any(map(_parts.is_spread, jax.tree.leaves(known))):
        return None
    count = len(jax.tree.leaves(data.arrays)[0])
    numbers = np.arange(count) if data.rows is None else np.asarray(data.rows).ravel()
    if data.weight is not None:
        numbers = numbers[np.asarray(data.weight)[numbers] > 0]
    counts = np.isin(np.arange(count), numbers)
    return None if counts.all() or not counts.any() else np.where(counts, np.arange(count), numbers[0])


def _check_no_run(model: Any) -> None:
    if isinstance(model, TrainState):
        raise TypeError("model must be a model, got a TrainState: pass state.model.")
    if not isinstance(model, Module) and isinstance(getattr(model, "state", None), TrainState):
        raise TypeError("model must be a model, got a Run: pass run.model.")


def as_tree(model: Any) -> PyTree:
    """The model as a pytree of arrays: a plain function becomes a tree without leaves."""
    if _check.library(model) != "equinox":
        _check.not_lifted(model)
    leaves = jax.tree.leaves(model)
    is_leaf = len(leaves) == 1 and leaves[0] is model
    is_function = is_leaf and callable(model) and not isinstance(model, type)
    return jax.tree_util.Partial(model) if is_function else as_module(model)


class _ById:
    """A loss that can't be hashed, compared by identity."""

    def __init__(self, loss: Loss) -> None:
        self.loss = loss

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other.loss is self.loss

    def __hash__(self) -> int:
        return id(self.loss)


def _means(hashable: Any, model: PyTree, data: Dataset, batch_size: int) -> dict[str, Array]:
    loss = hashable.loss if isinstance(hashable, _ById) else hashable
    return total(loss, model, data, batch_size).means()


def _predictions(model: Any, data: Dataset, batch_size: int) -> PyTree:
    def one_batch(batch: tuple[Array, Array]) -> PyTree:
        return jax.vmap(lambda x: _check.results("model", model(x)))(gather(data, *batch).example)

    n = len(data)
    predictions = jax.lax.map(one_batch, epoch_rows(n, None, batch_size)[:2])
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n], predictions)


_evaluate = bounded_jit(_means, static_argnums=(0, 3))
_predict = bounded_jit(_predictions, static_argnums=2)
