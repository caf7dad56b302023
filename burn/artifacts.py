"""What a step leaves behind, whole or not at all.

A step works in `.<name>.partial` beside its output folder and renames it at the end, so a folder
under its final name is always complete. The partial folder outlives a kill: a training step finds
its checkpoint there. `metrics.json` holds only what two identical runs agree on; what they do not
agree on (time, host, commit) goes to `provenance.json`, of which the report's page tells and no other
step reads, and to `log.jsonl`. What a training step logged, without the times, is in `curve.csv`.
"""

import csv
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from burn.errors import UserError
from burn.experiment.reads import text
from burn.places import CURVE, KNOWN, LOG, METRICS, PROVENANCE
from burn.provenance import provenance

PATIENCE = 2.0  # seconds: a process that was just killed may take a moment to let go
_holding: list = []
HELD = "BURN_RUN"  # in the environment: the run folder that the engine holds, for its steps


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
        with writing(self.path(LOG)), open(self.path(LOG), "a") as file:
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
    out: str | Path, step: str, settings: dict[str, Any], inputs: list = (), seed: int = 0,
    kept: list = (),
):  # fmt: skip
    """Make the artifact folder `out`.

    `settings` is what the step read of params.yaml, `inputs` the files it reads; `kept` are further
    places it reads. A partial folder left by a killed step is kept if it was made from the same
    settings and inputs, emptied otherwise. Yields a Work; set its `metrics`. Raises UserError if
    another process is making `out`, or something stands there that this step has not made.
    """
    out = Path(out)
    identity = text(
        {"step": step, "settings": settings, "seed": seed, "inputs": [file_hash(p) for p in inputs]}
    )
    partial = out.parent / f".{out.name}.partial"
    if int(os.environ.get("RANK", "0")) > 0:  # under torchrun the first process makes it
        yield Work(out, partial, identity)
        return
    _check_free(out, step, [*inputs, *kept])
    out.parent.mkdir(parents=True, exist_ok=True)
    with _run_of(out), _locked(out):
        seal = partial / "identity.json"
        if partial.exists() and not (seal.exists() and seal.read_text() == identity):
            shutil.rmtree(partial)
        partial.mkdir(exist_ok=True)
        write_text(seal, identity)
        work = Work(out, partial, identity)
        with writing(partial, kinds=()):
            yield work
        write_json(work.path(PROVENANCE), provenance(step, settings, seed) | work.provenance)
        write_json(work.path(METRICS), work.metrics)
        seal.unlink()
        _swap(partial, out)


def _check_free(out: Path, step: str, read: list) -> None:
    """Raise UserError unless `out` may be replaced: what is there would be deleted."""
    whole = out.resolve()
    if Path.cwd().is_relative_to(whole) or out.name in ("", ".."):
        raise UserError(f"--out: found {out}; expected a folder that the step may replace")
    for path in read:
        if Path(path).resolve().is_relative_to(whole):
            raise UserError(
                f"--out: found {out}, which {path} lies in; expected a folder apart from what the "
                "step reads"
            )
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"--out: found {out}, a file; expected a folder")
    names = sorted(os.listdir(out))
    if PROVENANCE in names:
        made = read_json(out / PROVENANCE)
        made = made.get("step") if isinstance(made, dict) else None
        found = None if made == step else f"which step {made} has made"
    else:  # engines bring back an artifact without it
        odd = [name for name in names if name not in KNOWN] if METRICS in names else names
        found = f"which holds {odd[0]}" if odd else None
    if found:
        raise UserError(
            f"--out: found {out}, {found}; expected a new or empty folder, or one that this step "
            f"({step}) has made"
        )


