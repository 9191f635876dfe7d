"""Tables with text and gaps: how they are read and encoded, and which are refused."""

import builtins
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import same_bits

import funcnet as fn
from funcnet.data import _file

KEY = jax.random.key(0)
RENTS = (
    "area,city,flag,rent\n50,Oslo,True,9.5\n,Rome,False,7.25\n70,Rome,,8\n40,,True,5.5\n90, Oslo ,True,9\n"
)


def table(tmp_path, text, **settings):
    path = tmp_path / "table.csv"
    path.write_text(text)
    return fn.data.load(path, **settings)


def test_text_and_gaps_are_read_as_raw_columns(tmp_path):
    rents = table(tmp_path, RENTS)
    columns, rent = rents.data[:]
    assert isinstance(columns, fn.data.Columns)
    assert rents.feature_names == columns.names == ("area", "city", "flag")
    assert columns.categories == (None, ("Oslo", "Rome"), None)
    expected = [[50, 0, 1], [0, 1, 0], [70, 1, 0], [40, 0, 1], [90, 0, 1]]
    np.testing.assert_array_equal(columns.values, expected)
    assert np.argwhere(columns.missing).tolist() == [[1, 0], [2, 2], [3, 1]]
    assert rent.tolist() == [9.5, 7.25, 8, 5.5, 9]


def test_tables_of_numbers_stay_arrays(tmp_path):
    assert table(tmp_path, "a,b,y\n1,True,0\n2,False,1\n").data.arrays[0].tolist() == [[1, 1], [2, 0]]


def test_an_encoder_uses_training_rows_only(tmp_path):
    data = table(tmp_path, RENTS).data
    encoder = fn.data.Encoder.fit(fn.data.take(data, [1, 2, 3]))
    assert encoder.fill == (55.0, "Rome", 0.5)
    assert encoder.categories == (None, ("Rome",), None)
    x, _ = encoder.transform(data)[:]  # Oslo is not a training category: zero
    assert x.tolist() == [[50, 0, 1], [55, 1, 0], [70, 1, 0.5], [40, 1, 1], [90, 0, 1]]


def test_rows_of_weight_zero_are_ignored(tmp_path):
    data = table(tmp_path, RENTS).data
    weighted = fn.data.Dataset(data.arrays, weight=[0, 3, 1, 1, 0])
    assert fn.data.Encoder.fit(weighted) == fn.data.Encoder.fit(fn.data.take(data, [1, 2, 3]))


def test_a_column_that_changes_its_kind_is_refused(tmp_path):
    encoder = fn.data.Encoder.fit(table(tmp_path, "a,b,y\n1,z,0\n2,k,1\n").data)
    other = table(tmp_path, "a,b,y\nlow,z,0\nhigh,k,1\n").data
    with pytest.raises(ValueError, match=r"'a' must hold numbers.* got text. Read new rows with"):
        encoder.transform(other)
    other = table(tmp_path, "a,b,y\n1,2,0\n,3,1\n").data
    with pytest.raises(ValueError, match=r"'b' must hold text.* got numbers"):
        encoder.transform(other)


def test_a_tie_is_won_by_the_first_category_and_an_even_median_is_interpolated(tmp_path):
    encoder = fn.data.Encoder.fit(table(tmp_path, "a,b,y\n1,z,0\n2,k,1\n,,1\n").data)
    assert encoder.fill == (1.5, "k")


def test_an_encoder_survives_json(tmp_path):
    data = table(tmp_path, RENTS.replace("50", "50.123456789")).data
    encoder = fn.data.Encoder.fit(data)
    again = fn.data.Encoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again == encoder
    assert same_bits(again.transform(data), encoder.transform(data))


def test_encoding_works_inside_jit_and_vmap_over_folds(tmp_path):
    data = table(tmp_path, RENTS).data
    encoder = fn.data.Encoder.fit(data)
    expected = encoder.transform(data[:][0])
    assert expected.shape == (5, len(encoder.feature_names)) == (5, 4)
    assert same_bits(jax.jit(encoder.transform)(data[:][0]), expected)
    assert same_bits(jax.vmap(encoder.transform)(data[:][0]), expected)
    folds = fn.data.kfold(data, 2, KEY)
    for train, valid in folds:
        fitted = fn.data.Encoder.fit(train)
        assert len(fitted.transform(valid)[:][0]) == 3
    each = (fn.data.Dataset.axes(rows=0),)
    together = jax.vmap(lambda part: encoder.transform(part[:][0]), in_axes=each)(folds.train)
    assert together.shape == (2, 3, 4)


