"""Law 7, one order: `fit` is the loop over `batches` and `step` that anybody can write."""

from typing import Any

import jax
import numpy as np
import pytest
import tables
from keys import lazy_key
from tables import assert_close

import funcnet as fn

KEY = lazy_key(11)
EPOCHS = 3


def loop(
    loss: Any, optimizer: Any, model: Any, data: Any, key: Any, *, order: Any, accumulate: int = 1
) -> tuple[fn.TrainState, dict[str, list[float]]]:
    """A training by hand: its last state, and the mean of every measured value at each epoch."""
    state = fn.TrainState.create(model, optimizer, key)
    step = jax.jit(fn.step(loss, optimizer, accumulate=accumulate))
    history: dict[str, list[float]] = {}
    for epoch in range(EPOCHS):
        sums: dict[str, float] = {}
        weight = 0.0
        for batch in fn.data.batches(data, tables.BATCH, order, epoch):
            state, info = step(state, batch)
            weight += float(info.weight)
            for name, value in info.metrics.items():
                sums[name] = sums.get(name, 0.0) + float(value) * float(info.weight)
        for name, value in sums.items():
            history.setdefault(name, []).append(value / weight)
    return state, history


CASES = {
    **{
        f"{name}-weighted": (name, "weighted", "adam", True)
        for name in tables.TRAINED
        if name != "mlp-dropout"
    },
    **{f"mlp-dropout-{name}": ("mlp-dropout", name, "adam", True) for name in tables.DATASETS},
    **{f"mlp-{name}": ("mlp", "tail", name, True) for name in tables.OPTIMIZERS},
    "mlp-unshuffled": ("mlp", "weighted-rows", "adam", False),
}


def _slow(case: str) -> bool:
    name, dataset, optimizer, _ = CASES[case]
    usual = dataset in ("weighted", "weighted-rows", "tail") and optimizer in ("adam", "momentum")
    again = case in ("mlp-weighted", "mlp-adam", "mlp-dropout-weighted", "mlp-dropout-tail", "mlp-momentum")
    return name not in ("mlp", "mlp-dropout") or not usual or again


@pytest.mark.parametrize("case", tables.marked(CASES, slow=list(filter(_slow, CASES))))
def test_fit_is_the_loop_written_by_hand(case: str) -> None:
    name, dataset, optimizer, shuffle = CASES[case]
    model, loss = tables.MODELS[name].init(), tables.MODELS[name].loss()
    data = tables.dataset(dataset, name)
    settings = {} if shuffle else {"shuffle": False}
    run = tables.training(name, optimizer, **settings)(model, data, KEY())
    order = KEY() if shuffle else None
    state, history = loop(loss, tables.OPTIMIZERS[optimizer], model, data, KEY(), order=order)
    assert_close((run.state.model, run.state.opt_state), (state.model, state.opt_state), factor=5)
    assert int(run.state.step) == int(state.step) == EPOCHS * -(-len(data) // tables.BATCH)
    assert set(run.history) == set(history)
    for metric, values in history.items():
        np.testing.assert_allclose(run.history[metric], values, rtol=1e-4, atol=1e-5, err_msg=metric)


def test_validation_is_evaluated_at_the_end_of_each_epoch() -> None:
    name = "mlp-dropout"
    model, loss = tables.MODELS[name].init(), tables.MODELS[name].loss()
    optimizer = tables.OPTIMIZERS["adam"]
    data, valid = tables.dataset("weighted", name), tables.dataset("rows", name)
    run = tables.training(name)(model, data, KEY(), valid)
    state = fn.TrainState.create(model, optimizer, KEY())
    step = jax.jit(fn.step(loss, optimizer))
    for epoch in range(EPOCHS):
        for batch in fn.data.batches(data, tables.BATCH, KEY(), epoch):
            state, _ = step(state, batch)
        expected = {f"val_{k}": v for k, v in fn.evaluate(loss, state.model, valid).items()}
        expected["train_loss"] = fn.evaluate(loss, state.model, data)["loss"]
        assert_close({k: run.history[k][epoch] for k in expected}, expected, factor=5)
    assert set(run.history) == {"loss", "absolute_error", *expected}


@pytest.mark.parametrize("name", tables.marked(tables.FOREIGN, slow=list(tables.FOREIGN)[1:]))
def test_a_model_from_elsewhere_trains_like_the_loop_and_learns(name: str) -> None:
    foreign = tables.FOREIGN[name]()
    data = tables.dataset("tail", "mlp-dropout")
    optimizer = tables.OPTIMIZERS["momentum"]
    train = fn.fit(foreign.loss, optimizer, epochs=EPOCHS, batch_size=tables.BATCH)
    run = train(foreign.params, data, KEY())
    state, history = loop(foreign.loss, optimizer, foreign.params, data, KEY(), order=KEY())
    assert_close(run.model, state.model, factor=5)
    assert type(run.model) is type(foreign.params)
    before = fn.evaluate(foreign.loss, foreign.params, data)["loss"]
    assert fn.evaluate(foreign.loss, run.model, data, batch_size=4)["loss"] < before
    np.testing.assert_allclose(run.history["loss"], history["loss"], rtol=1e-4)
