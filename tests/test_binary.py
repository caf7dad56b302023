"""Binarisation against hand-derived numbers and plain formulas."""

import copy

import pytest
import torch
from plainly import gradients, grid, one, plain_conv
from torch import nn

from burn.experiment.schema import STAGES
from burn.networks import binary
from burn.networks.binary import BinaryConv2d, binary_weight, set_precision, shifted_sign

CONVS = [(3, 1, 1), (3, 2, 1), (1, 1, 2)]  # kernel, stride, outputs


# -- the sign and its gradients ------------------------------------------------------------------


@pytest.mark.parametrize("gradient", binary.GRADIENTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shift", [0.0, -0.0])
def test_the_sign_of_zero_is_plus_one(gradient, dtype, shift):
    zeros = torch.tensor([0.0, -0.0]).view(1, 1, 1, 2).to(dtype)
    shift = torch.full((1, 1, 1, 1), shift)
    assert shifted_sign(zeros, shift, gradient).tolist() == [[[[1, 1]]]]
    assert binary.sign(zeros, gradient).tolist() == [[[[1, 1]]]]
    assert shifted_sign(zeros + 5, shift - 5, gradient).tolist() == [[[[1, 1]]]]
    w = torch.tensor([[0.0, -0.0, 3.0, -3.0]]).view(1, 4, 1, 1)
    assert binary_weight(w, gradient).flatten().tolist() == [1.5, 1.5, 1.5, -1.5]
    conv = set_precision(BinaryConv2d(1, 1, gradient=gradient), "binact")
    conv.weight.data.fill_(1.0)
    conv.shift.data.copy_(shift)
    assert conv(zeros.float()).tolist() == [[[[1, 1]]]]


@pytest.mark.parametrize("gradient", binary.GRADIENTS)
def test_binarised_values(gradient):
    out = shifted_sign(torch.randn(4, 3, 5, 5), torch.randn(1, 3, 1, 1), gradient)
    assert set(out.unique().tolist()) == {-1, 1}
    w = torch.randn(6, 3, 3, 3)
    for filter, found in zip(w, binary_weight(w, gradient), strict=True):
        scale = filter.abs().mean()
        torch.testing.assert_close(found.unique(), torch.stack([-scale, scale]))
        assert ((found > 0) == (filter > 0)).all()


@pytest.mark.parametrize(
    ("gradient", "expected"),
    [("clipped", [0.0, 2, 3, 4, 5, 6, 0]), ("quadratic", [0.0, 0, 3, 8, 5, 0, 0])],
)
@pytest.mark.parametrize("how", ["function", "convolution"])
def test_gradient_of_the_sign_by_hand(gradient, expected, how):
    x = one([-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 0.75])  # + 0.5: -1.5 -1 -0.5 0 0.5 1 1.25
    if how == "function":
        shift = torch.full((1, 1, 1, 1), 0.5, requires_grad=True)
        out = shifted_sign(x, shift, gradient)
    else:
        conv = set_precision(BinaryConv2d(1, 1, gradient=gradient), "binact")
        shift = conv.shift
        shift.data.fill_(0.5)
        conv.weight.data.fill_(1.0)
        out = conv(x)
    assert out.flatten().tolist() == [-1, -1, -1, 1, 1, 1, 1]
    out.backward(one([1.0, 2, 3, 4, 5, 6, 7]))
    assert x.grad.flatten().tolist() == expected
    assert shift.grad.item() == sum(expected)


def test_sign_without_shift_passes_the_same_gradient():
    for gradient, expected in (("clipped", [0.0, 1, 1]), ("quadratic", [0.0, 0, 1])):
        x = one([1.25, -1.0, 0.5])
        binary.sign(x, gradient).sum().backward()
        assert x.grad.flatten().tolist() == expected


@pytest.mark.parametrize(
    ("gradient", "expected"), [("clipped", [0.75, 1.5, 4.5, 6]), ("quadratic", [1.0, 2, 3, 0])]
)
def test_gradient_of_the_weight_by_hand(gradient, expected):
    w = torch.tensor([[0.5, -1.0], [-0.0, 3.0]]).view(2, 2, 1, 1).requires_grad_()
    out = binary_weight(w, gradient)  # scales 0.75 and 1.5
    assert out.flatten().tolist() == [0.75, -0.75, 1.5, 1.5]
    out.backward(torch.tensor([1.0, 2, 3, 4]).view(2, 2, 1, 1))
    assert w.grad.flatten().tolist() == expected


# -- the convolution -----------------------------------------------------------------------------


def conv_and_input(kernel, stride, outputs, precision, gradient, channels_last=False):
    conv = set_precision(BinaryConv2d(4, kernel, stride, outputs, gradient), precision)
    conv.weight.data.mul_(2)  # some beyond 1, where "quadratic" stops the gradient
    conv.shift.data.copy_(grid(1, 4, 1, 1))
    x = grid(3, 4, 7, 7)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    return conv, x.to(memory_format=memory).requires_grad_()


@pytest.mark.parametrize("gradient", binary.GRADIENTS)
@pytest.mark.parametrize("precision", STAGES)
@pytest.mark.parametrize(("kernel", "stride", "outputs"), CONVS)
@pytest.mark.parametrize("mixed", [False, True])
def test_convolution_equals_the_plain_formula(kernel, stride, outputs, precision, gradient, mixed):
    conv, x = conv_and_input(kernel, stride, outputs, precision, gradient, channels_last=mixed)
    leaves = (x, conv.shift, conv.weight)
    expected = plain_conv(*leaves, stride, precision, gradient)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        found = conv(x)
    assert found.dtype == (torch.bfloat16 if mixed else torch.float32)
    got, wanted = gradients(found, *leaves), gradients(expected, *leaves)
    assert {g.dtype for g in got} == {torch.float32}
    for a, b in zip((found, *got), (expected, *wanted), strict=True):
        # A sum of many bf16 terms: the tolerance is a share of the tensor's largest entry.
        tolerance = 0.02 * b.abs().max().item() if mixed else 1e-5
        torch.testing.assert_close(a.float(), b, atol=tolerance, rtol=1e-5)


def test_padding_is_zeros_after_binarisation_and_stride_halves():
    conv = set_precision(BinaryConv2d(1, 3), "binary")
    conv.weight.data.fill_(0.5)
    for fill, sign in ((2.0, 1), (-2.0, -1)):
        out = conv(torch.full((1, 1, 4, 4), fill))[0, 0]
        expected = torch.tensor([[4.0, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]])
        torch.testing.assert_close(out, expected * 0.5 * sign)
    assert BinaryConv2d(2, 3, stride=2)(torch.zeros(1, 2, 8, 8)).shape == (1, 2, 4, 4)
    assert BinaryConv2d(2, 1, outputs=2)(torch.zeros(1, 2, 8, 8)).shape == (1, 4, 8, 8)


@pytest.mark.parametrize("precision", ["binact", "binary"])
@pytest.mark.parametrize("mixed", [False, True])
def test_memory_kept_for_backward_is_a_byte_per_activation(precision, mixed):
    conv, x = set_precision(BinaryConv2d(16, 3), precision), torch.randn(4, 16, 12, 12)
    x.requires_grad_()
    saved = []
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t),
        torch.autocast("cpu", torch.bfloat16, enabled=mixed),
    ):
        out = conv(x)
    weight = conv.weight.numel() * (2 if mixed else 4)
    scales = 4 * 16 if precision == "binary" else 0
    assert sum(t.nbytes for t in saved) == x.numel() + weight + scales
    assert [t.dtype for t in saved if t.shape == x.shape] == [torch.int8]
    kept = [v for v in vars(out.grad_fn).values() if isinstance(v, torch.Tensor)]
    assert sum(t.numel() for t in kept) <= 16  # nothing but the shift, past the hooks


