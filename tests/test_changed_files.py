"""Files of a data set that have changed: noticed by both engines, and refused while they are streamed."""

import os
import subprocess

import graphs
import numpy as np
import pytest
import torch
from conftest import ENVIRONMENT
from layouts import year
from PIL import Image
from trees import run, tree

from burn.data import listing
from burn.errors import UserError
from burn.evaluation import features, finetune
from burn.experiment.overlay import merge
from burn.experiment.reading import load
from burn.experiment.reads import plain
from burn.experiment.schema import Data
from burn.images.store import Streamed, open_data
from burn.tasks import segmentation

TWO = {"train": {"cat": 2, "dog": 1}, "test": {"cat": 1, "dog": 1}}
PART = dict.fromkeys(("train", "test"), {"cat": 1})


def of(root, download=False, **spec) -> str | None:
    listing._hash.cache_clear()  # in life a process asks at one time
    spec = {"source": "folder"} | spec
    return listing.of(Data(root=str(root), sets={"x": spec}, download=download), "x")


def swap(folder):
    (folder / "cat").rename(folder / "t")
    (folder / "dog").rename(folder / "cat")
    (folder / "t").rename(folder / "dog")


def rewrite(path):
    """The same size and, within a second, another time."""
    stat = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1000))


CHANGES = {
    "two classes change places": lambda x: swap(x / "train"),
    "a class is gone": lambda x: (x / "train/dog").rename(x.parent / "dog"),
    "an image more": lambda x: (x / "test/cat/more.jpg").write_bytes(b"1"),
    "an image in a new folder": lambda x: tree(x, {"train/cat": {"deep": 1}}),
    "other pixels in as many bytes": lambda x: rewrite(x / "train/cat/000.jpg"),
    "a list, an annotation": lambda x: (x / "notes.txt").write_text("1"),
    "behind a link": lambda x: (x.parent / "far/train/cat/000.jpg").write_bytes(b"1"),
    "a file gone behind its link": lambda x: (x.parent / "one.jpg").unlink(),
}


@pytest.fixture
def set_x(tmp_path):
    """An ImageFolder `x`, with links to a folder and to a file."""
    folder = tree(tmp_path / "x", TWO)
    tree(tmp_path / "far", PART)
    (folder / "train/cat/far").symlink_to(tmp_path / "far")
    (tmp_path / "one.jpg").write_bytes(b"1")
    (folder / "train/cat/one.jpg").symlink_to(tmp_path / "one.jpg")
    (folder / "train/cat/back").symlink_to("..")
    return folder


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("source", ["folder", "images", "official"])
def test_a_change_changes_the_listing(set_x, source, change):
    before = of(set_x.parent, source=source)
    assert before == of(set_x.parent, source=source)
    CHANGES[change](set_x)
    assert of(set_x.parent, source=source) != before


def test_what_is_none_of_the_users_changes_nothing(set_x):
    before = of(set_x.parent)
    (set_x / "train/.DS_Store").write_bytes(b"1")
    tree(set_x, {"__MACOSX": {"cat": 1}})
    (set_x.parent / "y").mkdir()
    assert of(set_x.parent) == before


def test_a_list_of_files_and_what_it_names(set_x):
    (set_x.parent / "list.txt").write_text("x/train/dog/000.jpg\nx/gone.jpg\n")
    seen = {of(set_x.parent, source="images", path="list.txt")}
    rewrite(set_x / "train/cat/000.jpg")  # not in it
    assert seen == {of(set_x.parent, source="images", path="list.txt")}
    rewrite(set_x / "train/dog/000.jpg")
    seen.add(of(set_x.parent, source="images", path="list.txt"))
    (set_x / "gone.jpg").write_bytes(b"1")
    seen.add(of(set_x.parent, source="images", path="list.txt"))
    (set_x.parent / "list.txt").write_text("x/gone.jpg\nx/train/dog/000.jpg\n")
    seen.add(of(set_x.parent, source="images", path="list.txt"))
    assert len(seen) == 4 and None not in seen


def test_what_is_drawn_fetched_or_not_there_has_none(set_x):
    assert of(set_x.parent, source="synthetic") is None
    assert of(set_x.parent, source="official", download=True) is None
    assert of(set_x.parent, path="nowhere") is None


def test_what_prepare_unpacks_beside_its_archives_changes_nothing(set_x):
    (set_x / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"1")
    before = of(set_x.parent, source="official")
    tree(set_x, {"val": {"cat": 1}})
    assert of(set_x.parent, source="official") == before
    (set_x / "ILSVRC2012_img_val.tar").write_bytes(b"1")
    assert of(set_x.parent, source="official") != before


# -- streamed ------------------------------------------------------------------------------------


def outputs(out):
    return [
        (out / name).read_bytes() for name in ("data.safetensors", "index.json", "metrics.json")
    ]


