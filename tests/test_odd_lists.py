"""Lists as editors and tools leave them, and files beside those that are meant."""

import codecs

import pytest
from layouts import THREE, WRITE, mask, year
from PIL import Image
from trees import pattern, run

from burn.data.files import read_text
from burn.errors import UserError
from burn.images.store import open_data

LISTS = {"Main/train": "01 02", "Main/val": "03"}
MARKS = {
    "utf-8": lambda text: codecs.BOM_UTF8 + text,
    "utf-16": lambda text: codecs.BOM_UTF16_LE + text.decode().encode("utf-16-le"),
    "crlf": lambda text: codecs.BOM_UTF8 + text.replace(b"\n", b"\r\n"),
}
FILES = {
    "cub200": ["images.txt", "image_class_labels.txt", "train_test_split.txt"],
    "places205": ["train_places205.csv", "val_places205.csv"],
    "birdsnap": ["images.txt", "test_images.txt"],
    "imagenet": ["ILSVRC2012_validation_ground_truth.txt"],
    "voc07": ["trainval.txt", "test.txt", "01.xml"],
}


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize(("dataset", "name"), [(d, n) for d, names in FILES.items() for n in names])
def test_a_byte_order_mark_counts_for_nothing(tmp_path, dataset, name, mark):
    WRITE[dataset](tmp_path / dataset)
    (path,) = (tmp_path / dataset).rglob(name)
    plain = run(tmp_path, dataset, source="official", out="plain")
    path.write_bytes(MARKS[mark](path.read_bytes()))
    out = run(tmp_path, dataset, source="official")
    for file in ("data.safetensors", "index.json", "metrics.json"):
        assert (out / file).read_bytes() == (plain / file).read_bytes()


@pytest.mark.parametrize(("content", "found"), [
    (b"\xff\xfea", "UTF-16 that breaks off"), (b"\x89PNG\0", "no text"),
])  # fmt: skip
def test_what_is_no_text_is_one_line(tmp_path, content, found):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(UserError) as error:
        read_text(tmp_path / "list.txt", "expected a list")
    assert str(error.value) == f"{tmp_path / 'list.txt'}: found {found}; expected a list"


@pytest.mark.parametrize("ending", [".jpg", ".JPG", ".xml", ".png"])
def test_names_in_a_list_may_have_an_ending(tmp_path, ending, capsys):
    base = tmp_path / "x/VOCdevkit/VOC2031"
    year(base, LISTS)
    expected = open_data(run(tmp_path, "x", source="folder", pack=False)).split("train").files
    (base / "ImageSets/Main/train.txt").write_text(f"01{ending}\n\n02{ending}\n01\n")
    split = open_data(run(tmp_path, "x", source="folder", pack=False)).split("train")
    assert split.files == expected and len(split.boxes) == 6
    assert capsys.readouterr().err == (
        f"{base / 'ImageSets/Main/train.txt'}: 1 lines name an image again: it is taken once\n"
    )


def test_a_name_that_ends_like_a_file_is_one(tmp_path):
    base = tmp_path / "x/VOCdevkit/VOC2031"
    year(base, LISTS)
    for name in ("JPEGImages/{}.jpg", "Annotations/{}.xml"):
        (base / name.format("01")).rename(base / name.format("01.jpg"))
    (base / "ImageSets/Main/train.txt").write_text("01.jpg\n")
    split = open_data(run(tmp_path, "x", source="folder", pack=False)).split("train")
    assert [file.name for file in split.files] == ["01.jpg.jpg"]


BESIDE = {  # what else lies in the folder of image 01
    "JPEGImages": ["01.xml", "01.json", "01.txt", "01.csv", "01.npy", "01.jpg.bak", "01.zip", "01.JSON"],
    "Annotations": ["01.jpg", "01.json", "01.txt", "01.yaml"],
    "SegmentationClass": ["01.json", "01.xml", "01.txt", "01.svg"],
}  # fmt: skip


@pytest.mark.parametrize(("folder", "name"), [(f, n) for f, names in BESIDE.items() for n in names])
def test_files_of_other_kinds_beside_are_not_taken_for_it(tmp_path, folder, name):
    base = tmp_path / "x/VOCdevkit/VOC2031"
    year(base, LISTS, THREE, masks=("01",), value=3)
    plain = run(tmp_path, "x", source="folder", out="plain")
    (base / folder / name).write_text("{}")
    out = run(tmp_path, "x", source="folder")
    for file in ("data.safetensors", "index.json", "metrics.json"):
        assert (out / file).read_bytes() == (plain / file).read_bytes()


@pytest.mark.parametrize("ending", [".webp", ".jpg", ".tif", ".JPEG"])
def test_a_coloured_picture_of_a_mask_beside_it_is_not_the_mask(tmp_path, ending):
    base = tmp_path / "x/VOCdevkit/VOC2031"
    year(base, LISTS, THREE, masks=("01",), value=3)
    plain = run(tmp_path, "x", source="folder", out="plain")
    pattern(1, (80, 40)).save(base / f"SegmentationClass/01{ending}")
    out = run(tmp_path, "x", source="folder")
    assert (out / "data.safetensors").read_bytes() == (plain / "data.safetensors").read_bytes()


def test_of_two_images_vocs_own_kind_is_the_one(tmp_path):
    base = tmp_path / "x/VOCdevkit/VOC2031"
    year(base, LISTS)
    for ending in (".bmp", ".png", ".webp"):
        Image.new("RGB", (80, 40)).save(base / f"JPEGImages/01{ending}")
    (base / "JPEGImages/02.jpg").rename(base / "JPEGImages/02")  # known by its content
    mask(3).save(base / "JPEGImages/03.png")
    (base / "JPEGImages/03.jpg").unlink()
    data = open_data(run(tmp_path, "x", source="folder", pack=False))
    names = [file.name for split in data.splits.values() for file in split.files]
    assert sorted(names) == ["01.jpg", "02", "03.png"]
