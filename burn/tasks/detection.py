"""Object detection: Faster R-CNN on the pretrained network, everything fine-tuned.

The schedule is the released one: 24k iterations, the rate to a tenth at 18k and 22k, warm-up over
100, shorter side 480 to 800 in training and 800 in test; 16 images an update at a rate of 0.02, as
MoCo's detectors have. They come two at a time (`batch`, `accumulate`): of these ReActNet-A keeps
5.7 GiB for the backward pass in c4 and 3.0 in fpn, so a GPU of 8 GB will do; ResNet-50 keeps 8.0 in
c4, and wants bf16 or one at a time there. `norm` is frozen, as is standard for so few. Images of 64
pixels, on a laptop's CPU, want smaller anchors, sides and regions, and a few hundred iterations.

Scores are COCO's: AP is the mean over ten overlaps (IoU 0.5 to 0.95), AP50 and AP75 those at one.
Objects marked difficult are left out of training; in scoring they are what COCO calls a crowd:
detections on them count neither as right nor as wrong.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from burn.errors import UserError
from burn.evaluation.finetune import Recipe
from burn.evaluation.scores import Scores
from burn.experiment.schema import AtLeastOne, Count, Positive, Unit

PART, NEEDS = "detection", "boxes"
Sides = Annotated[list[AtLeastOne], Field(min_length=1)]
NOTHING = (
    "protocols: detection: found no object in the {} split (those marked difficult count for none); "
    "allowed: some"
)
EXAMPLES, SHOWN = 4, 10  # images kept for the report, detections on each


class Options(Recipe):
    layout: Literal["c4", "fpn"] = "c4"
    iterations: AtLeastOne = 24000
    batch: AtLeastOne = 2
    accumulate: AtLeastOne = 8
    lr: Positive = 0.02
    warmup: Count = 100
    schedule: Literal["step", "poly"] = "step"
    milestones: list[Count] = [18000, 22000]
    norm: Literal["frozen", "moving"] = "frozen"
    train_sides: Sides = [480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800]  # shorter side
    test_side: AtLeastOne = 800
    longest: AtLeastOne = 1333  # the longer side, at most
    anchors: Sides = [32, 64, 128, 256, 512]  # sides in pixels; fpn: one per level, five
    region: AtLeastOne | None = None  # side of a region's grid; null: 14 (c4), 7 (fpn)
    regions: AtLeastOne = 512  # of each training image
    proposals: AtLeastOne = 1000
    pyramid: AtLeastOne = 256  # channels of the pyramid (fpn)
    hidden: AtLeastOne = 1024  # of the regions' linear layers (fpn)
    threshold: Unit = 0.05  # detections less sure are dropped

    @model_validator(mode="after")
    def _one_anchor_a_level(self):
        if self.layout == "fpn" and len(self.anchors) != 5:
            raise ValueError(f"five anchors where layout is fpn (found {len(self.anchors)})")
        return self


def examine(network, data, options, seed, device, workers=0) -> Scores:
    """AP, AP50 and AP75 on the test split, in percent; `per_class`: the AP of each class;
    `arrays`: some images with what was found (see `examples`).

    Args:
        network: with `maps` (burn.networks.maps); it stays as it is. data: burn.images.store.Data.
    """
    import torch

    from burn.evaluation import finetune

    train, test = finetune.parts(data, PART, "boxes", "detection")
    for name, split in (("train", train), ("test", test)):
        if not any(map(len, objects(split))):
            raise UserError(NOTHING.format(name))
    torch.manual_seed(seed)
    body = finetune.trainable(network)
    model = build(body, len(data.classes), options).to(device)
    fit(model, body, train, options, seed, device, workers)
    detections = predict(model, test, options, device, workers)
    out = coco(test, detections, data.classes)
    out.arrays = examples(test, detections, data.classes)
    return out


def build(body, classes: int, options: Options):
    """The detector that `options` describe, on `body` itself."""
    from burn.evaluation.detector import detector

    region = options.region or (14 if options.layout == "c4" else 7)
    return detector(
        body, classes, options.layout, options.anchors, options.train_sides, options.longest,
        region, options.regions, options.proposals, options.pyramid, options.hidden,
        options.threshold,
    )  # fmt: skip


def fit(model, body, split, options: Options, seed: int, device, workers: int = 0) -> None:
    """Train the detector in place, on images that have an object, each flipped half of the time."""
    import torch

    from burn.evaluation import finetune

    truth = objects(split)
    rows = [i for i, objects_there in enumerate(truth) if len(objects_there)]

    def loss(chunk, generator, images):
        flips = (torch.rand(len(chunk), generator=generator) < 0.5).tolist()
        pairs = [view(*p) for p in zip(images, (truth[i] for i in chunk), flips)]
        return sum(model(*map(list, zip(*pairs))).values())

    finetune.fit(
        model, body, loss, split, rows, options, seed, device, workers, "tasks.detection"
    )  # fmt: skip


def objects(split) -> list:
    """For each image its objects that are not difficult, float32 (K, 5), [class, x1, y1, x2, y2]."""
    boxes = _boxes(split)
    # torchvision takes no box without an area
    area = (boxes[:, 4] > boxes[:, 2]) & (boxes[:, 5] > boxes[:, 3])
    kept = boxes[area & (boxes[:, 6] == 0)]
    kept = kept[kept[:, 0].argsort(stable=True)]
    counts = kept[:, 0].long().bincount(minlength=len(split))
    return list(kept[:, 1:6].split(counts.tolist()))


def view(image, objects_there, flip: bool):
    """One training image and its target, as torchvision's detectors take them.

    Args:
        image: uint8 (3, H, W). objects_there: (K, 5), see `objects`.
    """
    import torch

    boxes = objects_there[:, 1:].to(image.device, torch.float32)
    if flip:
        image = image.flip(2)
        boxes = torch.stack(
            [image.shape[2] - boxes[:, 2], boxes[:, 1], image.shape[2] - boxes[:, 0], boxes[:, 3]],
            1,
        )
    labels = objects_there[:, 0].to(image.device, torch.int64) + 1  # 0 is the background
    return image.float().div(255), {"boxes": boxes, "labels": labels}


def predict(model, split, options: Options, device, workers: int = 0) -> list[dict]:
    """Detections of every image of `split`, in order: boxes (K, 4), scores (K,), labels (K,) from 0."""
    import torch

    from burn.evaluation import finetune
    from burn.networks.arithmetic import autocast

    model.eval()
    model.transform.min_size = (options.test_side,)
    rows, out = list(range(len(split))), []
    with torch.inference_mode(), autocast(device, options.precision):
        for _, images in finetune.shown(split, rows, options.batch, workers):
            for detected in model([image.to(device).float().div(255) for image in images]):
                detected = {k: v.float().cpu() for k, v in detected.items()}
                out.append(detected | {"labels": detected["labels"].long() - 1})
    return out


def coco(split, detections: list[dict], classes: list[str]) -> Scores:
    """AP, AP50, AP75 and `per_class` AP, in percent, of detections (see `predict`) on `split`.

    A class of which there is no object to find counts nowhere. Raises UserError if none has any.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    truth, answer = as_coco(split, detections, classes)
    if all(a["iscrowd"] for a in truth["annotations"]):
        raise UserError(NOTHING.format("test"))
    truth = COCO(truth)
    scoring = COCOeval_faster(truth, truth.loadRes(answer), "bbox", print_function=lambda *_: None)
    scoring.run()
    scores = zip(("ap", "ap50", "ap75"), scoring.stats)
    # (overlaps, recalls, classes, areas, counts): all areas, at most 100 detections an image
    each = scoring.eval["precision"][:, :, :, 0, -1].mean((0, 1))
    values = {name: round(100 * float(score), 4) for name, score in scores}
    known = {name: round(100 * float(ap), 4) for name, ap in zip(classes, each) if ap >= 0}
    return Scores("ap", values, per_class=known)


