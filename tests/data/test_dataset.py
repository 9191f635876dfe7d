"""Datasets, splits and tables: their contents, and the errors raised before compilation."""

import copy
import gzip
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keys import cached_key

import funcnet as fn

X, Y = np.arange(12, dtype=np.float32).reshape(6, 2), np.array([0, 1, 0, 1, 0, 1])


def test_a_view_shares_arrays_and_composes():
    data = fn.data.Dataset((X, Y), weight=jnp.arange(1.0, 7.0))
    view = fn.data.take(fn.data.take(data, [5, 4, 3, 3]), [3, 0])
    x, y = view[:]
    assert view.arrays[0] is data.arrays[0]
    assert len(view) == 2
    np.testing.assert_array_equal(x, X[[3, 5]])
    np.testing.assert_array_equal(y, [1, 1])
    np.testing.assert_array_equal(view.weights(), [4, 6])


def test_a_dataset_is_a_pytree_that_vmap_runs_over_by_rows():
    rows = jnp.array([[0, 1, 2], [3, 4, 5]])
    means = jax.vmap(lambda r: fn.data.Dataset((X, Y), rows=r)[:][0].mean())(rows)
    np.testing.assert_allclose(means, [X[:3].mean(), X[3:].mean()])


def test_a_dataset_pickles_and_is_unchanged_by_training():
    data = fn.data.Dataset((jnp.ones((4, 2)), jnp.arange(4.0)), weight=jnp.arange(4.0))
    fields = dict(vars(data))
    loss = fn.losses.supervised(fn.losses.squared_error)
    model = fn.models.LinearRegression(2).init(cached_key(0))
    fn.fit(loss, optax.sgd(0.1), epochs=1)(model, data, cached_key(0))
    expected = fn.evaluate(loss, model, data)["loss"]
    assert vars(data).keys() == fields.keys()
    assert all(getattr(data, name) is value for name, value in fields.items())
    for copied in (pickle.loads(pickle.dumps(data)), copy.copy(data), copy.deepcopy(data)):
        assert fn.evaluate(loss, model, copied)["loss"] == expected
    other = fn.losses.supervised(fn.losses.binary_cross_entropy)
    with pytest.raises(
        ValueError, match="binary_cross_entropy expects"
    ):  # targets are checked for each loss
        fn.evaluate(other, model, data)


@settings(max_examples=10)
@given(
    labels=st.sampled_from((12, 57)).flatmap(lambda n: st.lists(st.integers(0, 3), min_size=n, max_size=n)),
    seed=st.integers(0, 2**31 - 1),
    sizes=st.sampled_from([(0.5, 0.5), (0.6, 0.2, 0.2), (0.7, 0.15, 0.15)]),
)
def test_split_puts_each_row_in_one_part_and_balances_labels(labels, seed, sizes):
    y = np.array(labels)
    parts = fn.data.split((np.arange(len(y)), y), sizes, jax.random.key(seed), stratify=y)
    rows = np.concatenate([part[:][0] for part in parts])
    assert sorted(rows.tolist()) == list(range(len(y)))
    assert [len(p) for p in parts] == pytest.approx([s * len(y) for s in sizes], abs=1)
    for part in parts:
        rows, part_labels = map(np.asarray, part[:])
        np.testing.assert_array_equal(y[rows], part_labels)
        for label in np.unique(y):
            expected = np.sum(y == label) * len(part) / len(y)
            assert abs(np.sum(part_labels == label) - expected) <= 1


