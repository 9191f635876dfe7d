"""How much dropout does a convolutional network need? Four rates, the same initial weights and order.

python experiments/dropout_rates.py
"""

from pathlib import Path

import jax
import optax
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import funcnet as fn

EPOCHS, RATES = 5, (0.0, 0.2, 0.5, 0.8)

# 1. 6,000 training images of Fashion-MNIST and 2,000 for validation: minutes on two cores.
table = fn.data.load("fashion-mnist")
pixels, labels = table.data[:8000]
images = pixels.reshape(-1, 28, 28, 1)
train_rows, valid_rows = (images[:6000], labels[:6000]), (images[6000:], labels[6000:])

# 2. The network: two convolutions with pools, dropout, one linear layer; Adam, batches of 64.
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
train = fn.fit(loss, optax.adam(1e-3), epochs=EPOCHS, batch_size=64)

# 3. One run per rate. Dropout makes the task harder during training, so compare `val_loss` with
#    `train_loss`, which is computed without dropout, and not with `loss`.
axes = Figure(figsize=(6, 4), layout="constrained").subplots()
print("rate  accuracy while training  validation accuracy  train loss  validation loss")
for rate, line in zip(RATES, ("-", "--", "-.", ":"), strict=True):
    net = fn.models.ConvNet((28, 28, 1), 10, padding="VALID", dropout=rate)
    run = train(net.init(jax.random.key(0)), train_rows, jax.random.key(1), valid_rows)
    last = {name: float(values[-1]) for name, values in run.history.items()}
    print(
        f"{rate:4.1f}  {last['accuracy']:23.4f}  {last['val_accuracy']:19.4f}  "
        f"{last['train_loss']:10.4f}  {last['val_loss']:15.4f}",
        flush=True,
    )
    axes.plot(range(1, EPOCHS + 1), run.history["val_accuracy"], line, marker="o", label=f"dropout {rate}")

# 4. The picture: validation accuracy by epoch, one curve per rate.
axes.set(xlabel="epoch", ylabel="validation accuracy")
axes.xaxis.set_major_locator(MaxNLocator(integer=True))
axes.grid(alpha=0.25)
axes.legend(frameon=False)
picture = Path("runs/dropout_rates.png")
picture.parent.mkdir(exist_ok=True)
axes.figure.savefig(picture, dpi=150)
print(f"curves in {picture}")
