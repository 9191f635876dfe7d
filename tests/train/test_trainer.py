"""The Trainer: the numbers of `fit`, whatever happens around them."""

import csv
import functools
import io
import json
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import marked, same_bits

import funcnet as fn
from funcnet.train import Every, Request

SQUARED = fn.losses.supervised(fn.losses.squared_error)
CLASSES = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
X = np.random.default_rng(1).normal(size=(43, 3)).astype(np.float32)
NUMBERS = X, np.sin(X[:, 0])
LABELS = X, np.int32(X[:, 0] > 0)
PROCESS = Path(__file__).parents[2] / "experiments" / "faults" / "kill_and_resume.py"

# Five models and settings that together use all that a step carries.
TRAININGS = {
    "line": (fn.models.LinearRegression(3), NUMBERS, SQUARED, {"optimizer": optax.sgd(0.1)}),
    "stopped": (
        *(fn.MLP((3, 8, "scalar"), dropout=0.3), NUMBERS, SQUARED),
        {"stopping": fn.EarlyStopping(patience=2), "epochs": 30, "optimizer": optax.adam(0.1)},
    ),
    "averaged": (fn.MLP((3, 8, 2)), LABELS, CLASSES, {"ema": 0.9, "eval_every": 3}),
    "accumulated": (fn.MLP((3, 4, 2)), LABELS, CLASSES, {"accumulate": 2, "shuffle": False}),
    "skipping": (
        fn.models.ResMLP(3, "scalar", width=4),
        NUMBERS,
        SQUARED,
        {"on_nan": "skip", "batch_size": 7},
    ),
}


def the_key():
    return jax.random.key(0)


def _new_training(name):
    net, data, loss, settings = TRAININGS[name]
    settings = {"optimizer": optax.adam(0.01), "epochs": 7, "batch_size": 10} | settings
    train = fn.fit(loss, settings.pop("optimizer"), **settings)
    return train, jax.jit(net.init)(the_key()), data, jax.tree.map(lambda a: a[:15], data)


_training = functools.cache(_new_training)  # the tests share its compiled programs


@functools.cache
def line():
    """A line that was not trained yet."""
    return jax.jit(fn.models.LinearRegression(3).init)(the_key())


@pytest.mark.parametrize("name", marked(TRAININGS, slow=TRAININGS.keys() - {"stopped"}))
def test_it_ends_in_the_bits_of_fit_wherever_the_visits_lie(name, tmp_path):
    train, model, data, valid = _training(name)
    want = train(model, data, the_key(), valid)
    settings = [
        {},
        {"sync_every": Every(steps=2)},
        {"sync_every": Every(epochs=2), "callbacks": [lambda context: None]},
    ]
    for setting in settings:
        got = fn.Trainer(train, **setting)(model, data, the_key(), valid)
        assert same_bits(got, want)
        assert got.outcome == want.outcome
    first = fn.Trainer(train, tmp_path, sync_every=Every(steps=3), save_every=Every(steps=3))
    assert same_bits(first(model, data, the_key(), valid), want)
    assert same_bits(fn.Trainer(train, tmp_path)(model, data, the_key(), valid), want)  # found, not trained


