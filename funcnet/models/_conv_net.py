from collections.abc import Callable
from dataclasses import KW_ONLY

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Buffer, Module
from funcnet._types import Array, Key
from funcnet.layers import Activation, Conv2d, Flatten, Linear, MaxPool2d
from funcnet.layers._dropout import as_setting, with_rate
from funcnet.layers._linear import INITIALIZERS, Initializer, Size
from funcnet.layers._windows import Padding, Sizes, check_padding, sizes


class ConvNet(Module):
    """A small convolutional network: blocks of convolution, activation and max pooling, and a linear layer.

    Args:
        input_shape: shape of one image, (height, width, channels).
        classes: number of logits, or "scalar" for one number of shape () for each image.
        channels: output channels of each convolution, which is followed by 2 by 2 max pooling.
        kernel_size: height and width of the kernels, or one number for both.
        padding: padding of the convolutions, as for `Conv2d`.
        activation: activation function after each convolution.
        dropout: dropout rate before the last layer, in [0, 1); an array may be
            traced, as for `Dropout`.
        weight_init: how `init` draws the convolutions' weights; the default suits ReLU.
        convolutions: the convolutions, built from the sizes if None.
        out: the last layer, built from the sizes if None.

    Returns:
        When called on x of shape [..., height, width, channels]: [..., classes], or [...] for "scalar".

    Raises:
        ValueError: if a size is below 1, the pooling leaves nothing of an image, or x has the wrong shape.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> net = fn.models.ConvNet((28, 28, 1), 10, dropout=0.5)
        >>> model = net.init(jax.random.key(0))
        >>> jax.jit(model)(jnp.ones((5, 28, 28, 1))).shape, fn.count(model)
        ((5, 10), 50186)

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", 1998; Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep
    convolutional neural networks", 2012 (ReLU, max pooling, dropout).
    """

    input_shape: tuple[int, int, int]
    classes: Size
    _: KW_ONLY
    channels: tuple[int, ...] = (32, 64)
    kernel_size: Sizes = 3
    padding: Padding = "SAME"
    activation: Callable[[Array], Array] = jax.nn.relu
    dropout: float | Array | Buffer = 0.0
    weight_init: Initializer = "he_normal"
    convolutions: tuple[Conv2d, ...] | None = None
    out: Linear | None = None

    def __post_init__(self) -> None:
        _check.size("classes", self.classes)
        _check.initializer("weight_init", self.weight_init, INITIALIZERS)
        sizes("kernel_size", self.kernel_size, 2)
        check_padding(self.padding, 2)
        shape = tuple(_check.positive_integers("input_shape", self.input_shape, "(28, 28, 1)"))
        object.__setattr__(self, "input_shape", shape)
        object.__setattr__(
            self, "channels", tuple(_check.positive_integers("channels", self.channels, "(32, 64)"))
        )
        _check.length("input_shape", self.input_shape, 3)
        _check.takes("activation", self.activation, "a function of an array, such as jax.nn.relu", None)
        object.__setattr__(self, "dropout", as_setting("dropout", self.dropout))
        if self.convolutions is None:
            object.__setattr__(self, "convolutions", self._build_convolutions())
        if self.out is None:
            object.__setattr__(self, "out", Linear(self._num_features(), self.classes))

    def _build_convolutions(self) -> tuple[Conv2d, ...]:
        settings = {"padding": self.padding, "weight_init": self.weight_init}
        pairs = zip((self.input_shape[-1], *self.channels), self.channels, strict=False)
        return tuple(Conv2d(a, b, self.kernel_size, **settings) for a, b in pairs)  # type: ignore[arg-type]

    def _num_features(self) -> int:
        """Input size of the last layer, by abstract evaluation; raises if the pooling leaves nothing."""
        architecture = self.replace(out=Linear(1, 1))

        def features(key: Key) -> Array:
            return architecture.init(key)._flat_features(jnp.zeros(self.input_shape))

        return int(jax.eval_shape(features, jax.random.key(0)).shape[-1])

    def _flat_features(self, x: Array) -> Array:
        for convolution in self.convolutions or ():
            x = MaxPool2d(2)(Activation(self.activation)(convolution(x)))
        return Flatten(3)(x)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        x = _check.last_axes(f"ConvNet({self.input_shape}, {self.classes!r})", x, self.input_shape)
        return self.out(with_rate(self.dropout)(self._flat_features(x), key=key))  # type: ignore[misc]
