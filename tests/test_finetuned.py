"""Networks fine-tuned on a few labels: binary stays binary, the rates, the optimiser."""

import copy

import dense
import pytest
import torch
from labels import SIZE, Small, drawn, network, run, small, tuned
from PIL import Image
from torch import nn

from burn.evaluation.sgd import SGD
from burn.images.store import Split
from burn.networks.binary import BinaryConv2d
from burn.networks.resnet import ResNet


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
