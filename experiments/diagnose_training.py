"""How did a run go: underfit, good, overfit, not converged, diverged, unclear?

python experiments/diagnose_training.py
"""

from pathlib import Path

import jax
import matplotlib.pyplot as plt
import optax

import funcnet as fn

# 1. Two half-moons with noise: 200 or 20 training rows, and 400 validation rows.
moons = fn.data.two_moons(rows=600, noise=0.3).data
many, few, valid = moons[:200], moons[:20], moons[200:]
loss = fn.losses.supervised(fn.losses.binary_cross_entropy)

# 2. Runs that fail, each in its own way, and some that succeed. A loss of 0.25 is good enough.
TARGET = 0.25
line, small, wide = fn.models.Perceptron(2), fn.MLP((2, 16, "scalar")), fn.MLP((2, 64, 64, "scalar"))
configurations = {
    "a line": (line, optax.adam(0.1), 60, many),
    "a small network": (small, optax.adam(0.02), 60, many),
    "  more epochs": (small, optax.adam(0.02), 200, many),
    "a wide network, few rows": (wide, optax.adam(0.01), 60, few),
    "  with weight decay": (wide, optax.adamw(0.01, weight_decay=2.0), 60, few),
    "too few epochs": (small, optax.adam(0.002), 15, many),
    "very few epochs": (small, optax.adam(0.002), 4, many),
    "learning rate too high": (wide, optax.sgd(20.0), 60, many),
}

# 3. Eight runs of each in one program, diagnosed together (by their spread) and alone (by their noise).
keys = jax.random.split(jax.random.key(0), 8)
figure, axes = plt.subplots(2, 4, figsize=(15, 6), layout="constrained")
print("run                        together       same alone   onset  gap at the end  first advice")
for ax, (name, (net, optimizer, epochs, rows)) in zip(axes.flat, configurations.items(), strict=True):
    train = fn.fit(loss, optimizer, epochs=epochs, batch_size=20)
    runs = jax.vmap(lambda key, net=net, train=train, rows=rows: train(net.init(key), rows, key, valid))(
        keys
    )
    members = [jax.tree.map(lambda a, i=i: a[i], runs) for i in range(8)]
    diagnoses = [fn.study.diagnose(member, target=TARGET) for member in members]
    eight = fn.study.diagnose(runs, target=TARGET)
    same = sum(one.verdict == eight.verdict for one in diagnoses)
    onset = "-" if eight.onset is None else eight.onset + 1
    print(
        f"{name:25s}  {eight.verdict:13s}  {same:4d} of 8    {onset!s:>4s}  {eight.gap or '-'!s:>15}  "
        f"{(eight.advice or ('-',))[0]}",
        flush=True,
    )
    fn.report.diagnosis(eight, ax)
    ax.set_title(f"{name.strip()}: {eight.verdict}")
    if name == "  more epochs":
        report = str(eight)
print(f"\n{report}\n")

picture = Path("runs/diagnose_training.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
