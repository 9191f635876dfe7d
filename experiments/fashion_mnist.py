"""How well does a plain MLP classify clothes, and how much does an ensemble of eight add?

python experiments/fashion_mnist.py
"""

import time

import jax
import jax.numpy as jnp
import optax

import funcnet as fn

EPOCHS, BATCH = 18, 128
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)


def make_train(rows):
    """AdamW with a learning rate that decays to zero along a cosine over the whole run."""
    schedule = optax.cosine_decay_schedule(1e-3, EPOCHS * -(-rows // BATCH))
    return fn.fit(loss, optax.adamw(schedule, weight_decay=0.05), epochs=EPOCHS, batch_size=BATCH)


def net(dropout):
    return fn.MLP((784, 512, 512, 10), dropout=dropout)


# 1. The standard split: 60,000 training rows and 10,000 test rows, which no choice depends on.
table = fn.data.load("fashion-mnist")
train_rows, test_rows = fn.data.split(table.data, table.standard_split, None)

# 2. How much dropout? Chosen on 6,000 of the training rows.
fit_rows, valid_rows = fn.data.split(train_rows, (0.9, 0.1), jax.random.key(0), stratify=train_rows[:][1])
train = make_train(len(fit_rows))
choice = {}
print("dropout  valid accuracy  seconds")
for dropout in (0.2, 0.3, 0.4):
    start = time.perf_counter()
    run = train(net(dropout).init(jax.random.key(1)), fit_rows, jax.random.key(2))
    choice[dropout] = float(fn.evaluate(loss, run.model, valid_rows)["accuracy"])
    print(f"{dropout:7.1f}  {choice[dropout]:14.4f}  {time.perf_counter() - start:7.1f}", flush=True)
dropout = max(choice, key=choice.get)

# 3. Eight runs on all training rows, each with its own initial weights and order of rows.
train = make_train(len(train_rows))
accuracies, probabilities, seconds = [], [], []
print(f"\nseed  test accuracy  test loss  seconds   (dropout {dropout})")
for seed in range(8):
    start = time.perf_counter()
    key = jax.random.key(10 + seed)
    model = train(net(dropout).init(key), train_rows, key).model
    scores = jax.device_get(fn.evaluate(loss, model, test_rows))
    seconds.append(time.perf_counter() - start)
    accuracies.append(scores["accuracy"])
    probabilities.append(jax.nn.softmax(fn.predict(model, test_rows)))
    print(f"{seed:4d}  {scores['accuracy']:13.4f}  {scores['loss']:9.4f}  {seconds[-1]:7.1f}", flush=True)

# 4. One network alone, and eight averaged by the mean of their probabilities.
_, labels = test_rows[:]
is_right = jnp.argmax(jnp.mean(jnp.stack(probabilities), axis=0), axis=1) == labels
median = jnp.median(jnp.array(accuracies[:5]))
typical = float(jnp.median(jnp.array(seconds[:5])))
print(f"\none MLP, median of 5 seeds: {median:.4f} in {typical:.0f} s")
print(f"ensemble of 8:              {is_right.mean():.4f} in {sum(seconds):.0f} s")
