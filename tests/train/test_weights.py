"""Weights go to disk and come back the same, and nothing else is taken for them."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import same_bits

import funcnet as fn

NET = fn.MLP((3, 5, 2))


@functools.cache
def model_of(net=NET, seed=0):
    return jax.jit(net.init)(jax.random.key(seed))


MODELS = {
    "module": lambda: model_of(),
    "buffers": lambda: {
        "w": jnp.ones((2, 3)),
        "seen": fn.Buffer(jnp.arange(4)),
        "deep": [jnp.zeros(()), (jnp.ones(1),)],
    },
    "dtypes": lambda: {
        "half": jnp.linspace(0, 1, 5).astype(jnp.bfloat16),
        "flags": jnp.array([True, False]),
    },
    "empty": lambda: {"none": jnp.zeros((0, 3)), "complex": jnp.array([1 + 2j], jnp.complex64)},
}


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(name, tmp_path):
    model = MODELS[name]()
    fn.save_weights(model, tmp_path / "model.safetensors")
    loaded = fn.load_weights(model, tmp_path / "model.safetensors")
    assert jax.tree.structure(loaded) == jax.tree.structure(model)
    for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(loaded), strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_the_architecture_is_enough_and_its_numbers_play_no_part(tmp_path):
    model = model_of(seed=1)
    fn.save_weights(model, tmp_path / "m")
    assert fn.load_weights(NET, tmp_path / "m") == model
    assert fn.load_weights(model_of(seed=2), tmp_path / "m") == model


def test_names_are_dotted_paths_that_other_libraries_read(tmp_path):
    from safetensors.numpy import load_file

    fn.save_weights({"net": model_of(), "mean": fn.Buffer(jnp.ones(2))}, tmp_path / "m")
    arrays = load_file(tmp_path / "m")
    assert set(arrays) == {
        *("net.layers.0.weight", "net.layers.0.bias", "net.layers.1.weight", "net.layers.1.bias"),
        "mean.value",
    }
    assert np.array_equal(arrays["net.layers.0.weight"], model_of().layers[0].weight)


def test_a_transposed_host_array_is_stored_row_by_row(tmp_path):
    model = {"w": np.arange(6.0, dtype=np.float32).reshape(2, 3).T}
    fn.save_weights(model, tmp_path / "m")
    assert np.array_equal(fn.load_weights(model, tmp_path / "m")["w"], model["w"])


def test_one_error_lists_every_difference(tmp_path):
    fn.save_weights({"a": jnp.ones(2), "b": jnp.ones((2, 2)), "d": jnp.ones(1)}, tmp_path / "m")
    expected = {"a": jnp.ones(2, jnp.float16), "b": jnp.ones((3, 2)), "c": jnp.ones(4)}
    with pytest.raises(ValueError, match="does not hold the weights") as caught:
        fn.load_weights(expected, tmp_path / "m")
    assert str(caught.value).splitlines()[1:] == [
        "  a: float32[2] in the file, float16[2] expected",
        "  b: float32[2,2] in the file, float32[3,2] expected",
        "  c: missing in the file, float32[4] expected",
        "  d: float32[1] in the file, unexpected",
    ]


@pytest.mark.parametrize("content", [b"", b"no weights at all, just text", b"\x10\0\0\0\0\0\0\0{"])
def test_a_damaged_file_is_told(content, tmp_path):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        fn.load_weights(NET, tmp_path / "m")


def test_a_cut_file_is_told(tmp_path):
    fn.save_weights(model_of(), tmp_path / "m")
    whole = (tmp_path / "m").read_bytes()
    (tmp_path / "m").write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        fn.load_weights(NET, tmp_path / "m")


def test_a_changed_bit_of_any_byte_is_refused(tmp_path):
    model = {"a": jnp.arange(3.0), "b": jnp.array([True])}
    fn.save_weights(model, tmp_path / "m")
    whole, accepted = (tmp_path / "m").read_bytes(), 0
    for i in range(len(whole)):
        (tmp_path / "m").write_bytes(whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :])
        with contextlib.suppress(ValueError):
            # The bit was in the name of the checksum's field, and the arrays are whole.
            assert same_bits(fn.load_weights(model, tmp_path / "m"), model)
            accepted += 1
    assert accepted <= len("funcnet.sha256")


def test_the_bytes_of_another_model_are_refused_and_files_of_other_tools_are_not(tmp_path):
    from safetensors.numpy import save_file

    arrays = {"a": np.arange(3, dtype=np.float32)}
    save_file(arrays, tmp_path / "m", {"format": "np"})
    assert np.array_equal(fn.load_weights(arrays, tmp_path / "m")["a"], arrays["a"])
    save_file(arrays, tmp_path / "m", {"funcnet.sha256": "0" * 64})
    with pytest.raises(ValueError, match="m is damaged: its content has changed since it was saved"):
        fn.load_weights(arrays, tmp_path / "m")


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        (None, TypeError, "path must be a path, got NoneType None. Try path="),
        (5, TypeError, "path must be a path, got int 5"),
        (b"m", TypeError, "path must be a path, got bytes b'm'"),
        ("", ValueError, "path must be a path, got an empty string"),
        ("a\0b", ValueError, "a path with a null character"),
    ],
)
def test_wrong_paths_are_refused_in_one_sentence(path, error, words):
    calls = [
        lambda: fn.save_weights(model_of(), path),
        lambda: fn.load_weights(NET, path),
        lambda: fn.train.CSV(path),
        lambda: fn.train.JSONLines(path),
        lambda: fn.report.LivePlot(path),
    ]
    for call in calls:
        with pytest.raises(error, match=words):
            call()
    if path is not None:
        train = fn.fit(lambda model, x, key: 0.0, optax.sgd(0.1), epochs=1)
        for name in (lambda: fn.Trainer(train, path), lambda: fn.cache_compilations(path)):
            with pytest.raises(error, match=words.removeprefix("path").split(". Try")[0]):
                name()


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder, expected the path of a file"):
        fn.save_weights(model_of(), tmp_path)
    with pytest.raises(FileNotFoundError, match="no valid checkpoint in this directory"):
        fn.load_weights(NET, tmp_path)


def test_a_missing_file_and_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        fn.load_weights(NET, tmp_path / "m")
    with pytest.raises(FileNotFoundError) as caught:
        fn.save_weights(model_of(), tmp_path / "nowhere" / "m")
    assert caught.value.filename == str(tmp_path / "nowhere" / "m")


def test_a_failed_write_leaves_the_file_of_before(tmp_path, monkeypatch):
    fn.save_weights(model_of(seed=1), tmp_path / "m")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fn.save_weights(model_of(seed=2), tmp_path / "m")
    assert fn.load_weights(NET, tmp_path / "m") == model_of(seed=1)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: {"key": jax.random.key(0)}, "got an array of key.* for key"),
        (lambda: NET, r"Linear at layers\[0\] is not initialized: it has no bias and no weight"),
        (lambda: {"rate": 0.1}, "got float 0.1 for rate"),
        (lambda: {"__metadata__": jnp.ones(1)}, "can't be the name of an array"),
        (lambda: {"a\ud800": jnp.ones(1)}, "can't be the name of an array"),
        (
            lambda: {"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}},
            "two arrays of the model would be called 'a.b'",
        ),
    ],
)
def test_what_is_no_weight_is_refused(make, message, tmp_path):
    model = make()
    with pytest.raises(ValueError if isinstance(model, dict) else TypeError, match=message):
        fn.save_weights(model, tmp_path / "m")
