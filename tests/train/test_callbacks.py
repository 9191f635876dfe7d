"""Values, hooks and pictures of callbacks, and the progress that a run shows."""

import csv
import functools
import json
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import same_bits

import funcnet as fn
from funcnet.train import Every, Request

X = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
DATA = X, np.sin(X[:, 0])
SQUARED = fn.losses.supervised(fn.losses.squared_error)
TRAIN = fn.fit(SQUARED, optax.sgd(0.1), epochs=6, batch_size=10, shuffle=False)
STOP_BY_LOSS = fn.EarlyStopping("loss", patience=9)
FIDS = [9.0, 4.0, 7.0]


@functools.cache
def arguments():
    key = jax.random.key(0)
    return jax.jit(fn.models.LinearRegression(3).init)(key), DATA, key


def fid(context):
    """A value for the first three epochs and the last, NaN or none for the others."""
    if context.epoch <= 3:
        return Request(values={"fid": FIDS[context.epoch - 1]})
    return Request(values={"fid": jnp.float32(5)}) if context.epoch == 6 else None


def crash(context):
    if context.epoch == 4:
        raise KeyError("crash")


def numbers(path):
    return {int(row["epoch"]): row for row in csv.DictReader(path.read_text().splitlines())}


def test_values_enter_the_history_and_the_logs_and_a_resumed_run_keeps_them(tmp_path):
    want = TRAIN(*arguments())
    logs = [fn.train.CSV("history.csv"), fn.train.JSONLines("history.jsonl"), fn.train.TensorBoard()]
    with pytest.raises(KeyError, match="crash"):
        fn.Trainer(TRAIN, tmp_path, [*logs, fid, crash])(*arguments())
    run = fn.Trainer(TRAIN, tmp_path, [*logs, fid])(*arguments())
    assert same_bits(run.model, want.model)
    assert same_bits(run.history["loss"], want.history["loss"])
    expected = np.array([*FIDS, np.nan, np.nan, 5.0], np.float32)
    np.testing.assert_array_equal(run.history["fid"], expected)
    whole = fn.Trainer(TRAIN, tmp_path / "whole", [fn.train.CSV("history.csv"), fid])(*arguments())
    assert same_bits(whole.history, run.history)
    text = (tmp_path / "history.csv").read_text()
    assert text == (tmp_path / "whole" / "history.csv").read_text()
    rows = numbers(tmp_path / "history.csv")
    assert [rows[epoch]["fid"] for epoch in range(6)] == ["9", "4", "7", "", "", "5"]
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line.get("fid") for line in lines] == [9.0, 4.0, 7.0, None, None, 5.0]
    assert fn.Trainer(TRAIN, tmp_path, [fid])(*arguments()).history["fid"][1] == 4.0  # all restored


def test_tensorboard_gets_values_and_pictures(tmp_path):
    written = []

    class Writer:
        def __init__(self):
            self.file_writer = types.SimpleNamespace(add_summary=lambda s, step: written.append((s, step)))

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def close(self):
            pass

    board = fn.train.TensorBoard(tmp_path)
    pictures = fn.train.Pictures({"ramp": lambda context: np.eye(3)}, tmp_path / "pictures", every=4)
    start = fn.train.TensorBoard.on_fit_start

    class Board(fn.train.TensorBoard):
        def on_fit_start(self, context):
            start(self, context)
            self._writer = Writer()

    board = Board(tmp_path)
    fn.Trainer(TRAIN, callbacks=[board, fid, pictures])(*arguments())
    scalars = [entry for entry in written if len(entry) == 3]
    assert [(value, step) for name, value, step in scalars if name == "fid"] == [
        (9.0, 0),
        (4.0, 1),
        (7.0, 2),
        (5.0, 5),
    ]
    assert sum(name == "loss" for name, _, _ in scalars) == 6
    images = [(summary.value[0], step) for summary, step in (e for e in written if len(e) == 2)]
    assert [(image.tag, step) for image, step in images] == [("ramp", 3), ("ramp", 5)]
    assert (images[0][0].image.height, images[0][0].image.colorspace) == (3, 1)


