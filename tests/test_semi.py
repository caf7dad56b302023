"""Semi-supervised fine-tuning: its labels, its start, and how it chooses."""

import numpy as np
import pytest
import torch
from labels import CLASSES, CPU, SIZE, drawn, network, run, small, tuned
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

from burn.errors import UserError
from burn.evaluation.features import features, part
from burn.tasks.semi import Options, Run, cross_validation, labelled, probe


def test_the_released_recipe_is_the_default():
    o = Options()
    assert (o.batch, o.milestones, o.factor) == (256, [12 / 20, 16 / 20], 0.2)  # of its 20 epochs
    assert (o.lr, o.head, o.weight_decay) == ([0.1, 0.01, 0.001], [1, 10, 100], 0)


def test_the_labelled_part_is_balanced_drawn_by_the_seed_and_nested():
    labels = torch.tensor([0] * 500 + [1] * 300 + [2] * 4)[torch.randperm(804)]
    few, many = labelled(labels, 0.01, 0), labelled(labels, 0.1, 0)
    assert labels[few].bincount().tolist() == [3, 3, 3]  # 0.01 * 804 / 3
    assert labels[many].bincount().tolist() == [27, 27, 4]  # there are no more
    assert set(few.tolist()) <= set(many.tolist())
    assert many.tolist() == sorted(set(many.tolist()))
    assert torch.equal(many, labelled(labels, 0.1, 0))
    assert not torch.equal(many, labelled(labels, 0.1, 1))
    assert labels[labelled(labels, 1e-6, 0)].bincount().tolist() == [1, 1, 1]
    assert len(labelled(labels[labels < 1], 1.0, 0)) == 500


@pytest.mark.parametrize("folds", [2, 3])
def test_folds_hold_each_image_out_once_unless_its_class_has_no_other(folds):
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 0, 1])
    rows = torch.tensor([0, 1, 2, 3, 4, 6, 7, 8, 10])  # six of class 0, two of 1, one of 2
    pairs = cross_validation(labels, rows, folds)
    assert len(pairs) == folds
    held = [image for _, own in pairs for image in own.tolist()]
    assert sorted(held) == [0, 1, 2, 3, 4, 6, 7, 10]
    for fit, own in pairs:
        assert sorted([*fit.tolist(), *own.tolist()]) == rows.tolist()
        assert labels[fit].unique().tolist() == [0, 1, 2]  # no class is unseen
        assert labels[own].bincount(minlength=3)[0] == 6 / folds
    assert cross_validation(labels, torch.tensor([0, 6, 8]), folds) == []


# -- the probe it starts from ----------------------------------------------------------------------


def of_classes(*known, count=40):
    """(features of means and scales far from 0 and 1, labels)."""
    rng = np.random.default_rng(0)
    y = np.resize(known, count)
    x = (rng.normal(size=(count, 6)) + 0.5 * y[:, None]) * [0.01, 1, 5, 1, 20, 0.3] + [
        9,
        0,
        1,
        -4,
        50,
        0,
    ]
    return x, y


def scikit(x, y):
    scaler = FunctionTransformer(lambda z: (z - x.mean(0)) / x.var(0).mean() ** 0.5)
    return make_pipeline(scaler, LogisticRegression(C=0.1, max_iter=500)).fit(x, y)


def predicted(head, x):
    return head(torch.from_numpy(x).float()).detach().double()


def test_the_probe_is_fitted_by_as_many_threads_as_torch_has(monkeypatch):
    found, fit = [], LogisticRegression.fit

    def counted(self, *data):
        found.extend(
            pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"
        )
        return fit(self, *data)

    monkeypatch.setattr(LogisticRegression, "fit", counted)
    threads = torch.get_num_threads()
    with threadpool_limits(threads + 1, "blas"):
        x, y = of_classes(0, 1, 2)
        probe(torch.from_numpy(x), torch.from_numpy(y), 3)
    assert found and set(found) == {threads}


