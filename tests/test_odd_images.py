"""Images of unusual depth, links that lead back, files that are none: read rightly or refused."""

import os

import numpy as np
import pytest
from PIL import Image

from burn.data import sources
from burn.data.official.vocfiles import image_size
from burn.errors import UserError
from burn.experiment.schema import DataSet
from burn.images.decode import load_image

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def saved(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def classes(root, **links):
    """train/ and test/ of two classes of two images; links: "train/cat/link" -> target."""
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            for k in "01":
                saved(root / split / name / f"{k}.png", RAMP)
    for link, target in links.items():
        (root / link).symlink_to(target)
    return root


def files(root) -> list[str]:
    return sources.read("x", root.parent, DataSet(source="folder", path=root.name)).train.files


def refused(work, *arguments) -> str:
    with pytest.raises(UserError) as error:
        work(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_sixteen_bits_become_eight(tmp_path, name, order):
    if name != "a.tif" and order == ">u2":
        pytest.skip("of one byte order in a file")
    path = saved(tmp_path / name, RAMP.astype(order) * np.array(257, order))
    image = load_image(path)
    assert image.mode == "RGB" and (np.asarray(image) == RAMP[..., None]).all()
    assert (np.asarray(load_image(path, "L")) == RAMP).all()
    saved(path, np.full((4, 4), 128, order))  # half a step of eight bits, rounded
    assert (np.asarray(load_image(path)) == 0).all()
    saved(path, np.full((4, 4), 130, order))
    assert (np.asarray(load_image(path)) == 1).all()


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_of_unknown_range_are_refused(tmp_path, kind):
    path = saved(tmp_path / "a.tif", RAMP.astype(kind))
    mode = {np.float32: "F", np.int32: "I"}[kind]
    message = refused(load_image, path)
    assert message == f"{path}: found pixels of mode {mode}, whose range is not known; expected 8 or 16 " \
        "bits a channel"  # fmt: skip


@pytest.mark.parametrize("target", [".", "..", "../..", "../../train", "../cat"])
def test_a_link_into_the_parents_is_not_followed(tmp_path, target):
    root = classes(tmp_path / "set", **{"train/cat/back": target})
    assert files(root) == ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]


def test_links_that_go_round_end(tmp_path):
    root = classes(tmp_path / "set")
    for name, other in ("ab", "ba"):
        saved(tmp_path / name / "2.png", RAMP)
        (tmp_path / name / "next").symlink_to(f"../{other}")
    (root / "train" / "cat" / "more").symlink_to(tmp_path / "a")
    assert files(root) == ["cat/0.png", "cat/1.png", "cat/more/2.png", "cat/more/next/2.png",
                           "dog/0.png", "dog/1.png"]  # fmt: skip


def test_a_class_that_is_a_link_is_followed(tmp_path):
    root = classes(tmp_path / "set")
    for split in ("train", "test"):
        saved(tmp_path / "owl" / "0.png", RAMP)
        (root / split / "owl").symlink_to(tmp_path / "owl")
    assert files(root)[-1] == "owl/0.png"


@pytest.mark.parametrize("target", [".", "..", "../train"])
def test_a_class_that_is_its_own_parent_is_refused(tmp_path, target):
    root = classes(tmp_path / "set", **{"train/owl": target, "test/owl": "cat"})
    assert refused(files, root).startswith(f"{root}/train/owl: found a link to a folder that holds")


@pytest.mark.parametrize("kind", ["pipe", "nowhere"])
def test_only_files_are_images(tmp_path, kind):
    root = classes(tmp_path / "set")
    odd = root / "train" / "cat" / "2.jpg"
    os.mkfifo(odd) if kind == "pipe" else odd.symlink_to("gone.jpg")
    found = "no regular file" if kind == "pipe" else "a link to nothing"
    assert refused(files, root) == f"{odd}: found {found}; expected an image"
    if kind == "pipe":
        for work in (load_image, image_size):
            assert refused(work, odd) == f"{odd}: found no regular file; expected an image"


def test_a_pipe_among_annotations_is_no_annotation(tmp_path):
    from burn.data.official.vockit import Kit

    kit = Kit(tmp_path, "voc07", "official")
    folder = tmp_path / "VOCdevkit" / "VOC2007" / "Annotations"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "01.xml")
    assert f"{folder / '01.xml'}: no such file" in refused(kit.annotation, ("VOC2007", "01"))
