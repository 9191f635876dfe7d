"""Keras on JAX: Sequential, compile, fit; one step per call, or 32 (`steps_per_execution`)."""

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"  # read when keras is imported

import keras

from jobs import Job
from workloads import Workload


def variants(work: Workload) -> list[dict[str, Any]]:
    return [{"steps_per_execution": steps} for steps in (1, 32)]


def prepare(work: Workload, steps_per_execution: int = 1) -> Job:
    model = _network(work)
    rate = work.learning_rate
    model.compile(
        optimizer=keras.optimizers.Adam(rate, epsilon=1e-8)
        if work.optimizer == "adam"
        else keras.optimizers.SGD(rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True) if work.classes else "mse",
        metrics=["accuracy"] if work.classes else [],
        steps_per_execution=steps_per_execution,
    )
    model.optimizer.build(model.trainable_variables)
    state = [variable.numpy() for variable in model.optimizer.variables]
    settings = {"batch_size": work.batch_size, "epochs": work.epochs, "shuffle": work.shuffle, "verbose": 0}

    def train(seed: int) -> Any:
        keras.utils.set_random_seed(seed)
        model.set_weights(work.start)
        for variable, first in zip(model.optimizer.variables, state, strict=True):
            variable.assign(first)
        model.fit(work.x, work.y, **settings)
        return model

    return Job(train, lambda made: made.get_weights())


def _network(work: Workload) -> Any:
    model = keras.Sequential([keras.Input(work.x.shape[1:])])
    *hidden, last = work.layers
    for kernel, bias in hidden:
        if kernel.ndim == 4:
            model.add(keras.layers.Conv2D(len(bias), 3, activation="relu"))
            model.add(keras.layers.MaxPooling2D(2))
        else:
            model.add(keras.layers.Dense(len(bias), activation="relu"))
    if work.convolutions:
        model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(len(last[1])))
    return model
