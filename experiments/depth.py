"""What lets a deep network train? A plain MLP and one of residual blocks, shallow and deep.

python experiments/depth.py
"""

import jax
import jax.numpy as jnp
import optax

import funcnet as fn

WIDTH, DEPTHS = 32, (1, 5, 10, 20)

# 1. Handwritten digits, 8 by 8 pixels, scaled by the training rows.
digits = fn.data.load("digits")
train_rows, valid_rows = fn.data.split(
    digits.data, (0.8, 0.2), jax.random.key(0), stratify=digits.data[:][1]
)
scaler = fn.data.Scaler.fit(train_rows)
train_rows, valid_rows = scaler.transform(train_rows), scaler.transform(valid_rows)

loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
train = fn.fit(loss, optax.adam(1e-3), epochs=15, batch_size=32)


def gradient_norm(model, first_layer):
    """The norm of the loss's gradient with respect to the weights of the first layer."""

    def mean_loss(model):
        return fn.evaluate(loss, model, train_rows)["loss"]

    return float(jnp.linalg.norm(first_layer(jax.jit(jax.grad(mean_loss))(model)).weight))


# 2. Both have the same number of linear layers: `depth` blocks of two, plus the first and the last.
print("blocks  network   gradient at the first layer  train loss  validation accuracy")
for depth in DEPTHS:
    nets = {
        "plain": (
            fn.MLP((64, *[WIDTH] * (2 * depth + 1), 10), weight_init="lecun_normal"),
            lambda model: model.layers[0],
        ),
        "residual": (
            fn.models.ResMLP(64, 10, width=WIDTH, depth=depth),
            lambda model: model.embed,
        ),
    }
    for name, (net, first_layer) in nets.items():
        model = net.init(jax.random.key(1))
        run = train(model, train_rows, jax.random.key(2), valid_rows)
        last = {key: float(values[-1]) for key, values in run.history.items()}
        norm = gradient_norm(model, first_layer)
        print(
            f"{depth:6d}  {name:8s}  {norm:27.1e}  {last['train_loss']:10.4f}  "
            f"{last['val_accuracy']:19.4f}",
            flush=True,
        )
