"""Networks of other libraries: what each can be used for, and plain loops of its own library."""

import functools
import zlib

import equinox as eqx
import flax.linen as linen
import foreign
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from foreign import CONV_NETS, OTHERS
from keys import cached_key
from tables import assert_close, marked, same_bits

import funcnet as fn

LOSS = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
OPTIMIZER = optax.adamw(3e-3, weight_decay=0.1)
TRAIN = fn.fit(LOSS, OPTIMIZER, epochs=2, batch_size=8)


@functools.cache
def trained(network):
    """One run of `TRAIN` for all uses of a network."""
    return TRAIN(network.model, network.data, cached_key(7), network.data)


def row(tree, i):
    return jax.tree.map(lambda a: np.asarray(a)[i], tree)


# What a ConvNet with BatchNorm and Dropout can be used for ----------------------------------------------


def fit(network, tmp_path):
    run = trained(network)
    assert np.isfinite(run.history["val_loss"]).all()
    before, after = jax.tree.leaves(network.model.state), jax.tree.leaves(run.model.state)
    assert all((np.asarray(a) != np.asarray(b)).any() for a, b in zip(before, after, strict=True))
    assert all(
        (np.asarray(a) != np.asarray(b)).any()
        for a, b in zip(
            jax.tree.leaves(network.model.params), jax.tree.leaves(run.model.params), strict=True
        )
    )


def vmap(network, tmp_path):
    keys = jax.random.split(cached_key(7), 2)
    models = jax.jit(jax.vmap(network.net.init))(keys)
    runs = jax.vmap(TRAIN, in_axes=(0, None, 0))(models, network.data, keys)
    alone = TRAIN(row(models, 1), network.data, keys[1])
    assert_close(row(runs.model, 1), alone.model, factor=5)


def grad_through_fit(network, tmp_path):
    @jax.jit
    def final_loss(rate):
        train = fn.fit(LOSS, optax.sgd(rate), epochs=2, batch_size=8)
        return fn.evaluate(LOSS, train(network.model, network.data, cached_key(7)).model, network.data)[
            "loss"
        ]

    step = 1e-2
    difference = (final_loss(0.1 + step) - final_loss(0.1 - step)) / (2 * step)
    assert abs(jax.grad(final_loss)(0.1) - difference) < 0.05 * abs(difference) + 1e-3


class Killed(BaseException):
    pass


class KillAtCheckpoint(fn.train.Callback):
    def on_checkpoint(self, context):
        raise Killed


class Start(fn.train.Callback):
    def on_fit_start(self, context):
        self.step = context.step


EACH_STEP_SAVED_AT_FIVE = {
    "sync_every": fn.train.Every(steps=1),
    "save_every": fn.train.Every(steps=5),
    "progress": False,
}


def trainer(network, tmp_path):
    """Killed in the middle of the first epoch, and resumed."""
    whole, settings = trained(network), EACH_STEP_SAVED_AT_FIVE
    arguments = network.model, network.data, cached_key(7), network.data
    with pytest.raises(Killed):
        fn.Trainer(TRAIN, tmp_path, [KillAtCheckpoint()], **settings)(*arguments)
    start = Start()
    run = fn.Trainer(TRAIN, tmp_path, [start], **settings)(*arguments)
    assert start.step == 5
    assert same_bits((run.model, run.history), (whole.model, whole.history))
    rows = list(zip(*map(np.asarray, network.data), strict=True))
    streamed = fn.Trainer(TRAIN, progress=False)(
        network.model, fn.data.Stream.from_map(rows), cached_key(7)
    )
    assert_close(streamed.model, whole.model, factor=5)


def evaluate(network, tmp_path):
    small = fn.evaluate(LOSS, network.model, network.data, batch_size=4)
    assert_close(small, fn.evaluate(LOSS, network.model, network.data))


def predict(network, tmp_path):
    x = network.data[0]
    outputs = fn.predict(network.model, x, batch_size=5)
    assert_close(outputs, jax.jit(jax.vmap(network.model))(x), factor=5)
    assert outputs.shape == (foreign.ROWS, foreign.CLASSES)


