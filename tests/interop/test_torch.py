"""`load_torch` and `to_torch` beside PyTorch itself: the same outputs in inference, from weights of both."""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import MODELS, same_bits

import funcnet as fn

torch = pytest.importorskip("torch")
nn, L = torch.nn, fn.layers
spectral_norm = torch.nn.utils.parametrizations.spectral_norm

KEY = jax.random.key(0)
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


class Steps(nn.Module):
    """A layer of sequences with its channels last."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.movedim(-1, 1)).movedim(1, -1)


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
            *(L.Conv2d(2, 3, 3), L.BatchNorm(3), jax.nn.relu, L.AvgPool2d(2), L.Flatten(3), L.BatchNorm(18)),
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
    "generator": Case(
        fn.Sequential(
            *(fn.Linear(3, 24), L.BatchNorm(24), jax.nn.relu, L.Reshape((2, 3, -1)), L.Upsample(2)),
            *(L.BatchNorm(4), L.ConvTranspose2d(4, 2, 3, stride=2, padding=1), jax.nn.sigmoid),
        ),
        lambda: nn.Sequential(
            *(nn.Linear(3, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Unflatten(1, (4, 2, 3))),
            *(nn.Upsample(scale_factor=2), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 2, 3, 2, 1), nn.Sigmoid()),
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


def _other(case, seed=0):
    """The network of PyTorch in inference, with drawn parameters and running statistics."""
    torch.manual_seed(seed)
    net = case.other()
    with torch.no_grad():
        for name, value in [*net.named_parameters(), *net.named_buffers()]:
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif value.is_floating_point() and value.requires_grad is not name.endswith("_mean"):
                value.normal_(0, 0.5)
    return net.eval()


def _assert_same_outputs(model, net, case):
    rng = np.random.default_rng(1)
    size = (4, *case.shape)
    x = rng.integers(1, case.tokens, size) if case.tokens else rng.normal(size=size).astype(np.float32)
    if case.tokens:
        x[1, 2:] = 0  # padding
    is_image = len(case.shape) > 2 or any(isinstance(m, nn.Conv1d | nn.ConvTranspose1d) for m in net.modules())
    with torch.no_grad():
        theirs = net(torch.tensor(np.moveaxis(x, -1, 1).copy() if is_image else x)).numpy()
    ours = np.asarray(model(jnp.asarray(x)))
    has_image = ours.ndim == theirs.ndim > 2 and (is_image or ours.shape != theirs.shape)
    np.testing.assert_allclose(
        ours, np.moveaxis(theirs, 1, -1) if has_image else theirs, rtol=1e-5, atol=1e-5
    )
    assert np.std(theirs) > 1e-3


def _from_numpy(state):
    return {name: torch.from_numpy(array) for name, array in state.items()}


@pytest.mark.parametrize("name", CASES)
def test_a_loaded_model_has_pytorchs_outputs(name):
    case = CASES[name]
    net = _other(case)
    model = fn.interop.load_torch(case.net, net.state_dict(), channels=case.channels)
    _assert_same_outputs(model, net, case)


@pytest.mark.parametrize("name", CASES)
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


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_the_same_after_both_ways_or_refused(name):
    net, model = MODELS[name].net, MODELS[name].init(seed=1)
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
    assert fn.interop.load_torch(MODELS[name].init(seed=2), state) == model


