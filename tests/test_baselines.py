"""The baselines without a teacher: losses against NumPy, momentum, queues, prototypes, stages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from burn.experiment.schema import Augment, Machine, Student, Train
from burn.images.augment import photometric
from burn.images.loader import Loader
from burn.images.store import Split, Streamed
from burn.methods import byol, mocov2, swav
from burn.networks import build
from burn.pretrain import pretrain
from burn.training.method import Context

CPU, TOTAL = torch.device("cpu"), 10  # steps of the pretended stage
TINY = {
    mocov2: {"embedding": 16, "queue": 32},
    byol: {"embedding": 16, "hidden": 24},
    swav: {"embedding": 16, "hidden": 24, "prototypes": 6},
}
METHODS = pytest.mark.parametrize("module", TINY, ids=lambda m: m.__name__.split(".")[-1])


@pytest.fixture(autouse=True)
def _seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def make(module, **recipe):
    torch.manual_seed(1)
    network = build.network({"arch": "reactnet", "width": 0.125, "neck": module.Method.neck})
    recipe = module.Recipe(**TINY[module] | recipe)
    method = module.Method(recipe, Context(network.at("binary"), None, 5, TOTAL))
    method.begin()
    return method


def views(n: int = 8, small: int = 0) -> list[torch.Tensor]:
    return [torch.randn(n, 3, 32, 32) for _ in range(2)] + [
        torch.randn(n, 3, 16, 16) for _ in range(small)
    ]


def update(method, rate: float = 0.1) -> None:
    """A plain gradient step from the gradients that lie there, then the method's own part."""
    with torch.no_grad():
        for network in method.networks.values():
            for p in network.parameters():
                if p.grad is not None:
                    p.sub_(rate * p.grad)
                    p.grad = None
    method.after_update(0.5)


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def log_softmax(z):
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def outputs(x, *networks):
    """(N, D) float64 of modules one after the other, in the mode they are in."""
    with torch.no_grad():
        for network in networks:
            x = network(x)
    return x.double().numpy()


# -- all of them ---------------------------------------------------------------------------------


@METHODS
def test_every_network_learns_and_no_helper_does(module):
    method = make(module, **({"queue": 16, "queue_from": 0.0} if module is swav else {}))
    for step in range(3):
        out = method.step(views(), None, step)
    out.loss.backward()
    assert all(p.grad is not None for n in method.networks.values() for p in n.parameters())
    for helper in method.helpers.values():
        assert not any(p.requires_grad or p.grad is not None for p in helper.parameters())
    assert out.loss.dim() == 0 and out.outputs.shape == out.targets.shape
    assert (method.views, method.neck, method.context.teacher) == (2, False, None)
    assert set(method.networks) & set(method.helpers) == set()


@METHODS
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_loss_is_taken_in_single_precision(module, precision):
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        out = make(module).step(views(), None, 0)
    assert out.loss.dtype == out.outputs.dtype == out.targets.dtype == torch.float32
    out.loss.backward()


