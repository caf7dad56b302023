"""What each method trains, what it leaves alone, and its loss against plain formulas."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from burn.errors import UserError
from burn.experiment.schema import Augment, Machine, Student, Train
from burn.images.loader import Loader
from burn.images.store import open_data
from burn.methods import burn, random, s2bnn, supervised
from burn.networks import build
from burn.pretrain import pretrain
from burn.training.fit import optimiser
from burn.training.frozen import FrozenTeacher
from burn.training.heads import mlp
from burn.training.losses import balance, burn_loss, kl, sinkhorn
from burn.training.method import Context

CPU = torch.device("cpu")
TOTAL = 10  # steps of the pretended stage


@pytest.fixture(autouse=True)
def _seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A frozen teacher, and the very networks it was made from."""
    torch.manual_seed(3)
    network = build.network({"arch": "resnet18", "width": 0.25, "stem": "half"})
    with torch.no_grad():
        for _ in range(20):
            network.train()(torch.randn(16, 3, 32, 32))
    head = mlp(network.dim, 16, norm=True)
    out = tmp_path_factory.mktemp("teacher")
    save_file(build.flatten({"network": network, "head": head}), out / "weights.safetensors")
    (out / "metrics.json").write_text(json.dumps({"network": network.config, "precision": "fp"}))
    frozen = FrozenTeacher(out, CPU, torch.float32)
    return SimpleNamespace(frozen=frozen, network=network.eval(), head=head.eval(), dir=out)


def make(module, teacher, **recipe):
    torch.manual_seed(1)
    network = build.network({"arch": "reactnet", "width": 0.25, "neck": module.Method.neck})
    if module is burn:
        recipe = {"outputs": 20, "hidden": 24, "similarity": "outputs"} | recipe
    context = Context(network.at("binary"), teacher.frozen, 5, TOTAL)
    return module.Method(module.Recipe(**recipe), context)


def batch(count: int = 2, n: int = 8):
    return [torch.randn(n, 3, 32, 32) for _ in range(count)], torch.arange(n) % 5


def train(method, steps: int, views, labels=None) -> list:
    """`steps` updates with the pipeline's own optimiser; the steps' losses."""
    optimizer, losses = optimiser(method, Train(lr=1e-3)), []
    for group in optimizer.param_groups:
        group["lr"] *= group["scale"]
    for step in range(steps):
        out = method.step(views, labels, step)
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_update(step / steps)
        losses.append(out.loss.item())
    return losses


def parameters(network) -> torch.Tensor:
    """All parameters (no running statistics) in one vector."""
    return torch.cat([p.detach().clone().flatten() for p in network.parameters()])


def snapshot(method) -> dict[str, torch.Tensor]:
    return {name: parameters(network) for name, network in method.networks.items()}


def moved(before, after) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def outputs(method, views):
    """l(k(v)) and g(h(v)) of each view, computed apart from the method."""
    n = method.networks
    students = [n["classifier"](n["network"](v)) for v in views]
    return students, [n["target"](method.context.teacher.features(v)) for v in views]


# -- the teacher in use --------------------------------------------------------------------------


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


# -- BURN ----------------------------------------------------------------------------------------


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


def test_clustered_target_learns_from_clustering_alone(teacher):
    method, (views, _) = make(burn, teacher, target="clustered"), batch()
    g = list(method.networks["target"].parameters())
    out = method.step(views, None, 0)
    whole = torch.autograd.grad(out.loss, g, retain_graph=True)
    student_terms = out.loss - out.parts["clustering"]
    # The running error of a sum apart, the student's terms leave no trace in g.
    left = torch.autograd.grad(student_terms, g, retain_graph=True)
    assert all(float(x.abs().max()) == 0 for x in left)
    _, targets = outputs(method, views)
    scores = [t / t.square().mean(1, keepdim=True).sqrt() for t in targets]
    p = [s.softmax(1) for s in scores]
    codes = [sinkhorn(s, epsilon=0.5) for s in scores]
    swapped = -sum((codes[a] * p[1 - a].log()).sum() for a in (0, 1)) / (2 * len(views[0]))
    torch.testing.assert_close(out.parts["clustering"], swapped)
    for a, b in zip(whole, torch.autograd.grad(swapped, g), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    before = snapshot(method)
    train(method, 1, views)
    assert moved(before, snapshot(method)) == {"network", "classifier", "target"}


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


def test_temperature_normalise_and_balance_reach_the_loss(teacher):
    views, _ = batch()
    method = make(burn, teacher, temperature=0.5, normalise=True, balance=[0.2, 0.6])
    found = method.step(views, None, TOTAL // 2).loss
    (l1, l2), (g1, g2) = outputs(method, views)
    l1, l2, g1, g2 = (x / x.square().mean(1, keepdim=True).sqrt() for x in (l1, l2, g1, g2))
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


# -- the others ----------------------------------------------------------------------------------


def log_softmax(z):
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


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


def test_s2bnn_wants_the_teachers_embedding(teacher):
    bare = copy.copy(teacher.frozen)
    bare.head = None
    with pytest.raises(UserError, match=r"^teacher.checkpoint: found no .*; expected"):
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
    assert (method.views, supervised.Method.neck) == (0, False)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A packed data artifact of 32 images."""
    out, rng = tmp_path_factory.mktemp("data"), torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8, generator=rng)
    labels = torch.arange(32) % 4
    tensors = {f"{s}.{k}": v.clone() for s in ("train", "test")
               for k, v in (("images", images), ("labels", labels))}  # fmt: skip
    save_file(tensors, out / "data.safetensors")
    (out / "index.json").write_text(json.dumps({"classes": list("abcd"), "streamed": False}))
    (out / "metrics.json").write_text(json.dumps({"stand_in": True, "size": 32}))
    return out


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
    loader = Loader(open_data(data).split("train"), Augment(size=32), 16, 0, 4, CPU)
    for views, _ in loader.run(0, 20):
        network(views[0])
    norms = (stored.bn, stored.blocks[0].bn3, stored.blocks[9].bn1)
    for norm, inputs in zip(norms, seen, strict=True):
        mean = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
        variance = torch.stack([x.var((0, 2, 3)) for x in inputs]).mean(0)
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(norm.running_var, variance, rtol=1e-3, atol=1e-5)
