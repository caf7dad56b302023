"""The methods without a teacher, all of them: what learns, from what a stage starts, how it resumes."""

import json
import subprocess
import sys
from pathlib import Path

import graphs
import pytest
import torch
from baselines import TINY, make, views
from safetensors.torch import load_file
from trees import packed

from burn.experiment.schema import Augment, Machine, Student, Train
from burn.methods import byol, mocov2, swav
from burn.networks import build
from burn.pretrain import pretrain
from burn.training import fit

METHODS = pytest.mark.parametrize("module", TINY, ids=lambda m: m.__name__.split(".")[-1])


def assert_only_networks_learn(method):
    assert all(p.grad is not None for n in method.networks.values() for p in n.parameters())
    for helper in method.helpers.values():
        assert not any(p.requires_grad or p.grad is not None for p in helper.parameters())


@METHODS
def test_every_network_learns_and_no_helper_does(module):
    method = make(module, **({"queue": 16, "queue_from": 0.0} if module is swav else {}))
    for step in range(3):
        out = method.step(views(), None, step)
    out.loss.backward()
    assert_only_networks_learn(method)
    assert out.loss.dim() == 0 and out.outputs.shape == out.targets.shape
    assert (method.views, method.context.teacher) == (2, None)
    assert set(method.networks) & set(method.helpers) == set()


@METHODS
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_loss_is_taken_in_single_precision(module, precision):
    method = make(module)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        out = method.step(views(4), None, 1)
    assert out.loss.dtype == out.outputs.dtype == out.targets.dtype == torch.float32
    out.loss.backward()
    assert_only_networks_learn(method)


# -- stages --------------------------------------------------------------------------------------

# The method itself, watched; it stops at step 7 while there is a file named "stop".
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
        if step == 7 and os.path.exists({folder!r} + "/stop"):
            raise KeyboardInterrupt
        return super().step(views, labels, step)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("data"), 32)


def stage(module, data, folder, name, init=None, epochs=3, **recipe) -> Path:
    """Run a stage of 4 updates an epoch: of as many passes of the student as that takes."""
    folder.mkdir(exist_ok=True)
    code = folder / "watched.py"
    code.write_text(WATCHED.format(name=module.__name__.split(".")[-1], folder=str(folder)))
    train = Train(batch=8, precision="fp32", checkpoint_minutes=0, lr=1e-3)
    view = {"student": Student(width=0.25), "train": train, "augment": Augment(size=32),
            "recipe": TINY[module] | recipe, "epochs": epochs * module.Method.student_passes}  # fmt: skip
    machine = Machine(device="cpu")
    pretrain(view, "mine", name, 4, code, data, None, init, folder / name, machine)
    return folder / name


@METHODS
def test_a_stage_begins_with_what_the_one_before_left(module, data, tmp_path):
    first = stage(module, data, tmp_path / "a", "binact", epochs=1)
    left = load_file(first / "weights.safetensors")
    stage(module, data, tmp_path / "b", "binary", first, epochs=1)
    begun = torch.load(tmp_path / "b" / "begun.pt")
    own = {"byol": ("projector", "predictor"), "swav": ("projector", "prototypes")}
    networks = ("network", *own.get(module.__name__.split(".")[-1], ("head",)))
    assert {key.partition(".")[0] for key in left} == set(networks)
    assert all(torch.equal(begun[n][k], left[f"{n}.{k}"]) for n in networks for k in begun[n])
    for copies in (begun[name] for name in ("key", "target") if name in begun):
        for key, value in copies.items():  # 0: the network, 1: the head on it
            i, _, inner = key.partition(".")
            assert torch.equal(value, left[f"{networks[int(i)]}.{inner}"]), key
    found = json.loads((tmp_path / "b" / "binary" / "metrics.json").read_text())
    assert found["updates"] == 4 and found["output_spread"] > 0 and "target_spread" in found
    assert build.load(tmp_path / "b" / "binary").blocks[0].conv3.precision == "binary"


@pytest.mark.parametrize(
    ("module", "recipe"),
    [
        (mocov2, {"queue": 20}),
        (byol, {}),
        # frozen still at the checkpoint, and no longer soon after it; the queue is in use
        (swav, {"queue": 20, "queue_from": 0.2, "small_crops": 1, "freeze": 0.5}),
    ],
    ids=["mocov2", "byol", "swav"],
)
def test_a_stopped_stage_ends_in_the_same_bits(module, recipe, data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fit, "FLUSH", 5)  # checkpoints at 5 and 10 of 12
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
    assert "resuming at update 5 of 12" in capsys.readouterr().out
    assert [(done / name).read_bytes() for name in files] == whole


def test_lightly_is_imported_only_to_train():
    check = (
        "import sys, burn.experiment.reading as p; p.load('params.yaml'); import burn.__main__; "
    )
    check += (
        "import burn.methods.swav, burn.methods.byol, burn.methods.empssl, burn.methods.vicreg; "
    )
    check += "print([m for m in ('torch', 'lightly') if m in sys.modules])"
    words = [sys.executable, "-c", check]
    done = subprocess.run(words, cwd=graphs.ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
