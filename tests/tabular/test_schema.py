"""How columns are read: decided once from the training rows, obeyed by every later table."""

import datetime
import decimal
import json

import numpy as np
import pandas
import polars
import pytest

import funcnet as fn
from funcnet.tabular import Schema

N = 40


def numbers(seed=0):
    return np.random.default_rng(seed).normal(size=N)


def column(values, **settings):
    """The only column of a frame besides one of numbers."""
    frame = pandas.DataFrame({"a": numbers()[: len(values)], "b": values})
    return Schema.fit(frame, **settings).columns[1]


def cycle(*words, n=N):
    return [words[i % len(words)] for i in range(n)]


@pytest.mark.parametrize("make", [pandas.DataFrame, polars.DataFrame], ids=["pandas", "polars"])
def test_a_frame_of_all_kinds(make):
    day = datetime.datetime(2024, 1, 31, 6, 30)
    frame = make(
        {
            "number": [*numbers()[:-1], None],
            "count": list(range(7, 7 + N)),
            "boolean": [True, None, *cycle(False, True, n=N - 2)],
            "text": [None, *cycle("red", "NA", "None", n=N - 1)],
            "date": [day + datetime.timedelta(days=i) for i in range(N)],
            "price": [decimal.Decimal(f"{i}.25") for i in range(N)],
        }
    )
    schema = Schema.fit(frame)
    roles = ["number", "number", "boolean", "category", "date", "number"]
    assert [c.role for c in schema.columns] == roles
    assert [c.missing for c in schema.columns] == [1, 0, 1, 1, 0, 0]
    assert schema.columns[3].categories == ("NA", "None", "red")
    features = schema.encode(frame)
    by_name = dict(zip(schema.number_names, features.numbers.T, strict=True))
    assert np.isnan(by_name["number"][-1])
    assert by_name["count"][0] == 7
    assert np.isnan(by_name["boolean"][1])
    assert by_name["boolean"][0] == 1
    assert (by_name["date.month"][0], by_name["date.day"][0], by_name["date.weekday"][0]) == (1, 31, 2)
    assert by_name["date.days"][0] == pytest.approx(19753 + 6.5 / 24)
    assert "date.hour" not in by_name, "all dates have one hour"
    assert by_name["price"][3] == 3.25
    assert features.codes[:4, 0].tolist() == [-1, 2, 0, 1]
    assert features.sizes == (3,)
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    for empty in (frame.head(0), pandas.DataFrame({name: np.array([], object) for name in frame.columns})):
        none = schema.encode(empty)
        assert (none.numbers.shape, none.codes.shape) == ((0, len(schema.number_names)), (0, 1))


def test_true_false_unknown_is_one_column_whatever_a_new_file_holds():
    """FAULTS.md K3: the same row was encoded in two ways."""
    train = pandas.DataFrame({"a": numbers(), "b": cycle("TRUE", "FALSE", "unknown")})
    schema = Schema.fit(train)
    assert schema.columns[1].categories == ("FALSE", "TRUE", "unknown")
    with_unknown = pandas.DataFrame({"a": [0.0, 0.0], "b": ["TRUE", "unknown"]})
    without = pandas.DataFrame({"a": [0.0, 0.0], "b": [True, False]})  # so pandas reads TRUE, FALSE
    assert schema.encode(with_unknown).codes[:, 0].tolist() == [1, 2]
    assert schema.encode(without).codes[:, 0].tolist() == [1, 0]


def test_booleans_in_words_are_read_as_in_the_training_rows():
    schema = Schema.fit(pandas.DataFrame({"a": numbers(), "b": cycle("no", "Yes")}))
    assert (schema.columns[1].role, schema.columns[1].read_as) == ("boolean", "Yes / no")
    new = pandas.DataFrame({"a": [0.0] * 4, "b": ["yes", "NO", "perhaps", None]})
    assert schema.encode(new).numbers[:, 1].tolist()[:2] == [1.0, 0.0]
    assert np.isnan(schema.encode(new).numbers[2:, 1]).all()


def test_gaps_of_a_column_that_is_to_be_boolean_are_counted():
    decided = column(["no", None, *cycle("no", "Yes", n=N - 2)], roles={"b": "boolean"})
    assert (decided.role, decided.read_as, decided.missing) == ("boolean", "Yes / no", 1)


