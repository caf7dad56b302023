"""What the tests of methods with a teacher share: a frozen teacher, tiny students, some training."""

import json
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file

from burn.experiment.schema import Train
from burn.methods import burn
from burn.networks import build
from burn.training.fit import optimiser
from burn.training.frozen import FrozenTeacher
from burn.training.heads import mlp
from burn.training.method import Context

CPU = torch.device("cpu")
TOTAL = 10  # steps of the pretended stage


def frozen_teacher(out: Path) -> SimpleNamespace:
    """A frozen teacher from the folder `out`, and the very networks it was made from."""
    torch.manual_seed(3)
    network = build.network({"arch": "resnet18", "width": 0.25, "stem": "half"})
    with torch.no_grad():
        for _ in range(20):
            network.train()(torch.randn(16, 3, 32, 32))
    head = mlp(network.dim, 16, norm=True)
    save_file(build.flatten({"network": network, "head": head}), out / "weights.safetensors")
    (out / "metrics.json").write_text(json.dumps({"network": network.config, "precision": "fp"}))
    frozen = FrozenTeacher(out, CPU, torch.float32)
    return SimpleNamespace(frozen=frozen, network=network.eval(), head=head.eval(), dir=out)


def make(module, teacher, **recipe):
    torch.manual_seed(1)
    network = build.network({"arch": "reactnet", "width": 0.25, "neck": False})
    if module is burn:
        recipe = {"outputs": 20, "hidden": 24, "similarity": "outputs"} | recipe
    context = Context(network.at("binary"), teacher.frozen, 5, TOTAL)
    return module.Method(module.Recipe(**recipe), context)


def batch(count: int = 2, n: int = 8):
    return [torch.randn(n, 3, 32, 32) for _ in range(count)], torch.arange(n) % 5


def train(method, steps: int, views, labels=None) -> list:
    """`steps` updates with the pipeline's own optimiser; the steps' losses."""
    optimizer, losses = optimiser(method, Train(lr=1e-3)), []
    for group in optimizer.param_groups:
        group["lr"] *= group["scale"]
    for step in range(steps):
        out = method.step(views, labels, step)
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_update(step / steps)
        losses.append(out.loss.item())
    return losses


def parameters(network) -> torch.Tensor:
    """All parameters (no running statistics) in one vector."""
    return torch.cat([p.detach().clone().flatten() for p in network.parameters()])


def snapshot(method) -> dict[str, torch.Tensor]:
    return {name: parameters(network) for name, network in method.networks.items()}


def moved(before, after) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}
