"""What is frozen keeps every bit in every training, and the rest trains as it would on its own."""

import functools
import pickle
from typing import Any, ClassVar, NamedTuple

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
from keys import lazy_key
from optimizers import CONTRIB, OPTAX
from tables import assert_close, same_bits

import funcnet as fn
from funcnet import _tree
from funcnet._module import shapes
from funcnet._types import PyTree
from funcnet.transform._jaxpr import equations
from funcnet.transform._objective import objective

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
KEY = lazy_key(3)
L = fn.layers
X = np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)
DATA = X, np.tanh(X @ np.array([[1.0, 0.3], [-2.0, 0.1], [0.5, 1.0]], np.float32))
VALID = X[:7] + 0.1, DATA[1][:7]
LOSS = fn.losses.supervised(fn.losses.squared_error, absolute_error=fn.metrics.absolute_error)


class Net(fn.Module):
    """A backbone of every kind of layer with statistics, and a head."""

    backbone: fn.Module
    head: fn.Module

    def __call__(self, x, key=None):
        return self.head(self.backbone(x, key=key))


BACKBONE = fn.Sequential(
    L.SpectralNorm(fn.Linear(3, 6)), L.BatchNorm(6), jnp.tanh, fn.Linear(6, 4), L.BatchNorm(4)
)
PLAIN = fn.Sequential(fn.Linear(3, 6), jnp.tanh, fn.Linear(6, 4))


def model_of(backbone=BACKBONE, seed=0):
    return with_statistics(jax.jit(Net(backbone, fn.Linear(4, 2)).init)(jax.random.key(seed)))


@jax.jit
def with_statistics(model):
    """Statistics unlike those of any batch, and weights of either sign of zero."""
    parameters, rest = _tree.partition(model, fn.trainable(model))
    vectors = jax.tree.map(lambda a: a * 1.5 + 0.25 if a.ndim else a, rest)
    weights = jax.tree.map(lambda a: a.at[..., 0].set(-0.0) if a.ndim > 1 else a, parameters)
    return _tree.combine(weights, vectors)


@functools.cache
def frozen_model(backbone=BACKBONE):
    return fn.freeze(model_of(backbone), "backbone")


