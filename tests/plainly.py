"""Binarisation as plain formulas, which autograd differentiates; small inputs; random norms."""

import torch
import torch.nn.functional as F
from torch import nn

from burn.networks.binary import BinaryConv2d
from burn.networks.reactnet import RPReLU


def one(values) -> torch.Tensor:
    """A (1, 1, 1, W) leaf of the given values."""
    return torch.tensor([[[values]]]).requires_grad_()


def grid(*shape) -> torch.Tensor:
    """Multiples of 1/4 in [-2, 2], exact in bf16: the sign's and the masks' borders occur."""
    return torch.randint(-8, 9, shape) / 4


def plain_sign(a, gradient):
    """+-1 with the straight-through derivative: (hard - soft).detach() + soft, soft its integral."""
    hard = torch.where(a >= 0, 1.0, -1.0).to(a.dtype)
    soft = torch.where(a.abs() <= 1, a if gradient == "clipped" else 2 * a - a * a.abs(), hard)
    return (hard - soft).detach() + soft


def plain_weight(w, gradient):
    scale = w.abs().mean((1, 2, 3), keepdim=True).detach()
    hard = torch.where(w >= 0, 1.0, -1.0).to(w.dtype)
    if gradient == "clipped":
        return scale * ((hard - w).detach() + w)
    soft = torch.where(w.abs() <= 1, w, hard)
    return (scale * hard - soft).detach() + soft


def plain_conv(x, shift, w, stride, precision, gradient):
    a = x + shift
    a = a if precision == "real" else plain_sign(a, gradient)
    w = plain_weight(w, gradient) if precision == "binary" else w
    return F.conv2d(a, w, None, stride, w.shape[-1] // 2)


def gradients(out, *leaves):
    torch.manual_seed(1)  # the same upstream gradient for what is compared
    return torch.autograd.grad(out, leaves, torch.randn(out.shape).to(out.dtype))


def randomise(module):
    """Batch norms and RPReLUs that are not the identity."""
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            for t in (m.weight.data, m.running_var):
                t.uniform_(0.5, 1.5)
            for t in (m.bias.data, m.running_mean):
                t.normal_(0, 0.3)
        if isinstance(m, RPReLU):
            m.slope.data.normal_(0.3, 0.3)
        if isinstance(m, (RPReLU, BinaryConv2d)):
            for name in {"before", "after", "shift"} & dict(m.named_parameters()).keys():
                getattr(m, name).data.normal_(0, 0.5)
    return module
