"""Small data sets on disk, in the layouts there are, and the step `prepare` on them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from burn.data.prepare import prepare
from burn.errors import UserError
from burn.experiment.schema import DataSet


def pattern(number: int, side=(40, 32)) -> Image.Image:
    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return small.resize(side, Image.Resampling.BICUBIC)


def tree(root: Path, counts: dict[str, dict[str, int]], suffix=".jpg", side=(40, 32)) -> Path:
    """Write root/<split>/<class>/<k><suffix>; counts[split][class] images."""
    for split, classes in counts.items():
        for c, (name, count) in enumerate(classes.items()):
            folder = root / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                pattern(1000 * c + k, side).save(folder / f"{k:03d}{suffix}")
    return root


def run(tmp_path: Path, dataset="cifar10", download=False, out="out", **spec) -> Path:
    view = {"root": str(tmp_path), "download": download, "spec": DataSet(**spec)}
    prepare(dataset, view, tmp_path / out)
    return tmp_path / out


def refused(tmp_path: Path, **spec) -> str:
    with pytest.raises(UserError) as error:
        run(tmp_path, **spec)
    message = str(error.value)
    assert "\n" not in message
    assert not (tmp_path / "out").exists()
    return message


def packed(out: Path, count: int) -> Path:
    """A data artifact of `count` random images of 32 pixels, four classes, as prepare packs them."""
    rng = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=rng)
    tensors = {}
    for split in ("train", "test"):
        tensors |= {f"{split}.images": images.clone(), f"{split}.labels": torch.arange(count) % 4}
    save_file(tensors, out / "data.safetensors")
    (out / "index.json").write_text(json.dumps({"classes": list("abcd"), "streamed": False}))
    (out / "metrics.json").write_text(json.dumps({"stand_in": True, "size": 32}))
    return out
