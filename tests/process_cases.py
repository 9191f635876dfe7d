"""A script for several processes: `python process_cases.py CASE ADDRESS PROCESSES PROCESS FOLDER`.

What a process prints is compared by test_processes.py.
"""

import functools
import os
import sys
import time
from pathlib import Path

import numpy as np

CASE, ADDRESS, PROCESSES, PROCESS = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
FOLDER = Path(sys.argv[5])
IS_LAST = PROCESS == PROCESSES - 1


def import_and_connect():
    import funcnet as fn

    fn.mesh.cpu_devices(2)
    fn.mesh.initialize(ADDRESS, PROCESSES, PROCESS)
    return fn


fn = import_and_connect()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

X = np.random.default_rng(0).normal(size=(21, 3)).astype("float32")
Y = X[:, 0] - X[:, 1]
OWN = slice(0, 8) if PROCESS == 0 else slice(8, 21)
LOSS = fn.losses.supervised(fn.losses.squared_error)
NET = fn.MLP((3, 4, "scalar"))
KEY = jax.random.key(0)


@functools.cache  # one program for all cases that train alike
def training(epochs=4, learning_rate=0.1, **settings):
    return fn.fit(LOSS, optax.sgd(learning_rate), epochs=epochs, batch_size=8, **settings)


def report(name, call):
    """Print what a call returns, or its error."""
    try:
        result = call()
    except Exception as error:
        result = f"{type(error).__name__}: {error}"
    print(f"{name} | {result}".replace("\n", " "), flush=True)


def run_with(callbacks=(), model=None, key=KEY, data=(X, Y), valid=None, directory=None, **settings):
    trainer = fn.Trainer(training(), directory, callbacks, progress=False, **settings)
    run = trainer(NET.init(KEY) if model is None else model, data, key, valid)
    return f"{run.outcome.name} at step {int(run.state.step)}"


def stop_in_last(context):
    return fn.train.Request(stop=IS_LAST and context.epoch == 2)


def fail_in_last(context):
    if IS_LAST and context.epoch == 2:
        raise LookupError("of the last process")


def other_rate_in_last(context):
    return fn.train.Request(hyperparams={"learning_rate": 0.1 * (1 + PROCESS)})


def fail_while_the_others_evaluate(context):
    if context.epoch == 2:
        fail_in_last(context)
        fn.evaluate(LOSS, context.model, (X, Y))


def fit_or_evaluate():
    model = NET.init(KEY)
    return fn.evaluate(LOSS, model, (X, Y)) if IS_LAST else training()(model, (X, Y), KEY)


def fail_after_a_block_in_last(context):
    if IS_LAST and context.done >= 4:
        raise LookupError("of the last process")


def own_value(context):
    return fn.train.Request(values={"process": PROCESS})


def local_data():
    train, key = training(), jax.random.key(5)
    data = fn.data.Dataset.from_process_local_data((X[OWN], Y[OWN]), weight=np.arange(1.0, 22)[OWN])
    whole = fn.data.Dataset((X, Y), weight=np.arange(1.0, 22))
    run, expected = train(NET.init(KEY), data, key), train(NET.init(KEY), whole, key)
    difference = np.abs(np.asarray(run.history["loss"] - expected.history["loss"])).max()
    return f"{len(data)} rows, {'equal' if difference < 1e-6 else difference}"


def study_in_a_trainer(directory, callbacks=()):
    study = fn.study.ensemble(training(), 6, block=1)
    trainer = fn.Trainer(study, directory, callbacks, progress=False)
    result = trainer(NET, (X, Y), KEY)
    expected = study(NET, (X, Y), KEY)
    return distance(result.runs.model, expected.runs.model)


