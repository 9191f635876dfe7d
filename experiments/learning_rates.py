"""Which learning rate, and how much weight decay?

    python experiments/learning_rates.py

First a range test: ninety short runs in one program show which learning rates train at all. Then a sweep
over learning rate and weight decay around its suggestion, also in one program, scored on validation rows.
"""

from pathlib import Path

import jax
import numpy as np
import optax
from matplotlib.figure import Figure

import funcnet as fn

wine = fn.data.load("wine").data
parts = fn.data.split(wine, (0.7, 0.3), jax.random.key(0), stratify=wine.arrays[1])
scaler = fn.data.Scaler.fit(parts[0])
data, valid = map(scaler.transform, parts)
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
net = fn.MLP((13, 32, 3))


def make_short(rate):
    return fn.fit(loss, optax.sgd(rate, momentum=0.9), epochs=3, batch_size=16)


rate_range = fn.study.learning_rate_range(make_short, min_lr=1e-4, max_lr=100.0)(
    net, data, jax.random.key(1)
)
print(f"suggestion {rate_range.suggestion:.3g}; training diverges from {rate_range.min_diverging_rate:.3g}")


def make_train(learning_rate, weight_decay):
    optimizer = optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate, momentum=0.9))
    return fn.fit(loss, optimizer, epochs=30, batch_size=16)


rates = [float(r) for r in rate_range.suggestion * np.array([0.01, 0.03, 0.1, 0.3, 1.0])]
settings = {"learning_rate": rates, "weight_decay": [0.0, 1e-3, 1e-2, 1e-1]}
result = fn.study.sweep(make_train, settings)(net, data, jax.random.key(2), valid)
for trial in result.order[:3]:
    setting = ", ".join(f"{name} {value:.3g}" for name, value in result.trials[trial].items())
    print(f"validation loss {result.scores[trial]:.4f}: {setting}")

figure = Figure(figsize=(10, 4), layout="constrained")
left, right = figure.subplots(1, 2)
fn.report.learning_rates(rate_range, left)
fn.report.sweep(result, right)
Path("runs").mkdir(exist_ok=True)
figure.savefig("runs/learning_rates.png", dpi=150)
print("Wrote runs/learning_rates.png")
