"""How many layers does a gradient survive? Twenty layers, by weights and activation.

python experiments/vanishing_gradients.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import funcnet as fn

WIDTH, DEPTH = 64, 20
digits = fn.data.load("digits")
parts = fn.data.split(digits.data, (0.8, 0.2), jax.random.key(0), stratify=digits.data[:][1])
scaler = fn.data.Scaler.fit(parts[0])
train_rows, valid_rows = map(scaler.transform, parts)
x, y = train_rows[:256]

# Weights are normal with mean 0; the standard deviation varies. All layers have 64 inputs.
widths = {"1": 1.0, "1/n": 1 / WIDTH, "1/√n (LeCun)": WIDTH**-0.5, "√(2/n) (He)": (2 / WIDTH) ** 0.5}
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)


# 1. Add a named zero to the output of each layer, so that the gradient with respect to it can be taken.
def mean_loss(model):
    signal = x
    for i, layer in enumerate(model.layers[:-1]):
        signal = layer(signal)
        signal = signal + fn.transform.sow(jnp.zeros_like(signal), f"layer {i + 1}")
        signal = model.activation(signal)
    return fn.losses.cross_entropy(model.layers[-1](signal), y)


# 2. One backward pass gives the gradients at all layers: reap the zeros, plant them and differentiate.
def gradient_norms(model):
    """The norm of the loss's gradient with respect to the output of each of the DEPTH hidden layers."""
    _, zeros = fn.transform.reap(mean_loss)(model)
    gradient = jax.grad(lambda added: fn.transform.plant(mean_loss, added)(model))(zeros)
    by_layer = jnp.stack([gradient[f"layer {i + 1}"].ravel() for i in range(DEPTH)])
    largest = jnp.abs(by_layer).max(axis=1, keepdims=True)  # the square of 1e-20 is 0 in float32
    scaled = by_layer / jnp.where(largest > 0, largest, 1)
    return largest[:, 0] * jnp.linalg.norm(scaled, axis=1)


# 3. Which networks train at all? SGD, ten epochs, nine learning rates; the lowest training loss counts.
def final_scores(model, rate):
    train = fn.fit(loss, optax.sgd(rate), epochs=10, batch_size=32)
    run = train(model, train_rows, jax.random.key(2), valid_rows)
    return run.history["train_loss"][-1], run.history["val_accuracy"][-1]


rates, stds = jnp.geomspace(1e-4, 1.0, 9), jnp.array(list(widths.values()))
figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", sharey=True)
print("            standard      gradient at layer                     factor   validation  at")
print("activation  deviation            1        10        20       per layer    accuracy  rate")
for ax, activation in zip(axes, (jax.nn.sigmoid, jnp.tanh, jax.nn.relu), strict=True):
    net = fn.MLP(
        (64, *[WIDTH] * DEPTH, 10), activation=activation, weight_init=jax.nn.initializers.normal(1.0)
    )
    normal = net.init(jax.random.key(1))
    models = jax.vmap(lambda std, normal=normal: jax.tree.map(lambda w: std * w, normal))(stds)
    norms = jax.jit(jax.vmap(gradient_norms))(models)
    losses, accuracies = jax.jit(jax.vmap(jax.vmap(final_scores, (None, 0)), (0, None)))(models, rates)
    losses = jnp.where(jnp.isfinite(losses), losses, jnp.inf)
    curves = {}
    for i, name in enumerate(widths):
        norm, best = norms[i], jnp.argmin(losses[i])
        end = (
            "none is finite"
            if jnp.isinf(losses[i]).all()
            else f"{accuracies[i, best]:.3f}  {rates[best]:.4f}"
        )
        factor = (norm[0] / norm[-1]) ** (1 / (DEPTH - 1))
        print(
            f"{activation.__name__:10s}  {name:12s}  {norm[0]:8.1e}  {norm[9]:8.1e}  {norm[-1]:8.1e}  "
            f"{factor:14.2f}  {end:>18s}",
            flush=True,
        )
        curves[name] = norm
    fn.report.curves(curves, ax, xlabel="layer", ylabel="", title=activation.__name__)
    ax.set_yscale("log")
    ax.set_xticks((1, 5, 10, 15, 20))
    ax.get_legend().remove()
axes[0].set_ylabel("norm of the gradient, log scale")
axes[0].legend(title="standard deviation of weights", frameon=False, fontsize=9, title_fontsize=9)
picture = Path("runs/vanishing_gradients.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
