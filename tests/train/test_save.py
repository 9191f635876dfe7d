"""Whole models go to disk and come back equal; whatever else a file holds ends in a sentence."""

import contextlib
import functools
import hashlib
import json
import os
import random
import re
import tempfile
from pathlib import Path
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import run_program
from safetensors.numpy import load_file, save_file
from tables import MODELS, QUICK, marked, same_bits

import funcnet as fn
from funcnet._module import shapes
from funcnet.train import _registry
from funcnet.train._safetensors import deserialize, seal


class TwoLayer(fn.Module):
    hidden: fn.Module = fn.Linear(2, 4)
    out: fn.Module = fn.Linear(4, 1)
    activation: object = jax.nn.relu

    def __call__(self, x, key=None):
        return self.out(self.activation(self.hidden(x)))


class Pair(NamedTuple):
    first: fn.Module
    second: fn.Module


class Holder(fn.Module):
    parts: dict[str, fn.Module | jax.Array] | None = None
    pair: Pair | tuple[fn.Module, ...] | None = None
    setting: object = None

    def __call__(self, x, key=None):
        return x


def squared(x):
    return x * x


def the_key():
    return jax.random.key(0)


@functools.cache
def initial(net):
    return jax.jit(net.init)(the_key())


LINEAR = fn.Linear(2, 1)


def drawn(name, seed=0):
    """A model with random arrays in place of those that init draws, which takes long to compile."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jax.device_put(rng.uniform(0.1, 0.9, leaf.shape).astype(leaf.dtype)),
        shapes(MODELS[name].net),
    )


def through_disk(model, path, **custom):
    fn.save(model, path)
    return fn.load(path, custom_objects=custom)


def assert_same(loaded, model):
    assert jax.tree.structure(loaded) == jax.tree.structure(model)
    assert loaded == model
    assert same_bits(loaded, model)
    kinds = [[type(leaf) for leaf in jax.tree.leaves(tree)] for tree in (loaded, model)]
    assert kinds[0] == kinds[1]


# One of each kind, and those whose fields are unusual.
KINDS = {*QUICK, "attention", "batch-norm", "conv-net", "dropout-array", "number-embedding"}
KINDS |= {"residual", "sequential", "spectral-norm", "transformer", "upsample-bilinear"}


@pytest.mark.parametrize("name", marked(MODELS, slow=MODELS.keys() - KINDS))
def test_every_model_comes_back(name, tmp_path):
    net, model = MODELS[name].net, drawn(name)
    assert_same(through_disk(net, tmp_path / "m"), net)
    stacked = jax.tree.map(lambda leaf: jax.device_put(np.stack([leaf, leaf / 2])), model)
    half = jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf).astype(jnp.bfloat16)), stacked)
    frozen = fn.freeze(half, lambda path, leaf: "bias" not in path) if fn.count(net) else half
    assert_same(through_disk(frozen, tmp_path / "m"), frozen)
    assert_same(through_disk(model, tmp_path / "m"), model)
    # Its arrays have the names of a file of weights, and are read as one.
    assert_same(fn.load_weights(net, tmp_path / "m"), model)
    fn.save_weights(model, tmp_path / "w")
    assert load_file(tmp_path / "m").keys() == load_file(tmp_path / "w").keys()


@pytest.mark.parametrize("name", marked(MODELS, slow=MODELS.keys() - {*QUICK, "batch-norm"}))
def test_a_loaded_model_predicts_the_same_and_is_not_traced_again(name, tmp_path):
    traces = []

    @jax.jit
    def call(model, x):
        traces.append(1)
        return model(x)

    model, (x, _) = drawn(name), MODELS[name].rows(3)
    assert same_bits(call(through_disk(model, tmp_path / "m"), x), call(model, x))
    assert len(traces) == 1


IN_ANOTHER_PROCESS = """
import hashlib, sys, jax, numpy as np, funcnet as fn
for path in sys.argv[1:]:
    leaves = jax.tree.leaves(fn.load(path))
    print(hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest())
