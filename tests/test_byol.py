"""BYOL: the distance to the target's projections, and how the target follows."""

import numpy as np
import pytest
import torch
from baselines import make, outputs, update, views
from formulas import unit

from burn.methods import byol


def test_byol_is_the_distance_of_unit_vectors_both_ways():
    method, batch = make(byol), views()
    n, (target_network, target_projector) = method.networks, method.helpers["target"]
    update(method)  # of nothing: target and student are the same
    with torch.no_grad():
        for p in target_network.parameters():
            p.mul_(1.1)
    predicted = [unit(outputs(v, n["network"], n["projector"], n["predictor"])) for v in batch]
    targets = [unit(outputs(v, target_network, target_projector)) for v in batch]
    distances = [((predicted[a] - targets[1 - a]) ** 2).sum(1).mean() for a in (0, 1)]
    out = method.step(batch, None, 0)
    assert out.loss.item() == pytest.approx(sum(distances), 1e-4)
    np.testing.assert_allclose(
        unit(out.outputs.detach().numpy()), predicted[0], rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(unit(out.targets.numpy()), targets[1], rtol=1e-3, atol=1e-4)


def test_byols_target_follows_by_a_momentum_that_rises_to_1():
    method = make(byol, momentum=0.6)
    slow = [p.double() for p in method.helpers["target"].parameters()]
    fast = [p for n in ("network", "projector") for p in method.networks[n].parameters()]
    for progress in (0.0, 0.25, 0.5, 1.0):
        momentum = 1 - (1 - 0.6) * (np.cos(np.pi * progress) + 1) / 2
        with torch.no_grad():
            for i, p in enumerate(fast):
                p.add_(torch.randn_like(p))
                slow[i] = momentum * slow[i] + (1 - momentum) * p.double()
        method.after_update(progress)
    assert momentum == 1 and len(slow) == len(fast)
    for a, b in zip(method.helpers["target"].parameters(), slow, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)
