"""A study in a Trainer ends where the study does, and where it was interrupted, bit for bit."""

import contextlib
import functools
import inspect
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from tables import assert_close, same_bits

import funcnet as fn
from funcnet.study._study import MemberStudy
from funcnet.train import IncompleteStudyError

X = np.random.default_rng(1).normal(size=(12, 2)).astype(np.float32)
DATA = X, X @ np.float32([1, -2])
VALID = X[:6], DATA[1][:6]
NET = fn.models.LinearRegression(2)
LOSS = fn.losses.supervised(fn.losses.squared_error)
TRAIN = fn.fit(LOSS, optax.sgd(0.1), epochs=1, batch_size=12, shuffle=False)
LONGER = fn.fit(LOSS, optax.sgd(0.1), epochs=3, batch_size=12, shuffle=False)
ENSEMBLE = fn.study.ensemble(TRAIN, 5, block=2)
STOPPING = fn.EarlyStopping(patience=1)
ENDS_EARLY = fn.fit(LOSS, optax.sgd(0.5), epochs=9, batch_size=12, shuffle=False, stopping=STOPPING)


def the_key(seed=3):
    return jax.random.key(seed)


def given():
    return NET, DATA, the_key()


def by_rate(rate, epochs=1):
    return fn.fit(LOSS, optax.sgd(rate), epochs=epochs, batch_size=12, shuffle=False)


def of_epochs(rate):
    return by_rate(rate, epochs=4)


def of_degree(degree):
    return by_rate(0.1 / degree), NET


def of_width(width):
    return fn.MLP((2, width, "scalar"))


# How each kind of study is made, and its arguments but for the key.
KINDS = {
    "ensemble": (lambda: ENSEMBLE, (NET, DATA)),
    "ensemble that stops early": (
        lambda: fn.study.ensemble(ENDS_EARLY, 5, bootstrap=True, block=2),
        (NET, DATA, VALID),
    ),
    "cross_validate": (
        lambda: fn.study.cross_validate(TRAIN, fn.data.kfold(DATA, 4, the_key()), block=1),
        (NET,),
    ),
    "bias_variance": (
        lambda: fn.study.bias_variance(TRAIN, 4, epochs=[1, 2], block=2),
        (NET, DATA, VALID, VALID[1]),
    ),
    "sweep in two programs": (
        lambda: fn.study.sweep(by_rate, {"rate": [0.01, 0.1, 0.2], "epochs": [1, 2]}, block=2),
        (NET, DATA, VALID),
    ),
    "halving": (
        lambda: fn.study.halving(of_epochs, {"rate": [0.01, 0.1, 0.2, 0.3]}, factor=2, block=2),
        (NET, DATA, VALID),
    ),
    "learning_curve": (lambda: fn.study.learning_curve(TRAIN, [6, 12], 2, block=2), (NET, DATA, VALID)),
    "capacity_curve": (lambda: fn.study.capacity_curve(of_degree, [2, 3], 3, block=2), (DATA, VALID)),
    "sweep_sizes": (lambda: fn.study.sweep_sizes(of_width, TRAIN, [1, 2], 2, block=2), (DATA, VALID)),
    "learning_rate_range": (
        lambda: fn.study.learning_rate_range(by_rate, num_rates=3, num_repeats=2, block=2),
        (NET, DATA),
    ),
}


@functools.cache
def study_of(kind):
    """The study and its arguments: the key follows the network and the data."""
    make, arguments = KINDS[kind]
    before = 1 if kind in ("cross_validate", "capacity_curve", "sweep_sizes") else 2
    return make(), (*arguments[:before], the_key(), *arguments[before:])


class Blocks(fn.train.Callback):
    """Records the blocks, and raises after one of them."""

    def __init__(self, fail_after=None):
        self.done, self.fail_after = [], fail_after

    def on_block_end(self, context):
        self.done.append(context.done)
        if len(self.done) == self.fail_after:
            raise KeyError("stop")


def run(study, folder, arguments, fail_after=None, **settings):
    """The result of a Trainer, or None if it failed; and what it trained."""
    blocks = Blocks(fail_after)
    with contextlib.suppress(KeyError):
        return fn.Trainer(study, folder, [blocks], progress=False, **settings)(*arguments), blocks.done
    return None, blocks.done


def parts(result):
    """The fields of a result, and those of a curve in it, which is not a pytree."""
    fields = vars(result).items()
    return {name: vars(part) if isinstance(part, fn.study.Curve) else part for name, part in fields}


