"""The command line: its output, its files and its errors."""

import _thread
import csv
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pandas
import pytest

import funcnet as fn
from funcnet import _files
from funcnet.cli import main
from funcnet.cli._output import run_interruptibly
from funcnet.report._terminal import print_summary, print_table
from funcnet.sklearn import MLPClassifier, MLPRegressor, NetRegressor
from funcnet.tabular._folder import set_owner
from funcnet.train._blocks import MemberResults

FEW = ["--hidden", "8", "--epochs", "20", "--folds", "2", "--members", "1"]


def write_table(path, text_target):
    """60 rows of three columns, the target in the middle: fruit names with a comma, or grams."""
    random = np.random.default_rng(0)
    kind = random.integers(0, 2, 60)
    length = random.normal(5 + 10 * kind, 1)
    target = np.where(kind, "banana, ripe", "fig") if text_target else np.round(20.5 + 10 * length, 2)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["length [cm]", "goal", "width"])
        writer.writerows(zip(length.round(3), target, random.normal(size=60).round(3), strict=True))
    return path


@pytest.fixture(scope="module", params=["text", "numeric"])
def trained(request, tmp_path_factory):
    """(table, folder, output) of `funcnet train` on a text and on a numeric target."""
    place = tmp_path_factory.mktemp(request.param)
    table = write_table(place / "fruit.csv", request.param == "text")
    stdout = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", stdout)
        code = main(["train", str(table), "--target", "goal", "--out", str(place / "out"), *FEW])
    assert code == 0
    return table, place / "out", stdout.getvalue()


def test_train_prints_a_summary(trained):
    _, folder, printed = trained
    schema = json.loads((folder / "schema.json").read_text())
    assert schema["target"] == "goal"
    assert [column["name"] for column in schema["columns"]] == ["length [cm]", "width"]
    plain = re.sub(r" \([^()]* – [^()]*\)", "", printed)  # without the intervals
    scores = {line.split("  ")[1]: line.split()[-3:] for line in plain.splitlines() if "  " in line[:3]}
    if schema["task"] == "classification":
        out_of_fold, test, constant = map(float, scores["accuracy"])
        assert min(out_of_fold, test) > 0.9 > constant
        assert "2: banana, ripe | fig" in printed
        assert "log-loss (nats)" in scores
    else:
        out_of_fold, test, constant = map(float, scores["RMSE (in units of goal)"])
        assert max(out_of_fold, test) < constant == pytest.approx(50, rel=0.3)
    for name in ("rows", "hidden units", "epochs", "time to train"):
        assert f"  {name}  " in printed
    assert "out-of-fold, 48 rows" in printed
    assert "test, 12 rows" in printed
    assert f"funcnet predict {folder}" in printed
    files = {path.name.split("-")[0] for path in folder.iterdir()} - {".source.json"}
    assert files == {"estimator.json", "schema.json", "arrays", "history.csv", "run.toml"}
    history = pandas.read_csv(folder / "history.csv")
    assert list(history.columns) == ["epoch", "loss", "val_loss"]
    assert history["epoch"].tolist() == list(range(1, 21))