# -- MoCo v2, tuned ------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.2, 0.5])
def test_moco_is_infonce_on_the_binary_student(temperature):
    method, batch = make(mocov2, temperature=temperature), views()
    n, (key_network, key_head) = method.networks, method.helpers["key"]
    negatives = method.helpers["queue"].keys.double().numpy().copy()
    out = method.step(batch, None, 0)
    query = unit(outputs(batch[0], n["network"], n["head"]))
    key = unit(outputs(batch[1], key_network.eval(), key_head.eval()))
    logits = np.concatenate([(query * key).sum(1, keepdims=True), query @ negatives.T], 1)
    expected = -log_softmax(logits / temperature)[:, 0].mean()
    assert out.loss.item() == pytest.approx(expected, 1e-4)
    assert method.temperature == temperature and method.normalised
    np.testing.assert_allclose(out.outputs.detach(), query, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(out.targets, key, rtol=1e-3, atol=1e-5)


def test_the_queue_holds_the_keys_of_the_last_steps():
    method = make(mocov2, queue=20)
    start, keys = method.helpers["queue"].keys.clone(), []
    for step in range(3):
        keys.append(method.step(views(), None, step).targets)
    last = torch.cat(keys)  # 24 keys: the first four have given way
    expected = torch.cat([last[20:], last[4:20]])
    assert torch.equal(method.helpers["queue"].keys, expected)
    assert method.helpers["queue"].at == 4 and not torch.isclose(start, expected).all(1).any()


@pytest.mark.parametrize("norm", [True, False])
def test_the_key_encoder_is_a_moving_average_statistics_included(norm):
    method = make(mocov2, momentum=0.75, norm=norm)
    slow = {k: v.double() for k, v in method.helpers["key"].state_dict().items()}
    for step in range(2):
        method.step(views(), None, step).loss.backward()
        update(method)
        for i, name in enumerate(("network", "head")):
            for key, fast in method.networks[name].state_dict().items():
                if fast.is_floating_point():
                    slow[f"{i}.{key}"] = 0.75 * slow[f"{i}.{key}"] + 0.25 * fast.double()
    found = method.helpers["key"].state_dict()
    assert any("running_var" in key for key in found)
    for key, value in found.items():
        torch.testing.assert_close(value.double(), slow[key], rtol=1e-4, atol=1e-5)
    head = method.networks["head"]
    assert norm == any(isinstance(m, torch.nn.BatchNorm1d) for m in head.modules())


# -- BYOL ----------------------------------------------------------------------------------------


def test_byol_is_the_distance_of_unit_vectors_both_ways():
    method, batch = make(byol), views()
    n, (target_network, target_projector) = method.networks, method.helpers["target"]
    update(method)  # of nothing: target and student are the same
    with torch.no_grad():
        for p in target_network.parameters():
            p.mul_(1.1)
    predicted = [unit(outputs(v, n["network"], n["projector"], n["predictor"])) for v in batch]
    targets = [unit(outputs(v, target_network, target_projector)) for v in batch]
    distances = [((predicted[a] - targets[1 - a]) ** 2).sum(1).mean() for a in (0, 1)]
    out = method.step(batch, None, 0)
    assert out.loss.item() == pytest.approx(sum(distances), 1e-4)
    np.testing.assert_allclose(
        unit(out.outputs.detach().numpy()), predicted[0], rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(unit(out.targets.numpy()), targets[1], rtol=1e-3, atol=1e-4)


def test_byols_target_follows_by_a_momentum_that_rises_to_1():
    method = make(byol, momentum=0.6)
    slow = [p.double() for p in method.helpers["target"].parameters()]
    fast = [p for n in ("network", "projector") for p in method.networks[n].parameters()]
    for progress in (0.0, 0.25, 0.5, 1.0):
        momentum = 1 - (1 - 0.6) * (np.cos(np.pi * progress) + 1) / 2
        with torch.no_grad():
            for i, p in enumerate(fast):
                p.add_(torch.randn_like(p))
                slow[i] = momentum * slow[i] + (1 - momentum) * p.double()
        method.after_update(progress)
    assert momentum == 1 and len(slow) == len(fast)
    for a, b in zip(method.helpers["target"].parameters(), slow, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


# -- SwAV ----------------------------------------------------------------------------------------


def codes(scores, epsilon=0.05, rounds=3):
    """Sinkhorn's scaling (Cuturi 2013) of (N, K) float64 scores; rows come out as distributions."""
    q = np.exp(scores / epsilon)
    for _ in range(rounds):
        q /= q.sum(0)  # a prototype's share is the same for all
        q /= q.sum(1, keepdims=True)
    return q


def swapped(scores, sizes, temperature=0.1, extra=None):
    """SwAV's loss (eq. 2) of a list of (N, K) scores, the first two of which have codes."""
    total = 0.0
    for i in (0, 1):
        pool = scores[i] if extra is None else np.concatenate([scores[i], extra[i]])
        q = codes(pool)[: len(scores[i])]
        others = [log_softmax(s / temperature) for j, s in enumerate(scores) if j != i]
        total += sum(-(q * log_p).sum(1).mean() for log_p in others) / len(others)
    assert len(scores) == sizes
    return total / 2


def scores_of(method, batch):
    """Cosines of each view's embedding with the prototypes: one pass for each resolution."""
    n = method.networks
    parts = [torch.cat(part) for part in (batch[:2], batch[2:]) if part]
    with torch.no_grad():
        features = torch.cat([n["network"](x) for x in parts])
    z = unit(outputs(features, n["projector"]))
    weight = n["prototypes"].heads[0].weight.detach().double().numpy()
    return np.split(z @ unit(weight).T, len(batch)), np.split(z, len(batch))


@pytest.mark.parametrize(
    ("rows", "columns", "epsilon"), [(64, 8, 0.05), (30, 30, 0.1), (8, 20, 0.05)]
)
def test_codes_are_balanced(rows, columns, epsilon):
    from lightly.loss.swav_loss import sinkhorn

    scores = torch.rand(rows, columns) / 5 + torch.linspace(0, 0.3, columns)
    found = sinkhorn(scores.clone(), 3, epsilon)
    np.testing.assert_allclose(found, codes(scores.double().numpy(), epsilon), 1e-4, 1e-7)
    torch.testing.assert_close(found.sum(1), torch.ones(rows))
    assert found.softmax(1).argmax(1).unique().numel() > 1
    balanced = sinkhorn(scores.clone(), 100, epsilon)
    share = torch.full((columns,), rows / columns)
    torch.testing.assert_close(balanced.sum(0), share, rtol=1e-2, atol=1e-2)
    assert (found.sum(0) - share).abs().max() < 0.5 * rows / columns  # three rounds: nearly


@pytest.mark.parametrize("small", [0, 3])
@pytest.mark.parametrize(("temperature", "norm"), [(0.1, True), (0.5, False)])
def test_swav_predicts_swapped_codes(small, temperature, norm):
    method, batch = make(swav, temperature=temperature, norm=norm), views(small=small)
    norms = [m for m in method.networks["projector"].modules() if hasattr(m, "running_var")]
    assert len(norms) == 1 + norm
    out = method.step(batch, None, 0)
    scores, _ = scores_of(method, batch)
    expected = swapped(scores, 2 + small, temperature)
    assert out.loss.item() == pytest.approx(expected, 1e-4)
    assert method.temperature == temperature
    np.testing.assert_allclose(out.outputs.detach(), scores[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(out.targets.detach(), scores[1], rtol=1e-3, atol=1e-4)


def test_prototypes_are_unit_vectors_and_stay_for_the_first_share():
    method = make(swav, freeze=0.3)  # of 10 steps
    (head,) = method.networks["prototypes"].heads
    assert head.bias is None and head.weight.shape == (6, 16)
    for step in range(6):
        before = head.weight.clone()
        torch.testing.assert_close(before.norm(dim=1), torch.ones(6))
        method.step(views(), None, step).loss.backward()
        assert (head.weight.grad is None) == (step < 3)
        update(method)
        stays = bool((head.weight - before).abs().max() < 1e-6)  # but for rounding to unit length
        assert stays == (step < 3)
        torch.testing.assert_close(head.weight.norm(dim=1), torch.ones(6))


def test_earlier_features_join_the_codes_once_there_are_enough():
    method = make(swav, queue=20, queue_from=0.4)  # of 10 steps
    seen = [[], []]
    for step in range(6):
        batch = views()
        out = method.step(batch, None, step)
        scores, z = scores_of(method, batch)
        extra = None
        if step >= 4:
            weight = method.networks["prototypes"].heads[0].weight.detach().double().numpy()
            extra = [np.concatenate(s)[-20:] @ weight.T for s in seen]
        assert out.loss.item() == pytest.approx(swapped(scores, 2, extra=extra), 1e-3), step
        for i in (0, 1):
            seen[i].append(z[i])
    for queue, s in zip(method.helpers["queues"], seen, strict=True):
        found = torch.cat([queue.keys[queue.at :], queue.keys[: queue.at]])  # oldest first
        np.testing.assert_allclose(found, np.concatenate(s)[-20:], rtol=1e-3, atol=1e-4)
    method = make(swav, queue=20, queue_from=0.0)
    assert method._earlier(2, 8) is None and method._earlier(3, 8) is not None  # 16 of 20; 24


# -- multi-crop ----------------------------------------------------------------------------------

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 3, 32, 32), dtype=np.uint8)


def small_recipe(count: int = 3):
    recipe = swav.Recipe(small_crops=count, small_size=12, small_crop=[0.05, 0.1])
    return swav.Method.small_views(recipe, Augment(size=32, flip=0.25))


def test_small_views_differ_from_the_others_in_size_and_crop():
    assert small_recipe() == [Augment(size=12, crop=[0.05, 0.1], flip=0.25)] * 3
    assert swav.Method.small_views(swav.Recipe(), Augment()) == []
    assert byol.Method.small_views(byol.Recipe(), Augment()) == []


def test_small_views_come_after_the_two_and_change_neither():
    split = Split(labels=torch.arange(16), images=torch.from_numpy(PIXELS))
    loaders = [
        Loader(split, Augment(size=32), 8, 2, 0, CPU, small=small)
        for small in ([], small_recipe(), small_recipe(4))
    ]
    (plain, _), (more, _), (most, _) = (list(load.run(1, 2))[0] for load in loaders)
    assert [tuple(v.shape) for v in more] == [(8, 3, 32, 32)] * 2 + [(8, 3, 12, 12)] * 3
    for a, b in zip(plain, more):
        assert torch.equal(a, b)
    for a, b in zip(more, most):
        assert torch.equal(a, b)
    assert not torch.equal(more[2], more[3])


def test_small_views_of_streamed_images(tmp_path):
    from PIL import Image

    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, pixels in zip(paths, PIXELS):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    split = Split(labels=torch.arange(4), files=paths)
    small = small_recipe(2)
    loader = Loader(split, Augment(size=24), 4, 2, 0, CPU, small=small)
    ((found, labels),) = loader.run(0, 1)
    shapes = [(4, 3, 24, 24)] * 2 + [(4, 3, 12, 12)] * 2
    assert [tuple(v.shape) for v in found] == shapes
    data = Streamed(split, [0.08, 1.0], 24, 2, small=[([0.05, 0.1], 12)] * 2)
    items = [data[int(i)] for i in loader.order(0)[0]]
    assert [len(item) for item in items] == [4] * 4 and labels.tolist() == [i[-1] for i in items]
    generator = torch.Generator().manual_seed(9)
    other = torch.Generator().manual_seed(9)
    first = torch.stack([item[1] for item in items])
    assert first.shape == (4, 3, 12, 12) and first.dtype == torch.uint8
    assert torch.equal(photometric(first, small[0], generator), photometric(first, small[0], other))
    (plain, _), *_ = Loader(split, Augment(size=24), 4, 2, 0, CPU).run(0, 1)
    assert all(torch.equal(a, b) for a, b in zip(plain, found))


# -- stages, kills, processes --------------------------------------------------------------------

# The method itself, watched; it stops at step `stop` while there is a file of that name.
WATCHED = """
import os
from burn.methods.{name} import Method as Base, Recipe as Recipe
class Method(Base):
    def begin(self):
        import torch
        super().begin()
        state = {{**self.networks, **self.helpers}}
        torch.save({{n: m.state_dict() for n, m in state.items()}}, {folder!r} + "/begun.pt")
    def step(self, views, labels, step):
        if step == 33 and os.path.exists({folder!r} + "/stop"):
            raise KeyboardInterrupt
        self.seen = [tuple(v.shape) for v in views]
        return super().step(views, labels, step)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A packed data artifact of 80 images."""
    out, rng = tmp_path_factory.mktemp("data"), torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (80, 3, 32, 32), dtype=torch.uint8, generator=rng)
    labels = torch.arange(80) % 4
    tensors = {f"{s}.{k}": v.clone() for s in ("train", "test")
               for k, v in (("images", images), ("labels", labels))}  # fmt: skip
    save_file(tensors, out / "data.safetensors")
    (out / "index.json").write_text(json.dumps({"classes": list("abcd"), "streamed": False}))
    (out / "metrics.json").write_text(json.dumps({"stand_in": True, "size": 32}))
    return out


def stage(module, data, folder, name, init=None, epochs=9, **recipe) -> Path:
    """Run a stage of 5 updates an epoch: with 9, checkpoints at 20 and 40 of 45."""
    folder.mkdir(exist_ok=True)
    code = folder / "watched.py"
    code.write_text(WATCHED.format(name=module.__name__.split(".")[-1], folder=str(folder)))
    train = Train(batch=16, precision="fp32", checkpoint_minutes=0, lr=1e-3)
    view = {"student": Student(width=0.125), "train": train, "augment": Augment(size=32),
            "recipe": TINY[module] | recipe, "epochs": epochs}  # fmt: skip
    machine = Machine(device="cpu")
    pretrain(view, "mine", name, 4, code, data, None, init, folder / name, machine)
    return folder / name


@METHODS
def test_a_stage_begins_with_what_the_one_before_left(module, data, tmp_path):
    first = stage(module, data, tmp_path / "a", "binact", epochs=1)
    left = load_file(first / "weights.safetensors")
    stage(module, data, tmp_path / "b", "binary", first, epochs=1)
    begun = torch.load(tmp_path / "b" / "begun.pt")
    networks = {"mocov2": ("network", "head"), "byol": ("network", "projector", "predictor"),
                "swav": ("network", "projector", "prototypes")}[module.__name__.split(".")[-1]]  # fmt: skip
    assert {key.partition(".")[0] for key in left} == set(networks)
    assert all(torch.equal(begun[n][k], left[f"{n}.{k}"]) for n in networks for k in begun[n])
    for copies in (begun[name] for name in ("key", "target") if name in begun):
        for key, value in copies.items():  # 0: the network, 1: the head on it
            i, _, inner = key.partition(".")
            assert torch.equal(value, left[f"{networks[int(i)]}.{inner}"]), key
    found = json.loads((tmp_path / "b" / "binary" / "metrics.json").read_text())
    assert found["updates"] == 5 and found["output_spread"] > 0 and "target_spread" in found
    assert build.load(tmp_path / "b" / "binary").blocks[0].conv3.precision == "binary"


@pytest.mark.parametrize(
    ("module", "recipe"),
    [
        (mocov2, {"queue": 40}),
        (byol, {}),
        (swav, {"queue": 40, "small_crops": 1, "freeze": 0.6}),  # still frozen at the checkpoint
    ],
    ids=["mocov2", "byol", "swav"],
)
def test_a_stopped_stage_ends_in_the_same_bits(module, recipe, data, tmp_path, capsys):
    folder = tmp_path / "a"
    files = ("weights.safetensors", "metrics.json")
    done = stage(module, data, folder, "binary", **recipe)
    whole = [(done / name).read_bytes() for name in files]
    done.rename(tmp_path / "whole")
    (folder / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        stage(module, data, folder, "binary", **recipe)
    (folder / "stop").unlink()
    assert not done.exists()
    capsys.readouterr()
    stage(module, data, folder, "binary", **recipe)
    assert "resuming at update 20 of 45" in capsys.readouterr().out
    assert [(done / name).read_bytes() for name in files] == whole


# Three updates of each method in two processes; both must hold the same networks and helpers.
TWO = """
import sys, tempfile
from pathlib import Path
import torch
from burn.networks import build
from burn.artifacts import Work
from burn.images.loader import Loader
from burn.images.store import Split
from burn.machine import setup
from burn.training.distributed import world
from burn.methods import byol, mocov2, swav
from burn.training.method import Context
from burn.experiment.schema import Augment, Machine, Train
from burn.training.fit import fit
device = setup(Machine(device="cpu"))
rank, size = world()
images = torch.randint(0, 256, (48, 3, 32, 32), dtype=torch.uint8,
                       generator=torch.Generator().manual_seed(0))
augment = Augment(size=32)
for module, recipe in (
    (mocov2, dict(embedding=8, queue=21)), (byol, dict(embedding=8, hidden=8)),
    (swav, dict(embedding=8, hidden=8, prototypes=6, queue=17, queue_from=0.0, freeze=0.4,
                small_crops=1)),
):
    torch.manual_seed(0)
    recipe = module.Recipe(**recipe)
    small = module.Method.small_views(recipe, augment)
    loader = Loader(Split(torch.arange(48), images), augment, 8, 2, 0, device, 0, rank, size, small)
    network = build.network({"arch": "reactnet", "width": 0.125, "neck": False}).at("binary")
    method = module.Method(recipe, Context(network, None, 5, 3))
    folder = Path(tempfile.mkdtemp())
    fit(method, loader, Train(batch=8, precision="fp32"), 1, Work(folder / "out", folder, ""))
    state = [p.detach().double().flatten()
             for m in (*method.networks.values(), *method.helpers.values())
             for p in m.state_dict().values()]
    mine = torch.cat(state)
    both = [torch.empty_like(mine) for _ in range(size)]
    torch.distributed.all_gather(both, mine)
    assert torch.equal(*both), module
    if rank == 0:
        print(module.__name__, "agree", flush=True)
torch.distributed.destroy_process_group()
"""


def test_two_processes_hold_the_same(tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         tmp_path / "two.py"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stdout.count("agree") == 3, done.stderr[-3000:]


# -- imports -------------------------------------------------------------------------------------


def test_lightly_is_imported_only_to_train():
    check = (
        "import sys, burn.experiment.reading as p; p.load('params.yaml'); import burn.__main__; "
    )
    check += "import burn.methods.swav, burn.methods.byol, burn.methods.mocov2; "
    check += "print([m for m in ('torch', 'lightly') if m in sys.modules])"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", check], cwd=root, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
