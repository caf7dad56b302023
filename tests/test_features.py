"""Features of a split, and the average precision, as the tasks on frozen features use them."""

import numpy as np
import pytest
import torch
from PIL import Image
from pixels import CLASSES, CPU, Pixels, Recorder, gaussian_data, several
from sklearn.metrics import average_precision_score
from told import told
from torch import nn

import burn.evaluation.features
from burn.evaluation.features import average_precision, features
from burn.experiment.schema import Augment
from burn.images.augment import plain
from burn.images.store import Split
from burn.tasks.linear import Options, examine


def run(data, seed=0, **options):
    return told(examine(Pixels(), data, Options(**options), seed, CPU))


def test_average_precision_is_the_mean_precision_at_each_positive():
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 2, (50, 3)), rng.normal(size=(50, 3))
    truth[:, 1] = 0
    for c in (0, 2):
        hits = truth[np.argsort(-scores[:, c]), c]
        precision = np.cumsum(hits) / np.arange(1, 51)
        expected = 100 * precision[hits == 1].mean()
        assert average_precision(scores, truth)[c] == pytest.approx(expected, abs=1e-9)
    assert np.isnan(average_precision(scores, truth)[1])
    data = several(gaussian_data(40, 80, 80))
    data.split("test").labels[:, 2] = 0
    found = run(data, epochs=5)
    assert "class2" not in found["notes"]["average_precision"] and found["map"] > 0


def test_features_of_a_split_in_order(monkeypatch):
    data = gaussian_data(30, 50, 20, side=8)
    split = data.split("train")
    expected = Pixels()(plain(split.images, 8))
    for pixels in (burn.evaluation.features.PIXELS, 7 * 8**2):  # seven images at a time
        monkeypatch.setattr(burn.evaluation.features, "PIXELS", pixels)
        torch.testing.assert_close(features(Pixels(), split, 8, CPU), expected)
    nn.Linear(48, 2)(features(Pixels(), split, 8, CPU)).sum().backward()  # a task may train on them
    network = Recorder()
    features(network, split, 6, CPU)
    assert network.seen[0].shape == (12, 3, 6, 6)  # as many pixels
    drawn = [(0, 0), (0, 0), (1, 0), (0, 1)]  # seed, epoch
    crops = [features(Pixels(), split, 8, CPU, 0, Augment(size=8), *key) for key in drawn]
    assert torch.equal(crops[0], crops[1])
    assert not torch.equal(crops[0], crops[2]) and not torch.equal(crops[0], crops[3])


def test_random_crops_of_files_reach_their_margins(tmp_path):
    image = np.full((32, 64, 3), 0, np.uint8)
    image[:, :16] = image[:, 48:] = 255  # outside of the square in the middle
    Image.fromarray(image).save(tmp_path / "a.png")
    split = Split(torch.zeros(40, dtype=torch.int64), files=[tmp_path / "a.png"] * 40)
    crops = features(Pixels(), split, 16, CPU, 0, Augment(size=16, crop=[0.1, 0.3]), 0, 0)
    white = crops.amax(1) > 2
    assert 5 < white.sum() < 35
    assert not torch.equal(crops, features(Pixels(), split, 16, CPU, 0, Augment(size=16), 0, 1))


def test_unsure_labels_count_neither_way():
    scores, truth = np.array([[0.9], [0.8], [0.7], [0.1]]), np.array([[255], [1], [0], [1]])
    expected = 100 * average_precision_score([1, 0, 1], [0.8, 0.7, 0.1])
    assert average_precision(scores, truth) == pytest.approx([expected])
    data = gaussian_data(30, 60, 40, side=8)
    for split in data.splits.values():
        split.labels = nn.functional.one_hot(split.labels, CLASSES).to(torch.uint8)
    found = run(data, epochs=5)
    labels = data.split("train").labels
    data.split("train").labels = unsure = labels.clone()
    unsure[:20] = 255
    fewer = run(data, epochs=5, standardise=False)
    data.split("train").images[:20] = 0  # teach nothing, whatever they show
    assert run(data, epochs=5, standardise=False) == fewer
    unsure[:20] = labels[:20]
    assert run(data, epochs=5, standardise=False) != fewer != found