def ensemble(network, tmp_path):
    result = fn.study.ensemble(TRAIN, 3)(network.net, network.data, cached_key(7))
    kernels = jax.tree.leaves(result.model.members.params)
    assert any(len(np.unique(np.asarray(k).reshape(3, -1), axis=0)) == 3 for k in kernels)
    start = jax.jit(jax.vmap(network.net.init))(jax.random.split(cached_key(7), 3)).params
    differs = [len(np.unique(np.asarray(k).reshape(3, -1), axis=0)) == 3 for k in jax.tree.leaves(start)]
    assert any(differs), "the members have one start"
    assert fn.predict(result.model, network.data[0]).shape == (foreign.ROWS, foreign.CLASSES)


def cross_validate(network, tmp_path):
    rows = row(network.data, slice(42))
    result = fn.study.cross_validate(TRAIN, fn.data.kfold(rows, 3, cached_key(7)))(
        network.net, cached_key(7)
    )
    assert result.scores["loss"].shape == (3,)
    with pytest.raises(ValueError, match=r"folds of unequal size.*needs its whole batch"):
        fn.study.cross_validate(TRAIN, fn.data.kfold(network.data, 3, cached_key(7)))(
            network.net, cached_key(7)
        )
    with pytest.raises(ValueError, match="Call the training function once for each size"):
        fn.study.learning_curve(TRAIN, (8, 16), 2)(network.net, network.data, cached_key(7), network.data)


def summary(network, tmp_path):
    (row,) = fn.summary(network.net, network.data[0][0]).rows
    assert row.parameters == fn.count(network.net) > 50
    assert row.output == "float32[3]"


def monitor(network, tmp_path):
    run = fn.study.monitor(TRAIN)(network.model, network.data, cached_key(7), network.data)
    assert sum(name.startswith("gradient/params") for name in run.history) >= 4


def per_example_grads(network, tmp_path):
    def in_training(params, example):
        return LOSS(network.model.replace(params=params), example, cached_key(7))[0]

    with pytest.raises(ValueError, match="needs its whole batch"):
        fn.transform.per_example_grads(in_training)(network.model.params, network.data)
    private = optax.contrib.differentially_private_aggregate(1.0, 0.1, cached_key(7))
    train = fn.fit(LOSS, optax.chain(private, optax.sgd(0.1)), epochs=1, batch_size=8)
    with pytest.raises(ValueError, match="per-example gradients"):
        train(network.model, network.data, cached_key(7))

    def in_inference(params, example):
        return LOSS(network.model.replace(params=params), example, None)[0]

    grads = jax.jit(fn.transform.per_example_grads(in_inference))(network.model.params, network.data)
    one = jax.jit(jax.grad(in_inference))(network.model.params, row(network.data, 5))
    assert_close(row(grads, 5), one, factor=5)


def weights_on_disk(network, tmp_path):
    path = tmp_path / "weights.safetensors"
    model = trained(network).model
    fn.save_weights(model, path)
    assert same_bits(fn.load_weights(network.net, path), model)
    assert jax.eval_shape(fn.load_weights(network.lift(), path), network.data[0][0]).shape == (3,)
    with pytest.raises(TypeError, match=r"fn\.save_weights"):
        fn.save(model, path)


def graph(network, tmp_path):
    x = network.data[0][:4]
    made = fn.transform.graph(jax.vmap(network.model))(x)
    assert_close(made(x), fn.predict(network.model, x), factor=5)
    made.save(tmp_path / "graph.bin", batch="b")
    loaded = fn.transform.load_graph(tmp_path / "graph.bin")
    assert_close(loaded(network.data[0]), fn.predict(network.model, network.data[0]), factor=5)