def test_a_value_is_monitored_by_keep_best_and_by_later_callbacks(tmp_path):
    seen = []
    trainer = fn.Trainer(
        TRAIN,
        tmp_path,
        [fid, lambda context: seen.append(context.metrics.get("fid"))],
        keep=1,
        keep_best="fid",
        save_every=Every(epochs=1),
    )
    run = trainer(*arguments())
    assert seen == [9.0, 4.0, 7.0, None, None, 5.0]
    two_epochs = fn.fit(SQUARED, optax.sgd(0.1), epochs=2, batch_size=10, shuffle=False)(*arguments()).model
    assert int(run.best_epoch) == 1
    assert same_bits(run.best, two_epochs)
    assert same_bits(fn.load_weights(arguments()[0], tmp_path, which="best"), two_epochs)
    stopping = fn.fit(
        SQUARED, optax.sgd(0.1), epochs=6, batch_size=10, shuffle=False, stopping=STOP_BY_LOSS
    )
    run = fn.Trainer(stopping, callbacks=[fid], keep_best="fid")(*arguments())
    assert same_bits(run.best, two_epochs)
    assert [int(p.name) for p in sorted((tmp_path / "checkpoints").glob("0*"))] == [8, 24]
    with pytest.raises(ValueError, match=r"keep_best must name a value.*fid.*got 'fed'.*Request\(values="):
        fn.Trainer(TRAIN, tmp_path / "b", [fid], keep_best="fed")(*arguments())
    with pytest.raises(ValueError, match="keep_best must name a value"):
        fn.Trainer(TRAIN, tmp_path / "c", keep_best="fid")(*arguments())


def test_a_longer_run_keeps_the_values_of_the_shorter_one(tmp_path):
    fn.Trainer(TRAIN, tmp_path, [fid], resume="force")(*arguments())
    longer = fn.fit(SQUARED, optax.sgd(0.1), epochs=8, batch_size=10, shuffle=False)
    run = fn.Trainer(longer, tmp_path, [fid], resume="force")(*arguments())
    np.testing.assert_array_equal(
        run.history["fid"], np.array([*FIDS, np.nan, np.nan, 5, np.nan, np.nan], np.float32)
    )


def both(context):
    return Request(values={"a": 1.0})


class Starting(fn.train.Callback):
    def on_fit_start(self, context):
        return Request(values={"a": 1.0})


class Syncing(fn.train.Callback):
    def on_sync(self, context):
        return Request(stop=True)


@pytest.mark.parametrize(
    ("callbacks", "error", "words"),
    [
        ([lambda context: 0.3], TypeError, r"must return None or a funcnet.train.Request, got float 0.3"),
        ([lambda context: {"fid": 1.0}], TypeError, r"Try fn\.train\.Request\(values=\{'fid': \.\.\.\}\)"),
        ([lambda context: {}], TypeError, r"Try fn\.train\.Request\(stop=True\)"),
        ([lambda context: Request(values={"epoch": 1.0})], ValueError, "must not be 'epoch'.* got 'epoch'"),
        ([lambda context: Request(values={"step": 1.0})], ValueError, "must not be 'epoch'.* got 'step'"),
        ([lambda context: Request(values={"": 1.0})], ValueError, "must not be 'epoch'.* got ''"),
        (
            [lambda context: Request(values={"fid": "low"})],
            TypeError,
            r"values must map names to numbers.*'fid'",
        ),
        ([lambda context: Request(values={"fid": X})], TypeError, r"got an array.*Request\(values="),
        ([lambda context: Request(values=[1.0])], TypeError, "values must map names to numbers"),
        ([lambda context: Request(values={"loss": 1.0})], ValueError, "value 'loss' of its own.*'my_loss'"),
        ([both, both], ValueError, "two callbacks request the value 'a'"),
        ([Starting()], ValueError, "on_fit_start can't request the value 'a'"),
        ([Syncing()], TypeError, r"Syncing\.on_sync must return None, got Request"),
    ],
)
def test_what_a_callback_may_not_return_is_refused(callbacks, error, words):
    with pytest.raises(error, match=words):
        fn.Trainer(TRAIN, callbacks=callbacks)(*arguments())


