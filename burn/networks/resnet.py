"""ResNet-18/50 feature extractors for the FP teacher, with width and a small-image stem.

At width 1 with the ImageNet stem, modules and keys are torchvision's, so released weights load.
"""

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from burn.networks.blocks import BasicBlock, Bottleneck, conv1x1
from burn.networks.maps import Maps

LAYERS = {"resnet18": (BasicBlock, (2, 2, 2, 2)), "resnet50": (Bottleneck, (3, 4, 6, 3))}


class ResNet(Maps, nn.Module):
    """(N, 3, H, W) normalised images -> (N, `dim`) globally pooled features.

    Args:
        arch: "resnet18" or "resnet50" (2048-d at width 1).
        width: share of the published channel counts.
        stem: "imagenet" (7x7 stride 2, max-pool; reduces 32 times), "small" (3x3, stride 1; 8
            times) or "half" (3x3, stride 2; 16 times: a quarter of the cost of "small").
    """

    def __init__(self, arch: str, width: float = 1.0, stem: str = "imagenet"):
        super().__init__()
        block, layers = LAYERS[arch]
        self.config = {"arch": arch, "width": width, "stem": stem}
        base = max(8, round(64 * width / 8) * 8)
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(3, base, 7, 2, 3, bias=False)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
        else:
            self.conv1 = nn.Conv2d(3, base, 3, 1 if stem == "small" else 2, 1, bias=False)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(base)
        self.relu = nn.ReLU(inplace=True)
        channels = base
        for i, count in enumerate(layers):
            out, stage = base * 2**i, []
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                down = None
                if stride != 1 or channels != out * block.expansion:
                    down = nn.Sequential(
                        conv1x1(channels, out * block.expansion, stride),
                        nn.BatchNorm2d(out * block.expansion),
                    )
                stage.append(block(channels, out, stride, down))
                channels = out * block.expansion
            setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
        self.dim = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, dim, h, w)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def trunk(self) -> tuple[nn.Sequential, int, list[nn.Module]]:
        stem = nn.Sequential(self.conv1, self.bn1, self.relu, self.maxpool)
        stride = self.conv1.stride[0] * (2 if isinstance(self.maxpool, nn.MaxPool2d) else 1)
        blocks = [*self.layer1, *self.layer2, *self.layer3, *self.layer4]
        return stem, stride, blocks

    def forward(self, x: Tensor) -> Tensor:
        return self.feature_map(x).mean((2, 3))

    def fold(self) -> "ResNet":
        """Fold every batch norm into its convolution, in place: for a frozen network only."""
        self.eval().requires_grad_(False)
        for module in [self, *self.modules()]:
            if isinstance(module, nn.Sequential) and isinstance(module[-1], nn.BatchNorm2d):
                module[0], module[1] = fuse_conv_bn_eval(module[0], module[1]), nn.Identity()
            for i in (1, 2, 3):
                norm = getattr(module, f"bn{i}", None)
                if isinstance(norm, nn.BatchNorm2d):
                    fused = fuse_conv_bn_eval(getattr(module, f"conv{i}"), norm)
                    setattr(module, f"conv{i}", fused)
                    setattr(module, f"bn{i}", nn.Identity())
        return self
