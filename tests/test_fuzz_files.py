"""Damaged files are refused by name, or change nothing: small runs of experiments/faults/fuzz_files.py."""

import functools
import json

import pytest
from programs import run_program

run = functools.partial(run_program, "experiments/faults/fuzz_files.py")


FEW = {"models": 2, "graphs": 2, "checkpoints": 1, "weights": 8, "whole": 8}
MANY = {"models": 10, "graphs": 16, "checkpoints": 14, "weights": 20, "whole": 20}


@pytest.mark.parametrize("counts", [FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["few", "many"])
def test_damaged_files_are_refused_or_change_nothing(counts, tmp_path):
    options = [option for kind, count in counts.items() for option in (f"--{kind}", count)]
    process = run("--out", tmp_path / "fuzz", "--few", "--workers", 1, *options)
    findings = (tmp_path / "fuzz" / "findings.jsonl").read_text().splitlines()
    names = "kind", "index", "damage", "file", "what", "consumer", "verdict", "reason"
    assert [{name: json.loads(finding)[name] for name in names} for finding in findings] == []
    assert process.returncode == 0, process.stderr
    assert f"0 findings of {sum(counts.values())} damages" in process.stdout


def test_nothing_is_written_where_others_keep_files(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path)
    for out in (tmp_path, tmp_path / "thesis.tex", tmp_path / "link", "/dev/null"):
        process = run("--out", out)
        assert process.returncode == 1
        assert process.stderr.startswith("--out must be a")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["link", "thesis.tex"]
