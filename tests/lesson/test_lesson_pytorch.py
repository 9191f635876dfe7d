"""The lesson's tensors, gradients and small nets (rows P1 to P24), with plain JAX and funcnet."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from keys import cached_key
from recipes import (
    BINARY,
    CLASSES,
    SQUARED,
    assert_in_band,
    d1,
    d2,
    evaluate_all,
    keys,
    last_batch_losses,
    unit_normal,
)
from tables import marked

import funcnet as fn

A, B = np.float32([[1, 2], [3, 4]]), np.float32([[2, 1], [0.5, 3]])
P6 = A / (4 * np.sqrt(A**2 + B**2))


def mean_of_roots(a, b):
    return jnp.mean(jnp.sqrt(a**2 + b**2))


def test_p1_versions_can_be_printed():
    assert all(part.isdigit() for part in jax.__version__.split(".")[:2])


def test_p2_tensors_from_lists_and_from_a_normal_distribution():
    integers, normal = jnp.array([[1, 2], [3, 4]]), jax.random.normal(cached_key(0), (10, 3))
    assert (integers.shape, integers.dtype.kind) == ((2, 2), "i")
    assert (normal.shape, normal.dtype) == ((10, 3), jnp.float32)


def test_p3_elementwise_maths_broadcasting_and_numpy():
    a = jax.random.normal(cached_key(0), (10, 3))
    with jax.numpy_rank_promotion("allow"):
        difference = a - a[0]
    assert (difference[0] == 0).all()
    np.testing.assert_allclose(np.asarray(jnp.exp(a)), np.exp(np.asarray(a)), rtol=1e-6)


def test_p4_adding_makes_a_new_array_and_at_makes_a_changed_copy():
    u = jnp.array(5)
    assert int(u + 3) == 8
    assert int(u) == 5
    assert int(u.at[()].add(3)) == 8
    assert int(u) == 5
    u += 3  # rebinds the name; the array does not change
    assert int(u) == 8


def test_p5_rows_summed_by_a_loop_and_by_a_reduction():
    a = jax.random.normal(cached_key(0), (10, 3))
    looped, _ = jax.lax.scan(lambda total, row: (total + row, None), jnp.zeros(3), a)
    np.testing.assert_allclose(looped, a.sum(axis=0), rtol=1e-5)


def test_p6_gradient_of_a_mean_of_roots_is_the_identity():
    np.testing.assert_allclose(jax.grad(mean_of_roots)(A, B), P6, rtol=1e-6)


def test_p7_gradients_add_up_only_where_they_are_added():
    gradient = jax.grad(mean_of_roots)(A, B)
    total = jax.tree.map(lambda *parts: sum(parts), gradient, gradient, gradient)
    np.testing.assert_allclose(total, 3 * P6, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(mean_of_roots)(A, B), P6, rtol=1e-6)


def test_p8_the_graph_of_a_mean_ends_in_a_sum_and_a_division():
    nodes = [equation.primitive.name for equation in jax.make_jaxpr(mean_of_roots)(A, B).eqns]
    assert nodes[-2:] == ["reduce_sum", "div"]


def test_p9_vector_jacobian_product_of_an_output_that_is_no_scalar():
    _, vjp = jax.vjp(lambda a: jnp.sqrt(a**2 + B**2), A)
    (product,) = vjp(np.eye(2, dtype=np.float32))
    previous = P6  # the gradient that the lesson's framework accumulates onto
    np.testing.assert_allclose(previous + product, P6 * np.where(np.eye(2) == 1, 5.0, 1.0), rtol=1e-6)


@pytest.mark.slow
def test_p13_perceptron_by_hand_in_its_correct_version():
    """The gradients of weights and bias and a plain update; the class in the lesson updates neither."""

    @jax.jit
    @jax.vmap
    def train_by_hand(key):
        parameters = {"w": jax.random.normal(key, (2,)), "b": jnp.zeros(())}

        def loss(p, x, y):
            return fn.losses.binary_cross_entropy(x @ p["w"] + jnp.broadcast_to(p["b"], y.shape), y)

        def epoch(p, _):
            for start in range(0, 70, 16):
                x, y = d2()[0][start : start + 16]
                p = jax.tree.map(lambda a, g: a - 0.1 * g, p, jax.grad(loss)(p, x, y))
            return p, None

        return jax.lax.scan(epoch, parameters, length=15)[0]

    by_hand = train_by_hand(keys())
    net = fn.models.Perceptron(2, weight_init=unit_normal)
    starts = jax.jit(
        jax.vmap(
            lambda k: net.replace(
                linear=net.linear.replace(weight=jax.random.normal(k, (2,)), bias=jnp.zeros(()))
            )
        )
    )(keys())
    train = fn.fit(BINARY, optax.sgd(0.1), epochs=15, batch_size=16, shuffle=False)
    runs = jax.vmap(train, in_axes=(0, None, None))(starts, d2()[0], cached_key(0))
    np.testing.assert_allclose(runs.model.linear.weight, by_hand["w"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(runs.model.linear.bias, by_hand["b"], rtol=1e-4, atol=1e-5)
    assert_in_band(evaluate_all(BINARY, runs.model, d2()[0])["loss"], 0.27, 0.29)
    assert_in_band(evaluate_all(BINARY, runs.model, d2()[1])["accuracy"], 0.80, 0.80)


def test_p14_the_fused_logistic_loss_is_a_sigmoid_and_then_the_loss():
    logits, targets = jnp.array([-2.0, 0.3, 1.7]), jnp.array([0, 1, 1])
    p = np.asarray(jax.nn.sigmoid(logits), np.float64)
    separate = -np.mean(np.where(np.asarray(targets) == 1, np.log(p), np.log(1 - p)))
    np.testing.assert_allclose(fn.losses.binary_cross_entropy(logits, targets), separate, rtol=1e-6)


def test_p15_the_first_minibatch_and_the_sizes_of_all():
    assert [int(b.weight.sum()) for b in fn.data.batches(d2()[0], 16)] == [16, 16, 16, 16, 6]
    x, y = next(fn.data.batches(d2()[0], 16)).example
    assert [f"{v:.4f}" for v in x[0]] == ["1.5442", "2.5290"]
    assert int(y[0]) == 1


def test_p16_accuracy_by_a_threshold_is_the_metric():
    model = fn.models.Perceptron(2).init(cached_key(0))
    x, y = d2()[1][:]
    by_hand = ((jax.nn.sigmoid(model(x)) > 0.5) == (y == 1)).mean()
    accuracy = fn.evaluate(BINARY, model, d2()[1])["accuracy"]
    np.testing.assert_allclose(accuracy, by_hand, rtol=1e-6)
    assert abs(float(accuracy) * 15 - round(float(accuracy) * 15)) < 1e-5


def test_p17_one_dense_layer_and_its_two_parameters():
    leaves = jax.tree.leaves(fn.Linear(2, 1).init(cached_key(0)))
    assert sorted(leaf.shape for leaf in leaves) == [(1,), (2, 1)]


NETS = {
    "P18": (fn.models.Perceptron(2), optax.sgd(0.05), (0.27, 0.37), (0.80, 0.87)),
    "P19": (fn.models.Perceptron(2), optax.adam(0.03), (0.17, 0.39), None),
    "P20": (
        fn.Sequential(fn.Linear(2, 5), jax.nn.sigmoid, fn.Linear(5, "scalar")),
        optax.adam(0.05),
        (0.07, 0.14),
        None,
    ),
    "P21": (fn.MLP((2, 10, "scalar"), activation=jax.nn.relu), optax.adam(0.005), (0.26, 0.50), None),
}


@pytest.mark.parametrize("row", marked(NETS, slow={"P18", "P19", "P21"}))
def test_p18_to_p21_the_last_batch_of_ten_epochs(row):
    net, optimizer, loss_band, accuracy_band = NETS[row]
    models, printed = last_batch_losses(BINARY, optimizer, net, d2()[0], epochs=10)
    assert_in_band(printed[:, -1], *loss_band)
    if accuracy_band is not None:
        assert_in_band(evaluate_all(BINARY, models, d2()[1])["accuracy"], *accuracy_band)


def test_p20_a_sequence_prints_its_structure():
    net, *_ = NETS["P20"]
    assert repr(net).count("Linear(") == 2
    assert "sigmoid" in repr(net)


def test_p21_a_class_finds_its_layers_and_takes_an_activation():
    class TwoLayer(fn.Module):
        hidden: fn.Module = fn.Linear(2, 10)
        out: fn.Module = fn.Linear(10, "scalar")
        activation: object = jax.nn.sigmoid

        def __call__(self, x, key=None):
            return self.out(self.activation(self.hidden(x)))

    model = TwoLayer(activation=jax.nn.relu).init(cached_key(0))
    assert fn.count(model) == 41
    x, _ = d2()[0][:]
    hidden = jax.nn.relu(x @ model.hidden.weight)
    np.testing.assert_allclose(model(x), hidden @ model.out.weight, rtol=1e-5, atol=1e-6)


def test_p22_activations_are_functions_and_layers():
    x = jnp.array([-1.0, 0.5])
    for function in (jax.nn.softmax, jax.nn.sigmoid, jax.nn.relu):
        np.testing.assert_array_equal(fn.layers.Activation(function)(x), function(x))


def test_p23_training_and_validation_curves_can_be_drawn():
    from matplotlib.figure import Figure

    train = fn.fit(BINARY, optax.sgd(0.05), epochs=2, batch_size=16)
    run = train(fn.models.Perceptron(2).init(cached_key(0)), d2()[0], cached_key(0), d2()[1])
    loss, accuracy = run.plot(Figure().subplots(1, 2))
    assert {"training, during the epoch", "validation"} <= {line.get_label() for line in loss.lines}
    assert len(accuracy.lines) == 2


@pytest.mark.slow
def test_p24_images_train_by_the_same_code():
    digits = fn.data.load("digits").data
    rows, valid_rows = map(
        fn.data.Scaler.fit(digits).transform, fn.data.split(digits, (0.8, 0.2), cached_key(0))
    )
    train = fn.fit(CLASSES, optax.adam(1e-2), epochs=4, batch_size=32)
    run = train(fn.MLP((64, 32, 10)).init(cached_key(0)), rows, cached_key(0), valid_rows)
    assert float(run.history["val_accuracy"][-1]) > 0.93


def test_p12_the_device_is_chosen_and_the_code_stays():
    device = jax.devices()[-1]
    linear = fn.Linear(1, "scalar", weight=jnp.array([100.0]), bias=jnp.array(0.0))
    start = fn.models.LinearRegression(1, linear=linear)
    train = fn.fit(SQUARED, optax.sgd(0.1), epochs=10, batch_size=4, shuffle=False)
    run = train(*jax.device_put((start, d1(), cached_key(0)), device))
    assert run.history["loss"].devices() == {device}
    fitted = run.model.linear
    assert (f"{fitted.weight[0]:.4f}", f"{fitted.bias:.4f}") == ("1.8617", "1.0711")
