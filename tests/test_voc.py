"""PASCAL VOC as its owners ship it, and VOCdevkits of one's own: boxes, masks, lists of images."""

import json
import os
import shutil
from pathlib import Path

import pytest
from layouts import THREE, annotation, mask, voc07, year
from PIL import Image
from trees import refused, run, tree

from burn.data.prepare import prepare
from burn.data.registry import REGISTRY
from burn.errors import UserError
from burn.experiment.schema import DataSet
from burn.images.store import open_data

CAT, COW, DOG = 7, 9, 11  # of PASCAL's twenty
WHOLE = [[CAT, 0, 0, 10, 40, 0], [DOG, 30, 10, 50, 30, 0], [COW, 40, 0, 60, 20, 1]]


def test_voc_boxes_follow_the_crop(tmp_path):
    voc07(tmp_path / "voc07")
    train = open_data(run(tmp_path, "voc07", source="official", size=20)).split("train")
    assert train.labels.shape == (2, 20)
    assert (train.labels == 1).nonzero().tolist() == [[0, CAT], [0, DOG], [1, CAT], [1, DOG]]
    assert (train.labels == 255).nonzero().tolist() == [[0, COW], [1, COW]]  # a difficult cow
    # 80 x 40 becomes 40 x 20, of which columns 10..30 stay: the cat is cut away
    kept = [[DOG, 5, 5, 15, 15, 0], [COW, 10, 0, 20, 10, 1]]
    assert train.boxes.tolist() == [[i, *box] for i in (0, 1) for box in kept]
    assert (train.masks[0, 5:15, 5:15] == 12).all() and (train.masks[0] == 12).sum() == 100
    assert (train.masks[1] == 255).all() and train.mask_files is None


def test_streamed_voc_has_boxes_in_the_pixels_of_its_files(tmp_path):
    voc07(tmp_path / "voc07")
    out = run(tmp_path, "voc07", source="official", pack=False)
    base, train = tmp_path / "voc07/VOCdevkit/VOC2007", open_data(out).split("train")
    assert train.files == [base / "JPEGImages/01.jpg", base / "JPEGImages/02.jpg"]
    assert train.boxes.tolist() == [[i, *box] for i in (0, 1) for box in WHOLE]
    assert train.mask_files == [base / "SegmentationClass/01.png", None]
    assert train.images is None and train.masks is None and (train.labels == 1).sum() == 4
    before = json.loads((out / "metrics.json").read_text())["files_sha256"]
    mask(3).save(base / "SegmentationClass/01.png")
    again = run(tmp_path, "voc07", source="official", pack=False)
    assert json.loads((again / "metrics.json").read_text())["files_sha256"] != before


def test_voc2012_beside_it_adds_to_detection_and_has_the_masks(tmp_path):
    voc07(tmp_path / "voc07")
    lists = {"Main/trainval": "05 06 07", "Segmentation/train": "05", "Segmentation/val": "06",
             "Segmentation/test": "07"}  # fmt: skip
    year(tmp_path / "voc07/VOCdevkit/VOC2012", lists, THREE[:1], ("05", "06"))
    for pack in (True, False):
        out = run(tmp_path, "voc07", source="official", size=20, pack=pack)
        data = open_data(out)
        names = ["test", "test_segmentation", "train", "train_detection", "train_segmentation"]
        assert sorted(data.splits) == names
        assert len(data.split("train")) == 2 and data.split("train").masks is None
        assert len(data.split("train", "detection")) == 5
        assert data.split("test", "detection") is data.split("test")
        metrics = json.loads((out / "metrics.json").read_text())
        assert metrics["train_images"] == 2 and metrics["train_detection_images"] == 5
        for name in ("train", "test"):
            split = data.split(name, "segmentation")
            assert len(split) == 1 and split.boxes is None
            assert split.labels.nonzero().tolist() == [[0, DOG]]  # of the mask
    assert [f.name for f in data.split("train", "detection").files] == [
        f"0{k}.jpg" for k in (1, 2, 5, 6, 7)
    ]
    assert data.split("train", "detection").boxes[:, 0].unique().tolist() == [0, 1, 2, 3, 4]
    assert [f.parts[-3:] for f in data.split("test", "segmentation").mask_files] == [
        ("VOC2012", "SegmentationClass", "06.png")  # VOC2012's test images have no masks
    ]


