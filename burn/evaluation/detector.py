"""Faster R-CNN (Ren et al., NeurIPS 2015; torchvision's) on a network with maps of several strides.

c4   one map, the last but one (stride 16 of ReActNet-A and ResNet-50 as published); the
     network's last part is run on every region cut from it (He et al., CVPR 2016; what MoCo
     and the works after it are examined by)
fpn  a feature pyramid over the last four maps, two linear layers on every region (Lin et al.,
     CVPR 2017)
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from burn.images.augment import MEAN, STD
from burn.networks.maps import Maps

LEVELS = 4  # of the network's maps in a pyramid; a fifth is pooled from the last
RATIOS = (0.5, 1.0, 2.0)  # height to width of anchors


class OneMap(nn.Module):
    """The last but one map of a network. Attribute: `out_channels`."""

    def __init__(self, network: Maps, channels: dict[int, int]):
        super().__init__()
        self.parts = nn.ModuleList(list(network.parts().values())[:-1])
        self.out_channels = list(channels.values())[-2]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for part in self.parts:
            x = part(x)
        return OrderedDict([("0", x)])


class Pyramid(nn.Module):
    """A feature pyramid over the last LEVELS maps of a network. Attribute: `out_channels`."""

    def __init__(self, network: Maps, channels: dict[int, int], out_channels: int):
        super().__init__()
        self.network, self.out_channels = network, out_channels
        self.strides = list(channels)[-LEVELS:]
        self.fpn = FeaturePyramidNetwork(
            [channels[stride] for stride in self.strides], out_channels, LastLevelMaxPool()
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.network.maps(x)
        return self.fpn(OrderedDict((str(i), maps[s]) for i, s in enumerate(self.strides)))


class LastPart(nn.Module):
    """The head of regions in c4: (R, C, h, w) cut from the map -> (R, dim), pooled."""

    def __init__(self, network: Maps):
        super().__init__()
        self.part = list(network.parts().values())[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x).mean((2, 3))


def detector(network: Maps, classes: int, layout: str, anchors: list[int], sides: list[int],
             longest: int, region: int, regions: int, proposals: int, pyramid: int, hidden: int,
             threshold: float) -> FasterRCNN:  # fmt: skip
    """Faster R-CNN on `network` itself (not a copy), for `classes` classes and the background.

    Args:
        layout: "c4" or "fpn".
        anchors: sides of the square anchors in pixels; in fpn one per level, finest first.
        sides: shorter sides that training images are resized to, drawn from these; the last one is
            that of test images. longest: the longer side at most.
        region: side of the grid that regions are cut to. regions: of each image in training.
        proposals: regions that a test image's proposals are cut to (twice as many in training).
        pyramid, hidden: channels of the pyramid and of the linear layers (fpn).
        threshold: detections below this probability are not given.
    """
    channels = _channels(network)
    if layout == "c4":
        backbone, head = OneMap(network, channels), LastPart(network)
        levels, sizes, width = ["0"], [tuple(anchors)], network.dim
    else:
        backbone = Pyramid(network, channels, pyramid)
        head = TwoMLPHead(pyramid * region**2, hidden)
        levels = [str(i) for i in range(len(backbone.strides))]
        sizes, width = [(side,) for side in anchors], hidden
    return FasterRCNN(
        backbone,
        min_size=tuple(sides),
        max_size=longest,
        image_mean=list(MEAN),
        image_std=list(STD),
        rpn_anchor_generator=AnchorGenerator(tuple(sizes), (RATIOS,) * len(sizes)),
        rpn_pre_nms_top_n_train=2 * proposals,
        rpn_post_nms_top_n_train=2 * proposals,
        rpn_pre_nms_top_n_test=proposals,
        rpn_post_nms_top_n_test=proposals,
        box_roi_pool=MultiScaleRoIAlign(levels, region, sampling_ratio=2),
        box_head=head,
        box_predictor=FastRCNNPredictor(width, classes + 1),
        box_batch_size_per_image=regions,
        box_score_thresh=threshold,
    )


def _channels(network: Maps) -> dict[int, int]:
    """stride -> channels of the map."""
    device = next(network.parameters()).device
    training = network.training
    with torch.no_grad():
        maps = network.eval().maps(torch.zeros(1, 3, 32, 32, device=device))
    network.train(training)
    return {stride: each.shape[1] for stride, each in maps.items()}
