"""S2-BNN, supervised and random: what each trains, and its loss against plain formulas."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distilled import CPU, batch, frozen_teacher, make, moved, parameters, snapshot, train
from formulas import log_softmax, unit
from trees import packed

from burn.errors import UserError
from burn.experiment.schema import STAGES, Augment, Machine, Student, Train
from burn.images.loader import Loader, mix
from burn.images.store import open_data
from burn.methods import random, s2bnn, supervised
from burn.networks import build
from burn.pretrain import pretrain


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return frozen_teacher(tmp_path_factory.mktemp("teacher"))


def test_frozen_teacher_is_the_network_in_its_folder(teacher):
    x = torch.randn(4, 3, 32, 32, requires_grad=True)
    with torch.no_grad():
        features = teacher.network(x)
        embedding = teacher.head(features)
    torch.testing.assert_close(teacher.frozen.features(x), features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(teacher.frozen.embedding(x), embedding, rtol=1e-4, atol=1e-4)
    assert not teacher.frozen.features(x).requires_grad
    assert not teacher.frozen.embedding(x).requires_grad
    assert teacher.frozen.dim == 128 == features.shape[1]
    loaded = build.load(teacher.dir)
    assert torch.equal(loaded(x), teacher.network(x))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_s2bnn_is_soft_cross_entropy_of_embeddings(teacher, temperature):
    method, (views, _) = make(s2bnn, teacher, temperature=temperature), batch(1)
    hidden, outputs = (method.networks["head"][i].out_features for i in (0, -1))
    assert (hidden, outputs) == (method.context.network.dim, 16)
    before = snapshot(method)
    found = method.step(views, None, 0)
    with torch.no_grad():
        student = method.networks["head"](method.networks["network"](views[0]))
        target = teacher.head(teacher.network(views[0]))
    s, t = (unit(x.double().numpy()) / temperature for x in (student, target))
    expected = -(np.exp(log_softmax(t)) * log_softmax(s)).sum(1).mean()
    assert found.loss.item() == pytest.approx(expected, 1e-4)
    train(method, 1, views)
    assert moved(before, snapshot(method)) == {"network", "head"}


def test_s2bnn_can_distil_features(teacher):
    bare = copy.copy(teacher.frozen)
    bare.head = None
    method = make(s2bnn, SimpleNamespace(frozen=bare), distil="features", temperature=0.3)
    views, _ = batch(1)
    found = method.step(views, None, 0)
    with torch.no_grad():
        student = method.networks["head"](method.networks["network"](views[0]))
        target = teacher.network(views[0])
    assert student.shape == target.shape == (8, 128)
    s, t = (unit(x.double().numpy()) / 0.3 for x in (student, target))
    expected = -(np.exp(log_softmax(t)) * log_softmax(s)).sum(1).mean()
    assert found.loss.item() == pytest.approx(expected, 1e-4)


def test_s2bnn_wants_the_teachers_embedding(teacher):
    bare = copy.copy(teacher.frozen)
    bare.head = None
    with pytest.raises(UserError, match=r"^teacher.checkpoint: found no .*; expected .*features$"):
        make(s2bnn, SimpleNamespace(frozen=bare))


def test_supervised_is_cross_entropy(teacher):
    method, (views, labels) = make(supervised, teacher), batch(1)
    before = snapshot(method)
    found = method.step(views, labels, 0).loss.item()
    with torch.no_grad():
        logits = method.networks["classifier"](method.networks["network"](views[0]))
    log_p = log_softmax(logits.double().numpy())
    assert found == pytest.approx(-log_p[np.arange(8), labels.numpy()].mean(), 1e-5)
    losses = train(method, 8, views, labels)
    assert losses[-1] < losses[0]
    assert moved(before, snapshot(method)) == {"network", "classifier"}
    assert (method.views, method.student_passes) == (0, 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("data"), 32)


def random_stage(data, stage, init, out):
    view = {"student": Student(width=0.25), "train": Train(batch=16), "augment": Augment(size=32),
            "recipe": {}, "epochs": 0}  # fmt: skip
    pretrain(
        view, "random", stage, 4, random.__file__, data, None, init, out, Machine(device="cpu")
    )
    return out


@pytest.fixture(scope="module")
def untrained(data, tmp_path_factory):
    """The three stages of `random`, one from the other."""
    out, init, stages = tmp_path_factory.mktemp("random"), None, {}
    for stage in ("real", "binact", "binary"):
        init = stages[stage] = random_stage(data, stage, init, out / stage)
    return stages


def test_random_keeps_its_initial_weights_through_the_stages(untrained):
    torch.manual_seed(4)
    start = build.network({"arch": "reactnet", "width": 0.25, "neck": False})
    for stage, dir in untrained.items():
        network = build.load(dir)
        assert torch.equal(parameters(network), parameters(start))
        assert network.blocks[0].conv3.precision == stage
    assert not random.Method.trains


@pytest.mark.parametrize("stage", ["real", "binact", "binary"])
def test_random_has_batch_norms_calibrated_at_the_precision_of_its_stage(untrained, data, stage):
    network, stored = (build.load(untrained[stage]) for _ in range(2))
    norms = (network.bn, network.blocks[0].bn3, network.blocks[9].bn1)
    seen = [[] for _ in norms]
    for norm, inputs in zip(norms, seen, strict=True):
        norm.register_forward_pre_hook(lambda _, x, inputs=inputs: inputs.append(x[0]))
    network.train()  # batch statistics throughout: what is stored does not enter
    seed = mix(4, STAGES.index(stage))  # each stage's own
    loader = Loader(open_data(data).split("train"), Augment(size=32), 16, 0, seed, CPU)
    for views, _ in loader.run(0, 20):
        network(views[0])
    norms = (stored.bn, stored.blocks[0].bn3, stored.blocks[9].bn1)
    for norm, inputs in zip(norms, seen, strict=True):
        mean = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
        variance = torch.stack([x.var((0, 2, 3)) for x in inputs]).mean(0)
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(norm.running_var, variance, rtol=1e-3, atol=1e-5)
