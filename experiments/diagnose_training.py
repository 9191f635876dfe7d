"""Which word fits a training: underfit, good, overfit, not converged, diverged, unclear? (lesson W10)

python experiments/diagnose_training.py
"""

from pathlib import Path

import jax
import matplotlib.pyplot as plt
import optax

import funcnet as fn

# 1. Two half-moons with noise: 200 rows to learn from or 20 of them, and 400 others to judge by.
moons = fn.data.two_moons(rows=600, noise=0.3).data
many, few, valid = moons[:200], moons[:20], moons[200:]
loss = fn.losses.supervised(fn.losses.binary_cross_entropy)

# 2. Trainings that go wrong each in its way, and some that don't. A loss of 0.25 would be good enough.
TARGET = 0.25
line, small, wide = fn.models.Perceptron(2), fn.MLP((2, 16, "scalar")), fn.MLP((2, 64, 64, "scalar"))
trainings = {
    "a line": (line, optax.adam(0.1), 60, many),
    "a small network": (small, optax.adam(0.02), 60, many),
    "  trained on": (small, optax.adam(0.02), 200, many),
    "a wide network, few rows": (wide, optax.adam(0.01), 60, few),
    "  with weight decay": (wide, optax.adamw(0.01, weight_decay=2.0), 60, few),
    "too few epochs": (small, optax.adam(0.002), 15, many),
    "hardly begun": (small, optax.adam(0.002), 4, many),
    "too high a rate": (wide, optax.sgd(20.0), 60, many),
}

# 3. Eight starts of each at once: judged together, by their spread, and one by one, by their noise.
keys = jax.random.split(jax.random.key(0), 8)
figure, axes = plt.subplots(2, 4, figsize=(15, 6), layout="constrained")
print("training                   together       alike alone  turn   gap at the end  first advice")
for ax, (name, (net, optimizer, epochs, rows)) in zip(axes.flat, trainings.items(), strict=True):
    train = fn.fit(loss, optimizer, epochs=epochs, batch_size=20)
    runs = jax.vmap(lambda key, net=net, train=train, rows=rows: train(net.init(key), rows, key, valid))(
        keys
    )
    each = [fn.study.diagnose(jax.tree.map(lambda a, i=i: a[i], runs), target=TARGET) for i in range(8)]
    eight = fn.study.diagnose(runs, target=TARGET)
    alike = sum(one.verdict == eight.verdict for one in each)
    turn = "-" if eight.onset is None else eight.onset + 1
    print(
        f"{name:25s}  {eight.verdict:13s}  {alike:4d} of 8    {turn!s:>4s}  {eight.gap or '-'!s:>15}  "
        f"{(eight.advice or ('-',))[0]}",
        flush=True,
    )
    fn.report.diagnosis(eight, ax)
    ax.set_title(f"{name.strip()}: {eight.verdict}")
    if name == "  trained on":
        told = str(eight)
print(f"\n{told}\n")

picture = Path("runs/diagnose_training.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
