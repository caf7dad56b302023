"""The objectives against NumPy in float64: BURN's, Sinkhorn's; and what tells a collapse."""

import math

import numpy as np
import pytest
import torch
from formulas import softmax, unit

from burn.training import collapse
from burn.training.losses import balance, burn_loss, kl, similarity, sinkhorn

BALANCES = [0.0, 0.3, 0.7, 0.9, 1.0]


def numpy_kl(student, target, temperature):
    p, q = softmax(target / temperature), softmax(student / temperature)
    return (p * (np.log(p) - np.log(q))).sum() / len(p)


def numpy_loss(student, target, weight, temperature):
    """((1 - lam) * fs + lam * kl) / N with lam = 1 - weight: the loss as released."""
    fs = ((unit(student) - unit(target)) ** 2).sum() / len(student)
    return weight * fs + (1 - weight) * numpy_kl(student, target, temperature)


def pair(n=6, c=9):
    return torch.randn(n, c), torch.randn(n, c)


def arrays(*tensors):
    return [t.detach().double().numpy() for t in tensors]


# -- the loss ------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.1, 0.2, 1.0])
@pytest.mark.parametrize("weight", BALANCES)
def test_burn_loss_is_the_released_formula(weight, temperature):
    student, target = pair()
    found = float(burn_loss([student], [target], weight, temperature).total)
    assert found == pytest.approx(numpy_loss(*arrays(student, target), weight, temperature), 1e-5)
    assert found != pytest.approx(numpy_loss(*arrays(target, student), weight, temperature), 1e-5) \
        or weight == 1  # fmt: skip


def test_default_temperature():
    student, target = pair()
    assert burn_loss([student], [target], 0.9) == burn_loss([student], [target], 0.9, 0.2)
    assert kl(student, target) == kl(student, target, 0.2)


@pytest.mark.parametrize("weight", BALANCES)
def test_gradients_into_student_and_target_by_finite_differences(weight):
    student, target = pair(3, 4)
    student.requires_grad_()
    target.requires_grad_()
    burn_loss([student], [target], weight, 0.5).total.backward()
    both, step = arrays(student, target), 1e-6
    for values, tensor in zip(both, (student, target), strict=True):
        assert tensor.grad.abs().max() > 1e-3
        for place in np.ndindex(values.shape):
            kept, sides = values[place], []
            for sign in (1, -1):
                values[place] = kept + sign * step
                sides.append(numpy_loss(*both, weight, 0.5))
            values[place] = kept
            slope = (sides[0] - sides[1]) / (2 * step)
            assert float(tensor.grad[place]) == pytest.approx(slope, rel=1e-3, abs=1e-5)


def test_kl_and_similarity():
    student, target = pair()
    for temperature in (0.1, 0.2, 2.0):
        expected = numpy_kl(*arrays(student, target), temperature)
        assert float(kl(student, target, temperature)) == pytest.approx(expected, 1e-5)
    s, t = arrays(student, target)
    cosine = (unit(s) * unit(t)).sum(1).mean()
    assert float(similarity(student, target)) == pytest.approx(2 - 2 * cosine, 1e-5)
    assert float(similarity(student, 7 * student)) == pytest.approx(0, abs=1e-6)
    assert float(kl(student, student + 3)) == pytest.approx(0, abs=1e-6)  # softmax ignores it
    for value in (
        kl(student.bfloat16(), target.bfloat16()),
        similarity(student.bfloat16(), target),
    ):
        assert value.dtype == torch.float32


@pytest.mark.parametrize("shapes", [((3, 4), (3, 5)), ((3, 4), (2, 4)), ((4,), (4,))])
def test_shapes_that_differ_are_refused(shapes):
    with pytest.raises(ValueError, match="expected two equal") as error:
        burn_loss([torch.zeros(shapes[0])], [torch.zeros(shapes[1])], 0.5)
    assert all(str(tuple(shape)) in str(error.value) for shape in shapes)


def test_balance_is_the_released_half_cosine():
    total = 40
    values = [balance(t, total) for t in range(total + 1)]
    for t, value in enumerate(values):
        lam = 0.3 - (0.3 - 0.1) * (math.cos(math.pi * t / total) + 1) / 2
        assert value == pytest.approx(1 - lam, abs=1e-12)
    assert values[0] == pytest.approx(0.9)
    assert values[20] == pytest.approx(0.8)
    assert values[-1] == pytest.approx(0.7)
    assert values == sorted(values, reverse=True)
    assert [balance(t, 2, 0.0, 1.0) for t in range(3)] == pytest.approx([0, 0.5, 1])


# -- balanced assignment -------------------------------------------------------------------------


def numpy_sinkhorn(scores, epsilon, rounds):
    """SwAV's algorithm as published: prototypes first, then samples, on the total-normalised Q."""
    q = np.exp(scores / epsilon).T
    k, b = q.shape
    q /= q.sum()
    for _ in range(rounds):
        q /= q.sum(1, keepdims=True) * k
        q /= q.sum(0, keepdims=True) * b
    return (q * b).T


