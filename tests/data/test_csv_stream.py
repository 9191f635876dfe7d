"""Streams from text files: the rows of the file, by number, and nothing else."""

import gzip

import jax
import numpy as np
import optax
import pandas
import pytest

import funcnet as fn
from funcnet.data import _csv


def write(path, rows=300, **settings):
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {
            "a": rng.normal(size=rows).astype(np.float32),
            "note": rng.choice(["x", 'two\nlines, and "quotes"', "", "ü"], rows),
            " b ": rng.integers(-5, 5, rows),
            "y": rng.integers(0, 3, rows),
        }
    )
    frame.to_csv(path, index=False, **settings)
    return frame.rename(columns=str.strip)


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        ({}, {}),
        ({"sep": ";", "decimal": ","}, {"separator": ";", "decimal": ","}),
        ({"lineterminator": "\r\n"}, {}),
        ({"encoding": "utf-8-sig", "sep": "\t"}, {"separator": "\t"}),
        ({"encoding": "cp1252"}, {"encoding": "cp1252"}),
    ],
)
@pytest.mark.parametrize("block", [7, 64, 2**24])
def test_rows_are_those_of_the_file(settings, given, block, tmp_path, monkeypatch):
    monkeypatch.setattr(_csv, "BLOCK_BYTES", block)
    frame = write(tmp_path / "t.csv", **settings)
    stream = fn.data.Stream.csv(tmp_path / "t.csv", ["b", "a"], "y", **given)
    assert len(stream) == 300
    numbers = np.random.default_rng(1).integers(0, 300, 100)
    x, y = stream.source.rows(numbers)
    np.testing.assert_array_equal(x, frame[["b", "a"]].to_numpy(np.float32)[numbers])
    np.testing.assert_array_equal(y, frame["y"].to_numpy()[numbers])
    assert (x.dtype, y.dtype) == (np.float32, np.int32)


