"""How a convolution is computed: by the library, or with fewer multiplications of large matrices.

On CPUs a library's fp32 3x3 convolution is slow where the map is small, for it multiplies its
padding, too, and its gradients are slow on every map. Winograd's algorithm (Winograd 1980; Lavin &
Gray, CVPR 2016) turns the convolution into matrix products, and into fewer of them: along one axis

    y = A [(G w) * (B x)]        * is element by element

gives m outputs of a filter w of 3 taps from one tile x of the input. On a map both axes do it at
once: A, B and G become Kronecker products, and each element of G w one matrix product over the
channels. The gradients are the same three steps transposed. The sums are those of the plain
convolution in another order: in fp32 the result differs by about 1e-6 of its size, as the library's
does from the exact one.

`plan` says which way a convolution is computed. It looks at shapes, type and device and at nothing
else, so the same run gives the same bits.
"""

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHUNK = 2**18  # elements of a tile buffer that is worked on at once: it stays in the cache


@dataclass(frozen=True)
class Axis:
    """One axis of a map: the matrices, and where the tiles lie.

    Each tile gives m = len(a) outputs, multiplies len(g) times (a direct sum: 3 m times) and reads
    len(b[0]) inputs. Tile t begins at input t * stride * m - padding.
    """

    a: tuple[tuple[float, ...], ...]
    b: tuple[tuple[float, ...], ...]
    g: tuple[tuple[float, ...], ...]
    stride: int = 1
    padding: int = 1


# One pixel: the middle tap.
ONE = Axis(a=((1,),), b=((1,),), g=((0, 1, 0),), padding=0)
# Two pixels, nothing but padding around them: 3 multiplications for the 4 that are not zero.
TWO = Axis(
    a=((1, 1, 0), (1, 0, 1)),
    b=((1, 1), (0, 1), (1, 0)),
    g=((0, 1, 0), (0, -1, 1), (1, -1, 0)),
    padding=0,
)
# F(4, 3) at the points 0, 1, -1, 1/2, -2: 6 multiplications for 12. With 1/2 in the place of Lavin &
# Gray's 2 the rounding error is a third (Barabasz et al., ACM TOMS 2020).
FOURS = Axis(
    a=((1, 1, 1, 1, 1, 0), (0, 1, -1, 0.5, -2, 0), (0, 1, 1, 0.25, 4, 0), (0, 1, -1, 0.125, -8, 1)),
    b=(
        (1, -1.5, -2, 1.5, 1, 0),
        (0, -1, 0.5, 2.5, 1, 0),
        (0, 1, -2.5, 0.5, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 0.5, -1, -0.5, 1, 0),
        (0, 1, -1.5, -2, 1.5, 1),
    ),
    g=(
        (1, 0, 0),
        (1 / 3, 1 / 3, 1 / 3),
        (-1 / 3, 1 / 3, -1 / 3),
        (-16 / 15, -8 / 15, -4 / 15),
        (1 / 15, -2 / 15, 4 / 15),
        (0, 0, 1),
    ),
)
# Stride 2, from two pixels one: the middle tap and the last.
HALF = Axis(a=((1, 1),), b=((1, 0), (0, 1)), g=((0, 1, 0), (0, 0, 1)), stride=2, padding=0)
# Stride 2: F(2, 2) on the even inputs, the middle tap on the odd ones; 5 multiplications for 6.
HALVES = Axis(
    a=((1, 1, 0, 1, 0), (0, 1, 1, 0, 1)),
    b=((1, 0, -1, 0, 0), (0, 0, 1, 0, 0), (0, 0, -1, 0, 1), (0, 1, 0, 0, 0), (0, 0, 0, 1, 0)),
    g=((1, 0, 0), (1, 0, 1), (0, 0, 1), (0, 1, 0), (0, 1, 0)),
    stride=2,
)


def axis(side: int, stride: int) -> Axis:
    """The algorithm for an axis of `side` inputs, stride 1 or 2."""
    if side == 1:
        return ONE
    if stride == 2:
        return HALF if side == 2 else HALVES
    return TWO if side == 2 else FOURS


