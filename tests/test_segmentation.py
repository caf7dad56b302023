"""Segmentation: scores against a confusion matrix by hand, views, strides, precision, files."""

import copy

import dense
import numpy as np
import pytest
import torch
from dense import CPU
from PIL import Image
from told import told
from torch import nn

from burn.errors import UserError
from burn.evaluation import finetune
from burn.evaluation.finetune import rate
from burn.evaluation.pictures import spaced
from burn.images.augment import MEAN
from burn.report.examples import decode
from burn.tasks import segmentation
from burn.tasks.segmentation import Options, confusion, examine, scores, tally, view

TINY = {
    "iterations": 3, "batch": 4, "lr": 0.01, "head": "fcn", "output_stride": 8, "scale": [0.8, 1.2],
}  # fmt: skip


def options(**more) -> Options:
    return Options(**(TINY | more))


def by_hand(truth, found, classes: int) -> tuple[np.ndarray, float]:
    """IoU of each class (nan where it does not occur) and the share of right pixels, in percent."""
    truth, found = np.asarray(truth), np.asarray(found)
    iou = []
    for c in range(classes):
        inside = (truth == c) & (found == c)
        union = ((truth == c) | (found == c)) & (truth != 255)
        iou.append(100 * inside.sum() / union.sum() if (truth == c).any() else np.nan)
    return np.array(iou), 100 * (truth == found).sum() / (truth != 255).sum()


@pytest.mark.parametrize("absent", [False, True])
def test_scores_are_those_of_a_confusion_matrix_by_hand(absent):
    masks = dense.scenes(1, 12).split("test").masks.clone()
    if absent:
        masks[masks == 2] = 255
    found = torch.where(torch.rand(masks.shape) < 0.7, masks, torch.randint(0, 4, masks.shape))
    found[found == 255] = 3
    result = told(scores(tally(masks, found, 4), ["background", "a", "b", "c"]))
    iou, right = by_hand(masks, found, 4)
    expected = {n: v for n, v in zip(["background", "a", "b", "c"], iou) if not np.isnan(v)}
    assert len(expected) == 4 - absent and 20 < np.nanmean(iou) < 80
    assert result["per_class"] == pytest.approx(expected, abs=1e-3)
    assert result["miou"] == pytest.approx(np.nanmean(iou), abs=1e-3)
    assert result["pixel_accuracy"] == pytest.approx(right, abs=1e-3)


class Constant(nn.Module):
    """Says the same class everywhere: the floor of every segmenter."""

    def forward(self, x):
        out = torch.zeros(len(x), dense.CLASSES + 1, *x.shape[2:])
        out[:, 0] = 1
        return out


def test_a_constant_guess_is_right_on_the_background():
    data = dense.scenes(1, 10)
    split = data.split("test")
    counts = confusion(Constant(), split, dense.CLASSES, options(), CPU)
    assert counts.sum() == (split.masks != 255).sum()  # in three batches, the last one smaller
    share = 100 * (split.masks == 0).sum() / (split.masks != 255).sum()
    found = told(scores(counts, ["background", *data.classes]))
    assert found["pixel_accuracy"] == pytest.approx(float(share), abs=1e-3)
    assert found["miou"] == pytest.approx(float(share) / 4, abs=1e-3)


def drawn(image, truth, *arguments, seed: int = 0):
    return view(image, truth, *arguments, torch.Generator().manual_seed(seed))


def test_a_view_moves_image_and_mask_together():
    split = dense.scenes(6, 1).split("train")
    plain, flips = 0, 0
    for seed in range(60):
        i = seed % 6
        # the mask is painted into the image: what one shows the other must
        image = split.masks[i][None].expand(3, 32, 32).contiguous()
        picture, labels = drawn(image, split.masks[i], [1, 1], 24, seed=seed)
        assert picture.shape == (3, 24, 24) and labels.shape == (24, 24)
        assert torch.equal((picture[0] * 255).round().byte(), labels)
        places = image.unfold(1, 24, 1).unfold(2, 24, 1)[0].flatten(0, 1)
        plain += bool((places == labels).flatten(1).all(1).any())
        flips += bool((places.flip(2) == labels).flatten(1).all(1).any())
    assert plain + flips >= 60 and 15 < flips < 45


