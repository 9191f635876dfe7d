"""What `fn.step` returns beside the state, of one step and of those that `scan` and `vmap` stack."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from keys import cached_key

import funcnet as fn

X = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
LABELS = np.arange(12) % 3
NET = fn.MLP((2, 3))


def test_infos_stacked_by_scan_and_vmap_hold_the_values_of_each_step() -> None:
    recall = fn.metrics.recall(average=None, classes=3)  # three numbers
    loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy, recall=recall)
    step = fn.step(loss, optax.sgd(0.5))
    model = NET.init(cached_key(0))
    start = fn.TrainState.create(model, optax.sgd(0.5), cached_key(1))

    def take_step(state: fn.TrainState, rows: Any) -> Any:
        return step(state, (jnp.asarray(X)[rows], jnp.asarray(LABELS)[rows]))

    batches = jnp.arange(12).reshape(3, 4)
    state, expected = start, []
    for rows in batches:
        state, info = jax.jit(take_step)(state, rows)
        expected.append({"loss": info.loss, **info.metrics})
    assert sorted(expected[0]) == ["accuracy", "loss", "recall_0", "recall_1", "recall_2"]

    _, infos = jax.jit(lambda state: jax.lax.scan(take_step, state, batches))(start)
    assert infos.loss.shape == (3,)
    for name, values in infos.metrics.items():
        np.testing.assert_allclose(values, [means[name] for means in expected], rtol=1e-6)
    assert infos.metrics.keys() == expected[0].keys()

    _, infos = jax.jit(jax.vmap(lambda _: jax.lax.scan(take_step, start, batches)))(jnp.arange(2))
    for name, values in infos.metrics.items():
        np.testing.assert_allclose(values, 2 * [[means[name] for means in expected]], rtol=1e-6)
