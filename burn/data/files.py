"""Which files below a folder are images, and which are left out; lists of files."""

import codecs
import functools
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from burn.errors import UserError
from burn.images.decode import check_regular

FORMATS = ("JPEG", "MPO", "PNG", "TIFF", "BMP", "DIB", "PPM", "GIF", "WEBP", "AVIF", "HEIF", "JPEG2000",
           "TGA", "PCX", "QOI", "SGI", "SUN")  # fmt: skip
WANTED = "images that Pillow reads (.jpg, .png, .tif, .webp, .gif, .avif and others)"
# What systems put beside images: macOS's archives, a NAS's thumbnails, deleted files.
SYSTEM = (
    "__MACOSX",
    "@eaDir",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
)


@dataclass
class Others:
    """Files of a set that are left out, as they are no images or lie in no class; `first` is one."""

    folder: Path
    count: int = 0
    first: str = ""
    kinds: set[str] = field(default_factory=set)

    def add(self, path: str, kind: str) -> None:
        self.count, self.first = self.count + 1, self.first or path
        self.kinds.add(kind)

    def said(self, before: int = 0) -> str:
        """What a folder without images has: the files since there were `before` of them."""
        count = self.count - before
        return f"{count} files, none of them an image" if count else "no image"

    def tell(self, taken: int) -> None:
        """Say it on stderr. taken: how many files are in the set."""
        if self.count:
            print(f"{self.folder}: files left out: {self.count} beside {taken} images, the first "
                  f"{os.path.relpath(self.first, self.folder)} ({', '.join(sorted(self.kinds))})",
                  file=sys.stderr)  # fmt: skip


@functools.cache
def endings() -> tuple[str, ...]:
    """Of the names of image files, in lower case."""
    known = Image.registered_extensions().items()
    return tuple(
        e for e, kind in known if kind in FORMATS and e != ".pfm"
    )  # floating-point numbers


def is_image(path: str) -> bool:
    """Whether a file is an image by its name, or, if that has no ending, by its first bytes."""
    name = os.path.basename(path)
    if name.lower().endswith(endings()):
        return True
    if "." in name or not os.path.isfile(path):
        return False
    try:
        with Image.open(path, formats=[kind for kind in FORMATS if kind in Image.OPEN]):
            return True
    except Image.DecompressionBombError:
        return True
    except (OSError, SyntaxError, ValueError):
        return False


def unseen(name: str) -> bool:
    """Whether a file or folder is none of the user's: hidden, such as macOS's ._photo.jpg, or a system's."""
    return name.startswith(".") or name in SYSTEM


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in it, sorted; [] if it is none."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:  # knows folders from files without a stat each
        return sorted(e.name for e in entries if not unseen(e.name) and e.is_dir())


def loose(folder: Path, others: Others) -> None:
    """Adds to `others` the images that lie in `folder` itself, in the folder of no class."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not unseen(entry.name) and not entry.is_dir() and is_image(entry.path):
                others.add(entry.path, "in no class folder")


def images_below(folder: Path, others: Others, classes: Path | None = None) -> list[str]:
    """The image files below a folder: of a class, if `classes` is the folder of all of them. In no order.

    Files that are none go to `others`.
    A link is followed where it leads to files, or to folders apart from these: one that leads back
    would give images twice, or with the labels of other classes. Raises UserError where a class has
    a file that is none (a pipe) or a link to nothing; without classes they are broken files.
    """
    if classes and os.path.islink(folder) and within(*map(os.path.realpath, (classes, folder))):
        raise UserError(f"{folder}: found a link to a folder that holds it; expected a class's own")
    files, waiting, seen = [], [str(folder)], set()
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            # Sorted: of two links to one folder the first is followed, here as everywhere.
            for entry in sorted(entries, key=lambda entry: entry.name):
                if unseen(entry.name):
                    continue
                if entry.is_dir():
                    if entry.is_symlink():
                        places = (entry.path, classes or folder, folder)
                        target, split, top = map(os.path.realpath, places)
                        if target in seen or within(target, split) or within(top, target):
                            continue
                        seen.add(target)
                    waiting.append(entry.path)
                elif is_image(entry.path):
                    if classes and not entry.is_file():
                        check_regular(entry.path)
                    files.append(entry.path)
                else:
                    others.add(entry.path, os.path.splitext(entry.name)[1].lower() or "no ending")
    return files


def read_text(path: Path, expected: str) -> str:
    """A list in text. A byte order mark counts for nothing, and says whether it is UTF-16, as Windows
    writes it; names of files in it need not be UTF-8. Raises UserError: no file, no text."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {expected}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {expected}") from None
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = content.decode("utf-16")
        else:
            text = os.fsdecode(content.removeprefix(codecs.BOM_UTF8))
    except UnicodeDecodeError:
        raise UserError(f"{path}: found UTF-16 that breaks off; {expected}") from None
    if "\0" in text:
        raise UserError(f"{path}: found no text; {expected}")
    return text


def within(path: str, folder: str) -> bool:
    return os.path.commonpath((path, folder)) == folder
