"""Masks that cannot be what was meant: one number alone, two-valued ones of 0 and 255."""

import numpy as np
import pytest
from layouts import THREE, year
from PIL import Image
from trees import refused, run

from burn.images.store import open_data

LISTS = {"Main/train": "01 02", "Main/val": "03"}
EXPECTED = "expected two numbers or more, 0 for the background and 1, 2, ... for classes"


def two(inside: int, around: int = 0) -> Image.Image:
    """80 x 40 pixels: a square of one number, another around it."""
    pixels = np.full((40, 80), around, np.uint8)
    pixels[10:30, 30:50] = inside
    return Image.fromarray(pixels)


def devkit(tmp_path, objects=None, **masks):
    """A VOCdevkit `x` with masks["m01"], ... to train on, and m03 to test on; returns the masks' folder."""
    base = tmp_path / "x/VOCdevkit/VOC2031"
    year(base, LISTS, objects)
    folder = base / "SegmentationClass"
    folder.mkdir()
    for name, image in masks.items():
        image.save(folder / f"{name[1:]}.png")
    return folder


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("objects", [None, THREE])
def test_masks_of_0_and_255_are_refused(tmp_path, objects, pack):
    """As most tools for one class write them; 255 ignored, whoever says background is right."""
    folder = devkit(tmp_path, objects, m01=two(255), m02=two(255), m03=two(255))
    assert refused(tmp_path, dataset="x", source="folder", pack=pack) == (
        f"{folder}: found 0 and 255 alone in the masks of train, and 255 is ignored; {EXPECTED}: if "
        "255 is a class, write 1 there"
    )


@pytest.mark.parametrize(
    ("masks", "found"),
    [
        ((two(1), two(1), two(255)), "0 and 255 alone in the masks of test, and 255 is ignored"),
        ((two(1), two(1), two(0)), "0 alone in the masks of test"),
        ((two(1), two(1), two(1, 255)), "1 and 255 alone in the masks of test, and 255 is ignored"),
        ((two(255, 255), two(255, 255), two(1)), "255 alone in the masks of train, and 255 is ignored"),
        ((two(3, 3), two(3, 3), two(1)), "3 alone in the masks of train"),
    ],
)  # fmt: skip
def test_one_number_is_nothing_to_tell_apart(tmp_path, masks, found):
    folder = devkit(tmp_path, **dict(zip(("m01", "m02", "m03"), masks)))
    hint = ": if 255 is a class, write 1 there" if found.startswith("0 and") else ""
    message = refused(tmp_path, dataset="x", source="folder")
    assert message == f"{folder}: found {found}; {EXPECTED}{hint}"


def test_two_numbers_are_enough(tmp_path):
    """In all masks of a split together, with pixels to ignore or without, and without a background."""
    devkit(tmp_path, m01=two(1, 1), m02=two(2, 255), m03=two(1, 0))
    data = open_data(run(tmp_path, "x", source="folder"))
    assert data.classes == ["class1", "class2"] and data.split("train").labels.tolist() == [
        [1, 0],
        [0, 1],
    ]


def test_splits_without_masks_need_none(tmp_path):
    """Boxes may have masks in one split only."""
    devkit(tmp_path, THREE, m01=two(1))
    assert open_data(run(tmp_path, "x", source="folder")).split("test").masks.unique() == 255


def blurred(tmp_path) -> Image.Image:
    """A mask that was a JPEG file once: its edges have numbers of their own."""
    small = np.zeros((40, 80), np.uint8)
    small[10:30, 30:50] = 200
    Image.fromarray(small).save(tmp_path / "mask.jpg")
    return Image.open(tmp_path / "mask.jpg").convert("L")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("03.jpg", {}, "JPEG"),
        ("03.png", {"format": "JPEG"}, "JPEG"),  # the ending says nothing
        ("03.jp2", {}, "JPEG2000"),
        ("03.gif", {}, "GIF"),  # whose writers renumber the colours
        ("03.tif", {"compression": "jpeg"}, "jpeg"),
    ],
)
@pytest.mark.parametrize("pack", [True, False])
def test_masks_in_a_lossy_format_are_refused(tmp_path, name, options, said, pack):
    folder = devkit(tmp_path, m01=two(2), m02=two(1), m03=two(200))
    (folder / "03.png").unlink()
    two(200).save(folder / name, **options)
    assert refused(tmp_path, dataset="x", source="folder", pack=pack) == (
        f"{folder / name}: found a mask in {said}, which does not keep its numbers; expected PNG, "
        "written from the masks as they were drawn"
    )


@pytest.mark.parametrize(("name", "options"), [("03.tif", {"compression": "tiff_lzw"}), ("03.bmp", {}),
                                               ("03.pgm", {})])  # fmt: skip
def test_masks_in_other_lossless_formats_are_read(tmp_path, name, options):
    folder = devkit(tmp_path, m01=two(2), m02=two(1), m03=two(2))
    (folder / "03.png").unlink()
    two(2).save(folder / name, **options)
    data = open_data(run(tmp_path, "x", source="folder", size=40))
    assert (data.split("test").masks == 2).sum() == 400


def test_numbers_that_can_hardly_be_classes_are_told(tmp_path, capsys):
    folder = devkit(tmp_path, m01=blurred(tmp_path), m02=two(200), m03=two(200))
    data = open_data(run(tmp_path, "x", source="folder"))
    present = set(np.unique(np.asarray(Image.open(folder / "01.png")))) | {200}
    rare = sorted(present - {0, 200, 255})
    rare = [n for n in rare if (np.asarray(Image.open(folder / "01.png")) == n).sum() < 9.6]
    assert len(data.classes) == max(present) and len(rare) > 3
    assert capsys.readouterr().err.splitlines() == [
        f"{folder}: found number {max(present)}: so many classes are counted, of which "
        f"{len(present) - 1} occur",
        f"{folder}: numbers on fewer than one pixel in 1000: {len(rare)} of {len(present) - 1}, the "
        f"first {rare[0]}; are they classes, or edges that a lossy format or resizing has blurred?",
    ]


def test_more_numbers_than_names_are_told(tmp_path, capsys):
    folder = devkit(tmp_path, THREE, m01=two(5), m03=two(3))
    assert len(open_data(run(tmp_path, "x", source="folder")).classes) == 5
    assert capsys.readouterr().err == (
        f"{folder}: found number 5, where annotations name 3 classes: class4 to class5 added\n"
    )


def test_masks_as_they_should_be_are_not_spoken_of(tmp_path, capsys):
    devkit(tmp_path, THREE, m01=two(1), m03=two(3))
    run(tmp_path, "x", source="folder")
    assert capsys.readouterr().err == ""