@pytest.mark.parametrize("precision", ["real", "binact", "binary"])
def test_the_gradient_on_a_single_pixel_is_whole(precision):
    conv = set_precision(BinaryConv2d(64, 3, stride=2), precision)
    for _ in range(5):
        junk = [torch.full((1 << 18,), torch.nan) for _ in range(4)]
        del junk  # what lies in memory that nobody writes
        conv.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            conv(grid(16, 64, 1, 1)).float().sum().backward()
        middle = torch.zeros(3, 3, dtype=torch.bool)
        middle[1, 1] = True
        assert conv.weight.grad.isfinite().all()
        assert (conv.weight.grad[:, :, ~middle] == 0).all()  # all that meets the padding
        assert (conv.weight.grad[:, :, 1, 1] != 0).any()


def counted(monkeypatch) -> list:
    """A list that grows by one whenever a weight is binarised."""
    calls, plain = [], binary.binary_weight

    def count(w, gradient):
        calls.append(w)
        return plain(w, gradient)

    monkeypatch.setattr(binary, "binary_weight", count)
    return calls


def test_a_frozen_weight_in_eval_mode_is_binarised_once(monkeypatch):
    conv, x = set_precision(BinaryConv2d(4, 3), "binary"), torch.randn(2, 4, 5, 5)
    expected, calls = conv(x).detach(), counted(monkeypatch)
    conv.eval().requires_grad_(False)
    with torch.inference_mode():
        first = conv(x)
    again = conv(x.requires_grad_())  # what was kept serves outside of inference mode, too
    again.sum().backward()
    assert len(calls) == 1 and torch.equal(first, expected) and torch.equal(again, expected)
    assert "weight" in conv.state_dict() and len(conv.state_dict()) == 2