def test_early_stopping_inside_the_program_points_to_requests():
    train = fn.fit(SQUARED, optax.sgd(0.1), epochs=6, stopping=fn.EarlyStopping(monitor="fid"))
    with pytest.raises(ValueError, match=r"monitor must be a name.*fn\.train\.Request\(stop=True\)"):
        fn.Trainer(train, callbacks=[fid])(*arguments())


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (
            "on_train_epoch_end",
            r"never be called: the hooks are on_fit_start, .*def on_epoch_end\(self, con",
        ),
        ("on_epoch_begin", r"def on_epoch_end\(self, context\)"),
        ("on_train_begin", r"def on_fit_start\(self, context\)"),
        ("on_epoch_ends", r"def on_epoch_end\(self, context\)"),
        ("on_checkpoints", r"def on_checkpoint\(self, context\)"),
        ("on_train_batch_end", r"for batch in fn\.data\.batches"),
    ],
)
def test_a_hook_that_does_not_exist_is_refused_when_the_class_is_made(hook, words):
    with pytest.raises(TypeError, match=rf"Mine\.{hook} would .*{words}"):
        type("Mine", (fn.train.Callback,), {hook: lambda self, context: None})


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("on_epoch_end", lambda self, epoch, logs=None: None),  # Keras
        ("on_fit_start", lambda self, trainer, module: None),  # Lightning
        ("on_exception", lambda self, context: None),
    ],
)
def test_a_hook_with_other_arguments_is_refused(name, hook):
    with pytest.raises(
        TypeError, match=rf"Mine\.{name} must take self, context.*Write def {name}\(self, con"
    ):
        type("Mine", (fn.train.Callback,), {name: hook})


class CountsBatches:
    def on_batch_end(self, context):
        pass


class CountsEpochs:
    def on_epoch_end(self, context):
        return Request(values={"count": 1.0})


def test_hooks_of_a_mixin_are_checked_too():
    with pytest.raises(TypeError, match=r"CountsBatches\.on_batch_end would never be called"):
        type("Mine", (CountsBatches, fn.train.Callback), {})
    with pytest.raises(TypeError, match=r"would never be .*Write class Mine\(CountsEpochs, fn\.train\.Cal"):
        type("Mine", (fn.train.Callback, CountsEpochs), {})
    mine = type("Mine", (CountsEpochs, fn.train.Callback), {})
    run = fn.Trainer(TRAIN, callbacks=[mine()])(*arguments())
    np.testing.assert_array_equal(run.history["count"], np.ones(6))


@pytest.mark.parametrize("hook", [None, 3, property(lambda self: print)])
def test_a_hook_that_is_not_a_method_is_refused(hook):
    with pytest.raises(
        TypeError, match=r"Mine\.on_epoch_end must be a method, got .*Write def on_epoch_end\("
    ):
        type("Mine", (fn.train.Callback,), {"on_epoch_end": hook})


@pytest.mark.parametrize("kind", [classmethod, staticmethod])
def test_hooks_of_a_class_are_called(kind):
    hook = (
        (lambda context: seen.append(context.epoch))
        if kind is staticmethod
        else (lambda cls, context: seen.append(context.epoch))
    )
    seen = []
    mine = type("Mine", (fn.train.Callback,), {"on_epoch_end": kind(hook)})
    fn.Trainer(TRAIN, callbacks=[mine()])(*arguments())
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_callback_writes_the_learning_rate_to_a_log(tmp_path):
    optimizer = optax.inject_hyperparams(optax.sgd)(optax.linear_schedule(0.8, 0.0, 24))

    def rate(context):
        return Request(values={"lr": context.state.opt_state.hyperparams["learning_rate"]})

    train = fn.fit(SQUARED, optimizer, epochs=6, batch_size=10, shuffle=False)
    fn.Trainer(train, tmp_path, [fn.train.CSV("history.csv"), rate])(*arguments())
    rates = [float(row["lr"]) for row in numbers(tmp_path / "history.csv").values()]
    np.testing.assert_allclose(rates, 0.8 - 0.8 * np.arange(3, 24, 4) / 24, rtol=1e-5)


