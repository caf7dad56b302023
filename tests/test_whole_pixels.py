"""Images whose pixels are whole beside texts or profiles that are not; lines, and images of no end."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image
from trees import pattern, refused, run, tree

from burn.data.official.vocfiles import image_size
from burn.errors import UserError
from burn.images.decode import PNG, load_image
from burn.images.store import open_data

LONG = 3 * 2**20  # bytes of a text; Pillow reads 1 MB


def chunk(kind: bytes, content: bytes, damage: int = 0) -> bytes:
    crc = zlib.crc32(kind + content) ^ damage
    return len(content).to_bytes(4, "big") + kind + content + crc.to_bytes(4, "big")


CHUNKS = {
    "long text": chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * LONG)),
    "long international text": chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"x" * LONG)),
    "many texts": chunk(b"tEXt", b"a\0" + b"x" * 2**20) * 70,
    "long profile": chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * LONG)),
    "damaged text": chunk(b"zTXt", b"a\0\0no zlib"),
    "damaged profile": chunk(b"iCCP", b"a\0\0no zlib"),
    "wrong checksum of a text": chunk(b"tEXt", b"a\0b", damage=1),
}


def png(mode="RGB") -> tuple[bytes, bytes]:
    """A PNG up to its pixels, and the rest."""
    out = io.BytesIO()
    pattern(3).convert(mode).save(out, "png")
    at = out.getvalue().index(b"IDAT") - 4
    return out.getvalue()[:at], out.getvalue()[at:]


@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
@pytest.mark.parametrize("what", CHUNKS)
@pytest.mark.parametrize("after", [False, True])
def test_a_png_is_read_whatever_is_said_beside_its_pixels(tmp_path, what, after, mode):
    if what == "many texts" and (after or mode != "RGB"):
        pytest.skip("seconds")
    head, rest = png(mode)
    (tmp_path / "plain.png").write_bytes(head + rest)
    end = len(rest) - 12 if after else 0
    (tmp_path / "a.png").write_bytes(head + rest[:end] + CHUNKS[what] + rest[end:])
    for to in ("RGB", None):
        found, plain = (np.asarray(load_image(tmp_path / f"{n}.png", to)) for n in ("a", "plain"))
        assert np.array_equal(found, plain)
    assert image_size(tmp_path / "a.png") == (40, 32)


@pytest.mark.parametrize("damage", ["pixels", "end", "head"])
def test_a_png_with_damaged_pixels_is_refused_still(tmp_path, damage):
    head, rest = png()
    text = CHUNKS["long text"]
    content = {"pixels": head + text + rest[:60] + b"\0\0" + rest[62:], "end": head + text + rest[:-30],
               "head": PNG + text}[damage]  # fmt: skip
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=r"a.png: found a damaged image.*; expected a whole image$"):
        load_image(tmp_path / "a.png")


SIZES = [(1, 20_000), (20_000, 1), (3, 301), (50_000_000, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["png", "gif", "tif", "jpg"])
def test_a_line_is_refused_before_it_is_decoded(tmp_path, size, kind):
    path = tmp_path / f"a.{kind}"
    if max(size) > 65_535 and kind in ("gif", "jpg"):
        pytest.skip("larger than its format holds")
    Image.new("1" if kind in ("png", "tif") else "L", size).save(path)
    with pytest.raises(UserError) as error:
        load_image(path)
    assert str(error.value) == f"{path}: found {size[0]} x {size[1]} pixels; expected sides of which " \
        "one is at most 100 times as long as the other"  # fmt: skip


@pytest.mark.parametrize("pack", [True, False])
def test_a_line_in_a_set_is_one_line_or_left_out(tmp_path, pack):
    tree(tmp_path / "x", {"train": {"a": 2, "b": 1}, "test": {"a": 1, "b": 1}})
    Image.new("L", (1, 20_000)).save(tmp_path / "x/train/a/line.png")
    Image.new("L", (3, 300)).save(tmp_path / "x/train/a/long.png")
    message = refused(tmp_path, dataset="x", source="folder", pack=pack)
    assert message.startswith(
        f"{tmp_path / 'x/train/a/line.png'}: found 1 x 20000 pixels; expected"
    )
    out = run(tmp_path, "x", source="folder", pack=pack, skip_broken=1)
    assert len(open_data(out).split("train")) == 4


def test_more_pixels_than_pillow_takes_is_one_line(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "a.png")
    with pytest.raises(
        UserError, match=r"a.png: found more than \d+ pixels; expected a whole image$"
    ):
        load_image(tmp_path / "a.png")
