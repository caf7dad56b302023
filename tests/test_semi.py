"""Semi-supervised fine-tuning: which labels it sees, how it chooses, and that binary stays binary."""

import copy

import pytest
import torch
from PIL import Image
from told import told
from torch import nn

import burn.networks.binary
from burn.data import synthetic
from burn.errors import UserError
from burn.evaluation.sgd import SGD
from burn.images.store import Data, Split
from burn.networks.binary import BinaryConv2d
from burn.networks.reactnet import ReActNet
from burn.networks.resnet import ResNet
from burn.tasks.semi import Options, Run, batch_of, examine, hold_out, labelled

CPU = torch.device("cpu")
CLASSES, SIZE = 3, 16
QUICK = {"fraction": 0.5, "lr": [0.05, 0.005], "head": [1.0], "epochs": 2, "milestones": [1]}


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
    assert (o.epochs, o.batch, o.milestones, o.factor) == (20, 256, [12, 16], 0.2)
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


def test_what_is_held_out_is_of_the_labelled_part_in_every_class():
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 0, 1])
    rows = torch.tensor([0, 1, 2, 3, 4, 6, 7, 8, 10])
    fit, held = hold_out(labels, rows, 0.3)
    assert sorted([*fit.tolist(), *held.tolist()]) == rows.tolist()
    assert labels[held].bincount(minlength=3).tolist() == [2, 1, 0]
    assert labels[fit].bincount().tolist() == [4, 1, 1]  # the only one of its class is trained on


def test_batches_leave_few_images_out():
    assert [batch_of(n, 256) for n in (40, 256, 257, 1000)] == [40, 256, 128, 250]


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


def tuned(net, epochs=3, precision="fp32", **options):
    options = Options(epochs=epochs, milestones=[2], precision=precision, **options)
    job = Run(net, CLASSES, SIZE, options, 0, CPU, 0)
    job.expect([60])
    return job.tune(drawn().split("train"), (0.05, 10.0))


@pytest.mark.parametrize("gradient", ["clipped", "quadratic"])
def test_a_binary_network_stays_binary(monkeypatch, gradient):
    before = network(gradient=gradient)
    start, inputs = copy.deepcopy(before.state_dict()), []
    convolve = burn.networks.binary.F.conv2d

    def watched(x, w, *args):
        if x.shape[1] != 3:  # the stem is real-valued
            inputs.append((x.unique().tolist(), max(len(row.unique()) for row in w.flatten(1))))
        return convolve(x, w, *args)

    monkeypatch.setattr(burn.networks.binary.F, "conv2d", watched)
    after, _ = tuned(before)
    layers = [m for m in after.modules() if isinstance(m, BinaryConv2d)]
    in_training = len(inputs)
    assert len(layers) == 26 and in_training == 26 * 3  # convolutions, updates
    after(torch.randn(4, 3, SIZE, SIZE))
    assert len(inputs) == in_training + 26
    for values, weights in inputs:
        assert set(values) == {-1.0, 1.0} and weights <= 2
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
    after, _ = tuned(network(precision), epochs=1)
    assert {m.precision for m in after.modules() if isinstance(m, BinaryConv2d)} == {precision}


def test_rates_follow_the_recipe(monkeypatch):
    rates, step = [], SGD.step

    def watched(self, factor):
        rates.append([round(rate * factor, 9) for _, rate in self.groups])
        return step(self, factor)

    monkeypatch.setattr(SGD, "step", watched)
    tuned(small(), epochs=4, batch=30)
    expected = [[0.05, 0.5]] * 4 + [[0.01, 0.1]] * 4  # x0.2 after two epochs of two updates
    assert rates == expected


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
    found = run(data, net, fraction=1.0, lr=[0.01], epochs=10, milestones=[8], batch=20)
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