OF_FULL_TREES = ["contrib.galore", "contrib.scale_by_galore"]
EVERY = {**OPTAX, **{f"contrib.{name}": case for name, case in CONTRIB.items()}}
OPTIMIZERS = {
    **{f"table-{name}": lambda optimizer=o: optimizer for name, o in tables.OPTIMIZERS.items()},
    **{
        name: case.make
        for name, case in EVERY.items()
        if not (case.refused or case.matrices_only or name in OF_FULL_TREES)
    },
    "adamw-decay": lambda: optax.adamw(0.03, weight_decay=0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_FULL_TREES)
def test_an_optimizer_of_full_trees_is_refused(name):
    with pytest.raises(TypeError, match="optimizer must take parameters with None in place of buffers"):
        fn.fit(LOSS, EVERY[name].make(), epochs=1)(frozen_model(), DATA, KEY())


@pytest.mark.parametrize("name", tables.marked(OPTIMIZERS, slow=set(OPTIMIZERS) - {"adamw-decay"}))
def test_every_optimizer_leaves_what_is_frozen(name):
    model = frozen_model(BACKBONE if name == "adamw-decay" else PLAIN)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        train = fn.fit(
            *(LOSS, OPTIMIZERS[name]()),
            epochs=2,
            batch_size=8,
            shuffle=False,
            ema=0.9 if "adamw" in name else None,
        )
        run = train(model, DATA, KEY())
    assert same_bits(run.model.backbone, model.backbone)
    assert same_bits(run.state.model.backbone, model.backbone)
    moves = name not in ("set_to_zero", "contrib.mechanize", "selective_transform")
    assert not moves or not same_bits(run.model.head, model.head)
    sizes = {leaf.size for leaf in jax.tree.leaves(run.state.opt_state) if hasattr(leaf, "size")}
    assert not sizes & {18, 24}, "the state holds something of the size of a frozen weight"


@pytest.mark.parametrize("name", tables.marked(tables.TRAINED, slow=set(tables.TRAINED) - {"mlp-dropout"}))
def test_half_of_every_model_can_be_frozen(name):
    case = tables.MODELS[name]
    model = case.init()
    paths = list(_tree.paths(model))[::2]
    frozen = fn.freeze(model, paths)
    if not any(jax.tree.leaves(fn.trainable(frozen))):
        return
    run = tables.training(name)(frozen, tables.dataset("tail", name), KEY())
    before, after = _tree.paths(frozen), _tree.paths(run.model)
    assert all(same_bits(before[path], after[path]) for path in paths)
    moved = [path for path, trains in _tree.paths(fn.trainable(frozen)).items() if trains]
    assert not all(same_bits(before[path], after[path]) for path in moved)


@pytest.mark.parametrize("name", tables.marked(tables.TRAINED, slow=set(tables.TRAINED) - {*tables.QUICK}))
def test_paths_are_those_of_the_tree(name):
    case = tables.MODELS[name]
    model, names = case.init(), _tree.names(case.init())
    for path, spelled in names.items():
        frozen = fn.freeze(model, path)
        flags, were = _tree.paths(fn.trainable(frozen)), _tree.paths(fn.trainable(model))
        assert [p for p in flags if flags[p] != were[p]] == ([path] if were[path] else [])
        assert fn.unfreeze(frozen) == model == fn.unfreeze(frozen, path)
        assert fn.freeze(model, spelled) == frozen
    half = list(names)[::2]
    structure: Any = jax.tree.structure(shapes(fn.freeze(case.net, half)))
    assert structure == jax.tree.structure(fn.freeze(model, half)) != jax.tree.structure(model)
    assert not any(jax.tree.leaves(fn.trainable(fn.freeze(model))))
    assert fn.count(fn.freeze(model), trainable=False) == fn.count(model)


class Weights(NamedTuple):
    w: Any
    b: Any


class Lines(fn.Module):
    parts: PyTree

    def __call__(self, x, key=None):
        return x @ self.parts[0].w + self.parts[0].b


FOREIGN = {
    "a named tuple": (
        lambda: Lines((Weights(jnp.ones((3, 2)), jnp.zeros(2)),)),
        "parts[0].w",
        lambda model: model.parts[0].w,
    ),
    "functions": (
        lambda: fn.interop.from_functions(
            lambda key: Weights(jnp.ones((3, 2)), jnp.zeros(2)), lambda p, x, key: x @ p.w + p.b
        ).init(KEY()),
        "params.w",
        lambda model: model.params.w,
    ),
    "equinox": (
        lambda: fn.interop.from_equinox(lambda key: equinox.nn.Linear(3, 2, key=key)).init(KEY()),
        "params.weight",
        lambda model: model.params.weight,
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_arrays_of_attributes_are_frozen(name):
    make, path, part = FOREIGN[name]
    model = fn.freeze(make(), path)
    assert fn.count(model, trainable=True) == 2
    run = fn.fit(LOSS, optax.sgd(0.1), epochs=2)(model, DATA, KEY())
    assert same_bits(part(run.model), part(model))
    assert not same_bits(run.model, model)


def test_init_draws_what_is_frozen_and_keeps_it_frozen():
    backbone = fn.Sequential(fn.Linear(3, 4), L.BatchNorm(4))
    net = Net(backbone, fn.Linear(4, 2))
    frozen = jax.jit(fn.freeze(net, "backbone").init)(KEY())
    assert frozen == fn.freeze(jax.jit(net.init)(KEY()), "backbone")
    pretrained = fn.freeze(jax.jit(backbone.init)(KEY()))
    model = Net(pretrained, fn.Linear(4, 2)).init(jax.random.key(1))
    assert model.backbone == pretrained
    assert fn.count(model, trainable=True) == 10
    assert model.replace(head=fn.Linear(4, 3).init(KEY())).backbone == pretrained
    linear = fn.freeze(fn.Linear(2, 3).init(KEY()), "weight")
    assert fn.trainable(linear.replace(weight=jnp.ones((2, 3)))).weight is False


def test_it_is_part_of_the_structure():
    model = frozen_model()
    leaves, structure = jax.tree.flatten(model)
    assert jax.tree.unflatten(structure, leaves) == model
    assert structure == jax.tree.structure(jax.jit(lambda m: m)(model))
    assert pickle.loads(pickle.dumps(model)) == model
    assert model != fn.unfreeze(model)
    assert "frozen=('bias', 'weight')" in repr(model)
    assert "frozen" not in repr(fn.unfreeze(model))
    gradient = jax.jit(jax.grad(lambda m: m(X[0]).sum()))(model)
    assert jax.tree.structure(gradient) == structure


def test_a_head_trains_as_on_features_computed_before():
    model = frozen_model()
    train = fn.fit(LOSS, optax.adamw(0.03), epochs=4, batch_size=8, shuffle=False)
    run = train(model, DATA, KEY(), VALID)
    features = [(fn.predict(model.backbone, x), y) for x, y in (DATA, VALID)]
    alone = train(model.head, features[0], KEY(), features[1])
    assert_close(dict(run.history), dict(alone.history), factor=5)
    assert_close(run.model.head, alone.model, factor=5)


def test_nothing_is_differentiated_below():
    def products(model, x=X):
        step = fn.step(LOSS, optax.sgd(0.1))
        state = fn.TrainState.create(model, optax.sgd(0.1), KEY())
        program = jax.make_jaxpr(step)(state, (x, DATA[1]))
        return sum(e.primitive.name == "dot_general" for e in equations(program.jaxpr))

    model = model_of(PLAIN)
    features = fn.predict(model.backbone, X)
    assert products(fn.freeze(model, "backbone")) == products(model.head, features) < products(model)


@jax.jit
def call(model, x, key=None):
    return model(x, key=key)


def test_batch_norm_is_in_inference_and_dropout_is_not():
    norm = fn.freeze(with_statistics(L.BatchNorm(3).init(KEY())))
    assert same_bits(call(norm, X, KEY()), call(norm, X))
    scale_only = fn.freeze(norm := fn.unfreeze(norm), "scale")
    assert same_bits(call(scale_only, X, KEY()), call(norm, X, KEY()))
    spectral = fn.freeze(with_statistics(L.SpectralNorm(fn.Linear(3, 2)).init(KEY())))
    assert same_bits(call(spectral, X, KEY()), call(spectral, X))
    assert not same_bits(call(fn.unfreeze(spectral), X, KEY()), call(spectral, X))
    dropout = fn.freeze(jax.jit(fn.MLP((3, 8, 2), dropout=0.5).init)(KEY()))
    assert not same_bits(call(dropout, X, KEY()), call(dropout, X))


@pytest.mark.slow  # what is frozen is static, as test_it_is_part_of_the_structure shows
class Mean(fn.Module):
    """A layer with a running mean that knows nothing of freezing."""

    needs_batch: ClassVar[bool] = True
    mean: fn.Buffer = fn.Buffer(np.zeros(3, np.float32))

    def __call__(self, x, key=None):
        if key is not None:
            fn.update_buffer(self.mean, jax.lax.pmean(x, fn.BATCH_AXIS), step_size=0.5)
        return x - self.mean.value


def test_buffers_of_a_layer_of_ones_own_are_frozen_too():
    train = fn.fit(LOSS, optax.sgd(0.1), epochs=2, batch_size=8)
    net = fn.Sequential(Mean(), fn.Linear(3, 3), Mean())
    model = net.init(KEY())
    run = train(fn.freeze(model, "layers[0].mean"), (X, X), KEY())
    assert same_bits(run.model.layers[0], model.layers[0])
    assert not same_bits(run.model.layers[2].mean, model.layers[2].mean)
    assert not same_bits(train(model, (X, X), KEY()).model.layers[0], model.layers[0])


@pytest.mark.parametrize("backbone", [PLAIN, BACKBONE])
def test_members_are_frozen_together(backbone):
    net = fn.freeze(Net(backbone, fn.Linear(4, 2)), "backbone")
    keys = jax.random.split(KEY(), 3)
    models = jax.jit(jax.vmap(net.init))(keys)
    train = fn.fit(LOSS, optax.adamw(0.03), epochs=2, batch_size=8)
    runs = jax.vmap(train, in_axes=(0, None, 0))(models, DATA, keys)
    assert same_bits(runs.model.backbone, models.backbone)
    one = train(jax.tree.map(lambda a: a[1], models), DATA, keys[1])
    assert_close(jax.tree.map(lambda a: a[1], runs.model), one.model, factor=20)


@pytest.mark.slow
def test_a_trainer_resumes_a_frozen_model_and_refuses_another(tmp_path):
    model = frozen_model()
    train = fn.fit(LOSS, optax.sgd(0.03), epochs=4, batch_size=8, ema=0.9)
    average = fn.train.AverageWeights()
    fn.Trainer(train, tmp_path, [average], max_time=1e-9)(model, DATA, KEY())
    run = fn.Trainer(train, tmp_path, [average])(model, DATA, KEY())
    assert same_bits(run, train(model, DATA, KEY()))
    assert same_bits(average.model.backbone, model.backbone)
    with pytest.raises(ValueError, match=r"different run(.|\n)*frozen arrays and buffers: "):
        fn.Trainer(train, tmp_path)(fn.freeze(fn.unfreeze(model), "backbone.layers[0]"), DATA, KEY())


def test_half_precision_computes_what_is_frozen_too():
    half, model = fn.Precision(compute="bfloat16"), frozen_model(PLAIN)
    frozen, free = (jax.jit(half.model(m))(X) for m in (model, fn.unfreeze(model)))
    assert same_bits(frozen, free)
    run = fn.fit(half(LOSS), optax.adam(0.03), epochs=2, batch_size=8, shuffle=False)(model, DATA, KEY())
    assert same_bits(run.model.backbone, model.backbone)
    stored = fn.Precision(param="bfloat16").cast_parameters(model)
    assert stored.backbone.layers[0].weight.dtype == jnp.bfloat16


def test_names_on_disk_stay(tmp_path):
    model, file = frozen_model(), tmp_path / "model.safetensors"
    plain = fn.unfreeze(model)
    fn.save_weights(model, file)
    assert fn.load_weights(plain, file) == plain
    fn.save_weights(plain, file)
    assert fn.load_weights(model, file) == model
    assert fn.load_weights(fn.freeze(Net(BACKBONE, fn.Linear(4, 2)), "backbone"), file) == model


def test_counts_and_a_summary_show_what_is_frozen():
    model = fn.freeze(fn.MLP((2, 5, 1)).init(KEY()), "layers[0]")
    assert (fn.count(model), fn.count(model, trainable=True), fn.count(model, trainable=False)) == (
        21,
        6,
        15,
    )
    table = fn.summary(model, jnp.ones(2))
    assert [row.frozen for row in table.rows] == [15, 15, 0]
    assert "frozen" in str(table)
    assert "frozen" in table._repr_html_()
    assert "frozen" not in str(fn.summary(fn.unfreeze(model), jnp.ones(2)))


def test_containers_of_modules_can_be_frozen_and_bare_arrays_are_refused():
    models = {"backbone": fn.Linear(2, 3).init(KEY()), "scale": jnp.ones(2)}
    frozen = fn.freeze(models, "backbone")
    assert fn.trainable(frozen)["backbone"].weight is False
    assert fn.trainable(frozen)["scale"] is True
    assert frozen == fn.freeze(models, "['backbone']")
    with pytest.raises(
        TypeError, match=r"only arrays of modules can be frozen, and \['scale'\] .*fn.label"
    ):
        fn.freeze(models, "scale")


@pytest.mark.parametrize(
    ("paths", "error", "message"),
    [
        ("layers[2]", ValueError, r"nothing is at 'layers\[2\]'. Its arrays are layers\[0\].weight"),
        ("layers[0].weigh", ValueError, "nothing is at"),
        (["layers[0]", ""], ValueError, "nothing is at ''"),
        ([], ValueError, "must name an array"),
        (3, TypeError, r"must be a path such as 'layers\[0\]'"),
        ([3], TypeError, "must be a path"),
        (functools.partial(jnp.array, 1), TypeError, "must be a path .* got an array of int32"),
        (np.array(1), TypeError, "must be a path .* got an array of int64"),
        (b"layers", TypeError, "must be a path .* got bytes b'layers'"),
        (lambda path, leaf: False, ValueError, "must select an array of the model, got none"),
        (lambda path, leaf: leaf > 0, TypeError, "must return True or False"),
        (lambda path: True, TypeError, "takes other arguments"),
    ],
)
def test_a_wrong_path_is_refused(paths, error, message):
    model = fn.MLP((2, 5, 1)).init(KEY())
    paths = paths() if isinstance(paths, functools.partial) else paths
    for function in (fn.freeze, fn.unfreeze):
        with pytest.raises(error, match=message):
            function(model, paths)


@pytest.mark.parametrize(("model", "got"), [(fn.MLP, "the class MLP"), ("layers[0]", "str 'layers")])
def test_what_is_no_model_is_refused(model, got):
    with pytest.raises(TypeError, match=rf"model must be a module, .* got {got}.*fn\.freeze\(fn\.MLP\("):
        fn.freeze(model)


def test_a_model_without_anything_to_train_is_refused():
    train = fn.fit(LOSS, optax.sgd(0.1), epochs=1)
    with pytest.raises(
        ValueError, match=r"nothing to train: .* Net is frozen.*unfreeze\(model, 'head.bias'"
    ):
        train(fn.freeze(frozen_model(PLAIN)), DATA, KEY())


def _head_or_backbone(path, leaf):
    return "head" if path.startswith("head") else "backbone"


def test_rates_by_path():
    model, key = model_of(PLAIN), jax.random.key(4)
    parts = {"head": optax.sgd(0.1), "backbone": optax.sgd(0.01)}
    optimizer = optax.partition(parts, fn.label(_head_or_backbone))
    run = fn.fit(LOSS, optimizer, epochs=2, batch_size=8, shuffle=False)(model, DATA, key)
    rates = jax.tree.map({"head": 0.1, "backbone": 0.01}.get, fn.label(_head_or_backbone)(model))
    state, nothing = fn.TrainState.create(model, optimizer, key), jax.tree.map(lambda _: None, model)
    slope = jax.jit(jax.grad(lambda m, batch: objective(m, nothing, LOSS, batch, None)[0]))
    for epoch in range(2):
        for batch in fn.data.batches(DATA, 8, epoch=epoch):
            gradient = slope(state.model, batch)
            moved = jax.tree.map(
                lambda p, g, rate: np.asarray(p) - np.float32(rate) * np.asarray(g),
                *(state.model, gradient, rates),
            )
            state = _tree.replace(state, model=moved)
    assert_close(run.model, state.model, factor=5)


def test_labels_fit_masks_and_frozen_models():
    model = frozen_model(PLAIN)
    is_bias = fn.label(lambda path, leaf: np.bool_(path.endswith("bias")))
    assert is_bias(model).head.bias is True
    optimizer = optax.chain(optax.sgd(0.1), optax.masked(optax.set_to_zero(), is_bias))
    run = fn.fit(LOSS, optimizer, epochs=1, batch_size=8, shuffle=False)(model, DATA, KEY())
    same = jax.tree.map(same_bits, run.model, model)
    assert (same.head.bias, same.head.weight) == (True, False)
    optimizer = optax.partition({"head": optax.adam(0.1)}, fn.label(_head_or_backbone))
    run = fn.fit(LOSS, optimizer, epochs=1, batch_size=8, shuffle=False)(model, DATA, KEY())
    assert not same_bits(run.model.head, model.head)


def test_wrong_labels_are_refused():
    model = model_of(PLAIN)
    with pytest.raises(TypeError, match=r"rule must be a function \(path, leaf\) -> label"):
        fn.label("head")
    for value in (None, 3, jnp.ones(2)):
        with pytest.raises(TypeError, match=r"a label must be a string .* for backbone"):
            fn.label(lambda path, leaf, value=value: value)(model)
    optimizer = optax.partition({"head": optax.adam(0.1)}, fn.label(_head_or_backbone))
    with pytest.raises(ValueError, match=r"a transformation for each label.*'backbone'"):
        fn.fit(LOSS, optimizer, epochs=1)(model, DATA, KEY())


@pytest.mark.parametrize("step_size", [0.0, 1.5, -1])
def test_a_buffer_moves_by_a_part_of_the_way(step_size):
    with pytest.raises(ValueError, match=r"step_size must be in \(0, 1\], got"):
        fn.update_buffer(fn.Buffer(jnp.zeros(())), jnp.ones(()), step_size)


@pytest.mark.parametrize(("new", "step_size"), [(1, 0.5), (1.5, None)])
def test_a_buffer_of_integers_has_no_means(new, step_size):
    with pytest.raises(TypeError, match="buffer must be floating, since the new value would be rounded"):
        fn.update_buffer(fn.Buffer(jnp.array(0)), jnp.array(new), step_size)
