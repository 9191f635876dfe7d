"""scikit-learn's MLPClassifier and MLPRegressor; no convolutions there.

They have no argument for initial weights. A warm start keeps the weights of the estimator and creates a
new optimizer, so it is fitted once for the shapes, and the weights are set before each run. Without
penalty and early stopping it does what the others do; it records the loss of each epoch, but no accuracy.
"""

import os
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from threadpoolctl import threadpool_limits

from jobs import Job
from workloads import Weights, Workload


def variants(work: Workload) -> list[dict[str, Any]]:
    threads = sorted({1, os.cpu_count() or 1})
    return [] if work.convolutions else [{"threads": number} for number in threads]


def prepare(work: Workload, threads: int) -> Job:
    warnings.simplefilter("ignore", ConvergenceWarning)  # "maximum iterations reached" is expected
    # Its squared error is halved, and so is the gradient, which does not matter for Adam.
    halved = work.optimizer == "sgd" and not work.classes
    model = (MLPClassifier if work.classes else MLPRegressor)(
        hidden_layer_sizes=work.sizes[1:-1],
        solver=work.optimizer,
        alpha=0.0,
        batch_size=work.batch_size,
        learning_rate_init=work.learning_rate * (2 if halved else 1),
        momentum=0.0,
        max_iter=1,
        shuffle=work.shuffle,
        n_iter_no_change=10**9,
        warm_start=True,
    )
    model.fit(work.x, work.y)
    model.set_params(max_iter=work.epochs)

    def train(seed: int) -> Any:
        model.set_params(random_state=seed)
        for held, first in zip(model.coefs_ + model.intercepts_, _start(work), strict=True):
            held[...] = first
        with threadpool_limits(threads):  # of numpy's matrix products
            return model.fit(work.x, work.y)

    return Job(train, _weights)


def _start(work: Workload) -> Weights:
    return work.start[::2] + work.start[1::2]


def _weights(model: Any) -> Weights:
    pairs = zip(model.coefs_, model.intercepts_, strict=True)
    return [np.array(part) for pair in pairs for part in pair]