def test_a_view_is_resized_and_padded():
    image = torch.full((3, 20, 30), 200, dtype=torch.uint8)
    truth = torch.ones(20, 30, dtype=torch.uint8)
    picture, labels = drawn(image, truth, [0.5, 0.5], 24)
    assert int((labels == 1).sum()) == 10 * 15 and int((labels == 255).sum()) == 24**2 - 150
    mean = torch.tensor(MEAN).view(3, 1)
    assert torch.equal(picture[:, labels == 255], mean.expand(3, 24**2 - 150))
    assert torch.allclose(picture[:, labels == 1], torch.tensor(200 / 255))
    sides = {int((drawn(image, truth, [0.5, 2], 64, seed=s)[1] == 1).sum()) for s in range(40)}
    assert 150 <= min(sides) < 300 and 1200 < max(sides) <= 2400 and len(sides) > 15


@pytest.mark.parametrize(
    ("arch", "stem", "wanted", "found"),
    [
        ("reactnet", "imagenet", 32, 32),
        ("reactnet", "imagenet", 16, 16),
        ("reactnet", "imagenet", 8, 8),
        ("reactnet", "small", 32, 16),
        ("reactnet", "small", 4, 4),
        ("resnet18", "half", 8, 8),
        ("resnet18", "small", 16, 8),
    ],
)
@pytest.mark.parametrize("head", ["fcn", "deeplab"])
def test_output_stride(arch, stem, wanted, found, head):
    body = dense.network(arch, stem)
    model = segmentation.build(body, 5, options(head=head, output_stride=wanted)).eval()
    sides = []
    model.head.register_forward_hook(lambda _, x, y: sides.append((x[0].shape[2:], y.shape[2:])))
    assert model(torch.rand(2, 3, 64, 96)).shape == (2, 6, 64, 96)
    assert sides == [((64 // found, 96 // found),) * 2]


def test_the_network_sees_normalised_images():
    data, network = dense.scenes(1, 2), dense.network(precision="real")
    model = segmentation.build(finetune.trainable(network), 3, options(output_stride=16)).eval()
    seen = []
    model.head.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    images = data.split("test").images
    model(images.float() / 255)
    expected = network.feature_map(dense.plain(images, 32))
    torch.testing.assert_close(seen[0], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("norm", ["frozen", "moving"])
@pytest.mark.parametrize("head", ["fcn", "deeplab"])
def test_a_binary_network_stays_binary(head, norm, monkeypatch):
    data, network = dense.scenes(12, 4), dense.network()
    body = finetune.trainable(network)
    recipe = options(head=head, norm=norm)
    model = segmentation.build(body, dense.CLASSES, recipe)
    segmentation.fit(model, body, data.split("train"), dense.CLASSES, recipe, 32, 0, CPU)
    split = data.split("test")
    dense.assert_two_values(
        body, lambda: confusion(model, split, dense.CLASSES, recipe, CPU), monkeypatch
    )
    before, after = dict(network.named_parameters()), dict(body.named_parameters())
    still = [k for k in before if torch.equal(before[k], after[k])]
    assert {k.split(".")[0] for k in still} <= {"neck"}
    moved = [
        not torch.equal(a, b)
        for a, b in zip(dense.norm_statistics(network), dense.norm_statistics(body))
    ]
    assert all(moved) if norm == "moving" else not any(moved)


@pytest.mark.parametrize("head", ["fcn", "deeplab"])
def test_same_seed_same_scores_from_the_array_or_from_files(head, tmp_path):
    data, network = dense.scenes(12, 8), dense.network()
    before = copy.deepcopy(network.state_dict())
    recipe = options(head=head, batch=3)
    first = told(examine(network, data, recipe, 0, CPU))
    assert set(first) == {"miou", "pixel_accuracy", "per_class", "arrays"}
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    files = dense.streamed(data, tmp_path)
    near = {"abs": 0.2}  # test images come one by one, which rounds otherwise
    for workers in (0, 2) if head == "fcn" else ():
        found = told(examine(network, files, recipe, 0, CPU, workers))
        assert found["miou"] == pytest.approx(first["miou"], **near)
    np.testing.assert_equal(told(examine(network, data, recipe, 0, CPU)), first)
    assert told(examine(network, data, recipe, 1, CPU))["miou"] != first["miou"]


def test_examples_are_test_images_with_their_masks_and_what_was_found():
    data, recipe = dense.scenes(4, 9), options()
    split = data.split("test")
    split.masks[0] = 255  # has no mask
    model = Constant()
    kept = segmentation.examples(model, split, ["background", *data.classes], recipe, CPU)
    assert kept["classes"] == ["background", *data.classes]
    for n, row in enumerate(spaced(list(range(1, 9)), 4)):
        assert (decode(kept[f"truth{n}"]) == split.masks[row].numpy()).all()
        assert (decode(kept[f"found{n}"]) == 0).all()
        picture = decode(kept[f"picture{n}"])
        assert np.abs(picture - split.images[row].permute(1, 2, 0).numpy().astype(int)).mean() < 8


def test_images_without_a_mask_are_left_out(tmp_path):
    data = dense.scenes(8, 8)
    files = dense.streamed(data, tmp_path)
    for split in data.splits.values():
        split.masks[::2] = 255
    for split in files.splits.values():
        split.mask_files[::2] = [None] * 4
    assert segmentation.labelled(data.split("train")) == [1, 3, 5, 7]
    assert segmentation.labelled(files.split("train")) == [1, 3, 5, 7]
    assert told(examine(dense.network(), files, options(iterations=1), 0, CPU))["miou"] >= 0


def test_the_part_of_its_own_is_examined():
    data = dense.moved(dense.scenes(6, 6), "segmentation")
    assert "miou" in told(examine(dense.network(), data, options(iterations=1), 0, CPU))


def test_a_few_images_can_be_learnt():
    """Above what a constant guess scores."""
    data = dense.scenes(8, 1)
    data.splits["test"] = split = data.splits["train"]
    recipe = options(
        iterations=80, batch=8, optimizer="adam", lr=0.005, scale=[1, 1], output_stride=4
    )
    found = told(examine(dense.network("resnet18", "half"), data, recipe, 0, CPU))
    floor = told(
        scores(confusion(Constant(), split, 3, recipe, CPU), ["background", *data.classes])
    )
    assert found["miou"] > floor["miou"] + 15
    assert found["pixel_accuracy"] > floor["pixel_accuracy"] + 5


def test_what_is_refused(tmp_path):
    data = dense.scenes(6, 6)
    files = dense.streamed(data, tmp_path)
    path = files.split("train").mask_files[3]
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(path)
    with pytest.raises(UserError, match="train3-mask.png: found class 7; allowed: 0 to 3, and"):
        told(examine(dense.network(), files, options(batch=6), 0, CPU))
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path)
    with pytest.raises(UserError, match="train3-mask.png: found uint8 .*; expected one byte"):
        told(examine(dense.network(), files, options(batch=6), 0, CPU))
    path.write_bytes(b"no image")
    with pytest.raises(
        UserError, match="train3-mask.png: found no image that Pillow knows; expected a whole image"
    ):
        told(examine(dense.network(), files, options(batch=6), 0, CPU))
    with pytest.raises(UserError, match="segmentation.batch: found 7; allowed: at most the 6"):
        told(examine(dense.network(), data, options(batch=7), 0, CPU))
    data.split("test").masks[:] = 255
    with pytest.raises(UserError, match="no mask in the test split"):
        told(examine(dense.network(), data, options(iterations=1), 0, CPU))
    data.split("test").masks[1:, 5:9] = 2
    with pytest.raises(UserError, match="found 2 alone in the masks of the test split as packed"):
        told(examine(dense.network(), data, options(iterations=1), 0, CPU))
    data.split("train").masks = None
    with pytest.raises(UserError, match="train split has no masks"):
        told(examine(dense.network(), data, options(), 0, CPU))


def test_rates():
    poly = options(iterations=100, lr=1.0, schedule="poly", power=0.9)
    found = [rate(i, poly) for i in (0, 50, 99)]
    assert found == pytest.approx([1, 0.5**0.9, 0.01**0.9])
    step = options(iterations=100, lr=1.0, schedule="step", milestones=[10, 20], warmup=4)
    found = [rate(i, step) for i in (0, 3, 4, 9, 10, 19, 20, 99)]
    assert found == pytest.approx([0.2, 0.8, 1, 1, 0.1, 0.1, 0.01, 0.01])
