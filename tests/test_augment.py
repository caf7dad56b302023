"""The augmentation against torchvision's own functions, image by image, and its random numbers."""

import functools
import math
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms import transforms as v1
from torchvision.transforms.v2 import functional as tv

from burn.experiment.schema import Augment
from burn.images import augment, colour, crops, draw, geometry

BICUBIC = tv.InterpolationMode.BICUBIC
ADJUST = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
ALL = {"jitter_p": 1.0, "gray_p": 1.0, "blur_p": 1.0}
NONE = {"jitter_p": 0.0, "gray_p": 0.0, "blur_p": 0.0, "flip": 0.0}
COLOURS = {**NONE, "jitter_p": 1.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(n: int, height: int, width: int) -> torch.Tensor:
    """Smooth colourful uint8 images with flat grey, black and white corners."""
    x = F.interpolate(torch.rand(n, 3, 5, 5), size=(height, width), mode="bicubic").clamp_(0, 1)
    x[:, :, :4, :4], x[:, :, -4:, :4], x[:, :, :4, -4:] = 0.4, 0.0, 1.0
    return (x * 255).round().to(torch.uint8)


@functools.cache
def photograph() -> torch.Tensor | None:
    """A CIFAR-10 image, if the environment says where they are (BURN_REAL_DATA)."""
    folder = Path(os.environ.get("BURN_REAL_DATA", "nowhere")) / "cifar10"
    files = (path for end in ("jpg", "jpeg", "png") for path in folder.rglob(f"*.{end}"))
    first = next(files, None)
    return first and decode_image(read_file(str(first)), ImageReadMode.RGB)


def pictures(height: int, width: int) -> torch.Tensor:
    """uint8 images: two of noise, four smooth ones, and a photograph if there is one."""
    noise = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    images = [noise, smooth(4, height, width)]
    if photograph() is not None:
        images.append(tv.resize(photograph(), [height, width], BICUBIC)[None])
    return torch.cat(images)


def reference_crop(x: torch.Tensor, d: draw.Draw, i: int, size: int) -> torch.Tensor:
    box = (int(d.top[i]), int(d.left[i]), int(d.height[i]), int(d.width[i]))
    # In double precision: in single, torch's own resampling weights are off by up to 2e-5.
    x = tv.resized_crop(x.double(), *box, [size, size], BICUBIC, antialias=True).float()
    return tv.horizontal_flip(x) if d.flip[i] else x


def reference_colours(x: torch.Tensor, d: draw.Draw, i: int) -> torch.Tensor:
    if d.jitter[i]:
        for kind in d.order[i].tolist():
            x = ADJUST[kind](x, d.factor[i, kind].item())
    if d.gray[i]:
        x = tv.rgb_to_grayscale(x, 3)
    if d.blur[i]:
        side = geometry.blur_size(x.shape[-1])
        x = tv.gaussian_blur(x, [side, side], [d.sigma[i].item()] * 2)
    return x


def reference(images: torch.Tensor, d: draw.Draw, size: int) -> torch.Tensor:
    """The recipe of one view, through torchvision, one image at a time, not normalised."""
    x = images.float() / 255
    crops = [reference_crop(x[i], d, i, size).clamp(0, 1) for i in range(len(x))]
    return torch.stack([reference_colours(c, d, i) for i, c in enumerate(crops)])


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


# --- operations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(32, 32, 32), (50, 70, 32), (70, 33, 48), (256, 256, 224)])
def test_crop_resize_flip(shape):
    height, width, size = shape
    x = pictures(height, width).float() / 255
    for seed in range(3):
        d = draw.draw(len(x), height, width, Augment(), seeded(seed))
        expected = torch.stack([reference_crop(x[i], d, i, size) for i in range(len(x))])
        close(geometry.crop(x, d, size), expected, 2e-6)
        box = (int(d.top[0]), int(d.left[0]), int(d.height[0]), int(d.width[0]))
        single = tv.resized_crop(x[0], *box, [size, size], BICUBIC, antialias=True)
        single = tv.horizontal_flip(single) if d.flip[0] else single
        close(geometry.crop(x, d, size)[0], single, 1e-4)


def test_crop_of_few_pixels_and_of_all():
    x = pictures(40, 24).float() / 255
    n = len(x)
    d = draw.draw(n, 40, 24, Augment(), seeded())
    for top, left, height, width in ((0, 0, 40, 24), (39, 0, 1, 24), (7, 23, 5, 1), (3, 4, 2, 3)):
        box = {"top": top, "left": left, "height": height, "width": width}
        d = d._replace(**{k: torch.full((n,), v) for k, v in box.items()})
        expected = torch.stack([reference_crop(x[i], d, i, 16) for i in range(n)])
        close(geometry.crop(x, d, 16), expected, 1e-5)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_brightness_contrast_saturation(kind):
    x = pictures(32, 40).float() / 255
    factor = torch.linspace(0, 2, len(x))
    rest = [(1 - factor) * (kind == k) for k in (1, 2)]
    expected = torch.stack([ADJUST[kind](a, f.item()) for a, f in zip(x, factor, strict=True)])
    colour.blend_(x, factor, *rest)
    close(x, expected, 1e-5)


@pytest.mark.parametrize("turn", [-0.5, -0.37, -0.1, 0.0, 0.05, 0.25, 0.5])
def test_hue(turn):
    x = pictures(32, 40).float() / 255
    # Pixels with two equal channels, with all equal, and the corners of the colour cube.
    grid = torch.cartesian_prod(*[torch.tensor([0.0, 0.2, 0.5, 1.0])] * 3).T.reshape(3, 8, 8)
    x[0, :, :8, :8] = grid
    x[1] = 0.5 + (x[1] - 0.5) * 1e-4  # nearly grey
    expected = tv.adjust_hue(x, turn)
    colour.turn_hue_(x, torch.full((len(x),), turn))
    close(x, expected, 1e-5)


def test_gray():
    x = pictures(32, 32).float() / 255
    close(colour.to_gray(x).expand(-1, 3, -1, -1), tv.rgb_to_grayscale(x, 3), 1e-6)


@pytest.mark.parametrize("side", [8, 32, 64, 224])
def test_blur(side):
    x = pictures(side, side).float() / 255
    k = geometry.blur_size(side)
    assert k % 2 == 1 and k >= 3 and abs(k - side / 10) <= 3
    sigma = torch.linspace(0.1, 2, len(x))
    expected = [tv.gaussian_blur(a, [k, k], [s.item()] * 2) for a, s in zip(x, sigma, strict=True)]
    close(geometry.blur(x, sigma), torch.stack(expected), 1e-5)


@pytest.mark.parametrize("alone", [colour.ALONE, 1])
def test_jitter_in_every_order(alone, monkeypatch):
    monkeypatch.setattr(colour, "ALONE", alone)
    orders = torch.cartesian_prod(*[torch.arange(4)] * 4)
    orders = orders[[len(set(row.tolist())) == 4 for row in orders]]
    assert len(orders) == 24
    x = smooth(24, 24, 24).float() / 255
    d = draw.draw(24, 24, 24, Augment(jitter=[0.8, 0.8, 0.8, 0.4], **ALL), seeded())
    d = d._replace(order=orders[torch.randperm(24)], gray=d.gray & False, blur=d.blur & False)
    expected = torch.stack([reference_colours(x[i], d, i) for i in range(24)])
    same = d._replace(order=d.order[:1].expand(24, -1))
    fixed = torch.stack([reference_colours(x[i], same, i) for i in range(24)])
    colour.photometric_(x, d)
    close(x, expected, 1e-5)
    # The check can fail: one order for all would show in most images.
    assert ((x - fixed).abs().amax((1, 2, 3)) > 1e-2).sum() >= 12


# --- whole views ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(32, 32, 32, 40), (50, 70, 32, 40), (256, 256, 224, 6)])
def test_views_are_torchvisions(shape):
    height, width, size, n = shape
    cfg = Augment(size=size, gray_p=0.3, blur_p=0.4)
    images = torch.cat([pictures(height, width)] * 7)[:n]
    views = augment.TwoViews(cfg)(images, seeded(3))
    generator = seeded(3)
    for view in views:
        d = draw.draw(n, height, width, cfg, generator)
        x = reference(images, d, size)
        close(augment.apply(images, d, cfg), x, 1e-5)
        assert view.is_contiguous(memory_format=torch.channels_last) and view.dtype == torch.float32
        close(view, tv.normalize(x, augment.MEAN, augment.STD), 1e-4)
    assert (views[0] - views[1]).abs().amax((1, 2, 3)).min() > 0.05


def test_float_and_uint8_images_agree():
    images = pictures(40, 40)
    views = [augment.TwoViews(Augment())(x, seeded())[0] for x in (images, images.float() / 255)]
    close(*views, 1e-5)


def test_crops_flips_has_no_colour():
    images, cfg = pictures(50, 70), Augment(**ALL)
    d = draw.draw(len(images), 50, 70, cfg, seeded(1))
    off = {k: getattr(d, k) & False for k in ("jitter", "gray", "blur")}
    expected = tv.normalize(reference(images, d._replace(**off), 32), augment.MEAN, augment.STD)
    out = augment.crops_flips(images, cfg, seeded(1))
    close(out, expected, 1e-4)
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("side", [48, 224])  # colours for many images at once, and one by one
def test_photometric_has_no_crop(side):
    images = torch.cat([pictures(side, side)] * 4)
    assert (images[0].numel() >= colour.ALONE) == (side == 224)
    cfg = Augment(size=32, gray_p=0.3, blur_p=0.4)
    d = draw.draw(len(images), side, side, cfg, seeded(2))
    assert all(0 < v.sum() < len(v) for v in (d.flip, d.jitter, d.gray, d.blur))
    whole = {"top": 0, "left": 0, "height": side, "width": side}
    d = d._replace(**{k: torch.full_like(d.top, v) for k, v in whole.items()})
    expected = tv.normalize(reference(images, d, side), augment.MEAN, augment.STD)
    before = images.clone()
    close(augment.photometric(images, cfg, seeded(2)), expected, 1e-4)
    assert torch.equal(images, before)


def test_photometric_leaves_float_input_alone():
    images = pictures(32, 32).float() / 255
    before = images.clone()
    augment.photometric(images, Augment(**ALL), seeded())
    assert torch.equal(images, before)


@pytest.mark.parametrize("shape", [(64, 64, 32), (50, 70, 32), (333, 256, 224), (64, 40, 40)])
def test_plain_is_resize_and_centre_crop(shape):
    height, width, size = shape
    images = pictures(height, width)
    x = images.float() / 255
    resized = int(size * 256 / 224) if min(height, width) > size else size
    x = tv.center_crop(tv.resize(x, [resized], BICUBIC, antialias=True), [size, size]).clamp(0, 1)
    close(augment.plain(images, size), tv.normalize(x, augment.MEAN, augment.STD), 1e-4)


def test_plain_keeps_images_of_the_right_size():
    images = pictures(32, 32)
    expected = tv.normalize(images.float() / 255, augment.MEAN, augment.STD)
    close(augment.plain(images, 32), expected, 1e-5)


def test_empty_batch():
    images = torch.zeros(0, 3, 32, 32, dtype=torch.uint8)
    assert augment.TwoViews(Augment())(images, seeded())[1].shape == (0, 3, 32, 32)


# --- random numbers ------------------------------------------------------------------------------


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
