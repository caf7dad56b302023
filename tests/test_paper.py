"""The paper's experiment at its full size (224 pixels, width 1, ResNet-50), for one update."""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from burn.artifacts import read_json
from burn.experiment.overlay import merge
from burn.experiment.reading import parse
from burn.experiment.reads import settings

ROOT = Path(__file__).parent.parent


def paper(tmp_path, **changes):
    """presets/paper.yaml over params.yaml, with what has to be small made small."""
    small = {
        "machine": {"device": "cpu", "gpus": 1, "threads": 1, "workers": 0},
        "data": {"root": str(tmp_path / "raw"), "download": False},
        "train": {"batch": 2, "accumulate": 1, "precision": "auto"},
        "teacher": {"checkpoint": None, "epochs": 0},
        "methods": {"distilled": {"burn": {"epochs": {"binact": 2}}}},
    }
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw = merge(raw, yaml.safe_load((ROOT / "presets" / "paper.yaml").read_text()))
    return parse(merge(raw, small))


def photos(folder: Path, split: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for synset in ("n01440764", "n01443537"):
        (folder / split / synset).mkdir(parents=True)
        image = Image.fromarray(rng.integers(0, 255, (9, 12, 3), np.uint8)).resize((320, 256))
        image.save(folder / split / synset / f"{synset}_{seed}.JPEG")


def test_one_update_at_full_size(tmp_path, monkeypatch):
    from burn.data.prepare import prepare
    from burn.pretrain import pretrain
    from burn.teacher import pretrain_teacher

    monkeypatch.chdir(ROOT)
    p = paper(tmp_path)
    photos(tmp_path / "raw" / "imagenet", "train", 0)
    photos(tmp_path / "raw" / "imagenet", "val", 1)
    data, teacher, out = tmp_path / "data", tmp_path / "teacher", tmp_path / "binact"
    prepare("imagenet", settings(p, "prepare", dataset="imagenet"), data)
    pretrain_teacher(
        settings(p, "teacher"), 0, ROOT / "burn/methods/mocov2.py", data, teacher, p.machine
    )
    read = settings(p, "pretrain", method="burn", stage="binact")
    code = ROOT / "burn" / "methods" / "burn.py"
    pretrain(read, "burn", "binact", 0, code, data, teacher, None, out, p.machine)
    metrics = read_json(out / "metrics.json")
    assert metrics["updates"] == 1 and metrics["images_seen"] == 2
    assert np.isfinite(metrics["loss"])
    assert metrics["network"]["width"] == 1.0 and metrics["network"]["stem"] == "imagenet"
    assert read_json(teacher / "metrics.json")["network"]["arch"] == "resnet50"
    assert read_json(data / "metrics.json")["packed"] is False
