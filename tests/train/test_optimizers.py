"""Every transformation of optax trains as its documentation says, or is refused by one sentence."""

import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
from optax import contrib
from optimizers import COMBINED, CONTRIB, NOT_TRANSFORMATIONS, OPTAX, Transformation, _labels

import funcnet as fn
from funcnet.train._optimizer import init_optimizer

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
X = np.random.default_rng(1).normal(size=(24, 3)).astype(np.float32)
DATA = X, np.tanh(X @ np.random.default_rng(2).normal(size=(3, 2)).astype(np.float32))
EVERY = {**OPTAX, **{f"contrib.{name}": case for name, case in CONTRIB.items()}, **COMBINED}
TRAINED = [name for name, case in EVERY.items() if not case.refused]
# Lookahead and private gradients have quick tests of their own, below.
QUICK = {"MultiSteps", "contrib.sophia", "sam-in-a-chain"}


def the_key(seed: int = 3) -> jax.Array:
    return jax.random.key(seed)


NET = fn.Sequential(fn.Linear(3, 2), jnp.tanh)  # a matrix and a vector, and a loss that is not quadratic


@functools.cache
def initial(net: fn.Module = NET) -> Any:
    return jax.jit(net.init)(the_key(0))


@pytest.fixture(autouse=True)
def _promotions_of_optax() -> Iterator[None]:
    """The arithmetic of some transformations mixes dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def loss(model: Any, example: Any, key: Any) -> jax.Array:
    del key
    x, y = example
    return jnp.sum((model(x) - y) ** 2)


def _transformations(module: Any) -> set[str]:
    """Public functions of a module that return a transformation, or do not say what they return."""
    kinds = types.FunctionType | functools.partial
    functions = {name: f for name, f in vars(module).items() if isinstance(f, kinds) and name[0] != "_"}
    returns = {name: inspect.signature(f).return_annotation for name, f in functions.items()}
    return {
        n for n, r in returns.items() if r is inspect.Parameter.empty or "GradientTransformation" in str(r)
    }


def test_the_table_holds_every_transformation_of_optax() -> None:
    assert _transformations(optax) - NOT_TRANSFORMATIONS == set(OPTAX) - {"MultiSteps"}
    assert _transformations(contrib) - NOT_TRANSFORMATIONS == set(CONTRIB)


def test_every_transformation_is_accepted_or_refused_by_a_sentence() -> None:
    for case in EVERY.values():
        if not case.refused:
            jax.eval_shape(lambda model, case=case: init_optimizer(case.make(), model), _model(case))
            continue
        train = fn.fit(loss, case.make(), epochs=1)
        with pytest.raises((TypeError, ValueError), match=f"^optimizer must .*{case.refused}"):
            train(initial(), DATA, the_key())


def _model(case: Transformation) -> Any:
    return initial(fn.Linear(3, 2, use_bias=False)) if case.matrices_only else initial()


def _train(case: Transformation, **settings: Any) -> fn.Run:
    return fn.fit(loss, case.make(), **{"epochs": 2, "batch_size": 8, "shuffle": False, **settings})(
        _model(case), DATA, the_key()
    )


def _by_hand(case: Transformation) -> tuple[Any, Any]:
    """Parameters and state after two epochs of the loop in optax's documentation."""
    optimizer: Any = case.make()
    parameters: Any = _model(case)
    if pairs := isinstance(optimizer.init(parameters), optax.LookaheadState):
        parameters = optax.LookaheadParams.init_synced(parameters)
    state = optimizer.init(parameters)

    @jax.jit
    def step(parameters: Any, state: Any, batch: Any) -> Any:
        fast = parameters.fast if pairs else parameters

        def value_fn(p: Any) -> jax.Array:
            return jnp.mean(jax.vmap(lambda example: loss(p, example, None))(batch))

        value, grad = jax.value_and_grad(value_fn)(fast)
        given = {"value": value, "grad": grad, "value_fn": value_fn, "obj_fn": value_fn}
        given["grad_fn"] = lambda p, _: jax.grad(value_fn)(p)
        if "examples" in case.needs:
            grad = jax.vmap(jax.grad(loss), (None, 0, None))(fast, batch, None)
        extra = {name: given[name] for name in case.needs if name in given}
        updates, state = optimizer.update(grad, state, parameters, **extra)
        return optax.apply_updates(parameters, updates), state

    for epoch in range(2):
        for batch in fn.data.batches(DATA, 8, None, epoch):
            parameters, state = step(parameters, state, batch.example)
    return parameters, state


