"""The released networks in plain PyTorch, and the files they come in: what imports are held to.

Written from the papers and the key lists of the files, apart from burn/: modules are named so that
their state dicts have the released keys. `LISTINGS` pins those at full size.
"""

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

STEM = 8  # channels of the reduced ReActNet, a quarter of the published one
DIM = 32 * STEM
STUDENTS = {  # by kind of file: what it is called, and the networks in it
    "stage": ("BURN stage file", ["network", "classifier", "target"]),
    "training": ("BURN training checkpoint", ["network", "classifier", "target"]),
    "backbone": ("BURN backbone", ["network"]),
    "s2bnn": ("S2-BNN checkpoint", ["network", "head"]),
}
TEACHERS = {
    "moco": ("MoCo v2 checkpoint", ["network", "head"]),
    "fp backbone": ("FP backbone", ["network"]),
}
OUTPUTS = (2, 4, 4, 8, 8, 16, 16, 16, 16, 16, 16, 32, 32)  # widths of the blocks, in stems

# Of each kind of file: how many keys, and the SHA-256 of its sorted lines "key [shape]". A stage
# file's keys begin with the name of the state dict they are in.
LISTINGS = {
    "stage": (316, "f082779c9849043c067a3b6e7611da12b17bab194b92efdf82f02bc0a5af91af"),
    "training": (932, "0457da46fb61afd19932eaf20af302a6e4cf74884b860d6b84ee26513209d9d8"),
    "backbone": (298, "c9516cad569d6c0122fd80fc6d1d35bdc99fcdfed56288aa71001972c47b0fd0"),
    "fp backbone": (318, "eb0d12e7bc0b54b6f2381c46371069eea6c188bb9894aca455cf9211c944791b"),
    "s2bnn": (426, "fa33eab87654f25c1499d45f6216174f33757b292ec0068d3f78a1fa0ba9bec0"),
    "moco": (646, "e19a3881f3c2933543ca263199a01b4517ae4dc23df017e2767e8907d36c808f"),
}


class Move(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x):
        return x + self.bias


