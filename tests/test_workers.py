"""Images read by processes of their own: whatever happens to these or in a step, the step ends, and says
in one line what the user can mend."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cli import ENVIRONMENT, call, pretrain, start, write
from PIL import Image
from torch import nn
from toys import CPU, loader

from burn.errors import UserError
from burn.evaluation.features import features
from burn.evaluation.finetune import images
from burn.images.store import Split
from burn.images.workers import decoded

# The supervised method, with a mistake; under torchrun in one of two processes. There NCCL's goodbye waits
# for the others; gloo's does not, so it is made to.
BROKEN = """
import os, time, torch
from burn.methods.supervised import Method as Base, Recipe as Recipe
class Method(Base):
    def step(self, views, labels, step):
        if step == 2 and os.environ.get("RANK", "1") == "1":
            torch.distributed.destroy_process_group = lambda: time.sleep(600)
            raise ZeroDivisionError("a mistake")
        return super().step(views, labels, step)
"""


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    """A folder: mine/, a streamed set of 40 images to train on, and data/, what prepare made of it."""
    folder = tmp_path_factory.mktemp("streamed")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))
    for split in ("train", "test"):
        for name in "abcd":
            (folder / "mine" / split / name).mkdir(parents=True)
            for k in range(10):
                image.save(folder / "mine" / split / name / f"{k}.jpg")
    mine = {"source": "folder", "pack": False, "size": 32}
    data = {"root": str(folder), "sets": {"mine": mine}}
    params = write(folder, {"pretrain_on": "mine", "data": data})
    words = ["prepare", "--params", params, "--dataset", "mine", "--out", folder / "data"]
    assert call(*words) == 0
    return folder


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_mistake_in_a_method_ends_the_step(streamed, tmp_path, processes):
    (tmp_path / "broken.py").write_text(BROKEN)
    changes = {
        "machine": {"workers": 2, "gpus": processes},
        "pretrain_on": "mine",
        "data": {"root": str(streamed), "sets": {"mine": {"source": "folder", "pack": False}}},
    }
    ground = SimpleNamespace(data=streamed / "data", params=write(tmp_path, changes))
    words = pretrain(ground, tmp_path / "out", code=tmp_path / "broken.py")
    process = start(*words, env={**ENVIRONMENT, "BURN_WARM": "0"}, start_new_session=True)
    try:
        _, err = process.communicate(timeout=90)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 1
    assert "ZeroDivisionError: a mistake\n" in err


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how, found", [("gone", "no such file"), ("cut", "found .*")])
@pytest.mark.parametrize("reader", ["train", "features", "fine-tune"])
def test_an_image_gone_or_damaged_is_one_line(tmp_path, workers, how, found, reader):
    files = [tmp_path / f"{k}.png" for k in range(32)]
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for file in files:
        Image.fromarray(pixels).save(file)
    files[5].unlink() if how == "gone" else os.truncate(files[5], 100)
    split = Split(torch.arange(32) % 4, files=files)
    with pytest.raises(UserError, match=rf"\A{files[5]}: {found}; expected [a-z ]+\Z"):
        if reader == "train":
            list(loader(split=split, workers=workers).run(0, 2))
        elif reader == "features":
            features(nn.Flatten(), split, 8, CPU, workers)
        else:
            list(images(split, [[0, 1], [4, 5]], workers))


class Killed(torch.utils.data.Dataset):
    """Kills the process that reads its last item, as the system does where memory is full."""

    def __len__(self):
        return 4

    def __getitem__(self, row):
        if row == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return row


def test_a_worker_that_was_killed_is_one_line():
    with pytest.raises(UserError, match=r"\Amachine.workers: found 1, of which one was killed.*\Z"):
        list(decoded(Killed(), [[0, 1], [2, 3]], 1))


def test_images_are_read_without_a_draw_from_the_generator_that_training_uses():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert [batch.tolist() for batch in decoded(torch.arange(6), [[4, 1], [0]], 0)] == [[4, 1], [0]]
    assert torch.equal(torch.get_rng_state(), before)