def test_segmentation_lists_of_voc2007(tmp_path):
    lists = {"Main/trainval": "01 02", "Main/test": "03", "Segmentation/train": "01",
             "Segmentation/trainval": "01 02", "Segmentation/test": "03"}  # fmt: skip
    year(tmp_path / "voc07/VOCdevkit/VOC2007", lists, masks=("01", "02", "03"))
    data = open_data(run(tmp_path, "voc07", source="official", size=20))
    assert len(data.split("train", "segmentation")) == 2
    assert (data.split("test", "segmentation").masks[0, 5:15, 5:15] == 12).all()


def test_limits_cut_the_splits_of_tasks_too(tmp_path):
    names = " ".join(f"{k:02d}" for k in range(1, 41))
    lists = {"Main/trainval": names, "Main/test": "50 51"}
    one_each = [("cat", 0, (1, 1, 10, 10))]
    year(tmp_path / "voc07/VOCdevkit/VOC2007", lists, one_each)
    year(tmp_path / "voc07/VOCdevkit/VOC2012", {"Main/trainval": "60 61"}, one_each)
    data = open_data(run(tmp_path, "voc07", source="official", pack=False, train=25))
    assert len(data.split("train")) == len(data.split("train", "detection")) == 25
    assert len(data.split("test")) == 2
    assert data.split("train").boxes[:, 0].tolist() == list(range(25))


def test_own_voc_of_boxes_alone(tmp_path):
    """As BCCD: classes by their names, any year, no segmentation, corners that count from 0."""
    objects = [
        ("WBC", None, (0, 0, 10, 40)),
        ("RBC", 0, (31, 11, 50, 30)),
        ("WBC", 0, (5, 5, 5, 4)),
    ]
    lists = {"Main/train": "01", "Main/trainval": "01 02", "Main/val": "02", "Main/test": "03"}
    year(tmp_path / "cells/VOCdevkit/VOC2031", lists, objects)
    data = open_data(run(tmp_path, "voc07", source="folder", path="cells", size=40))
    assert data.classes == ["RBC", "WBC"] and sorted(data.splits) == ["test", "train"]
    test = data.split("test", "detection")
    assert test.boxes.tolist() == [[0, 0, 10, 10, 30, 30, 0]] and test.labels.tolist() == [[1, 1]]
    assert test.masks is None and len(data.split("train", "segmentation")) == 2
    streamed = open_data(run(tmp_path, "voc07", source="folder", path="cells", pack=False))
    assert streamed.split("test").boxes.tolist() == [
        [0, 1, 0, 0, 10, 40, 0], [0, 0, 30, 10, 50, 30, 0]
    ]  # fmt: skip
    assert streamed.split("test").mask_files is None


def test_own_voc_without_a_test_list_is_tested_on_val(tmp_path):
    lists = {"Main/train": "01", "Main/trainval": "01 02", "Main/val": "02"}
    year(tmp_path / "voc07/VOCdevkit/VOC2020", lists, [("face", 0, (1, 1, 9, 9))])
    data = open_data(run(tmp_path, "voc07", source="folder"))
    assert data.classes == ["face"]  # one is enough to be detected
    assert len(data.split("train")) == len(data.split("test")) == 1


@pytest.mark.parametrize("listed", ["Segmentation", "Main"])
def test_own_voc_of_masks_alone(tmp_path, listed):
    """As CamVid: classes are numbered, and an image's are those in its mask."""
    lists = {f"{listed}/train": "01 02", f"{listed}/val": "03", f"{listed}/test": "04"}
    base = tmp_path / "roads/VOCdevkit/VOC2012"
    year(base, lists, None, ("01", "03", "04"), value=2)
    coloured = Image.new("P", (80, 40), 3)  # as VOC's own masks: numbers that have colours
    coloured.putpalette([k % 256 for k in range(768)])
    coloured.save(base / "SegmentationClass/02.png")
    data = open_data(run(tmp_path, "voc07", source="folder", path="roads", size=20))
    train, test = data.split("train", "segmentation"), data.split("test", "segmentation")
    assert data.classes == ["class1", "class2", "class3"] and len(data.splits) == 2
    assert train.labels.tolist() == [[0, 1, 0], [0, 0, 1]] and train.boxes is None
    assert set(train.masks[0].unique().tolist()) == {0, 2, 255} and (train.masks[1] == 3).all()
    assert len(test) == 1 and test.labels.tolist() == [[0, 1, 0]]
    streamed = open_data(run(tmp_path, "voc07", source="folder", path="roads", pack=False))
    assert streamed.split("test").mask_files == [base / "SegmentationClass/04.png"]
    assert streamed.split("test").labels.tolist() == [[0, 1, 0]]


