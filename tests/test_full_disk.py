"""A disk that is full: one line that names the file, what it needs, what is free; the rerun works."""

import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager

import graphs
import pytest
from cli import call, pretrain, start

from burn.artifacts import artifact, writing
from burn.data import prepare
from burn.errors import UserError

FULL = "/dev/full"
pytestmark = pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full")


def refused(work, *arguments) -> str:
    with pytest.raises(UserError) as error:
        work(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@contextmanager
def small_files(size: int):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def limited(size: int):
    """Options of a process whose files can have no more bytes: what a full disk is, without one."""
    return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))}


def test_weights(tmp_path):
    import torch

    from burn.networks import build

    path, networks = tmp_path / "w.safetensors", {"network": torch.nn.Linear(1000, 1000)}
    with small_files(10**6):
        message = refused(build.save, networks, path)
    assert message.startswith(f"{path}: File too large; needed: 4.0 MB, free: ")


@pytest.mark.parametrize("size", [None, 2 * 10**9])
def test_any_file(tmp_path, size):
    (tmp_path / "x").symlink_to(FULL)

    def write():
        with writing(tmp_path / "x", size):
            (tmp_path / "x").write_text("1" * 100)

    free = shutil.disk_usage(tmp_path).free
    message = refused(write)
    needed = "" if size is None else "needed: 2.0 GB, "
    assert message.startswith(f"{tmp_path / 'x'}: No space left on device; {needed}free: ")
    assert message.endswith("GB") or free < 1e8


def test_what_names_no_file_is_named_by_its_folder(tmp_path):
    import numpy as np

    def step():
        with artifact(tmp_path / "out", "step", {}) as work:
            work.path("predictions.npz").symlink_to(FULL)
            np.savez(work.path("predictions.npz"), a=np.zeros(10**6))

    assert refused(step).startswith(f"{tmp_path / '.out.partial'}: No space left on device; free: ")
    assert not (tmp_path / "out").exists()


def test_packed_images(tmp_path):
    import numpy as np

    (tmp_path / "x").symlink_to(FULL)
    tensors = [("a", "uint8", (4_000_000,), [np.zeros(4_000_000, np.uint8)])]
    message = refused(prepare._write, tmp_path / "x", tensors)
    assert message.startswith(f"{tmp_path / 'x'}: No space left on device; needed: 4.0 MB, free: ")


STEP = """
import sys
from burn.artifacts import artifact
with artifact(sys.argv[1], "step", {}) as work:
    work.metrics = {"x" * 5000: 1}
    work.log(row="x" * int(sys.argv[2]))
"""


@pytest.mark.parametrize(("row", "file"), [(5000, "log.jsonl"), (10, "metrics.json")])
def test_small_files(tmp_path, row, file):
    words = [sys.executable, "-c", STEP, str(tmp_path / "out"), str(row)]
    done = subprocess.run(words, cwd=graphs.ROOT, capture_output=True, text=True, **limited(4000))
    last = done.stderr.splitlines()[-1]
    assert f"UserError: {tmp_path / '.out.partial' / file}: File too large; " in last
    assert not (tmp_path / "out").exists()
    subprocess.run(words, cwd=graphs.ROOT, check=True)
    assert sorted(os.listdir(tmp_path / "out")) == ["log.jsonl", "metrics.json", "provenance.json"]


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path):
    import torch
    from toys import Toy, train

    def grows(step):
        if step == 25:  # what is saved after the second look does not fit
            method.helpers["big"].weight = torch.nn.Parameter(torch.zeros(10**6), False)
        return 0.0

    method = Toy(grows)
    method.helpers["big"] = torch.nn.PReLU(10)
    with small_files(10**6):
        message = refused(lambda: train(tmp_path / "a", method, epochs=12))
    assert message.startswith(f"{tmp_path / 'a' / 'checkpoint.tmp'}: ")
    assert "needed: 4.0 MB, free: " in message
    assert sorted(os.listdir(tmp_path / "a")) == ["checkpoint.pt", "log.jsonl"]
    assert torch.load(tmp_path / "a" / "checkpoint.pt")["update"] == 20


def test_a_step_says_so_and_its_rerun_works(ground, tmp_path):
    words = pretrain(ground, tmp_path / "out")
    process = start(*words, **limited(300_000))
    _, err = process.communicate()
    partial = tmp_path / ".out.partial"
    assert process.returncode == 2 and len(err.splitlines()) == 1
    assert err.startswith(f"error: {partial}/checkpoint.tmp: ") and "; needed: " in err
    assert not (tmp_path / "out").exists() and not (partial / "checkpoint.tmp").exists()
    assert call(*words) == 0


def test_half_a_checkpoint_of_a_killed_step_does_not_stay(tmp_path):
    from toys import train

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "checkpoint.tmp").touch()
    train(tmp_path / "a", epochs=1)
    assert sorted(os.listdir(tmp_path / "a")) == ["log.jsonl"]
