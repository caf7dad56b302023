"""Convolutions by matrix products: the values and gradients of the library's, at every shape."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from burn.networks.binary import BinaryConv2d, sharing_weights
from burn.networks.blocks import conv1x1, conv3x3
from burn.networks.convolution import Direct, Pointwise, Winograd, _kronecker, axis, convolve, plan

SIDES = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 7), (8, 8), (14, 14), (1, 2), (2, 6)]


def both(x, w, how, stride):
    """Outputs, and gradients of x and w, by `how` and by F.conv2d."""
    found = []
    for by in ("how", "library"):
        a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
        if by == "how":
            out = convolve(a, how.weight(b), how)
        else:
            out = F.conv2d(a, b, None, stride, w.shape[-1] // 2)
        generator = torch.Generator().manual_seed(1)
        out.backward(torch.randn(out.shape, generator=generator, dtype=out.dtype))
        found.append((out.detach(), a.grad, b.grad))
    return zip(*found, strict=True)


def close(found, expected, tolerance):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype, tolerance", [(torch.double, 1e-12), (torch.float, 1e-5)])
def test_winograd_gives_what_the_library_gives(sides, stride, dtype, tolerance):
    torch.manual_seed(0)
    x = torch.randn(3, 6, *sides, dtype=dtype).contiguous(memory_format=torch.channels_last)
    w = torch.randn(10, 6, 3, 3, dtype=dtype)
    how = Winograd(*(axis(side, stride) for side in sides))
    for found, expected in both(x, w, how, stride):
        close(found, expected, tolerance)


def test_a_network_that_was_examined_first_can_be_trained_then():
    _kronecker.cache_clear()
    x, w, how = torch.randn(2, 4, 8, 8), torch.randn(4, 4, 3, 3), Winograd(axis(8, 1), axis(8, 1))
    with torch.inference_mode():
        convolve(x, how.weight(w), how)
    for found, expected in both(x, w, how, 1):
        close(found, expected, 1e-5)


def test_many_tiles_are_worked_on_in_parts_with_the_same_result(monkeypatch):
    monkeypatch.setattr("burn.networks.convolution.CHUNK", 500)
    torch.manual_seed(0)
    x, w = torch.randn(7, 4, 9, 9, dtype=torch.double), torch.randn(4, 4, 3, 3, dtype=torch.double)
    for found, expected in both(x, w, Winograd(axis(9, 1), axis(9, 1)), 1):
        close(found, expected, 1e-12)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_1x1_convolution_is_a_matrix_product(layout):
    torch.manual_seed(0)
    x = torch.randn(3, 6, 5, 4, dtype=torch.double).contiguous(memory_format=layout)
    w = torch.randn(10, 6, 1, 1, dtype=torch.double)
    for found, expected in both(x, w, Pointwise(1, 0), 1):
        close(found, expected, 1e-12)


def test_the_library_computes_what_the_algorithm_cannot_or_where_it_would_lose():
    w, map4 = torch.empty(256, 256, 3, 3), torch.empty(2, 256, 4, 4)
    assert isinstance(plan(map4, w, 1, 1), Winograd)
    assert isinstance(plan(map4, w[..., :1, :1], 1, 0), Pointwise)
    direct = [
        plan(map4.bfloat16(), w, 1, 1),
        plan(map4.to("meta"), w, 1, 1),
        plan(map4, w, 1, 2, 2),  # dilated
        plan(map4, w, 3, 1),
        plan(map4, w, 1, 0),
        plan(map4, torch.empty(256, 256, 5, 5), 1, 1),
        plan(map4[:, :32], w[:32, :32], 1, 1),  # few channels
    ]
    with torch.autocast("cpu"):
        direct.append(plan(map4, w, 1, 1))
    assert {type(how) for how in direct} == {Direct}


@pytest.mark.parametrize(
    "made, side", [(conv3x3(128, 128), 4), (conv3x3(256, 256, 2), 8), (conv1x1(8, 8), 3)]
)
def test_layers_of_real_networks_compute_the_same(made, side):
    plain = nn.Conv2d(made.in_channels, made.out_channels, made.kernel_size, made.stride,
                      made.padding, bias=False)  # fmt: skip
    plain.load_state_dict(made.state_dict())
    x = torch.randn(4, made.in_channels, side, side)
    assert type(plan(x, made.weight, made.stride[0], made.padding[0])) is not Direct
    made(x).square().sum().backward()
    plain(x).square().sum().backward()
    close(made(x), plain(x), 1e-5)
    close(made.weight.grad, plain.weight.grad, 1e-5)


@pytest.mark.parametrize("precision", ["real", "binact", "binary"])
def test_two_calls_that_share_the_weight_give_the_same_gradient(precision):
    torch.manual_seed(0)
    conv = BinaryConv2d(128, 3)
    conv.precision = precision
    views = [torch.randn(2, 128, 4, 4) for _ in range(2)]
    sum(conv(v).square().sum() for v in views).backward()
    alone, conv.weight.grad = conv.weight.grad, None
    with sharing_weights():
        sum(conv(v).square().sum() for v in views).backward()
    close(conv.weight.grad, alone, 1e-6)


def test_a_weight_that_changes_is_not_shared():
    conv = BinaryConv2d(4, 3)
    conv.precision = "binary"
    x = torch.randn(2, 4, 4, 4)
    with torch.no_grad(), sharing_weights():
        before = conv(x)
        conv.weight.mul_(2)
        torch.testing.assert_close(conv(x), 2 * before)
