"""BURN: what its objective trains and what it leaves alone, and its loss against plain formulas."""

import copy

import pytest
import torch
import torch.nn.functional as F
from distilled import TOTAL, batch, frozen_teacher, make, moved, snapshot, train

from burn.errors import UserError
from burn.methods import burn
from burn.training.losses import balance, burn_loss, information, kl


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return frozen_teacher(tmp_path_factory.mktemp("teacher"))


def outputs(method, views):
    """l(k(v)) and g(h(v)) of each view, computed apart from the method."""
    n = method.networks
    students = [n["classifier"](n["network"](v)) for v in views]
    return students, [n["target"](method.context.teacher.features(v)) for v in views]


def test_joint_training_moves_k_l_and_g_but_not_h(teacher):
    method, (views, _) = make(burn, teacher), batch()
    before = snapshot(method)
    h = copy.deepcopy(teacher.frozen.network.state_dict())
    train(method, 1, views)
    assert moved(before, snapshot(method)) == {"network", "classifier", "target"}
    for a, b in zip(h.values(), teacher.frozen.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_frozen_target_stays_and_the_moving_one_changes_the_student(teacher):
    views, _ = batch()
    after = {}
    for target in ("joint", "frozen"):
        for steps in (1, 2):
            method = make(burn, teacher, target=target)
            trained = {p.requires_grad for p in method.networks["target"].parameters()}
            assert trained == {target == "joint"}
            before = snapshot(method)
            train(method, steps, views)
            after[target, steps] = snapshot(method)
            assert ("target" in moved(before, after[target, steps])) == (target == "joint")
    assert moved(after["joint", 1], after["frozen", 1]) == {"target"}  # g moved after the loss
    assert moved(after["joint", 2], after["frozen", 2]) == {"target", "network", "classifier"}


def test_the_loss_is_the_sum_of_two_directions(teacher):
    method, (views, _) = make(burn, teacher), batch()
    for step in (0, 4, TOTAL):
        out = method.step(views, None, step)
        (l1, l2), (g1, g2) = outputs(method, views)
        weight = balance(step, TOTAL, 0.9, 0.7)
        expected = burn_loss([l1, l2], [g2, g1], weight, 0.2).total
        uncrossed = burn_loss([l1, l2], [g1, g2], weight, 0.2).total
        torch.testing.assert_close(out.loss, expected)
        assert abs(out.loss - uncrossed) > 1e-4
        for found, wanted in ((out.outputs, l1), (out.targets, g1)):
            torch.testing.assert_close(found, wanted)


def test_gradient_of_the_joint_loss_in_every_network(teacher):
    method, (views, _) = make(burn, teacher), batch()
    leaves = [
        p for n in ("network", "classifier", "target") for p in method.networks[n].parameters()
    ]
    got = torch.autograd.grad(method.step(views, None, 0).loss, leaves)
    (l1, l2), (g1, g2) = outputs(method, views)
    loss = burn_loss([l1, l2], [g2, g1], 0.9).total
    for a, b in zip(got, torch.autograd.grad(loss, leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_norm_keeps_every_class_alive_and_lets_the_gradient_into_g(teacher):
    method, (views, _) = make(burn, teacher, norm=True), batch()
    out = method.step(views, None, 0)
    for found in (
        out.outputs,
        out.targets,
    ):  # of one view each: over the batch no class is preferred
        torch.testing.assert_close(found.mean(0), torch.zeros(20), atol=1e-4, rtol=0)
        torch.testing.assert_close(found.var(0, correction=0), torch.ones(20), atol=1e-2, rtol=0)
    before = snapshot(method)
    train(method, 1, views)
    assert moved(before, snapshot(method)) == {"network", "classifier", "target"}
    assert not any(
        key.startswith("4.") and "weight" in key for key in method.networks["target"].state_dict()
    )


def test_the_same_view_is_what_the_student_is_pulled_to(teacher):
    method, (views, _) = make(burn, teacher, view="same"), batch(1)
    (l1,), (g1,) = outputs(method, views)
    expected = burn_loss([l1], [g1], 0.9).total
    torch.testing.assert_close(method.step(views, None, 0).loss, expected)
    # So one view is all it needs, and for equal passes of the student it gets twice the updates.
    assert (method.views, method.student_passes) == (1, 1)
    crossed = make(burn, teacher)
    assert (crossed.views, crossed.student_passes) == (2, 2)


def test_the_targets_information_is_raised_by_its_weight(teacher):
    views, _ = batch()
    plain, method = make(burn, teacher), make(burn, teacher, information=0.5)
    out, (_, targets) = method.step(views, None, 0), outputs(method, views)
    expected = sum(information(t, 0.2) for t in targets)
    torch.testing.assert_close(out.parts["information"], expected)
    weight = 0.5 * (1 - balance(0, TOTAL))
    torch.testing.assert_close(out.loss, plain.step(views, None, 0).loss - weight * expected)
    before = float(expected.detach())
    train(method, 6, views)
    assert float(sum(information(t.detach(), 0.2) for t in outputs(method, views)[1])) > before


def test_features_are_compared_with_the_teachers_standardised_ones(teacher):
    recipe = {"similarity": "features", "balance": [1.0, 1.0], "view": "same"}
    method = make(burn, teacher, standardise=True, projection="mlp", **recipe)
    views, _ = batch(1)
    h = teacher.frozen.features(views[0])
    goal = (h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt()
    near = method.networks["projection"](method.networks["network"](views[0]))
    expected = 2 - 2 * F.cosine_similarity(near, goal, dim=1).mean()
    torch.testing.assert_close(method.step(views, None, 0).loss, expected, rtol=1e-4, atol=1e-5)
    kinds = [type(m).__name__ for m in method.networks["projection"]]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear"]


def test_maps_are_pulled_to_the_teachers_standardised_ones(teacher):
    strides = [4, 8, 16]
    plain, method = make(burn, teacher), make(burn, teacher, maps=strides, maps_weight=0.5)
    views, _ = batch()
    projections = method.networks["maps"].convolutions
    distances = []
    for view in views:
        theirs = teacher.frozen.network.maps(view)
        ours = method.networks["network"].maps(view)
        for s in strides:
            mean, deviation = (
                theirs[s].mean((0, 2, 3), True),
                theirs[s].std((0, 2, 3), False, keepdim=True),
            )
            target = (theirs[s] - mean) / (deviation.square() + 1e-5).sqrt()
            distances.append((projections[str(s)](ours[s]) - target).square().mean())
    out = method.step(views, None, 0)
    torch.testing.assert_close(out.parts["maps"], sum(distances) / 3, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.loss, plain.step(views, None, 0).loss + 0.5 * out.parts["maps"])
    before = snapshot(method)
    train(method, 1, views)
    assert moved(before, snapshot(method)) == {"network", "classifier", "target", "maps"}


def test_a_stride_that_a_network_lacks_is_refused(teacher):
    with pytest.raises(
        UserError, match=r"recipe.maps: found 32; allowed: strides of both networks"
    ):
        make(burn, teacher, maps=[4, 32])


def test_similarity_of_outputs_of_features_or_none(teacher):
    views, _ = batch()
    found = {kind: make(burn, teacher, similarity=kind) for kind in ("outputs", "features", "none")}
    steps = {kind: method.step(views, None, 0) for kind, method in found.items()}
    (l1, l2), (g1, g2) = outputs(found["none"], views)
    expected = kl(l1, g2) + kl(l2, g1)
    for step in steps.values():
        torch.testing.assert_close(step.parts["kl"], expected)
    torch.testing.assert_close(steps["none"].loss, expected)

    n = found["features"].networks
    k = [n["projection"](n["network"](v)) for v in views]
    h = [teacher.frozen.features(v) for v in views]
    cosines = F.cosine_similarity(k[0], h[1]) + F.cosine_similarity(k[1], h[0])
    torch.testing.assert_close(steps["features"].parts["similarity"], 4 - 2 * cosines.mean())
    weighted = 0.9 * steps["features"].parts["similarity"] + 0.1 * expected
    torch.testing.assert_close(steps["features"].loss, weighted)
    before = snapshot(found["features"])
    train(found["features"], 1, views)
    assert moved(before, snapshot(found["features"])) == set(n)
    assert set(n) == {"network", "classifier", "target", "projection"}


def test_temperature_and_balance_reach_the_loss(teacher):
    views, _ = batch()
    method = make(burn, teacher, temperature=0.5, balance=[0.2, 0.6])
    found = method.step(views, None, TOTAL // 2).loss
    (l1, l2), (g1, g2) = outputs(method, views)
    torch.testing.assert_close(found, burn_loss([l1, l2], [g2, g1], 0.4, 0.5).total)


def test_target_rate(teacher):
    views, _ = batch()
    moves = {}
    for factor in (0.0, 0.01, 1.0):
        method = make(burn, teacher, target_lr=factor)
        before = snapshot(method)
        train(method, 1, views)
        moves[factor] = {n: float((x - before[n]).norm()) for n, x in snapshot(method).items()}
    assert moves[0.0]["target"] == 0
    assert moves[0.01]["target"] == pytest.approx(0.01 * moves[1.0]["target"], rel=0.02)
    assert moves[0.01]["network"] == pytest.approx(moves[1.0]["network"], rel=1e-5)
