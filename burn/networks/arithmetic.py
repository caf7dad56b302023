"""In which precision a device multiplies: bfloat16 where that is faster, else fp32."""

import contextlib

import torch


def multiplies_bf16(device: torch.device) -> bool:
    """Is bfloat16 faster on `device` than fp32? Without units for it it is many times slower.

    CPU: with AMX. With AVX512_BF16 alone training took 1.1 times as long as in fp32 on a Zen 4 and
    1.6 times on an Intel Xeon. CUDA: compute capability 8 (Ampere) or newer.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    # Not torch.cpu.get_capabilities, which torch 2.6 lacks.
    return torch.cpu._is_amx_tile_supported()


def in_force(precision: str, device: torch.device) -> str:
    """`precision` of params.yaml ("auto", "bf16" or "fp32") as it is on `device`: one of the last two."""
    if precision != "auto":
        return precision
    return "bf16" if multiplies_bf16(device) else "fp32"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Matrix products in bfloat16 inside, where `precision` (see `in_force`) says so."""
    enabled = in_force(precision, device) == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
