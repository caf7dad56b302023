"""A plain PyTorch transcription of BURN's training step: what the project's speed is held against.

Straight from the method's description, with the usual idioms: the straight-through estimator by
`hard.detach() + soft - soft.detach()`, one module per operation, the two 1x1 banks as two
convolutions, the teacher in fp32 under no_grad, Adam as torch ships it.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet50


class Shift(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x):
        return x + self.bias


def sign(x):
    hard = torch.where(x >= 0, 1.0, -1.0).to(x.dtype)
    soft = x.clamp(-1, 1)
    return hard.detach() + soft - soft.detach()


class Conv(nn.Conv2d):
    def forward(self, x):
        w = self.weight
        scale = w.abs().mean((1, 2, 3), keepdim=True).detach()
        hard = scale * torch.where(w >= 0, 1.0, -1.0)
        soft = scale * w
        w = hard.detach() + soft - soft.detach()
        return F.conv2d(x, w, None, self.stride, self.padding)


class Act(nn.Sequential):
    def __init__(self, c):
        super().__init__(Shift(c), nn.PReLU(c), Shift(c))


class Block(nn.Module):
    def __init__(self, c, out, stride):
        super().__init__()
        self.shift1, self.conv1 = Shift(c), Conv(c, c, 3, stride, 1, bias=False)
        self.bn1, self.act1, self.shift2 = nn.BatchNorm2d(c), Act(c), Shift(c)
        banks = out // c
        self.convs = nn.ModuleList(Conv(c, c, 1, bias=False) for _ in range(banks))
        self.bns = nn.ModuleList(nn.BatchNorm2d(c) for _ in range(banks))
        self.act2, self.stride = Act(out), stride

    def forward(self, x):
        y = self.bn1(self.conv1(sign(self.shift1(x))))
        x = self.act1(y + (F.avg_pool2d(x, 2) if self.stride == 2 else x))
        s = sign(self.shift2(x))
        return self.act2(torch.cat([bn(c(s)) + x for c, bn in zip(self.convs, self.bns)], 1))


def student():
    widths = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    blocks = [
        Block(c, out, 2 if i and c != out else 1)
        for i, (c, out) in enumerate(zip(widths, widths[1:]))
    ]
    stem = (nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32))
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1024), nn.ReLU())
    return nn.Sequential(*stem, *blocks, *tail)


def head(dim):
    return nn.Sequential(
        nn.Linear(dim, 2000), nn.BatchNorm1d(2000), nn.ReLU(), nn.Linear(2000, 2000)
    )


class Step:
    """One update of the plain transcription: call it with two views."""

    def __init__(self, device):
        self.k, self.l, self.g = student().to(device), head(1024).to(device), head(2048).to(device)
        self.h = resnet50()
        self.h.fc = nn.Identity()
        self.h.eval().to(device)
        nets = nn.ModuleList([self.k, self.l, self.g])
        self.optimizer = torch.optim.Adam(nets.parameters(), 3e-4)

    def __call__(self, views):
        out = [self.l(self.k(v)) for v in views]
        with torch.no_grad():
            frozen = [self.h(v) for v in views]
        target = [self.g(f) for f in frozen]
        loss = 0
        for a, b in ((0, 1), (1, 0)):
            fs = (F.normalize(out[a], dim=1) - F.normalize(target[b], dim=1)).square().sum()
            p, q = F.softmax(target[b] / 0.2, 1), F.log_softmax(out[a] / 0.2, 1)
            loss = loss + (0.9 * fs + 0.1 * (p * (p.log() - q)).sum()) / len(out[a])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())
