"""Tables from files: how they are read, and which are refused."""

import builtins
import bz2
import datetime
import gzip
import lzma
import zoneinfo

import jax
import numpy as np
import pandas
import pytest
from tables import same_bits

import funcnet as fn
from funcnet.data._rows import named_rows

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


def write(path, frame, **settings):
    frame.to_csv(path, index=False, **settings)
    return path


FRAME = pandas.DataFrame(
    {
        "Größe": np.arange(12.0) + 0.5,
        "town": ["Köln", "Rom", "Oslo"] * 4,
        "price": np.arange(12) * 1250.25,
    }
)
FORMS = {
    "semicolons and decimal commas": {"sep": ";", "decimal": ","},
    "tabs": {"sep": "\t"},
    "bars": {"sep": "|"},
    "Windows-1252": {"encoding": "cp1252"},
    "UTF-16 with a mark": {"encoding": "utf-16"},
    "UTF-8 with a mark": {"encoding": "utf-8-sig"},
    "quoted": {"quoting": 1},
    "carriage returns": {"lineterminator": "\r\n"},
}


def same_features(table, expected):
    """Whether the columns of two tables are read as the same numbers and categories."""
    schema = fn.tabular.Schema.fit(expected.arrays[0])
    ours, theirs = (fn.tabular.Schema.fit(t.arrays[0]).encode(t.arrays[0]) for t in (table, expected))
    np.testing.assert_array_equal(ours.numbers, theirs.numbers)
    np.testing.assert_array_equal(ours.codes, theirs.codes)
    assert table.feature_names == expected.feature_names == schema.names
    np.testing.assert_allclose(table.arrays[1], expected.arrays[1], rtol=1e-15)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_text_is_the_same_table(form, tmp_path):
    expected = fn.data.load(write(tmp_path / "plain.csv", FRAME))
    assert expected.task == "regression"
    same_features(fn.data.load(write(tmp_path / "table.csv", FRAME, **FORMS[form])), expected)


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip), ("bz2", bz2), ("xz", lzma)])
def test_compressed_files_are_read_and_damaged_ones_refused(suffix, compress, tmp_path):
    plain = write(tmp_path / "rents.csv", FRAME)
    path = tmp_path / f"rents.csv.{suffix}"
    content = compress.compress(plain.read_bytes())
    path.write_bytes(content)
    table = fn.data.load(path)
    same_features(table, fn.data.load(plain))
    assert table.name == "rents"
    path.write_bytes(content[:-9])
    with pytest.raises(ValueError, match=rf"rents\.csv\.{suffix} is a damaged .* file"):
        fn.data.load(path)


