"""When does a network on Iris overfit, and what helps? Small, large and regularized.

python experiments/iris_overfitting.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import funcnet as fn

# 1. Few training rows, so that a large model can memorize them: 30 flowers, 60 to validate, 60 to test.
iris = fn.data.load("iris")
_, species = iris.data[:]
parts = fn.data.split(iris.data, (0.2, 0.4, 0.4), jax.random.key(0), stratify=species)
scaler = fn.data.Scaler.fit(parts[0], "minmax")
train_rows, valid_rows, test_rows = map(scaler.transform, parts)

# 2. The models, from 15 parameters for 30 flowers to 4,675.
EPOCHS = 300
nets = {
    "one layer of 3": (fn.models.Perceptron(4, 3), 0.0, None),
    "hidden 8": (fn.MLP((4, 8, 3)), 0.0, None),
    "hidden 32": (fn.MLP((4, 32, 3)), 0.0, None),
    "hidden 64, 64": (fn.MLP((4, 64, 64, 3)), 0.0, None),
    "  with weight decay": (fn.MLP((4, 64, 64, 3)), 2.0, None),
    "  with dropout too": (fn.MLP((4, 64, 64, 3), dropout=0.5), 0.5, None),
    "  stopped early": (fn.MLP((4, 64, 64, 3)), 0.0, fn.EarlyStopping(patience=20)),
}

# 3. Ten runs of each in one program; gap = validation loss - training loss of the same weights.
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
keys = jax.random.split(jax.random.key(1), 10)
curves = {}
print("                        parameters  train loss  valid loss     gap  test accuracy  best epoch")
for name, (net, decay, stopping) in nets.items():
    optimizer = optax.adamw(0.01, weight_decay=decay)
    train = fn.fit(loss, optimizer, epochs=EPOCHS, batch_size=30, stopping=stopping)
    runs = jax.vmap(lambda key, train=train, net=net: train(net.init(key), train_rows, key, valid_rows))(
        keys
    )

    def median_score(rows, metric, models=runs.model):
        return float(jnp.median(jax.vmap(lambda model: fn.evaluate(loss, model, rows))(models)[metric]))

    ends = median_score(train_rows, "loss"), median_score(valid_rows, "loss")
    best = int(jnp.median(jnp.nanargmin(runs.history["val_loss"], axis=1))) + 1
    print(
        f"{name:22s}  {fn.count(net):10,d}  {ends[0]:10.4f}  {ends[1]:10.4f}  {ends[1] - ends[0]:6.3f}  "
        f"{median_score(test_rows, 'accuracy'):13.3f}  {best:10d}",
        flush=True,
    )
    if stopping is None and name != "hidden 32":
        curves[name.strip()] = runs.history["val_loss"]

figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
fn.report.curves(curves, axes, ylabel="validation loss (nats)")
picture = Path("runs/iris_overfitting.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
