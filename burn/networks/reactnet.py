"""ReActNet-A (Liu et al., ECCV 2020), the binary network of BURN and S2-BNN.

Stem 3x3 -> 32, thirteen blocks, global average pool; BURN adds Linear(1024, 1024) + ReLU, whose
output is the feature used downstream ("neck"). All channel counts scale with `width`.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from burn.networks.binary import BinaryConv2d, set_precision
from burn.networks.maps import Maps, mean_of_four

# Output widths of the blocks. The resolution halves where the width grows, but for the first.
WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STEM = 32


class _RPReLU(torch.autograd.Function):
    """shift, per-channel PReLU, shift; keeps its input alone for the backward pass."""

    @staticmethod
    def forward(ctx, x: Tensor, before: Tensor, slope: Tensor, after: Tensor) -> Tensor:
        a = x + before.to(x.dtype)
        ctx.save_for_backward(a, slope)
        return F.prelu(a, slope.to(x.dtype).view(-1)).add_(after.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        a, slope = ctx.saved_tensors
        total = partial(torch.sum, dim=(0, 2, 3), dtype=slope.dtype)
        grad_slope = total(grad * a.clamp(max=0)).view(slope.shape)
        grad_after = total(grad).view(slope.shape)
        positive = torch.ops.aten.threshold_backward(grad, a, 0)  # grad where a > 0, else 0
        k = slope.to(grad.dtype)
        grad_x = torch.addcmul(grad * k, positive, 1 - k)
        return grad_x, total(grad_x).view(slope.shape), grad_slope, grad_after


class RPReLU(nn.Module):
    """ReActNet's activation (eq. 5): shift, PReLU with a slope per channel (0.25 at first), shift."""

    def __init__(self, channels: int):
        super().__init__()
        self.before = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.slope = nn.Parameter(torch.full((1, channels, 1, 1), 0.25))
        self.after = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return _RPReLU.apply(x, self.before, self.slope, self.after)


class Block(nn.Module):
    """Binary 3x3 (keeps the width), then binary 1x1 (doubles it with two filter banks, or not).

    Each half: binary convolution, batch norm, plus its input as shortcut, RPReLU. A batch norm
    over the two banks' channels together is the published one per bank: both act per channel.
    """

    def __init__(self, channels: int, out: int, stride: int, gradient: str):
        super().__init__()
        if out not in (channels, 2 * channels):
            raise ValueError(f"a block keeps or doubles its width; found {channels} -> {out}")
        self.conv3 = BinaryConv2d(channels, 3, stride, gradient=gradient)
        self.bn3 = nn.BatchNorm2d(channels)
        self.act3 = RPReLU(channels)
        self.conv1 = BinaryConv2d(channels, 1, outputs=out // channels, gradient=gradient)
        self.bn1 = nn.BatchNorm2d(out)
        self.act1 = RPReLU(out)
        self.stride, self.doubles = stride, out != channels
        self.spread = 0  # of a block dilated in place of its stride: how far apart it pools

    def shortcut(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            return F.avg_pool2d(x, 2, ceil_mode=True)
        return mean_of_four(x, self.spread) if self.spread else x

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x)
        x = self.act3(self.bn3(self.conv3(x)) + shortcut)
        shortcut = torch.cat([x, x], 1) if self.doubles else x
        return self.act1(self.bn1(self.conv1(x)) + shortcut)


class ReActNet(Maps, nn.Module):
    """ReActNet-A: (N, 3, H, W) normalised images -> (N, `dim`) features.

    Args:
        width: share of the published channel counts.
        stem: "imagenet" (stride 2; the network reduces 32 times) or "small" (stride 1; 16 times).
        neck: BURN's Linear + ReLU after the pool.
        gradient: how gradients pass the sign, see burn.networks.binary.
    """

    def __init__(self, width: float = 1.0, stem: str = "imagenet", neck: bool = True,
                 gradient: str = "clipped"):  # fmt: skip
        super().__init__()
        channels = [max(8, round(c * width / 8) * 8) for c in (STEM, *WIDTHS)]
        for i, c in enumerate((STEM, *WIDTHS)):  # rounding must keep the doublings exact
            channels[i] = channels[0] * (c // STEM)
        self.config = {"arch": "reactnet", "width": width, "stem": stem, "neck": neck,
                       "gradient": gradient}  # fmt: skip
        self.conv = nn.Conv2d(3, channels[0], 3, 2 if stem == "imagenet" else 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels[0])
        self.blocks = nn.Sequential(*[
            Block(c, out, 2 if i > 0 and out != c else 1, gradient)
            for i, (c, out) in enumerate(zip(channels, channels[1:]))
        ])  # fmt: skip
        self.dim = channels[-1]
        self.neck = nn.Linear(self.dim, self.dim) if neck else None
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, dim, H / 32, W / 32)."""
        return self.blocks(self.bn(self.conv(x)))

    def trunk(self) -> tuple[nn.Sequential, int, list[nn.Module]]:
        return nn.Sequential(self.conv, self.bn), self.conv.stride[0], list(self.blocks)

    def pool(self, x: Tensor) -> Tensor:
        """The last map -> (N, dim) features."""
        x = x.mean((2, 3))
        return x if self.neck is None else F.relu(self.neck(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.feature_map(x))

    def at(self, precision: str) -> "ReActNet":
        """Set the precision of every binary convolution; returns self."""
        return set_precision(self, precision)
