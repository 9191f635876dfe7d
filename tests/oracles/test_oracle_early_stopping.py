"""Law 12: early stopping against the rules of Keras and Lightning, written as a plain Python loop."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

import funcnet as fn

VALUES = st.sampled_from(
    [-2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 5.0, math.nan, math.inf, -math.inf]
)
SETTINGS = st.fixed_dictionaries(
    {
        "patience": st.integers(0, 5),
        "min_delta": st.sampled_from([0.0, 0.25, 1.0]),
        "mode": st.sampled_from(["min", "max"]),
        "start_from_epoch": st.integers(0, 3),
        "stopping_threshold": st.sampled_from([None, -1.0, 1.5]),
        "divergence_threshold": st.sampled_from([None, -1.5, 1.0]),
        "restore_best": st.booleans(),
    }
)


def by_the_rules(values: list[float], s: dict[str, Any]) -> tuple[fn.Outcome, int, int, float, int]:
    """(outcome, epochs seen, wait, best value, best epoch), one check after another."""
    sign = 1.0 if s["mode"] == "min" else -1.0
    best, best_epoch, wait = math.inf, -1, 0
    for epoch, value in enumerate(values):
        if epoch < s["start_from_epoch"]:
            continue
        # With NaN on either side every comparison is false: never better, never worse.
        current = sign * value
        if current < best - s["min_delta"]:
            best, best_epoch, wait = current, epoch, 0
        else:
            wait += 1
        stop, diverge = s["stopping_threshold"], s["divergence_threshold"]
        if diverge is not None and current > sign * diverge:
            return fn.Outcome.DIVERGED, epoch + 1, wait, sign * best, best_epoch
        if stop is not None and current < sign * stop:
            return fn.Outcome.THRESHOLD_REACHED, epoch + 1, wait, sign * best, best_epoch
        if wait >= max(1, s["patience"]):
            return fn.Outcome.PATIENCE_EXHAUSTED, epoch + 1, wait, sign * best, best_epoch
    return fn.Outcome.RUNNING, len(values), wait, sign * best, best_epoch


def _driven(values: list[float], s: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """The same, by `EarlyStopping` itself; and the model it kept."""
    stopping = fn.EarlyStopping(monitor="score", **s)
    state, epochs = stopping.init(jnp.float32(-1.0)), 0
    for epoch, value in enumerate(values):
        if not bool(state.is_running()):
            break
        metrics = {"score": jnp.float32(value)}
        state = stopping.update(state, jnp.int32(epoch), jnp.float32(epoch), metrics)
        epochs = epoch + 1
    outcome = list(fn.Outcome)[int(state.outcome)]
    return (outcome, epochs, int(state.wait), float(state.best), int(state.best_epoch)), state.model


DEFAULT = {
    "patience": 2,
    "min_delta": 0.0,
    "mode": "min",
    "start_from_epoch": 0,
    "stopping_threshold": None,
    "divergence_threshold": None,
    "restore_best": True,
}


@settings(max_examples=150)
@given(values=st.lists(VALUES, min_size=1, max_size=10), s=SETTINGS)
@example([math.nan, 1.0, 0.5, math.nan, math.nan], DEFAULT)
@example([1.0, 1.0, 1.0], DEFAULT)
@example([1.0, 0.75, 0.5], {**DEFAULT, "min_delta": 0.25})
@example([1.0, 2.0], {**DEFAULT, "patience": 0})
@example([1.0, 2.0], {**DEFAULT, "patience": 1})
def test_early_stopping_follows_the_rules(values: list[float], s: dict[str, Any]) -> None:
    found, kept = _driven(values, s)
    assert found == by_the_rules(values, s)
    if s["restore_best"]:
        assert float(kept) == found[-1]
    else:
        assert kept is None


def test_a_nan_does_not_poison_what_follows() -> None:
    (outcome, seen, _, best, best_epoch), kept = _driven([math.nan, 3.0, 1.0, 2.0], DEFAULT)
    assert (outcome, seen, best, best_epoch) == (fn.Outcome.RUNNING, 4, 1.0, 2)
    assert float(kept) == 2.0


def test_each_member_of_a_vmap_stops_by_itself() -> None:
    rng = np.random.default_rng(0)
    table = rng.choice([0.5, 1.0, 1.5, 2.0, np.nan], size=(12, 8)).astype(np.float32)
    stopping = fn.EarlyStopping(monitor="score", patience=5)

    def member(values: jax.Array) -> Any:
        def check(stop: Any, pair: Any) -> Any:
            epoch, value = pair
            after = stopping.update(stop, epoch, epoch.astype(float), {"score": value})
            return jax.tree.map(lambda a, b: jnp.where(stop.is_running(), a, b), after, stop), None

        pairs = (jnp.arange(8, dtype=jnp.int32), values)
        return jax.lax.scan(check, stopping.init(jnp.float32(-1.0)), pairs)[0]

    stops = jax.jit(jax.vmap(member))(table)
    assert len(set(np.asarray(stops.outcome).tolist())) > 1
    for i, values in enumerate(table):
        outcome, _, wait, best, best_epoch = by_the_rules(values.tolist(), {**DEFAULT, "patience": 5})
        assert int(stops.outcome[i]) == outcome.code
        assert (int(stops.wait[i]), float(stops.best[i])) == (wait, best)
        assert int(stops.best_epoch[i]) == int(stops.model[i]) == best_epoch