@pytest.mark.parametrize("word", ["NA", "None", "null", "nan"])
def test_words_for_nothing_are_categories_where_the_column_is_text(word):
    decided = column(cycle("Pave", word, "Grvl"))
    assert (decided.role, decided.missing) == ("category", 0)
    assert word in decided.categories
    chosen = column(cycle("Pave", word, "Grvl"), missing=(word,))
    assert chosen.categories == ("Grvl", "Pave")
    assert chosen.missing == 13


@pytest.mark.parametrize(
    ("odd", "value"), [("n.a.", np.nan), ("1,234.5", 1234.5), ("typing error", np.nan), ("", np.nan)]
)
def test_one_odd_value_among_prices_does_not_make_classes_of_them(odd, value):
    prices = [f"{i}.5" for i in range(N - 1)]
    frame = pandas.DataFrame({"a": numbers(), "price": [odd, *prices]})
    schema = Schema.fit(frame)
    assert schema.columns[1].role == "number"
    encoded = schema.encode(frame).numbers[:, 1]
    np.testing.assert_array_equal(encoded, [value, *map(float, prices)])
    if odd == "typing error":
        assert "typing error" in schema.columns[1].why


@pytest.mark.parametrize(
    ("texts", "read_as", "values"),
    [
        (["168,8", "1.234,25"], "1.234,5", [168.8, 1234.25]),
        (["$5", "-$1,000.5"], "$1,234.5", [5.0, -1000.5]),
        (["12 %", "7.5 %"], "1234.5%", [12.0, 7.5]),
        (["1 000", "2 500,5"], "1.234,5", [1000.0, 2500.5]),
        (["3 km", "4.5km"], "1234.5km", [3.0, 4.5]),
        (["1e-3", "2.5E4"], "1234.5", [0.001, 25000.0]),
        (["−3", "+4"], "1234.5", [-3.0, 4.0]),
    ],
)
def test_numbers_in_text(texts, read_as, values):
    frame = pandas.DataFrame({"a": numbers(), "b": cycle(*texts)})
    schema = Schema.fit(frame)
    assert (schema.columns[1].role, schema.columns[1].read_as) == ("number", read_as)
    assert schema.encode(frame[:2]).numbers[:, 1].tolist() == values


def test_codes_with_leading_zeros_and_mixed_marks_are_categories():
    assert column(cycle("00501", "501", "01067")).categories == ("00501", "01067", "501")
    assert column(cycle("A1", "A2", "B1")).role == "category"
    assert column(cycle("10", "20", "30+")).role == "category"
    assert column(cycle("00501", "01067"), roles={"b": "number"}).role == "number"


@pytest.mark.parametrize(
    ("texts", "read_as", "day"),
    [
        (["2024-02-01", "2024-03-01T10:30:00"], "year-month-day", (2, 1)),
        (["01.02.2024", "02.03.2024"], "day.month.year", (2, 1)),
        (["02/01/2024", "02/13/2024"], "month/day/year", (2, 1)),
        (["1/2/2024", "13/2/2024 08:15"], "day.month.year", (2, 1)),
        (["02.01.2024", "02.13.2024"], "month/day/year", (2, 1)),  # dots, and no day is first
    ],
)
def test_dates_in_text(texts, read_as, day):
    frame = pandas.DataFrame({"a": numbers(), "b": cycle(*texts)})
    schema = Schema.fit(frame)
    assert schema.columns[1].read_as == read_as
    parts = fn.tabular._column.date_parts(fn.tabular._column.dates(schema.columns[1], read(frame)))
    assert tuple(parts[0, 2:4]) == day


def read(frame):
    return fn.tabular._frame.read(frame)[0][1]


def test_dates_that_can_be_read_in_two_ways_are_refused_and_the_user_decides():
    texts = cycle("01/02/2024", "03/04/2024")
    with pytest.raises(ValueError, match="which of day and month comes first"):
        column(texts)
    assert column(texts, dayfirst=True).read_as == "day.month.year"
    assert column(texts, dayfirst=False).read_as == "month/day/year"
    with pytest.raises(ValueError, match="which of day and month comes first"):
        column(cycle("13.02.2024", "02.13.2024"))
    one_odd = column(["02.13.2024", *(f"{i % 28 + 1}.02.2024" for i in range(N - 1))])
    assert (one_odd.read_as, one_odd.missing) == ("day.month.year", 1)


@pytest.mark.parametrize("values", [[1.5, 2.5], [True, False], ["x", "y"]])
def test_a_column_without_dates_has_not_their_role(values):
    with pytest.raises(ValueError, match=r"column 'b' must hold dates for the role 'date', got"):
        column(cycle(*values), roles={"b": "date"})


