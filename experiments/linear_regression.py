"""How does a line fit its data? Linear regression by stochastic gradient descent.

python experiments/linear_regression.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn

# 1. 120 points around y = 2x + 0.9, shuffled once.
problem = fn.data.noisy_line()
x, y = problem.data[:]

# 2. An initial line that is far off: slope 100, intercept 0.
line = fn.Linear(1, "scalar", weight=jnp.array([100.0]), bias=jnp.array(0.0))
model = fn.models.LinearRegression(1, linear=line)

# 3. Ten epochs with batches of four, without shuffling.
loss = fn.losses.supervised(fn.losses.squared_error)
train = fn.fit(loss, optax.sgd(0.1), epochs=10, batch_size=4, shuffle=False)
run = train(model, (x, y), jax.random.key(0))

# 4. The mean loss of each epoch, and the loss of its last batch alone, which is noisy.
step = jax.jit(fn.step(loss, optax.sgd(0.1)))
state = fn.TrainState.create(model, optax.sgd(0.1), jax.random.key(0))
print("epoch  mean loss  last batch")
for epoch in range(10):
    for batch in fn.data.batches((x, y), batch_size=4):
        state, info = step(state, batch)
    print(f"{epoch:5d}  {run.history['loss'][epoch]:9.4f}  {info.loss:10.4f}")

fitted = run.model.linear
best = np.polyfit(x[:, 0], y, 1)
print(f"by SGD:            y = {fitted.weight[0]:.4f} x + {fitted.bias:.4f}")
print(f"by least squares:  y = {best[0]:.4f} x + {best[1]:.4f}")

picture = Path("runs/linear_regression.png")
picture.parent.mkdir(exist_ok=True)
fn.report.regression_line(run.model, problem.data).figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