def onnx(network, tmp_path):
    pytest.importorskip("jax2onnx")
    x = network.data[0]
    path = fn.transform.graph(jax.vmap(network.model))(x[:4]).save(tmp_path / "model.onnx", batch="b")
    session = pytest.importorskip("onnxruntime").InferenceSession(path.read_bytes())
    (logits,) = session.run(None, {session.get_inputs()[0].name: np.asarray(x)})
    np.testing.assert_allclose(logits, fn.predict(network.model, x), rtol=1e-5, atol=1e-5)


USES = [
    fit, vmap, grad_through_fit, trainer, evaluate, predict, ensemble, cross_validate, summary, monitor,
    per_example_grads, weights_on_disk, graph, onnx,
]  # fmt: skip
# Each library trains, predicts and is loaded in the quick suite; what does not depend on it, in linen. What
# takes a model as a tree of arrays is tested in linen, some of it in equinox, whose trees differ most.
EACH = {predict, summary}
ONE = {fit, evaluate, graph, per_example_grads}
IN_LINEN = {vmap, cross_validate, monitor}
IN_TWO = {evaluate, grad_through_fit, per_example_grads, graph}
CELLS = {
    f"{library}-{use.__name__}": (library, use)
    for library in CONV_NETS
    for use in USES
    if library == "linen" or use not in IN_LINEN | (IN_TWO if library != "equinox" else set())
}
SLOW = {
    name
    for name, (library, use) in CELLS.items()
    if use not in EACH
    and not (library == "linen" and use in ONE)
    and not (use is weights_on_disk and library in {"linen", "equinox", "keras"})
}


@pytest.mark.parametrize("cell", marked(CELLS, slow=SLOW))
def test_a_conv_net_of_each_library_by_use(cell, tmp_path):
    library, use = CELLS[cell]
    use(CONV_NETS[library], tmp_path)


# Plain loops of each library ----------------------------------------------------------------------------


@jax.jit
def step_key(step):
    """The key of the first example of a step of `fit`, which a network with a state draws from."""
    key = jax.random.fold_in(cached_key(7), zlib.crc32(b"step"))
    return jax.random.fold_in(jax.random.fold_in(key, step), 0)


def weighted_mean(logits, y, weight):
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return jnp.sum(losses * weight) / jnp.sum(weight)


@jax.jit
def updated(params, opt_state, grads):
    updates, opt_state = OPTIMIZER.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def plain_linen(network, batches):
    module = foreign.LinenConvNet()
    variables = jax.jit(module.init)(jax.random.key(0), network.data[0][:1])

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def slope(params, stats, x, y, weight, key):
        logits, new = module.apply(
            {"params": params, "batch_stats": stats},
            x,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        return weighted_mean(logits, y, weight), new["batch_stats"]

    params, stats = variables["params"], variables["batch_stats"]
    opt_state = jax.jit(OPTIMIZER.init)(params)
    for step, batch in enumerate(batches):
        grads, stats = slope(params, stats, *batch, step_key(step))
        params, opt_state = updated(params, opt_state, grads)
    return params, {"batch_stats": stats}


def plain_nnx(network, batches):
    model = foreign.NnxConvNet(nnx.Rngs(jax.random.key(0)))
    optimizer = nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param)
    model.train()
    for step, (x, y, weight) in enumerate(batches):
        model.dropout.rngs.key[...] = step_key(step)
        model.dropout.rngs.count[...] = jnp.zeros((), jnp.uint32)
        grads = nnx.grad(lambda model: weighted_mean(model(x), y, weight))(model)  # noqa: B023
        optimizer.update(model, grads)
    state = {"norm": {"mean": model.norm.mean[...], "var": model.norm.var[...]}}
    return nnx.to_pure_dict(nnx.state(model, nnx.Param)), state