def test_every_study_of_members_is_here():
    here = {type(study_of(kind)[0]) for kind in KINDS}  # which also imports them
    assert here == {kind for kind in _subclasses(MemberStudy) if not inspect.isabstract(kind)}


def _subclasses(kind):
    return {sub for own in kind.__subclasses__() for sub in (own, *_subclasses(own))}


@pytest.fixture
def debug_nans():
    with jax.debug_nans(True):
        yield


@pytest.mark.usefixtures("debug_nans")
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_study_trains_the_other_members_and_ends_in_the_same_bits(kind, tmp_path):
    study, arguments = study_of(kind)
    whole, blocks = run(study, tmp_path / "whole", arguments)
    assert blocks[-1] == study.num_members
    none, first = run(study, tmp_path / "broken", arguments, fail_after=2)
    assert none is None
    resumed, others = run(study, tmp_path / "broken", arguments)
    assert first + others == blocks  # no block twice
    assert same_bits(parts(resumed), parts(whole))
    restored, none = run(study, tmp_path / "broken", arguments)
    assert none == []
    assert same_bits(parts(restored), parts(whole))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_study_in_a_trainer_ends_in_the_numbers_of_the_study_itself(kind):
    study, arguments = study_of(kind)
    result, expected = run(study, None, arguments)[0], study(*arguments)
    assert type(result) is type(expected)
    assert jax.tree.structure(parts(result)) == jax.tree.structure(parts(expected))
    for actual, leaf in zip(*(jax.tree.leaves(parts(each)) for each in (result, expected)), strict=True):
        if getattr(leaf, "dtype", np.dtype(object)) in (np.float32, np.float64, np.int32, bool):
            assert actual.dtype == leaf.dtype
            np.testing.assert_allclose(actual, leaf, rtol=1e-6, atol=1e-6)
        elif hasattr(leaf, "dtype"):  # keys
            assert same_bits(actual, leaf)


def test_members_that_are_not_finite_are_run_again_as_in_the_plain_call(tmp_path):
    train = fn.fit(LOSS, optax.sgd(1e30), epochs=4, batch_size=12, shuffle=False)
    study, reported = fn.study.ensemble(train, 4, block=2), []
    expected = study(*given())
    assert set(expected.runs.outcome) == {fn.Outcome.NOT_FINITE}
    study = fn.study.ensemble(train, 4, block=2, progress=reported.append)
    _, blocks = run(study, tmp_path, given(), fail_after=3)  # in the second pass
    assert blocks == [2, 4, 2]
    result, blocks = run(study, tmp_path, given())
    assert blocks == [4]
    assert reported == [2, 2, 4]  # the restored ones as one
    assert same_bits(result, expected)


def test_over_devices_and_resumed_on_another_number_of_them(tmp_path):
    study = fn.study.ensemble(TRAIN, 7, block=1)
    expected = study(*given())
    with fn.mesh.use(2):
        _, first = run(study, tmp_path, given(), fail_after=2)
    assert first == [2, 4]
    with fn.mesh.use(4):
        result, others = run(study, tmp_path, given())
    assert others == [6, 7]
    assert_close(result.model, expected.model, 20)


def test_without_a_directory_it_reports_blocks_and_keeps_nothing():
    result, blocks = run(ENSEMBLE, None, given())
    assert blocks == [2, 4, 5]
    assert same_bits(result, ENSEMBLE(*given()))


OTHERS = {
    "setting size: 5 saved, 6 now": lambda: (fn.study.ensemble(TRAIN, 6, block=2), NET, DATA, the_key()),
    "setting bootstrap: False saved, True": lambda: (
        *(fn.study.ensemble(TRAIN, 5, bootstrap=True), NET, DATA, the_key()),
    ),
    "setting epochs of train: 1 saved, 3 now": lambda: (fn.study.ensemble(LONGER, 5), NET, DATA, the_key()),
    "net: ": lambda: (ENSEMBLE, fn.MLP((2, "scalar")), DATA, the_key()),
    "data: ": lambda: (ENSEMBLE, NET, (X, DATA[1] + 1), the_key()),
    "key: ": lambda: (ENSEMBLE, NET, DATA, the_key(4)),
    "valid: none saved, ": lambda: (ENSEMBLE, NET, DATA, the_key(), VALID),
    "program of a member: ": lambda: (fn.study.ensemble(by_rate(0.2), 5), NET, DATA, the_key()),
    "study: EnsembleStudy saved, CrossValidationStudy now": lambda: (
        *(study_of("cross_validate")[0], NET, the_key()),
    ),
}


