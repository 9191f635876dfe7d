"""Datasets of other libraries: shuffled as files are, and resumed to the bit."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas
import pytest
from keys import cached_key
from tables import marked, same_bits

import funcnet as fn
from funcnet.data import _map

ROWS = 37  # no multiple of the batch size
X = np.random.default_rng(0).normal(size=(ROWS, 2)).astype(np.float32)
Y = (X[:, 0] - X[:, 1]).astype(np.float32)


@functools.cache
def start_model():
    return fn.models.LinearRegression(2).init(cached_key(0))


EACH_STEP = {"sync_every": fn.train.Every(steps=1), "save_every": fn.train.Every(steps=1)}
PAIRS = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(0.1), epochs=3, batch_size=8)


def loss_of_dicts(model, example, key):
    return (model(jnp.asarray(example["x"], float)) - example["y"]) ** 2


DICTS = fn.fit(loss_of_dicts, optax.adam(0.1), epochs=3, batch_size=8)


class PowerCut(fn.train.Callback):
    def on_checkpoint(self, context):
        if context.step == 7:  # in the middle of the second epoch
            raise OSError("the power is gone")


class Rows:
    """A dataset of one's own, which fails at a read of a row, counted over all."""

    def __init__(self, x=X, y=Y, stop_at=None):
        self.x, self.y, self.stop_at, self.reads = x, y, stop_at, 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, number):
        self.reads += 1
        if self.reads == self.stop_at:
            raise OSError("the disk is gone")
        return self.x[number], self.y[number]


class Batched(Rows):
    """PyTorch's protocol of batches."""

    def __getitem__(self, number):
        raise AssertionError("one row is read")

    def __getitems__(self, numbers):
        assert all(type(number) is int for number in numbers)
        return [(self.x[number], self.y[number]) for number in numbers]


def torch_tensors():
    torch = pytest.importorskip("torch")
    tensors = torch.tensor(X), torch.tensor(Y)
    return torch.utils.data.Subset(torch.utils.data.TensorDataset(*tensors), range(ROWS))


def torch_dicts():
    torch = pytest.importorskip("torch")

    class Dicts(torch.utils.data.Dataset):
        def __len__(self):
            return ROWS

        def __getitem__(self, number):
            return {"x": torch.tensor(X[number]), "y": float(Y[number])}

    return Dicts()


def hugging_face(form=None):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"x": datasets.Sequence(datasets.Value("float32")), "y": datasets.Value("float32")}
    )
    return datasets.Dataset.from_dict({"x": X, "y": Y}, features=features).with_format(form)


def grain_map():
    grain = pytest.importorskip("grain")
    return grain.MapDataset.range(ROWS).map(lambda number: (X[number], Y[number]))


def grain_source():
    grain = pytest.importorskip("grain")
    return grain.MapDataset.source(list(zip(X, Y, strict=True)))


DATASETS = {
    "own": (Rows, PAIRS),
    "own-batched": (Batched, PAIRS),
    "list": (lambda: list(zip(X, Y, strict=True)), PAIRS),
    "torch-tensors": (torch_tensors, PAIRS),
    "torch-dicts": (torch_dicts, DICTS),
    "hugging-face": (hugging_face, DICTS),
    "hugging-face-numpy": (lambda: hugging_face("numpy"), DICTS),
    "grain-map": (grain_map, PAIRS),
    "grain-source": (grain_source, PAIRS),
}


SLOW = {"own-batched", "list", "torch-dicts"}


@pytest.mark.parametrize("name", marked(DATASETS, slow=SLOW))
def test_it_trains_as_files_do_and_is_resumed_to_the_bit(name, tmp_path):
    make, train = DATASETS[name]
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    paths = tmp_path / "x.npy", tmp_path / "y.npy"
    files = fn.data.Stream.npy(paths if train is PAIRS else dict(zip("xy", paths, strict=True)))
    expected = fn.Trainer(train)(start_model(), files, cached_key(0))

    run_directory = tmp_path / "run"
    with pytest.raises(OSError, match="the power is gone"):
        fn.Trainer(train, run_directory, [PowerCut()], **EACH_STEP)(
            start_model(), fn.data.Stream.from_map(make()), cached_key(0)
        )
    resumed = fn.Trainer(train, run_directory)(
        start_model(), fn.data.Stream.from_map(make()), cached_key(0)
    )
    assert same_bits(resumed.model, expected.model)
    assert same_bits(dict(resumed.history), dict(expected.history))


