"""Detection: scores against pycocotools, strides, precision after training, flips, files."""

import contextlib
import copy
import io

import dense
import numpy as np
import pytest
import torch
from dense import CPU
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from told import told

from burn.errors import UserError
from burn.evaluation import finetune
from burn.evaluation.pictures import spaced
from burn.experiment.checks import check_section
from burn.report.examples import decode
from burn.tasks import detection
from burn.tasks.detection import Options, as_coco, coco, examine, objects, view

TINY = {
    "layout": "fpn", "iterations": 3, "batch": 4, "accumulate": 1, "lr": 0.002, "warmup": 0,
    "milestones": [], "train_sides": [32, 48], "test_side": 32, "anchors": [6, 10, 14, 18, 24],
    "region": 3, "regions": 16, "proposals": 30, "pyramid": 16, "hidden": 32, "threshold": 0.0,
}  # fmt: skip


def options(**more) -> Options:
    return Options(**(TINY | more))


def nearly(split, noise: float = 0.7) -> list[dict]:
    """Detections near the objects, some twice, some of another class, some on nothing."""
    rng = np.random.default_rng(0)
    out = []
    for i in range(len(split)):
        own = split.boxes[split.boxes[:, 0] == i].numpy()
        own = np.concatenate([own, own[::2]])
        corner = rng.uniform(0, 20, (2, 2))
        stray = np.concatenate([corner, corner + rng.uniform(4, 10, (2, 2))], 1)
        boxes = np.concatenate([own[:, 2:6] + rng.normal(0, noise, (len(own), 4)), stray])
        labels = np.concatenate([own[:, 1], rng.integers(0, dense.CLASSES, 2)])
        labels = np.where(rng.random(len(labels)) < 0.1, 0, labels)
        out.append({
            "boxes": torch.from_numpy(boxes).float(),
            "scores": torch.from_numpy(rng.random(len(boxes))).float(),
            "labels": torch.from_numpy(labels).long(),
        })  # fmt: skip
    return out


def perfect(split) -> list[dict]:
    rows = [split.boxes[split.boxes[:, 0] == i] for i in range(len(split))]
    return [
        {"boxes": r[:, 2:6], "labels": r[:, 1].long(), "scores": torch.ones(len(r))} for r in rows
    ]


