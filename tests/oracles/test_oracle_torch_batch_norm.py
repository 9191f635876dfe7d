"""BatchNorm beside PyTorch itself, which `make test-all` installs: 100 steps from the same start."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcnet as fn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
STEPS, SIZE, ROWS = 100, 8, 37  # five batches an epoch, the last of five rows
LOSS = fn.losses.supervised(fn.losses.squared_error)


def _dense():
    # A bias before a norm has no slope but rounding, of which Adam makes whole steps.
    return fn.Sequential(
        fn.Linear(4, 6, use_bias=False),
        fn.layers.BatchNorm(6, momentum=0.2),
        jnp.tanh,
        fn.Linear(6, "scalar"),
    )


def _images():
    return fn.Sequential(
        fn.layers.Conv2d(2, 3, 3, padding="VALID", use_bias=False),
        fn.layers.BatchNorm(3),
        jnp.tanh,
        fn.layers.Conv2d(3, 4, 3, use_bias=False),
        fn.layers.BatchNorm(4, eps=1e-3),
        jnp.tanh,
        fn.layers.GlobalAvgPool(),
        fn.Linear(4, "scalar"),
    )


NETS = {"dense": (_dense, (4,)), "images": (_images, (6, 5, 2))}
# How far weights and statistics may lie apart, in units of 1 or of their size. Seen were 2e-6 and 1e-15,
# and 6e-6 with weights.
ALLOWED = {"float32": 1e-5, "float64": 1e-13}


class Mean(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


def _theirs(model):
    """The same network in torch, with the same numbers: channels first, [out, in]."""
    made = []
    for layer in model.layers:
        match layer:
            case fn.Linear():
                width = 1 if layer.out_features == "scalar" else layer.out_features
                other = torch.nn.Linear(layer.in_features, width, bias=layer.use_bias)
                weight = np.reshape(layer.weight, (layer.in_features, -1)).T
            case fn.layers.Conv2d():
                size = "same" if layer.padding == "SAME" else "valid"
                other = torch.nn.Conv2d(
                    layer.in_channels, layer.out_channels, 3, padding=size, bias=layer.use_bias
                )
                weight = np.transpose(layer.weight, (3, 2, 0, 1))
            case fn.layers.BatchNorm():
                images = any(isinstance(other, torch.nn.Conv2d) for other in made)
                kind = torch.nn.BatchNorm2d if images else torch.nn.BatchNorm1d
                other, weight = kind(layer.features, layer.eps, layer.momentum), layer.scale
            case fn.layers.GlobalAvgPool():
                made.append(Mean())
                continue
            case _:
                made.append(torch.nn.Tanh())
                continue
        other.weight = torch.nn.Parameter(torch.tensor(np.array(weight)))
        if layer.bias is not None:
            other.bias = torch.nn.Parameter(torch.tensor(np.array(layer.bias).reshape(-1)))
        made.append(other)
    return torch.nn.Sequential(*made).to(made[0].weight.dtype)


def _pairs(model, net):
    """What is to be equal: name, ours, theirs in our layout."""
    for number, (ours, other) in enumerate(zip(model.layers, net, strict=True)):
        if isinstance(ours, fn.Linear):
            yield f"{number} weight", ours.weight, other.weight.T.reshape(ours.weight.shape)
        elif isinstance(ours, fn.layers.Conv2d):
            yield f"{number} weight", ours.weight, other.weight.permute(2, 3, 1, 0)
        elif isinstance(ours, fn.layers.BatchNorm):
            yield f"{number} scale", ours.scale, other.weight
            yield f"{number} mean", ours.mean.value, other.running_mean
            yield f"{number} variance", ours.variance.value, other.running_var
        else:
            continue
        if ours.bias is not None:
            yield f"{number} bias", ours.bias, other.bias.reshape(ours.bias.shape)


def _data(shape, dtype):
    rng = np.random.default_rng(1)
    x = rng.normal(1.0, 2.0, (ROWS, *shape)).astype(dtype)
    return x, np.sin(x.reshape(ROWS, -1)[:, 0])


def _channels_first(x):
    return torch.tensor(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def _trained_theirs(start, make_optimizer, x, y, weight):
    """A row of weight 2 comes twice, one of weight 0 does not come."""
    net = _theirs(start).train()
    optimizer = make_optimizer(net.parameters())
    for step in range(STEPS):
        first = step % -(-ROWS // SIZE) * SIZE
        rows = np.repeat(np.arange(ROWS)[first : first + SIZE], weight[first : first + SIZE])
        optimizer.zero_grad()
        torch.mean((net(_channels_first(x[rows]))[:, 0] - torch.tensor(y[rows])) ** 2).backward()
        optimizer.step()
    return net


OPTIMIZERS = {
    "sgd": (optax.sgd(0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "adam": (optax.adam(0.003), lambda p: torch.optim.Adam(p, lr=0.003)),
}


def _apart(model, net):
    """The largest distance by name, relative where a number is above 1."""
    found = {}
    for name, ours, other in _pairs(model, net):
        ours, other = np.asarray(ours), other.detach().numpy()
        assert ours.dtype == other.dtype
        assert ours.shape == other.shape
        found[name] = float(np.max(np.abs(ours - other) / np.maximum(np.abs(other), 1)))
    return found


def _check(model, start, net, dtype):
    apart, moved = _apart(model, net), _apart(model, _theirs(start))
    assert max(apart.values()) < ALLOWED[dtype], apart
    assert min(v for name, v in moved.items() if not name.endswith("bias")) > 1e-3, moved


@pytest.mark.parametrize("dtype", ALLOWED)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETS)
def test_a_hundred_steps_are_pytorchs(name, optimizer, dtype):
    make, shape = NETS[name]
    with jax.enable_x64(dtype == "float64"):
        x, y = _data(shape, dtype)
        start, (ours, theirs) = make().init(KEY), OPTIMIZERS[optimizer]
        assert start.layers[0].weight.dtype.name == dtype
        train = fn.fit(LOSS, ours, epochs=STEPS // 5, batch_size=SIZE, shuffle=False)
        run = train(start, (jnp.asarray(x), jnp.asarray(y)), KEY)
        assert int(run.state.step) == STEPS
        net = _trained_theirs(start, theirs, x, y, np.ones(ROWS, int))
        _check(run.model, start, net, dtype)
        net.eval()  # and what they predict from the running statistics
        with torch.no_grad():
            want = net(_channels_first(x))[:, 0].numpy()
        np.testing.assert_allclose(fn.predict(run.model, jnp.asarray(x)), want, atol=3 * ALLOWED[dtype])


@pytest.mark.parametrize("way", ["alone", "devices", "ensemble"])
@pytest.mark.parametrize("name", NETS)
def test_with_weights_in_an_ensemble_and_over_four_devices_too(name, way):
    make, shape = NETS[name]
    x, y = _data(shape, "float32")
    weight = np.random.default_rng(2).integers(0, 4, ROWS)
    data = fn.data.Dataset((jnp.asarray(x), jnp.asarray(y)), weight=jnp.asarray(weight, jnp.float32))
    ours, theirs = OPTIMIZERS["adam"]
    train = fn.fit(LOSS, ours, epochs=STEPS // 5, batch_size=SIZE, shuffle=False)
    starts = jax.vmap(make().init)(jax.random.split(KEY, 3))
    members = [jax.tree.map(lambda a, i=i: a[i], starts) for i in range(3 if way == "ensemble" else 1)]
    if way == "ensemble":
        runs = jax.vmap(train, in_axes=(0, None, None))(starts, data, KEY)
        found = [jax.tree.map(lambda a, i=i: a[i], runs.model) for i in range(3)]
    elif way == "devices":
        with fn.mesh.use(4):
            found = [train(members[0], data, KEY).model]
    else:
        found = [train(members[0], data, KEY).model]
    for start, model in zip(members, found, strict=True):
        _check(model, start, _trained_theirs(start, theirs, x, y, weight), "float32")
