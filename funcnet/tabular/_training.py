"""The training of all runs, members and folds: one program, called for each run.

`fn.fit` would train each of them, too. This loop is written out since three things it does not offer save
most of the time of small tables: random bits by a hash, a validation loss after the best temperature, and
sizes that are arguments of the program, so that a second table of about the same size compiles nothing.

On a CPU each run has a thread. Products of [64, 256] and [256, 256] are too small to share among cores:
two runs side by side on two cores take two thirds of the time of one after another on both. Batched over
runs, the parameters of all of them would leave the cache at every step. On other devices `vmap` trains all
runs in one call.
"""

import concurrent.futures
import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet._jit import bounded_jit
from funcnet._types import Array
from funcnet.tabular._losses import row_losses, validation_scores
from funcnet.tabular._network import Network, Parameters, apply_network, pack, unpack
from funcnet.tabular._random_bits import hash_counters, random_bits
from funcnet.tabular._schedules import cosine_cycles, flat_cosine

BETA1, BETA2, EPSILON = 0.9, 0.95, 1e-8
CHUNK = 1024
"""Rows that are evaluated at once."""


class TableArrays(NamedTuple):
    """The rows of a table, padded.

    Args:
        inputs: numbers, others and codes, each [rows, columns].
        targets: as for `row_losses`.
        weights: [rows], with mean 1 over the rows that are used.
        mask: [inputs of the first layer], 0 for padding.
        bounds: [2, outputs], the range of the targets.
    """

    inputs: tuple[Any, Any, Any]
    targets: Any
    weights: Any
    mask: Any
    bounds: Any


class RunRows(NamedTuple):
    """The rows of a run: row numbers padded at the end, and how many there are."""

    train: Any
    num_train: Any
    validation: Any
    num_validation: Any


class Rates(NamedTuple):
    """The numbers that steer a run; all are arguments of the program, so new ones compile nothing.

    Args:
        learning: the highest learning rate of each parameter: a number for weights, a vector for "rest".
        decay: decoupled weight decay of each parameter.
        penalty: coefficient of half the square of each weight in the loss.
        dropout: probability at the start.
        smoothing: label smoothing.
        cycles: cycles of the learning rate.
        loss_share: the weight of the loss beside the error rate when the best epoch is chosen.
        epochs: number of passes over the training rows.
        patience: epochs without improvement after which a run stops.
    """

    learning: dict[str, Any]
    decay: dict[str, Any]
    penalty: dict[str, Any]
    dropout: Any
    smoothing: Any
    cycles: Any
    loss_share: Any
    epochs: Any
    patience: Any


class TrainedRuns(NamedTuple):
    """The result of a run; of all runs, as NumPy arrays with a leading axis [runs].

    Args:
        parameters: of the best epoch.
        outputs: [runs, validation rows, outputs] at the best epoch.
        best_epoch: counted from 0.
        epochs: number of epochs that were run.
        history: "loss" and "val_loss" [runs, epochs].
    """

    parameters: Any
    outputs: Any
    best_epoch: Any
    epochs: Any
    history: Any


class _Carry(NamedTuple):
    """What changes from epoch to epoch."""

    epoch: Array
    parameters: Parameters
    mean: Parameters
    square: Parameters
    best: Parameters
    outputs: Array
    best_score: Array
    best_epoch: Array
    history: dict[str, Array]


def train_runs(
    net: Network,
    task: str,
    batch_size: int,
    max_epochs: int,
    table: TableArrays,
    rates: Rates,
    rows: RunRows,
    start: dict[str, np.ndarray],
    seeds: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
) -> TrainedRuns:
    """Train every run; `rows`, `start` and `seeds` have a leading axis [runs].

    Args:
        net: sizes of the network.
        task: "classes", "labels" or "values".
        batch_size: rows in a batch.
        max_epochs: length of the history, at least `rates.epochs`.
        table: the rows, on the device.
        rates: what steers the runs.
        rows: row numbers of each run.
        start: the initial parameters.
        seeds: uint32, which choose the order of rows and the dropped units.
        progress: called with the number of runs that were finished since its last call, and of all.
    """
    static = net, task, batch_size, max_epochs
    if jax.default_backend() != "cpu":
        runs = jax.device_get(_train_side_by_side(*static, table, rates, rows, start, seeds))
        if progress is not None:
            progress(len(seeds), len(seeds))
        return _fill_history(runs, rows.num_validation)

    def train(run: int) -> TrainedRuns:
        trained = jax.device_get(_train_one(*static, table, rates, *_index((rows, start, seeds), run)))
        if progress is not None:
            progress(1, len(seeds))
        return trained

    # Two threads would compile the same program twice: this call compiles it and trains for no epoch.
    jax.block_until_ready(
        _train_one(*static, table, rates._replace(epochs=0), *_index((rows, start, seeds), 0))
    )
    if progress is not None:
        progress(0, len(seeds))
    with concurrent.futures.ThreadPoolExecutor(_num_cpus()) as pool:
        runs = list(pool.map(train, range(len(seeds))))
    stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *runs)
    return _fill_history(stacked, rows.num_validation)


