"""Binarisation: the heart of the project, read it first.

A binary network multiplies +1s and -1s. Two functions make them, both flat almost everywhere, so
training replaces their derivative (the straight-through estimator):

    activations   sign(x + shift)         dL/dx = dL/ds where |x + shift| <= 1      ("clipped")
                                          dL/dx = dL/ds * (2 - 2|x + shift|) there  ("quadratic")
    weights       mean|w| * sign(w)       dL/dw = dL/dW * mean|w|                   ("clipped")
                                          dL/dw = dL/dW where |w| <= 1              ("quadratic")

"clipped" is what the BURN release does, "quadratic" what S2-BNN does (after Bi-Real Net, Liu et al.
2018, eq. 8, and ReActNet, Liu et al. 2020). The mean runs over a filter, one per output channel
(XNOR-Net, Rastegari et al. 2016, eq. 6), and takes no gradient.

The sign of 0 is +1, for activations and weights: one bit stores two values, and a zero would be a
third that a deployed network cannot represent. (`torch.sign(0)` is 0.)

A stage trains at one of three precisions: `real` (neither is binarised), `binact` (activations
are), `binary` (both are).
"""

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from burn.experiment.schema import STAGES
from burn.networks.convolution import Plan, convolve, plan

GRADIENTS = ("clipped", "quadratic")


def _sign(a: Tensor) -> Tensor:
    """+1 where a >= 0, else -1. Nowhere -0.0 may enter: copysign would make it -1."""
    return torch.copysign(torch.ones((), dtype=a.dtype, device=a.device), a)


def _shifted(x: Tensor, shift: Tensor) -> Tensor:
    # -0.0 + 0.0 is +0.0: after it the shift is not -0.0, and so no sum with it can be.
    return x + (shift + 0.0).to(x.dtype)


def _encode(a: Tensor, signs: Tensor) -> Tensor:
    """One byte per element: the sign, times 1 where the gradient passes and 2 where it does not."""
    # Comparisons are slow on CPUs; hardshrink leaves 0 where |a| <= 1.
    return F.hardshrink(a, 1).sign_().add_(signs).to(torch.int8)


def _pass(grad: Tensor, saved: Tensor, gradient: str) -> Tensor:
    """The straight-through derivative times `grad`, from what the forward pass saved."""
    if gradient == "clipped":  # codes +-1 pass, +-2 do not
        return torch.ops.aten.hardtanh_backward(grad, saved.to(grad.dtype), -1.5, 1.5)
    return grad * saved.abs().mul_(-2).add_(2).clamp_(0).to(grad.dtype)


def _save(a: Tensor, signs: Tensor, gradient: str) -> Tensor:
    return _encode(a, signs) if gradient == "clipped" else a


class _ShiftedSign(torch.autograd.Function):
    """sign(x + shift); keeps one byte per element for the backward pass ("quadratic": x + shift)."""

    @staticmethod
    def forward(ctx, x: Tensor, shift: Tensor, gradient: str) -> Tensor:
        a = _shifted(x, shift)
        out = _sign(a)
        ctx.save_for_backward(_save(a, out, gradient))
        ctx.gradient, ctx.shift = gradient, shift
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        grad = _pass(grad, ctx.saved_tensors[0], ctx.gradient)
        return grad, _to_shape(grad, ctx.shift), None


class _BinaryInputConv(torch.autograd.Function):
    """conv(sign(x + shift), w); the binary input is rebuilt from the same byte in backward."""

    @staticmethod
    def forward(ctx, x: Tensor, shift: Tensor, w: Tensor, how: Plan, gradient: str) -> Tensor:
        a = _shifted(x, shift)
        signs = _sign(a)
        ctx.save_for_backward(_save(a, signs, gradient), w)
        ctx.how, ctx.gradient, ctx.shift = how, gradient, shift
        return how.forward(signs, w)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        saved, w = ctx.saved_tensors
        needs = (True, ctx.needs_input_grad[2])
        grad_x, grad_w = ctx.how.backward(grad, _sign(saved.to(w.dtype)), w, needs)
        grad_x = _pass(grad_x, saved, ctx.gradient)
        return grad_x, _to_shape(grad_x, ctx.shift), grad_w, None, None


def _to_shape(grad: Tensor, shift: Tensor) -> Tensor:
    return grad.sum((0, 2, 3), dtype=shift.dtype).view(shift.shape)


