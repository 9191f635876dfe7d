"""Wrong arguments of every public function: one clear sentence, or the right number. Small, seeded runs.

`experiments/faults/fuzz_api.py --calls 10000` runs as many as there is time for, each where it can't hurt.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FUZZER = ROOT / "experiments" / "faults" / "fuzz_api.py"
# Functions that compile nothing large.
CHEAP = (
    r"^(losses|metrics|data|transform\.[A-Zrs]|fn\.(evaluate|count|Buf|predict)|layers\.(Lin|Drop|Flat))"
)


def _fuzz(*options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(FUZZER), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("calls", [30, pytest.param(240, marks=pytest.mark.slow)])
def test_no_call_fails_without_a_sentence_or_returns_a_wrong_number(calls: int, tmp_path: Path) -> None:
    """In a process of its own: this one checks shapes and promotion before the library does."""
    out = str(tmp_path / "fuzz")
    result = _fuzz("--in-process", "--calls", str(calls), "--seed", "5", "--only", CHEAP, "--out", out)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]


def test_it_writes_into_folders_only() -> None:
    for place in ("/dev/null", "/proc/fuzz", str(FUZZER)):
        result = _fuzz("--calls", "0", "--out", place)
        assert result.returncode != 0
        assert "--out must be a folder" in result.stderr
