"""Modules: children by annotation, init by path, and errors that teach."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Float, PyTree
from keys import lazy_key

import funcnet as fn

KEY = lazy_key(0)


class Everything(fn.Module):
    array: jax.Array | None = None
    shaped: Float[jax.Array, "n"] | None = None
    module: fn.Module | None = None
    buffer: fn.Buffer | None = None
    tree: PyTree = None
    listed: list[fn.Module] | None = None
    named: dict[str, fn.Linear] | None = None
    paired: tuple[fn.Module, ...] = ()
    activation: Callable[[jax.Array], jax.Array] = jax.nn.relu
    word: Literal["Array"] = "Array"
    kind: type[fn.Module] = fn.Linear
    size: int = 3
    anything: Any = None


def test_a_field_is_a_child_by_its_annotation():
    children = {"array", "shaped", "module", "buffer", "tree", "listed", "named", "paired"}
    assert set(Everything._children) == children
    assert set(Everything._static) == {"activation", "word", "kind", "size", "anything"}


def test_children_in_containers_are_initialised_and_are_leaves():
    net = Everything(listed=[fn.Linear(2, 3)], named={"a": fn.Linear(3, 4)}, paired=(fn.Linear(4, 5),))
    model = net.init(KEY())
    assert fn.count(model) == fn.count(net) == 9 + 16 + 25
    assert len(jax.tree.leaves(model)) == 6


def test_adding_a_layer_changes_no_other_layers_numbers():
    class One(fn.Module):
        first: fn.Module = fn.Linear(2, 3)

    class Two(fn.Module):
        before: fn.Module = fn.Linear(5, 5)
        first: fn.Module = fn.Linear(2, 3)

    assert One().init(KEY()).first == Two().init(KEY()).first
    short = fn.Sequential(fn.Linear(2, 3)).init(KEY())
    assert fn.Sequential(fn.Linear(2, 3), fn.Linear(3, 1)).init(KEY()).layers[0] == short.layers[0]


def test_equal_layers_get_different_numbers():
    model = fn.Sequential(fn.Linear(3, 3), fn.Linear(3, 3)).init(KEY())
    assert model.layers[0] != model.layers[1]


def test_init_keeps_parameters_and_raises_if_none_is_missing():
    start = jnp.full((2, 3), 7.0)
    model = fn.Linear(2, 3, weight=start).init(KEY())
    assert (model.weight == start).all()
    assert model.bias is not None
    with pytest.raises(ValueError, match="call init on the architecture"):
        model.init(KEY())


def test_init_is_pure_and_vmaps_into_an_ensemble():
    net = fn.MLP((4, 8, 3))
    keys = jax.random.split(KEY(), 5)
    models = jax.jit(jax.vmap(net.init))(keys)
    chex.assert_tree_shape_prefix(models, (5,))
    assert jax.tree.map(lambda a: a[2], models) == jax.jit(net.init)(keys[2])


def test_equality_and_hash_go_by_structure_and_numbers():
    assert fn.MLP((2, 3)) == fn.MLP((2, 3))
    assert hash(fn.MLP((2, 3))) == hash(fn.MLP((2, 3)))
    assert fn.MLP((2, 3)) != fn.MLP((2, 4))
    assert fn.MLP((2, 3)).init(KEY()) != fn.MLP((2, 3)).init(jax.random.key(1))


def test_buffers_are_not_trained_and_not_counted():
    class Counting(fn.Module):
        linear: fn.Module = fn.Linear(2, 1)
        steps: fn.Buffer = fn.Buffer(jnp.zeros((), jnp.int32))

    model = Counting().init(KEY())
    assert fn.count(model) == 3
    assert fn.trainable(model).steps.value is False
    assert fn.trainable(model).linear.bias is True


@pytest.mark.parametrize(
    ("law", "variance"),
    [("lecun_normal", 1.0), ("he_normal", 2.0), ("glorot_normal", 1.0), ("he_uniform", 2.0)],
)
def test_initializers_have_the_documented_variance(law, variance):
    layer = fn.Linear(400, 400, weight_init=law).init(KEY())
    x = jax.random.normal(jax.random.key(1), (200, 400))
    # 80,000 outputs, correlated within a row of weights: a tenth is some ten standard errors.
    assert abs(float(jnp.var(layer(x))) / variance - 1) < 0.1


def test_dropout_preserves_the_mean_and_is_the_identity_in_inference():
    x = jnp.ones(10_000)
    drop = fn.Dropout(0.3)
    y = drop(x, key=KEY())
    assert (drop(x) == x).all()
    zero = float(jnp.mean(y == 0))
    assert abs(zero - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 10_000)
    np.testing.assert_allclose(y[y != 0], 1 / 0.7, rtol=1e-6)


def test_rates_of_dropout_in_buffers_are_checked():
    x = jnp.ones(100)
    for net, name in ((fn.Dropout, "rate"), (lambda r: fn.MLP((2, 3, 1), dropout=r), "dropout")):
        for wrong in (jnp.array(2.0), np.array(-0.1), 1.0, np.nan):
            with pytest.raises(ValueError, match=f"{name} must be at least 0.0 and below 1.0, got"):
                net(fn.Buffer(wrong))
    expected = fn.Dropout(jnp.array(0.2))(x, KEY())
    for rate in (np.array(0.2), fn.Buffer(0.2), fn.Buffer(np.float64(0.2)), fn.Buffer(jnp.array(0.2))):
        assert (fn.Dropout(rate)(x, KEY()) == expected).all()
    models = jax.vmap(lambda r: fn.MLP((2, 3, 1), dropout=r).init(KEY()))(jnp.array([0.1, 0.2]))
    assert models.replace(activation=jnp.tanh).dropout.value.shape == (2,)
    with pytest.raises(ValueError, match=r"must be one number, got shape \(2,\): these are several models"):
        fn.Dropout(models.dropout)(x, KEY())
    assert not fn.trainable(fn.Dropout(fn.Buffer(0.2))).replace().rate.value


def test_a_traced_rate_out_of_range_is_nan_and_has_no_derivative():
    x = np.ones((10, 10), np.float32)
    for build in (fn.Dropout, lambda r: fn.Dropout(fn.Buffer(r)), lambda r: fn.layers.ChannelDropout(r, 1)):
        call = jax.jit(lambda r, build=build: build(r)(x, KEY()))
        assert all(np.isnan(call(rate)).all() for rate in (-0.1, 1.0, 2.0, float("nan")))
        assert (np.asarray(call(0.0)) == x).all()
        with pytest.raises(TypeError, match=r"has no derivative.*fn\.study\.sweep"):
            jax.eval_shape(jax.grad(lambda r, build=build: build(r)(x, KEY()).sum()), 0.3)
    # The gradient of a whole model.
    model = jax.jit(fn.MLP((2, 3, 1), dropout=jnp.array(0.3)).init)(KEY())
    slopes = jax.jit(jax.grad(lambda m: m(jnp.ones(2), KEY()).sum()))(model)
    assert np.isfinite(slopes.layers[0].weight).all()


def test_repr_shows_the_structure():
    text = repr(fn.Sequential(fn.Linear(2, 5), jax.nn.sigmoid).init(KEY()))
    assert "Linear(in_features=2, out_features=5, weight=float32[2,5], bias=float32[5])" in text
    assert "Activation(function=sigmoid)" in text


def test_summary_rows():
    rows = fn.summary(fn.MLP((2, 10, 1)), jnp.ones((7, 2))).rows
    assert [(r.path, r.class_name, r.output, r.parameters, r.nbytes) for r in rows] == [
        ("", "MLP", "float32[7,1]", 41, 164),
        ("layers[0]", "Linear", "float32[7,10]", 30, 120),
        ("layers[1]", "Linear", "float32[7,1]", 11, 44),
    ]
    # 2·2·10 + 10 a row, then 10 for the ReLU, then 2·10·1 + 1.
    assert [r.flops for r in rows] == [7 * (50 + 10 + 21), 7 * 50, 7 * 21]


def function_in_child():
    class Wrong(fn.Module):
        activation: fn.Module = None

    Wrong(activation=jax.nn.relu)


def array_in_static():
    class Wrong(fn.Module):
        scale: float = 1.0

    Wrong(scale=jnp.ones(3))


def module_in_static():
    class Wrong(fn.Module):
        layer: Any = None

    Wrong(layer=fn.Linear(2, 2))


def integer_parameter():
    class Wrong(fn.Module):
        table: jax.Array = None

        def parameters(self, key):
            return {"table": jnp.arange(3)}

    Wrong().init(KEY())


def forgotten_annotation():
    class Wrong(fn.Module):
        layer = fn.Linear(2, 2)


def constructor_of_its_own():
    class Wrong(fn.Module):
        weight: jax.Array

        def __init__(self, n):
            object.__setattr__(self, "weight", jnp.ones(n))


def change_in_place():
    fn.Linear(2, 2).bias = jnp.ones(2)


def default_without_annotation():
    class Wrong(fn.MLP):
        dropout = 0.5


def field_without_init():
    class Wrong(fn.Module):
        layer: fn.Module = dataclasses.field(init=False)


def init_var():
    class Wrong(fn.Module):
        width: dataclasses.InitVar[int]


def hidden_method():
    class Wrong(fn.Module):
        init: str = "zeros"


def complex_parameter():
    fn.Linear(1, 1, weight=jnp.ones((1, 1), complex)).init(KEY())


def unresolved_annotation():
    type("Wrong", (fn.Module,), {"__annotations__": {"layer": "Nowhere"}, "layer": None})


ERRORS = {
    "call before init": (lambda: fn.Linear(2, 3)(jnp.ones(2)), TypeError, "no bias.*model = net.init"),
    "nested call before init": (lambda: fn.MLP((2, 3))(jnp.ones(2)), TypeError, "model = net.init"),
    "fit before init": (
        lambda: fn.evaluate(
            fn.losses.supervised(fn.losses.squared_error),
            fn.MLP((2, 3)),
            (jnp.ones((4, 2)), jnp.ones((4, 3))),
        ),
        TypeError,
        r"Linear at layers\[0\] is not initialized",
    ),
    "function in a child field": (function_in_child, TypeError, "got the function relu.*Callable"),
    "array in a static field": (array_in_static, TypeError, "scale is a static field.*jax.Array"),
    "module in a static field": (module_in_static, TypeError, "'layer: fn.Module'"),
    "integer parameter": (
        integer_parameter,
        TypeError,
        "table of the model must be floating, got int32.*funcnet.Buffer",
    ),
    "unresolved annotation": (unresolved_annotation, TypeError, "must be resolvable"),
    "sizes that don't chain": (
        lambda: fn.Sequential(fn.Linear(2, 5), fn.Linear(4, 1)).init(KEY())(jnp.ones(2)),
        ValueError,
        r"Linear\(4, 1\) expects an input whose last axis is 4, got shape \(5,\)",
    ),
    "a forgotten annotation": (forgotten_annotation, TypeError, "'layer: fn.Module = ...'"),
    "a default without annotation": (default_without_annotation, TypeError, "'dropout: float = ...'"),
    "a field that is not given": (field_without_init, TypeError, "set it in __post_init__ if None"),
    "a value for the constructor only": (init_var, TypeError, "Wrong must not have an InitVar"),
    "a field called init": (hidden_method, TypeError, "must not have the name of an attribute of Module"),
    "a complex parameter": (complex_parameter, TypeError, "must be floating, got complex64"),
    "a constructor without the fields": (
        constructor_of_its_own,
        TypeError,
        "Wrong.__init__ must accept every field by its name.*weight is missing",
    ),
    "a change in place": (change_in_place, AttributeError, r"model.replace\(bias=...\)"),
    "a weight of another layer": (
        lambda: fn.Linear(2, 3, weight=jnp.ones((5, 3)))(jnp.ones(2)),
        ValueError,
        r"Linear.weight must have shape \(2, 3\), got \(5, 3\)",
    ),
    "a bias that would be spread": (
        lambda: fn.Linear(2, 3, bias=jnp.ones(1)).init(KEY())(jnp.ones(2)),
        ValueError,
        r"Linear.bias must have shape \(3,\), got \(1,\)",
    ),
    "a kernel of another size": (
        lambda: fn.layers.Conv2d(1, 3, 3, weight=jnp.ones((5, 5, 1, 3))).init(KEY())(jnp.ones((8, 8, 1))),
        ValueError,
        r"Conv2d.weight must have shape \(3, 3, 1, 3\), got \(5, 5, 1, 3\)",
    ),
    "several models as one": (
        lambda: jax.vmap(fn.Linear(2, 3).init)(jax.random.split(KEY(), 2))(jnp.ones(2)),
        ValueError,
        r"these are 2 models in one tree. .*jax.vmap\(lambda model: model\(x\)\)\(models\)",
    ),
    "several convolutions as one": (
        lambda: jax.vmap(fn.layers.Conv1d(2, 3, 3).init)(jax.random.split(KEY(), 4))(jnp.ones((8, 2))),
        ValueError,
        "these are 4 models in one tree",
    ),
    "an activation by name": (
        lambda: fn.layers.Activation("relu"),
        TypeError,
        "function must be a function of arrays, such as jax.nn.relu",
    ),
    "a class in both directions": (
        lambda: fn.layers.Bidirectional(fn.layers.GRU),
        TypeError,
        "must be a funcnet module, got",
    ),
    "an integer for a key": (lambda: fn.MLP((2, 3)).init(0), TypeError, r"key=jax.random.key\(0\)"),
    "an old-style key": (
        lambda: fn.MLP((2, 3)).init(jax.random.PRNGKey(0)),
        TypeError,
        "wrap_key_data",
    ),
    "many keys": (
        lambda: fn.MLP((2, 3)).init(jax.random.split(KEY(), 3)),
        ValueError,
        "jax.vmap",
    ),
    "one size": (lambda: fn.MLP((4,)), ValueError, r"Try \(4, 3\)"),
    "a size of zero": (lambda: fn.MLP((4, 0, 3)), ValueError, r"sizes\[1\] must be at least 1"),
    "a class for a layer": (lambda: fn.Sequential(fn.Linear), TypeError, "step 0 of a Sequential"),
    "an unknown initializer": (
        lambda: fn.Linear(2, 3, weight_init="xavier"),
        ValueError,
        "must be one of glorot_normal.*got 'xavier'",
    ),
    "a dropout rate of one": (lambda: fn.Dropout(1.0), ValueError, "rate must be at least 0"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_what_came_and_what_was_expected(case):
    action, error, message = ERRORS[case]
    with pytest.raises(error, match=f"(?s){message}"):
        action()


def test_a_deep_copy_is_equal_and_the_same_to_jit():
    model = fn.MLP((2, 5, 3), dropout=0.1).init(KEY())
    copied = copy.deepcopy({"net": model})["net"]
    assert copied == model
    assert hash(copied) == hash(model)
    assert copied.layers[0].weight is not model.layers[0].weight


def test_a_custom_constructor_is_inherited():
    class Block(fn.Sequential):
        pass

    class Twice(fn.Sequential):
        def __call__(self, x, key=None):
            return super().__call__(super().__call__(x, key), key)

    for kind in (Block, Twice):
        model = kind(fn.Linear(2, 2), jax.nn.relu).init(KEY())
        assert model(jnp.ones(2)).shape == (2,)
        assert type(jax.tree.map(jnp.asarray, model)) is kind


def test_a_subclass_may_call_the_constructor_of_its_base_first():
    class Scaled(fn.Sequential):
        factor: float = 1.0

        def __init__(self, *steps, layers=(), factor=1.0):
            super().__init__(*steps, layers=layers)
            object.__setattr__(self, "factor", factor)

    model = Scaled(fn.Linear(2, 2), factor=3.0).init(KEY())
    assert model.factor == 3.0


def test_trees_can_be_rebuilt_with_arbitrary_leaves():
    net = fn.Sequential(fn.Linear(2, 3), jax.nn.relu, fn.layers.Residual(fn.Linear(3, 3))).init(KEY())
    labels = jax.tree.map(lambda m: "slow", net, is_leaf=lambda n: isinstance(n, fn.Linear))
    assert jax.tree.leaves(labels) == ["slow", "slow"]
    assert callable(jax.tree.leaves(jax.tree.map(lambda a: lambda b: b, net))[0])
    line = fn.models.LinearRegression(2).init(KEY())
    assert jax.tree.leaves(jax.tree.map(lambda a: None, line)) == []


def test_a_parameter_that_stays_none_is_not_missing():
    class Maybe(fn.Module):
        w: jax.Array | None = None
        b: jax.Array | None = None

        def parameters(self, key):
            return {"w": jnp.ones(2), "b": None}

        def __call__(self, x, key=None):
            return x * self.w

    model = Maybe().init(KEY())
    assert fn.evaluate(lambda m, e, k: m(e).sum(), model, jnp.ones((3, 2)))["loss"] == 2.0


def test_models_with_keys_are_compared():
    a, b = ({"w": fn.Linear(1, 1).init(KEY()), "key": fn.Buffer(jax.random.key(n))} for n in (0, 1))

    class Keyed(fn.Module):
        parts: dict[str, fn.Module | fn.Buffer]

    assert Keyed(a) == Keyed(a)
    assert Keyed(a) != Keyed(b)


CONTRADICTIONS = {
    "sizes of parts": (
        lambda: fn.MLP((4, 5, 3)).init(KEY()).replace(sizes=(4, 6, 3)),
        r"MLP.layers must be what sizes=\(4, 6, 3\) builds, .* net.replace\(sizes=..., layers=None\)",
    ),
    "a setting of parts": (
        lambda: fn.models.ResMLP(3, 2, depth=1).replace(dropout=0.5),
        r"ResMLP.blocks must be what dropout=0.5 builds, and replace would keep what 0.0 built",
    ),
    "an array for parts": (
        lambda: fn.models.ResMLP(3, 2, depth=1, dropout=jnp.array(0.1)).replace(dropout=jnp.array(0.9)),
        r"ResMLP.blocks must be what dropout=.* builds, .* net.replace\(dropout=..., blocks=None\)",
    ),
    "several parts": (
        lambda: fn.layers.GRU(2, 3).replace(features=4),
        r"net.replace\(features=..., input=None, recurrent=None\)",
    ),
    "a size": (
        lambda: fn.Linear(2, 3).init(KEY()).replace(in_features=5),
        r"Linear.weight must have shape \(5, 3\), got \(2, 3\). Pass an array of that shape, or weight",
    ),
    "fewer parts": (
        lambda: fn.MLP((4, 5, 3)).init(KEY()).replace(layers=fn.MLP((4, 5, 3)).init(KEY()).layers[:1]),
        r"MLP.layers must hold 2 modules, as its settings build, got 1. .* net.replace\(sizes=..., layers",
    ),
    "the same parts for other settings": (
        lambda: (m := fn.MLP((4, 5, 3)).init(KEY())).replace(sizes=(4, 6, 3), layers=m.layers),
        r"MLP.layers must be what sizes=\(4, 6, 3\) builds",
    ),
    "arrays of different stacks": (
        lambda: fn.Linear(2, 3).init(KEY()).replace(weight=jnp.ones((7, 2, 3)), bias=jnp.ones((5, 3))),
        r"arrays of Linear .* bias \(5, 3\), of one model \(3,\); weight \(7, 2",
    ),
    "one array of a stack": (
        lambda: fn.Linear(2, 3).init(KEY()).replace(weight=jnp.ones((7, 2, 3))),
        r"same leading axes, .* Stack all of them: net.replace\(bias=..., weight=...\)",
    ),
    "a bias without biases": (
        lambda: fn.Linear(2, 3).init(KEY()).replace(use_bias=False, bias=jnp.ones(3)),
        r"Linear.bias must be None with use_bias=False, .* net.replace\(use_bias=False, bias=None\)",
    ),
    "biases that are kept": (
        lambda: fn.Linear(2, 3).init(KEY()).replace(use_bias=False),
        "Linear.bias must be None with use_bias=False, got an array of float32",
    ),
    "an array": (
        lambda: fn.Linear(2, 3).init(KEY()).replace(bias=jnp.ones(2)),
        r"Linear.bias must have shape \(3,\), got \(2,\)",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_copy_that_contradicts_itself_is_refused(case):
    change, message = CONTRADICTIONS[case]
    with pytest.raises(ValueError, match=message):
        change()


def test_a_list_is_not_an_array_of_a_copy():
    for value in ([[1.0, 2.0], [3.0, 4.0]], 1.0):
        with pytest.raises(TypeError, match=r"Linear.weight must be an array of shape \(2, 2\), got"):
            fn.Linear(2, 2).replace(weight=value)


def test_a_copy_that_agrees_with_itself_is_made():
    net = fn.MLP((4, 5, 3))
    shorter = net.init(KEY()).replace(sizes=(4, 5), layers=net.layers[:1])
    assert len(shorter.layers) == 1
    assert fn.Linear(2, 3).init(KEY()).replace(use_bias=False, bias=None).bias is None
    transfer = jax.jit(fn.models.ConvNet((6, 6, 1), 3).init)(KEY())
    assert transfer.replace(out=fn.MLP((10, 4, 2))).out.sizes == (10, 4, 2)
    stack = fn.Linear(2, 3).replace(weight=jnp.ones((7, 2, 3)), bias=jnp.ones((7, 3)))
    assert jax.vmap(lambda m: m(jnp.ones(2)))(stack).shape == (7, 3)
    assert net.replace(sizes=(4, 6, 3), layers=None).layers[0].out_features == 6
    assert net.init(KEY()).replace(dropout=0.5, activation=jax.nn.tanh).dropout == 0.5
    head = fn.Linear(5, 2)  # another last layer for another task
    assert net.init(KEY()).replace(layers=(net.layers[0], head)).layers[1] is head
    models = jax.vmap(net.init)(jax.random.split(KEY(), 2))
    assert models.layers[0].replace(bias=jnp.ones((2, 5))).bias.shape == (2, 5)
    assert fn.trainable(net.init(KEY())).layers[0].replace(bias=False).bias is False


def test_the_layers_of_a_sequential_are_a_sequence():
    net = fn.Sequential([fn.Linear(2, 5), jax.nn.relu, fn.Linear(5, 1)])
    model, x = net.init(KEY()), jnp.ones(2)
    assert len(model) == 3
    assert list(model) == [model[0], model[1], model[2]] == list(model.layers)
    assert model[-1] is model.layers[2]
    assert isinstance(model[:2], fn.Sequential)
    assert model[2](model[:2](x)) == model(x)
    assert net == fn.Sequential(fn.Linear(2, 5), jax.nn.relu, fn.Linear(5, 1))
    assert len(fn.Sequential([])) == 0


def test_a_setting_is_static_as_a_number_and_a_leaf_as_a_buffer():
    class Noise(fn.Module):
        scale: float | fn.Buffer = 0.5
        weight: jax.Array | None = None

        def parameters(self, key):
            return {"weight": jax.random.normal(key, (2,))}

        def __call__(self, x, key=None):
            scale = self.scale.value if isinstance(self.scale, fn.Buffer) else self.scale
            return scale * self.weight * x

    static, traced = Noise(0.25), Noise(fn.Buffer(jnp.array(0.25)))
    assert jax.tree.leaves(static) == []
    assert repr(Noise()) == "Noise()"
    assert static == Noise(0.25) != Noise()
    assert hash(static) == hash(Noise(0.25))
    model = traced.init(KEY())
    assert fn.trainable(model).scale.value is False
    assert fn.count(model) == fn.count(static.init(KEY())) == 2
    assert jnp.array_equal(jax.jit(lambda m: m(3.0))(model), static.init(KEY())(3.0))
    models = jax.vmap(lambda s: Noise(fn.Buffer(s)).init(KEY()))(jnp.arange(3.0))
    assert models.scale.value.shape == (3,)
    assert copy.deepcopy(model) == model
    assert jax.tree.map(lambda a: a, static.init(KEY())).scale == 0.25
