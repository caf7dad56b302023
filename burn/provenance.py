"""Where an artifact came from: parameters in force, versions, device, commit."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from burn import __version__
from burn.experiment.reads import text


def provenance(step: str, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Where an artifact came from: parameters in force, versions, device, commit, the end of the work."""
    return {
        "step": step,
        "params": json.loads(text(settings)),
        "seed": seed,
        "python": platform.python_version(),
        "versions": {p: _version(p) for p in ("torch", "torchvision", "burn")},
        "device": _device(),
        "commit": _commit(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    if package == "burn":  # runs from its source folder, too
        return __version__
    if package in sys.modules:  # what computed; another may lie on the disk by now
        return str(sys.modules[package].__version__).partition("+")[0]
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _device() -> str:
    torch = sys.modules.get("torch")  # asking must not cost a step that needs no torch 5 s
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return _processor() or platform.machine()


def _processor() -> str | None:
    """What Linux calls this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None)


SOURCE = (":(top)", ":(top,exclude)results", ":(top,exclude)dvc.lock")


def _commit() -> str | None:
    """The commit in use, "+changes" where a tracked file differs; results of a run do not count."""

    def git(*words: str) -> str:
        here = Path(__file__).parent
        return subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (
            "+changes" if git("status", "--porcelain", "-uno", "--", *SOURCE) else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("BURN_COMMIT")
