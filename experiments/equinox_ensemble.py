"""Where does a surrogate of a pendulum fail, and does its ensemble notice? A hundred networks of equinox.

    python experiments/equinox_ensemble.py

A network learns the angle of a damped pendulum from its first angle, its damping and the time, from 400
simulations that start at angles of up to 2. Beyond, the error grows faster than the spread of a hundred
networks. The validation loss of the ensemble is then differentiated by the learning rate, and the run of
all hundred networks is interrupted in the middle of an epoch and resumed.
"""

import contextlib
import tempfile
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental.ode import odeint
from matplotlib.figure import Figure

import funcnet as fn

SIZE, RATE, KEY = 100, np.log(1e-2), jax.random.key(1)


# 1. Simulations: (first angle, damping, time) and the angle at that time.
def simulate(angle, damping, time):
    def derivative(state, _):
        return jnp.stack([state[1], -jnp.sin(state[0]) - damping * state[1]])

    times = jnp.stack([0.0, time])
    return odeint(derivative, jnp.stack([angle, 0.0]), times, rtol=1e-5, atol=1e-5)[-1, 0]


def draw(count, largest, seed):
    low, high = (0.2, 0.0, 0.1), (largest, 0.3, 6.0)
    x = np.random.default_rng(seed).uniform(low, high, (count, 3)).astype(np.float32)
    return x, np.asarray(jax.jit(jax.vmap(simulate))(*x.T))


raw, test_rows = draw(400, 2.0, seed=0), draw(2000, 2.8, seed=2)
scaler = fn.data.Scaler.fit(raw)
data, valid, (x, y) = map(scaler.transform, (raw, draw(1000, 2.0, seed=1), test_rows))

# 2. A hundred networks as one model, each with its own start: a sum of their losses trains each by itself.
net = fn.interop.from_equinox(lambda key: eqx.nn.MLP(3, "scalar", 32, 2, activation=jnp.tanh, key=key))
start = fn.study.Ensemble(jax.vmap(net.init)(jax.random.split(jax.random.key(0), SIZE)))


def loss(ensemble, example, key):
    x, y = example
    errors = jnp.square(ensemble.predictions(x) - y)
    return errors.sum(), {"of_mean": jnp.square(ensemble(x) - y)}


def make_train(log_rate):
    optimizer = optax.adam(optax.cosine_decay_schedule(jnp.exp(log_rate), 700), eps_root=1e-8)
    return fn.fit(loss, optimizer, epochs=100, batch_size=64)


train = make_train(RATE)
whole = train(start, data, KEY)
mean, spread = fn.predict(whole.model, x), jax.jit(jax.vmap(whole.model.spread))(x)
error, angle = np.abs(mean - y), test_rows[0][:, 0]
print("first angle   error   spread   within two spreads")
for low, high in ((0.2, 2.0), (2.0, 2.4), (2.4, 2.8)):
    at = (low <= angle) & (angle < high)
    root = [np.sqrt(np.mean(np.square(v[at]))) for v in (error, spread)]
    share = (error[at] < 2 * spread[at]).mean()
    share_error = np.sqrt(share * (1 - share) / at.sum())
    print(f"{low} to {high}    {root[0]:.4f}  {root[1]:.4f}   {share:.3f} ± {share_error:.3f}")
area = fn.metrics.roc_auc(spread, angle > 2)
print(f"area under the ROC of the spread for angles beyond 2: {area:.3f}")


# 3. The derivative of the ensemble's validation loss by the logarithm of the learning rate, through the
#    runs of all hundred, beside a finite difference.
def validation_loss(run):
    return fn.evaluate(loss, run.model, valid)["of_mean"]


study = fn.study.hyper_gradient(make_train, validation_loss)
value, slope = study(RATE, start, data, KEY, valid)
above, below = (study(RATE + step, start, data, KEY, valid)[0] for step in (0.02, -0.02))
print(f"validation loss {value:.3e}, by log rate {slope:+.3e}, difference {(above - below) / 0.04:+.3e}")


# 4. The run of all hundred fails after 353 of 700 steps, in the middle of an epoch, and is resumed.
class FailOnce(fn.train.Callback):
    read_only = True

    def on_fit_start(self, context):
        self.start = context.step
        print(f"starts at step {context.step}")

    def on_checkpoint(self, context):
        if self.start == 0:
            raise RuntimeError("a power cut")


with tempfile.TemporaryDirectory() as directory:
    every = fn.train.Every(steps=353)
    for _ in range(2):
        trainer = fn.Trainer(
            train, directory, [FailOnce()], sync_every=every, save_every=every, progress=False
        )
        with contextlib.suppress(RuntimeError):
            run = trainer(start, data, KEY)
same = jax.tree.map(
    lambda a, b: bool((a == b).all()), (run.model, run.history), (whole.model, whole.history)
)
print(f"weights and history equal those of an uninterrupted run: {all(jax.tree.leaves(same))}")

# 5. The picture: error and spread of each test row, by the first angle.
figure = Figure(figsize=(6, 4), layout="constrained")
axes = figure.subplots()
axes.axvspan(0.2, 2.0, color="0.92", label="angles of the training rows")
axes.semilogy(angle, error, ".", markersize=2, label="error of the mean")
axes.semilogy(angle, spread, ".", markersize=2, label="spread of the hundred")
axes.set(xlabel="first angle (radians)", ylabel="angle (radians)", ylim=(1e-4, 5))
axes.legend(loc="upper left", markerscale=5)
Path("runs").mkdir(exist_ok=True)
figure.savefig("runs/equinox_ensemble.png", dpi=150)
print("Wrote runs/equinox_ensemble.png")