@pytest.mark.parametrize("name", marked(TRAININGS, slow=TRAININGS.keys() - {"line", "accumulated"}))
def test_a_stream_and_a_loop_over_batches_end_in_the_numbers_of_fit(name, tmp_path):
    train, model, data, _ = _training(name)
    if train.stopping is not None:  # a loop by hand has no early stopping
        train, model, data, _ = _training("line")
    want = train(model, data, the_key())
    for part, array in zip("xy", data, strict=True):
        np.save(tmp_path / f"{part}.npy", array)
    stream = fn.data.Stream.npy((tmp_path / "x.npy", tmp_path / "y.npy"))
    got = fn.Trainer(train, sync_every=Every(steps=3))(model, stream, the_key())
    assert same_bits(got.model, want.model)
    assert same_bits(got.history, want.history)

    state = fn.TrainState.create(model, train.optimizer, the_key())
    step = jax.jit(fn.step(train.loss, train.optimizer, accumulate=train.accumulate))
    size = train._plan.update_size(len(data[0]))
    for epoch in range(train.epochs):
        for batch in fn.data.batches(data, size, the_key() if train.shuffle else None, epoch):
            state, _ = step(state, batch)
    for got, expected in zip(jax.tree.leaves(state.model), jax.tree.leaves(want.state.model), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_one_compile_for_all_syncs_calls_and_keys():
    train, model, data, _ = _new_training("line")
    for key in (the_key(), jax.random.key(9)):
        train(model, data, key)
    assert train._chunks.whole_run._cache_size() == 1
    fn.Trainer(train)(model, data, the_key())
    traced = train._chunks.advance._cache_size()
    fn.Trainer(train, sync_every=Every(steps=1))(model, data, jax.random.key(9))
    assert train._chunks.advance._cache_size() == traced == 1


def test_what_is_killed_goes_on_in_the_middle_of_an_epoch_bit_for_bit(tmp_path):
    train, model, data, valid = _training("stopped")
    want = train(model, data, the_key(), valid)
    for step in (3, 13, 23):  # at the end of an odd epoch, a step later than what was saved

        def bomb(context, last=step):
            if context.step >= last:
                raise KeyError("dropped")

        class Bomb(fn.train.Callback):
            def on_epoch_end(self, context):
                bomb(context)

        trainer = fn.Trainer(
            train, tmp_path, [Bomb()], save_every=Every(steps=2), sync_every=Every(steps=1)
        )
        with pytest.raises(KeyError, match="dropped"):
            trainer(model, data, the_key(), valid)
    assert same_bits(fn.Trainer(train, tmp_path)(model, data, the_key(), valid), want)


class Watching(fn.train.Callback):
    def __init__(self):
        self.moments = []

    def on_fit_start(self, context):
        self.moments.append(("start", context.epoch))

    def on_epoch_end(self, context):
        assert context.metrics["loss"] == pytest.approx(
            float(context.state.history["loss"][context.epoch - 1])
        )
        self.moments.append(("epoch", context.epoch))

    def on_checkpoint(self, context):
        self.moments.append(("checkpoint", context.epoch))

    def on_exception(self, context, error):
        self.moments.append(("exception", type(error).__name__))

    def on_fit_end(self, context):
        self.moments.append(("end", context.epoch))


def test_callbacks_are_told_of_every_moment_in_order(tmp_path):
    train, model, data, valid = _training("line")
    watching, quiet = Watching(), Watching()
    quiet.read_only = True
    fn.Trainer(train, tmp_path, [watching], save_every=Every(epochs=4))(model, data, the_key(), valid)
    fn.Trainer(train, callbacks=[quiet])(model, data, the_key(), valid)
    epochs = [("epoch", i) for i in range(1, 8)]
    assert quiet.moments == [("start", 0), *epochs, ("end", 7)]
    saved = [*epochs[:4], ("checkpoint", 4), *epochs[4:], ("checkpoint", 7)]
    assert watching.moments == [("start", 0), *saved, ("end", 7)]


def test_steps_that_begin_while_callbacks_begin_end_like_others():
    train, model, data, valid = _training("line")
    want, order = train(model, data, the_key(), valid), []

    class Slow(fn.train.Callback):
        read_only = True

        def on_fit_start(self, context):
            assert (context.step, int(context.state.step)) == (0, 0)
            time.sleep(0.1)
            order.append("started")
            if len(order) == 3:
                raise OSError("no room")

        def on_exception(self, context, error):
            order.append(f"{error} after step {context.step}")

    trainer = fn.Trainer(train, callbacks=[Slow()])
    for _ in range(2):  # the first call compiles, and starts nothing before its callbacks
        assert same_bits(trainer(model, data, the_key(), valid), want)
    with pytest.raises(OSError, match="no room"):
        trainer(model, data, the_key(), valid)
    assert order == ["started"] * 3 + ["no room after step 0"]
    assert same_bits(fn.Trainer(train)(model, data, the_key(), valid), want)


def test_a_request_stops_saves_and_sets(tmp_path):
    model, data = line(), NUMBERS
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)
    train = fn.fit(SQUARED, optimizer, epochs=9, batch_size=43, shuffle=False)

    def wish(context):
        if context.epoch == 2:
            return Request(save=True, hyperparams={"learning_rate": 0.0})
        return Request(stop=True) if context.epoch == 5 else None

    run = fn.Trainer(train, tmp_path, [wish], keep=9)(model, data, the_key())
    assert run.outcome == fn.Outcome.REQUESTED
    assert int(run.state.epoch) == 5
    losses = np.asarray(run.history["loss"])
    assert losses[1] < losses[0]
    assert losses[2] == losses[3] == losses[4]
    assert np.isnan(losses[5:]).all()
    assert [int(p.name) for p in sorted((tmp_path / "checkpoints").glob("0*"))] == [2, 5]
    with pytest.raises(ValueError, match=r"hyperparams must be .*learning_rate.*got 'rate'"):
        fn.Trainer(train, callbacks=[lambda context: Request(hyperparams={"rate": 1.0})])(
            model, data, the_key()
        )


