"""The machine a step runs on: device, threads, memory allocator, processes."""

import ctypes
import os
import signal
import sys

import torch

from burn.errors import UserError
from burn.experiment.schema import Machine


def setup(machine: Machine) -> torch.device:
    """Set threads and the allocator, pick the device. Raises UserError if it is not there.

    Inside torchrun the device is this process's GPU and the process group is started.
    """
    torch.set_num_threads(machine.threads)
    _keep_freed_memory()
    device = machine.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"machine.device: found {device}; allowed here: cpu, auto (no GPU found)")
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


LOST = 3  # exit code of a process of a step that another one left alone


def relaunch(machine: Machine) -> None:
    """With `gpus` above 1, run this very command under torchrun, one process per GPU, and exit.

    The exit code is that of the first process that failed of itself, or 128 + the signal that killed it.
    """
    if machine.gpus <= 1 or "LOCAL_RANK" in os.environ:
        return
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    signal.signal(signal.SIGUSR1, lambda *_: signal.raise_signal(signal.SIGTERM))
    os.environ.setdefault("OMP_NUM_THREADS", str(machine.threads))
    try:
        run.main(["--standalone", f"--nproc-per-node={machine.gpus}", "-m", "burn", *sys.argv[1:]])
    except ChildFailedError as error:
        failures = error.failures.values()  # torchrun may find several at once
        cause = min(failures, key=lambda f: (f.exitcode == LOST, f.timestamp))
        code = cause.exitcode
        if code < 0:  # killed, so it could say nothing itself
            name = signal.Signals(-code).name
            print(f"error: a process of this step was killed by {name}; "
                  "the same command goes on from the last checkpoint", file=sys.stderr)  # fmt: skip
        sys.exit(code if code > 0 else 128 - code)
    except SignalException as stopped:  # by then all processes have saved and said so
        sys.exit(130 if stopped.sigval == signal.SIGINT else 143)
    sys.exit(0)


def leave(code: int) -> None:
    """Part from the other processes of a step, whose part here ends with exit code `code`.

    All part together when a step is done or was stopped. One that failed ends at once: NCCL would wait
    for the others, which wait for this one.
    """
    if torch.distributed.is_initialized():
        if code in (0, 130, 143):
            torch.distributed.destroy_process_group()
            return
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def lost_another(error: RuntimeError) -> bool:
    """Whether `error` is what a process gets from gloo or NCCL when another of the step has ended."""
    text = str(error)
    return "LOCAL_RANK" in os.environ and ("gloo/transport" in text or "NCCL" in text)