CROWDED = {
    "one common label": ([0] * 90 + list(range(1, 11)), (0.45, 0.1, 0.45)),
    "as many rare ones": ([0] * 60 + list(range(1, 41)), (0.6, 0.2, 0.2)),
    "pairs and triples": ([0] * 31 + [i // 2 for i in range(2, 40)] + [20] * 3, (0.5, 0.25, 0.125, 0.125)),
    "all rare": (list(range(24)), (0.5, 0.25, 0.25)),
}


@pytest.mark.parametrize("case", CROWDED)
def test_rare_labels_do_not_crowd_out_a_common_one(case):
    labels, sizes = CROWDED[case]
    y, total = np.array(labels), np.bincount(labels)
    last_parts = set()
    for seed in range(6):
        parts = fn.data.split((np.arange(len(y)),), sizes, jax.random.key(seed), stratify=y)
        rows = [np.asarray(part[:][0]) for part in parts]
        last_parts.add(tuple(sorted(rows[-1].tolist())))
        np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(len(y)))
        for part in rows:
            counts = np.bincount(y[part], minlength=len(total))
            assert np.abs(counts - total * len(part) / len(y)).max() <= 1
    assert len(last_parts) == 6  # the key determines the parts of rare labels


def test_split_shuffles_by_its_key_and_keeps_the_order_without_one():
    ordered = fn.data.split((X, Y), (4, 2), None)
    np.testing.assert_array_equal(ordered[0][:][0], X[:4])
    rows = np.arange(100)
    first, again, other = (
        fn.data.split((rows,), (0.5, 0.5), jax.random.key(k))[0][:][0] for k in (0, 0, 1)
    )
    assert (first == again).all()
    assert sorted(first.tolist()) != sorted(other.tolist())


def test_split_keeps_weights_with_their_rows():
    data = fn.data.Dataset((jnp.arange(10),), weight=jnp.arange(1.0, 11.0))
    for part in fn.data.split(data, (0.5, 0.5), cached_key(0)):
        np.testing.assert_array_equal(part.weights(), part[:][0] + 1)


TABLES = {
    "iris": (150, 4, 3),
    "digits": (1797, 64, 10),
    "breast-cancer": (569, 30, 2),
    "wine": (178, 13, 3),
    "diabetes": (442, 10, 0),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_by_name(name):
    rows, features, classes = TABLES[name]
    table = fn.data.load(name)
    x, y = table.data[:]
    assert (len(table.data), x.shape[1], len(table.class_names)) == (rows, features, classes)
    assert len(table.feature_names) == features
    assert x.dtype == jnp.float32
    assert y.dtype == (jnp.int32 if classes else jnp.float32)
    assert table.task == ("classification" if classes else "regression")


def test_fashion_mnist_from_a_folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for part, n in (("train", 3), ("t10k", 2)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = np.arange(n, dtype=np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            sizes = np.array(array.shape, ">u4").tobytes()
            raw = b"\0\0\x08" + bytes([array.ndim]) + sizes + array.tobytes()
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(raw))
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    table = fn.data.load("fashion-mnist")
    assert table.standard_split == (3, 2)
    assert table.data.arrays[0].shape == (5, 784)
    np.testing.assert_allclose(table.data.arrays[0][3], images[0].ravel() / np.float32(255))
    np.testing.assert_array_equal(table.data.arrays[1], [0, 1, 2, 0, 1])


@pytest.mark.slow
@pytest.mark.usefixtures("free_memory")
def test_fashion_mnist_from_its_package():
    table = fn.data.load("fashion-mnist")
    assert table.standard_split == (60_000, 10_000)
    np.testing.assert_array_equal(np.bincount(table.data.arrays[1][:60_000]), [6000] * 10)


def csv(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    return path


def test_csv_with_text_and_number_targets(tmp_path):
    text = csv(tmp_path, "a,b,kind\n1,2.5,cat\n3,4,dog\n5,6,cat\n")
    table = fn.data.load(text)
    assert (table.task, table.class_names, table.feature_names) == (
        "classification",
        ("cat", "dog"),
        ("a", "b"),
    )
    np.testing.assert_array_equal(table.data.arrays[1], [0, 1, 0])
    price = csv(tmp_path, "a,price\n1,2.5\n3,4.25\n5,6\n")
    assert fn.data.load(price).task == "regression"
    integers = csv(tmp_path, "a,n\n1,1\n3,2\n5,1\n")
    assert fn.data.load(integers).class_names == ("1", "2")
    assert fn.data.load(integers, task="regression").data.arrays[1].tolist() == [1.0, 2.0, 1.0]
    counts = csv(tmp_path, "a,n\n1,2\n3,4\n5,2\n")
    assert fn.data.load(counts).task == "regression", "they do not count from 0 or 1"
    assert fn.data.load(integers, target="a").feature_names == ("n",)


WRONG_FILES = {
    "no rows": ("a,b\n", "a header and no rows"),
    "nothing at all": ("", "is empty"),
    "one column": ("a\n1\n2\n", "only the column 'a'"),
    "a target that is missing": ("a,y\n1,\n2,\n", "the target 'y' is missing in every row"),
    "one class": ("a,y\n1,cat\n2,cat\n", "at least two classes, got only 'cat'"),
    "rows longer than the header": ("a,b,y\n1,2,3,0\n4,5,6,1\n", "more fields than its header"),
    "no header": ("1,2,0\n3,4,1\n", "begins with numbers and has no header"),
    "a column without a name": ("a,,y\n0,1,0\n1,2,1\n", r"column 2 of .* has no name"),
    "one name twice": ("a,a,y\n0,1,0\n1,2,1\n", "two columns called 'a'"),
    "ragged rows": ("a,b\n1,2\n1,2,3,4\n", "has rows with more fields than its header: line 3 has 4"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_wrong_file_is_refused_with_its_location(case, tmp_path):
    text, message = WRONG_FILES[case]
    with pytest.raises(ValueError, match=message):
        fn.data.load(csv(tmp_path, text))


def test_blanks_around_names_and_values_are_ignored(tmp_path):
    table = fn.data.load(csv(tmp_path, " a , y \n1,yes \n2, no\n3,yes\n"))
    assert (table.feature_names, table.target_name, table.class_names) == (("a",), "y", ("no", "yes"))


def test_an_unknown_table_or_target_names_the_known_ones(tmp_path):
    with pytest.raises(FileNotFoundError, match="iris, digits, breast-cancer"):
        fn.data.load("penguins")
    with pytest.raises(FileNotFoundError, match=r"called Iris\. Did you mean iris\?"):
        fn.data.load("Iris")
    with pytest.raises(ValueError, match=r"target and task must be None .*got 'iris'"):
        fn.data.load("iris", task="regression")
    with pytest.raises(ValueError, match=r"target must be a column of .*: a, y; got str 'z'"):
        fn.data.load(csv(tmp_path, "a,y\n1,2\n"), target="z")


WRONG_DATA = {
    "labels for weights": (lambda: fn.data.Dataset(np.ones((3, 2)), np.arange(3)), TypeError, "positional"),
    "balanced weights": (
        lambda: fn.data.Dataset((np.ones(3), np.arange(3)), weight="balanced"),
        TypeError,
        r"weight=fn.data.class_weights\(y, 'balanced'\)",
    ),
    "complex features": (lambda: fn.data.Dataset((np.ones(3, complex),)), TypeError, "complex numbers"),
    "categories of pandas": (
        lambda: fn.data.Dataset((pandas.Series(["a", "b"], dtype="category"),)),
        TypeError,
        r"data\[0\] must be an array of numbers",
    ),
    "negative class weights": (
        lambda: fn.data.class_weights([0, 1], {0: -1}),
        ValueError,
        r"weights\[0\] must be at least 0",
    ),
    "a traced key for a split": (
        lambda: jax.jit(lambda key: fn.data.split((np.ones(4),), (2, 2), key)[0][:])(jax.random.key(0)),
        TypeError,
        "split runs on the host",
    ),
    "one of several positions too far": (
        lambda: fn.data.Dataset((X, Y))[jnp.array([0, 99])],
        IndexError,
        "below 6, got 99",
    ),
    "half rows": (
        lambda: fn.data.split((np.ones(4),), (1.5, 2.5), jax.random.key(0)),
        ValueError,
        "numbers of rows must be integers",
    ),
    "unequal lengths": (lambda: fn.data.Dataset((X, Y[:5])), ValueError, r"\[0\] has 6, \[1\] has 5"),
    "weights whose sum is too large": (
        lambda: fn.data.Dataset((X, Y), weight=np.full(6, 1e38, np.float32)),
        ValueError,
        r"weight must add up to at most 3\.4e\+38",
    ),
    "a weight that XLA takes as 0": (
        lambda: fn.data.Dataset((X, Y), weight=np.full(6, 1e-40, np.float32)),
        ValueError,
        r"weight must be 0 or at least 1\.2e-38",
    ),
    "a scaler of a dictionary": (lambda: fn.data.Scaler.fit({"x": X}), TypeError, "data of a Scaler"),
    "noise without an end": (lambda: fn.data.noise(10**400), ValueError, "scale must fit"),
    "rows that are no number": (
        lambda: fn.data.Stream.from_batches(lambda: iter([(X, Y)]), 1).first(2.5),
        TypeError,
        "rows must be an integer",
    ),
    "a weight of a batch below 0": (
        lambda: fn.data.Batch((X, Y), np.array([1.0, -1, 1, 1, 1, 1])),
        ValueError,
        "weight must be at least 0",
    ),
    "an empty table": (lambda: fn.data.Dataset((X[:0], Y[:0])), ValueError, "the table is empty"),
    "no arrays": (lambda: fn.data.Dataset(()), ValueError, "at least one array"),
    "a scalar": (lambda: fn.data.Dataset((X, 1.0)), ValueError, "leading axis of rows"),
    "a NaN": (
        lambda: fn.data.Dataset((np.where(X == 9, np.float32(np.nan), X), Y)),
        ValueError,
        r"data\[0\] must be finite, got nan at \[4, 1\]",
    ),
    "text": (lambda: fn.data.Dataset((X, np.array(list("aabbab")))), TypeError, "np.unique"),
    "a negative weight": (
        lambda: fn.data.Dataset((X, Y), weight=-jnp.ones(6)),
        ValueError,
        "got -1.* in row 0",
    ),
    "weights of zero": (
        lambda: fn.data.Dataset((X, Y), weight=jnp.zeros(6)),
        ValueError,
        "all weights are zero",
    ),
    "a weight too few": (
        lambda: fn.data.Dataset((X, Y), weight=jnp.ones(5)),
        ValueError,
        "each of the 6 rows",
    ),
    "a row too far": (lambda: fn.data.take((X, Y), [6]), ValueError, "from 0 to 5"),
    "a negative row": (lambda: fn.data.take((X, Y), [-1]), ValueError, "from 0 to 5"),
    "no rows": (lambda: fn.data.take((X, Y), []), ValueError, "at least one row"),
    "sizes beyond one": (
        lambda: fn.data.split((X, Y), (0.9, 0.2), cached_key(0)),
        ValueError,
        "the sum 1.1",
    ),
    "an empty part": (
        lambda: fn.data.split((X, Y), (0.99, 0.01), cached_key(0)),
        ValueError,
        "one would be empty",
    ),
    "stratify without key": (
        lambda: fn.data.split((X, Y), (3, 3), None, stratify=Y),
        ValueError,
        "needs a key",
    ),
    "too few labels": (
        lambda: fn.data.split((X, Y), (3, 3), cached_key(0), stratify=Y[:3]),
        ValueError,
        "each of the 6",
    ),
    "no batch size": (lambda: fn.data.batches((X, Y), 0), ValueError, "batch_size must be at least 1"),
    "an epoch before the first": (
        lambda: fn.data.batches((X, Y), 2, cached_key(0), -1),
        ValueError,
        "epoch must be at least 0",
    ),
    "a mask for rows": (lambda: fn.data.take((X, Y), Y == 1), TypeError, "np.flatnonzero"),
    "a mask for a view": (lambda: fn.data.Dataset((X, Y), rows=Y == 1), TypeError, "np.flatnonzero"),
    "numbers beyond 32 bits": (
        lambda: fn.data.Dataset((np.array([2**40]),)),
        ValueError,
        "must fit in 32-bit integers",
    ),
    "a position too far": (
        lambda: fn.data.Dataset((X, Y))[6],
        IndexError,
        "below 6, got 6",
    ),
    "rows one too few": (
        lambda: fn.data.split((np.arange(200_000),), (100_000, 99_999), None),
        ValueError,
        "the sum 199999",
    ),
    "an unknown scaler": (lambda: fn.data.Scaler.fit((X, Y), "robust"), ValueError, "standard, minmax"),
    "a ragged list": (
        lambda: fn.data.Dataset(([[1.0, 2.0], [3.0]], Y)),
        ValueError,
        r"data\[0\] must be an array, or a list of rows of equal lengths",
    ),
    "a list of text": (lambda: fn.data.Dataset((X, list("aabbab"))), TypeError, "np.unique"),
    "a fraction for a position": (
        lambda: fn.data.Dataset((X, Y))[1.5],
        TypeError,
        "position must hold integers",
    ),
    "a mask of another length": (
        lambda: fn.data.Dataset((X, Y))[np.ones(5, bool)],
        IndexError,
        r"position, a mask, must have shape \(6,\)",
    ),
    "a weight that float32 makes 0": (
        lambda: fn.data.Dataset((X, Y), weight=np.array([1, 1, 1e-50, 1, 1, 1])),
        ValueError,
        "weight must be 0 or at least 1.2e-38.*got 1e-50 in row 2",
    ),
    "a weight beyond float32": (
        lambda: fn.data.Dataset((X, Y), weight=np.array([1, 1, 1e39, 1, 1, 1])),
        ValueError,
        r"weight must fit in float32.*got 1e\+39 at \[2\]",
    ),
    "one row": (lambda: fn.data.take((X, Y), 3), ValueError, "rows must be a list"),
    "a scaler of other features": (
        lambda: fn.data.Scaler.fit((X, Y)).transform(jnp.ones((4, 7))),
        ValueError,
        "fitted on 2 features.*7",
    ),
    "no rows to shuffle": (
        lambda: fn.data.Shuffle.draw(cached_key(0), 0),
        ValueError,
        "n must be at least 1",
    ),
}


@pytest.mark.parametrize("case", WRONG_DATA)
def test_wrong_data_is_refused(case):
    action, error, message = WRONG_DATA[case]
    with pytest.raises(error, match=message):
        action()


def test_lists_are_arrays_of_numbers_and_pytrees_of_arrays():
    x, y = fn.data.Dataset(([[1, 2], (3, 4)], [0.5, 1.5]))[:]
    assert (x.tolist(), y.tolist()) == ([[1, 2], [3, 4]], [0.5, 1.5])
    assert fn.data.Dataset([1.0, 2.0])[1] == 2
    pair = fn.data.Dataset([np.ones((3, 2)), [1, 2, 3]])
    assert [leaf.shape for leaf in jax.tree.leaves(pair)] == [(3, 2), (3,)]


def test_tables_and_columns_of_pandas_are_arrays():
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [3, 4]})
    x, y = fn.data.Dataset((frame, frame["b"]))[:]
    assert (x.tolist(), y.tolist()) == ([[1.0, 3.0], [2.0, 4.0]], [3, 4])


def test_an_empty_list_selects_no_rows():
    x, y = fn.data.Dataset((X, Y))[[]]
    assert (x.shape, y.shape, x.dtype) == ((0, *X.shape[1:]), (0,), X.dtype)


def test_a_mask_selects_rows():
    np.testing.assert_array_equal(fn.data.Dataset((X, Y))[np.asarray(Y) == 1][0], X[1::2])