def distance(tree, expected):
    """Whether trees are equal, else the largest difference."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True)
    largest = max(np.abs(np.asarray(a) - np.asarray(b)).max() for a, b in pairs)
    return "equal" if largest < 1e-6 else largest


def stop_after_two_in_last(context):
    return fn.train.Request(stop=IS_LAST and context.done >= 2)


def members_on_an_axis():
    study = fn.study.ensemble(training(), 6)
    expected = study(NET, (X, Y), KEY)
    with fn.mesh.use({"data": 2, "member": 2}, member_axis="member"):
        result = study(NET, (X, Y), KEY)
    return distance(result.runs.model, expected.runs.model)


def model_in_parts():
    train, model = training(), NET.init(KEY)
    expected = train(model, (X, Y), KEY)
    run = train(fn.mesh.shard(model, "columns"), (X, Y), KEY)
    weight = run.model.layers[0].weight
    whole = np.zeros(weight.shape, "float32")
    for shard in weight.addressable_shards:
        whole[shard.index] = shard.data
    own = whole != 0
    difference = np.abs(whole - np.asarray(expected.model.layers[0].weight))[own].max()
    return f"{own.mean():.2f} of the weights, {'equal' if difference < 1e-6 else difference}"


def other_rate_in_the_state():
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1 + PROCESS)
    return fn.fit(LOSS, optimizer, epochs=2)(NET.init(KEY), (X, Y), KEY)


def ensemble_of_another_rate():
    return fn.study.ensemble(training(learning_rate=0.1 + PROCESS), 4)(NET, (X, Y), KEY)


def other_loss():
    absolute = fn.losses.supervised(fn.losses.absolute_error)
    return fn.evaluate(absolute if IS_LAST else LOSS, NET.init(KEY), (X, Y))


def study_with(callback):
    return fn.Trainer(fn.study.ensemble(training(), 6, block=1), None, [callback], progress=False)(
        NET, (X, Y), KEY
    )


def views_of_local_data():
    data = fn.data.Dataset.from_process_local_data((X[OWN], Y[OWN]))
    first, last = fn.data.split(data, (0.5, 0.5), KEY)
    expected, _ = fn.data.split((X, Y), (0.5, 0.5), KEY)
    own, whole = (fn.evaluate(LOSS, NET.init(KEY), d)["loss"] for d in (first, expected))
    return f"{len(fn.data.take(data, [20, 3]))} rows, {len(last)} rows, {abs(float(own - whole)) < 1e-6}"


def rows_of_a_bad_step():
    def loss(model, example, key):
        return jnp.where(example[1] == Y[20], jnp.nan, 1.0) * model(example[0])

    data = fn.data.Dataset.from_process_local_data((X[OWN], Y[OWN]))
    train = fn.fit(loss, optax.sgd(0.1), epochs=1, batch_size=8, shuffle=False, on_nan="raise")
    return train(NET.init(KEY), data, KEY)


def resume_from_local_data():
    data = fn.data.Dataset.from_process_local_data((X[OWN], Y[OWN]))
    return run_with([fn.train.CSV("h.csv")], data=data, directory=FOLDER / "run")


def stream_by_shares():
    folder = own_folder()
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    stream = fn.data.Stream.npy((str(folder / "x.npy"), str(folder / "y.npy")))
    kind, sizes = type(stream.source), []
    read = kind.rows
    kind.rows = lambda self, numbers: (sizes.append(len(numbers)), read(self, numbers))[1]
    run, expected = (
        fn.Trainer(training(shuffle=False), progress=False)(NET.init(KEY), data, KEY)
        for data in (stream, (X, Y))
    )
    difference = np.abs(np.asarray(run.history["loss"] - expected.history["loss"])).max()
    kind.rows = read
    return f"equal: {difference < 1e-6}, at most {sorted(sizes)[-2]} rows read at once"


def other_last_batch():
    def batches():
        yield X[:7], Y[:7]
        yield X[7:14] + PROCESS, Y[7:14]

    return run_with(data=fn.data.Stream.from_batches(batches, 2))


def no_local_data_outside():
    return fn.data.Dataset.from_process_local_data((X, Y))


def sentences():
    report("outside of use", no_local_data_outside)
    report("too few devices", lambda: fn.mesh.use(2))
    mine = np.where(np.arange(21)[:, None] == 4, np.nan, X) if IS_LAST else X
    stream = stream_of_another_version()
    with fn.mesh.use():
        model = NET.init(KEY)
        report("fit with own rows", lambda: training()(model, (X[OWN], Y[OWN]), KEY))
        report("fit with another key", lambda: training()(model, (X, Y), jax.random.key(PROCESS)))
        report("fit from another start", lambda: training()(NET.init(jax.random.key(PROCESS)), (X, Y), KEY))
        report("fit with another rate", lambda: training(learning_rate=0.1 + PROCESS)(model, (X, Y), KEY))
        report("fit with another setting", lambda: training(epochs=3 + PROCESS)(model, (X, Y), KEY))
        report("fit with a bad row in one", lambda: training()(model, (mine, Y), KEY))
        report("fit with another rate in the state", other_rate_in_the_state)
        report("fit in one, evaluate in another", fit_or_evaluate)
        report("evaluate another loss", other_loss)
        report("an ensemble of another rate", ensemble_of_another_rate)
        report("evaluate own rows", lambda: fn.evaluate(LOSS, model, (X[OWN], Y[OWN])))
        report("predict own rows", lambda: fn.predict(model, X[OWN]))
        report("a stream of another version", lambda: run_with(data=stream))
        report("a stream with another last batch", other_last_batch)
        report("a callback stops one", lambda: run_with([stop_in_last]))
        report("a callback fails in one", lambda: run_with([fail_in_last]))
        report("a callback fails, others wait", lambda: run_with([fail_while_the_others_evaluate]))
        each_epoch = fn.train.Every(epochs=1)  # how far a run comes by itself depends on the machine
        limit = 1e-9 if IS_LAST else None
        report("a time limit on one", lambda: run_with(max_time=limit, sync_every=each_epoch))
        report("one directory", lambda: run_with([fn.train.CSV("h.csv")], directory=FOLDER / "run"))
        report("one directory again", lambda: run_with([fn.train.CSV("h.csv")], directory=FOLDER / "run"))
        report("one directory, rows of each process", resume_from_local_data)
        report("two directories", lambda: run_with(directory=FOLDER / f"run{PROCESS}"))
        os.chdir(own_folder())
        report("a directory that is not shared", lambda: run_with(directory="run"))
        report("rows of each process", local_data)
        report("a bad row of one process", lambda: fn.data.Dataset.from_process_local_data((mine, Y)))
        report("other arrays", lambda: fn.data.Dataset.from_process_local_data((X, Y)[: 1 + PROCESS]))


def more_sentences():
    """Cases that take longer, and find what only they can find."""
    report("each alone", each_alone)
    with fn.mesh.use():
        report("a callback of a study fails in one", lambda: study_with(fail_after_a_block_in_last))
        report("a callback measures", lambda: run_with([own_value]))
        report("views of rows of each process", views_of_local_data)
        report("rows of a bad step", rows_of_a_bad_step)
        report("a study in a Trainer", lambda: study_in_a_trainer(FOLDER / "study"))
        report("the study again", lambda: study_in_a_trainer(FOLDER / "study"))
        report("members on an axis", members_on_an_axis)
        report(
            "an ensemble of own rows", lambda: fn.study.ensemble(training(), 4)(NET, (X[OWN], Y[OWN]), KEY)
        )
        report("Trainer with own rows", lambda: run_with(data=(X[OWN], Y[OWN])))
        report("a stream by shares", stream_by_shares)
        report("a callback sets another rate", lambda: run_with([other_rate_in_last]))
        stop = [stop_after_two_in_last]
        report("a callback stops a study", lambda: study_in_a_trainer(FOLDER / "stopped", stop))
        report("the stopped study again", lambda: study_in_a_trainer(FOLDER / "stopped"))
        report("a model in parts", model_in_parts)
        if IS_LAST:
            time.sleep(float(os.environ.get("LATE_SECONDS", "2")))
        report("one comes late", lambda: run_with())
    report("results are local", results_are_local)


def each_alone():
    with fn.mesh.use(jax.local_devices()):
        run = training()(NET.init(KEY), (X[OWN], Y[OWN]), KEY)
    return len(X[OWN]) and bool(jnp.isfinite(run.history["loss"][-1]))


def stream_of_another_version():
    folder = own_folder()
    np.save(folder / "x.npy", X + (0.5 if IS_LAST else 0))
    np.save(folder / "y.npy", Y)
    return fn.data.Stream.npy((str(folder / "x.npy"), str(folder / "y.npy")))


def own_folder():
    folder = FOLDER / f"of process {PROCESS}"
    folder.mkdir(exist_ok=True)
    return folder


def results_are_local():
    with fn.mesh.use():
        model = training()(NET.init(KEY), (X, Y), KEY).model
    return float(model(X[0])) if PROCESS == 0 else "not used"  # one process alone can use it


def long_run():
    """A run that is interrupted: it says when it has begun."""

    class Say(fn.train.Callback):
        read_only = True

        def on_fit_start(self, context):
            print("resumed at", context.step, flush=True)

        def on_sync(self, context):
            if context.epoch >= 3:
                print("began", flush=True)

    limit = os.environ.get("MAX_SECONDS")
    train = fn.fit(LOSS, optax.sgd(0.01), epochs=200_000, batch_size=8)
    with fn.mesh.use():
        trainer = fn.Trainer(
            train,
            FOLDER / "run",
            [Say()],
            progress=False,
            sync_every=fn.train.Every(epochs=1),
            max_time=None if limit is None else float(limit),
        )
        run = trainer(NET.init(KEY), (X, Y), KEY)
        print("ended at", int(run.state.step), flush=True)


def fail_alone():
    with fn.mesh.use():
        fn.evaluate(LOSS, NET.init(KEY), (X, Y))
        print("began", flush=True)
        if IS_LAST:
            raise LookupError("of the last process")
        fn.evaluate(LOSS, NET.init(KEY), (X, Y))


{"sentences": sentences, "more sentences": more_sentences, "long run": long_run, "fail alone": fail_alone}[
    CASE
]()
