"""The command around a saved model: repeat a run, score it on new rows, report, read and write pipes."""

import io
import json
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pandas
import pytest

from funcnet import _files
from funcnet.cli import main
from funcnet.cli._config import read_config, to_toml
from funcnet.data._text_file import exact_numbers
from funcnet.sklearn import MLPClassifier, MLPRegressor
from funcnet.tabular import Schema

FEW = ["--hidden", "8", "--epochs", "5", "--folds", "2", "--members", "1"]


def flats(rows, seed=0):
    rng = np.random.default_rng(seed)
    frame = pandas.DataFrame(
        {
            "flat": [f"F{i:03d}" for i in range(rows)],
            "area": rng.uniform(30, 150, rows).round(1),
            "town": rng.choice(["Bonn", "Köln"], rows),
        }
    )
    frame["price"] = (3 * frame["area"] + 20 * (frame["town"] == "Bonn") + rng.normal(size=rows)).round(2)
    frame["class"] = np.where(frame["price"] > 280, "dear", "cheap")
    return frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with flats.csv, and models of its two targets in classes/ and values/."""
    place = tmp_path_factory.mktemp("flats")
    flats(80).to_csv(place / "flats.csv", index=False)
    for target, other, out in (("class", "price", "classes"), ("price", "class", "values")):
        command = ["train", place / "flats.csv", "--target", target, "--drop", other, "--id", "flat"]
        assert run(*command, "--out", place / out, "--quiet", *FEW) == 0
    return place


def run(*arguments):
    return main([str(argument) for argument in arguments])


def error(capsys, *arguments):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_configuration_repeats_a_run_to_the_bit(folder, tmp_path, capsys):
    assert (
        run("train", "--config", folder / "classes/run.toml", "--out", tmp_path / "again", "--quiet") == 0
    )
    captured = capsys.readouterr()
    assert captured.out == ""
    files = [
        sorted(path.name for path in place.iterdir()) for place in (folder / "classes", tmp_path / "again")
    ]
    assert [name for name in files[0] if name != "report.html"] == files[1]  # with checksums in their names
    table, arguments = read_config(folder / "classes/run.toml")
    assert table == str(folder / "flats.csv")
    assert "--hidden=8" in arguments


def test_another_value_of_a_constant_column_is_told(tmp_path, capsys):
    rows = flats(40)[["area", "town", "price"]].assign(country="DE", rooms=3)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    command = ["train", tmp_path / "rows.csv", "--target", "price", "--epochs", "2", "--members", "1"]
    assert run(*command, "--folds", "1", "--out", tmp_path / "model", "--quiet") == 0
    new = {"same": rows, "without": rows.drop(columns=["country", "rooms"]), "other": rows.assign(rooms=4)}
    for name, frame in new.items():
        capsys.readouterr()
        frame.drop(columns="price").to_csv(tmp_path / "new.csv", index=False)
        assert run("predict", tmp_path / "model", tmp_path / "new.csv") == 0
        warning = "column 'rooms' had one value in all training rows, and has others in 40 of 40 rows"
        assert (warning in capsys.readouterr().err) == (name == "other")


def test_networks_that_do_not_fit_the_classes_are_refused(folder, tmp_path, capsys):
    shutil.copytree(folder / "classes", tmp_path / "model")
    path = tmp_path / "model/estimator.json"
    description = json.loads(path.read_text())
    del description["sha256"]
    description["attributes"]["classes_"]["texts"].append("free")
    _files.write_sealed(path, description)
    message = error(capsys, "predict", tmp_path / "model", folder / "flats.csv")
    assert "members_ must have the task and the outputs of the estimator" in message


def test_the_command_line_overrules_a_configuration(folder, tmp_path, capsys):
    command = ["train", "--config", folder / "classes/run.toml", "--epochs", "2", "--out", tmp_path / "a"]
    assert run(*command, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["chosen"]["max_iter"] == {"value": 2, "why": "given"}
    assert result["scores"]["test"]["rows"] == 16
    roles = {column["name"]: column["role"] for column in result["schema"]["columns"]}
    assert roles == {"flat": "dropped", "area": "number", "town": "category", "price": "dropped"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("table = 3", "table must be text, got 3"),
        ("epoch = 3", "must hold table, target, task"),
        ("epochs = 0", "argument --epochs: must be an integer from 1"),
        ("epochs = true", "epochs must be text or a number, got True"),
        ("epochs == 1", "is not a TOML file"),
        ("day-first = 1", "day-first must be true or false, got 1"),
    ],
)
def test_wrong_configurations(content, message, tmp_path, capsys):
    (tmp_path / "run.toml").write_text(content)
    assert message in error(capsys, "train", "iris", "--config", tmp_path / "run.toml")


def test_toml_of_any_text(tmp_path):
    given = {"target": 'a "b" \\ \x7f\n\t é 😀', "drop": ["x", "-1"], "hidden": [8, 4], "day-first": False}
    (tmp_path / "run.toml").write_text(to_toml({"table": "t.csv", **given}), encoding="utf-8")
    _, arguments = read_config(tmp_path / "run.toml")
    expected = [f"--target={given['target']}", "--drop=x", "--drop=-1", "--hidden=8,4", "--no-day-first"]
    assert arguments == expected


def test_evaluate_scores_new_rows(folder, tmp_path, capsys):
    new = flats(50, seed=1)
    new.loc[:4, "class"] = None
    new.to_csv(tmp_path / "new.csv", index=False)
    assert run("evaluate", folder / "classes", tmp_path / "new.csv", "--json", "--metric", "brier") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["rows_without_target"] == 5
    model = MLPClassifier.load(folder / "classes")
    X = new[["flat", "area", "town", "price"]][5:]
    assert result["scores"]["accuracy"] == model.score(X, new["class"][5:])
    assert run("evaluate", folder / "values", tmp_path / "new.csv", "--metric", "mae") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith("  MAE (in units of price)")
    model = MLPRegressor.load(folder / "values")
    predicted = model.predict(new.drop(columns="price"))
    assert f"{np.abs(predicted - new['price']).mean():.2f}" in lines[3]


def test_evaluate_refuses_what_it_cant_score(folder, tmp_path, capsys):
    new = flats(20, seed=1)
    new.drop(columns="class").to_csv(tmp_path / "no.csv", index=False)
    assert "lacks the column class" in error(capsys, "evaluate", folder / "classes", tmp_path / "no.csv")
    new.assign(**{"class": "dirt cheap"}).to_csv(tmp_path / "new.csv", index=False)
    command = ["evaluate", folder / "classes", tmp_path / "new.csv"]
    assert "holds 'dirt cheap', which is none of the classes of the model: cheap, dear" in error(
        capsys, *command
    )
    assert "--metric must be one of accuracy" in error(capsys, *command, "--metric", "rmse")
    new.assign(**{"class": "cheap"}).to_csv(tmp_path / "new.csv", index=False)
    assert run(*command, "--quiet") == 0  # one class is enough to be scored


def test_a_model_that_does_not_know_its_target(tmp_path, capsys):
    frame = flats(40)
    MLPRegressor(max_iter=2, cv=None).fit(frame[["area"]], frame["price"].to_numpy()).save(tmp_path / "m")
    frame.to_csv(tmp_path / "new.csv", index=False)
    message = error(capsys, "evaluate", tmp_path / "m", tmp_path / "new.csv")
    assert "does not say which column is the target. Score it in Python: MLPRegressor.load" in message


def test_a_new_target_has_the_unit_of_the_training_rows(tmp_path, capsys):
    rows = flats(40)[["area", "price"]]
    rows.assign(price=[f"{price:.1f} %" for price in rows["price"]]).to_csv(tmp_path / "t.csv", index=False)
    assert (
        run("train", tmp_path / "t.csv", "--out", tmp_path / "m", "--quiet", "--test-size", "0", *FEW) == 0
    )
    assert run("evaluate", tmp_path / "m", tmp_path / "t.csv", "--quiet") == 0
    (rows.assign(price=rows["price"] / 100)).to_csv(tmp_path / "share.csv", index=False)
    message = error(capsys, "evaluate", tmp_path / "m", tmp_path / "share.csv")
    assert "the target 'price' must be written as in the training rows, as 1234.5%, got as plain" in message
    schema = json.loads((tmp_path / "m/schema.json").read_text())
    assert schema["target_read_as"] == "1234.5%"
    del schema["target_read_as"]  # as models were saved before
    assert Schema.from_dict(schema).target_read_as is None


def test_predict_reads_the_decimal_mark_of_the_training_rows(tmp_path, capsys):
    """1.250 is 1250 in such a file, also in a column that showed no mark."""
    rows = pandas.DataFrame({"count": range(12, 52), "size": [f"{i},5" for i in range(40)]})
    rows.assign(y=range(100, 140)).to_csv(tmp_path / "t.csv", index=False, sep=";")
    assert (
        run("train", tmp_path / "t.csv", "--out", tmp_path / "m", "--quiet", "--task", "regression", *FEW)
        == 0
    )
    for name, count in (("marked", "1.250"), ("plain", "1250")):
        (tmp_path / f"{name}.csv").write_text(f"count;size\n{count};3\n{count};4\n")
        assert run("predict", tmp_path / "m", tmp_path / f"{name}.csv") == 0
    marked, plain = capsys.readouterr().out.split("prediction\n")[1:]
    assert marked == plain


def test_report_of_a_saved_model(folder, tmp_path, capsys):
    assert run("report", folder / "classes") == 0
    assert capsys.readouterr().out == f"Wrote {folder / 'classes/report.html'}\n"
    out = tmp_path / "r.json"
    assert run("report", folder / "values", folder / "flats.csv", "--out", out) == 0
    assert json.loads(out.read_text())["rows"] == 80
    capsys.readouterr()
    assert "must end in .json or .html" in error(capsys, "report", folder / "values", "--out", "r.pdf")


def test_compare_two_models_row_by_row(folder, tmp_path, capsys):
    new = flats(60, seed=3)
    new.to_csv(tmp_path / "new.csv", index=False)
    weak = ["train", folder / "flats.csv", "--target", "price", "--out", tmp_path / "weak", "--quiet"]
    assert run(*weak, "--epochs", "1", "--learning-rate", "1e-6", "--folds", "1", "--hidden", "4") == 0
    command = ["compare", folder / "values", tmp_path / "weak", tmp_path / "new.csv"]
    assert run(*command, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    X = new.drop(columns="price")
    errors = [
        MLPRegressor.load(place).predict(X) - new["price"]
        for place in (folder / "values", tmp_path / "weak")
    ]
    found = result["losses"]["absolute error"]
    assert [found["a"], found["b"]] == pytest.approx([np.abs(error).mean() for error in errors])
    assert found["difference"] == pytest.approx(found["b"] - found["a"])
    assert found["interval"][0] < found["difference"] < found["interval"][1]
    assert run(*command) == 0
    winner = folder / "values" if result["losses"]["squared error"]["difference"] > 0 else tmp_path / "weak"
    assert f"{winner} is better by its squared error." in capsys.readouterr().out
    same = ["compare", folder / "classes", folder / "classes", tmp_path / "new.csv"]
    assert run(*same) == 0
    assert "do not show which is better by its log-loss" in capsys.readouterr().out
    command[1] = folder / "classes"
    assert (
        "models must predict the same to be compared, got classes of 'class' and numbers of 'price'"
        in error(capsys, *command)
    )


def test_predict_tells_what_differs_from_the_training_rows(folder, tmp_path, capsys):
    new = flats(30, seed=2)
    new["town"] = "Rom"
    new.to_csv(tmp_path / "new.csv", index=False)
    assert run("predict", folder / "values", tmp_path / "new.csv") == 0
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "column 'town' has categories that are not in the training rows in 30 of 30 rows" in captured.err
    assert captured.out.count("\n") == 31


def test_predict_in_json_and_parquet(folder, tmp_path, capsys):
    command = ["predict", folder / "classes", folder / "flats.csv", "--id", "flat"]
    assert run(*command, "--proba", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["flat"] for row in rows[:2]] == ["F000", "F001"]
    assert rows[0]["probability of cheap"] + rows[0]["probability of dear"] == pytest.approx(1)
    assert run(*command, "--out", tmp_path / "p.parquet") == 0
    frame = pandas.read_parquet(tmp_path / "p.parquet")
    assert frame.columns.tolist() == ["flat", "prediction", "probability"]
    assert frame["prediction"].tolist() == [row["prediction"] for row in rows]
    assert run(*command, "--out", tmp_path / "p.json") == 0
    assert len(json.loads((tmp_path / "p.json").read_text())) == 80
    assert "--out must end in .csv, .json or .parquet" in error(capsys, *command, "--out", "p.csv.gz")
    assert "--json can't be written as Parquet" in error(capsys, *command, "--json", "--out", "p.parquet")


def test_predict_of_labels_and_of_several_numbers(tmp_path, capsys):
    frame = flats(60)
    X = frame[["area"]]
    X.to_csv(tmp_path / "new.csv", index=False)
    labels = np.stack([frame["area"] > 90, frame["area"] > 60], axis=1).astype(int)
    MLPClassifier(max_iter=2, cv=2).fit(X, labels).save(tmp_path / "labels")
    assert run("predict", tmp_path / "labels", tmp_path / "new.csv", "--proba") == 0
    printed = pandas.read_csv(io.StringIO(capsys.readouterr().out))
    model = MLPClassifier.load(tmp_path / "labels")
    np.testing.assert_array_equal(printed[["0", "1"]], model.predict(X))
    np.testing.assert_allclose(printed[["probability of 0", "probability of 1"]], model.predict_proba(X))
    values = np.stack([frame["price"], -frame["price"]], axis=1)
    model = MLPRegressor(max_iter=2, cv=2).fit(X, values)
    model.save(tmp_path / "values")
    assert run("predict", tmp_path / "values", tmp_path / "new.csv", "--interval", "0.8") == 0
    printed = pandas.read_csv(io.StringIO(capsys.readouterr().out), **exact_numbers())
    np.testing.assert_array_equal(printed[["prediction 0", "prediction 1"]], model.predict(X))
    np.testing.assert_array_equal(printed[["upper 0", "upper 1"]], model.predict_interval(X, 0.8)[1])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_tables_from_pipes(folder, tmp_path, capsys, monkeypatch):
    content = (folder / "flats.csv").read_bytes()
    assert run("predict", folder / "values", folder / "flats.csv") == 0
    expected = capsys.readouterr().out
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    assert run("predict", folder / "values", pipe) == 0
    writer.join()
    assert capsys.readouterr().out == expected
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert run("predict", folder / "values", "-") == 0
    assert capsys.readouterr().out == expected
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert "is empty: expected a header and rows" in error(capsys, "predict", folder / "values", "-")


def test_training_from_stdin(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((folder / "flats.csv").read_bytes())))
    command = [
        "train",
        "-",
        "--target",
        "price",
        "--drop",
        "class",
        "--id",
        "flat",
        "--out",
        tmp_path / "m",
    ]
    assert run(*command, *FEW) == 0
    assert "stdin: regression of 'price'" in capsys.readouterr().out
    assert run("predict", tmp_path / "m", folder / "flats.csv") == 0
    printed = capsys.readouterr().out
    assert run("predict", folder / "values", folder / "flats.csv") == 0
    assert capsys.readouterr().out == printed


def test_a_decimal_mark_that_the_file_does_not_show(tmp_path, capsys):
    rows = ["1.234;5", "2.345;6", "3.456;7"] * 10
    (tmp_path / "t.csv").write_text("x;y\n" + "\n".join(rows) + "\n")
    command = ["train", tmp_path / "t.csv", "--task", "regression", "--out", tmp_path / "m", *FEW, "--json"]
    assert run(*command) == 0
    assert json.loads(capsys.readouterr().out)["schema"]["columns"][0]["read_as"] == "number"
    assert run(*command, "--decimal", ",") == 0
    column = json.loads(capsys.readouterr().out)["schema"]["columns"][0]
    assert column["read_as"] == "1.234,5"
    assert "separator and decimal must differ" in error(
        capsys, *command, "--decimal", ",", "--separator", ","
    )


def test_dates_that_the_file_does_not_decide(tmp_path, capsys):
    days = [f"{a:02d}/{b:02d}/2024" for a in range(1, 6) for b in range(1, 7)]
    frame = pandas.DataFrame({"day": days, "y": np.arange(30) * 1.5})
    frame.to_csv(tmp_path / "t.csv", index=False)
    command = ["train", tmp_path / "t.csv", "--out", tmp_path / "m", *FEW]
    assert "day" in error(capsys, *command)
    for flag, read_as in (("--day-first", "day.month.year"), ("--no-day-first", "month/day/year")):
        assert run(*command, flag, "--json") == 0
        assert json.loads(capsys.readouterr().out)["schema"]["columns"][0]["read_as"] == read_as


def test_runs_and_show_in_json(folder, capsys):
    assert run("runs", folder, "--json") == 0
    assert {entry["outcome"] for entry in json.loads(capsys.readouterr().out)} == {"finished"}
    assert run("show", folder / "values", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["history"]["loss"]) == 5


def test_predict_imports_no_scikit_learn(folder):
    """Importing it takes as long as JAX."""
    code = (
        "import sys; from funcnet.cli import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print([name for name in ('sklearn', 'matplotlib', 'optax', 'scipy.stats') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, "predict", folder / "classes", folder / "flats.csv"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert finished.stdout.splitlines()[-1] == "[]"


@pytest.fixture(scope="module")
def rough(tmp_path_factory):
    """A folder with tables whose targets are written in several ways, and a model of each."""
    place = tmp_path_factory.mktemp("rough")
    rng = np.random.default_rng(0)
    size = rng.normal(size=40).round(2)
    targets = {
        "tenths": np.where(size > 0, "1.0", "2.0"),
        "hundredths": np.where(size > 0, "1.50", "2.50"),
        "capitals": np.where(size > 0, "TRUE", "FALSE"),
        "marked": np.where(np.arange(40) < 4, -999.0, size + 5),
    }
    for name, target in targets.items():
        pandas.DataFrame({"size": size, "y": target}).to_csv(place / f"{name}.csv", index=False)
        task = "regression" if name == "marked" else "classification"
        command = ["train", place / f"{name}.csv", "--out", place / name, "--task", task, "--quiet"]
        assert run(*command, "--missing", "-999", *FEW) == 0
    return place


@pytest.mark.parametrize("name", ["tenths", "hundredths", "capitals"])
def test_classes_are_found_however_they_are_written(name, rough, tmp_path, capsys):
    assert run("evaluate", rough / name, rough / f"{name}.csv", "--json") == 0
    expected = json.loads(capsys.readouterr().out)["scores"]
    assert expected["rows"] == 40
    frame = pandas.read_csv(rough / f"{name}.csv")
    assert frame["y"].dtype != object  # 1.0, 1.5 or True
    frame.to_csv(tmp_path / "new.csv", index=False)
    frame.to_parquet(tmp_path / "new.parquet")
    for file in ("new.csv", "new.parquet"):
        assert run("evaluate", rough / name, tmp_path / file, "--json") == 0
        scores = json.loads(capsys.readouterr().out)["scores"]
        assert {n: scores[n] for n in ("accuracy", "recall")} == {
            n: expected[n] for n in ("accuracy", "recall")
        }


def test_words_for_missing_targets_are_remembered(rough, tmp_path, capsys):
    assert run("evaluate", rough / "marked", rough / "marked.csv", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["rows_without_target"], result["scores"]["rows"]) == (4, 36)
    assert result["scores"]["rmse"] < 20
    pandas.read_csv(rough / "marked.csv").to_parquet(tmp_path / "new.parquet")
    command = ["compare", rough / "marked", rough / "marked", tmp_path / "new.parquet", "--json"]
    assert run(*command) == 0
    assert json.loads(capsys.readouterr().out)["rows_without_target"] == 4


def test_the_decimal_mark_of_a_target_is_remembered(tmp_path, capsys):
    rows = [f"{i};1.{i:03d},50" for i in range(100, 130)]
    (tmp_path / "t.csv").write_text("\n".join(["x;y", *rows]) + "\n")
    assert run("train", tmp_path / "t.csv", "--out", tmp_path / "m", "--quiet", *FEW) == 0
    (tmp_path / "new.csv").write_text("x;y\n100;1.100\n101;1.101\n")  # which does not show it
    assert run("evaluate", tmp_path / "m", tmp_path / "new.csv", "--json") == 0
    mae = json.loads(capsys.readouterr().out)["scores"]["mae"]
    predicted = MLPRegressor.load(tmp_path / "m").predict(pandas.DataFrame({"x": [100, 101]}))
    assert mae == pytest.approx(np.abs(predicted - [1100, 1101]).mean())
    (tmp_path / "new.csv").write_text("x,y\n100,1.100\n101,1.101\n")  # here commas are not decimal
    assert run("evaluate", tmp_path / "m", tmp_path / "new.csv", "--json") == 0
    mae = json.loads(capsys.readouterr().out)["scores"]["mae"]
    assert mae == pytest.approx(np.abs(predicted - [1.1, 1.101]).mean())


def test_compare_reads_a_pipe_once(folder, capsys, monkeypatch):
    content = (folder / "flats.csv").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert run("compare", folder / "values", folder / "values", "-", "--json") == 0
    assert json.loads(capsys.readouterr().out)["losses"]["squared error"]["difference"] == 0
    monkeypatch.setattr("sys.stdin", None)  # closed: <&-
    assert "stdin: it is closed, expected a table" in error(capsys, "predict", folder / "values", "-")


def test_identifiers_with_gaps_and_dates(folder, tmp_path, capsys):
    new = flats(3)
    new["number"] = pandas.array([None, 2, 3], "Int64")
    new["day"] = pandas.to_datetime(["2024-05-01 00:00", None, "2024-05-03 12:00"])
    new["prediction"] = "x"
    new.to_parquet(tmp_path / "new.parquet")
    command = ["predict", folder / "values", tmp_path / "new.parquet", "--id"]
    expected = {
        "number": [None, 2, 3],
        "day": ["2024-05-01 00:00:00", None, "2024-05-03 12:00:00"],
    }
    for name, ids in expected.items():
        assert run(*command, name, "--json") == 0
        assert [row[name] for row in json.loads(capsys.readouterr().out)] == ids
        assert run(*command, name) == 0
        lines = capsys.readouterr().out.splitlines()[1:]
        assert [line.split(",")[0] for line in lines] == ["" if v is None else str(v) for v in ids]
        assert run(*command, name, "--out", tmp_path / "p.parquet") == 0
        assert pandas.read_parquet(tmp_path / "p.parquet")[name].isna().sum() == 1
    assert "a column of the predictions has this name" in error(capsys, *command, "prediction")


def test_identifiers_are_printed_as_they_are_written(folder, tmp_path, capsys):
    lines = ["area,town,price,class", "50.00,Bonn,1,cheap", ",Bonn,1,cheap"]
    (tmp_path / "new.csv").write_text("\n".join(lines) + "\n")
    assert run("predict", folder / "values", tmp_path / "new.csv", "--id", "area") == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == ["area", "50.00", ""]


def test_predictions_do_not_replace_the_rows(folder, tmp_path, capsys):
    content = (folder / "flats.csv").read_bytes()
    (tmp_path / "new.csv").write_bytes(content)
    (tmp_path / "link.csv").symlink_to(tmp_path / "new.csv")
    command = ["predict", folder / "values", tmp_path / "new.csv", "--out", tmp_path / "link.csv"]
    assert "is the file of the rows, which would be lost" in error(capsys, *command)
    assert (tmp_path / "new.csv").read_bytes() == content


def test_bounds_that_are_infinite(folder, capsys):
    command = ["predict", folder / "values", folder / "flats.csv"]
    assert run(*command, "--interval", "0.9999", "--json") == 0  # 64 rows have no such quantile
    rows = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert rows[0]["upper"] is None
    assert "--interval: must be above 0 and below 1 such as 0.9, got '0'" in error(
        capsys, *command, "--interval", "0"
    )


def test_lists_of_the_command_line_overrule_those_of_a_configuration(folder, tmp_path, capsys):
    table = f"table = {json.dumps(str(folder / 'flats.csv'))}\n"
    (tmp_path / "run.toml").write_text(f'{table}target = "class"\ndrop = ["area", "price"]\nid = "flat"\n')
    command = ["train", "--config", tmp_path / "run.toml", "--drop", "price", "--out", tmp_path / "m"]
    assert run(*command, *FEW, "--json") == 0
    columns = json.loads(capsys.readouterr().out)["schema"]["columns"]
    assert [column["name"] for column in columns if column["role"] == "dropped"] == ["flat", "price"]


def test_names_of_columns_are_not_taken_for_arguments(tmp_path, capsys):
    frame = pandas.DataFrame({"max_iter": np.arange(40) % 7, "y": np.arange(40) * 0.5})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert run("train", tmp_path / "t.csv", "--out", tmp_path / "m", "--quiet", *FEW) == 0
    frame.assign(max_iter=1000).to_csv(tmp_path / "new.csv", index=False)
    assert run("predict", tmp_path / "m", tmp_path / "new.csv") == 0
    assert "column 'max_iter' has 40 of 40 values outside of 0 to 6" in capsys.readouterr().err


def test_metrics_of_more_than_two_classes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    message = error(capsys, "train", "iris", "--metric", "auc")  # before the training
    assert (
        "--metric must be one of accuracy, balanced_accuracy, log_loss, brier, calibration_error" in message
    )
    assert "for 3 classes, got auc" in message


def test_a_model_is_saved_before_its_report(folder, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise ValueError("no report")

    monkeypatch.setattr("funcnet.cli._train._reports", fail)
    command = ["train", folder / "flats.csv", "--target", "price", "--id", "flat", "--out", tmp_path / "m"]
    assert run(*command, *FEW, "--quiet") == 2
    assert (tmp_path / "m/run.toml").exists()
    MLPRegressor.load(tmp_path / "m")