@functools.cache
def _kronecker(rows, columns, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # kept, so a later training may use it, too
        return torch.kron(*(torch.tensor(m, dtype=torch.double) for m in (rows, columns))).to(dtype)


@dataclass(frozen=True)
class Direct:
    """The library's convolution."""

    stride: int
    padding: int
    dilation: int = 1

    def weight(self, w: Tensor) -> Tensor:
        """The form of the (O, C, kernel, kernel) weight that `forward` takes; differentiable."""
        return w

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, O, H / stride, W / stride)."""
        return F.conv2d(x, w, None, self.stride, self.padding, self.dilation)

    def backward(
        self, grad: Tensor, x: Tensor, w: Tensor, needs: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of x and of what `weight` gave; None for one that `needs` does not name."""
        stride, padding, dilation = [
            [side] * 2 for side in (self.stride, self.padding, self.dilation)
        ]
        return torch.ops.aten.convolution_backward(
            grad, x, w, None, stride, padding, dilation, False, [0, 0], 1, [*needs, False]
        )[:2]


@dataclass(frozen=True)
class Pointwise(Direct):
    """A 1x1 convolution of stride 1 as the matrix product it is."""

    def forward(self, x, w):
        return _map(_matrix(x) @ w.flatten(1).t(), x)

    def backward(self, grad, x, w, needs):
        g = _matrix(grad)
        grad_x = _map(g @ w.flatten(1), x) if needs[0] else None
        return grad_x, (g.t() @ _matrix(x)).view(w.shape) if needs[1] else None