@pytest.mark.parametrize("name", tables.marked(TRAINED, slow=set(TRAINED) - QUICK))
def test_it_trains_as_a_loop_by_hand_does(name: str) -> None:
    case = EVERY[name]
    run, (parameters, _) = _train(case), _by_hand(case)
    expected = parameters.fast if isinstance(parameters, optax.LookaheadParams) else parameters
    for actual, leaf in zip(jax.tree.leaves(run.state.model), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(actual, leaf, rtol=1e-5, atol=1e-6)


def _leaves(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_the_slow_weights_of_lookahead_are_evaluated() -> None:
    case = Transformation(lambda: optax.lookahead(optax.sgd(0.05), 4, 0.5))
    run, (parameters, _) = _train(case), _by_hand(case)
    np.testing.assert_allclose(_leaves(run.model), _leaves(parameters.slow), atol=1e-6)
    assert abs(_leaves(run.model) - _leaves(run.state.model)).max() > 1e-3
    assert fn.evaluate(loss, run.model, DATA)["loss"] != fn.evaluate(loss, run.state.model, DATA)["loss"]


@pytest.mark.slow
def test_the_average_of_schedule_free_is_evaluated() -> None:
    case = Transformation(lambda: contrib.schedule_free(optax.sgd(0.05), 0.05))
    run, (parameters, state) = _train(case), _by_hand(case)
    expected = contrib.schedule_free_eval_params(state, parameters)
    np.testing.assert_allclose(_leaves(run.model), _leaves(expected), atol=1e-6)
    halves = {"matrix": case.make(), "vector": optax.sgd(0.05)}
    part = _train(Transformation(lambda: optax.multi_transform(halves, _labels)))
    same = jax.tree.map(lambda a, b: bool((a == b).all()), part.model, part.state.model)
    assert (same.layers[0].bias, same.layers[0].weight) == (True, False)


@pytest.mark.slow
def test_sam_is_evaluated_at_the_weights_before_its_adversarial_step() -> None:
    def sam(opaque: bool) -> Any:
        ascent = optax.chain(contrib.normalize(), optax.sgd(0.05))
        return contrib.sam(optax.sgd(0.05), ascent, opaque_mode=opaque)

    # One batch, so that two steps are one opaque step, and three leave the weights at the adversary.
    settings = {"batch_size": 24, "shuffle": False}
    two, three = (
        fn.fit(loss, sam(False), epochs=n, **settings)(initial(), DATA, the_key())  # type: ignore[arg-type]
        for n in (2, 3)
    )
    opaque = fn.fit(loss, sam(True), epochs=1, **settings)(initial(), DATA, the_key())  # type: ignore[arg-type]
    np.testing.assert_allclose(_leaves(two.model), _leaves(opaque.model), atol=1e-6)
    np.testing.assert_allclose(_leaves(three.model), _leaves(two.model), atol=1e-6)
    assert abs(_leaves(three.state.model) - _leaves(two.model)).max() > 1e-3


def test_per_example_gradients_need_a_loss_of_one_example() -> None:
    private = contrib.differentially_private_aggregate(1.0, 0.1, the_key(0))
    with pytest.raises(ValueError, match=r"aggregates per-example gradients.*accumulate=1"):
        fn.fit(loss, private, epochs=1, accumulate=2)(initial(), DATA, the_key())
    norm = initial(fn.Sequential(fn.Linear(3, 2), fn.layers.BatchNorm(2)))
    supervised = fn.losses.supervised(fn.losses.squared_error)
    with pytest.raises(ValueError, match=r"per-example gradients.*BatchNorm.*LayerNorm"):
        fn.fit(supervised, private, epochs=1)(norm, DATA, the_key())


def test_rows_of_weight_zero_have_no_gradient_of_their_own() -> None:
    private = optax.chain(
        contrib.differentially_private_aggregate(1e3, 0.0, jax.random.key(0)), optax.sgd(0.1)
    )
    weight = np.float32(np.arange(24) % 2 == 0)
    run = fn.fit(loss, private, epochs=1, batch_size=24, shuffle=False)(
        initial(), fn.data.Dataset(DATA, weight=weight), the_key()
    )
    half = jax.tree.map(lambda a: a[::2], DATA)
    plain = fn.fit(loss, optax.sgd(0.05), epochs=1, batch_size=12, shuffle=False)(
        initial(), half, the_key()
    )
    np.testing.assert_allclose(_leaves(run.model), _leaves(plain.model), atol=1e-6)
