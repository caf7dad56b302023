"""The layouts that the owners of the data sets ship, and VOCdevkits of one's own. All trees are
written by the tests, in the true form."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image
from trees import pattern, refused, run, tree

from burn.data import sources
from burn.data.prepare import prepare
from burn.data.registry import REGISTRY
from burn.errors import UserError
from burn.experiment.schema import DataSet
from burn.images.store import open_data

SYNSETS = ("n01440764", "n01443537", "n02119789")


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def image(path: Path, number: int = 0, side=(40, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pattern(number, side).save(path)


# -- single-label sets ---------------------------------------------------------------------------


def imagenet(root: Path) -> None:
    """Three synsets to train on, a flat val/ of four images, the development kit.

    ILSVRC's numbers are not in the order of the synsets; those above its leaves have some too.
    """
    tree(root, {"train": dict.fromkeys(SYNSETS, 2)}, ".JPEG")
    numbers = {"n02119789": 1, "n01440764": 2, "n01443537": 3, "n00001740": 4}
    table = np.zeros(4, [("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("num_children", "f8")])
    for row, (synset, number) in zip(table, numbers.items()):
        row["ILSVRC2012_ID"], row["WNID"] = number, synset
        row["num_children"] = 3 * (synset == "n00001740")
    data = root / "ILSVRC2012_devkit_t12" / "data"
    text(data / "ILSVRC2012_validation_ground_truth.txt", "3", "1", "2", "3")
    scipy.io.savemat(data / "meta.mat", {"synsets": table[:, None]})
    for i in range(1, 5):
        image(root / f"val/ILSVRC2012_val_{i:08d}.JPEG", i)


def places205(root: Path) -> None:
    lists = {"train": ["a/abbey/1.jpg 0", "b/bazaar/indoor/2.jpg 1", "a/abbey/3.jpg 0"],
             "val": ["b/bazaar/indoor/4.jpg 1", "a/abbey/5.jpg 0"]}  # fmt: skip
    for split, lines in lists.items():
        text(root / f"trainvalsplit_places205/{split}_places205.csv", *lines)
        for line in lines:
            image(root / "images256" / line.split()[0])


def cub200(root: Path) -> None:
    base = root / "CUB_200_2011"
    birds = ["002.Laysan_Albatross/c.jpg", "001.Black_footed_Albatross/a.jpg",
             "001.Black_footed_Albatross/b.jpg", "002.Laysan_Albatross/d.jpg"]  # fmt: skip
    text(base / "images.txt", *(f"{i} {bird}" for i, bird in enumerate(birds, 1)))
    text(base / "image_class_labels.txt", "1 2", "2 1", "3 1", "4 2")
    text(base / "train_test_split.txt", "1 1", "2 0", "3 1", "4 0")
    for bird in birds:
        image(base / "images" / bird)


def birdsnap(root: Path) -> None:
    birds = {"Acadian_Flycatcher/1.jpg": 1, "Acadian_Flycatcher/2.jpg": 1, "Ovenbird/3.jpg": 7,
             "Ovenbird/4.jpg": 7, "Ovenbird/5.jpg": 7}  # fmt: skip
    rows = (f"http://x/y.jpg\tmd5\t{bird}\t{species}\t1\t2" for bird, species in birds.items())
    text(root / "images.txt", "url\tmd5\tpath\tspecies_id\tbb_x1\tbb_y1", *rows)
    text(root / "test_images.txt", "path", "Acadian_Flycatcher/2.jpg", "Ovenbird/3.jpg")
    for bird in birds:
        image(root / "download/images" / bird)


WRITE = {f.__name__: f for f in (imagenet, places205, cub200, birdsnap)}
FOUND = {  # class names, then the last part of each file with its label
    "imagenet": (SYNSETS, None, {"ILSVRC2012_val_00000001.JPEG": 1, "ILSVRC2012_val_00000002.JPEG":
                 2, "ILSVRC2012_val_00000003.JPEG": 0, "ILSVRC2012_val_00000004.JPEG": 1}),
    "places205": (("abbey", "bazaar/indoor"), {"1.jpg": 0, "2.jpg": 1, "3.jpg": 0},
                  {"4.jpg": 1, "5.jpg": 0}),
    "cub200": (("001.Black_footed_Albatross", "002.Laysan_Albatross"), {"c.jpg": 1, "b.jpg": 0},
               {"a.jpg": 0, "d.jpg": 1}),
    "birdsnap": (("Acadian_Flycatcher", "Ovenbird"), {"1.jpg": 0, "4.jpg": 1, "5.jpg": 1},
                 {"2.jpg": 0, "3.jpg": 1}),
}  # fmt: skip


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("dataset", FOUND)
def test_official_layout(tmp_path, dataset, pack):
    WRITE[dataset](tmp_path / "mine")
    out = run(tmp_path, dataset, source="official", path="mine", size=8, pack=pack)
    data, (names, *splits) = open_data(out), FOUND[dataset]
    assert data.classes == list(names) and sorted(data.splits) == ["test", "train"]
    found = sources.read(dataset, tmp_path, DataSet(source="official", path="mine"))
    for name, expected in zip(("train", "test"), splits):
        split, listed = data.split(name), found.splits[name]
        labels = dict(zip((Path(f).name for f in listed.files), split.labels.tolist()))
        if expected is not None:
            assert labels == expected
        for i, file in enumerate(listed.files):
            with Image.open(listed.folder / file) as picture:
                assert picture.size == (40, 32)
            if not pack:
                assert split.files[i] == listed.folder / file
    assert "missing_images" not in json.loads((out / "metrics.json").read_text())


@pytest.mark.parametrize("dataset", [d for d in FOUND if d != "imagenet"])
def test_classes_keeps_the_first_of_an_official_set(tmp_path, dataset):
    WRITE[dataset](tmp_path / dataset)
    with pytest.raises(UserError, match="at least two"):
        sources.read(dataset, tmp_path, DataSet(source="official", classes=1))
    with pytest.raises(UserError, match="classes: found 3; allowed: up to 2"):
        sources.read(dataset, tmp_path, DataSet(source="official", classes=3))


def test_classes_keeps_the_first_synsets_of_a_flat_val(tmp_path):
    imagenet(tmp_path / "imagenet")
    found = sources.read("imagenet", tmp_path, DataSet(source="official", classes=2))
    assert found.classes == list(SYNSETS[:2])
    assert found.test.labels.tolist() == [1, 0, 1] and "00000002" not in str(found.test.files)


@pytest.mark.parametrize(
    ("dataset", "gone"),
    [
        ("imagenet", "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"),
        ("imagenet", "ILSVRC2012_devkit_t12/data/meta.mat"),
        ("imagenet", "val/ILSVRC2012_val_00000002.JPEG"),
        ("places205", "trainvalsplit_places205/train_places205.csv"),
        ("places205", "trainvalsplit_places205/val_places205.csv"),
        ("places205", "images256"),
        ("cub200", "CUB_200_2011/images.txt"),
        ("cub200", "CUB_200_2011/image_class_labels.txt"),
        ("cub200", "CUB_200_2011/train_test_split.txt"),
        ("cub200", "CUB_200_2011/images"),
        ("birdsnap", "images.txt"),
        ("birdsnap", "test_images.txt"),
        ("birdsnap", "download/images"),
        ("voc07", "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt"),
        ("voc07", "VOCdevkit/VOC2007/ImageSets/Main/test.txt"),
        ("voc07", "VOCdevkit/VOC2007/JPEGImages"),
        ("voc07", "VOCdevkit/VOC2007/JPEGImages/02.jpg"),
        ("voc07", "VOCdevkit/VOC2007/Annotations/04.xml"),
    ],
)
def test_wrong_layout_names_the_first_missing_file_and_the_tree(tmp_path, dataset, gone):
    WRITE[dataset](tmp_path / dataset)
    path = tmp_path / dataset / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    message = refused(tmp_path, dataset=dataset, source="official")
    assert message.startswith(f"{path}: no such ")
    assert f"expected {REGISTRY[dataset].layout} (data.sets.{dataset}.source: official)" in message


@pytest.mark.parametrize("dataset", REGISTRY)
def test_nothing_there_shows_the_tree(tmp_path, dataset):
    message = refused(tmp_path, dataset=dataset, source="official")
    assert str(tmp_path / dataset) in message and REGISTRY[dataset].layout in message


@pytest.mark.parametrize("dataset", ["places205", "cub200"])
def test_a_listed_image_that_is_not_there_is_named(tmp_path, dataset):
    WRITE[dataset](tmp_path / dataset)
    path = sorted((tmp_path / dataset).rglob("*.jpg"))[-1]
    path.unlink()
    assert refused(tmp_path, dataset=dataset, source="official").startswith(f"{path}: no such file")


@pytest.mark.parametrize(
    ("dataset", "file", "old", "new", "said"),
    [
        ("places205", "trainvalsplit_places205/val_places205.csv", "jpg 1", "jpg 2",
         "found label 2; expected 0 to 1"),
        ("places205", "trainvalsplit_places205/train_places205.csv", "jpg 1", "jpg 3",
         "found no image of label 1"),
        ("places205", "trainvalsplit_places205/train_places205.csv", "a/abbey/1.jpg 0",
         "a/abbey/1.jpg", "line 1: found 'a/abbey/1.jpg'"),
        ("places205", "trainvalsplit_places205/val_places205.csv", "5.jpg 0", "5.jpg zero",
         "found 'zero' for a number"),
        ("cub200", "CUB_200_2011/image_class_labels.txt", "3 1\n", "",
         "found no line for image 3 of images.txt"),
        ("cub200", "CUB_200_2011/train_test_split.txt", "2 0", "2 1",
         "found no '001.Black_footed_Albatross' image"),
        ("birdsnap", "images.txt", "species_id", "species", "found no column 'species_id'"),
        ("birdsnap", "test_images.txt", "3.jpg", "9.jpg", "found 'Ovenbird/9.jpg', which"),
        ("imagenet", "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", "1\n",
         "4\n", "found 4, which meta.mat has not"),
        ("imagenet", "ILSVRC2012_devkit_t12/data/meta.mat", None, "no table", "expected train/"),
    ],
)  # fmt: skip
def test_a_wrong_list_is_named(tmp_path, dataset, file, old, new, said):
    WRITE[dataset](tmp_path / dataset)
    path = tmp_path / dataset / file
    if old is not None:
        assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new) if old else new)
    message = refused(tmp_path, dataset=dataset, source="official")
    assert message.startswith(f"{path}: ") and said in message


def test_flat_val_and_train_must_have_the_same_synsets(tmp_path):
    imagenet(tmp_path / "imagenet")
    shutil.rmtree(tmp_path / "imagenet/train/n02119789")
    message = refused(tmp_path, dataset="imagenet", source="official")
    assert "'n02119789' in ILSVRC2012_devkit_t12/data/" in message and "not in train/" in message


def test_places205_as_its_archive_unpacks(tmp_path):
    places205(tmp_path / "places205")
    below = tmp_path / "places205/data/vision/torralba/deeplearning"
    below.mkdir(parents=True)
    (tmp_path / "places205/images256").rename(below / "images256")
    assert len(open_data(run(tmp_path, "places205", source="official")).split("train")) == 3


def test_cub_and_birdsnap_with_or_without_the_archives_folder(tmp_path):
    cub200(tmp_path / "cub200")
    data = open_data(run(tmp_path, "cub200", source="official", path="cub200/CUB_200_2011"))
    assert len(data.split("test")) == 2
    birdsnap(tmp_path / "birdsnap/birdsnap")
    (tmp_path / "birdsnap/birdsnap/download/images").rename(tmp_path / "birdsnap/birdsnap/images")
    assert len(open_data(run(tmp_path, "birdsnap", source="official", out="b")).split("test")) == 2


def test_birdsnap_needs_images_of_a_species_to_train_on_alone(tmp_path):
    birdsnap(tmp_path / "birdsnap")
    images = tmp_path / "birdsnap/download/images/Ovenbird"
    (images / "3.jpg").unlink()
    data = open_data(run(tmp_path, "birdsnap", source="official", out="a"))
    assert data.split("test").labels.tolist() == [0] and len(data.classes) == 2
    for name in ("4.jpg", "5.jpg"):
        (images / name).unlink()
    assert "found no 'Ovenbird' image" in refused(tmp_path, dataset="birdsnap", source="official")


def test_birdsnap_goes_without_images_whose_links_are_dead(tmp_path, capsys):
    birdsnap(tmp_path / "birdsnap")
    (tmp_path / "birdsnap/download/images/Ovenbird/5.jpg").unlink()
    out = run(tmp_path, "birdsnap", source="official")
    assert open_data(out).split("train").labels.tolist() == [0, 1]
    assert json.loads((out / "metrics.json").read_text())["missing_images"] == 1
    assert "1 of 5 images are not there" in capsys.readouterr().err
    (tmp_path / "birdsnap/download/images/Ovenbird/4.jpg").unlink()
    message = refused(tmp_path / "birdsnap", dataset="birdsnap", source="official", path=".")
    assert "found no 'Ovenbird' image" in message


@pytest.mark.parametrize("dataset", [d for d in REGISTRY if d != "voc07"])
def test_any_folder_of_images_can_stand_for_a_set(tmp_path, dataset):
    tree(tmp_path / "scenes15", {"train": {"x": 2, "y": 1}, "test": {"x": 1, "y": 1}})
    data = open_data(run(tmp_path, dataset, source="folder", path="scenes15"))
    assert data.classes == ["x", "y"] and len(data.split("train")) == 3


def test_listing_a_tree_takes_no_stat_per_file(tmp_path, monkeypatch):
    for i in range(300):
        text(tmp_path / f"imagenet/train/{SYNSETS[i % 2]}/{i:04d}.JPEG")
        text(tmp_path / f"imagenet/val/{SYNSETS[i % 2]}/{i:04d}.JPEG")
    calls = []
    for name in ("stat", "lstat"):
        true = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, true=true, **k: calls.append(a) or true(*a, **k))
    found = sources.read("imagenet", tmp_path, DataSet(source="folder"))
    assert len(found.train.files) == len(found.test.files) == 300
    assert found.train.files[0] == f"{SYNSETS[0]}/0000.JPEG" and len(calls) < 30


# -- VOC -----------------------------------------------------------------------------------------

THREE = [("cat", 0, (1, 1, 10, 40)), ("dog", 0, (31, 11, 50, 30)), ("cow", 1, (41, 1, 60, 20))]


def annotation(objects, size=(80, 40)) -> str:
    parts = "".join(
        f"<object><name>{name}</name>"
        + ("" if difficult is None else f"<difficult>{difficult}</difficult>")
        + "<bndbox>"
        + "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box))
        + "</bndbox><part><name>head</name></part></object>"
        for name, difficult, box in objects
    )
    size = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation>{size}{parts}</annotation>"


def mask(value: int) -> Image.Image:
    """80 x 40: a square where the dog is, of some number, with a border to be ignored."""
    pixels = np.zeros((40, 80), np.uint8)
    pixels[9:31, 29:51] = 255
    pixels[10:30, 30:50] = value
    return Image.fromarray(pixels)


def year(base: Path, lists: dict[str, str], objects=THREE, masks=(), value=12) -> None:
    """A VOC20xx of 80 x 40 images. lists: "Main/train" -> names; masks: whose names have one."""
    for listing, names in lists.items():
        text(base / f"ImageSets/{listing}.txt", *names.split())
        for name in names.split():
            image(base / f"JPEGImages/{name}.jpg", int(name), (80, 40))
            if objects is not None:
                text(base / f"Annotations/{name}.xml", annotation(objects))
    for name in masks:
        (base / "SegmentationClass").mkdir(parents=True, exist_ok=True)
        mask(value).save(base / f"SegmentationClass/{name}.png")


def voc07(root: Path) -> None:
    """Two images a split: a cat at the left edge, a dog in the middle, a difficult cow."""
    lists = {"Main/trainval": "01 02", "Main/test": "03 04"}
    year(root / "VOCdevkit/VOC2007", lists, masks=("01",))


WRITE["voc07"] = voc07
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
    Image.new("L", (80, 40), 3).save(base / "SegmentationClass/01.png")
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
         "Annotations/01.xml", "expected a VOC annotation"),
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
