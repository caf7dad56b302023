"""Reading a data artifact: packed arrays, and files that are decoded and cropped as they are read."""

import json
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from trees import pattern, run, tree

from burn.errors import UserError
from burn.images import crops
from burn.images.store import Streamed, open_data

TWO = {"cat": 4, "dog": 3}


def test_packed_arrays_are_mapped_not_copied(tmp_path):
    images = open_data(run(tmp_path, train=2000, test=10)).split("train").images
    at = images.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(n, 16) for n in line.split()[0].split("-"))
        if low <= at < high:
            assert line.endswith("data.safetensors")


def test_missing_artifact_files_are_named(tmp_path):
    out = run(tmp_path, train=10, test=10)
    content = (out / "data.safetensors").read_bytes()
    (out / "data.safetensors").write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"data\.safetensors: "):
        open_data(out)
    for name in ("data.safetensors", "metrics.json", "index.json"):
        (out / name).unlink()
        with pytest.raises(UserError, match=f"{name}: no such file"):
            open_data(out)


@pytest.fixture
def streamed(tmp_path):
    tree(tmp_path / "cifar10", {"train": TWO, "val": TWO}, side=(60, 40))
    return run(tmp_path, source="folder", size=32, pack=False)


def test_streamed_set_lists_its_files(streamed, tmp_path):
    split = open_data(streamed).split("train")
    assert split.images is None and len(split) == 7
    assert split.files[4] == tmp_path / "cifar10/train/dog/000.jpg"
    before = json.loads((streamed / "metrics.json").read_text())
    pattern(99, (60, 40)).save(tmp_path / "cifar10/train/dog/000.jpg", quality=30)
    run(tmp_path, source="folder", size=32, pack=False)
    after = json.loads((streamed / "metrics.json").read_text())
    assert before["sha256"] == after["sha256"] and before["files_sha256"] != after["files_sha256"]


def test_streamed_views_depend_on_seed_epoch_and_item_only(streamed):
    split = open_data(streamed).split("train")
    views = {
        key: torch.stack([Streamed(split, [0.2, 1.0], 16, 2, *key)[i][0] for i in range(7)])
        for key in ((0, 0), (0, 1), (1, 0))
    }
    first = views[0, 0]
    assert first.shape == (7, 2, 3, 16, 16) and first.dtype == torch.uint8
    assert not torch.equal(first[:, 0], first[:, 1])
    assert not torch.equal(first, views[0, 1]) and not torch.equal(first, views[1, 0])
    loader = DataLoader(Streamed(split, [0.2, 1.0], 16, 2), batch_size=3, num_workers=2)
    images, labels = zip(*loader)
    assert torch.equal(torch.cat(images), first) and torch.cat(labels).tolist() == [0] * 4 + [1] * 3


def test_streamed_centre(streamed, tmp_path):
    image, label = Streamed(open_data(streamed).split("test"), None, 28)[6]
    with Image.open(tmp_path / "cifar10/val/dog/002.jpg") as file:
        expected = v2.Compose([v2.Resize(32, 3), v2.CenterCrop(28), v2.PILToTensor()])(file)
    assert image.shape == (1, 3, 28, 28) and torch.equal(image[0], expected) and label == 1


def test_crop_boxes_keep_the_asked_share():
    uniform = np.random.default_rng(0).random((2000, crops.NUMBERS))
    top, left, h, w = crops.boxes(uniform, 300, 400, [0.2, 0.6]).T
    share, ratio = h * w / 120000, w / h
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + h <= 300).all() and (left + w <= 400).all()
    assert 0.195 < share.min() < 0.21 and 0.59 < share.max() < 0.605
    assert 0.74 < ratio.min() < 0.76 and 1.31 < ratio.max() < 1.35
    assert top.min() == left.min() == 0 and (top + h).max() == 300 and (left + w).max() == 400
    nothing_fits = crops.boxes(uniform, 10, 400, [0.9, 1.0])
    assert (nothing_fits == [0, 193, 10, 13]).all()  # the centre
    shares = [np.array([[0.1], [0.5]]), np.array([[0.2], [1.0]])]  # one for each row
    one_by_one = [
        crops.boxes(uniform[i : i + 1], 300, 400, share)
        for i, share in enumerate([(0.1, 0.2), (0.5, 1.0)])
    ]
    assert (crops.boxes(uniform[:2], 300, 400, shares) == np.concatenate(one_by_one)).all()