assert "optax" not in sys.modules
"""


def test_another_process_loads_it(tmp_path):
    models = [drawn(name) for name in ("conv-net", "transformer", "gru", "siren")]
    for i, model in enumerate(models):
        fn.save(model, tmp_path / f"{i}")
    (tmp_path / "program.py").write_text(IN_ANOTHER_PROCESS)
    process = run_program(tmp_path / "program.py", *(tmp_path / f"{i}" for i in range(len(models))))
    assert process.stdout.split() == [
        hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(m))).hexdigest()
        for m in models
    ], process.stderr


def test_the_same_model_makes_the_same_bytes(tmp_path):
    for place in "ab":
        fn.save(drawn("mlp"), tmp_path / place)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


PADDED = fn.layers.Conv2d(1, 2, (3, 1), padding=((1, 0), 0))
CONTAINERS = {
    "ensemble": lambda: fn.study.Ensemble(
        jax.jit(jax.vmap(LINEAR.init))(jax.random.split(the_key(), 3)), average="binary"
    ),
    "precision": lambda: fn.Precision(compute="bfloat16").model(initial(LINEAR)),
    "buffer-number": lambda: fn.Dropout(fn.Buffer(0.25)),
    "conv": lambda: PADDED,
    "conv-init": lambda: initial(PADDED),
    "dict": lambda: {"w": jnp.ones((2, 0)), "n": [np.arange(3.0), (None, True, 3, -0.0, "é\n\x1b")]},
    "keys": lambda: {5: fn.Linear(1, 1), -2: {}},
    "names": lambda: {'"funcnet.file_sha256":"' + "0" * 64 + '"': jnp.ones(1), "é": jnp.ones(2)},
    "list": lambda: [jnp.array([np.nan, -np.inf]), jnp.array([1j], jnp.complex64), np.float16([1])],
    "empty": lambda: (),
    "array": lambda: jnp.float32(0.1),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_settings_and_models_of_models(name, tmp_path):
    model = CONTAINERS[name]()
    loaded = through_disk(model, tmp_path / "m")
    assert jax.tree.structure(loaded) == jax.tree.structure(model)
    assert same_bits(loaded, model)
    assert repr(loaded) == repr(model)


def test_one_layer_in_two_places(tmp_path):
    layer = initial(fn.Linear(2, 2))
    assert_same(
        through_disk(fn.Sequential(layer, jax.nn.relu, layer), tmp_path / "m"),
        fn.Sequential(layer, jax.nn.relu, layer),
    )


def test_classes_and_functions_of_the_user(tmp_path):
    model = Holder(
        parts={"a": TwoLayer(activation=squared), "b": jnp.arange(3.0)},
        pair=Pair(fn.Linear(1, 1), TwoLayer()),
        setting={"f": (squared, jnp.tanh), "dtype": jnp.dtype("int8"), "kind": jnp.bfloat16, "x": [np.inf]},
    ).init(the_key())
    custom = {"Holder": Holder, "TwoLayer": TwoLayer, "squared": squared, "Pair": Pair}
    assert_same(through_disk(model, tmp_path / "m", **custom), model)
    with pytest.raises(
        ValueError, match="it uses Holder and Pair and TwoLayer and squared, which"
    ) as caught:
        fn.load(tmp_path / "m")
    code = re.search(r"fn\.load\(.*\)", str(caught.value))[0]
    assert eval(code, {"fn": fn, **custom}) == model
    for wrong, words in [
        ({"TwoLayer": fn.Linear}, "the class Linear has no field 'activation'"),
        (
            {"TwoLayer": squared},
            r"custom_objects\['TwoLayer'\] must be a subclass of fn.Module, got function",
        ),
        ({"Pair": dict}, r"custom_objects\['Pair'\] must be a class of named tuples, got the class dict"),
    ]:
        with pytest.raises(ValueError, match=words):
            fn.load(tmp_path / "m", custom_objects=custom | wrong)
    for wrong in ([TwoLayer], {"TwoLayer": 5}, {5: TwoLayer}):
        with pytest.raises(TypeError, match="custom_objects must be a dictionary of classes and functions"):
            fn.load(tmp_path / "m", custom_objects=wrong)


class Doubles(fn.Module):
    size: int
    rate: fn.Buffer | float = 0.5

    def __post_init__(self):
        object.__setattr__(self, "size", 2 * self.size)


def test_fields_are_as_they_were_whatever_a_constructor_does(tmp_path):
    assert_same(through_disk(Doubles(2), tmp_path / "m", Doubles=Doubles), Doubles(2))

    class Doubles3(fn.Module):  # a later version of the class, with another field
        size: int
        rate: fn.Buffer | float = 0.5
        scale: float = 3.0

    loaded = fn.load(tmp_path / "m", custom_objects={"Doubles": Doubles3})
    assert (loaded.size, loaded.scale) == (4, 3.0)


def test_functions_with_settings_and_initializers(tmp_path):
    leaky = functools.partial(jax.nn.leaky_relu, negative_slope=0.3)
    model = initial(fn.MLP((2, 3, 1), activation=leaky))
    assert same_bits(through_disk(model, tmp_path / "m")(jnp.ones(2)), model(jnp.ones(2)))
    initializers = jax.nn.initializers
    for init in [
        *(
            initializers.zeros,
            initializers.normal(0.3),
            initializers.he_uniform(),
            initializers.orthogonal(),
        ),
        *(initializers.constant(2), initializers.truncated_normal(0.2, lower=-1.0)),
    ]:
        net = fn.Linear(3, 4, weight_init=init)
        loaded = through_disk(net, tmp_path / "m")
        assert same_bits(*jax.jit(lambda key: (loaded.init(key), net.init(key)))(the_key()))  # noqa: B023
        assert fn.load(tmp_path / "m") == loaded


def test_every_function_of_the_table_comes_back(tmp_path):
    table = _registry.functions()
    assert len(table) > 120
    model = Holder(setting=dict(table))
    loaded = through_disk(model, tmp_path / "m", Holder=Holder)
    assert all(loaded.setting[name] is function for name, function in table.items())
    rooms = {room: getattr(fn, room) for room in ("layers", "models")}
    for room, module in rooms.items():
        for name in module.__all__:
            if isinstance(cls := getattr(module, name), type) and issubclass(cls, fn.Module):
                assert _registry.find_class(_registry.class_name(cls)) is cls, f"{room}.{name}"


def lifted():
    class Lifted(fn.Module):
        _lifted: ClassVar[bool] = True
        weight: jax.Array | None = None

        def __call__(self, x, key=None):
            return self.weight * x

    return Lifted(jnp.ones(1))


def two_called_alike():
    def make(n):
        def scaled(x):
            return n * x

        return scaled

    return fn.Sequential(make(1), make(2))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: fn.MLP((2, 3, 1), activation=lambda x: x),
            ValueError,
            r"^activation must be .*got <lambda>. Name it, def activation",
        ),
        (two_called_alike, ValueError, "two different classes or functions called 'scaled'"),
        (
            lifted,
            TypeError,
            r"network of another library: keep fn.save_weights\(model, path\) and fn.load",
        ),
        (lambda: fn.Sequential(fn.Linear(1, 1), lifted()), TypeError, r"^layers\.1 must be built of"),
        (
            lambda: {"x": {1, 2}},
            TypeError,
            r"^x must be an array, .*got set \{1, 2\}. Save the arrays alone: fn.save_w",
        ),
        (lambda: {(1, 2): jnp.ones(1)}, TypeError, "^model must be an array"),
        (
            lambda: Holder(setting=functools.partial(lambda x: x)),
            ValueError,
            "^setting must be a function with a n",
        ),
        (lambda: Holder(setting=fn.Linear(1, 1).init), TypeError, "^setting must be .*got method"),
        (
            lambda: fn.TrainState.create(initial(LINEAR), optax.sgd(0.1), the_key()),
            TypeError,
            r"^model must be a model, got a TrainState .*fn.save\(trainstate.model, path\)",
        ),
        (lambda: {"key": the_key()}, ValueError, "got an array of key<fry> and shape .* for key"),
        (
            lambda: {"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}},
            ValueError,
            "two arrays .* would be called 'a.b'",
        ),
        (
            lambda: jax.eval_shape(LINEAR.init, the_key()),
            TypeError,
            "model must hold arrays, got the shapes",
        ),
        (
            lambda: jax.tree.map(lambda a: a[0], initial(LINEAR)),
            ValueError,
            r"this Linear could not be loaded again: .*Linear.bias must have shape \(1,\), got \(\)",
        ),
    ],
)
def test_what_is_not_saved_ends_in_a_sentence(make, error, words, tmp_path):
    with pytest.raises(error, match=words):
        fn.save(make(), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_traced_model_is_refused(tmp_path):
    for save in (fn.save, fn.save_weights):
        with pytest.raises(TypeError, match=f"fn.{save.__name__} runs on the host"):
            jax.jit(lambda model: save(model, tmp_path / "m"))(initial(LINEAR))  # noqa: B023


def test_float64_is_not_rounded(tmp_path):
    with jax.enable_x64(True):
        model = jax.jit(LINEAR.init)(the_key())
        assert model.weight.dtype == "float64"
        assert_same(through_disk(model, tmp_path / "m"), model)
    with pytest.raises(
        ValueError, match=r"is float64, which JAX would round. Load it after jax.config.upd"
    ):
        fn.load(tmp_path / "m")


def test_files_that_fn_save_did_not_write(tmp_path):
    model = initial(LINEAR)
    fn.save_weights(model, tmp_path / "w")
    save_file({"a": np.ones(1)}, tmp_path / "other")
    for name in ("w", "other"):
        with pytest.raises(ValueError, match=r"arrays without an architecture.*model = fn.load_weights"):
            fn.load(tmp_path / name)
    (tmp_path / "text").write_text("a model")
    with pytest.raises(ValueError, match="text is not a complete safetensors file"):
        fn.load(tmp_path / "text")
    with pytest.raises(FileNotFoundError, match=r"expected a file that fn.save wrote"):
        fn.load(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError, match=r"expected a file that fn.save wrote"):
        fn.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"Not a regular file: expected a file that fn.save wrote"):
        fn.load(tmp_path / "pipe")


def test_a_changed_bit_of_any_byte_is_refused(tmp_path):
    model = initial(fn.Linear(1, 1))
    fn.save(model, tmp_path / "m")
    whole = (tmp_path / "m").read_bytes()
    cut = [whole[:i] for i in range(0, len(whole), 7)]
    flipped = [whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :] for i in range(len(whole))]
    for content in [*cut, *flipped, whole + b"\0"]:
        (tmp_path / "m").write_bytes(content)
        with pytest.raises(ValueError, match=r"m is not a complete|m is damaged|m holds arrays without"):
            fn.load(tmp_path / "m")
        with contextlib.suppress(ValueError):  # but of a bit in the name of the checksum's field
            assert fn.load_weights(model, tmp_path / "m") == model


def resealed(content, change):
    """The content of a file, its architecture changed and the checksum made anew."""
    arrays, metadata = deserialize(content, "m")
    from safetensors.numpy import save

    return seal(save(arrays, metadata | {"funcnet.model": change(metadata["funcnet.model"])}))


def test_other_formats_and_unknown_names(tmp_path):
    fn.save(initial(fn.MLP((2, 3, 1))), tmp_path / "m")
    whole = (tmp_path / "m").read_bytes()
    for old, new, words in [
        (
            '"format":1',
            '"format":2',
            "m can't be loaded: it has format 2, written by funcnet .* reads format 1",
        ),
        ('"format":1', '"format":"x"', "its architecture is not one that fn.save writes"),
        ("models.MLP", "models.MLQ", "the class 'models.MLQ' is unknown to this version of funcnet"),
        ("models.MLP", "models.jax", "the class 'models.jax' is unknown"),
        ("models.MLP", "os.system", "the class 'os.system' is unknown"),
        ("jax.nn.relu", "jax.nn.reluu", "the function 'jax.nn.reluu' is unknown to this version"),
        ("jax.nn.relu", "os.system", "the function 'os.system' is unknown"),
        (
            '"in_features":2',
            '"in_features":-2',
            "Linear refuses its fields: in_features must be at least 1",
        ),
        (
            '"in_features":2',
            '"in_features":4',
            r"Linear refuses its fields: Linear.weight must have shape \(4",
        ),
        ('"in_features":2', '"in_feature":2', "the class Linear has no field 'in_feature'"),
        ('"layers.0.bias"', '"layers.1.bias"', r"Linear.bias must have shape \(3,\), got \(1,\)"),
        ('{"kind":"array","name":"layers.0.bias"}', "null", "has no place for the array layers.0.bias"),
        ('"layers.0.weight"', '"layers.9.weight"', "it lacks the array layers.9.weight"),
        ('"tuple"', '"\\u001b[2J"', r"has an unknown node of kind '\\x1b\[2J'"),
    ]:
        (tmp_path / "m").write_bytes(resealed(whole, lambda text: text.replace(old, new, 1)))  # noqa: B023
        with pytest.raises(ValueError, match=words):
            fn.load(tmp_path / "m")


def values_of(node, path=()):
    yield path
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, dict | list):
            yield from values_of(value, (*path, key))
        else:
            yield (*path, key)


JUNK = [
    None,
    True,
    0,
    -1,
    10**400,
    2.5,
    float("nan"),
    "",
    "x",
    "custom.x",
    "\ud800",
    [],
    {},
    [[]],
    {"kind": 1},
]
JUNK += [{"kind": kind, "name": "x"} for kind in ("array", "function", "dtype", "module", [])]


@functools.cache
def content_of(name):
    """The bytes of a file with a model of the table."""
    with tempfile.TemporaryDirectory() as folder:
        fn.save(drawn(name), Path(folder, "m"))
        return Path(folder, "m").read_bytes()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_an_architecture_with_junk_is_refused_or_another_valid_one(seed, tmp_path_factory):
    rng, place = random.Random(seed), tmp_path_factory.mktemp("m") / "m"
    content = content_of(rng.choice(["conv-net", "mlp-dropout", "spectral-norm", "upsample-nearest"]))

    def change(text):
        described = json.loads(text)
        *path, last = rng.choice([path for path in values_of(described) if path])
        functools.reduce(lambda node, key: node[key], path, described)[last] = rng.choice(JUNK)
        return json.dumps(described)

    place.write_bytes(resealed(content, change))
    message = ""
    try:
        fn.load(place)
    except ValueError as error:
        message = str(error)
    assert message.startswith(str(place)) or not message
    assert message.isprintable()
    assert len(message) < 1200
