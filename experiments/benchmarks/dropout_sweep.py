"""What does a sweep over 4 dropout rates x 3 learning rates cost beside twelve fits, and beside PyTorch?

    python experiments/benchmarks/dropout_sweep.py

The job is the same everywhere: the digits, an MLP 64-128-10, Adam, batches of 64, both losses after each
epoch. "cold" starts with empty caches of compiled programs, "warm" has them; PyTorch compiles nothing, and
gets one thread, which is faster at this size. The ways take turns, with a rest before each; the medians of
all rounds are printed.
"""

import argparse
import itertools
import statistics
import time

import jax
import numpy as np
import optax
import torch

import funcnet as fn
from funcnet import _keys

DROPOUTS, RATES = (0.0, 0.2, 0.5, 0.8), (3e-4, 1e-3, 3e-3)
BATCH, REST = 64, 0.3


def jax_job(epochs, rows, valid):
    """The sweep and the twelve fits; each is a function without arguments that returns twelve losses."""
    loss, key = fn.losses.supervised(fn.losses.cross_entropy), jax.random.key(0)
    model = fn.MLP((64, 128, 10)).init(key)

    def make_train(dropout, rate):
        train = fn.fit(loss, optax.adam(rate), epochs=epochs, batch_size=BATCH)
        return train, model.replace(dropout=dropout)

    def new_sweep():
        study = fn.study.sweep(make_train, {"dropout": DROPOUTS, "rate": RATES})
        return lambda: study(None, rows, key, valid).scores

    def new_fits():
        made = [make_train(*settings) for settings in itertools.product(DROPOUTS, RATES)]
        train_key = _keys.fold_in_name(key, "train")  # the sweep's, so that rows come in its order

        def twelve():
            runs = [train(net, rows, train_key, valid) for train, net in made]
            return np.array([float(run.history["val_loss"][-1]) for run in runs])

        return twelve

    return new_sweep, new_fits


def torch_job(epochs, rows, valid):
    """The same in PyTorch, as its tutorial writes it, one setting after another."""
    x, y = (torch.from_numpy(np.array(a)) for a in rows)
    x_valid, y_valid = (torch.from_numpy(np.array(a)) for a in valid)
    y, y_valid = y.long(), y_valid.long()

    def one(dropout, rate):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Dropout(dropout), torch.nn.Linear(128, 10)
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        for _ in range(epochs):
            model.train()
            for batch in torch.randperm(len(x)).split(BATCH):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
            model.eval()  # as fit does with validation rows: both losses after each epoch
            with torch.no_grad():
                torch.nn.functional.cross_entropy(model(x), y)
                loss = torch.nn.functional.cross_entropy(model(x_valid), y_valid).item()
        return loss

    return lambda: np.array([one(*settings) for settings in itertools.product(DROPOUTS, RATES)])


def seconds(function):
    time.sleep(REST)
    start = time.perf_counter()
    losses = function()
    return time.perf_counter() - start, losses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = fn.data.load("digits").data[:]
    rows, valid = (table[0][:1400] / 16, table[1][:1400]), (table[0][1400:] / 16, table[1][1400:])
    new_sweep, new_fits = jax_job(args.epochs, rows, valid)
    torch_fits = torch_job(args.epochs, rows, valid)
    times = {}
    for _ in range(args.rounds):
        for name, new in (("sweep", new_sweep), ("twelve fits", new_fits)):
            jax.clear_caches()
            function = new()
            for kind in ("cold", "warm"):
                spent, losses = seconds(function)
                times.setdefault(f"{name}, {kind}", []).append(spent)
            times[name] = losses
        spent, _ = seconds(torch_fits)
        times.setdefault("PyTorch, twelve fits", []).append(spent)
    difference = np.abs(times.pop("sweep") - times.pop("twelve fits")).max()
    print(f"largest difference between the validation losses of a trial and of its fit: {difference:.1e}")
    for name, values in times.items():
        print(f"{name:22} {statistics.median(values):6.2f} s")


if __name__ == "__main__":
    main()