def test_a_streamed_set_is_known_by_its_content(tmp_path):
    """So a file that is touched, or copied, prepares the set again, and trains nothing again."""
    tree(tmp_path / "x", TWO, suffix=".bmp")
    first = outputs(run(tmp_path, "x", source="folder", pack=False))
    path = tmp_path / "x/train/cat/000.bmp"
    os.utime(path, (1, 1))
    assert outputs(run(tmp_path, "x", source="folder", pack=False)) == first
    size = path.stat().st_size
    Image.new("RGB", (40, 32)).save(path)
    assert path.stat().st_size == size
    assert outputs(run(tmp_path, "x", source="folder", pack=False)) != first


READERS = {
    "crops": lambda split, i: Streamed(split, [0.5, 1], 16)[i],
    "whole": lambda split, i: Streamed(split, None, 16)[i],
    "some": lambda split, i: Streamed(features.part(split, torch.tensor([0, i])), None, 16)[1],
    "in its own size": lambda split, i: list(finetune.images(split, [[i]], 0)),
    "mask": lambda split, i: segmentation.mask(split, i, 20),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_streamed_file_that_has_changed_is_refused(tmp_path, reader):
    read, lists = READERS[reader], {"Main/train": "01 02", "Main/val": "03"}
    year(tmp_path / "x/VOCdevkit/VOC2031", lists, masks=("01", "02"))
    split = open_data(run(tmp_path, "x", source="folder", pack=False)).split("train")
    read(split, 1)
    path = split.mask_files[1] if reader == "mask" else split.files[1]
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    with pytest.raises(
        UserError, match="02.* has changed since the step prepare checked it; expected"
    ):
        read(split, 1)
    if reader != "some":
        read(split, 0)
    run(tmp_path, "x", source="folder", pack=False)
    read(open_data(tmp_path / "out").split("train"), 1)
    (tmp_path / "out/files.npz").unlink()  # as pulled from another machine: nothing is known
    read(open_data(tmp_path / "out").split("train"), 1)


def test_what_prepare_saw_fits_what_it_left(tmp_path):
    tree(tmp_path / "x", TWO)
    (tmp_path / "x/train/cat/000.jpg").write_bytes(b"broken")
    out = run(tmp_path, "x", source="folder", pack=False, skip_broken=1)
    split = open_data(out).split("train")
    assert [file.stat().st_size for file in split.files] == split.seen[:, 0].tolist()
    np.savez(out / "files.npz", train=np.zeros((9, 2), np.int64))
    with pytest.raises(UserError, match="found 2 labels and no such number of files in files.npz"):
        open_data(out)
    (out / "files.npz").write_bytes(b"PK")
    with pytest.raises(
        UserError, match="files.npz: found no whole file; expected what prepare wrote"
    ):
        open_data(out)


# -- the engines ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["snakemake", "dvc"])
def test_both_engines_prepare_again_what_has_changed_and_nothing_else(tmp_path, engine):
    """Whatever the folder is called, and the report: no engine takes it for a pattern of its own."""
    root = tmp_path / "my {images} of ${run} $5 'a' %(b)s"
    tree(root / "x", TWO)
    tree(root / "y", {split: {"{dataset}": 1, "$x$": 1} for split in TWO})
    sets = {name: {"source": "folder", "size": 16} for name in "xy"}
    sets = dict.fromkeys(plain(load(graphs.ROOT / "params.yaml"))["data"]["sets"]) | sets
    own = {"data": {"root": str(root), "sets": sets}, "pretrain_on": "x",
           "report": {"title": "{results} of ${run}"},
           "protocols": dict.fromkeys(plain(load(graphs.ROOT / "params.yaml"))["protocols"])
           | {"linear-x": {"task": "linear", "dataset": "x"}}}  # fmt: skip
    raw = merge(plain(load(graphs.ROOT / "params.yaml")), own)
    folder = graphs.copy(tmp_path / "repo", graphs.effective(raw))
    made = [f"results/default/data/{name}/metrics.json" for name in "xy"]
    command = {"snakemake": ["snakemake", "--cores", "1", *made],
               "dvc": ["dvc", "repro", "prepare"]}[engine]  # fmt: skip

    def made_again() -> set[str]:
        before = {
            path: (folder / path).stat().st_mtime_ns for path in made if (folder / path).exists()
        }
        done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return {p[-14] for p in made if (folder / p).stat().st_mtime_ns != before.get(p)}

    assert made_again() == {"x", "y"}
    assert made_again() == set()
    swap(root / "x/train")
    for split in TWO:
        (root / "x" / split / "cat").rename(root / "x" / split / "owl")
    assert made_again() == {"x"}
    index = (folder / "results/default/data/x/index.json").read_text()
    assert "owl" in index and "cat" not in index
    assert made_again() == set()