def test_a_model_trains_on_encoded_rows_under_vmap(tmp_path):
    data = table(tmp_path, RENTS).data
    encoded = fn.data.Encoder.fit(data).transform(fn.data.bootstrap(data, KEY))
    x, y = fn.data.Scaler.fit(encoded).transform(encoded)[:]
    assert x.shape == (5, 4)
    assert np.isfinite(x).all()
    assert y.shape == (5,)


def test_new_rows_are_read_by_name_with_unknown_categories_and_gaps(tmp_path):
    encoder = fn.data.Encoder.fit(table(tmp_path, RENTS).data)
    new = tmp_path / "new.csv"
    new.write_text("flag,note,city,area\nTrue,x,Bonn,1\n,y,,\nFalse,z,17,2\n")
    x = encoder.transform(encoder.read(new))
    assert x.tolist() == [[1, 0, 0, 1], [60, 1, 0, 1], [2, 0, 0, 0]]
    new.write_text("flag,city,area\nTrue,Oslo,large\n")
    with pytest.raises(ValueError, match="column 'area' is 'large', not a finite number, in data row 1"):
        encoder.read(new)
    new.write_text("city,area\nOslo,1\n")
    with pytest.raises(ValueError, match=r"lacks the column flag\. Expected: area, city, flag"):
        encoder.read(new)


MANY = "a,y\n" + "".join(f"name{i},{i % 2}\n" for i in range(30))
WRONG_COLUMNS = {
    "a column of gaps": ("a,b,y\n1,,0\n2,,1\n", "column 'b' is missing in every row: drop it"),
    "one category only": ("a,b,y\n1,x,0\n2,x,1\n", "column 'b' must have .* got only 'x'"),
    "names": (MANY, "at most 15 categories, got 30 different strings in 30 rows, such as 'name0'"),
    "dates": (
        "a,y\n2024-01-05,0\n2024-02-05,1\n",
        "column 'a' must hold .* got dates such as '2024-01-05'",
    ),
    "numbers and text": (
        "a,y\n1,0\nhigh,1\n2,0\n",
        r"'high', not a finite number, in data row 2 \(1 of 3 rows\)",
    ),
    "text, a gap and a number": (
        "a,y\nlow,0\nhigh,1\n,0\n2,0\n",
        "column 'a' is 'low', not a finite number",
    ),
    "an infinity beside a gap": ("a,b,y\ninf,,0\n1,2,1\n", "column 'a' is 'inf'"),
}


@pytest.mark.parametrize("case", WRONG_COLUMNS)
def test_uninformative_columns_are_refused_by_name(case, tmp_path):
    text, message = WRONG_COLUMNS[case]
    with pytest.raises(ValueError, match=message):
        table(tmp_path, text)


