"""Semantic segmentation: an FCN or DeepLabV3 head on the pretrained network, all of it fine-tuned.

The recipe is the usual one on VOC (DeepLab): SGD, 30k iterations of 16 images, the rate falling as
a polynomial of the iterations left, random scale, crop and flip, output stride 16. With batches
of sixteen batch norms move; with batches of a few say `norm: frozen`.

Class 0 is the background. Pixels of 255 are ignored, in training and in scoring. mIoU is the mean,
over the classes that occur in the test masks (VOC's evaluation), of intersection over union, both
counted over all images.
"""

from typing import Literal

from pydantic import model_validator

from burn.errors import UserError
from burn.evaluation.finetune import Recipe
from burn.evaluation.scores import Scores
from burn.experiment.schema import AtLeastOne, Positive, Range

PART, NEEDS = "segmentation", "masks"
IGNORE = 255
EXAMPLES = 4  # images kept for the report


class Options(Recipe):
    iterations: AtLeastOne = 30000
    batch: AtLeastOne = 16
    lr: Positive = 0.01
    schedule: Literal["step", "poly"] = "poly"
    norm: Literal["frozen", "moving"] = "moving"
    head: Literal["fcn", "deeplab"] = "deeplab"
    output_stride: Literal[4, 8, 16, 32] = 16  # by dilation where the network's own is coarser
    rates: list[AtLeastOne] = [6, 12, 18]  # of deeplab; for output stride 8: [12, 24, 36]
    scale: Range = [0.5, 2.0]  # training images are resized by a factor between these
    crop: AtLeastOne | None = None  # side of training crops in pixels; null: as the set is kept

    @model_validator(mode="after")
    def _deeplab_pools_whole_images(self):
        if self.head == "deeplab" and self.batch == 1:
            raise ValueError(
                "batch of at least 2 where head is deeplab (it normalises by the batch)"
            )
        return self


def examine(network, data, options, seed, device, workers=0) -> Scores:
    """mIoU and pixel accuracy on the test split, in percent; `per_class`: the IoU of each class;
    `arrays`: some images with what was found (see `examples`).

    Args:
        network: with `feature_map` and `trunk` (burn.networks.maps); it stays as it is.
        data: burn.images.store.Data.
    """
    import torch

    from burn.evaluation import finetune

    train, test = finetune.parts(data, PART, "masks|mask_files", "segmentation")
    check(train, "train")
    check(test, "test")
    torch.manual_seed(seed)
    body = finetune.trainable(network)
    model = build(body, len(data.classes), options).to(device)
    crop = options.crop or data.size
    fit(model, body, train, len(data.classes), options, crop, seed, device, workers)
    counts = confusion(model, test, len(data.classes), options, device, workers)
    names = ["background", *data.classes]
    out = scores(counts, names)
    out.arrays = examples(model, test, names, options, device)
    return out


def build(body, classes: int, options: Options):
    """The segmenter that `options` describe, on `body` itself: `classes` and the background."""
    from burn.evaluation.segmenter import Segmenter

    return Segmenter(body, classes + 1, options.head, options.output_stride, options.rates)


def fit(
    model,
    body,
    split,
    classes: int,
    options: Options,
    crop: int,
    seed: int,
    device,
    workers: int = 0,
):
    """Train the segmenter in place, on the images that have a mask, cut to crop x crop pixels."""
    import torch
    import torch.nn.functional as F

    from burn.evaluation import finetune

    def loss(chunk, generator, images):
        views = [
            view(image, mask(split, i, classes).to(device), options.scale, crop, generator)
            for image, i in zip(images, chunk)
        ]
        x, truth = (torch.stack(parts) for parts in zip(*views))
        total = F.cross_entropy(model(x), truth.long(), ignore_index=IGNORE, reduction="sum")
        return total / (truth != IGNORE).sum().clamp(min=1)  # nothing but ignored: 0, no NaN

    rows = labelled(split)
    finetune.fit(
        model, body, loss, split, rows, options, seed, device, workers, "tasks.segmentation"
    )


def labelled(split) -> list[int]:
    """The images that have a mask with anything in it."""
    if split.masks is not None:
        return (split.masks.flatten(1).amin(1) != IGNORE).nonzero()[:, 0].tolist()
    return [i for i, file in enumerate(split.mask_files) if file is not None]


def check(split, name: str) -> None:
    """Raises UserError unless the masks tell two classes apart: of one, any network is right.

    Of a packed set: its squares may have lost some. Masks that stay files prepare has looked at.
    """
    rows, found = labelled(split), set()
    for row in rows if split.masks is not None else ():
        found |= set(split.masks[row].unique().tolist()) - {IGNORE}
        if len(found) > 1:
            return
    if not rows:
        raise UserError(
            f"protocols: segmentation: found no mask in the {name} split; allowed: some"
        )
    if found:
        raise UserError(
            f"protocols: segmentation: found {found.pop()} alone in the masks of the {name} split as "
            "packed; allowed: two numbers or more, 0 for the background and 1, 2, ... for classes"
        )


