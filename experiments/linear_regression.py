"""How does a line find its data? Linear regression by stochastic gradient descent (lesson P10, P11).

python experiments/linear_regression.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn

# 1. Descent on a bowl: a loss needs no data, and a model can be any array.


def bowl(point, example, key):
    return (point[0] - 3) ** 2 + (point[1] + 2) ** 2


nothing = (jnp.zeros(1),)  # fifteen epochs of one row that the loss never reads
descend = fn.fit(bowl, optax.sgd(0.1), epochs=15)
point = descend(jnp.zeros(2), nothing, jax.random.key(0)).model
first = fn.fit(bowl, optax.sgd(0.1), epochs=1)(jnp.zeros(2), nothing, jax.random.key(0)).model
print(
    f"(x-3)² + (y+2)²: after 1 step ({first[0]:.1f}, {first[1]:.1f}), "
    f"after 15 ({point[0]:.6f}, {point[1]:.6f})"
)

# 2. 120 points around y = 2x + 0.9, shuffled once.
rng = np.random.RandomState(13)
x = np.linspace(0, 3, 120)
y = 2 * x + 0.9 + 0.5 * rng.randn(120)
rows = rng.permutation(120)
x, y = x[rows].astype(np.float32)[:, None], y[rows].astype(np.float32)

# 3. A line that starts far off: slope 100, intercept 0.
line = fn.Linear(1, "scalar", weight=jnp.array([100.0]), bias=jnp.array(0.0))
model = fn.models.LinearRegression(1, linear=line)

# 4. Ten epochs of four rows at a time, in this order.
loss = fn.losses.supervised(fn.losses.squared_error)
train = fn.fit(loss, optax.sgd(0.1), epochs=10, batch_size=4, shuffle=False)
run = train(model, (x, y), jax.random.key(0))

# 5. What one sees: the epoch's mean loss, and the loss of its last batch alone, which jumps about.
step, state = (
    jax.jit(fn.step(loss, optax.sgd(0.1))),
    fn.TrainState.create(model, optax.sgd(0.1), jax.random.key(0)),
)
print("epoch  mean loss  last batch")
for epoch in range(10):
    for batch in fn.data.batches((x, y), batch_size=4):
        state, info = step(state, batch)
    print(f"{epoch:5d}  {run.history['loss'][epoch]:9.4f}  {info.loss:10.4f}")

fitted = run.model.linear
best = np.polyfit(x[:, 0], y, 1)
print(f"by descent:        y = {fitted.weight[0]:.4f} x + {fitted.bias:.4f}")
print(f"by least squares:  y = {best[0]:.4f} x + {best[1]:.4f}")
