"""Tables from files: how they are read, and which are refused."""

import builtins

import numpy as np
import pandas
import pytest
from tables import same_bits

import funcnet as fn

RENTS = (
    "area,city,flag,rent\n50,Oslo,True,9.5\n,Rome,False,7.25\n70,Rome,,8\n40,,True,5.5\n90, Oslo ,True,9\n"
)


def table(tmp_path, text, **settings):
    path = tmp_path / "table.csv"
    path.write_text(text)
    return fn.data.load(path, **settings)


def test_text_and_gaps_are_read_as_a_frame(tmp_path):
    rents = table(tmp_path, RENTS)
    frame, rent = rents.arrays
    assert list(frame.columns) == list(rents.feature_names) == ["area", "city", "flag"]
    assert frame["area"].isna().tolist() == [False, True, False, False, False]
    assert rent.tolist() == [9.5, 7.25, 8, 5.5, 9]
    assert rents.to_pandas().columns.tolist() == ["area", "city", "flag", "rent"]
    schema = fn.tabular.Schema.fit(frame)
    assert [column.role for column in schema.columns] == ["number", "category", "boolean"]


def test_a_table_of_numbers_is_a_dataset(tmp_path):
    numbers = table(tmp_path, "a,b,y\n1,True,0\n2,False,1\n")
    assert numbers.data.arrays[0].tolist() == [[1, 1], [2, 0]]
    assert numbers.to_pandas()["y"].tolist() == ["0", "1"]


def test_a_bundled_table_is_a_frame_with_names():
    frame = fn.data.load("iris").to_pandas()
    assert frame.columns[0] == "sepal length (cm)"
    assert frame["class"].value_counts().to_dict() == dict.fromkeys(
        ("setosa", "versicolor", "virginica"), 50
    )
    diabetes = fn.data.load("diabetes")
    np.testing.assert_array_equal(diabetes.to_pandas()["progression"], diabetes.data[:][1])


NO_DATASETS = {
    "a gap": (
        "a,b,y\n1,2,0\n2,,1\n",
        "column 'b' of table must hold finite numbers, got a gap in data row 2",
    ),
    "text": ("a,y\n1,0\nhigh,1\n2,0\n", r"got 'high' in data row 2 \(1 of 3 rows\)"),
    "an infinity": ("a,b,y\ninf,1,0\n1,2,1\n", "column 'a' of table must hold finite numbers, got 'inf'"),
}


@pytest.mark.parametrize("case", NO_DATASETS)
def test_what_a_dataset_cant_hold_is_refused_with_advice(case, tmp_path):
    text, message = NO_DATASETS[case]
    loaded = table(tmp_path, text)
    with pytest.raises(ValueError, match=f"{message}.*read by the estimators of fn.sklearn"):
        _ = loaded.data


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
    """pyarrow reads the file; we read the frame that pandas returns, with the dtypes of Parquet."""
    csv = table(tmp_path, RENTS)
    frame = pandas.read_csv(tmp_path / "table.csv", skipinitialspace=True)
    frame["city"] = frame["city"].str.strip().astype("category")
    frame["flag"] = frame["flag"].astype("boolean")
    frame["area"] = frame["area"].astype("Int64")
    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(pandas, "read_parquet", lambda path, engine: frame)
    x, y = fn.data.load(tmp_path / "table.parquet").arrays
    schema = fn.tabular.Schema.fit(csv.arrays[0])
    assert fn.tabular.Schema.fit(x).category_names == schema.category_names
    for ours, theirs in zip(
        vars(schema.encode(x)).values(), vars(schema.encode(csv.arrays[0])).values(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert y.tolist() == csv.arrays[1].tolist()
    dated = frame[["rent"]].assign(when=pandas.Timestamp("2024-01-05"), y=frame["rent"])
    monkeypatch.setattr(pandas, "read_parquet", lambda path, engine: dated)
    with pytest.raises(ValueError, match=r"column 'when' of table must hold finite numbers, got dates"):
        _ = fn.data.load(tmp_path / "table.parquet").data
    twice = frame.rename(columns={"area": "flag "})
    monkeypatch.setattr(pandas, "read_parquet", lambda path, engine: twice)
    with pytest.raises(ValueError, match="two columns called 'flag'"):
        fn.data.load(tmp_path / "table.parquet")


def test_a_real_parquet_file(tmp_path):
    pytest.importorskip("pyarrow")
    numbers = table(tmp_path, "a,b,y\n1,2.5,0\n2,3.5,1\n")
    pandas.read_csv(tmp_path / "table.csv").to_parquet(tmp_path / "t.parquet")
    assert same_bits(fn.data.load(tmp_path / "t.parquet").data, numbers.data)
    (tmp_path / "t.parquet").write_bytes(b"no")
    with pytest.raises(ValueError, match="can't be read as a Parquet file"):
        fn.data.load(tmp_path / "t.parquet")