def test_years_days_and_months_are_no_dates():
    assert column([f"2024-{day}-02" for day in range(1, 31)]).role == "dropped"


def test_columns_that_teach_nothing_are_dropped_and_say_why():
    frame = pandas.DataFrame(
        {
            "row": range(1, N + 1),
            "constant": ["DE"] * N,
            "number": numbers(),
            "id": [f"C{i:05}" for i in range(N)],
            "remark": [f"seen on visit {i // 2}" for i in range(N - 1)] + ["?"],
            "empty": [None] * N,
            "zero": [0.0] * N,
        }
    )
    schema = Schema.fit(frame)
    why = {c.name: c.why for c in schema.columns if c.role == "dropped"}
    assert list(why) == ["row", "constant", "id", "remark", "empty", "zero"]
    assert why["row"] == "it numbers the rows"
    assert why["id"] == "it names the row: all 40 values differ"
    assert "free text" in why["remark"]
    assert schema.encode(frame).numbers.shape == (N, 1)
    chosen = Schema.fit(frame, roles={"row": "number", "id": "category", "number": "dropped"})
    assert [c.role for c in chosen.columns[:4]] == ["number", "dropped", "dropped", "category"]
    assert "it names the row" in str(schema)


def test_an_array_keeps_its_columns_of_numbers():
    x = np.column_stack([np.arange(20.0), np.ones(20), np.full(20, np.nan)])
    assert [c.role for c in Schema.fit(x).columns] == ["number"] * 3
    mixed = np.array([[1, "a"], [2.5, "b"], [3, "a"]], object)
    features = Schema.fit(mixed).encode(mixed)
    assert features.numbers.tolist() == [[1.0], [2.5], [3.0]]
    assert features.codes.tolist() == [[0], [1], [0]]


def test_integers_beyond_float64_are_names():
    decided = column(2**60 + np.arange(N))
    assert (decided.role, decided.why) == ("dropped", f"it names the row: all {N} values differ")
    stores = cycle(2**60 + 1, 2**60 + 2)
    assert column(stores).categories == (str(2**60 + 1), str(2**60 + 2))
    assert column(cycle("1.5e30", "2.5e30", "1e30")).role == "number"
    assert column([10.0**20 * i for i in range(N)]).role == "number"


@pytest.mark.parametrize(
    "make",
    [
        lambda ids: pandas.DataFrame({"a": np.arange(len(ids)) / 2, "b": pandas.array(ids, "Int64")}),
        lambda ids: polars.DataFrame(
            {"a": np.arange(len(ids)) / 2, "b": polars.Series(ids, dtype=polars.Int64)}
        ),
    ],
    ids=["pandas", "polars"],
)
def test_a_gap_elsewhere_changes_no_long_integer(make):
    known = [2**53, 2**53 + 1]
    schema = Schema.fit(make(cycle(*known)), roles={"b": "category"})
    assert schema.encode(make([*known, None])).codes.ravel().tolist() == [0, 1, -1]
    assert Schema.fit(make([*cycle(*known), None])).columns[1].categories == tuple(map(str, known))
    assert Schema.fit(make([None] * N)).columns[1].role == "dropped"


def test_long_integers_of_a_file_keep_their_digits_beside_a_blank(tmp_path):
    ids = [2**53 + 1, 2**53]
    rows = [f"{i / 2},{'' if i == 5 else ids[i % 2]},{1e20 * i!r},{i}" for i in range(N)]
    (tmp_path / "t.csv").write_text("\n".join(["a,id,large,y", *rows]))
    table = fn.data.load(tmp_path / "t.csv")
    columns = {c.name: c for c in Schema.fit(table.arrays[0]).columns}
    assert columns["id"].categories == tuple(map(str, sorted(ids)))
    assert columns["large"].role == "number"


def test_new_categories_and_other_number_types():
    schema = Schema.fit(pandas.DataFrame({"a": numbers(), "b": pandas.Categorical(cycle(1, 2, 3))}))
    assert schema.columns[1].categories == ("1", "2", "3")
    new = pandas.DataFrame({"b": [2.0, 7.0, np.nan], "a": [1.0, 2.0, 3.0]})  # floats, by a gap
    features = schema.encode(new)
    assert features.codes[:, 0].tolist() == [1, -1, -1]
    assert features.numbers[:, 0].tolist() == [1.0, 2.0, 3.0], "columns are found by name"


