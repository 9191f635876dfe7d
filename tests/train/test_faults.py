"""What can go wrong around a long training: each row of docs/why/resume.md."""

import contextlib
import functools
import json
import resource
import shutil
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import same_bits

import funcnet as fn
from funcnet import _files, _tree
from funcnet.report._runs import find_runs, read_run, row
from funcnet.train import Every
from funcnet.train._checkpoint import Checkpoints
from funcnet.train._manifest import FIELDS, places

X = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
DATA = X, np.sin(X[:, 0])
TRAIN = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(0.01), epochs=6, batch_size=8)
SETTINGS = {"sync_every": Every(steps=1), "save_every": Every(steps=4), "keep": 9}


def the_key():
    return jax.random.key(0)


@functools.cache
def initial():
    return jax.jit(fn.MLP((3, 16, "scalar")).init)(the_key())


def _go_on(folder, data=DATA, **settings):
    return fn.Trainer(TRAIN, folder, **SETTINGS | settings)(initial(), data, the_key())


def _interrupted(folder, epoch=4, data=DATA):
    """A training that ended with an error after some epochs, its checkpoints left behind."""

    def stop(context):
        if context.epoch == epoch:
            raise KeyError("stop")

    with pytest.raises(KeyError):
        fn.Trainer(TRAIN, folder, [stop], **SETTINGS)(initial(), data, the_key())
    return places(folder)


@pytest.fixture(scope="module")
def whole():
    return TRAIN(initial(), DATA, the_key())


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    _interrupted(folder)
    return folder


@pytest.fixture
def saved(interrupted, tmp_path):
    """The checkpoints of an interrupted training in `tmp_path`."""
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    return places(tmp_path)


