"""The machine a step runs on: device, threads, memory allocator, processes."""

import contextlib
import ctypes
import os
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from burn.params import Machine, ParamsError


def setup(machine: Machine) -> torch.device:
    """Set threads and the allocator, pick the device. Raises ParamsError if it is not there.

    Inside torchrun the device is this process's GPU and the process group is started.
    """
    torch.set_num_threads(machine.threads)
    _keep_freed_memory()
    device = machine.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ParamsError(f"machine.device: found {device}; allowed here: cpu, auto (no GPU found)")
    if "LOCAL_RANK" in os.environ:
        if device.startswith("cuda"):
            device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(device)
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    if device.startswith("cuda"):
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return torch.device(device)


def _keep_freed_memory() -> None:
    # glibc gives freed activations back to the system and faults them in again, page by page, at
    # the next step: keeping them made a training step a quarter faster.
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        pass  # not glibc


def multiplies_bf16(device: torch.device) -> bool:
    """Has `device` units that multiply bfloat16? Elsewhere it is many times slower than fp32.

    CPU: AVX512_BF16 or AMX. CUDA: compute capability 8 (Ampere) or newer.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    # Not torch.cpu.get_capabilities, which torch 2.6 lacks.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def in_force(precision: str, device: torch.device) -> str:
    """`precision` of params.yaml ("auto", "bf16" or "fp32") as it is on `device`: one of the last two."""
    if precision != "auto":
        return precision
    return "bf16" if multiplies_bf16(device) else "fp32"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Matrix products in bfloat16 inside, where `precision` (see `in_force`) says so."""
    enabled = in_force(precision, device) == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def world() -> tuple[int, int]:
    """(rank, number of processes) of this process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def relaunch(machine: Machine) -> None:
    """With `gpus` above 1, run this very command under torchrun, one process per GPU, and exit.

    The exit code is that of the first process that failed.
    """
    if machine.gpus <= 1 or "LOCAL_RANK" in os.environ:
        return
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault("OMP_NUM_THREADS", str(machine.threads))
    try:
        run.main(["--standalone", f"--nproc-per-node={machine.gpus}", "-m", "burn", *sys.argv[1:]])
    except ChildFailedError as error:
        sys.exit(error.get_first_failure()[1].exitcode)
    sys.exit(0)


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