def test_a_new_table_that_does_not_match_is_refused():
    train = pandas.DataFrame({"a": numbers(), "b": cycle("x", "y")})
    schema = Schema.fit(train)
    with pytest.raises(ValueError, match=r"none called 'b'. Its columns are 'a', 'c'"):
        schema.encode(train.rename(columns={"b": "c"}))
    with pytest.raises(ValueError, match=r"got 'c' as well"):
        schema.encode(train.assign(c=1))
    with pytest.raises(ValueError, match=r"column 'a' must hold numbers.*got 'blue' in row 1"):
        schema.encode(pandas.DataFrame({"a": ["1.5", "blue"], "b": ["x", "y"]}))
    with pytest.raises(ValueError, match="infinity in row 0"):
        schema.encode(pandas.DataFrame({"a": [np.inf], "b": ["x"]}))
    with pytest.raises(ValueError, match="2 columns of the training rows, got 3"):
        schema.encode(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("X", "settings", "error", "message"),
    [
        (np.zeros(3), {}, ValueError, "two axes"),
        (np.zeros((0, 2)), {}, ValueError, "at least one row"),
        (np.zeros((2, 2)), {"roles": {"y": "number"}}, ValueError, "roles must be of columns of X"),
        (np.zeros((2, 2)), {"roles": {"x0": "text"}}, ValueError, "the role of column 'x0' must be one of"),
        (np.zeros((2, 2)), {"roles": ["x0"]}, TypeError, "roles must be a dictionary"),
        (np.zeros((2, 2)), {"missing": "NA"}, TypeError, "missing must be a sequence"),
        (np.zeros((2, 2), complex), {}, ValueError, "Complex data not supported"),
        (pandas.DataFrame(np.zeros((2, 2)), columns=["a", "a"]), {}, ValueError, "'a' twice"),
    ],
)
def test_bad_arguments_get_a_sentence(X, settings, error, message):
    with pytest.raises(error, match=message):
        Schema.fit(X, **settings)


def test_a_damaged_schema_is_refused():
    state = Schema.fit(np.zeros((2, 1))).to_dict()
    for name in state:
        with pytest.raises(ValueError, match="must"):
            Schema.from_dict({**state, name: 7.5})
    state["columns"][0]["role"] = "colour"
    with pytest.raises(ValueError, match="a column of a schema"):
        Schema.from_dict(state)


def test_cells_that_are_neither_numbers_nor_text_are_missing_with_a_warning():
    cells = np.array([[1.0], [2.0], [{"a": 1}], [4.0]], object)
    with pytest.warns(UserWarning, match="1 values that are neither numbers nor text"):
        schema = Schema.fit(cells)
    assert schema.columns[0].role == "number"


def test_a_number_can_mean_a_gap():
    train = pandas.DataFrame({"a": [1.5, -999.0] + [2.0, 3.0] * 3, "b": ["x", "-999"] * 4})
    schema = Schema.fit(train, missing=("-999", "NA"))
    assert [(column.role, column.missing) for column in schema.columns] == [("number", 1), ("category", 4)]
    schema = Schema.fit(train[["a"]], missing=("-999",))
    expected = [[2.0], [np.nan]]
    np.testing.assert_array_equal(schema.encode(pandas.DataFrame({"a": [2, -999]})).numbers, expected)
    np.testing.assert_array_equal(schema.encode(pandas.DataFrame({"a": ["2", "-999.0"]})).numbers, expected)
    schema = Schema.fit(train[["a"]].to_numpy(), missing=("-999",))
    np.testing.assert_array_equal(schema.encode(np.array([[2.0], [-999.0]])).numbers, expected)


def test_text_in_a_column_of_plain_numbers_has_no_thousands():
    """1,234 may be 1.234 in a new file: nothing in the training rows says so."""
    schema = Schema.fit(pandas.DataFrame({"a": numbers()}))
    assert schema.encode(pandas.DataFrame({"a": ["1234.5", "-2e3"]})).numbers.ravel().tolist() == [
        1234.5,
        -2000,
    ]
    for text in ("1,234", "1,5"):
        with pytest.raises(ValueError, match=f"must hold numbers, as in the training rows, got '{text}'"):
            schema.encode(pandas.DataFrame({"a": [text]}))


def test_a_file_with_decimal_commas_shows_how_its_plain_columns_are_written():
    schema = Schema.fit(pandas.DataFrame({"a": numbers()}))
    new = pandas.DataFrame({"a": ["1.250", "12,5", "7"]})
    new.attrs["decimal"] = ","
    assert schema.encode(new).numbers.ravel().tolist() == [1250, 12.5, 7]