@pytest.mark.parametrize("part", OTHERS)
def test_another_study_is_refused_by_name(part, kept):
    study, *arguments = OTHERS[part]()
    with pytest.raises(ValueError, match=rf"belongs to a different study:(.|\n)*  {part}"):
        fn.Trainer(study, kept)(*arguments)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    run(ENSEMBLE, folder, given())
    return folder


def test_resume_force_takes_the_members_of_a_smaller_study_and_never_starts_over(tmp_path):
    run(ENSEMBLE, tmp_path, given())
    larger = fn.study.ensemble(TRAIN, 8, block=2)
    result, blocks = run(larger, tmp_path, given(), resume="force")
    assert blocks == [6, 8]
    assert same_bits(result, larger(*given()))
    assert run(larger, tmp_path, given())[1] == []  # it is that study now
    smaller = fn.study.ensemble(TRAIN, 3, block=2)
    for resume in ("force", "auto"):
        assert run(smaller, tmp_path, given(), resume=resume)[1] == []
    with pytest.raises(ValueError, match=r"holds \d+ bytes of .*, and this study's members have"):
        run(fn.study.ensemble(LONGER, 5), tmp_path, given(), resume="force")
    assert run(ENSEMBLE, tmp_path, given(), resume="never")[1] == [2, 4, 5]
    assert (tmp_path / "members.1").is_dir()


def cut(content):
    return content[:-1]


def flip(content, place):
    changed = bytearray(content)
    changed[place] ^= 4
    return bytes(changed)


@pytest.mark.parametrize(
    "damage",
    [cut, *(lambda c, p=p: flip(c, int(p * (len(c) - 1))) for p in (0, 0.01, 0.1, 0.3, 0.5, 1))],
)
def test_a_damaged_block_is_named_and_trained_again(damage, tmp_path):
    run(ENSEMBLE, tmp_path, given(), fail_after=1)
    run(ENSEMBLE, tmp_path, given(), fail_after=1)
    first, _ = sorted((tmp_path / "members").iterdir())
    first.write_bytes(damage(first.read_bytes()))
    with pytest.warns(UserWarning, match=rf"{first.name} is damaged, and its members are trained again: "):
        result, blocks = run(ENSEMBLE, tmp_path, given())
    assert blocks == [4, 5]
    assert same_bits(result, ENSEMBLE(*given()))


def test_a_block_of_another_format_is_refused_and_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("funcnet.train._blocks.FORMAT", 2)
    run(ENSEMBLE, tmp_path, given(), fail_after=1)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="must have format 1, got 2: another version of funcnet wrote it"):
        run(ENSEMBLE, tmp_path, given())
    assert len(list((tmp_path / "members").iterdir())) == 1


