"""Batches: their order, what any step shows, processes, and images streamed from files."""

import numpy as np
import pytest
import torch
from PIL import Image
from toys import IMAGES, PIXELS, loader

from burn.data.prepare import prepare
from burn.errors import UserError
from burn.experiment.schema import Augment, DataSet
from burn.images.augment import normalise
from burn.images.store import open_data


def test_an_epoch_shows_each_image_once_in_an_order_of_its_own():
    load = loader(16)
    orders = [load.order(epoch).flatten().tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(96)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert loader(16, seed=1).order(0).flatten().tolist() != orders[0]
    assert len(set(loader(20).order(0).flatten().tolist())) == 80  # the last, smaller one dropped


def test_processes_share_out_each_batch():
    whole = loader(16).order(3)
    parts = [loader(8, rank=rank, world=2).order(3) for rank in (0, 1)]
    assert torch.equal(torch.cat(parts, 1), whole)


@pytest.mark.parametrize("views", [0, 1, 2])
def test_any_step_can_be_the_first(views):
    load = loader(32, views, augment=Augment(size=8))
    steps = list(load.run(0, 8))
    assert len(steps) == 8 and all(len(v) == max(1, views) for v, _ in steps)
    for first in (2, 3, 7):
        for (views_a, labels_a), (views_b, labels_b) in zip(steps[first:], load.run(first, 8)):
            assert torch.equal(labels_a, labels_b)
            assert all(torch.equal(a, b) for a, b in zip(views_a, views_b))
    assert not torch.equal(steps[0][0][0], steps[3][0][0])
    assert [len(list(load.run(n, 8))) for n in (0, 5, 8)] == [8, 3, 0]


def test_each_process_draws_its_own_views():
    shown = []
    for rank in (0, 1):
        load = loader(16, 2, rank=rank, world=2, augment=Augment(size=8))
        load.order = lambda epoch: torch.arange(48).view(3, 16)  # the same images for both
        shown.append(next(load.run(0, 1))[0][0])
    assert not torch.equal(*shown)


def test_more_than_there_is_in_one_batch_is_refused():
    with pytest.raises(UserError, match=r"^train.batch: found 64 x 2 processes; .* 96 training"):
        loader(64, world=2)


@pytest.mark.parametrize("views", [0, 1, 2])
def test_streamed_images_give_the_same_batches_for_any_number_of_workers(tmp_path, views):
    for split in ("train", "test"):
        for label in ("a", "b"):
            folder = tmp_path / "cifar10" / split / label
            folder.mkdir(parents=True)
            for k in range(5):
                pixels = np.kron(PIXELS[k + 5 * (label == "b")], np.ones((1, 5, 4), np.uint8))
                Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{k}.jpg")
    spec = DataSet(source="folder", size=24, pack=False)
    view = {"root": str(tmp_path), "download": False, "spec": spec}
    prepare("cifar10", view, tmp_path / "data")
    split = open_data(tmp_path / "data").split("train")
    assert split.images is None
    batches = []
    for workers in (0, 2):
        load = loader(4, views, split=split, augment=Augment(size=16), workers=workers)
        batches.append(list(load.run(1, 3)))
    assert len(batches[0]) == 2
    for (one, labels), (two, same) in zip(*batches):
        assert len(one) == len(two) == max(1, views) and torch.equal(labels, same)
        for a, b in zip(one, two):
            assert a.shape == (4, 3, 16, 16) and a.dtype == torch.float32 and torch.equal(a, b)
            assert a.is_contiguous(memory_format=torch.channels_last)
    first = batches[0][0][0]
    assert views < 2 or not torch.equal(first[0], first[1])
    assert torch.equal(batches[0][0][1], split.labels[load.order(0)[1]])


def test_without_augmentation_the_images_come_as_they_are():
    load = loader(16)
    views, labels = next(load.run(0, 1))
    rows = load.order(0)[0]
    assert torch.equal(labels, IMAGES.labels[rows])
    assert torch.allclose(views[0], normalise(IMAGES.images[rows] / 255), atol=1e-5)
