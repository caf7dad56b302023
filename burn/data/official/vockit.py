"""A VOCdevkit: which images are in which split, and where their files are.

train and test are the first year's ImageSets/Main lists. Two tasks have splits of their own:
train_detection adds later years' trainval lists, and train_segmentation and test_segmentation are
the ImageSets/Segmentation lists of the last year that has any. The lists are trainval and test; where
there is no test list (or, as in VOC2012, none with masks), train and val. A tree with only
Segmentation lists has them for train and test.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from burn.data.files import endings, is_image, read_text
from burn.data.registry import info
from burn.errors import UserError

XML = ".xml"
Id = tuple[str, str]  # a year's folder and the name of an image in it: ("VOC2007", "000005")


@dataclass
class Part:
    """The images of a split, and whether it has boxes, and masks."""

    ids: list[Id]
    boxes: bool
    masks: bool


class Kit:
    """A VOCdevkit: where things are in it. Raises UserError naming the first that is missing."""

    def __init__(self, folder: Path, dataset: str, source: str):
        self.folder, self.official = folder / "VOCdevkit", source == "official"
        self.expected = info(dataset, folder).expected(dataset, source)
        if self.official:
            self.expected += ", or data.download: true"
        self._listed: dict[tuple[str, str], dict[str, str]] = {}

    def parts(self) -> dict[str, Part]:
        """The splits by name, train and test first."""
        years = self._years()
        main = next((y for y in years if self._has(y, "ImageSets/Main") or self.official), None)
        segmented = next((y for y in years[::-1] if self._has(y, "ImageSets/Segmentation")), None)
        if main is None and segmented is None:
            raise self.missing(self.folder / years[0] / "ImageSets" / "Main" / "trainval.txt")
        if main is None:
            train, test = self._lists(segmented, "Segmentation")
            boxes = self._has(segmented, "Annotations")
            return {"train": Part(train, boxes, True), "test": Part(test, boxes, True)}
        train, test = self._lists(main, "Main")
        boxes = self._has(main, "Annotations")
        masks = self._has(main, "SegmentationClass") and segmented is None
        if not (boxes or masks or segmented):
            raise self.missing(self.folder / main / "Annotations")
        if not boxes and not masks:
            masks = True  # something must say what is in an image
        parts = {"train": Part(train, boxes, masks), "test": Part(test, boxes, masks)}
        further = [i for y in years if y > main and self._has(y, "Annotations")
                   for i in self._list(y, "Main", "trainval") or []]  # fmt: skip
        if further and boxes:
            parts["train_detection"] = Part(train + further, True, False)
        if segmented is not None:
            train, test = self._lists(segmented, "Segmentation")
            parts["train_segmentation"] = Part(train, False, True)
            parts["test_segmentation"] = Part(test, False, True)
        return parts

    def image(self, i: Id) -> str:
        """Its file, relative to the folder."""
        year, name = i
        path = self._in(year, "JPEGImages").get(name)
        if path is None:
            raise self.missing(self.folder / year / "JPEGImages" / f"{name}.jpg")
        return f"{year}/JPEGImages/{path}"

    def annotation(self, i: Id) -> Path:
        folder = self.folder / i[0] / "Annotations"
        path = self._in(i[0], "Annotations").get(i[1])
        if path is None:
            raise self.missing(folder / f"{i[1]}.xml")
        return folder / path

    def mask(self, i: Id) -> str | None:
        """Its file, relative to the folder, or None."""
        path = self._in(i[0], "SegmentationClass").get(i[1])
        return path and f"{i[0]}/SegmentationClass/{path}"

    def missing(self, path: Path) -> UserError:
        return UserError(f"{path}: no such file or folder; {self.expected}")

    def _years(self) -> list[str]:
        if self.official:
            return ["VOC2007", *(["VOC2012"] if self._has("VOC2012", "") else [])]
        years = sorted(f.name for f in self.folder.glob("VOC20[0-9][0-9]") if f.is_dir())
        if not years:
            raise self.missing(self.folder / "VOC2007")
        return years

    def _has(self, year: str, what: str) -> bool:
        return (self.folder / year / what).is_dir()

    def _in(self, year: str, what: str) -> dict[str, str]:
        """The images (or, of Annotations, the XML files) in a folder, by their names without the ending.

        Annotation tools leave files of other kinds beside them. Where a name has several images, VOC's
        own kind is the one. Listed once, no stat each.
        """
        if (year, what) not in self._listed:
            path = self.folder / year / what
            if not path.is_dir():
                raise self.missing(path)
            names = sorted(f.name for f in os.scandir(path) if f.is_file() and f.name[0] != ".")
            if what == "Annotations":
                names = [name for name in names if name.lower().endswith(XML)]
            else:
                names = [name for name in names if is_image(str(path / name))]
            own = ".png" if what == "SegmentationClass" else ".jpg"
            names.sort(key=lambda name: name.lower().endswith(own))  # of two the last one stays
            self._listed[year, what] = {os.path.splitext(name)[0]: name for name in names}
        return self._listed[year, what]

    def _list(self, year: str, kind: str, split: str) -> list[Id] | None:
        path = self.folder / year / "ImageSets" / kind / f"{split}.txt"
        if not path.exists():
            return None
        names = [
            line.strip() for line in read_text(path, self.expected).splitlines() if line.strip()
        ]
        if not names:
            raise UserError(f"{path}: found no names; expected the names of the images")
        ids = dict.fromkeys((year, self._bare(year, name)) for name in names)
        if len(ids) < len(names):
            print(f"{path}: {len(names) - len(ids)} lines name an image again: it is taken once",
                  file=sys.stderr)  # fmt: skip
        return list(ids)

    def _bare(self, year: str, name: str) -> str:
        """The name of an image in a list without its ending, if it has one there."""
        if name in self._in(year, "JPEGImages"):
            return name
        return os.path.splitext(name)[0] if name.lower().endswith((*endings(), XML)) else name

    def _lists(self, year: str, kind: str) -> tuple[list[Id], list[Id]]:
        """What to train and what to test on."""
        lists, strict = self.folder / year / "ImageSets" / kind, self.official and kind == "Main"
        test = self._list(year, kind, "test")
        if kind == "Segmentation" and test and self.mask(test[0]) is None:
            test = None
        train = self._list(year, kind, "trainval") if test or strict else None
        if not strict:
            train = train or self._list(year, kind, "train")
            test = test or self._list(year, kind, "val")
        if not train or not test:
            raise self.missing(lists / ("test.txt" if train else "trainval.txt"))
        if both := sorted(set(train) & set(test)):
            raise UserError(
                f"{lists}: found {both[0][1]!r} both to train and to test on ({len(both)} such "
                "images); expected lists that share none"
            )
        return train, test


def fetch(folder: Path) -> None:
    """What is not there of VOC 2007 and 2012, by torchvision (0.9 and 2 GB)."""
    from torchvision import datasets

    for year, split in (("2007", "trainval"), ("2007", "test"), ("2012", "trainval")):
        listing = folder / "VOCdevkit" / f"VOC{year}" / "ImageSets" / "Main" / f"{split}.txt"
        if listing.exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        try:
            datasets.VOCDetection(folder, year, split, download=True)
        except (OSError, RuntimeError) as error:
            message = " ".join(str(error).split())
            raise UserError(f"{folder}: download of VOC{year} failed: {message}") from None
