"""Two classes as one logit or as two, one-hot or integer labels: does it matter?

python experiments/softmax_classifier.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import funcnet as fn

# 1. 70 training and 30 test rows, each feature scaled to 0 .. 1 by the training rows.
data = fn.data.two_classes(flip_y=0.05).data
train_rows, test_rows = fn.data.split(data, (70, 30), None)
scaler = fn.data.Scaler.fit(train_rows, "minmax")
(x, y), (x_test, y_test) = scaler.transform(train_rows)[:], scaler.transform(test_rows)[:]

# 2. One-hot labels are rows of the identity matrix.
one_hot, one_hot_test = jnp.eye(2)[y], jnp.eye(2)[y_test]

# 3. The same initial weights and order give the same run either way, up to rounding.
net = fn.Sequential(
    fn.Linear(2, 5, weight_init="glorot_uniform"),
    jax.nn.relu,
    fn.Linear(5, 2, weight_init="glorot_uniform"),
)
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
train = fn.fit(loss, optax.adam(0.01), epochs=10, batch_size=1)
keys = jax.random.split(jax.random.key(0), 20)


def train_on(y, y_test):
    return jax.vmap(lambda key: train(net.init(key), (x, y), key, (x_test, y_test)))(keys)


first, same = train_on(one_hot, one_hot_test), train_on(y, y_test)
difference = np.abs(first.history["loss"] - same.history["loss"]).max()
print(f"one-hot and integer labels differ by at most {difference:.1e} in the loss of an epoch\n")

# 4. Ten more epochs from where the first ten ended: a model is a value.
more = jax.vmap(lambda model, key: train(model, (x, y), key, (x_test, y_test)))(first.model, keys)
print("                 loss   accuracy   test loss   test accuracy   (medians of 20 runs)")
for name, run in {"epoch 1": (first, 0), "epoch 10": (first, -1), "epoch 20": (more, -1)}.items():
    history, at = run[0].history, run[1]
    row = [jnp.median(history[n][:, at]) for n in ("loss", "accuracy", "val_loss", "val_accuracy")]
    print(f"{name:10s}  {row[0]:9.4f}  {row[1]:9.3f}  {row[2]:10.4f}  {row[3]:14.3f}")

figure, axes = plt.subplots(1, 3, figsize=(16, 4.2), layout="constrained")
fn.report.decision_surface(jax.tree.map(lambda a: a[0], more.model), (x, y), axes[0])
fn.report.history(more, axes[1:])
picture = Path("runs/softmax_classifier.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
