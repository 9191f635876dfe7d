"""Compiled programs are kept on disk and found again by the next process."""

import subprocess
import sys

PROGRAM = """
import sys, jax, funcnet as fn
folder = fn.cache_compilations(sys.argv[1])
print(float(jax.jit(lambda x: x * 2 + 1)(3.0)), folder)
"""


def run(folder):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["7.0", str(folder)]
    return {path.name for path in folder.iterdir() if not path.name.endswith("-atime")}


def test_the_second_process_compiles_nothing_new(tmp_path):
    first = run(tmp_path / "made" / "here")
    assert first
    assert run(tmp_path / "made" / "here") == first
