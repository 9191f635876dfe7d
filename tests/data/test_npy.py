"""Rows of files at any distance from each other."""

import numpy as np
import pytest

from funcnet.data._npy import Npy


@pytest.mark.parametrize("shape", [(), (3,), (300,), (2, 40), (0,)], ids=str)
@pytest.mark.parametrize("count", [0, 1, 7, 400], ids=lambda n: f"{n}-rows")
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_rows_are_those_of_the_array(tmp_path, shape, count, dtype):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 200, (70_000 if shape == () else 3_000, *shape)).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    file = Npy(tmp_path / "x.npy")
    for numbers in (rng.integers(0, len(array), count), np.arange(count) + 11, np.full(count, 5)):
        assert np.array_equal(file.rows(numbers), array[numbers])


def test_a_truncated_file_is_reported(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(1000.0))
    file = Npy(tmp_path / "x.npy")
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:4000])
    for numbers in (np.array([999, 3]), np.arange(1000)[::-1]):
        with pytest.raises(ValueError, match="became shorter"):
            file.rows(numbers)
