"""What do five hidden units add to a perceptron? A network as a list of layers.

python experiments/mlp_sequence.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import funcnet as fn

data = fn.data.two_classes(flip_y=0.1).data
train_rows, valid_rows, test_rows = fn.data.split(data, (70, 15, 15), None)
loss = fn.losses.supervised(fn.losses.binary_cross_entropy, accuracy=fn.metrics.accuracy)

# 1. A sequence of layers and functions. Printing it shows its structure.
perceptron = fn.Sequential(fn.Linear(2, "scalar"))
network = fn.Sequential(fn.Linear(2, 5), jax.nn.sigmoid, fn.Linear(5, "scalar"))
print(network, "\n")
print(fn.summary(network, train_rows[0][0]), "\n")

# 2. Three configurations, ten epochs, twenty runs each.
settings = {
    "perceptron, SGD 0.05": (perceptron, optax.sgd(0.05)),
    "perceptron, Adam 0.03": (perceptron, optax.adam(0.03)),
    "2-5-1, Adam 0.05": (network, optax.adam(0.05)),
}
keys = jax.random.split(jax.random.key(0), 20)
figure, axes = plt.subplots(1, 3, figsize=(16, 4.2), layout="constrained")
print("                          train loss  train accuracy  valid accuracy  test accuracy")
for (name, (net, optimizer)), panel in zip(settings.items(), axes, strict=True):
    train = fn.fit(loss, optimizer, epochs=10, batch_size=16, shuffle=False)
    models = jax.vmap(lambda key, train=train, net=net: train(net.init(key), train_rows, key))(keys).model
    scores = [
        jax.vmap(lambda m, rows=rows: fn.evaluate(loss, m, rows))(models)
        for rows in (train_rows, valid_rows, test_rows)
    ]
    middle = [jnp.median(values) for values in (scores[0]["loss"], *(part["accuracy"] for part in scores))]
    print(f"{name:24s}  {middle[0]:10.4f}  {middle[1]:14.3f}  {middle[2]:14.3f}  {middle[3]:13.3f}")
    fn.report.decision_surface(jax.tree.map(lambda a: a[0], models), train_rows, panel)
    panel.set_title(name, pad=24)

picture = Path("runs/mlp_sequence.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
