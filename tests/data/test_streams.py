"""Which bytes a stream is made of: a run resumes only on the data that it was interrupted on."""

import functools
import json
import os

import jax
import numpy as np
import optax
import pytest
from keys import cached_key

import funcnet as fn
from funcnet.data import _digest

X = np.linspace(-1.0, 1.0, 32, dtype=np.float32)[:, None]
Y = 2 * X[:, 0]


@functools.cache
def start_model():
    return fn.models.LinearRegression(1).init(cached_key(0))


TRAIN = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.sgd(0.1), epochs=3, batch_size=8)
EACH_STEP = fn.train.Every(steps=1)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    return tmp_path


def stream_of(files):
    return fn.data.Stream.npy((files / "x.npy", files / "y.npy"))


def test_a_file_with_the_same_size_and_date_is_another_one(files):
    fn.Trainer(TRAIN, files / "run")(start_model(), stream_of(files), cached_key(0))
    before, changed = os.stat(files / "y.npy"), Y.copy()
    changed[17] = np.nextafter(changed[17], np.float32(9))
    np.save(files / "y.npy", changed)
    os.utime(files / "y.npy", ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(files / "y.npy")
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    with pytest.raises(ValueError, match=r"belongs to a different run:\n  data: .*sha256"):
        fn.Trainer(TRAIN, files / "run")(start_model(), stream_of(files), cached_key(0))
    np.save(files / "y.npy", Y)
    fn.Trainer(TRAIN, files / "run")(start_model(), stream_of(files), cached_key(0))


def test_the_digest_of_an_untouched_file_is_read_from_the_cache(files, monkeypatch):
    expected = stream_of(files).fingerprint()
    assert not (files / "cache").exists()  # a file that has just changed may change again unnoticed
    monkeypatch.setattr(_digest, "SETTLED_NS", -(10**12))
    assert stream_of(files).fingerprint() == expected
    entries = list((files / "cache/funcnet/digests").glob("*.json"))
    assert len(entries) == 2
    with monkeypatch.context() as patch:
        patch.setattr(_digest, "_read", lambda *_: pytest.fail("the file was read again"))
        assert stream_of(files).fingerprint() == expected
    for entry in entries:
        entry.write_text(json.dumps({"sha256": 7}))
    assert stream_of(files).fingerprint() == expected
    before = os.stat(files / "x.npy")
    np.save(files / "x.npy", -X)
    os.utime(files / "x.npy", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert stream_of(files).fingerprint() != expected


def loader(stop_at=None, changed=None):
    """A stream of four batches that fails at a batch, counted over epochs, or has another batch there."""
    count = iter(range(10**6))

    def batches():
        for number in range(4):
            if next(count) == stop_at:
                raise OSError("the disk is gone")
            rows = slice(8 * number, 8 * number + 8)
            yield X[rows], Y[rows] + np.float32(1e-6 * (number == changed))

    return fn.data.Stream.from_batches(batches, 4)


@pytest.mark.parametrize("stop_at", [3, 5, 7])  # within the first epoch, at its end, within the second
def test_every_batch_of_an_iterator_must_be_the_one_before_the_interruption(stop_at, tmp_path):
    whole = fn.Trainer(TRAIN)(start_model(), loader(), cached_key(0))
    settings = {"sync_every": EACH_STEP, "save_every": EACH_STEP}
    with pytest.raises(OSError, match="the disk is gone"):
        fn.Trainer(TRAIN, tmp_path, **settings)(start_model(), loader(stop_at=stop_at), cached_key(0))
    for changed in range(1, min(4, stop_at - 1)):
        with pytest.raises(ValueError, match=f"batch {changed} of the stream differs"):
            fn.Trainer(TRAIN, tmp_path)(start_model(), loader(changed=changed), cached_key(0))
    with pytest.raises(ValueError, match="belongs to a different run:\n  data"):
        fn.Trainer(TRAIN, tmp_path)(start_model(), loader(changed=0), cached_key(0))
    run = fn.Trainer(TRAIN, tmp_path)(start_model(), loader(), cached_key(0))
    assert all(map(np.array_equal, jax.tree.leaves(run.model), jax.tree.leaves(whole.model)))


def test_a_run_can_be_forced_onto_other_batches(tmp_path):
    with pytest.raises(OSError, match="the disk is gone"):
        fn.Trainer(TRAIN, tmp_path, sync_every=EACH_STEP, save_every=EACH_STEP)(
            start_model(), loader(stop_at=5), cached_key(0)
        )
    run = fn.Trainer(TRAIN, tmp_path, resume="force")(start_model(), loader(changed=2), cached_key(0))
    assert int(run.state.epoch) == 3


def broken(tmp_path, name):
    path = tmp_path / f"{name}.npy"
    if name == "objects":
        np.save(path, np.array([{}, None], object), allow_pickle=True)
    elif name == "no rows":
        np.save(path, np.zeros((0, 2)))
    elif name == "empty":
        path.write_bytes(b"")
    elif name == "half a header":
        np.save(path, X)
        path.write_bytes(path.read_bytes()[:40])
    elif name == "a directory":
        path.mkdir()
    elif name == "a zip":
        np.savez(path.with_suffix(""), X)
        path.with_suffix(".npz").rename(path)
    return path


BROKEN = {
    "objects": "must be files of numbers",
    "no rows": "at least one row",
    "empty": "is not a .npy file",
    "half a header": "is not a .npy file",
    "a directory": "is a directory",
    "a zip": "is not a .npy file",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_without_rows_of_numbers_is_refused_by_name(name, tmp_path):
    with pytest.raises(ValueError, match=BROKEN[name]) as caught:
        fn.data.Stream.npy(broken(tmp_path, name))
    assert name in str(caught.value)


@pytest.mark.parametrize("paths", [3, 1.5, {"x": 1}, (b"x.npy", X)])
def test_what_is_not_a_path_is_refused(paths):
    with pytest.raises(TypeError, match=r"paths must be paths of \.npy files"):
        fn.data.Stream.npy(paths)


def test_the_byte_order_of_a_file_changes_no_bit(tmp_path):
    runs = []
    for order in "<>":
        np.save(tmp_path / "x.npy", X.astype(order + "f4"))
        np.save(tmp_path / "y.npy", Y.astype(order + "f4"))
        runs.append(fn.Trainer(TRAIN)(start_model(), stream_of(tmp_path), cached_key(0)))
    assert all(map(np.array_equal, *(jax.tree.leaves(run.model) for run in runs)))


WRONG_BATCHES = {
    "an integer that does not fit": (np.ones((8, 1)), np.full(8, 2**40)),
    "a float that does not fit": (np.full((8, 1), 1e39), np.ones(8)),
    "other columns": (np.ones((8, 2)), np.ones(8)),
    "other dtypes": (np.ones((8, 1), np.int32), np.ones(8)),
    "a part too few": (np.ones((8, 1)),),
    "text": (np.ones((8, 1)), np.array(list("abcdefgh"))),
    "objects": (np.ones((8, 1)), object()),
    "nothing": None,
    "scalars": (1.0, 2.0),
}


@pytest.mark.parametrize("name", WRONG_BATCHES)
def test_a_wrong_batch_is_refused_by_what_it_holds(name):
    good = (np.ones((8, 1)), np.ones(8)) if "integer" not in name else (np.ones((8, 1)), np.ones(8, int))
    stream = fn.data.Stream.from_batches(lambda: iter([good, WRONG_BATCHES[name]]), 2)
    with pytest.raises((TypeError, ValueError), match="batch") as caught:
        fn.Trainer(TRAIN)(start_model(), stream, cached_key(0))
    assert "funcnet" in str(caught.traceback[-1].path)


@pytest.mark.parametrize("made", [None, 3, "abc", {"x": X}])
def test_a_factory_must_return_batches(made):
    with pytest.raises(TypeError, match="factory must return an iterable of batches"):
        fn.data.Stream.from_batches(lambda: made, 2).first(1)