def test_targets_with_decimals_are_decimals_also_where_rows_hold_integers(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,0.5\n2,3\n2,4\n")
    _, y = fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y").source.rows(np.array([1, 2]))
    assert (y.dtype, y.tolist()) == (np.float32, [3.0, 4.0])


def test_a_stream_trains_as_the_arrays_do(tmp_path):
    frame = write(tmp_path / "t.csv")
    x, y = frame[["a", "b"]].to_numpy(np.float32), frame["y"].to_numpy(np.int32)
    loss = fn.losses.supervised(fn.losses.cross_entropy)
    train = fn.fit(loss, optax.sgd(0.1), epochs=2, batch_size=32)
    model = fn.models.MLP((2, 4, 3)).init(jax.random.key(0))
    stream = fn.data.Stream.csv(tmp_path / "t.csv", ["a", "b"], "y")
    run = fn.Trainer(train, progress=False)(model, stream, jax.random.key(1))
    expected = train(model, (x, y), jax.random.key(1))
    np.testing.assert_allclose(run.history["loss"], expected.history["loss"], rtol=1e-5)


def test_blank_lines_and_a_missing_last_line_feed(tmp_path):
    (tmp_path / "t.csv").write_text("\n\na,y\n1.5,0\n\n\r\n2.5,1\n3.5,2")
    stream = fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y")
    assert stream.source.rows(np.arange(3))[0][:, 0].tolist() == [1.5, 2.5, 3.5]


WRONG = {
    "no header": ("", "is empty: expected a header and rows"),
    "no rows": ("a,y\n", "got no rows"),
    "a gap": ("a,y\n1,0\n,1\n", "column 'a' of .* must hold finite numbers, got a gap in data row 2"),
    "a word": ("a,y\n1,0\n2,one\n", "column 'y' of .* must hold finite numbers, got 'one' in data row 2"),
    "an infinity": ("a,y\n1,0\ninf,1\n", "must hold finite numbers, got 'inf' in data row 2"),
    "more fields": ("a,y\n1,0\n2,1,3\n", "can't be read as a table"),
    "an open quote": ('a,y\n1,0\n"2,1\n', "quotation marks that do not end in the row"),
    "another separator": ("a;y\n1;0\n", "must be columns of .*Columns are separated by ','"),
    "a name twice": ("a,a,y\n1,2,0\n", "each once: a, a, y"),
    "carriage returns": ("a,y\r1,0\r2,1\r", "can't be read as a table.*lines end with a line feed"),
    "a line of blanks": ("a,y\n1,0\n   \n2,1\n", "expected lines that hold more than blanks"),
    "digits": ("a,y\n" + "".join(f"{1e9 + i},{i % 2}\n" for i in range(40)), "40 different values"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_table_of_numbers_is_refused(case, tmp_path):
    content, message = WRONG[case]
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y")


def test_a_row_with_too_few_cells_is_refused(tmp_path):
    """Its cells may stand in other columns; a blank last cell is no such row."""
    (tmp_path / "t.csv").write_text('a,y,note\n1,0,\n2,1,"x, y"\n7,1\n')
    with pytest.raises(ValueError, match="has 3 columns, and data row 3 has only 2 cells"):
        fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y")
    (tmp_path / "t.csv").write_text("a,y,note\r\n1,0,\r\n2,1,\r\n")
    assert len(fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y")) == 2


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_row_of_gaps_is_a_row(end, tmp_path):
    (tmp_path / "t.csv").write_bytes(f"a,y{end}1,0{end},{end}2,1{end}{end}".encode())
    with pytest.raises(ValueError, match="must hold finite numbers, got a gap in data row 2"):
        fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y")


@pytest.mark.parametrize("end", [b" \n", b"\t\n", b"\x1a"])
def test_what_ends_a_file_is_no_row(end, tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,y\n1,0\n2,1\n" + end)
    assert len(fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y")) == 2


def test_columns_that_are_not_read_may_have_one_name(tmp_path):
    (tmp_path / "t.csv").write_text("note,a,note,y,,\nx,1.5,z,0,,\nx,2.5,z,1,,\n")
    stream = fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y")
    x, y = stream.source.rows(np.arange(2))
    assert (x[:, 0].tolist(), y.tolist()) == ([1.5, 2.5], [0, 1])


def test_a_point_among_decimal_commas_is_refused_where_it_is(tmp_path):
    (tmp_path / "t.csv").write_text("a;y\n1,5;0\n1.234;1\n")
    with pytest.raises(ValueError, match=r"got '1\.234' in data row 2"):
        fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y", separator=";", decimal=",")


def test_content_that_is_not_text(tmp_path):
    for content in ("a,y\n1,0\n".encode("utf-16"), gzip.compress(b"a,y\n1,0\n")):
        (tmp_path / "t.csv").write_bytes(content)
        with pytest.raises(ValueError, match="Expected text in utf-8, not compressed"):
            fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y")


def test_later_rows_are_checked_when_they_are_read(tmp_path):
    rows = [f"{i}.5,{i % 2}" for i in range(2000)]
    for wrong, message in (
        ("x,1", "got 'x' in data row 1501"),
        ("1.5,0.5", "holds integers in its first rows"),
    ):
        rows[1500] = wrong
        (tmp_path / "t.csv").write_text("\n".join(["a,y", *rows]))
        stream = fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y")
        with pytest.raises(ValueError, match=message):
            stream.source.rows(np.arange(1400, 1600))


def test_a_file_that_changes_is_refused(tmp_path):
    write(tmp_path / "t.csv")
    stream = fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y")
    with (tmp_path / "t.csv").open("a") as file:
        file.write("1,x,1,1\n")
    with pytest.raises(ValueError, match="changed since its rows were counted"):
        stream.source.rows(np.arange(3))


def test_wrong_arguments(tmp_path):
    write(tmp_path / "t.csv")
    with pytest.raises(FileNotFoundError, match="there is none"):
        fn.data.Stream.csv(tmp_path / "no.csv", ["a"], "y")
    with pytest.raises(TypeError, match="features must be a list of names"):
        fn.data.Stream.csv(tmp_path / "t.csv", "a", "y")
    with pytest.raises(ValueError, match="encoding must be one of"):
        fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y", encoding="utf-16")
    with pytest.raises(ValueError, match="separator and decimal must differ"):
        fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y", decimal=",")
    with pytest.raises(ValueError, match="other than the target, each once, got"):
        fn.data.Stream.csv(tmp_path / "t.csv", ["a", "a"], "y")
    for name in ("separator", "decimal", "encoding"):
        with pytest.raises(TypeError, match=f"{name} must be a string, got NoneType"):
            fn.data.Stream.csv(tmp_path / "t.csv", ["a"], "y", **{name: None})
