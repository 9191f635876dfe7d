"""Why are sigmoid and loss one function, and what do batches of 2 instead of 16 change?

python experiments/logistic_loss.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import funcnet as fn

# 1. Both agree for moderate logits; for large ones only the fused loss is finite.


def separate(logit, target):
    p = jax.nn.sigmoid(logit)
    return -(target * jnp.log(p) + (1 - target) * jnp.log(1 - p))


fused = fn.losses.binary_cross_entropy
print("logit  class    separate       fused   gradient separate   gradient fused")
for logit in (-2.0, 0.0, 5.0, 20.0, 100.0):
    values = [f(jnp.array(logit), jnp.array(0.0)) for f in (separate, fused)]
    gradients = [jax.grad(f)(jnp.array(logit), jnp.array(0.0)) for f in (separate, fused)]
    print(
        f"{logit:5.0f}      0  {values[0]:10.6f}  {values[1]:10.6f}  "
        f"{gradients[0]:18.6f}  {gradients[1]:15.6f}"
    )

# 2. A perceptron on rows scaled by the smallest and largest value in the training rows.
data = fn.data.two_classes(flip_y=0.05).data
train_rows, valid_rows, test_rows = fn.data.split(data, (70, 15, 15), None)
scaler = fn.data.Scaler.fit(train_rows, "minmax", per_feature=False)
train_rows, test_rows = scaler.transform(train_rows), scaler.transform(test_rows)

# 3. Twenty runs for each batch size. Batches of 2 make 35 updates an epoch, batches of 16 make 5.
loss = fn.losses.supervised(fused, accuracy=fn.metrics.accuracy)
net = fn.models.Perceptron(2, weight_init=jax.nn.initializers.normal(1.0))
keys = jax.random.split(jax.random.key(0), 20)
print("\nbatch  updates  training loss (p5 - median - p95)   test accuracy")
for batch_size in (2, 16, 70):
    train = fn.fit(loss, optax.sgd(0.1), epochs=10, batch_size=batch_size)
    models = jax.vmap(lambda key, train=train: train(net.init(key), train_rows, key))(keys).model
    values = jax.vmap(lambda model: fn.evaluate(loss, model, train_rows))(models)["loss"]
    accuracy = jax.vmap(lambda model: fn.evaluate(loss, model, test_rows))(models)["accuracy"]
    low, middle, high = jnp.percentile(values, jnp.array([5.0, 50.0, 95.0]))
    updates, right = 10 * -(-70 // batch_size), jnp.median(accuracy)
    print(f"{batch_size:5d}  {updates:7d}  {low:.3f} - {middle:.3f} - {high:.3f}  {right:30.3f}")

picture = Path("runs/logistic_loss.png")
picture.parent.mkdir(exist_ok=True)
axes = fn.report.loss_curves({"logistic": fused}, over="probability", targets=(1, 0))
axes.figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
