"""Images without labels: found, listed, packed or streamed, broken ones left out; what is refused on them."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import cli
import pytest
import torch
from graphs import ROOT
from reports import made as made_report
from trees import pattern, refused, run, tree

from burn.data import sources
from burn.errors import UserError
from burn.experiment.overlay import merge
from burn.experiment.reading import load, parse
from burn.experiment.reads import plain
from burn.experiment.schema import STAGES, DataSet
from burn.images.store import open_data


def photographs(root: Path, names: list[str]) -> Path:
    for k, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pattern(k).convert("RGB").save(root / name, "JPEG")
    return root


def files(folder: Path, **spec) -> list[str]:
    return sources.read(
        "mine", folder.parent, DataSet(source="images", path=folder.name, **spec)
    ).train.files


def made(tmp_path: Path, **spec) -> tuple:
    out = run(tmp_path, "mine", source="images", size=16, **spec)
    return open_data(out), json.loads((out / "metrics.json").read_text())


# -- which files ---------------------------------------------------------------------------------


def test_flat_and_nested_trees_are_read_in_one_order(tmp_path):
    names = ["b.jpg", "a.JPG", "2019/summer/c.JPEG", "2019/d e.png", "ünï.webp"]
    folder = photographs(tmp_path / "mine", names)
    (folder / "empty").mkdir()
    (folder / "._b.jpg").write_bytes(b"macOS")
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails/b.jpg").write_bytes(b"a thumbnail")
    (folder / "notes.txt").write_text("no image")
    assert files(folder) == sorted(names)


def test_links_are_followed_once_and_never_back(tmp_path):
    folder = photographs(tmp_path / "mine", ["a.jpg", "sub/b.jpg"])
    photographs(tmp_path / "other", ["c.jpg", "d.jpg"])
    (folder / "link.jpg").symlink_to(tmp_path / "other/c.jpg")
    for name in ("z", "m", "k"):  # the first in the order of names, whatever that of the disk is
        (folder / name).symlink_to(tmp_path / "other")
    (folder / "back").symlink_to(folder)
    (folder / "up").symlink_to(tmp_path)
    (folder / "within").symlink_to(folder / "sub")
    (tmp_path / "whole").symlink_to(folder)
    expected = ["a.jpg", "k/c.jpg", "k/d.jpg", "link.jpg", "sub/b.jpg"]
    assert files(folder) == expected and files(tmp_path / "whole") == expected


def test_a_name_that_is_no_utf8_is_read(tmp_path):
    folder = photographs(tmp_path / "mine", ["a.jpg"])
    os.rename(os.fsencode(folder / "a.jpg"), os.fsencode(folder) + b"/\xe4.jpg")
    assert os.fsencode(files(folder)[0]) == b"\xe4.jpg"
    for pack in (True, False):
        assert len(made(tmp_path, pack=pack)[0].split("train")) == 1
    (tmp_path / "list.txt").write_bytes(b"mine/\xe4.jpg\n")
    split = made(tmp_path, path="list.txt", pack=False)[0].split("train")
    assert os.fsencode(split.files[0]).endswith(b"mine/\xe4.jpg") and split.files[0].is_file()


def test_of_an_image_folder_the_test_images_are_left_alone(tmp_path, capsys):
    tree(tmp_path / "mine", {"train": {"cat": 2, "dog": 2}, "val": {"cat": 1, "dog": 1}})
    assert files(tmp_path / "mine") == ["cat/000.jpg", "cat/001.jpg", "dog/000.jpg", "dog/001.jpg"]
    assert (
        capsys.readouterr().err
        == f"{tmp_path / 'mine'}: val/ stands beside train/: only train/ is read\n"
    )
    tree(tmp_path / "one", {"train": {"cat": 2}, "rest": {"cat": 2}})
    assert len(files(tmp_path / "one")) == 4


WRITTEN = {
    "as lines": lambda lines: "\n".join(lines).encode(),
    "from Windows": lambda lines: b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\r\n",
    "from PowerShell": lambda lines: "\r\n".join(lines).encode("utf-16"),
    "with gaps": lambda lines: "\n\n  \n".join(f"./{line}  " for line in lines).encode(),
    "from the end": lambda lines: "\n".join(lines[::-1]).encode(),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_list_names_files(tmp_path, how):
    photographs(tmp_path / "lists", ["b.jpg", "sub/ä b.jpg", "no ending", "left out.jpg"])
    path = tmp_path / "lists" / "mine.txt"
    path.write_bytes(WRITTEN[how](["sub/ä b.jpg", "no ending", "b.jpg"]))
    assert files(path) == ["b.jpg", "no ending", "sub/ä b.jpg"]
    data, _ = made(tmp_path, path="lists/mine.txt")
    assert len(data.split("train")) == 3


def test_a_list_may_name_files_anywhere_and_one_twice(tmp_path, capsys):
    elsewhere = photographs(tmp_path / "elsewhere", ["a.jpg"]) / "a.jpg"
    path = photographs(tmp_path / "lists", ["b.jpg"]) / "mine.txt"
    path.write_text(f"b.jpg\n{elsewhere}\n../elsewhere/a.jpg\nb.jpg\n")
    assert files(path) == ["../elsewhere/a.jpg", str(elsewhere), "b.jpg"]
    assert capsys.readouterr().err == f"{path}: 1 lines name a file again: it is read once\n"
    split = made(tmp_path, path="lists/mine.txt", pack=False)[0].split("train")
    assert all(file.is_file() for file in split.files) and len(split) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "found no line"), (b"\n \n", "found no line"), (b"\x89PNG\0\0", "found no text"),
     (b"\xff\xfea", "UTF-16 that breaks off")],
)  # fmt: skip
def test_what_is_no_list_is_refused(tmp_path, content, message):
    (tmp_path / "mine").write_bytes(content)
    said = refused(tmp_path, dataset="mine", source="images")
    assert said.startswith(f"{tmp_path / 'mine'}: ") and message in said
    assert said.endswith("expected a text file with the path of an image in each line")


def test_no_image_says_where_and_what(tmp_path):
    (tmp_path / "mine/deep/er").mkdir(parents=True)
    (tmp_path / "mine/notes.txt").write_text("none")
    said = refused(tmp_path, dataset="mine", source="images")
    assert said.startswith(f"{tmp_path / 'mine'}: found 1 files, none of them an image; expected ")
    said = refused(tmp_path, dataset="yours", source="images")
    assert said.startswith(
        f"{tmp_path / 'yours'}: no such folder or file; expected a folder of images"
    )


# -- what is made of them ------------------------------------------------------------------------


def test_packed_and_streamed_have_no_labels(tmp_path):
    folder = photographs(tmp_path / "mine", ["b.jpg", "a.jpg", "c/d.jpg"])
    packed, metrics = made(tmp_path)
    assert (
        metrics["unlabelled"] is True and metrics["annotations"] == [] and metrics["classes"] == 0
    )
    assert metrics["train_images"] == 3 and "test_images" not in metrics
    streamed, _ = made(tmp_path, pack=False)
    for data in (packed, streamed):
        assert data.unlabelled and list(data.splits) == ["train"]
        assert data.split("train").labels.tolist() == [-1, -1, -1]
    assert streamed.split("train").files == [folder / f for f in ("a.jpg", "b.jpg", "c/d.jpg")]
    labelled = tree(tmp_path / "cifar10", {"train": {"x": 1, "y": 2}, "val": {"x": 1, "y": 1}})
    same, _ = made(tmp_path, path="cifar10")
    known = open_data(run(tmp_path, source="folder", size=16, path=labelled.name))
    assert torch.equal(same.split("train").images, known.split("train").images)


def test_a_part_is_drawn_by_the_seed(tmp_path):
    folder = photographs(tmp_path / "mine", [f"{k:02d}.jpg" for k in range(20)])
    drawn = files(folder, train=8)
    assert len(drawn) == 8 and drawn == sorted(drawn) and drawn == files(folder, train=8)
    assert drawn != files(folder, train=8, seed=1) and set(files(folder, train=5)) < set(drawn)
    assert len(files(folder, train=99)) == 20


# -- broken files --------------------------------------------------------------------------------


def broken(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.write_bytes(path.read_bytes()[:150])


@pytest.mark.parametrize("pack", [True, False])
def test_broken_files_are_left_out_and_told(tmp_path, pack, capsys):
    folder = photographs(tmp_path / "mine", [f"{k:03d}.jpg" for k in range(150)])
    broken(folder, "070.jpg")
    (folder / "gone.jpg").symlink_to("nowhere")
    data, metrics = made(tmp_path, pack=pack)
    out = [str(folder / name) for name in ("070.jpg", "gone.jpg")]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in lines] == out
    assert all(line.endswith("; left out") for line in lines)
    assert metrics["train_images"] == 149 and metrics["broken_images"] == 2
    assert json.loads((tmp_path / "out/index.json").read_text())["left_out"] == out
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [
        "data.safetensors", *([] if pack else ["files.npz"]), "index.json", "metrics.json",
        "provenance.json"]  # fmt: skip
    for name in out:
        os.unlink(name)
    whole, same = made(tmp_path, pack=pack, skip_broken=0)
    assert {**same, "broken_images": 2} == metrics
    if pack:
        assert torch.equal(whole.split("train").images, data.split("train").images)
    else:
        assert whole.split("train").files == data.split("train").files


@pytest.mark.parametrize("pack", [True, False])
def test_one_too_many_is_an_error(tmp_path, pack):
    folder = photographs(tmp_path / "mine", [f"{k}.jpg" for k in range(9)])
    broken(folder, "3.jpg", "6.jpg")
    said = refused(tmp_path, dataset="mine", source="images", pack=pack)
    assert said.startswith(f"{folder / '6.jpg'}: ")
    assert said.endswith("; 1 broken files before it are all that may be left out "
                         "(data.sets.mine.skip_broken: null, one in 100)")  # fmt: skip
    said = refused(tmp_path, dataset="mine", source="images", pack=pack, skip_broken=0)
    assert said.startswith(f"{folder / '3.jpg'}: ") and said.endswith("; expected a whole image")
    assert made(tmp_path, pack=pack, skip_broken=2)[1]["train_images"] == 7
    broken(folder, *(f"{k}.jpg" for k in range(9)))
    with pytest.raises(UserError) as error:
        made(tmp_path, pack=pack, skip_broken=9)
    said = str(error.value)
    assert "found no whole image in train, 9 broken ones left out" in said


@pytest.mark.parametrize("pack", [True, False])
def test_with_labels_they_keep_their_own(tmp_path, pack):
    tree(tmp_path / "cifar10", {"train": {"cat": 3, "dog": 2}, "val": {"cat": 1, "dog": 2}})
    broken(tmp_path / "cifar10", "train/cat/001.jpg", "val/dog/000.jpg")
    said = refused(tmp_path, source="folder", pack=pack)
    assert said.split(": ")[0].endswith("val/dog/000.jpg" if pack else "train/cat/001.jpg")
    out = run(tmp_path, source="folder", size=16, pack=pack, skip_broken=2)
    data = open_data(out)
    assert data.split("train").labels.tolist() == [0, 0, 1, 1]
    assert data.split("test").labels.tolist() == [0, 1]
    if pack:
        one = open_data(
            run(tmp_path, "x", source="images", path="cifar10/train/dog", size=16, out="dog")
        )
        assert torch.equal(data.split("train").images[2:], one.split("train").images)
    broken(tmp_path / "cifar10", "val/dog/001.jpg")
    with pytest.raises(
        UserError, match="found no whole image of class 'dog' in test, 3 broken ones"
    ):
        run(tmp_path, source="folder", size=16, pack=pack, skip_broken=9)


# -- params.yaml ---------------------------------------------------------------------------------

BASE = plain(load(ROOT / "params.yaml"))
MINE = {"pretrain_on": "mine", "data": {"sets": {"mine": {"source": "images"}}}}
WITHOUT_LABELS = merge(MINE, {"methods": {"standalone": {"supervised": None}}})


def test_every_row_without_labels_may_be_pretrained_on_them():
    assert set(parse(merge(BASE, WITHOUT_LABELS)).methods.standalone) > {"random", "swav", "byol"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": {"standalone": {"supervised": BASE["methods"]["standalone"]["supervised"]}}},
         "methods.standalone.supervised.file: found 'supervised', which needs labels, and mine "
         "(pretrain_on) has none (source: images); allowed: a method that needs none, or null to "
         "leave the row out"),
        ({"teacher": {"method": "supervised", "recipe": dict.fromkeys(BASE["teacher"]["recipe"])}},
         "teacher.method: found 'supervised', which needs labels, and mine (pretrain_on) has none "
         "(source: images); allowed: a method that needs none"),
        ({"protocols": {"own": {"task": "linear", "dataset": "mine"}}},
         "protocols.own.dataset: found 'mine', which has no labels (source: images); allowed: "
         "imagenet, places205, voc07, cifar10, cifar100, cub200, birdsnap"),
        ({"data": {"sets": {"mine": {"classes": 10}}}},
         "data.sets.mine.classes: found 10; allowed: null (source: images has none)"),
    ],
)  # fmt: skip
def test_what_needs_labels_is_refused(changes, message):
    with pytest.raises(UserError) as error:
        parse(merge(BASE, merge(WITHOUT_LABELS, changes)), "p.yaml")
    assert str(error.value) == f"p.yaml: {message}"


# -- from photographs to a network ---------------------------------------------------------------


@pytest.mark.parametrize("pack", [True, False])
def test_photographs_in_a_network_out(ground, tmp_path, pack):
    """Teacher and student are trained on them; the student is written small, and examined elsewhere."""
    photographs(tmp_path / "flat", [f"IMG_{k}.JPG" for k in range(34)])
    broken(tmp_path / "flat", "IMG_20.JPG")
    mine = {"source": "images", "path": str(tmp_path / "flat"), "pack": pack, "size": 40}
    changes = {"data": {"sets": {"mine": mine}}, "teacher": {"epochs": 1}}
    changes = merge(WITHOUT_LABELS, changes | {"machine": {"workers": 0 if pack else 2}})
    params, data = cli.write(tmp_path, changes), tmp_path / "data"
    assert cli.call("prepare", "--params", params, "--dataset", "mine", "--out", data) == 0
    here = SimpleNamespace(params=params, data=data)
    assert cli.call(*cli.teacher(here, tmp_path / "teacher")) == 0
    networks = tmp_path / "burn"
    before = {}
    for stage in STAGES:
        words = cli.pretrain(
            here, networks / stage, "burn", stage, teacher=tmp_path / "teacher", **before
        )
        assert cli.call(*words) == 0
        before = {"init": networks / stage}
    out = tmp_path / "export"
    words = ["export", "--params", params, "--networks", networks, "--data", data, "--out", out]
    exporting = cli.start(*words)  # a process of its own, as every step
    said = exporting.communicate()[1]
    assert exporting.returncode == 0, said
    facts = [
        json.loads((f / "metrics.json").read_text())
        for f in (tmp_path / "teacher", networks / "binary", out)
    ]
    assert [f["unlabelled"] for f in facts[:2]] == [True, True] and not facts[1]["stand_in"]
    assert facts[0]["train_images"] == facts[1]["train_images"] == 33 and facts[1]["updates"] == 12
    assert facts[2]["images"] == 33 and "agreement" not in facts[2]["formats"]["packed"]
    assert facts[2]["formats"]["packed"]["bits"] == 1
    words = ["protocol", "--params", params, "--protocol", "linear-imagenet", "--data", ground.data]
    words += ["--code", ROOT / "burn/tasks/linear.py", "--out", tmp_path / "protocol"]
    assert cli.call(*words) == 0
    words = ["evaluate", "--params", params, "--protocol", tmp_path / "protocol", "--seed", 0]
    assert cli.call(*words, "--networks", networks, "--out", tmp_path / "eval") == 0
    scores = json.loads((tmp_path / "eval/metrics.json").read_text())["stages"]["binary"]
    assert scores["unlabelled"] is True and 0 <= scores["top1"] <= 100


def test_the_captions_say_it(results):
    for path in results.glob("eval/*/*/seed*/metrics.json"):
        said = '"stand_in": false, "unlabelled": true'
        path.write_text(path.read_text().replace('"stand_in": true', said))
    text = (made_report(results) / "tables/linear.md").read_text(encoding="utf-8")
    assert "Pretrained on 4000 images of imagenet, unlabelled, in 18 to 27 optimiser steps" in text
