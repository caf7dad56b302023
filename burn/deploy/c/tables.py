"""What kernels.c reads of a network: its table of layers, its weights as words and its numbers.

The layouts are at the head of kernels.c. A map has whole blocks of 16 channels. Where a network
begins with an odd multiple of 8 channels, its stem and its first convolution make each of them twice,
because the shortcut that follows repeats them; the bits are those of the first ones.
"""

from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import Tensor

from burn.deploy.fold import Folded, Half

LANES, WORD = 16, 32
LEVELS = 3 * 256  # what each byte of each colour is as a float
NEVER = np.finfo(np.float32).max  # a threshold for lanes that are no channel


@dataclass
class Row:
    """A line of the table: `struct half` of kernels.c."""

    side: int
    out: int
    kernel: int
    stride: int
    channels: int
    words: int
    blocks_in: int
    blocks: int
    words_next: int
    weights: int
    numbers: int


@dataclass
class Tables:
    """All of a network; `stem`, `numbers`, `ends`: float32, `weights`: uint32, flat.

    stream: floats of the largest map; bits: words of the largest one. `classes`: 0 without classifier.
    """

    side: int
    stride: int
    out: int
    stem_blocks: int
    stem_words: int
    stem: np.ndarray
    rows: list[Row]
    weights: np.ndarray
    numbers: np.ndarray
    features: int
    neck: int
    classes: int
    ends: np.ndarray
    stream: int
    bits: int

    @property
    def flash(self) -> int:
        """Bytes of constants."""
        arrays = (self.stem, self.weights, self.numbers, self.ends)
        return sum(a.nbytes for a in arrays) + 4 * len(self.rows) * len(astuple(self.rows[0]))

    @property
    def kept(self) -> int:
        """Floats between pool, neck and classifier."""
        return max(1, self.features * (bool(self.neck) + bool(self.classes)))

    @property
    def ram(self) -> int:
        """Bytes of `struct network_memory`."""
        words = self.stream + 9 * (self.side + 2) + LEVELS + self.kept + 2 * self.bits
        return -(-words // LANES) * LANES * 4  # it begins on a cache line, and so does a next one


def tables(folded: Folded, side: int, classifier: tuple[Tensor, Tensor] | None = None) -> Tables:
    """Of a binary network for images of `side` pixels; `classifier`: weight (K, D) and bias (K,)."""
    halves = folded.halves
    out = -(-side // folded.stride)
    stem = _stem(folded, halves[0].shift)
    stem_blocks = len(stem) // (29 * LANES)
    rows, weights, numbers = [], [], []
    at, blocks, used = out, stem_blocks, [0, 0]
    stream, bits = blocks * at**2 * LANES, at**2 * _words(len(halves[0].shift))
    for i, half in enumerate(halves):
        following = halves[i + 1].shift if i + 1 < len(halves) else None
        made = _half(half, following)
        own, blocks_out = -(-at // half.stride), len(made[1]) // (5 * LANES)
        row = Row(at, own, half.weight.shape[-1], half.stride, len(half.shift), _words(len(half.shift)),
                  blocks, blocks_out, 0 if following is None else _words(len(following)), *used)  # fmt: skip
        rows.append(row)
        weights.append(made[0])
        numbers.append(made[1])
        at, blocks, used = own, blocks_out, [used[0] + len(made[0]), used[1] + len(made[1])]
        stream, bits = max(stream, blocks * at**2 * LANES), max(bits, at**2 * row.words_next)
    layers = [pair for pair in (folded.neck, classifier) if pair is not None]
    ends = np.concatenate([np.zeros(0, np.float32), *(_linear(*pair) for pair in layers)])
    return Tables(
        side, folded.stride, out, stem_blocks, rows[0].words, stem, rows, np.concatenate(weights),
        np.concatenate(numbers), len(halves[-1].scale), int(folded.neck is not None),
        0 if classifier is None else len(classifier[1]), ends, stream, bits,
    )  # fmt: skip


def _words(channels: int) -> int:
    return -(-channels // WORD)


def _whole(values: Tensor, fill: float = 0) -> np.ndarray:
    """(C, ...) -> (blocks * 16, ...): repeated where C is an odd multiple of 8, else filled up."""
    values = values.numpy()
    if len(values) % LANES == LANES // 2:
        return np.concatenate([values, values])
    more = -len(values) % LANES
    return np.concatenate([values, np.full((more, *values.shape[1:]), fill, values.dtype)])


def _blocked(values: np.ndarray) -> np.ndarray:
    """(blocks * 16, n) -> (blocks, n, 16)."""
    return values.reshape(-1, LANES, values.shape[1]).transpose(0, 2, 1)


def _thresholds(shift: Tensor | None, count: int) -> np.ndarray:
    """(count, 1): the sign is +1 where a channel is at least this; of lanes that are none, never."""
    out = np.full((count, 1), NEVER, np.float32)
    if shift is not None:
        out[: len(shift), 0] = -shift.numpy()
    return out


def _stem(folded: Folded, shift: Tensor) -> np.ndarray:
    weight, bias = map(_whole, folded.stem)
    taps = weight.transpose(0, 2, 3, 1).reshape(len(weight), 27)
    return _blocked(np.concatenate([taps, bias[:, None], _thresholds(shift, len(bias))], 1)).ravel()


def _half(half: Half, following: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """Words (uint32) and numbers (float32) of `half`; `following`: the shift of the next one."""
    ones = _whole(half.weight).transpose(0, 2, 3, 1) > 0  # filter, ky, kx, channel
    gap = -ones.shape[-1] % WORD
    ones = np.pad(ones, [(0, 0)] * 3 + [(0, gap)])
    words = np.packbits(ones, axis=-1, bitorder="little").view("<u4").astype(np.uint32)
    columns = [_whole(part)[:, None] for part in (half.scale, half.before, half.slope, half.after)]
    columns.append(_thresholds(following, len(words)))
    return _blocked(words.reshape(len(words), -1)).ravel(), _blocked(
        np.concatenate(columns, 1)
    ).ravel()


def _linear(weight: Tensor, bias: Tensor) -> np.ndarray:
    more = -len(bias) % LANES
    both = torch.cat([bias[:, None], weight], 1).numpy()
    return _blocked(np.pad(both, [(0, more), (0, 0)])).ravel()
