"""What a network costs: parameters, bytes stored, binary and floating-point operations.

Counted on the module graph, by hooks on a forward pass, and as the publications count (Bi-Real Net,
Liu et al. 2018; ReActNet, Liu et al. 2020; S2-BNN, Shen et al. 2021):

    BOPs   multiply-accumulates of convolutions whose weights and inputs are both binary
    FLOPs  multiply-accumulates of all other convolutions and linear layers
    OPs    BOPs / 64 + FLOPs: one 64-bit instruction makes 64 binary products

Left out, there and here: batch norm, shifts, PReLU, shortcuts, pooling, biases and the scale of a
binary filter. A layer is binary at precision `binary` alone: at `binact` its weights are real, so
its products are FLOPs and its weights take 32 bits.

ReActNet-A at 224 pixels is published at 0.12e8 FLOPs and 0.87e8 OPs: its stem (10,838,016), a
classifier of 1000 classes (1,024,000) and 4,816,896,000 BOPs. BURN's Linear(1024, 1024) after the
pool (1,048,576) is not in that.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from burn import models
from burn.artifacts import METRICS, artifact, read_json
from burn.binary import PRECISIONS, BinaryConv2d

COUNTED = (nn.Conv2d, nn.Linear, BinaryConv2d)
# What the published figures are of: this size, with a classifier for ImageNet on the features.
PIXELS, CLASSES, FULL = 224, 1000, {"width": 1.0, "stem": "imagenet"}


def cost(view: dict[str, Any], networks: Path, out: Path) -> None:
    """Count the network in the artifact folder `networks` and write the artifact folder `out`.

    `view` is burn.params.view(params, "cost"): the side of a training view. `counts` in
    metrics.json has an entry per precision and setting: the network as it is, at that size and at
    224 pixels, and the full-width one as published.
    """
    found = read_json(networks / METRICS)
    config = found["network"]
    with artifact(out, "cost", view, [networks / METRICS]) as work:
        settings = [
            (config, view["size"], 0),
            (config, PIXELS, 0),
            (config | FULL, PIXELS, CLASSES),
        ]
        work.metrics = {
            "method": found.get("method", "teacher"),
            "network": config,
            "counts": [
                _entry(wanted, precision, pixels, classes)
                for precision in (PRECISIONS if config["arch"] == "reactnet" else ("fp",))
                for wanted, pixels, classes in settings
            ],
        }


def _entry(config: dict[str, Any], precision: str, pixels: int, classes: int) -> dict[str, Any]:
    setting = {"precision": precision, "pixels": pixels, "classes": classes}
    setting |= {key: config[key] for key in FULL}
    return setting | count(build(config, precision, classes), pixels)


def build(config: dict[str, Any], precision: str, classes: int = 0) -> nn.Module:
    """The extractor of `config` at `precision`; `classes` puts a linear classifier on it."""
    network = models.build(config)
    if precision in PRECISIONS:
        network.at(precision)
    return nn.Sequential(network, nn.Linear(network.dim, classes)) if classes else network


def count(network: nn.Module, pixels: int) -> dict[str, float]:
    """What `network` (left in eval mode) costs for one (3, pixels, pixels) image.

    Returns `parameters`, `bytes`, `bops`, `flops` and `ops`. Raises TypeError if a layer has a
    weight matrix and is none of those that are counted.
    """
    operations = {"bops": 0, "flops": 0}

    def hook(module, inputs, output):
        products = output[0].numel() * module.weight[0].numel()
        operations["bops" if _is_binary(module) else "flops"] += products

    handles = []
    for name, module in network.named_modules():
        if isinstance(module, COUNTED):
            handles.append(module.register_forward_hook(hook))
        elif any(sum(s > 1 for s in p.shape) > 1 for p in module.parameters(recurse=False)):
            raise TypeError(f"{name}: cannot count the operations of a {type(module).__name__}")
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, pixels, pixels))
    finally:
        for handle in handles:
            handle.remove()
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "bytes": stored(network),
        **operations,
        "ops": operations["bops"] / 64 + operations["flops"],
    }


def stored(network: nn.Module) -> int:
    """Bytes of what evaluation needs: parameters and running statistics.

    A binary weight takes 1 bit and its filter's scale 32; everything else takes 32 bits a number.
    """
    numbers = [t for t in network.state_dict().values() if t.is_floating_point()]
    bits = 32 * sum(t.numel() for t in numbers)
    for module in filter(_is_binary, network.modules()):
        bits += module.weight.numel() * (1 - 32) + 32 * len(module.weight)
    return -(-bits // 8)


def _is_binary(module: nn.Module) -> bool:
    return isinstance(module, BinaryConv2d) and module.precision == "binary"
