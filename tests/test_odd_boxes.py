"""Boxes that are none (reversed, NaN, outside the image) are counted, and said; not all may be."""

import json

import pytest
from layouts import year
from trees import refused, run

from burn.images.store import open_data

GOOD = ("cat", 0, (1, 1, 40, 40))
ODD = {
    "reversed": (30, 10, 20, 30),
    "no number": ("nan", 1, 10, 10),
    "infinite": (1, 1, "inf", 10),
    "outside the image": (200, 1, 220, 20),
}
LISTS = {"Main/train": "01", "Main/trainval": "01 02", "Main/val": "02", "Main/test": "03"}


def voc(tmp_path, objects):
    year(tmp_path / "x/VOCdevkit/VOC2031", LISTS, objects)
    return tmp_path / "x/VOCdevkit/VOC2031/Annotations"


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("why", ODD)
def test_they_are_left_out_and_counted(tmp_path, capsys, why, pack):
    folder = voc(tmp_path, [GOOD, ("dog", 0, ODD[why])])
    out = run(tmp_path, "x", source="folder", pack=pack)
    assert json.loads((out / "metrics.json").read_text())["left_out_boxes"] == 3
    assert open_data(out).split("train").boxes[:, 1].tolist() == [0, 0]
    said = capsys.readouterr().err
    corners = " ".join(str(float(c) - (k < 2)) for k, c in enumerate(ODD[why]))
    assert said == f"{folder / '01.xml'}: found a box of 'dog' that is {why} ({corners}); " \
        "boxes left out: 3 of 6\n"  # fmt: skip


def test_a_set_whose_every_box_is_reversed_is_refused(tmp_path):
    folder = voc(tmp_path, [("cat", 0, ODD["reversed"])])
    message = refused(tmp_path, dataset="x", source="folder")
    assert message == f"{folder / '01.xml'}: found a box of 'cat' that is reversed (29.0 9.0 20.0 30.0), " \
        "and no box of train that is whole; expected xmin < xmax and ymin < ymax inside the image"  # fmt: skip


def test_a_set_without_odd_boxes_says_nothing(tmp_path, capsys):
    voc(tmp_path, [GOOD, ("dog", 0, (70, 1, 81, 41))])  # a pixel over the edge
    out = run(tmp_path, "x", source="folder")
    assert "left_out_boxes" not in json.loads((out / "metrics.json").read_text())
    assert capsys.readouterr().err == ""
