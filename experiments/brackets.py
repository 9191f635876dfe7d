"""Are the brackets balanced? A small Transformer, with and without position encodings.

python experiments/brackets.py
"""

import time

import jax
import numpy as np
import optax

import funcnet as fn

# 1. Strings like (()()) with as many ( as ), so that counting does not help; half of them are not balanced.
#    They have 16 to 20 tokens and are all different; short ones are padded.
LENGTH, PADDING, OPEN, CLOSE = 20, 0, 1, 2
rng = np.random.default_rng(0)


def strings(n: int, balanced: bool) -> np.ndarray:
    """n different strings [n, length]."""
    unique: dict[bytes, np.ndarray] = {}
    while len(unique) < n:
        half = rng.integers(LENGTH // 2 - 2, LENGTH // 2 + 1)
        tokens = rng.permutation([OPEN] * half + [CLOSE] * half)
        depth = np.cumsum(np.where(tokens == OPEN, 1, -1))
        if (depth.min() >= 0) == balanced:
            unique[tokens.tobytes()] = np.pad(tokens, (0, LENGTH - len(tokens)), constant_values=PADDING)
    return np.stack(list(unique.values())).astype(np.int32)


x = np.concatenate([strings(3000, balanced=True), strings(3000, balanced=False)])
y = np.repeat(np.int32([1, 0]), 3000)
train_rows, test_rows = fn.data.split((x, y), (4500, 1500), jax.random.key(0), stratify=y)
for i in (0, 3000):
    print("".join(" ()"[token] for token in x[i]), "is", "balanced" if y[i] else "not balanced")
print(f"{len(train_rows)} training strings, {len(test_rows)} test strings\n")

# 2. The model: a logit for "balanced". Padding is masked in attention and in the mean.
loss = fn.losses.supervised(fn.losses.binary_cross_entropy, accuracy=fn.metrics.accuracy)
train = fn.fit(loss, optax.adam(5e-3), epochs=10, batch_size=64)

# 3. Without positions the model sees a set: all it can use is the length.
print(f"{'positions':12}{'parameters':>10}{'loss/nats':>11}{'accuracy':>10}{'seconds':>9}")
for positions in ("none", "learned", "sinusoidal"):
    net = fn.models.Transformer(
        *("scalar",),
        vocab_size=3,
        pad_token=PADDING,
        positions=positions,
        max_length=LENGTH,
        features=16,
        num_heads=2,
        depth=2,
        hidden_features=32,
    )
    began = time.perf_counter()
    run = train(net.init(jax.random.key(0)), train_rows, jax.random.key(1))
    result = fn.evaluate(loss, run.model, test_rows)
    seconds = time.perf_counter() - began
    numbers = f"{result['loss']:11.3f}{result['accuracy']:10.3f}{seconds:9.1f}"
    print(f"{positions:12}{fn.count(run.model):10}{numbers}")
