"""Drawn at random: whatever is in params.yaml, or in a file that is read, is taken or is one line."""

import copy
import io
import json
import pickle
import re

import graphs
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

import burn
from burn.data.official import cifar
from burn.data.official.vocfiles import objects
from burn.errors import UserError
from burn.experiment.reading import load, parse
from burn.experiment.reads import plain
from burn.images.decode import load_image
from burn.images.store import open_data
from burn.report.examples import kept

RAW = plain(load(graphs.ROOT / "params.yaml"))
TEXT = (graphs.ROOT / "params.yaml").read_bytes()
FEW = settings(max_examples=40, deadline=None, derandomize=True, database=None,
               suppress_health_check=list(HealthCheck))  # fmt: skip
MANY = settings(FEW, max_examples=250)

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates()
    | st.sampled_from([2**70, 10**4000, -1, 0, "x" * 12000, "a\nb", b"x", "3e-4", "../x", ""])
)  # fmt: skip
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=9) | st.integers(), v),
    max_leaves=8,
)  # fmt: skip


def places(raw, at=()):
    """Every place of a configuration, as its keys one after the other."""
    inner = (
        raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    )
    for key, value in inner:
        yield (*at, key)
        yield from places(value, (*at, key))


# What Python says of its own code, and nobody can read who has a file to mend.
PYTHON = re.compile(
    r"NoneType|object (has no attribute|is not)|invalid literal|could not convert|out of range|not subscriptable"
    r"|unpack|requires a buffer|codec can't|recursion|not supported between|unhashable|positional"
    r"|[A-Z][a-z]+(Error|Exception)\b|unexpected keyword|invalid load key|pickle data|badly formed"
)


def taken(work, *arguments, longest=None, plain=False):
    """Runs it; an error must be a UserError of one line."""
    try:
        work(*arguments)
    except UserError as error:
        message = str(error)
        assert len(message.splitlines()) == 1, message
        assert not plain or not PYTHON.search(message), message
        assert longest is None or len(message) <= longest, message


@MANY
@given(st.sampled_from(list(places(RAW))), values)
@example(("protocols",), 3)
@example(("data", "sets", "imagenet", "seed"), 2**70)
@example(("data", "sets", "imagenet", "size"), 100000)
@example(("data", "sets", "imagenet", "train"), 10**12)
@example(("run",), "x" * 12000)
@example(("seeds",), [10**4000])
def test_any_value_anywhere(place, value):
    raw = copy.deepcopy(RAW)
    table = raw
    for key in place[:-1]:
        table = table[key]
    table[place[-1]] = value
    taken(parse, raw, longest=300)


@MANY
@given(
    st.sampled_from([(), *(p for p in places(RAW) if len(p) < 4)]),
    st.text(max_size=9) | st.integers(),
    values,
)
def test_any_key_anywhere(place, key, value):
    raw = copy.deepcopy(RAW)
    table = raw
    for part in place:
        table = table[part]
    if isinstance(table, dict):
        table[key] = value
    taken(parse, raw, longest=300)


# Of a file: cut it, write over a part of it, put something in.
changes = st.lists(
    st.tuples(st.sampled_from(["cut", "over", "in"]), st.floats(0, 1), st.binary(max_size=12)),
    min_size=1, max_size=3,
)  # fmt: skip


def mutated(content: bytes, steps) -> bytes:
    for what, where, new in steps:
        at = int(where * len(content))
        if what == "cut":
            content = content[:at]
        else:
            content = content[:at] + new + content[at + len(new) * (what == "over") :]
    return content


@settings(FEW)
@given(changes)
@example([("in", 0, b"run: 2024-13-45\n")])
@example([("in", 0, b"? [a, b]\n: 1\n")])
def test_params_as_bytes(tmp_path_factory, steps):
    path = tmp_path_factory.getbasetemp() / "params.yaml"
    path.write_bytes(mutated(TEXT, steps))
    taken(load, path, longest=300)


def image(kind, mode="RGB"):
    out = io.BytesIO()
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).convert(mode).save(out, kind)
    return out.getvalue()


def npz():
    out = io.BytesIO()
    np.savez(out, **{"binary": np.arange(9), "binary.x": np.arange(9)})
    return out.getvalue()


def torch_file():
    out = io.BytesIO()
    torch.save({"state_dict": {"feature.0.conv1.weight": torch.ones(8, 3, 3, 3)}}, out)
    return out.getvalue()


XML = (
    b"<annotation><size><width>9</width><height>9</height></size><object><name>a</name><bndbox><xmin>1"
    b"</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"
)
BATCH = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]})
READERS = {  # name of the file, its content, what reads it
    "png": ("a.png", image("png"), load_image),
    "grey png": ("a.png", image("png", "L"), load_image),
    "jpeg": ("a.jpg", image("jpeg"), load_image),
    "tiff": ("a.tif", image("tiff"), load_image),
    "webp": ("a.webp", image("webp"), load_image),
    "bmp": ("a.bmp", image("bmp"), load_image),
    "annotation": ("a.xml", XML, lambda path: objects(path, (9, 9))),
    "cifar": ("a", BATCH, lambda path: cifar._batch(path, "labels", 10, "expected x")),
    "predictions": ("a.npz", npz(), lambda path: kept(path, "binary")),
    "released": ("a.pth", torch_file(), burn.load),
}


@pytest.mark.parametrize("reader", READERS)
def test_files(tmp_path_factory, reader):
    name, content, read = READERS[reader]
    path = tmp_path_factory.mktemp("files") / name
    path.write_bytes(content)
    if reader != "released":
        read(path)

    @FEW
    @given(changes)
    @example([("cut", 0.0, b"")])
    def check(steps):
        path.write_bytes(mutated(content, steps))
        taken(read, path, plain=reader != "released")

    check()


@pytest.mark.parametrize("name", ["metrics.json", "weights.safetensors"])
def test_artifacts(ground, tmp_path, name):
    files = {
        file: (ground.teacher / file).read_bytes()
        for file in ("metrics.json", "weights.safetensors")
    }
    head = (
        len(files["weights.safetensors"]) if name == "metrics.json" else 3000
    )  # not its numbers alone

    @settings(FEW, max_examples=25)
    @given(changes)
    def check(steps):
        content = files[name]
        changed = files | {name: mutated(content[:head], steps) + content[head:]}
        for file, data in changed.items():
            (tmp_path / file).write_bytes(data)
        taken(burn.load, tmp_path, plain=True)

    check()


def test_data(tmp_path):
    tensors = {}
    for split in ("train", "test"):
        tensors |= {
            f"{split}.labels": torch.arange(4),
            f"{split}.images": torch.zeros(4, 3, 8, 8).byte(),
        }
    content = {
        "data.safetensors": save(tensors),
        "index.json": json.dumps({"classes": list("abcd"), "streamed": False}).encode(),
        "metrics.json": json.dumps({"stand_in": True, "size": 8}).encode(),
    }

    @FEW
    @given(st.sampled_from(list(content)), changes)
    def check(name, steps):
        for file, data in content.items():
            (tmp_path / file).write_bytes(mutated(data, steps) if file == name else data)
        taken(open_data, tmp_path, plain=True)

    check()
