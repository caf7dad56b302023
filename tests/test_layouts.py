"""The layouts that the owners of single-label data sets ship."""

import json
import os
import shutil
from pathlib import Path

import pytest
from layouts import SYNSETS, WRITE, birdsnap, cub200, imagenet, places205, text
from PIL import Image
from trees import refused, run, tree

from burn.data import sources
from burn.data.registry import REGISTRY
from burn.errors import UserError
from burn.experiment.schema import DataSet
from burn.images.store import open_data

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


def test_birdsnap_needs_an_image_to_test_on(tmp_path):
    birdsnap(tmp_path / "birdsnap")
    images = tmp_path / "birdsnap/download/images"
    for name in ("Ovenbird/3.jpg", "Acadian_Flycatcher/2.jpg"):
        (images / name).unlink()
    message = refused(tmp_path, dataset="birdsnap", source="official")
    assert message.startswith(
        f"{tmp_path / 'birdsnap'}: found no image for test; expected images.txt"
    )


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
