"""ReActNet-A and its blocks against plain transcriptions; ResNets against torchvision's."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from plainly import gradients, grid, one, plain_conv, randomise
from torch import nn

from burn.experiment.schema import STAGES
from burn.networks.binary import BinaryConv2d, set_precision
from burn.networks.reactnet import Block, ReActNet, RPReLU
from burn.networks.resnet import ResNet


def plain_rprelu(x, act):
    return F.prelu(x + act.before, act.slope.flatten()) + act.after


def test_rprelu():
    act, x = randomise(RPReLU(3)), grid(2, 3, 5, 5).requires_grad_()
    assert torch.equal(RPReLU(3)(one([-4.0, 4.0]).expand(1, 3, 1, 2))[0, 0], one([-1.0, 4])[0, 0])
    act.before.data.copy_(grid(1, 3, 1, 1))  # the kink occurs
    leaves = (x, act.before, act.slope, act.after)
    found, expected = act(x), plain_rprelu(x, act)
    pairs = zip(gradients(found, *leaves), gradients(expected, *leaves), strict=True)
    torch.testing.assert_close(found, expected)
    for a, b in pairs:
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def plain_norm(x, norm, part=slice(None)):
    return F.batch_norm(x, None, None, norm.weight[part], norm.bias[part], True)


def plain_block(block, x, stride, c, out, precision, gradient):
    """The block as the method's notes describe it, two separate 1x1 convolutions where it doubles."""
    y = plain_conv(x, block.conv3.shift, block.conv3.weight, stride, precision, gradient)
    shortcut = x if stride == 1 else F.avg_pool2d(x, 2, 2)
    x = plain_rprelu(plain_norm(y, block.bn3) + shortcut, block.act3)
    banks = []
    for i in range(out // c):
        part = slice(i * c, (i + 1) * c)
        w = block.conv1.weight[part]
        y = plain_conv(x, block.conv1.shift, w, 1, precision, gradient)
        banks.append(plain_norm(y, block.bn1, part) + x)
    return plain_rprelu(torch.cat(banks, 1), block.act1)


@pytest.mark.parametrize("precision", STAGES)
@pytest.mark.parametrize(("stride", "out"), [(1, 4), (1, 8), (2, 8)])
def test_block_equals_a_plain_transcription(stride, out, precision):
    block = randomise(Block(4, out, stride, "clipped")).double()  # no sign flips by rounding
    set_precision(block, precision)
    x = torch.randn(3, 4, 6, 6, dtype=torch.double, requires_grad=True)
    found, expected = block(x), plain_block(block, x, stride, 4, out, precision, "clipped")
    torch.testing.assert_close(found, expected)
    leaves = (x, *block.parameters())
    for a, b in zip(gradients(found, *leaves), gradients(expected, *leaves), strict=True):
        torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-6)


def test_sides_that_cannot_be_halved_round_up():
    network = ReActNet(0.25).eval()
    assert network.feature_map(torch.zeros(1, 3, 40, 75)).shape == (1, network.dim, 2, 3)
    block = Block(4, 8, 2, "clipped")
    seen = []
    block.bn3.register_forward_hook(lambda *_: torch.zeros(1, 4, 2, 2))
    block.act3.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    block(torch.arange(9.0).view(1, 1, 3, 3).expand(1, 4, 3, 3))  # the shortcut alone
    assert seen[0][0, 0].tolist() == [[2, 3.5], [6.5, 8]]


def test_a_block_keeps_or_doubles():
    with pytest.raises(ValueError, match="found 4 -> 12"):
        Block(4, 12, 1, "clipped")


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 32), ("small", 64)])
def test_reactnet_a_at_full_width(stem, side):
    network = ReActNet(1.0, stem).at("binary").eval()
    total, c = 3 * 32 * 9 + 2 * 32 + 1024 * 1024 + 1024, 32
    shapes = []
    for out in [64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]:
        # shift, weight, batch norm (2 a channel), RPReLU (3 a channel) of both halves
        total += (c + 9 * c * c + 2 * c + 3 * c) + (c + c * out + 2 * out + 3 * out)
        side //= 2 if out > c and out > 64 else 1
        shapes.append((out, side, side))
        c = out
    assert sum(p.numel() for p in network.parameters()) == total
    found = []
    for block in network.blocks:
        block.register_forward_hook(lambda _, __, y: found.append(tuple(y.shape[1:])))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        features = network(x)
        assert found == shapes
        assert features.shape == (1, 1024) == (1, network.dim)
        assert features.min() >= 0  # after the neck's ReLU
        network.neck = None
        pooled = network(x)
    torch.testing.assert_close(pooled, network.feature_map(x).mean((2, 3)))
    assert {m.precision for m in network.modules() if isinstance(m, BinaryConv2d)} == {"binary"}


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_resnet_is_torchvisions(arch):
    theirs = randomise(getattr(torchvision.models, arch)(weights=None)).eval()
    theirs.fc = nn.Identity()
    ours = ResNet(arch).eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        x = torch.randn(1, 3, 64, 64)
        features, expected = ours(x), theirs(x)
        assert features.shape == (1, ours.dim)
        assert (features - expected).norm() <= 1e-4 * expected.norm()


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
@pytest.mark.parametrize(("stem", "reduction"), [("imagenet", 32), ("half", 16), ("small", 8)])
def test_fold_changes_no_output(arch, stem, reduction):
    network = randomise(ResNet(arch, 0.25, stem)).eval()
    x = torch.randn(2, 3, 32, 32)
    expected = network(x).detach()
    found = network.fold()(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not found.requires_grad
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert network.feature_map(x).shape[2:] == (32 // reduction, 32 // reduction)
