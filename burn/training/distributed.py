"""Several processes that train as one: batch norms over the images of all of them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def world() -> tuple[int, int]:
    """(rank, number of processes) of this process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def synchronise(module: nn.Module, device: torch.device) -> nn.Module:
    """`module` with batch norms over the images of all processes, as one process would see them."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.__class__ = _SyncNorm
    return module


class _SyncNorm(_BatchNorm):
    """nn.SyncBatchNorm for CPUs, which torch lacks; every process has equally many images."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                                False, 0.0, self.eps)  # fmt: skip
        from torch.distributed.nn.functional import all_reduce  # one that gradients pass

        dims = [0, *range(2, x.dim())]
        shape = (1, -1, *[1] * (x.dim() - 2))
        count = x.numel() // x.shape[1] * world()[1]
        mean = all_reduce(x.float().sum(dims)) / count
        centred = x.float() - mean.view(shape)
        variance = all_reduce(centred.square().sum(dims)) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        x_hat = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            x_hat = x_hat * self.weight.view(shape) + self.bias.view(shape)
        return x_hat.to(x.dtype)
