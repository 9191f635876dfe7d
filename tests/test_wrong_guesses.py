"""Guesses of newcomers from Keras, PyTorch and Lightning: each ends in a sentence with code that works."""

import contextlib
import functools
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
from keys import lazy_key

import funcnet as fn
from funcnet._check import _peers

KEY = lazy_key(0)
RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(40, 2)).astype(np.float32), RNG.integers(0, 3, 40)
NET = fn.MLP((2, 3))
MODEL = functools.cache(lambda: jax.jit(NET.init)(KEY()))
LOSS = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
SGD = optax.sgd(0.1)
TRAIN = fn.fit(LOSS, SGD, epochs=1, shuffle=False)
STEP = fn.step(LOSS, SGD)
RUN = functools.cache(lambda: TRAIN(MODEL(), (X, LABELS), KEY()))
FIT_CODE = re.escape("Write train = fn.fit(loss, optax.adam(1e-3), epochs=20)")
CALL_CODE = re.escape("Write run = train(model, (x, y), jax.random.key(0))")


def of_four(model, batch, weight, key):
    return jnp.mean(model(batch[0]))


def of_batch_shape(model, example, key):
    return model(example[0])


def of_whole_batch(model, example, key):
    return jnp.mean(model(example[0])[:, 0])


def of_pairs(model, x, y):
    return jnp.sum((model(x) - y) ** 2)


def random_loss(model, example, key):
    return jnp.sum(model(example[0])) * jax.random.normal(key)


class Noisy(fn.Module):
    layer: fn.Module = fn.Linear(2, 3)

    def __call__(self, x, key=None):
        return self.layer(x) + jax.random.normal(key)


@fn.losses.batchwise
def random_batch_loss(model, batch, weight, key):
    return jnp.sum(jax.random.normal(jax.random.split(key)[0]) * weight)


class WithForward(fn.Module):
    layer: fn.Module = fn.Linear(2, 3)

    def forward(self, x):
        return self.layer(x)


def set_in_constructor(value):
    class Torch(fn.Module):
        def __init__(self):
            self.part = value

    return Torch()


def stop_by_attribute(context):
    context.stop_training = True


def set_trainable():
    MODEL().trainable = False


def trained_with(callback):
    return fn.Trainer(TRAIN, callbacks=[callback], progress=False)(MODEL(), (X, LABELS), KEY())


def loop_over_pairs():
    for _x, _y in fn.data.batches((X, LABELS)):
        pass


def import_dense():
    from funcnet.layers import Dense  # noqa: F401


def import_loader():
    from funcnet import DataLoader  # noqa: F401


