"""Can a training learn its own learning rates?

    python experiments/learned_schedule.py

A training is a function, so its validation loss has a derivative with respect to the learning rate of
each epoch. Descending along it, forty trainings as one program find a schedule; beside it stand the
best constant rate and the best cosine of a fine sweep. All are judged by rows that chose nothing, over
twenty starts and orders that were not used for the search.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import funcnet as fn

EPOCHS, SIZE = 4, 32
LOSS = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
NET = fn.MLP((64, 32, 10), activation=jnp.tanh)

digits = fn.data.load("digits").data
parts = fn.data.split(digits, (0.4, 0.3, 0.3), jax.random.key(0), stratify=digits.arrays[1])
scaler = fn.data.Scaler.fit(parts[0])
data, valid, test = map(scaler.transform, parts)
steps = -(-len(data) // SIZE)


def scheduled(rates):
    optimizer = optax.sgd(lambda count: rates[count // steps])
    return fn.fit(LOSS, optimizer, epochs=EPOCHS, batch_size=SIZE)


def constant(rate):
    return scheduled(jnp.full(EPOCHS, rate))


def cosine(rate):
    return scheduled(rate * 0.5 * (1 + jnp.cos(jnp.pi * jnp.arange(EPOCHS) / EPOCHS)))


key, rates = jax.random.key(1), list(np.geomspace(0.01, 3.0, 24))
best = {}
for name, make in {"constant": constant, "cosine": cosine}.items():
    found = fn.study.sweep(lambda rate, make=make: make(rate), {"rate": rates})(NET, data, key, valid)
    best[name] = found.best["rate"]
start = jnp.full(EPOCHS, best["constant"])
tuned = fn.study.tune(scheduled, steps=40)(start, NET, data, key, valid)
print(f"validation loss of the search: {tuned.values[0]:.4f} at first, {tuned.best_value:.4f} at best")

trainings = {
    f"constant {best['constant']:.3f}": constant(best["constant"]),
    f"cosine from {best['cosine']:.3f}": cosine(best["cosine"]),
    "learned schedule": scheduled(tuned.best),
}
found = {}
for name, train in trainings.items():
    runs = fn.study.ensemble(train, 20)(NET, data, jax.random.key(2)).runs
    found[name] = jax.vmap(lambda model: fn.evaluate(LOSS, model, test)["loss"])(runs.model)
first = next(iter(found.values()))
for name, losses in found.items():
    less = losses - first  # start by start, so that what a start does to both cancels
    error = less.std(ddof=1) / len(less) ** 0.5
    print(f"{name:20} test loss {losses.mean():.4f}, {less.mean():+.4f} ± {error:.4f} to the first")

figure = Figure(figsize=(6, 4), layout="constrained")
schedules = {"learned": tuned.best, "constant": start}
fn.report.curves(schedules, figure.subplots(), ylabel="learning rate", title="rates by epoch")
Path("runs").mkdir(exist_ok=True)
figure.savefig("runs/learned_schedule.png", dpi=150)
print("Wrote runs/learned_schedule.png")