def test_a_separator_and_an_encoding_can_be_given(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes("a:Größe\n1:2\n3:4\n".encode("cp850"))
    table = fn.data.load(path, separator=":", encoding="cp850")
    assert (table.feature_names, table.target_name) == (("a",), "Größe")
    with pytest.raises(ValueError, match="name it: separator=':'"):
        fn.data.load(path, encoding="cp850")
    with pytest.raises(ValueError, match="encoding must be the name of an encoding, got 'klingon'"):
        fn.data.load(path, encoding="klingon")
    with pytest.raises(ValueError, match="separator must be one ASCII character, got '::'"):
        fn.data.load(path, separator="::")
    (tmp_path / "b.csv").write_bytes(b"a,b\n\0,1\n")
    with pytest.raises(ValueError, match="not a table of text: it contains zero bytes"):
        fn.data.load(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_bytes(b"a,b\n\x81\xff,1\n")
    with pytest.raises(ValueError, match="is not text in utf-8 or cp1252"):
        fn.data.load(tmp_path / "c.csv")


TARGETS = {
    "words": (["a", "b", "a", ""], "classification", 1, ("a", "b")),
    "booleans": (["TRUE", "FALSE", "TRUE", "TRUE"], "classification", 0, ("FALSE", "TRUE")),
    "integers from 0": (["0", "1", "2", "1"], "classification", 0, ("0", "1", "2")),
    "integers from 3": (["3", "4", "5", "4"], "regression", 0, ()),
    "money": (["1.250,50 €", "7,25 €", "3 €", "NA"], "regression", 1, ()),
    "percent": (["12 %", "7.5 %", "3 %", "4 %"], "regression", 0, ()),
    "numbers among words": (["1.5", "many", "few", "2"], "classification", 0, ("1.5", "2", "few", "many")),
}


@pytest.mark.parametrize("case", TARGETS)
def test_a_target_is_read_as_people_write_it(case, tmp_path):
    cells, task, left_out, classes = TARGETS[case]
    path = write(tmp_path / "t.csv", pandas.DataFrame({"a": range(4), "y": cells}), sep=";")
    loaded = fn.data.load(path)
    assert (loaded.task, loaded.rows_without_target, loaded.class_names) == (task, left_out, classes)
    assert len(loaded) == len(loaded.arrays[0]) == 4 - left_out
    if case == "money":
        assert loaded.arrays[1].tolist() == [1250.5, 7.25, 3.0]


def test_codes_with_leading_zeros_stay_text(tmp_path):
    frame = pandas.DataFrame({"zip": ["00501", "10001", "02134"] * 4, "n": range(12), "y": np.arange(12.0)})
    x, _ = fn.data.load(write(tmp_path / "t.csv", frame)).arrays
    assert x["zip"].tolist() == frame["zip"].tolist()
    assert x["n"].dtype.kind == "i"
    assert fn.tabular.Schema.fit(x).columns[0].role == "category"


@pytest.mark.parametrize(
    ("name", "role"), [("Unnamed: 0", "dropped"), ("id", "dropped"), ("time", "number")]
)
def test_a_first_column_of_row_numbers_is_dropped_by_its_name(name, role):
    frame = pandas.DataFrame({name: range(20), "a": np.arange(20.0) ** 2})
    for rows in (frame, frame[::2]):
        assert fn.tabular.Schema.fit(rows).columns[0].role == role


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_end_of_line_gives_the_same_table(end, tmp_path):
    """A carriage return would hide a code in the last column, and csv refuses one alone."""
    content = end.join(["a;y;zip", "1,5;2,5;00501", "2,25;3,5;10001", ""])
    (tmp_path / "t.csv").write_bytes(content.encode())
    loaded = fn.data.load(tmp_path / "t.csv", "y")
    assert loaded.arrays[1].tolist() == [2.5, 3.5]
    assert loaded.arrays[0]["zip"].tolist() == ["00501", "10001"]


def test_blank_first_lines_do_not_hide_the_header(tmp_path):
    (tmp_path / "t.csv").write_text("  \n\na,a,y\n1,2,3.5\n")
    with pytest.raises(ValueError, match="two columns called 'a'"):
        fn.data.load(tmp_path / "t.csv")


def test_a_spreadsheet_names_its_separator(tmp_path):
    (tmp_path / "t.csv").write_text("sep=:\na:y\n1:2.5\n2:3.5\n")
    assert fn.data.load(tmp_path / "t.csv").feature_names == ("a",)


def test_zstandard_files_of_several_frames_are_read_and_cut_ones_refused(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    compress = zstandard.ZstdCompressor().compress
    content = compress(b"a,y\n1,2.5\n") + compress(b"2,3.5\n" * 100)
    (tmp_path / "t.csv.zst").write_bytes(content)
    assert len(fn.data.load(tmp_path / "t.csv.zst")) == 101
    (tmp_path / "t.csv.zst").write_bytes(content[:-3])
    with pytest.raises(ValueError, match="is a damaged zstandard file: its end is missing"):
        fn.data.load(tmp_path / "t.csv.zst")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"separator": "§"}, ValueError, "separator must be one ASCII character, got '§'"),
        ({"separator": 1}, TypeError, "separator must be a string, got int 1"),
        ({"encoding": "undefined"}, ValueError, "is not text in undefined"),
        ({"missing": "NA"}, TypeError, "missing must be a sequence of words"),
        ({"target": "z"}, ValueError, "c0, c1, .* c19 and 480 more; got str 'z'"),
    ],
)
def test_wrong_settings_of_a_file(settings, error, message, tmp_path):
    names = [f"c{i}" for i in range(500)]
    frame = pandas.DataFrame(np.arange(1000.0).reshape(2, -1), columns=names)
    with pytest.raises(error, match=message):
        fn.data.load(write(tmp_path / "t.csv", frame), **settings)


