"""Maps of several strides: what they are of, and that dilation keeps what the strided map has."""

import copy

import pytest
import torch
from torch import nn

from burn.networks.binary import BinaryConv2d
from burn.networks.maps import dilate
from burn.networks.reactnet import ReActNet
from burn.networks.resnet import ResNet

STRIDES = {
    ("reactnet", "imagenet"): [2, 4, 8, 16, 32],
    ("reactnet", "small"): [1, 2, 4, 8, 16],
    ("resnet18", "imagenet"): [4, 8, 16, 32],
    ("resnet18", "half"): [2, 4, 8, 16],
    ("resnet50", "small"): [1, 2, 4, 8],
}
EVERY = list(STRIDES)


@pytest.fixture(autouse=True)
def _seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def network(arch: str, stem: str, precision: str = "binary") -> nn.Module:
    """A small network whose batch norms are not the identity; double: no sign flips by rounding."""
    if arch == "reactnet":
        found = ReActNet(0.25, stem).at(precision)
    else:
        found = ResNet(arch, 0.125, stem)
    for module in found.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return found.double().eval()


@pytest.mark.parametrize(("arch", "stem"), EVERY)
def test_maps_have_their_strides_and_end_in_the_feature_map(arch, stem):
    found = network(arch, stem)
    x = torch.randn(2, 3, 64, 96, dtype=torch.double)
    maps = found.maps(x)
    assert list(maps) == list(found.parts()) == STRIDES[arch, stem]
    for stride, each in maps.items():
        assert each.shape[2:] == (64 // stride, 96 // stride)
    assert torch.equal(maps[STRIDES[arch, stem][-1]], found.feature_map(x))
    modules = {id(m) for part in found.parts().values() for m in part.modules()}
    blocks = [m for m in found.modules() if isinstance(m, (BinaryConv2d, nn.Conv2d))]
    assert all(id(m) in modules for m in blocks)


@pytest.mark.parametrize("fewer", [2, 4])
@pytest.mark.parametrize(("arch", "stem"), EVERY)
def test_every_pixel_of_the_strided_map_is_in_the_dilated_one(arch, stem, fewer):
    strided = network(arch, stem)
    last = STRIDES[arch, stem][-1]
    dilated = dilate(copy.deepcopy(strided), last // fewer)
    assert list(dilated.parts()) == [s for s in STRIDES[arch, stem] if s <= last // fewer]
    x = torch.randn(2, 3, 64, 96, dtype=torch.double)
    fine, coarse = dilated.feature_map(x), strided.feature_map(x)
    assert fine.shape[2:] == (64 * fewer // last, 96 * fewer // last)
    torch.testing.assert_close(fine[:, :, ::fewer, ::fewer], coarse)
    assert list(strided.parts()) == STRIDES[arch, stem]  # the copy alone changed


def test_no_dilation_where_the_map_is_fine_enough():
    found = dilate(network("reactnet", "small"), 16)
    convs = [m for m in found.modules() if isinstance(m, BinaryConv2d)]
    assert {m.dilation for m in convs} == {1}


@pytest.mark.parametrize("precision", ["real", "binact", "binary"])
def test_gradients_of_a_dilated_binary_convolution(precision):
    conv = BinaryConv2d(4, 3).double()
    conv.precision, conv.dilation, conv.padding = precision, 2, 2
    x = torch.randn(2, 4, 9, 7, dtype=torch.double, requires_grad=True)
    upstream = torch.randn(2, 4, 9, 7, dtype=torch.double)
    found = torch.autograd.grad(conv(x), (x, conv.weight), upstream)
    # dilation 2 by hand: the same taps in a 5x5 kernel with holes
    wide = BinaryConv2d(4, 5).double()
    wide.precision = precision if precision != "binary" else "binact"
    with torch.no_grad():
        wide.weight.zero_()
        wide.weight[:, :, ::2, ::2] = conv.effective_weight()
    torch.testing.assert_close(conv(x), wide(x))
    expected_x, expected_w = torch.autograd.grad(wide(x), (x, wide.weight), upstream)
    torch.testing.assert_close(found[0], expected_x)
    if precision != "binary":  # there, the scale comes between
        torch.testing.assert_close(found[1], expected_w[:, :, ::2, ::2])