@pytest.mark.parametrize("known", [(0, 1, 2), (0, 1)])
def test_the_probe_predicts_as_scikit_learn_does(known):
    x, y = of_classes(*known)
    new = of_classes(*known, count=100)[0][40:]
    head = probe(torch.from_numpy(x).float(), torch.from_numpy(y), len(known))
    found = predicted(head, new).softmax(1).numpy()
    np.testing.assert_allclose(found, scikit(x, y).predict_proba(new), atol=1e-3)
    assert found.max() > 0.6  # and says something


@pytest.mark.parametrize("known", [(0, 2, 3), (1, 3), (2,)])
def test_a_class_without_an_image_leaves_the_others_as_they_are(known):
    x, y = of_classes(*known)
    head = probe(torch.from_numpy(x).float(), torch.from_numpy(y), 4)
    assert head.weight.shape == (4, 6) and head.bias.isfinite().all()
    if len(known) == 1:
        return
    new = np.concatenate([of_classes(*known, count=100)[0], 30 * x])
    scores = predicted(head, new)
    found = scores[:, list(known)].softmax(1).numpy()
    np.testing.assert_allclose(found, scikit(x, y).predict_proba(new), atol=2e-3)
    assert set(scores.argmax(1).tolist()) == set(known)


def test_fine_tuning_starts_at_the_probe_of_the_frozen_network():
    net, train = small(), drawn().split("train")
    expected = probe(features(net, train, SIZE, CPU), train.labels, CLASSES)
    _, head = tuned(net, updates=1, point=(1e-12, 1.0))
    torch.testing.assert_close(head.weight, expected.weight)
    torch.testing.assert_close(head.bias, expected.bias)
    _, head = tuned(net, updates=1)
    assert not torch.allclose(head.weight, expected.weight, rtol=1e-3)


def test_fine_tuning_goes_beyond_the_probe():
    net, train = small(), drawn().split("train")
    head = probe(features(net, train, SIZE, CPU), train.labels, CLASSES)
    models = {"probe": (net, head), "tuned": tuned(net, updates=200, point=(0.05, 1.0))}
    losses = {}
    for name, (net, head) in models.items():
        scores = head(features(net, train, SIZE, CPU)).detach()
        losses[name] = float(nn.functional.cross_entropy(scores, train.labels))
    assert losses["tuned"] < 0.9 * losses["probe"]


@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_the_size_of_the_features_changes_nothing(size):
    """One learning rate serves networks whose features differ in size by orders of magnitude."""
    x, y = (torch.from_numpy(a) for a in of_classes(0, 1, 2))
    x = x.float()
    head, scaled = probe(x, y, 3), probe(size * x, y, 3)
    for given, of in ((head, x), (scaled, size * x)):
        loss = nn.functional.cross_entropy(given(of), y)
        for own, gradient in zip(given.parameters(), torch.autograd.grad(loss, given.parameters())):
            own.data.sub_(gradient, alpha=0.1)
    torch.testing.assert_close(scaled(size * x), head(x), rtol=2e-3, atol=2e-3)


# -- its scores, and what it may see ---------------------------------------------------------------


def test_scores_and_what_is_kept_beside_them():
    data = drawn()
    found = run(data, head=[1.0, 10.0])
    rows = torch.tensor(found["arrays"]["labelled"])
    assert torch.equal(rows, labelled(data.split("train").labels, 0.5, 0))
    assert found["notes"]["labelled"] == len(rows) == 30
    assert set(found["notes"]["held_out"]) == {"0.05 x 1", "0.05 x 10", "0.005 x 1", "0.005 x 10"}
    chosen = f"{found['notes']['lr']:g} x {found['notes']['head']:g}"
    held = found["notes"]["held_out"]
    assert held[chosen] == max(held.values())
    assert found["top1"] == pytest.approx(100 * sum(found["correct"]) / 30, abs=1e-3)
    assert found["top5"] == 100.0  # of three classes
    assert run(data) == run(data)


