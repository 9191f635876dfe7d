"""Law 2: plain jit, grad, vmap and tree functions work on models, losses and whole trainings."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
from jax.test_util import check_grads
from keys import lazy_key
from tables import assert_close

import funcnet as fn

KEY = lazy_key(21)


@pytest.fixture
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", tables.MODELS)
def test_models_take_leading_axes_jit_vmap_and_the_tree_round_trip(name: str) -> None:
    case = tables.MODELS[name]
    model = case.init()
    x = jnp.asarray(np.asarray(case.rows(6)[0]).reshape(2, 3, *case.shape))
    call = jax.jit(lambda model, x, key=None: model(x, key=key))
    expected = call(model, x)
    assert expected.shape[:2] == (2, 3)
    assert_close(jax.jit(jax.vmap(jax.vmap(model)))(x), expected)
    assert_close(model(x), expected)
    assert_close(call(model, x, KEY()), model(x, key=KEY()))
    leaves, structure = jax.tree.flatten(model)
    again = jax.tree.unflatten(structure, leaves)
    assert again == model
    assert type(again) is type(model)
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(model)]
    assert len(set(paths)) == len(paths) == len(leaves)
    if leaves:
        assert jax.tree.map(lambda a: np.asarray(a) + 1, model) != model


@pytest.mark.parametrize("name", tables.MODELS)
def test_vmapped_init_is_each_init(name: str) -> None:
    case = tables.MODELS[name]
    together = jax.jit(jax.vmap(lambda seed: case.net.init(jax.random.key(seed))))(np.arange(3))
    each = map(case.init, range(3))
    assert_close(together, jax.tree.map(lambda *leaves: np.stack(leaves), *each))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", tables.MODELS)
def test_gradients_of_models_are_those_of_finite_differences(name: str) -> None:
    case = tables.MODELS[name]
    model = jax.tree.map(lambda a: np.asarray(a, float) + 0.1, case.init())
    x, _ = case.rows(3)
    for key in (None,) if name in tables.HELD else (None, KEY()):
        total = lambda m, x, key=key: jnp.sum(jnp.sin(m(x, key=key)))  # noqa: E731
        if name in tables.HELD:  # its buffers are constants of the gradient
            layer = lambda layer, x, total=total: total(model.replace(layer=layer), x)  # noqa: E731
            assert_slopes(layer, model.layer, x)
        elif case.tokens:
            assert_slopes(lambda m, total=total: total(m, x), model)
        else:
            assert_slopes(total, model, x)


def assert_slopes(f: Callable[..., jax.Array], *at: Any) -> None:
    """Forward and reverse derivatives along a line are those of finite differences, in one program."""
    rng = np.random.default_rng(2)
    line = jax.tree.map(lambda a: rng.normal(size=a.shape), at)
    step = 1e-5

    def slopes(at: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        moved = jax.vmap(lambda s: f(*jax.tree.map(lambda a, b: a + s * b, at, line)))
        behind, ahead = moved(jnp.array([-step, step]))
        forward = jax.jvp(f, at, line)[1]
        gradient = jax.grad(f, tuple(range(len(at))))(*at)
        reverse = sum(map(jnp.vdot, jax.tree.leaves(gradient), jax.tree.leaves(line)))
        return (ahead - behind) / (2 * step), forward, reverse

    difference, forward, reverse = jax.jit(slopes)(at)
    np.testing.assert_allclose(forward, difference, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(reverse, forward, rtol=1e-9, atol=1e-12)


PAIRS = {**tables.LOSSES, **tables.METRICS}
# One of each kind of target: test_laws_scale.py and the oracles jit and vmap the others, too.
QUICK_PAIRS = {"cross-entropy", "focal", "multilabel-cross-entropy", "squared-error-3", "top-2"}


# These call a loss that is here, too.
SAME_FUNCTIONS = ["cross-entropy-probabilities", "kl-divergence", "multilabel-cross-entropy"]


@pytest.mark.parametrize("name", tables.marked(PAIRS, slow=PAIRS.keys() - QUICK_PAIRS))
def test_losses_and_metrics_jit_and_vmap(name: str) -> None:
    function = PAIRS[name].function
    predictions, targets = PAIRS[name].pairs(12)
    each = np.stack([function(p, t) for p, t in zip(predictions, targets, strict=True)])
    assert each.shape == (12,)
    assert len(np.unique(each)) > 1
    assert_close(jax.jit(jax.vmap(function))(predictions, targets), each)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", tables.marked(tables.LOSSES, slow=[*tables.VARIANTS, *SAME_FUNCTIONS]))
def test_derivatives_of_losses_are_those_of_finite_differences(name: str) -> None:
    """The first and the second along one line, in one program that takes a step to either side."""
    predictions, targets = tables.LOSSES[name].pairs(3, dtype=np.float64)
    line = np.random.default_rng(1).normal(size=predictions.shape)

    def total(p: jax.Array) -> jax.Array:
        return jnp.sum(jax.vmap(tables.LOSSES[name].function)(p, targets))

    def slope(p: jax.Array) -> jax.Array:
        return jnp.vdot(jax.grad(total)(p), line)

    def at(p: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return total(p), slope(p), jnp.vdot(jax.grad(slope)(p), line)

    step = 1e-5
    places = np.stack([predictions - step * line, predictions, predictions + step * line])
    values, slopes, bends = map(np.asarray, jax.jit(jax.vmap(at))(places))
    assert values.dtype == np.float64
    tolerance = {"rtol": 1e-6, "atol": 1e-7}
    np.testing.assert_allclose(slopes[1], (values[2] - values[0]) / (2 * step), **tolerance)
    np.testing.assert_allclose(bends[1], (slopes[2] - slopes[0]) / (2 * step), **tolerance)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", tables.LOSSES)
def test_derivatives_of_losses_forward_and_reverse(name: str) -> None:
    predictions, targets = map(jnp.asarray, tables.LOSSES[name].pairs(3, dtype=np.float64))
    total = lambda p: jnp.sum(jax.vmap(tables.LOSSES[name].function)(p, targets))  # noqa: E731
    check_grads(jax.jit(total), (predictions,), order=2, modes=["fwd", "rev"])


@jax.jit
def _member(tree: Any, i: int) -> Any:
    return jax.tree.map(lambda a: a[i], tree)


@pytest.mark.slow  # test_ensemble.py trains one with dropout, weights and stopping
@pytest.mark.parametrize("name", ["mlp", "mlp-dropout"])
def test_an_ensemble_is_its_members_each_trained_alone(name: str) -> None:
    train, data = tables.training(name), tables.dataset("weighted-rows", name)
    keys = jax.random.split(KEY(), 3)
    models = jax.jit(jax.vmap(tables.MODELS[name].net.init))(keys)
    runs = jax.vmap(train, in_axes=(0, None, 0))(models, data, keys)
    assert list(runs.outcome) == [fn.Outcome.FINISHED] * 3
    for i in range(3):
        alone = train(_member(models, i), data, keys[i])
        assert_close(_member(runs, i), alone, factor=5)


@pytest.mark.slow  # test_fold.py trains folds of unequal size, with validation
def test_folds_are_a_vmap_over_rows() -> None:
    case, train = tables.MODELS["mlp"], tables.training("mlp")
    arrays = case.rows(20)
    rows = jnp.stack([jnp.arange(start, start + 10) for start in (0, 5, 10)])
    model = case.init()
    view = lambda rows: train(model, fn.data.Dataset(arrays, rows=rows), KEY()).model  # noqa: E731
    folds = jax.vmap(view)(rows)
    for i in range(3):
        assert_close(_member(folds, i), view(rows[i]), factor=5)


@pytest.mark.parametrize("restore_best", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_each_member_of_an_ensemble_stops_by_itself(restore_best: bool) -> None:
    case = tables.MODELS["linear"]
    stopping = fn.EarlyStopping(patience=2, restore_best=restore_best)
    train = tables.training("linear", "momentum", epochs=12, stopping=stopping, shuffle=False)
    data, valid = case.rows(20, seed=1), case.rows(9, seed=2)
    keys = jax.random.split(jax.random.key(7), 4)
    # One learns fast and overfits, another hardly moves: they stop at different epochs.
    scales = np.array([0.1, 1.0, 5.0, 20.0], np.float32)
    scaled = lambda key, s: jax.tree.map(lambda a: s * a, case.net.init(key))  # noqa: E731
    models = jax.jit(jax.vmap(scaled))(keys, scales)
    runs = jax.vmap(train, in_axes=(0, None, 0, None))(models, data, keys, valid)
    assert len(set(np.asarray(runs.state.epoch).tolist())) > 1
    assert fn.Outcome.PATIENCE_EXHAUSTED in list(runs.outcome)
    for i in range(4):
        alone = train(_member(models, i), data, keys[i], valid)
        assert runs.outcome[i] == alone.outcome
        assert int(runs.best_epoch[i]) == int(alone.best_epoch)
        assert_close(_member(runs, i), alone, factor=20)


SMOOTH = fn.MLP((3, 4, "scalar"), activation=jnp.tanh)
NOISY = fn.MLP((3, 4, "scalar"), activation=jnp.tanh, dropout=0.25)
OPTIMIZERS: dict[str, Callable[[Any, Any], optax.GradientTransformation]] = {
    "sgd": lambda rate, decay: optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate)),
    "momentum": lambda rate, decay: optax.chain(
        optax.add_decayed_weights(decay), optax.sgd(rate, momentum=0.9)
    ),
    "adamw": lambda rate, decay: optax.adamw(rate, weight_decay=decay),
}


def _outcome_of(optimizer: str, net: Any = SMOOTH, **settings: Any) -> Callable[[jax.Array], jax.Array]:
    """The final validation loss as a function of (learning rate, weight decay, a shift of the start)."""
    x, y = map(np.asarray, tables.MODELS["linear-regression"].rows(20))
    loss = fn.losses.supervised(fn.losses.squared_error)
    start = jax.tree.map(lambda a: np.asarray(a) + 0.05, jax.jit(net.init)(jax.random.key(2)))
    leaves, structure = jax.tree.flatten(start)
    shift = [np.cos(np.arange(a.size, dtype=float)).reshape(a.shape) for a in leaves]
    direction = jax.tree.unflatten(structure, shift)

    def outcome(theta: jax.Array) -> jax.Array:
        rate, decay, t = theta
        model = jax.tree.map(lambda a, d: a + t * d, start, direction)
        settled = {"epochs": 3, "batch_size": 4, "shuffle": False, **settings}
        train = fn.fit(loss, OPTIMIZERS[optimizer](rate, decay), **settled)
        run = train(model, (x[:14], y[:14]), KEY(), (x[14:], y[14:]))
        return run.history["val_loss"][-1] + jnp.sum(run.model.layers[0].weight ** 3)

    return outcome


THETA = (0.05, 0.02, 0.0)


def _finite_differences(f: Callable[[jax.Array], jax.Array], at: np.ndarray, h: float = 1e-5) -> np.ndarray:
    ends = np.concatenate([np.eye(at.size), -np.eye(at.size)]) * h
    values = np.asarray(jax.jit(jax.vmap(f))(ends + at))
    return (values[: at.size] - values[at.size :]) / (2 * h)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("optimizer", "net", "settings"),
    [
        ("sgd", SMOOTH, {}),
        pytest.param("adamw", SMOOTH, {}, marks=pytest.mark.slow),
        pytest.param(
            "momentum", NOISY, {"accumulate": 2, "ema": 0.8, "eval_every": 2}, marks=pytest.mark.slow
        ),
    ],
    ids=["sgd", "adamw", "dropout-accumulate-ema-eval"],
)
def test_derivatives_through_training_are_those_of_finite_differences(
    optimizer: str, net: Any, settings: dict[str, Any]
) -> None:
    outcome, theta = _outcome_of(optimizer, net, **settings), np.array(THETA)
    expected = _finite_differences(outcome, theta)
    assert np.abs(expected).min() > 1e-3
    along = np.array([1.0, -2.0, 0.5])
    _, forward = jax.jit(lambda at: jax.jvp(outcome, (at,), (along,)))(theta)
    recomputed = _outcome_of(optimizer, net, **settings, remat=True)
    reverse = [jax.jit(jax.grad(f))(theta) for f in (outcome, recomputed)]
    np.testing.assert_allclose(reverse[0], expected, rtol=1e-5)
    np.testing.assert_allclose(forward, reverse[0] @ along, rtol=1e-9)
    np.testing.assert_allclose(reverse[1], reverse[0], rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_with_stopping_forward_works_and_reverse_is_refused_by_our_sentence() -> None:
    outcome = _outcome_of("sgd", stopping=fn.EarlyStopping(patience=2, restore_best=True))
    theta = np.array(THETA)
    forward = jax.jit(jax.jacfwd(outcome))(theta)
    np.testing.assert_allclose(forward, _finite_differences(outcome, theta), rtol=1e-5)
    with pytest.raises(TypeError, match="early stopping"):
        jax.eval_shape(jax.grad(outcome), theta)


@pytest.mark.slow  # test_scheduled.py takes steps without jit
def test_step_needs_no_jit() -> None:
    case = tables.MODELS["linear"]
    batch = next(fn.data.batches(case.rows(8), 8))
    step = fn.step(case.loss(), optax.sgd(0.1))
    state = fn.TrainState.create(case.init(), optax.sgd(0.1), KEY())
    assert_close(jax.jit(step)(state, batch), step(state, batch), factor=5)
