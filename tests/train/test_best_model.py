"""The best model of a run: kept by a Trainer, exact after a resume, and loaded from its directory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import same_bits

import funcnet as fn
from funcnet.train import Every

X = np.random.default_rng(1).normal(size=(24, 3)).astype(np.float32)
DATA = X, np.sin(3 * X[:, 0])
VALID = X[:9] + np.float32(0.5), np.cos(X[:9, 1])
NET = fn.MLP((3, 5, "scalar"), activation=jnp.tanh)
LOSS = fn.losses.supervised(fn.losses.squared_error, absolute_error=fn.metrics.absolute_error)
EPOCHS = 6
TRAIN = fn.fit(LOSS, optax.adam(0.2), epochs=EPOCHS, batch_size=8, shuffle=False)
AVERAGED = fn.fit(LOSS, optax.sgd(0.2), epochs=EPOCHS, batch_size=8, shuffle=False, ema=0.5)
STOPPED = fn.fit(
    LOSS,
    optax.adam(0.2),
    epochs=EPOCHS,
    batch_size=8,
    shuffle=False,
    stopping=fn.EarlyStopping(patience=2, mode="min"),
)


def the_key(seed=0):
    return jax.random.key(seed)


@functools.cache
def initial(net=NET, seed=0):
    return jax.jit(net.init)(the_key(seed))


def trained(train=TRAIN, directory=None, **settings):
    trainer = fn.Trainer(train, directory, progress=False, **settings)
    return trainer(initial(), DATA, the_key(), VALID)


@functools.cache
def models():
    """The model of `TRAIN` at the end of each epoch."""
    seen = []
    trained(callbacks=[lambda context: seen.append(context.model)])
    short = fn.fit(LOSS, TRAIN.optimizer, epochs=2, batch_size=8, shuffle=False)(
        initial(), DATA, the_key(), VALID
    )
    assert same_bits(seen[1], short.model)
    return seen


@pytest.mark.parametrize(
    "keep_best", ["val_loss", "-val_absolute_error", pytest.param("loss", marks=pytest.mark.slow)]
)
def test_the_best_epoch_is_kept_without_a_directory_and_without_stopping(keep_best):
    run, alone = trained(keep_best=keep_best), TRAIN(initial(), DATA, the_key(), VALID)
    values = np.asarray(run.history[keep_best.removeprefix("-")])
    best = int(np.argmax(values) if keep_best[0] == "-" else np.argmin(values))
    assert int(run.best_epoch) == best
    assert same_bits(run.best, models()[best])
    assert same_bits((run.model, run.state), (alone.model, alone.state))


def test_averaged_weights_are_those_that_are_kept(tmp_path):
    run = trained(AVERAGED, tmp_path, keep_best="val_loss")
    assert float(fn.evaluate(LOSS, run.best, VALID)["loss"]) == pytest.approx(
        float(run.history["val_loss"].min()), rel=1e-5
    )
    assert same_bits(fn.load_weights(NET, tmp_path, "last"), run.model)
    assert same_bits(fn.load_weights(NET, tmp_path, "best"), run.best)
    assert not same_bits(run.model, run.state.model)


def test_a_resumed_run_keeps_the_same_best(tmp_path):
    whole = trained(keep_best="val_loss")

    class Interrupt(fn.train.Callback):
        def on_epoch_end(self, context):
            if context.epoch == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(directory=tmp_path, keep_best="val_loss", callbacks=[Interrupt()])
    with pytest.raises(ValueError, match=r"keep_best must be 'val_loss' .*, got '-val_loss': the best"):
        trained(directory=tmp_path, keep_best="-val_loss")
    resumed = trained(directory=tmp_path, keep_best="val_loss")
    assert same_bits(resumed, whole)
    assert same_bits(fn.load_weights(NET, tmp_path, "best"), whole.best)
    again = trained(directory=tmp_path, keep_best="val_loss")
    assert same_bits(again, whole)


def test_a_directory_is_a_place_of_models(tmp_path):
    run = trained(directory=tmp_path, keep_best="val_loss", save_every=Every(epochs=1), keep=10)
    assert int(run.best_epoch) < EPOCHS - 1
    assert same_bits(fn.load_weights(NET, tmp_path), run.model)
    assert same_bits(fn.load_weights(NET, tmp_path, which="last"), run.model)
    assert same_bits(fn.load_weights(initial(), str(tmp_path), which="best"), run.best)
    assert same_bits(fn.load_weights(NET, tmp_path, which=6), models()[1])
    assert same_bits(fn.load_weights(NET, tmp_path, which=np.int64(6)), models()[1])
    with pytest.raises(ValueError, match=r"must be the step of a checkpoint in .*, 3, 6, .*, 18, got 7"):
        fn.load_weights(NET, tmp_path, which=7)
    for which in (True, 1.5, ["best"]):
        with pytest.raises(TypeError, match="which must be 'best', 'last', the step"):
            fn.load_weights(NET, tmp_path, which=which)
    with pytest.raises(ValueError, match="which must be"):
        fn.load_weights(NET, tmp_path, which="newest")
    with pytest.raises(ValueError, match=r"layers.0.weight: float32\[3,5\] in the file, float32\[3,4\]"):
        fn.load_weights(fn.MLP((3, 4, "scalar")), tmp_path)


def test_a_directory_gives_the_model_of_the_run_after_early_stopping(tmp_path):
    run = trained(STOPPED, tmp_path)
    assert same_bits(run.best, run.model)
    assert not same_bits(run.model, run.state.model)
    assert same_bits(fn.load_weights(NET, tmp_path), run.model)
    assert same_bits(fn.load_weights(NET, tmp_path, which="best"), run.model)
    assert same_bits(fn.load_weights(NET, tmp_path, which="last"), run.state.model)


def test_no_best_model_is_a_sentence(tmp_path):
    run = trained(directory=tmp_path)
    assert int(run.best_epoch) == -1
    with pytest.raises(ValueError, match=r"kept no best model.*keep_best=\"val_loss\""):
        _ = run.best
    with pytest.raises(ValueError, match=r"kept no best model, only the last.*keep_best='val_loss'"):
        fn.load_weights(NET, tmp_path, which="best")
    with pytest.raises(ValueError, match=r"keep_best must be None as in .*, got 'val_loss'"):
        trained(directory=tmp_path, keep_best="val_loss")
    assert same_bits(trained(directory=tmp_path, keep_best="val_loss", resume="force").model, run.model)
    with pytest.raises(FileNotFoundError, match="no valid checkpoint in this directory"):
        fn.load_weights(NET, tmp_path / "checkpoints")


def test_a_value_that_is_never_finite_is_said():
    def never(context):
        return fn.train.Request(values={"fid": np.nan})

    run = trained(callbacks=[never], keep_best="fid")
    assert int(run.best_epoch) == -1
    with pytest.raises(
        ValueError, match="no best model: the value that decides was NaN or infinite in every"
    ):
        _ = run.best
    stopped = trained(STOPPED, callbacks=[never], keep_best="fid")
    assert same_bits(stopped.best, stopped.model)
    stopping = fn.EarlyStopping(patience=9, restore_best=True)
    train = fn.fit(
        lambda model, example, key: jnp.nan, optax.sgd(0.1), epochs=2, stopping=stopping, on_nan="ignore"
    )
    with pytest.raises(
        ValueError, match="no best model: the value that decides was NaN or infinite in every"
    ):
        _ = train(initial(), DATA, the_key(), VALID).best


def test_a_run_of_more_epochs_is_told_how_to_continue(tmp_path):
    short = fn.fit(LOSS, optax.adam(0.2), epochs=2, batch_size=8, shuffle=False)
    trained(short, tmp_path)
    with pytest.raises(
        ValueError, match=r'setting epochs: 2 saved, 6 now(.|\n)*If only epochs .*"force"\) contin'
    ):
        trained(directory=tmp_path)
    assert same_bits(trained(directory=tmp_path, resume="force").model, trained().model)


def test_a_file_has_one_model(tmp_path):
    model = initial()
    fn.save_weights(model, tmp_path / "m")
    with pytest.raises(ValueError, match="which must be None for a file, got str 'best'"):
        fn.load_weights(NET, tmp_path / "m", which="best")


class Net(fn.Module):
    backbone: fn.Module
    head: fn.Module

    def __call__(self, x, key=None):
        return self.head(self.backbone(x, key=key))


def test_a_part_is_loaded_and_the_rest_is_listed(tmp_path):
    old = initial(Net(fn.MLP((3, 4)), fn.Linear(4, 2)), seed=1)
    new = initial(Net(fn.MLP((3, 4)), fn.layers.Residual(fn.Linear(4, 4))), seed=2)
    fn.save_weights(old, tmp_path / "m")
    kept, unused = ["head.layer.weight", "head.layer.bias"], ["head.bias", "head.weight"]
    for where in (lambda path: path.startswith("backbone"), "backbone", ["backbone.layers.0"]):
        model, left_out = fn.load_weights(new, tmp_path / "m", where=where)
        assert same_bits(model.backbone, old.backbone)
        assert same_bits(model.head, new.head)
        assert (left_out.kept, sorted(left_out.unused)) == (kept, unused)
    model, left_out = fn.load_weights(new, tmp_path / "m", where="backbone.layers[0].weight")
    assert same_bits(model.backbone.layers[0].bias, new.backbone.layers[0].bias)
    assert left_out.kept == ["backbone.layers.0.bias", *kept]
    with pytest.raises(ValueError, match=r"head.bias: float32\[2\] in the file, unexpected"):
        fn.load_weights(new, tmp_path / "m", where=lambda path: "bias" in path)
    with pytest.raises(ValueError, match="where must select an array of the model"):
        fn.load_weights(new, tmp_path / "m", where=lambda path: False)
    with pytest.raises(ValueError, match="nothing is at 'body'"):
        fn.load_weights(new, tmp_path / "m", where="body")
    with pytest.raises(TypeError, match="where must be a function path -> bool"):
        fn.load_weights(new, tmp_path / "m", where=lambda path, leaf: True)
    with pytest.raises(TypeError, match=r"must be initialized .*net.init\(key\)"):
        fn.load_weights(Net(fn.MLP((3, 4)), fn.Linear(4, 2)), tmp_path / "m", where="backbone")


def test_a_part_of_a_run_is_loaded(tmp_path):
    run = trained(directory=tmp_path, keep_best="val_loss")
    other = initial(fn.MLP((3, 5, 7), activation=jnp.tanh), seed=9)
    model, left_out = fn.load_weights(other, tmp_path, "best", where="layers[0]")
    assert same_bits(model.layers[0], run.best.layers[0])
    assert same_bits(model.layers[1], other.layers[1])
    assert left_out == (["layers.1.weight", "layers.1.bias"],) * 2
