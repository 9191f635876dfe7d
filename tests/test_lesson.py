"""Numbers of the lesson that are the same everywhere: P10 and P11, to the printed digits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from keys import cached_key

import funcnet as fn


def test_p10_descent_on_a_bowl():
    def bowl(point, example, key):
        return (point[0] - 3) ** 2 + (point[1] + 2) ** 2

    def after(steps):
        train = fn.fit(bowl, optax.sgd(0.1), epochs=steps, shuffle=False)
        return [
            f"{value:.6f}" for value in train(jnp.zeros(2), (np.zeros(1, np.float32),), cached_key(0)).model
        ]

    assert after(1) == ["0.600000", "-0.400000"]
    assert after(15) == ["2.894447", "-1.929631"]


def test_p11_linear_regression_ends_where_the_lesson_does():
    data = fn.data.noisy_line().data
    line = fn.Linear(1, "scalar", weight=jnp.array([100.0]), bias=jnp.array(0.0))
    loss = fn.losses.supervised(fn.losses.squared_error)

    def trained(epochs):
        train = fn.fit(loss, optax.sgd(0.1), epochs=epochs, batch_size=4, shuffle=False)
        return train(fn.models.LinearRegression(1, linear=line), data, cached_key(0))

    model = trained(10).model
    fitted = model.linear
    assert (f"{fitted.weight[0]:.4f}", f"{fitted.bias:.4f}") == ("1.8617", "1.0711")

    # The lesson prints the loss of each epoch's last batch, before its update.
    optimizer = optax.sgd(0.1)
    step = jax.jit(fn.step(loss, optimizer))
    state = fn.TrainState.create(fn.models.LinearRegression(1, linear=line), optimizer, cached_key(0))
    printed = []
    for _ in range(10):
        for batch in fn.data.batches(data, 4):
            state, info = step(state, batch)
        printed.append(f"{info.loss:.4f}")
    assert printed == [
        "94.5247",
        "9.3428",
        "1.4166",
        "0.5224",
        "0.3807",
        "0.3495",
        "0.3413",
        "0.3390",
        "0.3384",
        "0.3382",
    ]
    assert state.model == model