def plain_equinox(network, batches):
    model, state = eqx.nn.make_with_state(foreign.EquinoxConvNet)(jax.random.key(0))
    opt_state = OPTIMIZER.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    @eqx.filter_grad(has_aux=True)
    def grad(model, state, x, y, weight, keys):
        mapped = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        logits, state = mapped(x, state, key=keys)
        return weighted_mean(logits, y, weight), state

    for step, (x, y, weight) in enumerate(batches):
        grads, state = grad(model, state, x, y, weight, jax.random.split(step_key(step), len(x)))
        updates, opt_state = OPTIMIZER.update(grads, opt_state, eqx.filter(model, eqx.is_inexact_array))
        model = eqx.apply_updates(model, updates)
    return eqx.filter(model, eqx.is_inexact_array), state


def plain_keras(network, batches):
    model = foreign.keras_conv_net()
    start = network.model  # its own initializers draw from Python's random numbers
    params = [start.params["layer_0"]["kernel"], start.params["layer_1"]["gamma"]]
    params += [start.params["layer_1"]["beta"], start.params["layer_2"]["kernel"]]
    params += [start.params["layer_2"]["bias"]]
    assert [v.shape for v in model.trainable_variables] == [p.shape for p in params]

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def slope(params, stats, x, y, weight, key):
        seed = jax.random.bits(jax.random.fold_in(key, 0), (2,), "uint32")
        logits, new = model.stateless_call(params, [*stats[:2], seed], x, training=True)
        return weighted_mean(logits, y, weight), new

    stats = [jnp.asarray(v.value) for v in model.non_trainable_variables]
    opt_state = jax.jit(OPTIMIZER.init)(params)
    for step, batch in enumerate(batches):
        grads, stats = slope(params, stats, *batch, step_key(step))
        params, opt_state = updated(params, opt_state, grads)
    kernel, gamma, beta, out, bias = params
    layers = {
        "layer_0": {"kernel": kernel},
        "layer_1": {"beta": beta, "gamma": gamma},
        "layer_2": {"bias": bias, "kernel": out},
    }
    return layers, {"layer_1": {"moving_mean": stats[0], "moving_variance": stats[1]}}


def plain_functions(network, batches):
    params, state = foreign.draw_functions(jax.random.key(0))

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def slope(params, state, x, y, weight, key):
        logits, new = foreign.apply_functions(params, state, x, key)
        return weighted_mean(logits, y, weight), new

    opt_state = jax.jit(OPTIMIZER.init)(params)
    for step, batch in enumerate(batches):
        grads, state = slope(params, state, *batch, step_key(step))
        params, opt_state = updated(params, opt_state, grads)
    return params, state


PLAIN = {
    "linen": plain_linen,
    "nnx": plain_nnx,
    "equinox": plain_equinox,
    "keras": plain_keras,
    "functions": plain_functions,
}


@pytest.mark.parametrize("library", marked(PLAIN, slow=PLAIN.keys() - {"linen"}))
def test_a_plain_loop_of_each_library_ends_in_the_same_weights_and_statistics(library):
    """54 steps with weight decay, rows of different weight, and a last batch of 3 rows."""
    network = CONV_NETS[library]
    weight = np.linspace(0.5, 1.5, foreign.ROWS, dtype=np.float32)
    data = fn.data.Dataset(network.data, weight=weight)
    run = fn.fit(LOSS, OPTIMIZER, epochs=9, batch_size=8)(network.model, data, cached_key(7))
    batches = []
    for epoch in range(9):
        for batch in fn.data.batches(data, 8, cached_key(7), epoch):
            rows = int((np.asarray(batch.weight) > 0).sum())
            batches.append(row((*batch.example, batch.weight), slice(rows)))
    assert len(batches) == 54
    assert len(batches[-1][0]) == 3
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        params, state = PLAIN[library](network, batches)
    ours = jax.tree.leaves(run.model.params), jax.tree.leaves(run.model.state)
    for actual, expected in zip(ours, (params, state), strict=True):
        leaves = jax.tree.leaves(expected)
        assert len(actual) == len(leaves)
        for a, b in zip(actual, leaves, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)


# Whole batches ------------------------------------------------------------------------------------------

SGD = optax.sgd(0.1)
ONE_EPOCH = fn.fit(LOSS, SGD, epochs=1, batch_size=4)
X = np.linspace(-1, 1, 40, dtype=np.float32).reshape(10, 4) ** 3
Y = np.arange(10, dtype=np.int32) % 3


