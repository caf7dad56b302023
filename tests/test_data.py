"""The data sets: found, checked, packed, drawn, read back. All trees are written by the tests."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from trees import pattern, refused, run, tree

from burn.data import sources
from burn.data.prepare import prepare, square
from burn.errors import UserError
from burn.experiment.schema import DataSet
from burn.images.store import open_data

TWO = {"cat": 4, "dog": 3}


# -- folders of images ---------------------------------------------------------------------------


def test_folder_is_packed_and_read_back(tmp_path):
    tree(tmp_path / "cifar10", {"train": TWO, "test": {"dog": 2, "cat": 1}})
    out = run(tmp_path, source="folder", size=16)
    data = open_data(out)
    assert data.classes == ["cat", "dog"] and data.stand_in is False
    train = data.split("train")
    assert len(train) == 7 and train.files is None
    assert train.images.shape == (7, 3, 16, 16) and train.images.dtype == torch.uint8
    assert train.labels.tolist() == [0] * 4 + [1] * 3 and train.labels.dtype == torch.int64
    picked = train.images[torch.tensor([5, 0])]
    with Image.open(tmp_path / "cifar10/train/dog/001.jpg") as image:
        expected = v2.functional.center_crop(v2.functional.resize(image, [16], 3), [16])
    assert torch.equal(picked[0], v2.functional.pil_to_tensor(expected))
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["train_images"] == 7 and metrics["test_images"] == 3
    assert metrics["packed"] is True and metrics["classes"] == 2


def test_packing_keeps_images_of_the_right_size_untouched():
    image = pattern(3, (24, 24))
    assert np.array_equal(square(image, 24), np.asarray(image).transpose(2, 0, 1))


@pytest.mark.parametrize("side", [(50, 33), (33, 50), (31, 31), (8, 9)])
def test_squares_are_torchvisions(side):
    image = pattern(0, side)
    expected = v2.functional.center_crop(v2.functional.resize(image, [16], 3), [16])
    assert np.array_equal(square(image, 16), v2.functional.pil_to_tensor(expected).numpy())


def test_identical_runs_leave_identical_bytes(tmp_path):
    tree(tmp_path / "cifar10", {"train": TWO, "val": TWO})
    first = run(tmp_path, source="folder", size=16, out="a")
    second = run(tmp_path, source="folder", size=16, out="b")
    for name in ("data.safetensors", "index.json", "metrics.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_extensions_in_any_case_and_hidden_files_left_out(tmp_path):
    tree(tmp_path / "cifar10", {"train": TWO, "val": TWO}, suffix=".PNG")
    (tmp_path / "cifar10/train/cat/._000.PNG").write_bytes(b"macOS")
    (tmp_path / "cifar10/train/cat/notes.txt").write_text("no image")
    (tmp_path / "cifar10/train/.cache").mkdir()
    assert len(open_data(run(tmp_path, source="folder")).split("train")) == 7


def test_test_folder_is_preferred_to_val(tmp_path):
    tree(tmp_path / "cifar10", {"train": TWO, "val": TWO, "test": {"cat": 1, "dog": 1}})
    assert len(open_data(run(tmp_path, source="folder")).split("test")) == 2


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("keep", [0, 0.5, -20])
@pytest.mark.parametrize("pack", [True, False])
def test_damaged_file_is_refused_by_name(tmp_path, suffix, keep, pack):
    tree(tmp_path / "cifar10", {"train": TWO, "val": TWO}, suffix, side=(64, 64))
    bad = tmp_path / f"cifar10/train/dog/001{suffix}"
    content = bad.read_bytes()
    bad.write_bytes(content[: keep if keep <= 0 else int(len(content) * keep)])
    message = refused(tmp_path, source="folder", pack=pack)
    assert message.startswith(f"{bad}: ") and "whole image" in message


def test_file_that_is_no_image_is_refused(tmp_path):
    tree(tmp_path / "cifar10", {"train": TWO, "val": TWO})
    (tmp_path / "cifar10/val/cat/page.jpg").write_text("<html>not found</html>")
    assert "val/cat/page.jpg" in refused(tmp_path, source="folder")


def test_empty_class_is_refused_by_name(tmp_path):
    tree(tmp_path / "cifar10", {"train": {**TWO, "eel": 0}, "val": {**TWO, "eel": 1}})
    assert str(tmp_path / "cifar10/train/eel") in refused(tmp_path, source="folder")


def test_missing_folder_says_where_and_what(tmp_path):
    message = refused(tmp_path, source="folder", path="pictures")
    assert f"{tmp_path / 'pictures'}: no such folder" in message
    assert "train/<class>/*.jpg and val/ or test/<class>/*.jpg" in message
    (tmp_path / "cifar10/train").mkdir(parents=True)
    assert "no class folders in train/" in refused(tmp_path, source="folder")


def test_splits_must_agree_on_the_classes(tmp_path):
    tree(tmp_path / "cifar10", {"train": TWO, "val": {"cat": 1, "cow": 1}})
    message = refused(tmp_path, source="folder")
    assert "'cow' in val/ but not in train/" in message


def test_one_class_is_refused(tmp_path):
    tree(tmp_path / "cifar10", {"train": {"cat": 2}, "val": {"cat": 2}})
    assert "at least two" in refused(tmp_path, source="folder")


def test_classes_keeps_the_first(tmp_path):
    three = {"ant": 2, "bee": 2, "cow": 2}
    tree(tmp_path / "cifar10", {"train": three, "val": three})
    assert open_data(run(tmp_path, source="folder", classes=2)).classes == ["ant", "bee"]
    with pytest.raises(UserError, match=r"classes: found 4; allowed: up to 3"):
        run(tmp_path, source="folder", classes=4)


def test_limits_are_balanced_and_drawn_by_the_seed(tmp_path):
    counts = {"ant": 9, "bee": 9, "cow": 3}
    tree(tmp_path / "cifar10", {"train": counts, "test": counts}, side=(8, 8))

    def files(**spec):
        spec = DataSet(source="folder", test=6, **spec)
        found = sources.read("cifar10", tmp_path, spec)
        return found.train.files, np.bincount(found.train.labels).tolist()

    assert files(train=7)[1] == [3, 2, 2]
    assert files(train=12)[1] == [5, 4, 3]  # a class with too few gives all it has
    assert files(train=99)[1] == [9, 9, 3]
    assert files(train=9) == files(train=9)
    assert files(train=9)[0] != files(train=9, seed=1)[0]
    assert set(files(train=9)[0]) < set(files(train=12)[0])
    with pytest.raises(UserError, match=r"train: found 2; allowed: at least one per class \(3\)"):
        files(train=2)


# -- official layouts ----------------------------------------------------------------------------


def cifar10_copy(root: Path, per_file=20) -> dict[str, np.ndarray]:
    """A small CIFAR-10 in the layout of the Python version."""
    base = root / "cifar-10-batches-py"
    base.mkdir(parents=True)
    names = [f"class{k}" for k in range(10)]
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, 2))
    data = {}
    for b, name in enumerate([f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]):
        data[name] = np.random.default_rng(b).integers(0, 256, (per_file, 3072), dtype=np.uint8)
        entry = {"data": data[name], "labels": [k % 10 for k in range(per_file)]}
        (base / name).write_bytes(pickle.dumps(entry, 2))
    return data


def test_official_cifar10_layout(tmp_path):
    data = cifar10_copy(tmp_path / "cifar10")
    opened = open_data(run(tmp_path, source="official"))
    train, test = opened.split("train"), opened.split("test")
    assert opened.classes[3] == "class3" and len(train) == 100 and len(test) == 20
    expected = data["data_batch_2"][5].reshape(3, 32, 32)  # rows of three planes, R, G, B
    assert np.array_equal(train.images[25].numpy(), expected) and train.labels[25] == 5
    small = open_data(run(tmp_path, source="official", classes=3, train=9, size=16, out="small"))
    assert small.split("train").images.shape == (9, 3, 16, 16)
    assert small.split("train").labels.bincount().tolist() == [3, 3, 3]


def test_official_cifar100_layout(tmp_path):
    base = tmp_path / "cifar100/cifar-100-python"
    base.mkdir(parents=True)
    names = [f"c{k}" for k in range(100)]
    (base / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    entry = {"data": np.zeros((100, 3072), np.uint8), "fine_labels": list(range(100))}
    for name in ("train", "test"):
        (base / name).write_bytes(pickle.dumps(entry))
    opened = open_data(run(tmp_path, "cifar100", source="official"))
    assert len(opened.classes) == 100 and opened.split("test").labels[42] == 42


def test_official_cifar10_damage_is_refused_by_name(tmp_path):
    cifar10_copy(tmp_path / "cifar10")
    bad = tmp_path / "cifar10/cifar-10-batches-py/data_batch_3"
    content = bad.read_bytes()
    bad.write_bytes(content[:-100])
    assert refused(tmp_path, source="official").startswith(f"{bad}: ")
    bad.write_bytes(pickle.dumps({"data": Path("x"), "labels": []}))  # would run code of pathlib
    assert "no place" in refused(tmp_path, source="official")
    bad.write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [3, 10]}))
    assert "found label 10" in refused(tmp_path, source="official")
    bad.unlink()
    assert f"{bad}: no such file" in refused(tmp_path, source="official")


def test_official_without_data_says_where_and_what(tmp_path):
    message = refused(tmp_path, source="official")
    assert str(tmp_path / "cifar10") in message and "cifar-10-batches-py/" in message
    assert "download" in message


def test_failing_download_is_one_line(tmp_path, monkeypatch):
    def offline(root, download):
        raise OSError("no\nnetwork")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", offline)
    message = refused(tmp_path, source="official", download=True)
    assert "download of cifar10 failed: no network" in message


def test_official_imagenet_is_a_plain_tree_of_synsets(tmp_path):
    two = {"n01440764": 2, "n01443537": 1}
    tree(tmp_path / "imagenet", {"train": two, "val": two, "test": {"x": 1}}, ".JPEG")
    opened = open_data(run(tmp_path, "imagenet", source="official", out="made"))
    assert opened.classes == list(two) and len(opened.split("test")) == 3
    tree(tmp_path / "other", {"train": TWO, "val": TWO})
    message = refused(tmp_path, dataset="imagenet", source="official", path="other")
    assert "'cat', not a synset" in message


def test_voc07_subset_keeps_boxes_with_their_images(tmp_path):
    whole = sources.Split(
        labels=np.eye(4, dtype=np.uint8),
        images=np.zeros((4, 3, 2, 2), np.uint8),
        boxes=np.array([[i, i, 0, 0, 1, 1, 0] for i in (0, 1, 1, 3)], np.float32),
    )
    assert whole.select(np.array([1, 3])).boxes[:, :2].tolist() == [[0, 1], [0, 1], [1, 3]]
    assert whole.select(np.array([0, 2])).boxes[:, :2].tolist() == [[0, 0]]


# -- real images ---------------------------------------------------------------------------------


@pytest.mark.skipif("BURN_REAL_DATA" not in os.environ, reason="BURN_REAL_DATA names no folder")
def test_real_cifar10(tmp_path):
    spec = DataSet(source="folder", train=400, test=100)
    prepare(
        "cifar10",
        {"root": os.environ["BURN_REAL_DATA"], "download": False, "spec": spec},
        tmp_path / "out",
    )
    data = open_data(tmp_path / "out")
    assert data.split("train").labels.bincount().tolist() == [40] * 10
    images = data.split("test").images.float()
    assert images.shape == (100, 3, 32, 32) and 90 < images.mean() < 150 and images.std() > 40