def write_photograph(path: Path, width: int, height: int, mode: str = "RGB") -> np.ndarray:
    """A picture with fine and coarse structure; returns what Pillow decodes of it."""
    rng = np.random.default_rng(5)
    image = np.zeros((height, width, 3))
    for step in (200, 40, 8):
        cells = rng.random((height // step + 2, width // step + 2, 3), np.float32)
        layers = [Image.fromarray(c).resize((width, height), 3) for c in cells.transpose(2, 0, 1)]
        image += np.stack(layers, 2) * step  # amplitudes as in photographs
    image = (255 * image / image.max()).clip(0, 255).astype(np.uint8)
    Image.fromarray(image).convert(mode).save(path, quality=90)
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB")).astype(int)


@pytest.mark.parametrize("name", ["a.jpg", "gray.jpg", "cmyk.jpg", "a.png", "palette.png"])
def test_crops_are_torchvisions(tmp_path, name):
    """The bytes of RandomResizedCrop on a Pillow image at the same boxes, to 2 of 255."""
    mode = {"gray.jpg": "L", "cmyk.jpg": "CMYK", "palette.png": "P"}.get(name, "RGB")
    write_photograph(tmp_path / name, 500, 375, mode)
    places = np.array([[0, 0, 375, 500], [3, 20, 250, 300], [100, 41, 140, 120], [7, 9, 40, 30]])
    sizes = np.array([224, 96, 224, 64])
    found = crops.read_crops(tmp_path / name, lambda height, width: places, sizes)
    with Image.open(tmp_path / name) as file:
        image = file.convert("RGB")
    for crop, place, size in zip(found, places.tolist(), sizes.tolist()):
        expected = v2.functional.resized_crop(image, *place, [size, size], 3)
        difference = (crop.int() - v2.functional.pil_to_tensor(expected).int()).abs()
        assert crop.dtype == torch.uint8 and crop.is_contiguous()
        assert difference.max() <= 2 and difference.float().mean() < 0.3


def test_reduction_enlarges_no_crop():
    def factor(*boxes):
        places = np.array([(0, 0, height, width) for height, width, _ in boxes])
        return crops.reduction(places, np.array([size for *_, size in boxes]))

    assert factor((448, 448, 224)) == 2 and factor((447, 900, 224)) == factor((900, 447, 224)) == 1
    assert factor((896, 900, 224)) == 4 and factor((3000, 1792, 224)) == 8
    assert factor((896, 896, 224), (460, 500, 224)) == 2  # the smaller box decides
    assert factor((896, 896, 224), (200, 200, 50), (100, 100, 96)) == 1
    assert factor((10, 10, 224)) == 1


@pytest.mark.parametrize(("side", "factor"), [(450, 2), (910, 4), (1800, 8)])
def test_reduced_decoding_is_close_to_full(tmp_path, side, factor, monkeypatch):
    path, sizes = tmp_path / "a.jpg", np.array([224, 200])
    write_photograph(path, side + 203, side + 101)
    boxes = [[101, 5, side, side], [0, 203, side, side]]
    decode, shapes = simplejpeg.decode_jpeg, []

    def watched(*args, **kwargs):
        shapes.append(decode(*args, **kwargs))
        return shapes[-1]

    monkeypatch.setattr(simplejpeg, "decode_jpeg", watched)
    reduced = crops.read_crops(path, lambda height, width: np.array(boxes), sizes)
    assert [image.shape[0] for image in shapes] == [-(-(side + 101) // factor)]  # once for both
    image = Image.open(path).convert("RGB")
    for crop, (top, left, *_), size in zip(reduced, boxes, sizes.tolist()):
        # The box grown to whole pixels of the smaller image.
        low = [at // factor * factor for at in (left, top)]
        high = [-(-(at + side) // factor) * factor for at in (left, top)]
        box = (*low, *np.minimum(high, image.size).tolist())
        full = image.resize((size, size), Image.Resampling.BICUBIC, box)
        full = v2.functional.pil_to_tensor(full).int()
        difference = (crop.int() - full).abs().float()
        moved = (crop[:, :, 1:].int() - full[:, :, :-1]).abs().float()
        assert crop.shape == full.shape and difference.max() < 20
        assert difference.mean() < min(1.5, moved.mean() / 2)


def test_damaged_files_in_a_stream_are_named(streamed, tmp_path):
    split = open_data(streamed).split("train")
    split.seen = None  # as after `dvc pull`: else any change is refused
    path = split.files[2]
    content = path.read_bytes()
    for damage in (content[:-50], content[:100], b"", b"no image"):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=f"^{path}: found .*; expected a whole image$"):
            Streamed(split, [0.2, 1.0], 16)[2]
    path.unlink()
    with pytest.raises(UserError, match=f"^{path}: no such file; expected an image$"):
        Streamed(split, [0.2, 1.0], 16)[2]