def test_the_test_set_has_no_say_in_the_choice():
    data = drawn()
    first = run(data)
    test = data.split("test")
    test.labels = (test.labels + 1) % CLASSES
    other = run(data)
    assert other["notes"] == first["notes"] and other["correct"] != first["correct"]
    test.images = 255 - test.images
    assert run(data)["notes"] == first["notes"]


def test_no_label_but_the_labelled_ones_is_seen():
    data = drawn()
    first, train = run(data), data.split("train")
    rest = torch.ones(len(train), dtype=torch.bool)
    rest[first["arrays"]["labelled"]] = False
    train.images[rest] = 0
    assert run(data)["correct"] == first["correct"]
    train.images[first["arrays"]["labelled"][:10]] = 0
    assert run(data)["correct"] != first["correct"]


def test_the_held_out_labels_decide(monkeypatch):
    """With the held-out accuracies turned round, another point wins."""
    data, compare = drawn(), Run.compare
    first = run(data)["notes"]

    def turned(self, *args):
        return {k: (-right, -loss) for k, (right, loss) in compare(self, *args).items()}

    monkeypatch.setattr(Run, "compare", turned)
    second = run(data)["notes"]
    assert (first["lr"], first["head"]) != (second["lr"], second["head"])


def test_one_point_needs_nothing_held_out():
    found = run(drawn(), lr=[0.01], head=[10.0], fraction=0.01)
    assert found["notes"] == {"labelled": 3, "lr": 0.01, "head": 10.0, "held_out": {}}
    with pytest.raises(UserError, match="one image of each class; allowed: more"):
        run(drawn(), fraction=0.01)


def test_a_point_that_diverges_is_left_out_and_nothing_else():
    data = drawn()
    wild = run(data, network(), lr=[1e38, 0.01], head=[1.0])
    assert wild["notes"]["lr"] == 0.01 and set(wild["notes"]["held_out"]) == {"0.01 x 1"}
    with pytest.raises(UserError, match="the loss was no number with any"):
        run(data, network(), lr=[1e38, 3e38], head=[1.0])


def test_as_many_folds_are_held_out_as_rounds_says(monkeypatch):
    held = []
    monkeypatch.setattr(Run, "compare", lambda self, grid, train, folds: held.append(folds) or {})
    for rounds in (None, 1, 2):
        with pytest.raises(
            UserError, match="the loss was no number"
        ):  # nothing is left to choose from
            run(drawn(), folds=3, rounds=rounds)
    every, one, two = held
    assert [len(folds) for folds in held] == [3, 1, 2]
    assert all(torch.equal(a, b) for pair, own in zip(every, two) for a, b in zip(pair, own))


def test_the_accuracy_of_a_point_is_over_all_images_held_out():
    net, train, sizes = small(), drawn().split("train"), []
    rows = labelled(train.labels, 0.5, 0)
    folds = cross_validation(train.labels, rows, 3)
    job = Run(net, CLASSES, SIZE, Options(), 0, CPU, 0)
    head = nn.Linear(net.dim, CLASSES).requires_grad_(False)

    def tune(split, point):
        sizes.append(len(split))
        return None if point == (9.0, 1.0) and len(sizes) > 4 else (net, head)

    job.tune = tune
    found = job.compare([(0.1, 1.0), (9.0, 1.0)], train, folds)
    scores = head(features(net, part(train, rows), SIZE, CPU))
    right = float((scores.argmax(1) == train.labels[rows]).float().mean())
    loss = float(nn.functional.cross_entropy(scores, train.labels[rows]))
    assert list(found) == [(0.1, 1.0)]  # the other diverged in its second fold
    assert found[0.1, 1.0] == pytest.approx((right, -loss), rel=1e-4)
    assert sizes == [len(fit) for fit, _ in folds] + [len(fit) for fit, _ in folds[:2]]
    assert all(size < len(rows) for size in sizes)