def draw_centred(key):
    return {"w": jax.random.normal(key, (4, 3))}, {"mean": jnp.zeros(4)}


def apply_centred(params, state, x, key):
    """Inputs minus their mean, as BatchNorm subtracts it."""
    if key is None:
        return (x - state["mean"]) @ params["w"], state
    mean = x.mean(0)
    return (x - mean) @ params["w"], {"mean": 0.9 * state["mean"] + 0.1 * mean}


@functools.cache
def centred():
    net = fn.interop.from_stateful_functions(draw_centred, apply_centred)
    return jax.jit(net.init)(cached_key(0))


def test_a_loop_over_batches_without_padding_is_fit():
    step = jax.jit(fn.step(LOSS, SGD))
    state = fn.TrainState.create(centred(), SGD, cached_key(7))
    for batch in fn.data.batches((X, Y), 4, cached_key(7), pad=False):
        state, _ = step(state, batch)
    run = ONE_EPOCH(centred(), (X, Y), cached_key(7))
    assert_close(jax.tree.leaves(state.model), jax.tree.leaves(run.model), factor=5)


def test_a_step_refuses_padding_for_a_network_that_needs_its_whole_batch():
    step, state = fn.step(LOSS, SGD), fn.TrainState.create(centred(), SGD, cached_key(7))
    *_, last = fn.data.batches((X, Y), 4)
    for take in (step, jax.jit(step)):
        with pytest.raises(ValueError, match="pad=False"):
            take(state, last)
    rows = X[:8], Y[:8]
    own = fn.data.Batch(rows, np.float32(np.arange(8) != 3))
    for batch in (own, fn.data.Batch((X[:2], Y[:2]), np.float32([1, 0]))):
        with pytest.raises(ValueError, match="rows of weight 0"):
            step(state, batch)
    new, info = jax.jit(step)(state, own)  # its weights are not known
    assert np.isnan(info.loss)
    assert not info.finite
    assert same_bits(new.model, state.model)
    _, info = jax.jit(step)(state, fn.data.Batch(rows, np.linspace(0.5, 1.5, 8, dtype=np.float32)))
    assert info.finite


def test_fit_refuses_rows_of_weight_zero_for_a_network_that_needs_its_whole_batch():
    weight = np.float32(np.arange(10) != 3)
    data = fn.data.Dataset((X, Y), weight=weight)
    with pytest.raises(ValueError, match="got 1 rows of weight 0"):
        ONE_EPOCH(centred(), data, cached_key(7))
    ONE_EPOCH(centred(), fn.data.take(data, np.flatnonzero(weight)), cached_key(7), data)

    def loss_of(weight):
        return ONE_EPOCH(centred(), fn.data.Dataset((X, Y), weight=weight), cached_key(7)).history["loss"]

    assert np.isnan(jax.jit(loss_of)(weight)).all()


def test_members_of_an_ensemble_have_a_state_of_their_own():
    keys = jax.random.split(cached_key(7), 3)
    net = fn.interop.from_stateful_functions(draw_centred, apply_centred)
    models = jax.jit(jax.vmap(net.init))(keys)
    shift = np.arange(3, dtype=np.float32)[:, None, None]
    runs = jax.vmap(ONE_EPOCH, in_axes=(0, (0, None), 0))(models, (X + shift, Y), keys)
    assert np.ptp(runs.model.state["mean"].value, axis=0).min() > 0.1
    alone = ONE_EPOCH(row(models, 2), (X + shift[2], Y), keys[2])
    assert_close(row(runs.model, 2), alone.model, factor=5)


