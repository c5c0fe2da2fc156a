"""Which layers can a network have, and what does each declare and compute?

A layer declares its tensors with their roles; flat vectors, files, initializers, penalties and the gradient check are
derived from this declaration. It computes its forward and backward pass on buffers of its own. Notation: x
is the input (n, inputs), W (inputs, units), b (units,); z, a and grad are (n, units). With several members every array
has an additional leading axis, and tensors of shape (units,) arrive as (members, 1, units), so that the same code
serves both.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlptrain.component import Component, Conflict, OneOf
from mlptrain.nn import kernels
from mlptrain.nn.activations import Activation, ReLU
from mlptrain.nn.arrays import Array
from mlptrain.nn.dropout import draw_mask
from mlptrain.nn.layout import LayerViews, TensorSpec
from mlptrain.nn.normalization import Normalization, NormWorkspace

DropoutRate = Annotated[float, Field(ge=0, lt=1)]


@dataclass
class LayerWorkspace:
    """The buffers of a layer for a batch of n rows; a kind of layer may add its own."""

    output: Array
    """(..., n, units): the input of the next layer in training"""
    grad: Array
    """(..., n, units): dL/d(output) on entry to `backward`, which may overwrite it"""


class Nonlinearity(NamedTuple):
    """An activation in a layer, with its argument and its value in the last forward pass."""

    activation: Activation
    z: Array
    a: Array


class Stage(NamedTuple):
    """One line of the calculation in a training step: a name, the formula and its value."""

    title: str
    """Heading of a group of lines; empty for the other lines of the group."""
    formula: str
    value: NDArray[np.floating[Any]] | float
    rows: tuple[str, ...] = ()
    """Names of its rows, if they have names."""
    columns: tuple[str, ...] = ()


class Layer(Component):
    """One layer of a network: a function of its input and of its tensors.

    A field named `activation`, `dropout` or `normalization` defaults to that of the network.
    """

    @abstractmethod
    def units(self, inputs: int) -> int:
        """Width of its output; `inputs` is 0 while it is unknown."""

    @abstractmethod
    def tensors(self, inputs: int) -> tuple[TensorSpec, ...]:
        """Its parameters."""

    def buffers(self, inputs: int) -> tuple[TensorSpec, ...]:
        """Its running statistics: saved with the model, updated by `update_running`."""
        return ()

    @abstractmethod
    def workspace(self, inputs: int, scratch: Array) -> LayerWorkspace:
        """Buffers for batches of the shape of `scratch` (..., n, units), which every layer may overwrite."""

    @abstractmethod
    def forward(
        self,
        x: Array,
        tensors: LayerViews,
        running: LayerViews,
        ws: Any,
        training: bool,
        rng: "np.random.Generator | None" = None,
    ) -> Array:
        """The output (..., n, units) for `x` (..., n, inputs), in a buffer of `ws`.

        In training, `rng` draws the random numbers, if any; without it the last draw is reused.
        """

    @abstractmethod
    def backward(self, x: Array, tensors: LayerViews, grads: LayerViews, ws: Any, x_grad: Array | None) -> None:
        """Write `grads` and, unless it is None, dL/dx into `x_grad`, from dL/d(output) in `ws.grad`."""

    def update_running(self, running: LayerViews, ws: Any, rows: int) -> None:  # most layers have none
        """Update the running statistics with those of the last batch, of `rows` rows."""

    @property
    def stochastic(self) -> bool:
        """Whether training draws random numbers."""
        return False

    @property
    def uses_batch_statistics(self) -> bool:
        """Whether training needs batches of at least two rows."""
        return False

    def at_zero(self) -> float:
        """Its output when its parameters are zero."""
        return 0.0

    def nonlinearities(self, ws: Any) -> tuple[Nonlinearity, ...]:
        """The activations of the last forward pass, for kinks and for dead and saturated units."""
        return ()

    def conflicts(self, before: int | None) -> Iterator[Conflict]:
        """Conflicts with a layer of `before` units in front of it; None for the first hidden layer."""
        yield from ()

    def output_name(self, i: int) -> str:
        """The symbol of its output in formulas, as layer number `i`."""
        return f"h{i}"

    def forward_stages(self, i: int, below: str, x: Array, tensors: LayerViews, ws: Any) -> Iterator[Stage]:
        """The last forward pass in numbers, as layer number `i` on the input with the symbol `below`."""
        output = self.output_name(i)
        title = f"Forward, layer {i}: {x.shape[-1]} -> {ws.output.shape[-1]}, {self.name()}"
        for name, values in tensors.items():
            yield Stage(title, f"{name}{i}", values)
            title = ""
        yield Stage(title, f"{output} = {self.name()}({below})", ws.output)

    def backward_stages(self, i: int, below: str, grads: LayerViews, ws: Any, x_grad: Array | None) -> Iterator[Stage]:
        """The last backward pass in numbers."""
        title = f"Backward, layer {i}"
        for name, values in grads.items():
            yield Stage(title, f"dL/d{name}{i}", values)
            title = ""
        if x_grad is not None:
            yield Stage(title, f"dL/d{below}", x_grad)


@dataclass
class ScaleWorkspace(LayerWorkspace):
    """The arrays of a scale layer; each (..., n, units)."""

    product: Array
    ones: Array
    """(n,): a product with it sums over the rows"""


class Scale(Layer):
    """A factor for each input: h = x s, with s = 1 at the start.

    As the first layer, it lets training weigh the inputs: with `ntk` rates, its rate is six times the learning rate,
    as in RealMLP (Holzmueller et al. 2024). Backward, with d = dL/dh: dL/ds is the sum of d x over the rows, dL/dx is
    d s.
    """

    kind: Literal["scale"] = "scale"
    formula: ClassVar = (
        r"h_{rk} = x_{rk} s_k",
        r"\frac{\partial L}{\partial s_k} = \sum_r \frac{\partial L}{\partial h_{rk}} x_{rk}",
    )

    def units(self, inputs: int) -> int:
        return inputs

    def tensors(self, inputs: int) -> tuple[TensorSpec, ...]:
        return (TensorSpec("scale", (inputs,), start=1.0, ntk_factor=6.0),)

    def workspace(self, inputs: int, scratch: Array) -> ScaleWorkspace:
        return ScaleWorkspace(
            output=np.empty_like(scratch),
            grad=np.empty_like(scratch),
            product=scratch,
            ones=np.ones(scratch.shape[-2], scratch.dtype),
        )

    def forward(
        self,
        x: Array,
        tensors: LayerViews,
        running: LayerViews,
        ws: ScaleWorkspace,
        training: bool,
        rng: "np.random.Generator | None" = None,
    ) -> Array:
        return np.multiply(x, tensors["scale"], out=ws.output)

    def backward(
        self, x: Array, tensors: LayerViews, grads: LayerViews, ws: ScaleWorkspace, x_grad: Array | None
    ) -> None:
        np.multiply(ws.grad, x, out=ws.product)
        kernels.sum_rows(ws.product, ws.ones, grads["scale"])
        if x_grad is not None:
            np.multiply(ws.grad, tensors["scale"], out=x_grad)


@dataclass
class PeriodicWorkspace(LayerWorkspace):
    """The arrays of a periodic layer; each (..., n, inputs, frequencies)."""

    argument: Array
    cos: Array
    sin: Array
    ones: Array
    """(n,): a product with it sums over the rows"""


class Periodic(Layer):
    """The inputs, and cosine and sine of each of them at several frequencies: h = [x, cos(2 pi x w), sin(2 pi x w)].

    The frequencies w are learned; they start normal with the standard deviation `sigma`, which decides how fine a
    pattern the layer can see, and matters. Gorishniy, Rubachev & Babenko 2022, without their layer for each input.
    Backward, with u = 2 pi x w and the derivatives c and s by cosine and sine: dL/du = s cos(u) - c sin(u), dL/dw is
    the sum of 2 pi x dL/du over the rows, dL/dx = dL/d(first part) + the sum of 2 pi w dL/du over the frequencies.
    """

    kind: Literal["periodic"] = "periodic"
    formula: ClassVar = (
        r"h = (x, \cos u, \sin u), \qquad u_{rkm} = 2 \pi x_{rk} w_{km}",
        r"\frac{\partial L}{\partial w_{km}} = \sum_r 2 \pi x_{rk} \frac{\partial L}{\partial u_{rkm}}",
    )
    frequencies: int = Field(8, ge=1, le=1000, description="Number of frequencies of each input.")
    sigma: float = Field(0.1, gt=0, description="Standard deviation of the frequencies at the start.")
    examples: ClassVar = ({"frequencies": 2}, {"frequencies": 3, "sigma": 0.5})

    def units(self, inputs: int) -> int:
        return inputs * (1 + 2 * self.frequencies)

    def tensors(self, inputs: int) -> tuple[TensorSpec, ...]:
        return (TensorSpec("frequency", (inputs * self.frequencies,), std=self.sigma),)

    def workspace(self, inputs: int, scratch: Array) -> PeriodicWorkspace:
        shape = (*scratch.shape[:-1], inputs, self.frequencies)
        return PeriodicWorkspace(
            output=np.empty_like(scratch),
            grad=np.empty_like(scratch),
            argument=np.empty(shape, scratch.dtype),
            cos=np.empty(shape, scratch.dtype),
            sin=np.empty(shape, scratch.dtype),
            ones=np.ones(scratch.shape[-2], scratch.dtype),
        )

    def forward(
        self,
        x: Array,
        tensors: LayerViews,
        running: LayerViews,
        ws: PeriodicWorkspace,
        training: bool,
        rng: "np.random.Generator | None" = None,
    ) -> Array:
        np.multiply(x[..., None], self._by_input(tensors["frequency"]), out=ws.argument)
        np.multiply(ws.argument, 2 * np.pi, out=ws.argument)
        np.cos(ws.argument, out=ws.cos)
        np.sin(ws.argument, out=ws.sin)
        raw, cos, sin = self._parts(ws.output)
        raw[...] = x
        cos[...] = ws.cos
        sin[...] = ws.sin
        return ws.output

    def backward(
        self, x: Array, tensors: LayerViews, grads: LayerViews, ws: PeriodicWorkspace, x_grad: Array | None
    ) -> None:
        raw, by_cos, by_sin = self._parts(ws.grad)
        np.multiply(by_sin, ws.cos, out=ws.cos)
        np.multiply(by_cos, ws.sin, out=ws.sin)
        np.subtract(ws.cos, ws.sin, out=ws.cos)
        np.multiply(ws.cos, 2 * np.pi, out=ws.cos)  # 2 pi dL/du
        np.multiply(ws.cos, x[..., None], out=ws.sin)
        kernels.sum_rows(ws.sin.reshape(*ws.sin.shape[:-2], -1), ws.ones, grads["frequency"])
        if x_grad is not None:
            np.multiply(ws.cos, self._by_input(tensors["frequency"]), out=ws.sin)
            np.sum(ws.sin, axis=-1, out=x_grad)
            np.add(x_grad, raw, out=x_grad)

    def _by_input(self, frequency: Array) -> Array:
        """(..., inputs, frequencies): a view of the frequencies."""
        return frequency.reshape(*frequency.shape[:-1], -1, self.frequencies)

    def _parts(self, array: Array) -> tuple[Array, Array, Array]:
        """Views of the three parts of an output or a gradient; the last two are (..., n, inputs, frequencies)."""
        inputs = array.shape[-1] // (1 + 2 * self.frequencies)
        cos, sin = np.split(array[..., inputs:], 2, axis=-1)
        shape = (*array.shape[:-1], inputs, self.frequencies)
        return array[..., :inputs], reshaped(cos, shape), reshaped(sin, shape)


def reshaped(array: Array, shape: tuple[int, ...]) -> Array:
    """A view of `array` whose last axis is divided into two; `reshape` would copy a part of an array."""
    *lead, last = array.strides
    return np.lib.stride_tricks.as_strided(array, shape, (*lead, last * shape[-1], last))


@dataclass
class AdaptedWorkspace(LayerWorkspace):
    """The arrays of an adapted layer; each (..., n, units) unless it says otherwise."""

    adapted: Array
    """(..., n, inputs): x r"""
    by_input: Array
    """(..., n, inputs): scratch for gradients by input"""
    product: Array
    """x r W"""
    z: Array
    a: Array
    mask: Array | None
    scratch: Array
    ones: Array
    """(n,): a product with it sums over the rows"""


class Adapted(Layer):
    """A dense layer whose weight all members of an ensemble share, with factors of their own: h = f((x r) W s + b).

    The layer of BatchEnsemble (Wen, Tran & Ba 2020), which TabM (Gorishniy et al. 2024) uses for tables; r has a factor
    for each input, s and b have one for each unit. Backward, with d = dL/dz and e = d s: dL/dW is the sum over rows and
    members of (x r)' e, dL/dr of x (e W'), dL/ds of d (x r W), dL/db of d, each over the rows; dL/dx is (e W') r. With
    `ensemble.weights: shared`, dense layers become layers of this kind.
    """

    kind: Literal["adapted"] = "adapted"
    aliases: ClassVar = ("batch_ensemble",)
    formula: ClassVar = (
        r"h = M \odot f(((x \odot r) W) \odot s + b)",
        r"\frac{\partial L}{\partial W} = \sum_k (x_k \odot r_k)^\top (\delta_k \odot s_k)",
    )
    width: int = Field(ge=1, le=1_000_000, description="Number of units.")
    activation: Annotated[Activation, OneOf()] = Field(
        ReLU(), description="Activation function; by default that of the network."
    )
    dropout: DropoutRate = Field(0.0, description="Probability of dropping a unit; by default that of the network.")
    signs: bool = Field(False, description="Let r start as random signs instead of 1, so that members differ.")
    examples: ClassVar = ({"width": 5}, {"width": 5, "signs": True, "dropout": 0.3, "activation": "silu"})

    def units(self, inputs: int) -> int:
        return self.width

    def tensors(self, inputs: int) -> tuple[TensorSpec, ...]:
        weight = TensorSpec(
            "weight",
            (inputs, self.width),
            fan_in=inputs,
            fan_out=self.width,
            activation=self.activation,
            decays=True,
            by_input=True,
            shared=True,
        )
        ones = TensorSpec("output_factor", (self.width,), start=1.0)
        return (
            weight,
            TensorSpec("input_factor", (inputs,), start=1.0, signs=self.signs),
            ones,
            TensorSpec("bias", (self.width,)),
        )

    def workspace(self, inputs: int, scratch: Array) -> AdaptedWorkspace:
        wide = np.empty((*scratch.shape[:-1], inputs), scratch.dtype)
        z = np.empty_like(scratch)
        a = z if self.activation.is_identity else np.empty_like(z)
        return AdaptedWorkspace(
            output=np.empty_like(z) if self.dropout else a,
            grad=np.empty_like(z),
            adapted=wide,
            by_input=np.empty_like(wide),
            product=np.empty_like(z),
            z=z,
            a=a,
            mask=np.empty_like(z) if self.dropout else None,
            scratch=scratch,
            ones=np.ones(z.shape[-2], z.dtype),
        )

    def forward(
        self,
        x: Array,
        tensors: LayerViews,
        running: LayerViews,
        ws: AdaptedWorkspace,
        training: bool,
        rng: "np.random.Generator | None" = None,
    ) -> Array:
        weight = tensors["weight"]
        np.multiply(x, tensors["input_factor"], out=ws.adapted)
        rows(ws.adapted).dot(weight, rows(ws.product))  # one product for the rows of all members
        np.multiply(ws.product, tensors["output_factor"], out=ws.z)
        np.add(ws.z, tensors["bias"], out=ws.z)
        self.activation.forward(ws.z, ws.a, ws.scratch)
        if ws.mask is None or not training:
            return ws.a
        if rng is not None:
            draw_mask(self.dropout, rng, ws.mask)
        return np.multiply(ws.a, ws.mask, out=ws.output)

    def backward(
        self, x: Array, tensors: LayerViews, grads: LayerViews, ws: AdaptedWorkspace, x_grad: Array | None
    ) -> None:
        grad = ws.grad
        if ws.mask is not None:
            np.multiply(grad, ws.mask, out=grad)
        self.activation.backward(ws.z, ws.a, grad, ws.scratch)
        kernels.sum_rows(grad, ws.ones, grads["bias"])
        np.multiply(grad, ws.product, out=ws.scratch)
        kernels.sum_rows(ws.scratch, ws.ones, grads["output_factor"])
        np.multiply(grad, tensors["output_factor"], out=grad)
        kernels.weight_gradient(rows(ws.adapted), rows(grad), grads["weight"])
        rows(grad).dot(tensors["weight"].T, rows(ws.by_input))
        if x_grad is not None:
            np.multiply(ws.by_input, tensors["input_factor"], out=x_grad)
        np.multiply(ws.by_input, x, out=ws.by_input)
        kernels.sum_rows(ws.by_input, ws.ones, grads["input_factor"])

    @property
    def stochastic(self) -> bool:
        return self.dropout > 0

    def at_zero(self) -> float:
        return float(self.activation(0.0))

    def nonlinearities(self, ws: AdaptedWorkspace) -> tuple[Nonlinearity, ...]:
        return (Nonlinearity(self.activation, ws.z, ws.a),)


def rows(array: Array) -> Array:
    """The rows of all members (members n, units), as a view."""
    return array.reshape(-1, array.shape[-1])


@dataclass
class DenseWorkspace(LayerWorkspace):
    """The arrays of a dense layer; each (..., n, units)."""

    z: Array
    a: Array
    """`z` itself for the identity"""
    mask: Array | None
    """dropout: 0 or 1/(1 - p) for each unit of each row"""
    skip: Array | None
    """residual: the gradient of the skip connection"""
    scratch: Array
    ones: Array
    """(n,): a product with it sums over the rows"""
    norm: NormWorkspace | None
    activation: Activation
    """the same as the layer's; attribute access is faster here"""


class Dense(Layer):
    """Fully connected layer: h = dropout(f(norm(x W + b))), plus x if it is residual.

    Backward, with d = dL/dz: dL/dW = x' d, dL/db is the sum of d over the rows, dL/dx = d W'. The residual form is that
    of He et al. 2016. A bare number in `network.hidden` is a dense layer of that width.
    """

    kind: Literal["dense"] = "dense"
    formula: ClassVar = (
        r"h = M \odot f(\mathrm{norm}(xW + b))",
        r"\mathrm{residual:} \quad h = x + M \odot f(\mathrm{norm}(xW + b))",
    )
    width: int = Field(ge=1, le=1_000_000, description="Number of units.")
    activation: Annotated[Activation, OneOf()] = Field(
        ReLU(), description="Activation function; by default that of the network."
    )
    dropout: DropoutRate = Field(0.0, description="Probability of dropping a unit; by default that of the network.")
    normalization: Annotated[Normalization, OneOf()] | None = Field(
        None, description="Normalization before the activation; by default that of the network, null for none."
    )
    residual: bool = Field(
        False, description="Add the input of the layer to its output; both must have the same width."
    )
    examples: ClassVar = (
        {"width": 5},
        {"width": 5, "dropout": 0.3, "normalization": "batch"},
        {"width": 4, "activation": "silu", "normalization": "layer", "residual": True},
    )

    def units(self, inputs: int) -> int:
        return self.width

    def tensors(self, inputs: int) -> tuple[TensorSpec, ...]:
        weight = TensorSpec(
            "weight",
            (inputs, self.width),
            fan_in=inputs,
            fan_out=self.width,
            activation=self.activation,
            decays=True,
            by_input=True,
        )
        norm = () if self.normalization is None else self.normalization.tensors(self.width)
        return (weight, TensorSpec("bias", (self.width,)), *norm)

    def buffers(self, inputs: int) -> tuple[TensorSpec, ...]:
        return () if self.normalization is None else self.normalization.buffers(self.width)

    def workspace(self, inputs: int, scratch: Array) -> DenseWorkspace:
        z = np.empty_like(scratch)
        a = z if self.activation.is_identity else np.empty_like(z)
        return DenseWorkspace(
            output=np.empty_like(z) if self.dropout or self.residual else a,
            grad=np.empty_like(z),
            z=z,
            a=a,
            mask=np.empty_like(z) if self.dropout else None,
            skip=np.empty_like(z) if self.residual else None,
            scratch=scratch,
            ones=np.ones(z.shape[-2], z.dtype),
            norm=None if self.normalization is None else self.normalization.workspace(scratch),
            activation=self.activation,
        )

    def forward(
        self,
        x: Array,
        tensors: LayerViews,
        running: LayerViews,
        ws: DenseWorkspace,
        training: bool,
        rng: "np.random.Generator | None" = None,
    ) -> Array:
        kernels.affine(x, tensors["weight"], tensors["bias"], ws.z)
        if ws.norm is not None:
            assert self.normalization is not None
            self.normalization.forward(ws.z, tensors, running, ws.norm, training)
        ws.activation.forward(ws.z, ws.a, ws.scratch)
        output = ws.a
        if ws.mask is not None and training:
            if rng is not None:
                draw_mask(self.dropout, rng, ws.mask)
            output = np.multiply(ws.a, ws.mask, out=ws.output)
        if ws.skip is not None:
            output = np.add(output, x, out=ws.output)
        return output

    def backward(
        self, x: Array, tensors: LayerViews, grads: LayerViews, ws: DenseWorkspace, x_grad: Array | None
    ) -> None:
        grad = ws.grad
        if ws.skip is not None:
            np.copyto(ws.skip, grad)
        if ws.mask is not None:
            np.multiply(grad, ws.mask, out=grad)
        ws.activation.backward(ws.z, ws.a, grad, ws.scratch)
        if ws.norm is not None:
            assert self.normalization is not None
            self.normalization.backward(grad, tensors, grads, ws.norm)
        kernels.affine_gradients(x, grad, ws.ones, grads["weight"], grads["bias"])
        if x_grad is not None:
            kernels.product(grad, tensors["weight"].mT, x_grad)
            if ws.skip is not None:
                np.add(x_grad, ws.skip, out=x_grad)

    def update_running(self, running: LayerViews, ws: DenseWorkspace, rows: int) -> None:
        if self.normalization is not None and ws.norm is not None:
            self.normalization.update_running(running, ws.norm, rows)

    @property
    def stochastic(self) -> bool:
        return self.dropout > 0

    @property
    def uses_batch_statistics(self) -> bool:
        return self.normalization is not None and self.normalization.running

    def at_zero(self) -> float:
        return float(self.activation(0.0))

    def nonlinearities(self, ws: DenseWorkspace) -> tuple[Nonlinearity, ...]:
        return (Nonlinearity(self.activation, ws.z, ws.a),)

    def conflicts(self, before: int | None) -> Iterator[Conflict]:
        if self.residual and before is None:
            yield "residual", "the first hidden layer cannot be residual; put another layer in front of it"
        elif self.residual and before != self.width:
            yield (
                "residual",
                f"the layer is {self.width} wide and the one before it {before}; a residual layer needs equal widths",
            )

    def output_name(self, i: int) -> str:
        return f"h{i}" if self.dropout or self.residual else f"a{i}"

    def forward_stages(self, i: int, below: str, x: Array, tensors: LayerViews, ws: DenseWorkspace) -> Iterator[Stage]:
        yield Stage(f"Forward, layer {i}: {x.shape[-1]} -> {self.width}", f"W{i}", tensors["weight"])
        yield Stage("", f"b{i}", tensors["bias"])
        name, argument = f"z{i} = {below} W{i} + b{i}", "z"
        if self.normalization is not None:
            name, argument = f"n{i}: {name}, then {self.normalization.name()} normalization", "n"
        yield Stage("", name, ws.z)
        yield Stage("", f"a{i} = {self.activation.label()}({argument}{i})", ws.a)
        if ws.mask is not None:
            yield Stage("", f"m{i}: dropout mask, 0 or 1/(1 - {self.dropout:g})", ws.mask)
        if ws.output is not ws.a:
            past = " + input" if self.residual else ""
            yield Stage("", f"h{i} = a{i}{f' * m{i}' if ws.mask is not None else ''}{past}", ws.output)

    def backward_stages(
        self, i: int, below: str, grads: LayerViews, ws: DenseWorkspace, x_grad: Array | None
    ) -> Iterator[Stage]:
        norm, argument = self.normalization, "z" if self.normalization is None else "n"
        factors = [f"dL/d{self.output_name(i)}", *([f"m{i}"] if ws.mask is not None else []), f"f'({argument}{i})"]
        through = "" if norm is None else f" and the {norm.name()} normalization"
        yield Stage(f"Backward, layer {i}", f"d{i} = dL/dz{i}, from {', '.join(factors)}{through}", ws.grad)
        if norm is not None:
            for tensor in norm.tensors(self.width):
                yield Stage("", f"dL/d{tensor.name.removeprefix('norm.')}{i}", grads[tensor.name])
        yield Stage("", f"dL/dW{i} = {below}' d{i}", grads["weight"])
        yield Stage("", f"dL/db{i} = sum over rows of d{i}", grads["bias"])
        if x_grad is not None:
            past = f" + dL/d{self.output_name(i)}" if self.residual else ""
            yield Stage("", f"dL/d{below} = d{i} W{i}'{past}", x_grad)