ROWS = ["a,b,y", '1,"x, y",2.5', "2,z,3.5", '3,"w",4.5']
DAMAGED_ROWS = {
    "a separator is lost": ("2,z3.5", "fewer fields than its header: line 3 has 2, and the header 3"),
    "the end is lost": ("2", "fewer fields than its header: line 3 has 1, and the header 3"),
    "a separator too many": ("2,,z,3.5", "more fields than its header: line 3 has 4, and the header 3"),
    "a cell too many": ("2,z,3.5,", "more fields than its header: line 3 has 4, and the header 3"),
    "a mark that hides a row": ('2,"z,3.5', "quotation mark in line 3 that is never closed, or not at"),
    "no separator before a quoted one": (
        '2x"a, b",3.5',
        "quotation mark in line 3 that is never closed, or not at",
    ),
    "a mark that hides a separator": (
        '"2,"z, w",3.5',
        "quotation mark in line 3 that is never closed, or not",
    ),
    "a mark alone": ('2,",3.5', "quotation mark in line 3 that is never closed, or not at"),
}


@pytest.mark.parametrize("case", DAMAGED_ROWS)
def test_damaged_rows_are_refused(case, tmp_path):
    """Pandas fills short rows up, and joins all rows between two quotation marks."""
    row, message = DAMAGED_ROWS[case]
    (tmp_path / "t.csv").write_text("\n".join([*ROWS[:2], row, ROWS[3]]))
    with pytest.raises(ValueError, match=rf"t\.csv has .*{message}"):
        fn.data.load(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "rows",
    [
        ['1,"x, y" ,2.5', '2,"two\n\nlines" , 3.5'],  # blanks behind a quoted cell, and blank lines in it
        ["1,x,2.5,", "2,z,3.5,"],  # a separator at the end of all rows
        ['1,5" pipe,2.5', '2,"5"" pipe",3.5', ""],
        ['1,5"x7",2.5', '2, "a ""b, c"" d" ,3.5'],
        ["1,,2.5", "   ", "2,,3.5", ""],
    ],
)
def test_unusual_rows_are_read(rows, tmp_path):
    (tmp_path / "t.csv").write_text("\n".join([ROWS[0], *rows]))
    assert fn.data.load(tmp_path / "t.csv").arrays[1].tolist() == [2.5, 3.5]


