"""Several devices end in the numbers of one. (conftest.py makes four of the CPU.)"""

import functools
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from keys import lazy_key
from tables import MODELS, TRAINED, assert_close, dataset, marked, training

import funcnet as fn
from funcnet import _shard, _tree

KEY = lazy_key(0)


QUICK = [("weighted-rows", 2)]
SLOW = [("tail", 1), ("tail", 2), ("tail", 4), ("weighted-rows", 1), ("weighted-rows", 4)]


@pytest.mark.parametrize(
    ("name", "devices"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_a_training_on_several_devices(name, devices):
    data, train = dataset(name, "linear"), training("linear", shuffle=False)
    model = MODELS["linear"].init()
    expected = train(model, data, KEY(), data)
    with fn.mesh.use(devices):
        run = train(model, data, KEY(), data)
    assert_close(run.model, expected.model, 10)
    assert_close(dict(run.history), dict(expected.history), 10)


@pytest.mark.parametrize("name", marked(TRAINED, slow={"gru"}))  # and those that are slow everywhere
def test_evaluation_and_prediction_of_every_model(name):
    model, data = MODELS[name].init(), MODELS[name].rows(22)
    loss = MODELS[name].loss()
    expected = fn.evaluate(loss, model, data, batch_size=8), fn.predict(model, data[0], batch_size=8)
    with fn.mesh.use():
        result = fn.evaluate(loss, model, data, batch_size=8), fn.predict(model, data[0], batch_size=8)
    assert_close(result, expected, 4)


AUTO, EXPLICIT = jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit
SQUARE = {"data": 2, "model": 2}
BY_HAND = functools.partial(jax.make_mesh, (2, 2), ("a", "data"))


NET = fn.MLP((3, 3))


@functools.cache
def on_one_device():
    """A training, and what it ends in."""
    model, data = jax.jit(NET.init)(KEY()), fn.data.Dataset(MODELS["mlp"].rows(80))
    train = fn.fit(MODELS["mlp"].loss(), optax.sgd(0.1), epochs=1, batch_size=40)
    return train, model, data, train(model, data, KEY()).model


MESHES = {
    "all devices": (lambda: fn.mesh.use(4), 10),
    "an axis of two": (lambda: fn.mesh.use(SQUARE), 20),
    "no data axis": (lambda: fn.mesh.use(SQUARE, data_axis=None), 40),
    "two data axes": (lambda: fn.mesh.use(SQUARE, data_axis=("data", "model")), 10),
    "an axis by name": (lambda: fn.mesh.use({"rows": 4}, data_axis="rows"), 10),
    "by hand": (lambda: fn.mesh.use(BY_HAND(), ("a", "data")), 10),
    "explicit axes": (lambda: fn.mesh.use(BY_HAND(axis_types=(EXPLICIT, EXPLICIT))), 20),
    "set by hand": (lambda: jax.set_mesh(BY_HAND(axis_types=(AUTO, AUTO))), 20),
    "set by hand, of no known axis": (
        lambda: jax.set_mesh(jax.make_mesh((4,), ("rows",), (AUTO,))),
        40,
    ),
}
QUICK_MESHES = {"two data axes", "explicit axes", "set by hand, of no known axis"}


@pytest.mark.parametrize("name", marked(MESHES, slow=MESHES.keys() - QUICK_MESHES))
def test_rows_lie_along_the_data_axis_of_any_mesh_and_only_sums_are_exchanged(name):
    (make_mesh, rows), (train, model, data, expected) = MESHES[name], on_one_device()
    with make_mesh():
        compiled = jax.jit(train).lower(model, data, KEY()).compile()
        assert_close(compiled(model, data, KEY()).model, expected, 10)
    program = compiled.as_text()
    assert "all-gather" not in program
    assert ("all-reduce" in program) == (rows < 40)
    assert min(n for n in (10, 20, 40) if f"f32[{n},3]" in program) == rows


def test_a_mesh_keeps_its_devices_and_their_order():
    mesh = jax.sharding.Mesh(np.array(jax.devices())[[3, 1, 0, 2]].reshape(2, 2), ("data", "x"))
    before = jax.sharding.get_abstract_mesh()
    with fn.mesh.use(mesh) as used:
        assert used.devices.tolist() == mesh.devices.tolist()
    with fn.mesh.use(jax.devices()[1:3]) as used:
        assert set(used.devices.flat) == set(jax.devices()[1:3])
    assert jax.sharding.get_abstract_mesh() == before


def test_an_explicit_mesh_set_by_hand_is_refused():
    arguments = MODELS["mlp"].loss(), MODELS["mlp"].init(), MODELS["mlp"].rows(8)
    with (
        jax.set_mesh(jax.make_mesh((4,), ("data",), (EXPLICIT,))),
        pytest.raises(ValueError, match=r"must have axes of type Auto.*with fn.mesh.use\(mesh\)"),
    ):
        fn.evaluate(*arguments)


@functools.cache
def many_on_one_device():
    """Members, and what they end in."""
    train, _, data, _ = on_one_device()
    keys = jax.random.split(KEY(), 8)
    models = jax.jit(jax.vmap(NET.init))(keys)
    many = jax.jit(jax.vmap(train, in_axes=(0, None, 0)))
    return many, models, data, keys, many(models, data, keys).model


def test_members_are_computed_on_their_devices_without_communication():
    many, models, data, keys, expected = many_on_one_device()
    with fn.mesh.use(4):
        args = fn.mesh.shard_members(models), data, fn.mesh.shard_members(keys)
    compiled = many.lower(*args).compile()
    run = compiled(*args)
    weight = run.model.layers[0].weight
    assert len(weight.sharding.device_set) == 4
    assert {shard.data.shape[0] for shard in weight.addressable_shards} == {2}
    assert_close(run.model, expected, 4)
    assert "all-" not in compiled.as_text()


BOTH = {"devices": {"data": 2, "member": 2}, "member_axis": "member"}


def test_members_lie_along_their_own_axis_and_their_rows_along_the_data_axis():
    many, models, data, keys, expected = many_on_one_device()
    with fn.mesh.use(**BOTH):
        args = fn.mesh.shard_members(models), data, fn.mesh.shard_members(keys)
        compiled = many.lower(*args).compile()
        run = compiled(*args)
    assert {shard.data.shape[0] for shard in run.model.layers[0].weight.addressable_shards} == {4}
    assert "f32[4,20,3]" in compiled.as_text() or "f32[80,3]" in compiled.as_text()
    assert "all-gather" not in compiled.as_text()
    assert_close(run.model, expected, 10)


# All studies place their members by the same function.
STUDIES = [
    pytest.param(study, use, marks=[] if (study, i) == ("ensemble", 0) else pytest.mark.slow)
    for study in ("ensemble", "many small members", "folds", "sweep", "halving")
    for i, use in enumerate([BOTH, {**BOTH, "member_axis": None}, {**BOTH, "data_axis": None}])
    if i == 0 or study in ("ensemble", "folds")
]


@pytest.mark.parametrize(("study", "use"), STUDIES)
def test_studies_over_any_axis_end_in_the_numbers_of_one_device(study, use):
    data, loss = fn.data.Dataset(MODELS["mlp"].rows(24)), MODELS["mlp"].loss()
    settings = {"epochs": 2, "batch_size": 8, "shuffle": False}
    train = fn.fit(loss, optax.sgd(0.1), **settings)
    if study == "folds":
        call = functools.partial(fn.study.cross_validate(train, fn.data.kfold(data, 3, KEY())), NET, KEY())
    elif study in ("sweep", "halving"):
        search = {"sweep": fn.study.sweep, "halving": functools.partial(fn.study.halving, factor=2)}[study](
            lambda rate: fn.fit(loss, optax.sgd(rate), **settings), {"rate": [0.05, 0.1, 0.2]}
        )
        call = functools.partial(search, NET, data, KEY(), data)
    else:
        size = 3 if study == "ensemble" else 36
        call = functools.partial(fn.study.ensemble(train, size), NET, data, KEY())
    expected = call()
    with fn.mesh.use(**use):
        result = call()
    assert_close(*map(floats, (result, expected)), 20)


def floats(result):
    leaves = map(jnp.asarray, jax.tree.leaves(getattr(result, "runs", getattr(result, "model", result))))
    return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]


def test_the_number_of_cpu_devices_is_set_before_jax_is_initialized():
    assert fn.mesh.cpu_devices(4) == 4  # as it is
    with pytest.raises(RuntimeError, match=r"count must be 4, the number of CPU devices.* got 3"):
        fn.mesh.cpu_devices(3)
    code = "import funcnet as fn, jax; print(fn.mesh.cpu_devices(3), len(jax.devices('cpu')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "3"]


def test_wrong_devices_are_refused():
    with pytest.raises(ValueError, match=r"at most 4, the number available, got 9.*mesh.cpu_devices\(9\)"):
        fn.mesh.use(9)
    with pytest.raises(TypeError, match="an integer, a list of jax"):
        fn.mesh.use("all")
    with pytest.raises(ValueError, match="at least 1"):
        fn.mesh.use(0)
    with pytest.raises(ValueError, match=r"at most 4.*got 2 x 4 = 8.*cpu_devices\(8\)"):
        fn.mesh.use({"data": 2, "model": 4})
    with pytest.raises(ValueError, match=r"devices\['data'\] must be at least 1"):
        fn.mesh.use({"data": 0})
    for wrong in ({}, {1: 2}, {"": 2}):
        with pytest.raises(TypeError, match=r"names of axes to their sizes.*use\({\"data\": 4}\)"):
            fn.mesh.use(wrong)
    with (
        fn.mesh.use({"data": 4}, data_axis=None),
        pytest.raises(ValueError, match="with a data_axis or a member_axis"),
    ):
        fn.mesh.shard_members(jnp.ones(4))
    with pytest.raises(ValueError, match=r'must be called inside "with fn.mesh.use'):
        fn.mesh.shard_members(jnp.ones(4))
    with (
        fn.mesh.use(4),
        pytest.raises(ValueError, match=r"\['w'\] must be a multiple of the 4 devices, got shape \(6,\)"),
    ):
        fn.mesh.shard_members({"w": jnp.ones(6)})
    assert np.all(fn.evaluate(lambda m, e, k: m * e, jnp.ones(()), jnp.ones(6))["loss"] == 1.0)


def test_use_without_with_warns():
    with pytest.warns(UserWarning, match="no effect without `with`. Write: with fn.mesh.use"):
        fn.mesh.use()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fn.mesh.use(2) as mesh, fn.mesh.use(1):
            assert mesh.size == 2
        assert jax.sharding.get_abstract_mesh().empty


def test_an_axis_that_is_not_in_the_mesh_is_refused():
    square = {"x": 2, "y": 2}
    with pytest.raises(
        ValueError, match=r"data_axis .* has 'x', 'y', got 'data'. Write data_axis='x', or d"
    ):
        fn.mesh.use(square)
    with pytest.raises(ValueError, match=r"data_axis .* got 'z'.* data_axis=None for every device"):
        fn.mesh.use(square, ("x", "z"))
    with pytest.raises(ValueError, match=r"member_axis .* got 'z'.* member_axis=None for the data axis"):
        fn.mesh.use(square, "x", member_axis="z")
    with pytest.raises(ValueError, match="each axis once"):
        fn.mesh.use(square, ("x", "x"))
    with pytest.raises(TypeError, match=r"data_axis must be the name of an axis.*Try data_axis='x'"):
        fn.mesh.use(square, 1)


WIDE = fn.MLP((8, 32, 32, "scalar"))
WIDE_LOSS = fn.losses.supervised(fn.losses.squared_error)


@functools.cache
def wide_model():
    return jax.jit(WIDE.init)(KEY())


def wide_rows(n=48):
    x = np.random.default_rng(3).normal(size=(n, 8)).astype(np.float32)
    return fn.data.Dataset((x, np.sin(x[:, 0])))


def fraction(tree):
    """The part of all numbers in vectors and matrices that the first device holds."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if leaf.ndim]
    return sum(a.addressable_shards[0].data.size for a in leaves) / sum(a.size for a in leaves)


def shardings(tree):
    return [leaf.sharding for leaf in jax.tree.leaves(tree)]


RULES = [
    (4, "full", None, [(), (), (), (None, "data"), (), ()]),
    (SQUARE, "columns", "model", [(), (None, "model"), (), (None, "model"), (), ()]),
    (SQUARE, "full", ("data", "model"), [(), (), (), (None, ("data", "model")), (), ()]),
    (
        SQUARE,
        {"layers": (), "layers[0].weight": (None, "model"), "layers.1": ("model",)},
        None,
        [(), (None, "model"), ("model",), ("model",), (), ()],
    ),
    (
        SQUARE,
        lambda path, leaf: ("model", "data") if path == "layers[1].weight" else None,
        None,
        [(), (), (), ("model", "data"), (), ()],
    ),
]


@pytest.mark.parametrize(("mesh", "rule", "axis", "expected"), RULES)
def test_a_rule_places_arrays(mesh, rule, axis, expected):
    model = wide_model()
    with fn.mesh.use(mesh):
        sharded = fn.mesh.shard(model, rule, axis)
    specs = {path: tuple(leaf.sharding.spec) for path, leaf in _tree.paths(sharded).items()}
    order = [f"layers[{i}].{name}" for i in range(3) for name in ("bias", "weight")]
    assert [specs[path] for path in order] == expected
    assert_close(sharded, model, 0)


@pytest.mark.parametrize(
    ("mesh", "rule", "axis"),
    [RULES[0][:3], *(pytest.param(*case[:3], marks=pytest.mark.slow) for case in RULES[1:])],
)
def test_a_rule_places_arrays_as_they_are_drawn(mesh, rule, axis):
    model = wide_model()
    with fn.mesh.use(mesh):
        sharded = fn.mesh.shard(model, rule, axis)
        drawn = jax.jit(lambda key: fn.mesh.shard(WIDE.init(key), rule, axis))(KEY())
    assert_close(drawn, model, 4)
    for one, other in zip(jax.tree.leaves(drawn), jax.tree.leaves(sharded), strict=True):
        assert one.sharding.is_equivalent_to(other.sharding, one.ndim)


SETTINGS = {
    "adam, best weights, average": (
        optax.adam(1e-2, eps=1e-3),
        {"stopping": fn.EarlyStopping(patience=1, monitor="loss"), "ema": 0.5},
    ),
    "adam, best weights": (
        optax.adam(1e-2, eps=1e-3),
        {"stopping": fn.EarlyStopping(patience=1, monitor="loss")},
    ),
    "momentum, average": (optax.sgd(1e-2, momentum=0.9), {"ema": 0.5}),
    "every step checked, micro-batches": (
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2, eps=1e-3)),
        {"accumulate": 2, "on_nan": "skip"},
    ),
}


@pytest.mark.parametrize(
    ("name", "mesh"),
    [
        ("adam, best weights, average", SQUARE),
        *(
            pytest.param(name, mesh, marks=pytest.mark.slow)
            for name in list(SETTINGS)[1:]
            for mesh in (4, SQUARE)
        ),
    ],
)
def test_a_sharded_model_stays_sharded_and_has_the_numbers_of_one_device(name, mesh, tmp_path):
    optimizer, settings = SETTINGS[name]
    train = fn.fit(WIDE_LOSS, optimizer, epochs=3, batch_size=20, shuffle=False, **settings)
    model, data = wide_model(), wide_rows()
    expected = train(model, data, KEY())
    with fn.mesh.use(mesh) as used:
        sharded = fn.mesh.shard(model, axis=used.axis_names[-1])
        run = train(sharded, data, KEY())
        chunked = fn.Trainer(train, tmp_path, progress=False, sync_every=fn.train.Every(steps=2))(
            sharded, data, KEY()
        )
        again = fn.Trainer(train, progress=False, sync_every=fn.train.Every(steps=2))(
            run.model, data, KEY()
        )
    held = fraction(sharded)
    assert held < 0.7
    for one in (run, chunked, again):
        assert shardings(one.model) == shardings(sharded) == shardings(one.state.model)
        assert fraction(one.state.opt_state) == held
        if "stopping" in settings:
            assert shardings(one.state.stopping.model) == shardings(sharded)
    for one in (run, chunked):
        assert_close(one.model, expected.model, 30)
        assert_close(dict(one.history), dict(expected.history), 30)


def test_the_programs_of_a_sharded_model_are_compiled_once():
    train = fn.fit(WIDE_LOSS, optax.adam(1e-2), epochs=3, batch_size=16, shuffle=False)
    model, data = wide_model(), wide_rows()
    with fn.mesh.use(4):
        sharded = fn.mesh.shard(model)
        run = train(sharded, data, KEY())
        train(run.model, data, KEY())
        assert train._chunks.whole_run._cache_size() == 1
        with _shard.sharded_like(sharded):
            progress = train._chunks.start(sharded, data, KEY(), None)
            assert fraction(progress.state.opt_state) == fraction(sharded), (
                "a device holds the whole state at the start"
            )
            for until in (2, 5):
                numbers = np.int32(until), np.int32(3)
                progress, _ = train._chunks.advance(progress, data, None, *numbers, check="deferred")
        assert train._chunks.advance._cache_size() == 1


def test_a_step_evaluation_and_prediction_with_a_sharded_model():
    optimizer, model, data = optax.adam(1e-2, eps=1e-3), wide_model(), wide_rows()
    step, batch = jax.jit(fn.step(WIDE_LOSS, optimizer)), jax.tree.map(lambda a: a[:16], data.arrays)
    state = fn.TrainState.create(model, optimizer, KEY())
    expected = step(state, batch)[0]
    with fn.mesh.use(4):
        sharded = fn.mesh.shard(state)
        assert shardings(sharded.model) == shardings(fn.mesh.shard(model))
        assert shardings(sharded.opt_state[0].mu) == shardings(sharded.model)
        new, _ = step(sharded, batch)
        assert new.model.layers[1].weight.addressable_shards[0].data.shape == (32, 8)
        assert new.opt_state[0].nu.layers[1].weight.addressable_shards[0].data.shape == (32, 8)
        results = fn.evaluate(WIDE_LOSS, sharded.model, data), fn.predict(sharded.model, data.arrays[0])
    assert_close(new.model, expected.model, 10)
    assert_close(results, (fn.evaluate(WIDE_LOSS, model, data), fn.predict(model, data.arrays[0])), 10)


def test_each_device_holds_its_part_of_a_program_with_a_sharded_model():
    train = fn.fit(WIDE_LOSS, optax.adam(1e-2), epochs=2, batch_size=8, shuffle=False)
    model = jax.jit(fn.MLP((256, 256, "scalar")).init)(KEY())
    data = np.ones((16, 256), np.float32), np.ones(16, np.float32)

    def program_bytes(model):
        memory = jax.jit(train).lower(model, data, KEY()).compile().memory_analysis()
        sizes = memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes
        return sum(sizes) - memory.alias_size_in_bytes

    with fn.mesh.use(4):
        assert program_bytes(fn.mesh.shard(model)) < 0.35 * program_bytes(model)


def test_wrong_rules_are_refused():
    model = wide_model()
    with pytest.raises(ValueError, match=r'must be called inside "with fn.mesh.use'):
        fn.mesh.shard(model)
    with fn.mesh.use({"x": 2, "y": 2}, data_axis=None):
        for error, rule, axis, words in [
            (ValueError, "rows", None, r"rule must be one of full, columns, got 'rows'"),
            (ValueError, "full", None, r"axis must be given if data_axis is None.*'full', axis='x'\)"),
            (ValueError, "full", "z", r"axis must be an axis of the mesh, which has 'x', 'y', got 'z'"),
            (ValueError, {"layers[0].bias": ("x",)}, "x", "axis must be None for a rule by path"),
            (TypeError, 3, None, r'Try fn.mesh.shard\(model, "full"\)'),
            (ValueError, {"head": ("x",)}, None, r"nothing is at 'head'. Its arrays are layers\[0\]"),
            (TypeError, {"layers[0].weight": "x"}, None, r"a tuple of axes .* Try \(None, 'x'\)"),
            (ValueError, {"layers[0].bias": (None, "x")}, None, r"at most 1 axes .* Try \(None,\)"),
            (
                ValueError,
                {"layers[0].weight": ("z",)},
                None,
                r"which has 'x', 'y', got 'z' for layers\[0\]",
            ),
            (ValueError, {"layers[0].weight": ("x", "x")}, None, "each axis once"),
            (ValueError, {"layers[2].bias": ("x",)}, None, r"at most 0 axes"),
            (TypeError, lambda path: None, None, r"rule must be a function \(path, leaf\)"),
            (TypeError, lambda path, leaf: True, None, "rule must give a tuple of axes"),
        ]:
            with pytest.raises(error, match=words):
                fn.mesh.shard(model, rule, axis)
        with pytest.raises(ValueError, match=r"shape \(5,\) evenly.*5 is not a multiple of 4, .* x and y"):
            fn.mesh.shard(jnp.ones(5), lambda path, leaf: (("x", "y"),))
        with pytest.raises(TypeError, match=r"must hold arrays.*Initialize it: net.init\(key\)"):
            fn.mesh.shard(WIDE)
        sharded = fn.mesh.shard(model, axis="x")
    train = fn.fit(WIDE_LOSS, optax.adam(1e-2), epochs=1)
    with fn.mesh.use(2), pytest.raises(ValueError, match="over the 2 devices of this mesh, got one over 4"):
        train(sharded, wide_rows(), KEY())