@pytest.mark.parametrize("rounds", [1, 3, 20])
@pytest.mark.parametrize(("n", "c"), [(24, 6), (5, 20)])
def test_sinkhorn_is_swavs(n, c, rounds):
    scores = torch.nn.functional.normalize(torch.randn(n, c, requires_grad=True), dim=1)
    found = sinkhorn(scores, rounds=rounds)
    expected = numpy_sinkhorn(scores.detach().double().numpy(), 0.05, rounds)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-5)
    assert not found.requires_grad
    torch.testing.assert_close(found.sum(1), torch.ones(n))


def test_sinkhorn_balances_the_columns():
    scores = torch.rand(64, 8) + torch.linspace(0, 1, 8)  # all prefer the last column
    columns = sinkhorn(scores, 0.2, 50).sum(0)
    torch.testing.assert_close(columns, torch.full((8,), 8.0), rtol=1e-3, atol=1e-3)
    rough = sinkhorn(scores, 0.2).sum(0)
    assert 0.7 * 8 < rough.min() <= rough.max() < 1.3 * 8
    torch.testing.assert_close(sinkhorn(torch.ones(6, 3)), torch.full((6, 3), 1 / 3))
    far = sinkhorn(torch.tensor([[1.0, -1.0]] * 4))  # exp(-40) of the other column
    torch.testing.assert_close(far, torch.full((4, 2), 0.5), rtol=1e-3, atol=1e-3)


# -- collapse ------------------------------------------------------------------------------------


def test_spread():
    isotropic = torch.randn(4000, 64)
    assert collapse.spread(isotropic) == pytest.approx(1, abs=0.02)
    assert collapse.spread(100 * isotropic) == pytest.approx(1, abs=0.02)
    direction = torch.randn(1, 64)
    assert collapse.spread(direction.expand(50, 64)) == pytest.approx(0, abs=1e-6)
    assert collapse.spread(direction * torch.rand(50, 1)) == pytest.approx(0, abs=1e-6)
    z = torch.randn(30, 5) + 1
    expected = unit(z.double().numpy()).std(0, ddof=1).mean() * math.sqrt(5)
    assert collapse.spread(z) == pytest.approx(expected, 1e-5)


def test_entropy():
    assert collapse.entropy(torch.zeros(7, 20), 0.2) == pytest.approx(math.log(20), 1e-5)
    assert collapse.entropy(1000 * torch.eye(8), 1.0) == pytest.approx(math.log(8), 1e-5)
    assert collapse.entropy(torch.tensor([[1000.0, 0], [1000, 0]]), 1.0) == pytest.approx(
        0, abs=1e-6
    )
    p = np.array([0.25, 0.75])
    logits = torch.tensor(np.log(p) * 0.5, dtype=torch.float32)[None]
    expected = -(p * np.log(p)).sum()
    assert collapse.entropy(logits, 0.5) == pytest.approx(expected, 1e-5)


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_information(temperature):
    z = torch.randn(12, 7)
    p = softmax(z.double().numpy() / temperature)
    mutual = (p * np.log(p / p.mean(0))).sum(1).mean()  # mean KL to the mean prediction
    assert collapse.information(z, temperature) == pytest.approx(mutual, 1e-4)
    assert collapse.information(z[:1].expand(9, 7), temperature) == pytest.approx(0, abs=1e-6)
    ones = 1000 * torch.eye(16, 40)  # 16 distinct one-hots over 40 classes
    assert collapse.information(ones, temperature) == pytest.approx(math.log(16), 1e-5)


@pytest.mark.parametrize(
    ("spread", "information", "expected"),
    [(0.5, 0.5, False), (0.09, 3.0, True), (0.9, 0.009, True), (0, 0, True), (0.1, 0.01, False)],
)
def test_the_verdict(spread, information, expected):
    assert collapse.collapsed(spread, information) is expected


def test_normalised_outputs_are_judged_by_their_spread():
    z = torch.randn(512, 128)  # isotropic on the sphere: 1 / (2 C T^2) nats, however far out
    for scale in (0.01, 100):
        found = collapse.measures(torch.nn.functional.normalize(scale * z, dim=1), 0.2)
        assert found["information"] == pytest.approx(1 / (2 * 128 * 0.2**2), 0.1)
    assert not collapse.collapsed(0.3, 0.005, normalised=True)
    assert collapse.collapsed(0.09, 0.005, normalised=True)


def test_the_verdict_on_outputs():
    def verdict(outputs):
        found = collapse.measures(outputs, 0.2)
        assert set(found) == {"spread", "entropy", "information"}
        return collapse.collapsed(found["spread"], found["information"])

    z = torch.randn(64, 30)
    assert not verdict(z)
    assert verdict(z * 1e-3 + 1)  # one direction, whatever the image
    assert verdict(z * 1e-3)  # many directions, but the prediction is always uniform