def test_a_damaged_byte_does_not_change_all_accents(tmp_path):
    content = "Größe,Café,y\n1,Köln,2.5\n2,Rom,3.5\n"
    (tmp_path / "t.csv").write_bytes(content.encode().replace(b"Rom", b"R\x9cm"))
    with pytest.raises(
        ValueError, match=r"UTF-8 with 1 damaged bytes, the first in line 3\. Save it again"
    ):
        fn.data.load(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(content.encode("cp1252"))
    assert fn.data.load(tmp_path / "t.csv").feature_names == ("Größe", "Café")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_all_streams_of_a_compressed_file_are_read(compress, tmp_path):
    """Their modules ignore a stream that does not begin as one."""
    first, second = compress(b"a,y\n1,2.5\n"), compress(b"2,3.5\n" * 50)
    (tmp_path / "t.csv").write_bytes(first + second + b"\0\0")
    assert len(fn.data.load(tmp_path / "t.csv")) == 51
    (tmp_path / "t.csv").write_bytes(first + b"x" + second[1:])
    with pytest.raises(ValueError, match=r"t\.csv is a damaged \w+ file"):
        fn.data.load(tmp_path / "t.csv")


def test_one_damaged_cell_does_not_hide_decimal_commas(tmp_path):
    rows = [f"{i + 1}.250;{i},5;{i},25" for i in range(20)]
    rows[3] = "4.250;oops;3,25"
    (tmp_path / "t.csv").write_text("\n".join(["people;size;y", *rows]))
    schema = fn.tabular.Schema.fit(fn.data.load(tmp_path / "t.csv").arrays[0])
    assert [(column.role, column.missing) for column in schema.columns] == [("number", 0), ("number", 1)]
    assert schema.columns[0].read_as == "1.234,5"


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_commas_in_all_rows_are_no_separators(separator, tmp_path):
    rows = [("last name, first name", "y"), *(("Doe, John", i) for i in range(9)), ("Roe, Ann", 9.5)]
    (tmp_path / "t.csv").write_text("\n".join(f"{name}{separator}{y}" for name, y in rows))
    loaded = fn.data.load(tmp_path / "t.csv")
    assert (loaded.feature_names, loaded.target_name) == (("last name, first name",), "y")


def test_quoted_decimal_commas_of_two_columns_show_the_thousands(tmp_path):
    rows = [f'{i + 1}.250,"{i},5","{i},25"' for i in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(["people,size,y", *rows]))
    frame = fn.data.load(tmp_path / "t.csv").arrays[0]
    encoded = fn.tabular.Schema.fit(frame).encode(frame).numbers
    assert encoded[:2].tolist() == [[1250.0, 0.5], [2250.0, 1.5]]


def test_a_long_cell_is_cut_in_an_error(tmp_path):
    rows = [f"{i},{i}.5" for i in range(50)]
    (tmp_path / "t.csv").write_text("\n".join(["a,y", *rows, f"50,{'1' * 100_000}x"]))
    with pytest.raises(ValueError, match=r"50 different numbers, and '1{60}…' in data row 51"):
        fn.data.load(tmp_path / "t.csv")


def test_text_in_utf_16_without_a_mark_is_told(tmp_path):
    (tmp_path / "t.csv").write_bytes("a,y\n1,2.5\n".encode("utf-16-le"))
    with pytest.raises(ValueError, match=r'zero bytes\. If it is text in UTF-16, .*"utf-16-le"'):
        fn.data.load(tmp_path / "t.csv")
    assert len(fn.data.load(tmp_path / "t.csv", encoding="utf-16-le")) == 1


def test_the_index_of_a_parquet_file_is_a_column_if_it_has_a_name(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    frame = pandas.DataFrame({"a": [1.0, 2.0, 3.0], "y": ["1.5", "NA", "2.5"]})
    for index, names in (
        (pandas.Index([7, 7, 7]), ("a",)),
        (pandas.Index([1.5, 2.5, 3.5], name="height"), ("height", "a")),
        (pandas.MultiIndex.from_arrays([list("uvw"), [4, 4, 4]], names=["town", None]), ("town", "a")),
    ):
        monkeypatch.setattr(pandas, "read_parquet", lambda *_, index=index, **__: frame.set_index(index))
        x, y = fn.data.load(tmp_path / "t.parquet").arrays
        assert tuple(x.columns) == names
        assert x.index.tolist() == [0, 1]
        assert y.tolist() == [1.5, 2.5]


MORE_TARGETS = {
    "classes with gaps": (["1", "", "0", "1"], {}, ("0", "1"), [1, 0, 1]),
    "chosen classes with gaps": (["7", "", "5", "7"], {"task": "classification"}, ("5", "7"), [1, 0, 1]),
    "a word that is missing": (["a", "unk", "b", "a"], {"missing": ["unk"]}, ("a", "b"), [0, 1, 0]),
    "a number that is missing": (["1.5", "-999", "2.5", "3"], {"missing": ["-999"]}, (), [1.5, 2.5, 3]),
    "a decimal comma after zero": (["0,500", "2,125", "3,250", "0,125"], {}, (), [0.5, 2.125, 3.25, 0.125]),
}


@pytest.mark.parametrize("case", MORE_TARGETS)
def test_targets_with_gaps_keep_their_names_and_values(case, tmp_path):
    cells, settings, classes, values = MORE_TARGETS[case]
    path = write(tmp_path / "t.csv", pandas.DataFrame({"a": range(4), "y": cells}), sep=";")
    loaded = fn.data.load(path, **settings)
    assert loaded.class_names == classes
    assert loaded.arrays[1].tolist() == values
    assert loaded.why


def test_how_a_number_with_marks_is_read_is_told(tmp_path):
    path = write(tmp_path / "t.csv", pandas.DataFrame({"a": range(3), "y": ["1,250", "2,375", "3,125"]}))
    assert fn.data.load(path).why == "it holds numbers, '1,250' is 1250"


NO_TARGETS = {
    "a word among many numbers": (
        ["1.5 €"] * 2 + [f"{i}.5" for i in range(30)] + ["n.k."],
        "'n.k.' in data row 33",
    ),
    "dates": ([f"2024-01-{i + 1:02}" for i in range(31)], "numbers or classes, got dates"),
    "text for a regression": (["", "1.5", "x"], r"got 'x' in data row 3 .*Leave it blank"),
}


@pytest.mark.parametrize("case", NO_TARGETS)
def test_targets_that_are_neither_numbers_nor_classes(case, tmp_path):
    cells, message = NO_TARGETS[case]
    task = "regression" if "regression" in case else None
    path = write(tmp_path / "t.csv", pandas.DataFrame({"a": range(len(cells)), "y": cells}))
    with pytest.raises(ValueError, match=message):
        fn.data.load(path, task=task)


@pytest.mark.parametrize("unit", ["datetime64[us]", "timedelta64[us]"])
def test_times_are_no_target(unit, tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "y": np.array([1, 2], unit)})
    monkeypatch.setattr(pandas, "read_parquet", lambda *_, **__: frame)
    with pytest.raises(
        ValueError, match=rf"'y' must hold numbers or classes, got {unit[:8]}.*Try the days"
    ):
        fn.data.load(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("file", "name"),
    [("rents.2024.csv", "rents.2024"), ("rents.2024.csv.GZ", "rents.2024"), (".csv", ".csv")],
)
def test_the_name_of_a_table_is_that_of_its_file(file, name, tmp_path):
    assert fn.data.load(write(tmp_path / file, FRAME, compression=None)).name == name


def test_a_wide_table_gives_no_warning(tmp_path):
    frame = pandas.DataFrame(np.arange(600.0).reshape(2, -1)).add_prefix("c")
    assert fn.data.load(write(tmp_path / "t.csv", frame)).to_pandas().equals(frame)


def german(values, digits):
    return [f"{value:,.{digits}f}".translate(str.maketrans(",.", ".,")) for value in values]


def test_thousands_are_told_from_decimals_by_the_other_columns(tmp_path):
    """Pandas reads 12.345 people as 12.345, and 987 as 987; three decimals look like thousands, too."""
    people, size = np.array([987, 12345, 870000, 1250] * 10), np.linspace(1, 9, 40).round(3)
    frame = pandas.DataFrame(
        {
            "people": german(people, 0),
            "size": german(size, 3),
            "share": [str(value) for value in size / 2],  # a column with decimal points
            "price": german(size * 1000, 2),
            "rooms": german(size, 1),
            "debt": german(people, 0),
        }
    )
    table = fn.data.load(write(tmp_path / "t.csv", frame, sep=";"))
    assert table.arrays[1].tolist() == people.tolist()
    assert table.why == "it holds numbers, '12.345' is 12345"
    x = table.to_pandas().drop(columns="debt").iloc[::2].reset_index(drop=True)
    schema = fn.tabular.Schema.fit(x)
    assert [c.read_as for c in schema.columns] == ["1.234,5", "1234,5", "number", "1.234,5", "1234,5"]
    columns = [people, size, size / 2, (size * 1000).round(2), size.round(1)]
    expected = np.stack(columns, axis=1)[::2]
    np.testing.assert_allclose(schema.encode(x).numbers, expected, rtol=1e-15)
    with pytest.raises(ValueError, match="column 'people' of t must hold finite numbers, got text"):
        _ = table.data
    commas = frame[["people", "debt"]].assign(code=["1,2", "2,3"] * 20)  # between columns, too
    loaded = fn.data.load(write(tmp_path / "t.csv", commas), "debt")
    assert loaded.arrays[0]["people"].dtype.kind == "f"


def test_a_number_that_means_a_gap_in_a_target_of_text(tmp_path):
    rows = [f"{i};{i},5" for i in range(30)] + ["30;-999,0", "31;-999"]
    (tmp_path / "t.csv").write_text("a;y\n" + "\n".join(rows))
    table = fn.data.load(tmp_path / "t.csv", missing=("-999",))
    assert (len(table), table.rows_without_target) == (30, 2)


PLACES = {"area": [50.0, 70.5], "rooms": [2, 3]}
NEW_ROWS = {
    "pandas": pandas.DataFrame({"rooms": [2, 3], "rent": [0, 0], "area": [50.0, 70.5]}, index=[7, 3]),
    "columns": PLACES,
    "columns with indices": {"rooms": pandas.Series([2, 3], [1, 0]), "area": np.array([50.0, 70.5])},
    "rows": [{"area": 50.0, "rooms": 2}, {"rooms": 3, "area": 70.5}],
    "array": np.array([[50.0, 2], [70.5, 3]]),
    "text": {"area": ["50", "70.5"], "rooms": ["2", "3"]},
}


@pytest.mark.parametrize("kind", [*NEW_ROWS, "polars", "polars columns"])
def test_new_rows_are_found_by_the_names_of_their_columns(kind, tmp_path):
    flats = table(tmp_path, "area,rooms,rent\n40,1,5.5\n60,2,7\n90,4,9\n")
    if kind.startswith("polars"):
        polars = pytest.importorskip("polars")
        frame = polars.DataFrame({"rooms": [2, 3], "area": [50.0, 70.5]})
        rows = frame if kind == "polars" else {name: frame[name] for name in frame.columns}
    else:
        rows = NEW_ROWS[kind]
    x = flats.encode(rows)
    assert x.dtype == np.float64
    assert x.tolist() == [[50, 2], [70.5, 3]]
    assert flats.encode({"rooms": 2, "area": 50}).tolist() == [[50, 2]]
    schema = fn.tabular.Schema.fit(flats.arrays[0])
    if not hasattr(rows, "columns") or kind == "polars":
        np.testing.assert_array_equal(schema.encode(rows).numbers, x)


WRONG_ROWS = {
    "a missing column": ({"area": [1.0]}, "rows must have the columns area, rooms; got none called rooms"),
    "another column": (
        {"area": [1.0], "rooms": [1], "floor": [3]},
        "rows must have only the columns area, rooms; got floor as well",
    ),
    "a gap": ([{"area": 1.0, "rooms": 2}, {"area": 2.0}], "column 'rooms' of the new rows .* got a gap"),
    "text": ({"area": ["large"], "rooms": [1]}, "column 'area' of the new rows .* got 'large'"),
    "lengths": ({"area": [1.0, 2.0], "rooms": [1]}, "the same number of rows, got .*'area': 2, 'rooms': 1"),
    "a gap in an array": (
        np.array([[1.0, 2.0], [1.0, np.nan]]),
        r"column 'rooms' of the new rows .* got a gap in data row 2 .* MLPRegressor\(\).fit",
    ),
    "an array": (np.ones((2, 3)), r"rows must have shape \[n, 2\], .* got \(2, 3\)"),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_wrong_new_rows_get_a_sentence(case, tmp_path):
    rows, message = WRONG_ROWS[case]
    flats = table(tmp_path, "area,rooms,rent\n40,1,5.5\n60,2,7\n")
    with pytest.raises(ValueError, match=message):
        flats.encode(rows)


def test_a_table_without_a_target_has_features_alone(tmp_path):
    flats = table(tmp_path, "area,rooms\n40,1\n60,2\n", target=None)
    assert flats.feature_names == ("area", "rooms")
    assert (flats.target_name, flats.task, len(flats)) == (None, None, 2)
    assert flats.data[:].tolist() == [[40, 1], [60, 2]]
    assert "no target" in repr(flats)
    assert "no target" in flats._repr_html_()
    assert flats.to_pandas().shape == (2, 2)
    assert table(tmp_path, "a\n1\n2\n", target=None).data[:].tolist() == [[1], [2]]
    iris = fn.data.load("iris", target=None)
    assert iris.data[:].shape == (150, 4)
    assert iris._repr_html_()
    assert table(tmp_path, "a,b,c\n1,2,3.5\n2,3,4.5\n", target=0).target_name == "a"
    with pytest.raises(ValueError, match="task must be None without a target"):
        table(tmp_path, "a,b\n1,2\n", target=None, task="regression")
    with pytest.raises(ValueError, match=r"target must be a column of .*: a, b; got int 2"):
        table(tmp_path, "a,b\n1,2\n", target=2)


FLOWERS = {"length": [1.5, 2.5, 3.5, 4.5], "width": [1, 2, 3, 4], "species": ["b", "a", "b", None]}


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_frame_in_memory_is_a_table(kind, tmp_path):
    if kind == "polars":
        frame = pytest.importorskip("polars").DataFrame(FLOWERS)
    else:
        frame = pandas.DataFrame(FLOWERS, index=[7, 7, 3, 1])
    before = frame.to_numpy().tolist()
    flowers = fn.data.load(frame, target="species")
    pandas.DataFrame(FLOWERS).to_csv(tmp_path / "flowers.csv", index=False)
    of_file = fn.data.load(tmp_path / "flowers.csv", target="species")
    assert frame.to_numpy().tolist() == before
    assert flowers.class_names == of_file.class_names == ("a", "b")
    assert flowers.rows_without_target == 1
    assert flowers.feature_names == ("length", "width")
    for ours, theirs in zip(flowers.data[:], of_file.data[:], strict=True):
        assert same_bits(ours, theirs)
    assert fn.data.load(frame, target=1).task == "classification"  # four integers from 1
    assert len(fn.data.load(frame[["length", "width"]], target=None).data) == 4
    assert flowers.encode(frame).tolist() == [[1.5, 1], [2.5, 2], [3.5, 3], [4.5, 4]]


def test_a_frame_without_names_or_with_types_of_pandas_is_a_table():
    frame = pandas.DataFrame(np.arange(9.0).reshape(3, 3))
    assert fn.data.load(frame).encode(frame[:1]).tolist() == [[0, 1]]
    frame = pandas.DataFrame({"x": pandas.array([1, None, 3], dtype="Int64"), "y": ["u", "v", "u"]})
    assert fn.data.load(frame.astype({"y": "category"})).arrays[1].tolist() == [0, 1, 0]
    iris = fn.data.load("iris")
    assert same_bits(fn.data.load(iris.to_pandas()).data[:][0], iris.data[:][0])


TEXT = pandas.DataFrame({"area": [40.0, 60.0], "city": ["Oslo", "Rome"], "rent": [5.5, 7.0]})
LOSS = fn.losses.supervised(fn.losses.squared_error)
NO_TABLES = {
    "a frame as a Dataset": (
        lambda: fn.data.Dataset(TEXT),
        r"data must .* a DataFrame with text, dates or gaps in city. .* fn.data.load\(frame, target='y'\)",
    ),
    "a frame to train on": (
        lambda: fn.evaluate(LOSS, fn.Linear(2, "scalar").init(jax.random.key(0)), TEXT),
        r"data must .* got a DataFrame .* fn.data.load\(frame, target='y'\)",
    ),
    "a frame of numbers to train on": (
        lambda: fn.evaluate(LOSS, fn.Linear(1, "scalar").init(jax.random.key(0)), TEXT[["area", "rent"]]),
        r"must be examples \(x, y\), .*fn.data.load\(frame, target='y'\).data",
    ),
    "text for a regressor": (
        lambda: fn.data.load(TEXT, target="rent").data,
        r"column 'city' of frame must hold finite numbers, got 'Oslo' .* MLPRegressor\(\).fit\(",
    ),
    "text for a classifier": (
        lambda: fn.data.load(TEXT, target="rent", task="classification").data,
        r"column 'city' .* MLPClassifier\(\).fit\(",
    ),
    "text without a target": (lambda: fn.data.load(TEXT, target=None).data, r"fn.tabular.Schema.fit\("),
    "a separator": (
        lambda: fn.data.load(TEXT, separator=";"),
        "unless name is a file of text, got a DataFr",
    ),
    "an empty frame": (lambda: fn.data.load(TEXT[:0]), "the table frame is empty"),
    "one column": (lambda: fn.data.load(TEXT[["rent"]]), "If it is a feature: target=None"),
    "an unknown target": (
        lambda: fn.data.load(TEXT, target="price"),
        "target must be a column of frame: area, city, rent; got str 'price'",
    ),
    "a column twice": (
        lambda: fn.data.load(TEXT[["area", "area"]]),
        "frame has two columns called 'area'",
    ),
}


@pytest.mark.parametrize("case", NO_TABLES)
def test_a_frame_that_is_no_table_gets_a_sentence(case):
    call, message = NO_TABLES[case]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_times_and_long_integers_of_polars_are_those_that_estimators_read():
    polars = pytest.importorskip("polars")
    noon = datetime.datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("America/New_York"))
    frame = polars.DataFrame({"at": [noon, noon], "id": [2**60 + 1, None], "y": [0.5, 1.5]})
    for read in (fn.data.load(frame).arrays[0], named_rows({"at": frame["at"], "id": frame["id"]})):
        assert read["at"].dt.hour.tolist() == [12, 12]
        assert read["id"][0] == 2**60 + 1
        assert read["id"].isna().tolist() == [False, True]


def test_columns_of_pandas_that_are_no_series_are_taken():
    days = pandas.date_range("2024-01-01", periods=2)
    rows = {"at": days, "i": pandas.Index([1.0, 2.0]), "j": pandas.array([1, None], "Int64")}
    rows["text"] = pytest.importorskip("pyarrow").array(["x", "y"])
    read = named_rows(rows)
    assert read["at"].tolist() == days.tolist()
    assert read["i"].tolist() == [1, 2]
    assert read["j"].isna().tolist() == [False, True]
    assert read["text"].tolist() == ["x", "y"]


def test_a_frame_on_disk_is_refused():
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"a frame in memory, got a LazyFrame. Try frame.collect\(\)"):
        fn.data.load(polars.DataFrame(FLOWERS).lazy())


