"""What goes with a feature extractor during pretraining: heads, momentum copies, a queue of keys."""

import copy
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from burn.errors import UserError
from burn.training.distributed import world


def classifier(
    dim: int, outputs: int = 2000, hidden: int = 2000, norm: bool = False
) -> nn.Sequential:
    """BURN's classifiers l and g: Linear - BN - ReLU - Linear, (N, dim) -> (N, outputs).

    Linear layers start from Kaiming's normal initialisation (the released recipe). norm: batch norm
    without scale and shift on the outputs, which the published ones do not have.
    """
    head = nn.Sequential(
        nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )
    for layer in (head[0], head[3]):
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    if norm:
        head.append(nn.BatchNorm1d(outputs, affine=False))
    return head


def mlp(dim: int, outputs: int = 128, hidden: int | None = None, norm: bool = False):
    """MoCo v2's and S2-BNN's projection: Linear - ReLU - Linear, (N, dim) -> (N, outputs).

    hidden: width in between, `dim` if None. norm: batch norm after both linear layers, which
    neither recipe has (MoCo v3 does): without it the outputs of a fresh network all point one
    way, and a contrastive run of a few thousand updates is over before they have come apart.
    """
    hidden = hidden or dim
    if not norm:
        return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
    return nn.Sequential(
        nn.Linear(dim, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
        nn.BatchNorm1d(outputs, affine=False),
    )


def projector(dim: int, outputs: int, hidden: int) -> nn.Sequential:
    """The projection of VICReg and Barlow Twins, (N, dim) -> (N, outputs).

    Three linear layers, the first two followed by batch norm and ReLU (lightly's, without its
    wrapper, so that `mlp_like` reads it back).
    """
    from lightly.models.modules.heads import VICRegProjectionHead

    return VICRegProjectionHead(dim, hidden, outputs).layers


class _Unfit(ValueError):
    """Tensors that are no MLP: which, and why."""


def mlp_like(weights: dict[str, Tensor], where: str, dim: int | None = None) -> nn.Sequential:
    """The MLP that the state dict `weights` is of, filled from it: (N, dim) -> (N, outputs).

    Its keys are `<place>.<tensor>`, as those of an nn.Sequential of Linear (with bias or without),
    BatchNorm1d (with scale and shift or without) and ReLU, which has no tensors: a place between two
    others that no key names is one.

    Args:
        dim: of the features that it must take; None: any.

    Raises UserError, for `where`.
    """
    try:
        head = nn.Sequential(*_layers(weights, dim))
        head.load_state_dict(weights)
    except _Unfit as error:
        raise UserError(f"{where}: tensors do not fit an MLP: {error}") from None
    except (KeyError, ValueError, TypeError, RuntimeError):
        found = ", ".join(f"{key} {list(tensor.shape)}" for key, tensor in weights.items())
        raise UserError(f"{where}: tensors do not fit an MLP: found {found:.250}") from None
    return head


def _layers(weights: dict[str, Tensor], width: int | None) -> list[nn.Module]:
    """What is at each place of an MLP. Raises _Unfit where shapes do not chain."""
    places: dict[int, dict[str, Tensor]] = {}
    for key, tensor in weights.items():
        place, _, leaf = key.partition(".")
        places.setdefault(int(place), {})[leaf] = tensor
    layers: list[nn.Module] = []
    for place in range(max(places) + 1):
        held = places.get(place, {})
        if not held and layers and not isinstance(layers[-1], nn.ReLU):
            layers.append(nn.ReLU())
            continue
        is_linear = "running_mean" not in held
        outputs, inputs = (
            held["weight"].shape if is_linear else held["running_mean"].shape * 2
        )  # of a batch norm both are its channels
        if width not in (None, inputs):
            raise _Unfit(f"{place} takes {inputs} numbers; expected {width}")
        if is_linear:
            layers.append(nn.Linear(inputs, outputs, bias="bias" in held))
        elif layers:
            layers.append(nn.BatchNorm1d(outputs, affine="weight" in held))
        else:
            raise _Unfit("a batch norm comes first; expected a linear layer")
        width = outputs
    return layers


def frozen_copies(networks: Iterable[nn.Module]) -> nn.ModuleList:
    """Copies that no gradient trains, for `follow`."""
    return nn.ModuleList(copy.deepcopy(n) for n in networks).requires_grad_(False)


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, momentum: float) -> None:
    """Move `slow` towards `fast`, parameters and running statistics: s = m s + (1 - m) f.

    With the running statistics (EMAN, Cai et al., CVPR 2021) `slow` can be used in eval mode.
    """
    for a, b in zip(slow.state_dict().values(), fast.state_dict().values(), strict=True):
        if a.is_floating_point():
            a.lerp_(b, 1 - momentum)


class Queue(nn.Module):
    """The last `size` keys of all processes, (size, dim), L2-normalised; the oldest give way.

    It starts with random keys. A push of more than `size` keys is refused where parameters are.
    """

    def __init__(self, size: int, dim: int):
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("at", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Put the (N, dim) keys of every process in the place of the oldest."""
        keys = _gather(keys.detach())
        size = len(self.keys)
        rows = (self.at + torch.arange(len(keys), device=keys.device)) % size
        self.keys[rows] = keys.to(self.keys.dtype)
        self.at.add_(len(keys)).remainder_(size)


def _gather(keys: Tensor) -> Tensor:
    """The keys of all processes, so that every queue holds the same."""
    _, size = world()
    if size == 1:
        return keys
    parts = [torch.empty_like(keys) for _ in range(size)]
    torch.distributed.all_gather(parts, keys.contiguous())
    return torch.cat(parts)


class MapProjections(nn.Module):
    """1x1 convolutions from a student's maps to a teacher's, at some strides; gives their distance.

    The teacher's maps are standardised channel by channel (over the batch and the pixels), so
    a distance of 1 is that of a constant. Raises UserError if one of the networks lacks a stride.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, strides: Iterable[int]):
        super().__init__()
        channels = [_channels(network) for network in (student, teacher)]
        for stride in strides:
            if not all(stride in known for known in channels):
                common = sorted(channels[0].keys() & channels[1].keys())
                raise UserError(
                    f"recipe.maps: found {stride}; allowed: strides of both networks, {common}"
                )
        self.convolutions = nn.ModuleDict(
            {str(s): nn.Conv2d(channels[0][s], channels[1][s], 1, bias=False) for s in strides}
        )
        self.norms = nn.ModuleDict(
            {str(s): nn.BatchNorm2d(channels[1][s], affine=False) for s in strides}
        )

    def forward(self, student: dict[int, Tensor], teacher: dict[int, Tensor]) -> Tensor:
        """Mean squared distance of {stride: (N, C, H, W)} maps, mean over the strides. Scalar."""
        distances = [
            F.mse_loss(
                convolution(student[int(s)]).float(), self.norms[s](teacher[int(s)].detach())
            )
            for s, convolution in self.convolutions.items()
        ]
        return sum(distances) / len(distances)


@torch.no_grad()
def _channels(network: nn.Module) -> dict[int, int]:
    """stride -> channels of the map."""
    return {
        s: m.shape[1]
        for s, m in copy.deepcopy(network)
        .to("meta")
        .eval()
        .maps(torch.empty(1, 3, 64, 64, device="meta", dtype=next(network.parameters()).dtype))
        .items()
    }
