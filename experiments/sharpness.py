"""How steep may a valley be? The largest curvature along a descent, beside 2 / learning rate.

python experiments/sharpness.py
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import funcnet as fn

# 1. Twenty points of a polynomial, all of them in every step: nothing but the descent moves the model.
t = jnp.linspace(-1, 1, 20)[:, None]
rows = (t, 8 * t**4 - 8 * t**2 + 1)  # Chebyshev's of degree 4
model = fn.MLP((1, *[50] * 5, 1), activation=jnp.tanh).init(jax.random.key(0))
loss = fn.losses.supervised(fn.losses.squared_error)


def mean_loss(model):
    return fn.evaluate(loss, model, rows)["loss"]


# 2. The sharpness is the largest eigenvalue of the Hessian: it takes products with vectors, and no matrix.
def sharpness(model):
    times = functools.partial(fn.transform.hvp(mean_loss), model)
    return fn.transform.eigenpairs(times, model, jax.random.key(1))[0][0]


STEPS, EVERY = 8000, 40


@jax.jit
def descent(rate):
    """The loss of every step [STEPS] and the sharpness every EVERY steps."""
    optimizer = optax.sgd(rate)
    step = fn.step(loss, optimizer)

    def one(state, _):
        return step(state, rows)

    def some(state, _):
        sharp = sharpness(state.model)
        state, info = jax.lax.scan(one, state, length=EVERY)
        return state, (info.loss, sharp)

    start = fn.TrainState.create(model, optimizer, jax.random.key(2))
    _, (losses, sharp) = jax.lax.scan(some, start, length=STEPS // EVERY)
    return losses.ravel(), sharp


# 3. In a parabola of curvature c a step multiplies the distance by 1 - rate · c: above 2 / rate it grows. A
# network is no parabola: it sharpens until it overshoots, which throws it to where the valley is wider, and
# so stays at the edge (Cohen et al., "Gradient descent on neural networks typically occurs at the edge of
# stability", 2021).
curves, losses_of = {}, {}
print("rate   2 / rate  sharpness: first  greatest  last quarter  loss at the end  steps that raise it")
for rate in (0.01, 0.02, 0.05, 0.1):
    losses, sharp = descent(jnp.array(rate))
    late, rises = sharp[-len(sharp) // 4 :], jnp.mean(jnp.diff(losses) > 0)
    print(
        f"{rate:.2f}  {2 / rate:9.1f}  {sharp[0]:16.1f}  {sharp.max():8.1f}  "
        f"{late.mean():6.1f} ± {late.std():3.1f}  {losses[-1]:15.1e}  {rises:19.0%}",
        flush=True,
    )
    if jnp.isfinite(losses).all():
        curves[f"rate {rate}"] = sharp
        losses_of[f"rate {rate}"] = losses[::EVERY]

# 4. Each curve ends at its dotted line, 2 / rate.
steps = jnp.arange(0, STEPS, EVERY)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for i, rate in enumerate((0.01, 0.02, 0.05)):
    left.axhline(2 / rate, color="black", linestyle=":", linewidth=1, label="" if i else "2 / rate")
fn.report.curves(curves, left, x=steps, xlabel="step", ylabel="largest eigenvalue of the Hessian")
fn.report.curves(losses_of, right, x=steps, xlabel="step", ylabel="training loss, log scale")
right.set_yscale("log")
picture = Path("runs/sharpness.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