class Conv(nn.Module):
    """Of binary activations; the weight binary or real. Precision "real": neither is."""

    def __init__(self, channels, outputs, kernel, stride=1):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, channels, kernel, kernel))
        self.stride, self.precision = stride, "binary"

    def forward(self, x):
        weight = self.weight
        if self.precision == "binary":
            weight = weight.abs().mean((1, 2, 3), keepdim=True) * torch.sign(weight)
        if self.precision != "real":
            x = torch.sign(x)
        return F.conv2d(x, weight, stride=self.stride, padding=weight.shape[-1] // 2)


class Block(nn.Module):
    def __init__(self, channels, outputs, stride, both):
        super().__init__()
        self.stride, self.doubles = stride, channels != outputs
        self.move11 = Move(channels)
        self.binary_3x3 = Conv(channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.move12, self.prelu1, self.move13 = Move(channels), nn.PReLU(channels), Move(channels)
        self.move21 = Move(channels)
        if both or not self.doubles:
            self.binary_pw = Conv(channels, outputs, 1)
            self.bn2 = nn.BatchNorm2d(outputs)
        if both or self.doubles:
            self.binary_pw_down1 = Conv(channels, channels, 1)
            self.binary_pw_down2 = Conv(channels, channels, 1)
            self.bn2_1, self.bn2_2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.move22, self.prelu2, self.move23 = Move(outputs), nn.PReLU(outputs), Move(outputs)

    def forward(self, x):
        shortcut = F.avg_pool2d(x, 2) if self.stride == 2 else x
        x = self.bn1(self.binary_3x3(self.move11(x))) + shortcut
        x = self.move13(self.prelu1(self.move12(x)))
        y = self.move21(x)
        if self.doubles:
            first = self.bn2_1(self.binary_pw_down1(y)) + x
            y = torch.cat([first, self.bn2_2(self.binary_pw_down2(y)) + x], 1)
        else:
            y = self.bn2(self.binary_pw(y)) + x
        return self.move23(self.prelu2(self.move22(y)))


class Stem(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.bn1(self.conv1(x))


class ReActNetA(nn.Module):
    """(N, 3, H, W) -> (N, 32 * stem) features: BURN's after `fc`, S2-BNN's (`both`) before it."""

    def __init__(self, stem=32, both=False):
        super().__init__()
        widths = [stem, *(stem * n for n in OUTPUTS)]
        blocks = [
            Block(c, out, 2 if i and out != c else 1, both)
            for i, (c, out) in enumerate(zip(widths, widths[1:]))
        ]
        self.feature, self.both = nn.ModuleList([Stem(stem), *blocks]), both
        dim = widths[-1]
        self.fc = nn.Sequential(nn.Linear(dim, dim), nn.ReLU())
        if both:
            self.fc.append(nn.Linear(dim, 128))

    def forward(self, x):
        for module in self.feature:
            x = module(x)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return x if self.both else self.fc(x)

    def at(self, precision):
        for module in self.modules():
            if isinstance(module, Conv):
                module.precision = precision
        return self


class Classifier(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc0 = nn.Linear(dim, 2000)
        self.bn0 = nn.BatchNorm1d(2000)
        self.fc1 = nn.Linear(2000, 2000)

    def forward(self, x):
        return self.fc1(F.relu(self.bn0(self.fc0(x))))


def resnet50(head=True):
    """MoCo v2's: pooled 2048-d features come from it with `fc` left out."""
    network = torchvision.models.resnet50()
    network.fc = nn.Sequential(nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 128))
    if not head:
        del network.fc
    return network


def pooled(network, x):
    """(N, 2048) features of a torchvision ResNet, whatever its `fc`."""
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    x = network.layer4(network.layer3(network.layer2(network.layer1(x))))
    return x.mean((2, 3))


def randomise(network, seed=0):
    """Draw everything: weights, shifts, slopes, biases, batch norm statistics. In eval mode."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor, scale=1.0, around=0.0):
        tensor.copy_(around + scale * torch.randn(tensor.shape, generator=generator))

    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            if name.endswith("num_batches_tracked"):
                tensor.fill_(7)
            elif name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif tensor.dim() > 1 and tensor.numel() > max(tensor.shape):  # no shift
                draw(tensor, tensor[0].numel() ** -0.5)
            elif "prelu" in name:
                draw(tensor, 0.1, around=0.25)
            elif name.endswith(".weight"):  # of a batch norm
                draw(tensor, 0.1, around=0.5)
            else:
                draw(tensor, 0.2)
    return network.eval()


def prefixed(network, prefix=""):
    return {prefix + key: value for key, value in network.state_dict().items()}


def content(kind, k=None, h=None, classifiers=None, module=True, queue=8):
    """What a file of `kind` holds; `module`: keys begin with `module.`."""
    lead = "module." if module else ""

    def state(*parts):
        return {lead + key: value for part in parts for key, value in part.items()}

    if kind in ("stage", "training"):
        one, g = classifiers
    if kind == "stage":
        parts = {"backbone": k, "classifier": one, "teacher_classifier": g}
        held = {name: {"state_dict": state(prefixed(part))} for name, part in parts.items()}
        return held | {"author": "somebody"}
    if kind == "training":
        parts = [prefixed(k, "online_net.0."), prefixed(one, "online_net.1."),
                 prefixed(k, "backbone."), prefixed(h, "diff_branch_net.0."),
                 prefixed(g, "diff_branch_net.1.")]  # fmt: skip
        return {"meta": {"epoch": 200}, "state_dict": state(*parts), "optimizer": {"state": {}}}
    if kind == "backbone":
        return {"state_dict": state(prefixed(k)), "author": "somebody"}
    if kind == "fp backbone":
        return {"state_dict": state(prefixed(h))}
    network = k if kind == "s2bnn" else h
    parts = [prefixed(network, "encoder_q.")]
    if kind == "moco":
        parts += [prefixed(network, "encoder_k.")]
        parts += [{"queue": torch.zeros(128, queue), "queue_ptr": torch.zeros(1).long()}]
    return {"epoch": 200, "arch": "x", "state_dict": state(*parts), "optimizer": {"lr": [0.1]}}


def listing(held):
    """How many keys, and the hash of their lines: compare LISTINGS."""
    state = held.get("state_dict")
    if state is None:
        state = {
            f"{name}.{key}": value
            for name, entry in held.items()
            if isinstance(entry, dict)
            for key, value in entry["state_dict"].items()
        }
    lines = [f"{key} {list(value.shape)}\n" for key, value in sorted(state.items())]
    return len(lines), hashlib.sha256("".join(lines).encode()).hexdigest()


def save(folder: Path, held, name="file.pth") -> Path:
    torch.save(held, folder / name)
    return folder / name


def random_networks() -> dict[str, nn.Module]:
    """A network of every sort, for `held`."""
    made = {
        "k": randomise(ReActNetA(STEM), 1),
        "s2bnn": randomise(ReActNetA(STEM, both=True), 2),
        "h": randomise(resnet50(), 3),
        "l": randomise(Classifier(DIM), 4),
        "g": randomise(Classifier(2048), 5),
    }
    for network in made.values():
        network.requires_grad_(False)
    made["bare h"] = resnet50(head=False).eval()
    made["bare h"].load_state_dict(made["h"].state_dict(), strict=False)
    return made


def held(nets, kind, module=True):
    """`content` of a file of `kind`, its networks those of `nets`."""
    student = nets["s2bnn" if kind == "s2bnn" else "k"]
    resnet = nets["h" if kind == "moco" else "bare h"]
    return content(kind, student, resnet, (nets["l"], nets["g"]), module)


def images(size=64, seed=0):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


def same(network, reference, x):
    """Whether two networks agree to float rounding.

    In double precision: in single, an activation within 1e-7 of 0 may fall on its other side.
    """
    with torch.no_grad():
        got, expected = network.double()(x.double()), reference.double()(x.double())
    network.float(), reference.float()
    assert got.shape == expected.shape and expected.std() > 0.1
    assert (expected[0] - expected[1]).abs().max() > 0.01, "the images must matter"
    return torch.allclose(got, expected, rtol=0, atol=1e-9)
