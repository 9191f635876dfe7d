"""`load_torch` and `to_torch` beside PyTorch itself: the same outputs in inference."""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import MODELS, QUICK, marked, same_bits

import funcnet as fn
from funcnet._module import shapes

torch = pytest.importorskip("torch")
nn, L = torch.nn, fn.layers
spectral_norm = torch.nn.utils.parametrizations.spectral_norm

CALL = jax.jit(lambda model, x: model(x))
EXACT_GELU = functools.partial(jax.nn.gelu, approximate=False)


class First(nn.Module):
    """The outputs of a layer that returns a tuple."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        if isinstance(self.layer, nn.MultiheadAttention):
            return self.layer(x, x, x, need_weights=False)[0]
        return self.layer(x)[0]


class Skip(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return x + self.layer(x)


class Encoder(nn.Module):
    def __init__(self, activation, bias=True):
        super().__init__()
        block = nn.TransformerEncoderLayer(
            8, 2, 16, batch_first=True, norm_first=True, activation=activation, dropout=0.3
        )
        if not bias:
            block.self_attn.in_proj_bias.requires_grad = False  # as it starts: zero
        self.position_embedding = nn.Parameter(torch.zeros(7, 8))
        self.embed = nn.Embedding(9, 8)
        self.encoder = nn.TransformerEncoder(block, 2, nn.LayerNorm(8), enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        mask = tokens != 0
        h = self.embed(tokens) + self.position_embedding[: tokens.shape[1]]
        h = self.encoder(h, src_key_padding_mask=~mask)
        weight = mask[..., None] / mask.sum(1)[:, None, None]
        return self.head((h * weight).sum(1))


class Case(NamedTuple):
    """The same network in both libraries, and the shape of one input, channels last."""

    net: fn.Module
    other: Callable[[], Any]
    shape: tuple[int, ...]
    tokens: int = 0
    channels: Any = None


def _transformer(**settings):
    return fn.models.Transformer(
        3,
        vocab_size=9,
        max_length=7,
        features=8,
        num_heads=2,
        depth=2,
        hidden_features=16,
        positions="learned",
        dropout=0.3,
        pad_token=0,
        **settings,
    )


def _conv_net():
    return fn.models.ConvNet((9, 6, 2), 5, channels=(3, 4), dropout=0.2)


def _other_conv_net():
    blocks = [(2, 3), (3, 4)]
    layers = [
        part for a, b in blocks for part in (nn.Conv2d(a, b, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2))
    ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(4 * 2 * 1, 5))


LAYERS = {
    "linear": Case(fn.Linear(3, 5), lambda: nn.Linear(3, 5), (3,)),
    "linear-square": Case(fn.Linear(4, 4, use_bias=False), lambda: nn.Linear(4, 4, bias=False), (4,)),
    "conv-1d": Case(
        L.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2),
        lambda: nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2),
        (9, 4),
    ),
    "conv-2d": Case(
        L.Conv2d(4, 6, (3, 2), stride=(2, 1), padding="VALID", dilation=(1, 2), groups=2),
        lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), dilation=(1, 2), groups=2),
        (7, 6, 4),
    ),
    "conv-3d": Case(
        L.Conv3d(2, 4, (1, 2, 3), padding=1, groups=2, use_bias=False),
        lambda: nn.Conv3d(2, 4, (1, 2, 3), padding=1, groups=2, bias=False),
        (3, 4, 5, 2),
    ),
    "conv-transpose-1d": Case(
        L.ConvTranspose1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2),
        lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2),
        (5, 4),
    ),
    "conv-transpose-2d": Case(
        L.ConvTranspose2d(4, 6, (3, 2), stride=(2, 3), padding=((1, 0), (1, 1)), groups=2),
        lambda: nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), padding=(1, 1), output_padding=(1, 0), groups=2),
        (4, 3, 4),
    ),
    "conv-transpose-3d": Case(
        L.ConvTranspose3d(2, 3, (1, 2, 3), stride=2, padding="VALID"),
        lambda: nn.ConvTranspose3d(2, 3, (1, 2, 3), stride=2),
        (2, 3, 2, 2),
    ),
    "batch-norm": Case(L.BatchNorm(4, eps=1e-3), lambda: nn.BatchNorm2d(4, 1e-3), (3, 2, 4)),
    "batch-norm-plain": Case(
        L.BatchNorm(4, use_scale=False, use_bias=False), lambda: nn.BatchNorm1d(4, affine=False), (4,)
    ),
    "layer-norm": Case(L.LayerNorm(4), lambda: nn.LayerNorm(4), (4,)),
    "layer-norm-no-bias": Case(L.LayerNorm(4, use_bias=False), lambda: nn.LayerNorm(4, bias=False), (4,)),
    "group-norm": Case(L.GroupNorm(6, 2), lambda: nn.GroupNorm(2, 6), (3, 2, 6)),
    "rms-norm": Case(L.RMSNorm(4), lambda: nn.RMSNorm(4, eps=1e-6), (4,)),
    "embedding": Case(L.Embedding(9, 4), lambda: nn.Embedding(9, 4), (5,), tokens=9),
    "lstm": Case(L.LSTM(3, 4), lambda: First(nn.LSTM(3, 4, batch_first=True)), (5, 3)),
    "gru": Case(L.GRU(3, 4), lambda: First(nn.GRU(3, 4, batch_first=True)), (5, 3)),
    "bidirectional-lstm": Case(
        L.Bidirectional(L.LSTM(3, 4)),
        lambda: First(nn.LSTM(3, 4, batch_first=True, bidirectional=True)),
        (5, 3),
    ),
    "bidirectional-gru": Case(
        L.Bidirectional(L.GRU(3, 4)),
        lambda: First(nn.GRU(3, 4, batch_first=True, bidirectional=True)),
        (5, 3),
    ),
    "attention": Case(
        L.MultiHeadAttention(6, 3, qkv_bias=True),
        lambda: First(nn.MultiheadAttention(6, 3, batch_first=True)),
        (5, 6),
    ),
    "attention-no-bias": Case(
        L.MultiHeadAttention(6, 3, out=fn.Linear(6, 6, use_bias=False)),
        lambda: First(nn.MultiheadAttention(6, 3, bias=False, batch_first=True)),
        (5, 6),
    ),
    "spectral-linear": Case(L.SpectralNorm(fn.Linear(3, 5)), lambda: spectral_norm(nn.Linear(3, 5)), (3,)),
    "spectral-conv-2d": Case(
        L.SpectralNorm(L.Conv2d(4, 6, (3, 2), padding="VALID", groups=2)),
        lambda: spectral_norm(nn.Conv2d(4, 6, (3, 2), groups=2)),
        (4, 5, 4),
    ),
    "spectral-conv-transpose-2d": Case(
        L.SpectralNorm(L.ConvTranspose2d(2, 3, (3, 2), padding="VALID")),
        lambda: spectral_norm(nn.ConvTranspose2d(2, 3, (3, 2))),
        (4, 5, 2),
    ),
}
NETS = {
    "two-lstms": Case(
        fn.Sequential(L.LSTM(4, 4), L.LSTM(4, 4)),
        lambda: First(nn.LSTM(4, 4, num_layers=2, batch_first=True)),
        (5, 4),
    ),
    "two-bidirectional-grus": Case(
        fn.Sequential(L.Bidirectional(L.GRU(3, 2)), L.Bidirectional(L.GRU(4, 2))),
        lambda: First(nn.GRU(3, 2, num_layers=2, bidirectional=True, batch_first=True)),
        (5, 3),
    ),
    "mlp": Case(
        fn.MLP((3, 4, 4, 2), activation=jnp.tanh, dropout=0.1),
        lambda: nn.Sequential(
            *(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.1), nn.Linear(4, 4), nn.Tanh(), nn.Dropout(0.1)),
            nn.Linear(4, 2),
        ),
        (3,),
    ),
    "conv-net": Case(_conv_net(), _other_conv_net, (9, 6, 2)),
    "batch-norm-flat": Case(
        fn.Sequential(
            *(
                L.Conv2d(2, 3, 3),
                L.BatchNorm(3),
                jax.nn.relu,
                L.AvgPool2d(2),
                L.Flatten(3),
                L.BatchNorm(18),
            ),
            *(jnp.tanh, L.SpectralNorm(fn.Linear(18, 4)), L.LayerNorm(4), fn.Linear(4, 2)),
        ),
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()),
            *(nn.BatchNorm1d(18), nn.Tanh(), spectral_norm(nn.Linear(18, 4)), nn.LayerNorm(4)),
            nn.Linear(4, 2),
        ),
        (4, 6, 2),
    ),
    "flat-sequence": Case(  # channels first in PyTorch's convolution
        fn.Sequential(L.Conv1d(2, 3, 3), jax.nn.relu, L.Flatten(2), fn.MLP((15, 4, 2))),
        lambda: nn.Sequential(
            *(nn.Conv1d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten()),
            nn.Sequential(nn.Linear(15, 4), nn.ReLU(), nn.Linear(4, 2)),
        ),
        (5, 2),
    ),
    "flat-images": Case(
        fn.Sequential(L.Flatten(3), fn.Linear(24, 5)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(24, 5)),
        (2, 4, 3),
        channels=3,
    ),
    "flat-states": Case(  # features last in PyTorch, too
        fn.Sequential(L.GRU(3, 4), L.Flatten(2), fn.Linear(20, 2)),
        lambda: nn.Sequential(First(nn.GRU(3, 4, batch_first=True)), nn.Flatten(), nn.Linear(20, 2)),
        (5, 3),
    ),
    "flat-residual": Case(
        fn.Sequential(
            *(
                L.Conv2d(2, 3, 3),
                L.Flatten(3),
                L.Residual(fn.Sequential(fn.Linear(24, 24), L.LayerNorm(24))),
            ),
            fn.Linear(24, 2),
        ),
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten()),
            Skip(nn.Sequential(nn.Linear(24, 24), nn.LayerNorm(24))),
            nn.Linear(24, 2),
        ),
        (2, 4, 2),
    ),
    "generator": Case(
        fn.Sequential(
            *(fn.Linear(3, 24), L.BatchNorm(24), jax.nn.relu, L.Reshape((2, 3, -1)), L.Upsample(2)),
            *(L.BatchNorm(4), L.ConvTranspose2d(4, 2, 3, stride=2, padding=1), jax.nn.sigmoid),
        ),
        lambda: nn.Sequential(
            *(nn.Linear(3, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Unflatten(1, (4, 2, 3))),
            *(
                nn.Upsample(scale_factor=2),
                nn.BatchNorm2d(4),
                nn.ConvTranspose2d(4, 2, 3, 2, 1),
                nn.Sigmoid(),
            ),
        ),
        (3,),
    ),
    "steps": Case(  # features that become a sequence have the same order in both
        fn.Sequential(fn.Linear(3, 20), L.Reshape((5, 4)), L.GRU(4, 2)),
        lambda: nn.Sequential(
            nn.Linear(3, 20), nn.Unflatten(1, (5, 4)), First(nn.GRU(4, 2, batch_first=True))
        ),
        (3,),
    ),
    "transformer": Case(
        _transformer(qkv_bias=True, activation=EXACT_GELU), lambda: Encoder("gelu"), (6,), tokens=9
    ),
    "transformer-relu": Case(
        _transformer(activation=jax.nn.relu), lambda: Encoder("relu", bias=False), (6,), tokens=9
    ),
}
CASES = LAYERS | NETS
QUICK_CASES = {
    *("linear", "conv-2d", "conv-transpose-2d", "batch-norm", "bidirectional-gru", "attention"),
    *("spectral-linear", "conv-net", "batch-norm-flat", "generator", "transformer"),
}
SOME_CASES = marked(CASES, slow=CASES.keys() - QUICK_CASES)


def _other(case, seed=0):
    """The network of PyTorch in inference, with drawn parameters and running statistics."""
    torch.manual_seed(seed)
    net = case.other()
    with torch.no_grad():
        for name, value in [*net.named_parameters(), *net.named_buffers()]:
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif value.requires_grad or name.endswith("running_mean"):
                value.normal_(0, 0.5)
    return net.eval()


def _assert_same_outputs(model, net, case):
    rng = np.random.default_rng(1)
    size = (4, *case.shape)
    x = rng.integers(1, case.tokens, size) if case.tokens else rng.normal(size=size).astype(np.float32)
    if case.tokens:
        x[1, 2:] = 0  # padding
    is_image = len(case.shape) > 2 or any(
        isinstance(m, nn.Conv1d | nn.ConvTranspose1d) for m in net.modules()
    )
    with torch.no_grad():
        theirs = net(torch.tensor(np.moveaxis(x, -1, 1).copy() if is_image else x)).numpy()
    ours = np.asarray(CALL(model, x))
    has_image = ours.ndim == theirs.ndim > 2 and (is_image or ours.shape != theirs.shape)
    np.testing.assert_allclose(
        ours, np.moveaxis(theirs, 1, -1) if has_image else theirs, rtol=1e-5, atol=1e-5
    )
    assert np.std(theirs) > 1e-3


def _drawn(net, seed):
    """A model of `net` with random arrays, without compiling `init`."""
    rng = np.random.default_rng(seed)
    if not fn.count(net):
        return net
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), shapes(net))


def _from_numpy(state):
    return {name: torch.from_numpy(array) for name, array in state.items()}


@pytest.mark.parametrize("name", SOME_CASES)
def test_a_loaded_model_has_pytorchs_outputs(name):
    case = CASES[name]
    net = _other(case)
    model = fn.interop.load_torch(case.net, net.state_dict(), channels=case.channels)
    _assert_same_outputs(model, net, case)


@pytest.mark.parametrize("name", SOME_CASES)
def test_pytorch_loads_what_to_torch_returns(name):
    case = CASES[name]
    # Drawn anew, so that no array is a constant.
    net = _other(case, seed=1)
    model = fn.interop.load_torch(case.net, net.state_dict(), channels=case.channels)
    rename = {"": "layer"} if isinstance(net, First) else None
    if name.startswith("two-"):
        rename = {"layers[0]": "layer[0]", "layers[1]": "layer[1]"}
    state = fn.interop.to_torch(model, rename, case.channels)
    if name in ("flat-states", "steps"):  # the GRU is in a module of the test
        state = {re.sub(r"\b(weight|bias)_([ih]h)", r"layer.\1_\2", n): a for n, a in state.items()}
    fresh = _other(case)
    fresh.load_state_dict(_from_numpy(state))
    assert list(state) == list(fresh.state_dict())
    _assert_same_outputs(model, fresh, case)


REFUSED = {"fourier-mlp": "frequencies.value", "number-embedding": "frequency"}


QUICK_MODELS = {*QUICK, *REFUSED, "attention", "batch-norm", "dropout-array", "reshape"}


@pytest.mark.parametrize("name", marked(MODELS, slow=MODELS.keys() - QUICK_MODELS))
def test_every_model_is_the_same_after_both_ways_or_refused(name):
    net = MODELS[name].net
    model = _drawn(net, seed=1)
    if name in REFUSED:
        for call in (lambda: fn.interop.to_torch(model), lambda: fn.interop.load_torch(net, {})):
            with pytest.raises(ValueError, match=f"(?s)layers that PyTorch has.*{REFUSED[name]}: an array"):
                call()
        return
    state = fn.interop.to_torch(model)
    assert all(array.dtype == np.float32 or name.endswith("tracked") for name, array in state.items())
    assert same_bits(fn.interop.load_torch(net, state), model)
    assert fn.interop.load_torch(net, state) == model
    # A model that is initialized already is replaced.
    assert fn.interop.load_torch(_drawn(net, seed=2), state) == model


def _state(net, seed=0):
    return _other(Case(net, lambda: net, ()), seed).state_dict()


class Numbered(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 2)  # in another order
        self.fc10 = nn.Linear(4, 4)
        self.fc2 = nn.Linear(4, 4)
        self.fc1 = nn.Linear(4, 4)

    def forward(self, x):
        return self.last(self.fc10(self.fc2(self.fc1(x).relu()).relu()).relu())


NUMBERED = Case(fn.MLP((4, 4, 4, 4, 2)), Numbered, (4,))


def test_layers_of_other_names_are_found_by_kind_and_shape_and_by_numbers(tmp_path):
    net = _other(NUMBERED)
    model = fn.interop.load_torch(NUMBERED.net, net.state_dict())
    _assert_same_outputs(model, net, NUMBERED)
    wrapped = {f"module.{name}": value for name, value in net.state_dict().items()}
    assert fn.interop.load_torch(NUMBERED.net, wrapped) == model
    from safetensors.numpy import save_file

    # A file loses the order of names, and "fc10" comes before "fc2" in it.
    save_file({name: value.numpy() for name, value in net.state_dict().items()}, tmp_path / "a.safetensors")
    assert fn.interop.load_torch(NUMBERED.net, tmp_path / "a.safetensors") == model


def test_names_in_our_files_are_found_as_well():
    class Layers(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])

        def forward(self, x):
            return self.layers[1](self.layers[0](x).relu())

    case = Case(fn.MLP((3, 3, 3)), Layers, (3,))
    net = _other(case)
    _assert_same_outputs(fn.interop.load_torch(case.net, net.state_dict()), net, case)


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.out, self.inner = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.out(self.inner(x).relu())


NAMED = Case(fn.MLP((4, 4, 4)), Named, (4,))


@pytest.mark.parametrize(
    "rename",
    [
        {"layers[0]": "inner", "layers[1]": "out"},
        {"layers.0": "inner", "layers.1": "out"},
        lambda path: {"layers[0]": "inner", "layers[1]": "out"}[path],
    ],
)
def test_names_that_do_not_decide_are_refused_and_rename_gives_them(rename):
    net = _other(NAMED)
    with pytest.raises(ValueError, match=r"can't be told apart .* rename=\{'layers\[0\]': 'out'"):
        fn.interop.load_torch(NAMED.net, net.state_dict())
    model = fn.interop.load_torch(NAMED.net, net.state_dict(), rename)
    _assert_same_outputs(model, net, NAMED)
    again = _other(NAMED, seed=1)
    again.load_state_dict(_from_numpy(fn.interop.to_torch(model, rename)))
    _assert_same_outputs(model, again, NAMED)


def test_rename_of_some_layers_leaves_the_others_to_their_shapes():
    net = _other(NUMBERED)
    rename = {"layers[3]": "last"}
    assert fn.interop.load_torch(NUMBERED.net, net.state_dict(), rename) == fn.interop.load_torch(
        NUMBERED.net, net.state_dict()
    )


def test_a_part_that_is_renamed_stands_for_what_is_in_it():
    net = _transformer()
    model = _drawn(net, seed=0)
    state = fn.interop.to_torch(model, {"blocks": "body.blocks", "norm": "body.norm"})
    assert "body.blocks.1.norm2.weight" in state
    assert fn.interop.load_torch(net, state, {"blocks": "body.blocks", "norm": "body.norm"}) == model
    with pytest.raises(ValueError, match="can't be told apart"):
        fn.interop.load_torch(net, state)  # the last norm is one of five of its shape


def test_what_does_not_fit_is_listed_at_once():
    state = _state(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))
    state["0.weight"] = state["0.weight"].T
    del state["2.bias"]
    state["4.weight"] = torch.zeros(3, 4)
    state["6.weight"] = torch.zeros(1)
    with pytest.raises(ValueError, match="does not hold") as caught:
        fn.interop.load_torch(fn.MLP((3, 4, 4, 2)), state)
    assert str(caught.value) == (
        "the state dict does not hold the weights of this MLP:\n"
        "  0.weight: float32[3,4] in the state dict, float32[4,3] expected for layers[0] (Linear); its "
        "transpose would fit\n"
        "  2.bias: missing in the state dict, float32[4] expected for layers[1] (Linear)\n"
        "  4.weight: float32[3,4] in the state dict, float32[2,4] expected for layers[2] (Linear)\n"
        "  6.weight: unused"
    )


def test_layers_of_other_names_and_shapes_are_compared_in_order():
    state = {"body.weight": np.ones((4, 3), np.float32), "body.bias": np.ones(4, np.float32)}
    with pytest.raises(ValueError, match=r"body.weight: float32\[4,3\] .* float32\[5,3\] expected by the"):
        fn.interop.load_torch(fn.Linear(3, 5), state)


def test_a_bias_that_the_layer_does_not_have_must_be_zero():
    layer = L.MultiHeadAttention(4, 2)
    other = nn.MultiheadAttention(4, 2)
    assert not other.in_proj_bias.any()
    fn.interop.load_torch(layer, other.state_dict())
    state = _state(nn.MultiheadAttention(4, 2))
    with pytest.raises(ValueError, match=r"in_proj_bias: must be 0 everywhere.* set qkv_bias=True"):
        fn.interop.load_torch(layer, state)
    gru = L.GRU(3, 4, recurrent=fn.Linear(4, 12, use_bias=False))  # b_hn can't be added to b_in
    with pytest.raises(ValueError, match="bias_hh_l0: must be 0 everywhere"):
        fn.interop.load_torch(gru, _state(nn.GRU(3, 4)))
    norm = L.BatchNorm(4, use_scale=False)
    state = _state(nn.BatchNorm1d(4))
    with pytest.raises(ValueError, match="weight: must be 1 everywhere"):
        fn.interop.load_torch(norm, state)
    model = _drawn(norm, seed=0)
    assert fn.interop.load_torch(norm, fn.interop.to_torch(model)) == model


def test_values_are_not_rounded_in_silence():
    state = {"weight": np.array([[0.5, 0.25]]), "bias": np.array([1.0])}
    model = fn.interop.load_torch(fn.Linear(2, 1), state)
    assert model.weight.dtype == jnp.float32
    np.testing.assert_array_equal(model.weight, [[0.5], [0.25]])
    with pytest.raises(ValueError, match="bias: values of float64 that float32 can't hold"):
        fn.interop.load_torch(fn.Linear(2, 1), state | {"bias": np.array([0.1])})
    with pytest.raises(ValueError, match="bias: values of int64, float32 expected"):
        fn.interop.load_torch(fn.Linear(2, 1), state | {"bias": np.array([1])})
    with jax.enable_x64(True):
        double = fn.interop.load_torch(fn.Linear(2, 1), state | {"bias": np.array([0.1])})
        assert float(double.bias[0]) == 0.1
        assert fn.interop.to_torch(double)["bias"].dtype == np.float64


def test_bfloat16_comes_and_goes_exactly():
    net = nn.Linear(3, 2).bfloat16()
    model = fn.interop.load_torch(fn.Linear(3, 2), net.state_dict())
    np.testing.assert_array_equal(model.weight, net.weight.detach().float().numpy().T)
    half = fn.Precision(param="bfloat16").cast_parameters(model)
    again = fn.interop.load_torch(half, fn.interop.to_torch(half))
    assert same_bits(again, half)
    assert again.weight.dtype == jnp.bfloat16


def test_values_that_are_not_finite_are_kept():
    state = {"weight": np.array([[np.nan, np.inf]], np.float32), "bias": np.ones(1, np.float32)}
    model = fn.interop.load_torch(fn.Linear(2, 1), state)
    np.testing.assert_array_equal(fn.interop.to_torch(model)["weight"], state["weight"])


def test_frozen_arrays_stay_frozen_and_settings_stay():
    net = fn.Sequential(fn.Linear(3, 2), fn.Dropout(jnp.array(0.25)), fn.Linear(2, 2))
    state = _state(nn.Sequential(nn.Linear(3, 2), nn.Dropout(), nn.Linear(2, 2)))
    frozen = fn.interop.load_torch(fn.freeze(net.init(jax.random.key(0)), "layers[0]"), state)
    assert fn.count(frozen, trainable=False) == 8
    assert fn.unfreeze(frozen) == fn.interop.load_torch(net, state)
    assert float(frozen.layers[1].rate.value) == 0.25


class OtherBlock(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Conv2d(inputs, outputs, 1, 2)

    def forward(self, x):
        h = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (h + self.downsample(x)).relu()


class OtherResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 5)
        self.layer1, self.layer2 = OtherBlock(3, 4), OtherBlock(4, 8)

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


def _block(inputs, outputs):
    branch = fn.Sequential(
        L.Conv2d(inputs, outputs, 3, stride=2, padding=1, use_bias=False),
        L.BatchNorm(outputs),
        jax.nn.relu,
        L.Conv2d(outputs, outputs, 3, padding=1, use_bias=False),
        L.BatchNorm(outputs),
    )
    shortcut = L.Conv2d(inputs, outputs, 1, stride=2, padding="VALID")
    return fn.Sequential(L.Residual(branch, projection=shortcut), jax.nn.relu)


@pytest.mark.slow
def test_a_residual_network_is_found_by_its_shapes():
    net = fn.Sequential(_block(3, 4), _block(4, 8), L.GlobalAvgPool(), fn.Linear(8, 5))
    case = Case(net, OtherResNet, (8, 6, 3))
    other = _other(case)
    model = fn.interop.load_torch(net, other.state_dict())
    _assert_same_outputs(model, other, case)


class Classifier(fn.Module):
    body: fn.Module = L.Conv2d(2, 3, 3)
    norm: fn.Module = L.BatchNorm(3)
    head: fn.Module = fn.Linear(3 * 4 * 5, 2)

    def __call__(self, x, key=None):
        x = self.norm(self.body(x), key=key)
        return self.head(x.reshape(*x.shape[:-3], -1))


class OtherClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(60, 2)

    def forward(self, x):
        return self.head(self.norm(self.body(x)).flatten(1))


def test_a_class_that_may_flatten_images_needs_their_channels():
    case = Case(Classifier(), OtherClassifier, (4, 5, 2))
    net = _other(case)
    for call in (
        lambda **settings: fn.interop.load_torch(case.net, net.state_dict(), **settings),
        lambda **settings: fn.interop.to_torch(_drawn(case.net, seed=0), **settings),
    ):
        with pytest.raises(ValueError, match=r"flattened into norm, head, .* channels=1 if they are not"):
            call()
        with pytest.raises(ValueError, match="flattened into norm, or"):
            call(channels={"head": 3})
        with pytest.raises(ValueError, match="channels of head must divide its 60 features, got 7"):
            call(channels={"norm": 1, "head": 7})
        with pytest.raises(
            ValueError, match="channels must have paths of layers with features, got 'tail'"
        ):
            call(channels={"norm": 1, "head": 3, "tail": 3})
    model = fn.interop.load_torch(case.net, net.state_dict(), channels={"norm": 1, "head": 3})
    _assert_same_outputs(model, net, case)
    wrong = fn.interop.load_torch(case.net, net.state_dict(), channels=1)
    assert not same_bits(wrong, model)


class Decoder(fn.Module):
    expand: fn.Module = fn.Linear(3, 24)
    grow: fn.Module = L.ConvTranspose2d(4, 2, 2, stride=2, padding="VALID")

    def __call__(self, x, key=None):
        x = self.expand(x)
        return self.grow(x.reshape(*x.shape[:-1], 2, 3, 4))


class OtherDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.expand, self.grow = nn.Linear(3, 24), nn.ConvTranspose2d(4, 2, 2, 2)

    def forward(self, x):
        return self.grow(self.expand(x).view(-1, 4, 2, 3))


def test_a_pair_gives_the_channels_of_what_an_output_is_reshaped_to():
    case = Case(Decoder(), OtherDecoder, (3,))
    net = _other(case)
    with pytest.raises(ValueError, match="images are flattened into expand, or made of its output"):
        fn.interop.load_torch(case.net, net.state_dict())
    model = fn.interop.load_torch(case.net, net.state_dict(), channels={"expand": (1, 4)})
    _assert_same_outputs(model, net, case)
    state = fn.interop.to_torch(model, channels={"expand": (1, 4)})
    again = _other(case, seed=1)
    again.load_state_dict(_from_numpy(state))
    _assert_same_outputs(model, again, case)


def _ravel(x):
    return x.reshape(*x.shape[:-3], -1)


class Flattening(fn.Module):
    layer: fn.Module = fn.Linear(12, 5)

    def __call__(self, x, key=None):
        return self.layer(_ravel(x) if x.ndim == 9 else x.reshape(*x.shape[:-3], -1))


class TwoLayers(fn.Module):
    hidden: fn.Module = fn.Linear(3, 4)
    out: fn.Module = fn.Linear(4, 2)

    def __call__(self, x, key=None):
        return self.out(jax.nn.relu(self.hidden(x)))


UNKNOWN = {
    "images": fn.Sequential(L.Flatten(3), fn.Linear(24, 5)),
    "a function": fn.Sequential(L.Conv2d(3, 3, 3), _ravel, fn.Linear(24, 5)),
    "some axes": fn.Sequential(L.Conv2d(3, 3, 3), L.Flatten(2), fn.Linear(12, 5)),
    "rows of an image": fn.Sequential(L.Conv2d(3, 3, 3), L.Flatten(2), L.Conv1d(12, 5, 3)),
    "a mixed reshape": fn.Sequential(L.Conv2d(3, 4, 2), L.Reshape((6, 8), num_axes=3), L.Conv1d(8, 5, 3)),
    "a pooled sequence": fn.Sequential(L.GRU(3, 4), L.MaxPool1d(2), L.Flatten(2), fn.Linear(8, 5)),
    "a normalized sequence": fn.Sequential(L.GRU(3, 4), L.BatchNorm(4), L.Flatten(2), fn.Linear(8, 5)),
    "an image at the end": fn.Sequential(fn.Linear(3, 24), L.Reshape((2, 4, 3))),
    "of a recurrent layer": fn.Sequential(
        L.GRU(3, 24, return_sequences=False), L.Reshape((2, 4, 3)), L.Conv2d(3, 2, 3)
    ),
    "a class that flattens": Flattening(),
    "a class of one's own": fn.Sequential(Classifier(), fn.Linear(2, 2)),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_order_that_can_not_be_known_is_asked_for(name):
    net = UNKNOWN[name]
    model = _drawn(net, seed=0)
    with pytest.raises(ValueError, match=r"^it can't be known .* channels first"):
        fn.interop.to_torch(model)
    state = fn.interop.to_torch(model, channels=1)
    assert fn.interop.load_torch(net, state, channels=1) == model


KNOWN = {
    "a class of features": TwoLayers(),
    "the mean over steps": fn.Sequential(L.GRU(3, 4), lambda x: x.mean(-2), fn.Linear(4, 2)),
    "the last step": fn.Sequential(L.GRU(3, 4), lambda x: x[..., -1, :], fn.Linear(4, 2)),
    "the mean over an image": fn.Sequential(
        L.Conv2d(2, 3, 3), lambda x: jnp.mean(x, (-3, -2)), fn.Linear(3, 2)
    ),
    "the mean over rows": fn.Sequential(
        L.Conv2d(2, 3, 3), lambda x: jnp.mean(x, -3), L.Flatten(2), fn.Linear(12, 2)
    ),
    "one channel": fn.Sequential(L.Conv2d(2, 1, 3), L.Flatten(3), fn.Linear(12, 2)),
    "merged axes": fn.Sequential(
        L.Conv2d(2, 3, 3), L.Reshape((-1, 3), num_axes=3), L.Flatten(2), fn.Linear(12, 2)
    ),
    "residual": fn.Sequential(
        L.Conv2d(2, 3, 3), L.Residual(L.Conv2d(3, 3, 3)), L.Flatten(3), L.Residual(fn.Linear(12, 12))
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_an_order_that_is_known_is_not_asked_for(name):
    model = _drawn(KNOWN[name], seed=0)
    assert fn.interop.load_torch(KNOWN[name], fn.interop.to_torch(model)) == model


def test_the_channels_of_a_recurrent_layers_output_must_be_one():
    model = _drawn(UNKNOWN["of a recurrent layer"], seed=0)
    with pytest.raises(ValueError, match="only the output of a linear layer"):
        fn.interop.to_torch(model, channels={"layers[1]": 3})


def test_an_image_at_the_end_takes_its_channels():
    model = _drawn(UNKNOWN["an image at the end"], seed=0)
    state = fn.interop.to_torch(model, channels={"layers[1]": 3})
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    theirs = (x @ state["0.weight"].T + state["0.bias"]).reshape(4, 3, 2, 4)
    np.testing.assert_allclose(np.moveaxis(theirs, 1, -1), model(x), rtol=1e-5, atol=1e-5)


class Plain(fn.Module):
    size: int = 3
    factor: jax.Array | None = None

    def parameters(self, key):
        return {"factor": jnp.ones(self.size)}

    def __call__(self, x, key=None):
        return x * self.factor


GROUPS = L.SpectralNorm(L.ConvTranspose2d(4, 4, 2, groups=2))
BIASED = L.LSTM(3, 4, input=fn.Linear(3, 16))
SIZES = L.Bidirectional(L.GRU(3, 4), backward=L.GRU(3, 5))


class Counting(fn.Module):
    layer: fn.Module = fn.Linear(2, 3)
    count: fn.Buffer = fn.Buffer(0)
    rng: fn.Buffer = fn.Buffer(jax.random.key(0))

    def __call__(self, x, key=None):
        return self.layer(x)


ERRORS = {
    "a number and a key": (lambda: (Counting(), {}), r"count.value: an array .*\n  rng.value: an array"),
    "own arrays": (lambda: (fn.Sequential(fn.Linear(2, 3), Plain()), {}), r"layers\[1\].factor: an array"),
    "spectral groups": (lambda: (GROUPS, {}), "transposed convolution with groups"),
    "lstm with three biases": (lambda: (BIASED, {}), "must have no bias of their own"),
    "two sizes": (lambda: (SIZES, {}), "must have the same sizes"),
    "a pickle": (lambda: (fn.Linear(2, 3), "model.pt"), r"torch\.load\(path, weights_only=True\)"),
    "no file": (lambda: (fn.Linear(2, 3), "no.safetensors"), "No such file"),
    "a module of PyTorch": (lambda: (fn.Linear(2, 3), nn.Linear(2, 3)), r"Pass net\.state_dict\(\)"),
    "a checkpoint": (lambda: (fn.Linear(2, 3), {"model": {}}), r"pass checkpoint\['model'\]"),
    "no state dict": (lambda: (fn.Linear(2, 3), None), "must be a safetensors file or a mapping"),
    "numbered keys": (lambda: (fn.Linear(2, 3), {0: np.ones(2)}), "names of a state dict must be strings"),
    "text": (lambda: (fn.Linear(2, 3), {"weight": "a"}), "weight"),
    "no network": (lambda: ({}, {}), "net must be"),
    "old spectral norm": (
        lambda: (
            L.SpectralNorm(fn.Linear(2, 3)),
            {"weight_orig": np.ones((3, 2)), "weight_u": np.ones(3), "bias": np.ones(3)},
        ),
        r"parametrizations\.spectral_norm",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_one_sentence(name):
    make, message = ERRORS[name]
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        fn.interop.load_torch(*make())


def test_wrong_names_and_channels_are_refused():
    net, model = fn.MLP((2, 2, 2)), _drawn(fn.MLP((2, 2, 2)), seed=0)
    for rename, error, message in [
        ({"layers[7]": "a"}, ValueError, "nothing is at 'layers.7'"),
        ({"layers[0]": "a", "layers[1]": "a"}, ValueError, "a name of its own, got 'a'"),
        ({"layers[0]": 3}, TypeError, "must be strings, got int 3"),
        (lambda path: None, TypeError, "must be strings, got None"),
        ("a", TypeError, "rename must be a dictionary"),
    ]:
        with pytest.raises(error, match=message):
            fn.interop.to_torch(model, rename)
        with pytest.raises(error, match=message):
            fn.interop.load_torch(net, {}, rename)
    for channels, error in [(0, ValueError), ("a", TypeError), ((1, 2, 3), ValueError)]:
        with pytest.raises(error, match="channels must be"):
            fn.interop.to_torch(model, channels=channels)


def test_options_of_pytorchs_blocks_are_checked():
    with pytest.raises(TypeError, match="qkv_bias"):
        L.MultiHeadAttention(4, 2, qkv_bias=1)
    with pytest.raises(TypeError, match="qkv_bias"):
        _transformer(qkv_bias="yes")
    with pytest.raises(TypeError, match="activation"):
        _transformer(activation="gelu")


def test_a_file_that_funcnet_wrote_is_refused(tmp_path):
    model = _drawn(fn.Linear(2, 2), seed=0)  # whose square weight would be transposed
    fn.save_weights(model, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"which funcnet wrote. Try fn\.load_weights"):
        fn.interop.load_torch(fn.Linear(2, 2), tmp_path / "model.safetensors")


def test_what_is_not_one_initialized_model_is_refused():
    net = fn.Linear(2, 3)
    models = jax.vmap(net.init)(jax.random.split(jax.random.key(0), 4))
    with pytest.raises(ValueError, match="4 models in one tree"):
        fn.interop.to_torch(models)
    with pytest.raises(ValueError, match="4 models in one tree"):
        fn.interop.load_torch(models, {})
    with pytest.raises(TypeError, match="is not initialized"):
        fn.interop.to_torch(net)
    with pytest.raises(TypeError, match="got shapes or tracers"):
        fn.interop.to_torch(shapes(net))
    with pytest.raises(TypeError, match=r"outside of jit"):
        jax.jit(fn.interop.to_torch)(_drawn(net, seed=0))
