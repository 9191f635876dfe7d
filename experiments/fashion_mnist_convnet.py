"""How well does a small convolutional network classify clothes? Fashion-MNIST, its standard split.

python experiments/fashion_mnist_convnet.py
"""

import time

import jax
import optax

import funcnet as fn

EPOCHS, BATCH = 8, 128

# 1. 60,000 training images, and 10,000 test images that are used once, at the end.
table = fn.data.load("fashion-mnist")
pixels, labels = table.data[:]
images = pixels.reshape(-1, 28, 28, 1)
train_size, _ = table.standard_split
train_rows = (images[:train_size], labels[:train_size])
test_rows = (images[train_size:], labels[train_size:])

# 2. Two convolutions, each followed by a pool; dropout before the last layer.
net = fn.models.ConvNet((28, 28, 1), 10, channels=(32, 64), dropout=0.3)
print(fn.summary(net, train_rows[0][0]), "\n")

# 3. AdamW; the learning rate rises for three tenths of the run, then decays along a cosine to nearly zero.
steps = EPOCHS * -(-train_size // BATCH)
rate = optax.cosine_onecycle_schedule(steps, 4e-3)
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
train = fn.fit(loss, optax.adamw(rate, weight_decay=1e-2), epochs=EPOCHS, batch_size=BATCH)

start = time.perf_counter()
run = train(net.init(jax.random.key(0)), train_rows, jax.random.key(1))
jax.block_until_ready(run.model)
seconds = time.perf_counter() - start

for epoch in range(EPOCHS):
    print(
        f"epoch {epoch + 1:2d}  loss {run.history['loss'][epoch]:.4f} nats  "
        f"accuracy {run.history['accuracy'][epoch]:.4f}"
    )
result = fn.evaluate(loss, run.model, test_rows)
print(f"test loss {result['loss']:.4f} nats, accuracy {result['accuracy']:.4f}, trained in {seconds:.0f} s")
