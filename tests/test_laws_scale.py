"""Law: over all of float32 a loss is its float64 value; it is infinite only where that overflows.

And numbers keep the digits they came with: scores, logits, targets and weights are ranked, compared,
centred and added up before they are rounded.
"""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
from sklearn import metrics as sk

import funcnet as fn

M, L = fn.metrics, fn.losses
LARGEST = float(np.finfo(np.float32).max)
NAMES = [name for name in tables.LOSSES if name not in tables.VARIANTS]
ROWS = 400


def _wide(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers of float32 of any size (XLA takes subnormal ones as 0), ordinary ones, and 0."""
    values = rng.choice([-1, 1], shape) * np.minimum(10 ** rng.uniform(-37, 38.6, shape), LARGEST)
    values = np.where(rng.uniform(size=shape) < 0.3, 3 * rng.normal(size=shape), values)
    return np.where(rng.uniform(size=shape) < 0.05, 0, values).astype(np.float32)


def _settings(case: tables.PerExample) -> dict[str, Any]:
    return getattr(case.function, "keywords", {})


def _oracle(case: tables.PerExample, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    oracle = functools.partial(tables.LOSS_ORACLES[tables.name_of(case.function)], **_settings(case))
    return np.array([oracle(p, t) for p, t in zip(prediction, target, strict=True)])


@functools.cache
def _value_and_gradient(name: str) -> Any:
    function = tables.LOSSES[name].function
    return jax.jit(jax.vmap(jax.value_and_grad(function)))


def _assert_right(actual: Any, expected: np.ndarray) -> None:
    """Equal up to rounding; a sum of a few terms may overflow where their mean does not."""
    value = np.asarray(actual, np.float64)
    with np.errstate(all="ignore"):
        near = np.abs(value - expected) <= 1e-5 * np.abs(expected) + 1e-6
        overflows = (np.abs(expected) > LARGEST / 8) & (value == np.copysign(np.inf, expected))
    right = near | overflows | (value == expected)
    assert right.all(), (value[~right][:3], expected[~right][:3])


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_right_over_all_of_float32_and_no_gradient_is_nan(name: str) -> None:
    case, rng = tables.LOSSES[name], np.random.default_rng(3)
    prediction, target = case.pairs(ROWS)
    prediction = _wide(rng, prediction.shape)
    if target.dtype.kind == "f" and not name.endswith(("probabilities", "divergence")):
        target = _wide(rng, target.shape)
    elif name == "poisson":
        target = np.abs(_wide(rng, target.shape))
    value, gradient = _value_and_gradient(name)(prediction, target)
    _assert_right(value, _oracle(case, prediction, target))
    assert not np.isnan(gradient).any()


OF_LOGITS = [
    name
    for name in NAMES
    if tables.name_of(tables.LOSSES[name].function) not in ("gaussian_nll", "quantile")
]


@pytest.mark.parametrize("name", [*OF_LOGITS, "binary-cross-entropy-smoothed", "cross-entropy-smoothed"])
def test_infinite_logits_have_their_limit_and_no_gradient_of_nan(name: str) -> None:
    case, rng = tables.LOSSES[name], np.random.default_rng(4)
    prediction, target = case.pairs(ROWS)
    infinite = rng.choice([-np.inf, np.inf], prediction.shape)
    prediction = np.where(rng.uniform(size=prediction.shape) < 0.4, infinite, prediction).astype(np.float32)
    if target.ndim == 2 and name.endswith(("probabilities", "divergence")):
        target[::2] = np.eye(target.shape[1])[rng.integers(target.shape[1], size=ROWS // 2)]
    expected = _oracle(case, prediction, target)
    value, gradient = _value_and_gradient(name)(prediction, target)
    defined = ~np.isnan(expected)
    _assert_right(value[defined], expected[defined])
    assert np.isnan(value[~defined]).all()
    assert not np.isnan(gradient[defined]).any()


CERTAIN = {
    "impossible, and did not occur": (-np.inf, 0, 0.0),
    "certain, and occurred": (np.inf, 1, 0.0),
    "certain, and did not occur": (np.inf, 0, np.inf),
    "impossible, and occurred": (-np.inf, 1, np.inf),
}


@pytest.mark.parametrize(
    "loss", [L.binary_cross_entropy, L.focal, functools.partial(L.focal, gamma=0.0, alpha=0.5), L.hinge]
)
def test_a_certain_prediction_costs_nothing_if_it_is_right(loss: Any) -> None:
    both = jax.jit(jax.value_and_grad(loss))
    for case, (logit, target, expected) in CERTAIN.items():
        value, slope = both(np.float32(logit), target)
        assert float(value) == expected, case
        assert np.isfinite(slope), case
        assert expected or float(slope) == 0, case


def test_a_masked_label_leaves_the_other_gradients_alone() -> None:
    logits, target = np.array([2.0, -np.inf, -1.0], np.float32), np.array([1, 0, 0])
    both = jax.jit(jax.value_and_grad(L.multilabel_cross_entropy))
    value, slope = both(logits, target)
    rest = both(logits[::2], target[::2])
    np.testing.assert_allclose(value * 3, rest[0] * 2, rtol=1e-6)
    np.testing.assert_allclose(slope[::2] * 3, rest[1] * 2, rtol=1e-6)
    assert float(slope[1]) == 0
    never = np.float32(-np.inf)
    assert float(jax.jit(L.binary_cross_entropy)(never, np.float32(0.25))) == np.inf
    smoothed = functools.partial(L.binary_cross_entropy, smoothing=0.1)
    assert float(jax.jit(smoothed)(never, np.float32(0))) == np.inf


def test_metrics_of_infinite_logits() -> None:
    z = np.array([[np.inf, 0.0, -np.inf], [-np.inf, 1.0, 0.0]], np.float32)
    t = np.array([0, 1])
    cross_entropy = jax.jit(L.cross_entropy)
    assert float(M.measure(M.accuracy, z, t)) == 1
    assert float(M.measure(M.top_k(1), z, t)) == 1
    assert float(M.measure(M.brier, z[:1], t[:1])) == 0
    assert float(M.measure(M.brier, np.array([np.inf, -np.inf], np.float32), t[[1, 1]])) == 0.5
    assert float(M.measure(M.expected_calibration_error(), z[:1], t[:1])) == 0
    assert float(M.measure(M.expected_calibration_error(), np.array([-np.inf], np.float32), t[1:])) == 1
    assert float(cross_entropy(z[0], 0)) == 0
    assert float(cross_entropy(z[0], 1)) == np.inf
    assert np.isnan(cross_entropy(np.array([np.inf, np.inf, 0], np.float32), 0))


def test_gaussian_nll_of_tiny_and_huge_variances() -> None:
    # exp(400) is no float32, yet an error of 1e-30 at this variance has an infinite loss, not a small one.
    nll = lambda p, t: float(jax.jit(L.gaussian_nll)(np.float32(p), np.float32(t)))  # noqa: E731
    assert nll([0.0, -400.0], 1e-30) == np.inf
    assert nll([0.0, -400.0], 0) == pytest.approx(-199.081, rel=1e-5)
    assert nll([3e38, 3e38], -3e38) == pytest.approx(1.5e38)
    assert nll([np.inf, 300.0], 0) == np.inf


# Weights.


WEIGHTS = [jnp.float16, jnp.bfloat16, np.int8, np.int64, bool, np.float64]


@pytest.mark.parametrize("dtype", tables.marked(WEIGHTS, slow=[jnp.bfloat16, np.int64]))
def test_weights_are_added_in_enough_bits(dtype: Any) -> None:
    rows, ones = np.ones(70_000, np.float32), np.ones(70_000, np.int32)
    weight = np.ones(70_000, dtype)
    assert float(M.measure(M.accuracy, rows, ones, weight)) == 1.0
    assert float(jax.jit(functools.partial(M.measure, M.accuracy))(rows, ones, weight)) == 1.0


def test_integer_weights_do_not_wrap() -> None:
    hits = jnp.array([1.0, 1.0, -1.0, -1.0])
    for large in (2**30, 2**40):
        assert float(M.measure(M.accuracy, hits, jnp.ones(4, int), np.full(4, large))) == 0.5
    traced = jax.jit(lambda w: M.measure(M.accuracy, hits, jnp.ones(4, int), w))
    assert float(traced(jnp.full(4, 2**30))) == 0.5


SCALES = [1e-38, 1e6, 1e37, 1e300]


@pytest.mark.parametrize("scale", tables.marked(SCALES, slow={1e6}))
@pytest.mark.parametrize(
    ("metric", "draw"),
    [
        (M.r2(), tables._reals()),
        (M.rmse(), tables._reals(3)),
        (M.accuracy, tables._classes(4)),
        (M.f1(average="macro"), tables._classes(4)),
        (M.expected_calibration_error(bins=5), tables._classes(4)),
        (M.roc_auc, tables._bits()),
        (M.average_precision, tables._bits()),
    ],
    ids=["r2", "rmse", "accuracy", "f1", "calibration", "auc", "average-precision"],
)
def test_the_unit_of_the_weights_changes_no_metric(metric: Any, draw: Any, scale: float) -> None:
    rng = np.random.default_rng(1)
    prediction, target = draw(rng, 40)
    weight = rng.uniform(0.5, 3, 40)
    weight[[3, 5]] = 0
    measure = metric if getattr(metric, "of_all_rows", False) else functools.partial(M.measure, metric)
    dtype = np.float32 if 1e-40 < scale < 1e39 else np.float64
    weights = (weight * scale).astype(dtype)
    expected = measure(prediction, target, weight)
    np.testing.assert_allclose(measure(prediction, target, weights), expected, rtol=2e-6)


def test_a_matrix_of_weights_that_float32_does_not_hold_is_refused() -> None:
    for weight in ([1e300, 1.0], [1e-60, 1.0], [3e38, 3e38]):
        with pytest.raises(ValueError, match=r"weight must be .*weight / weight.max\(\)"):
            M.measure(M.confusion_matrix(2), np.array([0, 1]), np.array([0, 1]), weight)
    matrix = M.measure(M.confusion_matrix(2), np.array([0, 1]), np.array([0, 1]), [1e30, 2.0])
    np.testing.assert_allclose(matrix, [[1e30, 0], [0, 2]])


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_r2_and_rmse_of_targets_whose_squares_are_no_float32(scale: float) -> None:
    rng = np.random.default_rng(0)
    t = rng.normal(size=50).astype(np.float32)
    p = t + rng.normal(size=50).astype(np.float32)
    p, t = (p * np.float32(scale)), (t * np.float32(scale))
    wide = p.astype(float), t.astype(float)
    assert float(M.measure(M.r2(), p, t)) == pytest.approx(sk.r2_score(wide[1], wide[0]), rel=1e-5)
    root = np.sqrt(sk.mean_squared_error(wide[1], wide[0]))
    assert float(M.measure(M.rmse(), p, t)) == pytest.approx(root, rel=1e-5)
    loss = L.supervised(L.absolute_error, r2=M.r2())
    assert np.isnan(
        fn.evaluate(loss, lambda x: x, (p, t))["r2"]
    )  # in batches of float32, not a wrong number


# Digits.


def test_rankings_of_scores_that_float32_merges() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 200)
    offsets = rng.normal(size=200) + target
    wide = {
        "float64": 1 + 1e-12 * offsets,
        "int64": 2**40 + (10 * offsets).astype(np.int64),
        "uint64": (2**63 + (10 * offsets).astype(np.int64).astype(np.uint64) % 99).astype(np.uint64),
        "int32": (2**30 + (10 * offsets).astype(np.int64)).astype(np.int32),
        "bool": offsets > 0,
    }
    for name, scores in wide.items():
        ranks = np.unique(scores, return_inverse=True)[1]
        assert float(M.roc_auc(scores, target)) == pytest.approx(
            sk.roc_auc_score(target, ranks), rel=1e-6
        ), name
        expected = sk.average_precision_score(target, ranks)
        assert float(M.average_precision(scores, target)) == pytest.approx(expected, rel=1e-6), name
        if name == "int32":
            traced = jax.jit(lambda s: M.average_precision(s, target, np.ones(200)))
            assert float(traced(scores)) == pytest.approx(expected, rel=1e-5)
    assert float(M.roc_auc(list(wide["float64"]), list(target))) == float(
        M.roc_auc(wide["float64"], target)
    )


def test_classes_of_logits_that_float32_merges() -> None:
    rng = np.random.default_rng(2)
    logits = 1 + 1e-12 * rng.normal(size=(60, 4))
    target = logits.argmax(1)
    target[::3] = rng.integers(4, size=20)
    expected = sk.accuracy_score(target, logits.argmax(1))
    assert float(M.measure(M.accuracy, logits, target)) == pytest.approx(expected)
    assert float(
        jnp.mean(jnp.stack([M.accuracy(z, t) for z, t in zip(logits[:6], target[:6], strict=True)]))
    ) == (pytest.approx(sk.accuracy_score(target[:6], logits[:6].argmax(1))))
    assert float(M.measure(M.top_k(1), logits, target)) == pytest.approx(expected)
    assert float(M.measure(L.zero_one, logits, target)) == pytest.approx(1 - expected)
    np.testing.assert_array_equal(
        M.measure(M.confusion_matrix(4), logits, target), sk.confusion_matrix(target, logits.argmax(1))
    )
    np.testing.assert_allclose(
        M.measure(M.f1(average="macro"), logits, target),
        sk.f1_score(target, logits.argmax(1), average="macro"),
        rtol=1e-6,
    )


def test_errors_of_large_numbers_are_those_of_float64() -> None:
    rng = np.random.default_rng(5)
    t = 1.7e9 + rng.normal(size=40)
    p = t + 0.3 * rng.normal(size=40)
    weight = rng.uniform(size=40)
    for metric, score in (
        (M.r2(), sk.r2_score),
        (M.rmse(), lambda *a, **k: np.sqrt(sk.mean_squared_error(*a, **k))),
        (M.absolute_error, sk.mean_absolute_error),
        (L.squared_error, sk.mean_squared_error),
        (functools.partial(L.quantile, q=0.8), functools.partial(sk.mean_pinball_loss, alpha=0.8)),
    ):
        expected = score(t, p, sample_weight=weight)
        assert float(M.measure(metric, p, t, weight)) == pytest.approx(expected, rel=1e-6)
    for name, oracle in tables.LOSS_ORACLES.items():
        if name in ("absolute_error", "huber", "log_cosh", "squared_error"):
            assert float(getattr(L, name)(p, t)) == pytest.approx(oracle(p, t), rel=1e-6)
            found = getattr(L, name)(np.array([2**40 + 3, 2**24 + 1]), np.array([2**40, 2**24]))
            assert float(found) == pytest.approx(oracle([3, 1], [0, 0]), rel=1e-6)


def test_a_setting_that_float32_rounds_to_its_limit_is_refused() -> None:
    p, t = jnp.ones(()), jnp.zeros(())
    for call in (
        lambda: L.quantile(p, t, q=1 - 1e-12),
        lambda: L.huber(p, t, delta=1e-50),
        lambda: L.huber(p, t, delta=1e39),
        lambda: L.binary_cross_entropy(p, t, smoothing=1 - 1e-12),
    ):
        with pytest.raises(ValueError, match="which float32 rounds to"):
            call()
    assert float(L.quantile(np.float64(2), np.float64(0), q=1 - 1e-6)) == pytest.approx(2e-6)


def test_class_numbers_are_compared_without_wrapping_or_truncating() -> None:
    assert float(M.accuracy(jnp.int32(-1), jnp.uint32(2**32 - 1))) == 0
    assert float(M.accuracy(jnp.int32(1), jnp.float32(1.7))) == 0
    assert float(M.accuracy(jnp.int32(1), jnp.float32(1))) == 1
    assert np.isnan(M.measure(M.f1(classes=3, average="macro"), np.array([0, 1]), np.array([0.0, 1.7])))


def test_values_are_float32_and_gradients_keep_the_dtype() -> None:
    wide = np.random.default_rng(0).normal(size=3)
    assert L.squared_error(wide, wide + 1).dtype == jnp.float32
    assert M.measure(M.rmse(), wide, wide).dtype == jnp.float32
    assert M.roc_auc(wide, np.array([0, 1, 1])).dtype == jnp.float32
    slope = jax.jit(jax.grad(lambda p: L.squared_error(p, wide)))(np.ones(3, np.float32))
    assert slope.dtype == jnp.float32
    with jax.enable_x64(True):
        assert L.squared_error(wide, wide + 1).dtype == jnp.float64
        assert M.measure(M.r2(), wide, wide).dtype == jnp.float64


def test_sums_of_all_pairs_of_containers() -> None:
    containers = [list, np.asarray, jnp.asarray, tuple]
    scores, target = [0.25, -1.0, 2.0], [1, 0, 0]
    for a, b in itertools.product(containers, repeat=2):
        assert float(M.measure(M.accuracy, a(scores), b(target))) == pytest.approx(2 / 3)
