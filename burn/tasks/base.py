"""What tasks share: features of a frozen network.

A task is a file of this folder with `Options` (a burn.params.Strict; what params.yaml may say of
it) and `examine`, which returns scores by name; where a test image is found right or not, `correct`
among them is a list of truth values, one per image, in order. Like a method file it must import
torch late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from burn.data.store import Split
    from burn.params import Augment


def features(network: nn.Module, split: Split, size: int, device: torch.device, batch: int = 500,
             augment: Augment | None = None, seed: int = 0, workers: int = 0) -> Tensor:  # fmt: skip
    """(N, D) float32 features of every image of `split`, in order, on `device`.

    Whole images at side `size` (test-time view), or one random crop and flip each with `augment`.
    """
    import torch

    from burn.data.augment import crops_flips, plain

    generator = torch.Generator().manual_seed(seed)
    out = []
    with torch.inference_mode():
        for images in _batches(split, size, batch, workers):
            images = images.to(device)
            x = plain(images, size) if augment is None else crops_flips(images, augment, generator)
            out.append(network(x.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(out)


def _batches(split: Split, size: int, batch: int, workers: int):
    import torch

    if split.images is not None:
        yield from split.images.split(batch)
        return
    from burn.data.store import Streamed

    data = Streamed(split, None, size, 1, 0, 0)
    for crops, _ in torch.utils.data.DataLoader(data, batch, num_workers=workers):
        yield crops[:, 0]
