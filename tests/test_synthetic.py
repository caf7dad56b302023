"""Stand-ins: drawn the same each time, told apart by what they show, annotated."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from trees import refused, run

from burn.data import synthetic
from burn.images.store import open_data


def test_synthetic_is_deterministic_and_grows_by_appending():
    few, labels = synthetic.draw("imagenet", "train", 70, 32, 10, seed=3)
    more, more_labels = synthetic.draw("imagenet", "train", 133, 32, 10, seed=3)
    assert np.array_equal(few, more[:70]) and np.array_equal(labels, more_labels[:70])
    tail, _ = synthetic.draw("imagenet", "train", 3, 32, 10, seed=3, start=130)
    assert np.array_equal(tail, more[130:])
    scenes = [synthetic.draw_scenes("voc07", "train", n, 32, 20) for n in (65, 90)]
    assert np.array_equal(scenes[0]["images"], scenes[1]["images"][:65])
    assert np.array_equal(scenes[0]["masks"], scenes[1]["masks"][:65])


def test_synthetic_splits_share_no_image_and_no_random_numbers():
    train, _ = synthetic.draw("imagenet", "train", 200, 32, 10)
    test, _ = synthetic.draw("imagenet", "test", 200, 32, 10)
    assert len({i.tobytes() for i in np.concatenate([train, test])}) == 400
    near = np.abs(train[:, None, :, ::4, ::4].astype(int) - test[None, :, :, ::4, ::4])
    assert near.mean((2, 3, 4)).min() > 10
    numbers = [synthetic._numbers("imagenet", s, 0, range(50), 8)[0] for s in ("train", "test")]
    assert len(np.unique(numbers)) > 0.99 * 2 * numbers[0].size


def test_synthetic_classes_differ_by_name_and_seed_and_are_distinct():
    assert synthetic.class_names("imagenet", 10, 0) == synthetic.class_names("imagenet", 10, 0)
    others = [synthetic.class_names(*a) for a in (("imagenet", 10, 1), ("cifar10", 10, 0))]
    assert all(o != synthetic.class_names("imagenet", 10, 0) for o in others)
    assert len(set(synthetic.class_names("imagenet", 1000, 0))) == 1000
    first = synthetic.class_specs("cifar10", 10, 0)
    assert (
        len({s[0] for s in first}) == 10 and synthetic.class_specs("cifar10", 500, 0)[:10] == first
    )
    assert synthetic.draw("imagenet", "train", 1000, 8, 1000)[0].shape == (1000, 3, 8, 8)


def probe(train, test, labels, test_labels, strength) -> float:
    scale = StandardScaler().fit(train)
    model = LogisticRegression(C=strength, max_iter=100).fit(scale.transform(train), labels)
    return model.score(scale.transform(test), test_labels)


def test_synthetic_classes_are_neither_colour_nor_linear_in_the_pixels():
    # The background leans towards the class's own, so colour tells something, but not the most.
    train, labels = synthetic.draw("cifar10", "train", 3000, 32, 10, seed=1)
    test, test_labels = synthetic.draw("cifar10", "test", 1000, 32, 10, seed=1)

    def histogram(images):
        bins = images.reshape(len(images), 3, -1) // 32
        return np.stack([(bins == b).mean(-1) for b in range(8)], -1).reshape(len(images), -1)

    assert probe(histogram(train), histogram(test), labels, test_labels, 1.0) < 0.45
    small = [i.reshape(-1, 3, 16, 2, 16, 2).mean((3, 5)).reshape(len(i), -1) for i in (train, test)]
    assert 0.15 < probe(*small, labels, test_labels, 1e-3) < 0.55


def test_synthetic_scenes_annotate_what_they_show():
    scenes = synthetic.draw_scenes("voc07", "train", 200, 48, 20)
    labels, boxes, masks = scenes["labels"], scenes["boxes"], scenes["masks"]
    assert scenes["images"].shape == (200, 3, 48, 48) and masks.max() == 255
    counts = np.bincount(boxes[:, 0].astype(int), minlength=200)
    assert set(counts) == {1, 2, 3} and (np.diff(boxes[:, 0]) >= 0).all()
    assert labels.sum(0).min() >= 10  # every class is there
    for i in range(200):
        own = boxes[boxes[:, 0] == i].astype(int)
        assert set(own[:, 1]) == set(labels[i].nonzero()[0])
        assert set(np.unique(masks[i])) == {0, 255, *(own[:, 1] + 1)}
        left = masks[i].copy()
        for _, cls, x1, y1, x2, y2, difficult in own:
            assert difficult == 0
            assert 0 <= x1 < x2 <= 48 and 0 <= y1 < y2 <= 48
            inside = masks[i, y1:y2, x1:x2] == cls + 1
            assert inside[0].any() and inside[-1].any()  # the box is tight
            assert inside[:, 0].any() and inside[:, -1].any()
            left[y1:y2, x1:x2][inside] = 0
        assert set(np.unique(left)) <= {0, 255}  # no object pixel outside the boxes


def test_synthetic_mask_has_a_one_pixel_border():
    mask = synthetic.draw_scenes("voc07", "train", 1, 48, 20)["masks"][0]
    objects = np.pad((mask > 0) & (mask < 255), 1)
    near = np.zeros((48, 48), bool)
    for dy in range(3):
        for dx in range(3):
            near |= objects[dy : dy + 48, dx : dx + 48]
    assert np.array_equal(mask == 255, near & ~objects[1:-1, 1:-1])


def test_synthetic_sets_are_prepared_with_the_official_number_of_classes(tmp_path):
    data = open_data(run(tmp_path, "cub200", train=400, test=200, size=8))
    assert data.stand_in and len(data.classes) == 200
    assert data.split("test").labels.bincount().tolist() == [1] * 200
    voc = open_data(run(tmp_path, "voc07", train=40, test=20, out="voc")).split("train")
    assert voc.labels.shape == (40, 20) and voc.boxes.shape[1] == 7
    assert voc.masks.shape == (40, 32, 32) and voc.masks.dtype == torch.uint8


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"train": None, "test": 10}, "data.sets.cifar10.train: found null"),
        ({"train": 10, "test": 9}, "data.sets.cifar10.test: found 9"),
        ({"train": 10, "test": 10, "pack": False}, "data.sets.cifar10.pack: found false"),
        ({"train": 2000, "test": 2000, "classes": 1001}, "classes: found 1001; allowed: 2 to 1000"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(tmp_path, spec, said):
    assert said in refused(tmp_path, **spec)