@pytest.mark.parametrize("difficult", [False, True])
def test_ap_is_that_of_pycocotools(difficult):
    data = dense.scenes(1, 40)
    split = data.split("test")
    if difficult:
        split.boxes[::3, 6] = 1
    detections = nearly(split)
    found = told(coco(split, detections, data.classes))
    truth, results = as_coco(split, detections, data.classes)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO()
        theirs.dataset = copy.deepcopy(truth) | {"info": {}}
        theirs.createIndex()
        scoring = COCOeval(theirs, theirs.loadRes(copy.deepcopy(results)), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    expected = 100 * scoring.stats[:3]
    assert 5 < min(expected) < max(expected) < 95  # a case that says something
    assert [found[k] for k in ("ap", "ap50", "ap75")] == pytest.approx(expected.tolist(), abs=1e-3)
    each = scoring.eval["precision"][:, :, :, 0, 2].mean((0, 1))
    assert list(found["per_class"]) == data.classes
    assert list(found["per_class"].values()) == pytest.approx((100 * each).tolist(), abs=1e-3)


def test_difficult_objects_are_neither_right_nor_wrong():
    data = dense.scenes(1, 20)
    split = data.split("test")
    everything = perfect(split)
    assert told(coco(split, everything, data.classes))["ap"] == 100
    split.boxes[::2, 6] = 1
    assert told(coco(split, everything, data.classes))["ap"] == 100
    easy = copy.deepcopy(split)
    easy.boxes = split.boxes[split.boxes[:, 6] == 0]
    assert told(coco(split, perfect(easy), data.classes))["ap"] == 100
    assert told(coco(easy, everything, data.classes))["ap"] < 100  # the same, were they not ignored


def test_nothing_found_and_nothing_to_find():
    data = dense.scenes(1, 6)
    split = data.split("test")
    nothing = [{k: v[:0] for k, v in each.items()} for each in perfect(split)]
    assert told(coco(split, nothing, data.classes))["ap"] == 0
    split.boxes = split.boxes[split.boxes[:, 1] != 1]
    found = told(coco(split, perfect(split), data.classes))
    assert found["ap"] == 100 and list(found["per_class"]) == ["class0", "class2"]
    split.boxes[:, 6] = 1
    with pytest.raises(UserError, match="no object in the test split"):
        told(coco(split, perfect(split), data.classes))


def test_objects_to_train_on():
    split = dense.scenes(6, 1).split("train")
    split.boxes = split.boxes.flip(0)  # in no order
    split.boxes[0, 6] = 1
    split.boxes[1, 4] = split.boxes[1, 2]  # no area
    found = objects(split)
    assert len(found) == 6
    for i, own in enumerate(found):
        expected = split.boxes[2:][split.boxes[2:, 0] == i][:, 1:6]
        assert torch.equal(own, expected)
    split.boxes = split.boxes[:, :6]
    with pytest.raises(UserError, match="boxes: found a table"):
        objects(split)


def test_a_flip_keeps_boxes_on_their_objects():
    split = dense.scenes(8, 1).split("train")
    for i, own in enumerate(objects(split)):
        image, target = view(split.images[i], own, True)
        back, _ = view((image * 255).round().byte(), own, True)
        assert torch.equal((back * 255).round().byte(), split.images[i])
        mask = split.masks[i].flip(1)
        for (x1, y1, x2, y2), label in zip(target["boxes"].int().tolist(), target["labels"]):
            ys, xs = (mask == label).nonzero().T
            inside = (xs >= x1) & (xs < x2) & (ys >= y1) & (ys < y2)
            assert inside.any()
            assert (ys[inside].min(), ys[inside].max() + 1) == (y1, y2)
            assert (xs[inside].min(), xs[inside].max() + 1) == (x1, x2)


STRIDES = {
    ("reactnet", "imagenet"): [4, 8, 16, 32],
    ("reactnet", "small"): [2, 4, 8, 16],
    ("resnet18", "imagenet"): [4, 8, 16, 32],
    ("resnet18", "half"): [2, 4, 8, 16],
    ("resnet18", "small"): [1, 2, 4, 8],
}


@pytest.mark.parametrize("layout", ["c4", "fpn"])
@pytest.mark.parametrize(("arch", "stem"), list(STRIDES))
def test_anchors_and_regions_know_the_strides(arch, stem, layout):
    body = dense.network(arch, stem)
    model = detection.build(body, dense.CLASSES, options(layout=layout)).eval()
    x = torch.rand(1, 3, 64, 96)
    expected = STRIDES[arch, stem] if layout == "fpn" else STRIDES[arch, stem][-2:-1]
    maps = model.backbone(x)
    sides = [(64 // s, 96 // s) for s in expected]
    assert [tuple(m.shape[2:]) for m in maps.values()][: len(sides)] == sides
    model.transform.min_size = (64,)
    model([x[0]])
    assert model.roi_heads.box_roi_pool.scales == [1 / s for s in expected]
    assert all(m.shape[1] == model.backbone.out_channels for m in maps.values())


def test_the_head_of_c4_is_the_networks_last_part():
    body = dense.network(precision="real")
    model = detection.build(body, dense.CLASSES, options(layout="c4"))
    x = torch.rand(2, 3, 32, 32)
    maps = body.maps(x)
    (found,) = model.backbone(x).values()
    assert torch.equal(found, maps[8])
    assert torch.equal(model.roi_heads.box_head(found), maps[16].mean((2, 3)))


@pytest.mark.parametrize("norm", ["frozen", "moving"])
@pytest.mark.parametrize("layout", ["c4", "fpn"])
def test_a_binary_network_stays_binary(layout, norm, monkeypatch):
    data, network = dense.scenes(12, 4), dense.network()
    body = finetune.trainable(network)
    recipe = options(layout=layout, norm=norm)
    model = detection.build(body, dense.CLASSES, recipe)
    detection.fit(model, body, data.split("train"), recipe, 0, CPU)
    split = data.split("test")
    dense.assert_two_values(body, lambda: detection.predict(model, split, recipe, CPU), monkeypatch)
    before, after = dict(network.named_parameters()), dict(body.named_parameters())
    still = [k for k in before if torch.equal(before[k], after[k])]
    # everything is fine-tuned but the neck, which comes after the maps
    assert {k.split(".")[0] for k in still} <= {"neck"}
    moved = [
        not torch.equal(a, b)
        for a, b in zip(dense.norm_statistics(network), dense.norm_statistics(body))
    ]
    assert all(moved) if norm == "moving" else not any(moved)


def test_same_seed_same_scores_from_the_array_or_from_files(tmp_path):
    data, network = dense.scenes(12, 8), dense.network()
    before = copy.deepcopy(network.state_dict())
    first = told(examine(network, data, options(), 0, CPU))
    assert set(first) == {"ap", "ap50", "ap75", "per_class", "arrays"}
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    files = dense.streamed(data, tmp_path)
    for workers in (0, 2):
        np.testing.assert_equal(told(examine(network, files, options(), 0, CPU, workers)), first)
    assert told(examine(network, data, options(), 1, CPU))["ap50"] != first["ap50"]


def test_examples_are_test_images_with_their_objects_and_the_surest_detections():
    data = dense.scenes(4, 12)
    split = data.split("test")
    split.boxes = split.boxes[split.boxes[:, 0] != 0]  # nothing to see on the first
    found = perfect(split)
    many = found[1]
    many["scores"] = torch.linspace(0.9, 0.5, 12).repeat_interleave(len(many["scores"]))
    for key in ("boxes", "labels"):
        many[key] = torch.cat([many[key]] * 12)
    kept = detection.examples(split, found, data.classes)
    rows = spaced(list(range(1, 12)), 4)
    assert kept["classes"] == data.classes and rows[0] == 1
    for n, row in enumerate(rows):
        picture = decode(kept[f"picture{n}"])
        assert np.abs(picture - split.images[row].permute(1, 2, 0).numpy().astype(int)).mean() < 8
        truth = kept["truth"][kept["truth"][:, 0] == n, 1:]
        own = split.boxes[split.boxes[:, 0] == row, 1:6].numpy()
        assert sorted(truth.tolist()) == sorted(own.tolist())
        seen = kept["found"][kept["found"][:, 0] == n, 1:]
        if n:
            assert sorted(seen[:, :5].tolist()) == sorted(own.tolist())
        else:
            assert len(seen) == 10 and seen[0, 5] == pytest.approx(0.9)


def test_the_part_of_its_own_is_examined():
    data = dense.moved(dense.scenes(6, 6), "detection")
    assert "ap" in told(examine(dense.network(), data, options(iterations=1), 0, CPU))


def test_a_few_images_can_be_learnt():
    """Above what the same boxes on every image would score."""
    data = dense.scenes(8, 1)
    data.splits["test"] = split = data.splits["train"]
    recipe = options(
        iterations=60, batch=8, optimizer="adam", lr=0.003, norm="moving", train_sides=[32],
        threshold=0.05, milestones=[45], precision="fp32",
    )  # fmt: skip
    found = told(examine(dense.network("resnet18", "small"), data, recipe, 0, CPU))
    everywhere = perfect(split)
    constant = {k: torch.cat([each[k] for each in everywhere]) for k in everywhere[0]}
    floor = told(coco(split, [constant] * len(split), data.classes))
    assert found["ap50"] > floor["ap50"] + 10


def test_bf16_and_fp32_differ():
    data, network, after = dense.scenes(4, 4), dense.network("resnet18", "small"), []
    for precision in ("fp32", "bf16"):
        recipe, body = options(iterations=1, precision=precision), finetune.trainable(network)
        torch.manual_seed(0)
        model = detection.build(body, dense.CLASSES, recipe)
        detection.fit(model, body, data.split("train"), recipe, 0, CPU)
        after.append(body.state_dict()["conv1.weight"])
    assert not torch.equal(*after) and torch.allclose(*after, atol=0.02)


def test_what_is_refused():
    message = "five anchors where layout is fpn"
    with pytest.raises(UserError, match=message):
        check_section("params.yaml", "tasks.detection", Options, {"layout": "fpn", "anchors": [8]})
    data = dense.scenes(6, 6)
    with pytest.raises(UserError, match="detection.batch: found 7; allowed: at most the 6"):
        told(examine(dense.network(), data, options(batch=7), 0, CPU))
    with pytest.raises(UserError, match="detection.lr: found a loss of nan"):
        told(examine(dense.network(), data, options(lr=1e30), 0, CPU))
    for name in ("test", "train"):
        data.split(name).boxes[:, 6] = 1  # all of them difficult
        with pytest.raises(UserError, match=f"no object in the {name} split"):
            told(examine(dense.network(), data, options(), 0, CPU))
    data.split("test").boxes = None
    with pytest.raises(UserError, match="test split has no boxes"):
        told(examine(dense.network(), data, options(), 0, CPU))


def test_the_released_schedule_is_the_default():
    o = Options()
    assert (o.iterations, o.milestones, o.warmup) == (24000, [18000, 22000], 100)
    assert (o.batch * o.accumulate, o.lr, o.optimizer) == (16, 0.02, "sgd")
    assert (min(o.train_sides), max(o.train_sides), o.test_side) == (480, 800, 800)
    model = detection.build(dense.network("resnet18", "half"), 20, o)
    assert model.transform.min_size == tuple(o.train_sides)
