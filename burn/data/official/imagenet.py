"""ImageNet (ILSVRC 2012): train/ of synset folders; val/ of such folders, or flat as it is shipped.

The labels of a flat val/ are in the development kit, by a number of ILSVRC's own; meta.mat says
which synset that is.
"""

import re
from pathlib import Path

from burn.data.files import Others, read_text, subfolders
from burn.data.official.lists import listed, whole
from burn.data.registry import REGISTRY
from burn.data.sources import Contents, class_folders, folder_split, read_folder, same_classes
from burn.errors import UserError
from burn.experiment.schema import DataSet

KIT = Path("ILSVRC2012_devkit_t12")
TRUTH = KIT / "data" / "ILSVRC2012_validation_ground_truth.txt"
META = KIT / "data" / "meta.mat"


def read(folder: Path, dataset: str, spec: DataSet, download: bool = False) -> Contents:
    """Labels in the order of the synsets' names. Its owners allow no download."""
    expected = REGISTRY[dataset].expected(dataset, "official")
    _unpack(folder, expected)
    if (folder / "val").is_dir() and not subfolders(folder / "val"):
        return _flat(folder, spec.classes, expected)
    contents = read_folder(folder, dataset, spec.classes, "official")
    if odd := [n for n in contents.classes if not re.fullmatch(r"n\d{8}", n)]:
        raise UserError(f"{folder}: found class folder {odd[0]!r}, not a synset; {expected}")
    return contents


def _unpack(folder: Path, expected: str) -> None:
    """Where there are only the archives, torchvision unpacks them into the tree."""
    if (folder / "train").is_dir() or not (folder / f"{KIT}.tar.gz").exists():
        return
    from torchvision import datasets

    try:
        for split in ("train", "val"):
            datasets.ImageNet(folder, split)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{folder}: {' '.join(str(error).split())}; {expected}") from None


def _flat(folder: Path, kept: int | None, expected: str) -> Contents:
    names = class_folders(folder, "train", expected)
    truth = read_text(folder / TRUTH, expected).split()
    synsets = _synsets(folder / META, expected)
    numbers = [whole(line, folder / TRUTH, expected) for line in truth]
    if odd := [n for n in numbers if n not in synsets]:
        raise UserError(f"{folder / TRUTH}: found {odd[0]}, which meta.mat has not; {expected}")
    there = {f.name for f in (folder / "val").iterdir()}
    files = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, len(numbers) + 1)]
    if missing := [f for f in files if f not in there]:
        raise UserError(
            f"{folder / 'val' / missing[0]}: no such file ({len(missing)} of {len(files)} are "
            f"missing); {expected}"
        )
    wanted = [synsets[n] for n in numbers]
    same_classes(folder, names, sorted(set(wanted)), ("train/", str(TRUTH)))
    label = {name: i for i, name in enumerate(names)}
    labels = [label[w] for w in wanted]
    test = listed(folder / "val", files, labels, names, kept, folder / TRUTH)
    others = Others(folder)
    train = folder_split(folder / "train", names[:kept], others)
    return Contents(names[:kept], train, test, others=others)


def _synsets(path: Path, expected: str) -> dict[int, str]:
    """ILSVRC's number of each synset that has images, and its WordNet name."""
    import scipy.io  # late: a third of a second

    try:
        with open(path, "rb") as file:
            table = scipy.io.loadmat(file, squeeze_me=True)["synsets"]
        return {
            int(row["ILSVRC2012_ID"]): str(row["WNID"])
            for row in table
            if int(row["num_children"]) == 0
        }
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {expected}") from None
    except Exception:  # noqa: BLE001 - a damaged file can raise nearly anything
        raise UserError(f"{path}: found no table of synsets; {expected}") from None
