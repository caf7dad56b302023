"""The step `prepare`: a data set found, checked file by file, packed and counted.

Every image is decoded here once, so a damaged one stops the pipeline before anything is trained,
and training reads one array. No torch unless a subset is cut or a set downloaded: it starts fast.
"""

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors import safe_open

from burn.artifacts import artifact, file_hash, write_json, writing
from burn.data.broken import Broken
from burn.data.sources import Contents, Split, read
from burn.errors import UserError
from burn.images.decode import fitted, load_image
from burn.places import INDEX, SEEN, TENSORS, named

BATCH = 64  # images a thread decodes at a time
DTYPES = {"uint8": "U8", "int64": "I64", "float32": "F32"}  # NumPy's names, safetensors' names


def prepare(dataset: str, settings: dict[str, Any], out: str | Path) -> None:
    """Make the data artifact `out` from settings = burn.experiment.reads.settings(params, "prepare", dataset=dataset).

    Leaves data.safetensors, index.json and metrics.json; two runs on the same files leave the same
    bytes. With `pack: false` only labels are stored, and index.json lists the files. Files that are
    no whole images are left out, told and listed there, too, as far as `skip_broken` lets them.
    Raises UserError: no data, an empty class, more broken files than that.
    """
    spec = settings["spec"]
    contents = read(dataset, settings["root"], spec, settings["download"])
    images = (
        []
        if spec.source == "synthetic"
        else [named(settings["root"]) / named(spec.path or dataset)]
    )
    with artifact(out, "prepare", settings, kept=images) as work:
        index: dict[str, Any] = {"classes": contents.classes, "streamed": not spec.pack}
        broken, found = Broken(dataset, spec, contents), {}
        if spec.pack:
            pixels = {n: _pixels(n, s, spec.size, broken) for n, s in contents.splits.items()}
            _write(work.path(TENSORS), _tensors(contents, pixels, spec.size))
            if broken.files:
                _rewrite(work.path(TENSORS), contents, broken, spec.size)
        else:
            for name, split in contents.splits.items():
                found[name] = _check(name, split, broken)
            broken.leave_out()
            np.savez(work.path(SEEN), **_seen(contents, found))
            for name, split in contents.splits.items():
                index[name] = {"folder": str(split.folder), "files": split.files}
                if split.mask_files is not None:
                    index[name]["masks"] = split.mask_files
            _write(work.path(TENSORS), _tensors(contents, {}, spec.size))
        if broken.files:
            index["left_out"] = sorted(broken.files)
        write_json(work.path(INDEX), index)
        work.metrics = {
            "dataset": dataset,
            "source": spec.source,
            "stand_in": spec.source == "synthetic",
            "size": spec.size,
            "packed": spec.pack,
            "classes": len(contents.classes),
            **({} if contents.classes else {"unlabelled": True}),
            "annotations": annotations(contents),
            **{f"{name}_images": len(split.labels) for name, split in contents.splits.items()},
            "sha256": file_hash(work.path(TENSORS)),
        }
        if broken.files:
            work.metrics["broken_images"] = len(broken.files)
        if contents.missing:
            work.metrics["missing_images"] = contents.missing
        if contents.others and contents.others.count:
            work.metrics["left_out_files"] = contents.others.count
        if contents.left_out_boxes:
            work.metrics["left_out_boxes"] = contents.left_out_boxes
        if not spec.pack:
            hashes = {k: [[f, v[f].sha256] for f in sorted(v)] for k, v in found.items()}
            listed = json.dumps(hashes, sort_keys=True)
            work.metrics["files_sha256"] = hashlib.sha256(listed.encode()).hexdigest()


def annotations(contents: Contents) -> list[str]:
    """What a set has: "class" (one in an image) or "classes", and "boxes", "masks"; or nothing."""
    if not contents.classes:
        return []
    splits = [contents.train, *contents.parts.values()]
    out = ["classes" if contents.train.labels.ndim == 2 else "class"]
    out += ["boxes"] if any(s.boxes is not None for s in splits) else []
    masks = any(s.masks is not None or s.mask_files is not None for s in splits)
    return out + (["masks"] if masks else [])


def square(image: Image.Image, size: int) -> np.ndarray:
    """An RGB image as uint8 (3, size, size): shorter side resized (bicubic, antialiased), centre cut."""
    if image.size != (size, size):
        wide, high, left, top = fitted(*image.size, size)
        image = image.resize((wide, high), Image.Resampling.BICUBIC)
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image).transpose(2, 0, 1)


def _tensors(contents: Contents, pixels: dict[str, Iterable[np.ndarray]], size: int) -> list[tuple]:
    """What data.safetensors holds: (name, dtype, shape, batches) of each; `pixels` by split."""
    out = []
    for name, split in contents.splits.items():
        arrays = {"labels": split.labels, "boxes": split.boxes, "masks": split.masks}
        out += [
            (f"{name}.{key}", str(array.dtype), array.shape, [array])
            for key, array in arrays.items()
            if array is not None
        ]
        if name in pixels:
            shape = (len(split.labels), 3, size, size)
            out.append((f"{name}.images", "uint8", shape, pixels[name]))
    return out