@pytest.mark.parametrize("unit", [" %", "K"])
def test_plain_numbers_may_be_another_multiple_of_those_in_training(unit):
    schema = Schema.fit(pandas.DataFrame({"a": [f"{i}.5{unit}" for i in range(20)]}))
    assert schema.encode(pandas.DataFrame({"a": [0.0, np.nan]})).numbers[0] == 0
    with pytest.raises(ValueError, match=r"got the plain number 0\.25 in row 1\. Write its unit"):
        schema.encode(pandas.DataFrame({"a": [0.0, 0.25]}))


def test_the_hour_of_dates_has_no_rounding_error():
    """In days since 1970, ten o'clock is another number after 2014-11-10, when they have a bit less."""
    days = pandas.date_range("2010-01-01 10:00", "2020-01-01 10:00", freq="D")
    (column,) = Schema.fit(pandas.DataFrame({"day": days})).columns
    assert "hour" not in column.parts


def test_a_category_that_is_a_decimal_number_is_found_however_it_is_read():
    schema = Schema.fit(pandas.DataFrame({"a": numbers(), "v": cycle("1.50", "2.0.1", "007")}))
    new = pandas.DataFrame({"a": [1.0] * 3, "v": [1.5, 7, 2.0]})
    assert schema.encode(new).codes.ravel().tolist() == [schema.columns[1].categories.index("1.50"), -1, -1]
    schema = Schema.fit(pandas.DataFrame({"a": numbers(), "v": pandas.Categorical(cycle(1.5, 2, 1.75))}))
    new = pandas.DataFrame({"a": [1.0] * 3, "v": ["1.50", "2.0", "1.7"]})
    assert schema.encode(new).codes.ravel().tolist() == [0, 2, -1]


def test_a_column_of_words_is_not_read_as_numbers():
    with pytest.raises(ValueError, match="must hold numbers for the role 'number', got text such as 'x'"):
        Schema.fit(pandas.DataFrame({"a": ["x", "y", "x"]}), roles={"a": "number"})


def test_all_doubts_are_told_at_once():
    frame = pandas.DataFrame(
        {
            "sold": ["01/02/2024", "03/04/2024"],
            "area": [1.0, np.inf],
            "built": ["05/06/1990", "07/08/1990"],
        }
    )
    with pytest.raises(ValueError, match=r"3 columns can't be read\. .*'sold'.*'area'.*'built'"):
        fn.tabular.Schema.fit(frame)


@pytest.mark.parametrize(
    ("texts", "gaps"),
    [
        (["12,345", *(f"{i}.{i + 101}" for i in range(30))], 1),  # three decimals
        (["1,234", *(f"{i}.5" for i in range(30))], 1),  # the only one
        (["1,234", *(f"{1500 + i}" for i in range(30))], 1),  # the only one of thousands
        ([f"{i + 1},234" for i in range(30)], 0),  # all of them
        (["1,234", "2,345", *(f"{i}.5" for i in range(30))], 0),
        (["7 264,528", "1 234.5", *(f"{i}.5" for i in range(30))], 1),  # two marks
        (["1,234", "1,234.5", *(f"{i}.5" for i in range(30))], 0),  # one shows it
    ],
)
def test_thousands_that_may_be_decimals_are_gaps(texts, gaps):
    decided = column(texts)
    assert (decided.role, decided.missing) == ("number", gaps)


def test_new_rows_have_the_marks_of_the_training_rows():
    """1,250 km would be 1250 km, and 0.12 may be 12 %."""
    train = pandas.DataFrame(
        {"way": [f"{i}.5 km" for i in range(20)], "share": [f"{i}%" for i in range(20)]}
    )
    schema = Schema.fit(train)
    new = pandas.DataFrame({"way": ["1,250.5 km", "1250"], "share": ["12.5%", "0"]})
    assert schema.encode(new).numbers.tolist() == [[1250.5, 12.5], [1250.0, 0.0]]
    for wrong in ({"way": ["1,250 km"], "share": ["1%"]}, {"way": ["1 km"], "share": ["0.12"]}):
        with pytest.raises(ValueError, match="must hold numbers, as in the training rows"):
            schema.encode(pandas.DataFrame(wrong))


@pytest.mark.parametrize("odd", ["1.2K", "12%", "oops"])
def test_a_single_factor_does_not_hide_the_numbers(odd):
    decided = column([odd, *(f"{i}.5" for i in range(30))])
    assert (decided.role, decided.missing) == ("number", 1)


