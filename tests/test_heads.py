"""MLPs read back from their tensors alone: every chain of linear layers, batch norms and ReLUs."""

import pytest
import torch
from lightly.models.modules import heads as theirs
from torch import nn

from burn.errors import UserError
from burn.methods import empssl, mocov2, s2bnn, supervised, swav, vicreg
from burn.networks import build
from burn.training.heads import mlp, mlp_like, projector
from burn.training.method import Context

CHAINS = {
    "moco": lambda: mlp(24, 8),
    "moco with batch norm": lambda: mlp(24, 8, 12, norm=True),
    "vicreg": lambda: projector(24, 8, 12),
    "simclr": lambda: theirs.SimCLRProjectionHead(24, 12, 8).layers,
    "barlow twins": lambda: theirs.BarlowTwinsProjectionHead(24, 12, 8).layers,
    "simsiam": lambda: theirs.SimSiamProjectionHead(24, 12, 8).layers,
    "byol": lambda: theirs.BYOLProjectionHead(24, 12, 8).layers,
    "one layer": lambda: nn.Sequential(nn.Linear(24, 8, bias=False)),
    "two layers with nothing between": lambda: nn.Sequential(nn.Linear(24, 9), nn.Linear(9, 8)),
}


@pytest.mark.parametrize("kind", CHAINS)
def test_an_mlp_is_read_back(kind):
    head, x = CHAINS[kind](), torch.randn(16, 24)
    for _ in range(3):
        head(torch.randn(16, 24))  # running statistics
    found = mlp_like(head.state_dict(), "somewhere", 24).eval()
    assert found.state_dict().keys() == head.state_dict().keys()
    assert torch.equal(found(x), head.eval()(x)) and found(x).shape == (16, 8)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"3.weight": torch.ones(8, 13)}, "3 takes 13 numbers; expected 12"),
        ({"1.running_mean": torch.ones(5)}, "1 takes 5 numbers; expected 12"),
        ({"1.running_var": torch.ones(5)}, "1.running_var [5]"),
        ({"0.weight": torch.ones(12, 23)}, "0 takes 23 numbers; expected 24"),
        ({"7.weight": torch.ones(8, 8)}, "7.weight [8, 8]"),  # two places without tensors
        ({"0.weight": torch.ones(12, 24, 1, 1)}, "found 0.weight [12, 24, 1, 1]"),
        ({"0.more": torch.ones(1)}, "0.more [1]"),
        ({"scale": torch.ones(1)}, "scale [1]"),
    ],
)
def test_what_is_no_mlp_is_one_line(change, reason):
    weights = mlp(24, 8, 12, norm=True).state_dict() | change
    with pytest.raises(UserError, match="^somewhere: tensors do not fit an MLP: ") as error:
        mlp_like(weights, "somewhere", 24)
    assert reason in str(error.value)


@pytest.mark.parametrize("method", [empssl, mocov2, s2bnn, supervised, swav, vicreg])
def test_a_method_says_whether_it_makes_an_embedding(method):
    """What is checked before a run is what the teacher will have."""
    if method.Method.distils:
        assert not method.Method.embeds
        return
    network = build.network({"arch": "resnet18", "width": 0.125, "stem": "half"})
    made = method.Method(method.Recipe(), Context(network, None, 5, 10))
    assert ("head" in made.networks) == made.embeds
    if made.embeds:
        mlp_like(made.networks["head"].state_dict(), "head", network.dim)
