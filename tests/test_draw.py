"""The random numbers of the augmentation: their statistics, and what depends on what."""

import math
from types import SimpleNamespace

import pytest
import torch
from pictures import ALL, NONE, close, pictures, seeded, smooth
from torchvision.transforms import transforms as v1

from burn.experiment.schema import Augment
from burn.images import augment, crops, draw


def near(share: torch.Tensor, p: float, n: int) -> bool:
    """A frequency within 4.5 standard deviations of its probability (1 in 150,000 by chance)."""
    return bool((share - p).abs().max() <= 4.5 * math.sqrt(p * (1 - p) / n))


def test_statistics_of_the_draw():
    n, height, width = 40_000, 50, 70
    cfg = Augment()
    d = draw.draw(n, height, width, cfg, seeded())
    for field, p in (("flip", 0.5), ("jitter", 0.6), ("gray", 0.2), ("blur", 0.2)):
        assert near(getattr(d, field).double().mean(), p, n), field
    both = (d.jitter & d.blur).double().mean()
    assert near(both, 0.12, n)

    code = (d.order * torch.tensor([64, 16, 4, 1])).sum(1)
    _, counts = code.unique(return_counts=True)
    assert len(counts) == 24 and near(counts / n, 1 / 24, n)

    assert (d.top >= 0).all() and (d.top + d.height <= height).all() and (d.height > 0).all()
    assert (d.left >= 0).all() and (d.left + d.width <= width).all() and (d.width > 0).all()
    area = d.height * d.width / (height * width)
    slack = (d.height + d.width + 1) / 2 / (height * width)  # sides are rounded to pixels
    assert (area >= 0.08 - slack).all() and (area <= 1 + slack).all() and area.min() < 0.085
    ratio = d.width.double() / d.height
    assert ratio.min() > 0.65 and ratio.max() < 1.55 and ratio.log().mean().abs() < 0.05

    for i, (low, high) in enumerate([(0.6, 1.4)] * 3 + [(-0.1, 0.1)]):
        f = d.factor[:, i]
        assert low <= f.min() < low + 0.001 and high - 0.001 < f.max() <= high
        assert abs(f.mean() - (low + high) / 2) < 0.01 * (high - low)
    assert 0.1 <= d.sigma.min() < 0.11 and 1.99 < d.sigma.max() <= 2.0
    assert abs(d.sigma.mean() - 1.05) < 0.02


def test_boxes_are_torchvisions(monkeypatch):
    """The same uniform numbers through RandomResizedCrop.get_params give the same boxes."""
    n = 150
    for height, width, share in ((32, 32, (0.08, 1)), (20, 70, (0.5, 1)), (70, 20, (0.9, 1))):
        u = torch.rand(n, crops.NUMBERS, dtype=torch.float64)
        area, ratio, place = u.split((crops.TRIES, crops.TRIES, 2), dim=1)
        boxes = crops.boxes(u.numpy(), height, width, share)
        for i in range(n):
            tries = iter(torch.stack([area[i], ratio[i]], dim=1).flatten().tolist())
            places = iter(place[i].tolist())
            monkeypatch.setattr(v1, "torch", _scripted(tries, places))
            image = torch.empty(3, height, width)
            expected = v1.RandomResizedCrop.get_params(image, share, crops.RATIO)
            assert boxes[i].tolist() == list(expected)
        monkeypatch.undo()


def _scripted(uniforms, places) -> SimpleNamespace:
    """A stand-in for the module torch whose random numbers are given."""

    def uniform_(low, high):
        return torch.tensor(float(low) + (float(high) - float(low)) * next(uniforms)).double()

    def randint(low, high, size):
        return torch.tensor(low + int(next(places) * (high - low)))

    return SimpleNamespace(
        log=torch.log,
        exp=torch.exp,
        tensor=lambda v: torch.tensor(v, dtype=torch.float64),
        empty=lambda _: SimpleNamespace(uniform_=uniform_),
        randint=randint,
    )


def test_same_seed_same_bits():
    images = pictures(40, 40)
    first, again = (augment.TwoViews(Augment())(images, seeded(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = augment.TwoViews(Augment())(images, seeded(6))
    assert (first[0] - other[0]).abs().amax((1, 2, 3)).min() > 0.05


def test_global_random_state_is_untouched():
    images, before = smooth(2, 32, 32), torch.get_rng_state()
    augment.TwoViews(Augment())(images, seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_an_image_does_not_depend_on_the_others(monkeypatch):
    images = torch.cat([pictures(40, 40)] * 4)
    cfg = Augment(gray_p=0.3, blur_p=0.4)
    d = draw.draw(len(images), 40, 40, cfg, seeded())
    together = augment.apply(images, d, cfg)
    for i in range(len(images)):
        alone = augment.apply(images[i : i + 1], draw.Draw(*(v[i : i + 1] for v in d)), cfg)
        close(alone[0], together[i], 1e-6)
    fewer = draw.draw(5, 40, 40, cfg, seeded())
    assert all(torch.equal(a, b[:5]) for a, b in zip(fewer, d, strict=True))
    # Nor on the parts that a batch is cut into.
    whole = augment.TwoViews(cfg)(images, seeded(1))
    monkeypatch.setattr(augment, "PART", 3 * 40 * 40 * 3)
    close(augment.TwoViews(cfg)(images, seeded(1))[1], whole[1], 1e-5)


@pytest.mark.parametrize("field", ["flip", "jitter", "gray", "blur"])
def test_probabilities_of_zero_and_one(field):
    key = field if field == "flip" else f"{field}_p"
    images = smooth(16, 32, 32)
    base = augment.TwoViews(Augment(crop=[1.0, 1.0], **NONE))(images, seeded())[0]
    for p in (0.0, 1.0):
        cfg = Augment(crop=[1.0, 1.0], **{**NONE, key: p})
        d = draw.draw(16, 32, 32, cfg, seeded())
        assert getattr(d, field).sum() == 16 * p
        changed = (augment.TwoViews(cfg)(images, seeded())[0] - base).abs().amax((1, 2, 3)) > 1e-4
        # A blur of a tiny sigma changes nothing.
        assert changed.sum() == 16 * p if field != "blur" else changed.sum() >= 10 * p


def test_gray_comes_after_jitter_and_before_blur():
    view, _ = augment.TwoViews(Augment(**ALL))(smooth(8, 32, 32), seeded())
    x = view * torch.tensor(augment.STD).view(3, 1, 1) + torch.tensor(augment.MEAN).view(3, 1, 1)
    close(x.amax(1), x.amin(1), 1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cpu_and_cuda_agree():
    images = torch.cat([pictures(50, 70)] * 6)
    cfg = Augment(gray_p=0.3, blur_p=0.4)
    on_cpu = augment.TwoViews(cfg)(images, seeded(1))
    on_cuda = augment.TwoViews(cfg)(images.cuda(), seeded(1))
    for a, b in zip(on_cpu, on_cuda, strict=True):
        close(a, b.cpu(), 1e-4)
    close(augment.plain(images, 32), augment.plain(images.cuda(), 32).cpu(), 1e-4)
    square = images[:, :, :50, :50].contiguous()
    views = [augment.photometric(x, cfg, seeded()).cpu() for x in (square, square.cuda())]
    close(*views, 1e-4)