def test_a_run_with_a_state_is_resumed_on_its_stream(tmp_path):
    train = fn.fit(LOSS, optax.adam(0.1), epochs=2, batch_size=4)
    stream, settings = fn.data.Stream.from_map(list(zip(X, Y, strict=True))), EACH_STEP_SAVED_AT_FIVE
    with pytest.raises(Killed):
        fn.Trainer(train, tmp_path, [KillAtCheckpoint()], **settings)(centred(), stream, cached_key(7))
    start = Start()
    run = fn.Trainer(train, tmp_path, [start], **settings)(centred(), stream, cached_key(7))
    assert start.step == 5
    assert_close(run.model, train(centred(), (X, Y), cached_key(7)).model, factor=5)


def test_averaged_weights_get_statistics_of_batches_without_padding():
    average = fn.train.AverageWeights()
    train = fn.fit(LOSS, optax.sgd(0.0), epochs=1, batch_size=4)
    run = fn.Trainer(train, callbacks=[average], progress=False)(centred(), (X, Y), cached_key(7))
    mean = np.asarray(run.model.state["mean"].value)
    for batch in fn.data.batches((X, Y), 4, cached_key(7), 1, pad=False):
        mean = 0.9 * mean + 0.1 * np.asarray(batch.example[0]).mean(0)
    np.testing.assert_allclose(average.model.state["mean"].value, mean, rtol=1e-5)


@pytest.mark.parametrize("library", marked(("linen", "equinox"), slow={"equinox"}))
def test_a_network_whose_state_is_frozen_stays_in_inference(library):
    network = CONV_NETS[library]
    frozen = fn.freeze(network.model, "state")
    assert not frozen.needs_batch
    run = fn.fit(LOSS, optax.sgd(0.0), epochs=1, batch_size=8)(frozen, network.data, cached_key(7))
    expected = fn.evaluate(LOSS, network.model, network.data)["loss"]
    np.testing.assert_allclose(run.history["loss"][0], expected, rtol=1e-5)
    assert same_bits(run.model.state, network.model.state)


class Discriminator(linen.Module):
    @linen.compact
    def __call__(self, x, train: bool = False):
        x = linen.BatchNorm(use_running_average=not train, momentum=0.5)(linen.Dense(4)(x))
        return linen.Dense(1)(linen.relu(x))[..., 0]


@pytest.mark.slow
def test_players_with_batch_norm_see_both_inputs_at_once():
    net = fn.interop.from_linen(Discriminator(), jnp.zeros(2))
    model = {"disc": net.init(jax.random.key(0)), "gen": fn.Linear(2, 2).init(jax.random.key(1))}

    def outputs(model, x, key):
        fake = jax.vmap(model["gen"])(jax.random.normal(key, x.shape))
        return jnp.split(model["disc"](jnp.concatenate([x, fake]), key=key), 2)

    @fn.losses.batchwise
    def disc(model, x, weight, key):
        real, fake = outputs(model, x, key)
        return jnp.mean(jax.nn.softplus(-real) + jax.nn.softplus(fake))

    @fn.losses.batchwise
    def gen(model, x, weight, key):
        return jnp.mean(jax.nn.softplus(-outputs(model, x, key)[1]))

    players = fn.losses.players(disc=disc, gen=gen)
    train = fn.fit(players, {"disc": SGD, "gen": SGD}, epochs=1, batch_size=8)
    run = train(model, jnp.asarray(np.random.default_rng(0).normal(size=(16, 2)), float), cached_key(7))
    assert np.isfinite(run.history["loss"]).all()
    assert not same_bits(run.model["disc"].state, model["disc"].state)


# Networks as their users write them ---------------------------------------------------------------------


class Linen(linen.Module):
    """A network that draws noise, sows, has a constant, or takes a second input."""

    kind: str

    @linen.compact
    def __call__(self, x, train: bool = False):
        if self.kind == "constants":
            x = x + self.variable("constants", "shift", lambda: jnp.ones(4)).value
        if self.kind == "noise" and train:
            x = x + jax.random.normal(self.make_rng("noise"), x.shape)
        x = linen.Dense(3)(x)
        self.sow("losses" if self.kind == "losses" else "intermediates", "x", x)
        return x


class TwoInputs(linen.Module):
    @linen.compact
    def __call__(self, x, y):
        return linen.Dense(3)(x + y)


