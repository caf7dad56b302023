"""Networks whose every number matters, as training would leave them, for the tests of deployment."""

import json

import cli
import torch
from safetensors.torch import save_file
from torch import nn

from burn.artifacts import write_json
from burn.networks import build

SMALL = {"arch": "reactnet", "width": 0.25, "stem": "imagenet", "neck": True, "gradient": "clipped"}
FLOAT = {"arch": "resnet18", "width": 0.125, "stem": "half"}


def network(precision="binary", seed=0, **changes) -> nn.Module:
    """A ReActNet in eval mode; gains of both signs, and weights and shifts that are 0 among others."""
    torch.manual_seed(seed)
    made = build.network(SMALL | changes).at(precision)
    for name, tensor in made.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith("slope"):
            tensor.uniform_(0, 0.5)
        elif tensor.is_floating_point() and tensor.dim() == 1 and name.endswith("weight"):
            tensor.normal_(1, 0.7)
        elif name.endswith(("bias", "running_mean", "shift", "before", "after")):
            tensor.normal_(0, 0.2)
        if name.endswith("conv3.weight") and precision != "real":
            tensor[0, 0] = 0
    return made.eval().requires_grad_(False)


def teacher(seed=0, **changes) -> nn.Module:
    torch.manual_seed(seed)
    made = build.network(FLOAT | changes)
    with torch.no_grad():
        made.train()(images(16))  # running statistics
    return made.eval().requires_grad_(False)


def images(count=16, side=32, seed=1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, side, side, generator=generator)


def apart(one: torch.Tensor, other: torch.Tensor) -> list[float]:
    """For each image, the largest difference of a feature, as a share of the largest feature."""
    return sorted(((one - other).abs().amax(1) / one.abs().max()).tolist())


def same(one: torch.Tensor, other: torch.Tensor, tolerance: float = 1e-5) -> bool:
    """Equal to float rounding, but for an image in eight: where sums round to another sign of an
    activation, all that follows is another."""
    found = apart(one, other)
    return one.shape == other.shape and found[len(found) * 7 // 8 - 1] < tolerance


def left(folder, network, precision="binary", epochs=1, **facts):
    """`network` in `folder` as a training step leaves it."""
    folder.mkdir(parents=True)
    save_file(build.flatten({"network": network}), folder / "weights.safetensors")
    told = {"network": network.config, "precision": precision, "stage": precision, "seed": 0}
    write_json(folder / "metrics.json", told | {"method": "burn", "epochs": epochs} | facts)
    return folder


def exported(place, networks, out, data=True) -> dict:
    words = ["export", "--params", place / "params.yaml", "--networks", networks, "--out", out]
    assert cli.call(*words, *(["--data", place / "data"] if data else [])) == 0
    return json.loads((out / "metrics.json").read_text())