def mask(split, row: int, classes: int):
    """The mask of an image, uint8 (H, W). Raises UserError where its file is none of `classes`."""
    import numpy as np
    import torch

    from burn.images.decode import load_image

    if split.masks is not None:
        return split.masks[row]
    path = split.mask_file(row)
    pixels = np.array(load_image(path, None))  # palette indices are the classes
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise UserError(
            f"{path}: found {pixels.dtype} {pixels.shape}; expected one byte per pixel, its class"
        )
    if (worst := pixels[pixels != IGNORE].max(initial=0)) > classes:
        raise UserError(f"{path}: found class {worst}; allowed: 0 to {classes}, and {IGNORE}")
    return torch.from_numpy(pixels)


def view(image, truth, scale: list[float], crop: int, generator):
    """A training view: resized, cut or padded to crop x crop, flipped half of the time, at random.

    Args:
        image: uint8 (3, H, W). truth: uint8 (H, W). scale: [least, most], drawn log-uniformly.

    Returns float32 (3, crop, crop) in [0, 1], padded with the mean colour, and uint8 (crop, crop),
    padded with 255.
    """
    import torch
    import torch.nn.functional as F

    from burn.images.augment import MEAN

    draw = torch.rand(4, generator=generator).tolist()
    factor = scale[0] * (scale[1] / scale[0]) ** draw[0]
    size = [max(1, round(side * factor)) for side in image.shape[1:]]
    x, y = image.float().div(255), truth[None, None].float()
    if size != list(image.shape[1:]):
        x = F.interpolate(x[None], size, mode="bilinear", antialias=True)[0]
        y = F.interpolate(y, size, mode="nearest-exact")
    top, left = (int(d * (max(0, s - crop) + 1)) for d, s in zip(draw[1:3], size))
    x, y = (a[..., top : top + crop, left : left + crop] for a in (x, y[0, 0]))
    mean = torch.tensor(MEAN, device=x.device).view(3, 1, 1)
    picture = mean.expand(3, crop, crop).clone()
    labels = torch.full((crop, crop), IGNORE, dtype=torch.uint8, device=x.device)
    picture[:, : x.shape[1], : x.shape[2]] = x
    labels[: y.shape[0], : y.shape[1]] = y.to(torch.uint8)
    return (picture.flip(2), labels.flip(1)) if draw[3] < 0.5 else (picture, labels)


def confusion(model, split, classes: int, options: Options, device, workers: int = 0):
    """Pixels of the test images by class and by prediction, int64 (classes + 1, classes + 1).

    Whole images, those of a streamed set one at a time in their own size.
    """
    import torch

    from burn.evaluation import finetune
    from burn.networks.arithmetic import autocast

    rows = labelled(split)
    batch = options.batch if split.images is not None else 1
    counts = torch.zeros(classes + 1, classes + 1, dtype=torch.int64)
    with torch.inference_mode(), autocast(device, options.precision):
        for chunk, images in finetune.shown(split, rows, batch, workers):
            x = torch.stack(images).to(device).float().div(255)
            predicted = model(x).argmax(1)
            truth = torch.stack([mask(split, row, classes) for row in chunk]).to(device)
            counts += tally(truth, predicted, classes + 1).cpu()
    return counts


def examples(model, split, names: list[str], options: Options, device) -> dict:
    """Images evenly spaced over those with a mask, for the report: picture0, truth0, found0, ...

    Each the bytes of a file (burn.evaluation.pictures); `classes`: the names of the masks' values.
    """
    import torch

    from burn.evaluation import finetune
    from burn.evaluation.pictures import encode, spaced
    from burn.networks.arithmetic import autocast

    out, rows = {"classes": names}, spaced(labelled(split), EXAMPLES)
    with torch.inference_mode(), autocast(device, options.precision):
        for n, (_, images) in enumerate(finetune.shown(split, rows, 1, 0)):
            predicted = model(images[0][None].to(device).float().div(255)).argmax(1)[0]
            out[f"picture{n}"] = encode(images[0])
            out[f"truth{n}"] = encode(mask(split, rows[n], len(names) - 1))
            out[f"found{n}"] = encode(predicted.to(torch.uint8).cpu())
    return out


def tally(truth, predicted, classes: int):
    """Counts by (class, prediction), int64 (classes, classes), of the pixels that are not ignored."""
    known = truth != IGNORE
    pairs = truth[known].long() * classes + predicted[known].long()
    return pairs.bincount(minlength=classes**2).view(classes, classes)


def scores(counts, names: list[str]) -> Scores:
    """mIoU, pixel accuracy and `per_class` IoU, in percent, from counts by (class, prediction)."""
    counts = counts.double()
    right, occurs, given = counts.diag(), counts.sum(1), counts.sum(0)
    iou = right / (occurs + given - right).clamp(min=1)
    known = (occurs > 0).nonzero()[:, 0].tolist()
    each = {names[i]: round(100 * float(iou[i]), 4) for i in known}
    values = {
        "miou": round(100 * float(iou[known].mean()), 4),
        "pixel_accuracy": round(100 * float(right.sum() / occurs.sum()), 4),
    }
    return Scores("miou", values, per_class=each)