def test_predictions_of_rows_by_name_are_those_of_arrays():
    x = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    model = fn.Linear(2, 1).init(jax.random.key(0))
    expected = fn.predict(model, x)
    frame = pandas.DataFrame(x, columns=["a", "b"])
    pairs = fn.data.load(frame.assign(y=[0.5, 1.5, 2.5]))
    assert same_bits(fn.predict(model, pairs.encode(frame[["b", "a"]])), expected)
    assert same_bits(fn.predict(model, frame.to_numpy()), expected)
    with pytest.raises(TypeError, match=r"got a DataFrame.* table.encode\(frame\)\).* frame.to_numpy\(\)"):
        fn.predict(model, frame[["b", "a"]])
    for one in ({"a": 1.0, "b": 2.0}, {"a": np.float32(1), "b": jax.numpy.ones(())}):
        with pytest.raises(
            TypeError, match=r"takes many rows, got one: .*table.encode\(row\).* model\(row\)"
        ):
            fn.predict(model, one)
    with pytest.raises(ValueError, match=r"must have the columns of x\[0\], a, b, got a in x\[1\]"):
        fn.predict(model, [{"a": 1.0, "b": 2.0}, {"a": 1.0}])
    by_name = {"a": x[:, 0], "b": x[:, 1]}
    rows = [{"a": float(a), "b": float(b)} for a, b in x]
    for given in (by_name, rows):
        np.testing.assert_allclose(fn.predict(lambda row: row["a"] - row["b"], given), x[:, 0] - x[:, 1])
        with pytest.raises(TypeError, match=r"fn.predict\(model, table.encode\(rows\)\)"):
            fn.predict(model, given)