class _BinaryWeight(torch.autograd.Function):
    """mean|w| * sign(w) per output channel."""

    @staticmethod
    def forward(ctx, w: Tensor, gradient: str) -> Tensor:
        scale = w.abs().mean(dim=tuple(range(1, w.dim())), keepdim=True)
        ctx.save_for_backward(scale if gradient == "clipped" else w)
        ctx.gradient = gradient
        return torch.copysign(scale, w + 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (saved,) = ctx.saved_tensors
        if ctx.gradient == "clipped":
            return grad * saved, None
        return grad * (saved.abs() <= 1), None


def shifted_sign(x: Tensor, shift: Tensor, gradient: str = "clipped") -> Tensor:
    """Binarise activations: +1 where x + shift >= 0, else -1.

    Args:
        x: (N, C, H, W) activations.
        shift: (1, C, 1, 1) learned per-channel shift (ReActNet's RSign, eq. 4).
        gradient: "clipped" or "quadratic", see the head of this file.
    """
    return _ShiftedSign.apply(x, shift, gradient)


def sign(x: Tensor, gradient: str = "clipped") -> Tensor:
    """Binarise (N, C, H, W) activations without a shift."""
    return _ShiftedSign.apply(x, x.new_zeros(1, x.shape[1], 1, 1), gradient)


def binary_weight(w: Tensor, gradient: str = "clipped") -> Tensor:
    """Binarise a weight (C_out, ...): two values per output channel, +-mean|w|."""
    return _BinaryWeight.apply(w, gradient)


_shared: dict | None = None


@contextlib.contextmanager
def sharing_weights():
    """Inside, a BinaryConv2d that is called twice binarises and transforms its weight once."""
    global _shared
    before, _shared = _shared, {}
    try:
        yield
    finally:
        _shared = before


class BinaryConv2d(nn.Module):
    """Shift, binarise, convolve (no bias), at the precision in force.

    Padding is zeros, put after binarisation (the released recipe). Input (N, C_in, H, W), output
    (N, C_out, H / stride, W / stride). `outputs=2` convolves the same binary input with two filter
    banks at once (ReActNet's doubling 1x1 pair), giving 2 * C_in channels.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1, outputs: int = 1,
                 gradient: str = "clipped"):  # fmt: skip
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.weight = nn.Parameter(torch.empty(outputs * channels, channels, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.stride, self.padding, self.dilation = stride, kernel // 2, 1
        self.gradient = gradient
        self.precision = "real"
        self._kept: tuple[Tensor, tuple, Tensor] | None = None  # see _of_frozen

    def effective_weight(self) -> Tensor:
        """The weight the convolution uses: in `binary`, two values per output channel."""
        return (
            binary_weight(self.weight, self.gradient) if self.precision == "binary" else self.weight
        )

    def forward(self, x: Tensor) -> Tensor:
        device = x.device.type
        # Custom functions see to their own types; `meta` (counting shapes) has no autocast.
        if device != "meta" and torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        # On a single pixel any stride is the same; with 2, torch's bf16 weight gradient on CPUs is
        # memory that nobody wrote (seen in 2.15).
        stride = 1 if x.shape[2:] == (1, 1) else self.stride
        how = plan(x, self.weight, stride, self.padding, self.dilation)
        w = self._prepared(how, x.dtype)
        if self.precision == "real":
            return convolve(x + self.shift.to(x.dtype), w, how)
        return _BinaryInputConv.apply(x, self.shift, w, how, self.gradient)

    def _prepared(self, how: Plan, dtype: torch.dtype) -> Tensor:
        """The effective weight as `how` takes it; the one made before, inside `sharing_weights`, and of a
        frozen weight in eval mode, unless it has changed since."""
        w = self.weight
        if not (self.training or w.requires_grad or w.is_inference() or w.is_meta):
            return self._of_frozen(how, dtype)
        self._kept = None
        key = (self, w._version, self.precision, how, dtype, torch.is_grad_enabled())
        if _shared is None or key not in _shared:
            made = how.weight(self.effective_weight().to(dtype))
            if _shared is None:
                return made
            _shared[key] = made
        return _shared[key]

    def _of_frozen(self, how: Plan, dtype: torch.dtype) -> Tensor:
        w, key = self.weight, (self.weight._version, self.precision, how, dtype)
        kept = self._kept
        if kept is None or kept[0].data_ptr() != w.data_ptr() or kept[1] != key:
            with torch.inference_mode(False):  # it may serve outside, too
                made = how.weight(self.effective_weight().to(dtype))
            kept = self._kept = w.detach(), key, made
        return kept[2]

    def extra_repr(self) -> str:
        out, channels, kernel, _ = self.weight.shape
        return f"{channels}, {out}, kernel={kernel}, stride={self.stride}, {self.precision}"


def small_latent(network: nn.Module) -> None:
    """Start the latent weights of every binary convolution at 0 to 0.001, as S2-BNN's release does."""
    for module in network.modules():
        if isinstance(module, BinaryConv2d):
            nn.init.uniform_(module.weight, 0, 1e-3)


def set_precision(network: nn.Module, precision: str) -> nn.Module:
    """Put every binary convolution of `network` at `precision`; returns `network`.

    Raises ValueError if `precision` is none of STAGES.
    """
    if precision not in STAGES:
        raise ValueError(f"precision: found {precision!r}; allowed: {', '.join(STAGES)}")
    for module in network.modules():
        if isinstance(module, BinaryConv2d):
            module.precision = precision
    return network