def examples(split, detections: list[dict], classes: list[str]) -> dict:
    """Images evenly spaced over those with an object, for the report: picture0, picture1, ...

    `truth`: (T, 6) [picture, class, x1, y1, x2, y2], difficult objects left out. `found`: (K, 7), the
    same and the score, of the surest detections on each. `classes`: their names.
    """
    import numpy as np

    from burn.evaluation import finetune
    from burn.evaluation.pictures import encode, spaced

    objects_ = objects(split)
    rows = spaced([i for i, known in enumerate(objects_) if len(known)], EXAMPLES)
    out, truth, shown = {"classes": classes}, [], []
    for n, (_, images) in enumerate(finetune.shown(split, rows, 1, 0)):
        out[f"picture{n}"] = encode(images[0])
        truth += [[n, *each] for each in objects_[rows[n]].tolist()]
        surest = {key: part[:SHOWN].tolist() for key, part in detections[rows[n]].items()}
        surest = zip(surest["labels"], surest["boxes"], surest["scores"])
        shown += [[n, label, *box, score] for label, box, score in surest]
    out["truth"] = np.array(truth, np.float32).reshape(-1, 6)
    return out | {"found": np.array(shown, np.float32).reshape(-1, 7)}


def as_coco(split, detections: list[dict], classes: list[str]) -> tuple[dict, list[dict]]:
    """The objects of `split` and the detections on it, each in COCO's own form."""
    annotations = []
    for number, (image, label, x1, y1, x2, y2, difficult) in enumerate(_boxes(split).tolist()):
        annotations.append({
            "id": number + 1, "image_id": int(image), "category_id": int(label),
            "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1),
            "iscrowd": int(difficult),
        })  # fmt: skip
    answer = []
    for image, each in enumerate(detections):
        rows = zip(each["boxes"].tolist(), each["scores"].tolist(), each["labels"].tolist())
        for (x1, y1, x2, y2), score, label in rows:
            box = [x1, y1, x2 - x1, y2 - y1]
            answer.append({"image_id": image, "category_id": label, "bbox": box, "score": score})
    truth = {
        "images": [{"id": i} for i in range(len(split))],
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes)],
        "annotations": annotations,
    }
    return truth, answer


def _boxes(split):
    if split.boxes.ndim != 2 or split.boxes.shape[1] != 7:
        raise UserError(
            f"data.safetensors: boxes: found a table {tuple(split.boxes.shape)}; expected rows "
            "[image, class, x1, y1, x2, y2, difficult]"
        )
    return split.boxes