def test_one_odd_value_beside_a_word_for_gaps():
    decided = column(["1 2 3", *["T"] * 3, *(f"{i}.5" for i in range(36))])
    assert (decided.role, decided.missing) == ("number", 4)


def test_a_zero_before_one_number_does_not_make_codes_of_all():
    assert column(["012", *(str(i) for i in range(30))]).role == "number"
    assert column(["00501", *(str(10000 + i) for i in range(30))]).role == "dropped"


def test_cells_of_any_length_are_read():
    """The time of a regular expression grew with the square of the length of a cell."""
    for odd in ("1" * 100_000 + "x", "1 234 " * 20_000, 10**40, "y" * 200_000):
        decided = column([odd, *(str(i) for i in range(30))])
        assert (decided.role, decided.missing) == ("number", int(isinstance(odd, str)))
        assert len(decided.why) < 130
    with pytest.raises(ValueError, match="column 'b' must hold finite numbers"):
        column(pandas.Series([10**400, *range(30)], dtype=object))


def test_a_column_of_blanks_is_empty():
    assert column(["  "] * 30).why == "it is empty"


def test_an_odd_number_is_not_missing_everywhere():
    """1.0 among decimal commas is a word, and 1,0 a number."""
    texts = ["1.0", *(f"{i},0" for i in range(30))]
    frame = pandas.DataFrame({"a": numbers()[:31], "b": texts})
    schema = Schema.fit(frame)
    expected = [np.nan, *range(30)]
    np.testing.assert_array_equal(schema.encode(frame).numbers[:, 1], expected)
    frame["b"] = [2.0, *range(30)]
    assert schema.encode(frame).numbers[:, 1].tolist() == [2.0, *range(30)]


@pytest.mark.parametrize("make", [pandas.DataFrame, polars.DataFrame], ids=["pandas", "polars"])
def test_constants_are_dropped_and_others_in_new_rows_are_counted(make):
    day = datetime.datetime(2024, 1, 31)
    training = {"country": "DE", "price": "5 €", "ratio": 0.5, "open": True, "day": day, "said": "yes"}
    schema = Schema.fit(make({"a": numbers(), **{name: [v] * N for name, v in training.items()}}))
    assert [c.name for c in schema.columns if c.role == "dropped"] == list(training)
    schema = Schema.from_dict(json.loads(json.dumps(schema.to_dict())))
    same = make({"a": [0.0, 1.0], **{name: [v, v] for name, v in training.items()}})
    assert schema.changed_constants(same) == {}
    assert schema.changed_constants(make({"a": [0.0], **{name: [None] for name in training}})) == {}
    other = {"country": "AT", "price": "6 €", "ratio": 0.25, "open": False, "day": day.replace(day=1)}
    new = {name: [training[name], value, value] for name, value in other.items()}
    changed = schema.changed_constants(make({"a": [0.0] * 3, "said": ["yes"] * 3, **new}))
    assert {name: sum(counts.values()) for name, counts in changed.items()} == dict.fromkeys(other, 2)
    assert changed["country"] == {"AT": 2}
    assert changed["ratio"] == {"0.25": 2}


@pytest.mark.parametrize(
    ("training", "new", "expected"),
    [
        (0.1, np.float32(0.1), {}),
        (1e-7, "1e-7", {}),
        (1e39, 1e39, {}),
        (1e-50, 2e-50, {"2e-50": 2}),
        (12345678, 12345679, {"12345679": 2}),
        (1, True, {}),
        (5, "5.0", {}),
        ("1,000.00", 1000.0, {}),
        ("5 €", "5.00 €", {}),
        (True, "TRUE", {}),
        (True, "yes", {}),
        (True, "no", {"no": 2}),
        (datetime.datetime(2024, 1, 31), "2024-01-31", {}),
        ("31.01.2024", datetime.datetime(2024, 1, 31), {}),
        ("2024-01-31", datetime.datetime(2024, 1, 30), {"2024-01-30 00:00:00": 2}),
        ("DE", "NA", {}),
        (5, -999, {}),
        ("5 €", "n/a", {}),
        ("5 €", "free", {"free": 2}),
    ],
)
def test_constants_are_compared_as_they_are_read(training, new, expected):
    frame = pandas.DataFrame({"a": numbers(), "c": [training] * N})
    schema = Schema.fit(frame, missing=("NA", "-999"))
    assert schema.columns[1].role == "dropped"
    changed = schema.changed_constants(pandas.DataFrame({"a": [0.0] * 3, "c": [None, new, new]}))
    assert changed == ({"c": expected} if expected else {})
