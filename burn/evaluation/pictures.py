"""Images in predictions.npz, for the report's figures: small, so that Git can keep them."""

import io
from typing import Any

import numpy as np

QUALITY = 90  # of JPEG: a tenth of the bytes, and no difference to see in print


def encode(image: Any) -> np.ndarray:
    """The bytes, uint8 (n,), of a file that holds `image`: uint8, (3, H, W) as JPEG, (H, W) as PNG."""
    from PIL import Image

    array, file = np.asarray(image), io.BytesIO()
    if array.ndim == 2:  # classes: not a value may change
        Image.fromarray(array).save(file, "PNG", optimize=True)
    else:
        Image.fromarray(array.transpose(1, 2, 0)).save(file, "JPEG", quality=QUALITY)
    return np.frombuffer(file.getvalue(), np.uint8)


def spaced(rows: list[int], count: int) -> list[int]:
    """`count` of `rows`, or all if they are fewer, evenly spaced, the first among them."""
    return [rows[i * len(rows) // count] for i in range(count)] if len(rows) > count else rows
