"""Which of three irises is it? A small network with early stopping.

python experiments/iris.py
"""

from pathlib import Path

import jax
import optax

import funcnet as fn

# 1. The table: 150 flowers, four lengths in cm, three species.
iris = fn.data.load("iris")
_, species = iris.data[:]
train_rows, valid_rows, test_rows = fn.data.split(
    iris.data, (0.6, 0.2, 0.2), jax.random.key(0), stratify=species
)

# 2. Scaled by the training rows only.
scaler = fn.data.Scaler.fit(train_rows)
train_rows, valid_rows, test_rows = map(scaler.transform, (train_rows, valid_rows, test_rows))

# 3. The model and its loss, for one flower.
net = fn.MLP((4, 16, 3))
print(fn.summary(net, train_rows[0][0]), "\n")
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)

# 4. Training is a function of model, data and key. It returns the weights of the best epoch.
train = fn.fit(loss, optax.adam(1e-2), epochs=200, batch_size=16, stopping=fn.EarlyStopping(patience=20))
run = train(net.init(jax.random.key(1)), train_rows, jax.random.key(2), valid_rows)
print(run.outcome.value)
print(f"best epoch {int(run.best_epoch) + 1} of {int(run.state.epoch)}")

# 5. Evaluate on rows that were not used before.
result = fn.evaluate(loss, run.model, test_rows)
print(f"test loss {result['loss']:.3f} nats, accuracy {result['accuracy']:.3f}")

# 6. A hundred runs in one program: how much of that accuracy is luck?
keys = jax.random.split(jax.random.key(3), 100)
runs = jax.vmap(train, in_axes=(0, None, 0, None))(jax.vmap(net.init)(keys), train_rows, keys, valid_rows)
results = jax.vmap(lambda model: fn.evaluate(loss, model, test_rows))(runs.model)
accuracy = results["accuracy"]
print(f"100 runs: accuracy {accuracy.mean():.3f} in the mean, standard deviation {accuracy.std():.3f}")

picture = Path("runs/iris.png")
picture.parent.mkdir(exist_ok=True)
run.plot()[0].figure.savefig(picture, dpi=150)
print(f"curves in {picture}")
