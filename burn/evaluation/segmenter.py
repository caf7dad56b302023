"""A segmenter: a pretrained network, its last map finer by dilation, and torchvision's head on it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

from burn.images.augment import MEAN, STD
from burn.networks.maps import Maps, dilate


class Segmenter(nn.Module):
    """(N, 3, H, W) images in [0, 1] -> (N, classes, H, W) scores, class 0 the background.

    Args:
        network: used itself, not a copy, and dilated in place where it is coarser than `stride`.
        head: "fcn" (Long et al., CVPR 2015) or "deeplab" (DeepLabV3, Chen et al., 2017).
        rates: dilations of DeepLab's parallel convolutions.
    """

    def __init__(self, network: Maps, classes: int, head: str, stride: int, rates: list[int]):
        super().__init__()
        self.network = dilate(network, stride)
        if head == "fcn":
            self.head = FCNHead(network.dim, classes)
        else:
            self.head = DeepLabHead(network.dim, classes, rates)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.head(self.network.feature_map((x - self.mean) / self.std))
        return F.interpolate(scores.float(), x.shape[2:], mode="bilinear", align_corners=False)
