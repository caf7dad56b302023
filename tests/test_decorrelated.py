"""VICReg and EMP-SSL: the loss against its formula, written once more, in float64."""

import numpy as np
import pytest
import torch
from baselines import make, outputs
from formulas import unit

from burn.methods import empssl, vicreg
from burn.training.losses import coding_rate


def embeddings(method, views):
    """(views, N, D) float64; all views pass the networks as the method passes them."""
    n = method.networks
    return [outputs(v, n["network"], n["head"]) for v in views]


@pytest.mark.parametrize(("n", "d"), [(6, 9), (9, 6)])
def test_the_coding_rate_is_half_a_log_determinant(n, d):
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(3))
    matrix = np.eye(d) + d / (n * 0.3) * (z.T @ z).double().numpy()
    assert coding_rate(z, 0.3).item() == pytest.approx(np.linalg.slogdet(matrix)[1] / 2, 1e-5)


@pytest.mark.parametrize("crops", [2, 3])
def test_empssl_pulls_crops_to_their_mean_and_fills_the_sphere(crops):
    method = make(empssl, crops=crops, invariance=7.0, epsilon=0.3)
    views = [torch.randn(8, 3, 32, 32) for _ in range(crops)]
    z = embeddings(method, [torch.cat(views)])[0].reshape(crops, 8, -1)
    z = np.stack([unit(crop) for crop in z])
    mean = z.mean(0)
    similarity = np.mean([(unit(mean) * crop).sum(1).mean() for crop in z])
    rates = [np.linalg.slogdet(np.eye(16) + 16 / (8 * 0.3) * crop.T @ crop)[1] / 2 for crop in z]
    out = method.step(views, None, 0)
    assert out.loss.item() == pytest.approx(-7 * similarity - np.mean(rates), 1e-4)
    assert method.work(method.recipe) == (crops, crops)


def test_empssl_spreads_what_lies_together():
    method = make(empssl)
    views = [torch.randn(8, 3, 32, 32)] * 2  # similar as can be: what is left to gain is the rate
    method.step(views, None, 0).loss.backward()
    before = method.step(views, None, 0).parts["coding_rate"].item()
    with torch.no_grad():
        for p in method.networks["head"].parameters():
            p.sub_(0.05 * p.grad)
    assert method.step(views, None, 0).parts["coding_rate"].item() > before


def test_vicreg_is_invariance_variance_and_covariance():
    method = make(vicreg, invariance=3.0, variance=5.0, covariance=7.0)
    views = [torch.randn(8, 3, 32, 32) for _ in range(2)]
    z = embeddings(method, views)
    invariance = ((z[0] - z[1]) ** 2).mean()
    variance = np.mean([np.maximum(0, 1 - np.sqrt(x.var(0, ddof=1) + 1e-4)).mean() for x in z])
    squares = [np.cov(x.T) ** 2 for x in z]
    covariance = sum((c.sum() - np.trace(c)) / len(c) for c in squares)
    out = method.step(views, None, 0)
    assert out.loss.item() == pytest.approx(3 * invariance + 5 * variance + 7 * covariance, 1e-4)
