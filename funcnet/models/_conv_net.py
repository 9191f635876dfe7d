from collections.abc import Callable
from dataclasses import KW_ONLY

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Key
from funcnet.layers import Activation, Conv2d, Dropout, Flatten, Linear, MaxPool2d
from funcnet.layers._linear import Initializer, Size
from funcnet.layers._windows import Padding, Sizes


class ConvNet(Module):
    """A small network for images: convolution, activation and pool by turns, dropout, one linear layer.

    Args:
        shape: of one image, (height, width, channels).
        classes: number of logits, or "scalar": one number of shape () for each image.
        channels: of each convolution; each is followed by the activation and a pool of 2 by 2.
        kernel_size: height and width of the convolutions' windows, or one number for both.
        padding: of the convolutions, as for `Conv2d`.
        activation: after each convolution.
        dropout: probability that an input of the last layer is dropped in training, in [0, 1).
        weight_init: how `init` draws the convolutions' weights; the default suits rectifiers.
        convolutions: the convolutions, made from the sizes when left out.
        out: the last layer, made from the sizes when left out.

    Returns:
        When called on x of shape [..., height, width, channels]: [..., classes], or [...] for "scalar".

    Raises:
        ValueError: if a size is below 1, nothing is left of an image after the pools, or x has another
            shape.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> net = fn.models.ConvNet((28, 28, 1), 10, dropout=0.5)
        >>> model = net.init(jax.random.key(0))
        >>> jax.jit(model)(jnp.ones((5, 28, 28, 1))).shape, fn.count(model)
        ((5, 10), 50186)

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", 1998; Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep
    convolutional neural networks", 2012 (rectifiers, pools of maxima, dropout).
    """

    shape: tuple[int, int, int]
    classes: Size
    _: KW_ONLY
    channels: tuple[int, ...] = (32, 64)
    kernel_size: Sizes = 3
    padding: Padding = "SAME"
    activation: Callable[[Array], Array] = jax.nn.relu
    dropout: float = 0.0
    weight_init: Initializer = "he_normal"
    convolutions: tuple[Conv2d, ...] | None = None
    out: Linear | None = None

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "shape", tuple(_check.positive_integers("shape", self.shape, "(28, 28, 1)"))
        )
        object.__setattr__(
            self, "channels", tuple(_check.positive_integers("channels", self.channels, "(32, 64)"))
        )
        _check.length("shape", self.shape, 3)
        _check.function("activation", self.activation, "a function of an array, such as jax.nn.relu")
        _check.between("dropout", self.dropout, 0.0, 1.0)
        if self.convolutions is None:
            object.__setattr__(self, "convolutions", self._made())
        if self.out is None:
            object.__setattr__(self, "out", Linear(self._features(), self.classes))

    def _made(self) -> tuple[Conv2d, ...]:
        settings = {"padding": self.padding, "weight_init": self.weight_init}
        pairs = zip((self.shape[-1], *self.channels), self.channels, strict=False)
        return tuple(Conv2d(a, b, self.kernel_size, **settings) for a, b in pairs)  # type: ignore[arg-type]

    def _features(self) -> int:
        """Inputs of the last layer, found without computing; what does not fit is refused here."""
        architecture = self.replace(out=Linear(1, 1))

        def images(key: Key) -> Array:
            return architecture.init(key)._flat(jnp.zeros(self.shape))

        return int(jax.eval_shape(images, jax.random.key(0)).shape[-1])

    def _flat(self, x: Array) -> Array:
        for convolution in self.convolutions or ():
            x = MaxPool2d(2)(Activation(self.activation)(convolution(x)))
        return Flatten(3)(x)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        _check.last_axes(f"ConvNet({self.shape}, {self.classes!r})", x, self.shape)
        return self.out(Dropout(self.dropout)(self._flat(x), key=key))  # type: ignore[misc]