class Constant(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(x + self.variable("constants", "shift", lambda: jnp.ones(4)).value)


def test_collections_and_streams_of_linen():
    def lift(kind, **settings):
        return fn.interop.from_linen(Linen(kind), jnp.zeros(4), **settings)

    with pytest.raises(ValueError, match=r"stream that is not in rngs.*rngs=\(\"dropout\", \"noise\"\)"):
        lift("noise")
    noisy = lift("noise", rngs=("dropout", "noise")).init(cached_key(7))
    assert jax.eval_shape(ONE_EPOCH, noisy, (X, Y), cached_key(7)).history["loss"].shape == (1,)
    for mutable in (("batch_stats",), ("batch_stats", "losses")):
        with pytest.raises(ValueError, match="sows values in 'losses'"):
            lift("losses", mutable=mutable)
    with pytest.raises(ValueError, match="the argument 'y' without a default"):
        fn.interop.from_linen(TwoInputs(), jnp.zeros(4))
    with pytest.raises(ValueError, match="the collection 'constants'"):
        fn.interop.from_linen(Constant(), jnp.zeros(4))
    model = fn.interop.from_linen(Constant(), jnp.zeros(4), mutable=("constants",)).init(cached_key(7))
    run = ONE_EPOCH(model, (X, Y), cached_key(7))
    assert same_bits(run.model.state, model.state)


class Nnx(nnx.Module):
    def __init__(self, rngs, array=None):
        self.norm, self.out = nnx.BatchNorm(4, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)
        self.shift = jnp.ones(4) if array is None else array

    def __call__(self, x):
        self.sow(nnx.Intermediate, "x", x)
        return self.out(self.norm(x + self.shift))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_variables_of_nnx():
    with pytest.raises(ValueError, match=r"the array shift of Nnx must be in a variable of nnx"):
        fn.interop.from_nnx(Nnx)
    net = fn.interop.from_nnx(lambda rngs: Nnx(rngs, nnx.Variable(jnp.ones(4))))
    model = net.init(cached_key(7))
    run = ONE_EPOCH(model, (X, Y), cached_key(7))
    assert same_bits(run.model.state["shift"], model.state["shift"])
    assert not same_bits(run.model.state["norm"], model.state["norm"])
    assert "x" not in run.model.state


class Equinox(eqx.Module):
    norm: eqx.nn.BatchNorm | None
    out: eqx.nn.Linear

    def __init__(self, key, norm=True):
        self.norm = eqx.nn.BatchNorm(4, axis_name="batch", mode="ema") if norm else None
        self.out = eqx.nn.Linear(4, 3, key=key)

    def __call__(self, x, state):
        if self.norm is not None:
            x, state = self.norm(x, state)
        return self.out(x), state


def test_layers_of_equinox_train_as_they_were_built():
    net = eqx.nn.Sequential([eqx.nn.Dropout(0.5, inference=True), eqx.nn.Linear(3, 3, key=cached_key(7))])
    x, y = np.float32(np.eye(3)), np.arange(3)
    runs = [ONE_EPOCH(model, (x, y), cached_key(7)) for model in (net, fn.interop.from_equinox(net))]
    assert same_bits(runs[0].history["loss"], runs[1].history["loss"])


@pytest.mark.slow
def test_states_of_equinox():
    net = fn.interop.from_equinox(eqx.nn.make_with_state(Equinox))
    run = fn.fit(LOSS, optax.sgd(0.0), epochs=1, batch_size=10)(
        net.init(cached_key(7)), (X, Y), cached_key(7)
    )
    module, state = eqx.nn.make_with_state(Equinox)(cached_key(7))
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        mapped = jax.vmap(module, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        _, expected = mapped(X, state)
    actual = jax.tree.leaves(run.model.state)
    for a, b in zip(actual, jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    stateless = fn.interop.from_equinox(eqx.nn.make_with_state(lambda key: Equinox(key, norm=False)))
    start = stateless.init(cached_key(7))
    run = fn.fit(LOSS, optax.sgd(0.0), epochs=1, batch_size=8)(start, (X, Y), cached_key(7))
    np.testing.assert_allclose(run.history["loss"][0], fn.evaluate(LOSS, start, (X, Y))["loss"], rtol=1e-5)


def test_a_network_of_one_example_refuses_a_batch_in_plain_words():
    model = fn.interop.from_equinox(lambda key: eqx.nn.MLP(4, 3, 4, 1, key=key)).init(cached_key(7))
    with pytest.raises(TypeError, match=r"takes one example, got a batch. Write fn.predict\(model, x\)"):
        model(X)
    with pytest.raises(TypeError, match=r"shape|dot_general"):  # each row has an axis too many
        fn.predict(model, X[None])


def test_a_class_of_keras_is_built_by_an_input():
    import keras

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.out = keras.layers.Dense(3)

        def call(self, x):
            return self.out(x)

    with pytest.raises(TypeError, match=r"got the class Net. Write fn.interop.from_keras\(lambda: Net\(\)"):
        fn.interop.from_keras(Net)
    with pytest.raises(ValueError, match=r"model\(keras.Input\(\(4,\)\)\); return model"):
        fn.interop.from_keras(lambda: Net())

    def make():
        model = Net()
        model(keras.Input((4,)))
        return model

    assert fn.count(fn.interop.from_keras(make).init(cached_key(7))) == 15


@pytest.mark.slow
def test_models_of_keras_that_are_built_already():
    import keras

    def build(*layers):
        return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3)])

    def adapted():
        scale = keras.layers.Normalization()
        scale.adapt(np.asarray(3 * X + 5))
        return build(scale)

    model = adapted()
    for make in (adapted, lambda: model):
        with pytest.raises(ValueError, match=r"pass the model itself: from_keras\(model\)"):
            fn.interop.from_keras(make)
    lifted = fn.interop.from_keras(model)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        expected = np.asarray(model(np.asarray(X)))
    np.testing.assert_allclose(jax.vmap(lifted)(X), expected, rtol=1e-5, atol=1e-6)

    class Subclass(keras.Model):
        def __init__(self, rate=None):
            super().__init__()
            self.out = keras.layers.Dense(3)
            self.dropout = rate and rate(0.5)

        def call(self, x):
            return self.out(x if self.dropout is None else self.dropout(x))

    plain, *noisy = (Subclass(kind) for kind in (None, keras.layers.Dropout, keras.layers.GaussianNoise))
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        for one in (plain, *noisy):
            one(np.zeros((1, 4), "float32"))
    ONE_EPOCH(fn.interop.from_keras(plain), (X, Y), cached_key(7))
    for one in noisy:
        with pytest.raises(ValueError, match="no argument training"):
            fn.interop.from_keras(one)


# Other networks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", marked(OTHERS, slow=set(OTHERS) - {"equinox-mlp", "functions-mlp"}))
def test_other_networks_train_and_are_saved(name, tmp_path):
    network = OTHERS[name]
    assert not network.model.needs_batch
    train = fn.fit(LOSS, optax.adamw(1e-2), epochs=10, batch_size=8)
    run = train(network.model, network.data, cached_key(7))
    assert run.history["loss"][-1] < run.history["loss"][0]
    fn.save_weights(run.model, tmp_path / "weights.safetensors")
    assert same_bits(fn.load_weights(network.net, tmp_path / "weights.safetensors"), run.model)
    assert repr(network.net).endswith("before init)")
    assert "parameters)" in repr(network.model)
    members = jax.jit(jax.vmap(network.net.init))(jax.random.split(cached_key(7), 3))
    assert any(len(np.unique(np.asarray(a).reshape(3, -1), axis=0)) == 3 for a in jax.tree.leaves(members))


@pytest.mark.slow
def test_a_recurrent_network_trains_in_an_ensemble(tmp_path):
    ensemble(OTHERS["linen-lstm"], tmp_path)