def hold_run(results: Path, shared: bool = False):
    """Hold the run folder `results`: an engine, alone, until its process ends; or, `shared`, a step
    of an engine that holds nothing (DVC), until the file that is returned is closed.

    Raises UserError if somebody else is at work in it.
    """
    results.mkdir(parents=True, exist_ok=True)
    paths = [results / ".run.lock"]
    if not shared and Path(".dvc").is_dir():
        Path(".dvc/tmp").mkdir(exist_ok=True)
        paths.append(Path(".dvc/tmp/lock"))  # DVC's own: it removes outputs before it runs a step
    files = [open(path, "a") for path in paths]
    for path, file in zip(paths, files):
        if not _lock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            for held in files:
                held.close()
            where = results if path.parent == results else Path.cwd()  # one engine in a checkout
            raise UserError(
                f"{where}: another Snakemake or DVC is at work in it; wait for it or stop it"
            )
    if not shared:
        os.environ[HELD] = str(results.resolve())
        _holding.extend(files)  # a file that nobody knows is closed
    return files[0]


def release_runs() -> None:
    """Let go of every run that this process holds."""
    while _holding:
        _holding.pop().close()
    os.environ.pop(HELD, None)


@contextmanager
def _run_of(out: Path):
    """Share the run that `out` lies in, unless the engine that called this step holds it."""
    run = Path(*out.parts[:2])
    if out.parts[0] != "results" or os.environ.get(HELD) == str(run.resolve()):
        yield
        return
    with hold_run(run, shared=True):
        yield


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


def _lock(file, kind: int = fcntl.LOCK_EX) -> bool:
    """Whether this process has locked `file`, or may go on as if: some file systems have no locks."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        _say_unlocked(os.path.dirname(file.name), error.strerror)
        return True


@cache
def _say_unlocked(folder: str, reason: str) -> None:
    print(f"warning: {folder}: {reason}: its file system has no locks; see that no two processes make "
          "the same at once", file=sys.stderr)  # fmt: skip


def _swap(partial: Path, out: Path) -> None:
    """Put `partial` in the place of `out`; in between, `out` is absent, never half-written."""
    old = out.parent / f".{out.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.replace(out, old)
    os.replace(partial, out)
    shutil.rmtree(old, ignore_errors=True)


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def writing(path: Path, size: int | None = None, kinds: tuple = (RuntimeError, SafetensorError)):
    """Where the file `path`, of `size` bytes, is written: an error becomes one line, a UserError.

    Libraries that write it raise `kinds`, which say neither what file nor why. Of a folder `path`, an
    error that names a file already, or is not about space, is left alone.
    """
    try:
        yield
    except (OSError, *kinds) as error:
        if isinstance(error, OSError) and (error.filename or error.errno not in FULL):
            raise
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        if number := re.search(r"os error (\d+)", reason):  # as safetensors puts it
            reason = os.strerror(int(number[1]))
        needed = "" if size is None else f"needed: {_size(size)}, "
        free = _size(shutil.disk_usage(path.parent).free)
        raise UserError(f"{path}: {reason[:200]}; {needed}free: {free}") from error


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def write_text(path: str | Path, content: str) -> None:
    """Write a file so that it is either the old one or the whole new one."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path, len(content)):
        temporary.write_text(content)
    os.replace(temporary, path)


def write_json(path: str | Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=1, sort_keys=True) + "\n")


def read_json(path: str | Path, **kinds: type | tuple) -> Any:
    """What a JSON file says; with `kinds` a mapping that has those keys, each of its type.

    Raises UserError, one line, if the file is missing, not JSON, or says something else.
    """
    try:
        content = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; has the step that makes it run?") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{path}: not JSON: {error.msg} ({place})") from None
    except (ValueError, RecursionError):  # no text, or one of brackets alone
        raise UserError(f"{path}: not JSON") from None
    if kinds and not isinstance(content, dict):
        raise UserError(f"{path}: found a {type(content).__name__}; expected a mapping")
    for key, kind in kinds.items():
        if key not in content:
            raise UserError(f"{path}: {key}: missing; expected here")
        if not isinstance(content[key], kind):
            raise UserError(f"{path}: {key}: found {content[key]!r:.80}; expected {_named(kind)}")
    return content


def _named(kind: type | tuple) -> str:
    return " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file. Raises UserError if there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; has the step that makes it run?") from None
