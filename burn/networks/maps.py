"""Feature maps of several strides out of a network, for detectors and segmenters."""

import torch.nn.functional as F
from torch import Tensor, nn


class Maps:
    """What ReActNet and ResNet share: the trunk cut where its stride grows.

    A network says what its `trunk` is: the stem, the stem's stride, and the blocks after it, each
    with a `stride` of its own.
    """

    def trunk(self) -> tuple[nn.Sequential, int, list[nn.Module]]:
        raise NotImplementedError

    def parts(self) -> dict[int, nn.Sequential]:
        """stride -> the modules that make the map of this stride out of the map before (the image).

        The modules are the network's own, not copies; in order, finest map first.
        """
        stem, stride, blocks = self.trunk()
        stages: dict[int, list[nn.Module]] = {}
        for block in blocks:
            stride *= block.stride
            stages.setdefault(stride, [] if stages else [*stem]).append(block)
        return {stride: nn.Sequential(*modules) for stride, modules in stages.items()}

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        """(N, 3, H, W) -> {stride: (N, C, H / stride, W / stride)}, the last map of each stride.

        Sides that a stride does not divide are rounded up.
        """
        out = {}
        for stride, part in self.parts().items():
            out[stride] = x = part(x)
        return out


def dilate(network: Maps, stride: int) -> Maps:
    """Let no map of `network` be coarser than `stride`, in place; returns `network`.

    Where a block would halve the map beyond it, the block keeps the side and the convolutions after
    it are dilated instead (DeepLab, Chen et al., TPAMI 2018): they see what they saw before, and
    every pixel of the strided network's map is there, with those between.
    """
    _, reached, blocks = network.trunk()
    dilation = 1
    for block in blocks:
        reached *= block.stride
        before = dilation
        if reached > stride:
            reached, dilation = reached // block.stride, dilation * block.stride
        if dilation == 1:
            continue
        if dilation != before:
            block.stride = 1
            if hasattr(block, "spread"):  # a ReActNet block pools its shortcut
                block.spread = before
        for conv in block.modules():
            if hasattr(conv, "weight") and conv.weight is not None and conv.weight.dim() == 4:
                _dilate(conv, before if _side(conv.stride) > 1 else dilation)
    return network


def _dilate(conv: nn.Module, dilation: int) -> None:
    padding = dilation * (conv.weight.shape[-1] // 2)
    if isinstance(conv, nn.Conv2d):
        conv.stride, conv.dilation, conv.padding = (1, 1), (dilation,) * 2, (padding,) * 2
    else:
        conv.stride, conv.dilation, conv.padding = 1, dilation, padding


def _side(stride: int | tuple[int, int]) -> int:
    return stride if isinstance(stride, int) else stride[0]


def mean_of_four(x: Tensor, apart: int) -> Tensor:
    """The mean over 2x2 pixels that are `apart`: average pooling of a dilated map, at every pixel.

    (N, C, H, W) -> the same shape; beyond the edge the last pixels are repeated.
    """
    wide = F.pad(x, (0, apart, 0, apart), mode="replicate")
    rows = wide[:, :, :-apart] + wide[:, :, apart:]
    return (rows[..., :-apart] + rows[..., apart:]) / 4
