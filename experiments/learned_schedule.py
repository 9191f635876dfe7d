"""Can a learning-rate schedule be learned by gradient descent?

    python experiments/learned_schedule.py

Training is a differentiable function, so the validation loss has a derivative with respect to the learning
rate of each epoch. Forty steps of gradient descent, in one program, find a schedule. It is compared with
the best constant rate and the best cosine schedule of a fine sweep, on test rows and over twenty
initializations and orders that were not used for the search.
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
for name, make_train in {"constant": constant, "cosine": cosine}.items():
    sweep = fn.study.sweep(lambda rate, make_train=make_train: make_train(rate), {"rate": rates})
    best[name] = sweep(NET, data, key, valid).best["rate"]
start = jnp.full(EPOCHS, best["constant"])
tuned = fn.study.tune(scheduled, steps=40)(start, NET, data, key, valid)
print(f"validation loss of the search: {tuned.values[0]:.4f} at first, {tuned.best_value:.4f} at best")

schedules = {
    f"constant {best['constant']:.3f}": constant(best["constant"]),
    f"cosine from {best['cosine']:.3f}": cosine(best["cosine"]),
    "learned schedule": scheduled(tuned.best),
}
test_losses = {}
for name, train in schedules.items():
    runs = fn.study.ensemble(train, 20)(NET, data, jax.random.key(2)).runs
    test_losses[name] = jax.vmap(lambda model: fn.evaluate(LOSS, model, test)["loss"])(runs.model)
first = next(iter(test_losses.values()))
for name, losses in test_losses.items():
    less = losses - first  # paired, so that the effect of an initialization cancels
    error = less.std(ddof=1) / len(less) ** 0.5
    print(f"{name:20} test loss {losses.mean():.4f}, {less.mean():+.4f} ± {error:.4f} to the first")

figure = Figure(figsize=(6, 4), layout="constrained")
curves = {"learned": tuned.best, "constant": start}
fn.report.curves(curves, figure.subplots(), ylabel="learning rate", title="rates by epoch")
Path("runs").mkdir(exist_ok=True)
figure.savefig("runs/learned_schedule.png", dpi=150)
print("Wrote runs/learned_schedule.png")
