"""Does a perceptron learn, and how much of its accuracy is luck?

python experiments/perceptron.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import funcnet as fn

# 1. A hundred rows of two classes, split in order: 70 for training, 15 for validation, 15 for tests.
data = fn.data.two_classes(flip_y=0.1).data
train_rows, valid_rows, test_rows = fn.data.split(data, (70, 15, 15), None)

# 2. Weights drawn from N(0, 1), a bias of zero; 15 epochs of SGD, batches of 16.
net = fn.models.Perceptron(2, weight_init=jax.nn.initializers.normal(1.0))
loss = fn.losses.supervised(fn.losses.binary_cross_entropy, accuracy=fn.metrics.accuracy)
train = fn.fit(loss, optax.sgd(0.1), epochs=15, batch_size=16, shuffle=False)

# 3. Twenty runs in one program, and their initial weights for comparison.
keys = jax.random.split(jax.random.key(0), 20)
initial = jax.vmap(net.init)(keys)
runs = jax.vmap(train, in_axes=(0, None, 0, None))(initial, train_rows, keys, valid_rows)

print("                 loss: median  best - worst       accuracy: median  best - worst")
for name, models in {"untrained": initial, "trained": runs.model}.items():
    for part, rows in {"train": train_rows, "valid": valid_rows, "test": test_rows}.items():
        scores = jax.vmap(lambda model, rows=rows: fn.evaluate(loss, model, rows))(models)
        nats, right = jnp.sort(scores["loss"]), jnp.sort(scores["accuracy"])
        print(
            f"{name:9s} {part:5s} {jnp.median(nats):13.4f}  {nats[0]:.4f} - {nats[-1]:.4f}"
            f"{jnp.median(right):18.3f}  {right[-1]:.3f} - {right[0]:.3f}"
        )

# 4. The line where the logit is zero, and the twenty curves as a band.
figure, axes = plt.subplots(1, 3, figsize=(16, 4.2), layout="constrained")
fn.report.separating_line(jax.tree.map(lambda a: a[0], runs.model), train_rows, axes[0])
fn.report.history(runs, axes[1:])
picture = Path("runs/perceptron.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
