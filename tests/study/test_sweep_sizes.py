"""Each member of a sweep over sizes is its network trained alone; what padding would change is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optimizers import CONTRIB, OPTAX
from tables import MODELS, assert_close

import funcnet as fn
from funcnet import _keys
from funcnet.study._padded import common_shape, pad, unpad
from funcnet.study._padded_init import init_padded
from funcnet.study._padding_check import Padded, check_optimizer

ROW = MODELS["mlp"]
SIZES = [(2, 1), (5, 2), (3, 3)]


def the_key():
    return jax.random.key(4)


@functools.cache
def rows(seed=0):
    return tuple(map(np.asarray, ROW.rows(20 if seed == 0 else 12, seed=seed)))


def clipped(learning_rate=0.05):
    return optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(learning_rate, weight_decay=0.1))


def training(optimizer=None, loss=None, **settings):
    optimizer = clipped() if optimizer is None else optimizer
    return fn.fit(
        ROW.loss() if loss is None else loss, optimizer, **{"epochs": 3, "batch_size": 8} | settings
    )


def maker(**settings):
    return lambda width, depth: fn.MLP((3, *(width,) * depth, 3), **settings)


def alone(net, train, repeat):
    """The run of one network in the repeat of a study, as a user would write it."""
    own = jax.random.fold_in(_keys.fold_in_name(the_key(), "repeat"), repeat)
    model = net.init(_keys.fold_in_name(own, "init"))
    return train(model, rows(), _keys.fold_in_name(own, "train"), rows(1))


CASES = {
    "relu, early stopping and averaged weights": (
        maker(),
        training(optax.adam(0.05), stopping=fn.EarlyStopping(patience=1), ema=0.9),
    ),
    "sigmoid, dropout, clipping and weight decay": (
        maker(activation=jax.nn.sigmoid, dropout=0.3),
        training(),
    ),
    "softplus, without momentum": (maker(activation=jax.nn.softplus), training(optax.sgd(0.1))),
    "an activation of 1 at 0, and a penalty": (
        maker(activation=jnp.cos),
        training(loss=fn.losses.penalized(ROW.loss(), l2=0.01)),
    ),
}
QUICK = "sigmoid, dropout, clipping and weight decay"


@pytest.mark.parametrize(
    "case", [c if c == QUICK else pytest.param(c, marks=pytest.mark.slow) for c in CASES]
)
def test_each_member_is_its_network_trained_alone(case):
    make_net, train = CASES[case]
    result = fn.study.sweep_sizes(make_net, train, SIZES, 2)(rows(), the_key(), rows(1))
    assert result.scores.shape == (3, 2)
    for index, size in enumerate(SIZES):
        run, expected = result.run(index, 1), alone(make_net(*size), train, 1)
        assert jax.tree.structure(run) == jax.tree.structure(expected)
        assert_close(jax.tree.map(_numbers, run), jax.tree.map(_numbers, expected), 100)
        score = fn.evaluate(train.loss, expected.model, rows(1))["loss"]
        np.testing.assert_allclose(result.scores[index, 1], score, rtol=1e-5)


def _numbers(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


@pytest.mark.slow
def test_small_members_and_a_scalar_output_train_as_they_do_alone():
    """From 32 small members on, they are mapped by `vmap_last`; a scalar output has no axis of its own."""
    data, valid = ((x, np.float32(y)) for x, y in (rows(), rows(1)))
    loss = fn.losses.supervised(fn.losses.squared_error)

    def make_net(*widths):
        return fn.MLP((3, *widths, "scalar"), activation=jnp.tanh)

    sizes = [(), (4,), (5, 2), (2, 6)]
    train = training(loss=loss)
    result = fn.study.sweep_sizes(make_net, train, sizes, 8)(data, the_key(), valid)
    for index, size in enumerate(sizes):
        own = jax.random.fold_in(_keys.fold_in_name(the_key(), "repeat"), 7)
        model = make_net(*size).init(_keys.fold_in_name(own, "init"))
        expected = train(model, data, _keys.fold_in_name(own, "train"), valid)
        assert_close(result.run(index, 7).model, expected.model, 100)


@pytest.mark.slow
def test_a_size_does_not_change_the_numbers_of_another():
    few, many = (
        fn.study.sweep_sizes(maker(), training(), sizes)(rows(), the_key(), rows(1))
        for sizes in ([(4, 1)], [(2, 1), (6, 2), (4, 1)])
    )
    assert_close(many.run(2).model, few.run(0).model, 100)
    np.testing.assert_allclose(many.scores[2], few.scores[0], rtol=1e-5)


def test_all_sizes_are_traced_once_and_a_second_call_traces_nothing():
    traced = 0
    plain = ROW.loss()

    def counted(model, example, key):
        nonlocal traced
        traced += 1
        return plain(model, example, key)

    train = training(loss=counted, epochs=1)
    one, three = (fn.study.sweep_sizes(maker(), train, sizes) for sizes in (SIZES[2:], SIZES))
    one(rows(), the_key(), rows(1))
    of_one, traced = traced, 0
    three(rows(), the_key(), rows(1))
    assert traced <= of_one
    traced = 0
    three(rows(), jax.random.key(5), rows(1))
    assert traced == 0


@pytest.mark.slow
def test_its_curve_is_that_of_a_program_for_each_size():
    train = training()
    sizes = (1, 4)
    result = fn.study.sweep_sizes(lambda width: fn.MLP((3, width, 3)), train, sizes, 3)(
        rows(), the_key(), rows(1)
    )
    each = fn.study.capacity_curve(lambda width: (train, fn.MLP((3, width, 3))), sizes, 3)
    expected = each(rows(), the_key(), rows(1))
    assert (result.curve.x_name, result.curve.x) == (expected.x_name, expected.x)
    for name, scores in expected.scores.items():
        np.testing.assert_allclose(result.curve.scores[name], scores, rtol=1e-5, err_msg=name)


def test_the_best_size_is_that_of_the_best_mean():
    scores = np.array([[3.0, 3.0], [1.0, np.nan], [1.0, 2.0]])
    curve = fn.study.Curve("capacity", (1, 2, 4), {"loss": scores, "val_loss": scores})
    result = fn.study.SweepSizesResult(curve, "val_loss", "min", [], None)
    assert (result.best, result.order.tolist()) == (4, [2, 0, 1])
    diverged = fn.study.Curve("capacity", (1, 2), {"val_loss": np.array([[np.nan], [1.0]])})
    assert fn.study.SweepSizesResult(diverged, "val_loss", "min", [], None).best == 2
    with pytest.raises(ValueError, match="size_index must be below 3, got 3"):
        result.run(3)
    with pytest.raises(ValueError, match="repeat must be below 2, got 2"):
        result.run(0, 2)
    with pytest.raises(ValueError, match=r"monitor must be a name of a score \(loss, val_loss\)"):
        fn.study.SweepSizesResult(curve, "val_f1", "max", [], None)


INITIALIZERS = ["he_normal", "glorot_uniform", "normal", "uniform", "zeros", "orthogonal"]


@pytest.mark.parametrize(
    "name", ["lecun_uniform", *(pytest.param(n, marks=pytest.mark.slow) for n in INITIALIZERS)]
)
def test_initial_models_are_those_of_init(name):
    nets = [fn.MLP((3, *hidden, 2), weight_init=name) for hidden in ((4,), (7, 2), ())]
    keys = jax.random.split(the_key(), 2)
    like = common_shape(nets)
    models = init_padded(nets, keys, like)
    for index, net in enumerate(nets):
        expected = net.init(keys[1])
        padded = jax.tree.map(lambda a: a[index, 1], models)  # noqa: B023
        assert_close(unpad(padded, net), expected, 2)
        assert_close(padded, pad(expected, net, like), 2)


def test_initializers_of_ones_own_draw_the_shapes_they_expect():
    def by_shape(key, shape, dtype):
        del key
        return jnp.arange(shape[0] * shape[1], dtype=dtype).reshape(shape)

    nets = [fn.MLP((3, 4, 2), weight_init=by_shape), fn.MLP((3, 2, 2), weight_init="he_uniform")]
    keys = jax.random.split(the_key(), 2)
    models = init_padded(nets, keys, common_shape(nets))
    for index, net in enumerate(nets):
        padded = jax.tree.map(lambda a: a[index, 0], models)  # noqa: B023
        assert_close(unpad(padded, net), net.init(keys[0]), 2)


# Those whose update of a number depends on the shape of its parameter, on a mean over it or on noise, that
# move a number whose gradient is zero (Yogi), or keep a state that is not one number for each or for all.
NOT_EXACT = {
    *("adafactor", "add_noise", "centralize", "clip_by_block_rms", "differentially_private_aggregate"),
    *("dpsgd", "flatten", "galore", "hutchinson_estimator_diag_hessian", "lbfgs", "muon", "noisy_sgd"),
    *("scale_by_galore", "scale_by_lbfgs", "scale_by_param_block_rms", "scale_by_sm3", "scale_by_yogi"),
    *("sm3", "yogi"),
}
# Where a line search stops can depend on the order of summation: it may be refused.
BY_ROUNDING = {"scale_by_zoom_linesearch"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_optimizers_that_padding_would_change_are_refused():
    net = fn.MLP((3, 2, 2))
    model = jax.tree.map(lambda a: a + 0.3, net.init(the_key()))
    example = Padded(net, model, pad(model, net, common_shape([net, fn.MLP((3, 4, 3, 2))])))
    refused = set()
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for name, case in {**OPTAX, **CONTRIB}.items():
            if case.refused or case.matrices_only:
                continue
            try:
                check_optimizer(case.make(), example)
            except (TypeError, ValueError):
                refused.add(name)
    assert refused - BY_ROUNDING == NOT_EXACT


def softmax(x):
    return jax.nn.softmax(x)


def mean_of_squares(model, example, key):
    return ROW.loss()(model, example, key)[0] + jnp.mean(model.layers[0].weight ** 2)


def of_last_layer(model, example, key):
    return ROW.loss()(model, example, key)[0] + jnp.sum(model.layers[-1].bias ** 2 + 1)


def metric_of_shape(model, example, key):
    value, _ = ROW.loss()(model, example, key)
    return value, {"parameters": jnp.float32(fn.count(model))}


def frozen(width, depth):
    return fn.freeze(maker()(width, depth), "layers[0]")


def by_depth(width, depth):
    return maker(activation=jax.nn.tanh if depth > 1 else jax.nn.relu)(width, depth)


def call(make_net=None, train=None, sizes=SIZES, **settings):
    train = training(epochs=1) if train is None else train
    study = fn.study.sweep_sizes(make_net or maker(), train, sizes, **settings)
    return study(rows(), the_key(), rows(1))


WRONG = {
    "no sizes": (lambda: call(sizes=[]), "sizes must not be empty"),
    "a size alone": (lambda: call(sizes=4), "sizes must be a sequence"),
    "a size of three": (lambda: call(sizes=[(1, 2, 3)]), "make_net must be a function of a size"),
    "another network": (
        lambda: call(lambda w, d: fn.Linear(3, 3)),
        r"must return a fn.MLP before init.*Linear",
    ),
    "a model": (lambda: call(lambda w, d: maker()(w, d).init(the_key())), "got an MLP with parameters"),
    "frozen": (lambda: call(frozen), "got an MLP with other layers or settings"),
    "other outputs": (
        lambda: call(lambda w, d: fn.MLP((3, 4, w))),
        "the same features of the output, got 2",
    ),
    "other activations": (lambda: call(by_depth), "the same activation"),
    "other dropout": (lambda: call(lambda w, d: maker(dropout=0.1 * d)(w, d)), "the same dropout"),
    "not measured": (lambda: call(monitor="val_error"), "monitor must be a name in the history"),
    "a custom step": (
        lambda: call(train=training(step=lambda state, batch: (state, {"loss": 0.0}))),
        "no step of its own, .*got a custom step",
    ),
    "Adafactor": (
        lambda: call(train=training(optax.adafactor(0.1))),
        "updates of a padded parameter are others",
    ),
    "private gradients": (
        lambda: call(train=training(optax.contrib.differentially_private_aggregate(0.1, 0.1, 0))),
        "takes the gradient of each example",
    ),
    "softmax": (
        lambda: call(maker(activation=softmax)),
        "activation must be applied to each unit by itself",
    ),
    "infinite slope": (lambda: call(maker(activation=jnp.cbrt)), "finite derivatives at 0"),
    "a mean over parameters": (
        lambda: call(train=training(loss=mean_of_squares)),
        "not look at their shapes",
    ),
    "a metric": (lambda: call(train=training(loss=metric_of_shape)), "not look at their shapes"),
    "the last layer": (lambda: call(train=training(loss=of_last_layer)), "not look at their shapes"),
}
QUICK_WRONG = {
    "no sizes",
    "another network",
    "a model",
    "other outputs",
    "a custom step",
    "softmax",
    "Adafactor",
}


@pytest.mark.parametrize(
    "case", [c if c in QUICK_WRONG else pytest.param(c, marks=pytest.mark.slow) for c in WRONG]
)
def test_what_padding_would_change_is_refused(case):
    action, words = WRONG[case]
    with pytest.raises((TypeError, ValueError), match=words):
        action()