def test_a_plateau_is_that_of_keras():
    values = [1.0, 0.9, 0.95, 0.93, 0.92, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6]
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)

    def rates(**settings):
        plateau = fn.train.ReduceOnPlateau("loss", patience=2, factor=0.5, **settings)
        opt_state, rates = optimizer.init(jnp.zeros(())), []
        for epoch, value in enumerate(values, 1):
            state = types.SimpleNamespace(opt_state=opt_state)
            context = types.SimpleNamespace(metrics={"loss": value}, state=state, epoch=epoch)
            if (request := plateau.on_epoch_end(context)) is not None:
                opt_state = opt_state._replace(hyperparams=dict(request.hyperparams))
            rates.append(round(float(opt_state.hyperparams["learning_rate"]), 6))
        return rates

    # What keras.callbacks.ReduceLROnPlateau 3.15 does with these losses, run once and written down.
    assert rates() == [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125]
    assert rates(cooldown=2)[-4:] == [0.025, 0.025, 0.025, 0.0125]
    assert rates(min_lr=0.04)[-1] == 0.04
    assert rates(min_delta=0.25)[:6] == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]  # 0.5 is the first to improve
    train = fn.fit(SQUARED, optimizer, epochs=2)
    with pytest.raises(ValueError, match=r"monitor must be.*'val_loss'.*valid="):
        fn.Trainer(train, callbacks=[fn.train.ReduceOnPlateau()])(line(), NUMBERS, the_key())


def test_callbacks_that_remember_go_on_too(tmp_path):
    net = line()
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.5)
    train = fn.fit(SQUARED, optimizer, epochs=12, batch_size=16)

    def callbacks():
        return [
            fn.train.ReduceOnPlateau("loss", patience=1, min_delta=0.01),
            fn.train.AverageWeights(start=2),
            fn.train.Monitor(),
        ]

    whole, parts = callbacks(), None
    want = fn.Trainer(train, callbacks=whole)(net, NUMBERS, the_key())
    for stop in (3, 8, None):
        parts = callbacks()
        last = [lambda context, stop=stop: 1 / 0 if context.epoch == stop else None]
        trainer = fn.Trainer(train, tmp_path, parts + last, save_every=Every(epochs=1))
        if stop is None:
            assert same_bits(trainer(net, NUMBERS, the_key()), want)
        else:
            with pytest.raises(ZeroDivisionError):
                trainer(net, NUMBERS, the_key())
    assert same_bits(whole[1].model, parts[1].model)
    assert whole[1].count == parts[1].count == 10
    assert whole[2].values == parts[2].values
    assert len(whole[2].values["learning_rate"]) == 12


class Started(fn.train.Callback):
    """It has a state only once a run has started."""

    def __init__(self, error=None):
        self.error = error

    def on_fit_start(self, context):
        if self.error is not None:
            raise self.error
        self.count = 0
        return Request(save=True)

    def on_epoch_end(self, context):
        self.count += 1

    def state(self):
        return {"count": self.count}

    def restore(self, state):
        self.count = int(state["count"])


def test_callbacks_have_no_state_before_they_start(tmp_path):
    train, model, data, _ = _training("line")
    with pytest.raises(ZeroDivisionError):
        fn.Trainer(train, tmp_path, [Started(ZeroDivisionError())])(model, data, the_key())
    assert not list((tmp_path / "checkpoints").glob("0*")), "nothing was trained"
    callback = Started()
    fn.Trainer(train, tmp_path, [callback], keep=9)(model, data, the_key())
    assert callback.count == 7
    assert [int(path.name) for path in sorted((tmp_path / "checkpoints").glob("0*"))] == [0, 35]


