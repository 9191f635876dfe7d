"""What does a framework do for you? A backward pass by hand, and jax.grad.

python experiments/backward_by_hand.py
"""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import funcnet as fn

# 1. 80 training rows and 20 validation rows; one label in five is drawn at random.
data = fn.data.two_classes(flip_y=0.2, class_sep=1.0).data
train_rows, valid_rows = fn.data.split(data, (80, 20), None)
x, y = (np.asarray(a) for a in train_rows[:])

# 2. By hand: 2 - 10 - 2 with tanh, softmax and cross-entropy. Every derivative is written out.


def forward(p, x):
    hidden = np.tanh(x @ p["w1"] + p["b1"])
    logits = hidden @ p["w2"] + p["b2"]
    e = np.exp(logits - logits.max(axis=1, keepdims=True))  # no overflow: the largest exponent is 0
    return hidden, e / e.sum(axis=1, keepdims=True)


def backward(p, x, y):
    hidden, probability = forward(p, x)
    d_logits = (probability - np.eye(2)[y]) / len(y)  # softmax and cross-entropy together
    d_hidden = (d_logits @ p["w2"].T) * (1 - hidden**2)  # the chain rule through tanh
    return {
        "w1": x.T @ d_hidden,
        "b1": d_hidden.sum(axis=0),
        "w2": hidden.T @ d_logits,
        "b2": d_logits.sum(axis=0),
    }


rng = np.random.RandomState(0)
p = {"w1": rng.normal(0, 1 / np.sqrt(2), (2, 10)), "b1": np.zeros(10)}
p |= {"w2": rng.normal(0, 1 / np.sqrt(10), (10, 2)), "b2": np.zeros(2)}


# 3. With funcnet: the same initial weights, and no backward pass to write.
def layer(i):
    return fn.Linear(
        *p[f"w{i}"].shape, weight=jnp.asarray(p[f"w{i}"], float), bias=jnp.asarray(p[f"b{i}"], float)
    )


model = fn.Sequential(layer(1), jnp.tanh, layer(2))
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
gradient = jax.grad(lambda m: fn.losses.cross_entropy(m(train_rows[:4][0]), train_rows[:4][1]))(model)
by_hand = backward(p, x[:4], y[:4])
by_grad = {
    "w1": gradient.layers[0].weight,
    "b1": gradient.layers[0].bias,
    "w2": gradient.layers[2].weight,
    "b2": gradient.layers[2].bias,
}
print("largest difference between the gradients of four rows")
for name in p:
    print(f"  {name}: {np.abs(by_hand[name] - by_grad[name]).max():.1e}")

# 4. Train both for thirty epochs with batches of four.
train = fn.fit(loss, optax.sgd(0.01), epochs=30, batch_size=4, shuffle=False)
run = train(model, train_rows, jax.random.key(0), valid_rows)
start = time.perf_counter()
jax.block_until_ready(train(model, train_rows, jax.random.key(0), valid_rows))
seconds = {"funcnet": time.perf_counter() - start}
start = time.perf_counter()
for _ in range(30):
    for i in range(0, 80, 4):
        gradients = backward(p, x[i : i + 4], y[i : i + 4])
        p = {name: p[name] - 0.01 * gradients[name] for name in p}
seconds["by hand"] = time.perf_counter() - start
_, probability = forward(p, x)
accuracies = {
    "by hand": (probability.argmax(axis=1) == y).mean(),
    "funcnet": fn.evaluate(loss, run.model, train_rows)["accuracy"],
}
print("\n          train accuracy  seconds of 600 steps")
for name, accuracy in accuracies.items():
    print(f"{name:8s}  {accuracy:14.3f}  {seconds[name]:20.4f}")
print(f"weights differ by at most {np.abs(p['w1'] - run.model.layers[0].weight).max():.1e}")

figure, axes = plt.subplots(1, 3, figsize=(16, 4.2), layout="constrained")
fn.report.history(run, axes[:2])
fn.report.decision_surface(run.model, train_rows, axes[2])
picture = Path("runs/backward_by_hand.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
