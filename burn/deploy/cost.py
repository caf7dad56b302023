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

from burn import places
from burn.artifacts import artifact, read_json
from burn.experiment.reads import text
from burn.experiment.schema import STAGES
from burn.networks import build
from burn.networks.binary import BinaryConv2d
from burn.networks.reactnet import RPReLU
from burn.places import METRICS, TEACHER

COUNTED = (nn.Conv2d, nn.Linear, BinaryConv2d)
# What the published figures are of: this size, with a classifier for ImageNet on the features.
PIXELS, CLASSES, FULL = 224, 1000, {"width": 1.0, "stem": "imagenet"}


def cost(settings: dict[str, Any], results: Path, out: Path) -> None:
    """Count every network of the run `results` (its first seed's) and write the artifact folder `out`.

    Args:
        settings: burn.experiment.reads.settings of this step: the side of a training view, the seeds
            and the methods.

    metrics.json has for each method, and the teacher, its network and `counts`, an entry per precision
    and setting: the network as it is, at that size and at 224 pixels, and the full-width one as
    published.
    """
    seed, methods = settings["seeds"][0], settings["methods"]
    folders = {TEACHER: places.teacher(results, seed)}
    for name in [*methods.standalone, *methods.distilled]:
        folders[name] = places.network(results, name, seed, STAGES[-1])
    with artifact(out, "cost", settings, [f / METRICS for f in folders.values()]) as work:
        configs = {
            name: read_json(f / METRICS, network=dict)["network"] for name, f in folders.items()
        }
        known: dict[str, list] = {}  # most rows have the same network
        for config in configs.values():
            if text(config) not in known:
                known[text(config)] = counts(config, settings["size"])
        work.metrics = {
            name: {"network": config, "counts": known[text(config)]}
            for name, config in configs.items()
        }


def counts(config: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """What the network `config` costs, for each precision, at `size` pixels, at 224 and as published."""
    settings = [(config, size, 0), (config, PIXELS, 0), (config | FULL, PIXELS, CLASSES)]
    out = []
    for precision in STAGES if config["arch"] == "reactnet" else ("fp",):
        for wanted, pixels, classes in settings:
            setting = {"precision": precision, "pixels": pixels, "classes": classes}
            setting |= {key: wanted[key] for key in FULL}
            with torch.device("meta"):  # shapes are all that is counted
                network = network_at(wanted, precision, classes)
            out.append(setting | count(network, pixels))
    return out


def network_at(config: dict[str, Any], precision: str, classes: int = 0) -> nn.Module:
    """The extractor of `config` at `precision`; `classes` puts a linear classifier on it."""
    network = build.network(config)
    if precision in STAGES:
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
            device = next(network.parameters()).device
            network.eval()(torch.zeros(1, 3, pixels, pixels, device=device))
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
    """Bytes of what evaluation needs: those of the file that export writes, but for its header.

    A binary weight takes 1 bit and its filter's scale 32; everything else takes 32 bits a number. Of a
    batch norm a bias is left (its gain is in the weights, or the scales), and of one before an RPReLU
    nothing: its bias is in the first shift.
    """
    numbers = [t for t in network.state_dict().values() if t.is_floating_point()]
    bits = 32 * sum(t.numel() for t in numbers)
    for module in network.modules():
        if _is_binary(module):
            bits += module.weight.numel() * (1 - 32) + 32 * len(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            bits -= 3 * 32 * module.num_features  # of gain, bias, mean and variance
        elif isinstance(module, RPReLU):
            bits -= 32 * module.before.numel()
    return -(-bits // 8)


def _is_binary(module: nn.Module) -> bool:
    return isinstance(module, BinaryConv2d) and module.precision == "binary"