GUESSES = {
    "loss of three": (lambda: LOSS(MODEL(), X[0], LABELS[0]), r"loss\(model, \(x, y\), key\)"),
    "loss without a key": (lambda: LOSS(MODEL(), (X[0], LABELS[0])), r"Write loss\(model, \(x, y\), key\)"),
    "loss of four": (lambda: LOSS(MODEL(), X, LABELS, KEY()), r"Write loss\(model, \(x, y\), key\)"),
    "loss of logits": (lambda: LOSS(X, LABELS), r"Write loss\(model, \(x, y\), key\)"),
    "evaluate a model": (lambda: fn.evaluate(MODEL(), X, LABELS), r"fn.evaluate\(loss, model, \(x, y\)\)"),
    "evaluate without a loss": (
        lambda: fn.evaluate(MODEL(), (X, LABELS)),
        r"evaluate\(loss, model, \(x, y\)\)",
    ),
    "evaluate by train": (lambda: fn.evaluate(TRAIN, MODEL(), (X, LABELS)), r"train\.loss"),
    "predict by a run": (lambda: fn.predict(RUN(), X), r"fn\.predict\(run\.model, x\)"),
    "predict the other way": (lambda: fn.predict(X, MODEL()), r"fn\.predict\(model, x\)"),
    "unpack a batch": (loop_over_pairs, r"Write x, y = batch\.example"),
    "batches of three": (
        lambda: fn.data.batches(X, LABELS, 32, KEY(), 0),
        r"for batch in fn\.data\.batches\(\(x, y\), batch_size=32, key=key\)",
    ),
    "an unmarked loss of a batch": (lambda: fn.fit(of_four, SGD, epochs=1), r"fn\.losses\.batchwise\(f\)"),
    "a loss with the shape of a batch": (
        lambda: fn.fit(of_batch_shape, SGD, epochs=1)(MODEL(), (X, LABELS), KEY()),
        r"fn\.losses\.batchwise\(f\)",
    ),
    "a loss of a batch only": (
        lambda: fn.fit(of_whole_batch, SGD, epochs=1)(MODEL(), (X, LABELS), KEY()),
        r"take one example, here float32\[2\], int32\[\], got one that works on a whole batch only",
    ),
    "a method forward": (
        lambda: TRAIN(WithForward().init(KEY()), (X, LABELS), KEY()),
        r"WithForward with a method forward\. Rename it: def __call__\(self, x, key=None\)",
    ),
    "a layer set in __init__": (
        lambda: set_in_constructor(fn.Linear(2, 3)),
        r"Torch has no field part\. Declare it in the class.*'part: fn\.Module = \.\.\.'",
    ),
    "an array set in __init__": (
        lambda: set_in_constructor(jnp.zeros(3)),
        r"'part: jax\.Array \| None = None'\. .*returned by parameters\(self, key\)",
    ),
    "a method replaced": (
        lambda: setattr(WithForward(), "forward", None),
        r"can't be changed in place, got a new forward for WithForward",
    ),
    "text labels": (
        lambda: TRAIN(MODEL(), (X, np.array(["a", "b"] * 20)), KEY()),
        r"got text\. Of labels: classes, y = np\.unique\(labels, return_inverse=True\)",
    ),
    "curves of a dictionary": (
        lambda: fn.report.history({"loss": [1.0]}),
        r"fn\.report\.curves\(\{'loss': model\.loss_curve_\}\)",
    ),
    "a word for a loss": (lambda: fn.fit("mse", "adam", epochs=1), r"fn\.losses\.supervised\("),
    "a word for a loss of an example": (lambda: fn.losses.supervised("mse"), r"fn\.losses\.squared_error"),
    "fit the model": (lambda: fn.fit(MODEL(), X, LABELS), FIT_CODE),
    "fit the model for epochs": (lambda: fn.fit(MODEL(), X, LABELS, epochs=5), FIT_CODE),
    "fit without epochs": (lambda: fn.fit(LOSS, SGD), FIT_CODE),
    "fit without an optimizer": (lambda: fn.fit(LOSS, epochs=3), FIT_CODE),
    "fit(callbacks)": (
        lambda: fn.fit(LOSS, SGD, epochs=1, callbacks=[]),
        r"Write fn\.Trainer\(train, callb",
    ),
    "fit(verbose)": (
        lambda: fn.fit(LOSS, SGD, epochs=1, verbose=1),
        r"Write fn\.Trainer\(.*progress=\"bar\"",
    ),
    "fit(max_epochs)": (lambda: fn.fit(LOSS, SGD, max_epochs=3), FIT_CODE),
    "fit(learning_rate)": (lambda: fn.fit(LOSS, SGD, epochs=1, learning_rate=0.1), r"Write optax\.adamw\("),
    "fit(initial_epoch)": (lambda: fn.fit(LOSS, SGD, epochs=1, initial_epoch=5), FIT_CODE),
    "train on x, y": (lambda: TRAIN(MODEL(), X, LABELS), CALL_CODE),
    "train with valid for a key": (lambda: TRAIN(MODEL(), (X, LABELS), (X, LABELS)), CALL_CODE),
    "train(validation_data)": (
        lambda: TRAIN(MODEL(), (X, LABELS), KEY(), validation_data=(X, LABELS)),
        r"Write run = train\(model, data, key, valid=valid\)",
    ),
    "train(epochs)": (lambda: TRAIN(MODEL(), (X, LABELS), KEY(), epochs=3), FIT_CODE),
    "a Trainer on x, y": (lambda: fn.Trainer(TRAIN)(MODEL(), X, LABELS), CALL_CODE),
    "a Trainer without a key": (lambda: fn.Trainer(TRAIN)(MODEL(), (X, LABELS)), r"Write run = trainer\("),
    "a Trainer of epochs": (lambda: fn.Trainer(max_epochs=3), FIT_CODE),
    "a Trainer of a model": (lambda: fn.Trainer(MODEL()), r"fn\.Trainer\(fn\.fit\("),
    "early stopping as a callback": (
        lambda: fn.Trainer(TRAIN, callbacks=[fn.EarlyStopping()]),
        r"stopping=fn\.EarlyStopping\(patience=5\)",
    ),
    "the best weights": (lambda: fn.EarlyStopping(restore_best_weights=True), r"restore_best=True"),
    "metrics by place": (
        lambda: fn.losses.supervised(fn.losses.cross_entropy, fn.metrics.accuracy),
        r"Write fn\.losses\.supervised\(",
    ),
    "a step of x, y": (
        lambda: STEP(RUN().state, X, LABELS),
        r"Write state, info = step\(state, \(x, y\)\)",
    ),
    "a state without a key": (
        lambda: fn.TrainState.create(MODEL(), SGD),
        r"fn\.TrainState\.create\(model, opt",
    ),
    "a split of x, y": (
        lambda: fn.data.split(X, LABELS, test_size=0.2),
        r"Write data, valid = fn\.data\.split",
    ),
    "a split without a key": (lambda: fn.data.split((X, LABELS), (0.8, 0.2)), r"fn\.data\.split\(\(x, y\)"),
    "a Dataset of two": (lambda: fn.data.Dataset(X, LABELS), r"Write fn\.data\.Dataset\(\(x, y\)\)"),
    "a Scaler": (lambda: fn.data.Scaler(), r"Write fn\.data\.Scaler\.fit\(data\)"),
    "one-hot": (lambda: fn.data.one_hot(LABELS), r"Write fn\.data\.one_hot\(labels, 3\)"),
    "init with an input": (lambda: NET.init(KEY(), X), r"Write model = net\.init\(jax\.random\.key\(0\)\)"),
    "a summary of nothing": (lambda: fn.summary(MODEL()), r"Write fn\.summary\(net, x\[0\]\)"),
    "parameters": (lambda: MODEL().parameters(), r"Write jax\.tree\.leaves\(model\)"),
    "parameters of a layer": (lambda: fn.Linear(2, 3).parameters(), r"Write jax\.tree\.leaves\(model\)"),
    "a layer's output alone": (lambda: fn.Linear(3), r"Write Linear\(in_features, out_features\)"),
    "a layer's activation": (lambda: fn.Linear(2, 3, activation="relu"), r"Write fn\.Sequential\("),
    "a rate by torch's name": (lambda: fn.Dropout(p=0.1), r"Write fn\.Dropout\(0\.1\)"),
    "sizes by place": (lambda: fn.MLP(2, 16, 3), r"Write MLP\(sizes\)"),
    "model.fit": (lambda: MODEL().fit(X, LABELS), FIT_CODE),
    "model.compile": (lambda: MODEL().compile(optimizer="adam"), FIT_CODE),
    "model.train()": (lambda: MODEL().train(), r"Write model\(x\)"),
    "model.eval()": (lambda: MODEL().eval(), r"Write model\(x\)"),
    "model.state_dict()": (lambda: MODEL().state_dict(), r"Write fn\.save_weights\("),
    "run.predict": (lambda: RUN().predict(X), r"Write fn\.predict\(run\.model, x\)"),
    "run.history.history": (lambda: RUN().history.history, r"Write run\.history\[\"loss\"\]"),
    "train.fit": (lambda: TRAIN.fit(MODEL(), X, LABELS), r"Write run = train\("),
    "trainer.fit": (
        lambda: fn.Trainer(TRAIN).fit(MODEL(), X),
        r"Write run = trainer\(model, data, key, valid\)",
    ),
    "trainer.test": (lambda: fn.Trainer(TRAIN).test(MODEL(), X), r"Write fn\.evaluate\("),
    "a loss of x, y": (lambda: fn.fit(of_pairs, SGD, epochs=1), r"third argument is 'y'.*x, y = example"),
    "a random loss with validation": (
        lambda: fn.fit(random_loss, SGD, epochs=1)(MODEL(), (X, LABELS), KEY(), (X, LABELS)),
        "in evaluation a loss and its model get key=None.*`if key is None",
    ),
    "a random model": (
        lambda: TRAIN(Noisy().init(KEY()), (X, LABELS), KEY()),
        "in evaluation a loss and its model get key=None.*`if key is None",
    ),
    "a random loss of a batch": (
        lambda: fn.evaluate(random_batch_loss, MODEL(), (X, LABELS)),
        "in evaluation a loss and its model get key=None.*`if key is None",
    ),
    "evaluate with a key": (
        lambda: fn.evaluate(LOSS, MODEL(), (X, LABELS), key=KEY()),
        "Write fn.evaluate.*the loss gets key=None, so `if key is None",
    ),
    "weights of heads": (
        lambda: fn.losses.supervised({"a": fn.losses.huber}, loss_weights={"a": 1.0}),
        r"supervised has no setting 'loss_weights'\. Write .*shares=",
    ),
    "a dictionary of metrics": (
        lambda: fn.losses.supervised(fn.losses.cross_entropy, metrics={"accuracy": fn.metrics.accuracy}),
        r"supervised has no setting 'metrics'\. Write fn\.losses\.supervised\(.*accuracy=",
    ),
    "a metric named epoch": (
        lambda: fn.evaluate(lambda model, example, key: (0.0, {"epoch": 0.0}), MODEL(), (X, LABELS)),
        "must not be 'epoch', a column of the logs",
    ),
    "a state of a function of steps": (
        lambda: fn.TrainState.create(MODEL(), lambda steps: SGD, KEY()),
        r"Try optimizer\(steps=1_000\)",
    ),
    "a function of n steps": (
        lambda: fn.fit(LOSS, lambda n: SGD, epochs=1),
        "a function of n.*name its argument steps: lambda steps:",
    ),
    "train a state": (
        lambda: TRAIN(RUN().state, (X, LABELS), KEY()),
        r"got a TrainState: pass state\.model",
    ),
    "evaluate a state": (
        lambda: fn.evaluate(LOSS, RUN().state, (X, LABELS)),
        r"got a TrainState: pass state\.model",
    ),
    "model.trainable = False": (set_trainable, r"Write model = fn\.freeze\(model\)"),
    "players by place": (
        lambda: fn.losses.players(LOSS, LOSS),
        r"Write fn\.losses\.players\(disc=d_loss, gen=g_loss\)",
    ),
    "model.freeze()": (lambda: MODEL().freeze(), r"Write model = fn\.freeze\(model, \"layers\[0\]\"\)"),
    "ModelCheckpoint": (lambda: fn.train.ModelCheckpoint, 'keep_best="val_loss"'),
    "weights that are not strict": (
        lambda: fn.load_weights(NET, "model.safetensors", strict=False),
        "load_weights has no setting 'strict'.*where=",
    ),
    "state.replace": (lambda: RUN().state.replace(epoch=0), r"dataclasses\.replace\(run\.state, epoch=0\)"),
    "a schedule by place": (
        lambda: fn.losses.scheduled(lambda beta: LOSS, optax.constant_schedule(1.0)),
        r"Write fn\.losses\.scheduled\(make_loss, beta=",
    ),
    "the recall of class 1": (
        lambda: fn.metrics.recall(1),
        r"Write fn\.metrics\.recall\(\), as in fn\.metrics\.measure\(",
    ),
    "a metric that is made": (
        lambda: fn.metrics.roc_auc(),
        r"Write fn\.metrics\.roc_auc\(scores, targets\), or supervised\(\.\.\., auc=fn\.metrics\.roc_auc",
    ),
    "fn.Input": (lambda: fn.Input, r"Write fn\.Sequential\(fn\.Linear\(2, 3\)"),
    "fn.layers.Concatenate": (lambda: fn.layers.Concatenate, r"Write jax\.numpy\.concatenate\("),
    "a callback's dictionary": (
        lambda: trained_with(lambda context: {"a": 1.0}),
        r"Try fn\.train\.Request\(values=\{'a': \.\.\.\}\)",
    ),
    "context.stop_training = True": (
        lambda: trained_with(stop_by_attribute),
        r"can't be changed, got a new 'stop_training'.*fn\.train\.Request\(stop=True\)",
    ),
    "context.logs": (lambda: trained_with(lambda context: context.logs), r"Write context\.metrics\."),
    "no progress": (lambda: fn.Trainer(TRAIN, progress=None), "progress must be 'bar', 'lines' or False"),
    "progress by number": (
        lambda: fn.Trainer(TRAIN, progress=0),
        "progress must be 'bar', 'lines' or False",
    ),
    "from layers import Dense": (
        import_dense,
        r"funcnet\.layers has no 'Dense'\. Write fn\.Linear\(2, 3\)",
    ),
    "from funcnet import DataLoader": (import_loader, r"Write fn\.data\.batches\("),
    "fn.layers.Conv2D": (lambda: fn.layers.Conv2D, r"Write fn\.layers\.Conv2d"),
    "fn.Conv2d": (lambda: fn.Conv2d, r"Write fn\.layers\.Conv2d"),
    "fn.losses.CrossEntropyLoss": (
        lambda: fn.losses.CrossEntropyLoss(),
        r"Write loss = fn\.losses\.supervised",
    ),
    "fn.losses.accuracy": (lambda: fn.losses.accuracy, r"Write fn\.metrics\.accuracy"),
    "a loss that is made": (
        lambda: fn.losses.cross_entropy(),
        r"Write fn\.losses\.supervised\(fn\.losses\.cross_entropy\)",
    ),
    "a loss with a reduction": (
        lambda: fn.losses.huber(X, X, reduction="mean"),
        "huber has no setting 'red",
    ),
    "batches with shuffle": (
        lambda: fn.data.batches((X, LABELS), 16, shuffle=True),
        r"Write fn\.data\.batches\(data, batch_size=32, key=key\)",
    ),
    "state.params": (lambda: RUN().state.params, r"Write run\.state\.model"),
    "state.tx": (lambda: RUN().state.tx, r"Write step = fn\.step\("),
    "history.val_loss": (lambda: RUN().history.val_loss, r"Write run\.history\[\"val_loss\"\]"),
    "the lowest accuracy": (
        lambda: fn.Trainer(TRAIN, keep_best="val_accuracy"),
        "keep_best must be '-val_accuracy'",
    ),
    "a name with a slip": (lambda: fn.layers.Liner, r"Write fn\.layers\.Linear"),
    "fn.sklearn before its import": (lambda: fn.nosuchroom, r"funcnet has no 'nosuchroom'\.$"),
}