def _pixels(name: str, split: Split, size: int, broken: Broken) -> Iterator[np.ndarray]:
    """The split's images in order, uint8 batches (b, 3, size, size); broken ones are black."""
    if split.images is not None and split.images.shape[-2:] == (size, size):
        yield split.images
        return
    black = np.zeros((3, size, size), np.uint8)

    def batch(index: range) -> list[tuple[int, np.ndarray | UserError]]:
        if split.files is not None:
            return [(i, _decoded(split, i, size)) for i in index]
        images = (Image.fromarray(split.images[i].transpose(1, 2, 0)) for i in index)
        return [(i, square(image, size)) for i, image in zip(index, images)]

    for rows in _in_order(batch, len(split.labels), f"pack {name}"):
        yield np.stack([black if _odd(split, *row, broken) else row[1] for row in rows])


@dataclass
class Seen:
    """A file of a streamed set as it was when it was checked: content, bytes, time in nanoseconds."""

    sha256: str
    size: int
    time: int

    @classmethod
    def of(cls, path: Path) -> "Seen":
        stat = path.stat()
        return cls(file_hash(path), stat.st_size, stat.st_mtime_ns)


def _check(name: str, split: Split, broken: Broken) -> dict[str, Seen]:
    """Decode every file of a streamed split: what each whole one is, masks too, by its name.

    (Masks themselves were decoded when they were found.)
    """

    def batch(index: range) -> list[tuple[int, Seen | UserError]]:
        return [(i, _decoded(split, i)) for i in index]

    files = {
        split.files[i]: found
        for rows in _in_order(batch, len(split.labels), f"check {name}")
        for i, found in rows
        if not _odd(split, i, found, broken)
    }
    masks = [mask for mask in split.mask_files or () if mask is not None]
    return files | {mask: Seen.of(split.folder / mask) for mask in masks}


def _seen(contents: Contents, found: dict[str, dict[str, Seen]]) -> dict[str, np.ndarray]:
    """Bytes and time of each file, int64 (N, 2): <split>, and <split>.masks, -1 where there is none.

    No other step depends on them: a copy of a file has another time. Training reads no other file.
    """
    arrays = {}
    for name, split in contents.splits.items():
        for key, files in ((name, split.files), (f"{name}.masks", split.mask_files)):
            rows = [
                (s.size, s.time) if (s := found[name].get(f)) else (-1, -1) for f in files or ()
            ]
            if files is not None:
                arrays[key] = np.array(rows, np.int64).reshape(-1, 2)
    return arrays


def _decoded(split: Split, i: int, size: int | None = None) -> np.ndarray | Seen | UserError:
    """An image as a square of side `size`, or, without one, what its file is; or what is wrong."""
    path = split.folder / split.files[i]
    try:
        seen = Seen.of(path) if size is None and path.is_file() else None
        image = load_image(path)
        return seen if size is None else square(image, size)
    except UserError as error:
        return error


def _odd(split: Split, i: int, found: Any, broken: Broken) -> bool:
    """Whether image i is a broken one, of which `broken` is told then."""
    if odd := isinstance(found, UserError):
        broken.add(split.folder / split.files[i], found)
    return odd


def _rewrite(path: Path, contents: Contents, broken: Broken, size: int) -> None:
    """The packed set at `path` once more, without its broken images."""
    whole = path.with_suffix(".whole")
    os.replace(path, whole)
    kept = {name: broken.whole(split) for name, split in contents.splits.items()}
    broken.leave_out()

    def rows(file: Any, name: str) -> Iterator[np.ndarray]:
        images = file.get_slice(f"{name}.images")
        for at in range(0, len(kept[name]), BATCH):
            part = kept[name][at : at + BATCH]
            yield images[at : at + len(part)][part]

    with safe_open(whole, "np") as file:
        _write(path, _tensors(contents, {name: rows(file, name) for name in kept}, size))
    whole.unlink()


def _in_order(work: Callable[[range], Any], count: int, title: str) -> Iterator[Any]:
    """work(range) for 0..count-1 in batches, on a few threads (decoding releases the GIL).

    Results come in order, and only a few wait to be taken. The progress bar needs a terminal.
    """
    from tqdm import tqdm

    threads = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)
    batches = iter([range(at, min(at + BATCH, count)) for at in range(0, count, BATCH)])
    pool = ThreadPoolExecutor(threads)
    waiting: deque = deque()
    try:
        with tqdm(total=count, desc=title, unit="image", disable=None, leave=False) as bar:
            while True:
                for batch in batches:
                    waiting.append((batch, pool.submit(work, batch)))
                    if len(waiting) > 4 * threads:
                        break
                if not waiting:
                    return
                batch, future = waiting.popleft()
                yield future.result()
                bar.update(len(batch))
    finally:
        pool.shutdown(cancel_futures=True)


def _write(
    path: Path, tensors: list[tuple[str, str, tuple[int, ...], Iterable[np.ndarray]]]
) -> None:
    """Write a safetensors file from (name, dtype, shape, batches), one batch in memory at a time.

    The library's own writer wants all tensors in memory at once, which ImageNet is too big for.
    The format: length of the header (8 bytes, little-endian), the header in JSON, the bytes. Wider
    types come first, so that every tensor is aligned.
    """
    tensors = sorted(tensors, key=lambda t: (-np.dtype(t[1]).itemsize, t[0]))
    header, end = {}, 0
    for name, dtype, shape, _ in tensors:
        start, end = end, end + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        header[name] = {"dtype": DTYPES[dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    with writing(path, end, kinds=()), open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, _, _, batches in tensors:
            file.writelines(np.ascontiguousarray(batch).data for batch in batches)
        if file.tell() != 8 + len(text) + end:
            raise RuntimeError(f"{path}: wrote {file.tell()} bytes, not {8 + len(text) + end}")
