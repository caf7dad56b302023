"""The augmentation against torchvision's own functions, image by image."""

import pytest
import torch
from pictures import ADJUST, ALL, BICUBIC, close, pictures, seeded, smooth
from torchvision.transforms.v2 import functional as tv

from burn.experiment.schema import Augment
from burn.images import augment, colour, draw, geometry


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
