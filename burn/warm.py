"""A Python that has imported torch already, and forks for each step: importing takes seconds of CPU.

`python -m burn STEP ...` asks the server of this user for a fork of it. If there is none, the step
runs in its own process, and a server is started for the steps that follow. A fork has the caller's
arguments, environment, folder and open files; what it cannot take over (umask, groups, limits, ...) the
server has, too, or the caller has another server. It dies when its caller dies. The server has imported
libraries, but nothing of this package: an edited file is in force at once. It ends when nobody has
asked for a minute.

BURN_WARM=0 turns it off. It is off under torchrun, under Slurm (where a process belongs to a job) and
where the system is not Linux.
"""

import hashlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

IDLE = 60.0  # seconds
STEPS = ("prepare", "teacher", "pretrain", "evaluate", "cost")  # import what takes long
# What steps import, the slowest first; what is not installed is left out.
LIBRARIES = ("torch", "torch.utils.data", "torchvision", "safetensors.torch", "pydantic", "yaml",
             "sklearn.svm", "sklearn.model_selection", "joblib", "scipy", "PIL.Image", "tqdm",
             "faster_coco_eval")  # fmt: skip
# Libraries read these when they are imported: a server is for callers that agree on them.
READ_AT_IMPORT = ("OMP_", "GOMP_", "MKL_", "KMP_", "ATEN_", "ONEDNN_", "DNNL_", "OPENBLAS_", "TORCH",
                  "PYTORCH_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "NPY_", "NUMPY_", "SCIPY_",
                  "SKLEARN_", "JOBLIB_", "LOKY_", "TQDM_", "LC_", "LANG", "TZ", "MALLOC_", "GLIBC_", "LD_",
                  "PYTHON")  # fmt: skip
# What a process inherits, as /proc/self/status and other files of /proc/self name it.
STATUS = ("Umask", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
          "NoNewPrivs", "Seccomp", "Seccomp_filters", "Cpus_allowed", "Mems_allowed", "SigBlk",
          "SigIgn")  # fmt: skip
FILES = ("cgroup", "oom_score_adj", "attr/current", "coredump_filter", "timerslack_ns")
LIMITS = sorted(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_"))
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def wanted() -> bool:
    """Whether this process should ask for a fork."""
    elsewhere = {"LOCAL_RANK", "RANK", "SLURM_JOB_ID", "BURN_WARM_CHILD"}
    return (
        sys.platform == "linux"
        and sys.argv[1:2] in [[step] for step in STEPS]
        and os.environ.get("BURN_WARM", "1") != "0"
        and not elsewhere & os.environ.keys()
    )


def address() -> str:
    """The socket of the server that this process can use: of this user, with what a fork inherits."""
    inherited = {
        "python": [sys.executable, sys.version, sys.prefix, str(sys.flags), str(sys._xoptions)],
        "installed": _installed(),
        "environment": {k: v for k, v in os.environ.items() if k.startswith(READ_AT_IMPORT)},
        "process": _inherited(),
        "server": Path(__file__).read_text(),
    }
    key = hashlib.sha256(json.dumps(inherited, sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"burn-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:  # somebody else's: not to be trusted
        raise OSError(f"{folder}: not a private folder of this user")
    return str(folder / key)


def _inherited() -> dict:
    """All that a fork of this process would have from it, but for folder, environment and open files."""
    here = Path("/proc/self")
    status = dict(line.split(":", 1) for line in (here / "status").read_text().splitlines())
    spaces = [here / "root", *sorted((here / "ns").iterdir())]
    return {
        "status": {name: status.get(name) for name in STATUS},
        "files": {name: _content(here / name) for name in FILES},
        "spaces": [os.readlink(link) for link in spaces],
        "limits": [resource.getrlimit(limit) for limit in LIMITS],
        "nice": os.nice(0),
        "scheduler": [os.sched_getscheduler(0), os.sched_getparam(0).sched_priority],
    }


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # this kernel has none
        return ""


def _installed() -> list:
    """Name, with its version, and time of each distribution: a server has imported what was there."""
    found = []
    for folder in sys.path[1:]:
        if os.path.isdir(folder):
            with os.scandir(folder) as entries:
                found += [[folder, e.name, e.stat().st_mtime_ns] for e in entries
                          if e.name.endswith((".dist-info", ".egg-info"))]  # fmt: skip
    return sorted(found)


def run() -> int | None:
    """The exit code of this very command, run in a fork; None if it must run here."""
    try:
        path = address()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            try:
                server.connect(path)
            except OSError:
                _start(path)
                return None
            request = {"argv": sys.argv, "cwd": os.getcwd(), "environment": dict(os.environ)}
            content = json.dumps(request).encode()
            header = struct.pack("!I", len(content))
            socket.send_fds(server, [header], [0, 1, 2])
            server.sendall(content)
            return _wait(server)
    except OSError:
        return None  # nothing has begun


def _start(path: str) -> None:
    subprocess.Popen(
        [sys.executable, __file__, path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True, cwd="/",
    )  # fmt: skip


def _wait(server: socket.socket) -> int | None:
    """Forward signals until the fork says how it ended."""
    begun = server.recv(4)
    if len(begun) < 4:
        return None
    (pid,) = struct.unpack("!I", begun)
    before = {s: signal.signal(s, lambda number, _: os.kill(pid, number)) for s in FORWARDED}
    try:
        code = server.recv(1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code[0] if code else 128 + signal.SIGKILL  # ended without a word


# -- the server ------------------------------------------------------------------------------------


def serve(path: str) -> None:
    """Import, then fork for whoever asks."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    own = f"{path}.{os.getpid()}"
    lock = open(f"{path}.lock", "w")  # noqa: SIM115  held while this process lives
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # another one is being started
    for name in LIBRARIES:
        try:
            __import__(name)
        except ImportError:
            pass
    listening.bind(own)
    listening.listen(64)
    os.replace(own, path)  # not before it answers
    listening.settimeout(IDLE)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks report for themselves
    while True:
        try:
            caller, _ = listening.accept()
        except TimeoutError:
            os.unlink(path)
            return
        if os.fork() == 0:
            listening.close()
            lock.close()
            signal.signal(signal.SIGCHLD, before)
            _become(caller)
        caller.close()


def _become(caller: socket.socket) -> None:
    """Be the process that `caller` is not: run its command and tell it the exit code."""
    caller.settimeout(None)
    header, descriptors, _, _ = socket.recv_fds(caller, 4, 3)
    if len(header) < 4 or len(descriptors) < 3:
        os._exit(1)
    content = bytearray()
    while len(content) < struct.unpack("!I", header)[0]:
        more = caller.recv(65536)
        if not more:
            os._exit(1)
        content += more
    request = json.loads(content)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"], BURN_WARM_CHILD="1")
    sys.stdin = open(0, closefd=False)
    sys.stdout, sys.stderr = (
        open(number, "w", buffering=1, closefd=False, errors="backslashreplace")
        for number in (1, 2)
    )
    sys.argv, sys.path[0] = request["argv"], request["cwd"]
    threading.Thread(target=_follow, args=(caller,), daemon=True).start()
    caller.sendall(struct.pack("!I", os.getpid()))
    code = _command()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass
    caller.sendall(bytes([code]))
    os._exit(code)


def _follow(caller: socket.socket) -> None:
    """Die when the caller does."""
    try:
        caller.recv(1)
    finally:
        os._exit(128 + signal.SIGKILL)


def _command() -> int:
    import runpy
    import traceback

    try:
        runpy.run_module("burn", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 255
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