COLUMNS = fn.data.Columns(
    jnp.array([[1.0, 0.0], [0.0, 1.0]]),
    jnp.array([[False, False], [True, False]]),
    ("a", "b"),
    (None, ("x", "y")),
)
WRONG = {
    "an array": (lambda: fn.data.Encoder.fit((jnp.ones((3, 2)),)), TypeError, "must be the raw columns"),
    "an array to encode": (
        lambda: fn.data.Encoder.fit(COLUMNS).transform(jnp.ones((3, 2))),
        TypeError,
        "use a Scaler",
    ),
    "other columns": (
        lambda: fn.data.Encoder.fit(COLUMNS).transform(dataclasses.replace(COLUMNS, names=("b", "a"))),
        ValueError,
        "fitted on the columns a, b, got b, a",
    ),
    "gaps in all training rows": (
        lambda: fn.data.Encoder.fit(fn.data.take(COLUMNS, [1])),
        ValueError,
        "column 'a' is missing in every training row",
    ),
    "a scaler of raw columns": (lambda: fn.data.Scaler.fit((COLUMNS,)), TypeError, "encoder.transform"),
    "a network on raw columns": (
        lambda: fn.evaluate(
            fn.losses.supervised(fn.losses.cross_entropy),
            fn.MLP((2, 2)).init(KEY),
            (COLUMNS, jnp.zeros(2, int)),
        ),
        TypeError,
        "features must be an array, got the raw columns",
    ),
    "a state without names": (lambda: fn.data.Encoder.from_dict({}), ValueError, "without 'names'"),
    "a state of text": (
        lambda: fn.data.Encoder.from_dict({"names": "ab", "fill": [1, 2], "categories": [None, None]}),
        TypeError,
        "state must be .* with lists, got str 'ab' for 'names'",
    ),
    "columns whose gaps have another shape": (
        lambda: fn.data.Encoder.fit(dataclasses.replace(COLUMNS, missing=COLUMNS.missing[..., None])),
        ValueError,
        "missing must have the shape of values",
    ),
    "an empty tuple": (lambda: fn.data.Encoder.fit(()), ValueError, "data must hold at least one array"),
    "a fill that is not a category": (
        lambda: fn.data.Encoder.from_dict({"names": ["a"], "fill": ["z"], "categories": [["x", "y"]]}),
        ValueError,
        "fill of column 'a' must be one of x, y, got str 'z'",
    ),
    "a fill too many": (
        lambda: fn.data.Encoder.from_dict({"names": ["a"], "fill": [1, 2], "categories": [None]}),
        ValueError,
        "one value for each of the 1 columns",
    ),
    "labels that are fractions": (lambda: fn.data.one_hot([0.5], 2), TypeError, "class numbers, got float"),
    "labels of text": (lambda: fn.data.one_hot(np.array(["a"]), 2), TypeError, "np.unique"),
    "a label too large": (
        lambda: fn.data.one_hot([0, 3], 3),
        ValueError,
        "from 0 to 2 for 3 classes, got 0 to 3",
    ),
    "a label below zero": (lambda: fn.data.one_hot([-1, 1], 3), ValueError, "got -1 to 1"),
    "weights by number": (lambda: fn.data.class_weights([0, 1], 2.0), TypeError, "dictionary by label"),
    "weights of no class": (
        lambda: fn.data.class_weights([0, 1], {"a": 2.0}),
        ValueError,
        "labels of the rows, 0, 1, got 'a'",
    ),
    "no labels": (lambda: fn.data.class_weights([]), ValueError, r"\[n\], got shape \(0,\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_refused(case):
    action, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        action()


def test_one_hot_is_a_row_of_the_identity():
    labels = np.array([[2, 0], [1, 1]])
    np.testing.assert_array_equal(fn.data.one_hot(labels, 3), np.eye(3)[labels])
    assert not jax.jit(lambda y: fn.data.one_hot(y, 2))(jnp.array([5])).any()
    logits = jax.random.normal(KEY, (3,))
    for label in range(3):
        rows = fn.losses.cross_entropy(logits, fn.data.one_hot(label, 3))
        np.testing.assert_allclose(rows, fn.losses.cross_entropy(logits, jnp.array(label)), rtol=1e-6)


def test_a_parquet_file_without_pyarrow_names_the_package_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    original_import = builtins.__import__

    def import_without_pyarrow(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original_import(name, *args, **kwargs)

    monkeypatch.setattr("builtins.__import__", import_without_pyarrow)
    with pytest.raises(ValueError, match=r"a\.parquet is a Parquet file.*pip install pyarrow\.$"):
        fn.data.load(tmp_path / "a.parquet")


def test_a_parquet_file_is_read_as_the_same_csv(tmp_path, monkeypatch):
    """pyarrow reads the file; we convert the frame that pandas returns, with the dtypes of Parquet."""
    import pandas

    csv = table(tmp_path, RENTS)
    frame = pandas.read_csv(tmp_path / "table.csv", skipinitialspace=True)
    frame["city"] = frame["city"].str.strip().astype("category")
    frame["flag"] = frame["flag"].astype("boolean")
    frame["area"] = frame["area"].astype("Int64")
    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(pandas, "read_parquet", lambda path, engine: frame)
    assert same_bits(fn.data.load(tmp_path / "table.parquet").data, csv.data)
    dated = frame.assign(when=pandas.Timestamp("2024-01-05"), y=1.0)
    monkeypatch.setattr(pandas, "read_parquet", lambda path, engine: dated)
    with pytest.raises(ValueError, match=r"column 'when' must hold .* got dates such as '2024-01-05"):
        fn.data.load(tmp_path / "table.parquet")
    twice = frame.rename(columns={"area": "flag "})
    monkeypatch.setattr(pandas, "read_parquet", lambda path, engine: twice)
    with pytest.raises(ValueError, match="two columns called 'flag'"):
        fn.data.load(tmp_path / "table.parquet")


def test_a_real_parquet_file(tmp_path):
    pytest.importorskip("pyarrow")
    import pandas

    csv = table(tmp_path, RENTS)
    pandas.read_csv(tmp_path / "table.csv", skipinitialspace=True).to_parquet(tmp_path / "t.parquet")
    assert same_bits(fn.data.load(tmp_path / "t.parquet").data, csv.data)
    (tmp_path / "t.parquet").write_bytes(b"no")
    with pytest.raises(ValueError, match="can't be read as a Parquet file"):
        fn.data.load(tmp_path / "t.parquet")


def test_the_largest_number_of_categories(tmp_path):
    few = "".join(f"name{i % 100},{i % 2}\n" for i in range(200))
    assert len(table(tmp_path, "a,y\n" + few).data) == 200
    with pytest.raises(ValueError, match=f"at most {_file.MAX_CATEGORIES} categories"):
        table(tmp_path, "a,y\n" + "".join(f"name{i % 101},{i % 2}\n" for i in range(400)))