def test_pictures_are_written_as_they_were_drawn(tmp_path):
    from matplotlib import image
    from matplotlib.figure import Figure

    grey, colour = jnp.linspace(0, 1, 12).reshape(3, 4), np.arange(36, dtype=np.uint8).reshape(3, 4, 3)

    def figure(context):
        assert int(context.state.epoch) == context.epoch
        axes = Figure(figsize=(2, 1), dpi=50).subplots()
        axes.plot([context.metrics["loss"]])
        return axes

    drawn = {"grey": lambda context: grey, "colour": lambda context: colour, "figure": figure}
    pictures = fn.train.Pictures(drawn, every=5)
    fn.Trainer(TRAIN, tmp_path, [pictures])(*arguments())
    folder = tmp_path / "pictures"
    assert sorted(p.name for p in (folder / "grey").iterdir()) == ["0005.png", "0006.png"]
    np.testing.assert_allclose(image.imread(folder / "grey" / "0005.png"), grey, atol=1 / 510)
    np.testing.assert_array_equal(image.imread(folder / "colour" / "0006.png") * 255, colour)
    assert image.imread(folder / "figure" / "0005.png").shape == (50, 100, 4)


@pytest.mark.parametrize(
    ("functions", "error", "words"),
    [
        ({"a": lambda context: "no"}, TypeError, "picture 'a' must be an array"),
        (
            {"a": lambda context: jnp.ones(3)},
            TypeError,
            r"\[height, width\] .* got an array of float32 and shape",
        ),
        ({"a": lambda context: 2 * jnp.ones((3, 3))}, ValueError, r"from 0 to 1.*jnp\.clip"),
        ({"a": lambda context: jnp.full((3, 3), jnp.nan)}, ValueError, "got nan to nan"),
        (
            {"a": lambda context: jnp.ones((3, 3), complex)},
            TypeError,
            "picture 'a' must be real, got complex",
        ),
        (
            {"a": lambda context: np.array([["a"]])},
            TypeError,
            "picture 'a' must be an array of numbers, got tex",
        ),
        (
            {"a": lambda context: jax.random.split(jax.random.key(0), (3, 3))},
            TypeError,
            "picture 'a' must be an array of numbers, got an array of key",
        ),
        ({"a/b": lambda context: jnp.ones((3, 3))}, ValueError, "name of a picture"),
        ({"a": lambda: 0}, TypeError, "a function of a CallbackContext"),
        ([], TypeError, r"functions must map names"),
    ],
)
def test_wrong_pictures_are_refused(functions, error, words, tmp_path):
    with pytest.raises(error, match=words):
        fn.Trainer(TRAIN, tmp_path, [fn.train.Pictures(functions)])(*arguments())


def test_lines_are_printed_for_epochs_and_not_too_often(monkeypatch, capsys):
    now = iter(np.arange(0.0, 1e4, 0.4))
    monkeypatch.setattr("funcnet.train._bar.time", types.SimpleNamespace(monotonic=lambda: next(now)))
    train = fn.fit(SQUARED, optax.sgd(0.1), epochs=30, batch_size=10, shuffle=False)
    fn.Trainer(train, progress="lines", sync_every=Every(steps=2))(*arguments())
    lines = capsys.readouterr().err.splitlines()
    assert 4 < len(lines) < 15
    assert lines[0].startswith("epoch 1/30  step 4/120  loss ")
    assert lines[-1].startswith("epoch 30/30  step 120/120  loss ")
    fn.Trainer(train, progress=False)(*arguments())
    fn.Trainer(train)(*arguments())  # no terminal: no bar
    assert capsys.readouterr() == ("", "")


def test_a_notebook_has_one_output_that_is_updated(monkeypatch):
    shown = []

    class Handle:
        def update(self, text, raw):
            shown.append(("update", text["text/plain"]))

    def display(text, raw, display_id):
        shown.append(("display", text["text/plain"]))
        return Handle()

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=None)
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    monkeypatch.setattr("funcnet.train._bar.PATIENCE", 0.0)
    fn.Trainer(TRAIN, sync_every=Every(epochs=2))(*arguments())
    assert [kind for kind, _ in shown] == ["display", "update", "update"]
    assert shown[-1][1].startswith("epoch 6/6  step 24/24  loss ")


def test_other_words_for_progress_are_refused():
    with pytest.raises(ValueError, match="progress must be 'bar', 'lines' or False, got str 'tqdm'"):
        fn.Trainer(TRAIN, progress="tqdm")
    assert fn.Trainer(TRAIN, progress=True).progress == fn.Trainer(TRAIN).progress == "bar"