def test_a_plateau_counts_evaluations_that_are_nan():
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.4)
    loss = fn.losses.supervised(lambda prediction, y: jnp.where(y > 9, jnp.nan, prediction**2))
    valid = X, np.full(43, 10, np.float32)
    for monitor, eval_every, times in (("val_loss", 1, 3), ("val_loss", 2, 1), ("train_loss", 3, 0)):
        train = fn.fit(loss, optimizer, epochs=6, batch_size=43, eval_every=eval_every)
        plateau = fn.train.ReduceOnPlateau(monitor, factor=0.5, patience=2)
        run = fn.Trainer(train, callbacks=[plateau])(line(), NUMBERS, the_key(), valid)
        assert run.state.opt_state.hyperparams["learning_rate"] == pytest.approx(0.4 / 2**times)


def test_a_first_look_takes_rows_that_count_and_whole_batches():
    x, y = np.ones((2000, 3), np.float32), np.full(2000, 1e30, np.float32)
    y[1000:] = 1
    data = fn.data.Dataset((x, y), weight=(np.arange(2000) >= 1000).astype(float))
    trainer = fn.Trainer(fn.fit(SQUARED, optax.sgd(0.1), epochs=1, batch_size=1500))
    assert trainer.dry_run(line(), data, the_key()).loss < 100
    late = fn.data.Dataset((x, y), weight=(np.arange(2000) >= 1500).astype(float))
    assert trainer.dry_run(line(), late, the_key()).steps == 2
    y = (np.arange(2000) >= 1400) * 1e3
    one = trainer.overfit_one_batch(line(), (x, y.astype(np.float32)), the_key(), 1)
    assert one.history["loss"][0] == pytest.approx(1e6 / 15, rel=0.02), "100 of 1,500 rows are large"


def test_a_step_of_another_number_of_batches_is_not_replayed():
    train = fn.fit(SQUARED, optax.sgd(1e30), epochs=9, batch_size=4)
    run = fn.Trainer(train, limit_batches=1)(line(), NUMBERS, the_key())
    assert run.outcome == fn.Outcome.NOT_FINITE
    with pytest.raises(ValueError, match="must be the training data of the run, with 11 steps in each"):
        fn.train.replay(train, run.state, NUMBERS)


