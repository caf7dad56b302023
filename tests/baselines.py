"""What the tests of the methods without a teacher share: tiny ones on a binary student."""

import torch

from burn.methods import byol, empssl, mocov2, swav, vicreg
from burn.networks import build
from burn.training.method import Context

TOTAL = 10  # steps of the pretended stage
TINY = {
    mocov2: {"embedding": 16, "queue": 32},
    byol: {"embedding": 16, "hidden": 24},
    empssl: {"embedding": 16, "hidden": 24},
    vicreg: {"embedding": 16, "hidden": 24},
    swav: {"embedding": 16, "hidden": 24, "prototypes": 6},
}


def make(module, **recipe):
    torch.manual_seed(1)
    network = build.network({"arch": "reactnet", "width": 0.25, "neck": False})
    recipe = module.Recipe(**TINY[module] | recipe)
    method = module.Method(recipe, Context(network.at("binary"), None, 5, TOTAL))
    method.begin()
    return method


def views(n: int = 8, small: int = 0) -> list[torch.Tensor]:
    return [torch.randn(n, 3, 32, 32) for _ in range(2)] + [
        torch.randn(n, 3, 16, 16) for _ in range(small)
    ]


def update(method, rate: float = 0.1) -> None:
    """A plain gradient step from the gradients that lie there, then the method's own part."""
    with torch.no_grad():
        for network in method.networks.values():
            for p in network.parameters():
                if p.grad is not None:
                    p.sub_(rate * p.grad)
                    p.grad = None
    method.after_update(0.5)


def outputs(x, *networks):
    """(N, D) float64 of modules one after the other, in the mode they are in."""
    with torch.no_grad():
        for network in networks:
            x = network(x)
    return x.double().numpy()