def test_a_full_disk_is_told_and_what_was_saved_before_stays(tmp_path):
    run(ENSEMBLE, tmp_path, given(), fail_after=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        with pytest.raises(OSError, match=r"could not be written(.|\n)*The earlier ones are intact"):
            run(ENSEMBLE, tmp_path, given())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert run(ENSEMBLE, tmp_path, given())[1] == [4, 5]


def test_a_callback_may_stop_it_and_save(tmp_path):
    events = []

    class Stop(fn.train.Callback):
        def on_fit_start(self, context):
            events.append("start")

        def on_block_end(self, context):
            events.append(context.done)
            return fn.train.Request(stop=context.done == 4, save=True)

        def on_checkpoint(self, context):
            events.append("saved")

        def on_fit_end(self, context):
            events.append("end")

    trainer = fn.Trainer(ENSEMBLE, tmp_path, [Stop()])
    with pytest.raises(IncompleteStudyError, match=r"a callback stopped .* 4 of 5 members are done"):
        trainer(*given())
    assert events == ["start", 2, "saved", 4, "saved", "end"]
    result = trainer(*given())
    assert events[6:] == ["start", 5, "saved", "end"]
    assert same_bits(result, ENSEMBLE(*given()))


def test_max_time_ends_it_with_a_sentence_and_the_same_call_resumes(tmp_path):
    def wait(context):
        time.sleep(0.02)

    words = r"max_time of 0.01 s is over; 2 of 5 members are done .* Run the same command again to resume"
    with pytest.raises(IncompleteStudyError, match=words) as raised:
        fn.Trainer(ENSEMBLE, tmp_path, [wait], max_time=0.01)(*given())
    assert (raised.value.done, raised.value.total) == (2, 5)
    result = fn.Trainer(ENSEMBLE, tmp_path, [wait], max_time=60)(*given())
    assert same_bits(result, ENSEMBLE(*given()))


class OfRuns(fn.train.Callback):
    def on_epoch_end(self, context):
        pass


class OfStudies(fn.train.Callback):
    def on_block_end(self, context):
        pass


REFUSED = {
    "a setting of runs": (
        lambda p: fn.Trainer(ENSEMBLE, p, keep=5),
        "keep is not a setting of the Trainer of a study",
    ),
    "a logger": (
        lambda p: fn.Trainer(ENSEMBLE, p, [fn.train.CSV("a.csv")]),
        r"CSV.on_sync would never be called: this is the Trainer of a study",
    ),
    "a callback of runs": (
        lambda p: fn.Trainer(ENSEMBLE, p, [OfRuns()]),
        r"OfRuns.on_epoch_end would never",
    ),
    "a callback of studies": (
        lambda p: fn.Trainer(TRAIN, p, [OfStudies()]),
        r"OfStudies.on_block_end would never be called: this is the Trainer of a run",
    ),
    "max_time without a directory": (lambda p: fn.Trainer(ENSEMBLE, max_time=5), "needs a directory"),
    "dry_run": (
        lambda p: fn.Trainer(ENSEMBLE).dry_run(*given()),
        r"fn.Trainer\(train\).dry_run",
    ),
    "overfit": (
        lambda p: fn.Trainer(ENSEMBLE).overfit_one_batch(*given()),
        "has no such method",
    ),
    "values": (
        lambda p: fn.Trainer(ENSEMBLE, callbacks=[lambda c: fn.train.Request(values={"a": 1})])(
            NET, DATA, the_key()
        ),
        "on_block_end of a study can request",
    ),
    "under jit": (
        lambda p: jax.jit(lambda key: fn.Trainer(ENSEMBLE)(NET, DATA, key).model)(the_key()),
        "must not be called inside jit",
    ),
    "the arguments of another study": (
        lambda p: fn.Trainer(ENSEMBLE)(NET, the_key()),
        "missing .* required",
    ),
    "another kind of study": (lambda p: fn.Trainer(fn.study.tune(by_rate)), "or a study of many runs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_study_does_not_take_is_refused(case, tmp_path):
    call, words = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=words):
        call(tmp_path)


def test_the_checkpoints_of_a_run_are_no_place_for_a_study(tmp_path):
    fn.Trainer(TRAIN, tmp_path, progress=False)(jax.jit(NET.init)(the_key()), DATA, the_key())
    with pytest.raises(ValueError, match="holds the checkpoints of a run"):
        fn.Trainer(ENSEMBLE, tmp_path)(*given())


def test_a_second_process_in_the_directory_is_refused(tmp_path):
    def second(context):
        fn.Trainer(ENSEMBLE, tmp_path)(*given())

    with pytest.raises(OSError, match="is in use by process"):
        fn.Trainer(ENSEMBLE, tmp_path, [second])(*given())


def test_lines_of_a_log_count_members(capsys, monkeypatch):
    monkeypatch.setattr("funcnet.train._bar.PATIENCE", 0.0)
    fn.Trainer(ENSEMBLE, progress="lines")(*given())
    assert "members 5/5" in capsys.readouterr().err


SCRIPT = """
import sys, time, jax, numpy as np, optax, funcnet as fn
x = jax.random.normal(jax.random.key(1), (12, 2))
train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(0.1), epochs=2, batch_size=6)
study = fn.study.ensemble(train, 60, block=1)
trainer = fn.Trainer(study, sys.argv[1], [lambda context: time.sleep(0.02)])
result = trainer(fn.models.LinearRegression(2), (x, x[:, 0]), jax.random.key(3))
np.savez(sys.argv[1] + "/end.npz", *map(np.asarray, jax.tree.leaves(result.model)))
"""


def start(folder):
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def ended(process, folder):
    process.communicate(timeout=60)
    assert process.returncode == 0
    with np.load(folder / "end.npz") as end:
        return [end[name] for name in end.files]


@pytest.fixture(scope="module")
def end_of_whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "study"
    return ended(start(folder), folder)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_and_terminated_processes_go_on_bit_for_bit(number, tmp_path, end_of_whole):
    process = start(tmp_path / "broken")
    deadline = time.monotonic() + 60
    while not list(Path(tmp_path, "broken").glob("members/0*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert (number == signal.SIGKILL) or "of 60 members are done and kept in" in told
    assert not (tmp_path / "broken" / "end.npz").exists()
    assert same_bits(ended(start(tmp_path / "broken"), tmp_path / "broken"), end_of_whole)