@contextlib.contextmanager
def _largest_file(size):
    """No file can grow over so many bytes: what a full disk does to whoever writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_manifest_says_how_long_the_call_had_trained(tmp_path):
    began = time.monotonic()
    saved = _interrupted(tmp_path)
    elapsed = time.monotonic() - began
    seconds = [json.loads((place / "manifest.json").read_text())["seconds"] for place in saved]
    assert 0 < seconds[0] < seconds[-1] <= elapsed + 0.001  # rounded to milliseconds


def test_a_full_disk_is_told_and_what_was_saved_before_stays(tmp_path, whole, saved):
    with (
        _largest_file(200),
        pytest.raises(OSError, match=r"could not be written(.|\n)*The earlier ones are intact"),
    ):
        _go_on(tmp_path)
    assert places(tmp_path) == saved
    assert same_bits(_go_on(tmp_path), whole)


def _truncated(file):
    file.write_bytes(file.read_bytes()[:-1])


def _flipped(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [_truncated, _flipped, lambda file: file.unlink()], ids=["cut", "bit", "gone"]
)
@pytest.mark.parametrize("what", ["arrays.safetensors", "manifest.json"])
def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path, whole, saved, damage, what):
    *_, newest = saved
    damage(newest / what)
    with pytest.warns(UserWarning, match=rf"{newest.name} is damaged and is skipped: "):
        run = _go_on(tmp_path)
    assert same_bits(run, whole)


def _reseal(place, change):
    """Change a manifest and its checksum with it."""
    manifest = json.loads((place / "manifest.json").read_text())
    del manifest["sha256"]
    _files.write_sealed(place / "manifest.json", manifest | change)


HOSTILE = [
    *({name: value} for name in FIELDS for value in (None, [], {"a": {}}, "text", -(10**400), [[1]])),
    *({"files": {name: "0"}} for name in ("../x", "/etc/hostname", "..", "", "a/b", "manifest.json\0")),
    {"files": {}, "arrays": {}},
    {"arrays": {}},
    {"arrays": {"['state'].state.step": {"dtype": "object", "shape": []}}},
    {"arrays": {"['state'].state.step": {"dtype": "nonsense", "shape": []}}},
    {"arrays": {"['state'].state.step": {"dtype": "int32", "shape": [-1]}}},
    {"arrays": {"['state'].state.step": {"dtype": "int32", "shape": [2**40, 2**40]}}},
    {"step": 3},
    {"history": {"loss": [0.5]}, "values": {"loss": 10**300}},
]


def test_a_hostile_manifest_gets_a_sentence_and_hides_no_other_run(tmp_path, whole):
    _interrupted(tmp_path / "run", epoch=2)
    place = _interrupted(tmp_path / "run", epoch=2)[-1]
    original = (place / "manifest.json").read_bytes()
    shutil.copytree(tmp_path / "run", tmp_path / "sound")
    for other in places(tmp_path / "run")[:-1]:
        shutil.rmtree(other)
    for change in HOSTILE:
        (place / "manifest.json").write_bytes(original)
        _reseal(place, change)
        store = Checkpoints(tmp_path / "run", 3, "loss", {})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            newest = store.newest(force=True)
        if newest is not None:  # its arrays are not those of a state
            with pytest.raises(ValueError, match="holds a different state than this run's"):
                newest.part("state", {"w": jnp.ones(2)})
        store.best_place(store.places())
        damaged, sound = find_runs(tmp_path)
        assert sound.problem == ""
        assert damaged.problem or damaged.outcome
        assert [row(run, tmp_path) for run in (damaged, sound)]


def test_a_checkpoint_of_another_format_is_refused_and_not_trained_over(tmp_path, saved):
    place = saved[-1]
    _reseal(place, {"format": 2})
    with pytest.raises(ValueError, match=r"must have format 3, got another one: another version"):
        _go_on(tmp_path)
    (place / "manifest.json").write_text(json.dumps({"manifest": {"format": 1}, "sha256": "0"}))
    with pytest.raises(ValueError, match=r"must have format 3, got another one: another version"):
        _go_on(tmp_path)
    assert "got 1" in read_run(tmp_path).problem


DTYPES = [
    *("bool", "int4", "uint4", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128", "float8_e4m3fn"),
    *("float8_e5m2", "float8_e4m3", "float8_e3m4", "float8_e4m3b11fnuz", "float8_e8m0fnu", "float4_e2m1fn"),
]


def test_a_checkpoint_keeps_the_bits_of_every_dtype(tmp_path):
    bits = np.arange(256, dtype=np.uint8)
    tree = {"key": jax.random.key(3), "keys": jax.random.split(jax.random.key(4), 2), "number": 2.5}
    for name in DTYPES:
        dtype = jnp.dtype(name)
        small = bits % 2 if name == "bool" else bits % 16 if name.strip("uint") == "4" else bits
        tree[name] = small.view(dtype) if name != "float4_e2m1fn" else np.arange(6).astype(dtype)
        tree[f"empty {name}"], tree[f"one {name}"] = tree[name][:0], tree[name][1]
        tree[f"strided {name}"] = tree[name][: len(tree[name]) // 2 * 2].reshape(-1, 2).T
    tree["swapped"] = np.arange(5.0).astype(">f8")
    store = Checkpoints(tmp_path, 3, None, {})
    with store.open():
        store.save(
            tree, 7, {"epoch": 1, "epochs": 1, "values": {}, "history": {}, "outcome": "", "seconds": 1}
        )
        store.wait()
        arrays = store.newest(force=True).arrays
    assert [f.name for f in sorted(places(tmp_path)[0].iterdir())] == [
        "arrays.safetensors",
        "manifest.json",
    ]
    for path, leaf in _tree.paths(tree).items():
        expected, actual = np.asarray(_tree.to_numpy(leaf)), arrays[path]
        expected = expected.astype(expected.dtype.newbyteorder("="))
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), path
        assert actual.tobytes() == expected.tobytes(), path


def test_without_a_whole_checkpoint_it_begins_anew(tmp_path, whole, saved):
    for place in saved:
        (place / "manifest.json").unlink()
    with pytest.warns(UserWarning, match="damaged"):
        assert same_bits(_go_on(tmp_path), whole)


def test_a_directory_that_cant_be_written_is_refused_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "run", "/proc/funcnet"):
        with pytest.raises(
            OSError, match="A Trainer must be able to write to its directory; choose another"
        ):
            _go_on(place)


def test_a_second_process_in_the_directory_is_refused(tmp_path, whole):
    def second(context):
        with pytest.raises(OSError, match=r"in use by process \d+: a directory belongs to one run"):
            _go_on(tmp_path)

    fn.Trainer(TRAIN, tmp_path, [second])(initial(), DATA, the_key())
    assert same_bits(_go_on(tmp_path), whole)


def test_a_clock_set_back_changes_nothing(tmp_path, whole, monkeypatch):
    _interrupted(tmp_path, epoch=2)
    monkeypatch.setattr(time, "gmtime", lambda *_: time.struct_time((1970, 1, 1, 0, 0, 0, 3, 1, 0)))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    newest = _interrupted(tmp_path, epoch=4)[-1]
    assert int(newest.name) == 19  # the state before the visit in which it stopped
    assert same_bits(_go_on(tmp_path), whole)


class Rows:
    """Rows in memory, read as a stream; from some read on they can't be."""

    def __init__(self, bad_after=None):
        self.bad_after, self.reads = bad_after, 0

    def __len__(self):
        return len(X)

    def rows(self, numbers):
        self.reads += 1
        if self.bad_after is not None and self.reads > self.bad_after:
            raise ConnectionError("the disk is gone")
        return tuple(part[numbers] for part in DATA)

    def identity(self):
        return "rows of a test"