def test_averaged_weights_are_the_mean_of_the_models():
    train, model, data, valid = _training("line")
    seen, average = [], fn.train.AverageWeights(start=3)
    callbacks = [average, lambda context: seen.append(context.model)]
    fn.Trainer(train, callbacks=callbacks)(model, data, the_key(), valid)
    mean = jax.tree.map(lambda *parts: np.mean(parts, axis=0), *seen[3:])
    for got, want in zip(jax.tree.leaves(average.model), jax.tree.leaves(mean), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_logs_hold_each_epoch_once_even_after_a_kill(tmp_path):
    train, model, data, valid = _training("averaged")
    logs = [fn.train.CSV("history.csv"), fn.train.JSONLines("history.jsonl"), fn.train.TensorBoard()]

    def stop(context):
        if context.epoch == 4:
            raise KeyError

    with pytest.raises(KeyError):
        fn.Trainer(train, tmp_path, [*logs, stop], save_every=Every(steps=7))(model, data, the_key(), valid)
    run = fn.Trainer(train, tmp_path, logs)(model, data, the_key(), valid)
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == list(range(7))
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    for name, values in run.history.items():
        for epoch, value in enumerate(values):
            if np.isnan(value):
                assert rows[epoch][name] == ""
                assert name not in lines[epoch]
            else:
                assert np.float32(rows[epoch][name]) == np.float32(lines[epoch][name]) == value
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_another_training_is_refused_by_name(tmp_path):
    train, model, data, valid = _training("line")
    run = fn.Trainer(train, tmp_path)(model, data, the_key(), valid)
    other = jax.tree.map(lambda a: a + 1, data)
    cases = {
        "data": lambda: fn.Trainer(train, tmp_path)(model, other, the_key(), valid),
        "validation data": lambda: fn.Trainer(train, tmp_path)(model, data, the_key(), other),
        "key": lambda: fn.Trainer(train, tmp_path)(model, data, jax.random.key(5), valid),
        "batches in an epoch": lambda: fn.Trainer(train, tmp_path, limit_batches=2)(
            model, data, the_key(), valid
        ),
        "start": lambda: fn.Trainer(train, tmp_path)(
            jax.tree.map(lambda a: a + 1, model), data, the_key(), valid
        ),
        "setting epochs": lambda: fn.Trainer(
            fn.fit(SQUARED, optax.sgd(0.1), epochs=8, batch_size=10), tmp_path
        )(model, data, the_key(), valid),
    }
    for what, call in cases.items():
        with pytest.raises(
            ValueError, match=rf"belongs to a different run:\n  {what}: .* saved, "
        ) as caught:
            call()
        assert "program" not in str(caught.value)  # another setting is the reason
    other_rate = fn.Trainer(fn.fit(SQUARED, optax.sgd(0.2), epochs=7, batch_size=10), tmp_path)
    with pytest.raises(ValueError, match="program of a step: another loss, optimizer or learning rate"):
        other_rate(model, data, the_key(), valid)
    wide = jax.jit(fn.models.LinearRegression(2).init)(the_key())
    with pytest.raises(
        ValueError, match=r"state\.model\.linear\.weight: float32\[3\] saved, float32\[2\] expected"
    ):
        fn.Trainer(train, tmp_path, resume="force")(
            wide, (X[:, :2], data[1]), the_key(), (X[:15, :2], valid[1])
        )
    assert same_bits(fn.Trainer(train, tmp_path, resume="force")(model, other, the_key(), valid), run)
    fresh = fn.Trainer(train, tmp_path, resume="never")(model, other, the_key(), valid)
    assert not same_bits(fresh.model, run.model)


def test_the_newest_and_the_best_stay(tmp_path):
    train, model, data, valid = _training("stopped")
    trainer = fn.Trainer(train, tmp_path, save_every=Every(epochs=1), keep=2, keep_best="val_loss")
    run = trainer(model, data, the_key(), valid)
    steps = sorted(int(p.name) for p in (tmp_path / "checkpoints").glob("0*"))
    last = int(run.state.step)
    best = (int(np.nanargmin(run.history["val_loss"])) + 1) * 5
    assert steps == sorted({best, last - 5, last})


def test_time_and_batches_can_be_limited(tmp_path):
    train, model, data, valid = _training("line")
    limits = {"max_time": 1e-9, "sync_every": Every(steps=5)}
    run = fn.Trainer(train, tmp_path, **limits)(model, data, the_key(), valid)
    assert run.outcome == fn.Outcome.RUNNING
    assert 0 < int(run.state.step) < 35
    assert same_bits(
        fn.Trainer(train, tmp_path)(model, data, the_key(), valid), train(model, data, the_key(), valid)
    )
    limited = fn.Trainer(train, limit_batches=2)(model, data, the_key(), valid)
    assert int(limited.state.step) == 2 * 7


def test_a_first_look_finds_what_is_wrong():
    train, model, data, valid = _training("line")
    seen = {}

    class Look(fn.train.Callback):
        def on_fit_start(self, context):
            seen.update(context.metrics)

    trainer = fn.Trainer(train, callbacks=[Look()], evaluate_first=True)
    trainer(model, data, the_key(), valid)
    assert seen["val_loss"] == pytest.approx(float(fn.evaluate(SQUARED, model, valid)["loss"]))
    plan = trainer.dry_run(model, data, the_key(), valid)
    assert (plan.parameters, plan.steps_per_epoch, plan.steps) == (4, 5, 35)
    assert "FLOPs" in str(plan)
    net = jax.jit(fn.MLP((3, 32, "scalar")).init)(the_key())
    overfit = fn.Trainer(fn.fit(SQUARED, optax.adam(0.02), epochs=1, batch_size=8)).overfit_one_batch(
        net, data, the_key()
    )
    assert overfit.history["loss"][-1] < 1e-4


def test_a_line_on_a_terminal_says_how_far_it_is(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    train, model, data, valid = _training("averaged")
    monkeypatch.setattr("funcnet.train._bar.PATIENCE", 0.0)
    monkeypatch.setattr("sys.stderr", Terminal())
    fn.Trainer(train, sync_every=Every(epochs=2))(model, data, the_key(), valid)
    told = sys.stderr.getvalue()
    assert "epoch 3/7" in told
    assert "step 35/35" in told
    assert "loss" in told
    monkeypatch.setattr("sys.stderr", io.StringIO())
    fn.Trainer(train)(model, data, the_key(), valid)
    assert sys.stderr.getvalue() == ""


def test_what_is_not_finite_is_named():
    def loss(model, example, key):
        return model * jnp.log(example)

    rows = np.float32([1, 2, 3, -1, 5, 6])
    raising = fn.fit(loss, optax.sgd(0.1), epochs=2, batch_size=2, on_nan="raise", shuffle=False)
    for training in (raising, fn.Trainer(raising)):
        with pytest.raises(
            FloatingPointError, match=r"step 1 \(epoch 0\)(.|\n)*Rows of its batch: 2, 3\.(.|\n)*log at"
        ):
            training(jnp.array(1.0), rows, the_key())
    stopped = fn.fit(loss, optax.sgd(0.1), epochs=2, batch_size=2, shuffle=False)
    run = stopped(jnp.array(1.0), rows, the_key())
    found = fn.train.replay(stopped, run.state, rows)
    assert (found.step, found.rows.tolist(), found.leaf) == (1, [2, 3], "loss")
    assert found.cause.operation == "log"
    assert "test_trainer.py" in found.cause.source
    broken = fn.fit(lambda m, x, k: jnp.sqrt(m * x), optax.sgd(0.1), epochs=1, batch_size=1, shuffle=False)
    rows = np.float32([1, 0])
    found = fn.train.replay(broken, broken(jnp.array(1.0), rows, the_key()).state, rows)
    assert found.leaf.startswith("gradient of")


def test_a_resumed_run_says_where(tmp_path, capsys):
    train, model, data, valid = _training("line")

    def fail(context):
        if context.epoch == 3:
            raise RuntimeError("no power")

    with pytest.raises(RuntimeError, match="no power"):
        fn.Trainer(train, tmp_path, [fail], sync_every=fn.train.Every(epochs=1))(
            model, data, the_key(), valid
        )
    assert "resumed" not in capsys.readouterr().err
    for words in ("in epoch 3 of 7", "its last: there is nothing left to train"):
        fn.Trainer(train, tmp_path)(model, data, the_key(), valid)
        assert words in capsys.readouterr().err
    fn.Trainer(train, tmp_path, progress=False)(model, data, the_key(), valid)
    assert not capsys.readouterr().err


def _process(folder):
    environment = {"JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    return subprocess.Popen(
        [sys.executable, PROCESS, "--training", folder, "1", "1", "", "0"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def _ended(process):
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told


def _whole(folder):
    with np.load(folder / "end.npz") as file:
        return [file[name] for name in file.files]


def _wait_for(folder, count):
    for _ in range(600):
        if len(list(folder.glob("checkpoints/0*"))) >= count:
            return
        time.sleep(0.05)
    raise AssertionError("no checkpoint came")


@pytest.mark.slow
def test_killed_and_terminated_processes_go_on_bit_for_bit(tmp_path):
    _ended(_process(tmp_path / "whole"))
    for number, name in ((signal.SIGKILL, "killed"), (signal.SIGTERM, "ended"), (signal.SIGINT, "broken")):
        process = _process(tmp_path / name)
        _wait_for(tmp_path / name, 2)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
        if number != signal.SIGKILL:
            assert "Run the same command again to resume" in told
        assert not (tmp_path / name / "end.npz").exists()
        _ended(_process(tmp_path / name))
        assert same_bits(_whole(tmp_path / name), _whole(tmp_path / "whole"))
        rows = (tmp_path / name / "history.csv").read_text()
        assert rows == (tmp_path / "whole" / "history.csv").read_text()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"directory": 5}, TypeError, "directory must be a path"),
        ({"callbacks": print}, TypeError, "callbacks must be a list"),
        ({"callbacks": [5]}, TypeError, "each of callbacks must be"),
        ({"callbacks": [fn.train.CSV]}, TypeError, "each of callbacks must be"),
        ({"callbacks": np.ones(2)}, TypeError, "callbacks must be a list"),
        ({"callbacks": [lambda: None]}, TypeError, "each of callbacks must be .* takes other arguments"),
        ({"max_time": "1"}, TypeError, "max_time must be a number"),
        ({"max_time": np}, TypeError, "max_time must be a number"),
        ({"keep": np.timedelta64(5, "D")}, TypeError, "keep must be an integer"),
        ({"sync_every": 5}, TypeError, "every must be a"),
        ({"max_time": 0}, ValueError, "max_time"),
        ({"keep_best": 3}, TypeError, "keep_best must be a name"),
        ({"resume": "yes"}, ValueError, "resume"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(settings, error, words):
    with pytest.raises(error, match=words):
        fn.Trainer(_training("line")[0], **settings)
    with pytest.raises(TypeError, match=r"a function returned by fn\.fit"):
        fn.Trainer(print, **settings)
