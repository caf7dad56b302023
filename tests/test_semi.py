"""Semi-supervised fine-tuning: its labels, its start, how it chooses, and that binary stays binary."""

import copy

import dense
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from told import told
from torch import nn

from burn.data import synthetic
from burn.errors import UserError
from burn.evaluation.features import features, part
from burn.evaluation.sgd import SGD
from burn.images.store import Data, Split
from burn.networks.binary import BinaryConv2d
from burn.networks.reactnet import ReActNet
from burn.networks.resnet import ResNet
from burn.tasks.semi import Options, Run, cross_validation, examine, labelled, probe

CPU = torch.device("cpu")
CLASSES, SIZE = 3, 16
QUICK = {"fraction": 0.5, "lr": [0.05, 0.005], "head": [1.0], "folds": 2, "updates": 4}


def drawn(train=60, test=30) -> Data:
    splits = {}
    for name, count in (("train", train), ("test", test)):
        images, labels = synthetic.draw("imagenet", name, count, SIZE, CLASSES)
        splits[name] = Split(torch.from_numpy(labels), torch.from_numpy(images))
    return Data([f"class{c}" for c in range(CLASSES)], True, SIZE, splits)


class Small(nn.Module):
    """(N, 3, S, S) -> (N, 8): a convolution, for what does not depend on the network."""

    dim = 8

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn = nn.Conv2d(3, self.dim, 5, 2), nn.BatchNorm2d(self.dim)

    def forward(self, x):
        return self.bn(self.conv(x)).relu().mean((2, 3))


def small():
    return Small().eval().requires_grad_(False)


def network(precision="binary", **options):
    torch.manual_seed(0)
    net = ReActNet(width=0.25, **options).at(precision)
    return net.eval().requires_grad_(False)


def run(data, net=None, seed=0, **options):
    """The scores; the labelled images as a list, which compares."""
    found = told(examine(net or small(), data, Options(**QUICK | options), seed, CPU))
    found["arrays"]["labelled"] = found["arrays"]["labelled"].tolist()
    return found


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
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)).fit(x, y)


def predicted(head, x):
    return head(torch.from_numpy(x).float()).detach().double()


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
    models = {"probe": (net, head), "tuned": tuned(net, updates=200)}
    losses = {}
    for name, (network, head) in models.items():
        scores = head(features(network, train, SIZE, CPU)).detach()
        losses[name] = float(nn.functional.cross_entropy(scores, train.labels))
    assert losses["tuned"] < 0.9 * losses["probe"]


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


def tuned(net, updates=3, precision="fp32", point=(0.05, 10.0), **options):
    options = Options(**{"updates": updates, "precision": precision, "batch": 30} | options)
    job = Run(net, CLASSES, SIZE, options, 0, CPU, 0)
    job.expect(1)
    return job.tune(drawn().split("train"), point)


@pytest.mark.parametrize("gradient", ["clipped", "quadratic"])
def test_a_binary_network_stays_binary(monkeypatch, gradient):
    before = network(gradient=gradient)
    start, (inputs, weights) = copy.deepcopy(before.state_dict()), dense.watch(monkeypatch)
    after, _ = tuned(before)
    layers = [m for m in after.modules() if isinstance(m, BinaryConv2d)]
    so_far = len(inputs)
    assert len(layers) == 26 and so_far == 26 * (1 + 3)  # convolutions; the probe and the updates
    after(torch.randn(4, 3, SIZE, SIZE))
    assert len(inputs) == len(weights) == so_far + 26
    assert {tuple(values) for values in inputs} == {(-1.0, 1.0)} and max(weights) == 2
    old = dict(before.named_modules())
    for name, layer in after.named_modules():
        if isinstance(layer, BinaryConv2d):
            assert layer.precision == "binary"
            for row in layer.effective_weight().flatten(1):
                assert row.unique().numel() <= 2 and row.abs().unique().numel() == 1
            assert not torch.equal(layer.weight, old[name].weight)  # and everything is trained
            assert not torch.equal(layer.shift, old[name].shift)
    changed = {k for k, v in after.state_dict().items() if not torch.equal(v, start[k])}
    assert any("running_mean" in k for k in changed)
    for k, v in before.state_dict().items():  # the network given is left as it is
        assert torch.equal(v, start[k]), k
    assert not before.training and not any(p.requires_grad for p in before.parameters())


