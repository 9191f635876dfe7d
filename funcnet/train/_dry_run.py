"""Sizes and cost of a run, from one step of it."""

import dataclasses

import jax
import numpy as np

from funcnet import _tree
from funcnet._module import trainable
from funcnet._types import Key, PyTree
from funcnet.data._batches import PaddedBatch
from funcnet.train._epoch import build_plan_step
from funcnet.train._source import Source


@dataclasses.dataclass(frozen=True)
class DryRun:
    """Sizes and cost of a run.

    Args:
        parameters: the number of trainable parameters.
        state_bytes: bytes of the whole state: weights, optimizer, history.
        batch_bytes: bytes of one batch.
        steps_per_epoch: batches in an epoch.
        steps: batches in the whole run.
        flops: floating-point operations of one step, by XLA's count; None if XLA does not count them.
        loss: the loss of the first rows of the data, as one batch.
        shapes: the arrays of a batch, by their path in an example: "[0] float32[32,4]" and so on.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(0.0, 1.0, 8)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.sgd(0.1), epochs=3, batch_size=4)
        >>> model = fn.models.LinearRegression(1).init(jax.random.key(0))
        >>> plan = fn.Trainer(train).dry_run(model, (x, x[:, 0]), jax.random.key(1))
        >>> plan.parameters, plan.steps, plan.shapes
        (2, 6, ('[0] float32[4,1]', '[1] float32[4]'))
    """

    parameters: int
    state_bytes: int
    batch_bytes: int
    steps_per_epoch: int
    steps: int
    flops: float | None
    loss: float
    shapes: tuple[str, ...]

    def __str__(self) -> str:
        flops = "unknown" if self.flops is None else f"{self.flops:,.0f}"
        return "\n".join(
            (
                f"parameters      {self.parameters:,}",
                f"state           {self.state_bytes:,} bytes",
                f"batch           {self.batch_bytes:,} bytes: {', '.join(self.shapes)}",
                f"steps           {self.steps_per_epoch:,} an epoch, {self.steps:,} in all",
                f"a step          {flops} FLOPs",
                f"first loss      {self.loss:.6g}",
            )
        )


def dry_run(source: Source, model: PyTree, key: Key) -> DryRun:
    """Compile and run one step, and report sizes and cost."""
    plan, progress = source.plan, source.start(model, key)
    size = source.rows
    weights = np.asarray(source.sample.weights())
    # A row of weight 0 may hold any values. If all of these are such rows, only sizes are told.
    used = np.flatnonzero(weights > 0) if weights.any() else np.arange(len(weights))
    first = used[np.arange(size) % len(used)]
    rows = source.sample[first]
    batch = PaddedBatch(rows, jax.numpy.asarray(weights[first]))

    step = build_plan_step(plan, "every_step")
    compiled = jax.jit(step).lower(progress.state, batch).compile()
    _, info = compiled(progress.state, batch)
    cost = compiled.cost_analysis()
    parameters, _ = _tree.partition(model, trainable(model))
    return DryRun(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(parameters)),
        state_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(progress)),
        batch_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(rows)),
        steps_per_epoch=source.per_epoch,
        steps=source.per_epoch * plan.epochs,
        flops=float(cost["flops"]) if cost and "flops" in cost else None,
        loss=float(info.loss),
        shapes=tuple(f"{path} {_tree.dtype_and_shape(leaf)}" for path, leaf in _tree.paths(rows).items()),
    )