def test_own_voc_numbers_the_classes_its_annotations_do_not_name(tmp_path):
    lists = {"Main/trainval": "01", "Main/test": "02"}
    year(tmp_path / "voc07/VOCdevkit/VOC2007", lists, THREE, ("01", "02"), value=5)
    data = open_data(run(tmp_path, "voc07", source="folder"))
    assert data.classes == ["cat", "cow", "dog", "class4", "class5"]
    assert data.split("test").labels.tolist() == [[1, 255, 1, 0, 0]]


def test_voc_is_deterministic(tmp_path):
    voc07(tmp_path / "voc07")
    first = run(tmp_path, "voc07", source="folder", out="a")
    second = run(tmp_path, "voc07", source="folder", out="b")
    for name in ("data.safetensors", "index.json", "metrics.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


BASE = "VOCdevkit/VOC2007"


def put(file, content):
    def change(root):
        path = root / BASE / file
        path.parent.mkdir(parents=True, exist_ok=True)
        content.save(path) if isinstance(content, Image.Image) else path.write_text(content)

    return change


@pytest.mark.parametrize(
    ("source", "change", "where", "said"),
    [
        ("official", put("Annotations/01.xml", annotation([("rat", 0, (1, 1, 9, 9))])),
         "Annotations/01.xml", "found class 'rat'; expected one of PASCAL's twenty"),
        ("official", put("Annotations/01.xml", annotation(THREE, (40, 80))),
         "Annotations/01.xml", "found the size 40 x 80; expected that of the image, 80 x 40"),
        ("folder", put("Annotations/01.xml", "<annotation><object><name>x</name></object>"),
         "Annotations/01.xml", "expected a VOC annotation"),
        ("folder", put("Annotations/01.xml", "<annotation><object/></annotation>"),
         "Annotations/01.xml", "object 1: found no name; expected its class"),
        ("official", put("SegmentationClass/01.png", mask(21)),
         "SegmentationClass/01.png", "found 21; expected 0 to 20, or 255"),
        ("official", put("SegmentationClass/01.png", Image.new("L", (40, 40))),
         "SegmentationClass/01.png", "found 40 x 40 pixels of mode L; expected 80 x 40"),
        ("folder", put("SegmentationClass/01.png", Image.new("RGB", (80, 40))),
         "SegmentationClass/01.png", "of mode RGB; expected 80 x 40 of mode P or L"),
        ("folder", put("SegmentationClass/01.png", "no mask"),
         "SegmentationClass/01.png", "expected a whole image"),
        ("official", put("ImageSets/Main/test.txt", "03\n02\n"), "ImageSets/Main",
         "found '02' both to train and to test on (1 such images)"),
        ("official", put("ImageSets/Main/test.txt", "\n"), "ImageSets/Main/test.txt", "no names"),
        ("folder", put("ImageSets/Main/test.txt", "05"), "JPEGImages/05.jpg", "no such file"),
        ("folder", put("ImageSets/Segmentation/train.txt", "01"), "ImageSets/Segmentation/test.txt",
         "no such file"),
        ("folder", put("JPEGImages/02.jpg", "no image"), "JPEGImages/02.jpg", "whole image"),
    ],
)  # fmt: skip
def test_wrong_voc_is_named(tmp_path, source, change, where, said):
    voc07(tmp_path / "voc07")
    change(tmp_path / "voc07")
    message = refused(tmp_path, dataset="voc07", source=source)
    assert message.startswith(f"{tmp_path / 'voc07' / BASE / where}: ") and said in message


def test_zeros_for_a_size_are_taken_for_none(tmp_path):
    voc07(tmp_path / "voc07")
    put("Annotations/01.xml", annotation(THREE, (0, 0)))(tmp_path / "voc07")
    data = open_data(run(tmp_path, "voc07", source="official", pack=False))
    assert data.split("train").boxes[:3].tolist() == [[0, *box] for box in WHOLE]


def test_own_voc_that_is_not_there_shows_the_tree(tmp_path):
    (tmp_path / "voc07/VOCdevkit").mkdir(parents=True)
    message = refused(tmp_path, dataset="voc07", source="folder")
    assert REGISTRY["voc07"].folder in message and "source: folder" in message
    voc07(tmp_path / "voc07")
    shutil.rmtree(tmp_path / "voc07" / BASE / "Annotations")
    shutil.rmtree(tmp_path / "voc07" / BASE / "SegmentationClass")
    message = refused(tmp_path, dataset="voc07", source="folder")
    assert message.startswith(f"{tmp_path / 'voc07' / BASE / 'Annotations'}: no such")


def test_a_set_of_any_name_is_an_image_folder_or_a_vocdevkit(tmp_path):
    voc07(tmp_path / "cells")
    data = open_data(run(tmp_path, "cells", source="folder", out="boxes"))
    assert data.split("train").labels.dim() == 2 and len(data.split("train", "detection").boxes)
    tree(tmp_path / "rocks", {"train": {"a": 1, "b": 1}, "test": {"a": 1, "b": 1}})
    data = open_data(run(tmp_path, "rocks", source="folder", out="labels"))
    assert data.classes == ["a", "b"] and data.split("test").labels.tolist() == [0, 1]
    (tmp_path / "rocks/test/c").mkdir()
    message = refused(tmp_path, dataset="rocks", source="folder")
    assert "found class 'c' in test/ but not in train/" in message
    data = open_data(run(tmp_path, "rocks", source="folder", classes=2, out="first"))
    assert data.classes == ["a", "b"]
    message = refused(tmp_path, dataset="none", source="folder")
    assert REGISTRY["voc07"].folder in message and REGISTRY["imagenet"].folder in message


def test_voc_is_downloaded_as_far_as_it_is_missing(tmp_path, monkeypatch):
    asked = []

    def fetch(root, years, split, download):
        asked.append((years, split))
        if asked[-1] == ("2012", "trainval"):
            year(Path(root) / "VOCdevkit/VOC2012", {"Main/trainval": "05"})

    monkeypatch.setattr("torchvision.datasets.VOCDetection", fetch)
    voc07(tmp_path / "voc07")
    data = open_data(run(tmp_path, "voc07", download=True, source="official"))
    assert asked == [("2012", "trainval")] and len(data.split("train", "detection")) == 3
    run(tmp_path, "voc07", download=True, source="folder", out="own")
    assert len(asked) == 1
    (tmp_path / "voc07" / BASE / "ImageSets/Main/test.txt").unlink()

    def offline(*args, **kwargs):
        raise OSError("no\nnetwork")

    monkeypatch.setattr("torchvision.datasets.VOCDetection", offline)
    with pytest.raises(UserError, match="download of VOC2007 failed: no network"):
        run(tmp_path, "voc07", download=True, source="official")


# -- real images ---------------------------------------------------------------------------------


@pytest.mark.skipif("BURN_REAL_DATA" not in os.environ, reason="BURN_REAL_DATA names no folder")
@pytest.mark.parametrize(
    ("name", "train", "test", "classes", "has"),
    [("bccd", 292, 72, 3, "boxes"), ("camvid", 367, 233, 10, "masks")],
)
def test_real_voc(tmp_path, name, train, test, classes, has):
    view = {"root": os.environ["BURN_REAL_DATA"], "download": False}
    prepare(name, view | {"spec": DataSet(source="folder", size=64)}, tmp_path / "out")
    data = open_data(tmp_path / "out")
    splits = [data.split("train"), data.split("test")]
    assert [len(split) for split in splits] == [train, test] and len(data.classes) == classes
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["annotations"][1:] == [has]
    for split in splits:
        assert (split.labels.sum(0) > 0).all() and split.images.float().std() > 20
        if has == "boxes":
            assert split.boxes[:, 2:6].min() >= 0 and split.boxes[:, 2:6].max() == 64
            assert (split.boxes[:, 4:6] > split.boxes[:, 2:4]).all()
        else:
            known = split.masks[split.masks != 255]
            assert known.max() == classes and len(known) > 0.8 * split.masks.numel()
