"""Artifacts and code that are not what they should be: one line that names the file."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from layouts import year
from safetensors.torch import load_file, save_file
from trees import packed, refused

import burn
from burn.data import sources
from burn.data.official import cifar
from burn.errors import UserError
from burn.evaluate import evaluate
from burn.experiment.plugins import load_code
from burn.experiment.schema import DataSet, Machine
from burn.images.store import open_data
from burn.report.examples import kept
from burn.training.existing import existing
from burn.training.frozen import FrozenTeacher

CPU = torch.device("cpu")


def line(work, *arguments) -> str:
    with pytest.raises(UserError) as error:
        work(*arguments)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def frozen(folder):
    return FrozenTeacher(folder, CPU, torch.float32)


def taken(folder):
    return existing(str(folder / "weights.safetensors"), None, "teacher")


@pytest.fixture
def copy(ground, tmp_path):
    return shutil.copytree(ground.teacher, tmp_path / "copy")


def change(folder, work):
    weights = load_file(folder / "weights.safetensors")
    work(weights)
    save_file(weights, folder / "weights.safetensors")


@pytest.mark.parametrize("of", ["network", "head"])
@pytest.mark.parametrize("how", ["missing", "extra", "mis-shaped", "all gone"])
def test_tensors_that_do_not_fit(copy, of, how):
    def work(weights):
        first = next(key for key in weights if key.startswith(f"{of}.") and key.endswith("weight"))
        if how == "missing":
            del weights[first]
        elif how == "extra":
            weights[f"{of}.more"] = torch.ones(1)
        elif how == "mis-shaped":
            weights[first] = torch.ones(3, 3)
        else:
            for key in [key for key in weights if key.startswith(f"{of}.")]:
                del weights[key]

    change(copy, work)
    if (of, how) == ("head", "all gone"):
        assert frozen(copy).head is None
        return
    assert line(frozen, copy).startswith(
        f"{copy / 'weights.safetensors'}: {of}: tensors do not fit"
    )
    if of == "network":
        line(burn.load, copy)


@pytest.mark.parametrize(
    "content", ["{}", "[]", "3", "null", '{"network": 3}', '{"network": {}}', "[" * 5000, "\xff",
                '{"network": {"arch": "x"}, "precision": "fp"}',
                '{"network": {"arch": "reactnet", "width": "a"}, "precision": "fp"}'],
)  # fmt: skip
def test_metrics_of_another_shape(copy, tmp_path, content):
    (copy / "metrics.json").write_text(content, encoding="latin1")
    for work in (burn.load, frozen):
        assert line(work, copy).startswith(f"{copy / 'metrics.json'}: ")
    if "network" not in content or content == '{"network": 3}':
        line(taken, copy)
        (tmp_path / "protocol").mkdir()
        said = dict.fromkeys(("protocol", "task", "dataset", "stages", "data"), "x") | {
            "options": {}
        }
        (tmp_path / "protocol" / "protocol.json").write_text(json.dumps(said))
        line(evaluate, tmp_path / "protocol", copy, 0, tmp_path / "out", Machine())
    (copy / "metrics.json").unlink()
    assert "no such file" in line(burn.load, copy)


@pytest.mark.parametrize("content", ["def f(:", "\0", "1/0", "import no_such_module", "x = 1"])
def test_code_that_cannot_be_used(tmp_path, content):
    (tmp_path / "mine.py").write_text(content)
    assert line(load_code, tmp_path / "mine.py", "Method").startswith(f"{tmp_path / 'mine.py'}: ")


ODD = {
    "labels above": lambda t: t["train.labels"].fill_(4),
    "labels below": lambda t: t["test.labels"].fill_(-1),
    "labels of another kind": lambda t: t.update({"train.labels": torch.rand(8)}),
    "more labels than images": lambda t: t.update({"train.labels": torch.zeros(9).long()}),
    "no labels": lambda t: t.pop("train.labels"),
    "no images": lambda t: t.pop("train.images"),
    "no test": lambda t: [t.pop("test.labels"), t.pop("test.images")],
    "images of another kind": lambda t: t.update({"train.images": torch.rand(8, 3, 32, 32)}),
    "a box of six numbers": lambda t: t.update({"train.boxes": torch.rand(2, 6)}),
    "masks without a side": lambda t: t.update({"train.masks": torch.zeros(8, 4).byte()}),
    "something else": lambda t: t.update({"train.more": torch.rand(8)}),
}


@pytest.mark.parametrize("how", ODD)
def test_data_that_prepare_has_not_written(tmp_path, how):
    open_data(packed(tmp_path, 8))
    tensors = load_file(tmp_path / "data.safetensors")
    ODD[how](tensors)
    save_file(tensors, tmp_path / "data.safetensors")
    assert str(tmp_path) in line(open_data, tmp_path)


@pytest.mark.parametrize("name", ["index.json", "metrics.json"])
@pytest.mark.parametrize("content", ["{}", "[]", '{"classes": 3}', "x"])
def test_an_index_of_another_shape(tmp_path, name, content):
    packed(tmp_path, 8)
    (tmp_path / name).write_text(content)
    assert line(open_data, tmp_path).startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize("end", [0, 10, 300, -20])
def test_predictions_cut_off(tmp_path, end):
    np.savez(tmp_path / "p.npz", **{"binary.x": np.arange(100), "binary": np.arange(9)})
    content = (tmp_path / "p.npz").read_bytes()
    (tmp_path / "p.npz").write_bytes(content[:end])
    assert line(kept, tmp_path / "p.npz", "binary").startswith(f"{tmp_path / 'p.npz'}: found ")


@pytest.mark.parametrize(
    "labels", [["cat", 1], [0, float("nan")], [0, 2**70], [0, 10], [-1, 0], [0, None]]
)
def test_cifar_labels_that_are_none(tmp_path, labels):
    with open(tmp_path / "batch", "wb") as file:
        pickle.dump({"data": np.zeros((2, 3072), np.uint8), "labels": labels}, file)
    message = line(cifar._batch, tmp_path / "batch", "labels", 10, "expected x")
    assert message.startswith(f"{tmp_path / 'batch'}: found ")


@pytest.mark.parametrize(
    "content",
    ['<?xml version="1.0" encoding="klingon"?><annotation/>', "<a" * 10, "<a>" * 60000, "",
     "<annotation><object/></annotation>", "<annotation><size><width>x</width></size></annotation>"],
)  # fmt: skip
def test_annotations_that_are_none(tmp_path, content):
    lists = {"Main/train": "01", "Main/val": "02"}
    year(tmp_path / "x/VOCdevkit/VOC2031", lists, [("cat", 0, (1, 1, 9, 9))])
    (tmp_path / "x/VOCdevkit/VOC2031/Annotations/01.xml").write_text(content)
    assert "01.xml: " in refused(tmp_path, dataset="x", source="folder")


def test_more_than_memory_holds():
    spec = DataSet(train=10**12, test=100, size=32, classes=4)
    message = line(sources.read, "imagenet", ".", spec)
    assert message.startswith("data.sets.imagenet.train: found 1000000000000 images of 32 pixels, ")