@pytest.mark.parametrize("precision", ["real", "binact"])
def test_other_precisions_are_kept_too(precision):
    after, _ = tuned(network(precision), updates=1)
    assert {m.precision for m in after.modules() if isinstance(m, BinaryConv2d)} == {precision}


def test_rates_follow_the_recipe(monkeypatch):
    rates, step = [], SGD.step

    def watched(self, factor):
        rates.append([round(rate * factor, 9) for _, rate in self.groups])
        return step(self, factor)

    monkeypatch.setattr(SGD, "step", watched)
    tuned(small(), updates=10)
    assert rates == [[0.05, 0.5]] * 6 + [[0.01, 0.1]] * 2 + [[0.002, 0.02]] * 2
    rates.clear()
    tuned(small(), updates=5, milestones=[0.5], factor=0.1)
    assert rates == [[0.05, 0.5]] * 3 + [[0.005, 0.05]] * 2


@pytest.mark.parametrize(("batch", "seen"), [(8, 8), (30, 30), (256, 30)])
def test_a_batch_is_at_most_half_of_the_labelled_images(monkeypatch, batch, seen):
    counts, forward = [], Small.forward

    def watched(self, x):
        if self.training:
            counts.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(Small, "forward", watched)
    tuned(small(), updates=5, batch=batch)
    assert counts == [seen] * 5  # however few the epochs


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_sgd_is_that_of_torch(decay):
    torch.manual_seed(0)
    mine = [nn.Linear(5, 4), nn.Linear(4, 3)]
    theirs = copy.deepcopy(mine)
    groups = [{"params": theirs[0].parameters()}, {"params": theirs[1].parameters(), "lr": 0.3}]
    other = torch.optim.SGD(groups, 0.05, momentum=0.9, weight_decay=decay)
    own = SGD([(mine[0].parameters(), 0.05), (mine[1].parameters(), 0.3)], decay)
    for factor in (1.0, 1.0, 0.2):
        x = torch.randn(6, 5)
        for first, second in (mine, theirs):
            second(first(x).relu()).square().mean().backward()
        own.step(factor)
        for group, rate in zip(other.param_groups, (0.05, 0.3)):
            group["lr"] = rate * factor
        other.step()
        other.zero_grad()
        for a, b in zip(mine, theirs):
            assert torch.allclose(a.weight, b.weight, atol=1e-7)
            assert a.weight.grad is None


def test_the_teacher_can_be_tuned_and_fine_tuning_learns():
    net = ResNet("resnet18", width=0.125, stem="half").eval().requires_grad_(False)
    data = drawn()
    for split in data.splits.values():  # brighter from class to class
        split.images = (split.images // 8 + 80 * split.labels[:, None, None, None]).byte()
    found = run(data, net, fraction=1.0, lr=[0.01], updates=60, batch=20)
    assert found["top1"] > 80  # chance is 33


def test_streamed_images_do_as_well(tmp_path):
    data = drawn(24, 12)
    for name, split in data.splits.items():
        files = [tmp_path / f"{name}{i}.png" for i in range(len(split))]
        for file, image in zip(files, split.images, strict=True):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
        data.splits[name] = Split(split.labels, files=files)
    found = run(data, lr=[0.01], head=[1.0])
    assert len(found["correct"]) == 12 and found["notes"]["labelled"] == 12
    assert run(data, lr=[0.01], head=[1.0]) == found


def test_bf16_and_fp32_differ():
    bf16, fp32 = (tuned(small(), precision=p)[1].weight for p in ("bf16", "fp32"))
    assert not torch.equal(bf16, fp32)
