"""What a step leaves behind, whole or not at all.

A step works in `.<name>.partial` beside its output folder and renames it at the end, so a folder
under its final name is always complete. The partial folder outlives a kill: a training step finds
its checkpoint there. `metrics.json` holds only what two identical runs agree on; what they do not
agree on (time, host, commit) goes to `provenance.json`, of which the report's page tells and no other
step reads, and to `log.jsonl`. What a training step logged, without the times, is in `curve.csv`.
"""

import csv
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from burn import __version__
from burn.errors import UserError
from burn.experiment.reads import text
from burn.places import CURVE, LOG, METRICS, PROVENANCE

PATIENCE = 2.0  # seconds: a process that was just killed may take a moment to let go


class Work:
    """An artifact being made: files go to `dir`; `identity` says what it is made from."""

    def __init__(self, out: Path, dir: Path, identity: str):
        self.out, self.dir, self.identity = out, dir, identity
        self.metrics: dict[str, Any] = {}
        self.provenance: dict[str, Any] = {}  # what it should say besides

    def path(self, name: str) -> Path:
        return self.dir / name

    def log(self, **row: Any) -> None:
        """Append one line to log.jsonl."""
        with open(self.path(LOG), "a") as file:
            file.write(json.dumps(row) + "\n")

    def save_curve(self) -> None:
        """Write curve.csv: log.jsonl without its times; of an untrained stage the heading alone."""
        if int(os.environ.get("RANK", "0")) > 0:
            return
        log = self.path(LOG)
        lines = log.read_text().splitlines() if log.exists() else []
        rows = [json.loads(line) for line in lines]
        columns = dict.fromkeys(["update", "lr", "images", "loss"])
        columns |= dict.fromkeys(key for row in rows for key in row if key != "seconds")
        with open(self.path(CURVE), "w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


@contextmanager
def artifact(
    out: str | Path, step: str, settings: dict[str, Any], inputs: list = (), seed: int = 0
):
    """Make the artifact folder `out`.

    `settings` is what the step read of params.yaml, `inputs` the files it reads. A partial folder left
    by a killed step is kept if it was made from the same settings and inputs, emptied otherwise.
    Yields a Work; set its `metrics`. Raises UserError if another process is making `out`.
    """
    out = Path(out)
    identity = text(
        {"step": step, "settings": settings, "seed": seed, "inputs": [file_hash(p) for p in inputs]}
    )
    partial = out.parent / f".{out.name}.partial"
    if int(os.environ.get("RANK", "0")) > 0:  # under torchrun the first process makes it
        yield Work(out, partial, identity)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with _locked(out):
        seal = partial / "identity.json"
        if partial.exists() and not (seal.exists() and seal.read_text() == identity):
            shutil.rmtree(partial)
        partial.mkdir(exist_ok=True)
        write_text(seal, identity)
        work = Work(out, partial, identity)
        yield work
        write_json(work.path(PROVENANCE), provenance(step, settings, seed) | work.provenance)
        write_json(work.path(METRICS), work.metrics)
        seal.unlink()
        _swap(partial, out)


@contextmanager
def _locked(out: Path):
    """One process at a time per artifact; the kernel drops the lock when the process dies."""
    path = out.parent / f".{out.name}.lock"
    with open(path, "w") as file:
        until = time.monotonic() + PATIENCE
        while not _lock(file):
            if time.monotonic() > until:
                raise UserError(f"{out}: another process is making it; wait for it or stop it")
            time.sleep(0.05)
        yield
        path.unlink(missing_ok=True)


def _lock(file) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def _swap(partial: Path, out: Path) -> None:
    """Put `partial` in the place of `out`; in between, `out` is absent, never half-written."""
    old = out.parent / f".{out.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.replace(out, old)
    os.replace(partial, out)
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: str | Path, content: str) -> None:
    """Write a file so that it is either the old one or the whole new one."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(content)
    os.replace(temporary, path)


def write_json(path: str | Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=1, sort_keys=True) + "\n")


def read_json(path: str | Path) -> Any:
    """Raises UserError, one line, if the file is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; has the step that makes it run?") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not JSON: {error}") from None


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file. Raises UserError if there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; has the step that makes it run?") from None


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
