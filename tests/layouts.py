"""Small data sets on disk, each as its owners ship it: trees in the true form."""

from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image
from trees import pattern, tree

SYNSETS = ("n01440764", "n01443537", "n02119789")


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def image(path: Path, number: int = 0, side=(40, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pattern(number, side).save(path)


def imagenet(root: Path) -> None:
    """Three synsets to train on, a flat val/ of four images, the development kit.

    ILSVRC's numbers are not in the order of the synsets; those above its leaves have some too.
    """
    tree(root, {"train": dict.fromkeys(SYNSETS, 2)}, ".JPEG")
    numbers = {"n02119789": 1, "n01440764": 2, "n01443537": 3, "n00001740": 4}
    table = np.zeros(4, [("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("num_children", "f8")])
    for row, (synset, number) in zip(table, numbers.items()):
        row["ILSVRC2012_ID"], row["WNID"] = number, synset
        row["num_children"] = 3 * (synset == "n00001740")
    data = root / "ILSVRC2012_devkit_t12" / "data"
    text(data / "ILSVRC2012_validation_ground_truth.txt", "3", "1", "2", "3")
    scipy.io.savemat(data / "meta.mat", {"synsets": table[:, None]})
    for i in range(1, 5):
        image(root / f"val/ILSVRC2012_val_{i:08d}.JPEG", i)


def places205(root: Path) -> None:
    lists = {"train": ["a/abbey/1.jpg 0", "b/bazaar/indoor/2.jpg 1", "a/abbey/3.jpg 0"],
             "val": ["b/bazaar/indoor/4.jpg 1", "a/abbey/5.jpg 0"]}  # fmt: skip
    for split, lines in lists.items():
        text(root / f"trainvalsplit_places205/{split}_places205.csv", *lines)
        for line in lines:
            image(root / "images256" / line.split()[0])


def cub200(root: Path) -> None:
    base = root / "CUB_200_2011"
    birds = ["002.Laysan_Albatross/c.jpg", "001.Black_footed_Albatross/a.jpg",
             "001.Black_footed_Albatross/b.jpg", "002.Laysan_Albatross/d.jpg"]  # fmt: skip
    text(base / "images.txt", *(f"{i} {bird}" for i, bird in enumerate(birds, 1)))
    text(base / "image_class_labels.txt", "1 2", "2 1", "3 1", "4 2")
    text(base / "train_test_split.txt", "1 1", "2 0", "3 1", "4 0")
    for bird in birds:
        image(base / "images" / bird)


def birdsnap(root: Path) -> None:
    birds = {"Acadian_Flycatcher/1.jpg": 1, "Acadian_Flycatcher/2.jpg": 1, "Ovenbird/3.jpg": 7,
             "Ovenbird/4.jpg": 7, "Ovenbird/5.jpg": 7}  # fmt: skip
    rows = (f"http://x/y.jpg\tmd5\t{bird}\t{species}\t1\t2" for bird, species in birds.items())
    text(root / "images.txt", "url\tmd5\tpath\tspecies_id\tbb_x1\tbb_y1", *rows)
    text(root / "test_images.txt", "path", "Acadian_Flycatcher/2.jpg", "Ovenbird/3.jpg")
    for bird in birds:
        image(root / "download/images" / bird)


THREE = [("cat", 0, (1, 1, 10, 40)), ("dog", 0, (31, 11, 50, 30)), ("cow", 1, (41, 1, 60, 20))]


def annotation(objects, size=(80, 40)) -> str:
    parts = "".join(
        f"<object><name>{name}</name>"
        + ("" if difficult is None else f"<difficult>{difficult}</difficult>")
        + "<bndbox>"
        + "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box))
        + "</bndbox><part><name>head</name></part></object>"
        for name, difficult, box in objects
    )
    size = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation>{size}{parts}</annotation>"


def mask(value: int) -> Image.Image:
    """80 x 40: a square where the dog is, of some number, with a border to be ignored."""
    pixels = np.zeros((40, 80), np.uint8)
    pixels[9:31, 29:51] = 255
    pixels[10:30, 30:50] = value
    return Image.fromarray(pixels)


def year(base: Path, lists: dict[str, str], objects=THREE, masks=(), value=12) -> None:
    """A VOC20xx of 80 x 40 images. lists: "Main/train" -> names; masks: whose names have one."""
    for listing, names in lists.items():
        text(base / f"ImageSets/{listing}.txt", *names.split())
        for name in names.split():
            image(base / f"JPEGImages/{name}.jpg", int(name), (80, 40))
            if objects is not None:
                text(base / f"Annotations/{name}.xml", annotation(objects))
    for name in masks:
        (base / "SegmentationClass").mkdir(parents=True, exist_ok=True)
        mask(value).save(base / f"SegmentationClass/{name}.png")


def voc07(root: Path) -> None:
    """Two images a split: a cat at the left edge, a dog in the middle, a difficult cow."""
    lists = {"Main/trainval": "01 02", "Main/test": "03 04"}
    year(root / "VOCdevkit/VOC2007", lists, masks=("01",))


WRITE = {f.__name__: f for f in (imagenet, places205, cub200, birdsnap, voc07)}