def test_what_a_reading_thread_raises_reaches_the_caller_and_the_run_goes_on(tmp_path, whole):
    with pytest.raises(ConnectionError, match="the disk is gone"):
        _go_on(tmp_path, fn.data.Stream(Rows(bad_after=6)))
    assert places(tmp_path)
    assert same_bits(_go_on(tmp_path, fn.data.Stream(Rows())).model, whole.model)


def test_a_source_that_ends_early_is_told():
    def make():
        return ((part[i : i + 8] for part in DATA) for i in range(0, 40, 8))

    def batches():
        return map(tuple, make())

    with pytest.raises(ValueError, match="ended after 5 of 9 batches of epoch 0"):
        _go_on(None, fn.data.Stream.from_batches(batches, 9))
    in_order = fn.fit(TRAIN.loss, TRAIN.optimizer, epochs=6, batch_size=8, shuffle=False)
    stream = fn.data.Stream.from_batches(batches, 5)
    run = fn.Trainer(in_order)(initial(), stream, the_key())
    assert same_bits(run.model, in_order(initial(), DATA, the_key()).model)


@pytest.mark.parametrize("kind", [iter, lambda parts: map(tuple, parts), lambda parts: (p for p in parts)])
def test_one_iterator_for_all_epochs_is_refused(kind):
    parts = [tuple(part[i : i + 8] for part in DATA) for i in range(0, 40, 8)]
    once = kind(parts)
    with pytest.raises(ValueError, match=r"a new iterable each time, got the same \w+ again"):
        _go_on(None, fn.data.Stream.from_batches(lambda: once, 5))
    stream, once = fn.data.Stream.from_batches(lambda: once, 5), kind(parts)
    assert len(list(stream.chunks(None, 0, 0, 5, 8))) == 5
    with pytest.raises(ValueError, match="a new iterable each time"):
        list(stream.chunks(None, 1, 0, 5, 8))
    for make in (lambda: kind(parts), lambda: parts):  # a list is gone through as often as one likes
        stream = fn.data.Stream.from_batches(make, 5)
        assert [len(list(stream.chunks(None, epoch, 0, 5, 8))) for epoch in range(3)] == [5, 5, 5]


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path, whole, saved):
    place = saved[-1]
    shutil.copytree(place, place.with_name(".0000000099.part"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same_bits(_go_on(tmp_path), whole)
    assert not list((tmp_path / "checkpoints").glob(".*"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: fn.Trainer(initial()), r"must be a function returned by fn\.fit, got"),
        (lambda p: fn.Trainer(TRAIN, save_every=5), r"save_every must be a funcnet\.train\.Every"),
        (
            lambda p: fn.Trainer(TRAIN, callbacks=[3]),
            r"each of callbacks must be a funcnet\.train\.Callback or a function",
        ),
        (lambda p: fn.Trainer(TRAIN, callbacks=[fn.train.Monitor]), "each of callbacks must be a"),
        (
            lambda p: fn.Trainer(TRAIN, callbacks=[lambda context: True])(initial(), DATA, the_key()),
            "None or a funcnet",
        ),
        (lambda p: fn.Trainer(TRAIN, max_time=0), "above 0"),
        (lambda p: Every(), "one of epochs, steps and seconds"),
        (lambda p: Every(epochs=1, steps=2), "one of epochs, steps and seconds"),
        (lambda p: Every(seconds=0.0), "above 0"),
        (lambda p: fn.data.Stream.npy(p / "none.npy"), "No such file"),
        (lambda p: fn.data.Stream.npy((p / "x.npy", p / "short.npy")), "the same number of rows"),
        (lambda p: fn.data.Stream.npy(p / "words.npy"), "must be files of numbers"),
        (lambda p: fn.data.Stream.npy(p / "text"), r"is not a \.npy file"),
        (lambda p: fn.data.Stream.npy(p / "cut.npy"), "is truncated"),
        (lambda p: fn.data.Stream(X), "without rows"),
        (
            lambda p: fn.Trainer(TRAIN)(initial(), (X[:, :2], DATA[1]), the_key()),
            "LinearRegression|MLP|Linear",
        ),
    ],
)
def test_bad_input_gets_one_clear_error(make, words, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 3), np.float32))
    np.save(tmp_path / "short.npy", np.zeros(3, np.float32))
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    (tmp_path / "text").write_text("no array")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-5])
    with pytest.raises((TypeError, ValueError, FileNotFoundError), match=words):
        make(tmp_path)