def test_each_row_is_read_once_in_an_epoch():
    rows = Rows()
    stream = fn.data.Stream.from_map(rows)
    rows.reads = 0
    list(stream.chunks(cached_key(0), 0, 0, 5, 8))
    assert rows.reads == ROWS + 1  # one of them to know the size of a chunk


def test_a_run_is_resumed_on_the_same_rows_only(tmp_path):
    with pytest.raises(OSError, match="the disk is gone"):
        fn.Trainer(PAIRS, tmp_path, **EACH_STEP)(
            start_model(), fn.data.Stream.from_map(Rows(stop_at=150)), cached_key(0)
        )
    changed = Y.copy()
    changed[17] = np.nextafter(changed[17], np.float32(9))
    for other in (Rows(y=changed), Rows(x=X[:-1]), Rows(y=Y.astype(float))):
        with pytest.raises(ValueError, match=r"belongs to a different run:\n  data"):
            fn.Trainer(PAIRS, tmp_path)(start_model(), fn.data.Stream.from_map(other), cached_key(0))
    fn.Trainer(PAIRS, tmp_path)(start_model(), fn.data.Stream.from_map(Rows()), cached_key(0))


def test_some_rows_identify_a_large_dataset(monkeypatch):
    monkeypatch.setattr(_map, "MAX_DIGEST_ROWS", 10)
    rows = Rows()
    before = fn.data.Stream.from_map(rows).fingerprint()
    assert "sha256 of 10 rows" in before
    assert rows.reads < 40
    assert fn.data.Stream.from_map(Rows()).fingerprint() == before
    assert fn.data.Stream.from_map(Rows(y=-Y)).fingerprint() != before


def test_random_rows_are_noticed(tmp_path):
    rng = np.random.default_rng(0)

    class Random(Rows):
        def __getitem__(self, number):
            return X[number] + rng.normal(size=2).astype(np.float32), Y[number]

    with pytest.warns(UserWarning, match="differ when they are read again.*can't resume exactly"):
        fn.Trainer(PAIRS, tmp_path)(start_model(), fn.data.Stream.from_map(Random()), cached_key(0))
    with (
        pytest.warns(UserWarning, match="differ when they are read again"),
        pytest.raises(ValueError, match=r"different run:\n  data"),
    ):
        fn.Trainer(PAIRS, tmp_path)(start_model(), fn.data.Stream.from_map(Random()), cached_key(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fn.Trainer(PAIRS)(start_model(), fn.data.Stream.from_map(Random()), cached_key(0))


def with_row_5(example, batched=False):
    rows = [(x, y) for x, y in zip(X, Y, strict=True)]
    rows[5] = example
    return rows


@pytest.mark.parametrize(
    ("dataset", "error", "words"),
    [
        (5, TypeError, "dataset must have __len__ and __getitem__.*got int 5"),
        (iter([1]), TypeError, "from_batches"),
        (Rows, TypeError, "got the class Rows"),
        ({"x": X}, TypeError, "dataset must have __len__"),
        ((X, Y), TypeError, r"got tuple .*Of arrays write fn.data.Dataset\(\(x, y\)\)"),
        (np.float32(1), TypeError, "dataset must have __len__"),
        (pandas.DataFrame({"x": Y}), TypeError, "dataset must have __len__.*got DataFrame"),
        ([], ValueError, "at least one row"),
        ([()], ValueError, "none in row 0"),
        (["text"], TypeError, r"row 0 of the dataset must be an array of numbers, got str 'text'"),
        (
            [{"x": [1.0], "t": "text"}],
            TypeError,
            r"row 0 of the dataset\['t'\] must be an array of numbers",
        ),
        ([(jax.random.key(0), 1)], TypeError, r"row 0 of the dataset\[0\] must be an array of numbers"),
    ],
)
def test_what_is_not_a_dataset_is_refused(dataset, error, words):
    with pytest.raises(error, match=words):
        fn.data.Stream.from_map(dataset)


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ((X[5][:1], Y[5]), r"\[0\] float32\[2\], \[1\] float32\[\], got \[0\] float32\[1\], .*in row 5"),
        ((X[5].astype(float), Y[5]), r"got \[0\] float64\[2\], \[1\] float32\[\] in row 5"),
        ((X[5], int(Y[5])), r"\[1\] int64\[\] in row 5"),
        ((X[5],), r"got \[0\] float32\[2\] in row 5"),
        (None, "got none in row 5"),
        ({"x": X[5], "y": Y[5]}, r"got \['x'\] float32\[2\]"),
    ],
)
def test_a_row_unlike_the_first_is_named(example, words):
    stream = fn.data.Stream.from_map(with_row_5(example))
    with pytest.raises(ValueError, match=words):
        stream.first(10)


