"""The data sets: found, checked, packed, drawn, read back. All trees are written by the tests."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from trees import pattern, refused, run, tree

from burn.data import sources, synthetic
from burn.data.prepare import prepare, square
from burn.errors import UserError
from burn.experiment.schema import DataSet
from burn.images import crops
from burn.images.store import Streamed, open_data

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
    picked = train.take(torch.tensor([5, 0]))
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


# -- synthetic stand-ins -------------------------------------------------------------------------


def test_synthetic_is_deterministic_and_grows_by_appending():
    few, labels = synthetic.draw("imagenet", "train", 70, 32, 10, seed=3)
    more, more_labels = synthetic.draw("imagenet", "train", 133, 32, 10, seed=3)
    assert np.array_equal(few, more[:70]) and np.array_equal(labels, more_labels[:70])
    tail, _ = synthetic.draw("imagenet", "train", 3, 32, 10, seed=3, start=130)
    assert np.array_equal(tail, more[130:])
    scenes = [synthetic.draw_scenes("voc07", "train", n, 32, 20) for n in (65, 90)]
    assert np.array_equal(scenes[0]["images"], scenes[1]["images"][:65])
    assert np.array_equal(scenes[0]["masks"], scenes[1]["masks"][:65])


def test_synthetic_splits_share_no_image_and_no_random_numbers():
    train, _ = synthetic.draw("imagenet", "train", 200, 32, 10)
    test, _ = synthetic.draw("imagenet", "test", 200, 32, 10)
    assert len({i.tobytes() for i in np.concatenate([train, test])}) == 400
    near = np.abs(train[:, None, :, ::4, ::4].astype(int) - test[None, :, :, ::4, ::4])
    assert near.mean((2, 3, 4)).min() > 10
    numbers = [synthetic._numbers("imagenet", s, 0, range(50), 8)[0] for s in ("train", "test")]
    assert len(np.unique(numbers)) > 0.99 * 2 * numbers[0].size


def test_synthetic_classes_differ_by_name_and_seed_and_are_distinct():
    assert synthetic.class_names("imagenet", 10, 0) == synthetic.class_names("imagenet", 10, 0)
    others = [synthetic.class_names(*a) for a in (("imagenet", 10, 1), ("cifar10", 10, 0))]
    assert all(o != synthetic.class_names("imagenet", 10, 0) for o in others)
    assert len(set(synthetic.class_names("imagenet", 1000, 0))) == 1000
    first = synthetic.class_specs("cifar10", 10, 0)
    assert (
        len({s[0] for s in first}) == 10 and synthetic.class_specs("cifar10", 500, 0)[:10] == first
    )
    assert synthetic.draw("imagenet", "train", 1000, 8, 1000)[0].shape == (1000, 3, 8, 8)


def probe(train, test, labels, test_labels, strength) -> float:
    scale = StandardScaler().fit(train)
    model = LogisticRegression(C=strength, max_iter=100).fit(scale.transform(train), labels)
    return model.score(scale.transform(test), test_labels)


def test_synthetic_classes_are_neither_colour_nor_linear_in_the_pixels():
    # The background leans towards the class's own, so colour tells something, but not the most.
    train, labels = synthetic.draw("cifar10", "train", 3000, 32, 10, seed=1)
    test, test_labels = synthetic.draw("cifar10", "test", 1000, 32, 10, seed=1)

    def histogram(images):
        bins = images.reshape(len(images), 3, -1) // 32
        return np.stack([(bins == b).mean(-1) for b in range(8)], -1).reshape(len(images), -1)

    assert probe(histogram(train), histogram(test), labels, test_labels, 1.0) < 0.45
    small = [i.reshape(-1, 3, 16, 2, 16, 2).mean((3, 5)).reshape(len(i), -1) for i in (train, test)]
    assert 0.15 < probe(*small, labels, test_labels, 1e-3) < 0.55


def test_synthetic_scenes_annotate_what_they_show():
    scenes = synthetic.draw_scenes("voc07", "train", 200, 48, 20)
    labels, boxes, masks = scenes["labels"], scenes["boxes"], scenes["masks"]
    assert scenes["images"].shape == (200, 3, 48, 48) and masks.max() == 255
    counts = np.bincount(boxes[:, 0].astype(int), minlength=200)
    assert set(counts) == {1, 2, 3} and (np.diff(boxes[:, 0]) >= 0).all()
    assert labels.sum(0).min() >= 10  # every class is there
    for i in range(200):
        own = boxes[boxes[:, 0] == i].astype(int)
        assert set(own[:, 1]) == set(labels[i].nonzero()[0])
        assert set(np.unique(masks[i])) == {0, 255, *(own[:, 1] + 1)}
        left = masks[i].copy()
        for _, cls, x1, y1, x2, y2, difficult in own:
            assert difficult == 0
            assert 0 <= x1 < x2 <= 48 and 0 <= y1 < y2 <= 48
            inside = masks[i, y1:y2, x1:x2] == cls + 1
            assert inside[0].any() and inside[-1].any()  # the box is tight
            assert inside[:, 0].any() and inside[:, -1].any()
            left[y1:y2, x1:x2][inside] = 0
        assert set(np.unique(left)) <= {0, 255}  # no object pixel outside the boxes


def test_synthetic_mask_has_a_one_pixel_border():
    mask = synthetic.draw_scenes("voc07", "train", 1, 48, 20)["masks"][0]
    objects = np.pad((mask > 0) & (mask < 255), 1)
    near = np.zeros((48, 48), bool)
    for dy in range(3):
        for dx in range(3):
            near |= objects[dy : dy + 48, dx : dx + 48]
    assert np.array_equal(mask == 255, near & ~objects[1:-1, 1:-1])


def test_synthetic_sets_are_prepared_with_the_official_number_of_classes(tmp_path):
    data = open_data(run(tmp_path, "cub200", train=400, test=200, size=8))
    assert data.stand_in and len(data.classes) == 200
    assert data.split("test").labels.bincount().tolist() == [1] * 200
    voc = open_data(run(tmp_path, "voc07", train=40, test=20, out="voc")).split("train")
    assert voc.labels.shape == (40, 20) and voc.boxes.shape[1] == 7
    assert voc.masks.shape == (40, 32, 32) and voc.masks.dtype == torch.uint8


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"train": None, "test": 10}, "data.sets.cifar10.train: found null"),
        ({"train": 10, "test": 9}, "data.sets.cifar10.test: found 9"),
        ({"train": 10, "test": 10, "pack": False}, "data.sets.cifar10.pack: found false"),
        ({"train": 2000, "test": 2000, "classes": 1001}, "classes: found 1001; allowed: 2 to 1000"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(tmp_path, spec, said):
    assert said in refused(tmp_path, **spec)


# -- reading -------------------------------------------------------------------------------------


def test_packed_arrays_are_mapped_not_copied(tmp_path):
    images = open_data(run(tmp_path, train=2000, test=10)).split("train").images
    at = images.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(n, 16) for n in line.split()[0].split("-"))
        if low <= at < high:
            assert line.endswith("data.safetensors")


def test_missing_artifact_files_are_named(tmp_path):
    out = run(tmp_path, train=10, test=10)
    content = (out / "data.safetensors").read_bytes()
    (out / "data.safetensors").write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"data\.safetensors: "):
        open_data(out)
    for name in ("data.safetensors", "metrics.json", "index.json"):
        (out / name).unlink()
        with pytest.raises(UserError, match=f"{name}: no such file"):
            open_data(out)


@pytest.fixture
def streamed(tmp_path):
    tree(tmp_path / "cifar10", {"train": TWO, "val": TWO}, side=(60, 40))
    return run(tmp_path, source="folder", size=32, pack=False)


def test_streamed_set_lists_its_files(streamed, tmp_path):
    split = open_data(streamed).split("train")
    assert split.images is None and len(split) == 7
    assert split.files[4] == tmp_path / "cifar10/train/dog/000.jpg"
    before = json.loads((streamed / "metrics.json").read_text())
    pattern(99, (60, 40)).save(tmp_path / "cifar10/train/dog/000.jpg", quality=30)
    run(tmp_path, source="folder", size=32, pack=False)
    after = json.loads((streamed / "metrics.json").read_text())
    assert before["sha256"] == after["sha256"] and before["files_sha256"] != after["files_sha256"]
    with pytest.raises(TypeError, match="Streamed"):
        split.take(torch.tensor([0]))


def test_streamed_views_depend_on_seed_epoch_and_item_only(streamed):
    split = open_data(streamed).split("train")
    views = {
        key: torch.stack([Streamed(split, [0.2, 1.0], 16, 2, *key)[i][0] for i in range(7)])
        for key in ((0, 0), (0, 1), (1, 0))
    }
    first = views[0, 0]
    assert first.shape == (7, 2, 3, 16, 16) and first.dtype == torch.uint8
    assert not torch.equal(first[:, 0], first[:, 1])
    assert not torch.equal(first, views[0, 1]) and not torch.equal(first, views[1, 0])
    loader = DataLoader(Streamed(split, [0.2, 1.0], 16, 2), batch_size=3, num_workers=2)
    images, labels = zip(*loader)
    assert torch.equal(torch.cat(images), first) and torch.cat(labels).tolist() == [0] * 4 + [1] * 3


def test_streamed_centre(streamed, tmp_path):
    image, label = Streamed(open_data(streamed).split("test"), None, 28)[6]
    with Image.open(tmp_path / "cifar10/val/dog/002.jpg") as file:
        expected = v2.Compose([v2.Resize(32, 3), v2.CenterCrop(28), v2.PILToTensor()])(file)
    assert image.shape == (1, 3, 28, 28) and torch.equal(image[0], expected) and label == 1


def test_crop_boxes_keep_the_asked_share():
    uniform = np.random.default_rng(0).random((2000, crops.NUMBERS))
    top, left, h, w = crops.boxes(uniform, 300, 400, [0.2, 0.6]).T
    share, ratio = h * w / 120000, w / h
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + h <= 300).all() and (left + w <= 400).all()
    assert 0.195 < share.min() < 0.21 and 0.59 < share.max() < 0.605
    assert 0.74 < ratio.min() < 0.76 and 1.31 < ratio.max() < 1.35
    assert top.min() == left.min() == 0 and (top + h).max() == 300 and (left + w).max() == 400
    nothing_fits = crops.boxes(uniform, 10, 400, [0.9, 1.0])
    assert (nothing_fits == [0, 193, 10, 13]).all()  # the centre
    shares = [np.array([[0.1], [0.5]]), np.array([[0.2], [1.0]])]  # one for each row
    one_by_one = [
        crops.boxes(uniform[i : i + 1], 300, 400, share)
        for i, share in enumerate([(0.1, 0.2), (0.5, 1.0)])
    ]
    assert (crops.boxes(uniform[:2], 300, 400, shares) == np.concatenate(one_by_one)).all()


def write_photograph(path: Path, width: int, height: int, mode: str = "RGB") -> np.ndarray:
    """A picture with fine and coarse structure; returns what Pillow decodes of it."""
    rng = np.random.default_rng(5)
    image = np.zeros((height, width, 3))
    for step in (200, 40, 8):
        cells = rng.random((height // step + 2, width // step + 2, 3), np.float32)
        layers = [Image.fromarray(c).resize((width, height), 3) for c in cells.transpose(2, 0, 1)]
        image += np.stack(layers, 2) * step  # amplitudes as in photographs
    image = (255 * image / image.max()).clip(0, 255).astype(np.uint8)
    Image.fromarray(image).convert(mode).save(path, quality=90)
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB")).astype(int)


@pytest.mark.parametrize("name", ["a.jpg", "gray.jpg", "cmyk.jpg", "a.png", "palette.png"])
def test_crops_are_torchvisions(tmp_path, name):
    """The bytes of RandomResizedCrop on a Pillow image at the same boxes, to 2 of 255."""
    mode = {"gray.jpg": "L", "cmyk.jpg": "CMYK", "palette.png": "P"}.get(name, "RGB")
    write_photograph(tmp_path / name, 500, 375, mode)
    places = np.array([[0, 0, 375, 500], [3, 20, 250, 300], [100, 41, 140, 120], [7, 9, 40, 30]])
    sizes = np.array([224, 96, 224, 64])
    found = crops.read_crops(tmp_path / name, lambda height, width: places, sizes)
    with Image.open(tmp_path / name) as file:
        image = file.convert("RGB")
    for crop, place, size in zip(found, places.tolist(), sizes.tolist()):
        expected = v2.functional.resized_crop(image, *place, [size, size], 3)
        difference = (crop.int() - v2.functional.pil_to_tensor(expected).int()).abs()
        assert crop.dtype == torch.uint8 and crop.is_contiguous()
        assert difference.max() <= 2 and difference.float().mean() < 0.3


def test_reduction_enlarges_no_crop():
    def factor(*boxes):
        places = np.array([(0, 0, height, width) for height, width, _ in boxes])
        return crops.reduction(places, np.array([size for *_, size in boxes]))

    assert factor((448, 448, 224)) == 2 and factor((447, 900, 224)) == factor((900, 447, 224)) == 1
    assert factor((896, 900, 224)) == 4 and factor((3000, 1792, 224)) == 8
    assert factor((896, 896, 224), (460, 500, 224)) == 2  # the smaller box decides
    assert factor((896, 896, 224), (200, 200, 50), (100, 100, 96)) == 1
    assert factor((10, 10, 224)) == 1


@pytest.mark.parametrize(("side", "factor"), [(450, 2), (910, 4), (1800, 8)])
def test_reduced_decoding_is_close_to_full(tmp_path, side, factor, monkeypatch):
    path, sizes = tmp_path / "a.jpg", np.array([224, 200])
    write_photograph(path, side + 203, side + 101)
    boxes = [[101, 5, side, side], [0, 203, side, side]]
    decode, shapes = simplejpeg.decode_jpeg, []

    def watched(*args, **kwargs):
        shapes.append(decode(*args, **kwargs))
        return shapes[-1]

    monkeypatch.setattr(simplejpeg, "decode_jpeg", watched)
    reduced = crops.read_crops(path, lambda height, width: np.array(boxes), sizes)
    assert [image.shape[0] for image in shapes] == [-(-(side + 101) // factor)]  # once for both
    image = Image.open(path).convert("RGB")
    for crop, (top, left, *_), size in zip(reduced, boxes, sizes.tolist()):
        # The box grown to whole pixels of the smaller image.
        low = [at // factor * factor for at in (left, top)]
        high = [-(-(at + side) // factor) * factor for at in (left, top)]
        box = (*low, *np.minimum(high, image.size).tolist())
        full = image.resize((size, size), Image.Resampling.BICUBIC, box)
        full = v2.functional.pil_to_tensor(full).int()
        difference = (crop.int() - full).abs().float()
        moved = (crop[:, :, 1:].int() - full[:, :, :-1]).abs().float()
        assert crop.shape == full.shape and difference.max() < 20
        assert difference.mean() < min(1.5, moved.mean() / 2)


def test_damaged_files_in_a_stream_are_named(streamed, tmp_path):
    split = open_data(streamed).split("train")
    path = split.files[2]
    content = path.read_bytes()
    for damage in (content[:-50], content[:100], b"", b"no image"):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=f"^{path}: found .*; expected a whole image$"):
            Streamed(split, [0.2, 1.0], 16)[2]
    path.unlink()
    with pytest.raises(UserError, match=f"^{path}: no such file; expected an image$"):
        Streamed(split, [0.2, 1.0], 16)[2]


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