def _fill_history(runs: TrainedRuns, num_validation: np.ndarray) -> TrainedRuns:
    """The runs with NaN for what is not known: jax_debug_nans refuses it in a program.

    These are the epochs that a run has not reached, and the validation loss of no rows.
    """
    is_reached = np.arange(runs.history["loss"].shape[1]) < runs.epochs[:, None]
    is_known = {"loss": is_reached, "val_loss": is_reached & (num_validation > 0)[:, None]}
    return runs._replace(
        history={name: np.where(is_known[name], v, np.nan) for name, v in runs.history.items()}
    )


def _index(tree: Any, run: int) -> Any:
    return jax.tree.map(lambda array: array[run], tree)


def _num_cpus() -> int:
    """The CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _train_run(
    net: Network,
    task: str,
    batch_size: int,
    max_epochs: int,
    table: TableArrays,
    rates: Rates,
    rows: RunRows,
    start: Parameters,
    seed: Array,
) -> TrainedRuns:
    # As many steps as fill an epoch best; over the epochs each row is drawn equally often.
    steps = jnp.maximum(1, (rows.num_train + batch_size // 2) // batch_size)

    def run_epoch(carry: _Carry) -> _Carry:
        order = _shuffle(rows, hash_counters(seed, 1, carry.epoch))

        def step(i: Array, state: tuple[Parameters, Parameters, Parameters, Array]) -> Any:
            parameters, mean, square, loss = state
            at = carry.epoch * steps + i
            progress = at.astype(jnp.float32) / (rates.epochs * steps).astype(jnp.float32)
            batch = order[(i * batch_size + jnp.arange(batch_size)) % rows.num_train]
            dropout = rates.dropout * flat_cosine(progress)
            value, gradient = jax.value_and_grad(_batch_loss, argnums=1)(
                *(net, unpack(net, parameters), task, _take(table, batch), dropout),
                *(hash_counters(seed, 2, at), rates),
            )
            gradient = pack(gradient, jnp)
            moved = _adam(parameters, mean, square, gradient, rates, at, progress)
            return *moved, loss + value

        state = (carry.parameters, carry.mean, carry.square, jnp.float32(0))
        parameters, mean, square, loss = jax.lax.fori_loop(0, steps, step, state)
        outputs = evaluate(parameters)
        loss_now, score = validation_scores(
            task, outputs, held_out.targets, held_out.weights, table.bounds, rates.loss_share
        )
        better = score <= carry.best_score  # the last of ties
        best, best_outputs, best_score, best_epoch = jax.tree.map(
            lambda new, old: jnp.where(better, new, old),
            (parameters, outputs, score, carry.epoch),
            (carry.best, carry.outputs, carry.best_score, carry.best_epoch),
        )
        history = {
            name: carry.history[name].at[carry.epoch].set(value)
            for name, value in (("loss", loss / steps.astype(jnp.float32)), ("val_loss", loss_now))
        }
        return _Carry(
            carry.epoch + 1, parameters, mean, square, best, best_outputs, best_score, best_epoch, history
        )

    def should_continue(carry: _Carry) -> Array:
        waited = carry.epoch - carry.best_epoch - 1
        return (carry.epoch < rates.epochs) & ((waited < rates.patience) | (carry.epoch == 0))

    num_held_out = rows.validation.shape[0]
    held_out = _take(table, rows.validation)
    is_row = jnp.arange(num_held_out) < rows.num_validation
    held_out = held_out._replace(weights=jnp.where(is_row, held_out.weights, 0))

    def evaluate(parameters: Parameters) -> Array:
        """The outputs of the validation rows, a chunk at a time; padding is not evaluated."""
        size, unpacked = min(CHUNK, num_held_out), unpack(net, parameters)

        def evaluate_chunk(i: Array, outputs: Array) -> Array:
            at = jnp.minimum(i * size, num_held_out - size)
            numbers, others, codes = (jax.lax.dynamic_slice_in_dim(x, at, size) for x in held_out.inputs)
            chunk = numbers, others, codes
            return jax.lax.dynamic_update_slice_in_dim(
                outputs, apply_network(net, unpacked, chunk, table.mask), at, axis=0
            )

        chunks = (rows.num_validation + size - 1) // size
        return jax.lax.fori_loop(0, chunks, evaluate_chunk, jnp.zeros((num_held_out, net.outputs)))

    zeros = jax.tree.map(jnp.zeros_like, start)
    history = {name: jnp.zeros(max_epochs) for name in ("loss", "val_loss")}
    outputs = jnp.zeros((num_held_out, net.outputs))
    first = _Carry(
        jnp.int32(0), start, zeros, zeros, start, outputs, jnp.float32(jnp.inf), jnp.int32(0), history
    )
    last = jax.lax.while_loop(should_continue, run_epoch, first)
    return TrainedRuns(last.best, last.outputs, last.best_epoch, last.epoch, last.history)


def _train_all(*arguments: Any) -> TrainedRuns:
    """`_train_run` for all runs: of its arguments, the last three have a leading axis [runs]."""
    shared, of_runs = arguments[:-3], arguments[-3:]
    return jax.vmap(functools.partial(_train_run, *shared))(*of_runs)


_train_one = bounded_jit(_train_run, static_argnums=(0, 1, 2, 3))
_train_side_by_side = bounded_jit(_train_all, static_argnums=(0, 1, 2, 3))


def _shuffle(rows: RunRows, seed: Array) -> Array:
    """The training rows in random order, padding last. The order does not depend on the padding."""
    size = rows.train.shape[0]
    bits = random_bits((size,), seed) >> 1
    bits = jnp.where(jnp.arange(size) < rows.num_train, bits, jnp.uint32(0xFFFFFFFF))
    return rows.train[jnp.argsort(bits)]


def _take(table: TableArrays, rows: Array) -> TableArrays:
    numbers, others, codes = (x[rows] for x in table.inputs)
    return table._replace(
        inputs=(numbers, others, codes), targets=table.targets[rows], weights=table.weights[rows]
    )


def _batch_loss(
    net: Network,
    parameters: Parameters,
    task: str,
    batch: TableArrays,
    dropout: Array,
    seed: Array,
    rates: Rates,
) -> Array:
    outputs = apply_network(net, parameters, batch.inputs, batch.mask, dropout, seed)
    return (row_losses(task, outputs, batch.targets, rates.smoothing) * batch.weights).mean()


def _adam(
    parameters: Parameters,
    mean: Parameters,
    square: Parameters,
    gradient: Parameters,
    rates: Rates,
    step: Array,
    progress: Array,
) -> tuple[Parameters, Parameters, Parameters]:
    """One step of Adam with decoupled weight decay and a learning rate for each parameter."""
    count = (step + 1).astype(jnp.float32)
    mean_scale, square_scale = 1 / (1 - BETA1**count), 1 / (1 - BETA2**count)
    cycle, decline = cosine_cycles(progress, rates.cycles), flat_cosine(progress)
    new, new_mean, new_square = {}, {}, {}
    for name, value in parameters.items():
        slope = gradient[name]
        if name in rates.penalty:
            slope = slope + rates.penalty[name] * value
        m = BETA1 * mean[name] + (1 - BETA1) * slope
        v = BETA2 * square[name] + (1 - BETA2) * slope * slope
        update = m * mean_scale / (jnp.sqrt(v * square_scale) + EPSILON)
        update = update + rates.decay[name] * decline * value
        new[name] = value - rates.learning[name] * cycle * update
        new_mean[name], new_square[name] = m, v
    return new, new_mean, new_square
