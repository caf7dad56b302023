"""The objectives against NumPy in float64: BURN's; and what tells a collapse."""

import math

import numpy as np
import pytest
import torch
from formulas import softmax, unit

from burn.training import collapse
from burn.training.losses import balance, burn_loss, information, kl, similarity

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
    assert collapse.collapsed(row(spread, information)) is expected


def row(spread, information, entropy=1.0, **target):
    return {
        "output_spread": spread,
        "output_information": information,
        "output_entropy": entropy,
        **target,
    }


@pytest.mark.parametrize(
    ("outputs", "targets", "kinds"),
    [
        ("various", "various", []),
        ("constant", "various", ["constant outputs", "no information"]),
        ("one class", "one class", ["one class for all", "dead target"]),
        ("flat", "various", ["no information"]),
        ("various", "one class", ["dead target"]),
        ("codes", "codes", ["one code per image"]),
    ],
)
def test_each_kind_of_collapse_has_its_own_name(outputs, targets, kinds):
    z = torch.randn(64, 100)
    made = {
        "various": 0.4 * z,
        "constant": 1e-4 * z + 1,
        "one class": z + 1000 * torch.eye(100)[3],
        "flat": 1e-4 * z,
        "codes": 100 * torch.eye(64, 100) + z,
    }
    if outputs == "one class":  # and yet they point in many directions
        made["one class"][:, 50:] += 3000 * torch.randn(64, 50).clamp(max=0)
    found = {}
    for prefix, key in (("output", outputs), ("target", targets)):
        found |= {f"{prefix}_{k}": v for k, v in collapse.measures(made[key], 0.2).items()}
    assert collapse.kinds(found, batch=64) == kinds
    assert collapse.collapsed(found) == bool(set(kinds) - {"one code per image"})


def test_information_to_maximise_is_the_information_that_is_measured():
    z = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    assert float(information(z, 0.2)) == pytest.approx(collapse.information(z, 0.2), rel=1e-5)
    shared = torch.randn(16, 1).expand(16, 8)  # all classes rise and fall together
    assert float(information(shared, 0.2)) == pytest.approx(0, abs=1e-6)


def test_normalised_outputs_are_judged_by_their_spread():
    z = torch.randn(512, 128)  # isotropic on the sphere: 1 / (2 C T^2) nats, however far out
    for scale in (0.01, 100):
        found = collapse.measures(torch.nn.functional.normalize(scale * z, dim=1), 0.2)
        assert found["information"] == pytest.approx(1 / (2 * 128 * 0.2**2), 0.1)
    assert not collapse.collapsed(row(0.3, 0.005), normalised=True)
    assert collapse.collapsed(row(0.09, 0.005), normalised=True)


def test_the_verdict_on_outputs():
    def verdict(outputs):
        found = collapse.measures(outputs, 0.2)
        assert set(found) == {"spread", "entropy", "information"}
        return collapse.collapsed({f"output_{k}": v for k, v in found.items()})

    z = torch.randn(64, 30)
    assert not verdict(z)
    assert verdict(z * 1e-3 + 1)  # one direction, whatever the image
    assert verdict(z * 1e-3)  # many directions, but the prediction is always uniform
