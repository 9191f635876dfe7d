"""A large network on Iris overfits. Which of four remedies lowers its validation loss?

    python experiments/four_cures.py

Fifty runs of each kind in one program. Each has its own training rows, initial weights and order of rows,
the same for all kinds, so that the comparison is paired.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import funcnet as fn

MEMBERS, FEW, EPOCHS = 50, 30, 300

# 1. 60 validation flowers. Of the other 90, each member trains on 30, drawn with its own key.
iris = fn.data.load("iris").data
pool, valid = fn.data.split(iris, (0.6, 0.4), jax.random.key(0), stratify=iris.arrays[1])
scaler = fn.data.Scaler.fit(pool)
pool, valid = scaler.transform(pool), scaler.transform(valid)

# 2. The large network, and the remedies: network, weight decay, number of rows.
large = fn.MLP((4, 64, 64, 3))
kinds = {
    "large": (large, 0.0, FEW),
    "more data": (large, 0.0, len(pool)),
    "a simpler model": (fn.models.Perceptron(4, 3), 0.0, FEW),
    "dropout": (fn.MLP((4, 64, 64, 3), dropout=0.8), 0.0, FEW),
    "weight decay": (large, 2.0, FEW),
}
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
keys = jax.random.split(jax.random.key(1), MEMBERS)


def train_members(net, decay, rows):
    """Fifty runs of one kind."""
    train = fn.fit(loss, optax.adamw(0.01, weight_decay=decay), epochs=EPOCHS, batch_size=FEW)

    def member(key):
        rows_key, start_key, run_key = jax.random.split(key, 3)
        own = fn.data.take(pool, jax.random.permutation(rows_key, len(pool))[:rows])
        return train(net.init(start_key), own, run_key, valid)

    return jax.jit(jax.vmap(member))(keys)


# 3. The final loss of each kind, and its difference to the same member of the large network.
def interval(values):
    """The mean and the half-width of its 95 % confidence interval."""
    return float(jnp.mean(values)), float(1.96 * jnp.std(values, ddof=1) / len(values) ** 0.5)


print("                 verdict        validation loss      less than the large network     accuracy")
curves, gains = {}, {}
for name, kind in kinds.items():
    run = train_members(*kind)
    history, verdict = run.history, fn.study.diagnose(run).verdict
    ends = history["val_loss"][:, -1]
    first = ends if name == "large" else first
    (end, around), (less, about) = interval(ends), interval(first - ends)
    gain = "" if name == "large" else f"{less:.3f} ± {about:.3f}"
    accuracy = float(jnp.mean(history["val_accuracy"][:, -1]))
    print(
        f"{name:16s} {verdict:14s} {end:.3f} ± {around:.3f}      {gain:>30s}  {accuracy:10.3f}", flush=True
    )
    curves[name] = jnp.median(history["val_loss"], axis=0)
    gains[name] = less, about

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
fn.report.curves(curves, left, ylabel="median validation loss (nats)")
names = [name for name in gains if name != "large"][::-1]
means, halves = zip(*(gains[name] for name in names), strict=True)
right.errorbar(means, names, xerr=halves, fmt="o", color="#0072b2", capsize=4)
right.axvline(0.0, color="#666666", linestyle=":")
right.set(xlabel="reduction of the validation loss (nats), 95 %", ylim=(-0.5, len(names) - 0.5))
picture = Path("runs/four_cures.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