def test_batches_of_another_number_are_refused():
    class Short(Batched):
        def __getitems__(self, numbers):
            return super().__getitems__(numbers)[:1]

    with pytest.raises(ValueError, match="must return an example for each number, got 1 for 3"):
        fn.data.Stream.from_map(Short()).first(3)


def test_a_torch_loader_is_no_map():
    with pytest.raises(TypeError, match=r"got DataLoader .*from_batches\(lambda: iter\(loader\)"):
        fn.data.Stream.from_map(loader()())


def test_an_endless_grain_dataset_is_refused():
    grain = pytest.importorskip("grain")
    with pytest.raises(ValueError, match="fewer than 2"):
        fn.data.Stream.from_map(grain.MapDataset.range(5).repeat())


def loader(stop_at=None, as_dict=False, seed=0):
    """A PyTorch DataLoader of shuffled batches, the last of them short, that fails at a read of a row."""
    torch = pytest.importorskip("torch")

    class Dataset(torch.utils.data.Dataset):
        rows = Rows(stop_at=stop_at)

        def __len__(self):
            return ROWS

        def __getitem__(self, number):
            x, y = map(torch.tensor, self.rows[number])
            return {"x": x, "y": y} if as_dict else (x, y)

    dataset = Dataset()
    return lambda: torch.utils.data.DataLoader(
        dataset, 8, shuffle=True, generator=torch.Generator().manual_seed(seed)
    )


def grain_loader(stop_at=None, as_dict=False, seed=0):
    grain = pytest.importorskip("grain")
    rows = Rows(stop_at=stop_at)

    def example(number):
        x, y = rows[number]
        return {"x": x, "y": y} if as_dict else (x, y)

    dataset = grain.MapDataset.range(ROWS).shuffle(seed=seed).map(example)
    return lambda: iter(dataset.to_iter_dataset().batch(8, drop_remainder=False))


def hugging_face_loader(stop_at=None, as_dict=True, seed=0):
    dataset, rows = hugging_face("numpy").shuffle(seed=seed), Rows(stop_at=stop_at)

    def batches():
        for batch in dataset.iter(8):
            for i in range(len(batch["y"])):
                rows[i]
            yield batch if as_dict else (batch["x"], batch["y"])

    return batches


@pytest.mark.parametrize("as_dict", marked([False, True], slow={False}))
@pytest.mark.parametrize("make", [loader, grain_loader, hugging_face_loader])
def test_loaders_are_resumed_to_the_bit(make, as_dict, tmp_path):
    train = DICTS if as_dict else PAIRS

    def stream(**settings):
        return fn.data.Stream.from_batches(make(as_dict=as_dict, **settings), num_batches=5)

    expected = fn.Trainer(train)(start_model(), stream(), cached_key(0))
    with pytest.raises(OSError, match="the disk is gone"):
        fn.Trainer(train, tmp_path, **EACH_STEP)(start_model(), stream(stop_at=80), cached_key(0))
    with pytest.raises(ValueError, match=r"belongs to a different run:\n  data"):
        fn.Trainer(train, tmp_path)(start_model(), stream(seed=1), cached_key(0))
    resumed = fn.Trainer(train, tmp_path)(start_model(), stream(), cached_key(0))
    assert same_bits(resumed.model, expected.model)
    # A plain loop over the same batches, the last of them short.
    step, state = optax.adam(0.1), None
    model = start_model()
    for _ in range(3):
        for batch in make(as_dict=as_dict)():
            x, y = (np.asarray(batch[k]) for k in (("x", "y") if as_dict else (0, 1)))
            gradient = jax.grad(lambda m: jnp.mean((m(x) - y) ** 2))(model)  # noqa: B023
            state = step.init(model) if state is None else state
            update, state = step.update(gradient, state, model)
            model = optax.apply_updates(model, update)
    for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(expected.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
