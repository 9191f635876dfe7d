"""The dtypes of parameters, computation and predictions; parameters are only cast explicitly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from keys import lazy_key
from tables import MODELS, TRAINED, assert_close, marked

import funcnet as fn

KEY = lazy_key(0)
HALF = fn.Precision(compute="bfloat16")
PLAIN = fn.Precision()


def dtypes_of_products(f, *args):
    text = str(jax.make_jaxpr(f)(*args))
    return {
        line.split(":")[1][:4].split("[")[0]
        for line in text.splitlines()
        if "= dot_general" in line or "= product" in line
    }


@pytest.mark.parametrize("name", marked(TRAINED, slow={"gru"}))
def test_float32_everywhere_changes_nothing(name):
    row = MODELS[name]
    model, data = row.init(), row.rows(11)
    assert_close(fn.evaluate(PLAIN(row.loss()), model, data), fn.evaluate(row.loss(), model, data))


@pytest.mark.parametrize("name", TRAINED)
def test_half_precision_keeps_float32_parameters_gradients_and_history(name):
    row = MODELS[name]
    train = fn.fit(HALF(row.loss()), optax.adam(1e-2), epochs=2, batch_size=4)
    run = jax.eval_shape(train, row.init(), row.rows(11), KEY())
    assert {leaf.dtype.name for leaf in jax.tree.leaves(run.model)} <= {"float32"}
    assert {array.dtype.name for array in run.history.values()} == {"float32"}


def test_products_are_computed_in_the_dtype_that_was_asked_for():
    model, x = fn.MLP((3, 5, 2)).init(KEY()), jnp.ones((4, 3))
    assert dtypes_of_products(HALF.model(model), x) == {"bf16"}
    assert dtypes_of_products(model, x) == {"f32"}
    assert HALF.model(model)(x).dtype == jnp.float32
    assert fn.Precision(compute="bfloat16", output="bfloat16").model(model)(x).dtype == jnp.bfloat16


def test_half_precision_learns_what_float32_learns():
    row = MODELS["mlp"]
    data = row.rows(64)
    runs = [
        fn.fit(loss, optax.adam(1e-2), epochs=20, batch_size=16, shuffle=False)(row.init(), data, KEY())
        for loss in (row.loss(), HALF(row.loss()))
    ]
    plain, half = (float(run.history["loss"][-1]) for run in runs)
    assert half == pytest.approx(plain, abs=0.05)
    assert not jnp.array_equal(runs[0].model.layers[0].weight, runs[1].model.layers[0].weight)


def test_parameters_are_only_cast_explicitly():
    half = fn.Precision(param="bfloat16", compute="bfloat16")
    model = fn.MLP((3, 5, "scalar")).init(KEY())
    data = (jnp.ones((4, 3)), jnp.ones(4))
    loss = half(fn.losses.supervised(fn.losses.squared_error))
    with pytest.raises(
        TypeError, match=r"layers\[0\].weight must be bfloat16 .*got float32.*cast_parameters\(model\)"
    ):
        fn.evaluate(loss, model, data)
    model = half.cast_parameters({"net": model, "steps": fn.Buffer(jnp.zeros(2))})
    assert model["net"].layers[0].weight.dtype == jnp.bfloat16
    assert model["steps"].value.dtype == jnp.float32
    assert fn.evaluate(loss, model["net"], data)["loss"].dtype == jnp.float32


def test_parameters_of_a_dict_are_cast_to_the_compute_dtype():
    def loss(params, example, key):
        assert params["w"].dtype == jnp.bfloat16
        return jnp.sum(params["w"]).astype(jnp.float32) * example

    assert float(fn.evaluate(HALF(loss), {"w": jnp.ones(3)}, jnp.ones(2))["loss"]) == 3.0


def test_wrong_dtypes_raise():
    with pytest.raises(TypeError, match=r"compute must be a floating dtype.*int32"):
        fn.Precision(compute="int32")
    with pytest.raises(ValueError, match="jax_enable_x64"):
        fn.Precision(param="float64")
    with pytest.raises(TypeError, match="loss must be a function"):
        HALF("mse")


def test_float64_is_honoured():
    with jax.enable_x64(True):
        double = fn.Precision("float64", "float64", "float64")
        model = double.cast_parameters(fn.MLP((3, 5, "scalar")).init(KEY()))
        assert dtypes_of_products(double.model(model), jnp.ones((4, 3))) == {"f64"}


@pytest.mark.parametrize("dtype", ["float16", "float8_e4m3fn"])
@pytest.mark.parametrize("name", ["param", "compute", "output"])
def test_a_dtype_in_which_gradients_underflow_raises(name, dtype):
    # The mean over 1,024 rows of an error of 1e-5 had the gradient 0 in float16.
    with pytest.raises(ValueError, match=f"{name} must have at least the range of bfloat16, got {dtype}"):
        fn.Precision(**{name: dtype})


def test_small_gradients_of_large_batches_are_those_of_float32():
    model = {"w": jnp.zeros(())}

    def loss(params, error, key):
        return (params["w"].astype(jnp.float32) - error) ** 2

    for rows, error in ((1024, 1e-5), (65_536, 1e-3)):
        data = jnp.full(rows, error)
        train = fn.fit(HALF(loss), optax.sgd(1.0), epochs=1, batch_size=rows)
        step = float(train(model, data, KEY()).model["w"])
        assert step == pytest.approx(2 * error, rel=1e-2)


def test_what_is_no_dtype_or_no_model_raises():
    for wrong in ("", "fast", None, object()):
        with pytest.raises(TypeError, match="compute must be a floating dtype such as"):
            fn.Precision(compute=wrong)
    for model in (1 + 2j, {"a": 1.0}, "", [[1.0, 2.0], [3.0]], {"a": np.array(["a"])}, jnp.float32):
        with pytest.raises(TypeError, match="of the model must be"):
            HALF.model(model)
    ready = HALF.model(fn.Linear(3, 1).init(KEY()))
    assert ready([1.0, 2.0, 3.0]) == ready(np.array([1.0, 2.0, 3.0], ">f8"))
    with pytest.raises(TypeError, match="x must be an array of numbers, got text"):
        ready(np.array(["a", "b", "c"]))
    with pytest.raises(TypeError, match="must be an array, got bytes"):
        HALF.cast_parameters(b"bytes")