def test_predict_prints_the_predictions_of_the_model(trained, capsys):
    table, folder, _ = trained
    assert main(["predict", str(folder), str(table)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    task = json.loads((folder / "schema.json").read_text())["task"]
    model = (MLPClassifier if task == "classification" else MLPRegressor).load(folder)
    X = pandas.read_csv(table)[["length [cm]", "width"]]
    expected = model.predict(X)
    assert len(rows) == 60
    if task == "classification":
        assert list(rows[0]) == ["prediction", "probability"]
        assert [row["prediction"] for row in rows] == expected.tolist()
        probability = np.array([row["probability"] for row in rows], float)
        np.testing.assert_array_equal(probability, model.predict_proba(X).max(axis=1))
    else:
        assert list(rows[0]) == ["prediction"]
        np.testing.assert_array_equal(np.array([r["prediction"] for r in rows], float), expected)


def test_predict_matches_columns_by_name_and_ignores_others(trained, capsys, tmp_path):
    _, folder, _ = trained
    (tmp_path / "a.csv").write_text("length [cm],width\n5,0.5\n15,-1\n")
    (tmp_path / "b.csv").write_text("colour,width,length [cm]\nred,0.5,5\nblue,-1,15\n")
    printed = []
    for name in ("a.csv", "b.csv"):
        assert main(["predict", str(folder), str(tmp_path / name)]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert main(["predict", str(folder), str(tmp_path / "a.csv"), "--out", str(tmp_path / "p.csv")]) == 0
    assert (tmp_path / "p.csv").read_text() == printed[0]
    assert capsys.readouterr().out == ""


def test_probabilities_of_all_classes_intervals_and_an_id(trained, capsys, tmp_path):
    _, folder, _ = trained
    (tmp_path / "new.csv").write_text("id,length [cm],width\n007,5,0.5\n,15,-1\n")
    is_class = json.loads((folder / "schema.json").read_text())["task"] == "classification"
    more = ["--proba"] if is_class else ["--interval", "0.8"]
    command = ["predict", str(folder), str(tmp_path / "new.csv"), "--id", "id"]
    assert main([*command, *more]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["id"] for row in rows] == ["007", ""]
    for row in rows:
        if is_class:
            p = [float(row[f"probability of {name}"]) for name in ("banana, ripe", "fig")]
            assert sum(p) == pytest.approx(1)
            assert row["prediction"] == ("banana, ripe", "fig")[p[1] > p[0]]
        else:
            assert float(row["lower"]) < float(row["prediction"]) < float(row["upper"])
    wrong = ["--interval", "0.8"] if is_class else ["--proba"]
    assert f"{wrong[0]} is for {'numbers' if is_class else 'classes'}" in error_line(
        capsys, *command, *wrong
    )
    assert "lacks the column key" in error_line(capsys, *command[:3], "--id", "key")


def test_a_report_beside_the_model(tmp_path, capsys):
    table = write_table(tmp_path / "fruit.csv", True)
    args = ["train", str(table), "--target", "goal", "--out", str(tmp_path / "out"), *FEW]
    assert "must end in .json or .html" in error_line(capsys, *args, "--report", tmp_path / "r.pdf")
    assert main([*args, "--report", str(tmp_path / "r.html")]) == 0
    assert f"Wrote {tmp_path / 'r.html'}" in capsys.readouterr().out
    text = (tmp_path / "r.html").read_text()
    assert "Predictions of goal" in text
    assert "Permutation importance" in text


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "funcnet", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith(
        "funcnet 0."
    )


def test_the_same_seed_gives_the_same_model_in_the_default_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "iris").mkdir(parents=True)
    (tmp_path / "runs" / "iris" / "notes.txt").write_text("mine")
    names = []
    for _ in range(2):
        assert main(["train", "iris", "--seed", "3", *FEW]) == 0
        names.append([path.name for path in (tmp_path / "runs" / "iris").glob("arrays-*")])
    assert names[0] == names[1]  # which hold the checksums
    assert len(names[0]) == 1
    assert (tmp_path / "runs" / "iris" / "notes.txt").read_text() == "mine"


def error_line(capsys, *args):
    """The one line on stderr of a command that exits with 2."""
    assert main([str(arg) for arg in args]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("funcnet: ")
    assert output.err.count("\n") == 1
    assert output.err.endswith("\n")
    assert output.out == ""
    return output.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "required: COMMAND"),
        (["trian"], "invalid choice: 'trian'"),
        (["train"], "train needs a table: its name or file. See funcnet train --help."),
        (["train", "-"], "a table from stdin has no name for a folder. Choose one with --out runs/NAME."),
        (["train", "iris", "--metric", "rmse"], "--metric must be one of accuracy, balanced_accuracy"),
        (["train", "diabetes", "--metric", "auc"], "--metric must be one of rmse, mae, r2 for numbers"),
        (["train", "iris", "--class-weight", "rose=2"], "with a class of the target (setosa, versicolor"),
        (["train", "iris", "--class-weight", "setosa=0"], "and a number above 0; got 'setosa=0'"),
        (
            ["train", "iris", "--class-weight", "setosa=2", "--class-weight", "setosa=3"],
            "--class-weight must give the class 'setosa' one weight, got two",
        ),
        (["train", "diabetes", "--class-weight", "balanced"], "--class-weight is for classes"),
        (["train", "--config", "nowhere.toml"], "nowhere.toml"),
        (["train", "iris", "--quiet", "--json"], "not allowed with argument"),
        (["train", "iriss"], "there is none called iriss. Did you mean iris? Known tables: iris"),
        (["train", "iris", "--hidden", "16,x"], "such as 64,64, got '16,x'"),
        (["train", "iris", "--hidden", ""], "such as 64,64, got ''"),
        (["train", "iris", "--hidden", "16,0"], "such as 64,64, got '16,0'"),
        (
            ["train", "iris", "--epochs", "0"],
            "argument --epochs: must be an integer from 1 to 2147483647, got '0'",
        ),
        (
            ["train", "iris", "--epochs", "1.5"],
            "argument --epochs: must be an integer from 1 to 2147483647, got '1.5'",
        ),
        (["train", "iris", "--batch-size", "-3"], "argument --batch-size"),
        (["train", "iris", "--learning-rate", "nan"], "must be a number above 0 such as 0.003, got 'nan'"),
        (["train", "iris", "--learning-rate", "0"], "must be a number above 0 such as 0.003, got '0'"),
        (["train", "iris", "--patience", "x"], "argument --patience"),
        (["train", "iris", "--test-size", "1"], "must be at least 0 and below 1 such as 0.2, got '1'"),
        (["train", "iris", "--folds", "0"], "argument --folds"),
        (["train", "iris", "--folds", "1000"], "--folds must be at least 2 and at most the 120 rows"),
        (["train", "iris", "--seed", "-1"], "argument --seed"),
        (["train", "iris", "--seed", "99999999999"], "argument --seed"),
        (["train", "iris", "--task", "ranking"], "invalid choice: 'ranking'"),
        (["train", "iris", "--target", "class"], "--target is for files, and iris is a table of"),
        (["train", "iris", "--separator", ";"], "--separator is for files, and iris is"),
        (["train", "iris", "--number", "x"], "--number x: 'x' is not a column. The columns are sepal"),
        (["train", "iris", "--drop", "class"], "--drop class: 'class' is the target. The columns are"),
        (
            ["train", "iris", "--number", "petal width (cm)", "--drop", "petal width (cm)"],
            "column 'petal width (cm)' must have one role, got two: number and dropped",
        ),
        (
            ["study", "iris", "sweep", "--size", "3"],
            "--size is for other studies: a sweep always has 25 runs.",
        ),
        (["train", "iris", "--test-size", "0.999"], "too few for parts of (0.001, 0.999)"),
        (["study", "iris", "folds", "--drop", "x"], "--drop x: 'x' is not a column. The columns are sepal"),
        (["train", "iris", "--out", ""], "argument --out: must be a path, got an empty string"),
        (["train", "iris", "--epoch", "3"], "unrecognized arguments: --epoch 3"),
        (["predict", "nowhere", "x.csv"], "nowhere contains no trained model"),
    ],
)
def test_wrong_arguments(args, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in error_line(capsys, *args)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "extra", "message"),
    [
        ("", [], "is empty"),
        ("a,b\n", [], "is empty"),
        ("a\n1\n", [], "got only the column 'a'"),
        ("a,b\n1,\n2,\n", [], "the target 'b' is missing in every row"),
        ("a,b\n1,x\n2,x\n", [], "at least two classes"),
        ("a,b\n1,x\n2,y\n", [], "too few"),
        ("a,b\n1,x\n2,y\n", ["--target", "c"], "t.csv: a, b; got str 'c'"),
        ("a,b\n1,x\n", ["--task", "classification"], "at least two classes"),
        ("a,b\n1,1.5\n", [], "1 rows are too few"),
        (
            "a,b\n1,x\n2,y\n",
            ["--task", "regression"],
            "column 'b' of t must hold finite numbers, got 'x' in data row 1",
        ),
    ],
)
def test_wrong_tables(content, extra, message, capsys, tmp_path):
    (tmp_path / "t.csv").write_text(content)
    line = error_line(capsys, "train", tmp_path / "t.csv", "--out", tmp_path / "out", *extra)
    assert message in line
    assert not (tmp_path / "out").exists()


