"""Which files of a folder are images: what Pillow reads, by name or content; the rest is counted, and named."""

import json

import pytest
from trees import pattern, refused, run, tree

from burn.data.files import WANTED
from burn.images.store import open_data

ONE = {"cat": 1, "dog": 1}
KINDS = {  # a name's ending and how Pillow writes it
    ".jfif": "JPEG", ".JPE": "JPEG", ".gif": "GIF", ".avif": "AVIF", ".jp2": "JPEG2000", ".tga": "TGA",
    ".apng": "PNG", ".dib": "DIB", ".qoi": "QOI", "": "JPEG", " of a cat": "PNG",
}  # fmt: skip


def left_out(out) -> int:
    return json.loads((out / "metrics.json").read_text()).get("left_out_files", 0)


@pytest.mark.parametrize("pack", [True, False])
def test_what_pillow_reads_is_read_whatever_its_ending(tmp_path, pack, capsys):
    tree(tmp_path / "x", {"train": ONE, "test": ONE})
    for k, (ending, kind) in enumerate(KINDS.items()):
        pattern(k).save(tmp_path / f"x/train/cat/img{k}{ending}", kind)
    out = run(tmp_path, "x", source="folder", pack=pack)
    assert len(open_data(out).split("train")) == 2 + len(KINDS)
    assert left_out(out) == 0 and capsys.readouterr().err == ""
    out = run(tmp_path, "x", source="images", pack=pack, out="unlabelled")
    assert len(open_data(out).split("train")) == 2 + len(KINDS)


def test_what_is_left_out_is_counted_and_named(tmp_path, capsys):
    tree(tmp_path / "x", {"train": ONE, "test": ONE})
    pattern(1).save(tmp_path / "x/train/cat/a.jpg.bak", "JPEG")
    for name in ("train/cat/b.heic", "train/dog/notes", "test/dog/c.txt"):
        (tmp_path / "x" / name).write_text("no image that Pillow reads")
    pattern(2).save(tmp_path / "x/train/lost.jpg")
    out = run(tmp_path, "x", source="folder")
    assert len(open_data(out).split("train")) == 2 and left_out(out) == 5
    assert capsys.readouterr().err == (
        f"{tmp_path / 'x'}: files left out: 5 beside 4 images, the first train/cat/a.jpg.bak (.bak, "
        ".heic, .txt, in no class folder, no ending)\n"
    )
    (tmp_path / "x/test").rename(tmp_path / "x/more")
    out = run(tmp_path, "x", source="images", out="unlabelled")
    assert (
        len(open_data(out).split("train")) == 5 and left_out(out) == 4
    )  # lost.jpg is an image here
    assert "files left out: 4 beside 5 images, the first " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", "#recycle", ".ipynb_checkpoints"])
def test_folders_of_the_system_are_no_class_and_hold_no_image(tmp_path, name, capsys):
    tree(tmp_path / "x", {"train": {**ONE, name: 1}, "test": ONE})
    tree(tmp_path / "x/train/cat", {name: {"0.jpg": 1}})
    out = run(tmp_path, "x", source="folder")
    assert open_data(out).classes == ["cat", "dog"] and len(open_data(out).split("train")) == 2
    out = run(tmp_path, "x", source="images", out="unlabelled")
    assert len(open_data(out).split("train")) == 2
    assert left_out(out) == 0


def test_a_folder_of_other_files_alone_says_so(tmp_path):
    tree(tmp_path / "x", {"train": ONE, "test": ONE})
    (tmp_path / "x/train/dog/000.jpg").rename(tmp_path / "x/train/dog/000.heic")
    message = refused(tmp_path, dataset="x", source="folder")
    assert message == (
        f"{tmp_path / 'x/train/dog'}: found 1 files, none of them an image; expected {WANTED}"
    )