def _matrix(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N * H * W, C): no copy if the channels come last in memory."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _map(rows: Tensor, like: Tensor) -> Tensor:
    n, _, h, w = like.shape
    return rows.view(n, h, w, -1).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Winograd:
    """A 3x3 convolution of padding 1, stride 1 or 2, by Winograd's algorithm."""

    rows: Axis
    columns: Axis

    def weight(self, w: Tensor) -> Tensor:
        """(O, C, 3, 3) -> (O, products, C)."""
        g = self._matrix("g", w.dtype)
        taps = w.permute(0, 2, 3, 1).reshape(len(w), 9, -1)
        return torch.bmm(g.expand(len(w), *g.shape), taps)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        sides = [-(-side // at.stride) for side, at in zip(x.shape[2:], self._axes, strict=True)]
        tiles = self._tiles(*sides)
        products = torch.bmm(self._enter(x, tiles), u.permute(1, 2, 0))
        return _scatter(products, self._matrix("a", x.dtype), len(x), sides, tiles, self._outputs())

    def backward(
        self, grad: Tensor, x: Tensor, u: Tensor, needs: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        tiles = self._tiles(*grad.shape[2:])
        g = _gather(grad, self._matrix("a", x.dtype).t(), tiles, self._outputs())
        grad_x = grad_u = None
        if needs[1]:
            grad_u = torch.bmm(g.transpose(1, 2), self._enter(x, tiles)).transpose(0, 1)
        if needs[0]:
            products = torch.bmm(g, u.transpose(0, 1))
            back = self._matrix("b", x.dtype).t()
            grad_x = _scatter(products, back, len(x), x.shape[2:], tiles, self._inputs())
        return grad_x, grad_u

    def _enter(self, x: Tensor, tiles) -> Tensor:
        return _gather(x, self._matrix("b", x.dtype), tiles, self._inputs())

    @property
    def _axes(self) -> tuple[Axis, Axis]:
        return self.rows, self.columns

    def _matrix(self, name: str, dtype: torch.dtype) -> Tensor:
        return _kronecker(*(getattr(at, name) for at in self._axes), dtype)

    def _tiles(self, *sides: int) -> list[int]:
        """Tiles per axis of an output of `sides`."""
        return [-(-side // len(at.a)) for side, at in zip(sides, self._axes, strict=True)]

    def _inputs(self) -> list[tuple[int, int, int]]:
        """Of the input's tiles, for each axis: length, distance, how far the first begins outside."""
        return [(len(at.b[0]), at.stride * len(at.a), at.padding) for at in self._axes]

    def _outputs(self) -> list[tuple[int, int, int]]:
        return [(len(at.a), len(at.a), 0) for at in self._axes]


def _gather(x: Tensor, matrix: Tensor, tiles, layout) -> Tensor:
    """Every tile of (N, C, H, W), times `matrix`: (products, N * tiles, C)."""
    x = x.permute(0, 2, 3, 1)
    n, *sides, c = x.shape
    lengths, steps, _ = zip(*layout, strict=True)
    out = x.new_empty(len(matrix), n, *tiles, c)
    margins = []
    for side, count, (length, step, outside) in zip(sides, tiles, layout, strict=True):
        margins = [outside, (count - 1) * step + length - outside - side, *margins]
    for images in _chunks(n, lengths, tiles, c):
        part = F.pad(x[images], (0, 0, *margins)) if any(margins) else x[images]
        image, row, column, channel = part.stride()
        shape = (*lengths, len(part), *tiles, c)
        part = part.as_strided(
            shape, (row, column, image, steps[0] * row, steps[1] * column, channel)
        )
        torch.mm(matrix, part.reshape(matrix.shape[1], -1), out=out[:, images].flatten(1))
    return out.view(len(matrix), -1, c)


def _scatter(products: Tensor, matrix: Tensor, n: int, sides, tiles, layout) -> Tensor:
    """`matrix` times (products, N * tiles, C), its tiles put, where they overlap added, on a map.

    The transpose of `_gather`. Returns (N, C, *sides).
    """
    c = products.shape[-1]
    lengths, steps, outside = zip(*layout, strict=True)
    products = products.view(len(products), n, -1)
    out = products.new_empty(n, *sides, c)
    for images in _chunks(n, lengths, tiles, c):
        parts = matrix @ products[:, images].flatten(1)
        parts = parts.view(*lengths, -1, *tiles, c)
        if lengths == steps:
            part = parts.permute(2, 3, 0, 4, 1, 5).reshape(-1, *map(_times, lengths, tiles), c)
        else:
            whole = [
                (count - 1) * step + length for count, step, length in zip(tiles, steps, lengths)
            ]
            part = parts.new_zeros(parts.shape[2], *whole, c)
            for i in range(lengths[0]):
                for j in range(lengths[1]):
                    rows = slice(i, i + steps[0] * tiles[0], steps[0])
                    columns = slice(j, j + steps[1] * tiles[1], steps[1])
                    part[:, rows, columns] += parts[i, j]
        rows, columns = (slice(o, o + side) for o, side in zip(outside, sides, strict=True))
        out[images] = part[:, rows, columns]
    return out.permute(0, 3, 1, 2)


def _times(a: int, b: int) -> int:
    return a * b


def _chunks(n: int, lengths, tiles, channels: int):
    """Slices of n images, few enough that a buffer of their tiles stays in the cache."""
    size = max(1, CHUNK // (lengths[0] * lengths[1] * tiles[0] * tiles[1] * channels))
    return [slice(at, min(n, at + size)) for at in range(0, n, size)]


Plan = Direct | Winograd


def plan(x: Tensor, w: Tensor, stride: int, padding: int, dilation: int = 1) -> Plan:
    """How to convolve (N, C, H, W) with (O, C, kernel, kernel)."""
    direct = Direct(stride, padding, dilation)
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return direct
    kernel = tuple(w.shape[2:])
    if kernel == (1, 1):
        return Pointwise(stride, padding, dilation) if stride == 1 and padding == 0 else direct
    if kernel != (3, 3) or padding != 1 or dilation != 1 or stride not in (1, 2):
        return direct
    if not pays(max(x.shape[2:]), min(w.shape[:2]), stride):
        return direct
    return Winograd(*(axis(side, stride) for side in x.shape[2:]))


def pays(side: int, channels: int, stride: int) -> bool:
    """Whether the products win, forward and backward: measured on AVX2 (benchmarks/convolution.py)."""
    if side <= 2:
        return channels >= 64
    if stride == 1:
        return channels >= 128
    return channels >= (256 if side <= 8 else 512)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, w: Tensor, how: Plan) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.how = how
        return how.forward(x, w)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return *ctx.how.backward(grad, *ctx.saved_tensors, ctx.needs_input_grad[:2]), None


def convolve(x: Tensor, w: Tensor, how: Plan) -> Tensor:
    """`x` convolved with what `how.weight` gave; differentiable."""
    if isinstance(how, Pointwise | Winograd):
        return _Convolution.apply(x, w, how)
    return how.forward(x, w)


class Conv2d(nn.Conv2d):
    """nn.Conv2d, computed as `plan` says."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        how = plan(x, weight, self.stride[0], self.padding[0], self.dilation[0])
        if type(how) is Direct:
            return super()._conv_forward(x, weight, bias)
        out = convolve(x, how.weight(weight), how)
        return out if bias is None else out + bias.view(-1, 1, 1)