def test_a_table_without_a_column_to_learn_from(capsys, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + ",x\n,y\n" * 5)
    assert main(["train", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert "it is empty" in captured.out
    assert "X must have a column that differs between rows, but all were dropped" in captured.err
    assert not (tmp_path / "out").exists()


def test_an_output_folder_is_checked_before_training(capsys, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("trained before the folder was checked")

    monkeypatch.setattr(MLPClassifier, "fit", fail)
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "deeper"):
        assert "is a file" in error_line(capsys, "train", "iris", "--out", place)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "is not writable" in error_line(capsys, "train", "iris", "--out", tmp_path / "new")


def test_wrong_files_to_predict(trained, capsys, tmp_path):
    table, folder, _ = trained
    (tmp_path / "new.csv").write_text("width\n1\n")
    assert "lacks the column length [cm]" in error_line(capsys, "predict", folder, tmp_path / "new.csv")
    (tmp_path / "new.csv").write_text("width,length [cm]\n1,long\n")
    line = error_line(capsys, "predict", folder, tmp_path / "new.csv")
    assert "column 'length [cm]' must hold numbers, as in the training rows, got 'long' in row 0" in line
    line = error_line(capsys, "predict", folder, tmp_path / "none.csv")
    assert line == f"funcnet: {tmp_path / 'none.csv'}: No such file or directory: expected a table.\n"
    out = tmp_path / "none" / "p.csv"
    line = error_line(capsys, "predict", folder, table, "--out", out)
    assert line == f"funcnet: {out}: No such file or directory.\n"


def test_a_table_with_text_and_missing_values(capsys, tmp_path):
    colours = ["" if i % 10 == 9 else ("red", "blue", "blue")[i % 3] for i in range(60)]
    rows = [f"{i % 7 if i % 5 else ''},{c},{'yes' if i % 3 else 'no'}" for i, c in enumerate(colours)]
    (tmp_path / "t.csv").write_text("\n".join(["size,colour,bought", *rows]) + "\n")
    assert main(["train", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out"), *FEW]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["colour", "category", "text"] in [line[:3] for line in lines], (
        "the schema is printed before training"
    )
    columns = json.loads((tmp_path / "out" / "schema.json").read_text())["columns"]
    assert [(c["name"], c["role"]) for c in columns] == [("size", "number"), ("colour", "category")]
    assert columns[1]["categories"] == ["blue", "red"]
    (tmp_path / "new.csv").write_text("colour,size\nred,3\ngreen,\n")
    assert main(["predict", str(tmp_path / "out"), str(tmp_path / "new.csv")]) == 0
    predictions = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["prediction"] for row in predictions} <= {"yes", "no"}
    assert len(predictions) == 2
    assert all(0 < float(row["probability"]) <= 1 for row in predictions)
    (tmp_path / "new.csv").write_text("colour,size\nred,big\n")
    line = error_line(capsys, "predict", tmp_path / "out", tmp_path / "new.csv")
    assert "column 'size' must hold numbers, as in the training rows, got 'big' in row 0" in line


def test_new_files_are_read_as_the_training_file_was(capsys, tmp_path):
    """Alone, "1.250" would be 1.25, "1.10" the version 1.1, and the tab two characters."""
    rows = [f"{i % 3 + 1}.250;{('1.10', '1.1', '1.2.3')[i % 3]};{i % 3},5" for i in range(60)]
    rows[0] = "1.250,0;1.10;0,5"
    (tmp_path / "t.csv").write_text("\n".join(["size;version;y", *rows]))
    args = ["train", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out"), "--epochs", "40"]
    assert main([*args, "--hidden", "8", "--folds", "2", "--members", "1"]) == 0
    assert ["size", "number", "1.234,5", "0"] in [
        line.split() for line in capsys.readouterr().out.split("\n")
    ]
    model = MLPRegressor.load(tmp_path / "out")
    expected = model.predict(pandas.DataFrame({"size": [1250.0], "version": ["1.10"]}))[0]
    assert expected != model.predict(pandas.DataFrame({"size": [1250.0], "version": ["1.1"]}))[0]
    for content in ("size;version\n1.250;1.10\n", "version\tsize\n1.10\t1250\n"):
        (tmp_path / "new.csv").write_text(content)
        separator = ["--separator", "\\t"] if "\t" in content else []
        assert main(["predict", str(tmp_path / "out"), str(tmp_path / "new.csv"), *separator]) == 0
        assert float(capsys.readouterr().out.split()[1]) == expected
    line = error_line(capsys, "predict", tmp_path / "out", tmp_path / "new.csv", "--separator", "ab")
    assert "separator must be one ASCII character, got 'ab'" in line


def test_rows_for_testing_that_cant_be_read_are_told_before_the_training(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(MLPRegressor, "fit", None)  # not called
    rows = [f"{'n.k.' if i == 7 else i},{i * 1.5}" for i in range(40)]  # row 7 is for testing
    (tmp_path / "t.csv").write_text("\n".join(["a,y", *rows]))
    args = ["train", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out"), "--test-size", "0.5"]
    assert main(args) == 2
    expected = "funcnet: column 'a' must hold numbers, as in the training rows, got 'n.k.' in row "
    assert capsys.readouterr().err.startswith(expected)


def test_a_batch_of_more_rows_than_there_are(capsys, tmp_path):
    args = ["train", "iris", "--out", str(tmp_path / "out"), *FEW]
    assert main([*args, "--batch-size", "2147483647"]) == 0
    chosen = MLPClassifier.load(tmp_path / "out").chosen_["batch_size"]
    assert tuple(chosen) == (120, "given, and at most the 120 rows")


def test_a_study_reads_columns_as_the_flags_say(capsys, tmp_path, monkeypatch):
    asked = {}

    def study(table, kind, **settings):
        asked.update(settings)
        raise ValueError("enough")

    monkeypatch.setattr("funcnet.tabular.study_table", study)
    (tmp_path / "t.csv").write_text("a,b,y\n1,2,3.5\n2,3,4.5\n")
    flags = ["--drop", "a", "--category", "b", "--missing", "x", "--missing", "-1", "--no-day-first"]
    error_line(capsys, "study", tmp_path / "t.csv", "folds", "--out", tmp_path / "out", *flags)
    assert asked["dayfirst"] is False
    assert asked["roles"] == {"a": "dropped", "b": "category"}
    assert asked["missing"] == ["x", "-1"]


def _slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        _slow("ensemble", ["ensemble of 3", "Evaluated on 30 test rows."]),
        _slow("folds", ["standard error", "Each network was trained on 100 rows"]),
        ("sweep", ["best trials", "25 runs with the same initial weights"]),
        _slow("bias-variance", ["bias and noise", "bootstrap sample of 90 rows", "30 test rows"]),
        _slow("learning-curve", ["training loss", "3 networks for each number of rows"]),
        _slow("diagnose", ["verdict", "final gap"]),
    ],
)
def test_a_study_prints_a_table_and_writes_it_with_a_figure(kind, texts, capsys, tmp_path):
    size = [] if kind == "sweep" else ["--size", "3"]
    settings = ["--epochs", "6", "--hidden", "4", "--out", str(tmp_path)]
    assert main(["study", "iris", kind, *size, *settings]) == 0
    output = capsys.readouterr()
    assert not output.err
    for text in [*texts, f"Wrote {kind}.csv and {kind}.png"]:
        assert text in output.out
    assert {file.name for file in tmp_path.iterdir()} == {f"{kind}.csv", f"{kind}.png", ".source.json"}
    assert (tmp_path / f"{kind}.csv").read_text().count("\n") >= 4
    assert (tmp_path / f"{kind}.png").read_bytes().startswith(b"\x89PNG")


def test_the_runs_of_an_interrupted_study_are_not_lost_by_a_forgotten_flag(capsys, tmp_path):
    (tmp_path / "members").mkdir()
    (tmp_path / "members" / "000-0000000000-0000000004.safetensors").touch()
    line = error_line(capsys, "study", "iris", "folds", "--out", tmp_path)
    assert "holds the finished runs of a study that was interrupted. Add --resume to continue it" in line


@pytest.mark.slow
def test_an_interrupted_study_resumes(capsys, tmp_path, monkeypatch):
    command = ["study", "iris", "folds", "--size", "6", "--epochs", "2", "--hidden", "4", "--out"]
    trained, write = [], MemberResults.write

    def write_once(members):
        written = write(members)
        trained.append(int(members.done.sum()))
        if len(trained) == 1:
            raise ValueError("killed")
        return written

    monkeypatch.setattr(MemberResults, "write", write_once)
    assert "killed" in error_line(capsys, *command, tmp_path / "a")
    others = [*command, tmp_path / "a", "--resume", "--seed", "1"]
    assert "belongs to a different study" in error_line(capsys, *others)
    assert main([*command, str(tmp_path / "a"), "--resume"]) == 0
    assert 0 < trained[0] < 6
    monkeypatch.undo()
    assert main([*command, str(tmp_path / "b")]) == 0
    tables = [(tmp_path / name / "folds.csv").read_text() for name in "ab"]
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_a_study_of_a_regression_prints_errors_in_target_units(capsys, tmp_path):
    settings = ["--size", "2", "--epochs", "2", "--hidden", "4", "--out", str(tmp_path)]
    assert main(["study", "diabetes", "folds", *settings]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    (mean,) = [row for row in rows if row[:1] == ["mean"]]
    assert 30 < float(mean[2]) < 200  # of a progression with a standard deviation of 77


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 1}', '{"format": 2}', "[" * 9999])
def test_a_damaged_model(content, trained, capsys, tmp_path):
    table, folder, _ = trained
    place = shutil.copytree(folder, tmp_path / "model")
    shutil.copytree(folder, tmp_path / "sound")
    (place / "estimator.json").write_text(content)
    assert "estimator.json" in error_line(capsys, "predict", place, table)
    assert "estimator.json" in error_line(capsys, "show", place)
    assert main(["runs", str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert "damaged" in output.out
    assert "sound" in output.out
    assert output.err.startswith(f"funcnet: {place}: ")
    assert output.err.count("\n") == 1


@pytest.mark.parametrize("trained", ["text"], indirect=True)
def test_a_description_of_another_run_is_told(trained, capsys, tmp_path):
    table, folder, _ = trained
    place = shutil.copytree(folder, tmp_path / "model")
    (arrays,) = place.glob("arrays-*")
    arrays.rename(place / "arrays-0.safetensors")
    capsys.readouterr()
    for command in (["predict", place, table], ["show", place]):
        assert f"{arrays}: No such file" in error_line(capsys, *command)


def test_a_model_of_an_earlier_version_is_refused(capsys, tmp_path):
    (tmp_path / "model.json").write_text("{}")
    for command in (["predict", tmp_path, "x.csv"], ["show", tmp_path]):
        assert "a model of an earlier version of funcnet. Train it again" in error_line(capsys, *command)
    assert main(["runs", str(tmp_path)]) == 0
    assert "damaged" in capsys.readouterr().out


def test_a_network_of_ones_own_is_refused(capsys, tmp_path):
    net = NetRegressor(fn.MLP((1, "scalar")), epochs=1).fit([[1.0], [2.0]], [1.0, 2.0])
    net.save(tmp_path)
    line = error_line(capsys, "predict", tmp_path, "x.csv")
    assert "contains a NetRegressor, whose network is code. Load it in Python" in line
    assert main(["show", str(tmp_path)]) == 0
    assert "1 of 1 epochs, finished" in capsys.readouterr().out


@pytest.mark.parametrize("trained", ["text"], indirect=True)
def test_predictions_are_written_through_links_and_pipes(trained, capsys, tmp_path):
    table, folder, _ = trained
    (tmp_path / "private").write_text("")
    (tmp_path / "private").chmod(0o600)
    (tmp_path / "link").symlink_to("private")
    os.mkfifo(tmp_path / "pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_text()))
    reader.start()
    for name in ("link", "pipe"):
        assert main(["predict", str(folder), str(table), "--out", str(tmp_path / name)]) == 0
    reader.join(timeout=20)
    assert (tmp_path / "private").read_text() == received[0]
    assert received[0].startswith("prediction,probability\n")
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "link").is_symlink()
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert "is a folder" in error_line(capsys, "predict", folder, table, "--out", tmp_path)


def test_two_tables_never_share_a_default_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train, study = "train", "study"
    for name in "ab":
        (tmp_path / name).mkdir()
        write_table(tmp_path / name / "fruit.csv", True)
    few = ["--target", "goal", "--hidden", "8", "--epochs", "20"]
    assert main([train, "a/fruit.csv", *few, "--folds", "2", "--members", "1"]) == 0
    capsys.readouterr()
    monkeypatch.setattr(MLPClassifier, "fit", None)  # not called
    monkeypatch.setattr("funcnet.tabular.study_table", None)
    line = error_line(capsys, train, "b/fruit.csv", *few)
    sources = f"belongs to the table {tmp_path}/a/fruit.csv, and this table is {tmp_path}/b/fruit.csv"
    assert f"runs/fruit {sources}" in line
    assert "--out runs/fruit-2" in line
    set_owner(tmp_path / "runs/fruit-folds", f"{tmp_path}/a/fruit.csv")
    assert f"runs/fruit-folds {sources}" in error_line(capsys, study, "b/fruit.csv", "folds", *few)
    (tmp_path / "runs/fruit/.source.json").unlink()
    assert "holds a run of an unknown table" in error_line(capsys, train, "b/fruit.csv", *few)


@pytest.mark.parametrize("trained", ["text"], indirect=True)
def test_names_cant_control_a_terminal(trained, capsys, monkeypatch, tmp_path):
    _, folder, _ = trained
    place = shutil.copytree(folder, tmp_path / "model")
    described = json.loads((place / "estimator.json").read_text())
    del described["sha256"]
    described["attributes"]["classes_"]["texts"] = ["[red]\x1b[2Ja", "\x9b5mb"]
    _files.write_sealed(place / "estimator.json", described)
    (tmp_path / "new.csv").write_text("length [cm],width\n5,0.5\n15,-1\n")
    assert main(["predict", str(place), str(tmp_path / "new.csv")]) == 0
    assert "\x1b" in capsys.readouterr().out  # a pipe gets the names as they are
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout.isatty", lambda: True)
        assert main(["predict", str(place), str(tmp_path / "new.csv")]) == 0
    printed = capsys.readouterr().out
    assert main(["predict", str(place / "\x1b[2J"), "x.csv"]) == 2
    printed += capsys.readouterr().err
    print_table(["a\x1b[2J", "[red]b"], [["[bold]\x9b5m", "c\r"]])
    print_summary("[red]\x1b", {"\x07": "\x1b[2J"})
    printed += capsys.readouterr().out
    assert not set("\x1b\x9b\x07\r") & set(printed)
    assert "[red]" in printed
    assert "[bold]" in printed


def test_a_table_is_not_cut_in_a_pipe(capsys):
    print_table(["run", "loss"], [["a" * 200, "0.5"]])
    print_summary("run", {"folder": "b" * 200})
    printed = capsys.readouterr().out
    assert "a" * 200 in printed
    assert "b" * 200 in printed


@pytest.mark.filterwarnings("default:the loss of 2 of 2 networks")
def test_a_diverged_run_is_told(capsys, tmp_path):
    args = ["train", "iris", "--learning-rate", "1e30", "--out", str(tmp_path / "out"), *FEW]
    assert main(args) == 0
    captured = capsys.readouterr()
    assert "funcnet: warning: the loss of 2 of 2 networks is not finite after epoch 2 of 20" in captured.err
    assert "0.3333" in captured.out, "beside the score of the best constant"


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    assert "funcnet train iris" in capsys.readouterr().out
    assert main(["train", "--help"]) == 0
    assert "--target price" in capsys.readouterr().out
    assert main(["predict", "--help"]) == 0
    assert "new.csv" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("funcnet 0.")


def test_ctrl_c(capsys, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(MLPClassifier, "fit", interrupted)
    assert main(["train", "iris", "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err.lstrip() == "funcnet: interrupted.\n"


def test_ctrl_c_interrupts_a_compiled_program(capsys, monkeypatch):
    class Exited(Exception):
        pass

    def exit_with(code):
        raise Exited(code)

    finished = threading.Event()
    monkeypatch.setattr("os._exit", exit_with)
    # A process that was started in the background may ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.2, _thread.interrupt_main).start()
    start = time.perf_counter()
    with pytest.raises(Exited, match="130"):
        run_interruptibly(lambda: finished.wait(20))
    finished.set()
    signal.signal(signal.SIGINT, before)
    assert time.perf_counter() - start < 10
    assert capsys.readouterr().err == "funcnet: interrupted.\n"


def test_a_bug_keeps_its_traceback(monkeypatch, tmp_path):
    def buggy(*_, **__):
        raise AttributeError("a bug")

    monkeypatch.setattr(MLPClassifier, "fit", buggy)
    with pytest.raises(AttributeError, match="a bug"):
        main(["train", "iris", "--out", str(tmp_path)])


@pytest.mark.parametrize("trained", ["text"], indirect=True)
def test_a_closed_pipe_is_not_an_error(trained):
    table, folder, _ = trained
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", "import sys; from funcnet.cli import main; sys.exit(main())"]
    process = subprocess.run(
        [*command, "predict", str(folder), str(table)], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    # jaxlib 0.10.0 logs, in two lines, that its cache was compiled for the features of this machine.
    messages = [
        line
        for line in process.stderr.splitlines()
        if "cpu_aot_loader" not in line and "SIGILL" not in line
    ]
    assert (process.returncode, messages) == (0, [])
