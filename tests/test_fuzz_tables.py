"""Rough tables are read as what they are, damaged ones refused: a few files of fuzz_tables.py."""

import functools
import json

from programs import run_program

run = functools.partial(run_program, "experiments/faults/fuzz_tables.py")


def test_rough_tables_are_read_and_damaged_ones_refused(tmp_path):
    process = run("--out", tmp_path / "fuzz", "--cases", 50, "--seed", 12, "--workers", 1, "--no-commands")
    findings = (tmp_path / "fuzz" / "findings.jsonl").read_text().splitlines()
    assert [json.loads(finding) for finding in findings] == []
    assert process.returncode == 0, process.stderr
    assert "0 findings of 50 files" in process.stdout


def test_nothing_is_written_where_others_keep_files(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path)
    for out in (tmp_path, tmp_path / "thesis.tex", tmp_path / "link"):
        process = run("--out", out)
        assert process.returncode == 1
        assert process.stderr.startswith("--out must be a")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["link", "thesis.tex"]
