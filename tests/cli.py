"""`python -m burn`, called from tests: in this process or in one of its own, on a tiny experiment."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import graphs
import yaml

from burn import __main__
from burn.experiment.overlay import merge
from burn.experiment.reading import load, parse
from burn.experiment.reads import plain

METHODS = graphs.ROOT / "burn" / "methods"
FILES = ("weights.safetensors", "metrics.json")
QUICK = {"batch": 8, "precision": "fp32", "checkpoint_minutes": 0}
SIX = {
    "real": 6,
    "binact": 0,
    "binary": 6,
}  # epochs of 4 updates, or of 2 where there are two views
TINY = {
    "machine": {"device": "cpu", "threads": 1, "workers": 0},
    "data": {"sets": {"imagenet": {"size": 32, "classes": 4, "train": 32, "test": 16}}},
    "student": {"stem": "imagenet", "width": 0.25},
    "train": {**QUICK, "precision": "auto"},
    "teacher": {
        "network": {"width": 0.125},
        "train": QUICK,
        "epochs": 3,
        "recipe": {"queue": 64, "embedding": 16},
    },
    "methods": {
        "standalone": {"supervised": {"epochs": SIX}},  # a checkpoint at 20 of 24
        "distilled": {
            "burn": {"epochs": SIX, "recipe": {"outputs": 32, "hidden": 32}},
        },
    },
}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def call(*words) -> int:
    """`python -m burn` with `words`, in this process; returns the exit code."""
    before, sys.argv = sys.argv, ["burn", *map(str, words)]
    try:
        return __main__.main()
    finally:
        sys.argv = before


def start(*words, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "burn", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=graphs.ROOT, **{"env": ENVIRONMENT} | pipes | options)


def write(folder: Path, changes: dict | None = None) -> Path:
    """A params.yaml, tiny but for `changes`."""
    raw = merge(merge(plain(load(graphs.ROOT / "params.yaml")), TINY), changes or {})
    (folder / "params.yaml").write_text(yaml.safe_dump(plain(parse(raw)), sort_keys=False))
    return folder / "params.yaml"


def teacher(ground, out, params=None, code=METHODS / "mocov2.py") -> list:
    return ["teacher", "--params", params or ground.params, "--seed", 0, "--code", code,
            "--data", ground.data, "--out", out]  # fmt: skip


def pretrain(ground, out, method="supervised", stage="binary", code=None, params=None, **more):
    words = ["pretrain", "--params", params or ground.params, "--method", method, "--stage", stage]
    words += ["--seed", 0, "--code", code or METHODS / f"{method}.py", "--data", ground.data]
    return [*words, "--out", out, *(word for k, v in more.items() for word in (f"--{k}", v))]


def hashes(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES]


def error_of(capsys) -> str:
    """What the last call said on stderr: one line."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0].removeprefix("error: ")