@pytest.mark.parametrize("how", ["written", "loaded", "replaced", "moved", "copied", "real"])
def test_a_weight_that_changed_is_binarised_again(how):
    conv, x = set_precision(BinaryConv2d(4, 3), "binary"), torch.randn(2, 4, 5, 5)
    conv.eval().requires_grad_(False)(x)
    other = torch.randn_like(conv.weight)
    if how == "written":
        conv.weight.copy_(other)
    elif how == "loaded":
        conv.load_state_dict(conv.state_dict() | {"weight": other})
    elif how == "replaced":
        conv.weight = nn.Parameter(other, requires_grad=False)
    elif how == "moved":
        conv.weight.data = other
    elif how == "copied":
        conv = copy.deepcopy(conv)
        conv.weight.copy_(other)
    else:
        other = conv.weight.clone()
        set_precision(conv, "binact")
    fresh = set_precision(BinaryConv2d(4, 3), conv.precision)
    fresh.load_state_dict({"shift": conv.shift, "weight": other})
    assert torch.equal(conv(x), fresh(x))
    assert torch.equal(conv(x.double()), fresh(x.double()))


@pytest.mark.parametrize("what", ["training mode", "a gradient"])
def test_a_weight_that_is_trained_is_binarised_at_every_call(what, monkeypatch):
    conv, x = set_precision(BinaryConv2d(4, 3), "binary"), torch.randn(2, 4, 5, 5)
    conv.train(what == "training mode").weight.requires_grad_(what == "a gradient")
    calls = counted(monkeypatch)
    conv(x), conv(x)
    assert len(calls) == 2 and conv._kept is None


def test_set_precision():
    network = nn.Sequential(BinaryConv2d(2, 3), nn.Sequential(BinaryConv2d(2, 1)))
    for precision in STAGES:
        assert set_precision(network, precision) is network
        assert [network[0].precision, network[1][0].precision] == [precision] * 2
        levels = len(network[0].effective_weight()[0].unique())
        assert levels == (2 if precision == "binary" else 18)
    with pytest.raises(ValueError, match="found 'int8'; allowed: real, binact, binary"):
        set_precision(network, "int8")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("gradient", binary.GRADIENTS)
@pytest.mark.parametrize("precision", STAGES)
def test_convolution_on_a_gpu(precision, gradient):
    conv, x = conv_and_input(3, 1, 1, precision, gradient)
    expected = conv(x)
    wanted = gradients(expected, x, conv.shift, conv.weight)
    conv.cuda()
    y = x.detach().cuda().requires_grad_()
    found = conv(y)
    torch.manual_seed(1)
    upstream = torch.randn(found.shape).cuda()
    got = torch.autograd.grad(found, (y, conv.shift, conv.weight), upstream)
    for a, b in zip((found, *got), (expected, *wanted), strict=True):
        torch.testing.assert_close(a.cpu(), b, atol=5e-3, rtol=5e-3)  # TF32 may be on