@pytest.mark.parametrize("name", GUESSES)
def test_a_wrong_guess_ends_in_code_that_works(name):
    guess, words = GUESSES[name]
    with pytest.raises((TypeError, ValueError, AttributeError, ImportError), match=words) as caught:
        guess()
    assert len(str(caught.value)) < 450


TABLES = {"names": _peers.NAMES, "settings": _peers.SETTINGS, **_peers.ATTRIBUTES}


@pytest.mark.parametrize("table", tables.marked(TABLES, slow={"settings", "TrainState"}))
def test_the_code_of_the_tables_works(table, tmp_path, monkeypatch, capsys):
    """Each sentence holds code that runs, so that no name of ours in it is one that was."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.save("y.npy", LABELS)
    labels = jnp.asarray(LABELS)
    for name, code in TABLES[table].items():
        fn.save(MODEL(), "model.safetensors")
        assert name == name.lower().replace("_", "")
        scope = {"x": jnp.asarray(X), "y": labels, "labels": labels, "key": KEY(), "data": (X, LABELS)}
        scope |= {
            "model": MODEL(),
            "net": NET,
            "loss": LOSS,
            "run": RUN(),
            "fn": fn,
            "jax": jax,
            "optax": optax,
        }
        context = types.SimpleNamespace(model=MODEL(), state=RUN().state, metrics={}, epoch=1, step=1)
        scope |= {"train": TRAIN, "trainer": fn.Trainer(TRAIN), "context": context, "valid": (X, LABELS)}
        code = code.split(" for inference")[0]
        code = code.format(name="loss" if table in ("Run", "History") else name)
        if "epochs=20" in code:  # each of them compiles
            code = code.split("; ")[0]
        try:
            exec(code, scope)
        except Exception as error:
            raise AssertionError(f"{name}: {code}") from error


def test_names_that_exist_are_found_and_probes_are_quiet():
    import funcnet.sklearn

    assert funcnet.sklearn.MLPClassifier
    for package in (fn, fn.layers, fn.losses):
        assert not hasattr(package, "__wrapped__")
        assert not hasattr(package, "Dense")
    for value in (MODEL(), RUN(), RUN().history, TRAIN, fn.Trainer(TRAIN)):
        assert not hasattr(value, "fit")
        assert not hasattr(value, "shape")
        assert getattr(value, "__jax_array__", None) is None
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from funcnet import nothing")


def test_a_property_that_fails_keeps_its_own_error():
    class Wide(fn.Module):
        @property
        def weights(self):
            return self.heights

    with pytest.raises(AttributeError, match="has no attribute 'heights'"):
        Wide().weights


def test_an_error_of_the_function_itself_is_not_explained_away():
    def broken(model, example, key):
        return None + 1

    with pytest.raises(TypeError, match="unsupported operand"):
        fn.evaluate(broken, MODEL(), (X, LABELS))
    with contextlib.suppress(TypeError):
        fn.evaluate(broken, MODEL(), (X, LABELS))
